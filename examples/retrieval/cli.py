"""The command line: every bad argument is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from config import ORDER, VARIANTS, Setting


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


def tuned(text: str) -> dict[str, Setting]:
    """The best setting of each method in a file that tune.py wrote."""
    try:
        found = json.loads(Path(text).read_text())["found"]
        ranked = sorted(found, key=lambda row: sum(row["mAP"]))
        best = {row["method"]: Setting(**row["setting"]) for row in ranked}
        return {method: best["FSD" if method == "FSD, gap 0" else method] for method in ORDER}
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except (ValueError, KeyError, TypeError):
        raise argparse.ArgumentTypeError(f"{text} is not a file that tune.py wrote") from None


def parse(program: str, argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser(program, description="Find sequences with the same order of phases.")
    option = parser.add_argument
    option("--variant", choices=list(VARIANTS), default="order", help="which sequences (default order)")
    if program == "train.py":
        option(
            "--settings",
            type=tuned,
            metavar="FILE",
            help="take the best settings of a file that tune.py wrote",
        )
    option("--steps", metavar="K", type=positive, help="training steps of each method (default 250)")
    option("--seed", metavar="K", type=seed, default=0, help="first seed (default 0)")
    option("--seeds", metavar="K", type=positive, default=1, help="number of seeds (default 1)")
    out = Path("runs/retrieval")
    option("--out", metavar="DIR", type=Path, default=out, help="results (default runs/retrieval)")
    return parser, parser.parse_args(argv)
