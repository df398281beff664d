"""How PyTorch is told of an operator's derivatives and of its vmap rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import _torch
from ._vmap import Maker, Operator

Context: TypeAlias = Callable[[Any, Any, Any], None]  # ctx, inputs, output: keeps what the derivatives take
Gradient: TypeAlias = Callable[..., Any]


def _backward_wanted(*args: Any) -> bool:
    if torch.is_grad_enabled():
        for a in args:  # a generator would take twice the time, which small problems show
            if isinstance(a, Tensor) and a.requires_grad:
                return True
    return False


def wanted(*args: Any) -> bool:
    """Whether a derivative of any of these is wanted, backward or forward."""
    return _torch.forward_mode() or _backward_wanted(*args)


def only_backward(*args: Any) -> bool:
    """Whether a backward derivative of any is wanted, outside of graphs, transforms and forward mode.

    An autograd.Function without rules for those serves then.
    """
    return _backward_wanted(*args) and not (
        _torch.forward_mode() or torch.compiler.is_compiling() or _torch.transformed()
    )


def register(
    name: str,
    context: Context,
    gradient: Gradient,
    tangent: Gradient | None,
    vmap: Maker,
    no_forward_mode: str,
    guarded: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None,
) -> Operator:
    """Give an operator its derivatives and its vmap rule, and return the function that calls it.

    The same rules are registered in three ways. torch.compile and opcheck want register_autograd, which does
    not work under torch.func (pytorch/pytorch#170834). There an autograd.Function with setup_context works.
    Everywhere else an autograd.Function without setup_context serves. It takes 0.1 ms less a call, which is
    as long as a small problem takes.

    Args:
        name: the operator's, without "softdp::".
        context: keeps what gradient and tangent take.
        gradient: the backward derivative.
        tangent: the forward derivative, None if there is none.
        vmap: makes the vmap rule.
        no_forward_mode: the error where there is no forward derivative. In torch.compile there is none.
        guarded: the arguments as the autograd.Function without setup_context takes them; None: as they are.
    """
    operator = getattr(torch.ops.softdp, name).default

    def kernel(*args: Any) -> Any:
        with _torch.below_autograd():
            return operator(*args)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            if _torch.forward_mode():  # torch.compile would take the score for a constant
                raise NotImplementedError(no_forward_mode)
            return operator(*args)
        if _torch.transformed():
            return transformable(*args)
        if not wanted(*args):
            return kernel(*args)
        return plain(*(guarded(args) if guarded else args))

    def forward(ctx: Any, *args: Any) -> Any:
        output = kernel(*args)
        context(ctx, args, output)
        ctx.is_guarded = guarded is not None
        return output

    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(no_forward_mode)

    def function(**rules: Callable[..., Any]) -> Operator:
        rules.update(backward=gradient, jvp=tangent or jvp)
        methods = {rule: staticmethod(method) for rule, method in rules.items()}
        made: Any = type(name, (torch.autograd.Function,), methods)
        applied: Operator = made.apply
        return applied

    rule = vmap(call)
    plain = function(forward=forward)
    transformable = function(forward=operator, setup_context=context, vmap=rule)
    torch.library.register_autograd(f"softdp::{name}", gradient, setup_context=context)
    torch.library.register_vmap(f"softdp::{name}", rule)
    return call
