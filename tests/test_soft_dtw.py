"""Soft-DTW, its divergence and distance: by enumeration, others' values and theory."""

import math
import re

import numpy as np
import oracle
import pytest
import torch
from devices import to
from helpers import close, score_and_gradients, scores
from hypothesis import given
from hypothesis import strategies as st

import softdp

F64 = torch.float64
SMALL = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 3)]
LENGTHS = {"x_lengths": torch.tensor([5, 2, 0, 1]), "y_lengths": torch.tensor([6, 6, 4, 0])}


def sequences(*size: int, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.randn(size, dtype=dtype)


def direct(x, y):
    return (x[:, :, None] - y[:, None]).square().sum(-1)


# ---- soft-DTW ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("size", ["1x9", "7x11", "33x20"])
def test_golden_soft_dtw(golden, size, gamma, device):
    arrays, key = golden("soft_dtw"), f"{size}_g{gamma}"
    cost, value, wanted = (torch.from_numpy(arrays[f"{key}_{n}"]) for n in ("cost", "value", "grad_cost"))
    found, (gradient,) = score_and_gradients(
        softdp.soft_dtw, [to(device, cost)], gamma=float(arrays[f"{key}_gamma"])
    )
    torch.testing.assert_close(found.cpu(), value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient.cpu(), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.05, 1.0])
def test_soft_dtw_is_the_smallest_of_all_alignments(gamma):
    cost = scores(len(SMALL), 4, 4)
    lengths = torch.tensor(SMALL).unbind(1)
    found, (gradient,) = score_and_gradients(
        softdp.soft_dtw, [cost], gamma=gamma, x_lengths=lengths[0], y_lengths=lengths[1]
    )
    for b, (n, m) in enumerate(SMALL):
        table, none = -cost[b, :n, :m].numpy(), np.zeros((n, m))
        score, expected, *_ = oracle.fsd(table, none, none, gamma, "anchored")
        close(found[b], torch.tensor(-score), 1e-10)
        close(gradient[b, :n, :m], torch.from_numpy(expected), 1e-10)
        assert gradient[b, n:].eq(0).all() and gradient[b, :, m:].eq(0).all()


def test_soft_dtw_of_bands_and_of_nothing():
    cost = scores(4, 6, 6).abs()
    band = (torch.arange(6)[:, None] - torch.arange(6)).abs() > 1
    banded = cost.masked_fill(band, math.inf)
    found, (gradient,) = score_and_gradients(softdp.soft_dtw, [banded], gamma=0.1)
    assert (found > softdp.soft_dtw(cost, gamma=0.1)).all() and gradient[:, band].eq(0).all()
    cost[0, 2, 3] = math.nan
    cost[1, -1, -1] = math.inf
    found, (gradient,) = score_and_gradients(softdp.soft_dtw, [cost])
    assert found[0].isnan() and gradient[0].isnan().all()
    assert found[1] == math.inf and gradient[1].eq(0).all()
    assert found[2:].isfinite().all() and gradient[2:].isfinite().all()
    cost = torch.zeros(3, 2, 2)
    empty = {"x_lengths": torch.tensor([0, 0, 2]), "y_lengths": torch.tensor([0, 2, 0])}
    assert softdp.soft_dtw(cost, **empty).tolist() == [0, math.inf, math.inf]


def test_soft_dtw_twice_differentiable():
    cost = scores(2, 4, 5).requires_grad_()
    lengths = {"x_lengths": torch.tensor([4, 2]), "y_lengths": torch.tensor([5, 5])}
    assert torch.autograd.gradcheck(lambda c: softdp.soft_dtw(c, gamma=0.3, **lengths), cost)
    assert torch.autograd.gradgradcheck(lambda c: softdp.soft_dtw(c, gamma=0.3, **lengths), cost)


# ---- distances -----------------------------------------------------------------------------------


