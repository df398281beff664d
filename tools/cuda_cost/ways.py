"""The ways of tiny pairs' warps through csrc/cuda/tiny.h and scale.h, from the first instruction to the last.

One warp sweeps prefixes, another one suffixes, and two only help before and after. Lengths are not given,
scores are no costs, and the gradient is wanted. One kernel takes all recurrences, and scores of all types:
its ways are told apart by what they do for each table.
"""

from __future__ import annotations

from collections.abc import Iterator

from .listing import Function, Instruction
from .paths import Paths

PREFIXES, SUFFIXES, HELPS, SCORES = "prefixes", "suffixes", "helps", "scores"
ROLES = PREFIXES, SUFFIXES, HELPS, SCORES
CELLS = 4  # of a thread in a batch: kAbreast of csrc/cuda/tiny_inputs.h
STEPS = 8  # shuffles of a loop that makes steps, at least


class Ways(Paths):
    """The ways through a whole kernel. tables: read; converts: their numbers have 16 bits."""

    def __init__(self, function: Function, tables: int, converts: bool):
        super().__init__(function)
        self.tables, self.converts = tables, converts
        self.loops = {}  # a loop that makes steps, by the index of its last instruction: how many came before
        for index, one in enumerate(self.code):
            if one.is_branch and self.function.target(index) <= index:
                body = self.code[self.function.target(index) : index]
                if sum(other.name.startswith("SHFL.UP") for other in body) >= STEPS:
                    self.loops[index] = len(self.loops)

    def way(self, role: str, chunks: int, batches: int) -> list[Instruction]:
        """All instructions of a warp. chunks: of 16 steps; batches: of cells whose gradients are stored."""
        numbers = self.tables * CELLS * batches

        def apart(way: list[Instruction]) -> tuple[int, bool, int]:
            away = abs(_exponentials(way) - numbers) + abs(_gradients(way) - numbers)
            return away, _conversions(way) != self.converts, len(way)

        return min(self._ways(role, chunks, batches), key=apart)

    def _ways(self, role: str, chunks: int, batches: int) -> Iterator[list[Instruction]]:
        """The ways of all recurrences and types."""
        begun: list[tuple[list[Instruction], int, dict[int, int]]] = [([], 0, {})]
        while begun:
            way, index, turns = begun.pop()
            while len(way) < 100_000:
                one = self.code[index]
                way.append(one)
                if one.opcode == "EXIT" and not one.guard:
                    yield way
                    break
                target = self.function.target(index) if one.is_branch else index + 1
                if one.is_branch and one.is_conditional:
                    if target <= index:
                        turns[index] = turns.get(index, 0) + 1
                        goes = turns[index] < self._turns(index, chunks, batches)
                    elif self._asks_for_kind(index):
                        begun.append(([*way], target, {**turns}))
                        goes = False
                    else:
                        goes = self._goes(role, index)
                    target = target if goes else index + 1
                index = target
            else:
                raise ValueError(f"{self.function.name}: no way to its end")

    def _asks_for_kind(self, index: int) -> bool:
        """Whether both sides of the branch at `index` load the scores, or store the gradients."""
        on, away = self.sides(index, 0)
        if _shuffles(on) != _shuffles(away):
            return False
        return any(min(count(on), count(away)) >= CELLS for count in (_exponentials, _gradients))

    def _turns(self, index: int, chunks: int, batches: int) -> int:
        """How often a loop is made."""
        if index in self.loops:
            return chunks
        body = self.code[self.function.target(index) : index]
        return batches if any(one.opcode == "STG" for one in body) else 1

    def _goes(self, role: str, index: int) -> bool:
        """Whether a warp takes the branch at `index`, which goes forward."""
        on, away = self.sides(index, 0)
        if not _cold(on) and _cold(away):
            return False
        if _meets(on) != _meets(away):
            return _meets(away)
        for wants, has in (
            (role == PREFIXES, lambda side: self._sweeps(side, 0)),
            (role == SUFFIXES, lambda side: self._sweeps(side, 1)),
            (role == SCORES, _scores),
            (True, _stores),
            (False, _loads),
            (False, _shuffles),
        ):
            if has(on) != has(away):
                return has(away) == wants
        return False

    def _sweeps(self, side: list[Instruction], number: int) -> bool:
        """It has the loop of prefixes (0) or of suffixes (1)."""
        inside = {one.address for one in side}
        return any(self.code[end].address in inside for end, loop in self.loops.items() if loop == number)


def _cold(side: list[Instruction]) -> bool:
    """What is there for warps whose lanes have parted."""
    return any(one.name == "WARPSYNC.COLLECTIVE" for one in side)


def _meets(side: list[Instruction]) -> bool:
    """Where there are cells, the block's threads meet."""
    return any(one.opcode == "BAR" for one in side)


def _scores(side: list[Instruction]) -> bool:
    return any(one.name.startswith("MUFU.LG2") for one in side)


def _exponentials(side: list[Instruction]) -> int:
    return sum(one.name.startswith("MUFU.EX2") for one in side)


def _gradients(side: list[Instruction]) -> int:
    return sum(one.opcode == "STG" for one in side)


def _conversions(side: list[Instruction]) -> bool:
    return any(one.opcode in ("HADD2", "F2FP") for one in side)


def _stores(side: list[Instruction]) -> bool:
    return _gradients(side) > 1


def _loads(side: list[Instruction]) -> bool:
    """Lengths."""
    return any(one.opcode == "LDG" for one in side)


def _shuffles(side: list[Instruction]) -> bool:
    return any(one.opcode == "SHFL" for one in side)
