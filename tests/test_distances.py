"""squared_euclidean: right where positions are large and differences small, to every order, on every way."""

import subprocess
import sys

import pytest
import torch
from helpers import close, scores
from hypothesis import given
from hypothesis import strategies as st

import softdp
from softdp import _distances

FEATURES = [1, 2, 3, 12, 13, 64]


def exact(x, y):
    """In float64, by differences: (B, N, D), (B, M, D) -> (B, N, M)."""
    return (x.double()[:, :, None] - y.double()[:, None]).square().sum(3)


def test_a_track_and_its_shift_by_one_cost_one_a_step():
    x = torch.linspace(0, 20000, 400)[None, :, None]
    cost = softdp.squared_euclidean(x, x + 1)
    assert softdp.soft_dtw(cost, gamma=0.0).item() == pytest.approx(400.0, abs=0.05)  # x + 1 is rounded
    rounded = exact(x, x + 1)
    assert softdp.soft_dtw(cost, gamma=0.0).item() == pytest.approx(
        softdp.soft_dtw(rounded, gamma=0.0).item(), rel=1e-6
    )


@pytest.mark.parametrize("D", FEATURES)
@pytest.mark.parametrize("far", [0.0, 1.0, 2e4, -3e6])
@pytest.mark.parametrize("spread", [1e-2, 1.0, 1e3])
def test_distances_are_right_relative_to_themselves(D, far, spread):
    x, y = (far + spread * torch.randn(2, steps, D) for steps in (37, 50))
    found = softdp.squared_euclidean(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact(x, y), rtol=1e-5, atol=0)  # equal steps: exactly 0


@pytest.mark.parametrize("D", FEATURES)
def test_gradients_are_right_far_from_the_origin(D):
    x, y = (1e5 + torch.randn(2, steps, D) for steps in (40, 70))
    grad = scores(2, 40, 70, dtype=torch.float32)
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    found = torch.autograd.grad(softdp.squared_euclidean(*leaves), leaves, grad)
    wide = [t.double().requires_grad_() for t in (x, y)]
    wanted = torch.autograd.grad(exact(*wide), wide, grad.double())
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-5)


@given(
    N=st.integers(0, 70), M=st.integers(0, 70), D=st.sampled_from([0, *FEATURES]), B=st.integers(0, 3),
    far=st.sampled_from([0.0, 1e3, 1e7]),
)  # fmt: skip
def test_any_size(N, M, D, B, far):
    x, y = far + torch.randn(B, N, D), far + torch.randn(B, M, D)
    found, expected = softdp.squared_euclidean(x, y), exact(x, y)
    assert found.shape == (B, N, M)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("D", [0, 1, 3, 17])
def test_derivatives_of_the_first_and_second_order(D):
    x, y = (torch.randn(2, n, D, dtype=torch.float64).requires_grad_() for n in (3, 4))
    x.data[0, 1] = y.data[0, 2]  # a distance of 0
    assert torch.autograd.gradcheck(softdp.squared_euclidean, (x, y))
    assert torch.autograd.gradgradcheck(softdp.squared_euclidean, (x, y))


def test_forward_mode_and_vmap():
    x, y, u, w = (torch.randn(2, n, 5, dtype=torch.float64) for n in (3, 4, 3, 4))
    _, tangent = torch.func.jvp(softdp.squared_euclidean, (x, y), (u, w))
    _, wanted = torch.func.jvp(exact, (x, y), (u, w))
    close(tangent, wanted, 1e-12)
    many = torch.randn(3, 2, 3, 5)
    mapped = torch.func.vmap(softdp.squared_euclidean, in_dims=(0, None))(many, y.float())
    for one, found in zip(many, mapped, strict=True):
        assert torch.equal(found, softdp.squared_euclidean(one, y.float()))


def test_operators_pass_opcheck():
    x, y, u, w = (torch.randn(2, n, 5, requires_grad=True) for n in (3, 4, 3, 4))
    weights = torch.randn(2, 3, 4, requires_grad=True)
    operators = torch.ops.softdp
    torch.library.opcheck(operators.difference_products, (x, y, None, None))
    torch.library.opcheck(operators.difference_products, (x, y, u, w))
    torch.library.opcheck(operators.difference_sums, (weights, x, y, True, True))


@pytest.mark.parametrize("D", [3, 40])
def test_the_way_of_other_devices_agrees(D):
    x, y, u, w = (1e4 + torch.randn(2, n, D) for n in (33, 21, 33, 21))
    weights = torch.randn(2, 33, 21)
    torch.testing.assert_close(
        _distances._products_elsewhere(x, y, None, None), softdp.squared_euclidean(x, y), rtol=1e-5, atol=0
    )
    close(_distances._products_elsewhere(x, y, u, w), torch.ops.softdp.difference_products(x, y, u, w), 1e-4)
    found = _distances._sums_elsewhere(weights, x, y, True, True)
    for a, b in zip(found, torch.ops.softdp.difference_sums(weights, x, y, True, True), strict=True):
        close(a, b, 1e-4)


@pytest.mark.parametrize("size", [(1, 300, 200, 5), (40, 33, 65, 70), (3, 129, 640, 16)])
def test_the_same_bits_at_any_number_of_threads(threads, size):
    B, N, M, D = size
    x, y = torch.randn(B, N, D).requires_grad_(), torch.randn(B, M, D).requires_grad_()
    grad, found = torch.randn(B, N, M), []
    for count in (1, 2, 3):
        threads(count)
        cost = softdp.squared_euclidean(x, y)
        found.append((cost, *torch.autograd.grad(cost, (x, y), grad)))
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_spoils_its_own_distances_only(bad):
    x, y = torch.randn(2, 5, 4), torch.randn(2, 6, 4)
    x[1, 2, 3] = bad
    cost = softdp.squared_euclidean(x, y)
    assert cost[1, 2].isnan().all()
    cost[1, 2] = 0
    assert cost.isfinite().all()


def peak(call: str) -> float:
    """MB by which a call raises the peak of its own process."""
    code = f"""if True:
        import resource, softdp, torch
        torch.set_num_threads(1)
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        x, y = torch.rand(1, 4000, 64), torch.rand(1, 4000, 64)
        run = lambda x, y: {call}
        run(x[:, :64], y[:, :64])
        before = peak()
        kept = run(x, y)
        print(peak() - before)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_distances_take_no_more_memory_than_cdist():
    ours, theirs = peak("softdp.squared_euclidean(x, y)"), peak("torch.cdist(x, y)")
    assert ours < theirs + 4  # of 61 MB for the result
