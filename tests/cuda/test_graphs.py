"""CUDA graphs: captured once, replayed with other numbers and lengths."""

from __future__ import annotations

import pytest
import torch
from devices import GPU, SCORES, by_size, each, needs_gpu, same, values
from features import WAYS, features, with_gradients

import softdp

pytestmark = [pytest.mark.cuda, needs_gpu]

# Two small problems of FTCL's, one of several tiles, one whose bands are chained through global memory.
GRAPHED = [(16, 5, 5), (16, 30, 30), (4, 130, 100), (1, 700, 600)]


def captured(step):
    """A graph of step(), and what step() returned while it was captured."""
    warm = torch.cuda.Stream()
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    return graph, found


@each
@pytest.mark.parametrize("size", GRAPHED, ids=by_size)
def test_graph_capture_and_replay(name, size):
    B, N, M = size
    match, gaps = (torch.zeros(B, N, width, device=GPU) for width in (M, 1))
    n, m = (torch.full((B,), full, device=GPU) for full in (N, M))

    def step():
        # Leaves of its own: autograd remembers the stream that a leaf was first used on.
        leaves = [t.detach().requires_grad_() for t in (match, gaps)]
        score = SCORES[name](*leaves, x_lengths=n, y_lengths=m)
        return score, torch.autograd.grad(score.sum(), leaves)

    graph, found = captured(step)
    for turn in range(4):
        match.copy_(values(*size))
        gaps.copy_(values(B, N, 1))
        n.fill_(max(1, N - 7 * turn))
        m.fill_(max(1, M - 3 * turn))
        graph.replay()
        graph.replay()
        assert same(found, step())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(16, 30, 16, 64), (4, 130, 100, 8)], ids=str)
def test_graph_capture_and_replay_of_features(way, size):
    B, N, M, _ = size
    x, y = (t.to(GPU) for t in features(*size))
    n, m = (torch.full((B,), full, device=GPU) for full in (N, M))

    def step():
        return with_gradients(WAYS[way], [x, y], x_lengths=n, y_lengths=m)

    graph, found = captured(step)
    for turn in range(3):
        for t, new in zip((x, y), features(*size), strict=True):
            t.copy_(new)
        n.fill_(max(1, N - 7 * turn))
        graph.replay()
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(found, step(), strict=True))


def test_lengths_stay_on_the_gpu_while_a_graph_is_captured():
    match, graph = values(2, 30, 40, dtype=torch.float32).to(GPU), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), pytest.raises(ValueError, match="x_lengths must be on the scores' device"):
        softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([30, 5]))
