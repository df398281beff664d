"""Scores of features, by the operator that keeps no table: each score by its name, and what it should be."""

from __future__ import annotations

import contextlib
from functools import partial

import torch
from devices import reference, to
from helpers import close

import softdp
from softdp import _fused


def soft_dtw(x, y, gamma=0.5, **options):
    return softdp.soft_dtw_loss(x, y, gamma=gamma, reduction="none", **options)


def fsd(x, y, gamma=0.5, **options):
    target = torch.zeros(len(x), device=x.device)
    return softdp.fsd_loss(x, y, target, gamma=gamma, reduction="none", **options)


def lcs(x, y, gamma=0.5, **lengths):
    target = torch.zeros(len(x), device=x.device)
    return softdp.lcs_loss(x, y, target, threshold=0.3, gamma=gamma, reduction="none", **lengths)


WAYS = {
    "soft_dtw": soft_dtw,
    "euclidean": partial(soft_dtw, cost="euclidean"),
    "cosine": partial(soft_dtw, cost="cosine"),
    "manhattan": partial(soft_dtw, cost="manhattan"),
    "fsd": fsd,
    "lcs": lcs,
    "subsequence": partial(soft_dtw, boundary="subsequence"),
    "overlap": partial(fsd, boundary="overlap"),
}
EVERY = {
    "soft_dtw": partial(softdp.pairwise_soft_dtw, gamma=0.5),
    "divergence": partial(softdp.pairwise_soft_dtw, gamma=0.5, normalize=True),
    "euclidean": partial(softdp.pairwise_soft_dtw, gamma=0.5, cost="euclidean"),
    "manhattan": partial(softdp.pairwise_soft_dtw, gamma=0.5, cost="manhattan"),
    "cosine": partial(softdp.pairwise_soft_dtw, gamma=0.5, cost="cosine"),
    "fsd": partial(softdp.pairwise_fsd, gamma=0.5),
    "lcs": partial(softdp.pairwise_lcs, threshold=0.3, gamma=0.5),
    "subsequence": partial(softdp.pairwise_soft_dtw, gamma=0.5, boundary="subsequence"),
    "overlap": partial(softdp.pairwise_fsd, gamma=0.5, boundary="overlap"),
}


@contextlib.contextmanager
def by_tables():
    """Without the operator."""
    before, _fused.serves = _fused.serves, lambda x, options: False
    try:
        yield
    finally:
        _fused.serves = before


def features(B, N, M, D, dtype=torch.float32):
    """Steps of length about 2, a multiple of 2^-10: no cosine is on the other side of a threshold of LCS by
    rounding alone, as good as never."""
    return [
        torch.randn(B, steps, D).mul(1024 * (4 / D) ** 0.5).round().div(1024).to(dtype) for steps in (N, M)
    ]


def with_gradients(call, tensors, weight=None, **options):
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    value = call(*leaves, **options)
    weight = torch.ones_like(value) if weight is None else weight.to(value)
    return [value.detach(), *torch.autograd.grad(value, leaves, weight)]


def exactly(call, tensors, device, weight=None, **options):
    """The same in float64 on the CPU: on a GPU by the CPU's operator, else through the reference's tables."""
    tensors = [t.detach().cpu().double() for t in tensors]
    options = {name: to("cpu", value) for name, value in options.items()}
    if device.type == "cuda":
        return with_gradients(call, tensors, weight, **options)
    with by_tables(), reference():
        return with_gradients(call, tensors, weight, **options)


def agrees(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        largest = b[b.isfinite()].abs().max().item() if b.isfinite().any() else 1
        close(a.cpu().double(), b.cpu().double(), tolerance * max(1, largest))
