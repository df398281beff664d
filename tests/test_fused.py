"""Scores of features by one operator, against the way through tables."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.utils.checkpoint
from fused_ways import OPTIONS, THRESHOLD, WAYS, features, features_for, fused, ragged, with_gradients
from helpers import close, run_python
from hypothesis import given
from hypothesis import strategies as st

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


OPERATOR = torch.ops.softdp.score_of_features


each = pytest.mark.parametrize("way", WAYS)


GAMMAS = 0.0, 0.3, 1e-6  # hard; in float; past float's range
# Of more tiles than are kept, one gamma but for the two recurrences.
CASES = [
    (way, size, gamma)
    for way, size, gamma in itertools.product(WAYS, SIZES, GAMMAS)
    if size != SIZES[-1] or gamma == 0.3 or way in ("subsequence", "overlap")
]


@pytest.mark.parametrize("way, size, gamma", CASES, ids=str)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_values_and_gradients_are_the_tables(way, size, gamma, dtype, tolerance):
    one, table = WAYS[way]
    if (
        way not in ("soft_dtw", "subsequence") and gamma < 0.3
    ):  # rounding decides which path of the cosines is best
        dtype, tolerance = torch.float64, 1e-9
    if way in ("euclidean", "manhattan") and dtype == torch.float32:
        tolerance = 2e-3  # the costs' rounding: both ways are as far from float64
    tensors = features_for(way, *size, dtype=dtype)
    weight = torch.rand(size[0], dtype=dtype) - 0.5
    for lengths in ({}, ragged(*size[:3])):
        found = with_gradients(one, tensors, gamma, weight=weight, **lengths)
        expected = with_gradients(table, tensors, gamma, weight=weight, **lengths)
        for a, b in zip(found, expected, strict=True):
            close(a, b, tolerance)
        with torch.no_grad():
            assert torch.equal(one(*tensors, gamma, **lengths), found[0])


@each
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5)),
    gamma=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    seed=st.integers(0, 2**16),
)
def test_any_size_is_the_tables(way, size, gamma, seed):
    torch.manual_seed(seed)
    one, table = WAYS[way]
    tensors, lengths = features_for(way, *size), ragged(*size[:3])
    if way not in ("soft_dtw", "subsequence") and gamma == 0:
        gamma = 0.1  # cosines of few features come in ties, which rounding decides
    for a, b in zip(
        with_gradients(one, tensors, gamma, **lengths),
        with_gradients(table, tensors, gamma, **lengths),
        strict=True,
    ):
        close(a, b, 1e-9)


BOUNDARIES = {
    **{way: ("anchored", "subsequence") for way in ("soft_dtw", "cosine", "euclidean", "manhattan")},
    "fsd": ("free", "anchored", "subsequence", "overlap"),
}


@pytest.mark.parametrize(
    "way, boundary", [(way, boundary) for way, found in BOUNDARIES.items() for boundary in found]
)
@pytest.mark.parametrize("size", [(9, 30, 33, 4), (2, 270, 300, 4)], ids=["chunks", "tiles"])
@pytest.mark.parametrize("gamma", [0.3, 30.0])  # the sum of float's small errors; swept in double
def test_every_boundary_of_every_kind(way, boundary, size, gamma):
    one, table = (partial(call, boundary=boundary) for call in WAYS[way])
    x, y = features_for(way, *size, dtype=torch.float32)
    lengths = ragged(*size[:3])
    found = with_gradients(one, [x, y], gamma, **lengths)
    expected = with_gradients(table, [t.detach().double().requires_grad_() for t in (x, y)], gamma, **lengths)
    for a, b in zip(found, expected, strict=True):
        close(a.double(), b, 2e-3 if way in ("euclidean", "manhattan") else 2e-4)
    with torch.no_grad():
        x[0, -1, -1] = math.nan
    found, again = with_gradients(one, [x, y], gamma), with_gradients(one, [x[1:], y[1:]], gamma)
    for a, b in zip(found, again, strict=True):
        assert a[0].isnan().all() and b.isfinite().all()
        close(a[1:], b, 1e-6)


PEAK = """
import re, torch, softdp
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
def run(steps):
    x, y = (torch.randn(1, steps, 8, requires_grad=True) for _ in range(2))
    for loss in (
        lambda: softdp.soft_dtw_loss(x, y, boundary="subsequence"),
        lambda: softdp.fsd_loss(x, y, torch.tensor([0]), boundary="overlap"),
    ):
        loss().backward()
