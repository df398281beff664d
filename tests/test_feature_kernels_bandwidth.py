"""Scores of features within a bandwidth by the CUDA kernels' own sources, run on the CPU by tests/kernels,
against the reference in float64.

The workspace starts as NaN, so a cell outside that is read, or one inside that is not made, shows. Sizes lie
around tiles of 64 steps, blocks of 32 and fours of columns.
"""

import math

import harness
import pytest
import torch
from feature_checks import (
    KINDS,
    OPEN,
    THRESHOLD,
    exactly,
    features,
    only_the_middle_pairs_are_spoiled,
    scores_of,
)
from helpers import close
from kernel_checks import SCHEDULES, one_thread, same_bits, take_schedule  # noqa: F401

F32, F64 = torch.float32, torch.float64
ALL = [*KINDS, *OPEN]
each = pytest.mark.parametrize("kind", ALL)
each_sweep = pytest.mark.parametrize("kind", ["squares", "roots", "fsd", "lcs", *OPEN])
# B, N, M, D and a bandwidth.
SIZES = [
    ((2, 1, 5, 2), 0),
    ((2, 9, 11, 4), 0),
    ((3, 30, 32, 6), 2),
    ((2, 64, 64, 4), 63),
    ((2, 65, 70, 34), 8),
    ((1, 130, 129, 4), 1),
    ((1, 200, 180, 4), 70),
    ((1, 40, 300, 4), 1),
    ((1, 300, 40, 4), 20),
    ((2, 2, 90, 4), 0),
    ((1, 150, 150, 2), 1000),
]


def run(kind, x, y, **options):
    """By two schedules, which must agree bit for bit."""
    kind, boundary = OPEN.get(kind, (kind, None))
    results = []
    for schedule in SCHEDULES[::2]:
        take_schedule(schedule, 0)
        found = harness.features(KINDS.index(kind), x, y, threshold=THRESHOLD, boundary=boundary, **options)
        results.append([t for t in found if t is not None])
    assert all(map(same_bits, *results))
    return results[0]


def check(kind, x, y, bandwidth, gamma=0.5, tolerance=None, **options):
    lengths = {name: options[name] for name in ("x_lengths", "y_lengths") if name in options}
    score, *gradients = run(kind, x, y, gamma=gamma, bandwidth=bandwidth, **options)
    wanted, of_features = exactly(kind, x, y, gamma, bandwidth=bandwidth, **lengths)
    tolerance = tolerance or {F64: 1e-9, F32: 1e-4}[x.dtype]
    close(score.double(), wanted, tolerance)
    for found, expected in zip(gradients, of_features, strict=True):
        close(found.double(), expected, tolerance * max(1, expected.abs().nan_to_num().max().item()))


