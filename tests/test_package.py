"""The installation: what it tells about itself, and what it says when its extension does not fit."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT

import softdp

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
        "cuda_archs",
        "extension",
    }
    assert info["version"] == softdp.__version__
    assert info["torch_running"] == torch.__version__
    assert re.fullmatch(r"\d+\.\d+.*", info["torch_built"])
    assert info["platform"].startswith(sys.platform)
    assert "baseline" in info["cpu"] and isinstance(info["cuda_archs"], list)
    assert Path(info["extension"]).is_file()
    json.dumps(info)


def test_the_extension_is_one_abi3_file():
    assert [p.name for p in PACKAGE.glob("_C*")] == ["_C.abi3.so"]


def test_cuda_architectures_are_named_where_the_operators_have_cuda_kernels():
    architectures = softdp.build_info()["cuda_archs"]
    assert all(re.fullmatch(r"(sm|compute)_\d+[af]?", name) for name in architectures)
    for name in (
        f"{score}_{step}" for score in ("fsd", "lcs") for step in ("forward", "backward", "double_backward")
    ):
        built = torch._C._dispatch_has_kernel_for_dispatch_key(f"softdp::{name}", "CUDA")
        assert built == bool(architectures)


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
        return subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )

    return target, imported


def test_a_copy_imports(copied):
    target, imported = copied
    done = imported()
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout


def test_a_missing_extension_is_explained(copied):
    target, imported = copied
    (target / "_C.abi3.so").unlink()
    _explained(imported(), "is missing from ")


def test_a_foreign_extension_is_explained(copied):
    target, imported = copied
    record = json.loads((target / "_build_info.json").read_text())
    record.update(platform="plan9-mips", torch="9.9.9")
    (target / "_build_info.json").write_text(json.dumps(record))
    (target / "_C.abi3.so").write_bytes(b"\x7fELF of another machine")
    error = _explained(imported(), "does not load: ")
    assert "with torch 9.9.9 for plan9-mips" in error


def _explained(done: subprocess.CompletedProcess, trouble: str) -> str:
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: softdp's compiled extension ")
    for part in (trouble, "Built: ", f"torch {torch.__version__}", "Mend it with: pip install "):
        assert part in error
    return error


NVCC = """#!/bin/sh
case $1 in
  --version) echo "Cuda compilation tools, release 12.8, V12.8.93" ;;
  --list-gpu-arch) printf 'compute_75\\ncompute_80\\ncompute_90\\n' ;;
esac
"""


@pytest.fixture
def build(monkeypatch):
    """setup.py's functions, on a machine without a CUDA toolkit; nothing is built."""
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.setattr(setuptools, "setup", lambda **options: None)
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    return runpy.run_path(str(ROOT / "setup.py"))


@pytest.fixture
def toolkit(tmp_path):
    """A CUDA toolkit of version 12.8, as far as setup.py asks; it knows no sm_100."""
    for file, text in (("bin/nvcc", NVCC), ("include/cuda_runtime.h", "")):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(text)
    (tmp_path / "bin/nvcc").chmod(0o755)
    return tmp_path


def test_a_toolkit_has_a_compiler_and_headers(build, toolkit, monkeypatch):
    assert build["cuda_home"]() is None  # CUDA_HOME is /nowhere: no other place counts
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    assert build["cuda_home"]() == toolkit
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("PATH", str(toolkit / "bin"))
    assert build["cuda_home"]() == toolkit
    (toolkit / "include/cuda_runtime.h").unlink()  # as beside a wrapper of nvcc
    assert build["cuda_home"]() != toolkit


def test_the_build_says_why_it_is_cpu_only(build, toolkit, monkeypatch):
    why = build["why_cpu_only"]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert why(toolkit) == "torch is built without CUDA"
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    assert why(toolkit) is None  # minor versions of CUDA mix
    assert why(None) == "no CUDA toolkit (nvcc and its headers) was found"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert why(toolkit) == f"the CUDA toolkit in {toolkit} is 12.8, but torch is built with CUDA 13.0"
    for broken in ("#!/bin/sh\nexit 1\n", "#!/bin/sh\n"):
        (toolkit / "bin/nvcc").write_text(broken)
        assert why(toolkit).startswith(f"{toolkit}/bin/nvcc does not run")


def test_architectures_that_the_kernels_cannot_run_on_are_found(build, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "7.0;7.5 8.6+PTX")
    assert build["too_old"]() == ["7.0", "7.5"]
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0a;10.0+PTX;12.0")
    assert build["too_old"]() == []


def test_without_a_gpu_the_build_takes_the_architectures_that_nvcc_knows(build, toolkit):
    assert build["architectures"](toolkit) == "8.0;9.0+PTX"
