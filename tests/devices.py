"""The devices of the tests, and comparisons with exact scores.

A test that takes the fixture `device` (conftest.py) tests the CPU and, where there is one, the GPU by the
same lines. SOFTDP_SHIM=1 puts the CUDA operators on the CPU, in the GPU's place (shim.py): `device` is then
the CPU.
"""

from __future__ import annotations

import contextlib

import pytest
import shim
import torch
from helpers import close, score_and_gradients
from torch import Tensor

import softdp

# Under the shim there are no CPU operators to test.
NAMES = [*([] if shim.ACTIVE else ["cpu"]), *(["cuda"] if shim.ACTIVE or torch.cuda.is_available() else [])]
PARAMETERS = [pytest.param(name, marks=[pytest.mark.cuda] if name == "cuda" else []) for name in NAMES]
GPU = torch.device("cpu" if shim.ACTIVE else "cuda")
needs_shim = pytest.mark.skipif(not shim.ACTIVE, reason="needs the shim: set SOFTDP_SHIM=1")
needs_gpu = pytest.mark.skipif(shim.ACTIVE, reason="needs a GPU: the shim has no streams, graphs or memory")

# Below, at and above what a kernel takes at once: 16 rows on the CPU; 32 or 128 rows on a GPU.
SMALL_EDGES = [(1, 1), (2, 2), (5, 5), (2, 33), (33, 2), (30, 30), (30, 31), (31, 31), (32, 32), (33, 33)]
EDGES = [(64, 64), (127, 127), (128, 128), (129, 129), (257, 257), (1, 257), (257, 1), (5, 129), (31, 64)]
EDGES += [(64, 30), (129, 32), (128, 257)]
# The CPU is compared with the reference, which takes 5 s at 257 x 257; test_cpu.py has larger sizes.
SIZES = {"cpu": [*SMALL_EDGES, (1, 257), (257, 1), (31, 64), (64, 30)], "cuda": SMALL_EDGES + EDGES}
REGIMES = {
    "cpu": [(5, 7), (32, 30), (40, 70)],  # in lanes side by side, bands
    "cuda": [(5, 7), (32, 30), (100, 129), (300, 280)],  # a warp, a block, several bands
}

HALF = (torch.float16, torch.bfloat16)
SCORES = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_score(match, gap, gamma=0.2, **lengths),
    "anchored": lambda match, gap, **lengths: softdp.fsd_score(match, gap, boundary="anchored", **lengths),
    "lcs": lambda match, gap, **lengths: softdp.lcs_score(match + gap, threshold=0.4, gamma=0.2, **lengths),
    "needleman_wunsch": lambda match, gap, **lengths: softdp.needleman_wunsch(
        match, gap, gamma=0.2, **lengths
    ),
}


def by_size(size) -> str:
    return "x".join(map(str, size))


def on_each_device(sizes: dict[str, list]):
    """Parameters device and size: each device with its own sizes."""
    marks = {name: parameter.marks for name, parameter in zip(NAMES, PARAMETERS, strict=True)}
    pairs = [
        pytest.param(name, size, marks=marks[name], id=f"{name}-{by_size(size)}")
        for name in NAMES
        for size in sizes[name]
    ]
    return pytest.mark.parametrize("device, size", pairs, indirect=["device"])


each = pytest.mark.parametrize("name", SCORES)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
both_boundaries = pytest.mark.parametrize("boundary", ["free", "anchored"])
every_size = on_each_device(SIZES)
every_regime = on_each_device(REGIMES)


def is_gpu(device: torch.device) -> bool:
    """True for the shim too."""
    return shim.ACTIVE or device.type == "cuda"


def to(device: torch.device, value):
    return value.to(device) if torch.is_tensor(value) else value


class Library:
    """softdp on a device: tensors go there, and what is returned comes back, as do gradients."""

    def __init__(self, device: torch.device):
        self.device = device

    def tolerance(self, of_the_cpu: float) -> float:
        return max(1e-9, of_the_cpu) if is_gpu(self.device) else of_the_cpu

    def __getattr__(self, name: str):
        function = getattr(softdp, name)

        def call(*args, **options):
            args = [to(self.device, value) for value in args]
            options = {key: to(self.device, value) for key, value in options.items()}
            return function(*args, **options).cpu()

        return call


class Reference:
    """softdp.reference, as a Library."""

    def tolerance(self, of_the_cpu: float) -> float:
        return of_the_cpu

    def __getattr__(self, name: str):
        return getattr(softdp.reference, name)


