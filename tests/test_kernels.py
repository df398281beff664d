"""The CUDA kernels' own sources, run on the CPU by tests/kernels: every regime against the reference in
float64. Sizes, gaps, lengths, types, strides.

Regimes: tiny pairs (N, M <= 32, groups of 8, 16 or 32 lanes), one band (N <= 128), bands in a chain.
"""

import itertools
import math

import harness
import numpy as np
import oracle
import pytest
import torch
from helpers import close, scores
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (  # noqa: F401
    F32,
    GAMMA,
    REGIMES,
    SCHEDULES,
    check,
    equal,
    gap_of,
    one_thread,
    pairs,
    run,
    tables_of,
)  # noqa: F401
from test_properties import lengths, tables

TINY = [
    (1, 1),
    (1, 5),
    (5, 1),
    (5, 8),
    (8, 5),
    (8, 9),
    (9, 8),
    (2, 32),
    (16, 17),
    (17, 16),
    (30, 30),
    (31, 32),
]
TINY += [(32, 1), (32, 31), (32, 32), (16, 30)]
ONE_BAND = [
    (1, 33),
    (33, 1),
    (2, 129),
    (31, 33),
    (32, 33),
    (33, 32),
    (33, 31),
    (32, 127),
    (33, 128),
    (64, 17),
]
ONE_BAND += [(64, 16), (96, 48), (97, 47), (127, 128), (128, 127), (128, 2), (128, 300), (33, 257)]
BANDS = [(129, 1), (129, 2), (129, 31), (130, 129), (257, 32), (256, 33), (257, 127), (288, 300), (300, 16)]


# ---- sizes and gaps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", TINY + ONE_BAND + BANDS, ids=str)
def test_fsd_at_every_tile_edge(size):
    match, insert, delete = tables_of(2, *size)
    check("fsd", (match, insert, delete), gamma=GAMMA)
    check("fsd", (match, insert, None), gamma=GAMMA, boundary="anchored")


@pytest.mark.parametrize("size", TINY + ONE_BAND + BANDS, ids=str)
def test_lcs_at_every_tile_edge(size):
    for gamma, threshold in ((GAMMA, 0.4), (0.0, 0.7)):
        check("lcs", (scores(2, *size, dtype=F32),), gamma=gamma, threshold=threshold)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 3), (1, 33), (2, 33), (33, 1)], ids=str)
def test_against_all_paths(size, gamma):
    kernel = tables_of(1, *size, dtype=torch.float64)
    plain = [t[0].numpy() for t in kernel]
    for boundary in ("free", "anchored"):
        found = run("fsd", kernel, gamma=gamma, boundary=boundary)
        compare_with_paths(found, oracle.fsd(*plain, gamma, boundary))
    if size != (2, 33):  # too many
        found = run("lcs", kernel[:1], gamma=gamma, threshold=-0.3 if max(size) > 4 else 0.3)
        compare_with_paths(found, oracle.lcs(plain[0], -0.3 if max(size) > 4 else 0.3, gamma), gamma > 0)


def compare_with_paths(found, expected, gradients=True):
    score, *tables = expected
    assert found.score.item() == pytest.approx(score, rel=1e-12, abs=1e-12)
    for gradient, wanted in zip(found.gradients if gradients else (), tables, strict=False):
        close(gradient[0], torch.from_numpy(np.asarray(wanted)), 1e-10)


KINDS = ["dense", "row", "column", "pair", "number", "table", "rows", "columns"]
MIXED = [(a, b) for a, b in itertools.product(KINDS[:5], repeat=2) if a != b] + [("table", "columns")]


@pytest.mark.parametrize("gaps", [(k, d) for k in KINDS for d in (k, "shared")] + MIXED, ids="-".join)
def test_gap_kinds(gaps):
    for size in REGIMES:
        check("fsd", tables_of(3, *size, gaps=gaps), gamma=GAMMA, slack=5)
    match, insert, delete = tables_of(2, 140, 35, gaps=gaps)
    check("fsd", (match, insert, delete), gamma=0.0, boundary="anchored", slack=5)


@pytest.mark.parametrize("gaps", [("row", "column"), ("column", "shared"), ("pair", "number")], ids="-".join)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_gap_kinds_of_other_types(dtype, gaps):
    for size in REGIMES:
        check("fsd", tables_of(2, *size, dtype=dtype, gaps=gaps), gamma=GAMMA, slack=4)


