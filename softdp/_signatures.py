"""Errors for arguments that do not fit a public function's signature: they say what to write instead."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from ._values import is_number

P = ParamSpec("P")
Result = TypeVar("Result")

# What to write if features x (B, N, D) and y (B, M, D) were given instead of scores.
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
    "dist_func": "write softdp.soft_dtw(dist_func(x, y))",
    "lengths": "write x_lengths=lengths and y_lengths=lengths, or the one of them that was meant",
}
OF_SOFT_DTW = ("normalize", "dist_func")
WORDS = {  # what arguments that are words may be
    "boundary": ("free", "anchored", "subsequence", "overlap", "global", "local"),
    "cost": ("squared_euclidean", "euclidean", "manhattan", "cosine"),
    "reduction": ("mean", "sum", "none"),
}


def explained(*, features: str = "") -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """A public function, with errors that say what to write if the arguments do not fit its signature.

    A number for `delete` must come by name: by position it may have been meant for gamma.

    Args:
        features: what to write if the tensors are features.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        misfit = _Misfit(function, features)
        delete, numeric = misfit.delete, is_number  # in the closure: the wrapper has another module's globals

        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Result:
            if len(args) > delete and numeric(args[delete]):
                raise TypeError(misfit(args, kwargs))
            try:
                return function(*args, **kwargs)
            except TypeError:
                said = misfit(args, kwargs)
                if not said:  # the arguments fit, so that the error comes from inside
                    raise
            raise TypeError(said)

        # The wrapper gets the globals of the function's module: by them doctest knows whose function it is.
        home = inspect.unwrap(function).__globals__
        own = types.FunctionType(wrapper.__code__, home, function.__name__, closure=wrapper.__closure__)
        return functools.update_wrapper(own, function)

    return decorate


class _Misfit:
    """What to say of arguments that do not fit a function's signature. It is "" if they fit."""

    def __init__(self, function: Callable[..., Any], features: str) -> None:
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
        if len(args) > self.delete and is_number(args[self.delete]):
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
    """What to say of more arguments than go by position: the names that the others may have."""
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
        written.append(f"{key}={value!r}" if isinstance(value, str) or is_number(value) else f"{key}=...")
    return f"{takes}: the others go by name, {', '.join(written) or ', '.join(f'{k}=...' for k in by_name)}"


def _may_be(value: object, key: str) -> bool:
    """Whether a value that came without a name may have been meant for this one."""
    if isinstance(value, str):
        known = [k for k, values in WORDS.items() if value in values]
        return key in (known or WORDS)
    if isinstance(value, bool) or callable(value):
        return key == ("normalize" if isinstance(value, bool) else "cost")
    if key == "gap_open":
        return isinstance(value, Real) and value < 0
    others = *WORDS, "normalize", "bandwidth"
    return (key in ("gamma", "threshold")) == is_number(value) and key not in others


def _unexpected(name: str, key: str, names: list[str]) -> str:
    """What to say of a name that the function does not have."""
    lengths = key == "lengths" and "x_lengths" in names
    if key == "dist_func" and name == "soft_dtw_loss":
        return f"{name} has no {key}: write cost=dist_func"
    if lengths or (key in OF_SOFT_DTW and name.startswith("soft_dtw")):
        return f"{name} has no {key}: {INSTEAD[key]}"
    if key == "gamma" and name.endswith("_path"):
        smoothed = name.replace("_path", "_alignment")
        return f"{name} has no gamma: the best path is that of gamma 0; softdp.{smoothed} takes a gamma"
    return f"{name} has no {key}: its arguments are {', '.join(names)}"
