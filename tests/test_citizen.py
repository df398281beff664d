"""A citizen of PyTorch: opcheck, compile, torch.func, autocast, threads, forks, DataLoader workers."""

import re

import pytest
import torch
from helpers import close, run_python, score_and_gradients, scores

import softdp

SCORES = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_score(match, gap, gamma=0.2, **lengths),
    "lcs": lambda match, gap, **lengths: softdp.lcs_score(match + gap, threshold=0.4, gamma=0.2, **lengths),
}
each = pytest.mark.parametrize("name", SCORES)


def problem(B=3, N=5, M=7, dtype=torch.float64):
    return scores(B, N, M, dtype=dtype), scores(1, N, 1, dtype=dtype)


def operator_calls():
    match, gap = problem()
    lengths = torch.tensor([5, 2, 0]), torch.tensor([7, 3, 4], dtype=torch.int32)
    for dtype in (torch.float32, torch.float64):
        m, g = match.to(dtype), gap.to(dtype)
        for delete in (None, m.clone()):
            for pair_lengths in ((None, None), lengths):
                for save in (False, True):
                    yield "fsd_forward", (m, g, delete, *pair_lengths, 0.2, False, save)
                score, saved = torch.ops.softdp.fsd_forward(m, g, delete, *pair_lengths, 0.2, True, True)
                for needs in ((True, True, True), (False, True, False)):
                    given = torch.ones_like(score), saved, m, g, delete, *pair_lengths, 0.2, True
                    yield "fsd_backward", (*given, *needs)
        for save in (False, True):
            yield "lcs_forward", (m, *lengths, 0.4, 0.2, save)
        score, saved = torch.ops.softdp.lcs_forward(m, *lengths, 0.4, 0.2, True)
        given = torch.ones_like(score), saved, m, *lengths, 0.4, 0.2
        for visits in (False, True):
            yield "lcs_backward", (*given, visits)
        for delete, needs in ((None, (True, True, False)), (m.clone(), (True, False, True))):
            directions = (torch.ones_like(m), None, None if delete is None else torch.ones_like(m))
            given = torch.ones_like(score), m, g, delete, *lengths, 0.2, False
            yield "fsd_double_backward", (*directions, *given, *needs)
        yield "lcs_double_backward", (torch.ones_like(m), torch.ones_like(score), m, *lengths, 0.4, 0.2)


OPERATORS = [f"{name}_{step}" for name in SCORES for step in ("forward", "backward", "double_backward")]


@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name):
    checked = 0
    for operator, arguments in operator_calls():
        if operator == name:
            torch.library.opcheck(getattr(torch.ops.softdp, name).default, arguments)
            checked += 1
    assert checked


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # opcheck's own
@pytest.mark.parametrize("name", [name for name in OPERATORS if "double" not in name])
def test_opcheck_with_gradients(name):
    checked = 0
    for operator, arguments in operator_calls():
        last = arguments[-1]
        without = (name.endswith("forward") and not last) or (name == "lcs_backward" and last)  # save, visits
        if operator == name and not without:
            checked += 1
            leaves = [
                a.clone().requires_grad_() if torch.is_tensor(a) and a.is_floating_point() else a
                for a in arguments
            ]
            torch.library.opcheck(getattr(torch.ops.softdp, name).default, tuple(leaves))
    assert checked


