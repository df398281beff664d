"""Checks that implementations agree, then times forward and backward by CUDA events, eager and as a graph."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from common.problems import (
    LONG,
    TINY,
    DisagreementError,
    Implementation,
    check_deviations,
    value_and_gradients,
)
from common.tables import Entry
from common.timing import SLOW, Times, quartiles, spread
from gpu.cases import GpuCase
from gpu.peers import one_line, synchronize

Sets = Sequence[Sequence[Tensor]]  # several inputs of a case

DTYPES = torch.float32, torch.bfloat16
ROTATED = 2 * 10**8  # bytes of inputs, several times the size of any L2 cache
STEPS = 20  # passes or replays in a sample of a graph
CELLS_A_THREAD = 2**25  # float64 operators on the CPU take about a second for them


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds for each implementation, with bounds on the number of passes."""

    seconds: float = 0.25
    fewest: int = 3
    most: int = 200


QUICK = Effort(seconds=0.05, most=40)
CHECK = Effort(seconds=0.0, fewest=2, most=2)


class DeadDeviceError(Exception):
    """A CUDA error after which this process can use the GPU no more."""


class HostEvent:
    """Replaces a CUDA event where there is no GPU."""

    def record(self) -> None:
        self.at = perf_counter()

    def elapsed_time(self, later: HostEvent) -> float:
        return 1e3 * (later.at - self.at)


def measure(
    case: GpuCase,
    size: tuple[int, int],
    dtype: torch.dtype,
    others: bool,
    device: torch.device,
    effort: Effort,
    stop: Callable[[], str | None],
) -> Iterator[Entry]:
    """An entry for softdp, or for each other library, run or not. stop() says why no more may start."""
    B, N = size
    named = {"case": case.name, "B": B, "N": N, "dtype": name_of(dtype)}
    running = case.implementations[1:] if others else case.implementations[:1]
    skipped = case.missing if others else ()
    setting: tuple[Sets, Any] | None = None
    for implementation in running:
        entry = {**named, "implementation": implementation.name}
        reason = implementation.refusal(B, N) or stop()
        if reason:
            yield {**entry, "not_run": reason}
            continue
        try:
            setting = setting or prepared(case, B, N, dtype, device, effort)
            yield from run(implementation, *setting, entry, effort)
        except Exception as error:  # a library may raise anything, and the next one must still run
            alive = survived(device)
            fault = not alive or (not others and faulty(error))
            yield {**entry, "not_run": explanation(error), "failed": fault}
            if not alive:
                raise DeadDeviceError(one_line(error)) from error
        if device.type == "cuda":
            torch.cuda.empty_cache()
    yield from ({**named, "implementation": peer.name, "not_run": peer.reason} for peer in skipped)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def survived(device: torch.device) -> bool:
    """Whether the device can still be used."""
    try:
        synchronize(device)
    except Exception:
        return False
    return True


