"""How long the sweeps of few pairs take: csrc/cuda/relay.h.

The warps of a block go in rounds. One warp makes the steps of a chunk, others bring what the next chunk takes
and take away what the last one made; a round takes as long as the slowest of them. The warp that hands rows
on is left out, and so is what the warps cost each other. Scores are floats in matrices whose rows can be
copied by four.

One kernel sweeps all recurrences. Its ways are told apart by the products that they make of a cell.

Whether CHUNK of warp.py belongs to a round is not known. It was fitted to kernels whose every chunk had three
fences (MEMBAR) and waited for flags and copies, in the warp that makes the steps. Here that warp has one
barrier and nothing of the rest. So the prediction leaves CHUNK out. The table says beside it what it would be
with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

from .launches import CHUNK, H100, LEAD, Machine
from .listing import Function, Instruction
from .paths import Paths
from .predictions import LONG, measured
from .resources import Kernel
from .warp import CHUNK as UNEXPLAINED
from .warp import LATENCIES, LINE, cycles

STRIP = 64  # rows
STEPS = 8  # shuffles of a loop that makes steps, at least
ROLES = "steps", "brings", "takes"
CELLS = {"steps": 32, "brings": 8, "takes": 16}  # of a lane in a chunk


class RelayCase(NamedTuple):
    case: str
    sweep: str
    products: dict[str, int]  # multiplications of a cell, by roles: an fma is none

    @property
    def kernel(self) -> str:  # as readable() has it
        return f"relay_{self.sweep}_strips"


RELAY_CASES = [
    RelayCase("fsd", "forward", {"steps": 5, "brings": 1, "takes": 3}),
    RelayCase("fsd", "backward", {"steps": 3, "brings": 0, "takes": 3}),
    RelayCase("lcs", "forward", {"steps": 5, "brings": 0, "takes": 2}),
    RelayCase("lcs", "backward", {"steps": 2, "brings": 0, "takes": 1}),
]


class RelayPrediction(NamedTuple):
    case: RelayCase
    registers: int
    rounds: dict[str, float]  # cycles of each role
    long_us: float  # predicted microseconds of 1x4096
    most_us: float  # the same with what nothing explains in each chunk


Ways = Iterator[list[Instruction]]


class Rounds(Paths):
    """The ways through one round: scores and gradients are floats, gaps are shared, nothing is summed."""

    def __init__(self, function: Function):
        super().__init__(function)
        end = self._end()
        sizes: dict[str, dict[int, int]] = {}  # of the loops of each role, by their heads
        for index, one in enumerate(self.code[:end]):
            if not one.is_branch or self.function.target(index) > index:
                continue
            head = self.function.target(index)
            body = self.code[head : index + 1]
            role = _role(body) if any(i.opcode == "BAR" for i in body) else None
            if role:
                sizes.setdefault(role, {})[head] = len(body)
        # Short ones are of warps that have nothing to take.
        self.heads = {
            role: [head for head, size in found.items() if size >= max(found.values()) / 2]
            for role, found in sizes.items()
        }

    def way(self, role: str, products: int) -> list[Instruction]:
        """The instructions of a warp's round, for a recurrence that makes so many products of a cell."""

        def apart(way: list[Instruction]) -> tuple[int, int]:
            made = sum(one.opcode == "FMUL" for one in way)
            return abs(made - products * CELLS[role]), len(way)

        return min((way for head in self.heads[role] for way in self._ways([], head, head)), key=apart)

    def _ways(self, way: list[Instruction], index: int, head: int, longest: int = 6000) -> Ways:
        """All ways from `index` to the next turn of the loop, after those instructions."""
        while len(way) < longest:
            one = self.code[index]
            way.append(one)
            target = self.function.target(index) if one.is_branch else index + 1
            if one.is_branch and one.is_conditional and target != head:
                if self._asks_for_recurrence(index, head):
                    yield from self._ways([*way], index + 1, head)
                elif not self._goes(index, head):
                    target = index + 1
            index = target
            if index == head:
                yield way
                return
        raise ValueError(f"{self.function.name}: no way back to the head of the loop over rounds")

    def _asks_for_recurrence(self, index: int, head: int) -> bool:
        """Whether both sides of the branch at `index` bring cells, or take them."""
        if self.function.target(index) <= index:
            return False
        on, away = (_what(side) for side in self.sides(index, head))
        if bool(on["conversion"]) != bool(away["conversion"]):
            return False
        brings = min(on["exponential"], away["exponential"]) >= CELLS["brings"]
        return brings or min(on["wide"], away["wide"]) > 0

    def _goes(self, index: int, head: int) -> bool:
        """Whether a warp takes the branch at `index`."""
        if self.function.target(index) <= index:  # of a loop inside: it is made once
            return False
        on, away = (_what(side) for side in self.sides(index, head))
        for kind, wants_more in (
            ("step", True),
            ("fetch", True),
            ("loop", False),
            ("conversion", False),
            ("sum", False),
            ("wait", False),
            ("base", False),
            ("wide", True),
            ("narrow", False),
        ):
            if on[kind] != away[kind]:
                return (away[kind] > on[kind]) == wants_more
        if on["exponential"] != away["exponential"]:  # before the first chunk there are none
            return away["exponential"] > on["exponential"]
        return not on and bool(away)


