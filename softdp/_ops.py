"""Makes the compiled operators citizens of PyTorch.

Fake kernels (torch.compile), autograd, autocast and vmap of `torch.ops.softdp.*`; the schemas are in
csrc/ops/library.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _checks, _library

TINY = 32  # csrc/cuda/wavefront.h: pairs of at most this many steps are swept there and back at once


def on_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def has_kernel(device: torch.device) -> bool:
    """Whether the operators have a kernel for this kind of device; others run the reference."""
    return device.type in ("cpu", "meta") or (on_gpu(device) and _library.runs_cuda(device.index))


def takes_costs(device: torch.device) -> bool:
    """Whether fsd_forward and fsd_backward take a negative gamma there, for costs."""
    return device.type == "cpu" and has_kernel(device)


def taken(args: Any) -> Any:
    """Checked arguments as the operators take them.

    Half scores are read as they are, beside numbers of the arithmetic's dtype if all gaps are numbers; on a
    GPU lengths follow the scores without anyone waiting.
    """
    scores = args[0]
    gaps = [t for t in (args[1:3] if isinstance(args, _checks.FsdArguments) else ()) if t is not None]
    if len({t.dtype for t in gaps}) > 1 or any(
        t.dtype != scores.dtype and (t.numel() > 1 or t.requires_grad) for t in gaps
    ):
        args = args.computed()
    x_lengths, y_lengths = following(args.x_lengths, args.y_lengths, scores.device)
    return args._replace(x_lengths=x_lengths, y_lengths=y_lengths)


def following(
    x_lengths: Tensor | None, y_lengths: Tensor | None, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Lengths on the scores' device, if it is a GPU."""
    if not on_gpu(device):
        return x_lengths, y_lengths
    x_lengths, y_lengths = (
        None if t is None else _following(t, name, device)
        for name, t in (("x_lengths", x_lengths), ("y_lengths", y_lengths))
    )
    return x_lengths, y_lengths


def _following(lengths: Tensor, name: str, device: torch.device) -> Tensor:
    if lengths.device.type != device.type and capturing():
        raise ValueError(
            f"{name} must be on the scores' device while a CUDA graph is captured: the graph would keep "
            "the values, or the address, of this moment"
        )
    return lengths.to(device, non_blocking=True)


def capturing() -> bool:
    """Whether the current stream's work goes into a CUDA graph."""
    return not torch.compiler.is_compiling() and torch.cuda.is_current_stream_capturing()


# ---- fake kernels --------------------------------------------------------------------------------


def _planes(lcs: bool, shared_gap: bool, rows: int, columns: int) -> int:
    """How many numbers a cell the CUDA operators save: planes() of csrc/cuda/wavefront.h."""
    if lcs:
        return 1
    return 2 if shared_gap else torch.sym_ite(torch.sym_max(rows, columns) <= TINY, 3, 2)


