"""Registers, shared memory and spills of every kernel in a built extension.

    python tools/cuda_cost/resources.py softdp/_CUDA.abi3.so

Exits 1 on a spill and where there are too many kernels. Reads the file with cuobjdump (PyPI:
nvidia-cuda-cuobjdump, or the CUDA toolkit's); needs no GPU.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

# Kernels of an architecture: each makes the file larger and its build longer. 24 are of recurrences with
# several states a cell: three families, two types, two sweeps of each order.
MOST = 72


class Kernel(NamedTuple):
    name: str
    architecture: str
    registers: int
    shared: int  # static; includes the 1 KB that the system keeps from sm_90 on
    stack: int  # where registers spill to
    local: int

    @property
    def spills(self) -> bool:
        return self.stack > 0 or self.local > 0


def tool(name: str) -> str:
    """The path of cuobjdump or nvdisasm: in PATH, in CUDA_HOME, or in PyPI's package."""
    places = [shutil.which(name), Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin", name)]
    try:
        files = importlib.metadata.files(f"nvidia-cuda-{name}") or []
        places += [file.locate() for file in files if file.name == name]
    except importlib.metadata.PackageNotFoundError:
        pass
    for place in places:
        if place and Path(place).is_file():
            return str(place)
    raise SystemExit(f"{name} was not found: pip install nvidia-cuda-{name}")


def demangled(names: list[str]) -> list[str]:
    command = shutil.which("c++filt") or shutil.which("cu++filt")
    if not command:
        return names
    done = subprocess.run([command], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def readable(name: str) -> str:
    """void softdp::cuda::(anonymous namespace)::sweep<softdp::Fsd<float>, (int)4>(Problem) -> sweep<...>"""
    name = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    name = re.sub(r"\([\w:]+(?: \w+)*\)(?=-?\d)", "", name)  # in (int)4, the type of the number
    name = name.split("(")[0]
    return re.sub(r"\b(?:softdp|cuda)::", "", name)


def kernels(extension: str) -> list[Kernel]:
    dump = subprocess.run(
        [tool("cuobjdump"), "--dump-resource-usage", extension], capture_output=True, text=True
    )
    if dump.returncode != 0:
        raise SystemExit(f"{extension}: {(dump.stderr + dump.stdout).strip()}")
    lines = re.findall(r"arch = (\w+)|Function (\S+):\s*\n\s*(REG:.*)", dump.stdout)
    names = iter(demangled([function for _, function, _ in lines if function]))
    found, architecture = [], ""
    for arch, function, usage in lines:
        architecture = arch or architecture
        if function:
            use = {key: int(value) for key, value in re.findall(r"(\w+)(?:\[\d+\])?:(\d+)", usage)}
            sizes = (use[key] for key in ("REG", "SHARED", "STACK", "LOCAL"))
            found.append(Kernel(readable(next(names)), architecture, *sizes))
    return sorted(found, key=lambda k: (k.name, int(re.sub(r"\D", "", k.architecture))))


def faults_of(found: list[Kernel]) -> list[str]:
    """What is wrong with them, in words."""
    spilling = [f"{kernel.name} ({kernel.architecture})" for kernel in found if kernel.spills]
    faults = ["spills: " + ", ".join(spilling)] if spilling else []
    counts = Counter(kernel.architecture for kernel in found)
    return faults + [f"{n} kernels for {name}, at most {MOST}" for name, n in counts.items() if n > MOST]


def show(found: list[Kernel]) -> None:
    width = max(len(kernel.name) for kernel in found)
    print(f"{'kernel':{width}}  arch    registers  shared  stack  local")
    for k in found:
        sizes = f"{k.registers:9}  {k.shared:6}  {k.stack:5}  {k.local:5}"
        print(f"{k.name:{width}}  {k.architecture:6}  {sizes}{'  SPILLS' if k.spills else ''}")


def main() -> None:
    found = kernels(sys.argv[1])
    if not found:
        raise SystemExit(f"{sys.argv[1]} holds no kernels")
    show(found)
    each = Counter(kernel.architecture for kernel in found)
    print(
        f"{len(found)} kernels, {sum(kernel.spills for kernel in found)} with spills; of an architecture:",
        ", ".join(f"{name} {number}" for name, number in each.items()),
    )
    if faults := faults_of(found):
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