@pytest.mark.parametrize("B", range(1, 10))
def test_tiny_pairs_share_a_warp(B):
    for N, M in ((5, 6), (12, 30), (20, 7)):
        given = {
            "x_lengths": torch.randint(0, N + 1, (B,), dtype=torch.int32),
            "y_lengths": torch.randint(0, M + 1, (B,)),
        }
        check("fsd", tables_of(B, N, M), gamma=GAMMA, **given)
        check("fsd", tables_of(B, N, M, gaps=("row", "shared")), gamma=GAMMA, boundary="anchored")
        check("lcs", (scores(B, N, M, dtype=F32),), gamma=0.0, threshold=0.2, **given)


@pytest.mark.parametrize("B, N, M", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (2, 0, 50), (2, 50, 0), (2, 0, 0)]
                         + [(0, 50, 50), (2, 0, 200), (2, 200, 0)])  # fmt: skip
def test_no_cells(B, N, M):
    for gaps in (("dense", "dense"), ("row", "shared"), ("column", "number"), ("pair", "row")):
        for boundary in ("free", "anchored"):
            check("fsd", tables_of(B, N, M, gaps=gaps), gamma=GAMMA, boundary=boundary)
    check("lcs", (scores(B, N, M, dtype=F32),), gamma=GAMMA, threshold=0.1)