@pytest.mark.parametrize("D", [1, 2, 8, 64, 512])
@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_float32_distances_keep_their_digits(D, offset):
    x, y = (
        sequences(2, 40, D, dtype=torch.float32) + offset,
        sequences(2, 30, D, dtype=torch.float32) + offset,
    )
    found, exact = softdp.squared_euclidean(x, y), direct(x.double(), y.double())
    about = [(t.double() - offset).square().sum(2) + D for t in (x, y)]  # + D: the steps' spread
    squares = about[0][:, :, None] + about[1][:, None]
    assert found.dtype == torch.float32 and found.min() >= 0
    assert ((found - exact).abs() <= 1e-6 * squares).all()
    same = softdp.squared_euclidean(x, x).diagonal(dim1=1, dim2=2)
    assert (same >= 0).all() and (same <= 1e-6 * squares.max()).all()


@pytest.mark.parametrize("odd", [0, 1, 4])
@pytest.mark.parametrize("n", [5, 39])
def test_one_step_unlike_the_others_costs_these_no_digits(odd, n):
    x, y = (sequences(2, 40, 16, dtype=torch.float32) + 100 for _ in range(2))
    x[:, odd] = -1000
    x[1, n:] = 0
    lengths = {"x_lengths": torch.tensor([40, n])}
    found, exact = softdp.squared_euclidean(x, y, **lengths), direct(x.double(), y.double())
    keep = torch.arange(40) != odd
    assert (found - exact)[0, keep].abs().max() < 1e-4
    assert (found - exact)[1, :n][keep[:n]].abs().max() < 1e-4


def test_distances_of_whole_numbers_are_exact():
    x, y = (torch.randint(-50, 50, (3, n, 8)).float() for n in (30, 40))
    lengths = {"x_lengths": torch.tensor([30, 2, 17])}
    found = softdp.squared_euclidean(x, y, **lengths)
    for b, n in enumerate(lengths["x_lengths"]):
        assert torch.equal(found[b, :n], direct(x, y)[b, :n])


def test_distances_are_twice_differentiable_where_they_are_0():
    x = sequences(2, 3, 4).requires_grad_()
    y = torch.cat([x.detach()[:, 1:], sequences(2, 2, 4)], 1).requires_grad_()
    close(softdp.squared_euclidean(x, y), direct(x, y), 1e-12)
    assert torch.autograd.gradcheck(softdp.squared_euclidean, (x, y))
    assert torch.autograd.gradgradcheck(softdp.squared_euclidean, (x, y))
    near = sequences(1, 50, 16, dtype=torch.float32)  # some of its distances to itself are rounded to 0
    hessian = torch.func.hessian(lambda t: softdp.squared_euclidean(t, near[:, :5]).sum())(near[:, :5])
    close(hessian.reshape(80, 80), 10 * torch.eye(80), 1e-6)


def test_padding_is_not_read():
    clean_x, clean_y = sequences(4, 5, 3), sequences(4, 6, 3)
    n, m = LENGTHS.values()
    padding = torch.arange(5) >= n[:, None], torch.arange(6) >= m[:, None]
    x, y = (t.masked_fill(p[..., None], math.nan) for t, p in zip((clean_x, clean_y), padding, strict=True))
    for function in (softdp.soft_dtw_divergence, softdp.squared_euclidean):
        if function is softdp.squared_euclidean:
            weights = (~padding[0][:, :, None] & ~padding[1][:, None]).double()
            measured = lambda *t, f=function, w=weights: (f(*t, **LENGTHS) * w).sum((1, 2))  # noqa: E731
        else:
            measured = lambda *t, f=function: f(*t, gamma=0.5, **LENGTHS)  # noqa: E731
        value, gradients = score_and_gradients(measured, (x, y))
        expected, expected_gradients = score_and_gradients(measured, (clean_x, clean_y))
        assert torch.equal(value, expected) and value[:2].isfinite().all()
        for a, b, p in zip(gradients, expected_gradients, padding, strict=True):
            assert torch.equal(a, b) and a[p].eq(0).all()


