"""torch.compile, torch.export, torch.func, autocast, and tensors without data, on each device."""

import re

import pytest
import torch
from devices import SCORES, each, is_gpu, values
from helpers import close, score_and_gradients, scores

import softdp


def problem(device, B=3, N=5, M=7, dtype=torch.float64):
    return scores(B, N, M, dtype=dtype).to(device), scores(1, N, 1, dtype=dtype).to(device)


def alike(found, expected, device, tolerance=1e-12):
    """On the CPU to the bit."""
    if is_gpu(device):
        close(found, expected, tolerance)
    else:
        assert torch.equal(found, expected)


@each
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile_without_a_graph_break(name, backend, dynamic, device):
    if backend == "inductor" and is_gpu(device):
        pytest.importorskip("triton", reason="needs triton: a CUDA build of torch brings it")
    torch._dynamo.reset()
    compiled = torch.compile(SCORES[name], fullgraph=True, backend=backend, dynamic=dynamic)
    tolerance = 1e-5 if is_gpu(device) else 1e-6
    for B, N, M in ((3, 5, 7), (2, 40, 35)):
        tables = [values(B, N, width, dtype=torch.float32).to(device) for width in (M, 1)]
        lengths = {"x_lengths": torch.full((B,), N - 1, device=device)}
        eager = score_and_gradients(SCORES[name], tables, **lengths)
        found = score_and_gradients(compiled, tables, **lengths)
        for a, b in zip((found[0], *found[1]), (eager[0], *eager[1]), strict=True):
            close(a, b, tolerance)
    if not is_gpu(device):
        with pytest.raises(RuntimeError, match="x_lengths must lie in"):
            compiled(*tables, x_lengths=torch.tensor([1, 50]))


@pytest.mark.parametrize("loss", [softdp.FSDLoss(), softdp.LCSLoss(threshold=0.3)])
def test_compiled_losses(loss, device):
    torch._dynamo.reset()
    x, y = (torch.randn(4, steps, 6).to(device) for steps in (5, 3))
    target, lengths = (torch.tensor(t, device=device) for t in ([1, 0, 0, 1], [5, 4, 2, 5]))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    eager = score_and_gradients(lambda x, y: loss(x, y, target, x_lengths=lengths), (x, y))
    found = score_and_gradients(lambda x, y: compiled(x, y, target, x_lengths=lengths), (x, y))
    close(found[0], eager[0], 1e-5)
    for a, b in zip(found[1], eager[1], strict=True):
        close(a, b, 1e-5)


@each
@pytest.mark.parametrize("dims", [(0, None), (1, 0), (2, 2), (None, 0)])
def test_vmap(name, dims, device):
    stacked = [
        t if d is None else torch.stack([t, -t, t * 0.5, t + 0.1], dim=d)
        for t, d in zip(problem(device), dims, strict=True)
    ]
    found = torch.func.vmap(SCORES[name], in_dims=dims)(*stacked)
    alone = [
        SCORES[name](*(t if d is None else t.select(d, k) for t, d in zip(stacked, dims, strict=True)))
        for k in range(4)
    ]
    alike(found, torch.stack(alone), device)


both_sizes = pytest.mark.parametrize("size", [(3, 5, 7), (3, 33, 40)], ids=["small", "bands"])


@each
@both_sizes
def test_vmap_over_lengths(name, size, device):
    match, gap = problem(device, *size)
    N = size[1]
    lengths = torch.tensor([[N, N - 1, 3], [0, 1, 2]], device=device)
    found = torch.func.vmap(lambda n: SCORES[name](match, gap, x_lengths=n))(lengths)
    alone = [SCORES[name](match, gap, x_lengths=n) for n in lengths]
    alike(found, torch.stack(alone), device)


@each
@both_sizes
def test_torch_func_gradients(name, size, device):
    match, gap = problem(device, *size)
    tolerance = 1e-12 if is_gpu(device) else 1e-14
    _, expected = score_and_gradients(SCORES[name], (match, gap))
    found = torch.func.grad(lambda *t: SCORES[name](*t).sum(), argnums=(0, 1))(match, gap)
    for a, b in zip(found, expected, strict=True):
        close(a, b, tolerance)
    jacobian = torch.func.jacrev(SCORES[name])(match, gap)  # (B, B, N, M): pairs are independent
    alike(jacobian.sum(0), found[0], device)
    per_sample = torch.func.vmap(torch.func.grad(lambda m, g: SCORES[name](m[None], g).sum()), (0, None))
    close(per_sample(match, gap), expected[0], tolerance)


