"""The two pictures: a query's nearest sequences under three scores, and FSD's alignment of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from config import Config
from data import BACKGROUND, Sequences
from evaluate import average_precision
from fit import embed
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from scores import cosines, pair_lengths
from torch import Tensor, nn

import softdp

# Okabe and Ito's colours: colour-blind readers can tell them apart.
COLOURS = {"standing": "#E69F00", "walking": "#0072B2", "running": "#D55E00", "badminton": "#009E73"}
GREY = "#DDDDDD"  # background
SAMPLE_RATE = 10  # Hz
SHOWN = 8  # nearest sequences
COLUMNS = {"pool": "blind to order", "diagonal": "by index", "FSD": "aligned"}


def plot_neighbours(path: Path, tables: dict[str, Tensor], test: Sequences, config: Config) -> int:
    """Draw a query and its nearest test sequences under each of COLUMNS. Returns the query.

    The query is a typical one: the lead of its average precision under FSD over that under the diagonal is
    the median of all queries.
    """
    precision = {method: average_precision(tables[method], test.orders) for method in COLUMNS}
    gain = precision["FSD"] - precision["diagonal"]
    query = int(gain.argsort(stable=True)[len(gain) // 2])
    figure = Figure(figsize=(10.5, 4.3), layout="constrained")
    head, *panels = figure.subplot_mosaic(
        [[".", "query", "."], list(COLUMNS)], height_ratios=[1, SHOWN], sharex=True
    ).values()
    draw_phases(head, query, 0, test, config)
    head.set_title("query", fontsize=10)
    head.set_yticks([])
    for panel, (method, kind) in zip(panels, COLUMNS.items(), strict=True):
        nearest = tables[method][query].argsort(descending=True, stable=True)[:SHOWN]
        labels = []
        for row, other in enumerate(nearest.tolist()):
            right = bool(test.orders[other] == test.orders[query])
            draw_phases(panel, other, row, test, config, framed=right)
            labels.append(f"{row + 1} " + ("\N{CHECK MARK}" if right else "\N{BALLOT X}"))
        panel.set_yticks(range(SHOWN), labels)
        panel.set_title(f"{method}, {kind}: AP {100 * precision[method][query]:.0f}%", fontsize=10)
        panel.set_xlabel("time (s)")
    for panel in (head, *panels):
        panel.invert_yaxis()
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    head.spines["bottom"].set_visible(False)
    head.tick_params(axis="x", length=0, labelbottom=False)
    frame = Patch(facecolor="none", edgecolor="black", label="\N{CHECK MARK} the query's order")
    figure.legend(
        handles=[*legend(config), frame], loc="outside lower center", ncols=6, frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=110)
    return query


def draw_phases(
    panel: Axes, sequence: int, row: int, test: Sequences, config: Config, framed: bool = False
) -> None:
    """Draw a sequence's phases over time as a bar."""
    hop = config.hop / SAMPLE_RATE
    for start, end, colour in runs(sequence, test, config):
        panel.broken_barh([(start * hop, (end - start) * hop)], (row - 0.36, 0.72), color=colour, linewidth=0)
    if framed:
        end = int(test.lengths[sequence]) * hop
        panel.add_patch(Rectangle((0, row - 0.36), end, 0.72, fill=False, linewidth=1.4, clip_on=False))


def runs(sequence: int, test: Sequences, config: Config) -> list[tuple[int, int, str]]:
    """Start, end (excluded) and colour of each phase of a sequence, in snippets."""
    phases = test.phases[sequence, : test.lengths[sequence]].numpy()
    bounds = [0, *(np.flatnonzero(np.diff(phases)) + 1), len(phases)]
    colours = {k: COLOURS[action] for k, action in enumerate(config.actions)} | {BACKGROUND: GREY}
    return [(a, b, colours[int(phases[a])]) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def legend(config: Config) -> list[Patch]:
    patches = [Patch(color=COLOURS[action], label=action) for action in config.actions]
    return patches + (
        [Patch(color=GREY, label=f"{config.background}: background")] if config.background else []
    )


def plot_alignment(
    path: Path, query: int, model: nn.Module, table: Tensor, test: Sequences, config: Config
) -> None:
    """Draw FSD's alignment of the query with the nearest sequences of its own order and of another."""
    same = test.orders == test.orders[query]
    nearest = [int(table[query].masked_fill(~those, -torch.inf).argmax()) for those in (same, ~same)]
    pairs = torch.tensor([[query, other] for other in nearest])
    with torch.no_grad():
        batch = embed(model, test)
        match, gap = cosines(batch, pairs, heads=2)
        gamma = config.settings["FSD"].gamma
        mass = softdp.fsd_alignment(match, gap, gamma=gamma, **pair_lengths(batch, pairs))
    figure = Figure(figsize=(10.5, 5.4), layout="constrained")
    panels = figure.subplots(1, 2)
    kinds = "nearest of the query's order", "nearest of another order"
    for panel, other, cells, kind in zip(panels, nearest, mass, kinds, strict=True):
        image = draw_alignment(panel, query, other, cells, test, config)
        panel.set_title(f"{kind}: score {table[query, other]:.2f}", fontsize=10)
    figure.colorbar(image, ax=panels, shrink=0.7, label="expected alignment (d score / d match)")
    figure.legend(handles=legend(config), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def draw_alignment(panel: Axes, query: int, other: int, cells: Tensor, test: Sequences, config: Config):
    """Draw the share of paths through each cell, with the phases of both sequences along the edges."""
    hop = config.hop / SAMPLE_RATE
    N, M = (int(test.lengths[s]) for s in (query, other))
    edge = 0.06 * max(N, M) * hop
    extent = (0, M * hop, N * hop, 0)
    image = panel.imshow(cells[:N, :M].numpy(), cmap="Greys", vmin=0, vmax=1, extent=extent, aspect="equal")
    for start, end, colour in runs(query, test, config):
        panel.add_patch(Rectangle((-1.3 * edge, start * hop), edge, (end - start) * hop, color=colour, lw=0))
    for start, end, colour in runs(other, test, config):
        panel.add_patch(Rectangle((start * hop, -1.3 * edge), (end - start) * hop, edge, color=colour, lw=0))
    for boundary, *_ in runs(query, test, config)[1:]:
        panel.hlines(boundary * hop, 0, M * hop, color="#BBBBBB", linewidth=0.6)
    for boundary, *_ in runs(other, test, config)[1:]:
        panel.vlines(boundary * hop, 0, N * hop, color="#BBBBBB", linewidth=0.6)
    panel.set(xlim=(-1.5 * edge, M * hop), ylim=(N * hop, -1.5 * edge))
    panel.set(ylabel="query: time (s)", xlabel="the other sequence: time (s)")
    panel.spines[:].set_visible(False)
    return image