def _saved_bytes(rows: int, columns: int, dtype: torch.dtype, gamma: float) -> int:
    """How many bytes a pair the CPU operators save: saved_bytes() of csrc/cpu/kernels.h."""
    states = 64 + (torch.sym_max(rows, 1) - 1) // 16 * columns * 16
    if dtype == torch.float64 or not 1e-30 < abs(gamma) < 1e30:
        return states
    pitch = torch.sym_max(32, (columns + 15) // 16 * 16)
    weights = 64 + ((rows + 15) // 16 * pitch + 16) * 64
    # Either, by arithmetic: an if, or sym_ite in PyTorch 2.15, would tie a compiled graph to one of them.
    packs = torch.sym_min(1, torch.sym_max(rows, columns) // 33)
    return packs * weights + (1 - packs) * states


def _fake_results(
    scores: Tensor, save: bool, lcs: bool, shared_gap: bool, gamma: float
) -> tuple[Tensor, Tensor]:
    B, N, M = scores.shape
    score = scores.new_empty((B,), dtype=_checks.arithmetic(scores.dtype))
    if on_gpu(scores.device):
        size = (B, _planes(lcs, shared_gap, N, M), N, M) if save else (0,)
        return score, score.new_empty(size)
    size = (B, _saved_bytes(N, M, scores.dtype, gamma)) if save else (0,)
    return score, scores.new_empty(size, dtype=torch.uint8)


@torch.library.register_fake("softdp::fsd_forward")
def _(match, insert, delete, x_lengths, y_lengths, gamma, anchored, save):
    return _fake_results(match, save, lcs=False, shared_gap=delete is None, gamma=gamma)


@torch.library.register_fake("softdp::lcs_forward")
def _(similarity, x_lengths, y_lengths, threshold, gamma, save):
    return _fake_results(similarity, save, lcs=True, shared_gap=True, gamma=gamma)


@torch.library.register_fake("softdp::fsd_backward")
def _(
    grad_score,
    saved,
    match,
    insert,
    delete,
    x_lengths,
    y_lengths,
    gamma,
    anchored,
    need_match,
    need_insert,
    need_delete,
):
    def gradient(needed, of):
        return match.new_empty((match.shape[0], *of.shape[1:]) if needed else (0,))

    return (
        gradient(need_match, match),
        gradient(need_insert, insert),
        gradient(need_delete and delete is not None, delete),
    )


@torch.library.register_fake("softdp::lcs_backward")
def _(grad_score, saved, similarity, x_lengths, y_lengths, threshold, gamma, visits):
    return similarity.new_empty(similarity.shape)


@torch.library.register_fake("softdp::fsd_double_backward")
def _(
    v_match,
    v_insert,
    v_delete,
    grad_score,
    match,
    insert,
    delete,
    x_lengths,
    y_lengths,
    gamma,
    anchored,
    need_match,
    need_insert,
    need_delete,
):
    def product(needed):
        return match.new_empty(match.shape if needed else (0,))

    products = [product(n) for n in (need_match, need_insert, need_delete and delete is not None)]
    return match.new_empty(match.shape[:1]), *products


@torch.library.register_fake("softdp::lcs_double_backward")
def _(v, grad_score, similarity, x_lengths, y_lengths, threshold, gamma):
    return similarity.new_empty(similarity.shape[:1]), similarity.new_empty(similarity.shape)


# ---- autograd ------------------------------------------------------------------------------------
#
# The first derivative depends on the scores through the backward operator's own arguments: it is given them
# on every device, also where its kernel does without. `saved` holds numbers that follow from the scores; its
# derivative is never asked for.


def _fsd_context(ctx, inputs, output):
    match, insert, delete, x_lengths, y_lengths, gamma, anchored, _ = inputs
    _, saved = output
    ctx.save_for_backward(saved, match, insert, delete, x_lengths, y_lengths)
    ctx.set_materialize_grads(False)
    ctx.options = gamma, anchored


def _fsd_gradient(ctx, grad_score, _grad_saved):
    if grad_score is None:
        return (None,) * 8
    saved, *scores, x_lengths, y_lengths = ctx.saved_tensors
    needs = ctx.needs_input_grad[:3]
    gradients = fsd_backward(grad_score, saved, *scores, x_lengths, y_lengths, *ctx.options, *needs)
    return *map(_summed_over_batch, gradients, scores, needs), None, None, None, None, None


def _summed_over_batch(gradient: Tensor, of: Tensor | None, needed: bool) -> Tensor | None:
    """The gradient of a gap that all pairs share is the sum of the pairs' gradients."""
    if not needed or of is None:
        return None
    return gradient.sum(0, keepdim=True) if of.shape[0] != gradient.shape[0] else gradient


def _lcs_context(ctx, inputs, output):
    similarity, x_lengths, y_lengths, threshold, gamma, _ = inputs
    _, saved = output
    ctx.save_for_backward(saved, similarity, x_lengths, y_lengths)
    ctx.set_materialize_grads(False)
    ctx.options = threshold, gamma


def _lcs_gradient(ctx, grad_score, _grad_saved):
    if grad_score is None:
        return (None,) * 6
    gradient = lcs_backward(grad_score, *ctx.saved_tensors, *ctx.options, False)
    return gradient, None, None, None, None, None


def _fsd_double_context(ctx, inputs, output):
    grad_score, _, match, insert, delete, x_lengths, y_lengths, gamma, anchored, *_ = inputs
    ctx.save_for_backward(grad_score, match, insert, delete, x_lengths, y_lengths)
    ctx.set_materialize_grads(False)
    ctx.options = gamma, anchored


def _fsd_double_gradient(ctx, *directions):
    """Derivatives by grad_score and by the scores; see csrc/recurrence.h, second order."""
    nothing = (None,) * 12
    grad_score, match, insert, delete, *lengths = ctx.saved_tensors
    scores = match, insert, delete
    wants_grad, _, *needs = ctx.needs_input_grad[:5]
    directions = [None if v is None or v.numel() == 0 else _checks.computed(v) for v in directions]
    if all(v is None for v in directions):  # not wanted, or of no cells
        zeros = (
            torch.zeros_like(t) if need and t is not None and match.numel() == 0 else None
            for t, need in zip(scores, needs, strict=True)
        )
        return None, None, *zeros, *nothing[5:]
    computed = [None if t is None else _checks.computed(t) for t in scores]
    gamma, anchored = ctx.options
    if gamma < 0:  # of costs
        computed = [None if t is None else -t for t in computed]
    tangent, *products = fsd_double_backward(
        *directions, grad_score, *computed, *lengths, abs(gamma), anchored, *needs
    )
    if gamma < 0:
        products = [-product for product in products]
    gradients = (
        _summed_as(product, like) if need and like is not None else None
        for product, like, need in zip(products, scores, needs, strict=True)
    )
    return tangent if wants_grad else None, None, *gradients, *nothing[5:]


def _summed_as(product: Tensor, like: Tensor) -> Tensor:
    """A dense derivative summed over the dimensions that were broadcast, in the scores' dtype."""
    over = [d for d in range(3) if like.shape[d] != product.shape[d]]
    return (product.sum(over, keepdim=True) if over else product).to(like.dtype)


def _lcs_double_context(ctx, inputs, output):
    grad_score, _, similarity, x_lengths, y_lengths, threshold, gamma, visits = inputs
    ctx.save_for_backward(grad_score, similarity, x_lengths, y_lengths)
    ctx.set_materialize_grads(False)
    ctx.options = threshold, gamma
    ctx.visits = visits


def _lcs_double_gradient(ctx, v):
    if v is None:
        return (None,) * 8
    if ctx.visits:
        raise NotImplementedError("softdp: visits have no derivative")
    grad_score, similarity, *lengths = ctx.saved_tensors
    wants_grad, _, need = ctx.needs_input_grad[:3]
    v, computed = _checks.computed(v), _checks.computed(similarity)
    tangent, product = lcs_double_backward(v, grad_score, computed, *lengths, *ctx.options)
    gradient = product.to(similarity.dtype) if need else None
    return tangent if wants_grad else None, None, gradient, *(None,) * 5


def _no_context(ctx, inputs, output):
    pass


def _no_third_derivative(recurrence: str) -> Callable:
    def gradient(ctx: Any, *_grads: Any) -> Any:
        raise NotImplementedError(_not_implemented("third derivatives", recurrence))

    return gradient


# Where derivatives are to be had that the operators do not have, by recurrence: what has them and takes the
# same arguments as the public functions of the same name, and what to make of it where these have another.
_REFERENCE = {
    "fsd": (
        "softdp.reference.fsd_score, softdp.reference.soft_dtw and softdp.reference.needleman_wunsch",
        "fsd_alignment is the gradient of softdp.reference.fsd_score by match, by torch.func.grad or "
        "torch.autograd.grad(..., create_graph=True)",
    ),
    "lcs": (
        "softdp.reference.lcs_score",
        "lcs_alignment is its gradient, by torch.func.grad or torch.autograd.grad(..., create_graph=True)",
    ),
}


def _not_implemented(what: str, recurrence: str) -> str:
    functions, alignment = _REFERENCE[recurrence]
    return (
        f"softdp: {what} of this score are not implemented; softdp.reference has derivatives of every order, "
        f"backward and forward, in plain PyTorch: {functions}, of the same arguments ({alignment})"
    )


# ---- vmap: the mapped dimension joins the batch --------------------------------------------------


def _joined(tensors: tuple, in_dims: tuple, pairs: int, size: int) -> list[Tensor | None]:
    """Mapped or unmapped tensors (1 or B, ...) -> (size * B, ...)."""

    def join(value: Tensor | None, dim: int | None) -> Tensor | None:
        if value is None:
            return None
        value = value.unsqueeze(0) if dim is None else value.movedim(dim, 0)
        return value.expand(size, pairs, *value.shape[2:]).flatten(0, 1)

    return [join(t, d) for t, d in zip(tensors, in_dims, strict=False)]


def _parted(value: Tensor, size: int, whole: bool = True) -> Tensor:
    """(size * B, ...) -> (size, B, ...); an empty tensor stands for nothing and stays empty."""
    return value.unflatten(0, (size, -1 if value.shape[0] else 0)) if whole else value.new_empty((size, 0))


def _pairs(value: Tensor, dim: int | None) -> int:
    return value.shape[1 if dim == 0 else 0]


def _fsd_forward_vmap(info, in_dims, match, insert, delete, x_lengths, y_lengths, *options):
    tensors = (match, insert, delete, x_lengths, y_lengths)
    joined = _joined(tensors, in_dims, _pairs(match, in_dims[0]), info.batch_size)
    score, saved = fsd_forward(*joined, *options)
    *_, save = options
    return (_parted(score, info.batch_size), _parted(saved, info.batch_size, save)), (0, 0)


def _lcs_forward_vmap(info, in_dims, similarity, x_lengths, y_lengths, *options):
    tensors = (similarity, x_lengths, y_lengths)
    joined = _joined(tensors, in_dims, _pairs(similarity, in_dims[0]), info.batch_size)
    score, saved = lcs_forward(*joined, *options)
    *_, save = options
    return (_parted(score, info.batch_size), _parted(saved, info.batch_size, save)), (0, 0)


def _fsd_backward_vmap(info, in_dims, *inputs):
    tensors, options = inputs[:7], inputs[7:]
    joined = _joined(tensors, in_dims, _pairs(inputs[2], in_dims[2]), info.batch_size)
    gradients = fsd_backward(*joined, *options)
    *_, need_match, need_insert, need_delete = options
    given = need_match, need_insert, need_delete and inputs[4] is not None
    return tuple(_parted(g, info.batch_size, n) for g, n in zip(gradients, given, strict=True)), (0, 0, 0)


def _lcs_backward_vmap(info, in_dims, *inputs):
    tensors, options = inputs[:5], inputs[5:]
    joined = _joined(tensors, in_dims, _pairs(inputs[2], in_dims[2]), info.batch_size)
    gradient = lcs_backward(*joined, *options)
    return _parted(gradient, info.batch_size), 0


def _fsd_double_backward_vmap(info, in_dims, *inputs):
    tensors, options = inputs[:9], inputs[9:]
    joined = _joined(tensors, in_dims, _pairs(inputs[4], in_dims[4]), info.batch_size)
    results = fsd_double_backward(*joined, *options)
    *_, need_match, need_insert, need_delete = options
    given = True, need_match, need_insert, need_delete and inputs[6] is not None
    parted = (_parted(r, info.batch_size, whole) for r, whole in zip(results, given, strict=True))
    return tuple(parted), (0,) * 4


def _lcs_double_backward_vmap(info, in_dims, *inputs):
    tensors, options = inputs[:5], inputs[5:]
    joined = _joined(tensors, in_dims, _pairs(inputs[2], in_dims[2]), info.batch_size)
    results = lcs_double_backward(*joined, *options)
    return tuple(_parted(r, info.batch_size) for r in results), (0, 0)


# ---- registration --------------------------------------------------------------------------------


def transformed() -> bool:
    """Whether a torch.func transform (grad, vmap, jacrev, ...) is at work."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def _forward_mode() -> bool:
    return torch.autograd.forward_ad._current_level >= 0


def _backward_wanted(*args: Any) -> bool:
    return torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args)


def wanted(*args: Any) -> bool:
    """Whether a derivative of any of these is wanted, backward or forward."""
    return _forward_mode() or _backward_wanted(*args)


def only_backward(*args: Any) -> bool:
    """Whether a backward derivative of any of these is wanted, and no graph, transform or forward mode is at
    work: where a torch.autograd.Function without rules for these serves."""
    return _backward_wanted(*args) and not (_forward_mode() or torch.compiler.is_compiling() or transformed())


def _register(
    name: str,
    context: Callable,
    gradient: Callable,
    vmap: Callable,
    no_forward_mode: str,
    tangent: Callable | None = None,
) -> Callable:
    """Give an operator its derivatives, `tangent` the forward one, and its vmap rule; returns what calls it.

    no_forward_mode: the error where there is no forward derivative. Under torch.compile there is none.

    The same rules, by three ways: torch.compile and opcheck want register_autograd, which does not work
    under torch.func (pytorch/pytorch#170834); there an autograd.Function with setup_context does; and a
    plain one costs the least, 0.1 ms less a call, as much as a small problem takes.
    """
    operator = getattr(torch.ops.softdp, name).default
    torch.library.register_autograd(f"softdp::{name}", gradient, setup_context=context)
    torch.library.register_vmap(f"softdp::{name}", vmap)

    def kernel(*args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*args)

    def forward(ctx: Any, *args: Any) -> Any:
        output = kernel(*args)
        context(ctx, args, output)
        return output

    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(no_forward_mode)

    def function(**rules: Callable) -> Callable:
        rules.update(backward=gradient, jvp=tangent or jvp)
        methods = {rule: staticmethod(method) for rule, method in rules.items()}
        return type(name, (torch.autograd.Function,), methods).apply

    plain = function(forward=forward)
    transformable = function(forward=operator, setup_context=context, vmap=vmap)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            if _forward_mode():  # which would take the score for a constant
                raise NotImplementedError(no_forward_mode)
            return operator(*args)
        if transformed():
            return transformable(*args)
        return plain(*args) if wanted(*args) else kernel(*args)

    return call


_NO_JVP = {of: _not_implemented("forward-mode derivatives (jvp)", of) for of in _REFERENCE}
fsd_forward = _register("fsd_forward", _fsd_context, _fsd_gradient, _fsd_forward_vmap, _NO_JVP["fsd"])
lcs_forward = _register("lcs_forward", _lcs_context, _lcs_gradient, _lcs_forward_vmap, _NO_JVP["lcs"])
fsd_backward = _register(
    "fsd_backward", _fsd_double_context, _fsd_double_gradient, _fsd_backward_vmap, _NO_JVP["fsd"]
)
lcs_backward = _register(
    "lcs_backward", _lcs_double_context, _lcs_double_gradient, _lcs_backward_vmap, _NO_JVP["lcs"]
)
fsd_double_backward = _register(
    "fsd_double_backward",
    _no_context,
    _no_third_derivative("fsd"),
    _fsd_double_backward_vmap,
    _NO_JVP["fsd"],
)
lcs_double_backward = _register(
    "lcs_double_backward",
    _no_context,
    _no_third_derivative("lcs"),
    _lcs_double_backward_vmap,
    _NO_JVP["lcs"],
)
