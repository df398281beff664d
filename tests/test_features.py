"""Scores of features on each device, compared with those of tables in float64."""

from __future__ import annotations

import math
from functools import partial

import pytest
import shim
import torch
from devices import is_gpu, on_each_device, to
from features import EVERY, WAYS, agrees, by_tables, exactly, features, with_gradients
from helpers import close

import softdp

OPERATOR = torch.ops.softdp.score_of_features
each = pytest.mark.parametrize("way", WAYS)


SIZES = [(1, 1, 1, 2), (3, 5, 7, 4), (16, 30, 16, 64), (2, 33, 40, 6)]
PAIRED = [(3, 2, 9, 7, 4), (2, 3, 40, 35, 6)]
LARGE = [(64, 256, 256, 64), (8, 1024, 1000, 16), (1, 4096, 4096, 8)]


@each
@on_each_device({"cpu": SIZES, "cuda": [*SIZES, (2, 130, 70, 18)] + ([] if shim.ACTIVE else LARGE)})
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients(way, size, dtype, device):
    agree_for_any_lengths(WAYS[way], size, dtype, device)


def agree_for_any_lengths(call, size, dtype, device):
    tensors = [to(device, t) for t in features(*size, dtype)]
    B, N, M, _ = size
    weight = torch.rand(B) - 0.5
    lengths = {"x_lengths": torch.randint(N + 1, (B,)), "y_lengths": torch.randint(M + 1, (B,)).int()}
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for options in ({}, lengths, {name: to(device, t) for name, t in lengths.items()}):
        found = with_gradients(call, tensors, weight, **options)
        agrees(found, exactly(call, tensors, device, weight, **options), tolerance)
        with torch.no_grad():
            assert torch.equal(call(*tensors, **options).nan_to_num(), found[0].nan_to_num())


@pytest.mark.parametrize("way", EVERY)
@on_each_device({"cpu": PAIRED, "cuda": PAIRED + ([] if shim.ACTIVE else [(20, 30, 64, 60, 64)])})
def test_every_x_and_every_y(way, size, device):
    agree_for_every_pair(EVERY[way], size, device)


def agree_for_every_pair(call, size, device):
    K, L, N, M, D = size
    x, y = (to(device, torch.randn(k, steps, D).double()) for k, steps in ((K, N), (L, M)))
    lengths = {"x_lengths": torch.randint(1, N + 1, (K,)), "y_lengths": torch.randint(1, M + 1, (L,))}
    weight = torch.rand(K, L) - 0.5
    for options in ({}, lengths):
        found = with_gradients(call, [x, y], weight, **options)
        agrees(found, exactly(call, [x, y], device, weight, **options), 1e-9)


BANDS = [(3, 5, 7, 4), (2, 40, 36, 6), (2, 20, 60, 4)]


@each
@on_each_device({"cpu": BANDS, "cuda": [*BANDS, (2, 130, 70, 18)] + ([] if shim.ACTIVE else LARGE)})
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_within_a_bandwidth(way, size, dtype, device):
    agree_for_any_lengths(partial(WAYS[way], bandwidth=3), size, dtype, device)


@pytest.mark.parametrize("way", EVERY)
@on_each_device({"cpu": PAIRED, "cuda": PAIRED + ([] if shim.ACTIVE else [(20, 30, 64, 60, 64)])})
def test_every_x_and_every_y_within_a_bandwidth(way, size, device):
    agree_for_every_pair(partial(EVERY[way], bandwidth=2), size, device)


@each
def test_half_features_compute_in_float32(way, device):
    tensors = [to(device, t.bfloat16()) for t in features(3, 12, 9, 8)]
    found = with_gradients(WAYS[way], tensors)
    wide = with_gradients(WAYS[way], [t.float() for t in tensors])
    assert torch.equal(found[0], wide[0])
    assert all(torch.equal(a, b.bfloat16()) for a, b in zip(found[1:], wide[1:], strict=True))