def test_a_nan_spoils_its_own_row():
    x, y = sequences(2, 4, 3), sequences(2, 5, 3)
    expected = softdp.squared_euclidean(x, y)
    for bad in (math.nan, math.inf):
        x[0, 0, 1] = bad
        found = softdp.squared_euclidean(x, y)
        assert not found[0, 0].isfinite().any()
        close(found[0, 1:], expected[0, 1:], 1e-12)
        assert torch.equal(found[1], expected[1])
        assert softdp.soft_dtw(found).isfinite().tolist() == [False, True]


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_and_autocast_compute_in_float32(half):
    x, y = sequences(2, 5, 4, dtype=torch.float32), sequences(2, 6, 4, dtype=torch.float32)
    found, gradients = score_and_gradients(softdp.soft_dtw_divergence, (x.to(half), y.to(half)))
    assert found.dtype == torch.float32 and all(g.dtype == half for g in gradients)
    close(found, softdp.soft_dtw_divergence(x.to(half).float(), y.to(half).float()), 1e-6)
    expected = softdp.squared_euclidean(x, y)
    with torch.autocast("cpu", dtype=half):
        assert torch.equal(softdp.squared_euclidean(x, y), expected)
        assert softdp.squared_euclidean(x.to(half), y).dtype == torch.float32


def test_sizes_of_nothing():
    for B, N, M, D in ((0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 2, 3, 0)):
        x, y = torch.zeros(B, N, D), torch.zeros(B, M, D)
        assert softdp.squared_euclidean(x, y).shape == (B, N, M)
        assert softdp.soft_dtw_divergence(x, y).shape == (B,)
        assert softdp.needleman_wunsch(torch.zeros(B, N, M), -1.0).shape == (B,)


# ---- divergence ----------------------------------------------------------------------------------


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.sampled_from([0.05, 1.0, 20.0]),
    st.integers(0),
)
def test_what_is_proven_of_divergences(n, m, D, gamma, seed):
    generator = torch.Generator().manual_seed(seed % 2**32)
    x, y = (torch.randn(1, k, D, generator=generator, dtype=F64) for k in (n, m))
    same, (by_x, by_y) = score_and_gradients(softdp.soft_dtw_divergence, (x, x), gamma=gamma)
    close(same, torch.zeros(1), 1e-12)
    close(by_x + by_y, torch.zeros_like(x), 1e-12)
    close(by_y, torch.zeros_like(x), 1e-12)
    found = softdp.soft_dtw_divergence(x, y, gamma=gamma)
    close(found, softdp.soft_dtw_divergence(y, x, gamma=gamma), 1e-12)
    assert softdp.soft_dtw_divergence(x, y, gamma=0.0) >= 0
    assert softdp.soft_dtw_divergence(x[:, :1], y, gamma=gamma) >= -1e-12

    def kernel_term(a, b):  # of the cost for which exp(-soft_dtw / gamma) is a positive definite kernel
        cost = softdp.squared_euclidean(a, b)
        return softdp.soft_dtw(cost + gamma * (2 - (-cost / gamma).exp()).log(), gamma=gamma)

    proven = kernel_term(x, y) - (kernel_term(x, x) + kernel_term(y, y)) / 2
    assert proven >= -1e-12 * (1 + kernel_term(x, y).abs())


BELOW_0 = {  # sought by descent, in hundredths
    -0.0024: ([0, -14, 111, 227, 181, 211], [5, -29, 84, 209, 191, 208]),
    -0.15: (
        [0, 22, -47, 52, -65, 60, 57, -63, 57, -63, 48, 52, -60, 55, 54, 30],
        [2, 11, -17, -22, 102, -23, 99, -21, -18, 101, -13, -12, 99, -13, 76, 25],
    ),
}


@pytest.mark.parametrize("expected", BELOW_0)
def test_divergences_below_0(expected):
    """The squared Euclidean cost does not make non-negative divergences; nor is it the arithmetic."""
    x, y = (torch.tensor([t], dtype=F64)[..., None] / 100 for t in BELOW_0[expected])

    def term(a, b):
        if a.shape[1] > 6:
            return -softdp.reference.fsd_score(-direct(a, b), 0.0, gamma=1.0, boundary="anchored").item()
        none = np.zeros((6, 6))
        return -oracle.fsd(-direct(a, b)[0].numpy(), none, none, 1.0, "anchored")[0]

    found = softdp.soft_dtw_divergence(x, y).item()
    assert found == pytest.approx(term(x, y) - (term(x, x) + term(y, y)) / 2, abs=1e-12)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("size", [(6, 6), (30, 30), (30, 40)])
