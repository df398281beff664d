"""softdp computes soft-DTW and other differentiable alignment scores between sequences in PyTorch, with C++
and CUDA kernels."""

from typing import TYPE_CHECKING

from . import reference
from ._build_info import build_info
from ._distances import squared_euclidean
from ._version import __version__
from .alignment import (
    fsd_alignment,
    lcs_alignment,
    needleman_wunsch_alignment,
    smith_waterman_alignment,
    soft_dtw_alignment,
)
from .functional import fsd_score, lcs_score
from .losses import FSDLoss, LCSLoss, fsd_loss, lcs_loss
from .needleman_wunsch import needleman_wunsch, smith_waterman
from .pairwise import pairwise_fsd, pairwise_lcs, pairwise_soft_dtw
from .paths import MOVES, Path, fsd_path, lcs_path, needleman_wunsch_path, smith_waterman_path, soft_dtw_path
from .soft_dtw import SoftDTWLoss, soft_dtw, soft_dtw_divergence, soft_dtw_loss

__all__ = [
    "FSDLoss",
    "LCSLoss",
    "MOVES",
    "Path",
    "SoftDTWLoss",
    "__version__",
    "build_info",
    "fsd_alignment",
    "fsd_loss",
    "fsd_path",
    "fsd_score",
    "lcs_alignment",
    "lcs_loss",
    "lcs_path",
    "lcs_score",
    "needleman_wunsch",
    "needleman_wunsch_alignment",
    "needleman_wunsch_path",
    "pairwise_fsd",
    "pairwise_lcs",
    "pairwise_soft_dtw",
    "reference",
    "smith_waterman",
    "smith_waterman_alignment",
    "smith_waterman_path",
    "soft_dtw",
    "soft_dtw_alignment",
    "soft_dtw_divergence",
    "soft_dtw_loss",
    "soft_dtw_path",
    "squared_euclidean",
]

if TYPE_CHECKING:
    from . import plot as plot
else:  # hidden from type checkers, which would take any name for one of this module

    def __getattr__(name):
        """Load softdp.plot, which needs matplotlib, at its first use; say what replaces others' names."""
        if name == "plot":
            import importlib

            return importlib.import_module(".plot", __name__)
        instead = {
            "dtw": ": write softdp.soft_dtw(cost, gamma=0.0)",
            "SoftDTW": ": write softdp.SoftDTWLoss()(x, y); see docs/coming_from.md",
        }.get(name, "")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{instead}", name=name)
