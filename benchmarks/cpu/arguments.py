"""The command line of cpu/run.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from common.arguments import RESULTS, Parser, add_run_options, check_table, positive

SIZES = (16, 5), (16, 30), (64, 64), (64, 128), (64, 256), (8, 1024)
SECTIONS = "throughput", "loops", "memory", "curve", "accuracy", "overhead", "derivatives", "isa"
ISAS = "baseline", "avx2", "avx512"


def parse(argv: Sequence[str] | None) -> tuple[Parser, argparse.Namespace]:
    parser = Parser("run.py", description="Measure softdp on the CPU beside other libraries.")
    add_run_options(parser, SIZES, "cpu", "cpu.md, cpu.png and the short tables in docs/performance.md")
    option = parser.add_argument
    option("--threads", type=positive, nargs="+", help="of PyTorch and numba (default: 1, and all cores)")
    option(
        "--isa",
        choices=ISAS,
        nargs="+",
        help="more instruction sets to measure (default: all here; --quick: none)",
    )
    option("--only", choices=SECTIONS, nargs="+", help="measure only these parts")
    args = parser.parse_args(argv)
    check_table(parser, args, (args.sizes, args.quick, args.out, args.threads, args.isa, args.only))
    args.sizes = list(dict.fromkeys(args.sizes or SIZES))
    args.threads = sorted(set(args.threads or ()))
    args.only = args.only or SECTIONS
    args.out = args.out or RESULTS
    return parser, args
