"""Scores of features on CUDA, which keep no table, against the CPU's in float64, and as citizens of CUDA.

Where there is no GPU, SOFTDP_SHIM=1 runs the kernels and the operators on the CPU (tests/shim.py), against
tables of the reference.
"""

from __future__ import annotations

import contextlib
import math
from functools import partial

import pytest
import shim
import torch
from helpers import close
from test_cuda import DEVICE, needs_gpu, needs_shim, no_waiting, on_cpu, on_gpu

import softdp
from softdp import _fused

pytestmark = pytest.mark.cuda
OPERATOR = torch.ops.softdp.score_of_features


def soft_dtw(x, y, gamma=0.5, cost="squared_euclidean", **lengths):
    return softdp.soft_dtw_loss(x, y, gamma=gamma, cost=cost, reduction="none", **lengths)


def fsd(x, y, gamma=0.5, **lengths):
    target = torch.zeros(len(x), device=x.device)
    return softdp.fsd_loss(x, y, target, gamma=gamma, reduction="none", **lengths)


def lcs(x, y, gamma=0.5, **lengths):
    target = torch.zeros(len(x), device=x.device)
    return softdp.lcs_loss(x, y, target, threshold=0.3, gamma=gamma, reduction="none", **lengths)


WAYS = {
    "soft_dtw": soft_dtw,
    "euclidean": partial(soft_dtw, cost="euclidean"),
    "cosine": partial(soft_dtw, cost="cosine"),
    "manhattan": partial(soft_dtw, cost="manhattan"),
    "fsd": fsd,
    "lcs": lcs,
}
EVERY = {
    "soft_dtw": partial(softdp.pairwise_soft_dtw, gamma=0.5),
    "divergence": partial(softdp.pairwise_soft_dtw, gamma=0.5, normalize=True),
    "euclidean": partial(softdp.pairwise_soft_dtw, gamma=0.5, cost="euclidean"),
    "manhattan": partial(softdp.pairwise_soft_dtw, gamma=0.5, cost="manhattan"),
    "cosine": partial(softdp.pairwise_soft_dtw, gamma=0.5, cost="cosine"),
    "fsd": partial(softdp.pairwise_fsd, gamma=0.5),
    "lcs": partial(softdp.pairwise_lcs, threshold=0.3, gamma=0.5),
}
each = pytest.mark.parametrize("way", WAYS)


def large(*size):
    return pytest.param(size, marks=needs_gpu)


SIZES = [(1, 1, 1, 2), (3, 5, 7, 4), (16, 30, 16, 64), (2, 33, 40, 6), (2, 130, 70, 18)]
SIZES += [large(64, 256, 256, 64), large(8, 1024, 1000, 16), large(1, 4096, 4096, 8)]


@contextlib.contextmanager
def by_tables():
    """Without the operator."""
    before, _fused.serves = _fused.serves, lambda x: False
    try:
        yield
    finally:
        _fused.serves = before


def features(B, N, M, D, dtype=torch.float32):
    """Steps of length about 2, a multiple of 2^-10: no cosine is on the other side of a threshold of LCS by
    rounding alone, as good as never."""
    return [
        torch.randn(B, steps, D).mul(1024 * (4 / D) ** 0.5).round().div(1024).to(dtype) for steps in (N, M)
    ]


def with_gradients(call, tensors, weight=None, **options):
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    value = call(*leaves, **options)
    weight = torch.ones_like(value) if weight is None else weight.to(value)
    return [value.detach(), *torch.autograd.grad(value, leaves, weight)]


def exactly(call, tensors, weight=None, **options):
    tensors = [t.cpu().double() for t in tensors]
    options = {name: on_cpu(value) for name, value in options.items()}
    with by_tables() if shim.ACTIVE else contextlib.nullcontext():
        with shim.reference() if shim.ACTIVE else contextlib.nullcontext():
            return with_gradients(call, tensors, weight, **options)


