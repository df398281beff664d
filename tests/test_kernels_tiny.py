"""The CUDA kernels' sources, run on the CPU: pairs of at most 32 by 32 cells, whose gradient is made of
prefixes and suffixes of their paths."""

import math

import harness
import numpy as np
import oracle
import pytest
import torch
from helpers import close, scores
from kernel_checks import F32, SCHEDULES, check, one_thread, run, tables_of  # noqa: F401

LOG2E = math.log2(math.e)
MOST = 0.99 * 2**22  # of a score times log2(e) / gamma


@pytest.mark.parametrize("boundary", ["free", "anchored"])
@pytest.mark.parametrize("gamma", [0.001, 0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_against_all_paths(gamma, scale, boundary):
    for size in ((1, 1), (2, 3), (4, 4), (3, 5)):
        inputs = tuple(scale * t for t in tables_of(1, *size))
        found = run("fsd", inputs, SCHEDULES[1:2], gamma=gamma, boundary=boundary)
        score, *gradients = oracle.fsd(*(t[0].double().numpy() for t in inputs), gamma, boundary)
        assert found.score.item() == pytest.approx(score, rel=1e-6, abs=1e-6 * max(gamma, 1))
        rounding = 3e-6 + 1e-7 * scale / gamma  # of the scores themselves, in units of gamma
        for gradient, wanted in zip(found.gradients, gradients, strict=True):
            close(gradient[0].double(), torch.from_numpy(np.asarray(wanted)), min(rounding, 1e-3))


@pytest.mark.parametrize("size", [(8, 8), (16, 30), (30, 30), (32, 32)], ids=str)
def test_rounding_stays_below_a_millionth(size):
    for boundary in ("free", "anchored"):
        for gaps in (("dense", "dense"), ("dense", "shared")):
            inputs = tables_of(8, *size, gaps=gaps)
            check("fsd", inputs, gamma=0.3, boundary=boundary, slack=0.3)
    check("lcs", (scores(8, *size, dtype=F32),), gamma=0.3, threshold=0.8, slack=0.3)


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_path_of_the_largest_scores(sign, gamma):
    """63 cells of two scores just within the range: exponents up to 63 * 2^23 either way."""
    size = MOST * gamma / LOG2E
    match = sign * size * (1 - 1e-3 * torch.rand(2, 32, 32))
    gap = torch.full((1, 1, 1), sign * size)
    for boundary in ("free", "anchored"):
        check("fsd", (match, gap, None), gamma=gamma, boundary=boundary, slack=100)
        check("fsd", (match, gap, gap.clone()), gamma=gamma, boundary=boundary, slack=100)
    check("lcs", (match.abs(),), gamma=gamma, threshold=0.0, slack=100)
    holes = match.masked_fill(torch.rand(2, 32, 32) < 0.1, -math.inf)
    holes[:, 9:12, 9:12] = -math.inf
    holes[:, 10, 10] = 0  # out of reach from either end
    found = check("fsd", (holes, gap, None), gamma=gamma, slack=100)
    assert (found.gradients[0][holes == -math.inf] == 0).all()
    assert all((g[:, 10, 10] == 0).all() for g in found.gradients[:1])


@pytest.mark.parametrize("gamma", [1e-2, 1.0])
def test_as_many_paths_as_there_can_be(gamma):
    """All scores the same. Mantissas of 2^0.499, of two scores, make the sums of paths grow by 2^130."""
    for score in (0.0, 0.499 * gamma / LOG2E):
        match, gap = torch.full((2, 32, 32), score), torch.full((1, 1, 1), score)
        check("fsd", (match, gap, None), gamma=gamma, slack=30)
        check("fsd", (match, gap, match), gamma=gamma, boundary="anchored", slack=30)


@pytest.mark.parametrize("gaps", [("dense", "dense"), ("dense", "shared")], ids="-".join)
def test_match_and_gap_of_the_same_cells_are_minus_infinity(gaps):
    for boundary in ("free", "anchored"):
        inputs = [t for t in tables_of(2, 20, 22, gaps=gaps) if t is not None]
        for table in inputs:
            table[:, 5:12, 6:13] = -math.inf
        found = check("fsd", (*inputs, None)[:3], gamma=0.1, boundary=boundary)
        assert all((g[:, 5:12, 6:13] == 0).all() for g in found.gradients if g is not None)


def test_the_last_cell_has_all_paths():
    for size in ((8, 8), (7, 30)):
        found = run("fsd", tables_of(64, *size), SCHEDULES[:1], gamma=0.1)
        assert (found.gradients[0][:, -1, -1] == 1).all()


def test_many_pairs():
    """From 1024 on blocks of small pairs have two warps instead of four. The numbers are the same."""
    for N, M in ((3, 4), (9, 12), (20, 5)):
        inputs = tables_of(1025 if N == 3 else 1024, N, M)
        lengths = {"x_lengths": torch.randint(0, N + 1, inputs[0].shape[:1])}
        whole = run("fsd", inputs, SCHEDULES[1:2], gamma=0.1, **lengths)
        for some in (slice(0, 7), slice(1017, 1025)):
            part = run("fsd", tuple(t[some] for t in inputs), SCHEDULES[:1], gamma=0.1,
                       x_lengths=lengths["x_lengths"][some])  # fmt: skip
            assert torch.equal(whole.score[some], part.score)
            for found, wanted in zip(whole.gradients, part.gradients, strict=True):
                assert torch.equal(found[some], wanted)


def corridor(low):
    """The only path goes along the first row and the last column, over the lowest scores; what lies within is
    as high as can be and out of reach."""
    match = torch.full((1, 32, 32), -low)
    match[0, 0], match[0, :, -1] = low, low
    insert, delete = torch.full((1, 32, 32), -low), torch.full((1, 32, 32), -low)
    delete[0, 0], insert[0, :, -1] = low, low
    match[0, 1, :-1] = -math.inf
    match[0, 1, -1], insert[0, 1, -1] = low, low
    delete[0, 1:, -1] = -math.inf  # into the last column from within
    return match, insert, delete


@pytest.mark.parametrize("turned", [False, True])
def test_a_path_that_is_not_allowed_never_counts_however_much_it_gains(turned):
    gamma = 0.1
    inputs = list(corridor(-MOST * gamma / LOG2E))
    inputs[0][0, 2:, -1] = -MOST * gamma / LOG2E
    inputs[0][0, 2:, :-1] = MOST * gamma / LOG2E
    # Diagonal moves into the last column from within, too: from row 2 on, all is out of reach.
    if turned:
        inputs = [t.flip(1, 2).transpose(1, 2).contiguous() for t in (inputs[0], inputs[2], inputs[1])]
    found = check("fsd", tuple(inputs), gamma=gamma, boundary="anchored", slack=100)
    assert found.score.isfinite().all()


@pytest.mark.parametrize("low", [-1e9, -1e30])
@pytest.mark.parametrize("group", [5, 12, 30])
def test_a_score_below_the_range_hides_only_in_its_own_pair(low, group):
    """Pairs share a block; a pair without a path is NaN only if one of its own finite scores is too low."""
    match = scores(6, group, group, dtype=F32)
    match[0, group // 2], match[2, group // 2] = -math.inf, low
    match[3, 0, 0], match[1, group // 2, 1:], match[4, group // 2, 1:] = -math.inf, low, low
    found = run("fsd", (match, torch.zeros(1, 1, 1), None), gamma=0.1, boundary="anchored")
    assert found.score.isfinite().tolist() == [False, True, False, False, True, True]
    assert found.score.isnan().tolist() == [False, False, True, False, False, False]
    assert (found.gradients[0][0] == 0).all() and found.gradients[0][2].isnan().all()


@pytest.mark.parametrize("name, tiny, full", [("fsd", 3, 2), ("lcs", 1, 1), ("needleman_wunsch", 1, 2)])
def test_what_is_saved(name, tiny, full):
    """Of soft sweeps in float of at most 32 steps a gradient by each table, else a word of weights a cell; of
    float64, and for the second order, the weights in full."""
    gradients, weights, full_weights = range(3)  # Saves of csrc/cuda/wavefront.h

    def planes(dtype, gamma, saves, *size):
        return harness.module().planes(name, dtype, gamma, False, saves, *size)

    for dtype in ("float32", "float16", "bfloat16"):
        assert planes(dtype, 0.1, gradients, 32, 32) == tiny
        assert planes(dtype, 0.1, gradients, 33, 1) == planes(dtype, 0.1, gradients, 1, 33) == 1
        assert planes(dtype, 0.0, gradients, 5, 5) == planes(dtype, 0.1, weights, 5, 5) == 1
        assert planes(dtype, 0.1, full_weights, 5, 5) == full
    assert planes("float64", 0.1, gradients, 5, 5) == full


@pytest.mark.parametrize("dtype", [F32, torch.bfloat16], ids=str)
def test_planes_that_are_not_wanted_are_not_written(dtype):
    inputs = tables_of(3, 9, 12, dtype=dtype)
    full = run("fsd", inputs, SCHEDULES[:1], gamma=0.1)
    for i in range(3):
        some = run("fsd", inputs, SCHEDULES[:1], gamma=0.1, needs=tuple(k == i for k in range(3)))
        assert torch.equal(some.gradients[i], full.gradients[i])
