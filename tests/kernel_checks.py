"""What the tests of the CUDA kernels' sources share: one problem run under several schedules, and the
comparison with the reference in float64. tests/kernels runs the sources on the CPU.

Every problem runs under two of three schedules, whose results must be the same bit for bit: others where
pairs are few than where they are many. Every output starts as NaN between canaries, so that a number that is
not written, or written beside the output, shows.
"""

import sys

import harness
import pytest
import torch
from helpers import close, score_and_gradients, scores

import softdp

F32 = torch.float32
GAMMA = 0.1
ALL_BLOCKS = 1 << 30
# The order of turns, blocks at once, the seed, a block's shared memory in KiB: bands of 4, 3 and 2 strips.
SCHEDULES = [("forward", ALL_BLOCKS, 1, 227), ("reverse", 2, 1, 99), ("random", 3, 7, 64)]
REGIMES = [(11, 13), (70, 50), (150, 40)]  # one size each
TOLERANCE = {torch.float64: 1e-10, F32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
ROUNDED_WEIGHTS = 5e-5  # of 16 bits, in float, of the recurrences that have gaps


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The tables are small: PyTorch's threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["many", "few"], autouse=True)
def pairs(request, monkeypatch):
    """Each test runs as on a device that the pairs fill, and as on one where they are few."""
    monkeypatch.setattr(sys.modules[__name__], "are_few", request.param == "few")


are_few = False


def take_schedule(schedule, multiprocessors):
    """csrc/cuda/relay.h sweeps no more strips than multiprocessors, where a block may have 128 KiB."""
    order, resident, seed, shared = schedule
    if multiprocessors:
        shared = max(shared, 128)
    harness.module().schedule(order, resident, seed, shared, multiprocessors)


def run(recurrence, inputs, schedules=SCHEDULES, **options):
    """One result of all schedules, which must agree bit for bit."""
    if schedules is SCHEDULES:
        schedules = SCHEDULES[:2] if are_few else SCHEDULES[::2]
    results = []
    for schedule in schedules:
        take_schedule(schedule, 1000 if are_few else 0)
        results.append(harness.run(recurrence, inputs, **options))
    for other in results[1:]:
        for found, wanted in zip(outputs(other), outputs(results[0]), strict=True):
            assert same_bits(found, wanted), f"schedules {schedules} do not agree"
    return results[0]


def equal(a, b, gaps):
    """Bit for bit; nearly so of few pairs with a gap that is summed over rows: another kernel sweeps them."""
    nearly = are_few and "column" in gaps
    if nearly:
        close(a, b, 1e-6)
    return nearly or torch.equal(a, b)


def outputs(result):
    some = [*result.gradients, result.ends]
    return [result.score, *(t for t in some if t is not None), *result.boundary.values()]


def same_bits(a, b):
    return torch.equal(a, b) if a.dtype == torch.uint8 else torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7))


def exactly(recurrence, inputs, library=softdp.reference, weight=None, **options):
    """Score and gradients of the score's sum, by the library in float64."""
    score = getattr(library, f"{recurrence}_score")
    if recurrence == "lcs":  # the kernels compare with the threshold in their own precision
        half = inputs[0].dtype in harness.HALF
        options["threshold"] = torch.tensor(options["threshold"]).to(F32 if half else inputs[0].dtype).item()
    return score_and_gradients(score, [None if t is None else t.double() for t in inputs], **options)


def reduced(gradient, like):
    """The kernels sum over rows and columns; over a batch of one table, PyTorch does."""
    gradient = gradient.double()
    return gradient.sum(0, keepdim=True) if like.shape[0] == 1 else gradient


def tolerance(recurrence, dtype):
    """Of a gradient."""
    rounded = ROUNDED_WEIGHTS if recurrence != "lcs" and dtype != torch.float64 else 0.0
    return max(TOLERANCE[dtype], rounded)


def check(recurrence, inputs, library=softdp.reference, schedules=SCHEDULES, slack=1.0, **options):
    """Runs the kernels and compares score and gradients with the library's in float64."""
    found = run(recurrence, inputs, schedules, **options)
    score, gradients = exactly(recurrence, inputs, library, **options)
    dtype = inputs[0].dtype
    # A score is gamma times the logarithm of a number that is itself rounded.
    close(found.score.double(), score, max(1, options["gamma"]) * (1e-10 if dtype == torch.float64 else 1e-6))
    for i, (gradient, wanted) in enumerate(zip(found.gradients, gradients, strict=False)):
        if wanted is None:
            assert gradient is None
        else:
            close(reduced(gradient, inputs[i]), wanted, slack * tolerance(recurrence, dtype))
    assert_padding_is_zero(found, inputs[0].shape, options)
    return found


def assert_padding_is_zero(found, size, options):
    rows, columns = (
        torch.full(size[:1], full) if options.get(name) is None else options[name]
        for name, full in (("x_lengths", size[1]), ("y_lengths", size[2]))
    )
    inside = (torch.arange(size[1]) < rows[:, None])[:, :, None] & (torch.arange(size[2]) < columns[:, None])[
        :, None, :
    ]
    for gradient in found.gradients:
        if gradient is not None and gradient.shape == size:
            assert (gradient[~inside] == 0).all()


def tables_of(B, N, M, dtype=F32, gaps=("dense", "dense")):
    return (scores(B, N, M).to(dtype), *(gap_of(kind, B, N, M, dtype) for kind in gaps))


def gap_of(kind, B, N, M, dtype=F32):
    size = {
        "dense": (B, N, M),
        "row": (B, N, 1),
        "column": (B, 1, M),
        "pair": (B, 1, 1),
        "number": (1, 1, 1),
        "table": (1, N, M),  # one for all pairs
        "rows": (1, N, 1),
        "columns": (1, 1, M),
        "shared": None,  # delete = insert
    }[kind]
    return None if size is None else -scores(*size).abs().to(dtype)
