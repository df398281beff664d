"""Reads the machine code that nvdisasm lists with -hex -c, with the control bits of each instruction.

An instruction of sm_70 to sm_90 has 128 bits. Bits 105 to 125 are the compiler's orders to the scheduler: how
many cycles to wait before the next instruction (stall); which of six barriers the instruction raises until
its result is there, and until its operands are read; and for which barriers it waits.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple

FUNCTION = re.compile(r"^\.text\.(\S+):$", re.MULTILINE)
LABEL = re.compile(r"(\.L_x_\d+):$")
FIRST_HALF = re.compile(
    r"/\*([0-9a-f]+)\*/\s+(@!?U?P\w+\s+)?(\S+)\s*(.*?)\s*;\s*/\* 0x[0-9a-f]{16} \*/$",
)
SECOND_HALF = re.compile(r"/\* 0x([0-9a-f]{16}) \*/$")
TARGET = re.compile(r"`\((\.L_x_\d+)\)")


class Instruction(NamedTuple):
    """One instruction. `guard` is the predicate that it depends on, "" if none; `label`, where it goes."""

    address: int
    guard: str
    name: str
    operands: str
    control: int
    label: str

    @property
    def opcode(self) -> str:
        """The name without suffixes: LDS of LDS.128."""
        return self.name.partition(".")[0]

    @property
    def stall(self) -> int:
        return max(1, self.control & 15)

    @property
    def until_written(self) -> int:
        """The barrier that is up until the result is there; 7 for none."""
        return self.control >> 5 & 7

    @property
    def until_read(self) -> int:
        """The barrier that is up until the operands are read; 7 for none."""
        return self.control >> 8 & 7

    @property
    def waits(self) -> list[int]:
        return [barrier for barrier in range(6) if self.control >> (11 + barrier) & 1]

    @property
    def is_branch(self) -> bool:
        return self.opcode == "BRA" and self.name != "BRA.DIV" and bool(self.label)

    @property
    def is_conditional(self) -> bool:
        """Of a branch: a second predicate stands before its label."""
        return bool(self.guard) or not self.operands.startswith("`")


@dataclass
class Function:
    """The instructions of a kernel in their order, and where each label lies among them."""

    name: str  # mangled
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def target(self, index: int) -> int:
        """Where the branch at `index` goes."""
        return self.labels[self.code[index].label]


def names(listing: str) -> list[str]:
    """The mangled names of a listing's functions."""
    return FUNCTION.findall(listing)


def functions(listing: str, wanted: Container[str]) -> list[Function]:
    """The functions of a listing whose names are wanted."""
    found: list[Function] = []
    half: Instruction | None = None
    reads = False
    for line in map(str.strip, listing.splitlines()):
        if begins := FUNCTION.match(line):
            reads = begins[1] in wanted
            found += [Function(begins[1])] * reads
        elif not reads:
            continue
        elif at := LABEL.match(line):
            found[-1].labels[at[1]] = len(found[-1].code)
        elif first := FIRST_HALF.match(line):
            address, guard, name, operands = first.groups()
            goes = TARGET.search(operands)
            half = Instruction(
                int(address, 16), (guard or "").strip(), name, operands, 0, goes[1] if goes else ""
            )
        elif (second := SECOND_HALF.match(line)) and half:
            found[-1].code.append(half._replace(control=int(second[1], 16) >> 41 & 0x1FFFFF))
            half = None
    return found
