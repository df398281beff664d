"""Scores of features by the CUDA kernels' own sources, run on the CPU by tests/kernels, against the reference
in float64: tables, sweeps and sums. Everything runs under several schedules, which must agree bit for bit.

Regimes: tiny pairs, pairs that go whole, and, with little room for tables, a few pairs at a time or strips of
128 rows of a table (with none, of one pair at a time).
"""

import math
import sys

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

F32 = torch.float32
TOLERANCE = {torch.float64: 1e-9, F32: 1e-4}
each = pytest.mark.parametrize("kind", KINDS)
each_sweep = pytest.mark.parametrize("kind", ["squares", "fsd", "lcs", *OPEN])  # what they do to tables
every_open = pytest.mark.parametrize("kind", OPEN)

SIZES = [
    (1, 1, 1, 2),
    (3, 5, 7, 4),
    (2, 32, 30, 16),
    (5, 16, 9, 34),
    (2, 33, 40, 6),
    (2, 70, 65, 18),
    (1, 130, 64, 2),
    (1, 64, 129, 8),
    (1, 65, 63, 130),
]
STRIPS = [(1, 257, 40, 4), (3, 300, 33, 6), (2, 129, 70, 4), (2, 256, 9, 36)]


# No pairs are few for none; for six, three of two strips are, and those of a last batch or piece may be.
@pytest.fixture(params=[0, 6], ids=["many", "few"], autouse=True)
def multiprocessors(request, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "of_the_device", request.param)


of_the_device = 0


def run(kind, x, y, schedules=None, **options):
    """By two schedules, as kernel_checks.run()."""
    results = []
    kind, boundary = OPEN.get(kind, (kind, None))
    schedules = schedules or (SCHEDULES[:2] if of_the_device else SCHEDULES[::2])
    for schedule in schedules:
        take_schedule(schedule, of_the_device)
        found = harness.features(KINDS.index(kind), x, y, threshold=THRESHOLD, boundary=boundary, **options)
        results.append([t for t in found if t is not None])
    for other in results[1:]:
        assert all(map(same_bits, other, results[0])), f"schedules {schedules} do not agree"
    return results[0]


def check(kind, x, y, gamma=0.5, tolerance=None, **options):
    lengths = {name: options[name] for name in ("x_lengths", "y_lengths") if name in options}
    score, *gradients = run(kind, x, y, gamma=gamma, **options)
    wanted, of_features = exactly(kind, x, y, gamma, **lengths)
    tolerance = tolerance or TOLERANCE[x.dtype]
    close(score.double(), wanted, tolerance)
    for found, expected in zip(gradients, of_features, strict=True):
        close(found.double(), expected, tolerance * max(1, expected.abs().nan_to_num().max().item()))


@each
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [F32, torch.float64], ids=str)
def test_values_and_gradients(kind, size, dtype):
    check(kind, *features(kind, *size, dtype))


@every_open
@pytest.mark.parametrize("size", [(3, 5, 7, 4), (2, 32, 30, 16), (2, 70, 65, 18), (1, 130, 64, 2)], ids=str)
@pytest.mark.parametrize("dtype", [F32, torch.float64], ids=str)
def test_values_and_gradients_of_open_ends(kind, size, dtype):
    check(kind, *features(kind, *size, dtype))


@each_sweep
@pytest.mark.parametrize("size", [(2, 9, 11, 4), (2, 40, 33, 6)], ids=str)
def test_hard(kind, size):
    x, y = features(kind, *size, torch.float64)
    check(kind, x, y, gamma=0.0)


@pytest.mark.parametrize("kind", [*KINDS, *OPEN])
@pytest.mark.parametrize("size", STRIPS, ids=str)
@pytest.mark.parametrize("pairs, dtype", [(0, F32), (2, F32), (0, torch.float64)], ids=str)
def test_strips(kind, size, pairs, dtype):
    x, y = features(kind, *size, dtype)
    numbers = {"fsd": 3, "roots": 3}.get(OPEN.get(kind, (kind,))[0], 2)  # a cell: tables and weights
    cell = (numbers + (dtype == torch.float64 and kind != "lcs")) * x.element_size()
    check(kind, x, y, gamma=0.2, table_bytes=pairs * 128 * size[2] * cell)


@each_sweep
def test_strips_of_few_pairs(kind):
    """Pieces of odd height, which hand on their edges as others do."""
    check(kind, *features(kind, 3, 301, 33, 6), gamma=0.2, table_bytes=0)


