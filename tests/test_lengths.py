"""Lengths on each device: what lies beyond them is never read, and gets no gradient."""

from __future__ import annotations

import math

import pytest
import torch
from devices import SCORES, agrees, each, every_regime, ragged, reference, same, to, values
from helpers import close, score_and_gradients

import softdp


@every_regime
@each
@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
def test_ragged_lengths(name, size, integer, device):
    n, m = (to(device, t) for t in ragged(*size, dtype=integer))
    for dtype in (torch.float32, torch.float64):
        tables = values(8, *size, dtype=dtype), values(8, size[0], 1, dtype=dtype)
        agrees(SCORES[name], tables, device, x_lengths=n, y_lengths=m)
        agrees(SCORES[name], tables, device, x_lengths=n)


@every_regime
@each
@pytest.mark.parametrize("filling", [math.nan, math.inf, 1e30])
def test_padding_is_never_read_and_gets_no_gradient(name, size, filling, device):
    N, M = size
    n, m = ragged(N, M)
    outside = (torch.arange(N) >= n[:, None])[:, :, None] | (torch.arange(M) >= m[:, None])[:, None]
    match = values(8, N, M, dtype=torch.float32)
    gaps = values(8, N, M, dtype=torch.float32)
    lengths = {"x_lengths": to(device, n), "y_lengths": to(device, m)}
    clean = agrees(SCORES[name], (match, gaps), device, **lengths)
    dirty = (to(device, t.masked_fill(outside, filling)) for t in (match, gaps))
    found = score_and_gradients(SCORES[name], list(dirty), **lengths)
    assert same(found, clean)
    assert all((g[to(device, outside)] == 0).all() for g in found[1])


def test_strided_lengths(device):
    lengths = torch.tensor([[5, 3], [2, 7], [0, 4]], device=device)
    match = values(3, 5, 7, dtype=torch.float32)
    tables = match, torch.zeros(())
    agrees(SCORES["fsd"], tables, device, x_lengths=lengths[:, 0], y_lengths=lengths[:, 1])


ON_THE_SWEEPS = {
    "soft_dtw": (lambda t, **n: softdp.soft_dtw(t, gamma=0.3, **n), (4, 40, 37)),
    "divergence": (lambda t, **n: softdp.soft_dtw_divergence(t, t[:, 3:], gamma=0.3, **n), (4, 40, 5)),
    "needleman_wunsch": (lambda t, **n: softdp.needleman_wunsch(t, -0.5, gamma=0.3, **n), (4, 40, 37)),
}


@pytest.mark.parametrize("call, size", ON_THE_SWEEPS.values(), ids=ON_THE_SWEEPS)
def test_ragged_soft_dtw_and_needleman_wunsch(call, size, device):
    table = values(*size)
    lengths = {"x_lengths": torch.tensor([40, 7, 33, 1]), "y_lengths": torch.tensor([37, 30, 2, 37])}
    with reference():
        expected, (expected_gradient,) = score_and_gradients(call, (table,), **lengths)
    on_device = {name: to(device, t) for name, t in lengths.items()}
    found, (gradient,) = score_and_gradients(call, (to(device, table),), **on_device)
    close(found.cpu(), expected, 1e-9)
    close(gradient.cpu(), expected_gradient, 1e-9)
