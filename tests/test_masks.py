"""Forbidden cells, pairs without a path, and NaN and inf, which spoil their own pair only."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from devices import agrees, both_dtypes, every_regime, is_gpu, to, values
from helpers import close, score_and_gradients, scores

import softdp

both_gammas = pytest.mark.parametrize("gamma", [0.0, 0.1])


@every_regime
@both_dtypes
@both_gammas
def test_masks(size, dtype, gamma, device):
    N, M = size
    i, j = torch.arange(N)[:, None], torch.arange(M)
    band = (i / N - j / M).abs() > 0.4
    holes = torch.rand(2, N, M) < 0.3
    for mask in (band, holes):
        match = values(2, N, M, dtype=dtype).masked_fill(mask, -math.inf)
        gaps = values(2, N, M, dtype=dtype).masked_fill(torch.rand(2, N, M) < 0.1, -math.inf)
        for boundary in ("free", "anchored"):
            _, gradients = agrees(softdp.fsd_score, (match, gaps), device, gamma=gamma, boundary=boundary)
            assert (gradients[0][to(device, mask.expand(2, N, M))] == 0).all()
        agrees(softdp.lcs_score, (match,), device, threshold=0.4, gamma=gamma)


def test_forbidden_cells_get_no_gradient(device):
    match = scores(2, 30, 40, dtype=torch.float32)
    forbidden = torch.rand(2, 30, 40) < 0.3
    forbidden &= (torch.arange(40) - torch.arange(30)[:, None] - 5).abs() > 5  # a path stays open
    tables = match.masked_fill(forbidden, -math.inf), torch.zeros(1, 30, 40)
    value, (mass, d_gap) = score_and_gradients(softdp.fsd_score, [to(device, t) for t in tables])
    assert value.isfinite().all()
    assert (mass[to(device, forbidden)] == 0).all() and d_gap.isfinite().all()


def test_a_forbidden_move_is_never_taken(library):
    match = scores(1, 6, 6)
    never = torch.full((), -math.inf, dtype=torch.float64)
    value, (mass, *_) = score_and_gradients(library.fsd_score, (match, never, never), boundary="anchored")
    close(value, match[0].diagonal().sum().reshape(1), library.tolerance(1e-12))
    close(mass[0], torch.eye(6), 1e-12)


@both_gammas
def test_a_pair_without_a_path_scores_minus_infinity_with_no_gradient(library, gamma):
    match = scores(2, 3, 4)
    match[0, :, 2] = -math.inf
    value, (mass, _) = score_and_gradients(
        library.fsd_score, (match, scores(1, 3, 4)), gamma=gamma, boundary="anchored"
    )
    assert value[0] == -math.inf and value[1].isfinite()
    assert (mass[0] == 0).all() and mass[1, -1, -1] == 1


@every_regime
@both_gammas
def test_no_path_beside_pairs_that_have_one(size, gamma, device):
    match = values(3, *size, dtype=torch.float32)
    match[0, :, size[1] // 2] = -math.inf
    match[2, -1, -1] = -math.inf
    gaps = values(3, *size, dtype=torch.float32)
    value, gradients = agrees(softdp.fsd_score, (match, gaps), device, gamma=gamma, boundary="anchored")
    assert value[0] == value[2] == -math.inf and value[1].isfinite()
    assert all((g[[0, 2]] == 0).all() for g in gradients) and gradients[0][1, -1, -1] == 1


@both_gammas
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["match", "insert", "delete"])
def test_nan_and_inf_spoil_their_own_pair_only(library, where, bad, gamma):
    tables = {name: scores(3, 4, 5) for name in ("match", "insert", "delete")}
    tables[where][1, 2, 3] = bad
    spoils_the_middle_pair(score_and_gradients(library.fsd_score, tuple(tables.values()), gamma=gamma))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_spoil_their_own_lcs(library, bad):
    c = scores(3, 4, 5)
    c[1, 0, 4] = bad  # beside a hit's path, so that no plateau would carry it on
    spoils_the_middle_pair(score_and_gradients(library.lcs_score, (c,), threshold=-2.0))


@every_regime
@both_dtypes
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@both_gammas
def test_nan_and_inf_at_the_edges_of_a_table(size, dtype, bad, gamma, device):
    N, M = size
    for which, (i, j) in itertools.product(range(3), ((0, 0), (N - 1, 0), (N // 2, M // 2), (N - 1, M - 1))):
        tables = [values(3, N, M, dtype=dtype) for _ in range(3)]
        tables[which][1, i, j] = bad
        tables = [to(device, t) for t in tables]
        spoils_the_middle_pair(score_and_gradients(softdp.fsd_score, tables, gamma=gamma))
        for threshold in (-2.0, 2.0):
            lcs = {"threshold": threshold, "gamma": gamma}
            spoils_the_middle_pair(score_and_gradients(softdp.lcs_score, [tables[which]], **lcs))


def spoils_the_middle_pair(found):
    value, gradients = found
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    for gradient in gradients:
        assert gradient[1].isnan().all() and gradient[[0, 2]].isfinite().all()


def test_a_spoiled_gap_that_pairs_share(device):
    """The pair's gradient is NaN, and so is the sum over pairs; the other pairs' own are not."""
    match = values(3, 40, 50, dtype=torch.float32)
    match[1, 3, 4] = math.nan
    value, (mass, row) = score_and_gradients(
        softdp.fsd_score, (to(device, match), torch.zeros(1, 40, 1, device=device))
    )
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    assert mass[1].isnan().all() and mass[[0, 2]].isfinite().all() and row.isnan().all()


# ---- a spoiled pair that the loss leaves out ------------------------------------------------------

# Scores of a table (B, N, M) and gaps that broadcast to it, of both libraries.
OF_TABLES = {
    "fsd": lambda library, c, gap, **kw: library.fsd_score(c, gap, **kw),
    "fsd, two gaps": lambda library, c, gap, **kw: library.fsd_score(c, gap, 0.5 * gap, **kw),
    "anchored": lambda library, c, gap, **kw: library.fsd_score(c, gap, boundary="anchored", **kw),
    "lcs": lambda library, c, gap, **kw: library.lcs_score(c + gap, threshold=0.2, **kw),
    "soft-DTW": lambda library, c, gap, **kw: library.soft_dtw(c + gap, **kw),
    "needleman_wunsch": lambda library, c, gap, **kw: library.needleman_wunsch(c, gap, **kw),
}
each_of_tables = pytest.mark.parametrize("name", OF_TABLES)


@each_of_tables
@both_gammas
@pytest.mark.parametrize("gap", [(1, 1, 1), (4, 1, 1), (1, 5, 6), (1, 5, 1), (4, 5, 6)], ids=str)
def test_a_spoiled_pair_that_receives_the_gradient_0_gets_it(library, name, gamma, gap):
    """s[good].sum() trains on the good pairs, and what all pairs share with them."""
    bad, good = [1, 3], [0, 2]
    # Needleman-Wunsch raises what is too low to be matched: such a cell has the gradient 0.
    nan_of = (lambda t: t.isnan().any()) if name == "Needleman-Wunsch" else (lambda t: t.isnan().all())
    c, gaps = scores(4, 5, 6), scores(*gap)
    c[1, 2, 3], c[3, 4, 5] = math.nan, -math.inf if name == "soft-DTW" else math.inf
    c.requires_grad_(), gaps.requires_grad_()
    value = OF_TABLES[name](library, c, gaps, gamma=gamma)
    assert value[bad].isnan().all() and value[good].isfinite().all()
    by_good = torch.autograd.grad(value[good].sum(), (c, gaps), retain_graph=True)
    only_good = OF_TABLES[name](library, c[good], gaps if gap[0] == 1 else gaps[good], gamma=gamma)
    for found, wanted in zip(by_good, torch.autograd.grad(only_good.sum(), (c, gaps)), strict=True):
        close(found, wanted, 1e-12)  # 0 for the bad pairs, which were left out here
        assert found.isfinite().all()
    for zero in (0.0, -0.0):
        weight = torch.tensor([0.5, zero, -2.0, 1.0], dtype=torch.float64)
        by_c, _ = torch.autograd.grad(value, (c, gaps), weight, retain_graph=True)
        assert (by_c[1] == 0).all() and by_c[good].isfinite().all() and nan_of(by_c[3])
    by_c, by_gaps = torch.autograd.grad(value.sum(), (c, gaps))
    assert nan_of(by_c[bad]) and by_c[good].isfinite().all()
    assert by_gaps.isnan().any()


@each_of_tables
def test_a_spoiled_pair_within_its_lengths(library, name):
    c, gap = scores(3, 5, 6), torch.tensor(-0.2).double().view(1, 1, 1)
    c[1, 1, 1] = math.nan
    lengths = {"x_lengths": torch.tensor([5, 3, 5]), "y_lengths": torch.tensor([6, 2, 4])}
    for weight, is_right in ((0.0, lambda g: g == 0), (1e-300, lambda g: g.isnan())):
        leaf = c.clone().requires_grad_()
        value = OF_TABLES[name](library, leaf, gap, gamma=0.1, **lengths)
        value.backward(torch.tensor([1.0, weight, 1.0], dtype=torch.float64))
        assert is_right(leaf.grad[1, :3, :2]).all()
        assert (leaf.grad[1, 3:] == 0).all() and (leaf.grad[1, :, 2:] == 0).all()
        assert leaf.grad[[0, 2]].isfinite().all()


@every_regime
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@both_gammas
def test_the_gradient_0_of_a_spoiled_pair_in_every_regime(size, dtype, gamma, device):
    N, M = size
    bad, good = [1, 3], [0, 2]
    # On a GPU nobody looks at lengths: one that is out of range spoils its pair. The CPU raises for it.
    lengths = {"x_lengths": torch.tensor([N, N, N - 1, N + 1], device=device)} if is_gpu(device) else {}
    for shape in ((1, 1, 1), (1, N, 1), (4, 1, M), (4, N, M)):
        tables = [values(4, N, M).to(dtype), values(*shape).to(dtype)]
        tables[0][1, N // 2, M // 2] = math.nan
        if not lengths:
            tables[0][3, 0, 0] = math.nan
        leaves = [to(device, t).requires_grad_() for t in tables]
        for score in (
            lambda m, g: softdp.fsd_score(m, g, gamma=gamma, **lengths),
            lambda m, g: softdp.fsd_score(m, g, 2 * g, gamma=gamma, boundary="anchored", **lengths),
            lambda m, g: softdp.lcs_score(m + g, threshold=-9.0, gamma=gamma, **lengths),
            lambda m, g: softdp.soft_dtw(m + g, gamma=gamma, **lengths),
            lambda m, g: softdp.needleman_wunsch(
                m, -g.expand(4, *g.shape[1:])[:, :1, :1].abs(), gamma=gamma, **lengths
            ),
        ):
            value = score(*leaves)
            assert value[bad].isnan().all() and value[good].isfinite().all()
            by_match, by_gap = torch.autograd.grad(value[good].sum(), leaves, retain_graph=True)
            assert (by_match[bad] == 0).all() and by_match.isfinite().all() and by_gap.isfinite().all()
            assert (by_match[good] != 0).any()
            by_match, _ = torch.autograd.grad(value.sum(), leaves)
            assert by_match[1].isnan().any() and by_match[good].isfinite().all()
            assert (by_match[3] == 0).all() if lengths else by_match[3].isnan().any()
