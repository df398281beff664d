"""The figure of a CPU run: speed against the size, and the time of a cell against the length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.figures import BLUE, GREEN, ORANGE, PINK, RED, SKY, finish
from common.tables import Entry, size
from cpu.report import curve
from cpu.threads import counted

PANELS = (("fsd", "soft-DTW"), ("lcs", "lcs, gamma 0"))
STYLES = {
    "softdp": (BLUE, "o"),
    "reference": (ORANGE, "s"),
    "FTCL's way": (RED, "^"),
    "lean loop": (SKY, "<"),
    "pysdtw": (GREEN, "D"),
    "tslearn": (PINK, "v"),
}
CURVES = tuple(STYLES.values())


def plot(path: Path, run: dict[str, Any]) -> None:
    """Speeds are with the most threads. The time of a cell of one pair is with each number of threads."""
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
        finish(panel)
    hardware = run["hardware"]
    figure.suptitle(f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['capability']}", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_case(panel: Axes, results: list[Entry], ticks: list[str], line: str) -> None:
    """A line for each implementation, with bars from the first to the third quartile."""
    for name, (colour, marker) in STYLES.items():
        entries = [e for e in results if e["implementation"] == name]
        if not entries:
            continue
        label = f"{name}, {entries[0]['case']}"
        where = [ticks.index(size(e)) for e in entries]
        style = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5, "linewidth": 1.4}
        panel.errorbar(where, *bars([e["mcells_per_s"]["both"] for e in entries]), label=label, **style)


def draw_curves(panel: Axes, run: dict[str, Any]) -> None:
    """The vertical axis starts at 0, so that a flat curve looks flat."""
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
    """Medians, and the distances from them to the quartiles."""
    middle = [s["median"] for s in spreads]
    return middle, [[s["median"] - s["q1"] for s in spreads], [s["q3"] - s["median"] for s in spreads]]