def explanation(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    return str(error) if isinstance(error, DisagreementError) else one_line(error)


def faulty(error: Exception) -> bool:
    """Whether softdp is at fault. It is not where the GPU has too little memory for a size."""
    return not isinstance(error, torch.OutOfMemoryError)


def prepared(
    case: GpuCase, B: int, N: int, dtype: torch.dtype, device: torch.device, effort: Effort
) -> tuple[Sets, tuple[Tensor, Sequence[Tensor], str]]:
    """The input sets, and softdp's score and gradients of the first set in float64.

    They come from the CPU operators, an independent implementation, where these take at most some seconds.
    """
    sets = input_sets(case, B, N, dtype, device, effort.most)
    threads = min(B, torch.get_num_threads())
    where = "cpu" if B * N * N <= CELLS_A_THREAD * threads else device
    inputs = [t.to(where, torch.float64) for t in sets[0]]
    score, gradients = value_and_gradients(case.implementations[0], inputs)
    return sets, (score.to(device), [g.to(device) for g in gradients], torch.device(where).type)


def input_sets(
    case: GpuCase, B: int, N: int, dtype: torch.dtype, device: torch.device, passes: int
) -> list[list[Tensor]]:
    """At least two sets. There are more until they hold ROTATED bytes, or until there is one for each pass.

    A pass then finds its inputs in memory, not in the cache where the pass before has left them.
    """
    size = case.matrices * B * N * N * dtype.itemsize
    count = max(2, min(passes, math.ceil(ROTATED / size)))
    whole = case.inputs(count * B, N, torch.Generator(device).manual_seed(0))
    parts = [tensor.to(dtype).split(B) for tensor in whole]
    return [list(inputs) for inputs in zip(*parts, strict=True)]


def run(
    implementation: Implementation,
    sets: Sets,
    expected: tuple[Tensor, Sequence[Tensor], str],
    entry: Entry,
    effort: Effort,
) -> Iterator[Entry]:
    agreement = agree(implementation, sets[0], expected)
    leaves = [leaves_on(inputs, implementation.costs) for inputs in sets]
    device = leaves[0][0].device
    passes = warm_up(implementation, leaves, effort)
    spread_over(leaves)
    times = time_passes(implementation, leaves, passes)
    yield {
        **entry,
        "mode": "eager",
        "passes": passes,
        "input_sets": len(sets),
        "seconds": spread(times),
        "peak_bytes": peak_memory(implementation, leaves[0]) if device.type == "cuda" else None,
        **agreement,
    }
    if device.type == "cuda" and implementation.name == "softdp" and entry["N"] <= TINY:
        yield from graphs(implementation, leaves, entry, effort)


# ---- agreement -----------------------------------------------------------------------------------


def agree(
    implementation: Implementation, inputs: Sequence[Tensor], expected: tuple[Tensor, Sequence[Tensor], str]
) -> Entry:
    """Largest deviations from softdp in float64, absolute below 1 and relative above.

    DisagreementError above the tolerances.
    """
    expected_score, expected_gradients, where = expected
    score, gradients = value_and_gradients(implementation, inputs)
    if implementation.mean:
        score, expected_score = score * len(inputs[0]), expected_score.sum()
    score_off = deviation(score, expected_score)
    offs = [deviation(*pair) for pair in zip(gradients, expected_gradients, strict=True)]
    gradient_off = math.nan if any(map(math.isnan, offs)) else max(offs)
    most = implementation.score_tolerance
    tolerance = gradient_tolerance(implementation, inputs[0].shape[1], inputs[0].dtype)
    check_deviations("disagrees with float64", score_off, most, gradient_off, tolerance)
    return {
        "score_off": score_off,
        "gradient_off": gradient_off,
        "alignment_off": offs[0],
        "gradient_tolerance": round(tolerance, 6),
        "float64_on": where,
    }


def deviation(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).abs_() / expected.abs().clamp_(min=1)).max().item()


def gradient_tolerance(implementation: Implementation, N: int, dtype: torch.dtype) -> float:
    """The tolerance includes the rounding of a gradient to bfloat16."""
    tolerance = implementation.gradient_tolerance(N)
    if N > LONG:
        tolerance = max(tolerance, 1e-3)
    return tolerance + (torch.finfo(dtype).eps / 2 if dtype != torch.float32 else 0.0)


# ---- eager passes --------------------------------------------------------------------------------


def leaves_on(inputs: Sequence[Tensor], costs: bool) -> list[Tensor]:
    """Leaves that share the memory of the inputs. Costs are copies."""
    return [(-t if costs else t.detach()).requires_grad_() for t in inputs]


def one_pass(
    implementation: Implementation, leaves: Sequence[Tensor], upstream: Tensor | None = None
) -> Tensor:
    """Runs forward and backward. Returns the upstream gradient, for the next pass."""
    value = implementation.score(*leaves)
    if upstream is None:
        upstream = implementation.upstream(value, len(leaves[0]))
    torch.autograd.grad(value, leaves, upstream)
    return upstream


def warm_up(implementation: Implementation, sets: Sets, effort: Effort) -> int:
    """Runs passes until the clocks are high and the caches of compiled code and of memory are full.

    These are at least three passes and a tenth of a second, but a single pass where it takes more than SLOW.
    Returns the number of passes that fill effort.seconds.
    """
    seconds, passes, until = 0.0, 0, perf_counter() + 0.1
    while passes < 3 or (perf_counter() < until and passes < effort.most):
        began = perf_counter()
        one_pass(implementation, sets[passes % len(sets)])
        synchronize(sets[0][0].device)
        seconds = perf_counter() - began
        passes += 1
        if seconds > SLOW:
            break
    return min(max(math.ceil(effort.seconds / seconds), effort.fewest), effort.most)


def spread_over(sets: Sets) -> None:
    """Fills the L2 cache with other data, where all sets together would fit into it."""
    device = sets[0][0].device
    held = sum(t.numel() * t.element_size() for inputs in sets for t in inputs)
    if device.type == "cuda" and held < ROTATED:
        torch.zeros(ROTATED, dtype=torch.uint8, device=device)


