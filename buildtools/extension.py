"""The command build_ext: it compiles and links softdp's two files."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

from .compiler import compiler, instruction_sets
from .objects import ROOT, Objects
from .sources import TORCH, cpu_objects, cuda_objects, operators, stubs
from .toolkit import (
    architectures,
    built_architectures,
    cuda_home,
    static_runtime,
    toolkit_version,
    why_cpu_only,
)


class BuildExtension(build_ext):
    """Links kept objects, leaves a record beside the files, and says in one line what it built."""

    def run(self) -> None:
        self.home = cuda_home()
        self.why_not = why_cpu_only(self.home)
        self.asked = [] if self.why_not else architectures(self.home)
        if self.why_not:
            self.extensions = [ext for ext in self.extensions if ext.name != "softdp._CUDA"]
        super().run()
        folder = Path(self.get_ext_fullpath("softdp._C")).parent
        made = {Path(self.get_ext_filename(ext.name)).name for ext in self.extensions}
        for place in {Path(self.build_lib) / "softdp", folder}:
            for left in place.glob("_C*"):  # the wheel would hold what an earlier build left
                if left.name not in made:
                    left.unlink()
        self.record(folder / "_build_info.json")

    def record(self, file: Path) -> None:
        """Write down what was built, for softdp.build_info()."""
        version = self.distribution.get_version()
        cuda = None if self.why_not else toolkit_version(self.home)
        record = {
            "version": version,
            "torch": TORCH,
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpu": list(instruction_sets()),
            "cuda": cuda,
            "cuda_archs": built_architectures(self.asked),
            "why_cpu_only": self.why_not,
        }
        file.write_text(json.dumps(record, indent=2) + "\n")
        what = f"CPU only: {self.why_not}"
        if cuda:
            what = f"CPU and CUDA {cuda} ({self.home}) for {', '.join(record['cuda_archs'])}"
        print(f"softdp {version}: built for torch {TORCH} and newer, {what}", flush=True)

    def build_extensions(self) -> None:
        objects = Objects(Path(self.build_temp))
        self.parts = {}
        if not self.why_not:
            ops = operators(
                objects, "cuda", "cuda_affine", "cuda_features", "cuda_paths", "driver", home=self.home
            )
            self.parts["softdp._CUDA"] = cuda_objects(objects, self.home, self.asked) + ops
        ops = operators(objects, "cpu", "distances", "features", "library", "paths")
        self.parts["softdp._C"] = cpu_objects(objects) + ops
        objects.compile()
        self.stubs = stubs(Path(self.build_temp))
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """Link one file. LDSHARED, if it is set, is the command that links."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".tmp")  # the file of an earlier build stays until this one is whole
        link = shlex.split(os.environ.get("LDSHARED") or "") or [*compiler(), "-shared"]
        command = [*link, *self.parts[ext.name], *shlex.split(os.environ.get("LDFLAGS", ""))]
        # The CUDA file uses nothing of libtorch.so, which brings libtorch_cuda.so. The linker would drop it.
        names = ["torch_cpu", "torch"] if ext.name == "softdp._CUDA" else ["torch_cpu"]
        command += ["-o", str(unfinished), "-Wl,--no-as-needed"]
        command += [self.stubs[name] for name in names]
        if sys.platform == "linux":
            # The file exports only what the loader asks for. PyTorch has a CUDA runtime in the process too,
            # and neither may bind to the functions of the other. The stubs define nothing, hence undefs.
            exports = f"-Wl,--version-script={ROOT / 'csrc/exports.map'}"
            command += [exports, "-Wl,-Bsymbolic", "-Wl,-z,undefs"]
        if ext.name == "softdp._CUDA":
            command += [str(static_runtime(self.home)), "-Wl,--as-needed", "-ldl", "-lrt", "-lpthread"]
        print(*command, flush=True)
        if subprocess.run(command).returncode:
            sys.exit(f"softdp: {target.name} does not link")
        unfinished.replace(target)

    def get_ext_filename(self, name: str) -> str:
        """The name that the loader looks for. Python would add its own suffix, but these are no modules."""
        return f"{name.replace('.', '/')}.abi3.so"
