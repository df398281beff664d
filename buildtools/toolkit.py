"""Finds the CUDA toolkit, and decides for which GPUs the CUDA kernels are built."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from .compiler import host_compiler, said

# What is built if neither TORCH_CUDA_ARCH_LIST nor a GPU of this machine says more. Newer GPUs compile the
# PTX. The kernels copy asynchronously, so that the first is the oldest that they run on.
ARCHITECTURES = (80, 90, 100)


def cuda_home() -> Path | None:
    """The folder of the CUDA toolkit: of its compiler and headers. The nvcc on PATH can be a wrapper.

    If CUDA_HOME is set, no other place is looked at. So CUDA_HOME can also rule CUDA out.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc")
    on_path = [Path(nvcc).resolve().parents[1]] if nvcc else []
    for home in [Path(named)] if named else [*on_path, Path("/usr/local/cuda")]:
        if (home / "bin/nvcc").is_file() and cuda_headers(home):
            return home
    return None


def cuda_headers(home: Path) -> Path | None:
    return _first(home, ("include", f"{_target()}/include"), "cuda_runtime.h")


def static_runtime(home: Path) -> Path | None:
    folders = ("lib64", "lib", f"{_target()}/lib", f"lib/{platform.machine()}-linux-gnu")
    folder = _first(home, folders, "libcudart_static.a")
    return folder and folder / "libcudart_static.a"


def _target() -> str:
    """The folder below conda's toolkit that holds its headers and libraries."""
    return f"targets/{'sbsa' if platform.machine() == 'aarch64' else platform.machine()}-linux"


def _first(home: Path, folders: tuple[str, ...], file: str) -> Path | None:
    return next((home / folder for folder in folders if (home / folder / file).is_file()), None)


def toolkit_version(home: Path) -> str:
    return re.search(r"release (\d+\.\d+)", said(home / "bin/nvcc", "--version"))[1]


def why_cpu_only(home: Path | None) -> str | None:
    """Why no CUDA kernels are built, None if they are built. With SOFTDP_CUDA=1 any hindrance is an error.

    With a PyTorch without CUDA nobody would run the kernels, which take minutes to compile. pip hides the
    installed PyTorch from the build, unless it is called with --no-build-isolation.
    """
    asked = os.environ.get("SOFTDP_CUDA", "")
    if asked not in ("", "0", "1"):
        sys.exit(f"softdp: SOFTDP_CUDA must be 0 (CPU only) or 1 (CUDA kernels too), got {asked!r}")
    if asked == "0":
        return "SOFTDP_CUDA=0"
    if asked != "1" and torch_without_cuda():
        return "torch is built without CUDA (SOFTDP_CUDA=1 builds the CUDA kernels all the same)"
    why = _hindrance(home)
    if why and asked == "1":
        sys.exit(f"softdp: SOFTDP_CUDA=1 asks for CUDA kernels, but {why}")
    return why


def torch_without_cuda() -> bool:
    """Whether the build sees a PyTorch, and that one has no CUDA."""
    try:
        import torch

        return torch.version.cuda is None
    except Exception:  # there is none, or it is broken: the build uses nothing of it
        return False