@each
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile_without_a_graph_break(name, backend, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(SCORES[name], fullgraph=True, backend=backend, dynamic=dynamic)
    for size in ((3, 5, 7), (2, 9, 4)):
        match, gap = problem(*size, dtype=torch.float32)
        lengths = {"x_lengths": torch.full((size[0],), size[1] - 1)}
        eager = score_and_gradients(SCORES[name], (match, gap), **lengths)
        found = score_and_gradients(compiled, (match, gap), **lengths)
        close(found[0], eager[0], 1e-6)
        for a, b in zip(found[1], eager[1], strict=True):
            close(a, b, 1e-6)
    with pytest.raises(RuntimeError, match="x_lengths must lie in"):
        compiled(match, gap, x_lengths=torch.tensor([1, 10]))


@pytest.mark.parametrize("loss", [softdp.FSDLoss(), softdp.LCSLoss(threshold=0.3)])
def test_compiled_losses(loss):
    torch._dynamo.reset()
    x, y, target = torch.randn(4, 5, 6), torch.randn(4, 3, 6), torch.tensor([1, 0, 0, 1])
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    lengths = torch.tensor([5, 4, 2, 5])
    eager = score_and_gradients(lambda x, y: loss(x, y, target, x_lengths=lengths), (x, y))
    found = score_and_gradients(lambda x, y: compiled(x, y, target, x_lengths=lengths), (x, y))
    close(found[0], eager[0], 1e-5)
    for a, b in zip(found[1], eager[1], strict=True):
        close(a, b, 1e-5)


@each
@pytest.mark.parametrize("dims", [(0, None), (1, 0), (2, 2), (None, 0)])
def test_vmap(name, dims):
    match, gap = problem()
    stacked = [
        t if d is None else torch.stack([t, -t, t * 0.5, t + 0.1], dim=d)
        for t, d in zip((match, gap), dims, strict=True)
    ]
    found = torch.func.vmap(SCORES[name], in_dims=dims)(*stacked)
    alone = [
        SCORES[name](*(t if d is None else t.select(d, k) for t, d in zip(stacked, dims, strict=True)))
        for k in range(4)
    ]
    assert torch.equal(found, torch.stack(alone))


@each
def test_vmap_over_lengths(name):
    match, gap = problem()
    lengths = torch.tensor([[5, 4, 3], [0, 1, 2]])
    found = torch.func.vmap(lambda n: SCORES[name](match, gap, x_lengths=n))(lengths)
    alone = [SCORES[name](match, gap, x_lengths=n) for n in lengths]
    assert torch.equal(found, torch.stack(alone))


@each
def test_torch_func_gradients(name):
    match, gap = problem()
    _, expected = score_and_gradients(SCORES[name], (match, gap))
    found = torch.func.grad(lambda *t: SCORES[name](*t).sum(), argnums=(0, 1))(match, gap)
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-14)
    jacobian = torch.func.jacrev(SCORES[name])(match, gap)  # (B, B, N, M): pairs are independent
    assert torch.equal(jacobian.sum(0), found[0])
    per_sample = torch.func.vmap(torch.func.grad(lambda m, g: SCORES[name](m[None], g).sum()), (0, None))
    close(per_sample(match, gap), expected[0], 1e-14)


@each
@pytest.mark.filterwarnings("ignore:.*functorch.*:UserWarning")
def test_forward_mode_is_an_error_and_no_silent_zero(name):
    match, gap = problem()
    forward_ad = torch.autograd.forward_ad
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
            SCORES[name](forward_ad.make_dual(match, torch.ones_like(match)), gap)
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda m: SCORES[name](m, gap), (match,), (torch.ones_like(match),))
    with forward_ad.dual_level():  # nothing with a tangent: nothing to refuse
        assert torch.equal(SCORES[name](match, gap), SCORES[name](match.clone(), gap))


@each
@pytest.mark.filterwarnings(
    "ignore:.*(Dynamo does not know|functorch).*:UserWarning"
)  # where the graph breaks
def test_forward_mode_in_a_compiled_function_is_an_error_and_no_silent_zero(name):
    match, gap = problem()
    forward_ad = torch.autograd.forward_ad
    for whole in (True, False):
        torch.compiler.reset()
        compiled = torch.compile(lambda m: SCORES[name](m, gap), backend="aot_eager", fullgraph=whole)
        assert torch.equal(compiled(match), SCORES[name](match, gap))
        refused = (
            "jvp.* of this score are not implemented|dual tensor"  # the latter is PyTorch's own, from 2.14
        )
        with forward_ad.dual_level(), pytest.raises(Exception, match=refused):
            compiled(forward_ad.make_dual(match, torch.ones_like(match)))
        derivative = torch.compile(
            lambda m: torch.func.jvp(lambda a: SCORES[name](a, gap), (m,), (m,)),
            backend="aot_eager",
            fullgraph=whole,
        )
        with pytest.raises(
            Exception, match="jvp.* of this score are not implemented" if whole else "functorch"
        ):
            derivative(match)
        assert torch.equal(compiled(match), SCORES[name](match, gap))


