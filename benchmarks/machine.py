"""What the numbers were measured on, and with."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numba
import torch

import softdp

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = "torch", "numpy", "numba", "pysdtw", "tslearn"


def describe() -> dict[str, Any]:
    """Hardware, threads, versions, commit and date."""
    return {
        "hardware": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "os": platform.platform(),
        },
        "threads": {
            "torch": torch.get_num_threads(),
            "numba": numba.get_num_threads(),
            "numba_layer": numba.threading_layer(),
        },
        "versions": {
            "python": platform.python_version(),
            "softdp": softdp.__version__,
            **{name: version(name) for name in PACKAGES},
        },
        "softdp_build": {k: v for k, v in softdp.build_info().items() if k != "extension"},
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def cpu_model() -> str:
    """The kernel's name for the CPU; Python's where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Neighbours:
    """What other programs, and the host's other machines, take of the CPU from now on.

    Threads that wait for each other wait much longer when one of them loses its core, so that on a busy
    machine a ratio between single-threaded and threaded code says little.
    """

    def __init__(self) -> None:
        self.began, self.busy, self.own = perf_counter(), busy_seconds(), process_time()

    def cores(self) -> float | None:
        """Mean number of cores taken; None where the kernel does not tell."""
        if self.busy is None:
            return None
        taken = busy_seconds() - self.busy - (process_time() - self.own)
        return round(max(taken, 0.0) / (perf_counter() - self.began), 2)


def busy_seconds() -> float | None:
    """CPU time of all cores since boot, stolen time included; None outside Linux."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def commit() -> str | None:
    """The checkout's commit, "+" where it has changes; None outside a git checkout."""
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
