"""Measures softdp's CPU operators beside others that do the same work, after asserting that they agree.

python benchmarks/run.py                                        some minutes; writes benchmarks/results/
python benchmarks/run.py --table benchmarks/results/cpu.json    the tables of that run again
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import numba
    import torch
    from arguments import Parser, parse
    from cases import CASES
    from machine import Neighbours, describe
    from plot import plot
    from report import tables
    from timing import QUICK, DisagreementError, Effort, measure
    from tqdm import tqdm
except ImportError as error:
    reason = " ".join(str(error).split())
    needs = 'the benchmarks need softdp and its peers: pip install ".[benchmarks]"'
    print(f"run.py: error: {reason} ({needs})", file=sys.stderr)
    raise SystemExit(2) from None


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every case at every size."""
    effort = QUICK if args.quick else Effort()
    todo = [(case, B, N) for case in CASES for B, N in args.sizes]
    results = []
    with tqdm(todo, unit="size") as bar:
        for case, B, N in bar:
            bar.set_description(f"{case.name} {B}x{N}")
            neighbours = Neighbours()
            measured = measure(case, B, N, effort)
            results += [{**entry, "cores_taken_by_others": neighbours.cores()} for entry in measured]
    return {**describe(), "dtype": "float32", "quick": args.quick, "results": results}


def set_threads(parser: Parser, threads: int) -> None:
    most = numba.config.NUMBA_NUM_THREADS
    if threads > most:
        parser.error(f"argument --threads: numba has {most} here, got {threads}")
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)


def print_table(parser: Parser, path: Path) -> None:
    try:
        print(tables(json.loads(path.read_text())))
    except OSError as error:
        parser.error(f"argument --table: {error}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        parser.error(f"argument --table: {path} is not what run.py writes ({error!r})")


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse(argv)
    if args.table:
        print_table(parser, args.table)
        return
    if args.threads:
        set_threads(parser, args.threads)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {error}")
    try:
        measured = run(args)
    except DisagreementError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    (args.out / "cpu.json").write_text(json.dumps(measured, indent=1) + "\n")
    plot(args.out / "cpu.png", measured)
    print(tables(measured))
    print(f"\nwrote cpu.json and cpu.png to {args.out}")


if __name__ == "__main__":
    main()