run(300)
before = peak()
run(4000)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux: it reads /proc")
def test_open_ends_take_no_memory_of_the_tables_size():
    done = run_python("-c", PEAK)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 16  # MB; a table has 61


@each
@pytest.mark.parametrize("size", [(40, 60, 50, 4), (1, 300, 1100, 4), (3, 600, 500, 2)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(way, size, threads):
    tensors = features_for(way, *size, dtype=torch.float32)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(with_gradients(WAYS[way][0], tensors, 0.5))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@each
@pytest.mark.parametrize("which", [0, 1])
def test_a_gradient_that_nobody_wants_is_not_made(way, which):
    tensors = features_for(way, 3, 40, 50, 2)
    one, (kind, boundary) = WAYS[way][0], OPTIONS[way]
    expected = with_gradients(one, tensors)[1 + which]
    tensors[1 - which].requires_grad_(False)
    value = one(*tensors)
    (found,) = torch.autograd.grad(value.sum(), tensors[which])
    assert torch.equal(found, expected)
    made = OPERATOR(*tensors, None, None, kind, 1.0, THRESHOLD, boundary, -1, which == 0, which == 1)
    assert [t.numel() > 0 for t in made[1:]] == [which == 0, which == 1]


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("fsd", "lcs", "overlap")])
@pytest.mark.parametrize("steps", [6, 300])
@pytest.mark.parametrize("is_ragged", [False, True])
def test_sequences_with_themselves(way, steps, is_ragged):
    """Half the gradient is made, and doubled; second derivatives too. Within a part of itself a sequence has
    another gradient as x than as y."""
    one, table = WAYS[way]
    (x, _) = features_for(way, 3, steps, 1, 4)
    lengths = torch.tensor([steps, 2, 0])
    options = {"x_lengths": lengths, "y_lengths": lengths} if is_ragged else {}
    weight = torch.tensor([1.0, -0.5, 2.0]).double()
    found = with_gradients(lambda x: one(x, x, 0.5, **options), [x], weight=weight)
    copy = x.detach().clone().requires_grad_()
    value, *parts = with_gradients(one, [x, copy], 0.5, weight=weight, **options)
    close(found[0], value, 1e-12)
    close(found[1], parts[0] + parts[1], 1e-9)
    assert one(x, x, 0.5, **options).grad_fn.made == (True, way == "subsequence")
    if steps == 6:
        call = lambda x: one(x, x, 0.5, **options)  # noqa: E731
        assert torch.autograd.gradcheck(call, x) and torch.autograd.gradgradcheck(call, x)
        close(
            torch.func.vmap(torch.func.grad(lambda a: one(a, a, 0.5).sum()))(x.detach()[:, None])[:, 0],
            with_gradients(lambda x: one(x, x, 0.5), [x])[1],
            1e-12,
        )


def test_the_padding_may_hold_anything_in_the_divergence():
    x, y = (t.detach() for t in features(3, 40, 50, 3, dtype=torch.float32))
    lengths = {"x_lengths": torch.tensor([40, 3, 0]), "y_lengths": torch.tensor([2, 50, 0])}
    expected = softdp.soft_dtw_divergence(x, y, **lengths)
    x[1, 3:], y[0, 2:] = math.nan, math.inf
    assert torch.equal(softdp.soft_dtw_divergence(x, y, **lengths), expected)


@pytest.mark.parametrize("steps", [(2, 5), (5, 2)])
@pytest.mark.parametrize("way, most", [("squares", 8), ("roots", 8), ("fsd", 4), ("lcs", 4)])
def test_short_steps_of_many_features_take_tables_on_a_gpu(way, most, steps, monkeypatch):
    calls = {
        "squares": lambda x, y: softdp.soft_dtw_loss(x, y),
        "roots": lambda x, y: softdp.soft_dtw_loss(x, y, cost="euclidean"),
        "fsd": lambda x, y: softdp.fsd_loss(x, y, torch.tensor([0, 1])),
        "lcs": lambda x, y: softdp.lcs_loss(x, y, torch.tensor([0, 1]), threshold=0.1),
    }
    used = []
    operator = _fused._operator
    monkeypatch.setattr(_fused, "_operator", lambda *args: used.append(1) or operator(*args))
    for D in (5 * most - 2, 5 * most):
        x, y = (torch.randn(2, n, D, dtype=torch.float64) for n in steps)
        used.clear()
        expected = calls[way](x, y)
        assert used
        with monkeypatch.context() as patch:
            patch.setattr(_fused._devices, "on_gpu", lambda device: True)
            used.clear()
            close(calls[way](x, y), expected, 1e-12)
            assert bool(used) == (D < 5 * most)


