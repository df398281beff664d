"""Untrimmed recordings composed from real wrist-sensor clips: aeon's BasicMotions, no download."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from aeon.datasets import load_basic_motions
from config import Config
from evaluate import Segment
from torch import Tensor

Clips = dict[str, np.ndarray]  # class -> (K, channels, samples)


class Recording(NamedTuple):
    """A composed recording: signal (samples, channels) and its action instances in seconds."""

    signal: np.ndarray
    segments: list[Segment]


class TrainingSet(NamedTuple):
    """The data that training may see: features (R, T, F) and video-level labels (R, C). No segments."""

    features: Tensor
    labels: Tensor


class TestSet(NamedTuple):
    """Features (R, T, F) and, for evaluation, the segments of each recording by name."""

    features: Tensor
    segments: dict[str, list[Segment]]


class Scaling(NamedTuple):
    """Mean and standard deviation, (1, channels or features)."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Scaling:
        return cls(rows.mean(0, keepdims=True), rows.std(0, keepdims=True) + 1e-8)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.mean) / self.std


def load(seed: int, config: Config) -> tuple[TrainingSet, TestSet]:
    """Compose both splits. The seed draws the training recordings; the test recordings are fixed."""
    train_clips, test_clips = load_clips("train"), load_clips("test")
    channels = Scaling.of(np.concatenate([np.hstack(c).T for c in train_clips.values()]))
    train = compose_split(train_clips, config.train_seed + seed, config)
    test = compose_split(test_clips, config.test_seed, config)
    train_rows = [snippet_features(channels(r.signal), config) for r in train]
    test_rows = [snippet_features(channels(r.signal), config) for r in test]
    scale = Scaling.of(np.concatenate(train_rows))
    segments = {f"test {i}": r.segments for i, r in enumerate(test)}
    labels = video_labels(train, config)
    return (
        TrainingSet(as_tensor([scale(rows) for rows in train_rows]), labels),
        TestSet(as_tensor([scale(rows) for rows in test_rows]), segments),
    )


def load_clips(split: str) -> Clips:
    """BasicMotions clips by class: six channels at 10 Hz, 100 samples each."""
    clips, labels = load_basic_motions(split=split)
    return {str(label): clips[labels == label] for label in np.unique(labels)}


def compose_split(clips: Clips, seed: int, config: Config) -> list[Recording]:
    rng = np.random.default_rng(seed)
    return [compose(clips, rng, config) for _ in range(config.recordings)]


def compose(clips: Clips, rng: np.random.Generator, config: Config) -> Recording:
    """Compose a recording: action crops of one or two classes, with background around each."""
    count = rng.integers(config.instances[0], config.instances[1] + 1)
    shortest, longest = config.instance_samples
    lengths = rng.integers(shortest, longest + 1, size=count)
    gaps = share_out(config.recording_samples - lengths.sum(), count + 1, rng, config)
    parts, segments, now = [background(clips, gaps[0], rng, config)], [], gaps[0]
    for label, length, gap in zip(draw_labels(count, rng, config), lengths, gaps[1:], strict=True):
        parts += [crop(clips[label], length, rng), background(clips, gap, rng, config)]
        bounds = now / config.sample_rate, (now + length) / config.sample_rate
        segments.append(Segment(*map(float, bounds), label))
        now += length + gap
    return Recording(np.concatenate(parts, axis=1).T, segments)


def draw_labels(count: int, rng: np.random.Generator, config: Config) -> list[str]:
    """Draw the classes of a recording's instances, (count,). If two classes are drawn, both occur."""
    kinds = 2 if rng.random() < config.two_class_probability else 1
    chosen = rng.permutation(config.actions)[:kinds]
    labels = np.concatenate([chosen, rng.choice(chosen, count - kinds)])
    return [str(label) for label in rng.permutation(labels)]


def share_out(total: int, parts: int, rng: np.random.Generator, config: Config) -> np.ndarray:
    """Split `total` samples at random into non-negative integers (parts,)."""
    shares = rng.dirichlet([config.gap_concentration] * parts)
    bounds = np.rint(np.cumsum(shares) * total).astype(int)
    bounds[-1] = total
    return np.diff(bounds, prepend=0)


def crop(clips: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """A random crop of a random clip, (channels, length)."""
    start = rng.integers(clips.shape[2] - length + 1)
    return clips[rng.integers(len(clips)), :, start : start + length]


def background(clips: Clips, length: int, rng: np.random.Generator, config: Config) -> np.ndarray:
    """Background of any length, (channels, length), composed of as many crops as needed."""
    pool = clips[config.background]
    longest = pool.shape[2]
    lengths = [longest] * (length // longest) + [length % longest]
    return np.concatenate([crop(pool, piece, rng) for piece in lengths], axis=1)


def snippet_features(signal: np.ndarray, config: Config) -> np.ndarray:
    """Statistics of a window centred on each hop, (samples, channels) -> (T, 5 * channels)."""
    margin = (config.window - config.hop) // 2
    padded = np.pad(signal, ((margin, margin), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, config.window, axis=0)[:: config.hop]
    change = np.abs(np.diff(windows, axis=2)).mean(2)
    extremes = windows.max(2), windows.min(2)
    return np.concatenate([windows.mean(2), windows.std(2), change, *extremes], axis=1)


def video_labels(recordings: list[Recording], config: Config) -> Tensor:
    """Which actions occur in each recording, (R, C)."""
    occurring = [{segment.label for segment in r.segments} for r in recordings]
    return torch.tensor([[float(a in labels) for a in config.actions] for labels in occurring])


def as_tensor(rows: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows)).float()


class Pairs:
    """Draws half of the pairs with identical label sets, half with disjoint ones."""

    def __init__(self, labels: Tensor, count: int) -> None:
        shared = labels @ labels.T
        identical = (labels[:, None] == labels[None]).all(2)
        self.positive = identical.triu(diagonal=1).nonzero()
        self.negative = (shared == 0).triu(diagonal=1).nonzero()
        self.count = count
        self.target = torch.arange(count) < count // 2

    def draw(self) -> Tensor:
        """Recording indices (pairs, 2), drawn with the global CPU generator; positives first."""
        wanted = [(self.positive, self.count // 2), (self.negative, self.count - self.count // 2)]
        return torch.cat([pool[torch.randint(len(pool), (count,))] for pool, count in wanted])
