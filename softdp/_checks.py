"""What each public function accepts. Arguments are checked once, for the operators and for the reference."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from . import _values
from ._dtypes import computed

# What to write where gamma, here g, is to be trained: the score with gamma is g times the score of all scores
# divided by g with gamma 1.
TRAINED_FSD = "g * softdp.fsd_score(match / {g}, insert / {g}, gamma=1.0)"
TRAINED_FSD_ALIGNMENT = "softdp.fsd_alignment(match / {g}, insert / {g}, gamma=1.0)"
TRAINED_LCS = "g * softdp.lcs_score(similarity / {g}, threshold=threshold / g.item(), gamma=1.0)"
TRAINED_LCS_ALIGNMENT = "softdp.lcs_alignment(similarity / {g}, threshold=threshold / g.item(), gamma=1.0)"
TRAINED_SOFT_DTW = "g * softdp.soft_dtw(cost / {g}, gamma=1.0)"
TRAINED_SOFT_DTW_ALIGNMENT = "softdp.soft_dtw_alignment(cost / {g}, gamma=1.0)"
TRAINED_DIVERGENCE = "g * softdp.soft_dtw_divergence(x / {g}.sqrt(), y / {g}.sqrt(), gamma=1.0)"
TRAINED_LOSS = 'g * softdp.soft_dtw_loss(x / {g}.sqrt(), y / {g}.sqrt(), gamma=1.0, reduction="none")'
TRAINED_NEEDLEMAN_WUNSCH = "g * softdp.needleman_wunsch(match / {g}, gap / {g}, gamma=1.0)"
TRAINED_SMITH_WATERMAN = "g * softdp.smith_waterman(match / {g}, insert / {g}, gamma=1.0)"
TRAINED_SMITH_WATERMAN_ALIGNMENT = "softdp.smith_waterman_alignment(match / {g}, insert / {g}, gamma=1.0)"
TRAINED_NEEDLEMAN_WUNSCH_ALIGNMENT = "softdp.needleman_wunsch_alignment(match / {g}, gap / {g}, gamma=1.0)"


# The boundaries of the functions; the first one is the default.
FSD_BOUNDARIES = ("free", "anchored", "subsequence", "overlap", "local")
SOFT_DTW_BOUNDARIES = ("anchored", "subsequence")
NEEDLEMAN_WUNSCH_BOUNDARIES = ("global", "subsequence", "overlap")
# Who has those that others lack.
_HAVE = {
    "overlap": "fsd_score and needleman_wunsch have it",
    "local": "fsd_score has it, and smith_waterman is local",
}


def boundary_word(boundary: str, words: tuple[str, ...]) -> None:
    """A boundary that a function has."""
    if not isinstance(boundary, str) or boundary not in words:
        *others, last = (f'"{word}"' for word in words)
        who = f": {_HAVE[boundary]}" if isinstance(boundary, str) and boundary in _HAVE else ""
        raise ValueError(f"boundary must be {', '.join(others)} or {last}, got {boundary!r}{who}")


class FsdArguments(NamedTuple):
    """Checked arguments of fsd_score.

    insert and delete have 3 dimensions, each 1 or that of match. A gap that was a number has the dtype of the
    arithmetic, all others have match's.
    """

    match: Tensor
    insert: Tensor
    delete: Tensor | None
    x_lengths: Tensor | None
    y_lengths: Tensor | None

    def computed(self) -> FsdArguments:
        """With all scores in the dtype of the arithmetic."""
        delete = None if self.delete is None else computed(self.delete)
        return self._replace(match=computed(self.match), insert=computed(self.insert), delete=delete)


class LcsArguments(NamedTuple):
    """Checked arguments of lcs_score."""

    similarity: Tensor
    x_lengths: Tensor | None
    y_lengths: Tensor | None

    def computed(self) -> LcsArguments:
        """With the scores in the dtype of the arithmetic."""
        return self._replace(similarity=computed(self.similarity))


class AlignmentArguments(NamedTuple):
    """Checked arguments of needleman_wunsch and smith_waterman.

    The gaps have 3 dimensions, as in FsdArguments. open is None with linear gaps.
    """

    match: Tensor
    insert: Tensor
    delete: Tensor | None
    open: Tensor | None
    x_lengths: Tensor | None
    y_lengths: Tensor | None

    def computed(self) -> AlignmentArguments:
        """With all scores in the dtype of the arithmetic."""
        delete, opened = (None if t is None else computed(t) for t in (self.delete, self.open))
        match, insert = computed(self.match), computed(self.insert)
        return self._replace(match=match, insert=insert, delete=delete, open=opened)


def fsd_arguments(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None,
    gamma: float,
    boundary: str,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_FSD,
) -> FsdArguments:
    """What fsd_score, its alignment and its path take."""
    _values.floating(match, "match", "(B, N, M)")
    _values.gamma_number(gamma, trained)
    boundary_word(boundary, FSD_BOUNDARIES)
    insert = _values.gap(insert, "insert", match)
    delete = None if delete is None else _values.gap(delete, "delete", match)
    B, N, M = match.shape
    _values.lengths(x_lengths, "x_lengths", B, N, "match", match.device)
    _values.lengths(y_lengths, "y_lengths", B, M, "match", match.device)
    return FsdArguments(match, insert, delete, x_lengths, y_lengths)


def lcs_arguments(
    similarity: Tensor,
    threshold: float,
    gamma: float,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_LCS,
) -> LcsArguments:
    """What lcs_score, its alignment and its path take."""
    _values.floating(similarity, "similarity", "(B, N, M)")
    _values.gamma_number(gamma, trained)
    _values.threshold_number(threshold)
    B, N, M = similarity.shape
    _values.lengths(x_lengths, "x_lengths", B, N, "similarity", similarity.device)
    _values.lengths(y_lengths, "y_lengths", B, M, "similarity", similarity.device)
    return LcsArguments(similarity, x_lengths, y_lengths)


def cost_arguments(
    cost: Tensor,
    gamma: float,
    boundary: str,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_SOFT_DTW,
) -> FsdArguments:
    """What soft_dtw, its alignment and its path take: costs as FSD's match, without a gap."""
    _values.floating(cost, "cost", "(B, N, M)")
    _values.gamma_number(gamma, trained)
    boundary_word(boundary, SOFT_DTW_BOUNDARIES)
    B, N, M = cost.shape
    _values.lengths(x_lengths, "x_lengths", B, N, "cost", cost.device)
    _values.lengths(y_lengths, "y_lengths", B, M, "cost", cost.device)
    return FsdArguments(cost, cost.new_zeros((1, 1, 1)), None, x_lengths, y_lengths)


