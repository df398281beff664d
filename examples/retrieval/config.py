"""Every number of the recipe, for each variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setting:
    """How a method scores and how it is trained."""

    scale: float | None = None  # of the supervised contrastive loss's logits; None: FTCL's loss
    gamma: float = 0.0
    threshold: float = 0.0  # LCS
    learning_rate: float = 1e-3


# Each is the best that tune.py found on held-out training data, or within 0.7 mAP of it (results/).
ORDER = {
    "pool": Setting(scale=20.0, learning_rate=3e-3),
    "diagonal": Setting(scale=20.0),
    "LCS": Setting(scale=5.0, threshold=0.7),
    "FSD": Setting(gamma=0.03),
    "FSD, gap 0": Setting(gamma=0.03),  # the setting of FSD
    "soft-DTW": Setting(scale=5.0, gamma=0.01),
    "soft-DTW + gap": Setting(scale=5.0, gamma=0.01),
}
GAPS = {
    "pool": Setting(scale=5.0),
    "diagonal": Setting(scale=10.0, learning_rate=3e-3),
    "LCS": Setting(scale=10.0, threshold=0.6),
    "FSD": Setting(gamma=0.1),
    "FSD, gap 0": Setting(gamma=0.1),
    "soft-DTW": Setting(scale=20.0, gamma=0.01),
    "soft-DTW + gap": Setting(gamma=0.01),
}


@dataclass(frozen=True)
class Config:
    # A sequence is a row of phases. A phase is a crop of a real clip. All orders hold the same phases.
    actions: tuple[str, ...] = ("standing", "walking", "running", "badminton")
    repeats: int = 1  # of each action in a sequence, never twice in a row
    background: str | None = None  # before, between and after the phases
    background_snippets: float = 0.0  # mean length of each background part, exponentially distributed
    snippets: int | None = 24  # length of a sequence; None: the sum of its phases
    phase_snippets: float = 6.0  # before warping; unused where `snippets` is set
    shortest: int = 2  # snippets of a phase
    warp: float = 1.4  # a factor exp(U(-warp, warp)) for durations, the square root of another for tempo
    train_sequences: int = 30  # of each order
    test_sequences: int = 12

    # Snippets, in samples at 10 Hz.
    hop: int = 4
    window: int = 8

    # Training.
    width: int = 64
    steps: int = 250
    batch_orders: int = 6
    batch_sequences: int = 3  # of each order
    weight_decay: float = 1e-4
    settings: Mapping[str, Setting] = field(default_factory=lambda: ORDER)


VARIANTS = {
    "order": Config(),
    "gaps": Config(
        actions=("walking", "running", "badminton"),
        repeats=2,
        background="standing",
        background_snippets=4.0,
        snippets=None,
        phase_snippets=3.0,
        settings=GAPS,
    ),
}