@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("walk", [False, True])
def test_divergences_of_random_sequences_are_positive_and_as_in_float64(size, gamma, walk):
    x, y = (sequences(200, n, 4, dtype=torch.float32) for n in size)
    if walk:
        x, y = (t.cumsum(1) / 2 for t in (x, y))
    found = softdp.soft_dtw_divergence(x, y, gamma=gamma)
    assert (found > 0).all()
    exact = softdp.soft_dtw_divergence(x.double(), y.double(), gamma=gamma)
    assert ((found - exact).abs() <= 1e-6 * exact).all()
    same = softdp.soft_dtw_divergence(x, x.clone(), gamma=gamma)
    assert (same.abs() <= 1e-7 * found).all()
    nearly = softdp.soft_dtw_divergence(x, x + 1e-5, gamma=gamma)
    squares = 2 * (x - x.mean(1, keepdim=True)).double().square().sum((1, 2))
    assert (nearly >= -3e-7 * (squares + gamma * 2 * size[0])).all()


def test_divergences_are_twice_differentiable():
    x, y = sequences(2, 3, 2).requires_grad_(), sequences(2, 4, 2).requires_grad_()
    lengths = {"x_lengths": torch.tensor([3, 2]), "y_lengths": torch.tensor([4, 1])}
    measured = lambda *t: softdp.soft_dtw_divergence(*t, gamma=0.5, **lengths)  # noqa: E731
    assert torch.autograd.gradcheck(measured, (x, y))
    assert torch.autograd.gradgradcheck(measured, (x, y))


# ---- citizens ------------------------------------------------------------------------------------


def divergence(x, n):
    return softdp.soft_dtw_divergence(x, x.flip(1), x_lengths=n, y_lengths=n)


CALLS = {
    "soft_dtw": (lambda t, n: softdp.soft_dtw(t, gamma=0.5, x_lengths=n), (3, 5, 4)),
    "divergence": (divergence, (3, 5, 2)),
    "needleman_wunsch": (lambda t, n: softdp.needleman_wunsch(t, -0.5, gamma=0.5, x_lengths=n), (3, 5, 4)),
}
each_call = pytest.mark.parametrize("call, size", CALLS.values(), ids=CALLS)


@each_call
def test_compiled_without_a_graph_break(call, size):
    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    table, lengths = scores(*size), torch.tensor([5, 3, 1])
    value, (gradient,) = score_and_gradients(lambda t: call(t, lengths), [table])
    found, (found_gradient,) = score_and_gradients(lambda t: compiled(t, lengths), [table])
    close(found, value, 1e-12)
    close(found_gradient, gradient, 1e-12)


@each_call
def test_vmap_and_torch_func(call, size):
    tables, lengths = scores(4, *size), torch.tensor([5, 3, 1])
    found = torch.func.vmap(call, in_dims=(0, None))(tables, lengths)
    close(found, torch.stack([call(t, lengths) for t in tables]), 1e-12)
    _, (expected,) = score_and_gradients(lambda t: call(t, lengths), [tables[0]])
    close(torch.func.grad(lambda t: call(t, lengths).sum())(tables[0]), expected, 1e-12)


@each_call
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_devices_without_a_kernel_run_the_reference(call, size, dtype, monkeypatch):
    table, lengths = scores(*size, dtype=torch.float32).to(dtype), torch.tensor([5, 3, 1])
    expected, (expected_gradient,) = score_and_gradients(lambda t: call(t, lengths), [table])
    monkeypatch.setattr("softdp._devices.has_kernel", lambda device: False)
    found, (gradient,) = score_and_gradients(lambda t: call(t, lengths), [table])
    assert (found.dtype, gradient.dtype) == (expected.dtype, dtype)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2}[dtype]
    close(found, expected, tolerance)
    close(gradient, expected_gradient, tolerance)


def test_lengths_that_were_not_looked_at_score_nan(monkeypatch):
    """As on a GPU: a length of -1 must not become the 0 of a padded table."""
    monkeypatch.setattr("softdp._devices.has_kernel", lambda device: False)
    match = scores(3, 4, 5)
    for bad in (-1, 5, 2**62):
        lengths = torch.tensor([[bad, 2, 4]])
        for call in (
            lambda n: softdp.needleman_wunsch(match, -1.0, x_lengths=n),
            lambda n: softdp.soft_dtw_divergence(match, match, x_lengths=n),
        ):
            found = torch.func.vmap(call)(lengths)
            assert found[0, 0].isnan() and found[0, 1:].isfinite().all()


