"""gpu.py's command line; as in run.py, every bad argument is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from arguments import Parser, size

SIZES = (
    *((16, 5), (16, 30), (64, 64), (512, 64), (256, 256), (1024, 256)),
    *((264, 512), (64, 512), (8, 1024), (1, 4096), (1, 16384)),
)
CHECKED = ((16, 5),)
BUDGET = 280
PEERS = "pysdtw", "ddtw"


def seconds(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise argparse.ArgumentTypeError(f"must be whole seconds, 1 or more, got {text!r}")
    return int(text)


def parse(argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser("gpu.py", description="Measure softdp on a GPU beside other libraries.")
    option = parser.add_argument
    names = " ".join(f"{B}x{N}" for B, N in SIZES)
    option("--sizes", type=size, nargs="+", metavar="BxN", help=f"B pairs of N steps (default {names})")
    option("--budget", type=seconds, help=f"seconds after which the rest is left out (default {BUDGET})")
    option("--quick", action="store_true", help="fewer passes")
    option("--without", choices=PEERS, action="append", help="leave out a library (may be repeated)")
    option("--out", type=Path, help="folder for gpu-NAME.json and .png (default benchmarks/results)")
    option("--check", action="store_true", help="compare values on CPU tensors; measure nothing")
    option("--table", type=Path, metavar="JSON", help="print the tables of an earlier run, measure nothing")
    option("--write", action="store_true", help="with --table: write them into README.md, and the plot")
    args = parser.parse_args(argv)
    measuring = args.budget or args.quick or args.out
    if args.table and (args.sizes or args.without or args.check or measuring):
        parser.error("--table prints an earlier run: only --write can go with it")
    if args.check and measuring:
        parser.error("--check measures nothing: only --sizes and --without can go with it")
    if args.write and not args.table:
        parser.error("--write needs --table: it writes the tables of an earlier run")
    args.sizes = list(dict.fromkeys(args.sizes or (CHECKED if args.check else SIZES)))
    args.budget = args.budget or BUDGET
    args.without = args.without or []
    args.out = args.out or Path(__file__).parent / "results"
    return parser, args
