"""The CPU's SIMD sweeps: scores at and beyond the end of a type's range, and pairs that hold NaN or inf."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from helpers import close, score_and_gradients, scores
from test_cpu import TYPES, one_thread  # noqa: F401

import softdp


@pytest.mark.parametrize("size", [(20, 6, 9), (5, 40, 70)], ids=["side by side", "bands"])
def test_pairs_that_leave_the_range_of_float_do_not_touch_the_others(size):
    """Too large for 32-bit exponents, masked, hopeless, NaN, infinite: each beside ordinary pairs."""
    match, gap = scores(*size, dtype=torch.float32), scores(*size, dtype=torch.float32)
    plain, plain_gradients = score_and_gradients(softdp.fsd_score, (match, gap))
    for boundary in ("free", "anchored"):
        odd = match.clone()
        odd[0] = odd[0] * 1e6  # past 2^22 gamma / log2(e)
        odd[1, 2:, : size[2] // 2] = -math.inf
        odd[2, -1, -1] = -math.inf
        odd[3, 1, 1] = math.nan
        odd[4, 0, 0] = math.inf
        value, gradients = score_and_gradients(softdp.fsd_score, (odd, gap), boundary=boundary)
        exact, wanted = score_and_gradients(
            softdp.reference.fsd_score, (odd.double(), gap.double()), boundary=boundary
        )
        close(value, exact, 1e-5)
        for a, b in zip(gradients, wanted, strict=True):
            close(a[[0, 1]], b[[0, 1]], 1e-3)
            assert (a[2] == 0).all() and a[3].isnan().all() and a[4].isnan().all()
        if boundary == "free":
            assert torch.equal(value[5:], plain[5:])
            assert torch.equal(gradients[0][5:], plain_gradients[0][5:])


@pytest.mark.parametrize("far", [1e6, 5e6, 1.5e8])  # the sum along a path, in units of gamma
@pytest.mark.parametrize(
    "gaps, size",
    [("none", (2, 40, 50)), ("row", (3, 70, 33)), ("table", (1, 256, 256)), ("lcs", (2, 40, 50))],
)
def test_sums_far_beyond_the_exponents_of_float(far, gaps, size, threads):
    """1e6: exponents in float; above, in int32, or double where one score is too large for these. Also where
    no sample of the scores tells it ahead."""
    threads(3 if size[0] == 1 else 1)
    gamma = sum(size[1:]) / far
    match = scores(*size, dtype=torch.float32).abs() + 0.5
    sudden = match.clone()
    sudden[:, 0], sudden[:, :, 0] = 0, 0
    sudden.diagonal(dim1=1, dim2=2).zero_()
    sudden[:, torch.arange(16) * (size[1] - 1) // 15, torch.arange(16) * (size[2] - 1) // 15] = 0
    for table in (match, sudden):
        if gaps == "lcs":
            tables = (table,)
            call, options = "lcs_score", {"threshold": 0.0}
        else:
            wide = {"none": (1, 1, 1), "row": (1, size[1], 1), "table": size}[gaps]
            gap = torch.zeros(wide) if gaps == "none" else scores(*wide, dtype=torch.float32)
            tables = (-table, gap)
            call, options = "fsd_score", {"boundary": "anchored"}
        value, gradients = score_and_gradients(getattr(softdp, call), tables, gamma=gamma, **options)
        exact, wanted = score_and_gradients(
            getattr(softdp.reference, call), [t.double() for t in tables], gamma=gamma, **options
        )
        close(value, exact, 1e-6)
        for a, b in zip(gradients, wanted, strict=True):
            close(a, b, 2e-4)


@pytest.mark.parametrize("size", [(5, 7), (20, 32), (40, 50), (33, 2), (400, 300)], ids=str)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("gamma", [0.0, 1e-35, 1e-7, 0.1])  # hard, in double, past float's range, in float
def test_a_pair_that_receives_the_gradient_0_gets_it(size, dtype, gamma, threads):
    """Whatever it holds, on every way through the sweeps; where the gradient is not 0 it is NaN as ever."""
    count = 3 if size[0] == 400 else 13
    threads(3 if size[0] == 400 else 1)  # bands of one pair together, or pair by pair
    match = scores(count, *size, dtype=torch.float32)
    match[1, size[0] // 2, size[1] // 2], match[-2, 0, -1] = math.nan, math.inf
    weight = torch.ones(count, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    for gaps in ((1, 1, 1), (1, size[0], 1), (count, 1, size[1]), match.shape):
        gap = scores(*gaps, dtype=torch.float32)
        for kept in ([0], [0, 1], [count - 2]):
            weight.zero_()[1:] = -0.0
            weight[kept] = 0.5
            for score in (
                lambda m, g: softdp.fsd_score(m, g, gamma=gamma),
                lambda m, g: softdp.fsd_score(m, g, 2 * g, gamma=gamma, boundary="anchored"),
                lambda m, g: softdp.soft_dtw(g - m, gamma=gamma),
                lambda m, g: softdp.lcs_score(m + g, threshold=-9.0, gamma=gamma),
            ):
                leaves = [t.to(dtype).requires_grad_() for t in (match, gap)]
                value = score(*leaves)
                by_match, by_gap = torch.autograd.grad(value, leaves, weight)
                unwanted = weight == 0
                assert (by_match[unwanted] == 0).all()
                assert by_match[~value.isnan()].isfinite().all()
                for b in kept:
                    assert by_match[b].isnan().all() if value[b].isnan() else (by_match[b] != 0).any()
                assert by_gap.isfinite().all() == (not value[kept].isnan().any())


def test_a_gradient_too_small_for_a_normal_number_is_not_0():
    match = scores(3, 5, 7, dtype=torch.float32)
    match[1, 2, 2] = math.nan
    for size in ((5, 7), (40, 50)):
        leaf = match.repeat(1, 8, 8)[:, : size[0], : size[1]].clone().requires_grad_()
        softdp.fsd_score(leaf, 0.0).backward(torch.tensor([1.0, 1e-42, 1.0]))
        assert leaf.grad[1].isnan().all() and leaf.grad[[0, 2]].isfinite().all()


def test_a_sum_that_outgrows_32_bits_is_exact():
    match = torch.full((1, 3000, 20), 2e5)
    for sign in (1, -1):
        tables = sign * match, torch.zeros(1, 1, 1)
        value, (mass, _) = score_and_gradients(softdp.fsd_score, tables, boundary="anchored")
        exact, (wanted, _) = score_and_gradients(
            softdp.fsd_score, [t.double() for t in tables], boundary="anchored"
        )
        close(value, exact, 1e-6)
        close(mass, wanted, 1e-3)


@pytest.mark.parametrize("size", [(20, 6, 9), (1, 40, 50)], ids=["side by side", "bands"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_changed_behind_the_back_give_no_gradient_of_stale_memory(size, dtype):
    """NaN where the scores are swept again, else the gradient of those that were swept."""
    match = scores(*size, dtype=dtype).requires_grad_()
    _, (exact,) = score_and_gradients(lambda m: softdp.fsd_score(m, 0.0), (match.detach(),))
    score = softdp.fsd_score(match, 0.0)
    match.data.mul_(1e12)
    score.sum().backward()
    if dtype == torch.float32 and size[0] == 1:
        assert torch.equal(match.grad, exact)
    else:
        assert match.grad.isnan().all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [(20, 5, 7), (2, 40, 50), (1, 300, 70)])
def test_costs_give_the_smooth_minimum(size, dtype):
    """The operators': bit for bit what negated scores give, negated back; for all gap kinds, and wide too."""
    B, N, M = size
    cost = scores(*size, dtype=dtype)
    cost[0, 1, 2], cost[-1, 2, 1] = math.inf, math.nan
    n, m = torch.randint(1, N + 1, (B,)), torch.randint(1, M + 1, (B,))
    grad = torch.rand(B, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    for gap_size, gamma in (((B, N, M), 0.3), ((1, 1, 1), 0.3), ((B, N, 1), 0.3), ((B, 1, M), 1e-6)):
        insert, delete = (scores(*gap_size, dtype=dtype) for _ in range(2))
        for own in (None, delete):
            results = []
            for sign in (1, -1):
                given = [None if t is None else sign * t for t in (cost, insert, own)]
                options = n, m, gamma, True, -1, sign == 1
                score, saved = torch.ops.softdp.fsd_forward(*given, *options, True)
                needs = True, True, own is not None
                gradients = torch.ops.softdp.fsd_backward(grad, saved, *given, *options, *needs)
                results.append((sign * score, saved, *gradients))
            for found, wanted in zip(*results, strict=True):
                assert torch.equal(found.nan_to_num(7e7), wanted.nan_to_num(7e7))


@pytest.mark.parametrize("gamma", [5.0, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("size", [(20, 1, 1), (1, 1, 700), (40, 9, 9), (2, 33, 33)])
def test_scores_much_smaller_than_gamma_are_not_rounded_to_it(size, gamma):
    """Float resolves gamma to 6e-8: such pairs go through float64."""
    match = torch.full(size, -math.inf)
    steps = min(size[1:])
    match[:, range(steps), range(steps)] = torch.rand(size[0], steps) / 50
    if steps == 1:
        match = torch.rand(size) / 50
    for tables in ((match,), (match.clamp(min=-1e3),)):
        found = softdp.fsd_score(*tables, 0.0, gamma=gamma, boundary="anchored")
        exact = softdp.fsd_score(tables[0].double(), 0.0, gamma=gamma, boundary="anchored")
        torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1, 1), (40, 5, 7), (1, 40, 50)])
