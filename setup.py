"""Builds softdp's extension: one abi3 file of stable-ABI operators. All else is in pyproject.toml."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from setuptools import setup
from torch.utils import cpp_extension

ROOT = Path(__file__).parent
MIN_TORCH = "0x020a000000000000"  # 2.10: the oldest torch whose stable ABI has all that is used here
# Where no GPU says which; GPUs newer than all of them compile the last one's PTX. The first is the oldest
# that the kernels run on: they copy asynchronously.
ARCHITECTURES = (80, 90, 100)


def cuda_home() -> Path | None:
    """The CUDA toolkit: a folder with its compiler and headers (the nvcc on PATH can be a wrapper).

    CUDA_HOME, where it is set, is the only place looked at, so that it can also rule CUDA out.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc")
    on_path = [Path(nvcc).resolve().parents[1]] if nvcc else []
    for home in [Path(named)] if named else [*on_path, Path("/usr/local/cuda")]:
        if (home / "bin/nvcc").is_file() and (home / "include/cuda_runtime.h").is_file():
            return home
    return None


def ask_nvcc(home: Path, question: str) -> str:
    return subprocess.run([home / "bin/nvcc", question], capture_output=True, text=True, check=True).stdout


def toolkit_version(home: Path) -> str:
    return re.search(r"release (\d+\.\d+)", ask_nvcc(home, "--version"))[1]


def why_cpu_only(home: Path | None) -> str | None:
    """Why CUDA kernels cannot be built here, for the build's last line; None where they can."""
    if not torch.version.cuda:
        return "torch is built without CUDA"
    if not home:
        return "no CUDA toolkit (nvcc and its headers) was found"
    try:
        found = toolkit_version(home)
    except (OSError, subprocess.CalledProcessError, TypeError):
        return f"{home}/bin/nvcc does not run or does not tell its version"
    if found.split(".")[0] != torch.version.cuda.split(".")[0]:
        return f"the CUDA toolkit in {home} is {found}, but torch is built with CUDA {torch.version.cuda}"
    return None


def too_old() -> list[str]:
    """What TORCH_CUDA_ARCH_LIST asks for that is older than all that the kernels run on."""
    asked = re.findall(r"(\d+)\.(\d)", os.environ.get("TORCH_CUDA_ARCH_LIST", ""))
    return [f"{major}.{minor}" for major, minor in asked if int(major + minor) < ARCHITECTURES[0]]


def architectures(home: Path) -> str:
    """TORCH_CUDA_ARCH_LIST where it is not set: the visible GPUs', else what nvcc knows of ARCHITECTURES."""
    visible = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    young = sorted(c for c in visible if 10 * c[0] + c[1] >= ARCHITECTURES[0])
    if young:
        return ";".join(f"{major}.{minor}" for major, minor in young)
    known = ask_nvcc(home, "--list-gpu-arch").split()
    return ";".join(f"{a // 10}.{a % 10}" for a in ARCHITECTURES if f"compute_{a}" in known) + "+PTX"


def built_architectures() -> list[str]:
    """sm_NN as machine code, then compute_NN as PTX."""
    built = [flag.rsplit("code=")[-1] for flag in cpp_extension._get_cuda_arch_flags()]
    return sorted(built, key=lambda name: (name.startswith("compute"), int(re.sub(r"\D", "", name)), name))


CUDA_HOME = cuda_home()
WHY_NOT = why_cpu_only(CUDA_HOME)


def instruction_sets() -> dict[str, list[str]]:
    """The CPU kernels' instruction sets and the flags of each: one wheel serves every machine."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {"baseline": []}
    avx2 = ["-mavx2", "-mfma", "-mf16c"]
    avx512 = [*avx2, *(f"-mavx512{part}" for part in ("f", "dq", "bw", "vl")), "-mprefer-vector-width=512"]
    return {"baseline": [], "avx2": avx2, "avx512": avx512}


def kernels(folder: str, compiler: list[str]) -> list[str]:
    """csrc/cpu/kernels.cpp compiled once for each instruction set; the objects."""
    source, objects, running = ROOT / "csrc/cpu/kernels.cpp", [], []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, flags in instruction_sets().items():
        target = Path(folder) / f"kernels_{name}.o"
        objects.append(str(target))
        common = ["-O2", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fwrapv"]
        asked = shlex.split(os.environ.get("CXXFLAGS", ""))
        command = [*compiler, *common, *flags, *asked, f"-DSOFTDP_ISA={name}"]
        command += ["-c", str(source), "-o", str(target)]
        print(*command, flush=True)
        running.append(subprocess.Popen(command))
    if any([process.wait() for process in running]):
        sys.exit("softdp: the CPU kernels do not compile")
    return objects


def extension():
    cpu = ["csrc/cpu/sweep.cpp", "csrc/cpu/second_order.cpp"]
    sources = ["csrc/ops/library.cpp", "csrc/ops/cpu.cpp", "csrc/ops/memory.cpp", *cpu]
    flags = {"cxx": ["-O3", "-std=c++17", "-fvisibility=hidden", f"-DTORCH_TARGET_VERSION={MIN_TORCH}"]}
    headers = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/**/*.*h"))  # .h and .cuh
    options = {"py_limited_api": True, "extra_compile_args": flags, "depends": headers}
    if WHY_NOT:
        return cpp_extension.CppExtension("softdp._C", sources, **options)
    cpp_extension.CUDA_HOME = str(CUDA_HOME)
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if too_old():
        sys.exit(
            f"softdp: the CUDA kernels need compute capability 8.0, TORCH_CUDA_ARCH_LIST asks for {asked}"
        )
    if asked in ("", "native"):
        os.environ["TORCH_CUDA_ARCH_LIST"] = architectures(CUDA_HOME)
    flags["cxx"].append("-DUSE_CUDA")
    flags["nvcc"] = ["-O3", "-std=c++17", "-DUSE_CUDA", f"-DTORCH_TARGET_VERSION={MIN_TORCH}"]
    sources += ["csrc/ops/cuda.cpp", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/cuda/*.cu"))]
    return cpp_extension.CUDAExtension("softdp._C", sources, **options)


class BuildExtension(cpp_extension.BuildExtension):
    """Builds, leaves a record beside the extension, and says in one line what it built."""

    def build_extension(self, ext):
        compiler = shlex.split(os.environ.get("CXX", "c++"))
        ext.extra_objects = kernels(os.path.join(self.build_temp, "cpu"), compiler)
        super().build_extension(ext)

    def run(self):
        super().run()
        version = self.distribution.get_version()
        record = {
            "version": version,
            "torch": torch.__version__,
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpu": list(instruction_sets()),
            "cuda": None if WHY_NOT else toolkit_version(CUDA_HOME),
            "cuda_archs": [] if WHY_NOT else built_architectures(),
        }
        target = Path(self.get_ext_fullpath("softdp._C")).parent / "_build_info.json"
        target.write_text(json.dumps(record, indent=2) + "\n")
        cuda = f"CPU only: {WHY_NOT}"
        if not WHY_NOT:
            cuda = f"CPU and CUDA {record['cuda']} ({CUDA_HOME}) for {', '.join(record['cuda_archs'])}"
        print(f"softdp {version}: built with torch {torch.__version__}, {cuda}", flush=True)


setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
