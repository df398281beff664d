"""The recurrences' operators, as the public functions call them: `OPERATORS["fsd"].forward(...)`.

They have derivatives and a vmap rule, and work in torch.compile. _recurrences.py says what their arguments
are.
"""

from __future__ import annotations

from . import _autograd, _fake, _vmap
from ._recurrences import RECURRENCES, Recurrence
from ._registration import register


def _no_forward_mode(row: Recurrence) -> str:
    return _autograd.not_implemented(row, "forward-mode derivatives (jvp) in torch.compile")


def _registered(row: Recurrence) -> _autograd.Operators:
    """The operators of a recurrence, with all that PyTorch asks for."""
    _fake.register(row)
    vmap, error, operators = _vmap.rules(row), _no_forward_mode(row), _autograd.Operators(row.visits)
    forward, backward, double_backward = row.operators
    of_forward, of_backward, of_double_backward = (
        rules(row, operators)
        for rules in (_autograd.of_forward, _autograd.of_backward, _autograd.of_double_backward)
    )
    operators.forward = register(forward, *of_forward, vmap.forward, error)
    operators.backward = register(backward, *of_backward, vmap.backward, error)
    operators.double_backward = register(
        double_backward, *of_double_backward, vmap.double_backward, error, _autograd.without_third(row)
    )
    return operators


OPERATORS = {row.name: _registered(row) for row in RECURRENCES}
NO_FORWARD_MODE = {row.name: _no_forward_mode(row) for row in RECURRENCES}
