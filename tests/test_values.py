"""Enumeration of all paths -> softdp.reference -> the operators of each device; values by hand; golden values
of others."""

import math

import numpy as np
import oracle
import pytest
import torch
from devices import both_boundaries, to
from helpers import close, score_and_gradients, scores

import softdp

SIZES = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 4), (3, 5)]


def about(expected, tolerance):
    return pytest.approx(expected, rel=tolerance, abs=tolerance)


GAMMAS = [0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 1e3]


@both_boundaries
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", SIZES)
def test_fsd_is_a_sum_over_all_paths(library, size, gamma, boundary):
    match, insert, delete = (scores(1, *size) for _ in range(3))
    value, gradients = score_and_gradients(
        library.fsd_score, (match, insert, delete), gamma=gamma, boundary=boundary
    )
    tables = (t[0].numpy() for t in (match, insert, delete))
    expected, *expected_gradients = oracle.fsd(*tables, gamma, boundary)
    assert value.item() == about(expected, library.tolerance(1e-12))
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        close(found[0], torch.from_numpy(wanted), library.tolerance(1e-11))


@pytest.mark.parametrize("threshold", [-2.0, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("size", SIZES)
def test_lcs_is_a_sum_over_all_paths(library, size, gamma, threshold):
    similarity = scores(1, *size)
    value, (gradient,) = score_and_gradients(
        library.lcs_score, (similarity,), threshold=threshold, gamma=gamma
    )
    expected, expected_gradient = oracle.lcs(similarity[0].numpy(), threshold, gamma)
    assert value.item() == about(expected, library.tolerance(1e-12))
    close(gradient[0], torch.from_numpy(expected_gradient), library.tolerance(1e-11))


def test_delete_defaults_to_insert(library):
    match, gap = scores(2, 4, 5), scores(2, 4, 5)
    value, (d_match, d_gap) = score_and_gradients(library.fsd_score, (match, gap))
    same, (same_match, d_insert, d_delete) = score_and_gradients(library.fsd_score, (match, gap, gap))
    close(value, same, 1e-14)
    close(d_match, same_match, 1e-14)
    close(d_gap, d_insert + d_delete, 1e-14)


def test_fsd_by_hand(library):
    match = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    hard = library.fsd_score(match, -0.5, gamma=0.0)
    assert hard.item() == 2.0  # two matches on the diagonal
    only = torch.full((1, 1, 1), 0.25, dtype=torch.float64)
    smooth = library.fsd_score(only, 0.0, gamma=0.5)
    assert smooth.item() == about(0.25 + 0.5 * math.log(3), library.tolerance(1e-14))  # three moves from 0
    anchored = library.fsd_score(only, 0.0, gamma=0.5, boundary="anchored")
    assert anchored.item() == about(0.25, library.tolerance(0))
    # Anchored with equal moves counts the Delannoy paths: D(2, 2) = 13.
    paths = library.fsd_score(torch.zeros(1, 3, 3, dtype=torch.float64), 0.0, gamma=1.0, boundary="anchored")
    assert paths.item() == about(math.log(13), library.tolerance(1e-14))


def test_lcs_by_hand(library):
    c = torch.tensor([[[0.9, 0.1, 0.95], [0.2, 0.99, 0.3]]], dtype=torch.float64)
    assert library.lcs_score(c, threshold=0.8, gamma=0.0).item() == about(1.89, library.tolerance(1e-14))
    assert library.lcs_score(c, threshold=1.5, gamma=0.0).item() == 0.0
    # With no hit exp(R) = exp(R above) + exp(R left), from ones on the boundary: 2, 3 and 3, 6.
    plateau = library.lcs_score(torch.zeros(1, 2, 2, dtype=torch.float64), threshold=0.5, gamma=1.0)
    assert plateau.item() == about(math.log(6), library.tolerance(1e-14))


def test_hard_maximum_breaks_ties_in_the_order_match_insert_delete(library):
    for N in (2, 40):
        zeros = [torch.zeros(1, N, N) for _ in range(3)]
        _, (mass, d_insert, d_delete) = score_and_gradients(library.fsd_score, zeros, gamma=0.0)
        assert torch.equal(mass[0], torch.eye(N)) and not d_insert.any() and not d_delete.any()
    tables = [torch.full((1, 1, 1), value) for value in (0.0, 1.0, 1.0)]
    _, gradients = score_and_gradients(library.fsd_score, tables, gamma=0.0)
    assert [g.item() for g in gradients] == [1, 1, 0]
    c = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])  # R(1,2) = R(2,1): the plateau at (2,2) takes R(1,2)
    _, (gradient,) = score_and_gradients(library.lcs_score, (c,), threshold=0.5, gamma=0.0)
    assert gradient[0].tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_empty_pairs_and_batches(library, gamma):
    for N, M, blocked in ((0, 3, -math.inf), (3, 0, -math.inf), (0, 0, 0.0), (0, 300, -math.inf)):
        match = torch.zeros(2, N, M, requires_grad=True)
        for boundary, expected in (("free", 0.0), ("anchored", blocked)):
            score = library.fsd_score(match, 0.0, gamma=gamma, boundary=boundary)
            assert score.tolist() == [expected] * 2
            assert torch.autograd.grad(score.sum(), match)[0].shape == match.shape
        assert library.lcs_score(match, threshold=0.5, gamma=gamma).tolist() == [0, 0]
    for N, M in ((3, 4), (0, 0), (300, 3)):
        match = torch.zeros(0, N, M, requires_grad=True)
        for score in (library.fsd_score(match, 0.0), library.lcs_score(match, threshold=0.5)):
            assert score.shape == (0,)
            assert torch.autograd.grad(score.sum(), match)[0].shape == match.shape


