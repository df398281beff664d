"""The machine and the software that a run measured with."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import softdp
from common.files import ROOT

PACKAGES = "torch", "numpy", "numba", "pysdtw", "tslearn"
GPU_PACKAGES = "torch", "numba", "numba-cuda", "pysdtw", "ddtw"


def describe_cpu() -> dict[str, Any]:
    return {
        "hardware": {**cpu(), "capability": torch.backends.cpu.get_cpu_capability()},
        "numba_layer": numba_layer(),
        **software(PACKAGES),
    }


def numba_layer() -> str | None:
    """The library of numba's threads; None before the first of them has started."""
    import numba

    try:
        return numba.threading_layer()
    except ValueError:
        return None


def cpu_selected() -> str | None:
    """The instruction set that softdp uses; None where the build has only one."""
    return softdp.build_info().get("cpu_selected")


def describe_gpu(device: torch.device) -> dict[str, Any]:
    """A GPU and its machine; only the machine for a CPU device."""
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
    """Versions (None for a package that is not installed), softdp's build, the commit and the date."""
    return {
        "versions": {
            "python": platform.python_version(),
            "softdp": softdp.__version__,
            **{name: version_of(name) for name in packages},
            "torch": torch.__version__,  # with its build, such as 2.14.1+cu130
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
    """Fields of this GPU by nvidia-smi; None for each field where nvidia-smi is missing."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        command.append(f"--id=GPU-{properties.uuid}")  # its indices and PyTorch's may differ
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, AttributeError, subprocess.SubprocessError):
        return [None] * len(fields)
    values = [value.strip() for value in said.strip().split(",")]
    return [value if value and not value.startswith("[") else None for value in values]


def cpu() -> dict[str, Any]:
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "os": platform.platform()}


def cpu_model() -> str:
    """The CPU's name by Linux; by Python on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """The checkout's commit, with "+" where files have changed. Without git: the variable SOFTDP_COMMIT."""
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SOFTDP_COMMIT")


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
