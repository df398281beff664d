"""softdp with its other instruction sets. SOFTDP_CPU selects one when softdp is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import softdp
from common import fresh
from common.machine import cpu_selected
from cpu.cases import CASES
from cpu.threads import set_threads
from cpu.timing import QUICK, Effort
from cpu.timing import measure as measure_cases


def others() -> list[str]:
    """The built sets that this machine can run, except the one in use."""
    own = cpu_selected()
    return [name for name in softdp.build_info()["cpu"] if own and name != own and not trouble(name)]


def trouble(name: str) -> str | None:
    """Why softdp does not run with this set; None where it does."""
    try:
        found = fresh.call("common.machine", "cpu_selected", {}, SOFTDP_CPU=name)
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
    entries = fresh.call("cpu.instruction_sets", "here", arguments, SOFTDP_CPU=name)
    return [{"isa": name, **entry} for entry in entries]


def here(B: int, N: int, threads: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    entries = []
    for count in threads:
        set_threads(count)
        measured = measure_cases(CASES, B, N, QUICK if quick else Effort())
        entries += [{**entry, "threads": count} for entry in measured]
    return entries