# Public functions of a table without a derivative of their own, and how softdp.reference has it.
WITHOUT = {
    "fsd_score": lambda library, c: library.fsd_score(c, -0.2),
    "soft_dtw": lambda library, c: library.soft_dtw(c),
    "needleman_wunsch": lambda library, c: library.needleman_wunsch(c, -0.2),
    "lcs_score": lambda library, c: library.lcs_score(c, threshold=0.5),
}


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.filterwarnings("ignore:.*functorch.*:UserWarning")
def test_what_the_operators_have_no_derivative_of_the_reference_has(name):
    """The message names a function that exists, takes the same arguments and has the derivative."""
    c, v = torch.rand(2, 4, 5, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    f = WITHOUT[name]
    with pytest.raises(NotImplementedError) as forward_mode:
        torch.func.jvp(lambda c: f(softdp, c), (c,), (v,))
    leaf = c.clone().requires_grad_()
    derivative = f(softdp, leaf).sum()
    with pytest.raises(NotImplementedError) as third:
        for _ in range(3):
            (gradient,) = torch.autograd.grad(derivative, leaf, create_graph=True)
            derivative = (gradient * v).sum()
    for error, what in ((forward_mode, "forward-mode derivatives (jvp) of"), (third, "third derivatives of")):
        assert what in str(error.value) and f"softdp.reference.{name}" in str(error.value)
        for named in re.findall(r"softdp\.reference\.(\w+)", str(error.value)):
            assert callable(getattr(softdp.reference, named))
    value, tangent = torch.func.jvp(lambda c: f(softdp.reference, c), (c,), (v,))
    close(value, f(softdp, c), 1e-12)
    (gradient,) = torch.autograd.grad(f(softdp, leaf).sum(), leaf, create_graph=True)
    close(tangent.sum(), (gradient * v).sum(), 1e-12)
    (by_operators,) = torch.autograd.grad((gradient * v).sum(), leaf)
    hessian = torch.func.hessian(lambda c: f(softdp.reference, c).sum())(c)
    close((hessian * v).sum((3, 4, 5)), by_operators, 1e-10)

    def along(t):
        return f(softdp.reference, c + t * v).sum()

    third_derivative = torch.func.grad(torch.func.grad(torch.func.grad(along)))(
        torch.zeros((), dtype=c.dtype)
    )
    quotient = (_second(f, c + 1e-4 * v, v) - _second(f, c - 1e-4 * v, v)) / 2e-4
    close(third_derivative, quotient, 1e-5)


def _second(f, c, v):
    leaf = c.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(softdp, leaf).sum(), leaf, create_graph=True)
    return (torch.autograd.grad((gradient * v).sum(), leaf)[0] * v).sum()


def test_fake_tensors_and_export():
    match, gap = problem(dtype=torch.float32)
    lengths = torch.tensor([5, 2, 0])
    with torch._subclasses.FakeTensorMode() as mode:
        fake = [mode.from_tensor(t) for t in (match, gap, lengths)]
        score = softdp.fsd_score(fake[0], fake[1], x_lengths=fake[2])
        assert score.shape == (3,)

    class Model(torch.nn.Module):
        def forward(self, match, gap, lengths):
            return softdp.fsd_score(match, gap, x_lengths=lengths)

    exported = torch.export.export(Model(), (match, gap, lengths))
    assert torch.equal(exported.module()(match, gap, lengths), Model()(match, gap, lengths))


def test_lengths_that_were_not_looked_at_stay_in_bounds():
    """As on a GPU: NaN and gradient 0 for the pair, from the implementation that runs there."""
    match = scores(3, 4, 5)
    for bad in ([-1, 2, 4], [5, 2, 4], [2**40, 2, 4]):
        found = torch.func.vmap(lambda n: softdp.reference.fsd_score(match, 0.0, x_lengths=n))(
            torch.tensor([bad])
        )
        assert found[0, 0].isnan() and found[0, 1:].isfinite().all()


@each
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(name, half):
    match, gap = problem(dtype=torch.float32)
    match.requires_grad_()
    with torch.autocast("cpu", dtype=half):
        score = SCORES[name](match, gap)
    assert score.dtype == torch.float32 and torch.equal(score, SCORES[name](match, gap))
    with torch.autocast("cpu", dtype=half):
        weight = torch.eye(7, requires_grad=True)
        score = SCORES[name](match @ weight, gap)  # a half tensor and a float32 one
    assert score.dtype == torch.float32
    score.sum().backward()
    assert weight.grad.dtype == torch.float32 and match.grad.dtype == torch.float32


@each
def test_backward_twice_mutates_nothing(name):
    match, gap = problem(dtype=torch.float32)
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


def test_gradients_arrive_where_they_are_wanted_only():
    match, gap = problem()
    assert not softdp.fsd_score(match, gap).requires_grad
    gap.requires_grad_()
    score = softdp.fsd_score(match, gap)
    assert score.requires_grad
    score.sum().backward()
    assert gap.grad is not None and match.grad is None
    with torch.no_grad():
        assert not softdp.fsd_score(match, gap).requires_grad


@each
def test_the_score_may_change_in_place(name):
    match, gap = problem()
    match.requires_grad_()
    (expected,) = torch.autograd.grad(SCORES[name](match, gap).sum(), match)
    score = SCORES[name](match, gap)
    score *= 2
    close(torch.autograd.grad(score.sum(), match)[0], 2 * expected, 1e-14)


def test_a_pair_with_no_incoming_gradient_gets_none():
    match, gap = problem()
    match.requires_grad_()
    softdp.fsd_score(match, gap)[1].backward()
    assert (match.grad[[0, 2]] == 0).all() and match.grad[1, -1, -1] == 1


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


def test_meta_tensors_have_shapes():
    match = torch.empty(3, 5, 7, device="meta", dtype=torch.bfloat16)
    score = softdp.fsd_score(match, 0.0)
    assert score.device.type == "meta" and score.shape == (3,) and score.dtype == torch.float32
    assert softdp.lcs_score(match, threshold=0.5).shape == (3,)
