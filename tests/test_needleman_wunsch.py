"""Needleman-Wunsch scores: by enumeration, by hand, and what float32 keeps."""

import math

import oracle
import pytest
import torch
from helpers import close, score_and_gradients, scores

import softdp

F64 = torch.float64
SMALL = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 3)]


@pytest.mark.parametrize("gamma", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("gap", [-1.3, 0.0, 0.4])
@pytest.mark.parametrize("masked", [0.0, 0.3, 1.0])
def test_needleman_wunsch_is_the_best_of_all_alignments(gamma, gap, masked):
    match = scores(len(SMALL), 4, 4)
    match[torch.rand(match.shape) < masked] = -math.inf
    gaps = torch.full((len(SMALL),), gap, dtype=F64)
    lengths = torch.tensor(SMALL).unbind(1)
    found, (by_match, by_gap) = score_and_gradients(
        softdp.needleman_wunsch, [match, gaps], gamma=gamma, x_lengths=lengths[0], y_lengths=lengths[1]
    )
    for b, (n, m) in enumerate(SMALL):
        score, expected, expected_gaps = oracle.needleman_wunsch(match[b, :n, :m].numpy(), gap, gamma)
        close(found[b], torch.tensor(score), 1e-9)
        assert by_match[b, n:].eq(0).all() and by_match[b, :, m:].eq(0).all()
        if gamma == 0:  # the gradient is that of one of the best
            total = (match[b, :n, :m].nan_to_num(neginf=0) * by_match[b, :n, :m]).sum() + gap * by_gap[b]
            close(total, found[b], 1e-9)
        if gamma > 0 or masked == 0 and gap != 0:  # one best alignment
            close(by_match[b, :n, :m], torch.from_numpy(expected), 1e-9)
            close(by_gap[b], torch.tensor(expected_gaps), 1e-9)


def letters(text: str) -> torch.Tensor:
    return torch.tensor([["ACGT".index(c) for c in text]])


def test_needleman_wunsch_of_gcatgcg_and_gattaca_is_0():
    x, y = letters("GCATGCG"), letters("GATTACA")
    match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
    score, (matched, gaps) = score_and_gradients(
        softdp.needleman_wunsch, [match, torch.tensor([-1.0])], gamma=0.0
    )
    assert score == 0
    assert gaps + 2 * matched.sum() == 14  # every step is matched or not
    assert (matched * match).sum() - gaps == 0  # the gradient is that of an alignment that scores as much


@pytest.mark.parametrize("gap", [-1.0, torch.tensor(-1.0), torch.tensor([-1.0, -2.0, 0.5, 0.0])])
def test_needleman_wunsch_with_empty_sequences(gap):
    score = softdp.needleman_wunsch(
        torch.full((4, 5, 6), math.nan),
        gap,
        x_lengths=torch.tensor([0, 0, 5, 3]),
        y_lengths=torch.tensor([0, 4, 0, 0]),
    )
    expected = torch.tensor([0, 4, 5, 3]) * torch.as_tensor(gap)
    close(score, expected, 1e-6)


def test_needleman_wunsch_reads_no_padding_and_keeps_pairs_apart():
    match = scores(4, 5, 6)
    lengths = {"x_lengths": torch.tensor([5, 2, 4, 1]), "y_lengths": torch.tensor([6, 6, 1, 0])}
    n, m = lengths.values()
    outside = (torch.arange(5)[:, None] >= n[:, None, None]) | (torch.arange(6) >= m[:, None, None])
    gap = torch.full((4, 1, 1), -0.4, dtype=F64)
    expected, expected_gradients = score_and_gradients(softdp.needleman_wunsch, [match, gap], **lengths)
    spoiled = match.masked_fill(outside, math.nan)
    found, gradients = score_and_gradients(softdp.needleman_wunsch, [spoiled, gap], **lengths)
    assert torch.equal(found, expected)
    assert all(map(torch.equal, gradients, expected_gradients))
    for bad in (math.nan, math.inf):
        match[1, 0, 0] = bad
        found, (by_match, by_gap) = score_and_gradients(softdp.needleman_wunsch, [match, gap], **lengths)
        assert found[1].isnan() and by_match[1, 0, 0].isnan() and by_gap[1].isnan()
        keep = [0, 2, 3]
        assert torch.equal(found[keep], expected[keep])
        assert torch.equal(by_match[keep], expected_gradients[0][keep])


def test_needleman_wunsch_without_gaps_is_the_diagonal():
    match = scores(3, 5, 5)
    lengths = {"x_lengths": torch.tensor([5, 3, 4]), "y_lengths": torch.tensor([5, 3, 2])}
    found = softdp.needleman_wunsch(match, -math.inf, **lengths)
    diagonal = match.diagonal(dim1=1, dim2=2)
    close(found, torch.stack([diagonal[0].sum(), diagonal[1, :3].sum(), torch.tensor(-math.inf)]), 1e-12)


def test_needleman_wunsch_twice_differentiable():
    match, gap = scores(2, 4, 3).requires_grad_(), scores(2).requires_grad_()
    with torch.no_grad():
        match[0, 1, 1] = -math.inf
    finite = match.detach().isfinite()
    leaf = match.detach()[finite].requires_grad_()
    lengths = {"x_lengths": torch.tensor([4, 3]), "y_lengths": torch.tensor([3, 3])}

    def score(values, gap):
        table = torch.full((2, 4, 3), -math.inf, dtype=F64).masked_scatter(finite, values)
        return softdp.needleman_wunsch(table, gap, gamma=0.3, **lengths)

    assert torch.autograd.gradcheck(score, (leaf, gap))
    assert torch.autograd.gradgradcheck(score, (leaf, gap))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("gap", [-0.1, -1.0, -10.0])
def test_needleman_wunsch_in_float32_at_512_steps(gap, gamma):
    match = scores(1, 512, 500, dtype=torch.float32)
    match[torch.rand(match.shape) < 0.2] = -math.inf
    gap = torch.tensor([gap])
    found, gradients = score_and_gradients(softdp.needleman_wunsch, [match, gap], gamma=gamma)
    exact, exact_gradients = score_and_gradients(
        softdp.needleman_wunsch, [match.double(), gap.double()], gamma=gamma
    )
    assert ((found - exact) / exact).abs() < 1e-6
    assert (gradients[0] - exact_gradients[0]).abs().max() < 1e-4
    assert ((gradients[1] - exact_gradients[1]) / exact_gradients[1]).abs() < 1e-5
    assert gradients[0][match == -math.inf].eq(0).all()
