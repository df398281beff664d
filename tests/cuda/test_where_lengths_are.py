"""Lengths of a GPU's scores are on either device. On the GPU nobody looks at them: the host would wait."""

from __future__ import annotations

import pytest
import torch
from devices import GPU, REGIMES, SCORES, agrees, by_size, each, needs_gpu, ragged, values
from features import WAYS, features
from helpers import score_and_gradients
from test_lengths import ON_THE_SWEEPS

import softdp

pytestmark = pytest.mark.cuda
every_regime = pytest.mark.parametrize("size", REGIMES["cuda"], ids=by_size)


@needs_gpu
@every_regime
@each
@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
@pytest.mark.parametrize("where", ["cpu", "one of each"])
def test_lengths_may_be_on_the_cpu(name, size, integer, where):
    n, m = ragged(*size, dtype=integer)
    n = n.to(GPU) if where == "one of each" else n
    for dtype in (torch.float32, torch.float64):
        tables = values(8, *size, dtype=dtype), values(8, size[0], 1, dtype=dtype)
        agrees(SCORES[name], tables, GPU, x_lengths=n, y_lengths=m)


@every_regime
@each
@pytest.mark.parametrize("bad", ["negative", "one too long", "2^40", "-2^40"])
def test_lengths_out_of_range_on_the_gpu_spoil_their_own_pair_only(name, size, bad):
    N, M = size
    for k, longest in ((0, N), (1, M)):
        wrong = {"negative": -1, "one too long": longest + 1, "2^40": 2**40, "-2^40": -(2**40)}[bad]
        lengths = [torch.full((3,), full, device=GPU) for full in size]
        lengths[k][1] = wrong
        match, gaps = (values(3, N, M, dtype=torch.float32).to(GPU) for _ in range(2))
        options = dict(zip(("x_lengths", "y_lengths"), lengths, strict=True))
        value, gradients = score_and_gradients(SCORES[name], (match, gaps), **options)
        lengths[k][1] = longest
        full_value, full_gradients = score_and_gradients(SCORES[name], (match, gaps), **options)
        assert value[1].isnan() and torch.equal(value[[0, 2]], full_value[[0, 2]])
        for gradient, full_gradient in zip(gradients, full_gradients, strict=True):
            assert (gradient[1] == 0).all()
            assert torch.equal(gradient[[0, 2]], full_gradient[[0, 2]])


@pytest.mark.parametrize("way", WAYS)
def test_lengths_of_features_out_of_range_spoil_their_own_pair(way):
    tensors = [t.to(GPU) for t in features(4, 40, 36, 4)]
    lengths = torch.tensor([40, 41, -1, 2**40], device=GPU)
    score = WAYS[way](*tensors, x_lengths=lengths)
    assert score.isnan().tolist() == [False, True, True, True]


@pytest.mark.parametrize("call, size", ON_THE_SWEEPS.values(), ids=ON_THE_SWEEPS)
def test_lengths_of_soft_dtw_and_needleman_wunsch_out_of_range(call, size):
    table = values(*size).to(GPU)
    for bad in (-1, 41):
        lengths = {"x_lengths": torch.tensor([bad, 7, 33, 1]), "y_lengths": torch.tensor([37, 30, 2, 37])}
        found = call(table, **{name: t.to(GPU) for name, t in lengths.items()})
        assert found[0].isnan() and found[1:].isfinite().all()


@needs_gpu
def test_cpu_lengths_out_of_range_are_named():
    match = torch.zeros(2, 3, 4, device=GPU)
    with pytest.raises(ValueError, match=r"x_lengths must lie in \[0, 3\], got 4"):
        softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([1, 4]))
    with pytest.raises(ValueError, match="insert must be on match's device cuda"):
        softdp.fsd_score(match, torch.zeros(2, 3, 4))