@each_sweep
@pytest.mark.parametrize("gamma", [0.0, 0.2])
@pytest.mark.parametrize("room, integer", [(0, torch.int32), (1 << 30, torch.int64)])
def test_ragged(kind, gamma, room, integer):
    """Lengths around the strips' ends, of pairs that are empty or go on for ever."""
    x, y = features(kind, 8, 270, 12, 4, torch.float64)
    n = torch.tensor([270, 128, 129, 127, 256, 0, 3, 270], dtype=integer)
    m = torch.tensor([12, 1, 12, 5, 7, 4, 0, 12], dtype=integer)
    for t, lengths in ((x, n), (y, m)):
        t[torch.arange(t.shape[1]) >= lengths[:, None]] = 0  # padding is finite
    check(kind, x, y, gamma, x_lengths=n, y_lengths=m, table_bytes=room)


@each_sweep
@pytest.mark.parametrize("room", [0, 1 << 30])
def test_lengths_that_do_not_fit_spoil_their_own_pair(kind, room):
    x, y = features(kind, 4, 150, 10, 4)
    n, m = torch.tensor([150, 151, -1, 90]), torch.tensor([10, 10, 10, 2**40])
    score, d_x, d_y = run(kind, x, y, gamma=0.5, x_lengths=n, y_lengths=m, table_bytes=room)
    assert score.isnan().tolist() == [False, True, True, True]
    assert (d_x[1:] == 0).all() and (d_y[1:] == 0).all() and d_x[0].isfinite().all()
    assert d_y[0].abs().sum() > 0


@pytest.mark.parametrize("kind", [*KINDS, *OPEN])
@pytest.mark.parametrize("steps", [20, 60, 200])
@pytest.mark.parametrize("bad, gamma", [(math.nan, 0.5), (math.inf, 0.5), (math.nan, 0.0)])
def test_what_is_not_finite_spoils_its_own_pair(kind, steps, bad, gamma):
    x, y = features(kind, 4, steps, 11, 4)
    x[1, steps - 1, 0], y[2, 3, 1] = bad, -bad
    room = 0 if steps == 200 else 1 << 30
    found = run(kind, x, y, gamma=gamma, table_bytes=room)
    only_the_middle_pairs_are_spoiled(found, exactly(kind, x[[0, 3]], y[[0, 3]], gamma))


@each
@pytest.mark.parametrize("needs", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [(2, 140, 33, 4)], ids=str)
@pytest.mark.parametrize("room", [0, 1 << 30])
def test_only_what_is_needed_of_features(kind, needs, size, room):
    x, y = features(kind, *size)
    expected = run(kind, x, y, gamma=0.5)
    found = run(kind, x, y, gamma=0.5, needs=needs, table_bytes=room)
    wanted = [expected[0], *(t for t, need in zip(expected[1:], needs, strict=True) if need)]
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-4)


@each_sweep
@pytest.mark.parametrize("size", [(5, 4, 9, 7, 4), (2, 3, 40, 33, 4), (2, 2, 140, 33, 20)], ids=str)
@pytest.mark.parametrize("is_ragged, room", [(False, 63360), (True, 0), (True, 1 << 30)])
def test_every_x_and_every_y(kind, size, is_ragged, room):
    """Scores, and gradients of a weighed sum of them; one pair at a time, a few, or all."""
    K, L, N, M, D = size
    x, y = features(kind, K, N, M, D, torch.float64, L)
    n, m = torch.randint(N + 1, (K,)), torch.randint(M + 1, (L,))
    lengths = {"x_lengths": n, "y_lengths": m} if is_ragged else {}
    if is_ragged:
        for t, own in ((x, n), (y, m)):
            t[torch.arange(t.shape[1]) >= own[:, None]] = 0
    weights = torch.rand(K, L, dtype=torch.float64) - 0.5
    weights[0, 0] = 0
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    copied = leaves[0].repeat_interleave(L, 0), leaves[1].repeat(K, 1, 1)
    of_pairs = {"x_lengths": n.repeat_interleave(L), "y_lengths": m.repeat(K)} if is_ragged else {}
    expected = scores_of(*copied, kind, 0.5, **of_pairs).view(K, L)
    weighed = torch.where(expected.isfinite(), expected, 0) * weights
    gradients = torch.autograd.grad(weighed.sum(), leaves)
    (score,) = run(kind, x, y, gamma=0.5, every=True, needs=(False, False), table_bytes=room, **lengths)
    close(score, expected.detach(), 1e-9)
    found = run(kind, x, y, gamma=0.5, every=True, weights=weights, table_bytes=room, **lengths)
    for a, b in zip(found, (expected.detach(), *gradients), strict=True):
        close(a, b, 1e-9)


