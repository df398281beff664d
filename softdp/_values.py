"""Checks of one argument at a time: a tensor, lengths, a gap, a number.

They look at shapes, dtypes, devices and Python numbers. They look at values once, to compare lengths on the
CPU with their range. While a graph is traced the operators make this comparison instead.
"""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from . import _torch
from ._dtypes import DTYPES, arithmetic

# A bandwidth of more steps than any pair has is no bandwidth. The operators take 64 bits.
MOST_BANDWIDTH = 1 << 48


def gamma_number(gamma: float, trained: str) -> None:
    """A finite number that is not negative.

    trained: what to write for a gamma that is to be trained; {g} stands for it in divisions.
    """
    if not is_number(gamma):
        raise TypeError(f"gamma must be a number, got {kind(gamma)}{_instead_of_gamma(gamma, trained)}")
    if not (0 <= gamma < math.inf):
        raise ValueError(f"gamma must be finite and not negative, got {gamma}")


def _instead_of_gamma(gamma: object, trained: str) -> str:
    if not isinstance(gamma, Tensor):
        return ""
    if _is_one(gamma) and not gamma.requires_grad:
        return ": write gamma=float(gamma)"
    if not trained:
        return ""
    of_pairs = gamma.dim() == 1 and gamma.numel() > 1
    if gamma.numel() != 1 and (not of_pairs or "g.item()" in trained):
        return ""
    return f": with g for it, write {trained.format(g='g[:, None, None]' if of_pairs else 'g')}"


def threshold_number(threshold: float) -> None:
    """A number that is not NaN."""
    if not is_number(threshold):
        instead = ": write threshold=float(threshold)" if _is_one(threshold) else ""
        raise TypeError(f"threshold must be a number, got {kind(threshold)}{instead}")
    if threshold != threshold:
        raise ValueError("threshold must not be NaN")


def bandwidth_number(bandwidth: int | None, boundary: str = "") -> int:
    """The operators' option: a whole number that is not negative, -1 for None. "local" has no bandwidth."""
    if bandwidth is None:
        return -1
    if boundary == "local":
        raise ValueError(f'bandwidth must be None with the boundary "local", got {bandwidth!r}')
    if not isinstance(bandwidth, numbers.Integral) or isinstance(bandwidth, bool):
        instead = ": write bandwidth=int(bandwidth)" if is_number(bandwidth) or _is_one(bandwidth) else ""
        instead = ": write bandwidth=None" if bandwidth == math.inf else instead
        raise TypeError(f"bandwidth must be a whole number or None, got {kind(bandwidth)}{instead}")
    if bandwidth < 0:
        raise ValueError(f"bandwidth must not be negative, got {bandwidth}")
    return min(int(bandwidth), MOST_BANDWIDTH)


