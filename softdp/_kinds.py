"""The kinds of scores of features, by number."""

from __future__ import annotations

from typing import NamedTuple

SQUARES, FSD, LCS, COSINES, ROOTS, ABSOLUTE = range(6)  # enum class Kind of csrc/kinds.h

KIND_OF_COST = {"squared_euclidean": SQUARES, "cosine": COSINES, "euclidean": ROOTS, "manhattan": ABSOLUTE}


class Options(NamedTuple):
    """A kind with its numbers, in the order of the operators' schemas."""

    kind: int
    gamma: float
    threshold: float = 0.0
