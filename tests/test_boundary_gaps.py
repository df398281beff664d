"""Needleman-Wunsch with a gap for each cell: its recurrence is the only one that charges the boundary."""

from __future__ import annotations

import math

import oracle
import pytest
import torch
from helpers import close, score_and_gradients, scores

import softdp
from softdp._recurrences import BOUNDARIES

F64 = torch.float64
SMALL = [(0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (4, 1), (2, 3), (4, 4), (3, 2)]
GAPS = {
    "a number": (1, 1, 1),
    "one per pair": (len(SMALL), 1, 1),
    "one per step of x": (len(SMALL), 4, 1),
    "one per step of y": (len(SMALL), 1, 4),
    "one per cell": (len(SMALL), 4, 4),
}


@pytest.mark.parametrize("gamma", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("shape", GAPS.values(), ids=GAPS.keys())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_kind_of_gap_is_the_sum_over_all_alignments(shape, gamma, dtype):
    match, gap = scores(len(SMALL), 4, 4, dtype=dtype), scores(*shape, dtype=dtype)
    n, m = torch.tensor(SMALL).unbind(1)
    weights = torch.rand(len(SMALL), dtype=dtype) + 0.5
    found, (by_match, by_gap) = score_and_gradients(
        lambda *t, **options: softdp.needleman_wunsch(*t, **options).nan_to_num(neginf=0) * weights,
        [match, gap],
        gamma=gamma,
        x_lengths=n,
        y_lengths=m,
    )
    tolerance = 1e-10 if dtype == F64 else 1e-4
    expected_gap = torch.zeros(len(SMALL), 4, 4, dtype=F64)
    for b, (rows, columns) in enumerate(SMALL):
        full = gap.double().expand(len(SMALL), 4, 4)[b]
        if rows * columns == 0 and (shape[1] if rows == 0 else shape[2]) > 1 and rows + columns > 0:
            assert found[b] == 0  # -inf: there is no gap that may be read
            continue
        score, matched, gaps = oracle.alignments(
            match[b].double().numpy(), full.numpy(), rows, columns, gamma
        )
        close(found[b].double() / weights[b], torch.tensor(score), tolerance)
        close(by_match[b].double() / weights[b], torch.from_numpy(matched), tolerance)
        expected_gap[b] = torch.from_numpy(gaps) * weights[b].double()
    over = [d for d in range(3) if shape[d] == 1]
    close(by_gap.double(), expected_gap.sum(over, keepdim=True) if over else expected_gap, tolerance)


@pytest.mark.parametrize("size", [(3, 33, 70), (2, 130, 20), (1, 300, 300)])
@pytest.mark.parametrize("threads", [1, 3])
def test_long_tables_agree_with_the_reference(size, threads):
    B, N, M = size
    before = torch.get_num_threads()
    for shape in ((1, 1, 1), (B, N, 1), (B, 1, M), (B, N, M)):
        tensors = [scores(*size), scores(*shape) - 1]
        n, m = torch.randint(1, N + 1, (B,)), torch.randint(1, M + 1, (B,))
        options = {"gamma": 0.2, "x_lengths": n, "y_lengths": m}
        try:
            torch.set_num_threads(threads)
            found = score_and_gradients(softdp.needleman_wunsch, tensors, **options)
        finally:
            torch.set_num_threads(before)
        wanted = score_and_gradients(softdp.reference.needleman_wunsch, tensors, **options)
        close(found[0], wanted[0], 1e-10)
        for a, b in zip(found[1], wanted[1], strict=True):
            close(a, b, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_as_they_are(dtype):
    match, gap = scores(2, 40, 50).to(dtype), scores(2, 40, 1).to(dtype)
    found, (by_match, by_gap) = score_and_gradients(softdp.needleman_wunsch, [match, gap])
    assert found.dtype == torch.float32 and by_match.dtype == by_gap.dtype == dtype
    wanted, gradients = score_and_gradients(softdp.needleman_wunsch, [match.float(), gap.float()])
    assert torch.equal(found, wanted)
    close(by_match.float(), gradients[0], 1e-2)
    close(by_gap.float(), gradients[1], 2e-2)


@pytest.mark.parametrize("gap_shape", [(2, 1, 1), (2, 5, 1), (2, 1, 4), (2, 5, 4)])
def test_twice_differentiable_by_every_kind_of_gap(gap_shape):
    match, gap = scores(2, 5, 4).requires_grad_(), scores(*gap_shape).requires_grad_()
    lengths = {"x_lengths": torch.tensor([5, 3]), "y_lengths": torch.tensor([4, 2])}
    score = lambda *t: softdp.needleman_wunsch(*t, gamma=0.4, **lengths)  # noqa: E731
    assert torch.autograd.gradcheck(score, (match, gap))
    assert torch.autograd.gradgradcheck(score, (match, gap))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_gap_spoils_its_own_pair(bad):
    match, gap = scores(3, 6, 5), scores(3, 6, 1)
    gap[1, 3] = bad
    found, (by_match, by_gap) = score_and_gradients(softdp.needleman_wunsch, [match, gap])
    assert found.isnan().tolist() == [False, True, False]
    assert by_match[1].isnan().all() and by_gap[1].isnan().all()
    assert by_match[[0, 2]].isfinite().all() and by_gap[[0, 2]].isfinite().all()


def test_gaps_of_minus_infinity_leave_other_paths():
    match, gap = torch.zeros(1, 3, 3, dtype=F64), torch.full((1, 3, 3), -math.inf, dtype=F64)
    assert softdp.needleman_wunsch(match, gap, gamma=0.0) == 0  # the diagonal
    gap[0, 0, 0] = -1.0  # the first gaps of x and of y: boundary and cell (1, 1)
    match[0, 1, 1] = -math.inf
    assert softdp.needleman_wunsch(match, gap, gamma=0.0) == -math.inf


def test_it_saves_what_fsd_score_saves():
    match = scores(2, 64, 64, dtype=torch.float32)
    gap = torch.full((1, 1, 1), -0.5)
    options = match, gap, None, None, None, 0.1
    _, saved = torch.ops.softdp.needleman_wunsch_forward(*options, BOUNDARIES.index("global"), -1, True)
    _, saved_of_fsd = torch.ops.softdp.fsd_forward(*options, 0, -1, False, True)
    assert saved.numel() == saved_of_fsd.numel()


def test_large_sums_on_the_boundary_stay_in_range():
    """At gamma 1e-6 float32's sweep hands over to wider ones; the sums of gaps reach 3e8 of its units."""
    tensors = scores(2, 300, 40, dtype=torch.float32), torch.tensor([-1.0, -0.5])
    found, gradients = score_and_gradients(softdp.needleman_wunsch, tensors, gamma=1e-6)
    exact = [t.double() for t in tensors]
    wanted, expected = score_and_gradients(softdp.needleman_wunsch, exact, gamma=0.0)
    close(found.double(), wanted, 1e-4)
    close(gradients[1].double(), expected[1], 1e-4)
