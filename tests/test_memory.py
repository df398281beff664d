"""The memory that the CPU operators keep for the next large tensors (csrc/ops/memory.h)."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import threading
from pathlib import Path

import pytest
import torch
from helpers import ROOT, close, run_python, score_and_gradients, scores

import softdp

TORCH = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
SMAPS = Path("/proc/self/smaps")
keeps = pytest.mark.skipif(
    TORCH < (2, 11) or not SMAPS.is_file() or "SOFTDP_KEEP_MB" in os.environ,
    reason="needs memory that is kept: torch 2.11 or newer, Linux, and SOFTDP_KEEP_MB unset",
)
SIZE = 2, 300, 250  # 0.6 MB in float32: past the 128 KiB from which memory is kept
LARGE = 4, 2200, 2000  # 70 MB: past the 64 MiB that are kept without being marked as free
MEGABYTE = 2**20


def gradient(size=SIZE) -> torch.Tensor:
    table = torch.zeros(size).requires_grad_()
    return torch.autograd.grad(softdp.fsd_score(table, -0.5).sum(), table)[0]


def block(tensor: torch.Tensor) -> int:
    """Where the memory that a tensor has come to begins: at a huge page."""
    return tensor.data_ptr() // (2 * MEGABYTE)


def lazily_freed() -> int:
    """Bytes of this process that the system may take back whenever it wants."""
    return sum(int(kb) << 10 for kb in re.findall(r"^LazyFree: +(\d+) kB", SMAPS.read_text(), re.M))


@keeps
def test_a_tensor_takes_the_memory_of_the_last_one():
    first = gradient()
    wanted = block(first)
    del first
    found = set()
    for _ in range(3):
        again = gradient()
        found.add(block(again))
        assert again.data_ptr() % 64 == 0
        assert again.is_contiguous() and again.shape == SIZE and again.dtype == torch.float32
        del again
    assert len(found) <= 2  # a pass has two large tensors, the saved state and the gradient
    assert wanted in found


@keeps
def test_much_memory_that_is_kept_is_the_systems_to_take():
    kept = gradient(LARGE)
    before = lazily_freed()
    bytes = kept.numel() * 4
    del kept
    assert lazily_freed() >= before + bytes - MEGABYTE


@keeps
def test_a_steady_loop_asks_for_no_pages():
    """The C library's own way takes 300 to 900 page faults a pass at some of these sizes."""

    def passes(count: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            value = softdp.fsd_score(table, gap)
            gradients = torch.autograd.grad(value.sum(), (table, gap))
            del value, gradients
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    for size in ((1, 500, 500), (1, 700, 700), (4, 512, 900), (8, 1024, 1024)):
        table, gap = (scores(*size, dtype=torch.float32).requires_grad_() for _ in range(2))
        passes(3)
        assert passes(10) < 500


@keeps
def test_a_tensor_in_use_is_nobody_elses():
    tables = [scores(*SIZE, dtype=torch.float32) for _ in range(3)]
    held = [score_and_gradients(softdp.fsd_score, (t, t / 2)) for t in tables]
    copies = [[g.clone() for g in gradients] for _, gradients in held]
    for table, (value, gradients), before in zip(tables, held, copies, strict=True):
        again, fresh = score_and_gradients(softdp.fsd_score, (table, table / 2))
        assert torch.equal(again, value)
        for a, b, c in zip(gradients, fresh, before, strict=True):
            assert torch.equal(a, b) and torch.equal(a, c) and a.data_ptr() != b.data_ptr()


def test_threads_share_it():
    """Each of four threads has its own problems, of sizes that find each other's memory."""
    tables = [scores(2, 300 + 40 * i, 1000, dtype=torch.float32) for i in range(4)]
    wanted = [score_and_gradients(softdp.lcs_score, (t,), threshold=0.5) for t in tables]
    wrong = []

    def work(i: int) -> None:
        for k in range(12):
            j = (i + k) % 4
            value, (found,) = score_and_gradients(softdp.lcs_score, (tables[j],), threshold=0.5)
            if not (torch.equal(value, wanted[j][0]) and torch.equal(found, wanted[j][1][0])):
                wrong.append((i, k))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize(
    "size", [(1, 181, 182), (9, 500, 500), (1, 3000, 1500), (3, 1500, 3000), (1, 1449, 1448)]
)
def test_sizes_that_change_from_call_to_call(size):
    for _ in range(2):
        table = scores(*size, dtype=torch.float32)
        value, (found,) = score_and_gradients(softdp.lcs_score, (table,), threshold=0.5)
        rows = torch.tensor([size[1]] * size[0])  # with lengths: another path, the same numbers
        again, (wanted,) = score_and_gradients(
            softdp.lcs_score, (table,), threshold=0.5, x_lengths=rows, y_lengths=None
        )
        close(value, again, 0)
        close(found, wanted, 0)


@keeps
def test_a_gradient_from_it_is_a_tensor_like_others():
    table = scores(*SIZE, dtype=torch.float32).requires_grad_()
    for _ in range(2):  # the second adds to the first
        softdp.fsd_score(table, -0.5).sum().backward()
    close(table.grad, 2 * score_and_gradients(softdp.fsd_score, (table, torch.tensor(-0.5)))[1][0], 1e-6)
    copy = table.grad.clone()
    table.grad.share_memory_()
    assert torch.equal(table.grad, copy)
    torch.optim.SGD([table], lr=0.1).step()
    assert torch.isfinite(table).all()


def run(program: str, keep: str) -> subprocess.CompletedProcess:
    return run_python("-c", program, folder=ROOT / "tests", variables={"SOFTDP_KEEP_MB": keep})


@pytest.mark.skipif(not SMAPS.is_file(), reason="needs Linux: another system has no /proc/self/smaps")
@pytest.mark.parametrize("megabytes, kept", [("0", False), ("8", False), ("100", True)])
def test_the_environment_says_how_much_is_kept(megabytes, kept):
    program = "from test_memory import *; g = gradient(LARGE); del g; print(lazily_freed())"
    found = run(program, megabytes)
    assert found.returncode == 0, found.stderr
    if TORCH >= (2, 11):
        assert (int(found.stdout) > 64 * MEGABYTE) == kept


@pytest.mark.parametrize("wrong", ["-1", "all", "1e3", "1 ", str(2**70)])
def test_a_wrong_environment_is_an_error_at_the_import(wrong):
    found = run("import softdp", wrong)
    assert found.returncode == 1
    assert f"ImportError: softdp: SOFTDP_KEEP_MB={wrong}: must be a number of megabytes" in found.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: this system has none")
def test_a_forked_process_has_its_own():
    program = """if True:
        import os, torch
        from test_memory import gradient
        torch.set_num_threads(1)
        before = gradient()
        kept = gradient()
        del kept
        child = os.fork()
        again = gradient()
        if child == 0:
            os._exit(0 if torch.equal(again, before) else 1)
        assert torch.equal(again, before)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""
    found = run(program, "1000")
    assert (found.returncode, found.stdout) == (0, "0\n"), found.stderr
