"""The dtypes of scores and features, and the dtype that each is computed in."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
HALF = (torch.float16, torch.bfloat16)


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """The dtype that scores of this dtype are computed in: float32 for both half types."""
    return torch.float32 if dtype in HALF else dtype


def computed(tensor: Tensor) -> Tensor:
    """The tensor in the dtype that it is computed in."""
    return tensor.float() if tensor.dtype in HALF else tensor
