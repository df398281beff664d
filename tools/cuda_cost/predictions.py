"""Which kernels are predicted, what their launches take, and what was measured of them."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import NamedTuple

from .launches import CHUNK, H100, LEAD, STRIP, WARPS, Chunk, blocks_at_once, even_waves, of_many_pairs
from .listing import Function
from .paths import Paths
from .resources import Kernel
from .warp import chunk_cycles

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
LONG, MANY = (1, 4096), (264, 512)  # pairs, steps of both sequences
# Of the bandwidth of a copy: what copies may reach since they ask for 128 bytes of the second cache at
# a time. The share of launches.py was fitted before they did.
BEST = 0.9

ARRAY = 2 * STRIP * (CHUNK + 4) * 4  # bytes of two buffers of windows, of float: csrc/cuda/blocks.h
EDGE = {"forward": 16, "backward": 4}  # bytes of what a strip hands down


class Case(NamedTuple):
    """A sweep of a benchmark's case by one kernel."""

    case: str
    dtype: str
    sweep: str
    kernel: str  # as readable() has it
    arrays: int  # of a warp in shared memory
    bytes: int  # of a cell in global memory, read and written

    @property
    def stores(self) -> int:
        """The tables that the sweep writes: weights, or the gradients by scores."""
        return 2 if (self.case, self.sweep) == ("fsd", "backward") else 1

    @property
    def bits(self) -> int:
        """Of the four numbers that a lane stores at once. Weights are float; gradients have the dtype."""
        return 64 if (self.dtype, self.sweep) == ("bfloat16", "backward") else 128

    @property
    def read_bits(self) -> int:
        """Of the four numbers that a lane copies at once. Scores have the dtype; weights are float."""
        return 64 if (self.dtype, self.sweep) == ("bfloat16", "forward") else 128

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block: BandMemory of csrc/cuda/bands.h."""
        edges = (WARPS + 1) * LEAD * CHUNK * EDGE[self.sweep]
        return edges + WARPS * (CHUNK * 4 + self.arrays * ARRAY) + 16


CASES = [
    Case("fsd", "float32", "forward", "forward_bands<Recipe<TwoWeights, float, true, 1, 3> >", 2, 12),
    Case("fsd", "float32", "backward", "backward_bands<float, TwoWeights>", 2, 12),
    Case("lcs", "float32", "forward", "forward_bands<Recipe<OneWeight, float, true, 0, 0> >", 1, 8),
    Case("lcs", "float32", "backward", "backward_bands<float, OneWeight>", 1, 8),
    Case("fsd", "bfloat16", "forward", "forward_bands<Recipe<TwoWeights, float, true, 1, 3> >", 2, 8),
    Case("fsd", "bfloat16", "backward", "backward_bands<float, TwoWeights>", 2, 8),
    Case("lcs", "bfloat16", "forward", "forward_bands<Recipe<OneWeight, float, true, 0, 0> >", 1, 6),
    Case("lcs", "bfloat16", "backward", "backward_bands<float, OneWeight>", 1, 6),
]


class Prediction(NamedTuple):
    case: Case
    registers: int
    blocks: int  # that a multiprocessor holds, of 264x512
    instructions: int  # of a chunk
    cycles: float  # of a chunk, of a warp alone
    many_us: float  # predicted microseconds of 264x512
    best_us: float  # the same at BEST of the bandwidth


def predicted(functions: dict[str, Function], kernels: list[Kernel]) -> list[Prediction]:
    """Predictions of all cases whose kernels are there. functions: by names as in Case.kernel."""
    registers = {kernel.name: kernel.registers for kernel in kernels}
    found = []
    for case in CASES:
        function = functions.get(case.kernel)
        if function is None:
            continue
        paths = Paths(function)
        head = paths.chunk_loop()
        if head is None:
            raise ValueError(f"{case.kernel}: no loop over chunks was found")
        way = paths.usual(head, case.stores, case.bits, case.read_bits)
        at_once = blocks_at_once(registers[case.kernel], case.shared)
        blocks = even_waves(MANY[0] * ceil(MANY[1] / (STRIP * WARPS)), at_once)
        chunk = Chunk(len(way), chunk_cycles(way), case.bytes * STRIP * CHUNK)
        machines = H100, H100._replace(share=BEST)
        times = [of_many_pairs(*MANY, MANY[1], chunk, blocks, machine) for machine in machines]
        microseconds = (round(1e6 * time, 1) for time in times)
        found.append(
            Prediction(case, registers[case.kernel], blocks, chunk.instructions, chunk.cycles, *microseconds)
        )
    return found


def measured(mode: str = "eager") -> dict[tuple[str, str, str, tuple[int, int]], float]:
    """Microseconds of the last GPU run that is committed, by case, dtype, sweep and size."""
    found = {}
    for path in sorted(RESULTS.glob("gpu-nvidia-*.json")):
        for run in json.loads(path.read_text())["results"]:
            if run["implementation"] != "softdp" or run.get("mode") != mode:
                continue
            for sweep, seconds in run["seconds"].items():
                key = run["case"], run["dtype"], sweep, (run["B"], run["N"])
                found[key] = 1e6 * seconds["median"]
    return found


def table(predictions: list[Prediction]) -> str:
    """The predictions as a Markdown table, beside what was measured."""
    head = (
        "case",
        "sweep",
        "registers",
        "blocks",
        "instructions a step",
        "cycles a step",
        "264x512, predicted",
        f"at {BEST} of the bandwidth",
        "measured before",
    )
    known, rows = measured(), [head, ("---",) * len(head)]
    for p in predictions:
        case, dtype, sweep = p.case[:3]
        before = known.get((case, dtype, sweep, MANY))
        steps = f"{p.instructions / CHUNK:.1f}", f"{p.cycles / CHUNK:.0f}"
        times = f"{p.many_us:.0f} us", f"{p.best_us:.0f} us", "" if before is None else f"{before:.0f} us"
        rows.append((f"{case}, {dtype}", sweep, str(p.registers), str(p.blocks), *steps, *times))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_json(predictions: list[Prediction]) -> dict[str, dict[str, float]]:
    """What is kept of predictions: microseconds by case and size."""
    names = (" ".join(p.case[:3]) for p in predictions)
    times = ({"264x512": p.many_us} for p in predictions)
    return dict(zip(names, times, strict=True))


def slower(now: dict[str, dict[str, float]], kept: dict[str, dict[str, float]], share: float) -> list[str]:
    """The kept predictions that are missing now, or exceeded by more than `share`, in words."""
    missing = [f"{name}: its kernel was not found" for name in kept if name not in now]
    return missing + [
        f"{name}, {size}: {time} us, {kept[name][size]} us before"
        for name, times in now.items()
        for size, time in times.items()
        if name in kept and time > (1 + share) * kept[name][size]
    ]
