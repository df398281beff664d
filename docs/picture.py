"""The pictures of README and of the recipes: two recordings of one movement at different paces, and how
softdp aligns them; a query found in a long recording; a bandwidth; a local alignment.

python docs/picture.py          writes docs/assets/*.png; needs pip install ".[plot]"
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure

import softdp
import softdp.plot

ASSETS = Path(__file__).parent / "assets"
N, M = 60, 80
X, Y = "C0", "C1"


def movement(time: torch.Tensor) -> torch.Tensor:
    """Two bumps and a dip, at times from 0 to 1."""
    bumps = [(0.25, 0.05, 1.0), (0.5, 0.06, -0.7), (0.75, 0.04, 0.8)]
    return sum(height * torch.exp(-(((time - at) / width) ** 2)) for at, width, height in bumps)


def alignment() -> None:
    """README's picture."""
    torch.manual_seed(0)
    x = movement(torch.linspace(0, 1, N)) + 0.03 * torch.randn(N)
    y = movement(torch.linspace(0, 1, M) ** 1.8) + 0.03 * torch.randn(M)  # slow first, then fast
    cost = softdp.squared_euclidean(x[None, :, None], y[None, :, None]).requires_grad_()
    value = softdp.soft_dtw(cost, gamma=0.02)
    value.sum().backward()
    best = softdp.soft_dtw_path(cost)

    figure = Figure(figsize=(11.5, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.25, 1, 1])
    left.plot(torch.arange(N), x + 2.2, color=X, label=f"x, {N} steps")
    left.plot(torch.arange(M), y, color=Y, label=f"y, {M} steps")
    for i, j, _ in best.tolist()[0][::3]:
        left.plot([i, j], [x[i] + 2.2, y[j]], color="0.75", linewidth=0.8, zorder=0)
    left.set(title="two sequences, aligned by softdp", xlabel="step", yticks=[], ylim=(-1.1, 4.2))
    left.legend(loc="upper right", ncols=2, frameon=False)
    softdp.plot.matrix(cost[0], middle, label="squared distance", cmap="viridis")
    softdp.plot.path(best, middle)
    middle.set_title("cost of each pair of steps,\nand the path of least cost")
    softdp.plot.matrix(cost.grad[0], right, label="probability", cmap="magma", vmin=0, vmax=1)
    right.set_title("gradient of soft-DTW:\nprobability that a path takes the cell")
    figure.savefig(ASSETS / "alignment.png", dpi=110)
    print(f"soft-DTW {value.item():.3f}; wrote {ASSETS / 'alignment.png'}")


def query() -> None:
    """The picture of the recipe that finds a query in a recording."""
    torch.manual_seed(0)
    part, recording = torch.randn(1, 20, 3), 0.5 * torch.randn(1, 200, 3)
    recording[:, 80:120] = part.repeat_interleave(2, dim=1)
    cost = softdp.squared_euclidean(part, recording)
    best = softdp.soft_dtw_path(cost, boundary="subsequence")
    E = softdp.soft_dtw_alignment(cost, gamma=1.0, boundary="subsequence")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    softdp.plot.matrix(cost[0], above, label="squared distance", cmap="viridis")
    softdp.plot.path(best, above)
    above.set(title="cost of each pair of steps, and the path of least cost", xlabel="", ylabel="query")
    softdp.plot.matrix(E[0], below, label="probability", cmap="magma", vmin=0, vmax=1)
    below.set(title="probability that a path takes the cell", xlabel="recording (steps)", ylabel="query")
    figure.savefig(ASSETS / "query.png", dpi=110)
    print(f"wrote {ASSETS / 'query.png'}")


def band() -> None:
    """The picture of the recipe that chooses a bandwidth: README's two recordings."""
    torch.manual_seed(0)
    x = movement(torch.linspace(0, 1, N)) + 0.03 * torch.randn(N)
    y = movement(torch.linspace(0, 1, M) ** 1.8) + 0.03 * torch.randn(M)
    cost = softdp.squared_euclidean(x[None, :, None], y[None, :, None])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, width in zip(panels, (16, 8), strict=True):
        best = softdp.soft_dtw_path(cost, bandwidth=width)
        softdp.plot.matrix(cost[0], panel, label="squared distance", cmap="viridis")
        softdp.plot.band(panel, N, M, width)
        softdp.plot.path(best, panel)
        panel.set_title(
            f"bandwidth {width}: DTW {softdp.soft_dtw(cost, gamma=0.0, bandwidth=width).item():.2f}"
        )
    figure.savefig(ASSETS / "band.png", dpi=110)
    print(f"wrote {ASSETS / 'band.png'}")


def local() -> None:
    """The picture of the recipe of local alignments: two strings that share a part."""
    a, b = "TTTACGTACGGTAATCC", "GGCACGACGGTCCCATA"
    x, y = (torch.tensor([["ACGT".index(c) for c in s]]) for s in (a, b))
    match = torch.where(x[:, :, None] == y[:, None], 1.0, -1.0)
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    panels = figure.subplots(1, 2)
    softdp.plot.smith_waterman_pair(match, -0.5, gap_open=-1.5, gamma=0.5, axes=panels)
    for panel in panels:
        panel.set(xticks=range(len(b)), xticklabels=list(b), yticks=range(len(a)), yticklabels=list(a))
        panel.set(xlabel="", ylabel="")
    figure.savefig(ASSETS / "local.png", dpi=110)
    print(f"wrote {ASSETS / 'local.png'}")


def main() -> None:
    ASSETS.mkdir(exist_ok=True)
    alignment()
    query()
    band()
    local()


if __name__ == "__main__":
    main()
