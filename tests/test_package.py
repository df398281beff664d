"""The installation: what it tells about itself, and what it says when its extension does not fit."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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


def test_types_are_marked_and_public_names_documented():
    assert (PACKAGE / "py.typed").is_file()
    for name in softdp.__all__:
        public = getattr(softdp, name)
        assert name == "__version__" or public.__doc__.strip()
    for name in ("fsd_score", "lcs_score", "fsd_loss", "lcs_loss", "FSDLoss", "LCSLoss"):
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
