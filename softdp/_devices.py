"""Which devices have kernels, and how checked arguments are handed to them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from . import _checks, _library
from ._dtypes import arithmetic

Arguments = TypeVar("Arguments", _checks.FsdArguments, _checks.LcsArguments, _checks.AlignmentArguments)


def on_gpu(device: torch.device) -> bool:
    """Whether this device's operators are the CUDA operators."""
    return device.type == "cuda"


def has_kernel(device: torch.device) -> bool:
    """Whether the operators have a kernel for this device; other devices run the reference."""
    return device.type in ("cpu", "meta") or (on_gpu(device) and _library.runs_cuda(device.index))


def taken(args: Arguments) -> Arguments:
    """Checked arguments as the operators take them.

    The operators read half scores as they are, beside gaps in the dtype of the arithmetic, if all gaps are
    numbers. Otherwise all scores are converted. On a GPU lengths are copied to the scores' device, without
    waiting for the copy.
    """
    scores = args[0]
    if not isinstance(args, _checks.LcsArguments) and not _read_as_they_are(args.match, *args[1:-2]):
        args = args.computed()
    x_lengths, y_lengths = following(args.x_lengths, args.y_lengths, scores.device)
    return args._replace(x_lengths=x_lengths, y_lengths=y_lengths)


def _read_as_they_are(match: Tensor, *others: Tensor | None) -> bool:
    """Whether the operators read these gaps beside these scores without a conversion."""
    dtype = match.dtype
    for t in others:  # without a generator, which takes longer than the check
        if t is not None and t.dtype != dtype:
            break
    else:
        return True
    wide = arithmetic(dtype)
    return all(t.dtype == wide and t.numel() == 1 and not t.requires_grad for t in others if t is not None)


def following(
    x_lengths: Tensor | None, y_lengths: Tensor | None, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Lengths on the scores' device, if it is a GPU."""
    if not on_gpu(device):
        return x_lengths, y_lengths
    return _copied(x_lengths, "x_lengths", device), _copied(y_lengths, "y_lengths", device)


def _copied(lengths: Tensor | None, name: str, device: torch.device) -> Tensor | None:
    if lengths is None:
        return None
    if lengths.device.type != device.type and capturing():
        raise ValueError(
            f"{name} must be on the scores' device while a CUDA graph is captured: the graph would keep "
            "the values, or the address, of this moment"
        )
    return lengths.to(device, non_blocking=True)


def capturing() -> bool:
    """Whether the work of the current stream goes into a CUDA graph."""
    return not torch.compiler.is_compiling() and torch.cuda.is_current_stream_capturing()
