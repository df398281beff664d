"""Pairs whose one sequence is empty, in needleman_wunsch: the only score that they have comes from gaps."""

from __future__ import annotations

import math

import pytest
import torch
from devices import to
from helpers import close, score_and_gradients, scores

import softdp
from softdp._recurrences import BOUNDARIES

N, M = 3, 4
EMPTY = torch.tensor([[3, 0], [0, 4], [0, 0], [2, 0]])  # n, m
X_LENGTHS, Y_LENGTHS = EMPTY.unbind(1)
SUMS = [-1.5, -2.0, 0.0, -1.0]  # of gaps of -0.5


def scored(library, gap, lengths=(X_LENGTHS, Y_LENGTHS)):
    """The scores of four pairs of 3 by 4 steps that have no cells, and the gradient by the gap."""
    match = torch.full((len(EMPTY), N, M), math.nan)  # past all lengths: not read
    gap = gap.clone(memory_format=torch.preserve_format).requires_grad_() if gap.is_leaf else gap
    score = library.needleman_wunsch(match, gap, x_lengths=lengths[0], y_lengths=lengths[1])
    score[score.isfinite() | score.isnan()].sum().backward()
    return score.detach(), gap.grad


@pytest.mark.parametrize("shape, by_gap", [((1, 1, 1), 9.0), ((4, 1, 1), [3.0, 4.0, 0.0, 2.0])], ids=str)
def test_a_pair_without_cells_scores_the_sum_of_its_gaps(library, shape, by_gap):
    score, gradient = scored(library, torch.full(shape, -0.5))
    close(score, torch.tensor(SUMS), 1e-6)
    close(gradient.flatten(), torch.tensor(by_gap).flatten(), 1e-6)


@pytest.mark.parametrize("shape", [(4, N, 1), (4, 1, M), (4, N, M)], ids=str)
def test_gaps_that_differ_where_there_is_no_step_are_not_read(library, shape):
    gap = torch.full(shape, -0.5)
    gap[:, -1:, -1:] = math.nan  # the last gap of x's steps is read of a pair of all of them only
    expected = list(SUMS)
    for pair, (n, m) in enumerate(EMPTY.tolist()):
        if n > 0:
            expected[pair] = -math.inf if shape[2] > 1 else math.nan if n == N else expected[pair]
        if m > 0:
            expected[pair] = -math.inf if shape[1] > 1 else math.nan if m == M else expected[pair]
    score, gradient = scored(library, gap)
    assert torch.equal(score.nan_to_num(7), torch.tensor(expected).nan_to_num(7))
    for pair, wanted in enumerate(expected):
        if wanted == -math.inf or wanted == 0:
            assert (gradient[pair] == 0).all()
        else:
            assert gradient[pair].isnan().any() == math.isnan(wanted) and (gradient[pair] != 0).any()


def test_strides_do_not_tell_what_a_gap_is(library):
    """A gap that was expanded has strides of 0, and numbers that lie past the lengths as a copy of it has."""
    one = torch.full((4, 1, 1), -0.5)
    for shape in ((4, N, 1), (4, 1, M), (4, N, M)):
        leaf = one.clone().requires_grad_()
        expanded, by_one = scored(library, leaf.expand(shape)), leaf.grad
        copy, by_copy = scored(library, one.expand(shape).contiguous())
        assert torch.equal(expanded[0], copy)
        close(by_one.flatten(), by_copy.sum((1, 2)), 1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gap_that_is_not_finite(library, bad):
    gap = torch.full((4, 1, 1), -0.5)
    gap[:3] = bad  # also of the pair without a step, which reads none
    found = -math.inf if bad < 0 else math.nan
    score, gradient = scored(library, gap)
    assert torch.equal(score.nan_to_num(7), torch.tensor([found, found, 0.0, -1.0]).nan_to_num(7))
    handed = 0.0 if bad == -math.inf else 7.0
    assert gradient.flatten().nan_to_num(7).tolist() == [handed, handed, 0, 2]
    leaf = gap.clone().requires_grad_()
    score = library.needleman_wunsch(torch.zeros(4, N, M), leaf, x_lengths=X_LENGTHS, y_lengths=Y_LENGTHS)
    score[3].backward()  # the others receive 0, whatever they hold
    assert leaf.grad.flatten().tolist() == [0, 0, 0, 2]


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_the_derivative_along_a_direction(device, bad):
    gap = torch.full((4, 1, 1), -0.5)
    gap[1] = bad
    match, lengths = torch.zeros(4, N, M), (X_LENGTHS, Y_LENGTHS)
    options = (None, *(to(device, t) for t in lengths), 0.1, BOUNDARIES.index("global"), -1)
    tangent, *_ = torch.ops.softdp.needleman_wunsch_double_backward(
        None, to(device, torch.ones(4, 1, 1)), None, to(device, torch.ones(4)),
        to(device, match), to(device, gap), *options, True, True, False,
    )  # fmt: skip
    assert tangent.cpu().nan_to_num(7).tolist() == [3, 0 if bad == -math.inf else 7, 0, 2]


@pytest.mark.parametrize("size", [(2, 3, 0), (2, 0, 3), (0, 3, 3), (2, 0, 0)], ids=str)
def test_a_gap_without_memory_is_not_read(library, size):
    match = torch.zeros(size)
    for gap in (torch.tensor(-1.0).expand(size), torch.zeros(size)):
        score, gradients = score_and_gradients(library.needleman_wunsch, [match, gap])
        expected = 0.0 if size[1] == size[2] else -math.inf
        assert score.tolist() == [expected] * size[0] and gradients[1].shape == size
    score, (_, by_gap) = score_and_gradients(library.needleman_wunsch, [match, torch.full((1, 1, 1), -1.0)])
    assert score.tolist() == [-float(size[1] + size[2] if 0 in size[1:] else 0)] * size[0]
    assert by_gap.item() == (size[0] * (size[1] + size[2]) if 0 in size[1:] else 0)


def test_gaps_of_two_dimensions_and_of_one_number(library):
    match, gap = scores(2, N, M), scores(N, M)
    for given in (gap, gap[:, :1], gap[:1]):
        found = library.needleman_wunsch(match, given)
        close(found, softdp.reference.needleman_wunsch(match, given.expand(2, -1, -1)), 1e-9)
    one = torch.tensor([-0.5], dtype=torch.float64)
    close(library.needleman_wunsch(match, one), softdp.reference.needleman_wunsch(match, -0.5), 1e-9)
    for wrong in ((M,), (2, M), (1, 2, N, M)):
        with pytest.raises(ValueError, match="gap must be a number or one per pair, of shape .2,."):
            library.needleman_wunsch(match, scores(*wrong))
