"""softdp: differentiable sequence-comparison losses for PyTorch, with C++ kernels."""

from . import reference
from ._ops import build_info
from ._version import __version__
from .functional import fsd_score, lcs_score
from .losses import FSDLoss, LCSLoss, fsd_loss, lcs_loss

__all__ = [
    "FSDLoss",
    "LCSLoss",
    "__version__",
    "build_info",
    "fsd_loss",
    "fsd_score",
    "lcs_loss",
    "lcs_score",
    "reference",
]
