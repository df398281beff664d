"""softdp with another of its instruction sets, which SOFTDP_CPU chooses when Python imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fresh
from cases import CASES
from machine import cpu_selected, set_threads
from timing import QUICK, Effort
from timing import measure as measure_cases

import softdp


def others() -> list[str]:
    """Those that were built and run on this machine, besides the one that runs here."""
    own = cpu_selected()
    return [name for name in softdp.build_info()["cpu"] if own and name != own and not trouble(name)]


def trouble(name: str) -> str | None:
    """Why softdp does not run with it, if so."""
    try:
        found = fresh.call("machine", "cpu_selected", {}, SOFTDP_CPU=name)
    except fresh.FailedError as error:
        return str(error)
    if found != name:
        return f"softdp runs with {found}" if found else "this softdp has no choice"
    return None


def measure(name: str, size: tuple[int, int], threads: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    reason = trouble(name)
    if reason:
        return [{"isa": name, "not_run": reason}]
    arguments = {"B": size[0], "N": size[1], "threads": list(threads), "quick": quick}
    entries = fresh.call("instruction_sets", "here", arguments, SOFTDP_CPU=name)
    return [{"isa": name, **entry} for entry in entries]


def here(B: int, N: int, threads: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    entries = []
    for count in threads:
        set_threads(count)
        measured = measure_cases(CASES, B, N, QUICK if quick else Effort())
        entries += [{**entry, "threads": count} for entry in measured]
    return entries
