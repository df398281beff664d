"""The kinds of scores of features, by number."""

from __future__ import annotations

from typing import NamedTuple

from ._recurrences import BOUNDARIES

SQUARES, FSD, LCS, COSINES, ROOTS, ABSOLUTE = range(6)  # enum class Kind of csrc/kinds.h

KIND_OF_COST = {"squared_euclidean": SQUARES, "cosine": COSINES, "euclidean": ROOTS, "manhattan": ABSOLUTE}


class Options(NamedTuple):
    """A kind with its numbers, in the order of the operators' schemas."""

    kind: int
    gamma: float
    threshold: float
    boundary: int  # a place in BOUNDARIES
    bandwidth: int  # -1: none

    @property
    def boundary_word(self) -> str:
        """The boundary as the public functions take it."""
        return BOUNDARIES[self.boundary]

    @property
    def bandwidth_or_none(self) -> int | None:
        """The bandwidth as the public functions take it."""
        return None if self.bandwidth < 0 else self.bandwidth

    @property
    def is_symmetric(self) -> bool:
        """Whether the score of y and x is that of x and y."""
        return self.boundary_word != "subsequence"


def of_soft_dtw(cost: str, gamma: float, boundary: str, bandwidth: int = -1) -> Options:
    """Soft-DTW of one of the costs in KIND_OF_COST."""
    return Options(KIND_OF_COST[cost], float(gamma), 0.0, BOUNDARIES.index(boundary), bandwidth)


def of_fsd(gamma: float, boundary: str, bandwidth: int = -1) -> Options:
    """FSD of the cosines of both halves of the features."""
    return Options(FSD, float(gamma), 0.0, BOUNDARIES.index(boundary), bandwidth)


def of_lcs(gamma: float, threshold: float, bandwidth: int = -1) -> Options:
    """LCS of the cosines of the features."""
    return Options(LCS, float(gamma), float(threshold), BOUNDARIES.index("free"), bandwidth)
