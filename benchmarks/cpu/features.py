"""Times whole calls: features in, the loss and its gradients by the features out, beside other ways.

Each loss is compared with the same loss through matrices of costs or cosines, which is how softdp computes it
where it has no operator for features. Soft-DTW is also compared with pysdtw and tslearn, from features too.

pip install ".[benchmarks]" && python benchmarks/cpu/features.py

In a round each way is timed once, in CPU seconds of one thread. Other programs disturb them less than seconds
of the clock. A ratio is the median over rounds of the ratio within a round. The memory is the most that one
pass takes above the features and their gradients, in a new process.

Matrices larger than --most-bytes are not made. pysdtw and tslearn do not get pairs with more than
--most-cells. tslearn does not get more than --most-differences (cells times features): 5e7 of them take it a
second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with warnings.catch_warnings():  # the libraries warn of each other's versions
    warnings.simplefilter("ignore")
    import numba
    import pysdtw
    import torch
    from torch import Tensor
    from tqdm import tqdm
    from tslearn.metrics import SoftDTWLossPyTorch

from common import fresh
from common.arguments import explained, positive, problem_size, sizes_help
from common.files import save, spliced
from common.losses import Loss, by_tables, losses
from common.machine import describe_cpu
from common.memory import added_peak
from common.tables import Entry, markdown, size
from cpu.features_plot import plot

SIZES = (64, 64), (64, 256), (8, 1024), (1, 4096), (1, 16384)
FEATURES = 1, 8, 64, 256
PEERS = "matrix", "pysdtw", "tslearn"
MATRIX_BYTES = 16  # a cell, of all matrices together
BEGIN, END = "<!-- features -->", "<!-- end of features -->"


class Case(NamedTuple):
    loss: str
    B: int
    N: int
    D: int
    gamma: float

    @property
    def cells(self) -> int:
        return self.B * self.N * self.N


def cases(args: argparse.Namespace) -> Iterator[Case]:
    for loss in args.losses:
        for B, N in args.sizes:
            for D in args.features:
                if loss == "fsd_loss" and D % 2:
                    continue
                for gamma in args.gammas if loss == "soft_dtw_loss" else args.gammas[:1]:
                    yield Case(loss, B, N, D, gamma)


def ways(case: Case, args: argparse.Namespace) -> dict[str, Loss]:
    """softdp, and what it is compared with."""
    loss = losses(case.gamma)[case.loss]
    found = {"softdp": loss}
    if "matrix" in args.peers and case.cells * MATRIX_BYTES <= args.most_bytes:
        found["matrix"] = by_tables(loss)
    if case.loss == "soft_dtw_loss" and case.cells <= args.most_cells:
        if "pysdtw" in args.peers:
            found["pysdtw"] = pysdtw.SoftDTW(gamma=case.gamma, use_cuda=False)
        if "tslearn" in args.peers and case.cells * case.D <= args.most_differences:
            found["tslearn"] = SoftDTWLossPyTorch(gamma=case.gamma)
    return found


# ---- measuring -----------------------------------------------------------------------------------


def features(case: Case) -> list[Tensor]:
    return [torch.randn(case.B, case.N, case.D, requires_grad=True) for _ in range(2)]


def seconds(loss: Loss, x: Tensor, y: Tensor, calls: int = 1) -> float:
    start = process_time()
    for _ in range(calls):
        torch.autograd.grad(loss(x, y).sum(), (x, y))
    return (process_time() - start) / calls


def measure(case: Case, args: argparse.Namespace) -> Entry:
    torch.manual_seed(0)
    x, y = features(case)
    own, *others = ways(case, args).items()
    compared = case.cells <= args.most_cells
    expected = own[1](x.double(), y.double()) if compared else None
    for name, loss in (own, *others):  # must agree before they are timed; also compiles numba's kernels
        if compared:
            torch.testing.assert_close(
                loss(x, y).double(), expected, rtol=1e-5, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
            )
        once = seconds(loss, x, y)
        if name == "softdp":
            calls = max(1, min(200, int(0.05 / once)))
    rounds = [
        [seconds(loss, x, y, calls) for _, loss in (own, *others)]
        for _ in tqdm(range(args.rounds), desc=" ".join(map(str, case)), leave=False)
    ]
    ratios = {name: statistics.median(t[k] / t[0] for t in rounds) for k, (name, _) in enumerate(others, 1)}
    return {
        **case._asdict(),
        "ratios": ratios,
        "rounds": args.rounds,
        "ms": 1e3 * statistics.median(times[0] for times in rounds),
        **memories(case._replace(gamma=0.1), "matrix" in ratios),
    }


@cache  # memory is the same for every gamma above 0
def memories(case: Case, matrix: bool) -> dict[str, int | None]:
    def of(way: str) -> int | None:
        return fresh.call("cpu.features", "memory", {"way": way, **case._asdict()}, OMP_NUM_THREADS="1")

    return {"bytes": of("softdp"), "matrix_bytes": of("matrix") if matrix else None}


def memory(way: str, **case: Any) -> int | None:
    """Bytes by which a pass raises the peak of this process. Features and gradients are made before."""
    torch.set_num_threads(1)
    case = Case(**case)
    loss = losses(case.gamma)[case.loss]
    if way == "matrix":
        loss = by_tables(loss)
    tensors = features(case)
    for t in tensors:
        t.grad = torch.zeros_like(t)
    small = features(case._replace(B=1, N=64))
    loss(*small).sum().backward()
    return added_peak(lambda: loss(*tensors).sum().backward())


# ---- tables --------------------------------------------------------------------------------------


def tables(entries: list[Entry]) -> str:
    """The table of the first gamma; where others were measured, a second table that compares them."""
    first = entries[0]["gamma"]
    text = table([e for e in entries if e["gamma"] == first])
    others = sorted({e["gamma"] for e in entries} - {first})
    if not others:
        return text
    gammas = sorted([first, *others])
    head = ["loss", "pairs x steps", "features", *(f"gamma {g}" for g in gammas)]
    found: dict[tuple, dict[float, str]] = {}
    for e in entries:
        peer = f" ({e['ratios']['pysdtw']:.0f})" if "pysdtw" in e["ratios"] else ""
        found.setdefault((e["loss"], size(e), str(e["D"])), {})[e["gamma"]] = f"{e['ms']:.3g}{peer}"
    rows = [
        [*case, *(cells.get(g, "not run") for g in gammas)] for case, cells in found.items() if len(cells) > 1
    ]
    return f"{text}\n\nms, and pysdtw / softdp, by gamma:\n\n{markdown(head, rows)}"


def table(entries: list[Entry]) -> str:
    peers = [p for p in PEERS if any(p in e["ratios"] for e in entries)]
    head = [
        *("loss", "pairs x steps", "features", "gamma", "softdp, ms"),
        *(f"{p} / softdp" for p in peers),
        *("softdp, MB", "matrix, MB"),
    ]
    rows = []
    for e in entries:
        ratios = [f"{e['ratios'][p]:.1f}" if p in e["ratios"] else "not run" for p in peers]
        memory = ["" if b is None else f"{b / 1e6:.3g}" for b in (e["bytes"], e.get("matrix_bytes"))]
        rows.append([e["loss"], size(e), str(e["D"]), str(e["gamma"]), f"{e['ms']:.3g}", *ratios, *memory])
    return markdown(head, rows)


def show(results: Path, page: Path | None) -> None:
    """Prints the tables, makes the figure beside the results, and writes the tables into the page, if any."""
    run = json.loads(results.read_text())
    plot(results.with_suffix(".png"), run)
    machine = run["machine"]
    text = (
        f"{machine['hardware']['cpu']}, {machine['softdp_build']['cpu_selected']} kernels, 1 thread, torch "
        f"{machine['versions']['torch']}, float32, forward and backward; commit {machine['commit']}:\n\n"
        f"{tables(run['entries'])}"
    )
    print(text)
    if page:
        page.write_text(spliced(page, BEGIN, END, text))


def main() -> None:
    parser = explained(__doc__)
    option = parser.add_argument
    option("--losses", nargs="+", choices=losses(1.0), default=[*losses(1.0)])
    option("--sizes", type=problem_size, nargs="+", metavar="BxN", default=SIZES, help=sizes_help(SIZES))
    option("--features", type=positive, nargs="+", default=FEATURES)
    option("--gammas", type=float, nargs="+", default=[0.1], help="soft-DTW takes all, the others the first")
    option("--peers", nargs="*", choices=PEERS, default=PEERS[:2])
    option("--rounds", type=positive, default=5)
    option("--most-bytes", type=float, default=4e9)
    option("--most-cells", type=float, default=2e7)
    option("--most-differences", type=float, default=4e7)
    option("--out", type=Path, help="a JSON file for the results; the figure is made beside it")
    option("--table", type=Path, metavar="JSON", help="results of an earlier run: tables and figure again")
    option("--write", type=Path, metavar="PAGE", help="a page that gets the tables, between its markers")
    args = parser.parse_args()
    if args.table:
        return show(args.table, args.write)
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    entries = []
    for case in tqdm([*cases(args)], desc="cases"):
        entries.append(measure(case, args))
        if args.out:  # after each case, so that a run that fails leaves its results so far
            save(args.out, {"machine": describe_cpu(), "entries": entries})
    if args.out:
        return show(args.out, args.write)
    print(tables(entries))
    return None


if __name__ == "__main__":
    main()
