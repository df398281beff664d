"""The command line: every bad argument is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

SIZES = (16, 5), (16, 30), (64, 64), (64, 128), (64, 256), (8, 1024)
SECTIONS = "throughput", "loops", "memory", "curve", "accuracy", "overhead", "derivatives", "isa"
ISAS = "baseline", "avx2", "avx512"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and exit code 2, without the usage."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be pairs x steps such as 16x30, got {text!r}")
    return int(found[1]), int(found[2])


def threads(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text!r}")
    return int(text)


def parse(argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser("run.py", description="Measure softdp on the CPU beside other libraries.")
    option = parser.add_argument
    names = " ".join(f"{B}x{N}" for B, N in SIZES)
    option("--sizes", type=size, nargs="+", metavar="BxN", help=f"B pairs of N steps (default {names})")
    option("--quick", action="store_true", help="fewer and shorter samples, shorter pairs")
    option("--out", type=Path, help="folder for cpu.json and cpu.png (default benchmarks/results)")
    option("--threads", type=threads, nargs="+", help="of PyTorch and numba (default: 1, and all cores)")
    option(
        "--isa",
        choices=ISAS,
        nargs="+",
        help="more instruction sets to measure (default: all here; --quick: none)",
    )
    option("--only", choices=SECTIONS, nargs="+", help="measure only these parts")
    option("--table", type=Path, metavar="JSON", help="print the tables of an earlier run, measure nothing")
    option(
        "--write", action="store_true", help="with --table: write them into the documentation, and the plot"
    )
    args = parser.parse_args(argv)
    measuring = args.sizes or args.quick or args.out or args.threads or args.isa or args.only
    if args.table and measuring:
        parser.error("--table prints an earlier run: only --write can go with it")
    if args.write and not args.table:
        parser.error("--write needs --table: it writes the tables of an earlier run")
    args.sizes = list(dict.fromkeys(args.sizes or SIZES))
    args.threads = sorted(set(args.threads or ()))
    args.only = args.only or SECTIONS
    args.out = args.out or Path(__file__).parent / "results"
    return parser, args