@each
def test_what_is_not_finite_spoils_its_pair_alone_and_0_hides_it(way, device):
    x, y = (to(device, t) for t in features(4, 40, 36, 4))
    clean = with_gradients(WAYS[way], [x, y])
    x[1, 3, 0], y[2, 7, 1] = math.nan, math.inf
    found = with_gradients(WAYS[way], [x, y])
    for a, b in zip(found, clean, strict=True):
        assert torch.equal(a[[0, 3]], b[[0, 3]]) and a[[1, 2]].isnan().all()
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0])
    for a, b in zip(with_gradients(WAYS[way], [x, y], weight)[1:], clean[1:], strict=True):
        assert torch.equal(a[[0, 3]], b[[0, 3]]) and (a[[1, 2]] == 0).all()


@each
@pytest.mark.parametrize("is_ragged, gamma", [(True, 0.5), (False, 2.0)])
def test_twice_differentiable(way, is_ragged, gamma, device):
    tensors = [to(device, t).requires_grad_() for t in features(3, 4, 5, 4, torch.float64)]
    lengths = {"x_lengths": torch.tensor([4, 2, 1]), "y_lengths": torch.tensor([1, 5, 3])}
    lengths = {name: to(device, t) for name, t in lengths.items()} if is_ragged else {}
    call = partial(WAYS[way], gamma=gamma, **lengths)
    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(lambda x: call(x, tensors[1].detach()), tensors[:1])


def test_opcheck(device):
    small, large, every = (2, 5, 7, 4), (2, 40, 50, 6), (True, True)
    boundaries = 1, 3, 0, 2, 2, 1
    cases = [(kind, small, every) for kind in range(6)] + [(0, large, every)]
    cases += [(3, small, needs) for needs in ((False, True), (False, False))]
    for kind, (B, N, M, D), needs in cases:
        options = kind, 0.5, 0.3, boundaries[kind], 4 if kind in (1, 3) else -1
        x, y = (to(device, t) for t in features(B, N, M, D))
        lengths = to(device, torch.tensor([N, 3])), to(device, torch.tensor([M, 0], dtype=torch.int32))
        for given in ((None, None), lengths):
            leaves = [t.clone().requires_grad_(need) for t, need in zip((x, y), needs, strict=True)]
            torch.library.opcheck(OPERATOR, (*leaves, *given, *options, *needs))
        if needs == (True, True) and N == 5:
            for given in ((None, None), lengths):
                weights = torch.ones(2, 2, device=device)
                torch.library.opcheck(torch.ops.softdp.pairwise_scores, (x, y, *given, *options))
                torch.library.opcheck(
                    torch.ops.softdp.pairwise_gradients, (weights, x, y, *given, *options, True, False)
                )
    score, *made = OPERATOR(x, y, None, None, 0, 0.5, 0.0, 1, -1, True, True)
    torch.library.opcheck(torch.ops.softdp.scaled_gradients, (score, score, *made))


def words(operator, device):
    """Of the error: those of a GPU begin with the operator's name."""
    return f"softdp::{operator}: " if is_gpu(device) else "must"


def test_a_direct_call_is_checked(device):
    x, y = (to(device, t) for t in features(2, 3, 4, 2))
    cases = [
        (x, y[:1], None, None, 0, 1.0, 0.0, 1, -1),
        (x, y[..., :1], None, None, 0, 1.0, 0.0, 1, -1),
        (x, y.double(), None, None, 0, 1.0, 0.0, 1, -1),
        (x[0], y, None, None, 0, 1.0, 0.0, 1, -1),
        (x, y[0], None, None, 0, 1.0, 0.0, 1, -1),
        (x.half(), y.half(), None, None, 0, 1.0, 0.0, 1, -1),
        (x, y, None, torch.tensor([1, 1, 1], device=device), 0, 1.0, 0.0, 1, -1),
        (x, y, torch.tensor([1.0, 1.0], device=device), None, 0, 1.0, 0.0, 1, -1),
        (x, y, None, None, 0, -1.0, 0.0, 1, -1),
        (x, y, None, None, 0, math.nan, 0.0, 1, -1),
        (x, y, None, None, 2, 1.0, math.nan, 0, -1),
        (x, y, None, None, 6, 1.0, 0.0, 1, -1),
        (x[..., :1], y[..., :1], None, None, 1, 1.0, 0.0, 0, -1),
        (x, y, None, None, 0, 1.0, 0.0, -1, -1),
        (x, y, None, None, 0, 1.0, 0.0, 4, -1),
        (x, y, None, None, 0, 1.0, 0.0, 5, -1),
        (x, y, None, None, 2, 1.0, 0.0, 1, -1),
        (x, y, None, None, 0, 1.0, 0.0, 1, -2),
        (x, None, None, None, 0, 1.0, 0.0, 2, -1),
        (x, None, None, None, 1, 1.0, 0.0, 0, -1),
    ]
    if not is_gpu(device):  # nobody looks at the values of a GPU's lengths
        cases.append((x, y, torch.tensor([4, 1]), None, 0, 1.0, 0.0, 1, -1))
    for args in cases:
        with pytest.raises(RuntimeError, match=words("score_of_features", device)):
            OPERATOR(*args, True, True)
    score, *made = OPERATOR(x, y, None, None, 0, 1.0, 0.0, 1, -1, True, True)
    for args in (
        (score[:1], score, *made),
        (score.double(), score, *made),
        (score, score, made[0][:1], made[1]),
        (score, score, made[0], made[1].double()),
        (score, score, made[0], made[1].mT),
        (score, score, made[0].flatten(), made[1]),
    ):
        with pytest.raises(RuntimeError, match=words("scaled_gradients", device)):
            torch.ops.softdp.scaled_gradients(*args)
    ones = torch.ones(2, 2, device=device)
    for weights in (score, torch.ones(2, 3, device=device), ones.double(), ones.double()[:, :1]):
        with pytest.raises(RuntimeError, match=words("pairwise_gradients", device)):
            torch.ops.softdp.pairwise_gradients(weights, x, y, None, None, 0, 1.0, 0.0, 1, -1, True, True)


