"""Every call of PyTorch that is not public, in one place.

PyTorch may change these names without a warning. The tests that are named below passed on each version in
CHECKED. Each function says what breaks without it. No other file of softdp calls a private name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

CHECKED = ("2.10.0", "2.13.0", "2.14.1")

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

# In this context an operator's call goes straight to its kernel. Without it PyTorch would record a call that
# an autograd.Function makes a second time, through register_autograd. tests/test_citizen.py.
below_autograd = torch._C._AutoDispatchBelowAutograd


def transformed() -> bool:
    """Whether a torch.func transform (grad, vmap, jacrev, ...) is at work.

    Without it softdp could not tell which of the two autograd.Functions of _registration.py serves: the
    cheaper one is an error in a transform. tests/test_citizen.py, test_torch_func_gradients.
    """
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def forward_mode() -> bool:
    """Whether torch.autograd.forward_ad is at work.

    Without it a score of a tensor with a tangent would have none, without an error, and so would a compiled
    score. tests/test_forward_mode.py, tests/test_transforms.py.
    """
    return torch.autograd.forward_ad._current_level >= 0


def values_hidden() -> bool:
    """Whether tensors have no values to look at.

    They have none in a graph that is being traced, in a torch.func transform, and in a dispatch mode such as
    FakeTensorMode. Without it the check of lengths against their range would fail there.
    tests/test_citizen.py, test_fake_tensors_and_export.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )


def saved_by_hooks() -> bool:
    """Whether hooks look after tensors that are saved for backward, as torch.utils.checkpoint's do.

    Without it checkpoint would not free the features of a loss. tests/test_fused.py.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


def gradients_of_manhattan(grad: Tensor, x: Tensor, y: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of sums = torch.cdist(x, y, p=1), by PyTorch's kernel.

    Without it they would take 3 to 5 times as long, by public operations. tests/test_forward_mode.py.
    """
    one = torch.ops.aten._cdist_backward
    by_x: Tensor = one(grad.contiguous(), x, y, 1.0, sums)
    by_y: Tensor = one(grad.mT.contiguous(), y, x, 1.0, sums.mT.contiguous())
    return by_x, by_y


def version(tensor: Tensor) -> int:
    """How often a tensor was changed in place.

    Without it a second derivative could be that of features which have changed since. tests/test_fused.py.
    """
    return tensor._version


def constant_in_graphs(function: AnyFunction) -> AnyFunction:
    """A function that torch.compile calls once, while it traces, and whose result it keeps.

    torch.compiler.assume_constant_result does the same. But it imports torch._dynamo, which takes seconds
    even if a program compiles nothing. The function must be a plain one: torch.compile looks through
    functools.cache. tests/test_package.py, test_torch_compile_asks_once_whether_cuda_tensors_run_the_kernels.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]  # functions take any attribute
    return function


@constant_in_graphs
def has_autocast(device: str) -> bool:
    """Whether there is an autocast for this type of device. PyTorch 2.10 cannot trace the question."""
    return torch.amp.is_autocast_available(device)
