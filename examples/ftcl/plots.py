"""The two pictures: the detections in time, and FSD's alignment of two pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from config import Config
from data import Pairs, TestSet, TrainingSet
from evaluate import Detection, Segment
from localize import detect, predict
from losses import fsd_candidates
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from model import FTCL, INSTANCE, Output, ranked_snippets
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import softdp
from softdp import plot

# Okabe and Ito's colours: colour-blind readers can tell them apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73")
SHOWN = 6  # the best detections of a recording: many weak ones would hide them


def plot_timeline(path: Path, model: FTCL, test: TestSet, config: Config) -> None:
    """Draw ground truth, attention, class activations and detections of some test recordings.

    These are, for each action, the first recording that starts with it.
    """
    first = [segments[0].label for segments in test.segments.values()]
    shown = [first.index(action) for action in config.actions if action in first]
    names = list(test.segments)
    output = predict(model, test.features[shown])
    figure = Figure(figsize=(10, 2.6 * len(shown) + 0.8), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for row, (panel, r, found) in enumerate(zip(panels, shown, detect(output, config), strict=True)):
        draw_curves(panel, output, row, config)
        draw_bars(panel, test.segments[names[r]], found, config)
        panel.set_title(f"recording {names[r]!r}", loc="left", fontsize=10)
    panels[-1].set_xlabel("time (s)")
    legend = panels[0].get_lines()[:1]
    legend += [Patch(color=c, label=a) for c, a in zip(COLOURS, config.actions, strict=True)]
    figure.legend(handles=legend, loc="outside upper center", ncols=len(legend), frameon=False)
    figure.savefig(path, dpi=110)


def draw_curves(panel: Axes, output: Output, row: int, config: Config) -> None:
    """Draw instance attention and, in colours, the actions' class activations as probabilities."""
    hop = config.hop / config.sample_rate
    time = (np.arange(output.attention.shape[1]) + 0.5) * hop
    attention = output.attention[row, :, INSTANCE].numpy()
    activation = output.activation[row].softmax(1).numpy()
    panel.plot(time, attention, color="black", linewidth=1.3, label="instance attention")
    for c, colour in enumerate(COLOURS):
        panel.fill_between(time, activation[:, c], color=colour, alpha=0.25, linewidth=0)
        panel.plot(time, activation[:, c], color=colour, linewidth=0.8)
    panel.set(xlim=(0, config.recording_samples / config.sample_rate))
    panel.spines[["top", "right"]].set_visible(False)


def draw_bars(panel: Axes, truth: list[Segment], found: list[Detection], config: Config) -> None:
    """Draw ground truth above the curves and detections below; overlapping ones go to lower lanes."""
    colour_of = dict(zip(config.actions, COLOURS, strict=True))
    for s in truth:
        panel.broken_barh([(s.start, s.end - s.start)], (1.1, 0.2), color=colour_of[s.label])
    lanes: list[list[Detection]] = []
    for d in sorted(found, key=lambda d: -d.score)[:SHOWN]:
        k = 0
        while k < len(lanes) and any(d.start < o.end and o.start < d.end for o in lanes[k]):
            k += 1
        lanes[k:] = lanes[k:] or [[]]
        lanes[k].append(d)
        colour = colour_of[d.label]
        fill = to_rgba(colour, min(max(d.score, 0.0), 1.0))
        span = [(d.start, d.end - d.start)]
        panel.broken_barh(span, (-0.23 - 0.16 * k, 0.13), facecolor=fill, edgecolor=colour)
    labels = f"best {SHOWN} detections\n(darker: better)", "0", "0.5", "1", "ground truth"
    panel.set_yticks([-0.3, 0, 0.5, 1, 1.2], labels)
    panel.set_ylim(-0.26 - 0.16 * max(len(lanes), 2), 1.36)


def plot_alignment(path: Path, model: FTCL, train: TrainingSet, config: Config) -> None:
    """Draw FSD's match scores and path mass of a positive and a negative training pair."""
    pairs = Pairs(train.labels, config.pairs)
    drawn = torch.stack([pairs.positive[0], pairs.negative[0]])
    x, y = (predict(model, train.features[side]) for side in drawn.T)
    with torch.no_grad():
        features = fsd_candidates(model, x, y, torch.tensor([True, False]), config)
        match, gap = cosines(*features)
        mass = softdp.fsd_alignment(match, gap, gamma=config.fsd_gamma)
    x_times, y_times = candidate_times(x, y, config)
    figure = Figure(figsize=(9, 7.8), layout="constrained")
    panels = figure.subplots(2, 2)
    kinds = "positive pair: action against action", "negative pair: action against background"
    for p, kind in enumerate(kinds):
        for panel, table, title, colours, low in (
            (panels[p, 0], match[p], "match score (cosine)", "PuOr", -1),
            (panels[p, 1], mass[p], "path mass (d score / d match)", "cividis", 0),
        ):
            plot.matrix(table, panel, label=title, cmap=colours, vmin=low, vmax=1, values=".2f")
            panel.set_title(kind, fontsize=10)
            # Candidates can be any snippets: their times are no multiples of a step.
            panel.set_yticks(range(len(x_times[p])), [f"{t:.1f}" for t in x_times[p]])
            panel.set_xticks(range(len(y_times[p])), [f"{t:.1f}" for t in y_times[p]])
            panel.set(ylabel="candidates of x: time (s)", xlabel="candidates of y: time (s)")
    figure.savefig(path, dpi=100)


def cosines(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The scores of fsd_loss: match from the first half of the features, gap from the second."""
    halves = zip(x.chunk(2, dim=2), y.chunk(2, dim=2), strict=True)
    match, gap = (F.normalize(a, dim=2) @ F.normalize(b, dim=2).mT for a, b in halves)
    return match, gap


def candidate_times(x: Output, y: Output, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Centres, in seconds, of the candidates of a positive (row 0) and a negative pair: (2, K) each."""
    K = config.fsd_candidates
    hop = config.hop / config.sample_rate
    x_picked = ranked_snippets(x.attention[..., INSTANCE], 0, K)
    y_action = ranked_snippets(y.attention[:1, :, INSTANCE], 0, K)
    y_background = ranked_snippets(y.attention[1:, :, INSTANCE], K, 2 * K)
    y_picked = torch.cat([y_action, y_background])
    return (x_picked.numpy() + 0.5) * hop, (y_picked.numpy() + 0.5) * hop