@pytest.mark.parametrize("way, bandwidth", [*((way, None) for way in WAYS), ("soft_dtw", 1), ("fsd", 1)])
def test_vmap_and_func(way, bandwidth, device):
    x, y = (to(device, t) for t in features(6, 7, 5, 4, torch.float64))
    call = partial(WAYS[way], bandwidth=bandwidth)
    xs, ys = x.unflatten(0, (2, 3)), y.unflatten(0, (2, 3))
    close(torch.func.vmap(call)(xs, ys).flatten(), call(x, y), 1e-12)
    mapped = torch.func.vmap(call, in_dims=(1, None))(xs.movedim(0, 1), ys[0])[0]
    close(mapped, call(xs[0], ys[0]), 1e-12)
    gradient = torch.func.grad(lambda a: call(a, y).sum())
    close(gradient(x), with_gradients(call, [x, y])[1], 1e-12)
    of_each = torch.func.vmap(torch.func.grad(lambda a, b: call(a, b).sum()))(xs, ys)
    close(of_each.flatten(0, 1), gradient(x), 1e-12)
    hessian = torch.func.jacrev(torch.func.grad(lambda a: call(a[None], y[:1]).sum()))(x[0])
    if way == "manhattan":  # torch.cdist, which makes its tables, has no second derivative

        def call(a, b):
            cost = (a[:, :, None] - b[:, None]).abs().sum(-1)
            return softdp.soft_dtw(cost, gamma=0.5, bandwidth=bandwidth)

    with by_tables():
        wanted = torch.autograd.functional.hessian(lambda a: call(a[None], y[:1]).sum(), x[0])
    close(hessian, wanted, 1e-9)


@pytest.mark.parametrize("way, bandwidth", [*((way, None) for way in WAYS), ("soft_dtw", 3)])
def test_one_compiled_graph_serves_all_sizes(way, bandwidth, device):
    torch._dynamo.reset()
    call = partial(WAYS[way], bandwidth=bandwidth)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=True)
    for turn, (B, N, M) in enumerate(((2, 5, 7), (3, 40, 33), (4, 9, 66))):
        tensors = [to(device, t) for t in features(B, N, M, 4)]
        with torch._dynamo.config.patch(error_on_recompile=turn > 0):
            found = with_gradients(compiled, tensors)
        for a, b in zip(found, with_gradients(call, tensors), strict=True):
            close(a, b, 1e-5)


@each
@pytest.mark.parametrize("size", [(3, 9, 7, 4), (2, 130, 70, 18)], ids=str)
def test_the_same_bits_every_time(way, size, device):
    tensors = [to(device, t) for t in features(*size)]
    first = with_gradients(WAYS[way], tensors)
    for _ in range(3):
        again = with_gradients(WAYS[way], tensors)
        assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))