@each
def test_nothing_of_the_tables_size_is_kept(way):
    x, y = features(8, 256, 256, 4, dtype=torch.float32)
    value = WAYS[way][0](x, y)
    saved = [t for t in (*value.grad_fn.saved_tensors, *value.grad_fn.inputs) if t is not None]
    assert sum(t.numel() for t in saved) == 2 * (x.numel() + y.numel()) + value.numel()


@each
def test_features_that_change_leave_the_first_derivative_alone(way):
    """And end the second, which needs them."""
    leaves = features_for(way, 2, 4, 5, 4)
    one = WAYS[way][0]
    expected = with_gradients(one, leaves)[1:]
    changing = [t * 1 for t in leaves]
    value = one(*changing).sum()
    changing[0].data.zero_()  # not noticed by anybody
    changing[1].detach().zero_()
    for a, b in zip(torch.autograd.grad(value, leaves, retain_graph=True), expected, strict=True):
        assert torch.equal(a, b)
    first = torch.autograd.grad(value, leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(first[0].sum(), leaves)


def test_scaled_gradients_of_views(threads):
    x, y = features(3, 40, 50, 4, dtype=torch.float32)
    weights = torch.rand(3, 2)[:, 0]  # of stride 2
    for count in (1, 2):
        threads(count)
        found = with_gradients(fused, [x, y], weight=weights)
        expected = with_gradients(fused, [x, y], weight=weights.clone())
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@each
def test_a_backward_pass_changes_nothing_that_others_hold(way):
    tensors = features_for(way, 3, 5, 6, 4)
    value = WAYS[way][0](*tensors)
    weight = torch.zeros_like(value, requires_grad=True)
    (product,) = torch.autograd.grad(value, tensors[:1], weight, create_graph=True)
    direction = torch.randn_like(product)
    (expected,) = torch.autograd.grad(product, weight, direction, retain_graph=True)
    (10 * value.sum()).backward()
    (found,) = torch.autograd.grad(product, weight, direction)
    assert torch.equal(found, expected)


@each
def test_gradients_of_a_batch_of_weights(way):
    tensors = features_for(way, 3, 5, 6, 4)
    weights = torch.eye(3, dtype=tensors[0].dtype)
    found = torch.autograd.grad(WAYS[way][0](*tensors), tensors, weights, is_grads_batched=True)
    for k, weight in enumerate(weights):
        for a, b in zip(found, torch.autograd.grad(WAYS[way][0](*tensors), tensors, weight), strict=True):
            close(a[k], b, 1e-12)


def test_what_the_operator_returned_stays_as_it_is():
    x, y = features(2, 3, 4, 2)
    score, *made = OPERATOR(x, y, None, None, 0, 1.0, 0.0, 1, -1, True, True)
    before = [t.detach().clone() for t in made]
    found = torch.autograd.grad(3 * score.sum(), (x, y))
    for a, b, c in zip(before, made, found, strict=True):
        assert torch.equal(a, b) and torch.equal(3 * a, c)


@each
def test_lengths_that_change_end_the_second_derivative(way):
    tensors = features_for(way, 2, 4, 5, 4)
    lengths = torch.tensor([4, 3])
    value = WAYS[way][0](*tensors, x_lengths=lengths).sum()
    (first,) = torch.autograd.grad(value, tensors[:1], create_graph=True)
    lengths.fill_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(first.sum(), tensors[0])


@each
def test_third_derivatives_are_an_error(way):
    x, y = features_for(way, 2, 3, 3, 4)
    value = WAYS[way][0](x, y.detach(), 0.5).sum() + (x**4).sum()
    (g,) = torch.autograd.grad(value, x, create_graph=True)
    (h,) = torch.autograd.grad((g * torch.randn_like(g)).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError):
        torch.autograd.grad((h * torch.randn_like(h)).sum(), x)


@each
def test_checkpoint_keeps_no_features_and_inference_tensors_serve(way):
    x, y = features_for(way, 2, 40, 50, 4)
    one = WAYS[way][0]
    expected = with_gradients(one, [x, y])
    again = torch.utils.checkpoint.checkpoint(lambda x, y: one(x * 1, y * 1), x, y, use_reentrant=False)
    assert not hasattr(again.grad_fn, "inputs")
    for a, b in zip(torch.autograd.grad(again.sum(), [x, y]), expected[1:], strict=True):
        assert torch.equal(a, b)
    with torch.inference_mode():
        cached = y.detach() * 1
    (found,) = torch.autograd.grad(one(x, cached).sum(), x)
    assert torch.equal(found, expected[1])
