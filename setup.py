"""Builds softdp's two compiled files. All else is in pyproject.toml.

    softdp/_C.abi3.so      the operators' schemas and the CPU kernels
    softdp/_CUDA.abi3.so   the CUDA operators and kernels, where a CUDA toolkit is found

Both use PyTorch's stable ABI and nothing of Python's: one build runs under every Python and every PyTorch
from 2.10 on. The build needs no PyTorch: the headers of that ABI are in third_party/torch, and what they
declare is found when the files are loaded. The second file is loaded only by a PyTorch that has CUDA. It
holds its own CUDA runtime, so that PyTorch's CUDA version does not matter.
"""

import concurrent.futures
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.absolute()
TORCH = "2.10.0"  # of third_party/torch: the oldest PyTorch whose stable ABI has all that is used here
# Where neither TORCH_CUDA_ARCH_LIST nor a GPU says which; a newer GPU compiles the PTX. The first is the
# oldest that the kernels run on: they copy asynchronously.
ARCHITECTURES = (80, 90, 100)
KEPT = 8  # objects of one source that are kept between builds


# ---- the CUDA toolkit ------------------------------------------------------------------------------


def cuda_home() -> Path | None:
    """The CUDA toolkit: a folder with its compiler and headers (the nvcc on PATH can be a wrapper).

    CUDA_HOME, where it is set, is the only place looked at, so that it can also rule CUDA out.
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
    """Where conda's toolkit has headers and libraries, below its folder."""
    return f"targets/{'sbsa' if platform.machine() == 'aarch64' else platform.machine()}-linux"


def _first(home: Path, folders: tuple[str, ...], file: str) -> Path | None:
    return next((home / folder for folder in folders if (home / folder / file).is_file()), None)


def said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def toolkit_version(home: Path) -> str:
    return re.search(r"release (\d+\.\d+)", said(home / "bin/nvcc", "--version"))[1]


def why_cpu_only(home: Path | None) -> str | None:
    """Why no CUDA kernels are built; None where they are. SOFTDP_CUDA=1 makes any hindrance an error.

    A PyTorch without CUDA is a reason only because nobody would run what takes minutes to compile. pip
    hides the PyTorch that is installed, unless it is called with --no-build-isolation.
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
    except Exception:  # none, or one that is broken: the build uses nothing of it
        return False


def _hindrance(home: Path | None) -> str | None:
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
    with tempfile.TemporaryDirectory() as folder:  # the compiler at hand can be too new for this toolkit
        source, target = Path(folder, "empty.cu"), Path(folder, "empty.o")
        source.touch()
        command = [home / "bin/nvcc", *host_compiler(), "-c", source, "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr + done.stdout).strip().splitlines() or ["no reason given"]
        error = next((line for line in words if "error" in line), words[-1])
        return f"{home}/bin/nvcc compiles nothing: {error.strip()}"
    return None


# What PyTorch takes in TORCH_CUDA_ARCH_LIST beside numbers, from compute capability 8.0 on.
NAMED = {
    "Ampere": "8.0;8.6+PTX",
    "Ada": "8.9+PTX",
    "Hopper": "9.0+PTX",
    "Blackwell": "10.0;10.3;12.0;12.1+PTX",
    "Blackwell+Tegra": "11.0",
}


def architectures(home: Path) -> list[str]:
    """What to compile for, as in TORCH_CUDA_ARCH_LIST: that, or this machine's GPUs', or ARCHITECTURES.

    What is older than the kernels run on is left out: images set the variable to all that they serve.
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
    with suppress(OSError, subprocess.SubprocessError):  # no driver, or one that does not know the question
        lines = said("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader").split()
        found = {_capability(line) for line in lines if re.fullmatch(r"\d+\.\d", line)}
        young = sorted(c for c in found if c >= ARCHITECTURES[0])
    if young and set(young) <= set(known):
        return [f"{c // 10}.{c % 10}" for c in young]
    # A GPU that is newer than the toolkit compiles the PTX.
    common = [f"{c // 10}.{c % 10}" for c in ARCHITECTURES if c in known]
    return [*common[:-1], common[-1] + "+PTX"] if common else []