def _hindrance(home: Path | None) -> str | None:
    """What hinders a build of the CUDA kernels, None if nothing does."""
    if not home:
        named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
        where = f" in CUDA_HOME={named}" if named else ""
        return f"no CUDA toolkit (nvcc and its headers) was found{where}"
    try:
        toolkit_version(home)
    except (OSError, subprocess.SubprocessError, TypeError):
        return f"{home}/bin/nvcc does not run or does not tell its version"
    if not static_runtime(home):
        return f"the CUDA toolkit in {home} has no libcudart_static.a"
    if not architectures(home):
        return f"TORCH_CUDA_ARCH_LIST or {home}/bin/nvcc has no compute capability from 8.0 on"
    with tempfile.TemporaryDirectory() as folder:  # the C++ compiler can be too new for this toolkit
        source, target = Path(folder, "empty.cu"), Path(folder, "empty.o")
        source.touch()
        command = [home / "bin/nvcc", *host_compiler(), "-c", source, "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr + done.stdout).strip().splitlines() or ["no reason given"]
        error = next((line for line in words if "error" in line), words[-1])
        return f"{home}/bin/nvcc compiles nothing: {error.strip()}"
    return None


# The names that PyTorch takes in TORCH_CUDA_ARCH_LIST, from compute capability 8.0 on, and before it.
NAMED = {
    "Ampere": "8.0;8.6+PTX",
    "Ada": "8.9+PTX",
    "Hopper": "9.0+PTX",
    "Blackwell": "10.0;10.3;12.0;12.1+PTX",
    "Blackwell+Tegra": "11.0",
}
OLD = ("Kepler", "Maxwell", "Maxwell+Tegra", "Pascal", "Volta", "Volta+Tegra", "Turing")


def architectures(home: Path) -> list[str]:
    """What to compile for, as TORCH_CUDA_ARCH_LIST has it.

    It is that variable, or the GPUs of this machine, or ARCHITECTURES. GPUs that are too old for the
    kernels are left out: the images of others set the variable to all GPUs that they serve.
    """
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if asked not in ("", "native"):
        entries = [NAMED.get(entry, entry) for entry in re.split(r"[;, ]+", asked.strip("; "))]
        return [entry for entry in ";".join(entries).split(";") if _capability(entry) >= ARCHITECTURES[0]]
    known = []
    with suppress(OSError, subprocess.SubprocessError):
        listed = said(home / "bin/nvcc", "--list-gpu-arch")
        known = [int(number) for number in re.findall(r"^compute_(\d+)$", listed, re.M)]
    young = []
    with suppress(
        OSError, subprocess.SubprocessError
    ):  # there is no driver, or it does not know the question
        lines = said("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader").split()
        found = {_capability(line) for line in lines if re.fullmatch(r"\d+\.\d", line)}
        young = sorted(c for c in found if c >= ARCHITECTURES[0])
    if young and set(young) <= set(known):
        return [f"{c // 10}.{c % 10}" for c in young]
    # A GPU that is newer than the toolkit compiles the PTX.
    common = [f"{c // 10}.{c % 10}" for c in ARCHITECTURES if c in known]
    return [*common[:-1], common[-1] + "+PTX"] if common else []


def _capability(entry: str) -> int:
    """90 of "9.0", "9.0a" and "9.0+PTX"; 0 of the names of older GPUs."""
    if entry in OLD:
        return 0
    found = re.fullmatch(r"(\d+)\.(\d)[af]?(\+PTX)?", entry)
    if not found:
        sys.exit(f"softdp: TORCH_CUDA_ARCH_LIST names {entry}, which is no compute capability like 9.0")
    return int(found[1] + found[2])


def code_flags(entries: list[str], each: bool = False) -> list[str]:
    """nvcc's flags: ["8.0", "9.0+PTX"] is compiled once, for compute_80, and assembled for each.

    9.0a and 10.0f contain no other architecture, so that each is compiled by itself. each: all are, for code
    that asks for which architecture it is compiled.
    """
    plain = sorted(int(re.sub(r"\D", "", e)) for e in entries if not re.search(r"\d[af]", e))
    codes: dict[str, list[str]] = {}
    for entry in entries:
        number = re.sub(r"\.|\+PTX", "", entry)
        virtual = f"compute_{plain[0] if number.isdigit() and not each else number}"
        codes.setdefault(virtual, []).append(f"sm_{number}")
        if entry.endswith("+PTX"):
            codes[virtual].append(virtual)
    return [f"-gencode=arch={virtual},code=[{','.join(dict.fromkeys(c))}]" for virtual, c in codes.items()]


def built_architectures(entries: list[str]) -> list[str]:
    """The names of what was built: sm_NN for machine code, then compute_NN for PTX."""
    built = {code for flag in code_flags(entries) for code in flag.split("code=[")[1].rstrip("]").split(",")}
    return sorted(built, key=lambda name: (name.startswith("compute"), int(re.sub(r"\D", "", name)), name))
