"""Pictures of one pair: its scores, its expected alignment, its best path.

In all of them x runs down and y to the right, as the rows and columns of a (N, M) table. Axes count steps
from 0, or seconds. Only this module needs matplotlib; `import softdp` does not load it.
"""

from __future__ import annotations

from ._plot_pairs import fsd_pair, lcs_pair, needleman_wunsch_pair, smith_waterman_pair, soft_dtw_pair
from ._plot_tables import FORBIDDEN, MASS, SCORES, UNKNOWN, Seconds, band, matrix, path

__all__ = [
    "FORBIDDEN",
    "MASS",
    "SCORES",
    "UNKNOWN",
    "Seconds",
    "band",
    "fsd_pair",
    "lcs_pair",
    "matrix",
    "needleman_wunsch_pair",
    "path",
    "smith_waterman_pair",
    "soft_dtw_pair",
]