def _capability(entry: str) -> int:
    """Of "9.0", "9.0a" or "9.0+PTX" 90; of the names of older GPUs 0."""
    if entry in (
        "Kepler",
        "Maxwell",
        "Pascal",
        "Volta",
        "Turing",
        *(f"{n}+Tegra" for n in ("Maxwell", "Volta")),
    ):
        return 0
    found = re.fullmatch(r"(\d+)\.(\d)[af]?(\+PTX)?", entry)
    if not found:
        sys.exit(f"softdp: TORCH_CUDA_ARCH_LIST names {entry}, which is no compute capability like 9.0")
    return int(found[1] + found[2])


def code_flags(entries: list[str]) -> list[str]:
    """nvcc's flags: ["8.0", "9.0+PTX"] is compiled once, for compute_80, and assembled for each.

    9.0a or 10.0f, which are no subset of any other, are compiled by themselves.
    """
    plain = sorted(int(re.sub(r"\D", "", e)) for e in entries if not re.search(r"\d[af]", e))
    codes: dict[str, list[str]] = {}
    for entry in entries:
        number = re.sub(r"\.|\+PTX", "", entry)
        virtual = f"compute_{plain[0] if number.isdigit() else number}"
        codes.setdefault(virtual, []).append(f"sm_{number}")
        if entry.endswith("+PTX"):
            codes[virtual].append(virtual)
    return [f"-gencode=arch={virtual},code=[{','.join(dict.fromkeys(c))}]" for virtual, c in codes.items()]


def built_architectures(entries: list[str]) -> list[str]:
    """sm_NN as machine code, then compute_NN as PTX."""
    built = {code for flag in code_flags(entries) for code in flag.split("code=[")[1].rstrip("]").split(",")}
    return sorted(built, key=lambda name: (name.startswith("compute"), int(re.sub(r"\D", "", name)), name))


# ---- compiling -------------------------------------------------------------------------------------


class Objects:
    """Compiles sources, and keeps the objects under the hash of all that they are made from.

    They lie in build/objects, or the folder that SOFTDP_OBJECTS names. The hash holds the source, the headers
    that it can include, the command and the compiler's version; not the system's headers.
    """

    def __init__(self, spare: Path) -> None:
        self.folder = Path(os.environ.get("SOFTDP_OBJECTS") or ROOT / "build/objects").absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError:  # the source may be where nobody may write
            self.folder = spare.absolute()
            self.folder.mkdir(parents=True, exist_ok=True)
        self.found: list[Path] = []
        self.missing: list[tuple[list[str], Path]] = []

    def add(
        self, source: str, command: list[str], version: str, include: tuple[str, ...] = (), suffix: str = ""
    ) -> str:
        """The object of a source; compile() makes it.

        The folders to include are not in its hash: another environment has them elsewhere.
        """
        key = hashlib.sha256()
        variables = ("CPATH", "CPLUS_INCLUDE_PATH", "NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")
        for part in (version, *command, *(f"{name}={os.environ.get(name)}" for name in variables)):
            key.update(part.encode() + b"\0")
        for file in (ROOT / source, *headers(source)):
            key.update(str(file.relative_to(ROOT)).encode() + b"\0")
            key.update(hashlib.sha256(file.read_bytes()).digest())
        path = Path(source)
        target = self.folder / f"{path.parent.name}_{path.stem}{suffix}-{key.hexdigest()[:20]}.o"
        self.found.append(target)
        if target.is_file():
            with suppress(OSError):  # another user's
                os.utime(target)
        else:
            folders = [f"-isystem{folder}" for folder in include]
            self.missing.append(([*command, *folders, "-c", source], target))
        return str(target)

    def compile(self) -> None:
        jobs = int(os.environ.get("MAX_JOBS") or 0) or os.cpu_count() or 1
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            if not all(list(pool.map(self._one, self.missing))):
                sys.exit("softdp: a source does not compile")
        compiled = len(self.missing)
        kept = f"{len(self.found) - compiled} kept from before"
        print(f"softdp: {compiled} objects compiled, {kept} in {self.folder}", flush=True)
        for target in self.found:
            with suppress(OSError):  # another build may trim the same folder
                name = target.name.rsplit("-", 1)[0]
                alike = sorted(self.folder.glob(f"{name}-*.o"), key=lambda file: file.stat().st_mtime)
                for old in alike[:-KEPT]:
                    old.unlink(missing_ok=True)

    def _one(self, work: tuple[list[str], Path]) -> bool:
        command, target = work
        print(*command, "-o", target, flush=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as unfinished:  # only what is whole is moved
            object_file = Path(unfinished, target.name)
            if subprocess.run([*command, "-o", str(object_file)], cwd=ROOT).returncode:
                return False
            object_file.replace(target)
        return True


def headers(source: str) -> list[Path]:
    """What a source can include: csrc's own headers and its folder's; csrc/ops takes from all folders, and
    from PyTorch."""
    folder = Path(source).parent.name
    found = [*ROOT.glob("csrc/*.h"), *ROOT.glob(f"csrc/{folder}/*.h")]
    if folder == "ops":
        found = [*ROOT.glob("csrc/**/*.h"), *ROOT.glob("third_party/**/*.h")]
    return sorted(found)


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "c++"))


