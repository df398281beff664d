"""Whole calls: features in, the loss and the gradients by the features out, beside other ways in one process.

Beside each loss: the same through matrices (costs, or cosines), which is what the loss was before it was made
from features. Beside soft-DTW: pysdtw and tslearn, from features too.

pip install ".[benchmarks]" && python benchmarks/from_features.py

A round times each way, in CPU seconds of one thread, which other programs disturb less than seconds on the
wall. A ratio is the median over rounds of that within a round. The memory is the most that one pass takes
above the features and their gradients, in a process of its own. Matrices past --most-bytes are not made,
pairs past --most-cells are not given to pysdtw and tslearn, and features past --most-differences (cells times
features) not to tslearn, which takes a second for 5e7 of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

with warnings.catch_warnings():  # the peers' warnings about each other's versions
    warnings.simplefilter("ignore")
    import numba
    import pysdtw
    import torch
    from torch import Tensor
    from tqdm import tqdm
    from tslearn.metrics import SoftDTWLossPyTorch

import fresh
from features_plot import plot
from machine import describe
from memory import peak_bytes

import softdp
from softdp import _cosines

SIZES = "64x64", "64x256", "8x1024", "1x4096", "1x16384"
FEATURES = 1, 8, 64, 256
THRESHOLD = 0.2  # of cosines of random features
MATRIX_BYTES = 16  # a cell and matrix
BEGIN, END = "<!-- features -->\n", "<!-- end of features -->"

Loss = Callable[[Tensor, Tensor], Tensor]


def target(x: Tensor) -> Tensor:
    return torch.arange(len(x)) % 2


def losses(gamma: float) -> dict[str, Loss]:
    """softdp's losses, one value a pair."""
    return {
        "soft_dtw_loss": partial(softdp.soft_dtw_loss, gamma=gamma, reduction="none"),
        "divergence": partial(softdp.soft_dtw_divergence, gamma=gamma),
        "fsd_loss": lambda x, y: softdp.fsd_loss(x, y, target(x), gamma=gamma, reduction="none"),
        "lcs_loss": lambda x, y: softdp.lcs_loss(
            x, y, target(x), gamma=gamma, threshold=THRESHOLD, reduction="none"
        ),
    }


def by_matrices(gamma: float) -> dict[str, Loss]:
    """The same through tables of costs or scores."""

    def soft_dtw(x: Tensor, y: Tensor) -> Tensor:
        return softdp.soft_dtw(softdp.squared_euclidean(x, y), gamma=gamma)

    def signed(score: Tensor) -> Tensor:
        return torch.where(target(score).bool(), -score, score)

    return {
        "soft_dtw_loss": soft_dtw,
        "divergence": lambda x, y: soft_dtw(x, y) - (soft_dtw(x, x) + soft_dtw(y, y)) / 2,
        "fsd_loss": lambda x, y: signed(softdp.fsd_score(*_cosines.cosines(x, y, 2), gamma=gamma)),
        "lcs_loss": lambda x, y: signed(
            softdp.lcs_score(*_cosines.cosines(x, y, 1), threshold=THRESHOLD, gamma=gamma)
        ),
    }


class Case(NamedTuple):
    loss: str
    B: int
    N: int
    D: int
    gamma: float

    @property
    def cells(self) -> int:
        return self.B * self.N * self.N


def ways(case: Case, args: argparse.Namespace) -> dict[str, Loss]:
    found = {"softdp": losses(case.gamma)[case.loss]}
    if "matrix" in args.peers and case.cells * MATRIX_BYTES <= args.most_bytes:
        found["matrix"] = by_matrices(case.gamma)[case.loss]
    if case.loss == "soft_dtw_loss" and case.cells <= args.most_cells:
        if "pysdtw" in args.peers:
            found["pysdtw"] = pysdtw.SoftDTW(gamma=case.gamma, use_cuda=False)
        if "tslearn" in args.peers and case.cells * case.D <= args.most_differences:
            found["tslearn"] = SoftDTWLossPyTorch(gamma=case.gamma)
    return found


def seconds(loss: Loss, x: Tensor, y: Tensor, calls: int = 1) -> float:
    start = process_time()
    for _ in range(calls):
        torch.autograd.grad(loss(x, y).sum(), (x, y))
    return (process_time() - start) / calls


def features(case: Case) -> list[Tensor]:
    return [torch.randn(case.B, case.N, case.D, requires_grad=True) for _ in range(2)]


