"""Tables of costs on the CUDA kernels' own sources: the bits are those of a sweep of the negated tables."""

import math

import harness
import pytest
import torch
from helpers import scores
from kernel_checks import REGIMES, gap_of, one_thread, pairs, run, same_bits, tables_of  # noqa: F401

F32 = torch.float32
GAPS = [("dense", "dense"), ("dense", "shared"), ("row", "row"), ("row", "shared"), ("column", "shared"),
        ("row", "column"), ("number", "shared")]  # fmt: skip


def negated(inputs):
    return tuple(None if t is None else -t for t in inputs)


def check(inputs, **options):
    """Score and gradients of costs; those of the negated tables are the score's negative and the same."""
    costs = run("fsd", inputs, costs=True, **options)
    plain = run("fsd", negated(inputs), **options)
    assert same_bits(costs.score, 0 - plain.score)
    assert same_bits(costs.saved, plain.saved)
    for found, wanted in zip(costs.gradients, plain.gradients, strict=True):
        assert (found is None) == (wanted is None) and (found is None or same_bits(found, wanted))
    return costs


@pytest.mark.parametrize("gaps", GAPS, ids="-".join)
@pytest.mark.parametrize("dtype", [F32, torch.float64, *harness.HALF], ids=str)
def test_costs_are_negated_scores(dtype, gaps):
    for size in REGIMES:
        for gamma, boundary in ((0.1, "free"), (0.0, "anchored")):
            check(tables_of(2, *size, dtype=dtype, gaps=gaps), gamma=gamma, boundary=boundary)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_numbers_beside_half_costs(size):
    check((scores(2, *size).half(), torch.full((1, 1, 1), 0.1234567), None), gamma=0.1)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_masks_spoiled_and_ragged_costs(size):
    """An infinite cost forbids, NaN and -inf spoil; a cost beyond the range that leaves no path is NaN."""
    N, M = size
    match, insert, delete = tables_of(6, N, M)
    match[0, N // 2] = math.inf
    match[1, 0, 0] = math.nan
    match[2, 1, 1] = -math.inf
    match[3, N // 2] = 1e30
    options = {
        "x_lengths": torch.tensor([N, N, N, N, N - 1, 0]),
        "y_lengths": torch.tensor([M, M, M, M, 0, M - 1]),
    }
    found = check((match, insert, delete), gamma=0.1, boundary="anchored", **options)
    assert found.score[0] == math.inf and found.score[1:4].isnan().all()
    assert (found.score[4:] == math.inf).all()
    found = check((match, insert, delete), gamma=0.1, **options)
    assert found.score[4:].tolist() == [0, 0] and not found.score[4:].signbit().any()


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_strided_costs(size):
    N, M = size
    dense = scores(2, 2 * M, 3 * N, dtype=F32).transpose(1, 2)[:, ::3, ::2]
    off = scores(2 * N * M + 1, dtype=F32)[1:].view(2, N, M)  # starts off any multiple of 8 bytes
    before = dense.clone(), off.clone()
    check((dense, off, None), gamma=0.1)
    check((dense.half(), off.half(), None), gamma=0.1)
    assert torch.equal(dense, before[0]) and torch.equal(off, before[1])


@pytest.mark.parametrize("size", REGIMES, ids=str)
@pytest.mark.parametrize("dtype", [F32, torch.float64], ids=str)
def test_the_second_order_of_costs_has_the_opposite_sign(dtype, size):
    inputs = tables_of(2, *size, dtype=dtype)
    directions = tuple(scores(2, *size, dtype=dtype) for _ in inputs)
    schedules = [("forward", 1 << 30, 1, 227)]
    costs = run("fsd", inputs, schedules, costs=True, directions=directions, gamma=0.3)
    plain = run("fsd", negated(inputs), schedules, directions=directions, gamma=0.3)
    assert same_bits(costs.score, plain.score)  # the direction is that of the costs
    for found, wanted in zip(costs.gradients, plain.gradients, strict=True):
        assert same_bits(found, -wanted) and found.any()
