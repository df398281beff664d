"""The figure of a GPU run, against the size: softdp's cases, and soft-DTW beside the other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.figures import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, finish
from gpu.report import Results, cells, seconds

CASES = {
    "fsd": (BLUE, "o"),
    "fsd, two gaps": (SKY, "s"),
    "fsd, row and column gaps": (ORANGE, "^"),
    "fsd, gap a number": (RED, "<"),
    "lcs": (GREEN, "D"),
    "soft-DTW": (PINK, "v"),
}
OTHERS = {
    "softdp": (BLUE, "o"),
    "reference": (ORANGE, "s"),
    "pysdtw": (GREEN, "D"),
    "ddtw": (PINK, "v"),
}


def plot(path: Path | IO[bytes], run: dict[str, Any]) -> None:
    results = Results(run)
    ticks = list(dict.fromkeys((B, N) for _, B, N in results.problems()))
    figure = Figure(figsize=(12, 5), layout="constrained")
    ours, beside = figure.subplots(1, 2, sharey=True)
    for case, style in CASES.items():
        draw(ours, results, ticks, case, "softdp", "float32", style, label=case)
        draw(ours, results, ticks, case, "softdp", "bfloat16", style)
    ours.set_title("softdp: float32 (solid), bfloat16 (dashed)", fontsize=10)
    for name, style in OTHERS.items():
        draw(beside, results, ticks, "soft-DTW", name, "float32", style, label=name)
    draw(beside, results, ticks, "fsd", "FTCL's way", "float32", (BLACK, "x"), label="FTCL's way, fsd")
    beside.set_title("soft-DTW, float32", fontsize=10)
    for panel in ours, beside:
        panel.set(xlabel="pairs x steps", yscale="log", xlim=(-0.3, len(ticks) - 0.7))
        panel.set_xticks(range(len(ticks)), [f"{B}x{N}" for B, N in ticks], rotation=35, ha="right")
        finish(panel)
    ours.set_ylabel("forward + backward, Gcells/s")
    figure.suptitle(f"{run['hardware']['gpu']}, eager", fontsize=11)
    figure.savefig(path, dpi=130, format="png")


def draw(
    panel: Axes,
    results: Results,
    ticks: list[tuple[int, int]],
    case: str,
    name: str,
    dtype: str,
    style: tuple[str, str],
    label: str | None = None,
) -> None:
    """Draws a line through the sizes that were run."""
    found = [(k, results.get(case, B, N, name, dtype)) for k, (B, N) in enumerate(ticks)]
    points = [(k, cells(entry) / seconds(entry) / 1e9) for k, entry in found if entry]
    if points:
        colour, marker = style
        line = "-" if dtype == "float32" else "--"
        options = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5, "linewidth": 1.4}
        panel.plot(*zip(*points, strict=True), label=label, **options)
