"""The picture of from_features.py: the cost of a cell and the memory of a pass against the length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

FEATURES = 64
LOSSES = ("soft_dtw_loss", "fsd_loss", "lcs_loss")
# Okabe and Ito's colours, told apart by colour-blind readers; markers tell the lines apart in grey.
STYLES = {"soft_dtw_loss": ("#0072B2", "o"), "fsd_loss": ("#D55E00", "s"), "lcs_loss": ("#009E73", "^")}

Entry = dict[str, Any]


def plot(path: Path, run: dict[str, Any]) -> None:
    entries = [e for e in run["entries"] if e["D"] == FEATURES and e["gamma"] == run["entries"][0]["gamma"]]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for loss in LOSSES:
        own = sorted((e for e in entries if e["loss"] == loss), key=lambda e: e["N"])
        draw(left, own, loss, lambda e: nanoseconds(e), lambda e: nanoseconds(e) * e["ratios"]["matrix"])
        draw(right, own, loss, lambda e: megabytes(e["bytes"]), lambda e: megabytes(e["matrix_bytes"]))
    left.set_ylabel("ns a cell, forward and backward, 1 thread")
    right.set_ylabel("MB above features and gradients")
    sizes = {e["N"]: f"{e['B']}x{e['N']}" for e in entries}
    for panel in left, right:
        panel.set(xlabel="pairs x steps", xscale="log", yscale="log")
        panel.set_xticks([*sizes], [*sizes.values()])
        panel.minorticks_off()
        panel.grid(axis="y", color="0.88")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    left.set_yticks((3, 5, 10, 20, 40), (3, 5, 10, 20, 40))
    hardware = run["machine"]["hardware"]
    figure.suptitle(f"{FEATURES} features, {hardware['cpu']}, {hardware['capability']}", fontsize=11)
    figure.savefig(path, dpi=130)


def draw(panel: Axes, entries: list[Entry], loss: str, own: Any, by_matrix: Any) -> None:
    """From features, and dashed through matrices, where that was measured."""
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
