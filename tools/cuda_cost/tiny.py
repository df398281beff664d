"""How long tiny pairs take: value and gradient of a batch by two launches, csrc/cuda/tiny.h and scale.h.

A block has four warps, one on each scheduler. Its threads meet three times; the way from one meeting to the
next takes as long as the slowest warp's.

LAUNCH was fitted to the kernels before these ones (commit f3aa0b8), in which one warp swept a pair forward
and back: 16x30, FSD in float32, in a graph of 20 passes on an H100 (fe53f13). With it their 16x5 is predicted
5% too high. EARLY is an assumption: half of a launch's cost is hidden where it may begin before the launch
before it ends.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from .launches import H100, Machine
from .listing import Function, Instruction
from .predictions import measured
from .resources import Kernel
from .warp import LINE, cycles_at
from .ways import HELPS, ROLES, Ways

PAIRS, STEPS = 16, 30
CHUNK = 12  # steps: kTinyChunk of csrc/cuda/tiny_inputs.h
LAUNCH = 0.92e-6  # seconds of a launch, beyond its instructions
EARLY = 0.5


SCALE = "scale_pairs"  # as readable() has it


class TinyCase(NamedTuple):
    """A benchmark's case."""

    case: str
    dtype: str
    kernel: str  # as readable() has it
    tables: int  # read, and gradients written

    @property
    def converts(self) -> bool:
        return self.dtype != "float32"


TINY_CASES = [
    TinyCase(case, dtype, f"tiny_pairs<{recurrence}>", tables)
    for dtype in ("float32", "bfloat16")
    for case, recurrence, tables in (("fsd", "Fsd", 2), ("fsd, two gaps", "Fsd", 3), ("lcs", "Lcs", 1))
]


class TinyPrediction(NamedTuple):
    case: TinyCase
    registers: int
    parts: list[float]  # cycles: load, exponentials, sweeps, gradients
    scale: list[float]  # before and after it waits for the launch before
    kernel_us: float
    graph_us: float  # value and gradient in a graph
    plain_us: float  # the same, if no launch were early


def _parts(way: list[Instruction], ends: str) -> list[float]:
    """The cycles of a way's parts, each but the last one up to an instruction named `ends`."""
    times = cycles_at(way)
    found, begin, lines = [], 0.0, set[int]()
    for one, time in zip(way, times, strict=True):
        lines.add(one.address >> 7)
        if one.name.startswith(ends) or one is way[-1]:
            found.append(time - begin + LINE * len(lines))
            begin, lines = time, set()
    return found


def of_tiny(function: Function, tables: int, converts: bool, steps: int = STEPS) -> list[float]:
    """Cycles of the parts of a tiny kernel, for pairs of `steps` by `steps`."""
    ways, chunks = Ways(function, tables, converts), ceil((2 * steps - 1) / CHUNK)
    each = [_parts(ways.way(role, chunks, 2 if steps > 16 else 1), "BAR") for role in ROLES]
    return [max(times) for times in zip(*each, strict=True)]


def of_scale(function: Function, converts: bool) -> list[float]:
    """Cycles of the scale kernel before and after it waits for the launch before."""
    parts = _parts(Ways(function, 1, converts).way(HELPS, 1, 1), "ACQBULK")
    return parts if len(parts) > 1 else [0.0, *parts]


def predict_tiny(
    case: TinyCase, functions: dict[str, Function], registers: int, machine: Machine = H100
) -> TinyPrediction:
    """Of 16 pairs of 30 steps."""
    parts = of_tiny(functions[case.kernel], case.tables, case.converts)
    scale = of_scale(functions[SCALE], case.converts)
    kernel = sum(parts) / machine.clock_alone
    plain = kernel + sum(scale) / machine.clock_alone + 2 * LAUNCH
    early = kernel + scale[1] / machine.clock_alone + (2 - EARLY) * LAUNCH
    times = (round(1e6 * time, 2) for time in (kernel, early, plain))
    return TinyPrediction(case, registers, parts, scale, *times)


def predicted_tiny(functions: dict[str, Function], kernels: list[Kernel]) -> list[TinyPrediction]:
    """Predictions of all cases whose kernels are there."""
    registers = {kernel.name: kernel.registers for kernel in kernels}
    return [
        predict_tiny(case, functions, registers[case.kernel])
        for case in TINY_CASES
        if case.kernel in functions and SCALE in functions
    ]


def tiny_table(predictions: list[TinyPrediction]) -> str:
    """The predictions as a Markdown table, beside what was measured of a graph of 20 passes."""
    head = (
        f"value and gradient, {PAIRS}x{STEPS}",
        "registers",
        "cycles: load, exponentials, sweeps, gradients",
        "kernel, predicted",
        "in a graph, predicted",
        "without early launches, predicted",
        "before, measured",
    )
    known, rows = measured("graph of 20"), [head, ("---",) * len(head)]
    for p in predictions:
        before = known.get((p.case.case, p.case.dtype, "both", (PAIRS, STEPS)))
        times = (f"{time:.1f} us" for time in (p.kernel_us, p.graph_us, p.plain_us))
        cycles = ", ".join(f"{part:.0f}" for part in p.parts)
        told = "" if before is None else f"{before:.1f} us"
        rows.append((f"{p.case.case}, {p.case.dtype}", str(p.registers), cycles, *times, told))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def tiny_as_json(predictions: list[TinyPrediction]) -> dict[str, dict[str, float]]:
    """What is kept of predictions: microseconds by case and size."""
    return {
        f"{p.case.case} {p.case.dtype} tiny": {f"{PAIRS}x{STEPS}, in a graph": p.graph_us}
        for p in predictions
    }
