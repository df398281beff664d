"""The way that a warp usually takes through the loop over chunks of 16 steps.

What the scores are decides which way a branch goes. The rules say what is usual: copies are wide, all lanes
are inside the table, edges come from the warp above through shared memory, nobody has to wait, exponents keep
their base, scores are no costs, pairs have no bandwidth, and nothing is summed by column. Where a kernel
sweeps several recurrences, the way is that of the one whose steps multiply most or, where they multiply
alike, take the least code.
"""

from __future__ import annotations

import operator
import re

from .listing import Function, Instruction

# The high word of the bandwidth, in the arguments of a sweep: -1 where there is none.
BANDWIDTH = "c[0x0][0x254]"
COMPARES = {"LE": operator.le, "LT": operator.lt, "GE": operator.ge, "GT": operator.gt}
COMPARED = re.compile(r"U?P\d, U?PT, (-?\w+), (-?\w+), U?PT$")
COPIES = ("LDGSTS", "LDG", "STG")


class Paths:
    """The ways through a function."""

    def __init__(self, function: Function):
        self.function = function
        self.code = function.code

    def after(self, index: int) -> list[int]:
        """The instructions that may follow that at `index`."""
        one = self.code[index]
        if one.opcode == "EXIT" and not one.guard:
            return []
        following = [index + 1] if index + 1 < len(self.code) else []
        if not one.is_branch:
            return following
        target = [self.function.target(index)]
        return following + target if one.is_conditional else target

    def reached(self, start: int, stop: set[int]) -> set[int]:
        """All instructions from `start` on that are reached without passing one of `stop`."""
        seen: set[int] = set()
        todo = [start]
        while todo:
            index = todo.pop()
            if index not in seen and index not in stop:
                seen.add(index)
                todo += self.after(index)
        return seen

    def chunk_loop(self) -> int | None:
        """Where the loop over chunks begins: the longest one that waits for copies and shuffles.

        A kernel may have a second one, that of pairs with a bandwidth.
        """
        best, head = 0, None
        reached = self._reached_without_bandwidth()
        for index, one in enumerate(self.code[: self._end()]):
            if not one.is_branch or self.function.target(index) >= index or index not in reached:
                continue
            begin = self.function.target(index)
            opcodes = {i.opcode for i in self.code[begin : index + 1]}
            if {"LDGDEPBAR", "SHFL"} <= opcodes and index - begin > best:
                best, head = index - begin, begin
        return head

    def _reached_without_bandwidth(self) -> set[int]:
        """All instructions that pairs without a bandwidth may reach."""
        seen: set[int] = set()
        todo = [0]
        while todo:
            index = todo.pop()
            if index in seen:
                continue
            seen.add(index)
            taken = self._taken_without_bandwidth(index) if self.code[index].is_conditional else None
            todo += (
                self.after(index) if taken is None else [self.function.target(index) if taken else index + 1]
            )
        return seen

    def _end(self) -> int:
        """Where the code begins that is taken by warps whose lanes are apart: it jumps back to all places."""
        apart = [self.function.labels[one.label] for one in self.code if one.name == "BRA.DIV"]
        return min(apart, default=len(self.code))

    def sides(self, index: int, head: int) -> tuple[list[Instruction], list[Instruction]]:
        """What only the way straight on does before the ways of a branch meet, and what only the other."""
        stop = {head, index}
        on, away = self.reached(index + 1, stop), self.reached(self.function.target(index), stop)
        pick = lambda indices: [self.code[k] for k in sorted(indices)]  # noqa: E731
        return pick(on - away), pick(away - on)

    def usual(
        self, head: int, stores: int, bits: int = 128, read_bits: int = 128, longest: int = 6000
    ) -> list[Instruction]:
        """The instructions of one chunk, from the head of the loop to its next turn.

        stores: how many tables it writes. bits, read_bits: of a store of four numbers, and of a copy of four,
        where a kernel takes numbers of several types.
        """
        self.wanted, self.wanted_copies = f".{bits}", f".{read_bits}"
        self.looped = self._inside_loops(head)
        way, index = [], head
        while len(way) < longest:
            one = self.code[index]
            way.append(one)
            if not one.is_branch:
                index += 1
            elif one.is_conditional and not self._is_taken(index, head, _stores(way) >= 4 * stores):
                index += 1
            else:
                index = self.function.target(index)
            if index == head:
                return way
        raise ValueError(f"{self.function.name}: no way back to the head of the loop over chunks")

    def _inside_loops(self, head: int) -> set[int]:
        """The addresses of instructions in loops inside the one that begins at `head`."""
        inside: set[int] = set()
        for index, one in enumerate(self.code[: self._end()]):
            if one.is_branch and head < self.function.target(index) <= index:
                inside |= {other.address for other in self.code[self.function.target(index) : index + 1]}
        return inside

    def _is_taken(self, index: int, head: int, has_stored: bool) -> bool:
        """Whether the branch at `index` is taken, as a rule. has_stored: all stores of the chunk are done."""
        target = self.function.target(index)
        if target == head:
            return True
        without_bandwidth = self._taken_without_bandwidth(index)
        if without_bandwidth is not None:
            return without_bandwidth
        on, away = self.sides(index, head)
        if self._steps(on) != self._steps(away):
            return self._steps(away)
        if self._steps(on) and self._steps(away):
            if abs(_products(on) - _products(away)) >= 8:
                return _products(away) > _products(on)
            return len(away) < len(on)
        if _stores(on) and _stores(away) and self._stores_wanted(on) != self._stores_wanted(away):
            return self._stores_wanted(away)
        if _async(on) and _async(away) and self._copies_wanted(on) != self._copies_wanted(away):
            return self._copies_wanted(away)
        if _unpacks(on) != _unpacks(away):
            return _unpacks(away) == (self.wanted_copies == ".64")
        if has_stored and _stores(on) != _stores(away) and min(_stores(on), _stores(away)) == 0:
            return _stores(on) > 0
        if (_narrow(on) or _wide(on)) and (_narrow(away) or _wide(away)) and _narrow(on) != _narrow(away):
            return _narrow(away) < _narrow(on)
        for rare in (self._sums_columns, _waits, _negates, _changes_the_base, _takes_or_gives_an_edge):
            if rare(on) != rare(away):
                return rare(on)
        if _copies(on) != _copies(away):
            return _copies(away)
        return not on and bool(away) and target > index

    def _taken_without_bandwidth(self, index: int) -> bool | None:
        """Whether the branch at `index` is taken without a bandwidth; None: it does not ask for that."""
        guard = self.code[index].guard
        setter = self._last_to_write(guard.lstrip("@!"), index)
        compared = COMPARED.match(self.code[setter].operands) if setter is not None else None
        if setter is None or not compared:
            return None
        words = [self._word(word, setter) for word in compared.groups()]
        compare = COMPARES.get(self.code[setter].name.split(".")[1])
        if None in words or -1 not in words or not compare:
            return None
        return compare(*words) != ("!" in guard)

    def _word(self, word: str, index: int) -> int | None:
        """0, or the bandwidth's, if a comparison at `index` has that."""
        if word in ("RZ", "URZ"):
            return 0
        setter = self._last_to_write(word, index)
        loads = setter is not None and self.code[setter].opcode in ("LDC", "ULDC")
        return -1 if loads and self.code[setter].operands.endswith(BANDWIDTH) else None

    def _last_to_write(self, register: str, index: int) -> int | None:
        """The last instruction before the one at `index` whose first operand is a register."""
        if not register:
            return None
        writes = (k for k in range(index - 1, -1, -1) if self.code[k].operands.startswith(f"{register},"))
        return next(writes, None)

    def _steps(self, side: list[Instruction]) -> bool:
        """It makes the steps of a chunk, in no loop."""
        return _shuffles([one for one in side if one.address not in self.looped]) >= 8

    def _stores_wanted(self, side: list[Instruction]) -> bool:
        """It stores numbers of the type that is asked for."""
        return any(one.opcode == "STG" and self.wanted in one.name for one in side)

    def _copies_wanted(self, side: list[Instruction]) -> bool:
        """It copies numbers of the type that is asked for, four at once."""
        return any(self.wanted_copies in one.name for one in _async(side))

    def _sums_columns(self, side: list[Instruction]) -> bool:
        """It makes a few steps in a loop."""
        return 0 < _shuffles(side) == _shuffles([one for one in side if one.address in self.looped])