# ---- lengths, types, strides -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("size", [*REGIMES, (257, 40), (31, 150)], ids=str)
def test_ragged_lengths(size, kind):
    N, M = size
    x = torch.tensor([N, 0, 1, N // 2, N - 1, 3, min(N, 33)], dtype=kind)
    y = torch.tensor([M - 1, 3, M, 0, M // 2, 1, min(M, 17)], dtype=kind)
    given = {"x_lengths": x, "y_lengths": y}
    for gaps in (("dense", "dense"), ("row", "column"), ("number", "shared")):
        inputs = [t.clone() for t in tables_of(7, N, M, gaps=gaps) if t is not None]
        inputs[0][torch.arange(N) >= x[:, None]] = math.nan  # is never read
        check("fsd", (*inputs, None)[:3], gamma=GAMMA, boundary="anchored", slack=5, **given)
    check("lcs", (scores(7, N, M, dtype=F32),), gamma=GAMMA, threshold=0.5, **given)
    check("fsd", tables_of(7, N, M), gamma=0.0, x_lengths=x)
    check("fsd", tables_of(7, N, M), gamma=GAMMA, y_lengths=y)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_lengths_out_of_range_score_nan_and_touch_nothing(size):
    N, M = size
    x = torch.tensor([N, N + 1, -1, N, N, 2**31 - 1, 0])
    y = torch.tensor([M, M, M, -3, M + 1, 2, M])
    unfit = (x < 0) | (x > N) | (y < 0) | (y > M)
    for kind in (torch.int32, torch.int64):
        given = {"x_lengths": x.to(kind), "y_lengths": y.to(kind)}
        for gaps in (("dense", "dense"), ("row", "column"), ("pair", "shared")):
            found = run("fsd", tables_of(7, N, M, gaps=gaps), gamma=GAMMA, **given)
            assert torch.equal(found.score.isnan(), unfit)
            assert all((g[unfit] == 0).all() for g in found.gradients if g is not None)
            assert all(g.isfinite().all() for g in found.gradients if g is not None)
    huge = {"x_lengths": torch.full((7,), 2**40 + 1), "y_lengths": torch.full((7,), 2**32 + 1)}
    assert run("lcs", (scores(7, N, M, dtype=F32),), gamma=0.0, threshold=0.1, **huge).score.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [*REGIMES, (33, 129)], ids=str)
def test_other_types(size, dtype):
    for gamma in (GAMMA, 0.0):
        check("fsd", tables_of(2, *size, dtype=dtype), gamma=gamma)
        check("fsd", tables_of(2, *size, dtype=dtype, gaps=("dense", "shared")), gamma=gamma, slack=4)
        check("lcs", tables_of(2, *size, dtype=dtype)[:1], gamma=gamma, threshold=0.5)


@pytest.mark.parametrize("dtype", harness.HALF, ids=str)
@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_gaps_wider_than_the_scores(size, dtype):
    """A number beside half scores is not rounded to them; only its gradient is."""
    for kind, other in (("number", "shared"), ("number", "number"), ("row", "pair"), ("pair", "shared")):
        match = scores(2, *size).to(dtype)
        gaps = (gap_of(kind, 2, *size), gap_of(other, 2, *size))
        for gamma in (GAMMA, 0.0):
            check("fsd", (match, *gaps), gamma=gamma, slack=4)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_strides(size):
    N, M = size
    dense = scores(2, 2 * M, 3 * N, dtype=F32).transpose(1, 2)[:, ::3, ::2]
    flipped = scores(N, 2, M, dtype=F32).transpose(0, 1)
    odd = scores(2 * N * M + 1, dtype=F32)[1:].view(2, N, M)  # starts off any multiple of 8 bytes
    row, column = (
        scores(3 * N, dtype=F32)[::3].view(1, N, 1),
        scores(2 * M, 2, dtype=F32)[::2, 1].view(1, 1, M),
    )
    before = [t.clone() for t in (dense, flipped, odd)]
    check("fsd", (dense, flipped, odd), gamma=GAMMA)
    check("fsd", (odd, row, column), gamma=GAMMA, slack=5)
    check("fsd", (flipped, column, None), gamma=GAMMA, slack=5)
    check("fsd", (dense.half(), flipped.half(), None), gamma=GAMMA)
    check("lcs", (dense,), gamma=GAMMA, threshold=0.3)
    assert all(torch.equal(a, b) for a, b in zip(before, (dense, flipped, odd), strict=True))


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_only_what_is_needed(size):
    for gaps in (("dense", "dense"), ("row", "column"), ("number", "shared"), ("column", "dense")):
        inputs = tables_of(2, *size, gaps=gaps)
        full = run("fsd", inputs, gamma=GAMMA)
        assert torch.equal(run("fsd", inputs, gamma=GAMMA, save=False).score, full.score)
        for needs in itertools.product((True, False), repeat=3):
            some = run("fsd", inputs, SCHEDULES[1:2], gamma=GAMMA, needs=needs)
            for need, gradient, whole in zip(needs, some.gradients, full.gradients, strict=True):
                assert equal(gradient, whole, gaps) if need and whole is not None else gradient is None
    similarity = scores(2, *size, dtype=F32)
    full = run("lcs", (similarity,), gamma=0.0, threshold=0.2)
    assert torch.equal(run("lcs", (similarity,), gamma=0.0, threshold=0.2, save=False).score, full.score)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_the_gradient_of_the_score_scales_and_stays_in_its_pair(size):
    grad = torch.tensor([1.0, 0.0, -2.5, math.nan, math.inf])
    for gaps in (("dense", "dense"), ("row", "column"), ("pair", "shared")):
        inputs = tables_of(5, *size, gaps=gaps)
        ones = run("fsd", inputs, gamma=GAMMA)
        found = run("fsd", inputs, gamma=GAMMA, grad=grad)
        for gradient, plain in zip(found.gradients, ones.gradients, strict=True):
            if gradient is not None:
                close(gradient[:3], plain[:3] * grad[:3, None, None], 1e-5)
                assert not gradient[3][plain[3] > 1e-30].isfinite().any()
                assert not gradient[4][plain[4] > 1e-30].isfinite().any()
    similarity = scores(5, *size, dtype=F32)
    ones = run("lcs", (similarity,), gamma=GAMMA, threshold=0.2)
    found = run("lcs", (similarity,), gamma=GAMMA, threshold=0.2, grad=grad)
    close(found.gradients[0][:3], ones.gradients[0][:3] * grad[:3, None, None], 1e-5)


# ---- at random ---------------------------------------------------------------------------------------


@st.composite
def problems(draw):
    B, dtype = draw(st.integers(0, 3)), draw(st.sampled_from([F32, F32, torch.float64, *harness.HALF]))
    N = draw(st.integers(0, 36) | st.sampled_from([64, 65, 128, 129, 161]))
    M = draw(st.integers(0, 36) | st.sampled_from([63, 64, 65, 80]))

    def gap():
        return draw(tables(tuple(draw(st.sampled_from([1, full])) for full in (B, N, M)), dtype))

    return {
        "inputs": (draw(tables((B, N, M), dtype)), gap(), gap() if draw(st.booleans()) else None),
        "gamma": draw(st.sampled_from([0.0, 0.01, 0.1, 1.0, 50.0])),
        "boundary": draw(st.sampled_from(["free", "anchored"])),
        "threshold": draw(st.sampled_from([-2.0, 0.0, 0.5, 2.0])),
        "lengths": {"x_lengths": draw(lengths(B, N)), "y_lengths": draw(lengths(B, M))},
        "schedule": (draw(st.sampled_from(["forward", "reverse", "random"])), draw(st.integers(1, 9)),
                     draw(st.integers(0, 99)), draw(st.sampled_from([64, 99, 227]))),
    }  # fmt: skip


@given(problems())
@settings(max_examples=150)
def test_at_random(p):
    options = {"gamma": p["gamma"], **p["lengths"]}
    schedules = [SCHEDULES[0], p["schedule"]]
    check("fsd", p["inputs"], schedules=schedules, slack=20, boundary=p["boundary"], **options)
    check("lcs", p["inputs"][:1], schedules=schedules, slack=20, threshold=p["threshold"], **options)