def agrees(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        largest = b[b.isfinite()].abs().max().item() if b.isfinite().any() else 1
        close(a.cpu().double(), b.cpu().double(), tolerance * max(1, largest))


@each
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients(way, size, dtype):
    tensors = [on_gpu(t) for t in features(*size, dtype)]
    B, N, M, _ = size
    weight = torch.rand(B) - 0.5
    lengths = {"x_lengths": torch.randint(N + 1, (B,)), "y_lengths": torch.randint(M + 1, (B,)).int()}
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for options in ({}, lengths, {name: on_gpu(t) for name, t in lengths.items()}):
        found = with_gradients(WAYS[way], tensors, weight, **options)
        agrees(found, exactly(WAYS[way], tensors, weight, **options), tolerance)
        with torch.no_grad():
            assert torch.equal(WAYS[way](*tensors, **options).nan_to_num(), found[0].nan_to_num())


@pytest.mark.parametrize("way", EVERY)
@pytest.mark.parametrize("size", [(3, 2, 9, 7, 4), (2, 3, 40, 35, 6), large(20, 30, 64, 60, 64)], ids=str)
def test_every_x_and_every_y(way, size):
    K, L, N, M, D = size
    x, y = (on_gpu(torch.randn(k, steps, D).double()) for k, steps in ((K, N), (L, M)))
    lengths = {"x_lengths": torch.randint(1, N + 1, (K,)), "y_lengths": torch.randint(1, M + 1, (L,))}
    weight = torch.rand(K, L) - 0.5
    for options in ({}, lengths):
        found = with_gradients(EVERY[way], [x, y], weight, **options)
        agrees(found, exactly(EVERY[way], [x, y], weight, **options), 1e-9)


@each
def test_half_features_compute_in_float32(way):
    tensors = [on_gpu(t.bfloat16()) for t in features(3, 12, 9, 8)]
    found = with_gradients(WAYS[way], tensors)
    wide = with_gradients(WAYS[way], [t.float() for t in tensors])
    assert torch.equal(found[0], wide[0])
    assert all(torch.equal(a, b.bfloat16()) for a, b in zip(found[1:], wide[1:], strict=True))


@each
def test_what_is_not_finite_spoils_its_pair_alone_and_0_hides_it(way):
    x, y = (on_gpu(t) for t in features(4, 40, 36, 4))
    clean = with_gradients(WAYS[way], [x, y])
    x[1, 3, 0], y[2, 7, 1] = math.nan, math.inf
    found = with_gradients(WAYS[way], [x, y])
    for a, b in zip(found, clean, strict=True):
        assert torch.equal(a[[0, 3]], b[[0, 3]]) and a[[1, 2]].isnan().all()
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0])
    for a, b in zip(with_gradients(WAYS[way], [x, y], weight)[1:], clean[1:], strict=True):
        assert torch.equal(a[[0, 3]], b[[0, 3]]) and (a[[1, 2]] == 0).all()


@each
def test_lengths_out_of_range_spoil_their_own_pair(way):
    tensors = [on_gpu(t) for t in features(4, 40, 36, 4)]
    lengths = on_gpu(torch.tensor([40, 41, -1, 2**40]))
    score = WAYS[way](*tensors, x_lengths=lengths)
    assert score.isnan().tolist() == [False, True, True, True]


@each
def test_twice_differentiable(way):
    tensors = [on_gpu(t).requires_grad_() for t in features(2, 4, 5, 4, torch.float64)]
    lengths = on_gpu(torch.tensor([4, 2]))
    call = partial(WAYS[way], x_lengths=lengths)
    assert torch.autograd.gradcheck(call, tensors)
    assert torch.autograd.gradgradcheck(call, tensors)


def test_opcheck():
    x, y = (on_gpu(t) for t in features(2, 5, 7, 4))
    lengths = on_gpu(torch.tensor([5, 3])), on_gpu(torch.tensor([7, 0], dtype=torch.int32))
    for kind in range(6):
        for given in ((None, None), lengths):
            leaves = [t.clone().requires_grad_() for t in (x, y)]
            torch.library.opcheck(OPERATOR, (*leaves, *given, kind, 0.5, 0.3, True, True))
            weights = torch.ones(2, 2, device=DEVICE)
            options = kind, 0.5, 0.3
            torch.library.opcheck(torch.ops.softdp.pairwise_scores, (x, y, *given, *options))
            torch.library.opcheck(
                torch.ops.softdp.pairwise_gradients, (weights, x, y, *given, *options, True, False)
            )
    score, *made = OPERATOR(x, y, None, None, 0, 0.5, 0.0, True, True)
    torch.library.opcheck(torch.ops.softdp.scaled_gradients, (score, score, *made))


def test_a_direct_call_is_checked():
    x, y = (on_gpu(t) for t in features(2, 3, 4, 2))
    for args in (
        (x, y[:1], None, None, 0, 1.0, 0.0),
        (x, y[..., :1], None, None, 0, 1.0, 0.0),
        (x, y.double(), None, None, 0, 1.0, 0.0),
        (x[0], y, None, None, 0, 1.0, 0.0),
        (x, y[0], None, None, 0, 1.0, 0.0),
        (x.half(), y.half(), None, None, 0, 1.0, 0.0),
        (x, y, None, on_gpu(torch.tensor([1, 1, 1])), 0, 1.0, 0.0),
        (x, y, on_gpu(torch.tensor([1.0, 1.0])), None, 0, 1.0, 0.0),
        (x, y, None, None, 0, -1.0, 0.0),
        (x, y, None, None, 2, 1.0, math.nan),
        (x, y, None, None, 6, 1.0, 0.0),
        (x[..., :1], y[..., :1], None, None, 1, 1.0, 0.0),
    ):
        with pytest.raises(RuntimeError, match="softdp::score_of_features: "):
            OPERATOR(*args, True, True)
    score, *made = OPERATOR(x, y, None, None, 0, 1.0, 0.0, True, True)
    for args in (
        (score[:1], score, *made),
        (score.double(), score, *made),
        (score, score, made[0][:1], made[1]),
        (score, score, made[0], made[1].mT),
    ):
        with pytest.raises(RuntimeError, match="softdp::scaled_gradients: "):
            torch.ops.softdp.scaled_gradients(*args)
    for weights in (score, torch.ones(2, 3, device=DEVICE), torch.ones(2, 2, device=DEVICE).double()):
        with pytest.raises(RuntimeError, match="softdp::pairwise_gradients: "):
            torch.ops.softdp.pairwise_gradients(weights, x, y, None, None, 0, 1.0, 0.0, True, True)