def test_no_finite_score_is_lost_to_minus_infinity(size, dtype):
    """A score below -2^47 gamma / log2(e) counts as -inf where another path is left, and nowhere else."""
    B, N, M = size
    lowest = -1e30 if dtype == torch.float32 else -1e16
    table = torch.full(size, lowest, dtype=dtype)
    call = partial(softdp.fsd_score, insert=0.0, gamma=0.1, boundary="anchored")
    value, (gradient,) = score_and_gradients(call, (table,))
    close(value / (lowest * max(N, M)), torch.ones_like(value), 1e-6)
    close(gradient.sum((1, 2)), torch.full_like(value, max(N, M)), 1e-6)
    table[0, 0, 0] = 1.0  # the first pair's one cell
    ones = torch.ones(B, dtype=torch.int64)
    value, _ = score_and_gradients(call, (table,), x_lengths=ones, y_lengths=ones)
    assert value[0] == 1 and (value[1:] == table[-1, -1, -1]).all()


FAR = [  # costs, gamma: sums past 2^48 gamma / log2(e), single costs past 2^47, numbers past all of them
    (lambda *size: torch.full(size, 2e14), 1.0),
    (lambda *size: torch.rand(size) * 2.0**46, 1.0),
    (torch.rand, 1e-14),
    (torch.rand, 1e-15),
    (torch.rand, 1e-30),
    (torch.rand, 1e-300),
    (lambda *size: torch.rand(size) * 1e30, 1e-3),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 2, 2), (40, 6, 5), (3, 60, 50), (1, 500, 300)], ids=str)