def time_passes(implementation: Implementation, sets: Sets, passes: int) -> list[Times]:
    """Seconds of each pass: forward, backward, both. The host may run ahead of the GPU."""
    device = sets[0][0].device
    upstream = one_pass(implementation, sets[-1])
    marks = list(zip(*[iter(events(3 * passes, device))] * 3, strict=True))
    gc.collect()
    gc.disable()
    try:
        for k, (began, middle, ended) in enumerate(marks):
            leaves = sets[k % len(sets)]
            began.record()
            value = implementation.score(*leaves)
            middle.record()
            gradients = torch.autograd.grad(value, leaves, upstream)
            ended.record()
            del value, gradients
    finally:
        gc.enable()
    synchronize(device)
    return [
        tuple(1e-3 * a.elapsed_time(b) for a, b in ((began, middle), (middle, ended), (began, ended)))
        for began, middle, ended in marks
    ]


def events(count: int, device: torch.device) -> list[Any]:
    """Events that have been recorded once, because CUDA makes an event when it is first recorded."""
    cuda = device.type == "cuda"
    marks = [torch.cuda.Event(enable_timing=True) if cuda else HostEvent() for _ in range(count)]
    for mark in marks:
        mark.record()
    synchronize(device)
    return marks


def peak_memory(implementation: Implementation, leaves: Sequence[Tensor]) -> int:
    """The most bytes above the inputs during a forward and backward pass."""
    device = leaves[0].device
    synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    one_pass(implementation, leaves)
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


# ---- graphs --------------------------------------------------------------------------------------


def graphs(implementation: Implementation, sets: Sets, entry: Entry, effort: Effort) -> Iterator[Entry]:
    """Times replays of forward and backward, in seconds a pass.

    There are graphs of one pass, and one graph of STEPS passes, which is like a training step that does more
    than this. Inputs this small stay in the cache, as if they had just been computed.
    """
    sets = [sets[k % len(sets)] for k in range(STEPS)]
    upstream = one_pass(implementation, sets[0])  # the graphs read it, so it must live as long as they do
    pool = torch.cuda.graph_pool_handle()
    single = [captured(implementation, [leaves], upstream, pool) for leaves in sets]
    yield replayed(entry, "graph", single, STEPS, effort)
    whole = [captured(implementation, sets, upstream, pool)]
    yield replayed(entry, f"graph of {STEPS}", whole, STEPS, effort)


def captured(implementation: Implementation, sets: Sets, upstream: Tensor, pool: Any) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capturing needs a warm-up on another stream
        one_pass(implementation, fresh(sets[0]), upstream)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # New leaves, because autograd ties the leaves of earlier passes to the stream of these passes.
    with torch.cuda.graph(graph, pool=pool):
        for leaves in sets:
            one_pass(implementation, fresh(leaves), upstream)
    return graph


def fresh(leaves: Sequence[Tensor]) -> list[Tensor]:
    """New leaves that share the memory of the old ones."""
    return [t.detach().requires_grad_() for t in leaves]


def replayed(
    entry: Entry, mode: str, replays: Sequence[torch.cuda.CUDAGraph], passes: int, effort: Effort
) -> Entry:
    """An entry of replays. A sample replays each graph once, which is `passes` passes together."""
    samples = max(effort.most // 2, effort.fewest)
    device = torch.device("cuda")
    for graph in replays:
        graph.replay()
    marks = events(2 * samples, device)
    for began, ended in zip(marks[::2], marks[1::2], strict=True):
        began.record()
        for graph in replays:
            graph.replay()
        ended.record()
    synchronize(device)
    taken = [1e-3 * a.elapsed_time(b) / passes for a, b in zip(marks[::2], marks[1::2], strict=True)]
    return {**entry, "mode": mode, "passes": samples * passes, "seconds": {"both": quartiles(taken)}}


# ---- the device ----------------------------------------------------------------------------------


def copy_bandwidth(device: torch.device, effort: Effort) -> dict[str, float]:
    """Bytes a second, read and written, of a large copy on the device. The median of some samples."""
    free, _ = torch.cuda.mem_get_info(device)
    size = min(2**30, free // 4) // 4
    source, target = torch.rand(size, device=device), torch.empty(size, device=device)
    target.copy_(source)
    samples = max(effort.most // 8, effort.fewest)
    marks = events(samples + 1, device)
    marks[0].record()
    for mark in marks[1:]:
        target.copy_(source)
        mark.record()
    synchronize(device)
    moved = 2 * source.numel() * source.element_size()
    rates = [moved / (1e-3 * a.elapsed_time(b)) for a, b in zip(marks, marks[1:], strict=False)]
    return {"bytes_per_s": quartiles(rates)["median"], "bytes": moved, "samples": samples}
