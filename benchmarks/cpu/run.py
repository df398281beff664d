"""Measures softdp's CPU operators beside other libraries. They must agree before they are timed.

python benchmarks/cpu/run.py                        minutes; writes benchmarks/results/cpu.*
python benchmarks/cpu/run.py --table JSON           prints the tables of that run again
python benchmarks/cpu/run.py --table JSON --write   writes them again, also into docs/performance.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.arguments import Parser, importing

with importing("run.py"):
    from tqdm import tqdm

    from common.files import ROOT, Report, load, make_folder, save, spliced
    from common.fresh import FailedError
    from common.machine import describe_cpu
    from common.problems import Case, DisagreementError
    from cpu import accuracy, curve, instruction_sets, memory, overhead
    from cpu.arguments import parse
    from cpu.cases import ALIGNMENT, CASES, LOOPS
    from cpu.neighbours import Neighbours
    from cpu.plot import plot
    from cpu.report import tables
    from cpu.summary import summary
    from cpu.threads import most_threads, set_threads
    from cpu.timing import QUICK, Effort, copy_bandwidth, measure

REPORT = Report(
    script="cpu/run.py",
    title="softdp on a CPU",
    tables=tables,
    plot=plot,
    caption="Speed against the size, and the cost of a cell against the length",
)
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- cpu results -->", "<!-- end of cpu results -->"
ISA_SIZE = 64, 256


class Step(NamedTuple):
    """A part of a run. `section` is the list in cpu.json that gets its entries."""

    section: str
    name: str
    threads: int
    measure: Callable[[], list[dict[str, Any]]]


def steps(args: argparse.Namespace, effort: Effort) -> Iterator[Step]:
    """All steps, in the order in which they run."""
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


def loops(case: Case, B: int, N: int, effort: Effort) -> list[dict[str, Any]]:
    """Entries of the implementations in plain PyTorch. softdp runs too, for the ratios."""
    entries = measure([case], B, N, effort)
    return [entry for entry in entries if entry["implementation"] != "softdp"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the steps of the selected parts."""
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
        **describe_cpu(),
        "dtype": "float32",
        "quick": args.quick,
        "threads": args.threads,
        "wall_s": round(perf_counter() - began, 1),
        **found,
    }


def show(parser: Parser, path: Path, write: bool) -> None:
    """Prints the tables of an earlier run. With write=True writes all pages and the figure again."""
    measured, long, short = load(parser, path, tables, summary)
    print(long)
    if not write:
        return
    if not path.resolve().is_relative_to(ROOT):
        parser.error(f"argument --write: {PAGE.name} links the figure, so {path} must lie in {ROOT}")
    try:
        page = spliced(PAGE, BEGIN, END, REPORT.section(path, PAGE, short))
    except ValueError as error:
        parser.error(f"argument --write: {error}")
    REPORT.write(path, measured)
    PAGE.write_text(page)
    print(f"\nwrote {path.stem}.md and {path.stem}.png beside {path.name}, and the short tables into {PAGE}")


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse(argv)
    if args.table:
        return show(parser, args.table, args.write)
    most = most_threads()
    args.threads = args.threads or sorted({1, most})
    if args.threads[-1] > most:
        parser.error(f"argument --threads: numba has {most} here, got {args.threads[-1]}")
    make_folder(parser, args.out)
    try:
        measured = run(args)
    except (DisagreementError, FailedError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    path = args.out / "cpu.json"
    save(path, measured)
    REPORT.write(path, measured)
    print(tables(measured))
    print(f"\nwrote cpu.json, cpu.md and cpu.png to {args.out}")
    return None


if __name__ == "__main__":
    main()
