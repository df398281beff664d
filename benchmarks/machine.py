"""What the numbers were measured on, and with."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

import softdp

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = "torch", "numpy", "numba", "pysdtw", "tslearn"
GPU_PACKAGES = "torch", "numba", "numba-cuda", "pysdtw", "ddtw"


def describe() -> dict[str, Any]:
    """Hardware, versions, commit and date."""
    return {
        "hardware": {**cpu(), "capability": torch.backends.cpu.get_cpu_capability()},
        "numba_layer": numba_layer(),
        **software(PACKAGES),
    }


def numba_layer() -> str | None:
    """What numba's threads are made with; None before there are any."""
    import numba

    try:
        return numba.threading_layer()
    except ValueError:
        return None


def most_threads() -> int:
    """The cores that this process may use."""
    import numba

    return numba.config.NUMBA_NUM_THREADS


def set_threads(count: int) -> None:
    """PyTorch's and numba's."""
    import numba

    torch.set_num_threads(count)
    numba.set_num_threads(count)


def cpu_selected() -> str | None:
    """The instruction set that softdp runs with; None where it has no choice."""
    return softdp.build_info().get("cpu_selected")


def available_memory() -> int | None:
    """Bytes; None outside Linux."""
    return bytes_in("/proc/meminfo", "MemAvailable")


def bytes_in(table: str, row: str) -> int | None:
    """A row of one of Linux's tables of memory, which are in kB; None where there is none."""
    try:
        lines = Path(table).read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{row}:")]
    return found[0] if found else None


def describe_gpu(device: torch.device) -> dict[str, Any]:
    """The same of a GPU; without one, of the machine."""
    hardware = {**cpu(), "gpu": None}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        driver, clock = nvidia_smi(properties, "driver_version", "clocks.max.sm")
        hardware |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "sms": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": getattr(properties, "L2_cache_size", None),
            "max_sm_mhz": clock and int(clock),
            "driver": driver,
        }
    return {"hardware": hardware, "cuda": torch.version.cuda, **software(GPU_PACKAGES)}


def software(packages: Sequence[str]) -> dict[str, Any]:
    """Versions, None for a package that is not installed; softdp's build; commit and date."""
    return {
        "versions": {
            "python": platform.python_version(),
            "softdp": softdp.__version__,
            **{name: version_of(name) for name in packages},
            "torch": torch.__version__,  # names its build, as in 2.14.1+cu130; the installer may not
        },
        "softdp_build": {k: v for k, v in softdp.build_info().items() if k != "extension"},
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def nvidia_smi(properties: Any, *fields: str) -> list[str | None]:
    """What the driver's own tool says of this GPU; None for each where it is not there."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        command.append(f"--id=GPU-{properties.uuid}")  # its numbers and PyTorch's may differ
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, AttributeError, subprocess.SubprocessError):
        return [None] * len(fields)
    values = [value.strip() for value in said.strip().split(",")]
    return [value if value and not value.startswith("[") else None for value in values]


def cpu() -> dict[str, Any]:
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "os": platform.platform()}


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
        self.began, self.busy, self.own = perf_counter(), busy_seconds(), own_seconds()

    def cores(self) -> float | None:
        """Mean number of cores taken; None where the kernel does not tell."""
        if self.busy is None:
            return None
        taken = busy_seconds() - self.busy - (own_seconds() - self.own)
        return round(max(taken, 0.0) / (perf_counter() - self.began), 2)


def own_seconds() -> float:
    """CPU time of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


def busy_seconds() -> float | None:
    """CPU time of all cores since boot, stolen time included; None outside Linux."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def commit() -> str | None:
    """The checkout's commit, "+" where it has changes; outside a git checkout what SOFTDP_COMMIT says."""
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SOFTDP_COMMIT")


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
