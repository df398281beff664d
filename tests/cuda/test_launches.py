"""A launch that fails is an error that names the operator, and the next call works."""

from __future__ import annotations

import pytest
import shim
import torch
from devices import REGIMES, SCORES, needs_shim, same, values
from features import WAYS, features

pytestmark = [pytest.mark.cuda, needs_shim]


@pytest.mark.parametrize("name", ["fsd", "lcs"])
def test_a_failing_launch_names_the_operator_and_the_next_call_works(name):
    for size in REGIMES["cuda"]:
        match, gaps = (values(2, *size, dtype=torch.float32).requires_grad_() for _ in range(2))
        score = SCORES[name](match, gaps)
        expected = torch.autograd.grad(score.sum(), (match, gaps), retain_graph=True)
        with shim.failing_launches():
            with pytest.raises(
                RuntimeError, match=f"softdp::{name}_forward: CUDA error: .*cudaErrorLaunchFailure"
            ):
                SCORES[name](match, gaps)
            with pytest.raises(RuntimeError, match=f"softdp::{name}_backward: CUDA error: "):
                torch.autograd.grad(score.sum(), (match, gaps), retain_graph=True)
        again = SCORES[name](match, gaps)
        assert same((again, torch.autograd.grad(again.sum(), (match, gaps))), (score, expected))


def test_a_failing_launch_of_features_is_an_error():
    x, y = features(2, 3, 4, 2)
    with shim.failing_launches(), pytest.raises(RuntimeError, match="score_of_features: CUDA error"):
        WAYS["soft_dtw"](x, y)
