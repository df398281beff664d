"""Command lines. A bad argument gives one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

RESULTS = Path(__file__).resolve().parents[1] / "results"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints one line, without the usage."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def explained(doc: str) -> Parser:
    """A parser whose help starts with the script's docstring, as it is laid out."""
    return Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def problem_size(text: str) -> tuple[int, int]:
    """Pairs and steps, from a text such as 16x30."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be pairs x steps such as 16x30, got {text!r}")
    return int(found[1]), int(found[2])


def sizes_help(sizes: Sequence[tuple[int, int]]) -> str:
    return f"B pairs of N steps (default {' '.join(f'{B}x{N}' for B, N in sizes)})"


def positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text!r}")
    return int(text)


def add_run_options(parser: Parser, sizes: Sequence[tuple[int, int]], name: str, written: str) -> None:
    """The options that both run.py have. `name` is that of the files, `written` what --write writes."""
    option = parser.add_argument
    option("--sizes", type=problem_size, nargs="+", metavar="BxN", help=sizes_help(sizes))
    option("--quick", action="store_true", help="fewer and shorter samples")
    option("--out", type=Path, help=f"folder for {name}.json, .md and .png (default benchmarks/results)")
    option("--table", type=Path, metavar="JSON", help="print the tables of an earlier run, measure nothing")
    option("--write", action="store_true", help=f"with --table: write {written}")


def check_table(parser: Parser, args: argparse.Namespace, others: Sequence[object]) -> None:
    """--table measures nothing, so only --write can go with it."""
    if args.table and any(others):
        parser.error("--table prints an earlier run: only --write can go with it")
    if args.write and not args.table:
        parser.error("--write needs --table: it writes the tables of an earlier run")


@contextmanager
def importing(script: str) -> Iterator[None]:
    """A package that is missing ends the script with one line that says how to get it."""
    try:
        yield
    except ImportError as error:
        reason = " ".join(str(error).split())
        needs = 'the benchmarks need softdp and some packages: pip install ".[benchmarks]"'
        print(f"{script}: error: {reason} ({needs})", file=sys.stderr)
        raise SystemExit(2) from None
