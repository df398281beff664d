"""Every sequence against every other: against pairs side by side, whose features are copied."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.utils.checkpoint
from helpers import close
from torch import Tensor

import softdp
from softdp import pairwise


def soft_dtw(x, y, **options):
    return softdp.soft_dtw_loss(x, y, reduction="none", **options)


def divergence(x, y, **options):
    return softdp.soft_dtw_loss(x, y, reduction="none", normalize=True, **options)


def euclidean(x, y, **options):
    return softdp.soft_dtw_loss(x, y, reduction="none", cost="euclidean", **options)


def manhattan(x, y, **options):
    return softdp.soft_dtw_loss(x, y, reduction="none", cost="manhattan", **options)


def cosine(x, y, **options):
    return softdp.soft_dtw_loss(x, y, reduction="none", cost="cosine", **options)


def fsd(x, y, **options):
    return softdp.fsd_loss(x, y, torch.zeros(len(x)), reduction="none", **options)


def lcs(x, y, **options):
    return softdp.lcs_loss(x, y, torch.zeros(len(x)), reduction="none", threshold=0.2, **options)


WAYS = {
    "soft_dtw": (softdp.pairwise_soft_dtw, soft_dtw),
    "divergence": (partial(softdp.pairwise_soft_dtw, normalize=True), divergence),
    "euclidean": (partial(softdp.pairwise_soft_dtw, cost="euclidean"), euclidean),
    "manhattan": (partial(softdp.pairwise_soft_dtw, cost="manhattan"), manhattan),
    "cosine": (partial(softdp.pairwise_soft_dtw, cost="cosine"), cosine),
    "fsd": (softdp.pairwise_fsd, fsd),
    "lcs": (partial(softdp.pairwise_lcs, threshold=0.2), lcs),
    "subsequence": (
        partial(softdp.pairwise_soft_dtw, boundary="subsequence"),
        partial(soft_dtw, boundary="subsequence"),
    ),
    "overlap": (partial(softdp.pairwise_fsd, boundary="overlap"), partial(fsd, boundary="overlap")),
}
each = pytest.mark.parametrize("way", WAYS)
# K, L, N, M, D: none of them; around slabs and chunks; tiles.
SIZES = [
    (0, 3, 4, 5, 2),
    (3, 0, 4, 5, 2),
    (2, 3, 0, 5, 2),
    (1, 1, 1, 1, 2),
    (3, 4, 5, 7, 6),
    (19, 2, 9, 6, 4),
    (2, 37, 6, 9, 4),
    (3, 2, 60, 40, 14),
    (2, 3, 300, 20, 4),
    (3, 2, 290, 280, 4),
]


def features(K: int, L: int, N: int, M: int, D: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(*size, D, dtype=dtype).requires_grad_() for size in ((K, N), (L, M))]


def expanded(score, x: Tensor, y: Tensor, x_lengths=None, y_lengths=None, **options) -> Tensor:
    K, L = len(x), len(y)
    lengths = {}
    if x_lengths is not None:
        lengths = {"x_lengths": x_lengths.repeat_interleave(L), "y_lengths": y_lengths.repeat(K)}
    value = score(x.repeat_interleave(L, 0), y.repeat(K, 1, 1), **lengths, **options)
    return value.unflatten(0, (K, L)) if K and L else value.new_zeros((K, L))


def with_gradients(call, tensors, weight=None, **options):
    value = call(*tensors, **options)
    weight = torch.ones_like(value) if weight is None else weight
    return [value.detach(), *torch.autograd.grad(value, tensors, weight, allow_unused=True)]


@each
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_it_is_that_of_all_pairs(way, size, dtype, tolerance):
    many, pairs = WAYS[way]
    tensors = features(*size, dtype=dtype)
    K, L, N, M, _ = size
    weight = torch.rand(K, L, dtype=dtype) - 0.5
    if K and L:
        weight[0, -1] = 0
    lengths = {"x_lengths": torch.randint(N + 1, (K,)), "y_lengths": torch.randint(M + 1, (L,)).int()}
    for options in ({}, lengths):
        found = with_gradients(many, tensors, weight, gamma=0.5, **options)
        assert found[0].shape == (K, L) and found[0].dtype == dtype
        if K * L == 0:
            assert all(g is None or not g.any() for g in found[1:])
            continue
        expected = with_gradients(partial(expanded, pairs), tensors, weight, gamma=0.5, **options)
        for a, b in zip(found, expected, strict=True):
            close(a, b, tolerance)
        with torch.no_grad():
            assert torch.equal(many(*tensors, gamma=0.5, **options), found[0])


@each
@pytest.mark.parametrize("is_ragged", [False, True])
@pytest.mark.parametrize("K", [1, 6, 67])
@pytest.mark.parametrize("least", [1, 1 << 60], ids=["by halves", "whole"])
def test_x_against_itself(way, is_ragged, K, least, monkeypatch):
    monkeypatch.setattr(pairwise, "LEAST_HALVED", least)
    many = WAYS[way][0]
    x = features(K, 1, 6, 1, 4)[0]
    lengths = torch.tensor([6, 2, 1, 4] * 17)[:K] if is_ragged else None
    weight = torch.randn(K, K, dtype=x.dtype)
    found = with_gradients(many, [x], weight, x_lengths=lengths)
    other = x.detach().clone().requires_grad_()
    expected = with_gradients(many, [x, other], weight, x_lengths=lengths, y_lengths=lengths)
    close(found[0], expected[0], 1e-12)
    close(found[1], expected[1] + expected[2], 1e-12)
    if way == "subsequence":  # of x within y, which is not of y within x
        return
    close(found[0], found[0].mT, 1e-9)
    if least == 1 and K > pairwise.FEWEST_ROWS:
        assert torch.equal(found[0], found[0].mT)
    if way == "divergence":
        assert found[0].diagonal().abs().max() < 1e-12


@each
def test_halves_are_differentiable_and_mapped_as_the_whole(way, monkeypatch):
    monkeypatch.setattr(pairwise, "LEAST_HALVED", 1)
    many = WAYS[way][0]
    monkeypatch.setattr(pairwise, "FEWEST_ROWS", 1)
    x = features(3, 1, 3, 1, 4)[0]
    call = partial(many, gamma=0.7, x_lengths=torch.tensor([3, 1, 2]))
    assert torch.autograd.gradcheck(call, [x])
    assert torch.autograd.gradgradcheck(call, [x])
    xs = torch.randn(2, 5, 6, 4, dtype=x.dtype)
    close(torch.func.vmap(many)(xs), torch.stack([many(part) for part in xs]), 1e-12)
    dirty = xs[0].clone()
    dirty[1, 2, 0] = math.nan
    value, expected = many(dirty), many(xs[0])
    assert value[1].isnan().all() and value[:, 1].isnan().all()
    clean = [0, 2, 3, 4]
    close(value[clean][:, clean], expected[clean][:, clean], 1e-12)


@each
@pytest.mark.parametrize("size", [(11, 9, 30, 20, 4), (1, 2, 300, 290, 4)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(way, size, threads):
    tensors = features(*size, dtype=torch.float32)
    K, L, N, M, _ = size
    lengths = {"x_lengths": torch.randint(N + 1, (K,)), "y_lengths": torch.randint(M + 1, (L,))}
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(
            with_gradients(WAYS[way][0], tensors) + with_gradients(WAYS[way][0], tensors, **lengths)
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@each
@pytest.mark.parametrize("which", [0, 1])
def test_one_gradient_alone(way, which):
    tensors = features(3, 4, 9, 8, 4)
    expected = with_gradients(WAYS[way][0], tensors)[1 + which]
    tensors[1 - which].requires_grad_(False)
    (found,) = torch.autograd.grad(WAYS[way][0](*tensors).sum(), tensors[which])
    close(found, expected, 1e-12)


@each
def test_twice_differentiable(way):
    tensors = features(2, 3, 3, 4, 4)
    lengths = {"x_lengths": torch.tensor([3, 2]), "y_lengths": torch.tensor([4, 1, 3])}

    def call(x, y):
        return WAYS[way][0](x, y, gamma=0.7, **lengths)

    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)


@each
def test_a_nan_spoils_what_it_meets(way):
    x, y = (t.detach() for t in features(3, 4, 5, 6, 4))
    dirty = x.clone()
    dirty[1, 2, 0] = math.nan
    many = WAYS[way][0]
    weight = torch.rand(3, 4, dtype=x.dtype)
    value, d_x, d_y = with_gradients(many, [dirty.requires_grad_(), y.requires_grad_()], weight)
    expected, clean_x, _ = with_gradients(many, [x.requires_grad_(), y], weight)
    assert value[1].isnan().all() and torch.equal(value[[0, 2]], expected[[0, 2]])
    assert d_x[1].isnan().all() and torch.equal(d_x[[0, 2]], clean_x[[0, 2]]) and d_y.isnan().all()
    weight[1] = 0
    _, d_x, d_y = with_gradients(many, [dirty, y], weight)
    _, clean_x, clean_y = with_gradients(many, [x, y], weight)
    assert (d_x[1] == 0).all() and torch.equal(d_x, clean_x) and torch.equal(d_y, clean_y)


@each
def test_padding_may_hold_anything(way):
    x, y = (t.detach() for t in features(3, 2, 5, 6, 4))
    lengths = {"x_lengths": torch.tensor([5, 2, 0]), "y_lengths": torch.tensor([1, 6])}
    expected = WAYS[way][0](x, y, **lengths)
    x[1, 2:], x[2], y[0, 1:] = math.nan, math.inf, math.nan
    assert torch.equal(WAYS[way][0](x, y, **lengths), expected)


@each
def test_half_features_compute_in_float32(way):
    tensors = [t.detach().half().requires_grad_() for t in features(2, 3, 4, 5, 4)]
    found = with_gradients(WAYS[way][0], tensors)
    assert found[0].dtype == torch.float32 and all(g.dtype == torch.float16 for g in found[1:])
    close(found[0], WAYS[way][0](*(t.float() for t in tensors)).detach(), 1e-6)


@each
def test_vmap_and_func(way):
    many = WAYS[way][0]
    x, y = (t.detach() for t in features(4, 3, 5, 6, 4))
    xs = x.unflatten(0, (2, 2))
    expected = torch.stack([many(part, y) for part in xs])
    close(torch.func.vmap(many, in_dims=(0, None))(xs, y), expected, 1e-12)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(many(leaf, y).sum(), leaf)
    close(torch.func.grad(lambda x: many(x, y).sum())(x), wanted, 1e-12)
    close(torch.func.vmap(torch.func.grad(lambda x: many(x, y).sum()))(xs).flatten(0, 1), wanted, 1e-12)


@each
def test_one_compiled_graph_serves_all_sizes(way):
    many = WAYS[way][0]

    def loss(x, y):
        return many(x, y).square().mean()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in ((3, 4, 5, 6, 8), (2, 5, 40, 33, 6), (7, 2, 9, 3, 4)):
            tensors = features(*size)
            expected = with_gradients(loss, tensors)
            for a, b in zip(with_gradients(compiled, tensors), expected, strict=True):
                close(a, b, 1e-12)


@each
def test_checkpoint_and_inference(way):
    x, y = features(2, 3, 4, 5, 4)
    expected = with_gradients(WAYS[way][0], [x, y])
    again = torch.utils.checkpoint.checkpoint(
        lambda x, y: WAYS[way][0](x * 1, y * 1), x, y, use_reentrant=False
    )
    for a, b in zip(torch.autograd.grad(again.sum(), [x, y]), expected[1:], strict=True):
        assert torch.equal(a, b)
    with torch.inference_mode():
        cached = y.detach() * 1
    (found,) = torch.autograd.grad(WAYS[way][0](x, cached).sum(), x)
    assert torch.equal(found, expected[1])


@each
@pytest.mark.parametrize("derivative", ["backward", "func"])
def test_third_derivatives_are_an_error(way, derivative):
    x, y = features(2, 2, 3, 3, 4)

    def loss(x):
        return WAYS[way][0](x, y.detach(), gamma=0.5).sum() + (x**4).sum()

    if derivative == "backward":
        (g,) = torch.autograd.grad(loss(x), x, create_graph=True)
        (h,) = torch.autograd.grad((g * torch.randn_like(g)).sum(), x, create_graph=True)
        with pytest.raises(NotImplementedError):
            torch.autograd.grad((h * torch.randn_like(h)).sum(), x)
    else:
        first = torch.func.grad(loss)
        second = torch.func.grad(lambda x: (first(x) * x.detach()).sum())
        with pytest.raises(NotImplementedError):
            torch.func.grad(lambda x: (second(x) * x.detach()).sum())(x.detach())


def test_opcheck():
    x, y = features(2, 3, 4, 5, 4)
    for kind in range(5):
        boundary = (1, 3, 0, 2, 2)[kind]
        args = x, y, torch.tensor([4, 2]), torch.tensor([5, 1, 0]), kind, 0.5, 0.3, boundary, 2 * kind - 1
        torch.library.opcheck(torch.ops.softdp.pairwise_scores, args)


def test_errors():
    x, y = (t.detach() for t in features(2, 3, 4, 5, 4))
    for error, message, args, options in (
        (ValueError, "must agree in D", (x, y[..., :2]), {}),
        (TypeError, "y must have", (x, y.float()), {}),
        (ValueError, "y_lengths must be None where y is None", (x,), {"y_lengths": torch.tensor([1, 2])}),
        (ValueError, r"x_lengths must have shape \(2,\)", (x, y), {"x_lengths": torch.tensor([1, 2, 3])}),
        (ValueError, "y_lengths must lie", (x, y), {"y_lengths": torch.tensor([1, 2, 6])}),
        (ValueError, "x must have 3 dimensions", (x[0], y), {}),
    ):
        for function in (softdp.pairwise_soft_dtw, softdp.pairwise_fsd, softdp.pairwise_lcs):
            with pytest.raises(error, match=message):
                function(*args, **options)
    with pytest.raises(ValueError, match="even number of features"):
        softdp.pairwise_fsd(x[..., :3])
    with pytest.raises(ValueError, match="gamma"):
        softdp.pairwise_lcs(x, gamma=-1)
    with pytest.raises(ValueError, match="cost must be one of"):
        softdp.pairwise_soft_dtw(x, cost="euclid")
