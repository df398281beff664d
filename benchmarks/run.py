"""Measures softdp's CPU operators beside others that do the same work, after asserting that they agree.

python benchmarks/run.py                                               minutes; writes benchmarks/results/
python benchmarks/run.py --table benchmarks/results/cpu.json           the tables of that run again
python benchmarks/run.py --table benchmarks/results/cpu.json --write   into the documentation, and the plot
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

try:
    import accuracy
    import curve
    import instruction_sets
    import memory
    import overhead
    from arguments import Parser, parse
    from cases import ALIGNMENT, CASES, LOOPS
    from fresh import FailedError
    from machine import Neighbours, describe, most_threads, set_threads
    from plot import plot
    from readme import spliced
    from report import tables
    from summary import summary
    from timing import QUICK, DisagreementError, Effort, copy_bandwidth, measure
    from tqdm import tqdm
except ImportError as error:
    reason = " ".join(str(error).split())
    needs = 'the benchmarks need softdp and its peers: pip install ".[benchmarks]"'
    print(f"run.py: error: {reason} ({needs})", file=sys.stderr)
    raise SystemExit(2) from None

HERE = Path(__file__).resolve().parent
LONG_PAGE, SHORT_PAGE = HERE / "README.md", HERE.parent / "docs/performance.md"
BEGIN, END = "<!-- cpu results -->", "<!-- end of cpu results -->"
ISA_SIZE = 64, 256


class Step(NamedTuple):
    """A part of a run: the list of cpu.json that its entries go to, and with how many threads."""

    section: str
    name: str
    threads: int
    measure: Callable[[], list[dict[str, Any]]]


def steps(args: argparse.Namespace, effort: Effort) -> Iterator[Step]:
    """All of them, in the order in which they run."""
    most = args.threads[-1]
    for count in args.threads:
        yield Step("copy", "copy", count, partial(copy_bandwidth, effort))
        for B, N in args.sizes:
            yield Step("throughput", f"{B}x{N}", count, partial(measure, CASES, B, N, effort))
        yield Step("overhead", "overhead", count, partial(overhead.measure, effort))
    for B, N in args.sizes:
        for case in LOOPS:
            yield Step("loops", f"{case.name} {B}x{N}, loops", most, partial(loops, case, B, N, effort))
        yield Step("derivatives", f"{B}x{N}, derivatives", most, partial(measure, [ALIGNMENT], B, N, effort))
    size = memory.QUICK_SIZE if args.quick else memory.SIZE
    yield Step("memory", "memory", most, partial(memory.measure, size, most))
    yield Step("accuracy", "accuracy", most, partial(accuracy.measure, args.quick))
    for N in curve.QUICK_LENGTHS if args.quick else curve.LENGTHS:
        yield Step("curve", f"1x{N}", most, partial(curve.measure, N, args.threads, effort))
    size = ISA_SIZE if ISA_SIZE in args.sizes else args.sizes[-1]
    if "isa" in args.only:
        for name in args.isa or ([] if args.quick else instruction_sets.others()):
            call = partial(instruction_sets.measure, name, size, args.threads, args.quick)
            yield Step("isa", name, most, call)


def loops(case: Any, B: int, N: int, effort: Effort) -> list[dict[str, Any]]:
    """What is written in plain PyTorch; softdp is there to be compared with."""
    entries = measure([case], B, N, effort)
    return [entry for entry in entries if entry["implementation"] != "softdp"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every step that is asked for."""
    began = perf_counter()
    wanted = {*args.only, "copy"} if "throughput" in args.only else set(args.only)
    todo = [step for step in steps(args, QUICK if args.quick else Effort()) if step.section in wanted]
    found: dict[str, list] = {step.section: [] for step in todo}
    with tqdm(todo, unit="step") as bar:
        for step in bar:
            bar.set_description(f"{step.name}, threads {step.threads}")
            set_threads(step.threads)
            neighbours = Neighbours()
            entries = step.measure()
            noted = {"threads": step.threads, "cores_taken_by_others": neighbours.cores()}
            found[step.section] += [{**noted, **entry} for entry in entries]
    return {
        **describe(),
        "dtype": "float32",
        "quick": args.quick,
        "threads": args.threads,
        "wall_s": round(perf_counter() - began, 1),
        **found,
    }


def load(parser: Parser, path: Path) -> tuple[dict[str, Any], str, str]:
    """A run, its tables, and the short ones."""
    try:
        measured = json.loads(path.read_text())
        return measured, tables(measured), summary(measured)
    except OSError as error:
        parser.error(f"argument --table: {error}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        parser.error(f"argument --table: {path} is not what run.py writes ({error!r})")


def write(parser: Parser, path: Path, measured: dict[str, Any], long: str, short: str) -> None:
    """The tables and a link to the plot into both pages, the plot beside the JSON."""
    picture = path.resolve().with_suffix(".png")
    if not picture.is_relative_to(HERE.resolve()):
        parser.error(f"argument --write: the pages link the plot, so {path} must lie in {HERE}")
    texts = {}
    for page, text in (LONG_PAGE, long), (SHORT_PAGE, short):
        name, image = (os.path.relpath(p, page.parent.resolve()) for p in (path.resolve(), picture))
        command = f"python benchmarks/run.py --table benchmarks/{path.resolve().relative_to(HERE.resolve())}"
        source = f"From [{path.name}]({name}) by `{command} --write`:"
        link = f"![Speed against the size, and the cost of a cell against the length]({image})"
        try:
            texts[page] = spliced(page, BEGIN, END, f"{source}\n\n{text}\n\n{link}")
        except ValueError as error:
            parser.error(f"argument --write: {error}")
    plot(picture, measured)
    for page, text in texts.items():
        page.write_text(text)
    print(f"\nwrote the tables into {LONG_PAGE} and {SHORT_PAGE}, and {picture.name} beside {path.name}")


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse(argv)
    if args.table:
        measured, long, short = load(parser, args.table)
        print(long)
        if args.write:
            write(parser, args.table, measured, long, short)
        return
    most = most_threads()
    args.threads = args.threads or sorted({1, most})
    if args.threads[-1] > most:
        parser.error(f"argument --threads: numba has {most} here, got {args.threads[-1]}")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {error}")
    try:
        measured = run(args)
    except (DisagreementError, FailedError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    (args.out / "cpu.json").write_text(json.dumps(measured, indent=1) + "\n")
    plot(args.out / "cpu.png", measured)
    print(tables(measured))
    print(f"\nwrote cpu.json and cpu.png to {args.out}")


if __name__ == "__main__":
    main()