# ---- errors --------------------------------------------------------------------------------------

TABLE = torch.zeros(2, 3, 4)
DTW, PAIR = {"cost": TABLE}, {"x": torch.zeros(2, 3, 6), "y": torch.zeros(2, 4, 6)}
ALIGN = {"match": TABLE, "gap": -1.0}
GAMMA = [
    ({"gamma": -0.1}, ValueError, "gamma must be finite and not negative, got -0.1"),
    ({"gamma": "soft"}, TypeError, "gamma must be a number, got str"),
]
BAD_LENGTHS = [
    ({"x_lengths": [3, 3]}, TypeError, "x_lengths must be an int32 or int64 tensor of shape (2,) or None"),
    ({"x_lengths": torch.tensor([1, 4])}, ValueError, "x_lengths must lie in [0, 3], got 4"),
    ({"y_lengths": torch.tensor([5, 1])}, ValueError, "y_lengths must lie in [0, 4], got 5"),
]
BAD_COST = [
    ({"cost": [[1.0]]}, TypeError, "cost must be a tensor of shape (B, N, M), got list"),
    ({"cost": TABLE[0]}, ValueError, "cost must have 3 dimensions (B, N, M), got shape (3, 4)"),
    ({"cost": TABLE.int()}, TypeError, "cost must be float64, float32, float16 or bfloat16, got torch.int32"),
    (
        {"x_lengths": torch.ones(2, dtype=torch.int64, device="meta")},
        ValueError,
        "x_lengths must be on the CPU or on cost's device cpu, got meta",
    ),
]
BAD_PAIR = [
    ({"x": [1.0]}, TypeError, "x must be a tensor of shape (B, N, D), got list"),
    ({"y": torch.zeros(2, 4)}, ValueError, "y must have 3 dimensions (B, M, D), got shape (2, 4)"),
    ({"y": torch.zeros(2, 4, 5)}, ValueError, "must agree in B and D, got (2, 3, 6) and (2, 4, 5)"),
    ({"y": torch.zeros(2, 4, 6).double()}, TypeError, "y must have x's dtype torch.float32"),
]
BAD_ALIGN = [
    ({"match": TABLE[0]}, ValueError, "match must have 3 dimensions (B, N, M), got shape (3, 4)"),
    ({"gap": "none"}, TypeError, "gap must be a number or a tensor, got str"),
    (
        {"gap": torch.zeros(2, 2, 1)},
        ValueError,
        "gap must be a number or one per pair, of shape (2,) or (2, 1, 1), or, with two or three dimensions, "
        "broadcastable to match's shape "
        "(2, 3, 4), got shape (2, 2, 1)",
    ),
    ({"gap": torch.zeros(3)}, ValueError, "gap must be a number or one per pair, of shape (2,)"),
    ({"gap": torch.zeros(2).double()}, TypeError, "gap must have match's dtype torch.float32, got"),
    ({"gap": torch.zeros(2).int()}, TypeError, "gap must have match's dtype torch.float32, got torch.int32"),
    ({"gap": torch.zeros(2, device="meta")}, ValueError, "gap must be on match's device cpu, got meta"),
]
ERRORS = [
    (function, base, *case)
    for function, base, cases in (
        (softdp.soft_dtw, DTW, BAD_COST + BAD_LENGTHS + GAMMA),
        (softdp.soft_dtw_divergence, PAIR, BAD_PAIR + BAD_LENGTHS + GAMMA),
        (softdp.squared_euclidean, PAIR, BAD_PAIR + BAD_LENGTHS),
        (softdp.needleman_wunsch, ALIGN, BAD_ALIGN + BAD_LENGTHS + GAMMA),
    )
    for case in cases
]


NAMES = [f"{function.__name__}-{'-'.join(change)}" for function, _, change, *_ in ERRORS]


@pytest.mark.parametrize("function, base, change, error, message", ERRORS, ids=NAMES)
def test_bad_input_is_named(function, base, change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        function(**{**base, **change})