@pytest.mark.parametrize("kind", ["squares", "fsd"])
@pytest.mark.parametrize("many, steps, room", [(70, 5, 0), (70, 5, 1 << 30), (6, 300, 280 * 7 * 24)])
def test_few_against_many(kind, many, steps, room):
    """Blocks share the many out in slices, also of strips."""
    x, y = features(kind, 2, steps, 7, 4, torch.float64, many)
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    weights = torch.rand(2, many, dtype=torch.float64) - 0.5
    pairs = leaves[0].repeat_interleave(many, 0), leaves[1].repeat(2, 1, 1)
    expected = scores_of(*pairs, kind, 0.5).view(2, many)
    gradients = torch.autograd.grad((expected * weights).sum(), leaves)
    found = run(kind, x, y, gamma=0.5, every=True, weights=weights, table_bytes=room)
    swapped = run(kind, y, x, gamma=0.5, every=True, weights=weights.T.contiguous(), table_bytes=room)
    for a, b, c in zip(found[1:], gradients, swapped[:0:-1], strict=True):
        close(a, b, 1e-9)
        close(c, b, 1e-9)


@each_sweep
def test_more_strips_than_edges_are_kept(kind):
    """Without gradients two rows of states take turns."""
    x, y = features(kind, 1, 700, 6, 4)
    (score,) = run(kind, x, y, gamma=0.5, needs=(False, False), table_bytes=0)
    close(score.double(), exactly(kind, x, y, 0.5)[0], 1e-5)


def test_lengths_that_do_not_fit_give_nan_to_sums():
    x, y = features("squares", 2, 9, 7, 4, L=2)
    weights = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    lengths = torch.tensor([10, 9]), torch.tensor([7, 7])
    _, d_x, d_y = run(
        "squares", x, y, gamma=0.5, every=True, weights=weights, x_lengths=lengths[0], y_lengths=lengths[1]
    )
    assert d_x[0].isnan().all() and (d_x[1] == 0).all() and d_y.isnan().all()


@each
def test_a_spoiled_pair_gives_nan_to_sums_unless_its_weight_is_0(kind):
    x, y = features(kind, 3, 9, 7, 4, L=2)
    x[1, 3, 0] = math.nan
    weights = torch.ones(3, 2)
    weights[1, 0] = 0
    score, d_x, d_y = run(kind, x, y, gamma=0.5, every=True, weights=weights)
    assert score.isnan().any(1).tolist() == [False, True, False]
    assert d_x[1].isnan().all() and d_x[[0, 2]].isfinite().all()
    assert d_y[1].isnan().all() and d_y[0].isfinite().all()
    x[1] = y[1, 0]  # but for one step: distances of 0
    x[1, 3, 0] = math.nan
    assert run(kind, x, y, gamma=0.5, every=True, weights=weights)[1][1].isnan().all()
    weights[1] = 0
    _, d_x, d_y = run(kind, x, y, gamma=0.5, every=True, weights=weights)
    assert (d_x[1] == 0).all() and d_x.isfinite().all() and d_y.isfinite().all()


@pytest.mark.parametrize("kind", ["squares", "roots", "absolute"])
@pytest.mark.parametrize("D", [1, 40])
def test_small_differences_of_large_positions(kind, D):
    """FIELD.md 2: products would lose them."""
    x = torch.linspace(0, 20000, 100).view(1, 100, 1).expand(1, 100, D).contiguous()
    check(kind, x, x + 1, gamma=1.0)


@each
def test_zeros_and_extreme_lengths_of_vectors(kind):
    x, y = features(kind, 1, 12, 12, 6)
    if kind in ("squares", "roots", "absolute"):
        y[0, 4] = x[0, 3]
    else:
        x[0, 2], y[0, 5] = 0, 0
        x[0, 6] *= 1e-25
        x[0, 7] *= 1e25
        x[0, 8] *= 1e-17
    score, d_x, d_y = run(kind, x, y, gamma=0.5)
    wanted, gradients = exactly(kind, x, y, 0.5)
    close(score.double(), wanted, 1e-5)
    for found, expected, steps in zip((d_x, d_y), gradients, (x, y), strict=True):
        for k in range(12):  # of vectors as long as 1e-25 gradients are as large as 1e25
            if (steps[0, k] == 0).all():
                assert (found[0, k] == 0).all()
                continue
            scale = max(1.0, expected[0, k].abs().max().item()) if steps[0, k].norm() < 1e3 else 1e-25
            close(found[0, k].double() / scale, expected[0, k] / scale, 1e-4)


