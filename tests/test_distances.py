"""Distances of steps: small differences of large positions, derivatives, transforms, devices, memory."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
import torch
from helpers import close, run_python
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import softdp
from softdp import _distances

F32, F64 = torch.float32, torch.float64
FEATURES = (1, 2, 3, 12, 13, 64)
STATUS = Path("/proc/self/status")


def differences(x: Tensor, y: Tensor) -> Tensor:
    return x.double()[:, :, None] - y.double()[:, None]


def tracks(
    B: int, N: int, M: int, D: int, offset: float, spread: float, apart: float
) -> tuple[Tensor, Tensor]:
    """y goes where x goes, so far apart: float32 positions."""
    where = torch.randn(B, max(N, M), D).cumsum(1) * spread + offset
    return where[:, :N], where[:, :M] + apart * torch.randn(B, M, D)


# ---- values and gradients ------------------------------------------------------------------------


def test_tracks_of_20_km_that_are_1_m_apart():
    x = torch.linspace(0, 20000, 400)[None, :, None].requires_grad_()
    y = (x + 1).detach().requires_grad_()
    value = softdp.soft_dtw(softdp.squared_euclidean(x, y), gamma=0.0)
    assert value.item() == 400
    by_x, by_y = torch.autograd.grad(value, (x, y))
    assert by_x.eq(-2).all() and by_y.eq(2).all()
    assert softdp.soft_dtw_divergence(x, y, gamma=0.0).item() == 400


def test_kilometres_of_positions_that_differ_by_metres():
    x, y = tracks(4, 500, 500, 2, offset=5e5, spread=20, apart=3)
    found, gradient = with_gradient(x, y)
    expected, expected_gradient = with_gradient(x.double(), y.double())
    assert ((found - expected).abs() <= 1e-6 * expected).all()
    assert ((gradient - expected_gradient).abs() <= 1e-4 * expected_gradient.abs().mean()).all()


def with_gradient(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = softdp.soft_dtw(softdp.squared_euclidean(x, y), gamma=1.0)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


@given(
    st.sampled_from(FEATURES),
    st.sampled_from([0.0, 1.0, -1e4, 1e6]),
    st.sampled_from([0.0, 1e-3, 1.0, 300.0]),
    st.sampled_from([0.0, 1e-2, 1.0, 1e4]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0),
)
def test_float32_distances_and_gradients_are_right_at_any_offset_and_scale(
    D, offset, spread, apart, N, M, seed
):
    torch.manual_seed(seed % 2**32)
    x, y = tracks(2, N, M, D, offset, spread, apart)
    g = torch.randn(2, N, M)
    d = differences(x, y)
    leaves = x.clone().requires_grad_(), y.clone().requires_grad_()
    found = softdp.squared_euclidean(*leaves)
    expected = d.square().sum(3)
    assert ((found - expected).abs() <= 2e-6 * expected).all()
    gradients = torch.autograd.grad(found, leaves, g)
    weighted = 2 * g.double()[..., None] * d
    for gradient, exact, size in (
        (gradients[0], weighted.sum(2), weighted.abs().sum(2)),
        (gradients[1], -weighted.sum(1), weighted.abs().sum(1)),
    ):
        assert ((gradient - exact).abs() <= 1e-6 * size).all()


@pytest.mark.parametrize("D", FEATURES)
def test_scales_mix_within_a_step(D):
    x, y = (torch.randn(2, n, D) * 10.0 ** torch.linspace(-3, 5, D) for n in (40, 50))
    expected = differences(x, y).square().sum(3)
    assert ((softdp.squared_euclidean(x, y) - expected).abs() <= 2e-6 * expected).all()


@pytest.mark.parametrize("D", FEATURES)
@pytest.mark.parametrize("N, M", [(1, 1), (3, 5), (4, 130)])
def test_derivatives_of_every_order_also_where_distances_are_0(D, N, M):
    x, y = torch.randn(2, N, D, dtype=F64), torch.randn(2, M, D, dtype=F64)
    y[:, 0] = x[:, 0]
    leaves = x.requires_grad_(), y.requires_grad_()
    close(softdp.squared_euclidean(x, y), differences(x, y).square().sum(3), 1e-13)
    assert torch.autograd.gradcheck(softdp.squared_euclidean, leaves, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(softdp.squared_euclidean, leaves, fast_mode=True)

    def first(x, y):
        return torch.autograd.grad(softdp.squared_euclidean(x, y).square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(first, leaves, fast_mode=True)  # the third derivative, and the fourth


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("N, M", [*itertools.product((1, 4, 127, 129), (1, 15, 128, 300))])
def test_all_blocks_and_what_is_left_of_them(N, M, dtype):
    for D in (1, 5, 8, 21):
        x, y, g = (
            torch.randn(2, N, D, dtype=dtype),
            torch.randn(2, M, D, dtype=dtype),
            torch.randn(2, N, M, dtype=dtype),
        )
        g[:, :, ::3] = 0
        u, w = torch.randn(2, N, D, dtype=dtype), torch.randn(2, M, D, dtype=dtype)
        d, tolerance = differences(x, y), 2e-5 if dtype == F32 else 1e-13
        products = torch.ops.softdp.difference_products(x, y, u, w)
        close(products, (d * differences(u, w)).sum(3), tolerance)
        for needs in ((True, True), (True, False), (False, True)):
            sums = torch.ops.softdp.difference_sums(g, x, y, *needs)
            exact = (g.double()[..., None] * d).sum(2), -(g.double()[..., None] * d).sum(1)
            for found, expected, need in zip(sums, exact, needs, strict=True):
                assert found.shape == (expected.shape if need else (0,))
                if need:
                    close(found, expected, tolerance)


# ---- what steps may hold -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_that_is_not_finite_spoils_its_own_distances_and_gradients(bad):
    x, y = torch.randn(3, 20, 5), torch.randn(3, 30, 5)
    clean = softdp.squared_euclidean(x, y)
    x[1, 7, 2] = bad
    x.requires_grad_(), y.requires_grad_()
    found = softdp.squared_euclidean(x, y)
    hit = torch.zeros(3, 20, 30, dtype=torch.bool)
    hit[1, 7] = True
    assert not found[hit].isfinite().any() and torch.equal(found[~hit], clean[~hit])
    by_x, by_y = torch.autograd.grad(found, (x, y), (~hit).float(), retain_graph=True)
    assert by_x.isfinite().all() and by_y.isfinite().all() and by_x[1, 7].eq(0).all()
    by_x, by_y = torch.autograd.grad(found, (x, y), torch.ones_like(found))
    assert not by_x[1, 7, 2].isfinite() and by_x[[0, 2]].isfinite().all() and by_y[[0, 2]].isfinite().all()


@pytest.mark.parametrize("loss", [softdp.fsd_loss, softdp.lcs_loss, softdp.soft_dtw_divergence])
def test_a_pair_whose_loss_is_left_out_gives_its_features_the_gradient_0(loss):
    x, y = torch.randn(3, 5, 4), torch.randn(3, 6, 4)
    x[1, 2, 3] = math.nan
    leaves = x.requires_grad_(), y.requires_grad_()
    if loss is softdp.soft_dtw_divergence:
        value = loss(*leaves)
    else:
        value = loss(*leaves, torch.tensor([0, 1, 1]), reduction="none")
    assert value.isnan().tolist() == [False, True, False]
    for gradient in torch.autograd.grad(value[[0, 2]].sum(), leaves, retain_graph=True):
        assert gradient.isfinite().all() and gradient[1].eq(0).all()
    for gradient in torch.autograd.grad(value.sum(), leaves):
        assert gradient[[0, 2]].isfinite().all() and gradient[1].isnan().any()


# ---- a citizen of PyTorch ------------------------------------------------------------------------


def test_transforms_agree_with_loops():
    x, y = torch.randn(3, 2, 4, 5, dtype=F64), torch.randn(2, 6, 5, dtype=F64)
    distances, shared = softdp.squared_euclidean, (0, None)
    expected = torch.stack([distances(t, y) for t in x])
    assert torch.equal(torch.vmap(distances, shared)(x, y), expected)

    def total(x, y):
        return distances(x, y).square().sum()

    by_x = torch.vmap(torch.func.grad(total), shared)(x, y)
    assert torch.equal(by_x, torch.stack([torch.func.grad(total)(t, y) for t in x]))
    one, other = torch.randn(1, 2, 2, dtype=F64), torch.randn(1, 3, 2, dtype=F64)
    by_forward = torch.func.jacfwd(torch.func.jacrev(total))(one, other)
    close(by_forward, torch.func.jacrev(torch.func.jacrev(total))(one, other), 1e-12)
    tangent = torch.randn_like(one)
    value, along = torch.func.jvp(lambda t: distances(t, other), (one,), (tangent,))
    close(along, 2 * (differences(one, other) * tangent[:, :, None]).sum(3), 1e-12)


def test_forward_mode_in_a_graph_is_refused():
    other = torch.randn(1, 3, 2)

    @torch.compile(backend="eager", fullgraph=True)
    def along(x, tangent):
        return torch.func.jvp(lambda t: softdp.squared_euclidean(t, other), (x,), (tangent,))

    with pytest.raises(Exception, match=re.escape("squared_euclidean has no forward-mode derivative (jvp)")):
        along(torch.randn(1, 2, 2), torch.randn(1, 2, 2))


OPERATORS = torch.ops.softdp.difference_products, torch.ops.softdp.difference_sums


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("dtype", [F32, F64])
def test_opcheck(dtype):
    x, u = (torch.randn(2, 3, 4, dtype=dtype, requires_grad=True) for _ in range(2))
    y, w = (torch.randn(2, 5, 4, dtype=dtype, requires_grad=True) for _ in range(2))
    g = torch.randn(2, 3, 5, dtype=dtype, requires_grad=True)
    for rest in ((None, None), (u, w)):
        torch.library.opcheck(torch.ops.softdp.difference_products.default, (x, y, *rest))
    for needs in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(torch.ops.softdp.difference_sums.default, (g, x, y, *needs))


def test_any_strides():
    x, y = torch.randn(7, 2, 20).transpose(0, 1)[..., ::2], torch.randn(2, 10, 9).mT
    leaves = x.clone().requires_grad_(), y.clone().requires_grad_()
    found = softdp.squared_euclidean(x, y)
    assert torch.equal(found, softdp.squared_euclidean(*leaves))
    spread = torch.ones(()).expand(2, 7, 9)
    expected = torch.autograd.grad(softdp.squared_euclidean(*leaves), leaves, spread.contiguous())
    for a, b in zip(
        torch.autograd.grad(softdp.squared_euclidean(*leaves), leaves, spread), expected, strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("B, N, M, D", [(1, 600, 1100, 7), (3, 300, 290, 40), (20, 50, 60, 3)])
def test_the_same_bits_on_one_thread_and_on_two(threads, B, N, M, D):
    x, y, g = torch.randn(B, N, D), torch.randn(B, M, D), torch.randn(B, N, M)
    found = []
    for count in (1, 2, 2):
        threads(count)
        sums = torch.ops.softdp.difference_sums(g, x, y, True, True)
        found.append([torch.ops.softdp.difference_products(x, y, None, None), *sums])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_raw_operators_refuse_what_they_would_read_out_of_bounds():
    x, y, g = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 3, 5)
    products, sums = OPERATORS
    for arguments in (
        (x, y[:1], None, None),
        (x, y[..., :3], None, None),
        (x, y.double(), None, None),
        (x, y, x, None),
        (x, y, x[:, :2], y),
        (x[0], y, None, None),
        (x.half(), y.half(), None, None),
    ):
        with pytest.raises(RuntimeError):
            products(*arguments)
    for arguments in ((g[:1], x, y), (g[:, :2], x, y), (g.double(), x, y), (g[0], x, y)):
        with pytest.raises(RuntimeError):
            sums(*arguments, True, True)


# ---- devices without kernels ---------------------------------------------------------------------


@pytest.mark.parametrize("D", FEATURES)
@pytest.mark.parametrize("dtype", [F32, F64])
def test_what_other_devices_run_agrees_with_the_kernels(D, dtype, monkeypatch):
    monkeypatch.setattr(_distances, "AT_ONCE", 500)  # many pieces
    x, y = tracks(2, 33, 47, D, offset=1e5, spread=100, apart=1)
    u, w, g = torch.randn(2, 33, D), torch.randn(2, 47, D), torch.randn(2, 33, 47)
    x, y, u, w, g = (t.to(dtype) for t in (x, y, u, w, g))
    tolerance = 2e-6 if dtype == F32 else 1e-9
    for rest in ((None, None), (u, w)):
        expected = torch.ops.softdp.difference_products(x, y, *rest)
        size = (differences(x, y) * differences(*(rest if rest[0] is not None else (x, y)))).abs().sum(3)
        found = _distances.products_elsewhere(x, y, *rest)
        assert found.dtype == dtype and ((found - expected).abs() <= tolerance * size).all()
    size = (
        (g.abs()[..., None] * differences(x, y).abs()).sum(2),
        (g.abs()[..., None] * differences(x, y).abs()).sum(1),
    )
    found = _distances.sums_elsewhere(g, x, y, True, True)
    for a, b, s in zip(found, torch.ops.softdp.difference_sums(g, x, y, True, True), size, strict=True):
        assert a.dtype == dtype and ((a - b).abs() <= tolerance * s).all()


@pytest.mark.parametrize("D", [2, 40])
def test_on_other_devices_too_a_pair_with_the_gradient_0_gets_0(D):
    x, y, g = torch.randn(2, 3, D), torch.randn(2, 5, D), torch.randn(2, 3, 5)
    x[1, 0, 0], g[1] = math.nan, 0
    for sums in _distances.sums_elsewhere(g, x, y, True, True):
        assert sums[0].isfinite().all() and sums[1].eq(0).all()
    for needs in ((True, False), (False, True)):
        assert [t.numel() > 0 for t in _distances.sums_elsewhere(g, x, y, *needs)] == list(needs)


# ---- memory --------------------------------------------------------------------------------------

PEAK = """
import re, sys, torch, softdp
call = {"cdist": torch.cdist, "softdp": softdp.squared_euclidean}[sys.argv[1]]
N, D, gradients = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
def run(n):
    leaves = [torch.randn(1, n, D, requires_grad=gradients) for _ in range(2)]
    upstream = torch.rand(1, n, n) if gradients else None
    before = peak()
    value = call(*leaves)
    if gradients:
        torch.autograd.grad(value, leaves, upstream)
    return peak() - before
run(64)
print(run(N))
"""


@pytest.mark.skipif(not STATUS.is_file(), reason="needs Linux: it reads a process's peak memory in /proc")
@pytest.mark.parametrize(
    "N, D, gradients", [(2500, 2, False), (2500, 2, True), (2500, 64, True), (6000, 64, False)]
)
def test_distances_take_no_more_memory_than_cdist(N, D, gradients):
    theirs, ours = (megabytes(name, N, D, gradients) for name in ("cdist", "softdp"))
    result = N * N * 4 / 2**20
    assert ours <= theirs + 8
    assert ours <= 1.05 * result + 8 + (9 * N * D * 4 / 2**20 if gradients else 0)  # 8 splits' sums


def megabytes(name: str, N: int, D: int, gradients: bool) -> float:
    done = run_python("-c", PEAK, name, str(N), str(D), str(gradients))
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
