"""Sizes, gaps, types and strides on each device, compared with exact scores in float64."""

from __future__ import annotations

import math

import pytest
import torch
from devices import (
    HALF,
    SCORES,
    agrees,
    both_boundaries,
    both_dtypes,
    every_regime,
    every_size,
    to,
    values,
)
from helpers import close

import softdp


@every_size
@both_dtypes
@both_boundaries
def test_fsd(size, dtype, boundary, device):
    match, insert, delete = (values(3, *size, dtype=dtype) for _ in range(3))
    for gamma in (0.1, 1.0, 0.0):
        agrees(softdp.fsd_score, (match, insert, delete), device, gamma=gamma, boundary=boundary)
    agrees(softdp.fsd_score, (match, insert, None), device, boundary=boundary)


@every_size
@both_dtypes
@pytest.mark.parametrize("threshold", [-2.0, 0.4, 2.0])
def test_lcs(size, dtype, threshold, device):
    similarity = values(3, *size, dtype=dtype)
    for gamma in (0.1, 1.0, 0.0):
        agrees(softdp.lcs_score, (similarity,), device, threshold=threshold, gamma=gamma)


def gap(kind: str, B: int, N: int, M: int, dtype: torch.dtype):
    shape = {
        "number": (),
        "pair": (B, 1, 1),
        "row": (B, N, 1),
        "shared row": (1, N, 1),
        "column": (B, 1, M),
        "shared column": (M,),
        "dense": (B, N, M),
        "table": (N, M),
        "shared": (1, N, M),
    }
    return None if kind == "none" else values(*shape[kind], dtype=dtype)


GAPS = ["number", "pair", "row", "shared row", "column", "shared column", "dense", "table", "shared"]


@pytest.mark.parametrize("delete", ["none", *GAPS])
@pytest.mark.parametrize("insert", GAPS)
def test_gap_kinds(insert, delete, device):
    for size in ((3, 5, 7), (2, 33, 40), (2, 130, 129)):
        for dtype, boundary in ((torch.float32, "free"), (torch.float64, "anchored")):
            gaps = (gap(kind, *size, dtype) for kind in (insert, delete))
            agrees(softdp.fsd_score, (values(*size, dtype=dtype), *gaps), device, boundary=boundary)


def test_numbers_as_gaps(device):
    match = values(2, 33, 40, dtype=torch.float32)
    for insert, delete in ((-0.3, None), (-0.3, 0.2), (-math.inf, None), (-math.inf, 0.2)):
        gaps = {"insert": insert, "delete": delete, "boundary": "anchored"}
        agrees(lambda match, gaps=gaps: softdp.fsd_score(match, **gaps), (match,), device)


def test_many_pairs_of_mixed_lengths(device):
    """More pairs than a GPU runs blocks at once; on a CPU more than it has threads."""
    B, N, M = 3000 if torch.cuda.is_available() else 300, 40, 35
    n, m = torch.randint(0, N + 1, (B,)), torch.randint(0, M + 1, (B,))
    tables = values(B, N, M, dtype=torch.float32), values(B, N, 1, dtype=torch.float32)
    agrees(SCORES["fsd"], tables, device, x_lengths=to(device, n), y_lengths=m)


@every_regime
@pytest.mark.parametrize("half", HALF)
def test_half_types_compute_in_float32(size, half, device):
    tables = [values(3, *size).to(half) for _ in range(3)]
    n, m = (torch.tensor([full, full // 2, 1], device=device) for full in size)
    for boundary in ("free", "anchored"):
        agrees(softdp.fsd_score, tables, device, boundary=boundary)
        ragged = {"boundary": boundary, "x_lengths": n, "y_lengths": m}
        agrees(softdp.fsd_score, (tables[0], tables[1][:, :, :1]), device, **ragged)
    agrees(softdp.lcs_score, tables[:1], device, threshold=0.3)
    # A number is not rounded to the half type.
    agrees(lambda match: softdp.fsd_score(match, -0.1), tables[:1], device)


LAYOUTS = {
    "transposed": lambda base: base.transpose(1, 2),
    "pairs last": lambda base: base.permute(2, 0, 1),
    "every second": lambda base: base[:, ::2, ::2],
    "a window off alignment": lambda base: base[:, 1:, 1:],
    "expanded": lambda base: base[:1, :, :1].expand(3, -1, 45),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides_are_accepted_and_inputs_unchanged(layout, dtype, device):
    view = LAYOUTS[layout]
    bases = [values(40, 42, 44).to(dtype) for _ in range(3)]
    before = [b.clone() for b in bases]
    agrees(lambda *bases: softdp.fsd_score(*map(view, bases)), bases, device)
    agrees(lambda base: softdp.lcs_score(view(base), threshold=0.3), bases[:1], device)
    inputs = [view(to(device, b)) for b in bases]
    softdp.fsd_score(*inputs)
    assert all(torch.equal(view(old), now.cpu()) for old, now in zip(before, inputs, strict=True))


def test_a_score_gradient_of_any_strides(device):
    match = values(3, 33, 40, dtype=torch.float32).to(device).requires_grad_()
    score = softdp.fsd_score(match, 0.0)
    one = torch.ones((), device=device)
    (expected,) = torch.autograd.grad(score, match, torch.ones(3, device=device), retain_graph=True)
    for ones in (one.expand(3), torch.ones(6, device=device)[::2]):
        assert torch.equal(torch.autograd.grad(score, match, ones, retain_graph=True)[0], expected)
    weights = torch.tensor([2.0, 0.0, -3.0], device=device)
    (weighted,) = torch.autograd.grad(score, match, weights)
    close(weighted, expected * weights[:, None, None], 1e-6)
