"""The soft-DTW of other libraries on a GPU. As a script, it builds what ddtw builds at its first use.

pysdtw has numba CUDA kernels, a block per pair and a thread per row. Matrices are square here, as for all.
ddtw has a CUDA C++ extension, a block per pair. The smaller of rows and columns can be at most 1024.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# numba warns of every launch that leaves a part of the GPU idle, as all small ones do.
os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")

import torch

from common.problems import GAMMA, Implementation, first, on_costs


@dataclass(frozen=True)
class Missing:
    """A library that cannot run here. `reason` is one line."""

    name: str
    reason: str


def peers(device: torch.device, without: Collection[str] = ()) -> list[Implementation | Missing]:
    """Both libraries, each as an implementation or as missing. On a CPU their CPU code runs."""
    return [
        Missing(name, "left out by --without") if name in without else peer(name, build, device)
        for name, build in (("pysdtw", pysdtw), ("ddtw", ddtw))
    ]


def peer(
    name: str, build: Callable[[torch.device], Implementation], device: torch.device
) -> Implementation | Missing:
    """Runs the library once, so that one that cannot compile is reported once and not at every size."""
    try:
        implementation = build(device)
        implementation.score(torch.zeros(1, 2, 2, device=device))
        synchronize(device)
    except ModuleNotFoundError as error:
        return Missing(name, "not installed" if error.name == name else one_line(error))
    except Exception as error:  # whatever a compiler, a driver or numba may raise
        return Missing(name, one_line(error))
    return implementation


def pysdtw(device: torch.device) -> Implementation:
    import pysdtw

    # On a GPU its table is float32 during the sweep, unlike on a CPU. The weights are differences of its
    # cells.
    module = pysdtw.SoftDTW(GAMMA, dist_func=first, use_cuda=device.type == "cuda")
    return Implementation("pysdtw", on_costs(module), costs=True, slope=5e-4)


def ddtw(device: torch.device) -> Implementation:
    from ddtw import SDTW

    backend = "cuda_cpp" if device.type == "cuda" else "torch"
    module: Any = SDTW(gamma=GAMMA, normalization="none", backend=backend)
    return Implementation("ddtw", lambda cost: module(C=cost), costs=True, mean=True, slope=3e-5)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def one_line(error: BaseException) -> str:
    """The type and the first line of an error, at most 120 characters."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {' '.join(lines[0].split())}" if lines else type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


if __name__ == "__main__":
    if not torch.cuda.is_available():
        raise SystemExit("peers.py: error: PyTorch sees no GPU")
    for found in peers(torch.device("cuda")):
        print(f"{found.name}: {found.reason if isinstance(found, Missing) else 'ready'}")
