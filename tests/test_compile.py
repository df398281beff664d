"""torch.compile and torch.export of every public function: one graph serves all sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers import close
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim

import softdp

D = 4
# 20 different (B, N, M): none of them 1, which PyTorch compiles for itself; below and above 32 steps, to
# which the operators save something else; the first ones differ from each other and from D.
SIZES = [(2 + i % 5, 3 + 11 * i % 37, 5 + 17 * i % 41) for i in range(1, 21)]
EXPORTED, OTHERS = (3, 40, 50), [(2, 9, 7), (5, 33, 20), (4, 70, 90), (6, 2, 2)]


def table(B: int, N: int, M: int) -> list[Tensor]:
    return [torch.randn(B, N, M)]


def table_and_gaps(B: int, N: int, M: int) -> list[Tensor]:
    return [torch.randn(B, N, M), torch.randn(B, 1, M), torch.randn(1, N, 1)]


def table_and_gap_of_pairs(B: int, N: int, M: int) -> list[Tensor]:
    return [torch.randn(B, N, M), torch.randn(B)]


def features(B: int, N: int, M: int) -> list[Tensor]:
    return [torch.randn(B, N, D), torch.randn(B, M, D)]


def features_and_target(B: int, N: int, M: int) -> list[Tensor]:
    return [*features(B, N, M), torch.arange(B) % 2]


def of_features(x: Tensor, y: Tensor, **lengths: Tensor) -> Tensor:
    return softdp.soft_dtw(softdp.squared_euclidean(x, y, **lengths), gamma=0.5, **lengths)


CALLS: dict[str, tuple[Callable, Callable]] = {
    "fsd_score": (table, lambda m, **n: softdp.fsd_score(m, -0.3, **n)),
    "fsd_score with gaps": (table_and_gaps, lambda m, i, d, **n: softdp.fsd_score(m, i, d, **n)),
    "lcs_score": (table, lambda c, **n: softdp.lcs_score(c, threshold=0.2, **n)),
    "fsd_alignment": (table, lambda m, **n: softdp.fsd_alignment(m, -0.3, **n)),
    "lcs_alignment": (table, lambda c, **n: softdp.lcs_alignment(c, threshold=0.2, **n)),
    "fsd_path": (table, lambda m, **n: softdp.fsd_path(m, -0.3, **n)),
    "lcs_path": (table, lambda c, **n: softdp.lcs_path(c, threshold=0.2, **n)),
    "soft_dtw": (table, softdp.soft_dtw),
    "soft_dtw, gamma 0": (table, lambda c, **n: softdp.soft_dtw(c, gamma=0.0, **n)),
    "soft_dtw of features": (features, of_features),
    "soft_dtw_divergence": (features, softdp.soft_dtw_divergence),
    "soft_dtw_loss": (features, lambda x, y, **n: softdp.soft_dtw_loss(x, y, reduction="none", **n)),
    "SoftDTWLoss": (features, softdp.SoftDTWLoss(cost="cosine", normalize=True)),
    "squared_euclidean": (features, softdp.squared_euclidean),
    "needleman_wunsch": (table, lambda m, **n: softdp.needleman_wunsch(m, -0.5, **n)),
    "needleman_wunsch with gaps": (table_and_gap_of_pairs, softdp.needleman_wunsch),
    "fsd_loss": (features_and_target, softdp.fsd_loss),
    "lcs_loss": (features_and_target, lambda x, y, t, **n: softdp.lcs_loss(x, y, t, threshold=0.2, **n)),
    "FSDLoss": (features_and_target, softdp.FSDLoss(reduction="none")),
    "LCSLoss": (features_and_target, softdp.LCSLoss(threshold=0.2, reduction="sum")),
}


def problem(name: str, size: tuple[int, int, int], ragged: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
    B, N, M = size
    tensors = [t.requires_grad_() if t.is_floating_point() else t for t in CALLS[name][0](*size)]
    if not ragged:
        return tensors, {}
    return tensors, {"x_lengths": torch.randint(1, N + 1, (B,)), "y_lengths": torch.randint(1, M + 1, (B,))}


def value_and_gradients(call: Callable, tensors: list[Tensor], lengths: dict[str, Tensor]) -> list[Tensor]:
    found = call(*tensors, **lengths)
    values = list(found) if isinstance(found, tuple) else [found]
    if values[0].requires_grad:
        values += torch.autograd.grad(values[0].sum(), [t for t in tensors if t.is_floating_point()])
    return [v.detach() for v in values]


def agree(name: str, call: Callable, size: tuple[int, int, int], ragged: bool) -> None:
    problem_ = problem(name, size, ragged)
    expected = value_and_gradients(CALLS[name][1], *problem_)
    found = value_and_gradients(call, *problem_)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-5)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(cache_size_limit=8, fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", CALLS)
def test_one_dynamic_graph_serves_20_sizes_with_lengths(name):
    compiled = torch.compile(CALLS[name][1], fullgraph=True, backend="aot_eager", dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in SIZES:
            agree(name, compiled, size, ragged=True)


@pytest.mark.parametrize("name", CALLS)
def test_automatic_dynamic_shapes_compile_20_sizes_in_two_graphs(name):
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(CALLS[name][1], fullgraph=True, backend=counter)
    for size in SIZES:
        agree(name, compiled, size, ragged=False)
    assert counter.frame_count == 2  # for the first size, and for all others


def test_inductor_compiles_20_sizes_in_one_graph(monkeypatch, tmp_path):
    # Not from the cache on disk: a graph there has the guards of the fake kernels that it was made with.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    name = "soft_dtw of features"
    compiled = torch.compile(CALLS[name][1], fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in SIZES:
            agree(name, compiled, size, ragged=True)


class Call(torch.nn.Module):
    """Tensors and lengths, as torch.export wants them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.call = CALLS[name][1]

    def forward(self, tensors: list[Tensor], lengths: dict[str, Tensor]):
        return self.call(*tensors, **lengths)


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", CALLS)
def test_an_exported_graph_serves_other_sizes(name, ragged):
    named = dict(zip(EXPORTED, (Dim("B", min=2), Dim("N", min=2), Dim("M", min=2)), strict=True))
    tensors, lengths = problem(name, EXPORTED, ragged)

    def dynamic(t: Tensor) -> dict[int, Dim]:
        return {d: named[size] for d, size in enumerate(t.shape) if size in named}

    shapes = [dynamic(t) for t in tensors], {key: dynamic(t) for key, t in lengths.items()}
    with torch.no_grad():
        exported = torch.export.export(Call(name), (tensors, lengths), dynamic_shapes=shapes).module()
        for size in (EXPORTED, *OTHERS):
            agree(name, lambda *t, **n: exported(list(t), n), size, ragged)
