"""A short list of forward and backward passes for compute-sanitizer, under which each of them is slow.

compute-sanitizer --tool memcheck --error-exitcode 1 python tools/sanitize.py
python tools/sanitize.py --check    the same list on CPU tensors

Results are compared with the CPU operators in float64, so the kernels under a sanitizer compute right values.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import softdp

SIZES = (16, 5, 5), (16, 30, 30), (3, 64, 64), (2, 129, 257)
# Calls whose second derivative runs too.
SECOND = {"fsd", "fsd, two gaps", "fsd, row and column gaps", "fsd, strided", "fsd, ragged", "fsd, float64"}
SECOND |= {"lcs", "lcs, ragged"}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-3}


@dataclass(frozen=True)
class Call:
    """score(*scores, **options, **lengths), forward and backward. Lengths are (B,) on the scores' device."""

    name: str
    score: Callable[..., Tensor]
    scores: Sequence[Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, Tensor] = field(default_factory=dict)


def calls(B: int, N: int, M: int) -> Iterator[Call]:
    """Varies one kind of input at a time. All combinations would take hours."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    match, gap, other = uniform(B, N, M), uniform(B, N, M), uniform(B, N, M)
    row, column, each = uniform(B, N, 1), uniform(B, 1, M), uniform(B, 1, 1)
    fsd = Call("fsd", softdp.fsd_score, (match, gap), {"gamma": 0.1})
    lcs = Call("lcs", softdp.lcs_score, (match,), {"gamma": 0.1, "threshold": 0.5})
    with_number = partial(number, softdp.fsd_score)
    band = (torch.arange(N)[:, None] / N - torch.arange(M) / M).abs() > 0.5
    lengths = {
        "x_lengths": torch.linspace(N, 0, B).long(),
        "y_lengths": torch.linspace(1, M, B).int(),
    }
    outside = torch.full((B,), N)
    outside[0], outside[-1] = -1, N + 1

    yield fsd
    yield replace(fsd, name="fsd, two gaps", scores=(match, gap, other))
    yield replace(fsd, name="fsd, gap a number", score=with_number, scores=(match,))
    yield replace(fsd, name="fsd, a gap a pair", scores=(match, each))
    yield replace(fsd, name="fsd, row and column gaps", scores=(match, row, column))
    yield replace(fsd, name="fsd, column and dense gaps", scores=(match, column, gap))
    yield replace(fsd, name="fsd, anchored", options={"gamma": 0.1, "boundary": "anchored"})
    yield replace(fsd, name="fsd, anchored band", scores=(match.masked_fill(band, -math.inf), gap),
                  options={"gamma": 0.1, "boundary": "anchored"})  # fmt: skip
    strided = match.mT.contiguous().mT, uniform(B, N + 1, M + 3)[:, 1:, 3:]
    yield replace(fsd, name="fsd, strided", scores=strided)
    for call in fsd, replace(fsd, name="fsd, row and column gaps", scores=(match, row, column)), lcs:
        yield replace(call, name=f"{call.name}, gamma 0", options={**call.options, "gamma": 0.0})
        yield replace(call, name=f"{call.name}, ragged", lengths=lengths)
        for dtype in torch.bfloat16, torch.float64:
            scores = [t.to(dtype) for t in call.scores]
            yield replace(call, name=f"{call.name}, {str(dtype).removeprefix('torch.')}", scores=scores)
    yield lcs
    for call in fsd, lcs:
        yield replace(call, name=f"{call.name}, lengths out of range", lengths={"x_lengths": outside})


def number(score: Callable[..., Tensor], match: Tensor, **options: Any) -> Tensor:
    return score(match, -0.5, **options)


def results(call: Call, device: str, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Score and gradients, on the CPU. The upstream gradient differs from pair to pair."""
    # The leaves are the tensors that the operator gets, not copies of them.
    scores = [moved(t, device, dtype).requires_grad_() for t in call.scores]
    lengths = {name: t.to(device) for name, t in call.lengths.items()}
    score = call.score(*scores, **call.options, **lengths)
    upstream = torch.arange(1, len(score) + 1, dtype=score.dtype) / len(score)
    second = call.name in SECOND
    gradients = torch.autograd.grad(score, scores, upstream.to(device), create_graph=second)
    found = [score, *gradients]
    if second:
        found += torch.autograd.grad([g.square().sum() for g in gradients], scores)
    return [t.detach().cpu() for t in found]


def moved(tensor: Tensor, device: str, dtype: torch.dtype | None) -> Tensor:
    """A copy on the device, with the same strides and offset."""
    whole = tensor.detach().new_empty(0).set_(tensor.untyped_storage())
    whole = whole.to(device=device, dtype=dtype, copy=True)
    return whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def check(call: Call, device: str) -> None:
    """AssertionError where the results differ from float64 on the CPU."""
    tolerance = TOLERANCE[call.scores[0].dtype]
    found = results(call, device)
    out_of_range = "out of range" in call.name
    if out_of_range:  # on a CPU such lengths raise an error; on a GPU they give NaN
        expected = expected_out_of_range(call)
    else:
        expected = results(call, "cpu", torch.float64)
    for actual, wanted in zip(found, expected, strict=True):
        largest = wanted.nan_to_num(0, 0, 0).abs().amax().item()  # second derivatives grow with 1 / gamma
        torch.testing.assert_close(
            actual.double(), wanted, rtol=tolerance, atol=tolerance * max(1, largest), equal_nan=True,
            msg=lambda text: f"{call.name}: {text}",
        )  # fmt: skip


def expected_out_of_range(call: Call) -> list[Tensor]:
    """The lengths of the first and the last pair do not fit: their score is NaN and their gradient 0."""
    score, *gradients = results(replace(call, lengths={}), "cpu", torch.float64)
    for k in 0, -1:
        score[k] = math.nan
        for gradient in gradients:
            gradient[k] = 0
    return [score, *gradients]


def main() -> None:
    parser = argparse.ArgumentParser("sanitize.py", description="Runs passes for compute-sanitizer.")
    parser.add_argument("--check", action="store_true", help="on CPU tensors")
    device = "cpu" if parser.parse_args().check else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        parser.exit(1, "sanitize.py: error: PyTorch sees no GPU (--check runs the list on the CPU)\n")
    if device == "cuda" and not softdp.build_info()["cuda_archs"]:
        parser.exit(1, "sanitize.py: error: softdp was built without CUDA kernels\n")
    passes = 0
    for size in SIZES:
        for call in calls(*size):
            if device == "cpu" and "out of range" in call.name:
                continue
            check(call, device)
            passes += 1
    second = len(SIZES) * len(SECOND)
    print(
        f"sanitize.py: {passes} passes forward and back, {second} of them to the second order, on {device} "
        "agree with float64 on the CPU"
    )


if __name__ == "__main__":
    main()
