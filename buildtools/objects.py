"""Compiles sources, and keeps the objects between builds."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1].absolute()
KEPT = 8  # objects of one source that are kept between builds


class Objects:
    """The objects of a build. Each is kept under the hash of all that it is made from.

    The objects lie in build/objects, or in the folder that SOFTDP_OBJECTS names. The hash holds the source,
    the headers that it can include, the command and the compiler's version. It does not hold the system's
    headers.
    """

    def __init__(self, spare: Path) -> None:
        self.folder = Path(os.environ.get("SOFTDP_OBJECTS") or ROOT / "build/objects").absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError:  # the source folder may be read-only
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
            with suppress(OSError):  # another user's file
                os.utime(target)
        else:
            folders = [f"-isystem{folder}" for folder in include]
            self.missing.append(([*command, *folders, "-c", source], target))
        return str(target)

    def compile(self) -> None:
        """Compile what is missing, MAX_JOBS sources at a time, and delete all but the newest KEPT objects."""
        jobs = int(os.environ.get("MAX_JOBS") or 0) or os.cpu_count() or 1
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            if not all(list(pool.map(self._one, self.missing))):
                sys.exit("softdp: a source does not compile")
        compiled = len(self.missing)
        kept = f"{len(self.found) - compiled} kept from before"
        print(f"softdp: {compiled} objects compiled, {kept} in {self.folder}", flush=True)
        for target in self.found:
            with suppress(OSError):  # another build may delete from the same folder
                name = target.name.rsplit("-", 1)[0]
                alike = sorted(self.folder.glob(f"{name}-*.o"), key=lambda file: file.stat().st_mtime)
                for old in alike[:-KEPT]:
                    old.unlink(missing_ok=True)

    def _one(self, work: tuple[list[str], Path]) -> bool:
        """Compile one source; whether that worked. An object gets its name only when it is whole."""
        command, target = work
        print(*command, "-o", target, flush=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as unfinished:
            object_file = Path(unfinished, target.name)
            if subprocess.run([*command, "-o", str(object_file)], cwd=ROOT).returncode:
                return False
            object_file.replace(target)
        return True


def headers(source: str) -> list[Path]:
    """The headers that a source can include.

    A source includes from csrc/ and its own folder. A source in csrc/ops includes from all folders of csrc/,
    and from PyTorch.
    """
    folder = Path(source).parent.name
    found = [*ROOT.glob("csrc/*.h"), *ROOT.glob(f"csrc/{folder}/*.h")]
    if folder == "ops":
        found = [*ROOT.glob("csrc/**/*.h"), *ROOT.glob("third_party/**/*.h")]
    return sorted(found)
