"""The recurrences' operators, as the public functions call them: `OPERATORS["fsd"].forward(...)`.

They have derivatives and a vmap rule, and work in torch.compile. _recurrences.py says what their arguments
are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from . import _autograd, _fake, _vmap
from ._recurrences import RECURRENCES, Recurrence
from ._registration import register


class Operators(NamedTuple):
    """The three operators of a recurrence."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., Any]  # a tensor, of a recurrence with one score; else a tuple of them
    double_backward: Callable[..., tuple[Tensor, ...]]


NO_FORWARD_MODE = {
    row.name: _autograd.not_implemented(row, "forward-mode derivatives (jvp)") for row in RECURRENCES
}


def _registered(row: Recurrence) -> Operators:
    """The operators of a recurrence, with all that PyTorch asks for."""
    _fake.register(row)
    vmap, error = _vmap.rules(row), NO_FORWARD_MODE[row.name]
    forward, backward, double_backward = row.operators
    second = register(double_backward, *_autograd.of_double_backward(row), vmap.double_backward, error)
    first = register(backward, *_autograd.of_backward(row, second), vmap.backward, error)
    score = register(forward, *_autograd.of_forward(row, first), vmap.forward, error)
    return Operators(score, first, second)


OPERATORS = {row.name: _registered(row) for row in RECURRENCES}
