"""Times soft-DTW within a bandwidth beside the whole table, forward and backward, with what is saved of both.

pip install ".[benchmarks]" && python benchmarks/cpu/bands.py

The band must agree with a cost of +inf outside of it before it is timed. In a round each is timed once, in
CPU seconds of one thread. A ratio is the median over rounds of the ratio within a round. The gradient is
dense: of the cells outside it has zeros, whose writing is part of the time. "saved" is what is kept for the
backward pass, as a part of what the whole table keeps.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import softdp
from common.arguments import explained, positive
from common.files import save
from common.machine import describe_cpu
from common.tables import Entry, markdown, number, size

GAMMA = 0.1


class Case(NamedTuple):
    B: int
    N: int
    bandwidth: int
    dtype: str = "float32"


CASES = (
    *(Case(1, 2000, w) for w in (200, 100, 20, 0)),
    *(Case(4, 2000, 100), Case(8, 500, 25), Case(64, 128, 6), Case(512, 30, 3)),
    Case(1, 2000, 100, "float64"),
)


def value(cost: Tensor, bandwidth: int | None) -> Tensor:
    return softdp.soft_dtw(cost, gamma=GAMMA, bandwidth=bandwidth)


def value_and_gradient(cost: Tensor, bandwidth: int | None) -> None:
    torch.autograd.grad(value(cost, bandwidth).sum(), cost)


def saved_bytes(cost: Tensor, bandwidth: int | None) -> int:
    """What autograd keeps of a pass, beside the costs."""
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if t.shape != cost.shape:
            kept[t.data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        value(cost, bandwidth)
    return sum(kept.values())


def ratio_and_ms(whole: Callable[[], object], band: Callable[[], object], rounds: int) -> tuple[float, float]:
    """How many times as long the whole table takes, and the milliseconds of the band."""

    def seconds(call: Callable[[], object], calls: int) -> float:
        call()  # the memory that it reuses
        began = process_time()
        for _ in range(calls):
            call()
        return (process_time() - began) / calls

    whole(), band()
    calls = max(1, min(200, int(0.02 / max(seconds(whole, 1), 1e-6))))
    gc.disable()
    times = [(seconds(whole, calls), seconds(band, calls)) for _ in range(rounds)]
    gc.enable()
    return statistics.median(a / b for a, b in times), 1e3 * statistics.median(b for _, b in times)


def measure(case: Case, rounds: int) -> Entry:
    torch.manual_seed(0)
    dtype = getattr(torch, case.dtype)
    cost, steps = torch.rand(case.B, case.N, case.N, dtype=dtype), torch.arange(case.N)
    outside = (steps[:, None] - steps).abs() > case.bandwidth
    expected = softdp.soft_dtw(cost.masked_fill(outside, math.inf).double(), gamma=GAMMA)
    found = softdp.soft_dtw(cost, gamma=GAMMA, bandwidth=case.bandwidth)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    leaf, entry = cost.clone().requires_grad_(), {**case._asdict(), "rounds": rounds}
    for name, call, of in (("value", value, cost), ("gradient", value_and_gradient, leaf)):
        found = ratio_and_ms(partial(call, of, None), partial(call, of, case.bandwidth), rounds)
        entry[f"whole_by_band_{name}"], entry[f"ms_{name}"] = found
    saved, whole = (saved_bytes(leaf, w) for w in (case.bandwidth, None))
    return {**entry, "saved_bytes": saved, "saved_part": saved / whole}


def table(entries: list[Entry]) -> str:
    times = "value, ms", "whole / band", "with gradient, ms", "whole / band"
    head = "pairs x steps", "bandwidth", "dtype", *times, "saved"
    rows = [
        [size(e), str(e["bandwidth"]), e["dtype"]]
        + [number(e[f"{what}_{name}"]) for name in ("value", "gradient") for what in ("ms", "whole_by_band")]
        + [number(e["saved_part"])]
        for e in entries
    ]
    return markdown(head, rows)


def main() -> None:
    parser = explained(__doc__)
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--table", type=Path, metavar="JSON", help="the table of an earlier run")
    args = parser.parse_args()
    if args.table:
        return print(table(json.loads(args.table.read_text())["entries"]))
    torch.set_num_threads(1)
    entries = [measure(case, args.rounds) for case in CASES]
    if args.out:
        save(args.out, {"machine": describe_cpu(), "entries": entries})
    return print(table(entries))


if __name__ == "__main__":
    main()
