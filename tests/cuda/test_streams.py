"""Streams and devices: a call uses the current ones, and the host never waits for the GPU."""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch
from devices import GPU, REGIMES, SCORES, by_size, each, needs_gpu, same, to, values
from features import WAYS, features, with_gradients
from helpers import close, score_and_gradients

import softdp

pytestmark = [pytest.mark.cuda, needs_gpu]
every_regime = pytest.mark.parametrize("size", REGIMES["cuda"], ids=by_size)


def gpu_values(*size: int) -> torch.Tensor:
    return values(*size, dtype=torch.float32).to(GPU)


@each
@every_regime
def test_a_side_stream_is_respected(name, size):
    """The inputs arrive late on a side stream; a kernel on any other would read what was there before."""
    match, gaps = (torch.zeros(2, *size, device=GPU, requires_grad=True) for _ in range(2))
    late = [gpu_values(2, *size) for _ in range(2)]
    expected = score_and_gradients(SCORES[name], late)
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(10**8)
        with torch.no_grad():
            match.copy_(late[0])
            gaps.copy_(late[1])
        score = SCORES[name](match, gaps)
        found = score, torch.autograd.grad(score.sum(), (match, gaps))
    side.synchronize()
    assert same(found, expected)


@each
def test_a_second_device(name):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs a second CUDA device: there is one")
    tables = [values(3, 130, 40, dtype=torch.float32) for _ in range(2)]
    lengths = torch.tensor([130, 4, 0])
    first, second = (
        score_and_gradients(SCORES[name], [t.to(d) for t in tables], x_lengths=lengths.to(d))
        for d in ("cuda:0", "cuda:1")
    )
    assert second[0].device.index == 1 and torch.cuda.current_device() == 0
    close(second[0].cpu(), first[0].cpu(), 1e-6)
    for a, b in zip(second[1], first[1], strict=True):
        close(a.cpu(), b.cpu(), 1e-5)
    with pytest.raises(ValueError, match="x_lengths must be on the CPU or on .* device cuda:1"):
        SCORES[name](*(t.to("cuda:1") for t in tables), x_lengths=lengths.to("cuda:0"))


# ---- the host ------------------------------------------------------------------------------------


def lengths_in(where: str, size: tuple[int, int]) -> dict:
    kept = {
        "none": None,
        "gpu": lambda t: to(GPU, t),
        "pinned": lambda t: t.pin_memory(),
        "pageable": lambda t: t,
    }[where]
    lengths = (torch.tensor([full, full // 2]) for full in size)
    return {} if kept is None else dict(zip(("x_lengths", "y_lengths"), map(kept, lengths), strict=True))


@contextlib.contextmanager
def no_waiting():
    """Whatever of PyTorch's waits for the GPU raises."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def without_waiting(step):
    """step()'s result, after a check that PyTorch sees no wait, and that the host is back while the GPU still
    works on what came before."""
    expected = [step() for _ in range(3)][-1]  # kernels are loaded, memory is in PyTorch's hands
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    with no_waiting():
        torch.cuda._sleep(4 * 10**8)  # a fifth of a second
        found = step()
        done.record()
        assert not done.query(), "when the call came back the GPU had finished"
    return found, expected


@each
@every_regime
@pytest.mark.parametrize("where", ["none", "gpu", "pinned", "pageable"])
def test_the_host_never_waits(name, size, where):
    match, gaps = (gpu_values(2, *size).requires_grad_() for _ in range(2))
    lengths = lengths_in(where, size)

    def step():
        score = SCORES[name](match, gaps, **lengths)
        return score, torch.autograd.grad(score.sum(), (match, gaps))

    assert same(*without_waiting(step))


@pytest.mark.parametrize("way", WAYS)
def test_the_host_never_waits_for_features(way):
    tensors = [t.to(GPU) for t in features(4, 200, 150, 16)]
    lengths = torch.tensor([200, 100, 3, 150], device=GPU)
    found, expected = without_waiting(lambda: with_gradients(WAYS[way], tensors, x_lengths=lengths))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_cpu_lengths_may_change_after_the_call():
    match = gpu_values(2, 30, 40)
    expected = softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([30, 5]))
    for lengths in (torch.tensor([30, 5]), torch.tensor([30, 5]).pin_memory()):
        torch.cuda._sleep(10**8)
        score = softdp.fsd_score(match, 0.0, x_lengths=lengths)
        if not lengths.is_pinned():  # pinned memory is the caller's until the stream has passed
            lengths.zero_()
        assert torch.equal(score, expected)
