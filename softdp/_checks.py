"""What the public functions accept, checked once for the operators and the reference; torch alone.

Everything here looks at shapes, dtypes, devices and Python numbers only. The one look at values, CPU
lengths against their range, is left to the operators where a graph is being traced.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from . import _torch
from ._dtypes import DTYPES, arithmetic, computed

P = ParamSpec("P")
Result = TypeVar("Result")

# What trains the smoothing, g: smooth_max with gamma is gamma times that of the scores over gamma with 1.
TRAINED_FSD = "g * softdp.fsd_score(match / {g}, insert / {g}, gamma=1.0)"
TRAINED_FSD_ALIGNMENT = "softdp.fsd_alignment(match / {g}, insert / {g}, gamma=1.0)"
TRAINED_LCS = "g * softdp.lcs_score(similarity / {g}, threshold=threshold / g.item(), gamma=1.0)"
TRAINED_LCS_ALIGNMENT = "softdp.lcs_alignment(similarity / {g}, threshold=threshold / g.item(), gamma=1.0)"
TRAINED_SOFT_DTW = "g * softdp.soft_dtw(cost / {g}, gamma=1.0)"
TRAINED_DIVERGENCE = "g * softdp.soft_dtw_divergence(x / {g}.sqrt(), y / {g}.sqrt(), gamma=1.0)"
TRAINED_LOSS = 'g * softdp.soft_dtw_loss(x / {g}.sqrt(), y / {g}.sqrt(), gamma=1.0, reduction="none")'
TRAINED_NEEDLEMAN_WUNSCH = "g * softdp.needleman_wunsch(match / {g}, gap / {g}, gamma=1.0)"


# What to write where features x (B, N, D) and y (B, M, D) were given instead of scores.
SOFT_DTW_FEATURES = "of features write softdp.soft_dtw(softdp.squared_euclidean(x, y))"
LCS_FEATURES = (
    "of features write softdp.lcs_loss(x, y, target), or, with n = torch.nn.functional.normalize, "
    "softdp.lcs_score(n(x, dim=2) @ n(y, dim=2).mT, threshold=...)"
)

# What a required argument is.
MISSING = {
    "match": "the scores of x's steps against y's, a tensor (B, N, M)",
    "similarity": "the similarities of x's steps and y's, a tensor (B, N, M)",
    "cost": "the costs of x's steps beside y's, a tensor (B, N, M), such as softdp.squared_euclidean(x, y)",
    "insert": "the score of skipping a step, such as -0.5 (0.0 for none)",
    "gap": "the score of skipping a step, such as -0.5 (0.0 for none)",
    "threshold": "the similarity from which on two steps are common, such as threshold=0.9",
    "x": "the features of one sequence of each pair, a tensor (B, N, D)",
    "y": "the features of the other sequence of each pair, a tensor (B, M, D)",
    "target": "a (B,) tensor of bool or 0/1, 1 where the two sequences share an action; "
    "scores without it are softdp.fsd_score's and softdp.lcs_score's",
}

# What to write for an argument of other libraries, or of other functions of this one.
INSTEAD = {
    "normalize": "write softdp.soft_dtw_divergence(x, y)",
    "bandwidth": "write softdp.soft_dtw(cost.masked_fill(outside, torch.inf)), "
    "where outside is True in the cells (N, M) outside the band",
    "dist_func": "write softdp.soft_dtw(dist_func(x, y))",
    "lengths": "write x_lengths=lengths and y_lengths=lengths, or the one of them that was meant",
}
OF_SOFT_DTW = ("normalize", "bandwidth", "dist_func")
WORDS = {  # what arguments that are words may be
    "boundary": ("free", "anchored"),
    "cost": ("squared_euclidean", "euclidean", "manhattan", "cosine"),
    "reduction": ("mean", "sum", "none"),
}


def explained(*, features: str = "") -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A public function, with errors that say what to write where the arguments do not fit its signature.

    A number for `delete` by position may have been meant for gamma: it must come by name.

    Args:
        features: what to write where the tensors given are features.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        misfit = _Misfit(function, features)
        delete, is_number = misfit.delete, _is_number

        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Result:
            if len(args) > delete and is_number(args[delete]):
                raise TypeError(misfit(args, kwargs))
            try:
                return function(*args, **kwargs)
            except TypeError:
                said = misfit(args, kwargs)
                if not said:  # the arguments fit: the error comes from inside
                    raise
            raise TypeError(said)

        # In the globals of the function's module: by them doctest tells its functions from imported ones.
        home = inspect.unwrap(function).__globals__
        own = types.FunctionType(wrapper.__code__, home, function.__name__, closure=wrapper.__closure__)
        return functools.update_wrapper(own, function)

    return decorate


class _Misfit:
    """What to say of arguments that do not fit a function's signature, or "" where they fit."""

    def __init__(self, function: Callable, features: str) -> None:
        parameters = inspect.signature(function).parameters.values()
        self.name = function.__name__
        self.features = features
        self.positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.required = [p.name for p in parameters if p.default is p.empty]
        self.delete = len(self.positional)  # the place of `delete`, or past all places
        if "delete" in self.positional:
            self.delete = self.positional.index("delete")

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        if len(args) > len(self.positional):
            return _surplus(self.name, self.positional, self.by_name, args, self.features)
        if len(args) > self.delete and _is_number(args[self.delete]):
            number = repr(args[self.delete])
            return (
                f"{self.name}: delete must be given by name where it is a number, got {number} by position: "
                f"write delete={number} if a second gap is meant"
                + f", gamma={number} if the smoothing is"
                * ("gamma" in self.by_name)
            )
        for key in kwargs:
            if key not in self.positional and key not in self.by_name:
                return _unexpected(self.name, key, [*self.positional, *self.by_name])
        for key in self.required:
            if key not in kwargs and key not in self.positional[: len(args)]:
                return f"{self.name}: {key} is missing: {MISSING[key]}"
        return ""


