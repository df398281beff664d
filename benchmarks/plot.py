"""The picture of a run: forward and backward together against the size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Entry, size

PANELS = (("fsd", "soft-DTW"), ("lcs", "lcs, gamma 0"))
# Okabe and Ito's colours, told apart by colour-blind readers; markers tell the lines apart in grey.
STYLES = {
    "softdp": ("#0072B2", "o"),
    "softdp, from costs": ("#000000", "."),
    "reference": ("#E69F00", "s"),
    "FTCL's way": ("#D55E00", "^"),
    "lean loop": ("#56B4E9", "<"),
    "pysdtw": ("#009E73", "D"),
    "tslearn": ("#CC79A7", "v"),
}


def plot(path: Path, run: dict[str, Any]) -> None:
    results = run["results"]
    ticks = list(dict.fromkeys(size(entry) for entry in results))
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, cases in zip(panels, PANELS, strict=True):
        for case, line in zip(cases, ("-", "--"), strict=True):
            draw_case(panel, [e for e in results if e["case"] == case], ticks, line)
        panel.set_title(f"{cases[0]} (solid), {cases[1]} (dashed)", fontsize=10)
        panel.set(xlabel="pairs x steps", yscale="log", xlim=(-0.3, len(ticks) - 0.7))
        panel.set_xticks(range(len(ticks)), ticks)
        panel.grid(axis="y", color="0.88")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    panels[0].set_ylabel("forward + backward, Mcells/s")
    hardware, threads = run["hardware"], run["threads"]
    figure.suptitle(f"{hardware['cpu']}, {threads['torch']} threads, {hardware['capability']}", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_case(panel: Axes, results: list[Entry], ticks: list[str], line: str) -> None:
    """A line per implementation, with a bar from the first to the third quartile."""
    for name, (colour, marker) in STYLES.items():
        entries = [e for e in results if e["implementation"] == name]
        if not entries:
            continue
        speeds = [e["mcells_per_s"]["both"] for e in entries]
        middle = [s["median"] for s in speeds]
        bars = [[s["median"] - s["q1"] for s in speeds], [s["q3"] - s["median"] for s in speeds]]
        label = f"{name}, {entries[0]['case']}"
        where = [ticks.index(size(e)) for e in entries]
        style = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5, "linewidth": 1.4}
        panel.errorbar(where, middle, bars, label=label, **style)
