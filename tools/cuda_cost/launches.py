"""How long a launch of many pairs takes, from the cost of one chunk: it is played.

A warp sweeps a strip of 32 rows in chunks of 16 columns, and may begin a chunk once the strip above has done
the second chunk after it. A block of four warps takes a band of four strips. Blocks take bands in their order
as multiprocessors get free: the first bands of all pairs first.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

STRIP, CHUNK, WARPS, LEAD = 32, 16, 4, 3
SLICES = 4  # parts of a chunk that alternate between issuing and memory


class Machine(NamedTuple):
    """An H100 80 GB. Its clock is lower where all multiprocessors are busy."""

    multiprocessors: int = 132
    schedulers: int = 4
    registers: int = 65536
    shared: int = 233472  # bytes of a multiprocessor
    reserved: int = 1024  # of that for each block
    clock: float = 1.755e9
    clock_alone: float = 1.98e9
    copy: float = 3.01e12  # bytes a second of a copy, read and written
    share: float = 0.75  # of that which many small blocks reach; fitted
    handover: int = 1000  # cycles to write, to pass or to read a row between blocks; fitted


class Chunk(NamedTuple):
    """What a kernel's chunk costs a warp."""

    instructions: int
    cycles: float  # of a warp that is alone on its scheduler
    bytes: int  # that the chunk reads and writes in global memory


H100 = Machine()


def blocks_at_once(registers: int, shared: int, machine: Machine = H100) -> int:
    """How many blocks of four warps a multiprocessor holds."""
    by_registers = machine.registers // (WARPS * 32 * 8 * ceil(registers / 8))
    return min(by_registers, machine.shared // (shared + machine.reserved))


def even_waves(blocks: int, at_once: int, machine: Machine = H100) -> int:
    """How many of a launch's blocks a multiprocessor holds at a time: csrc/cuda/launch.h."""
    room = machine.multiprocessors * at_once
    return ceil(blocks / (2 * machine.multiprocessors)) if room < blocks <= 2 * room else at_once


def chunks_in_a_row(rows: int, columns: int) -> int:
    """The chunks of one pair that must follow one another."""
    return LEAD * (ceil(rows / STRIP) - 1) + ceil((columns + STRIP - 1) / CHUNK)


def of_many_pairs(
    pairs: int, rows: int, columns: int, chunk: Chunk, blocks: int, machine: Machine = H100
) -> float:
    """Predicted seconds of a batch."""
    return _Launch(pairs, rows, columns, chunk, machine).play(blocks) / machine.clock


@dataclass(eq=False)
class _Warp:
    processor: int
    scheduler: int
    above: _Warp | None
    takes: bool  # from another block
    gives: bool  # to another block
    block: list[int]  # one number: the warps of its block that are at work
    done: list[float] = field(default_factory=list)  # when each chunk was done
    slice: int = 0
    has_edge: bool = False  # the row above has been read
    has_given: bool = False  # and its own last row written, for another block


class _Launch:
    """Events in the order of their times: a warp may begin a chunk, or the next slice of one."""

    def __init__(self, pairs: int, rows: int, columns: int, chunk: Chunk, machine: Machine):
        self.strips = ceil(rows / STRIP)
        self.chunks = chunks_in_a_row(STRIP, columns)
        bands = ceil(self.strips / WARPS)
        self.tickets = [(band, pair) for band in range(bands) for pair in range(pairs)][::-1]
        self.machine = machine
        self.issue = chunk.instructions / SLICES
        self.memory = chunk.bytes * machine.clock / (machine.copy * machine.share) / SLICES
        alone = chunk.cycles / SLICES - self.issue - self.memory * machine.multiprocessors
        self.latency = max(0.0, alone)
        self.free: dict[tuple[int, int], float] = defaultdict(float)  # when a processor's scheduler is free
        self.memory_free = 0.0
        self.last: dict[tuple[int, int], _Warp] = {}  # of a pair's band
        self.waiting: dict[_Warp, list[_Warp]] = defaultdict(list)
        self.events: list[tuple[float, int, _Warp]] = []
        self.count = 0
        self.end = 0.0

    def play(self, blocks: int) -> float:
        """The cycles until all is done."""
        for _ in range(blocks):
            for processor in range(self.machine.multiprocessors):
                self._start_block(processor, 0.0)
        while self.events:
            now, _, warp = heapq.heappop(self.events)
            self._go_on(warp, now)
        return self.end

    def _at(self, time: float, warp: _Warp) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, warp))

    def _start_block(self, processor: int, now: float) -> None:
        if not self.tickets:
            return
        band, pair = self.tickets.pop()
        above, block = self.last.get((pair, band - 1)), [0]
        for number in range(min(WARPS, self.strips - band * WARPS)):
            takes = number == 0 and band > 0
            gives = number == WARPS - 1 and band * WARPS + number + 1 < self.strips
            above = _Warp(processor, number % self.machine.schedulers, above, takes, gives, block)
            block[0] += 1
            self._at(now, above)
        assert above is not None
        self.last[pair, band] = above

    def _go_on(self, warp: _Warp, now: float) -> None:
        handover = self.machine.handover
        if warp.slice == 0 and warp.above is not None and not warp.has_edge:
            needed = min(len(warp.done) + LEAD - 1, self.chunks - 1)
            if len(warp.above.done) <= needed:
                self.waiting[warp.above].append(warp)
                return
            arrives = warp.above.done[needed] + handover * warp.takes
            warp.has_edge = True
            self._at(max(now, arrives) + handover * warp.takes, warp)
        elif warp.slice < SLICES:
            scheduler = warp.processor, warp.scheduler
            issued = self.free[scheduler] = max(now, self.free[scheduler]) + self.issue
            self.memory_free = max(issued, self.memory_free) + self.memory
            warp.slice += 1
            self._at(max(self.memory_free, issued + self.latency), warp)
        elif warp.gives and not warp.has_given:
            warp.has_given = True
            self._at(now + handover, warp)
        else:
            self._end_chunk(warp, now)

    def _end_chunk(self, warp: _Warp, now: float) -> None:
        warp.slice, warp.has_edge, warp.has_given = 0, False, False
        warp.done.append(now)
        self.end = max(self.end, now)
        for below in self.waiting.pop(warp, []):
            self._at(now, below)
        if len(warp.done) < self.chunks:
            self._at(now, warp)
            return
        warp.block[0] -= 1
        if warp.block[0] == 0:
            self._start_block(warp.processor, now)
