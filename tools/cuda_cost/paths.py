"""The way that a warp usually takes through the loop over chunks of 16 steps.

What the scores are decides which way a branch goes. The rules say what is usual: copies are wide, all lanes
are inside the table, edges come from the warp above through shared memory, nobody has to wait, and scores are
no costs.
"""

from __future__ import annotations

from .listing import Function, Instruction

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
        """Where the loop over chunks begins: the longest one that waits for copies and shuffles."""
        best, head = 0, None
        for index, one in enumerate(self.code):
            if not one.is_branch or self.function.target(index) >= index:
                continue
            begin = self.function.target(index)
            opcodes = {i.opcode for i in self.code[begin : index + 1]}
            if {"LDGDEPBAR", "SHFL"} <= opcodes and index - begin > best:
                best, head = index - begin, begin
        return head

    def sides(self, index: int, head: int) -> tuple[list[Instruction], list[Instruction]]:
        """What only the way straight on does before the ways of a branch meet, and what only the other."""
        stop = {head, index}
        on, away = self.reached(index + 1, stop), self.reached(self.function.target(index), stop)
        pick = lambda indices: [self.code[k] for k in sorted(indices)]  # noqa: E731
        return pick(on - away), pick(away - on)

    def usual(self, head: int, longest: int = 6000) -> list[Instruction]:
        """The instructions of one chunk, from the head of the loop to its next turn."""
        way, index = [], head
        while len(way) < longest:
            one = self.code[index]
            way.append(one)
            if not one.is_branch:
                index += 1
            elif one.is_conditional and not self._is_taken(index, head):
                index += 1
            else:
                index = self.function.target(index)
            if index == head:
                return way
        raise ValueError(f"{self.function.name}: no way back to the head of the loop over chunks")

    def _is_taken(self, index: int, head: int) -> bool:
        """Whether the branch at `index` is taken, as a rule."""
        target = self.function.target(index)
        if target == head:
            return True
        on, away = self.sides(index, head)
        if (_narrow(on) or _wide(on)) and (_narrow(away) or _wide(away)) and _narrow(on) != _narrow(away):
            return _narrow(away) < _narrow(on)
        for rare in (_spins, _negates, _waits_for_the_device, _loads_an_edge):
            if rare(on) != rare(away):
                return rare(on)
        if _shuffles(on) >= 8 and _shuffles(away) >= 8:
            if self._has_loop(on) != self._has_loop(away):
                return self._has_loop(on)
            return len(away) < len(on)
        return not on and bool(away) and target > index

    def _has_loop(self, side: list[Instruction]) -> bool:
        """Whether it makes its steps in a loop."""
        inside = {one.address for one in side}
        for one in side:
            if not one.is_branch:
                continue
            begin = self.code[self.function.labels[one.label]].address
            if begin in inside and begin <= one.address:
                if _shuffles([other for other in side if begin <= other.address <= one.address]):
                    return True
        return False


def _spins(side: list[Instruction]) -> bool:
    """It sleeps, since a flag is not up yet. The first look at the flag is no part of it."""
    return any(one.opcode == "NANOSLEEP" for one in side[:3])


def _negates(side: list[Instruction]) -> bool:
    """It turns the signs of costs in shared memory."""
    opcodes = {one.opcode for one in side}
    signs = sum(one.opcode == "FADD" and "-" in one.operands for one in side)
    return len(side) < 200 and {"LDS", "STS"} <= opcodes and signs >= 4 and not opcodes & {"SHFL", *COPIES}


def _waits_for_the_device(side: list[Instruction]) -> bool:
    """It hands a row to another block."""
    return len(side) < 40 and any(one.opcode == "MEMBAR" and "GPU" in one.name for one in side)


def _loads_an_edge(side: list[Instruction]) -> bool:
    """It loads the row above from global memory."""
    loads = any(one.opcode in ("LDG", "LD") for one in side)
    return len(side) <= 14 and loads and not any(one.opcode == "SHFL" for one in side)


def _shuffles(side: list[Instruction]) -> int:
    return sum(one.name.startswith("SHFL.UP") for one in side)


def _wide(side: list[Instruction]) -> int:
    return sum(one.opcode in COPIES and (".128" in one.name or ".64" in one.name) for one in side)


def _narrow(side: list[Instruction]) -> int:
    return sum(one.opcode in COPIES and not (".128" in one.name or ".64" in one.name) for one in side)
