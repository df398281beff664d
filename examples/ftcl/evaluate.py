"""Temporal mean average precision: the ActivityNet detection metric, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Segment(NamedTuple):
    """One action instance, in seconds."""

    start: float
    end: float
    label: str


class Detection(NamedTuple):
    """One predicted instance, in seconds."""

    start: float
    end: float
    label: str
    score: float


GroundTruth = Mapping[str, Sequence[Segment]]
Predictions = Mapping[str, Sequence[Detection]]


def temporal_iou(segment: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a segment (2,) with others (K, 2) -> (K,)."""
    start = np.maximum(segment[0], others[:, 0])
    end = np.minimum(segment[1], others[:, 1])
    overlap = np.maximum(end - start, 0.0)
    union = (segment[1] - segment[0]) + (others[:, 1] - others[:, 0]) - overlap
    return overlap / np.maximum(union, np.finfo(float).tiny)


def mean_average_precision(
    ground_truth: GroundTruth, predictions: Predictions, tiou: Sequence[float]
) -> np.ndarray:
    """mAP at each tIoU threshold (K,), the mean over the classes of the ground truth."""
    labels = sorted({segment.label for video in ground_truth.values() for segment in video})
    if not labels:
        raise ValueError("the ground truth holds no segment")
    per_class = [average_precision(ground_truth, predictions, label, tiou) for label in labels]
    return np.mean(per_class, axis=0)


def average_precision(
    ground_truth: GroundTruth, predictions: Predictions, label: str, tiou: Sequence[float]
) -> np.ndarray:
    """AP of one class at each tIoU threshold (K,)."""
    truth = {
        video: np.array([segment[:2] for segment in segments if segment.label == label])
        for video, segments in ground_truth.items()
    }
    positives = sum(len(segments) for segments in truth.values())
    ranked = sorted(
        ((d.score, video, d) for video, ds in predictions.items() for d in ds if d.label == label),
        key=lambda entry: -entry[0],
    )
    hits = np.zeros((len(tiou), len(ranked)))
    taken = {video: np.zeros((len(tiou), len(segments)), bool) for video, segments in truth.items()}
    for rank, (_, video, detection) in enumerate(ranked):
        if len(truth.get(video, ())) == 0:
            continue
        overlaps = temporal_iou(np.array(detection[:2]), truth[video])
        best_first = np.argsort(-overlaps, kind="stable")
        for level, threshold in enumerate(tiou):
            # If another detection has taken the best segment, this one may take the second best.
            free = (overlaps[best_first] >= threshold) & ~taken[video][level, best_first]
            if free.any():
                taken[video][level, best_first[free.argmax()]] = True
                hits[level, rank] = 1
    return np.array([interpolated_precision(row, positives) for row in hits])


def interpolated_precision(hits: np.ndarray, positives: int) -> float:
    """Area under the precision envelope of ranked hits (R,), as in Pascal VOC 2011."""
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(envelope * hits) / positives)
