"""setup.py: the toolkit and architectures that it finds, and the objects that it keeps."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT

NVCC = """#!/bin/sh
case $1 in
  --version) echo "Cuda compilation tools, release 12.8, V12.8.93" ;;
  --list-gpu-arch) printf 'compute_75\\ncompute_80\\ncompute_86\\ncompute_90\\ncompute_90a\\n' ;;
esac
"""


@pytest.fixture
def build(monkeypatch):
    """setup.py's functions, on a machine without a CUDA toolkit; nothing is built."""
    monkeypatch.syspath_prepend(ROOT)
    from buildtools import objects, toolkit

    for name in ("SOFTDP_CUDA", "TORCH_CUDA_ARCH_LIST", "CUDA_PATH", "CXX", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    return {**vars(toolkit), **vars(objects)}


@pytest.fixture
def toolkit(tmp_path):
    """A CUDA toolkit of version 12.8, as far as setup.py asks; it knows no sm_100."""
    files = ("bin/nvcc", NVCC), ("include/cuda_runtime.h", ""), ("lib64/libcudart_static.a", "")
    for file, text in files:
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
    monkeypatch.delenv("SOFTDP_CUDA", raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert why(toolkit).startswith("torch is built without CUDA")
    monkeypatch.setitem(sys.modules, "torch", None)  # pip hides it
    assert why(toolkit) is None
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("SOFTDP_CUDA", "1")
    assert why(toolkit) is None
    with pytest.raises(SystemExit, match="asks for CUDA kernels, but no CUDA toolkit"):
        why(None)
    monkeypatch.delenv("SOFTDP_CUDA")
    monkeypatch.setattr(torch.version, "cuda", "13.0")  # of any version: the build uses nothing of it
    assert why(toolkit) is None
    assert why(None) == "no CUDA toolkit (nvcc and its headers) was found in CUDA_HOME=/nowhere"
    monkeypatch.delenv("CUDA_HOME")
    assert why(None) == "no CUDA toolkit (nvcc and its headers) was found"
    monkeypatch.setenv("SOFTDP_CUDA", "0")
    assert why(toolkit) == "SOFTDP_CUDA=0"
    monkeypatch.setenv("SOFTDP_CUDA", "yes")
    with pytest.raises(SystemExit, match="SOFTDP_CUDA must be 0"):
        why(toolkit)
    monkeypatch.delenv("SOFTDP_CUDA")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "7.5")
    assert why(toolkit).endswith("has no compute capability from 8.0 on")
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    works = (toolkit / "bin/nvcc").read_text()
    too_new = "  -c) echo 'unsupported.h:1: error: unsupported GNU version' >&2; exit 1 ;;\nesac"
    (toolkit / "bin/nvcc").write_text(works.replace("esac", too_new))
    why_not = f"{toolkit}/bin/nvcc compiles nothing: unsupported.h:1: error: unsupported GNU version"
    assert why(toolkit) == why_not
    (toolkit / "bin/nvcc").write_text(works)
    assert why(toolkit) is None
    (toolkit / "lib64/libcudart_static.a").unlink()
    assert why(toolkit) == f"the CUDA toolkit in {toolkit} has no libcudart_static.a"
    for broken in ("#!/bin/sh\nexit 1\n", "#!/bin/sh\n"):
        (toolkit / "bin/nvcc").write_text(broken)
        assert why(toolkit).startswith(f"{toolkit}/bin/nvcc does not run")


def test_a_toolkit_as_conda_lays_it_out_is_found(build, toolkit, monkeypatch):
    target = toolkit / build["_target"]()
    (target / "lib").mkdir(parents=True)
    (toolkit / "include").rename(target / "include")
    (toolkit / "lib64/libcudart_static.a").rename(target / "lib/libcudart_static.a")
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    assert build["cuda_home"]() == toolkit
    assert build["cuda_headers"](toolkit) == target / "include"
    assert build["static_runtime"](toolkit) == target / "lib/libcudart_static.a"


def test_architectures_are_those_asked_for_that_the_kernels_run_on(build, toolkit, monkeypatch):
    for asked, found in (
        ("9.0", ["9.0"]),
        ("8.0;9.0a 10.0+PTX, 12.0", ["8.0", "9.0a", "10.0+PTX", "12.0"]),
        ("7.5 8.0 8.6+PTX", ["8.0", "8.6+PTX"]),
        ("Turing;Ampere;Hopper", ["8.0", "8.6+PTX", "9.0+PTX"]),
        ("7.5", []),
    ):
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", asked)
        assert build["architectures"](toolkit) == found
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;Hoper")
    with pytest.raises(SystemExit, match="Hoper, which is no compute capability like 9.0"):
        build["architectures"](toolkit)


@pytest.mark.parametrize(
    "says, found",
    [
        ("echo 9.0; echo 8.6; echo 9.0; echo 7.5", ["8.6", "9.0"]),
        ("echo 12.0; echo 9.0", ["8.0", "9.0+PTX"]),  # newer than the toolkit
        ("echo 7.5", ["8.0", "9.0+PTX"]),
        ("echo 'No devices were found'", ["8.0", "9.0+PTX"]),
        ("echo 'Field compute_cap is not a valid field to query.'; exit 2", ["8.0", "9.0+PTX"]),
        (None, ["8.0", "9.0+PTX"]),
    ],
)
def test_the_build_is_for_this_machines_gpus_or_what_nvcc_knows(build, toolkit, monkeypatch, says, found):
    """Of a driver that is too old, or without a GPU, nvcc's architectures are built."""
    if says:
        (toolkit / "bin/nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
        (toolkit / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(toolkit / "bin"))
    assert build["architectures"](toolkit) == found


def test_one_compilation_serves_all_architectures(build):
    flags, built = build["code_flags"], build["built_architectures"]
    asked = ["8.0", "9.0", "10.0+PTX"]
    assert flags(asked) == ["-gencode=arch=compute_80,code=[sm_80,sm_90,sm_100,compute_80]"]
    assert built(asked) == ["sm_80", "sm_90", "sm_100", "compute_80"]
    assert flags(asked, each=True) == [
        "-gencode=arch=compute_80,code=[sm_80]",
        "-gencode=arch=compute_90,code=[sm_90]",
        "-gencode=arch=compute_100,code=[sm_100,compute_100]",
    ]
    assert flags(["9.0"]) == ["-gencode=arch=compute_90,code=[sm_90]"]
    mixed = ["9.0a", "10.0+PTX", "8.6"]
    assert flags(mixed) == [
        "-gencode=arch=compute_90a,code=[sm_90a]",
        "-gencode=arch=compute_86,code=[sm_100,compute_86,sm_86]",
    ]
    assert built(mixed) == ["sm_86", "sm_90a", "sm_100", "compute_86"]


@pytest.fixture
def objects(build, tmp_path, monkeypatch):
    """A small source tree, and a function that compiles csrc/cpu/one.cpp there and says what it did."""
    for file, text in (
        ("csrc/shared.h", "#define ONE 1\n"),
        ("csrc/cpu/own.h", ""),
        ("csrc/cpu/one.cpp", '#include "../shared.h"\nint one() { return ONE; }\n'),
        ("csrc/cuda/other.h", ""),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    for function in (build["headers"], build["Objects"].add):
        monkeypatch.setitem(function.__globals__, "ROOT", tmp_path)
    monkeypatch.setenv("SOFTDP_OBJECTS", str(tmp_path / "kept"))

    def compiled(*extra: str, version: str = "compiler 1") -> tuple[Path, bool]:
        found = build["Objects"](tmp_path / "spare")
        target = Path(found.add("csrc/cpu/one.cpp", ["c++", *extra], version))
        fresh = bool(found.missing)
        found.compile()
        return target, fresh

    return tmp_path, compiled


@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler: apt install g++")
def test_objects_are_kept_until_what_they_are_made_from_changes(objects):
    root, compiled = objects
    first, fresh = compiled()
    assert fresh and first.is_file()
    assert compiled() == (first, False)
    (root / "csrc/cuda/other.h").write_text("// another folder's\n")
    assert compiled() == (first, False)
    seen = {first}
    for change in (
        lambda: (root / "csrc/shared.h").write_text("#define ONE 2\n"),
        lambda: (root / "csrc/cpu/own.h").write_text("// read by some source here\n"),
        lambda: (root / "csrc/cpu/one.cpp").write_text("int one() { return 1; }\n"),
    ):
        change()
        target, fresh = compiled()
        assert fresh and target not in seen
        seen.add(target)
    for extra, version in ((("-O1",), "compiler 1"), ((), "compiler 2")):
        target, fresh = compiled(*extra, version=version)
        assert fresh and target not in seen
        seen.add(target)
    assert set((root / "kept").iterdir()) == seen  # nothing unfinished stays


@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler: apt install g++")
def test_an_object_that_does_not_compile_is_not_kept(objects):
    root, compiled = objects
    (root / "csrc/cpu/one.cpp").write_text("this is no C++\n")
    with pytest.raises(SystemExit, match="does not compile"):
        compiled()
    assert not list((root / "kept").iterdir())
