"""The CUDA kernels' own sources, compiled as C++ and run on the CPU under tests/kernels/shim.h.

Builds when it is first imported; SOFTDP_HARNESS_FLAGS adds compiler flags (a sanitizer's).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parents[1]
HALF = (torch.float16, torch.bfloat16)
SEVERAL_STATES = ("affine", "local_fsd", "smith_waterman", "local_affine")  # a cell
BOUNDARY = {
    "needleman_wunsch": "global",
    "affine": "global",
    "local_fsd": "local",
    "smith_waterman": "local",
    "local_affine": "local",
}  # else "free"
FLAGS = os.environ.get("SOFTDP_HARNESS_FLAGS", "")
# Bytes before and after what the kernels write. A sanitizer guards the tensors themselves, reads included.
MARGIN = 0 if "sanitize" in FLAGS else 256
CANARY = 0xA5
EDGES = "above", "left", "corner", "last_row", "last_column"


def sources(root: Path = ROOT) -> list[Path]:
    return sorted((root / "csrc/cuda").glob("*.cu")) + sorted((root / "tests/kernels").glob("*.cpp"))


def units(files: list[Path], folder: Path) -> list[str]:
    """A C++ file in the folder for each, which includes it: .cu files are C++ here."""
    found = []
    for source in files:
        unit = folder / f"{source.stem}_unit.cpp"
        text = f'#include "{source}"\n'
        if not unit.is_file() or unit.read_text() != text:
            unit.write_text(text)
        found.append(str(unit))
    return found


def build(root: Path = ROOT, flags: str = FLAGS):
    """The pybind11 module of tests/kernels/harness.cpp."""
    tag = hashlib.sha1(f"{root} {flags} {torch.__version__}".encode()).hexdigest()[:12]
    name = f"softdp_harness_{tag}"
    folder = ROOT / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    preload = os.environ.pop("LD_PRELOAD", None)  # a sanitizer's runtime, not meant for the compiler
    try:
        return cpp_extension.load(
            name,
            units(sources(root), folder),
            extra_cflags=["-std=c++17", "-O2", "-g", "-w", "-DSOFTDP_HARNESS", *flags.split()],
            extra_ldflags=flags.split(),
            extra_include_paths=[str(root / "tests/kernels"), str(root / "csrc/cuda")],
            build_directory=str(folder),
            with_cuda=False,
        )
    finally:
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload


@cache
def module():
    return build()


@dataclass
class Result:
    score: Tensor
    saved: Tensor
    gradients: tuple[Tensor | None, ...]  # by match or similarity, insert, delete
    boundary: dict[str, Tensor]  # what was asked for of last_row, last_column
    ends: Tensor | None = None  # the weights of the ends, (B, ends); of the second order their tangents


def run(
    recurrence: str,
    scores: tuple[Tensor | None, ...],
    *,
    gamma: float,
    threshold: float = 0.0,
    boundary: str | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    grad: Tensor | None = None,
    needs: tuple[bool, ...] = (True, True, True, True),
    save: bool = True,
    given: dict[str, Tensor] | None = None,
    wanted: tuple[str, ...] = (),
    directions: tuple[Tensor | None, ...] | None = None,
    visits: bool = False,
    costs: bool = False,
    bandwidth: int | None = None,
) -> Result:
    """Forward and, where save, backward of match (B, N, M) and its gaps, or of one similarity.

    scores: with affine gaps also those of a gap's first step. boundary: the library's name; None: BOUNDARY.
    given: states above (B, M, 16 bytes), left (B, N, 16), corner (B, 16) of another sweep; wanted: which
    of last_row and last_column to give back. With directions, second order instead of backward: score is
    the score's derivative along them, gradients are the Hessian's products. visits: of LCS, instead. costs:
    the tables hold costs. bandwidth: None is all cells.
    """
    kernels = module()
    match, *gaps = scores
    lcs = recurrence == "lcs"
    B, N, M = match.shape
    insert, delete, opening = (*gaps, None, None, None)[:3]
    shared = delete is None
    value_type = torch.float32 if match.dtype in HALF else match.dtype
    gaps_in_value_type = not lcs and insert.dtype != match.dtype
    boundary = boundary or BOUNDARY.get(recurrence, "free")
    dtype = str(match.dtype).removeprefix("torch.")
    size = (B, N, M, -1 if bandwidth is None else bandwidth)
    lengths = addressed(x_lengths, y_lengths)
    out = {name: poisoned((B, M if name == "last_row" else N, 16), torch.uint8) for name in wanted}
    states = {**(given or {}), **out}
    edges = [states[n].data_ptr() if n in states else 0 for n in EDGES]
    each = (match, match, match) if lcs else (match, insert, insert if shared else delete)
    each += () if opening is None else (opening,)
    tables = [strided(t, size[:3]) for t in each]
    score = poisoned((B,), value_type)
    saves = 2 if directions is not None else 1 if visits or given or wanted else 0  # Saves of wavefront.h
    one_for_all = ones_for_all(*each[1:])
    saved = memory_of_saved(recurrence, dtype, gamma, shared, saves, size, boundary)
    ends = poisoned((B, kernels.ends(boundary, N, M)), value_type)

    def forward(workspace: Tensor | None) -> int:
        return kernels.forward(
            recurrence, dtype, size, *lengths, gamma, threshold, boundary, costs, edges, tables, shared,
            one_for_all, gaps_in_value_type, score.data_ptr(), saved.data_ptr() if save else 0,
            ends.data_ptr() if save else 0, saves, *address(workspace),
        )  # fmt: skip

    workspace = poisoned((forward(None),), torch.uint8)
    forward(workspace)
    check_margins(score, saved, ends, workspace, *out.values())
    without_padding(out.values() if value_type == torch.float32 and gamma > 0 else ())
    if not save:
        return Result(score, saved, (), out)
    assert not ends.isnan().any(), "the weights of some ends are not written"
    grad = torch.ones(B, dtype=value_type) if grad is None else grad
    if directions is not None:
        return second_order(
            recurrence, dtype, size, lengths, gamma, boundary, costs, (score, saved, ends), directions,
            one_for_all, grad, needs, shared,
        )  # fmt: skip
    targets = [match] if lcs else [match, insert, None if shared else delete, opening][: len(each)]
    options = recurrence, dtype, size, lengths, gamma, boundary
    gaps = tables[1:], gaps_in_value_type, one_for_all
    gradients = first_order(options, targets, needs, match.dtype, grad, (saved, ends), shared, visits, gaps)
    check_margins(score)
    return Result(score, saved, gradients, out, ends)


def ones_for_all(insert: Tensor, delete: Tensor, opening: Tensor | None = None) -> list[bool]:
    """OneForAll of csrc/problem.h, its last two only with affine gaps."""
    found = [insert.shape[2] == 1, delete.shape[1] == 1]
    return found if opening is None else [*found, opening.shape[2] == 1, opening.shape[1] == 1]


def memory_of_saved(
    recurrence: str, dtype: str, gamma: float, shared: bool, saves: int, size: tuple[int, ...], boundary: str
) -> Tensor:
    """Of the weights: planes of numbers, or bytes where a cell has several states."""
    B, N, M, bandwidth = size
    if recurrence in SEVERAL_STATES:
        return poisoned((B, module().saved_bytes(recurrence, dtype, gamma, N, M, bandwidth)), torch.uint8)
    planes = module().planes(recurrence, dtype, gamma, shared, saves, N, M, boundary, bandwidth)
    cells = module().saved_cells(N, M, bandwidth)
    return poisoned((B, planes, cells), torch.float64 if dtype == "float64" else torch.float32)


def paths(
    recurrence: str,
    result: Result,
    size: tuple[int, int, int],
    *,
    boundary: str | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    bandwidth: int | None = None,
) -> list[list[list[int]]]:
    """The best path of each pair, rows of (row, column, move), from the weights of a run with gamma 0."""
    boundary = boundary or BOUNDARY.get(recurrence, "free")
    B, N, M = size
    most = N + M
    steps, counts = poisoned((B, most, 3), torch.int64), poisoned((B,), torch.int64)
    dtype = str(result.score.dtype).removeprefix("torch.")
    module().trace(
        recurrence, dtype, (*size, -1 if bandwidth is None else bandwidth), *addressed(x_lengths, y_lengths),
        boundary, result.score.data_ptr(), result.saved.data_ptr(), result.ends.data_ptr(), steps.data_ptr(),
        counts.data_ptr(), most,
    )  # fmt: skip
    check_margins(steps, counts)
    return [pair[:count].tolist() for pair, count in zip(steps, counts.tolist(), strict=True)]


def without_padding(states: Iterable[Tensor]) -> None:
    """Sets to 0 what lies between the mantissa and the exponent of a state."""
    for table in states:
        table[:, :, 4:8] = 0


def first_order(
    options, targets, needs, dtype, grad, swept, shared, visits, gaps
) -> tuple[Tensor | None, ...]:
    """The gradients by the targets that are needed. options: recurrence, dtype, size, lengths, gamma,
    boundary. swept: what was saved, and the weights of the ends."""
    recurrence, kernel_dtype, size, lengths, gamma, boundary = options
    saved, ends = swept
    B, N, M, _ = size
    gradients = [
        poisoned((B, *t.shape[1:]), dtype) if t is not None and need else None
        for t, need in zip(targets, needs, strict=False)
    ]
    written = [
        (0, True, True) if g is None else (g.data_ptr(), g.shape[1] == N, g.shape[2] == M) for g in gradients
    ]
    written += [(0, True, True)] * (4 - len(written))

    def backward(workspace: Tensor | None) -> int:
        return module().backward(
            recurrence, kernel_dtype, size, *lengths, gamma, boundary, grad.data_ptr(),
            saved.data_ptr(), ends.data_ptr(), written, shared, visits, *gaps, *address(workspace),
        )  # fmt: skip

    workspace = poisoned((backward(None),), torch.uint8)
    backward(workspace)
    check_margins(saved, ends, workspace, *(g for g in gradients if g is not None))
    return tuple(gradients)


def second_order(
    recurrence, dtype, size, lengths, gamma, boundary, costs, swept, directions, one_for_all, grad, needs,
    shared,
) -> Result:  # fmt: skip
    score, saved, ends = swept
    kernels = module()
    lcs = recurrence == "lcs"
    tangent, tangents = poisoned(size[:1], score.dtype), poisoned(saved.shape, saved.dtype)
    ends_tangents = poisoned(ends.shape, ends.dtype)
    along = [(0, 0, 0, 0) if v is None else strided(v, size[:3]) for v in directions]
    along += [(0, 0, 0, 0)] * (4 - len(along))
    if shared and not lcs:
        along[2] = along[1]

    def there(workspace: Tensor | None) -> int:
        return kernels.tangents(
            recurrence, dtype, size, *lengths, gamma, boundary, costs, score.data_ptr(), saved.data_ptr(),
            ends.data_ptr(), along, one_for_all, tangent.data_ptr(), tangents.data_ptr(),
            ends_tangents.data_ptr(), *address(workspace),
        )  # fmt: skip

    first = poisoned((there(None),), torch.uint8)
    there(first)
    tables = 1 if lcs else len(one_for_all) // 2 + 2
    wanted = [need and not (shared and i == 2) for i, need in enumerate(needs[:tables])]
    found = [poisoned(size[:3], score.dtype) if need else None for need in wanted]
    found = found[:2] if shared and tables == 3 else found
    places = [0 if t is None else t.data_ptr() for t in found]
    places += [0] * (4 - len(places))

    def back(workspace: Tensor | None) -> int:
        return kernels.products(
            recurrence, dtype, size, *lengths, gamma, boundary, grad.data_ptr(), saved.data_ptr(),
            ends.data_ptr(),
            tangent.data_ptr(), tangents.data_ptr(), ends_tangents.data_ptr(), places, shared,
            *address(workspace),
        )  # fmt: skip

    second = poisoned((back(None),), torch.uint8)
    back(second)
    check_margins(
        tangent, tangents, ends, ends_tangents, first, second, saved, *(t for t in found if t is not None)
    )
    return Result(tangent, tangents, tuple(found), {}, ends_tangents)


def features(
    kind: int,
    x: Tensor,
    y: Tensor,
    *,
    gamma: float,
    threshold: float = 0.0,
    boundary: str | None = None,
    bandwidth: int | None = None,
    x_lengths: Tensor | None = None,
    y_lengths: Tensor | None = None,
    every: bool = False,
    itself: bool = False,
    needs: tuple[bool, bool] = (True, True),
    weights: Tensor | None = None,
    table_bytes: int = 1 << 30,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Scores of x (B, N, D) and y (B, M, D) and their gradients, None where not needed.

    every: of every x and every y, (K, L). itself: y is x, and the gradient by x is by both. weights, (K, L):
    of the scores whose weighed sum is differentiated.
    """
    kernels = module()
    dtype = str(x.dtype).removeprefix("torch.")
    boundary = boundary or ("free" if kind in (1, 2) else "anchored")
    shape = (len(x), len(y)) if every else (len(x),)
    size = (math.prod(shape), x.shape[1], y.shape[1], -1 if bandwidth is None else bandwidth)
    lengths = addressed(x_lengths, y_lengths)
    score = poisoned(shape, x.dtype)
    gradients = [poisoned(t.shape, x.dtype) if need else None for t, need in zip((x, y), needs, strict=True)]

    def go(workspace: Tensor | None) -> int:
        return kernels.features(
            dtype, size, len(y) if every else 0, itself, x.shape[2], *lengths, kind, gamma, threshold,
            boundary, [x.data_ptr(), y.data_ptr()], score.data_ptr(),
            [0 if t is None else t.data_ptr() for t in gradients],
            0 if weights is None else weights.data_ptr(), table_bytes, *address(workspace),
        )  # fmt: skip

    workspace = poisoned((go(None),), torch.uint8)
    go(workspace)
    check_margins(score, workspace, *(t for t in gradients if t is not None))
    return score, *gradients


