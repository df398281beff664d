"""The command line: every bad argument is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch


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
        raise argparse.ArgumentTypeError(f"device {text!r} is not there: {seen} GPUs seen")
    return chosen


def parse(argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser("train.py", description="FTCL on recordings composed from BasicMotions.")
    option = parser.add_argument
    option("--epochs", type=positive, default=20, help="of 20 steps each (default 20)")
    option("--seed", type=seed, default=0, help="of recordings, weights and pairs (default 0)")
    option("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")
    option("--out", type=Path, default=Path("runs/ftcl"), help="results (default runs/ftcl)")
    option("--resume", action="store_true", help="go on from the checkpoint in --out")
    option("--ablate", action="store_true", help="print the table of variants")
    option("--seeds", type=positive, help="how many --ablate takes, from --seed on (default 6)")
    args = parser.parse_args(argv)
    if args.ablate and args.resume:
        parser.error("--resume goes with the default run, not with --ablate")
    if args.seeds and not args.ablate:
        parser.error("--seeds goes with --ablate; the default run takes --seed")
    args.seeds = args.seeds or 6
    return parser, args
