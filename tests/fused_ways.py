"""Scores of features by one operator, and the same through tables."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

import softdp
from softdp import _distances, _fused, _kinds


def features(B: int, N: int, M: int, D: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(B, steps, D, dtype=dtype).requires_grad_() for steps in (N, M)]


def ragged(B: int, N: int, M: int) -> dict[str, Tensor]:
    return {"x_lengths": torch.randint(N + 1, (B,)), "y_lengths": torch.randint(M + 1, (B,)).int()}


THRESHOLD = 0.3  # of LCS


def fused(
    x: Tensor,
    y: Tensor,
    gamma: float = 1.0,
    x_lengths=None,
    y_lengths=None,
    cost: str = "squared_euclidean",
    boundary: str = "anchored",
    bandwidth: int = -1,
) -> Tensor:
    options = _kinds.of_soft_dtw(cost, gamma, boundary, bandwidth)
    return _fused.soft_dtw(x, y, x_lengths, y_lengths, options)


def cosines(x: Tensor, y: Tensor) -> Tensor:
    lengths = x.norm(dim=2)[:, :, None] * y.norm(dim=2)[:, None]
    return x @ y.mT / lengths.masked_fill(lengths == 0, 1)


COSTS = {
    "squared_euclidean": softdp.squared_euclidean,
    "cosine": lambda x, y: 1 - cosines(x, y),
    "euclidean": _distances.euclidean,
    "manhattan": lambda x, y: (x[:, :, None] - y[:, None]).abs().sum(3),
}


def by_table(x: Tensor, y: Tensor, gamma: float = 1.0, cost: str = "squared_euclidean", **options) -> Tensor:
    return softdp.soft_dtw(COSTS[cost](x, y), gamma=gamma, **options)


def fsd(
    x: Tensor,
    y: Tensor,
    gamma: float = 1.0,
    x_lengths=None,
    y_lengths=None,
    boundary: str = "free",
    bandwidth: int = -1,
) -> Tensor:
    return _fused.score_or_tables(x, y, x_lengths, y_lengths, _kinds.of_fsd(gamma, boundary, bandwidth))


def fsd_by_tables(x: Tensor, y: Tensor, gamma: float = 1.0, **options) -> Tensor:
    tables = (cosines(a, b) for a, b in zip(x.chunk(2, 2), y.chunk(2, 2), strict=True))
    return softdp.fsd_score(*tables, gamma=gamma, **options)


def lcs(
    x: Tensor, y: Tensor, gamma: float = 1.0, x_lengths=None, y_lengths=None, bandwidth: int = -1
) -> Tensor:
    return _fused.score_or_tables(x, y, x_lengths, y_lengths, _kinds.of_lcs(gamma, THRESHOLD, bandwidth))


def lcs_by_table(x: Tensor, y: Tensor, gamma: float = 1.0, **options) -> Tensor:
    return softdp.lcs_score(cosines(x, y), threshold=THRESHOLD, gamma=gamma, **options)


def both(of_features, of_tables, **options):
    return partial(of_features, **options), partial(of_tables, **options)


WAYS = {
    "soft_dtw": (fused, by_table),
    "fsd": (fsd, fsd_by_tables),
    "lcs": (lcs, lcs_by_table),
    "cosine": both(fused, by_table, cost="cosine"),
    "euclidean": both(fused, by_table, cost="euclidean"),
    "manhattan": both(fused, by_table, cost="manhattan"),
    "subsequence": both(fused, by_table, boundary="subsequence"),
    "overlap": both(fsd, fsd_by_tables, boundary="overlap"),
}
# The operator's kind and boundary.
OPTIONS = {"subsequence": (0, 2), "overlap": (1, 3)} | {
    way: (kind, int(way not in ("fsd", "lcs"))) for kind, way in enumerate(list(WAYS)[:6])
}


def features_for(
    way: str, B: int, N: int, M: int, D: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """In float32 few vectors for LCS: rounding must not put a cosine on the threshold's other side."""
    if way in ("soft_dtw", "subsequence"):
        return features(B, N, M, D, dtype)
    D = max(4, D + D % 2) if D else 0  # one feature's cosine has the gradient 0, and rounding for it
    if way != "lcs" or dtype == torch.float64:
        return features(B, N, M, D, dtype)
    words = torch.randn(7, D, dtype=torch.float64)
    near = ((cosines(words[None], words[None])[0] - THRESHOLD).abs() < 1e-3).any(1)
    words = words[~near] if (~near).any() else words.abs() + 1
    return [
        (words[torch.randint(len(words), (B, steps))] * (torch.rand(B, steps, 1) + 0.5))
        .to(dtype)
        .requires_grad_()
        for steps in (N, M)
    ]


def with_gradients(call, tensors: list[Tensor], *args, weight: Tensor | None = None, **options):
    value = call(*tensors, *args, **options)
    weight = torch.ones_like(value) if weight is None else weight
    return [value.detach(), *torch.autograd.grad(value, tensors, weight)]
