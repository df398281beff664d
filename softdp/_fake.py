"""Shapes and dtypes of the recurrences' results, which torch.compile and fake tensors ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _devices
from ._dtypes import arithmetic
from ._recurrences import Recurrence, ends


def register(row: Recurrence) -> None:
    """Give the three operators of a recurrence their shapes."""
    for step, make in zip(row.operators, (_forward, _backward, _double_backward), strict=True):
        torch.library.register_fake(f"softdp::{step}", make(row))


def _forward(row: Recurrence) -> Callable[..., tuple[Tensor, Tensor]]:
    count = len(row.scores)
    gamma = count + 2 + row.options.index("gamma")
    boundary = count + 2 + row.options.index("boundary") if "boundary" in row.options else None
    bandwidth = count + 2 + row.options.index("bandwidth")

    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        table: Tensor = args[0]
        save: bool = args[-1]
        B, N, M = table.shape
        size: tuple[int, ...] = (0,)
        score = table.new_empty((B,), dtype=arithmetic(table.dtype))
        end_weights = 0 if boundary is None else ends(args[boundary], N, M)
        where = None if boundary is None else args[boundary]
        if _devices.on_gpu(table.device):
            shared_gap = any(t is None for t in args[:count])
            if save:
                numbers = row.numbers(shared_gap, table.dtype, args[gamma], where, N, M, args[bandwidth])
                size = (B, (numbers + end_weights) * score.dtype.itemsize)
            return score, score.new_empty(size, dtype=torch.uint8)
        if save:
            states = row.row_states if row.has_several_states(where) else 0
            own = saved_bytes(N, M, table.dtype, args[gamma], args[bandwidth], states)
            size = (B, own + end_weights * score.dtype.itemsize)
        return score, table.new_empty(size, dtype=torch.uint8)

    return forward


def _backward(row: Recurrence) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    count = len(row.scores)

    def backward(_grad_score: Tensor, _saved: Tensor, *args: Any) -> Tensor | tuple[Tensor, ...]:
        table: Tensor = args[0]
        scores = args[:count]
        if row.one_score:
            return table.new_empty(table.shape)
        return tuple(
            table.new_empty((table.shape[0], *t.shape[1:]) if need and t is not None else (0,))
            for t, need in zip(scores, args[-count:], strict=True)
        )

    return backward


def _double_backward(row: Recurrence) -> Callable[..., tuple[Tensor, ...]]:
    count = len(row.scores)

    def double_backward(*args: Any) -> tuple[Tensor, ...]:
        scores = args[count + 1 : 2 * count + 1]
        table: Tensor = scores[0]
        products = (
            table.new_empty(table.shape if need and t is not None else (0,))
            for t, need in zip(scores, args[-count:], strict=True)
        )
        return table.new_empty(table.shape[:1]), *products

    return double_backward


def saved_bytes(
    rows: int, columns: int, dtype: torch.dtype, gamma: float, bandwidth: int = -1, row_states: int = 0
) -> int:
    """How many bytes a pair the CPU operators save: saved_bytes() of csrc/cpu/kernels.h.

    row_states: of recurrences with several states a cell. 0: of all others.
    """
    strips, kept_rows = (rows + 15) // 16, (torch.sym_max(rows, 1) - 1) // 16
    steps = strips * torch.sym_max(32, (columns + 15) // 16 * 16)
    states: int = kept_rows * columns
    if bandwidth >= 0:
        few_steps = strips * (2 * bandwidth + 48) + 2 * columns
        steps = torch.sym_min(steps, few_steps)
        few_states = few_steps if row_states > 1 else kept_rows * (2 * bandwidth + 32) + columns
        states = torch.sym_min(states, few_states)
    states = 64 + states * 16 * max(row_states, 1)
    if row_states or dtype == torch.float64 or not 1e-30 < gamma < 1e30:
        return states
    weights: int = 64 + (steps + 16) * 64
    # One of both, by arithmetic: an if, or sym_ite in PyTorch 2.15, would tie a compiled graph to one.
    packs: int = torch.sym_min(1, torch.sym_max(rows, columns) // 33)
    return packs * weights + (1 - packs) * states