def needleman_wunsch_arguments(
    match: Tensor,
    gap: Tensor | float,
    gap_open: Tensor | float | None,
    gamma: float,
    boundary: str,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_NEEDLEMAN_WUNSCH,
) -> AlignmentArguments:
    """What needleman_wunsch, its alignment and its path take. The gap is insert."""
    _values.floating(match, "match", "(B, N, M)")
    of_pairs = isinstance(gap, Tensor) and gap.dim() == 1
    trained = trained.replace("gap / {g}", "gap / g") if of_pairs else trained
    _values.gamma_number(gamma, _with_open(trained, gap_open))
    boundary_word(boundary, NEEDLEMAN_WUNSCH_BOUNDARIES)
    gap = _values.gap_of_pairs(gap, "gap", match)
    return _alignment_arguments(match, gap, None, gap_open, x_lengths, y_lengths)


def smith_waterman_arguments(
    match: Tensor,
    insert: Tensor | float,
    delete: Tensor | float | None,
    gap_open: Tensor | float | None,
    gamma: float,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
    trained: str = TRAINED_SMITH_WATERMAN,
) -> AlignmentArguments:
    """What smith_waterman, its alignment and its path take."""
    _values.floating(match, "match", "(B, N, M)")
    trained = trained if delete is None else trained.replace(", gamma=1.0", ", delete / {g}, gamma=1.0")
    for name, gap in (("insert", insert), ("delete", delete)):
        if isinstance(gap, Tensor) and gap.dim() == 1:
            trained = trained.replace(f"{name} / {{g}}", f"{name} / g")
    _values.gamma_number(gamma, _with_open(trained, gap_open))
    insert = _values.gap_of_pairs(insert, "insert", match)
    delete = None if delete is None else _values.gap_of_pairs(delete, "delete", match)
    return _alignment_arguments(match, insert, delete, gap_open, x_lengths, y_lengths)


