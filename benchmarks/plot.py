"""The picture of a run: forward and backward together against the size, and the cost of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Entry, counted, curve, size

PANELS = (("fsd", "soft-DTW"), ("lcs", "lcs, gamma 0"))
# Okabe and Ito's colours, told apart by colour-blind readers; markers tell the lines apart in grey.
STYLES = {
    "softdp": ("#0072B2", "o"),
    "reference": ("#E69F00", "s"),
    "FTCL's way": ("#D55E00", "^"),
    "lean loop": ("#56B4E9", "<"),
    "pysdtw": ("#009E73", "D"),
    "tslearn": ("#CC79A7", "v"),
}
CURVES = tuple(STYLES.values())


def plot(path: Path, run: dict[str, Any]) -> None:
    """Speeds with the most threads, and the cost of a cell of one pair with each number of them."""
    most = run["threads"][-1]
    results = [e for e in run.get("throughput", []) + run.get("loops", []) if e["threads"] == most]
    ticks = list(dict.fromkeys(size(entry) for entry in results))
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    middle.sharey(left)
    for panel, cases in zip((left, middle), PANELS, strict=True):
        for case, line in zip(cases, ("-", "--"), strict=True):
            draw_case(panel, [e for e in results if e["case"] == case], ticks, line)
        panel.set_title(f"{cases[0]} (solid), {cases[1]} (dashed), {counted(most)}", fontsize=10)
        panel.set(xlabel="pairs x steps", yscale="log", xlim=(-0.3, max(len(ticks), 1) - 0.7))
        panel.set_xticks(range(len(ticks)), ticks)
    left.set_ylabel("forward + backward, Mcells/s")
    draw_curves(right, run)
    for panel in left, middle, right:
        panel.grid(axis="y", color="0.88")
        panel.spines[["top", "right"]].set_visible(False)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8, frameon=False)
    hardware = run["hardware"]
    figure.suptitle(f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['capability']}", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_case(panel: Axes, results: list[Entry], ticks: list[str], line: str) -> None:
    """A line per implementation, with a bar from the first to the third quartile."""
    for name, (colour, marker) in STYLES.items():
        entries = [e for e in results if e["implementation"] == name]
        if not entries:
            continue
        label = f"{name}, {entries[0]['case']}"
        where = [ticks.index(size(e)) for e in entries]
        style = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5, "linewidth": 1.4}
        panel.errorbar(where, *bars([e["mcells_per_s"]["both"] for e in entries]), label=label, **style)


def draw_curves(panel: Axes, run: dict[str, Any]) -> None:
    """From 0, so that what is flat looks flat."""
    lengths = sorted({e["N"] for e in run.get("curve", [])})
    for threads, (colour, marker) in zip(run["threads"], CURVES, strict=False):
        entries = curve(run, threads)
        costs = bars([e["ns_per_cell"]["both"] for e in entries])
        style = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.4}
        panel.errorbar([e["N"] for e in entries], *costs, label=counted(threads), **style)
    panel.set_title("one pair, fsd", fontsize=10)
    panel.set(xlabel="steps", ylabel="forward + backward, ns a cell")
    panel.set_ylim(bottom=0)
    if lengths:
        panel.set_xscale("log", base=2)
        panel.set_xticks(lengths, map(str, lengths))


def bars(spreads: list[dict[str, float]]) -> tuple[list[float], list[list[float]]]:
    """Medians, and the ways from them to the quartiles."""
    middle = [s["median"] for s in spreads]
    return middle, [[s["median"] - s["q1"] for s in spreads], [s["q3"] - s["median"] for s in spreads]]
