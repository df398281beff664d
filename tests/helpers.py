"""What several test files need: inputs, and a score with its gradients in one call."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"  # values that others' code computed


def run_python(
    *arguments: str | Path, folder: Path | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Python in a process of its own, in an empty folder where none is named.

    In the checkout it would import the source, which holds no build where softdp is installed.
    """
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, **(variables or {})}
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(
            command, cwd=folder or empty, env=environment, capture_output=True, text=True, timeout=300
        )


def score_and_gradients(score: Callable, tensors: Sequence[Tensor | None], **options):
    """score(*tensors, **options) and the gradients of its sum, None for None."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors]
    value = score(*leaves, **options)
    wanted = [t for t in leaves if t is not None]
    gradients = iter(torch.autograd.grad(value.sum(), wanted))
    return value.detach(), [None if t is None else next(gradients) for t in leaves]


def scores(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniform in [-1, 1]."""
    return torch.rand(size, dtype=dtype) * 2 - 1


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Within tolerance, absolute below 1 and relative above; NaN equals NaN."""
    torch.testing.assert_close(
        actual, expected, rtol=tolerance, atol=tolerance, equal_nan=True, check_dtype=False
    )
