"""Trains a forecast with soft-DTW, the whole training with tslearn's loss and with softdp's.

It is tslearn's forecasting example. An MLP sees the first 150 steps of each series of the Trace data, which
come with tslearn, and forecasts the other 125 steps.

pip install ".[benchmarks]" && python benchmarks/cpu/client.py

Times are CPU seconds of one thread for the whole training: model, loss, backward pass, optimizer. The
trainings take turns, and a ratio is the median over rounds. Both losses must reach the same value.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with warnings.catch_warnings():  # tslearn warns of the versions of other packages
    warnings.simplefilter("ignore")
    import numba
    import torch
    from torch import Tensor, nn
    from tqdm import tqdm
    from tslearn.datasets import CachedDatasets
    from tslearn.metrics import SoftDTWLossPyTorch
    from tslearn.preprocessing import TimeSeriesScalerMeanVariance

import softdp
from common.arguments import explained, positive
from common.losses import Loss

SEEN, GAMMA, BATCH = 150, 0.1, 50


def series() -> Tensor:
    data, *_ = CachedDatasets().load_dataset("Trace")
    chosen = TimeSeriesScalerMeanVariance().fit_transform(data[:BATCH])
    return torch.tensor(chosen, dtype=torch.float32)  # (50, 275, 1)


def training(loss: Loss, data: Tensor, epochs: int) -> tuple[float, float]:
    """CPU seconds, and the loss of the last epoch."""
    torch.manual_seed(0)
    seen, following = data[:, :SEEN, 0], data[:, SEEN:]
    model = nn.Sequential(nn.Linear(SEEN, 50), nn.ReLU(), nn.Linear(50, following.shape[1]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    start = process_time()
    for _ in range(epochs):
        value = loss(following, model(seen)[:, :, None]).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return process_time() - start, value.item()


def main() -> None:
    parser = explained(__doc__)
    parser.add_argument("--epochs", type=positive, default=60)
    parser.add_argument("--rounds", type=positive, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    data = series()
    losses: dict[str, Loss] = {
        "softdp": softdp.SoftDTWLoss(gamma=GAMMA, reduction="none"),
        "tslearn": SoftDTWLossPyTorch(gamma=GAMMA),
        "no loss, the mean square": lambda x, y: (x - y).square().mean((1, 2)),
    }
    for loss in losses.values():  # compiles the kernels of numba before any is timed
        training(loss, data, 1)
    rounds = []
    for _ in tqdm(range(args.rounds), desc="rounds"):
        rounds.append({name: training(loss, data, args.epochs) for name, loss in losses.items()})
    ends = [rounds[0][name][1] for name in ("softdp", "tslearn")]
    assert abs(ends[0] - ends[1]) < 0.02 * abs(ends[1]), f"the trainings differ: {ends}"
    kernels = softdp.build_info()["cpu_selected"]
    print(f"softdp {softdp.__version__}, {kernels}, torch {torch.__version__}, 1 thread;")
    steps = f"{SEEN} steps seen, {data.shape[1] - SEEN} forecast"
    print(f"{args.epochs} epochs of {len(data)} series, {steps}, gamma {GAMMA}")
    for name in losses:
        times = [r[name][0] for r in rounds]
        ratios = [r[name][0] / r["softdp"][0] for r in rounds]
        print(f"{name}: {statistics.median(times):.2f} s, {statistics.median(ratios):.2f} of softdp's")
    print(f"last loss: softdp {ends[0]:.3f}, tslearn {ends[1]:.3f}")


if __name__ == "__main__":
    main()
