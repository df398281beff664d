"""Features for the kinds of scores, and what the reference makes of their tables in float64."""

from __future__ import annotations

import torch
from helpers import close, score_and_gradients

import softdp

F32 = torch.float32
KINDS = ["squares", "fsd", "lcs", "cosines", "roots", "absolute"]  # enum class Kind
THRESHOLD = 0.3
# Kinds with paths that may end in several cells: of which kind, with which boundary.
OPEN = {"subsequence": ("squares", "subsequence"), "overlap": ("fsd", "overlap")}


def cosines(x, y):
    lengths = x.norm(dim=2)[:, :, None] * y.norm(dim=2)[:, None]
    return x @ y.mT / lengths.masked_fill(lengths == 0, 1)


def distances(x, y):
    squares = (x[:, :, None] - y[:, None]).square().sum(3)
    return squares.masked_fill(squares == 0, 1).sqrt().masked_fill(squares == 0, 0)


def scores_of(x, y, kind, gamma, **lengths):
    """What is to be computed, from float64 features, by the reference. lengths: a bandwidth, too."""
    reference = softdp.reference
    if kind in OPEN:
        kind, lengths["boundary"] = OPEN[kind]
    if kind == "fsd":
        tables = (cosines(a, b) for a, b in zip(x.chunk(2, 2), y.chunk(2, 2), strict=True))
        return reference.fsd_score(*tables, gamma=gamma, **lengths)
    if kind == "lcs":
        return reference.lcs_score(cosines(x, y), threshold=THRESHOLD, gamma=gamma, **lengths)
    costs = {
        "squares": lambda: (x[:, :, None] - y[:, None]).square().sum(3),
        "roots": lambda: distances(x, y),
        "cosines": lambda: 1 - cosines(x, y),
        "absolute": lambda: (x[:, :, None] - y[:, None]).abs().sum(3),
    }
    return reference.soft_dtw(costs[kind](), gamma=gamma, **lengths)


def exactly(kind, x, y, gamma, bandwidth=None, **lengths):
    lengths = {name: t.clone() for name, t in lengths.items()}
    options = {"kind": kind, "gamma": gamma, "bandwidth": bandwidth}
    return score_and_gradients(scores_of, [x.double(), y.double()], **options, **lengths)


def only_the_middle_pairs_are_spoiled(found, expected):
    """Of four pairs; expected: the scores and the gradients of the first and the last one."""
    score, *gradients = found
    wanted, of_features = expected
    assert score.isnan().tolist() == [False, True, True, False]
    close(score[[0, 3]].double(), wanted, 1e-4)
    for gradient, own in zip(gradients, of_features, strict=True):
        assert (gradient[1:3] == 0).all()
        close(gradient[[0, 3]].double(), own, 1e-3)


def features(kind, B, N, M, D, dtype=F32, L=None):
    """Steps of length about 2. Of LCS few vectors: rounding must not put a cosine on the threshold's other
    side."""
    D += D % 2
    count = B if L is None else L
    if kind != "lcs":
        return tuple(
            torch.randn(b, steps, D, dtype=dtype) * (4 / D) ** 0.5 for b, steps in ((B, N), (count, M))
        )
    words = torch.randn(9, D, dtype=torch.float64)
    near = ((cosines(words[None], words[None])[0] - THRESHOLD).abs() < 1e-3).any(1)
    words = words[~near] if (~near).any() else words.abs() + 1
    return tuple(
        (words[torch.randint(len(words), (b, steps))] * (torch.rand(b, steps, 1) + 0.5)).to(dtype)
        for b, steps in ((B, N), (count, M))
    )
