"""Pairs of up to 16384 x 16384 steps."""

from __future__ import annotations

import pytest
import torch
from devices import GPU, agrees, exactly, needs_gpu, to, values
from helpers import close, score_and_gradients, scores

import softdp

pytestmark = [pytest.mark.cuda, needs_gpu]


def free_memory() -> int:
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


@pytest.mark.parametrize("size", [(16384, 64), (64, 16384), (4097, 1023)])
def test_long_pairs(size):
    match = scores(1, *size, dtype=torch.float32)
    gaps = scores(1, 1, size[1], dtype=torch.float32)
    value, gradients = score_and_gradients(softdp.fsd_score, (to(GPU, match), to(GPU, gaps)))
    exact, wanted = exactly(softdp.fsd_score, (match, gaps), GPU)
    close(value.cpu(), exact, 1e-6)
    close(gradients[0].cpu(), wanted[0], 1e-3)
    close(gradients[1].cpu(), wanted[1], 1e-3)
    agrees(softdp.lcs_score, (values(1, *size, dtype=torch.float32),), GPU, threshold=0.5, gamma=0.0)


@pytest.mark.parametrize("dtype, slack", [(torch.float32, 1e-3), (torch.float64, 1e-10)], ids=str)
def test_path_mass_is_one_at_both_ends_of_4096_steps(dtype, slack):
    match = scores(1, 4096, 4096, dtype=dtype).to(GPU)
    zero = torch.zeros((), dtype=dtype, device=GPU)
    _, (mass, _) = score_and_gradients(softdp.fsd_score, (match, zero), gamma=0.1, boundary="anchored")
    assert mass[0, -1, -1].item() == 1
    assert mass[0, 0, 0].item() == pytest.approx(1, abs=slack)
    assert (mass >= 0).all() and (mass <= 1 + slack).all()


def test_one_pair_of_16384_by_16384():
    if free_memory() < 30 * 2**30:
        pytest.skip("needs 30 GB of free GPU memory: this GPU has less")
    N = 16384
    match = (torch.rand(1, N, N, device=GPU) * 2 - 1).requires_grad_()
    score = softdp.fsd_score(match, -0.5, boundary="anchored")
    (mass,) = torch.autograd.grad(score.sum(), match)
    assert score.isfinite().all()
    assert mass[0, -1, -1].item() == 1 and mass[0, 0, 0].item() == pytest.approx(1, abs=1e-3)
    for dim in (1, 2):  # a path takes every row and every column
        assert (mass.sum(dim) > 1 - 1e-3).all()