def _surplus(
    name: str, positional: list[str], by_name: list[str], args: tuple[Any, ...], features: str
) -> str:
    others = args[len(positional) :]
    takes = (
        f"{name} takes {len(positional)} argument{'s' * (len(positional) > 1)} by position "
        f"({', '.join(positional)}), got {len(args)}"
    )
    if isinstance(others[0], Tensor) and others[0].dim() > 1 and features:
        return f"{takes}: {features}"
    left, written = list(by_name), []
    for value in others:
        key = next((key for key in left if _may_be(value, key)), None)
        if key is None:
            break
        left.remove(key)
        written.append(f"{key}={value!r}" if isinstance(value, str) or _is_number(value) else f"{key}=...")
    return f"{takes}: the others go by name, {', '.join(written) or ', '.join(f'{k}=...' for k in by_name)}"


def _may_be(value: object, key: str) -> bool:
    """Whether a value that came without a name may have been meant for this one."""
    if isinstance(value, str):
        known = [k for k, values in WORDS.items() if value in values]
        return key in (known or WORDS)
    if isinstance(value, bool) or callable(value):
        return key == ("normalize" if isinstance(value, bool) else "cost")
    return (key in ("gamma", "threshold")) == _is_number(value) and key not in (*WORDS, "normalize")


def _unexpected(name: str, key: str, names: list[str]) -> str:
    lengths = key == "lengths" and "x_lengths" in names
    if key == "dist_func" and name == "soft_dtw_loss":
        return f"{name} has no {key}: write cost=dist_func"
    if lengths or (key in OF_SOFT_DTW and name.startswith("soft_dtw")):
        return f"{name} has no {key}: {INSTEAD[key]}"
    if key == "gamma" and name.endswith("_path"):
        smoothed = name.replace("_path", "_alignment")
        return f"{name} has no gamma: the best path is that of gamma 0; softdp.{smoothed} takes a gamma"
    return f"{name} has no {key}: its arguments are {', '.join(names)}"


class FsdArguments(NamedTuple):
    """Checked arguments of fsd_score; insert and delete have 3 dimensions, each 1 or full.

    Gaps have match's dtype, or, where they were numbers, the arithmetic's.
    """

    match: Tensor
    insert: Tensor
    delete: Tensor | None
    x_lengths: Tensor | None
    y_lengths: Tensor | None

    def computed(self) -> FsdArguments:
        """With all scores in the dtype of the arithmetic."""
        delete = None if self.delete is None else computed(self.delete)
        return self._replace(match=computed(self.match), insert=computed(self.insert), delete=delete)


class LcsArguments(NamedTuple):
    """Checked arguments of lcs_score."""

    similarity: Tensor
    x_lengths: Tensor | None
    y_lengths: Tensor | None

    def computed(self) -> LcsArguments:
        """With the scores in the dtype of the arithmetic."""
        return self._replace(similarity=computed(self.similarity))


