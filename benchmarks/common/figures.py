"""What the figures share: colours, and the look of a panel."""

from __future__ import annotations

from matplotlib.axes import Axes

# The palette of Okabe and Ito, which colour-blind readers can tell apart. Each line has a marker of its own
# too, for prints in grey.
BLUE, ORANGE, RED, SKY, GREEN, PINK, BLACK = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#56B4E9",
    "#009E73",
    "#CC79A7",
    "#000000",
)


def finish(panel: Axes) -> None:
    """Adds horizontal grid lines and a legend, and removes the upper and the right border."""
    panel.grid(axis="y", color="0.88")
    panel.spines[["top", "right"]].set_visible(False)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=8, frameon=False)
