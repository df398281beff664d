"""The threads of PyTorch and of numba, which the benchmarks keep equal."""

from __future__ import annotations

import numba
import torch


def most_threads() -> int:
    """The number of cores that this process may use."""
    return numba.config.NUMBA_NUM_THREADS


def set_threads(count: int) -> None:
    torch.set_num_threads(count)
    numba.set_num_threads(count)


def counted(threads: int) -> str:
    return f"{threads} thread" + ("" if threads == 1 else "s")
