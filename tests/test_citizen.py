"""A citizen of PyTorch: autograd, threads, forks, DataLoader workers, devices without a kernel."""

import pytest
import torch
from devices import SCORES, each, every_regime, same, values
from helpers import close, run_python, score_and_gradients, scores

import softdp


def problem(B=3, N=5, M=7, dtype=torch.float64, device="cpu"):
    return scores(B, N, M, dtype=dtype).to(device), scores(1, N, 1, dtype=dtype).to(device)


@each
@pytest.mark.parametrize("size", [(3, 5, 7), (2, 130, 40)], ids=["small", "bands"])
def test_backward_twice_mutates_nothing(name, size, device):
    match, gap = problem(*size, dtype=torch.float32, device=device)
    leaf = match.clone().requires_grad_()
    score = SCORES[name](leaf, gap)
    saved = [t for t in score.grad_fn.saved_tensors if t is not None]
    copies = [t.clone() for t in saved]
    first = torch.autograd.grad(score.sum(), leaf, retain_graph=True)[0]
    second = torch.autograd.grad(score.sum(), leaf, retain_graph=True)[0]
    assert torch.equal(first, second) and torch.equal(leaf, match)
    assert saved and all(map(torch.equal, saved, copies))
    torch.autograd.grad(score.sum(), leaf)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(score.sum(), leaf)


def test_gradients_arrive_where_they_are_wanted_only(device):
    match, gap = problem(device=device)
    assert not softdp.fsd_score(match, gap).requires_grad
    gap.requires_grad_()
    score = softdp.fsd_score(match, gap)
    assert score.requires_grad
    score.sum().backward()
    assert gap.grad is not None and match.grad is None
    with torch.no_grad():
        assert not softdp.fsd_score(match, gap).requires_grad


@each
def test_the_score_may_change_in_place(name, device):
    match, gap = problem(device=device)
    match.requires_grad_()
    (expected,) = torch.autograd.grad(SCORES[name](match, gap).sum(), match)
    score = SCORES[name](match, gap)
    score *= 2
    close(torch.autograd.grad(score.sum(), match)[0], 2 * expected, 1e-14)


def test_a_pair_with_no_incoming_gradient_gets_none(device):
    match, gap = problem(device=device)
    match.requires_grad_()
    softdp.fsd_score(match, gap)[1].backward()
    assert (match.grad[[0, 2]] == 0).all() and match.grad[1, -1, -1] == 1


@every_regime
@each
def test_the_same_bits_every_time(name, size, device):
    tables = [values(5, *size, dtype=torch.float32).to(device) for _ in range(2)]
    first = score_and_gradients(SCORES[name], tables)
    for _ in range(10):
        assert same(score_and_gradients(SCORES[name], tables), first)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_and_two_threads_give_the_same_bits_every_time(name, dtype, threads):
    match, gap = problem(9, 100, 90, dtype)
    results = []
    for count in (1, 2, 2, 1):
        threads(count)
        results.append(score_and_gradients(SCORES[name], (match, gap)))
    for value, gradients in results[1:]:
        assert torch.equal(value, results[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, results[0][1], strict=True))


def test_the_calling_thread_keeps_its_denormals():
    tiny = torch.tensor(1e-40)
    match, gap = problem(2, 30, 30, torch.float32)
    score_and_gradients(softdp.fsd_score, (match, gap))
    assert (tiny * 1.0).item() != 0


# A program of its own: PyTorch with CUDA cannot run backward in a child whose parent ran it before the fork.
WORKERS = """
import multiprocessing, sys
import torch
from torch.utils.data import DataLoader, Dataset
import softdp

class Alignments(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, k):
        match = torch.full((1, 40, 40), 0.1 * k).requires_grad_()
        softdp.fsd_score(match, 0.0).sum().backward()
        return match.grad[0]

def in_child(queue):
    queue.put(torch.stack([Alignments()[k] for k in range(4)]).numpy())

if __name__ == "__main__":
    method = sys.argv[1]
    softdp.fsd_score(torch.rand(64, 50, 50), 0.0)  # the thread pool is up before the fork
    loader = DataLoader(Alignments(), batch_size=2, num_workers=2, multiprocessing_context=method)
    from_workers = torch.cat(list(loader))
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    from_child = torch.from_numpy(queue.get())
    child.join()
    here = torch.stack([Alignments()[k] for k in range(4)])
    print(torch.equal(from_workers, here), torch.equal(from_child, here), child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_and_children(method, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    done = run_python(script, method)
    assert done.stdout.split() == ["True", "True", "0"], done.stderr


def test_devices_without_a_kernel_run_the_reference(monkeypatch):
    match, gap = problem()
    expected = score_and_gradients(softdp.fsd_score, (match, gap))
    monkeypatch.setattr("softdp._devices.has_kernel", lambda device: False)
    found = score_and_gradients(softdp.fsd_score, (match, gap))
    close(found[0], expected[0], 1e-12)
    close(found[1][0], expected[1][0], 1e-12)
