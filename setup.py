"""Builds softdp's extension: one abi3 file of stable-ABI operators. All else is in pyproject.toml."""

import json
import os
import platform
import shutil
import sys
from pathlib import Path

import torch
from setuptools import setup
from torch.utils import cpp_extension

ROOT = Path(__file__).parent
MIN_TORCH = "0x020a000000000000"  # 2.10: the oldest torch whose stable ABI has all that is used here


def cuda_home() -> Path | None:
    """The CUDA toolkit: a folder with its compiler and headers (the nvcc on PATH can be a wrapper)."""
    nvcc = shutil.which("nvcc")
    places = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    places += [Path(nvcc).resolve().parents[1] if nvcc else None, "/usr/local/cuda"]
    for home in (Path(p) for p in places if p):
        if (home / "bin/nvcc").is_file() and (home / "include/cuda_runtime.h").is_file():
            return home
    return None


CUDA_SOURCES = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/cuda/*.cu"))
CUDA_HOME = cuda_home()
WHY_NOT = (
    "this version has no CUDA kernels yet" if not CUDA_SOURCES
    else "torch is built without CUDA" if not torch.version.cuda
    else "no CUDA toolkit was found" if not CUDA_HOME
    else None
)  # fmt: skip


def extension():
    sources = ["csrc/ops/library.cpp", "csrc/ops/cpu.cpp", "csrc/cpu/sweep.cpp"]
    flags = {"cxx": ["-O3", "-std=c++17", "-fvisibility=hidden", f"-DTORCH_TARGET_VERSION={MIN_TORCH}"]}
    headers = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/**/*.h"))
    options = {"py_limited_api": True, "extra_compile_args": flags, "depends": headers}
    if WHY_NOT:
        return cpp_extension.CppExtension("softdp._C", sources, **options)
    cpp_extension.CUDA_HOME = str(CUDA_HOME)
    flags["cxx"].append("-DUSE_CUDA")
    flags["nvcc"] = ["-O3", "-std=c++17", "-DUSE_CUDA", f"-DTORCH_TARGET_VERSION={MIN_TORCH}"]
    sources += ["csrc/ops/cuda.cpp", *CUDA_SOURCES]
    return cpp_extension.CUDAExtension("softdp._C", sources, **options)


class BuildExtension(cpp_extension.BuildExtension):
    """Builds, leaves a record beside the extension, and says in one line what it built."""

    def run(self):
        super().run()
        version = self.distribution.get_version()
        record = {
            "version": version,
            "torch": torch.__version__,
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpu": ["baseline"],
            "cuda_archs": [] if WHY_NOT else torch.utils.cpp_extension._get_cuda_arch_flags(),
        }
        target = Path(self.get_ext_fullpath("softdp._C")).parent / "_build_info.json"
        target.write_text(json.dumps(record, indent=2) + "\n")
        cuda = f"CPU only: {WHY_NOT}" if WHY_NOT else f"CPU and CUDA from {CUDA_HOME}"
        print(f"softdp {version}: built with torch {torch.__version__}, {cuda}", flush=True)


setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
