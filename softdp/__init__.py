"""softdp: differentiable sequence-comparison losses for PyTorch, with C++ and CUDA kernels."""

from . import reference
from ._library import build_info
from ._version import __version__
from .alignment import MOVES, Path, fsd_alignment, fsd_path, lcs_alignment, lcs_path
from .functional import fsd_score, lcs_score
from .losses import FSDLoss, LCSLoss, fsd_loss, lcs_loss
from .soft_dtw import needleman_wunsch, soft_dtw, soft_dtw_divergence, squared_euclidean

__all__ = [
    "FSDLoss",
    "LCSLoss",
    "MOVES",
    "Path",
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
    "reference",
    "soft_dtw",
    "soft_dtw_divergence",
    "squared_euclidean",
]