@each
@pytest.mark.parametrize("size, bandwidth", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_features_within_a_bandwidth(kind, size, bandwidth, dtype):
    check(kind, *features(kind, *size, dtype), bandwidth)


@each_sweep
@pytest.mark.parametrize("gamma", [0.0, 0.2])
@pytest.mark.parametrize("room, integer", [(0, torch.int32), (1 << 30, torch.int64)])
def test_ragged_features_within_a_bandwidth(kind, gamma, room, integer):
    """Slopes down and across, single rows and columns, pairs without cells; one pair at a time, or all."""
    x, y = features(kind, 8, 140, 90, 4, F64)
    n = torch.tensor([140, 64, 65, 1, 9, 0, 3, 140], dtype=integer)
    m = torch.tensor([90, 64, 90, 90, 1, 4, 0, 5], dtype=integer)
    for t, lengths in ((x, n), (y, m)):
        t[torch.arange(t.shape[1]) >= lengths[:, None]] = 0
    check(kind, x, y, 3, gamma, x_lengths=n, y_lengths=m, table_bytes=room)


def test_a_slope_that_only_lengths_give():
    """Three steps beside 400: all columns are inside, in more tiles than rows of the whole table have."""
    x, y = features("squares", 2, 300, 400, 4, F64)
    n, m = torch.tensor([300, 3]), torch.tensor([400, 400])
    x[1, 3:] = 0
    check("squares", x, y, 2, x_lengths=n, y_lengths=m)


@each_sweep
@pytest.mark.parametrize("size", [(3, 2, 40, 33, 4), (2, 5, 90, 140, 20)], ids=str)
@pytest.mark.parametrize("is_ragged, room", [(False, 3 << 16), (False, 1 << 17), (True, 0), (True, 1 << 30)])
def test_every_x_beside_every_y(kind, size, is_ragged, room):
    K, L, N, M, D = size
    x, y = features(kind, K, N, M, D, F64, L)
    n, m = torch.randint(N + 1, (K,)), torch.randint(M + 1, (L,))
    lengths = {"x_lengths": n, "y_lengths": m} if is_ragged else {}
    if is_ragged:
        for t, own in ((x, n), (y, m)):
            t[torch.arange(t.shape[1]) >= own[:, None]] = 0
    weights = torch.rand(K, L, dtype=F64) - 0.5
    weights[0, 0] = 0
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    copied = leaves[0].repeat_interleave(L, 0), leaves[1].repeat(K, 1, 1)
    of_pairs = {"x_lengths": n.repeat_interleave(L), "y_lengths": m.repeat(K)} if is_ragged else {}
    expected = scores_of(*copied, kind, 0.5, bandwidth=4, **of_pairs).view(K, L)
    weighed = torch.where(expected.isfinite(), expected, 0) * weights
    gradients = torch.autograd.grad(weighed.sum(), leaves)
    options = {"gamma": 0.5, "bandwidth": 4, "every": True, "table_bytes": room, **lengths}
    (score,) = run(kind, x, y, needs=(False, False), **options)
    close(score, expected.detach(), 1e-9)
    for a, b in zip(
        run(kind, x, y, weights=weights, **options), (expected.detach(), *gradients), strict=True
    ):
        close(a, b, 1e-9)


def test_two_against_many():
    """Blocks share the many out in slices."""
    x, y = features("fsd", 2, 30, 40, 4, F64, 70)
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    weights = torch.rand(2, 70, dtype=F64) - 0.5
    pairs = leaves[0].repeat_interleave(70, 0), leaves[1].repeat(2, 1, 1)
    expected = scores_of(*pairs, "fsd", 0.5, bandwidth=3).view(2, 70)
    gradients = torch.autograd.grad((expected * weights).sum(), leaves)
    found = run("fsd", x, y, gamma=0.5, bandwidth=3, every=True, weights=weights)
    for a, b in zip(found[1:], gradients, strict=True):
        close(a, b, 1e-9)


@each
def test_what_is_not_finite_spoils_its_pair(kind):
    x, y = features(kind, 4, 90, 70, 4)
    x[1, 80, 0], y[2, 3, 1] = math.nan, math.inf
    found = run(kind, x, y, gamma=0.5, bandwidth=2)
    only_the_middle_pairs_are_spoiled(found, exactly(kind, x[[0, 3]], y[[0, 3]], 0.5, bandwidth=2))


@each
def test_a_spoiled_pair_gives_nan_to_sums(kind):
    x, y = features(kind, 3, 40, 30, 4, L=2)
    x[1, 3, 0] = math.nan
    weights = torch.ones(3, 2)
    weights[1, 0] = 0
    score, d_x, d_y = run(kind, x, y, gamma=0.5, bandwidth=2, every=True, weights=weights)
    assert score.isnan().any(1).tolist() == [False, True, False]
    assert d_x[1].isnan().all() and d_x[[0, 2]].isfinite().all()
    assert d_y[1].isnan().all() and d_y[0].isfinite().all()


@pytest.mark.parametrize("kind", ["squares", "roots", "fsd", *OPEN])
def test_lengths_that_do_not_fit_spoil_their_pair(kind):
    x, y = features(kind, 4, 70, 10, 4)
    n, m = torch.tensor([70, 71, -1, 9]), torch.tensor([10, 10, 10, 2**40])
    score, d_x, d_y = run(kind, x, y, gamma=0.5, bandwidth=2, x_lengths=n, y_lengths=m)
    assert score.isnan().tolist() == [False, True, True, True]
    assert (d_x[1:] == 0).all() and (d_y[1:] == 0).all() and d_x[0].isfinite().all()
    assert d_y[0].abs().sum() > 0


@pytest.mark.parametrize("kind", ["squares", "subsequence"])
def test_costs_past_the_range_are_nan_and_infinite_ones_infinite(kind):
    """Step 40 of x forbids every path. A pair is NaN where a finite cost, that of step 60 alone, could have
    been on one."""
    x, y = features(kind, 3, 70, 60, 4)
    x[:2, 40] *= 1e25
    x[0, 60] *= 1e6
    score, d_x, d_y = run(kind, x, y, gamma=1e-3, bandwidth=4)
    assert score[0].isnan() and score[1] == math.inf and score[2].isfinite()
    assert (d_x[:2] == 0).all() and (d_y[:2] == 0).all() and d_x[2].isfinite().all()


@pytest.mark.parametrize("needs", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("kind", ["squares", "roots", "fsd"])
def test_one_side_of_features_alone(kind, needs):
    x, y = features(kind, 2, 140, 33, 4)
    expected = run(kind, x, y, gamma=0.5, bandwidth=2)
    wanted = [expected[0], *(t for t, need in zip(expected[1:], needs, strict=True) if need)]
    for a, b in zip(run(kind, x, y, gamma=0.5, bandwidth=2, needs=needs), wanted, strict=True):
        close(a, b, 1e-4)


def test_sequences_beside_themselves():
    x, _ = features("squares", 2, 70, 1, 6)
    score, d_x, d_y = run("squares", x, x, gamma=0.5, bandwidth=3)
    again, both = run("squares", x, x, gamma=0.5, bandwidth=3, needs=(True, False), itself=True)
    assert torch.equal(again, score)
    close(both, d_x + d_y, 2e-4)


@pytest.mark.parametrize("kind, numbers", [("squares", 2), ("roots", 3), ("fsd", 3)])
@pytest.mark.parametrize("N, M", [(2000, 2000), (20000, 20000), (20000, 5000), (5000, 20000)])
def test_memory_is_that_of_the_cells_within_a_bandwidth(kind, numbers, N, M):
    """As docs/limits.md says, with bands of 128 rows. Of 20000 steps a table would be 1.6 GB."""
    take_schedule(SCHEDULES[0], 0)
    for w in (0, 10, 200):
        found = harness.workspace_of_features(KINDS.index(kind), N, M, 4, 0.5, w)
        cells = 4 * numbers * (N * (2 * max(w, 1) + 10) + 5 * M)
        units = (4 * 4 + 2 * 4) * (N + M) if kind == "fsd" else 0  # and lengths, of two halves
        assert cells < found < cells + units + (w / 4 + 9) * N + 25 * M + 4096
