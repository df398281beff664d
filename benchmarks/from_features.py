"""soft_dtw_loss, from features to their gradients, beside other ways in one process.

Beside it: the same through a matrix of costs, soft_dtw(squared_euclidean(x, y)), and pysdtw and tslearn.

pip install ".[benchmarks]" && python benchmarks/from_features.py

The costs are part of what is timed; run.py times the sweep of a cost matrix that is there already.
A round times one pass of each library, in CPU seconds of one thread, which other programs disturb less than
seconds on the wall. A ratio is the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from time import process_time

with warnings.catch_warnings():  # the peers' warnings about each other's versions
    warnings.simplefilter("ignore")
    import numba
    import pysdtw
    import torch
    from torch import Tensor
    from tslearn.metrics import SoftDTWLossPyTorch

import softdp

GAMMA = 0.1
SIZES = "64x64", "64x256", "8x1024"
FEATURES = 8, 64, 256


def ours(x: Tensor, y: Tensor) -> Tensor:
    return softdp.soft_dtw_loss(x, y, gamma=GAMMA, reduction="none")


PEERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matrix": lambda x, y: softdp.soft_dtw(softdp.squared_euclidean(x, y), gamma=GAMMA),
    "pysdtw": pysdtw.SoftDTW(gamma=GAMMA, use_cuda=False),
    "tslearn": SoftDTWLossPyTorch(gamma=GAMMA),
}


def seconds(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    start = process_time()
    torch.autograd.grad(loss(x, y).sum(), (x, y))
    return process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--features", type=int, nargs="+", default=FEATURES)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="pairs x steps, such as 64x256")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=[*PEERS], help="tslearn takes minutes")
    args = parser.parse_args()
    peers = {name: PEERS[name] for name in args.peers}
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    torch.manual_seed(0)
    print(f"softdp {softdp.__version__}, {softdp.build_info()['cpu_selected']}, torch {torch.__version__}, "
          f"1 thread; forward and backward, float32, gamma {GAMMA}")  # fmt: skip
    print("\n| pairs x steps | features | softdp, ms | " + " | ".join(f"{p} / softdp" for p in peers) + " |")
    print("| --- | --- | --- |" + " --- |" * len(peers))
    for size in args.sizes:
        B, N = map(int, size.split("x"))
        for D in args.features:
            x, y = (torch.randn(B, N, D, requires_grad=True) for _ in range(2))
            expected = ours(x.double(), y.double())
            for loss in (ours, *peers.values()):  # agreement first; compiles numba's kernels too
                torch.testing.assert_close(loss(x, y).double(), expected, rtol=1e-5, atol=0)
                seconds(loss, x, y)
            rounds = [[seconds(loss, x, y) for loss in (ours, *peers.values())] for _ in range(args.rounds)]
            mine = 1e3 * statistics.median(times[0] for times in rounds)
            ratios = [statistics.median(t[k] / t[0] for t in rounds) for k in range(1, len(peers) + 1)]
            cells = " | ".join(f"{ratio:.1f}" for ratio in ratios)
            print(f"| {size} | {D} | {mine:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
