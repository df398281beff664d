"""Enumeration of all paths -> softdp.reference -> the operators; values by hand; others' golden values."""

import math

import numpy as np
import oracle
import pytest
import torch
from helpers import by_implementation, close, score_and_gradients, scores

import softdp

SIZES = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 4), (3, 5)]
GAMMAS = [0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3]


@by_implementation
@pytest.mark.parametrize("boundary", ["free", "anchored"])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", SIZES)
def test_fsd_is_a_sum_over_all_paths(library, size, gamma, boundary):
    match, insert, delete = (scores(1, *size) for _ in range(3))
    value, gradients = score_and_gradients(
        library.fsd_score, (match, insert, delete), gamma=gamma, boundary=boundary
    )
    tables = (t[0].numpy() for t in (match, insert, delete))
    expected, *expected_gradients = oracle.fsd(*tables, gamma, boundary)
    assert value.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        close(found[0], torch.from_numpy(wanted), 1e-11)


@by_implementation
@pytest.mark.parametrize("threshold", [-2.0, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", SIZES)
def test_lcs_is_a_sum_over_all_paths(library, size, gamma, threshold):
    similarity = scores(1, *size)
    value, (gradient,) = score_and_gradients(
        library.lcs_score, (similarity,), threshold=threshold, gamma=gamma
    )
    expected, expected_gradient = oracle.lcs(similarity[0].numpy(), threshold, gamma)
    assert value.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    close(gradient[0], torch.from_numpy(expected_gradient), 1e-11)


@by_implementation
def test_delete_defaults_to_insert(library):
    match, gap = scores(2, 4, 5), scores(2, 4, 5)
    value, (d_match, d_gap) = score_and_gradients(library.fsd_score, (match, gap))
    same, (same_match, d_insert, d_delete) = score_and_gradients(library.fsd_score, (match, gap, gap))
    close(value, same, 1e-14)
    close(d_match, same_match, 1e-14)
    close(d_gap, d_insert + d_delete, 1e-14)


@by_implementation
def test_fsd_by_hand(library):
    match = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    hard = library.fsd_score(match, -0.5, gamma=0.0)
    assert hard.item() == 2.0  # two matches on the diagonal
    only = torch.full((1, 1, 1), 0.25, dtype=torch.float64)
    smooth = library.fsd_score(only, 0.0, gamma=0.5)
    assert smooth.item() == pytest.approx(0.25 + 0.5 * math.log(3), rel=1e-14)  # three moves from 0
    anchored = library.fsd_score(only, 0.0, gamma=0.5, boundary="anchored")
    assert anchored.item() == 0.25
    # Anchored with equal moves counts the Delannoy paths: D(2, 2) = 13.
    paths = library.fsd_score(torch.zeros(1, 3, 3, dtype=torch.float64), 0.0, gamma=1.0, boundary="anchored")
    assert paths.item() == pytest.approx(math.log(13), rel=1e-14)


@by_implementation
def test_lcs_by_hand(library):
    c = torch.tensor([[[0.9, 0.1, 0.95], [0.2, 0.99, 0.3]]], dtype=torch.float64)
    assert library.lcs_score(c, threshold=0.8, gamma=0.0).item() == pytest.approx(1.89, rel=1e-14)
    assert library.lcs_score(c, threshold=1.5, gamma=0.0).item() == 0.0
    # With no hit exp(R) = exp(R above) + exp(R left), from ones on the boundary: 2, 3 and 3, 6.
    plateau = library.lcs_score(torch.zeros(1, 2, 2, dtype=torch.float64), threshold=0.5, gamma=1.0)
    assert plateau.item() == pytest.approx(math.log(6), rel=1e-14)


@by_implementation
def test_hard_maximum_breaks_ties_in_the_order_match_insert_delete(library):
    _, gradients = score_and_gradients(library.fsd_score, [torch.zeros(1, 2, 2) for _ in range(3)], gamma=0.0)
    assert [g[0].tolist() for g in gradients] == [[[1, 0], [0, 1]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    tables = (torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    _, (_, d_insert, d_delete) = score_and_gradients(library.fsd_score, tables, gamma=0.0)
    assert (d_insert.item(), d_delete.item()) == (1, 0)
    c = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])  # R(1,2) = R(2,1): the plateau at (2,2) takes R(1,2)
    _, (gradient,) = score_and_gradients(library.lcs_score, (c,), threshold=0.5, gamma=0.0)
    assert gradient[0].tolist() == [[0, 1], [0, 0]]


@by_implementation
@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_empty_pairs(library, gamma):
    for size, anchored in (((2, 0, 3), -math.inf), ((2, 3, 0), -math.inf), ((2, 0, 0), 0.0)):
        match = torch.zeros(size, requires_grad=True)
        assert library.fsd_score(match, 0.0, gamma=gamma).tolist() == [0, 0]
        assert library.lcs_score(match, threshold=0.5, gamma=gamma).tolist() == [0, 0]
        score = library.fsd_score(match, 0.0, gamma=gamma, boundary="anchored")
        assert score.tolist() == [anchored] * 2
        assert torch.autograd.grad(score.sum(), match)[0].shape == size
    assert library.fsd_score(torch.zeros(0, 3, 4), 0.0).shape == (0,)
    assert library.lcs_score(torch.zeros(0, 3, 4), threshold=0.5).shape == (0,)


def test_an_empty_pair_reads_nothing():
    nowhere = torch.empty(0).as_strided((2, 3, 0), (0, 0, 0))  # no memory at all, and strides of 0
    assert softdp.fsd_score(nowhere, nowhere).tolist() == [0, 0]
    assert softdp.lcs_score(nowhere, threshold=0.5).tolist() == [0, 0]
    empty, gap = torch.tensor([3, 0]), torch.tensor([[[0.0]], [[math.nan]]])
    for which in ("x_lengths", "y_lengths"):
        found = softdp.fsd_score(torch.ones(2, 3, 3), gap, gamma=0.0, **{which: empty})
        assert found[1] == 0 and found[0] > 0


@pytest.mark.parametrize("n", [1, 5, 12])
def test_golden_ftcl_fsd(golden, n):
    _golden_loss(golden("ftcl_fsd"), f"n{n}", softdp.fsd_loss)


@pytest.mark.parametrize("threshold", [1, 3])
@pytest.mark.parametrize("n", [1, 5, 12])
def test_golden_ftcl_lcs(golden, n, threshold):
    arrays, key = golden("ftcl_lcs"), f"n{n}_t{threshold}"
    _golden_loss(arrays, key, softdp.lcs_loss, threshold=float(arrays[f"{key}_threshold"]))


def _golden_loss(arrays, key, loss, **options):
    x, y, expected, grad_x, grad_y = (
        torch.from_numpy(arrays[f"{key}_{name}"]) for name in ("x", "y", "score", "grad_x", "grad_y")
    )
    options.update(target=torch.zeros(len(x), dtype=torch.bool), reduction="none")  # the score itself
    found, gradients = score_and_gradients(loss, (x, y), gamma=float(arrays["gamma"]), **options)
    for actual, wanted in zip((found, *gradients), (expected, grad_x, grad_y), strict=True):
        close(actual, wanted, 1e-9)


@by_implementation
@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("size", ["1x9", "7x11", "33x20"])
def test_golden_soft_dtw(golden, library, size, gamma):
    arrays, key = golden("soft_dtw"), f"{size}_g{gamma}"
    cost = torch.from_numpy(arrays[f"{key}_cost"])
    value, (gradient,) = score_and_gradients(
        lambda cost: -library.fsd_score(-cost, 0.0, gamma=gamma, boundary="anchored"), (cost,)
    )
    np.testing.assert_allclose(value, arrays[f"{key}_value"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gradient, arrays[f"{key}_grad_cost"], rtol=0, atol=1e-9)