def workspace_of_features(kind: int, N: int, M: int, D: int, gamma: float, bandwidth: int) -> int:
    """The bytes of workspace of one pair's score and gradients, float32."""
    one = 4096  # a pointer that nothing follows: a null one is of what is not wanted
    lengths = addressed(None, None)
    found: int = module().features(
        "float32", (1, N, M, bandwidth), 0, False, D, *lengths, kind, gamma, 0.0, "anchored",
        [one, one], one, [one, one], 0, 1 << 30, 0, -1,
    )  # fmt: skip
    return found


def poisoned(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory of NaN, so that what is not written shows, between margins of canaries."""
    length = math.prod(size) * dtype.itemsize
    memory = torch.full((length + 2 * MARGIN,), CANARY, dtype=torch.uint8)
    table = memory[MARGIN : MARGIN + length].view(dtype).view(size)
    return table.fill_(float("nan") if dtype.is_floating_point else 255)


def check_margins(*tables: Tensor) -> None:
    for table in tables:
        memory = torch.empty(0, dtype=torch.uint8).set_(table.untyped_storage())
        margins = torch.cat([memory[:MARGIN], memory[len(memory) - MARGIN :]])
        assert (margins == CANARY).all(), f"a kernel wrote beside an output of size {tuple(table.shape)}"


def addressed(*lengths: Tensor | None) -> list[tuple[int, bool]]:
    """Their addresses, and whether they are int64."""
    return [(0 if t is None else t.data_ptr(), t is None or t.dtype == torch.int64) for t in lengths]


def address(workspace: Tensor | None) -> tuple[int, int]:
    return (0, -1) if workspace is None else (workspace.data_ptr(), workspace.numel())


def strided(table: Tensor, full: tuple[int, ...]) -> tuple[int, ...]:
    """Address and strides, 0 along broadcast dimensions."""
    strides = [0 if size == 1 else stride for size, stride in zip(table.shape, table.stride(), strict=True)]
    assert all(s in (1, f) for s, f in zip(table.shape, full, strict=True))
    return (table.data_ptr(), *strides)