def _waits(side: list[Instruction]) -> bool:
    """It sleeps, since a flag is not up yet."""
    return any(one.opcode == "NANOSLEEP" for one in side) and not _shuffles(side)


def _changes_the_base(side: list[Instruction]) -> bool:
    """It looks for the first lane that is live."""
    return any(one.opcode in ("FLO", "BREV") for one in side)


def _negates(side: list[Instruction]) -> bool:
    """It turns the signs of costs in shared memory."""
    opcodes = {one.opcode for one in side}
    signs = sum(one.opcode == "FADD" and "-" in one.operands for one in side)
    return len(side) < 200 and {"LDS", "STS"} <= opcodes and signs >= 4 and not opcodes & {"SHFL", *COPIES}


def _takes_or_gives_an_edge(side: list[Instruction]) -> bool:
    """It loads the row above from global memory, or hands its own to another block."""
    moves = any(one.opcode in ("LDG", "LD", "STG", "ST", "MEMBAR") for one in side)
    return len(side) <= 40 and moves and not _shuffles(side) and not _wide(side)


def _async(side: list[Instruction]) -> list[Instruction]:
    return [one for one in side if one.opcode == "LDGSTS"]


def _unpacks(side: list[Instruction]) -> bool:
    """It makes floats of numbers of 16 bits, in shared memory."""
    opcodes = {one.opcode for one in side}
    return {"LDS", "HADD2", "STS"} <= opcodes and not opcodes & {"SHFL", *COPIES}


def _products(side: list[Instruction]) -> int:
    return sum(one.opcode == "FMUL" for one in side)


def _copies(side: list[Instruction]) -> bool:
    """It fetches a block or stores one."""
    return _wide(side) + _narrow(side) >= 4


def _stores(side: list[Instruction]) -> int:
    return sum(one.opcode == "STG" and (".128" in one.name or ".64" in one.name) for one in side)


def _shuffles(side: list[Instruction]) -> int:
    return sum(one.name.startswith("SHFL.UP") for one in side)


def _wide(side: list[Instruction]) -> int:
    return sum(one.opcode in COPIES and (".128" in one.name or ".64" in one.name) for one in side)


def _narrow(side: list[Instruction]) -> int:
    return sum(one.opcode in COPIES and not (".128" in one.name or ".64" in one.name) for one in side)
