"""How much memory a call takes, by the tables of Linux."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def added_peak(call: Callable[[], object]) -> int | None:
    """Bytes by which a call raises the peak memory of this process; None outside Linux.

    The peak never falls. The caller must therefore run in a new process, and must have made the inputs
    already.
    """
    before = peak_bytes()
    call()
    return None if before is None else peak_bytes() - before


def peak_bytes() -> int | None:
    """The peak of this program. That of getrusage starts from the peak of the parent process."""
    return bytes_in("/proc/self/status", "VmHWM")


def available_bytes() -> int | None:
    """Memory that new programs can take; None outside Linux."""
    return bytes_in("/proc/meminfo", "MemAvailable")


def bytes_in(table: str, row: str) -> int | None:
    """A row of one of Linux's tables, which count in kB; None where the table or the row is missing."""
    try:
        lines = Path(table).read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{row}:")]
    return found[0] if found else None
