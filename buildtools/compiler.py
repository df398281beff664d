"""The C++ compiler and its flags. CXX, CXXFLAGS and LDFLAGS change them."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path


def said(*command: str | Path) -> str:
    """What a command prints. A command that fails is an error."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "c++"))


def compiler_version() -> str:
    try:
        return said(*compiler(), "--version")
    except (OSError, subprocess.CalledProcessError) as error:
        needs = "a C++ compiler is needed: install g++ or clang++, or name one in CXX"
        sys.exit(f"softdp: {needs} ({shlex.join(compiler())}: {error})")


def host_compiler() -> list[str]:
    """nvcc's flags for the compiler of the host's part. CXX names it, if CXX holds no options."""
    return ["-ccbin", *compiler()] if "CXX" in os.environ and len(compiler()) == 1 else []


def flags() -> list[str]:
    """The flags of every C++ source."""
    common = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-DNDEBUG"]
    return [*common, *shlex.split(os.environ.get("CXXFLAGS", ""))]


def instruction_sets() -> dict[str, list[str]]:
    """The instruction sets of the CPU kernels, with the flags of each. All are in one wheel."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {"baseline": []}
    avx2 = ["-mavx2", "-mfma", "-mf16c"]
    avx512 = [*avx2, *(f"-mavx512{part}" for part in ("f", "dq", "bw", "vl")), "-mprefer-vector-width=512"]
    return {"baseline": [], "avx2": avx2, "avx512": avx512}
