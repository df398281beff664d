"""Scores of pairs of embedded sequences: two controls without alignment, and softdp's scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from config import Setting
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import softdp


class Embedded(NamedTuple):
    """S sequences, padded."""

    embedding: Tensor  # (S, T, D)
    lengths: Tensor  # (S,)


def pool(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """Ignores order: the mean cosine of all snippets with all snippets."""
    inside = torch.arange(batch.embedding.shape[1]) < batch.lengths[:, None]
    total = (F.normalize(batch.embedding, dim=2) * inside[..., None]).sum(1)
    x, y = take(total / batch.lengths[:, None], pairs)
    return (x * y).sum(1)


def diagonal(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """By index: the mean cosine of the snippets at the same place, the shorter sequence stretched evenly."""
    sides = take(batch.lengths, pairs)
    longest = torch.maximum(*sides)[:, None]
    step = torch.arange(int(longest.max()))
    unit = F.normalize(batch.embedding, dim=2).flatten(0, 1)

    def at_step(sequence: Tensor, length: Tensor) -> Tensor:
        place = (step * length[:, None] // longest).minimum(length[:, None] - 1)
        index = sequence[:, None] * batch.embedding.shape[1] + place
        return unit.index_select(0, index.flatten()).unflatten(0, index.shape)

    x, y = (at_step(*side) for side in zip(pairs.T, sides, strict=True))
    cosine = (x * y).sum(2)
    return cosine.where(step < longest, 0.0).sum(1) / longest[:, 0]


def lcs(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """One to one, in order: the longest common subsequence behind a threshold."""
    (similarity,) = cosines(batch, pairs, heads=1)
    lengths = pair_lengths(batch, pairs)
    score = softdp.lcs_score(similarity, threshold=setting.threshold, gamma=setting.gamma, **lengths)
    return per_snippet(score, **lengths)


def fsd(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """In order, many to one: half of the features score matches, the other half gaps."""
    match, gap = cosines(batch, pairs, heads=2)
    lengths = pair_lengths(batch, pairs)
    return per_snippet(softdp.fsd_score(match, gap, gamma=setting.gamma, **lengths), **lengths)


def fsd_without_gap(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """FSD with gaps that score 0, and matches from all features: shows what FSD's gap adds."""
    (match,) = cosines(batch, pairs, heads=1)
    lengths = pair_lengths(batch, pairs)
    return per_snippet(softdp.fsd_score(match, 0.0, gamma=setting.gamma, **lengths), **lengths)


def soft_dtw(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """In order, many to one, without a gap score: soft-DTW of 1 - cosine, negated."""
    (similarity,) = cosines(batch, pairs, heads=1)
    return anchored(similarity - 1, 0.0, batch, pairs, setting)


def soft_dtw_gap(batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """Soft-DTW with FSD's gap."""
    match, gap = cosines(batch, pairs, heads=2)
    return anchored(match - 1, gap, batch, pairs, setting)


def anchored(match: Tensor, gap: Tensor | float, batch: Embedded, pairs: Tensor, setting: Setting) -> Tensor:
    """-soft_dtw(-match) where the gap is 0."""
    lengths = pair_lengths(batch, pairs)
    score = softdp.fsd_score(match, gap, gamma=setting.gamma, boundary="anchored", **lengths)
    return per_snippet(score, **lengths)


Score = Callable[[Embedded, Tensor, Setting], Tensor]  # of the pairs (P, 2) of a batch: (P,)
SCORES: dict[str, Score] = {
    "pool": pool,
    "diagonal": diagonal,
    "LCS": lcs,
    "FSD": fsd,
    "FSD, gap 0": fsd_without_gap,
    "soft-DTW": soft_dtw,
    "soft-DTW + gap": soft_dtw_gap,
}


def cosines(batch: Embedded, pairs: Tensor, heads: int) -> list[Tensor]:
    """Cosines of all snippets with all snippets, (P, T, T), one for each of `heads` parts of the features."""
    units = (F.normalize(part, dim=2) for part in batch.embedding.chunk(heads, dim=2))
    return [x @ y.mT for x, y in (take(unit, pairs) for unit in units)]


def pair_lengths(batch: Embedded, pairs: Tensor) -> dict[str, Tensor]:
    x, y = take(batch.lengths, pairs)
    return {"x_lengths": x, "y_lengths": y}


def per_snippet(score: Tensor, x_lengths: Tensor, y_lengths: Tensor) -> Tensor:
    """Divide by the mean of the two lengths: otherwise long pairs score higher because they are long."""
    return 2 * score / (x_lengths + y_lengths)


def take(rows: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (S, ...) of both sides of the pairs (P, 2)."""
    x, y = (rows.index_select(0, side) for side in pairs.T)  # with a faster gradient than rows[side]
    return x, y


def all_pairs(count: int) -> Tensor:
    """The pairs i < j, (P, 2). Every score here is symmetric."""
    return torch.combinations(torch.arange(count))


def symmetric(scores: Tensor, pairs: Tensor, count: int) -> Tensor:
    """(P,) -> (count, count), -inf on the diagonal: nothing is compared with itself."""
    table = scores.new_full((count, count), -torch.inf)
    return table.index_put((pairs, pairs.flip(1)), scores[:, None].expand(-1, 2))
