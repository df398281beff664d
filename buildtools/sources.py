"""Which sources are compiled, and with what."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from .compiler import compiler, compiler_version, flags, host_compiler, instruction_sets, said
from .objects import ROOT, Objects
from .toolkit import code_flags, cuda_headers

KERNELS = "kernels", "kernels_of_states"
TORCH = "2.10.0"  # of third_party/torch: the oldest PyTorch whose stable ABI has all that is used here


def cpu_objects(objects: Objects) -> list[str]:
    """The objects of csrc/cpu. The files KERNELS are compiled once for each instruction set."""
    version = compiler_version()
    # Without these flags the bits of a result would depend on what a compiler fuses.
    exact = ["-ffp-contract=off", "-fwrapv"]
    made = []
    for name, isa in instruction_sets().items():
        command = [*compiler(), "-O2", *exact, *isa, *flags(), f"-DSOFTDP_ISA={name}"]
        made += [objects.add(f"csrc/cpu/{stem}.cpp", command, version, suffix=f"_{name}") for stem in KERNELS]
    for path in sorted(ROOT.glob("csrc/cpu/*.cpp")):
        if path.stem not in KERNELS:
            command = [*compiler(), "-O3", *exact, *flags()]
            made.append(objects.add(f"csrc/cpu/{path.name}", command, version))
    return made


def cuda_objects(objects: Objects, home: Path, entries: list[str]) -> list[str]:
    """The objects of csrc/cuda, for all architectures that are asked for."""
    command = [str(home / "bin/nvcc"), "-O3", "-std=c++17", "--expt-relaxed-constexpr"]
    command += ["-Xcompiler=-fPIC,-fvisibility=hidden", *host_compiler()]
    version = said(home / "bin/nvcc", "--version") + compiler_version()
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/cuda/*.cu"))
    # tiny.cu's launches may begin early: an instruction of PTX for sm_90 and newer.
    flags_of = {source: code_flags(entries, each=source.endswith("/tiny.cu")) for source in sources}
    return [objects.add(source, [*command, *flags_of[source]], version) for source in sources]


def operators(objects: Objects, *names: str, home: Path | None = None) -> list[str]:
    """The objects of csrc/ops, with the headers of PyTorch and, given its home, of a CUDA toolkit."""
    major, minor, _ = (int(part) for part in TORCH.split("."))
    # -I comes before -isystem and CPATH, where another PyTorch's headers may lie.
    command = [*compiler(), "-O2", "-Ithird_party/torch", *flags()]
    command.append(f"-DTORCH_TARGET_VERSION=0x{major:02x}{minor:02x}{0:012x}")
    version, include = compiler_version(), []
    if home:
        command.append("-DUSE_CUDA")
        version += said(home / "bin/nvcc", "--version")
        found = cuda_headers(home)
        include += [str(found)] if found != Path("/usr/include") else []  # the compiler knows that folder
    return [objects.add(f"csrc/ops/{name}.cpp", command, version, tuple(include)) for name in names]


def stubs(folder: Path) -> dict[str, str]:
    """Empty libraries with the names of PyTorch's, to link with instead. The loader finds PyTorch's."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in ("torch_cpu", "torch"):
        found[name] = str(folder / f"lib{name}.so")
        command = [*compiler(), "-shared", "-nostdlib", f"-Wl,-soname,lib{name}.so", "-x", "c++", os.devnull]
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:  # another build may read the last one
            made = Path(unfinished, "stub.so")
            if subprocess.run([*command, "-o", str(made)]).returncode:
                sys.exit(f"softdp: {shlex.join(compiler())} makes no shared library")
            made.replace(found[name])
    return found
