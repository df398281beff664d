"""The command line: every bad argument is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

EPOCHS = 20


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and exit code 2, without the usage."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {value}")
    return value


def seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2**32 - 1, got {value}")
    return value


def device(text: str) -> torch.device:
    """A device that works here."""
    try:
        chosen = torch.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"unknown device {text!r}, expected cpu or cuda") from None
    if chosen.type not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"device {text!r} is not supported, expected cpu or cuda")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise argparse.ArgumentTypeError(f"device {text!r} is not there: PyTorch sees {seen} GPUs")
    return chosen


def parse(argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser(
        "train.py",
        description="Learn when actions happen from labels that only say which actions a recording contains.",
    )
    option = parser.add_argument
    option("--epochs", metavar="K", type=positive, default=EPOCHS, help="epochs of 20 steps (default 20)")
    option("--seed", metavar="K", type=seed, default=0, help="seed of recordings, weights, pairs (default 0)")
    option("--device", type=device, default="cpu", help="train on cpu or cuda (default cpu)")
    option("--out", metavar="DIR", type=Path, default=Path("runs/ftcl"), help="results (default runs/ftcl)")
    option("--resume", action="store_true", help="continue from the checkpoint in --out")
    option("--ablate", action="store_true", help="train every variant and print the table that compares them")
    option(
        "--seeds",
        metavar="K",
        type=positive,
        help="with --ablate: number of seeds, from --seed on (default 6)",
    )
    args = parser.parse_args(argv)
    if args.ablate and args.resume:
        parser.error("--resume continues the default run; --ablate cannot be resumed")
    if args.seeds and not args.ablate:
        parser.error("--seeds needs --ablate; the default run trains one seed, which --seed sets")
    args.seeds = args.seeds or 6
    return parser, args