def lengths(value: Tensor | None, name: str, pairs: int, longest: int, of: str, device: torch.device) -> None:
    """Lengths of `pairs` pairs from 0 to `longest`, beside the tensor `of` on `device`, or None."""
    if value is None:
        return
    if not isinstance(value, Tensor):
        instead = as_tensor(value, name)
        if is_number(value):
            whole = isinstance(value, numbers.Integral)
            filled = f": write torch.full(({pairs},), {value})"
            instead = filled if whole else "; gamma goes by name, to a module when it is made: gamma=0.1"
        expected = f"an int32 or int64 tensor of shape ({pairs},) or None"
        raise TypeError(f"{name} must be {expected}, got {kind(value)}{instead}")
    if value.dtype == torch.bool and value.dim() == 2:
        raise TypeError(
            f"{name} must be the number of steps of each pair, shape ({pairs},), got a mask of shape "
            f"{tuple(value.shape)}: write {name}.sum(1), or (~{name}).sum(1) if True marks padding"
        )
    if value.dtype not in (torch.int32, torch.int64):
        fractions = (
            f" if these are numbers of steps, ({name} * {_padded(name, of)}).round().long() "
            "if they are fractions"
        )
        raise TypeError(
            f"{name} must be int32 or int64, got {value.dtype}: write {name}.long()"
            + fractions * value.is_floating_point()
        )
    if value.dim() != 1 or value.shape[0] != pairs:
        shape = tuple(value.shape)
        written = {
            (pairs, 1): f": write {name}.squeeze(1)",
            (pairs, longest): f": write {name}.sum(1) if it is a mask",
        }
        instead = next((text for fitting, text in written.items() if fitting == shape), "")
        raise ValueError(f"{name} must have shape ({pairs},), got {shape}{instead}")
    if value.device.type != "cpu" and value.device != device:
        raise ValueError(f"{name} must be on the CPU or on {of}'s device {device}, got {value.device}")
    if value.device.type != "cpu" or pairs == 0 or _torch.values_hidden():
        return
    low, high = (int(v) for v in value.aminmax())
    if low < 0:
        raise ValueError(f"{name} must lie in [0, {longest}], got {low}")
    if high > longest:
        raise ValueError(
            f"{name} must lie in [0, {longest}], got {high}: {name[0]} has {longest} steps; "
            "if an encoder changed their number, give the lengths of its output"
        )


def _padded(name: str, of: str) -> str:
    """How to write the number of steps of x or y, with the padding, where `of` is the tensor at hand."""
    if of == "x":  # features
        return f"{name[0]}.shape[1]"
    return f"{of}.shape[{1 if name == 'x_lengths' else 2}]"


