"""softdp with its CUDA operators on the CPU: csrc/ops/cuda*.cpp and the kernels, compiled as C++ under
tests/kernels/shim.h, in the place of the CPU operators.

    SOFTDP_SHIM=1 pytest

runs the tests of the GPU so, except those of what the shim has not: streams, graphs, other devices.
conftest.py calls install() before anything imports softdp.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

import harness
import torch
from harness import ROOT
from torch.utils import cpp_extension

ACTIVE = bool(os.environ.get("SOFTDP_SHIM"))


def install() -> None:
    """Build the operators and let `import softdp` find the checkout's Python files with them."""
    assert "softdp" not in sys.modules, "softdp was imported before the shim was installed"
    library = _build()
    package = library.parent / "site" / "softdp"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in (ROOT / "softdp").glob("*.py")} | {"_C.abi3.so": library}
    for name, path in wanted.items():
        link = package / name
        own = package / f"{name}.{os.getpid()}"  # another process may do the same
        own.unlink(missing_ok=True)
        own.symlink_to(path)
        own.replace(link)
    sys.path.insert(0, str(package.parent))
    import softdp

    assert Path(softdp.__file__).parent == package
    softdp._devices.on_gpu = lambda device: True
    softdp._torch.values_hidden = lambda: True  # of lengths: nobody looks at a GPU's


def _build() -> Path:
    folder = ROOT / "build" / f"softdp_shim_{torch.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    kernels = ROOT / "tests" / "kernels"
    names = "library", "cuda", "cuda_affine", "cuda_features", "cuda_paths"
    files = [*(ROOT / f"csrc/ops/{name}.cpp" for name in names), kernels / "shim.cpp"]
    files += [kernels / "binding" / "launches.cpp", *sorted((ROOT / "csrc/cuda").glob("*.cu"))]
    cpp_extension.load(
        "softdp_shim",
        harness.units(files, folder),
        extra_cflags=["-std=c++17", "-O2", "-w", "-DSOFTDP_HARNESS"],
        extra_include_paths=[str(kernels / "binding"), str(kernels)],
        build_directory=str(folder),
        with_cuda=False,
        is_python_module=False,
    )
    return folder / "softdp_shim.so"


@contextlib.contextmanager
def failing_launches():
    """Every launch of a kernel fails."""
    library = ctypes.CDLL(sys.modules["softdp"].build_info()["extension"])
    library.softdp_launches_fail(True)
    try:
        yield
    finally:
        library.softdp_launches_fail(False)