def fsd_arguments(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None,
    gamma: float,
    boundary: str,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_FSD,
) -> FsdArguments:
    _scores(match, "match")
    gamma_number(gamma, trained)
    if not isinstance(boundary, str) or boundary not in ("free", "anchored"):
        raise ValueError(f'boundary must be "free" or "anchored", got {boundary!r}')
    insert = _gap(insert, "insert", match)
    delete = None if delete is None else _gap(delete, "delete", match)
    B, N, M = match.shape
    lengths(x_lengths, "x_lengths", B, N, "match", match.device)
    lengths(y_lengths, "y_lengths", B, M, "match", match.device)
    return FsdArguments(match, insert, delete, x_lengths, y_lengths)


def lcs_arguments(
    similarity: Tensor,
    threshold: float,
    gamma: float,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_LCS,
) -> LcsArguments:
    _scores(similarity, "similarity")
    gamma_number(gamma, trained)
    threshold_number(threshold)
    B, N, M = similarity.shape
    lengths(x_lengths, "x_lengths", B, N, "similarity", similarity.device)
    lengths(y_lengths, "y_lengths", B, M, "similarity", similarity.device)
    return LcsArguments(similarity, x_lengths, y_lengths)


def cost_arguments(cost: Tensor, gamma: float, x_lengths: Tensor | None, y_lengths: Tensor | None) -> None:
    _scores(cost, "cost")
    gamma_number(gamma, TRAINED_SOFT_DTW)
    B, N, M = cost.shape
    lengths(x_lengths, "x_lengths", B, N, "cost", cost.device)
    lengths(y_lengths, "y_lengths", B, M, "cost", cost.device)


def needleman_wunsch_arguments(
    match: Tensor,
    gap: Tensor | float,
    gamma: float,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
) -> FsdArguments:
    """Scores in the dtype of the arithmetic; the gap is insert, (B, 1, 1) or (1, 1, 1)."""
    _scores(match, "match")
    gamma_number(gamma, TRAINED_NEEDLEMAN_WUNSCH)
    gap = _gap_of_pairs(gap, match)
    B, N, M = match.shape
    lengths(x_lengths, "x_lengths", B, N, "match", match.device)
    lengths(y_lengths, "y_lengths", B, M, "match", match.device)
    return FsdArguments(match, gap, None, x_lengths, y_lengths).computed()


