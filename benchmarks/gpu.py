"""Measures softdp's CUDA operators beside others that do the same work, after asserting that they agree.

python benchmarks/gpu.py                          minutes on a GPU; writes benchmarks/results/gpu-NAME.json
python benchmarks/gpu.py --table JSON --write     that run's tables and plot again, into README.md
python benchmarks/gpu.py --check                  compares values on CPU tensors; measures nothing
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

try:
    import torch
    from gpu_arguments import Parser, parse
    from gpu_cases import cases
    from gpu_plot import plot
    from gpu_report import tables
    from gpu_timing import (
        CHECK,
        DTYPES,
        QUICK,
        DeadDeviceError,
        Effort,
        Entry,
        copy_bandwidth,
        measure,
        name_of,
    )
    from machine import describe_gpu
    from readme import spliced
    from tqdm import tqdm

    import softdp
except ImportError as error:
    reason = " ".join(str(error).split())
    needs = 'the benchmarks need softdp and some packages: pip install ".[benchmarks]"'
    print(f"gpu.py: error: {reason} ({needs})", file=sys.stderr)
    raise SystemExit(2) from None

HERE = Path(__file__).parent
README = HERE / "README.md"
NO_TIME = "no time left"
BEGIN, END = "<!-- results of gpu.py: begin -->", "<!-- results of gpu.py: end -->"


class Clock:
    """The time that the measurements may take, and why no more is to be started."""

    def __init__(self, budget: int) -> None:
        self.began, self.budget = perf_counter(), budget
        self.dead: str | None = None

    def seconds(self) -> float:
        return perf_counter() - self.began

    def stop(self) -> str | None:
        if self.dead:
            return self.dead
        return f"{NO_TIME} (--budget {self.budget})" if self.seconds() > self.budget else None


def run(
    args: argparse.Namespace, device: torch.device, effort: Effort, save: Callable[[dict], None]
) -> dict[str, Any]:
    """Every case at every size: softdp in float32, in bfloat16, and then the others, so that a short budget
    leaves those out. `save` gets the results so far after each, so that a run that is ended from outside
    leaves them."""
    clock = Clock(args.budget)
    found = cases(device, args.without)
    parts = *((dtype, False) for dtype in DTYPES), (torch.float32, True)
    todo = [(case, size, *part) for part in parts for size in args.sizes for case in found]
    copy = copy_bandwidth(device, effort) if device.type == "cuda" else None
    measured = {**describe_gpu(device), "quick": args.quick, "budget_s": args.budget, "copy": copy}
    results: list[Entry] = []
    every = 0.1 if sys.stderr.isatty() else 10  # seconds between two states of the bar: a log keeps them all
    with tqdm(todo, unit="problem", mininterval=every) as bar:
        for case, size, dtype, others in bar:
            whose = "others" if others else name_of(dtype)
            bar.set_description(f"{case.name} {size[0]}x{size[1]} {whose}", refresh=False)
            try:
                for entry in measure(case, size, dtype, others, device, effort, clock.stop):
                    results.append({**entry, "bytes_per_cell": case.bytes_per_cell(dtype.itemsize)})
            except DeadDeviceError as error:
                clock.dead = f"the GPU runs nothing more after {error}"
            measured |= {"wall_s": round(clock.seconds(), 1), "results": results}
            save(measured)
    return measured


def check(args: argparse.Namespace) -> dict[str, Any]:
    """All but the GPU: cases, peers, agreement, and the tables and plot of numbers that are thrown away."""
    measured = run(args, torch.device("cpu"), CHECK, lambda _: None)
    tables(measured)
    plot(io.BytesIO(), measured)
    for entry in measured["results"]:
        named = f"{entry['case']} {entry['B']}x{entry['N']} {entry['dtype']} {entry['implementation']}"
        if "not_run" in entry:
            print(f"{named}: not run: {entry['not_run']}")
        else:
            print(f"{named}: score off by {entry['score_off']:.0e}, gradient by {entry['gradient_off']:.0e}")
    print("agreement on CPU tensors; nothing was measured: that needs a GPU")
    return measured


def load(parser: Parser, path: Path) -> tuple[dict[str, Any], str]:
    try:
        measured = json.loads(path.read_text())
        return measured, tables(measured)
    except OSError as error:
        parser.error(f"argument --table: {error}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        parser.error(f"argument --table: {path} is not what gpu.py writes ({error!r})")


def write(parser: Parser, path: Path, measured: dict[str, Any], text: str) -> None:
    """The tables and a link to the plot into README.md, the plot beside the JSON."""
    picture = path.resolve().with_suffix(".png")
    if not picture.is_relative_to(HERE.resolve()):
        parser.error(f"argument --write: README.md links the plot, so {path} must lie in {HERE}")
    name = path.resolve().relative_to(HERE.resolve()).as_posix()
    source = f"From [{name}]({name}) by `python benchmarks/gpu.py --table benchmarks/{name} --write`:"
    link = f"![Speed against the size]({Path(name).with_suffix('.png').as_posix()})"
    try:
        readme = spliced(README, BEGIN, END, f"{source}\n\n{text}\n\n{link}")
    except ValueError as error:
        parser.error(f"argument --write: {error}")
    plot(picture, measured)
    README.write_text(readme)
    print(f"\nwrote the tables into {README} and {picture.name} beside {path.name}")


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse(argv)
    if args.table:
        measured, text = load(parser, args.table)
        print(text)
        if args.write:
            write(parser, args.table, measured, text)
        return
    if args.check:
        parser.exit(1 if failed(check(args)) else 0)
    if not torch.cuda.is_available():
        parser.exit(1, f"{parser.prog}: error: PyTorch sees no GPU (--check does what can be done without)\n")
    if not softdp.build_info()["cuda_archs"]:  # CUDA tensors would run the reference
        parser.exit(1, f"{parser.prog}: error: softdp was built without CUDA kernels\n")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {error}")
    path = args.out / f"gpu-{slug(torch.cuda.get_device_name())}.json"
    effort = QUICK if args.quick else Effort()
    measured = run(args, torch.device("cuda"), effort, lambda so_far: save(path, so_far))
    plot(path.with_suffix(".png"), measured)
    print(tables(measured))
    print(f"\nwrote {path.name} and {path.with_suffix('.png').name} to {args.out}")
    for line in skipped(measured):
        print(line)
    if failed(measured):
        parser.exit(1, f"{parser.prog}: error: softdp failed or disagrees with float64: see above\n")


def save(path: Path, measured: dict[str, Any]) -> None:
    """Whole or not at all: the run may be ended at any time."""
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(measured, indent=1) + "\n")
    os.replace(part, path)


def skipped(measured: dict[str, Any]) -> list[str]:
    entries = [e for e in measured["results"] if e.get("not_run", "").startswith(NO_TIME)]
    named = [f"{e['case']} {e['B']}x{e['N']} {e['dtype']} {e['implementation']}" for e in entries]
    return [f"skipped for time ({len(named)}): {'; '.join(named)}"] if named else []


def failed(measured: dict[str, Any]) -> bool:
    return any(entry.get("failed") for entry in measured["results"])


if __name__ == "__main__":
    main()
