"""How busy other programs keep the CPU during a measurement."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter


class Neighbours:
    """The CPU time that other programs, and other virtual machines of the host, take from now on.

    Threads that wait for each other wait much longer when one of them loses its core. On a busy machine a
    ratio between single-threaded and threaded code therefore says little.
    """

    def __init__(self) -> None:
        self.began, self.busy, self.own = perf_counter(), busy_seconds(), own_seconds()

    def cores(self) -> float | None:
        """The mean number of cores that they took; None outside Linux."""
        if self.busy is None:
            return None
        taken = busy_seconds() - self.busy - (own_seconds() - self.own)
        return round(max(taken, 0.0) / (perf_counter() - self.began), 2)


def own_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def busy_seconds() -> float | None:
    """CPU time of all cores since boot, stolen time included; None outside Linux."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