@each_sweep
@pytest.mark.parametrize("size", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0), (0, 300, 4)], ids=str)
@pytest.mark.parametrize("room", [0, 200 * 4 * 16, 1 << 30])
def test_nothing_to_compare(kind, size, room):
    B, N, M = size
    x, y = torch.randn(B, N, 4), torch.randn(B, M, 4)
    score, d_x, d_y = run(kind, x, y, gamma=0.5, table_bytes=room)
    empty = math.inf if kind == "squares" and N != M or kind == "subsequence" and N > M else 0.0
    assert score.tolist() == [empty] * B
    assert (d_x == 0).all() and (d_y == 0).all()


@pytest.mark.parametrize("steps", [9, 40, 150])
def test_costs_past_the_range_are_nan_or_infinite(steps):
    """Finite costs that the arithmetic cannot hold: no path is left, and the pair is NaN, not infinite."""
    x, y = features("squares", 2, steps, 10, 4)
    x[0] *= 1e6
    score, d_x, d_y = run("squares", x, y, gamma=1e-3, table_bytes=0)
    assert score.isnan().tolist() == [True, False] and (d_x[0] == 0).all() and (d_y[0] == 0).all()


def test_a_strip_says_that_its_end_hides_a_cost():
    """No path is left: through the first strip for a cost past the range, through the second for an infinite
    one. The pair is NaN, not infinite."""
    x, y = features("squares", 1, 150, 10, 4)
    x[0, :128] *= 1e6
    x[0, 128:] *= 1e25
    score, d_x, d_y = run("squares", x, y, gamma=1e-3, table_bytes=0)
    assert score.isnan().all() and (d_x == 0).all() and (d_y == 0).all()
    x[0, :128] /= 1e6
    score, d_x, d_y = run("squares", x, y, gamma=1e-3, table_bytes=0)
    assert score.tolist() == [math.inf] and (d_x == 0).all() and (d_y == 0).all()


def test_a_strip_whose_last_cell_has_no_path():
    """The cost there is past the range, and paths go round it."""
    x, y = features("squares", 1, 150, 10, 2)
    x[0, 127, 0], y[0, 9, 0] = 1000, -1000
    check("squares", x, y, gamma=1.0, table_bytes=0)


@pytest.mark.parametrize("kind", ["squares", "roots", "absolute", "fsd"])
def test_tiles_without_a_gradient(kind):
    """Near the diagonal alone there is one."""
    x = torch.randn(1, 300, 6)
    check(kind, x, x[:, 10:270] + 0.01 * torch.randn(1, 260, 6), gamma=0.02, tolerance=1e-3)


def test_tiles_with_few_gradients():
    """Of the few hits of LCS, which often one warp alone sees."""
    x, y = torch.randn(1, 300, 64), torch.randn(1, 260, 64)
    score, d_x, d_y = run("lcs", x, y, gamma=0.02)
    assert 0 < (d_x != 0).any(2).sum() < 290
    wanted, gradients = exactly("lcs", x, y, 0.02)
    close(score.double(), wanted, 1e-4)
    for found, expected in zip((d_x, d_y), gradients, strict=True):
        close(found.double(), expected, 1e-3)


@pytest.mark.parametrize("kind", ["squares", "cosines", "roots", "absolute"])
def test_sequences_with_themselves(kind):
    """The gradient by x is by both sides."""
    x, _ = features(kind, 2, 40, 1, 6)
    score, d_x, d_y = run(kind, x, x, gamma=0.5)
    again, both = run(kind, x, x, gamma=0.5, needs=(True, False), itself=True)
    assert torch.equal(again, score)
    close(both, d_x + d_y, 2e-4)


def test_scaled_gradients():
    made, score = torch.randn(3, 5, 7), torch.tensor([1.0, math.nan, math.nan])
    of_score = torch.tensor([2.0, 9.0, 0.0, 9.0, 3.0])[::2]
    out = harness.poisoned(made.shape, F32)
    harness.module().scale("float32", 3, 35, of_score.data_ptr(), 2, score.data_ptr(), made.data_ptr(),
                           out.data_ptr())  # fmt: skip
    harness.check_margins(out)
    assert torch.equal(out[0], made[0] * 2) and (out[1] == 0).all() and out[2].isnan().all()


@pytest.mark.parametrize(
    "many, steps, room", [(5, 100, 2 * 100 * 40), (5, 64, 2 * 64 * 40), (2, 386, 256 * 33)], ids=str
)
def test_the_last_pairs_or_rows_are_few_where_others_are_many(monkeypatch, many, steps, room):
    """Of few pairs other kernels want more of the workspace, which must have room for all."""
    for multiprocessors in (1, 2, 3):
        monkeypatch.setattr(sys.modules[__name__], "of_the_device", multiprocessors)
        check("squares", *features("squares", many, steps, 33, 6), gamma=0.2, table_bytes=8 * room)
