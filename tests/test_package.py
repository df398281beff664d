"""The installation: what it tells about itself, and what it says when its extension does not fit."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import run_python

import softdp
from softdp import _library
from softdp._recurrences import RECURRENCES

PACKAGE = Path(softdp.__file__).parent


def test_build_info_tells_what_was_built():
    info = softdp.build_info()
    assert set(info) == {
        "version",
        "torch_built",
        "torch_running",
        "platform",
        "cpu",
        "cpu_selected",
        "cpu_running",
        "cuda",
        "cuda_archs",
        "why_no_cuda",
        "extension",
        "extension_cuda",
    }
    assert info["version"] == softdp.__version__
    assert info["torch_running"] == torch.__version__
    assert re.fullmatch(r"\d+\.\d+.*", info["torch_built"])
    assert info["platform"].startswith(sys.platform)
    assert "baseline" in info["cpu"] and isinstance(info["cuda_archs"], list)
    assert Path(info["extension"]).is_file()
    assert (info["cuda"] is None) == (info["extension_cuda"] is None)
    assert info["why_no_cuda"] or (info["cuda"] and info["cuda_archs"])
    json.dumps(info)


def test_the_extension_is_one_abi3_file_for_the_cpu_and_one_for_cuda():
    found = {p.name for p in PACKAGE.glob("_C*")}
    kernels = {"_CUDA.abi3.so"} if softdp.build_info()["cuda_archs"] else set()
    assert found == {"_C.abi3.so"} | kernels


@pytest.mark.skipif(not shutil.which("readelf"), reason="needs readelf: apt install binutils")
def test_the_extension_needs_no_cuda_library():
    """The CUDA kernels hold their runtime: the same file runs under a PyTorch of any CUDA version."""
    for file in PACKAGE.glob("_C*.so"):
        printed = subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"NEEDED.*\[(.*)\]", printed)
        assert "libtorch_cpu.so" in needed
        assert not [name for name in needed if re.match("lib(cu|nv|torch_cuda|c10_cuda|python)", name)]
        assert ("libtorch.so" in needed) == (file.name == "_CUDA.abi3.so")


def test_cuda_operators_are_there_where_their_file_is_loaded():
    info = softdp.build_info()
    assert all(re.fullmatch(r"(sm|compute)_\d+[af]?", name) for name in info["cuda_archs"])
    for row in RECURRENCES:
        for name in row.operators:
            built = torch._C._dispatch_has_kernel_for_dispatch_key(f"softdp::{name}", "CUDA")
            assert built == (info["extension_cuda"] is not None)


@pytest.fixture
def loader(monkeypatch):
    """softdp._library, which forgets what it has asked and said."""

    def forget():
        _library.why_no_cuda.cache_clear()
        _library._runs_cuda.cache_clear()

    forget()
    yield _library
    forget()


def test_cuda_tensors_meet_the_reference_with_one_warning(loader, monkeypatch):
    monkeypatch.setattr(loader, "CUDA_EXTENSION", None)
    monkeypatch.setattr(loader, "_NOT_LOADED", "the reason")
    with pytest.warns(UserWarning) as caught:
        assert not any(softdp._devices.has_kernel(torch.device("cuda")) for _ in range(3))
    assert [str(w.message) for w in caught] == [
        "softdp: CUDA tensors run the reference implementation, correct and slow: the reason"
    ]
    assert softdp.build_info()["why_no_cuda"] == "the reason"


def test_torch_compile_asks_once_whether_cuda_tensors_run_the_kernels(loader, monkeypatch):
    monkeypatch.setattr(loader, "CUDA_EXTENSION", None)
    monkeypatch.setattr(loader, "_NOT_LOADED", "the reason")

    @torch.compile(fullgraph=True, backend="eager")
    def sign(x):
        return x if softdp._devices.has_kernel(torch.device("cuda")) else -x

    with pytest.warns(UserWarning, match="the reason"):
        assert sign(torch.ones(2)).tolist() == [-1, -1]


def test_a_gpu_that_the_kernels_were_not_built_for_runs_the_reference(loader, monkeypatch):
    monkeypatch.setattr(loader, "CUDA_EXTENSION", Path("_CUDA.abi3.so"))
    monkeypatch.setattr(loader, "cuda_versions", lambda file: (13000, 13020))
    monkeypatch.setattr(loader, "_built", lambda: {"cuda_archs": ["sm_80", "sm_90a", "compute_80"]})
    for capability, runs in (
        ((8, 0), True),
        ((8, 9), True),
        ((9, 0), True),
        ((7, 5), False),
        ((12, 0), False),
    ):
        loader._runs_cuda.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index, c=capability: c)
        if runs:
            assert loader.runs_cuda(0)
        else:
            named = f"capability {capability[0]}.{capability[1]}, the kernels were built for sm_80"
            with pytest.warns(UserWarning, match=named):
                assert not loader.runs_cuda(0)
    monkeypatch.setattr(loader, "cuda_versions", lambda file: (13020, 13020))  # compiles the PTX
    loader._runs_cuda.cache_clear()
    assert loader.runs_cuda(0)


def test_the_import_does_not_bring_torch_compile():
    code = "import sys, softdp; sys.exit('torch._dynamo' in sys.modules)"
    done = run_python("-c", code, folder=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


def test_the_driver_must_run_the_cuda_of_the_build(loader, monkeypatch):
    monkeypatch.setattr(loader, "CUDA_EXTENSION", Path("_CUDA.abi3.so"))
    for versions, why in (
        ((0, 13000), "there is no NVIDIA driver"),
        ((12080, 13020), "the NVIDIA driver runs CUDA up to 12.8, the kernels are built with CUDA 13.2"),
        ((13000, 13020), None),  # the same major version is enough
        ((14000, 13020), None),
    ):
        loader.why_no_cuda.cache_clear()
        monkeypatch.setattr(loader, "cuda_versions", lambda file, versions=versions: versions)
        assert loader.why_no_cuda() is None if why is None else loader.why_no_cuda().startswith(why)


needs_cuda_file = pytest.mark.skipif(
    not (PACKAGE / "_CUDA.abi3.so").is_file() or not torch.version.cuda,
    reason="needs softdp's CUDA kernels: build them beside a CUDA toolkit, with a PyTorch that has CUDA",
)


@needs_cuda_file
def test_the_cuda_file_tells_its_version():
    driver, built = _library.cuda_versions(PACKAGE / "_CUDA.abi3.so")
    assert driver >= 0
    assert _library._version(built) == json.loads((PACKAGE / "_build_info.json").read_text())["cuda"]


# As much of a driver of CUDA 11.8 as the CUDA runtime asks for before it runs anything.
OLD_DRIVER = """
#include <string.h>
int cuDriverGetVersion(int *version) { *version = 11080; return 0; }
int cuInit(unsigned flags) { return 0; }
static int other(void) { return 999; }
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status) {
  *found = !strcmp(name, "cuDriverGetVersion") ? (void *)cuDriverGetVersion
           : !strcmp(name, "cuInit")           ? (void *)cuInit
           : !strcmp(name, "cuGetProcAddress") ? (void *)cuGetProcAddress_v2
                                               : (void *)other;
  if (status) *status = 0;
  return 0;
}
int cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, found, version, flags, 0);
}
"""


@needs_cuda_file
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler: apt install gcc")
def test_a_driver_that_is_too_old_is_named(tmp_path):
    built = json.loads((PACKAGE / "_build_info.json").read_text())["cuda"]
    (tmp_path / "driver.c").write_text(OLD_DRIVER)
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", tmp_path / "driver.c", "-o", library], check=True)
    code = "import softdp; print(softdp.build_info()['why_no_cuda'])"
    done = run_python("-c", code, folder=PACKAGE.parent, variables={"LD_LIBRARY_PATH": str(tmp_path)})
    assert f"runs CUDA up to 11.8, the kernels are built with CUDA {built}" in done.stdout, done.stderr


def test_types_are_marked_and_public_names_documented():
    assert (PACKAGE / "py.typed").is_file()
    for name in softdp.__all__:
        public = getattr(softdp, name)
        assert name == "__version__" or public.__doc__.strip()
    for name in set(softdp.__all__) - {"MOVES", "Path", "__version__", "build_info", "reference"}:
        for section in ("Shapes:", "Args:", "Raises:", "Example:", "Source:"):
            assert section in getattr(softdp, name).__doc__, (name, section)


@pytest.fixture
def copied(tmp_path):
    """A copy of the package that a test may spoil, and what importing it prints."""
    target = tmp_path / "softdp"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))

    def imported() -> subprocess.CompletedProcess:
        code = "import softdp; print(softdp.__file__)"
        return run_python("-c", code, folder=tmp_path)

    return target, imported


def test_a_copy_imports(copied):
    target, imported = copied
    done = imported()
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout


def test_a_missing_extension_is_explained(copied):
    target, imported = copied
    (target / "_C.abi3.so").unlink()
    _explained(imported(), "is missing: there is no ")


def test_an_extension_older_than_the_python_files_is_explained(copied):
    target, imported = copied
    loader = target / "_library.py"
    loader.write_text(loader.read_text().replace('"difference_sums",', '"of_tomorrow",'))
    _explained(imported(), "is older than the Python files: no of_tomorrow")


def test_a_foreign_extension_is_explained(copied):
    target, imported = copied
    record = json.loads((target / "_build_info.json").read_text())
    record.update(platform="plan9-mips", torch="9.9.9")
    (target / "_build_info.json").write_text(json.dumps(record))
    (target / "_C.abi3.so").write_bytes(b"\x7fELF of another machine")
    error = _explained(imported(), "does not load: ")
    assert "for torch 9.9.9 and newer, plan9-mips" in error
    assert "_C.abi3.so: file too short" in error or "invalid ELF" in error  # the loader's own words


def _explained(done: subprocess.CompletedProcess, trouble: str) -> str:
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: softdp's compiled extension ")
    for part in (trouble, "Built: ", f"torch {torch.__version__}", "pip install --force-reinstall "):
        assert part in error
    return error
