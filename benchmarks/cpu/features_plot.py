"""The figure of cpu/features.py: the time of a cell and the memory of a pass against the length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.figures import BLUE, GREEN, RED, finish
from common.tables import Entry, size

FEATURES = 64  # shown where they were measured, else the most that were
STYLES = {"soft_dtw_loss": (BLUE, "o"), "fsd_loss": (RED, "s"), "lcs_loss": (GREEN, "^")}


def plot(path: Path, run: dict[str, Any]) -> None:
    """Makes no figure where none of these losses was measured."""
    measured = [e for e in run["entries"] if e["loss"] in STYLES and e["gamma"] == run["entries"][0]["gamma"]]
    if not measured:
        return
    found = {e["D"] for e in measured}
    features = FEATURES if FEATURES in found else max(found)
    entries = [e for e in measured if e["D"] == features]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for loss in STYLES:
        own = sorted((e for e in entries if e["loss"] == loss), key=lambda e: e["N"])
        draw(left, own, loss, nanoseconds, lambda e: nanoseconds(e) * e["ratios"]["matrix"])
        draw(right, own, loss, lambda e: megabytes(e["bytes"]), lambda e: megabytes(e["matrix_bytes"]))
    left.set_ylabel("ns a cell, forward and backward, 1 thread")
    right.set_ylabel("MB above features and gradients")
    sizes = {e["N"]: size(e) for e in entries}
    for panel in left, right:
        panel.set(xlabel="pairs x steps", xscale="log", yscale="log")
        panel.set_xticks([*sizes], [*sizes.values()])
        panel.minorticks_off()
        finish(panel)
    left.set_yticks((3, 5, 10, 20, 40), (3, 5, 10, 20, 40))
    hardware = run["machine"]["hardware"]
    figure.suptitle(f"{features} features, {hardware['cpu']}, {hardware['capability']}", fontsize=11)
    figure.savefig(path, dpi=130)


def draw(panel: Axes, entries: list[Entry], loss: str, own: Any, by_matrix: Any) -> None:
    """Solid: from features. Dashed: through matrices, where that was measured."""
    colour, marker = STYLES[loss]
    measured = [e for e in entries if "matrix" in e["ratios"] and e.get("matrix_bytes")]
    for chosen, value, line, label in (
        (entries, own, "-", loss),
        (measured, by_matrix, "--", f"{loss}, through matrices"),
    ):
        where = [e["N"] for e in chosen]
        panel.plot(where, [value(e) for e in chosen], line, color=colour, marker=marker, label=label)


def nanoseconds(entry: Entry) -> float:
    return 1e6 * entry["ms"] / (entry["B"] * entry["N"] ** 2)


def megabytes(count: float) -> float:
    return count / 1e6