@each
@pytest.mark.filterwarnings(
    "ignore:.*(Dynamo does not know|functorch).*:UserWarning"
)  # where the graph breaks
def test_forward_mode_in_a_compiled_function_is_an_error_or_right(name, device):
    """A tangent is never missing without an error. Where the graph breaks, PyTorch may go on without it."""
    match, gap = problem(device)
    forward_ad = torch.autograd.forward_ad
    refused = "jvp.* of this score are not implemented|dual tensor|functorch"  # the latter two: PyTorch's own
    _, expected = torch.func.jvp(lambda m: SCORES[name](m, gap), (match,), (match,))
    for whole in (True, False):
        torch.compiler.reset()
        compiled = torch.compile(lambda m: SCORES[name](m, gap), backend="aot_eager", fullgraph=whole)
        assert torch.equal(compiled(match), SCORES[name](match, gap))
        derivative = torch.compile(
            lambda m: torch.func.jvp(lambda a: SCORES[name](a, gap), (m,), (m,)),
            backend="aot_eager",
            fullgraph=whole,
        )

        def by_dual(compiled=compiled):
            with forward_ad.dual_level():
                return forward_ad.unpack_dual(compiled(forward_ad.make_dual(match, match))).tangent

        for tangent in (by_dual, lambda derivative=derivative: derivative(match)[1]):
            try:
                found = tangent()
            except Exception as error:
                assert re.search(refused, str(error))
            else:
                assert not whole
                close(found, expected, 1e-12)
        assert torch.equal(compiled(match), SCORES[name](match, gap))


# Public functions of a table without a derivative of their own, and how softdp.reference has it.
WITHOUT = {
    "fsd_score": lambda library, c: library.fsd_score(c, -0.2),
    "soft_dtw": lambda library, c: library.soft_dtw(c),
    "needleman_wunsch": lambda library, c: library.needleman_wunsch(c, -0.2),
    "lcs_score": lambda library, c: library.lcs_score(c, threshold=0.5),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_what_the_operators_have_no_derivative_of_the_reference_has(name):
    """The message names a function that exists, takes the same arguments and has the derivative."""
    c, v = torch.rand(2, 4, 5, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    f = WITHOUT[name]
    leaf = c.clone().requires_grad_()
    derivative = f(softdp, leaf).sum()
    with pytest.raises(NotImplementedError) as third:
        for _ in range(3):
            (gradient,) = torch.autograd.grad(derivative, leaf, create_graph=True)
            derivative = (gradient * v).sum()
    words = str(third.value)
    assert "third derivatives of" in words and f"softdp.reference.{name}" in words
    for named in re.findall(r"softdp\.reference\.(\w+)", words):
        assert callable(getattr(softdp.reference, named))
    (gradient,) = torch.autograd.grad(f(softdp, leaf).sum(), leaf, create_graph=True)
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


def test_fake_tensors_and_export(device):
    match, gap = problem(device, dtype=torch.float32)
    lengths = torch.tensor([5, 2, 0], device=device)
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
def test_autocast_computes_in_float32(name, half, device):
    match, gap = problem(device, dtype=torch.float32)
    match.requires_grad_()
    weight = torch.eye(7, device=device, requires_grad=True)
    with torch.autocast(device.type, dtype=half):
        plain = SCORES[name](match, gap)
        score = SCORES[name](match @ weight, gap)  # a half tensor and a float32 one
    assert plain.dtype == score.dtype == torch.float32
    assert torch.equal(plain, SCORES[name](match, gap))
    score.sum().backward()
    assert weight.grad.dtype == match.grad.dtype == torch.float32


def test_meta_tensors_have_shapes():
    match = torch.empty(3, 5, 7, device="meta", dtype=torch.bfloat16)
    score = softdp.fsd_score(match, 0.0)
    assert score.device.type == "meta" and score.shape == (3,) and score.dtype == torch.float32
    assert softdp.lcs_score(match, threshold=0.5).shape == (3,)