def test_an_empty_pair_reads_nothing(device):
    nowhere = torch.empty(0, device=device).as_strided((2, 3, 0), (0, 0, 0))  # no memory, and strides of 0
    assert softdp.fsd_score(nowhere, nowhere).tolist() == [0, 0]
    assert softdp.lcs_score(nowhere, threshold=0.5).tolist() == [0, 0]
    empty, gap = torch.tensor([3, 0]), torch.tensor([[[0.0]], [[math.nan]]], device=device)
    for which in ("x_lengths", "y_lengths"):
        found = softdp.fsd_score(torch.ones(2, 3, 3, device=device), gap, gamma=0.0, **{which: empty})
        assert found[1] == 0 and found[0] > 0


@pytest.mark.parametrize("n", [1, 5, 12])
def test_golden_ftcl_fsd(golden, n, device):
    _golden_loss(golden("ftcl_fsd"), f"n{n}", softdp.fsd_loss, device)


@pytest.mark.parametrize("threshold", [1, 3])
@pytest.mark.parametrize("n", [1, 5, 12])
def test_golden_ftcl_lcs(golden, n, threshold, device):
    arrays, key = golden("ftcl_lcs"), f"n{n}_t{threshold}"
    _golden_loss(arrays, key, softdp.lcs_loss, device, threshold=float(arrays[f"{key}_threshold"]))


def _golden_loss(arrays, key, loss, device, **options):
    x, y, expected, grad_x, grad_y = (
        torch.from_numpy(arrays[f"{key}_{name}"]) for name in ("x", "y", "score", "grad_x", "grad_y")
    )
    target = torch.zeros(len(x), dtype=torch.bool, device=device)
    options.update(target=target, reduction="none", gamma=float(arrays["gamma"]))  # the score itself
    found, gradients = score_and_gradients(loss, (to(device, x), to(device, y)), **options)
    for actual, wanted in zip((found, *gradients), (expected, grad_x, grad_y), strict=True):
        close(actual.cpu(), wanted, 1e-9)


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