def measure(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    x, y = features(case)
    entry: dict[str, Any] = {**case._asdict(), "ratios": {}}
    own, *others = ways(case, args).items()
    compared = case.cells <= args.most_cells
    expected = own[1](x.double(), y.double()) if compared else None
    for name, loss in (own, *others):  # agreement first; compiles numba's kernels too
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
    entry["rounds"] = args.rounds
    entry["ms"] = 1e3 * statistics.median(times[0] for times in rounds)
    for k, (name, _) in enumerate(others, 1):
        entry["ratios"][name] = statistics.median(t[k] / t[0] for t in rounds)
    entry |= memories(case._replace(gamma=0.1), "matrix" in entry["ratios"])
    return entry


@cache  # a gamma above 0 does not change them
def memories(case: Case, matrix: bool) -> dict[str, int | None]:
    def of(way: str) -> int | None:
        return fresh.call("from_features", "memory", {"way": way, **case._asdict()}, OMP_NUM_THREADS="1")

    return {"bytes": of("softdp"), "matrix_bytes": of("matrix") if matrix else None}


def memory(way: str, **case: Any) -> int | None:
    """Bytes that a pass takes above features and gradients, in this process."""
    if peak_bytes() is None:
        return None
    torch.set_num_threads(1)
    case = Case(**case)
    loss = (losses if way == "softdp" else by_matrices)(case.gamma)[case.loss]
    tensors = features(case)
    for t in tensors:
        t.grad = torch.zeros_like(t)
    small = features(case._replace(B=1, N=64))
    loss(*small).sum().backward()
    before = peak_bytes()
    loss(*tensors).sum().backward()
    return peak_bytes() - before


def cases(args: argparse.Namespace) -> Iterator[Case]:
    for loss in args.losses:
        for size in args.sizes:
            B, N = map(int, size.split("x"))
            for D in args.features:
                if loss == "fsd_loss" and D % 2:
                    continue
                for gamma in args.gammas if loss == "soft_dtw_loss" else args.gammas[:1]:
                    yield Case(loss, B, N, D, gamma)


def tables(entries: list[dict[str, Any]]) -> str:
    """That of the first gamma, and what other gammas change."""
    first = entries[0]["gamma"]
    text = table([e for e in entries if e["gamma"] == first])
    others = sorted({e["gamma"] for e in entries} - {first})
    if not others:
        return text
    gammas = sorted([first, *others])
    head = ["loss", "pairs x steps", "features", *(f"gamma {g}" for g in gammas)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    rows: dict[tuple, dict[float, str]] = {}
    for e in entries:
        peer = f" ({e['ratios']['pysdtw']:.0f})" if "pysdtw" in e["ratios"] else ""
        rows.setdefault((e["loss"], f"{e['B']}x{e['N']}", e["D"]), {})[e["gamma"]] = f"{e['ms']:.3g}{peer}"
    for case, found in rows.items():
        if len(found) > 1:
            cells = [*map(str, case), *(found.get(g, "not run") for g in gammas)]
            lines.append(f"| {' | '.join(cells)} |")
    return f"{text}\n\nms, and pysdtw / softdp, by gamma:\n\n" + "\n".join(lines)


def table(entries: list[dict[str, Any]]) -> str:
    peers = [p for p in ("matrix", "pysdtw", "tslearn") if any(p in e["ratios"] for e in entries)]
    head = [
        "loss",
        "pairs x steps",
        "features",
        "gamma",
        "softdp, ms",
        *(f"{p} / softdp" for p in peers),
        "softdp, MB",
        "matrix, MB",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for e in entries:
        ratios = [f"{e['ratios'][p]:.1f}" if p in e["ratios"] else "not run" for p in peers]
        memory = ["" if b is None else f"{b / 1e6:.3g}" for b in (e["bytes"], e.get("matrix_bytes"))]
        row = [e["loss"], f"{e['B']}x{e['N']}", e["D"], e["gamma"], f"{e['ms']:.3g}", *ratios, *memory]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", nargs="+", choices=losses(1.0), default=[*losses(1.0)])
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="pairs x steps, such as 64x256")
    parser.add_argument("--features", type=int, nargs="+", default=FEATURES)
    parser.add_argument(
        "--gammas", type=float, nargs="+", default=[0.1], help="all for soft-DTW, the first for the others"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=["matrix", "pysdtw", "tslearn"], default=["matrix", "pysdtw"]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most-bytes", type=float, default=4e9)
    parser.add_argument("--most-cells", type=float, default=2e7)
    parser.add_argument("--most-differences", type=float, default=4e7)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--table", type=Path, help="a JSON file whose table and picture are made again")
    parser.add_argument("--write", type=Path, help="a page that takes the table between its marks")
    args = parser.parse_args()
    if args.table:
        return show(args.table, args.write)
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    entries = []
    for case in tqdm([*cases(args)], desc="cases"):
        entries.append(measure(case, args))
        if args.out:  # what there is, should the rest fail
            args.out.write_text(json.dumps({"machine": describe(), "entries": entries}, indent=1) + "\n")
    if args.out:
        return show(args.out, args.write)
    print(tables(entries))
    return None


def show(results: Path, page: Path | None) -> None:
    """The table, printed and, with a page, written into it; and the picture beside the results."""
    run = json.loads(results.read_text())
    plot(results.with_suffix(".png"), run)
    machine = run["machine"]
    text = (
        f"{machine['hardware']['cpu']}, {machine['softdp_build']['cpu_selected']} kernels, 1 thread, torch "
        f"{machine['versions']['torch']}, float32, forward and backward; commit {machine['commit']}:\n\n"
        f"{tables(run['entries'])}\n"
    )
    print(text)
    if page:
        before, rest = page.read_text().split(BEGIN)
        page.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
