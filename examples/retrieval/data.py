"""Sequences of phases whose class is the order of the phases: crops of aeon's BasicMotions, no download."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
import torch
from aeon.datasets import load_basic_motions
from config import Config
from torch import Tensor

Clips = dict[str, np.ndarray]  # action -> (K, channels, samples)
Order = tuple[str, ...]
BACKGROUND = -1  # in Sequences.phases, also for padding


class Sequences(NamedTuple):
    """S sequences of at most T snippets. Training reads only features, lengths and orders."""

    features: Tensor  # (S, T, F), 0 past the lengths
    lengths: Tensor  # (S,)
    orders: Tensor  # (S,), the class
    phases: Tensor  # (S, T), an index into Config.actions, or BACKGROUND


def load(seed: int, config: Config, validate: bool = False) -> tuple[Sequences, Sequences]:
    """Training and test sequences: different orders, and crops of different clips.

    The seed draws the split of the orders and all sequences. With validate, both come from the training
    orders and the training clips, which are split once more. Settings are chosen on these.
    """
    rng = np.random.default_rng(seed)
    orders = halves([tuple(order) for order in rng.permutation(all_orders(config))])
    clips = load_clips("train"), load_clips("test")
    if validate:
        orders = halves(orders[0])
        drawn = {action: halves(rng.permutation(k)) for action, k in clips[0].items()}
        clips = tuple({action: k[side] for action, k in drawn.items()} for side in (0, 1))
    counts = config.train_sequences, config.test_sequences
    splits = [compose_split(*split, rng, config) for split in zip(orders, clips, counts, strict=True)]
    rows = np.concatenate([features for features, _, _ in splits[0]])
    mean, std = rows.mean(0), rows.std(0) + 1e-8
    train, test = (collate([((f - mean) / std, *rest) for f, *rest in split]) for split in splits)
    return train, test


def halves(items: Sequence) -> tuple[Sequence, Sequence]:
    """The first half, which may be longer by one, and the second half."""
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def load_clips(split: str) -> Clips:
    """BasicMotions clips by action: six channels at 10 Hz, 100 samples each."""
    clips, labels = load_basic_motions(split=split)
    return {str(label): clips[labels == label] for label in np.unique(labels)}


def all_orders(config: Config) -> list[Order]:
    """Every order of the phases with no action twice in a row. All orders have the same contents."""
    orders = set(permutations(config.actions * config.repeats))
    return sorted(order for order in orders if all(a != b for a, b in pairwise(order)))


def compose_split(
    orders: Sequence[Order], clips: Clips, count: int, rng: np.random.Generator, config: Config
) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Snippet features, phases and order of `count` sequences of each order; the orders take turns."""
    split = []
    for _ in range(count):
        for k, order in enumerate(orders):
            signal, phases = compose(order, clips, rng, config)
            split.append((snippet_features(signal, config), phases, k))
    return split


def compose(
    order: Order, clips: Clips, rng: np.random.Generator, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """A sequence's signal (channels, samples) and the phase of each of its snippets."""
    parts, phases = [], []
    lengths = durations(len(order), rng, config)
    gaps = backgrounds(len(order) + 1, rng, config)
    segments = [(config.background, gaps[0])]
    for action, length, gap in zip(order, lengths, gaps[1:], strict=True):
        segments += [(action, length), (config.background, gap)]
    for action, length in segments:
        if length > 0:
            parts.append(crop(clips[action], length * config.hop, rng, config))
            phase = config.actions.index(action) if action in config.actions else BACKGROUND
            phases += [phase] * length
    return np.concatenate(parts, axis=1), np.array(phases)


def durations(count: int, rng: np.random.Generator, config: Config) -> np.ndarray:
    """Warped durations of a sequence's phases in snippets, (count,)."""
    weights = np.exp(rng.uniform(-config.warp, config.warp, count))
    if config.snippets is None:
        return np.maximum(np.rint(config.phase_snippets * weights).astype(int), config.shortest)
    bounds = np.rint(np.cumsum(weights) / weights.sum() * config.snippets).astype(int)
    lengths = np.diff(bounds, prepend=0)
    while lengths.min() < config.shortest:
        lengths[lengths.argmax()] -= 1
        lengths[lengths.argmin()] += 1
    return lengths


def backgrounds(count: int, rng: np.random.Generator, config: Config) -> np.ndarray:
    """Durations of the background parts in snippets, (count,); some are 0."""
    return np.rint(rng.exponential(config.background_snippets, count)).astype(int)


def crop(clips: np.ndarray, samples: int, rng: np.random.Generator, config: Config) -> np.ndarray:
    """A random crop of a random clip, its tempo changed by linear interpolation, (channels, samples)."""
    tempo = np.exp(rng.uniform(-config.warp, config.warp) / 2)
    longest = clips.shape[2]
    taken = int(np.clip(round(samples * tempo), 2, longest))
    start = rng.integers(longest - taken + 1)
    clip = clips[rng.integers(len(clips)), :, start : start + taken]
    times = np.linspace(0, taken - 1, samples)
    return np.stack([np.interp(times, np.arange(taken), channel) for channel in clip])


def snippet_features(signal: np.ndarray, config: Config) -> np.ndarray:
    """Statistics of a window centred on each hop, (channels, samples) -> (T, 5 * channels)."""
    margin = (config.window - config.hop) // 2
    padded = np.pad(signal, ((0, 0), (margin, margin)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, config.window, axis=1)[:, :: config.hop]
    change = np.abs(np.diff(windows, axis=2)).mean(2)
    extremes = windows.max(2), windows.min(2)
    return np.concatenate([windows.mean(2), windows.std(2), change, *extremes]).T


def collate(split: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> Sequences:
    """Sequences of unequal length, padded to the longest."""
    features, phases = (
        torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(s[side]) for s in split], batch_first=True, padding_value=padding
        )
        for side, padding in ((0, 0.0), (1, BACKGROUND))
    )
    lengths = torch.tensor([len(s[1]) for s in split])
    return Sequences(features.float(), lengths, torch.tensor([s[2] for s in split]), phases)
