"""The command line of gpu/run.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from common.arguments import RESULTS, Parser, add_run_options, check_table, positive

SIZES = (
    *((16, 5), (16, 30), (64, 64), (512, 64), (256, 256), (1024, 256)),
    *((264, 512), (64, 512), (8, 1024), (1, 4096), (1, 16384)),
)
CHECKED = ((16, 5),)
BUDGET = 280
PEERS = "pysdtw", "ddtw"


def parse(argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser("run.py", description="Measure softdp on a GPU beside other libraries.")
    add_run_options(parser, SIZES, "gpu-NAME", "the Markdown file and the figure beside the JSON file")
    option = parser.add_argument
    option("--budget", type=positive, help=f"seconds after which the rest is left out (default {BUDGET})")
    option("--without", choices=PEERS, action="append", help="leave out a library (may be repeated)")
    option("--check", action="store_true", help="compare values on CPU tensors; measure nothing")
    args = parser.parse_args(argv)
    measuring = args.budget, args.quick, args.out
    check_table(parser, args, (args.sizes, args.without, args.check, *measuring))
    if args.check and any(measuring):
        parser.error("--check measures nothing: only --sizes and --without can go with it")
    args.sizes = list(dict.fromkeys(args.sizes or (CHECKED if args.check else SIZES)))
    args.budget = args.budget or BUDGET
    args.without = args.without or []
    args.out = args.out or RESULTS
    return parser, args
