"""What losses and distances do with features before they compare them."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _checks


def valid(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Features in the dtype of the arithmetic, with the padding, which may hold anything, set to 0."""
    x = _checks.computed(x)
    if lengths is None:
        return x
    steps = torch.arange(x.shape[1], device=x.device)
    padding = steps >= lengths.to(x.device, non_blocking=True)[:, None]
    return x.masked_fill(padding[..., None], 0)


def autocast_rounds(x: Tensor) -> bool:
    """Whether autocast would have products of such tensors in half precision."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
