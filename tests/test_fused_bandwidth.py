"""Scores of features within a bandwidth, by the operator, against those of tables with the same bandwidth."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from fused_ways import WAYS, features_for, ragged, with_gradients
from helpers import close, run_python

import softdp
from softdp import _fused

each = pytest.mark.parametrize("way", WAYS)
# B, N, M, D and a bandwidth: chunks, the diagonal, side by side in lanes; pieces, one of 16 rows, slopes, the
# last one of one row.
SIZES = [
    ((3, 4, 6, 4), 0),
    ((37, 9, 7, 4), 2),
    ((5, 33, 40, 8), 1),
    ((2, 129, 200, 6), 20),
    ((2, 300, 300, 4), 0),
    ((2, 513, 500, 20), 40),
    ((1, 40, 1500, 4), 5),
    ((1, 1500, 40, 4), 5),
    ((1, 600, 1300, 4), 800),
]
MANY_CELLS = (1, 2600, 2500, 4), 900  # weights are not kept
CASES = [(way, *case) for way in WAYS for case in SIZES]
CASES += [(way, *MANY_CELLS) for way in ("soft_dtw", "overlap")]


@pytest.mark.parametrize("way, size, bandwidth", CASES, ids=str)
@pytest.mark.parametrize("gamma, dtype", [(0.3, torch.float64), (0.3, torch.float32), (0.0, torch.float64)])
def test_values_and_gradients_are_those_of_tables(way, size, bandwidth, gamma, dtype):
    one, table = (partial(call, bandwidth=bandwidth) for call in WAYS[way])
    tensors = features_for(way, *size, dtype=dtype)
    wide = [t.detach().double().requires_grad_() for t in tensors]
    tolerance = 1e-9 if dtype == torch.float64 else 2e-3 if way in ("euclidean", "manhattan") else 1e-3
    for lengths in ({}, ragged(*size[:3])):
        found = with_gradients(one, tensors, gamma, **lengths)
        for a, b in zip(found, with_gradients(table, wide, gamma, **lengths), strict=True):
            close(a.double(), b, tolerance)
        with torch.no_grad():
            assert torch.equal(one(*tensors, gamma, **lengths), found[0])


@each
def test_a_bandwidth_of_all_cells_gives_the_same_bits(way):
    for size in ((3, 20, 30, 4), (2, 60, 50, 4), (1, 300, 280, 4)):
        tensors = features_for(way, *size, dtype=torch.float32)
        found, expected = (with_gradients(WAYS[way][0], tensors, bandwidth=w) for w in (1000, -1))
        assert torch.equal(found[0], expected[0])
        for a, b in zip(found[1:], expected[1:], strict=True):
            close(a, b, 1e-5)


@each
@pytest.mark.parametrize("size, bandwidth", [((40, 60, 50, 4), 6), ((3, 600, 500, 4), 30)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(way, size, bandwidth, threads):
    tensors, results = features_for(way, *size, dtype=torch.float32), []
    for count in (1, 3):
        threads(count)
        results.append(with_gradients(WAYS[way][0], tensors, 0.5, bandwidth=bandwidth))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@each
@pytest.mark.parametrize("steps", [30, 300])
def test_a_nan_spoils_its_own_pair(way, steps):
    tensors = [t.detach() for t in features_for(way, 3, steps, steps + 9, 4)]
    one = partial(WAYS[way][0], bandwidth=5)
    clean = with_gradients(one, [t.requires_grad_() for t in tensors])
    dirty = tensors[0].detach().clone()
    dirty[1, steps // 2, 0] = math.nan
    found = with_gradients(one, [dirty.requires_grad_(), tensors[1]])
    for a, b in zip(found, clean, strict=True):
        assert a[1].isnan().all() and torch.equal(a[[0, 2]], b[[0, 2]])


PAIRWISE = {
    "soft_dtw": (softdp.pairwise_soft_dtw, partial(softdp.soft_dtw_loss, reduction="none")),
    "divergence": (
        partial(softdp.pairwise_soft_dtw, normalize=True),
        partial(softdp.soft_dtw_loss, reduction="none", normalize=True),
    ),
    "subsequence": (
        partial(softdp.pairwise_soft_dtw, boundary="subsequence"),
        partial(softdp.soft_dtw_loss, reduction="none", boundary="subsequence"),
    ),
    "callable": (
        partial(softdp.pairwise_soft_dtw, cost=torch.cdist),
        partial(softdp.soft_dtw_loss, reduction="none", cost=torch.cdist),
    ),
    "fsd": (
        softdp.pairwise_fsd,
        lambda x, y, **options: softdp.fsd_loss(x, y, torch.zeros(len(x)), reduction="none", **options),
    ),
    "lcs": (
        partial(softdp.pairwise_lcs, threshold=0.2),
        lambda x, y, **options: softdp.lcs_loss(
            x, y, torch.zeros(len(x)), threshold=0.2, reduction="none", **options
        ),
    ),
}


@pytest.mark.parametrize("way", PAIRWISE)
@pytest.mark.parametrize("N, M", [(9, 12), (300, 260)])
def test_losses_and_every_x_beside_every_y(way, N, M, monkeypatch):
    """Beside the same through tables."""
    many, pairs = (partial(call, gamma=0.5, bandwidth=4) for call in PAIRWISE[way])
    x, y = (torch.randn(k, steps, 4, dtype=torch.float64).requires_grad_() for k, steps in ((2, N), (3, M)))
    lengths = {"x_lengths": torch.tensor([N, N // 2]), "y_lengths": torch.tensor([M, 3, M - 2])}
    weight = torch.rand(2, 3, dtype=torch.float64)

    def expanded(x, y, x_lengths, y_lengths):
        value = pairs(x.repeat_interleave(3, 0), y.repeat(2, 1, 1),
                      x_lengths=x_lengths.repeat_interleave(3), y_lengths=y_lengths.repeat(2))  # fmt: skip
        return value.unflatten(0, (2, 3))

    found = with_gradients(many, [x, y], weight=weight, **lengths)
    of_pairs = with_gradients(expanded, [x, y], weight=weight, **lengths)
    monkeypatch.setattr(_fused, "serves", lambda x, options: False)
    for a, b, c in zip(
        found, of_pairs, with_gradients(expanded, [x, y], weight=weight, **lengths), strict=True
    ):
        close(a, c, 1e-9)
        close(b, c, 1e-9)


@each
def test_it_is_differentiable_twice_and_mapped(way):
    call = partial(WAYS[way][0], gamma=0.7, bandwidth=1, x_lengths=torch.tensor([4, 2]))
    tensors = features_for(way, 2, 4, 5, 4)
    assert torch.autograd.gradcheck(call, tensors) and torch.autograd.gradgradcheck(call, tensors)
    x, y = (torch.stack([t.detach(), t.detach() + 0.1]) for t in tensors)
    expected = torch.stack([call(a, b) for a, b in zip(x, y, strict=True)])
    close(torch.func.vmap(call)(x, y), expected, 1e-12)


def test_sequences_beside_themselves_and_one_graph():
    x, _ = features_for("soft_dtw", 6, 60, 1, 4)
    with torch.no_grad():
        x[:, :3] = 0
    table = softdp.pairwise_soft_dtw(x, bandwidth=3)
    close(table, softdp.pairwise_soft_dtw(x, x.detach().clone(), bandwidth=3), 1e-12)
    (found,) = torch.autograd.grad(softdp.soft_dtw_divergence(x, x, bandwidth=2).sum(), x)
    assert found.abs().max() < 1e-9

    torch._dynamo.reset()
    compiled = torch.compile(
        partial(softdp.soft_dtw_loss, bandwidth=3), fullgraph=True, backend="aot_eager", dynamic=True
    )
    for turn, (B, N, M) in enumerate(((2, 5, 7), (3, 40, 33))):
        tensors = features_for("soft_dtw", B, N, M, 4)
        with torch._dynamo.config.patch(error_on_recompile=turn > 0):
            found = with_gradients(compiled, tensors)
        expected = with_gradients(partial(softdp.soft_dtw_loss, bandwidth=3), tensors)
        for a, b in zip(found, expected, strict=True):
            close(a, b, 1e-12)


def test_modules_hand_it_on():
    x, y = (t.detach() for t in features_for("soft_dtw", 2, 9, 12, 4))
    target = torch.tensor([0, 1])
    for module, call, args in (
        (softdp.SoftDTWLoss, softdp.soft_dtw_loss, (x, y)),
        (softdp.FSDLoss, softdp.fsd_loss, (x, y, target)),
        (softdp.LCSLoss, softdp.lcs_loss, (x, y, target)),
    ):
        loss = module(bandwidth=1)
        found, expected, other = loss(*args), call(*args, bandwidth=1), call(*args)
        assert torch.equal(found.nan_to_num(), expected.nan_to_num())  # LCS may have no path
        assert not torch.equal(found, other)
        assert "bandwidth=1" in repr(loss) and "bandwidth" not in repr(module())
        for made in (partial(module), partial(call, *args)):
            with pytest.raises(ValueError, match="bandwidth must not be negative, got -1"):
                made(bandwidth=-1)
            with pytest.raises(TypeError, match="bandwidth must be a whole number or None, got"):
                made(bandwidth=2.5)


PEAK = """
import re, torch, softdp
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
def run(steps):
    x, y = (torch.randn(1, steps, 2, requires_grad=True) for _ in range(2))
    softdp.soft_dtw_loss(x, y, bandwidth=5).backward()
run(300)
before = peak()
run(100000)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux: it reads /proc")
def test_memory_grows_with_the_steps_not_with_the_cells():
    done = run_python("-c", PEAK)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 64  # MB; without a bandwidth S between tiles takes 600