def compiler_version() -> str:
    try:
        return said(*compiler(), "--version")
    except (OSError, subprocess.CalledProcessError) as error:
        needs = "a C++ compiler is needed: install g++ or clang++, or name one in CXX"
        sys.exit(f"softdp: {needs} ({shlex.join(compiler())}: {error})")


def host_compiler() -> list[str]:
    """What nvcc compiles the host's part with, where CXX names a compiler without options."""
    return ["-ccbin", *compiler()] if "CXX" in os.environ and len(compiler()) == 1 else []


def flags() -> list[str]:
    common = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-DNDEBUG"]
    return [*common, *shlex.split(os.environ.get("CXXFLAGS", ""))]


def instruction_sets() -> dict[str, list[str]]:
    """The CPU kernels' instruction sets and the flags of each: one wheel serves every machine."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {"baseline": []}
    avx2 = ["-mavx2", "-mfma", "-mf16c"]
    avx512 = [*avx2, *(f"-mavx512{part}" for part in ("f", "dq", "bw", "vl")), "-mprefer-vector-width=512"]
    return {"baseline": [], "avx2": avx2, "avx512": avx512}


def cpu_objects(objects: Objects) -> list[str]:
    """csrc/cpu, of it kernels.cpp once for each instruction set."""
    version = compiler_version()
    exact = ["-ffp-contract=off", "-fwrapv"]  # the same bits whatever the compiler would fuse
    made = []
    for name, isa in instruction_sets().items():
        command = [*compiler(), "-O2", *exact, *isa, *flags(), f"-DSOFTDP_ISA={name}"]
        made.append(objects.add("csrc/cpu/kernels.cpp", command, version, suffix=f"_{name}"))
    for name in ("sweep", "second_order", "features"):
        made.append(objects.add(f"csrc/cpu/{name}.cpp", [*compiler(), "-O3", *exact, *flags()], version))
    return made


def cuda_objects(objects: Objects, home: Path, entries: list[str]) -> list[str]:
    """csrc/cuda, for all architectures that are asked for."""
    command = [str(home / "bin/nvcc"), "-O3", "-std=c++17", "--expt-relaxed-constexpr"]
    command += ["-Xcompiler=-fPIC,-fvisibility=hidden", *code_flags(entries)]
    command += host_compiler()
    version = said(home / "bin/nvcc", "--version") + compiler_version()
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/cuda/*.cu"))
    return [objects.add(source, command, version) for source in sources]


def operators(objects: Objects, *names: str, home: Path | None = None) -> list[str]:
    """csrc/ops, with PyTorch's headers, and a CUDA toolkit's."""
    major, minor, _ = (int(part) for part in TORCH.split("."))
    # -I comes before -isystem and CPATH, where another PyTorch's headers may lie.
    command = [*compiler(), "-O2", "-Ithird_party/torch", *flags()]
    command.append(f"-DTORCH_TARGET_VERSION=0x{major:02x}{minor:02x}{0:012x}")
    version, include = compiler_version(), []
    if home:
        command.append("-DUSE_CUDA")
        version += said(home / "bin/nvcc", "--version")
        found = cuda_headers(home)
        include += [str(found)] if found != Path("/usr/include") else []  # which the compiler knows
    return [objects.add(f"csrc/ops/{name}.cpp", command, version, tuple(include)) for name in names]


def stubs(folder: Path) -> dict[str, str]:
    """Empty libraries named as PyTorch's, to link with in their place: the loader finds PyTorch's."""
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


# ---- what setuptools is told -----------------------------------------------------------------------


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
        for place in {Path(self.build_lib) / "softdp", folder}:  # what an earlier build left would be packed
            for left in place.glob("_C*"):
                if left.name not in {Path(self.get_ext_filename(ext.name)).name for ext in self.extensions}:
                    left.unlink()
        self.record(folder / "_build_info.json")

    def record(self, file: Path) -> None:
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
            ops = operators(objects, "cuda", "cuda_features", "driver", home=self.home)
            self.parts["softdp._CUDA"] = cuda_objects(objects, self.home, self.asked) + ops
        ops = operators(objects, "cpu", "distances", "features", "library")
        self.parts["softdp._C"] = cpu_objects(objects) + ops
        objects.compile()
        self.stubs = stubs(Path(self.build_temp))
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """LDSHARED, where it is set, is the command that links (a linker for an older C library, say)."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".tmp")  # what is there stays until this one is whole
        link = shlex.split(os.environ.get("LDSHARED") or "") or [*compiler(), "-shared"]
        command = [*link, *self.parts[ext.name], *shlex.split(os.environ.get("LDFLAGS", ""))]
        # The linker would drop libtorch.so, of which nothing is used here and which brings libtorch_cuda.so.
        names = ["torch_cpu", "torch"] if ext.name == "softdp._CUDA" else ["torch_cpu"]
        command += ["-o", str(unfinished), "-Wl,--no-as-needed"]
        command += [self.stubs[name] for name in names]
        if sys.platform == "linux":
            # Only what the loader asks is exported. PyTorch has a CUDA runtime in the process too:
            # neither may bind to the other's functions. The stubs define nothing.
            exports = f"-Wl,--version-script={ROOT / 'csrc/exports.map'}"
            command += [exports, "-Wl,-Bsymbolic", "-Wl,-z,undefs"]
        if ext.name == "softdp._CUDA":
            command += [str(static_runtime(self.home)), "-Wl,--as-needed", "-ldl", "-lrt", "-lpthread"]
        print(*command, flush=True)
        if subprocess.run(command).returncode:
            sys.exit(f"softdp: {target.name} does not link")
        unfinished.replace(target)

    def get_ext_filename(self, name: str) -> str:
        """The name that the loader looks for, whatever a Python would add: these are no Python modules."""
        return f"{name.replace('.', '/')}.abi3.so"


if sys.platform == "win32":
    sys.exit("softdp builds on Linux; on Windows, install it inside WSL2")

no_limited_api = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # wheels of these Pythons have none
setup(
    ext_modules=[Extension(name, []) for name in ("softdp._C", "softdp._CUDA")],
    cmdclass={"build_ext": BuildExtension},
    options={} if no_limited_api else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