def _role(body: list[Instruction]) -> str | None:
    opcodes = Counter(one.opcode for one in body)
    if sum(one.name.startswith("SHFL.UP") for one in body) >= STEPS:
        return "steps"
    if opcodes["LDGSTS"]:
        return "brings"
    return "takes" if opcodes["STG"] and opcodes["LDS"] else None


def _what(side: list[Instruction]) -> Counter[str]:
    """How much of each kind a side does."""
    found: Counter[str] = Counter()
    shuffles = sum(one.name.startswith("SHFL.UP") for one in side)
    found["step"] = shuffles if shuffles >= STEPS else 0
    found["loop"] = 0 < shuffles < STEPS
    for one in side:
        wide = ".128" in one.name or ".64" in one.name
        found["fetch"] += one.opcode == "LDGSTS" and ".128" in one.name
        found["conversion"] += one.opcode in ("F2FP", "HADD2")
        found["sum"] += one.opcode == "DADD"
        found["wait"] += one.opcode == "NANOSLEEP"
        found["base"] += one.opcode in ("FLO", "BREV")
        found["wide"] += one.opcode == "STG" and wide
        found["narrow"] += one.opcode in ("STG", "LDG", "LDGSTS") and not wide
        found["exponential"] += one.name.startswith("MUFU.EX2")
    return found


def chunks_in_a_row(rows: int, columns: int) -> int:
    """The chunks of one pair that must follow one another."""
    return LEAD * (ceil(rows / STRIP) - 1) + ceil((columns + STRIP // 2 - 1) / CHUNK)


def of_one_pair(rows: int, columns: int, chunk: float, machine: Machine = H100) -> float:
    """Predicted seconds. From strip to strip a row is passed through memory and looked for there."""
    passed = (ceil(rows / STRIP) - 1) * (machine.handover + LATENCIES["LDG"])
    return (chunks_in_a_row(rows, columns) * chunk + passed) / machine.clock_alone


def predicted_relay(functions: dict[str, Function], kernels: list[Kernel]) -> list[RelayPrediction]:
    """Predictions of all cases whose kernels are there."""
    registers = {kernel.name: kernel.registers for kernel in kernels}
    found = []
    for case in RELAY_CASES:
        function = functions.get(case.kernel)
        if function is None:
            continue
        rounds = Rounds(function)
        missing = [role for role in ROLES if role not in rounds.heads]
        if missing:
            raise ValueError(f"{case.kernel}: no loop over rounds was found of the warp that {missing[0]}")
        taken = {}
        for role in ROLES:
            way = rounds.way(role, case.products[role])
            taken[role] = cycles(way) + LINE * len({one.address >> 7 for one in way})
        slowest = max(taken.values())
        times = [1e6 * of_one_pair(LONG[1], LONG[1], slowest + more) for more in (0.0, UNEXPLAINED)]
        found.append(
            RelayPrediction(case, registers[case.kernel], taken, *(round(time, 1) for time in times))
        )
    return found


def relay_table(predictions: list[RelayPrediction]) -> str:
    """The predictions as a Markdown table, beside what was measured."""
    head = (
        "few pairs",
        "sweep",
        "registers",
        *(f"cycles a chunk: {role}" for role in ROLES),
        "1x4096, predicted",
        f"with {UNEXPLAINED:.0f} cycles a chunk more",
        "measured before, float32",
    )
    known, rows = measured(), [head, ("---",) * len(head)]
    for p in predictions:
        before = known.get((p.case.case, "float32", p.case.sweep, LONG))
        rows.append(
            (
                p.case.case,
                p.case.sweep,
                str(p.registers),
                *(f"{p.rounds[role]:.0f}" for role in ROLES),
                f"{p.long_us:.0f} us",
                f"{p.most_us:.0f} us",
                "" if before is None else f"{before:.0f} us",
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def relay_as_json(predictions: list[RelayPrediction]) -> dict[str, dict[str, float]]:
    """What is kept of predictions: microseconds by case."""
    return {f"{p.case.case} few {p.case.sweep}": {"1x4096": p.long_us} for p in predictions}
