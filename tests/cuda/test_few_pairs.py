"""Few pairs, and the same pairs among many: other kernels sweep them."""

from __future__ import annotations

import pytest
import torch
from devices import GPU, to
from helpers import close, score_and_gradients, scores

import softdp

pytestmark = pytest.mark.cuda
MANY = 200 if GPU.type == "cuda" else 3  # more than it has multiprocessors
SCORES = {
    "fsd": (softdp.fsd_score, 3, {}),
    "anchored": (softdp.fsd_score, 3, {"boundary": "anchored"}),
    "lcs": (softdp.lcs_score, 1, {"threshold": 0.2}),
    "soft_dtw": (softdp.soft_dtw, 1, {}),
    "needleman_wunsch": (softdp.needleman_wunsch, 2, {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [(50, 41), (61, 64)], ids=str)
@pytest.mark.parametrize("name", SCORES)
def test_few_pairs_have_the_results_of_many(name, size, dtype):
    score, tables, options = SCORES[name]
    inputs = [to(GPU, scores(1, *size, dtype=torch.float32).to(dtype)) for _ in range(tables)]
    few, of_few = score_and_gradients(score, inputs, gamma=0.1, **options)
    many = [t.expand(MANY, *size).contiguous() for t in inputs]
    among_many, of_many = score_and_gradients(score, many, gamma=0.1, **options)
    assert torch.equal(among_many, few.expand(MANY))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    for one, every in zip(of_few, of_many, strict=True):
        assert torch.equal(every, every[:1].expand_as(every))
        close(one.float(), every[:1].float(), tolerance)
