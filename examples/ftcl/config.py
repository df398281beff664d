"""Every number of the recipe. Settings were chosen on a split of the training clips."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    # Recordings, composed from crops of real clips.
    sample_rate: int = 10  # Hz
    background: str = "standing"
    actions: tuple[str, ...] = ("walking", "running", "badminton")
    recordings: int = 120  # per split
    recording_samples: int = 400
    instances: tuple[int, int] = (2, 5)
    instance_samples: tuple[int, int] = (20, 60)
    two_class_probability: float = 0.4
    gap_concentration: float = 3.0  # of the Dirichlet distribution that divides the background
    test_seed: int = 7
    train_seed: int = 1000  # plus the run's seed

    # Snippets.
    hop: int = 4
    window: int = 8

    # Model.
    width: int = 64
    dropout: float = 0.5
    top_k: tuple[int, int, int] = (4, 3, 3)  # T / k snippets: instance, context, background

    # Classification by localization. Guide and sparsity sum over time, so they scale with 1 / T.
    guide_weight: float = 5e-3
    norm_weight: float = 5e-4
    norm_margin: float = 5.0
    sparsity_weight: float = 0.0

    # Contrasting.
    fsd_weight: float = 0.8
    fsd_candidates: int = 5
    fsd_gamma: float = 0.1
    lcs_weight: float = 1.0
    lcs_candidates: int = 20
    lcs_threshold: float = 0.9
    lcs_gamma: float = 0.0

    # Training.
    epoch_steps: int = 20
    pairs: int = 16  # half of them positive
    warmup_steps: int = 100  # without contrasting
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4

    # Localization.
    thresholds: tuple[float, float, float] = (0.10, 0.90, 0.05)  # first, last, step
    outer_margin: float = 0.25
    video_weight: float = 0.2
    class_threshold: float = 0.25
    nms_tiou: float = 0.5

    # Evaluation.
    tiou: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

    @property
    def classes(self) -> int:
        """The number of classes: the actions and, as the last class, the background."""
        return len(self.actions) + 1

    def warmup(self, epochs: int) -> int:
        """Steps without contrasting: one epoch in a run that is no longer than the full warm-up."""
        short = epochs * self.epoch_steps <= self.warmup_steps
        return self.epoch_steps if short else self.warmup_steps
