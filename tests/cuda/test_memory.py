"""GPU memory: what a call takes, and what follows when there is none left."""

from __future__ import annotations

import pytest
import torch
from devices import GPU, SCORES, needs_gpu, needs_shim, same, values
from features import WAYS, agrees, exactly, features, with_gradients
from helpers import score_and_gradients

import softdp

pytestmark = pytest.mark.cuda


def gpu_values(*size: int) -> torch.Tensor:
    return values(*size, dtype=torch.float32).to(GPU)


@needs_gpu
def test_a_gap_is_read_in_place():
    """A gap of one number per pair costs no table: a million cells a pair would be 8 MB."""
    match = gpu_values(2, 1024, 1024)
    pair = gpu_values(2, 1, 1)
    softdp.fsd_score(match, pair)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    softdp.fsd_score(match, pair)
    assert torch.cuda.max_memory_allocated() - before < 2**21


@needs_gpu
@pytest.mark.parametrize("way", WAYS)
def test_memory_is_that_of_the_features_and_a_workspace(way):
    x, y = (t.to(GPU).requires_grad_() for t in features(16, 32768, 16384, 8))  # 8.6e9 cells
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    WAYS[way](x, y).sum().backward()
    spent = torch.cuda.max_memory_allocated() - before
    total = torch.cuda.get_device_properties(GPU).total_memory
    assert spent < total / 12 + 6 * 4 * (x.numel() + y.numel())


@needs_gpu
@pytest.mark.parametrize("way", WAYS)
def test_memory_within_a_bandwidth_grows_with_the_steps(way):
    x, y = (t.to(GPU).requires_grad_() for t in features(1, 200000, 200000, 4))  # a table: 160 GB
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    WAYS[way](x, y, bandwidth=20).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 200000 * 1500


@needs_gpu
@pytest.mark.parametrize("way", ["soft_dtw", "fsd"])
def test_strips_are_the_whole_table(way):
    """A pair whose tables do not fit a sixteenth of 140 GB, against the CPU."""
    tensors = [t.to(GPU) for t in features(1, 40000, 20000, 4)]
    agrees(with_gradients(WAYS[way], tensors), exactly(WAYS[way], tensors, GPU), 1e-3)


# ---- out of memory -------------------------------------------------------------------------------


@pytest.fixture
def little_memory():
    """little_memory(size): from now on PyTorch may take that many bytes more than are in use."""

    def limit(more: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info()[1]
        fraction = (torch.cuda.memory_reserved() + more) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, fraction))

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@needs_gpu
@pytest.mark.parametrize("name", ["fsd", "lcs"])
def test_out_of_memory_names_the_operator_and_the_next_call_works(name, little_memory):
    small = gpu_values(2, 33, 40)
    expected = score_and_gradients(SCORES[name], (small, small))
    cell = torch.zeros(1, 1, 1, device=GPU, requires_grad=True)
    match = cell.expand(1, 10000, 10000)  # no memory; what the forward sweep saves takes 0.4 GB at least

    def score():
        if name == "fsd":
            return softdp.fsd_score(match, 0.0)
        return softdp.lcs_score(match, threshold=0.5)

    little_memory(2**27)
    with pytest.raises(RuntimeError, match="out of memory") as error:
        score()
    assert f"softdp::{name}_forward" in str(error.value)
    assert same(score_and_gradients(SCORES[name], (small, small)), expected)
    little_memory(2**33)
    value = score()
    little_memory(2**27)
    with pytest.raises(RuntimeError, match="out of memory") as error:
        value.sum().backward()
    assert f"softdp::{name}_backward" in str(error.value)
    del value
    assert same(score_and_gradients(SCORES[name], (small, small)), expected)


@needs_shim
def test_no_memory_names_the_operator_and_the_next_call_works():
    cell = torch.zeros(1, 1, 1, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"softdp::fsd_forward: a tensor of size \(.* out of memory"):
        softdp.fsd_score(cell.expand(1, 2**20, 2**20), 0.0)
    assert softdp.fsd_score(cell, 0.0, boundary="anchored").item() == 0