@needs_shim
def test_a_failing_launch_is_an_error():
    x, y = features(2, 3, 4, 2)
    with shim.failing_launches(), pytest.raises(RuntimeError, match="score_of_features: CUDA error"):
        soft_dtw(x, y)


@each
def test_vmap_and_func(way):
    x, y = (on_gpu(t) for t in features(6, 7, 5, 4, torch.float64))
    call = WAYS[way]
    found = torch.func.vmap(call)(x.unflatten(0, (2, 3)), y.unflatten(0, (2, 3)))
    close(found.flatten(), call(x, y), 1e-12)
    gradient = torch.func.grad(lambda a: call(a, y).sum())(x)
    close(gradient, with_gradients(call, [x, y])[1], 1e-12)


@each
def test_one_compiled_graph_serves_all_sizes(way):
    torch._dynamo.reset()
    compiled = torch.compile(WAYS[way], fullgraph=True, backend="aot_eager", dynamic=True)
    for turn, (B, N, M) in enumerate(((2, 5, 7), (3, 40, 33), (4, 9, 66))):
        tensors = [on_gpu(t) for t in features(B, N, M, 4)]
        with torch._dynamo.config.patch(error_on_recompile=turn > 0):
            found = with_gradients(compiled, tensors)
        for a, b in zip(found, with_gradients(WAYS[way], tensors), strict=True):
            close(a, b, 1e-5)


@each
@pytest.mark.parametrize("size", [(3, 9, 7, 4), (2, 130, 70, 18)], ids=str)
def test_the_same_bits_every_time(way, size):
    tensors = [on_gpu(t) for t in features(*size)]
    first = with_gradients(WAYS[way], tensors)
    for _ in range(3):
        again = with_gradients(WAYS[way], tensors)
        assert all(torch.equal(a, b) for a, b in zip(again, first, strict=True))


# ---- what only a GPU has -------------------------------------------------------------------------


@needs_gpu
@each
def test_memory_is_that_of_the_features_and_a_workspace(way):
    x, y = (t.to(DEVICE).requires_grad_() for t in features(16, 32768, 16384, 8))  # 8.6e9 cells
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    WAYS[way](x, y).sum().backward()
    spent = torch.cuda.max_memory_allocated() - before
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    assert spent < total / 12 + 6 * 4 * (x.numel() + y.numel())


@needs_gpu
@pytest.mark.parametrize("way", ["soft_dtw", "fsd"])
def test_strips_are_the_whole_table(way):
    """A pair whose tables do not fit a sixteenth of 140 GB, against the CPU."""
    tensors = [t.to(DEVICE) for t in features(1, 40000, 20000, 4)]
    agrees(with_gradients(WAYS[way], tensors), exactly(WAYS[way], tensors), 1e-3)


@needs_gpu
@each
@pytest.mark.parametrize("size", [(16, 30, 16, 64), (4, 130, 100, 8)], ids=str)
def test_graph_capture_and_replay(way, size):
    B, N, M, _ = size
    x, y = (t.to(DEVICE) for t in features(*size))
    n, m = (torch.full((B,), full, device=DEVICE) for full in (N, M))

    def step():
        return with_gradients(WAYS[way], [x, y], x_lengths=n, y_lengths=m)

    warm = torch.cuda.Stream()
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for turn in range(3):
        for t, new in zip((x, y), features(*size), strict=True):
            t.copy_(new)
        n.fill_(max(1, N - 7 * turn))
        graph.replay()
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


@needs_gpu
@each
def test_the_host_never_waits(way):
    tensors = [t.to(DEVICE) for t in features(4, 200, 150, 16)]
    lengths = torch.tensor([200, 100, 3, 150], device=DEVICE)

    def step():
        return with_gradients(WAYS[way], tensors, x_lengths=lengths)

    expected = [step() for _ in range(3)][-1]
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    with no_waiting():
        torch.cuda._sleep(4 * 10**8)
        found = step()
        done.record()
        assert not done.query(), "when the call came back the GPU had finished"
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
