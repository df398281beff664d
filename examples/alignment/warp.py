"""Train a small model with a loss on softdp.fsd_alignment, and align pairs that it has not seen.

python examples/alignment/warp.py     on one CPU core; writes runs/alignment/warp.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

try:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor
    from tqdm import tqdm

    import softdp
    from softdp import plot
except ImportError as error:
    reason = " ".join(str(error).split())
    print(f"warp.py: error: {reason} (this example needs softdp, matplotlib and tqdm)", file=sys.stderr)
    raise SystemExit(2) from None

EVENTS, SIGNAL, FEATURES = 16, 6, 32  # of a pair; features of an event; of a step, with noise
TRAINING, HELD_OUT = 64, 32  # pairs
GAMMA = 0.2


class Pairs(NamedTuple):
    """B pairs of sequences that show the same events, each at its own pace.

    Attributes:
        x, y: (B, N, FEATURES), (B, M, FEATURES).
        x_lengths, y_lengths: (B,).
        warp: (B, N, M), 1 where a step of x and a step of y show the same event: the known alignment.
    """

    x: Tensor
    y: Tensor
    x_lengths: Tensor
    y_lengths: Tensor
    warp: Tensor

    @property
    def lengths(self) -> dict[str, Tensor]:
        return {"x_lengths": self.x_lengths, "y_lengths": self.y_lengths}


def draw_pairs(count: int, mixing: Tensor) -> Pairs:
    """Draw pairs that hide a common signal in noise; `mixing` spreads both over all features."""
    # An event that lasts several steps in x lasts one in y, or the reverse. The warp is then one path.
    lasts = torch.randint(1, 4, (count, EVENTS))
    in_x = torch.rand(count, EVENTS) < 0.5
    longest = int(lasts.sum(1).max())
    signals = torch.randn(count, EVENTS, SIGNAL)
    sides, events, lengths = [], [], []
    for steps in (torch.where(in_x, lasts, 1), torch.where(in_x, 1, lasts)):
        # The event at a step is the number of events that ended before it. Past the last it is EVENTS.
        ends = steps.cumsum(1)
        event = (torch.arange(longest)[:, None] >= ends[:, None, :]).sum(2)
        shown = signals.gather(1, event.clamp(max=EVENTS - 1)[..., None].expand(-1, -1, SIGNAL))
        noise = torch.randn(count, longest, FEATURES - SIGNAL)
        sides.append(torch.cat([shown, noise], 2) @ mixing)
        events.append(event)
        lengths.append(ends[:, -1])
    same = events[0][:, :, None] == events[1][:, None, :]
    warp = same & (events[0] < EVENTS)[:, :, None]
    return Pairs(*sides, *lengths, warp.float())


class Aligner(torch.nn.Module):
    """Encodes each step by itself; the gap's score is learned too."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(FEATURES, 8)
        self.gap = torch.nn.Parameter(torch.zeros(()))

    def scores(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Scores for softdp: match (B, N, M), the cosines of the encoded steps, and the gap."""
        x, y = (torch.nn.functional.normalize(self.encoder(t), dim=2) for t in (pairs.x, pairs.y))
        return x @ y.mT, self.gap


def errors(model: Aligner, pairs: Pairs) -> Tensor:
    """Squared error of each expected alignment, divided by the number of its warp's cells: (B,).

    0 is perfect; 1 is an alignment of zeros.
    """
    E = softdp.fsd_alignment(*model.scores(pairs), gamma=GAMMA, boundary="anchored", **pairs.lengths)
    return (E - pairs.warp).square().sum((1, 2)) / pairs.warp.sum((1, 2))


def found(model: Aligner, pairs: Pairs) -> float:
    """Share of the warps' cells that lie on the best paths."""
    paths = softdp.fsd_path(*model.scores(pairs), boundary="anchored", **pairs.lengths)
    hits = [pairs.warp[b, i, j] for b, path in enumerate(paths.tolist()) for i, j, _ in path]
    return float(sum(hits) / pairs.warp.sum())


def train(model: Aligner, pairs: Pairs, steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    bar = tqdm(range(steps), "training", unit="step")
    for _ in bar:
        loss = errors(model, pairs).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(error=f"{loss.item():.3f}", refresh=False)


def draw_row(panels: Sequence[Axes], model: Aligner, pairs: Pairs, when: str) -> None:
    """Draw the first pair's scores and expected alignment, each with its best path and its known warp."""
    scores = model.scores(pairs)
    scored, aligned = plot.fsd_pair(*scores, gamma=GAMMA, boundary="anchored", **pairs.lengths, axes=panels)
    for panel in (scored, aligned):
        panel.lines[0].set_label("best path")
        dots = {"linestyle": "", "marker": "o", "markersize": 4, "color": "#00A6FF", "label": "known warp"}
        plot.path(pairs.warp[0].nonzero(), panel, **dots, markeredgecolor="black", markeredgewidth=0.5)
    scored.images[0].set_clim(-1, 1)
    scored.set_title(f"{when} training: match scores (cosine)")
    aligned.set_title(f"{when} training: expected alignment, error {errors(model, pairs)[0]:.3f}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="warp.py", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", metavar="K", type=int, default=150, help="training steps (default 150)")
    parser.add_argument("--seed", metavar="K", type=int, default=0, help="seed of pairs, weights (default 0)")
    out = Path("runs/alignment")
    parser.add_argument("--out", metavar="DIR", type=Path, default=out, help=f"results (default {out})")
    args = parser.parse_args(argv)
    # One thread is fastest: the tensors are small. Its sums are the same on any machine.
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    mixing, _ = torch.linalg.qr(torch.randn(FEATURES, FEATURES))
    training, held_out = draw_pairs(TRAINING, mixing), draw_pairs(HELD_OUT, mixing)
    model = Aligner()

    figure = Figure(figsize=(9.6, 8.4), layout="constrained")
    panels = figure.subplots(2, 2)
    rows = []
    for when, row in zip(("before", "after"), panels, strict=True):
        if when == "after":
            train(model, training, args.steps)
        with torch.no_grad():
            error = [errors(model, pairs).mean().item() for pairs in (training, held_out)]
            draw_row(row, model, held_out, when)
            rows.append((f"{when} training", *error, found(model, held_out), model.gap.item()))
    print("mean squared error of the expected alignment: 0 is perfect, 1 is an alignment of zeros")
    print(f"{'mean squared error':>32}{'held-out warps':>19}{'learned':>10}")
    print(f"{'':15}{'training':>9}{'held out':>11}{'on the best path':>20}{'gap':>7}")
    for name, *error, share, gap in rows:
        print(f"{name:15}{error[0]:9.3f}{error[1]:11.3f}{share:20.1%}{gap:7.2f}")
    figure.suptitle("A pair that training did not see")
    legend = figure.legend(handles=panels[0, 0].get_lines(), loc="outside lower center", ncols=2)
    legend.get_frame().set_facecolor("0.85")  # the best path is white
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "warp.png", dpi=92)
    print(f"wrote {args.out / 'warp.png'}")


if __name__ == "__main__":
    main()