def _with_open(trained: str, gap_open: Tensor | float | None) -> str:
    if gap_open is None:
        return trained
    of_pairs = isinstance(gap_open, Tensor) and gap_open.dim() == 1
    scaled = "gap_open / g" if of_pairs else "gap_open / {g}"
    return trained.replace("gamma=1.0", f"gap_open={scaled}, gamma=1.0")


def _alignment_arguments(
    match: Tensor,
    insert: Tensor,
    delete: Tensor | None,
    gap_open: Tensor | float | None,
    x_lengths: Tensor | None,
    y_lengths: Tensor | None,
) -> AlignmentArguments:
    """Checked gaps, with the opening and the lengths, which are checked here."""
    opened = None if gap_open is None else _values.gap_of_pairs(gap_open, "gap_open", match)
    B, N, M = match.shape
    _values.lengths(x_lengths, "x_lengths", B, N, "match", match.device)
    _values.lengths(y_lengths, "y_lengths", B, M, "match", match.device)
    return AlignmentArguments(match, insert, delete, opened, x_lengths, y_lengths)


def feature_arguments(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> None:
    """Features of pairs, with their lengths."""
    _values.floating(x, "x", "(B, N, D)")
    _values.floating(y, "y", "(B, M, D)")
    _values.agree(y, "y", x, "x")
    if x.shape[0] != y.shape[0] or x.shape[2] != y.shape[2]:
        turned = x.shape[:2] == y.shape[:2]
        raise ValueError(
            f"x (B, N, D) and y (B, M, D) must agree in B and D, got {tuple(x.shape)} and {tuple(y.shape)}"
            + ": if features come before steps, write x.transpose(1, 2) and y.transpose(1, 2)" * turned
        )
    feature_lengths(x, y, x_lengths, y_lengths)


def feature_lengths(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> None:
    """The lengths of features."""
    _values.lengths(x_lengths, "x_lengths", x.shape[0], x.shape[1], "x", x.device)
    _values.lengths(y_lengths, "y_lengths", y.shape[0], y.shape[1], "x", x.device)


def pairwise_arguments(
    x: Tensor, y: Tensor | None, x_lengths: Tensor | None, y_lengths: Tensor | None
) -> None:
    """Features of every x and every y, with their lengths. y=None compares x with itself."""
    _values.floating(x, "x", "(K, N, D)")
    _values.lengths(x_lengths, "x_lengths", x.shape[0], x.shape[1], "x", x.device)
    if y is None:
        if y_lengths is not None:
            raise ValueError(
                "y_lengths must be None where y is None: x is compared with itself; write x_lengths="
            )
        return
    _values.floating(y, "y", "(L, M, D)")
    _values.agree(y, "y", x, "x")
    if x.shape[2] != y.shape[2]:
        raise ValueError(
            f"x (K, N, D) and y (L, M, D) must agree in D, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    _values.lengths(y_lengths, "y_lengths", y.shape[0], y.shape[1], "x", x.device)


def two_heads(x: Tensor) -> None:
    """Features with two halves."""
    if x.shape[2] % 2:
        raise ValueError(
            f"x must have an even number of features, half for match and half for the gap, got {x.shape[2]}"
        )
