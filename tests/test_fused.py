"""Soft-DTW of features by one operator, against the way through the table of costs."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import close
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import softdp
from softdp import _fused

# B, N, M, D: no cells, small pairs (side by side in lanes), around 32 steps, several chunks, one pair a
# chunk; tiles: of one row or column, whole ones, with a few steps left, more than are kept; products of more
# than 12 features.
SIZES = [
    (3, 0, 4, 2),
    (2, 3, 0, 2),
    (2, 3, 4, 0),
    (1, 1, 1, 1),
    (37, 5, 7, 3),
    (40, 32, 32, 2),
    (5, 33, 32, 8),
    (300, 20, 30, 1),
    (9, 130, 129, 17),
    (3, 400, 300, 5),
    (1, 300, 1100, 3),
    (1, 1, 300, 2),
    (1, 257, 1, 40),
    (2, 512, 256, 13),
    (2, 515, 261, 64),
    (1, 2100, 2050, 2),
]


def features(B: int, N: int, M: int, D: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(B, steps, D, dtype=dtype).requires_grad_() for steps in (N, M)]


def ragged(B: int, N: int, M: int) -> dict[str, Tensor]:
    return {"x_lengths": torch.randint(N + 1, (B,)), "y_lengths": torch.randint(M + 1, (B,)).int()}


def fused(x: Tensor, y: Tensor, gamma: float = 1.0, x_lengths=None, y_lengths=None) -> Tensor:
    return _fused.soft_dtw(x, y, gamma, x_lengths, y_lengths)


def by_table(x: Tensor, y: Tensor, gamma: float = 1.0, **lengths: Tensor) -> Tensor:
    return softdp.soft_dtw(softdp.squared_euclidean(x, y, **lengths), gamma=gamma, **lengths)


def with_gradients(call, tensors: list[Tensor], *args, weight: Tensor | None = None, **options):
    value = call(*tensors, *args, **options)
    weight = torch.ones_like(value) if weight is None else weight
    return [value.detach(), *torch.autograd.grad(value, tensors, weight)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1e-6])  # hard; in float; past float's range
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_values_and_gradients_are_the_tables(size, gamma, dtype, tolerance):
    tensors = features(*size, dtype=dtype)
    weight = torch.rand(size[0], dtype=dtype) - 0.5
    for lengths in ({}, ragged(*size[:3])):
        found = with_gradients(fused, tensors, gamma, weight=weight, **lengths)
        expected = with_gradients(by_table, tensors, gamma, weight=weight, **lengths)
        for a, b in zip(found, expected, strict=True):
            close(a, b, tolerance)
        with torch.no_grad():
            assert torch.equal(fused(*tensors, gamma, **lengths), found[0])


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5)),
    gamma=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    seed=st.integers(0, 2**16),
)
def test_any_size_is_the_tables(size, gamma, seed):
    torch.manual_seed(seed)
    tensors, lengths = features(*size), ragged(*size[:3])
    for a, b in zip(
        with_gradients(fused, tensors, gamma, **lengths),
        with_gradients(by_table, tensors, gamma, **lengths),
        strict=True,
    ):
        close(a, b, 1e-9)


@pytest.mark.parametrize("size", [(40, 60, 50, 4), (1, 300, 1100, 3), (3, 600, 500, 2)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(size, threads):
    tensors = features(*size, dtype=torch.float32)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(with_gradients(fused, tensors, 0.5))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@pytest.mark.parametrize("which", [0, 1])
def test_a_gradient_that_nobody_wants_is_not_made(which):
    tensors = features(3, 40, 50, 2)
    expected = with_gradients(fused, tensors)[1 + which]
    tensors[1 - which].requires_grad_(False)
    value = fused(*tensors)
    (found,) = torch.autograd.grad(value.sum(), tensors[which])
    assert torch.equal(found, expected)
    made = torch.ops.softdp.soft_dtw_of_features(*tensors, None, None, 1.0, which == 0, which == 1)
    assert [t.numel() > 0 for t in made[1:]] == [which == 0, which == 1]


@pytest.mark.parametrize("is_ragged", [False, True])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_twice_differentiable(is_ragged, gamma):
    tensors = features(3, 4, 5, 2)
    lengths = (
        {"x_lengths": torch.tensor([4, 2, 1]), "y_lengths": torch.tensor([1, 5, 3])} if is_ragged else {}
    )

    def call(x, y):
        return fused(x, y, gamma, **lengths)

    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(lambda x: call(x, tensors[1].detach()), tensors[:1])


def test_a_nan_spoils_its_pair_alone_and_0_hides_it():
    x, y = (t.detach() for t in features(4, 40, 50, 3, dtype=torch.float32))
    x[1, 3, 0], y[2, 7, 1] = math.nan, math.inf
    tensors = [t.requires_grad_() for t in (x, y)]
    clean = [t.detach().nan_to_num(posinf=0).requires_grad_() for t in tensors]
    expected = with_gradients(fused, clean)
    found = with_gradients(fused, tensors)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a[[0, 3]], b[[0, 3]]) and a[[1, 2]].isnan().all()
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0])
    for a, b in zip(
        with_gradients(fused, tensors, weight=weight)[1:], with_gradients(fused, clean)[1:], strict=True
    ):
        assert torch.equal(a[[0, 3]], b[[0, 3]]) and (a[[1, 2]] == 0).all()


def test_the_padding_may_hold_anything_in_the_divergence():
    x, y = (t.detach() for t in features(3, 40, 50, 3, dtype=torch.float32))
    lengths = {"x_lengths": torch.tensor([40, 3, 0]), "y_lengths": torch.tensor([2, 50, 0])}
    expected = softdp.soft_dtw_divergence(x, y, **lengths)
    x[1, 3:], y[0, 2:] = math.nan, math.inf
    assert torch.equal(softdp.soft_dtw_divergence(x, y, **lengths), expected)


def test_opcheck():
    for needs in ((True, True), (False, True), (False, False)):
        for tensors in (features(3, 4, 5, 2), features(2, 40, 50, 3, dtype=torch.float32)):
            lengths = ragged(*tensors[0].shape[:2], tensors[1].shape[1]).values()
            tensors = [t.requires_grad_(need) for t, need in zip(tensors, needs, strict=True)]
            torch.library.opcheck(torch.ops.softdp.soft_dtw_of_features, (*tensors, *lengths, 0.5, *needs))


def test_vmap_and_func():
    x, y = (t.detach() for t in features(6, 7, 5, 2))
    xs, ys = x.unflatten(0, (2, 3)), y.unflatten(0, (2, 3))
    expected = fused(x, y)
    close(torch.func.vmap(fused)(xs, ys).flatten(), expected, 1e-12)
    close(torch.func.vmap(fused, in_dims=(1, None))(xs.movedim(0, 1), ys[0])[0], fused(xs[0], ys[0]), 1e-12)
    gradient = torch.func.grad(lambda a: fused(a, y).sum())
    leaf = x.clone().requires_grad_()
    close(gradient(x), torch.autograd.grad(fused(leaf, y).sum(), leaf)[0], 1e-12)
    close(
        torch.func.vmap(torch.func.grad(lambda a, b: fused(a, b).sum()))(xs, ys).flatten(0, 1),
        gradient(x),
        1e-12,
    )
    hessian = torch.func.jacrev(torch.func.grad(lambda a: fused(a[None], y[:1]).sum()))(x[0])
    wanted = torch.autograd.functional.hessian(lambda a: by_table(a[None], y[:1]).sum(), x[0])
    close(hessian, wanted, 1e-9)


def test_a_direct_call_is_checked():
    x, y = (t.detach() for t in features(2, 3, 4, 2))
    operator = torch.ops.softdp.soft_dtw_of_features
    for args in (
        (x, y[:1], None, None, 1.0),
        (x, y[..., :1], None, None, 1.0),
        (x, y.float(), None, None, 1.0),
        (x.half(), y.half(), None, None, 1.0),
        (x, y, torch.tensor([4, 1]), None, 1.0),
        (x, y, None, torch.tensor([1, 1, 1]), 1.0),
        (x, y, None, None, -1.0),
        (x, y, None, None, math.nan),
    ):
        with pytest.raises(RuntimeError):
            operator(*args, True, True)


def test_nothing_of_the_tables_size_is_kept():
    x, y = features(8, 256, 256, 4, dtype=torch.float32)
    value = fused(x, y)
    saved = [t for t in value.grad_fn.saved_tensors if t is not None]
    assert sum(t.numel() for t in saved) == 2 * (x.numel() + y.numel()) + value.numel()
