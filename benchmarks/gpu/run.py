"""Measures softdp's CUDA operators beside other libraries. They must agree before they are timed.

python benchmarks/gpu/run.py                      minutes on a GPU; writes benchmarks/results/gpu-NAME.*
python benchmarks/gpu/run.py --table JSON         prints the tables of that run again
python benchmarks/gpu/run.py --table JSON --write writes them, and the figure, beside the JSON file
python benchmarks/gpu/run.py --check              compares values on CPU tensors; measures nothing
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.arguments import Parser, importing

with importing("run.py"):
    import torch
    from tqdm import tqdm

    import softdp
    from common.files import Report, load, make_folder, save
    from common.machine import describe_gpu
    from common.tables import Entry, size
    from gpu.arguments import parse
    from gpu.cases import cases
    from gpu.plot import plot
    from gpu.report import tables
    from gpu.timing import (
        CHECK,
        DTYPES,
        QUICK,
        DeadDeviceError,
        Effort,
        copy_bandwidth,
        measure,
        name_of,
    )

REPORT = Report(
    script="gpu/run.py", title="softdp on a GPU", tables=tables, plot=plot, caption="Speed against the size"
)
NO_TIME = "no time left"


class Clock:
    """The time that the measurements may take, and why no more of them starts."""

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
    """Measures every case at every size.

    The order is softdp in float32, softdp in bfloat16, the other libraries, so that a short budget leaves out
    the other libraries first. `save` gets the results so far after each problem, because the run can be
    stopped from outside.
    """
    clock = Clock(args.budget)
    found = cases(device, args.without)
    parts = *((dtype, False) for dtype in DTYPES), (torch.float32, True)
    todo = [(case, size, *part) for part in parts for size in args.sizes for case in found]
    copy = copy_bandwidth(device, effort) if device.type == "cuda" else None
    measured = {**describe_gpu(device), "quick": args.quick, "budget_s": args.budget, "copy": copy}
    results: list[Entry] = []
    every = (
        0.1 if sys.stderr.isatty() else 10
    )  # seconds between two updates of the bar: a log keeps all of them
    with tqdm(todo, unit="problem", mininterval=every) as bar:
        for case, (B, N), dtype, others in bar:
            whose = "others" if others else name_of(dtype)
            bar.set_description(f"{case.name} {B}x{N} {whose}", refresh=False)
            try:
                for entry in measure(case, (B, N), dtype, others, device, effort, clock.stop):
                    results.append({**entry, "bytes_per_cell": case.bytes_per_cell(dtype.itemsize)})
            except DeadDeviceError as error:
                clock.dead = f"the GPU runs nothing more after {error}"
            measured |= {"wall_s": round(clock.seconds(), 1), "results": results}
            save(measured)
    return measured


def check(args: argparse.Namespace) -> dict[str, Any]:
    """Runs everything except the GPU: cases, libraries, agreement, and the making of tables and figure."""
    measured = run(args, torch.device("cpu"), CHECK, lambda _: None)
    tables(measured)
    plot(io.BytesIO(), measured)
    for entry in measured["results"]:
        if "not_run" in entry:
            print(f"{named(entry)}: not run: {entry['not_run']}")
        else:
            offs = f"score off by {entry['score_off']:.0e}, gradient by {entry['gradient_off']:.0e}"
            print(f"{named(entry)}: {offs}")
    print("agreement on CPU tensors; nothing was measured: that needs a GPU")
    return measured


def named(entry: Entry) -> str:
    return f"{entry['case']} {size(entry)} {entry['dtype']} {entry['implementation']}"


def show(parser: Parser, path: Path, write: bool) -> None:
    """Prints the tables of an earlier run. With write=True writes the page and the figure again."""
    measured, text = load(parser, path, tables)
    print(text)
    if write:
        REPORT.write(path, measured)
        print(f"\nwrote {path.stem}.md and {path.stem}.png beside {path.name}")


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse(argv)
    if args.table:
        return show(parser, args.table, args.write)
    if args.check:
        parser.exit(1 if failed(check(args)) else 0)
    if not torch.cuda.is_available():
        parser.exit(1, f"{parser.prog}: error: PyTorch sees no GPU (--check does what can be done without)\n")
    if not softdp.build_info()["cuda_archs"]:  # CUDA tensors would run the reference
        parser.exit(1, f"{parser.prog}: error: softdp was built without CUDA kernels\n")
    make_folder(parser, args.out)
    path = args.out / f"gpu-{slug(torch.cuda.get_device_name())}.json"
    effort = QUICK if args.quick else Effort()
    measured = run(args, torch.device("cuda"), effort, lambda so_far: save(path, so_far))
    REPORT.write(path, measured)
    print(tables(measured))
    print(f"\nwrote {path.name}, {path.stem}.md and {path.stem}.png to {args.out}")
    left_out = [named(e) for e in measured["results"] if e.get("not_run", "").startswith(NO_TIME)]
    if left_out:
        print(f"skipped for time ({len(left_out)}): {'; '.join(left_out)}")
    if failed(measured):
        parser.exit(1, f"{parser.prog}: error: softdp failed or disagrees with float64: see above\n")
    return None


def failed(measured: dict[str, Any]) -> bool:
    return any(entry.get("failed") for entry in measured["results"])


if __name__ == "__main__":
    main()