def feature_arguments(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> None:
    floating(x, "x", "(B, N, D)")
    floating(y, "y", "(B, M, D)")
    agree(y, "y", x, "x")
    if x.shape[0] != y.shape[0] or x.shape[2] != y.shape[2]:
        turned = x.shape[:2] == y.shape[:2]
        raise ValueError(
            f"x (B, N, D) and y (B, M, D) must agree in B and D, got {tuple(x.shape)} and {tuple(y.shape)}"
            + ": if features come before steps, write x.transpose(1, 2) and y.transpose(1, 2)" * turned
        )
    feature_lengths(x, y, x_lengths, y_lengths)


def feature_lengths(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> None:
    lengths(x_lengths, "x_lengths", x.shape[0], x.shape[1], "x", x.device)
    lengths(y_lengths, "y_lengths", y.shape[0], y.shape[1], "x", x.device)


def pairwise_arguments(
    x: Tensor, y: Tensor | None, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> None:
    floating(x, "x", "(K, N, D)")
    lengths(x_lengths, "x_lengths", x.shape[0], x.shape[1], "x", x.device)
    if y is None:
        if y_lengths is not None:
            raise ValueError(
                "y_lengths must be None where y is None: x is compared with itself; write x_lengths="
            )
        return
    floating(y, "y", "(L, M, D)")
    agree(y, "y", x, "x")
    if x.shape[2] != y.shape[2]:
        raise ValueError(
            f"x (K, N, D) and y (L, M, D) must agree in D, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    lengths(y_lengths, "y_lengths", y.shape[0], y.shape[1], "x", x.device)


def two_heads(x: Tensor) -> None:
    if x.shape[2] % 2:
        raise ValueError(
            f"x must have an even number of features, half for match and half for the gap, got {x.shape[2]}"
        )


def gamma_number(gamma: float, trained: str) -> None:
    """trained: what to write for a gamma that is to be trained; {g} stands for it in divisions."""
    if not _is_number(gamma):
        raise TypeError(f"gamma must be a number, got {_kind(gamma)}{_instead_of_gamma(gamma, trained)}")
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
    if not _is_number(threshold):
        instead = ": write threshold=float(threshold)" if _is_one(threshold) else ""
        raise TypeError(f"threshold must be a number, got {_kind(threshold)}{instead}")
    if threshold != threshold:
        raise ValueError("threshold must not be NaN")


def lengths(value: Tensor | None, name: str, pairs: int, longest: int, of: str, device: torch.device) -> None:
    if value is None:
        return
    if not isinstance(value, Tensor):
        instead = f": write torch.full(({pairs},), {value})" if _is_number(value) else as_tensor(value, name)
        expected = f"an int32 or int64 tensor of shape ({pairs},) or None"
        raise TypeError(f"{name} must be {expected}, got {_kind(value)}{instead}")
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
        instead = {
            (pairs, 1): f": write {name}.squeeze(1)",
            (pairs, longest): f": write {name}.sum(1) if it is a mask",
        }.get(tuple(value.shape), "")
        raise ValueError(f"{name} must have shape ({pairs},), got {tuple(value.shape)}{instead}")
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
    """How to write the number of steps, padding included, that x_lengths or y_lengths count in `of`."""
    if of == "x":  # features
        return f"{name[0]}.shape[1]"
    return f"{of}.shape[{1 if name == 'x_lengths' else 2}]"


def floating(tensor: Tensor, name: str, shape: str) -> None:
    """A floating-point tensor with as many dimensions as `shape` names, "(B, N, M)"."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a tensor of shape {shape}, got {_kind(tensor)}{as_tensor(tensor, name)}"
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
    """The same device and dtype; under autocast, which computes in float32, halves and float32 mix."""
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


def _scores(tensor: Tensor, name: str) -> None:
    floating(tensor, name, "(B, N, M)")


def _gap(value: Tensor | float, name: str, match: Tensor) -> Tensor:
    value = _gap_tensor(value, name, match)
    shape = (1,) * (3 - value.dim()) + tuple(value.shape)
    fits = len(shape) == 3 and all(s == 1 or s == full for s, full in zip(shape, match.shape, strict=True))
    if not fits:
        features = value.dim() == 3 and value.shape[::2] == match.shape[::2] and name == "insert"
        raise ValueError(
            f"{name} must be broadcastable to match's shape {tuple(match.shape)}, "
            f"got shape {tuple(value.shape)} (one gap per pair has shape (B, 1, 1))"
            + "; of features x (B, N, D) and y (B, M, D) write softdp.fsd_loss(x, y, target)"
            * features
        )
    return value[(None,) * (3 - value.dim())] if value.dim() < 3 else value


def _gap_of_pairs(value: Tensor | float, match: Tensor) -> Tensor:
    value = _gap_tensor(value, "gap", match)
    B = match.shape[0]
    if tuple(value.shape) not in ((), (B,), (B, 1, 1), (1, 1, 1)):
        raise ValueError(
            f"gap must be a number or one per pair, of shape ({B},) or ({B}, 1, 1), "
            f"got shape {tuple(value.shape)}"
        )
    return value.reshape(-1, 1, 1)


def _gap_tensor(value: Tensor | float, name: str, match: Tensor) -> Tensor:
    """A number as (1, 1, 1), in the arithmetic's dtype; a tensor as it is."""
    if not isinstance(value, Tensor):
        if not _is_number(value):
            raise TypeError(
                f"{name} must be a number or a tensor, got {_kind(value)}{as_tensor(value, name)}"
            )
        return torch.full((1, 1, 1), value, dtype=arithmetic(match.dtype), device=match.device)
    if value.dtype not in DTYPES:
        raise TypeError(
            f"{name} must have match's dtype {match.dtype}, got {value.dtype}: write {name}.to(match.dtype)"
        )
    agree(value, name, match, "match")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_one(value: object) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def as_tensor(value: object, name: str) -> str:
    """What to write for the value, an array or a list, where a tensor is expected."""
    if type(value).__module__ == "numpy":
        return f": write torch.as_tensor({name})"
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
    """What a list holds, "tensors" or "arrays", or "" where it is no list or holds anything else."""
    if not isinstance(value, (list, tuple)) or len(value) == 0:
        return ""
    if all(isinstance(item, Tensor) for item in value):
        return "tensors"
    return "arrays" * all(type(item).__module__ == "numpy" and item.ndim > 0 for item in value)


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    items = _items(value)
    return f"a {type(value).__name__} of {items}" if items else type(value).__name__