def floating(tensor: Tensor, name: str, shape: str) -> None:
    """A floating-point tensor with as many dimensions as `shape` names, "(B, N, M)"."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a tensor of shape {shape}, got {kind(tensor)}{as_tensor(tensor, name)}"
        )
    if tensor.dtype not in DTYPES:
        instead = "" if tensor.is_complex() else f": write {name}.float()"
        raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, got {tensor.dtype}{instead}")
    rank = shape.count(",") + 1
    if tensor.dim() != rank:
        instead = {
            rank - 1: f": one pair is {name}[None]"
            + f"; of sequences of one feature it is {name}[..., None]" * shape.endswith("D)"),
            rank + 1: f": {name}.flatten(0, 1) makes one dimension of the first two",
        }.get(tensor.dim(), "")
        raise ValueError(
            f"{name} must have {rank} dimensions {shape}, got shape {tuple(tensor.shape)}{instead}"
        )


def agree(tensor: Tensor, name: str, other: Tensor, of: str) -> None:
    """The same device and dtype. Under autocast, which computes in float32, half types and float32 mix."""
    if tensor.device != other.device:
        raise ValueError(f"{name} must be on {of}'s device {other.device}, got {tensor.device}")
    if tensor.dtype == other.dtype:
        return
    narrow = torch.float64 not in (tensor.dtype, other.dtype)
    device = tensor.device.type
    if not (narrow and _torch.has_autocast(device) and torch.is_autocast_enabled(device)):
        raise TypeError(
            f"{name} must have {of}'s dtype {other.dtype}, got {tensor.dtype}: write {name}.to({of}.dtype)"
        )


def gap(value: Tensor | float, name: str, match: Tensor) -> Tensor:
    """A gap as a tensor with 3 dimensions, each 1 or that of match."""
    value = _gap_tensor(value, name, match)
    if not _broadcasts(value, match):
        features = value.dim() == 3 and value.shape[::2] == match.shape[::2] and name == "insert"
        raise ValueError(
            f"{name} must be broadcastable to match's shape {tuple(match.shape)}, "
            f"got shape {tuple(value.shape)} (one gap per pair has shape (B, 1, 1))"
            + "; of features x (B, N, D) and y (B, M, D) write softdp.fsd_loss(x, y, target)"
            * features
        )
    return value[(None,) * (3 - value.dim())] if value.dim() < 3 else value


def gap_of_pairs(value: Tensor | float, name: str, match: Tensor) -> Tensor:
    """A gap with 3 dimensions, each 1 or that of match. With one dimension it is one number per pair."""
    value = _gap_tensor(value, name, match)
    B = match.shape[0]
    if value.dim() < 2 and value.numel() in (1, B):
        return value.reshape(-1, 1, 1)
    if value.dim() < 2 or not _broadcasts(value, match):
        raise ValueError(
            f"{name} must be a number or one per pair, of shape ({B},) or ({B}, 1, 1), or, with two or three "
            f"dimensions, broadcastable to match's shape {tuple(match.shape)}, got shape {tuple(value.shape)}"
            + _gap_of_steps(tuple(value.shape), name, match.shape)
        )
    return value[None] if value.dim() == 2 else value


def _broadcasts(gap: Tensor, match: Tensor) -> bool:
    """Whether a gap of up to three dimensions broadcasts to match."""
    shape = (1,) * (3 - gap.dim()) + tuple(gap.shape)
    return len(shape) == 3 and all(s in (1, full) for s, full in zip(shape, match.shape, strict=True))


def _gap_of_steps(shape: tuple[int, ...], name: str, full: torch.Size) -> str:
    """What to write if a gap has one number for each step of x or of y."""
    written = {
        (full[1],): f"{name}[None, :, None]",
        (full[2],): f"{name}[None, None]",
        (full[0], full[1]): f"{name}[:, :, None]",
        (full[0], full[2]): f"{name}[:, None]",
    }.get(shape)
    return f": write {written}" if written else ""


def _gap_tensor(value: Tensor | float, name: str, match: Tensor) -> Tensor:
    """A number as a tensor (1, 1, 1) in the dtype of the arithmetic. A tensor stays as it is."""
    if not isinstance(value, Tensor):
        if not is_number(value):
            raise TypeError(f"{name} must be a number or a tensor, got {kind(value)}{as_tensor(value, name)}")
        return torch.full((1, 1, 1), value, dtype=arithmetic(match.dtype), device=match.device)
    if value.dtype not in DTYPES:
        raise TypeError(
            f"{name} must have match's dtype {match.dtype}, got {value.dtype}: write {name}.to(match.dtype)"
        )
    agree(value, name, match, "match")
    return value


def is_number(value: object) -> bool:
    """Whether a value is a real number of Python or NumPy. A bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_one(value: object) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def as_tensor(value: object, name: str) -> str:
    """What to write if an array or a list was given instead of a tensor."""
    if type(value).__module__ == "numpy":
        return f": write torch.as_tensor({name})"
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        padded = f"torch.nn.utils.rnn.pad_packed_sequence({name}, batch_first=True)"
        return f": write {padded}, which gives the tensor and its lengths"
    if not isinstance(value, (list, tuple)):
        return ""
    items = _items(value)
    if not items:
        return f": write torch.tensor({name})"
    tensors = name if items == "tensors" else f"[torch.as_tensor(a) for a in {name}]"
    if all(item.shape == value[0].shape for item in value):
        return f": write torch.stack({tensors})"
    if name in ("x", "y"):
        return f": write torch.nn.utils.rnn.pad_sequence({tensors}, batch_first=True) and give {name}_lengths"
    return ": pad them to one shape with torch.nn.functional.pad and give x_lengths and y_lengths"


def _items(value: object) -> str:
    """What a list holds, "tensors" or "arrays". It is "" for all other values."""
    if not isinstance(value, (list, tuple)) or len(value) == 0:
        return ""
    if all(isinstance(item, Tensor) for item in value):
        return "tensors"
    return "arrays" * all(type(item).__module__ == "numpy" and item.ndim > 0 for item in value)


def kind(value: object) -> str:
    """What a value is, for an error's "got"."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    items = _items(value)
    return f"a {type(value).__name__} of {items}" if items else type(value).__name__
