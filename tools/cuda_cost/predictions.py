"""Which kernels are predicted, what their launches take, and what was measured of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from .launches import CHUNK, LEAD, STRIP, WARPS, Chunk, blocks_at_once, of_many_pairs, of_one_pair
from .listing import Function
from .paths import Paths
from .resources import Kernel
from .warp import chunk_cycles

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
LONG, MANY = (1, 4096), (264, 512)  # pairs, steps of both sequences

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
    def shared(self) -> int:
        """Bytes of shared memory of a block: BandMemory of csrc/cuda/bands.h."""
        edges = (WARPS + 1) * LEAD * CHUNK * EDGE[self.sweep]
        return edges + WARPS * (CHUNK * 8 + self.arrays * ARRAY) + 16


CASES = [
    Case("fsd", "float32", "forward", "forward_bands<Recipe<Fsd, float, true, 1, 3, false> >", 2, 12),
    Case("fsd", "float32", "backward", "backward_bands<float, Fsd>", 2, 12),
    Case("lcs", "float32", "forward", "forward_bands<Recipe<Lcs, float, true, 0, 0, false> >", 1, 8),
    Case("lcs", "float32", "backward", "backward_bands<float, Lcs>", 1, 8),
    Case("fsd", "bfloat16", "forward", "forward_bands<Recipe<Fsd, Sixteen, true, 1, 3, false> >", 2, 8),
    Case("fsd", "bfloat16", "backward", "backward_bands<Sixteen, Fsd>", 2, 8),
    Case("lcs", "bfloat16", "forward", "forward_bands<Recipe<Lcs, Sixteen, true, 0, 0, false> >", 1, 6),
    Case("lcs", "bfloat16", "backward", "backward_bands<Sixteen, Lcs>", 1, 6),
]


class Prediction(NamedTuple):
    case: Case
    registers: int
    blocks: int  # that a multiprocessor holds
    instructions: int  # of a chunk
    cycles: float  # of a chunk, of a warp alone
    long_us: float  # predicted microseconds of 1x4096
    many_us: float  # and of 264x512


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
        way = paths.usual(head, case.stores)
        blocks = blocks_at_once(registers[case.kernel], case.shared)
        chunk = Chunk(len(way), chunk_cycles(way), case.bytes * STRIP * CHUNK)
        times = of_one_pair(*(LONG[1],) * 2, chunk), of_many_pairs(*MANY, MANY[1], chunk, blocks)
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
        "1x4096, predicted",
        "measured",
        "264x512, predicted",
        "measured",
    )
    known, rows = measured(), [head, ("---",) * len(head)]
    for p in predictions:
        case, dtype, sweep = p.case[:3]
        told = [known.get((case, dtype, sweep, size)) for size in (LONG, MANY)]
        texts = ["" if time is None else f"{time:.0f} us" for time in told]
        steps = f"{p.instructions / CHUNK:.1f}", f"{p.cycles / CHUNK:.0f}"
        times = f"{p.long_us:.0f} us", texts[0], f"{p.many_us:.0f} us", texts[1]
        rows.append((f"{case}, {dtype}", sweep, str(p.registers), str(p.blocks), *steps, *times))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_json(predictions: list[Prediction]) -> dict[str, dict[str, float]]:
    """What is kept of predictions: microseconds by case and size."""
    names = (" ".join(p.case[:3]) for p in predictions)
    times = ({"1x4096": p.long_us, "264x512": p.many_us} for p in predictions)
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
