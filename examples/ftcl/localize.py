"""From snippet scores to detections: multi-threshold proposals, outer-inner contrast, NMS."""

from __future__ import annotations

import numpy as np
import torch
from config import Config
from evaluate import Detection, temporal_iou
from model import FTCL, INSTANCE, Output


@torch.no_grad()
def predict(model: FTCL, features: torch.Tensor) -> Output:
    """The model's output in evaluation mode, on the CPU, (R, T, F)."""
    model.eval()
    device = next(model.parameters()).device
    return Output(*(t.cpu() for t in model(features.to(device))))


def detect(output: Output, config: Config) -> list[list[Detection]]:
    """Detections of each of the R recordings of an output."""
    attention = output.attention[..., INSTANCE].numpy()
    probability = output.activation.softmax(2).numpy()
    video = output.video[:, INSTANCE].softmax(1).numpy()
    return [localize(*curves, config) for curves in zip(attention, probability, video, strict=True)]


def localize(
    attention: np.ndarray, probability: np.ndarray, video: np.ndarray, config: Config
) -> list[Detection]:
    """Detections of one recording.

    Shapes: instance attention (T,), class probability of each snippet (T, C + 1), of the whole
    recording (C + 1,); the background is the last class.
    """
    seconds = 1.0 / config.sample_rate
    fine_attention = upsample(attention, config.hop)
    detections = []
    for c in kept_classes(video[:-1], config.class_threshold):
        # softmax(attention x activation) never falls below 1 / (C + 1): low thresholds would do nothing.
        score = upsample(attention * probability[:, c], config.hop)
        spans = proposals([score, fine_attention], config.thresholds)
        contrast = outer_inner_contrast(score, spans, config.outer_margin)
        confidence = contrast + config.video_weight * video[c]
        for k in nms(spans, confidence, config.nms_tiou):
            start, end = spans[k] * seconds
            label = config.actions[c]
            detections.append(Detection(float(start), float(end), label, float(confidence[k])))
    return detections


def kept_classes(video: np.ndarray, threshold: float) -> list[int]:
    """The actions to localize in a recording: those above the threshold, or else the best one."""
    kept = np.flatnonzero(video > threshold)
    return kept.tolist() or [int(video.argmax())]


def upsample(curve: np.ndarray, factor: int) -> np.ndarray:
    """Interpolate linearly between the centres of snippets, (T,) -> samples (T * factor,)."""
    samples = (np.arange(len(curve) * factor) + 0.5) / factor
    return np.interp(samples, np.arange(len(curve)) + 0.5, curve)


def proposals(curves: list[np.ndarray], thresholds: tuple[float, float, float]) -> np.ndarray:
    """Distinct spans [start, end) in which a curve stays at or above a threshold, (K, 2)."""
    first, last, step = thresholds
    levels = np.linspace(first, last, round((last - first) / step) + 1)
    spans = [runs(curve >= level) for curve in curves for level in levels]
    return np.unique(np.concatenate(spans), axis=0)


def runs(mask: np.ndarray) -> np.ndarray:
    """Half-open spans of the true runs that are two samples long or longer, (L,) -> (K, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    spans = edges.reshape(-1, 2)
    return spans[spans[:, 1] - spans[:, 0] >= 2]


def outer_inner_contrast(curve: np.ndarray, spans: np.ndarray, margin: float) -> np.ndarray:
    """Mean inside each span minus the mean just outside it, (L,) and (K, 2) -> (K,).

    Outside is `margin` times the span's length on either side, cut at the recording's ends.
    """
    total = np.concatenate([[0.0], np.cumsum(curve)])
    start, end = spans[:, 0], spans[:, 1]
    width = np.ceil(margin * (end - start)).astype(int)  # never 0: a peak must stand out
    left, right = np.maximum(start - width, 0), np.minimum(end + width, len(curve))
    inner = total[end] - total[start]
    outer = total[right] - total[left] - inner
    outer_length = (right - left) - (end - start)
    return inner / (end - start) - outer / np.maximum(outer_length, 1)


def nms(spans: np.ndarray, score: np.ndarray, tiou: float) -> list[int]:
    """Indices of the kept spans, best first. A span with this tIoU or more with a better one is dropped."""
    order = np.argsort(-score, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[temporal_iou(spans[best], spans[rest]) < tiou]
    return kept