@pytest.mark.parametrize("costs, gamma", FAR)
def test_finite_scores_have_a_finite_value(costs, gamma, size, dtype):
    """Close to that of gamma 0, which gamma is as good as beside such scores."""
    table = costs(*size).to(dtype)
    steps = sum(size[1:])
    for call, is_lcs in (
        (softdp.soft_dtw, False),
        (lambda t, **o: softdp.soft_dtw(-t, **o), False),
        (lambda t, **o: softdp.fsd_score(t, 0.25 * t, **o), False),
        (lambda t, **o: softdp.fsd_score(-t, -0.25 * t[:, :1], **o), False),
        (lambda t, **o: softdp.lcs_score(t, threshold=0.9 * float(t.detach().max()), **o), True),
    ):
        value, (gradient,) = score_and_gradients(call, (table,), gamma=gamma)
        hard, (one_path,) = score_and_gradients(call, (table,), gamma=0.0)
        rounding = 1e-6 if dtype == torch.float32 else 1e-12
        plateau = gamma * math.log(2) * steps if is_lcs else 0  # what smoothing adds there
        allowed = rounding * hard.abs() + gamma * math.log(3) * steps + plateau
        assert ((value - hard).abs() <= allowed).all()
        assert gradient.isfinite().all()
        if not is_lcs and call is softdp.soft_dtw:
            mass = gradient[:, 0, 0], gradient[:, -1, -1]
            for corner in mass:
                close(corner, torch.ones_like(corner), 1e-6)


def test_a_nan_is_not_taken_for_a_number_past_the_range():
    for size in ((20, 5, 7), (2, 40, 50)):
        for wrong in (math.nan, -math.inf):
            table = torch.rand(size, dtype=torch.float64) * 1e20
            table[0, 1, 2] = wrong
            value, (gradient,) = score_and_gradients(softdp.soft_dtw, (table,), gamma=1.0)
            assert value[0].isnan() and gradient[0].isnan().all() and value[1:].isfinite().all()


def test_a_sum_past_the_range_of_its_dtype_keeps_its_gradient():
    """The best path is known in float64, side by side as in bands, where the score is -inf in float32."""
    for size in ((20, 1, 2), (1, 1, 40)):
        table = torch.full(size, -3e38)
        value, (gradient,) = score_and_gradients(
            softdp.fsd_score, (table,), insert=0.0, gamma=0.0, boundary="anchored"
        )
        assert (value == -math.inf).all() and (gradient == 1).all()