@contextlib.contextmanager
def reference():
    """softdp's scores come from softdp.reference."""
    before, softdp._devices.has_kernel = softdp._devices.has_kernel, lambda *_: False
    try:
        yield
    finally:
        softdp._devices.has_kernel = before


def values(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Multiples of 1/1024 in [-1, 1]: float32 adds them without rounding, so that a hard maximum meets the
    same ties and LCS the same hits in either dtype."""
    return torch.randint(-1024, 1025, size).to(dtype) / 1024


def exact_way(device: torch.device, cells: int):
    """A context in which softdp on the CPU computes what the device's scores are compared with.

    The reference; for a GPU the CPU's operators, which are quicker. For the shim, the reference up to 30000
    cells, and beyond its own operators in float64.
    """
    quick = cells < 30000 if shim.ACTIVE else device.type == "cpu"
    return reference() if quick else contextlib.nullcontext()


def exactly(score, tables, device: torch.device, **options):
    """Score and gradients in float64 on the CPU, from the same numbers."""
    options = {name: to("cpu", value) for name, value in options.items()}
    tables = [None if t is None else t.cpu().double() for t in tables]
    with exact_way(device, tables[0].numel()):
        return score_and_gradients(score, tables, **options)


def agrees(score, tables, device: torch.device, **options):
    """The device's score and gradients, compared with the exact ones. Lengths stay where they are."""
    tables = [to(device, t) for t in tables]
    found = score_and_gradients(score, tables, **options)
    exact = exactly(score, tables, device, **options)
    half = tables[0].dtype in HALF
    arithmetic = torch.float32 if half else tables[0].dtype
    # Absolute below 1, relative above; float32 rounds at each of some hundred steps.
    single = 5e-6 if is_gpu(device) else 2e-6
    tolerance, gradient_tolerance = (single, 1e-4) if arithmetic == torch.float32 else (1e-9, 1e-9)
    assert found[0].dtype == arithmetic and found[0].device.type == device.type
    close(found[0].cpu(), exact[0], tolerance)
    for table, gradient, wanted in zip(tables, found[1], exact[1], strict=True):
        if table is None:
            continue
        assert gradient.dtype == table.dtype and gradient.shape == table.shape
        assert gradient.device == table.device
        rounding = torch.finfo(table.dtype).eps if half else 0
        if arithmetic == torch.float32 and gradient.numel() < tables[0].numel():
            rounding += 1e-3  # a sum over many cells, whose weights have 16 bits
        close(gradient.cpu(), wanted, gradient_tolerance + rounding)
    return found


def products(score, tables, directions, weight):
    """Derivatives of sum(weight * score)'s gradient along the directions: by weight, and by the tables.

    The former is the gradient's own value along the directions, the latter the Hessian's products.
    """
    leaves = [t.detach().clone().requires_grad_() for t in tables]
    weight = weight.detach().clone().requires_grad_()
    gradients = torch.autograd.grad((weight * score(*leaves)).sum(), leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))
    return torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)


def products_agree(score, tables, device: torch.device):
    """The device's second derivatives, compared with the exact ones."""
    directions = [values(*t.shape, dtype=t.dtype) for t in tables]
    weight = values(tables[0].shape[0], dtype=tables[0].dtype) + 2
    found = products(
        score, [to(device, t) for t in tables], [to(device, v) for v in directions], to(device, weight)
    )
    with exact_way(device, tables[0].numel()):
        exact = products(
            score, [t.double() for t in tables], [v.double() for v in directions], weight.double()
        )
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == tables[0].dtype and a.device.type == device.type
        assert torch.equal(a.cpu().isfinite(), b.isfinite())
        largest = b.nan_to_num(0).abs().max().item()
        close(a.cpu(), b, (1e-9 if a.dtype == torch.float64 else 1e-3) * max(largest, 1e-3))
    return found


def ragged(N: int, M: int, dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
    """Lengths of 8 pairs: full, empty, 1, around a tile's edge, at random."""
    n = [N, 0, N, 1, min(32, N), min(33, N), N // 2, N - 1]
    m = [M, M, 0, 1, min(33, M), min(32, M), M - 1, M // 2]
    return torch.tensor(n, dtype=dtype), torch.tensor(m, dtype=dtype)


def same(found, expected) -> bool:
    """Bitwise, NaN included: a score and its gradients."""
    pairs = zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True)
    return all(torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7)) for a, b in pairs)
