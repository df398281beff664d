"""Loads the compiled files beside this one.

_C.abi3.so      the operators' schemas and the CPU kernels. Without it the import is an error
_CUDA.abi3.so   the CUDA operators and kernels. It is loaded if PyTorch has CUDA
"""

from __future__ import annotations

import ctypes
import functools
import json
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from . import _torch
from ._recurrences import RECURRENCES

PACKAGE = Path(__file__).parent


def _built() -> dict[str, Any]:
    """What setup.py wrote down about the files beside it."""
    record = PACKAGE / "_build_info.json"
    return json.loads(record.read_text()) if record.is_file() else {}


# All operators that the Python files call. An older build beside newer Python files lacks some of them.
OPERATORS = (
    *(name for row in RECURRENCES for name in row.operators),
    "difference_products",
    "difference_sums",
    "score_of_features",
    "scaled_gradients",
    "pairwise_scores",
    "pairwise_gradients",
)


def _load() -> Path:
    file = PACKAGE / "_C.abi3.so"
    trouble = f"is missing: there is no {file}"
    if file.is_file():
        why = _trouble(file)
        missing = [name for name in OPERATORS if not hasattr(torch.ops.softdp, name)]
        if why is None and not missing:
            return file
        trouble = f"does not load: {why}" if why else f"is older than the Python files: no {missing[0]}"
    built, was = _built(), "by nothing that left a record"
    if built:
        was = f"softdp {built['version']}, for torch {built['torch']} and newer, {built['platform']}"
    machine = f"{sys.platform}-{platform.machine()}"
    here = f"Python {platform.python_version()}, torch {torch.__version__}, {machine}"
    source = "SOURCE (SOURCE is softdp's source folder)"
    if (PACKAGE.parent / "setup.py").is_file():
        source = f"-e {PACKAGE.parent}"
        trouble += (
            ". This is the source folder, which holds no build: start Python in another folder to import an"
            " installed softdp"
        )
    mend = f"pip install --force-reinstall --no-deps {source}"
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        mend = 'pip install "torch>=2.10"'
    raise ImportError(
        f"softdp's compiled extension {trouble}. Built: {was}. Here: {here}. Mend it with: {mend}"
    )


def _trouble(file: Path) -> str | None:
    """Load a file of operators. Returns what went wrong, in the loader's own words, or None."""
    try:
        torch.ops.load_library(file)
    except (OSError, RuntimeError) as error:
        return str(error.__cause__ or error)  # PyTorch puts its own words before the loader's
    return None


def _load_cuda() -> tuple[Path | None, str | None]:
    """The file of the CUDA operators, or why it is not loaded."""
    file = PACKAGE / "_CUDA.abi3.so"
    if not file.is_file():
        why = _built().get("why_cpu_only") or f"there is no {file}"
        return None, f"softdp was built without CUDA kernels: {why}"
    if not torch.version.cuda:
        return None, f"torch {torch.__version__} is built without CUDA"
    trouble = _trouble(file)
    return (file, None) if trouble is None else (None, f"{file} does not load: {trouble}")


def _cpu() -> str:
    """The CPU kernels' instruction set. A setting that this machine does not have is an error."""
    ask = ctypes.CDLL(str(EXTENSION)).softdp_cpu
    ask.restype = ctypes.c_char_p
    answer: str = ask().decode()
    if answer.startswith("!"):
        raise ImportError(f"softdp: {answer[1:]}")
    return answer


EXTENSION = _load()
CPU = _cpu()
CUDA_EXTENSION, _NOT_LOADED = _load_cuda()


@functools.cache
def why_no_cuda() -> str | None:
    """Why CUDA tensors run the reference, None if they run the kernels.

    The first call asks the driver. The import does not: a process that forks must not have touched CUDA.
    """
    if CUDA_EXTENSION is None:
        return _NOT_LOADED
    driver, built = cuda_versions(CUDA_EXTENSION)
    if driver == 0:
        return "there is no NVIDIA driver"
    if driver // 1000 < built // 1000:
        return (
            f"the NVIDIA driver runs CUDA up to {_version(driver)}, the kernels are built with CUDA "
            f"{_version(built)}: update the driver, or build softdp with an older toolkit (CUDA_HOME)"
        )
    return None


def cuda_versions(file: Path) -> tuple[int, int]:
    """The newest CUDA version of the driver, 0 without a driver, and that of the build: 13020 is 13.2."""
    driver, built = ctypes.c_int(), ctypes.c_int()
    ctypes.CDLL(str(file)).softdp_cuda_versions(ctypes.byref(driver), ctypes.byref(built))
    return driver.value, built.value


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _why_not_on(index: int | None) -> str | None:
    """Why the kernels do not run on this GPU, None if they do."""
    capability = torch.cuda.get_device_capability(index)
    assert CUDA_EXTENSION is not None  # why_no_cuda() comes first
    driver, built = cuda_versions(CUDA_EXTENSION)
    architectures = _built().get("cuda_archs", [])
    if any(_runs_on(name, capability, compiles=driver >= built) for name in architectures):
        return None
    return (
        f"the GPU has compute capability {capability[0]}.{capability[1]}, the kernels were built for "
        f"{', '.join(architectures)}; they need 8.0 (TORCH_CUDA_ARCH_LIST names what a build is for)"
    )


def _runs_on(name: str, capability: tuple[int, int], compiles: bool) -> bool:
    """Whether code for one architecture runs on a GPU.

    sm_90 is machine code for its generation, sm_90a for one GPU. The driver compiles compute_90, if it can.
    """
    kind, number = name.split("_")
    wanted = divmod(int(number.rstrip("af")), 10)
    if number.endswith("a"):
        return capability == wanted
    if kind == "sm" or number.endswith("f"):
        return capability[0] == wanted[0] and capability >= wanted
    return compiles and capability >= wanted


@functools.cache
def _runs_cuda(index: int | None) -> bool:
    why = why_no_cuda() or _why_not_on(index)
    if why is not None:
        warnings.warn(
            f"softdp: CUDA tensors run the reference implementation, correct and slow: {why}", stacklevel=5
        )
    return why is None


@_torch.constant_in_graphs
def runs_cuda(index: int | None) -> bool:
    """Whether tensors of this CUDA device run the kernels. If not, the first call warns and says why."""
    return _runs_cuda(index)
