"""Fails if a file has more than 400 lines, or a function more than 80.

    python tools/check_sizes.py

tests/kernels/faults.py, a table, is exempt, and so are files that are not code.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = ".ci", "benchmarks", "buildtools", "csrc", "docs", "examples", "setup.py", "softdp", "tests", "tools"
SUFFIXES = {".py", ".h", ".cpp", ".cu", ".sh"}
MOST_LINES, MOST_LINES_OF_FUNCTION = 400, 80
TABLES = {"tests/kernels/faults.py"}
# In parts this kernel takes up to 26 registers more (nvcc 13.0, sm_90).
LONG_FUNCTIONS = {"csrc/cuda/feature_sums.h": "weigh_tables"}

NOT_FUNCTIONS = re.compile(r"\b(namespace|struct|class|enum|union|extern)\b(?!.*\)\s*(const\s*)?\{$)")


def functions_of_python(source: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def functions_of_cpp(source: str) -> Iterator[tuple[str, int, int]]:
    """Text, line and length of each definition that is not inside another function.

    clang-format puts the end of a definition at the indentation of its first line.
    """
    lines = source.split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].endswith("{"):
            at += 1
            continue
        first = at
        while first > 0 and not re.search(r"(^|[;{}:]|^ *//.*|^#.*)$", lines[first - 1]):
            first -= 1
        words = " ".join(line.strip() for line in lines[first : at + 1])
        indentation = len(lines[first]) - len(lines[first].lstrip())
        ends = (k for k in range(at + 1, len(lines)) if re.match(" " * indentation + r"\}", lines[k]))
        end = next(ends, at)
        if NOT_FUNCTIONS.search(words):
            at += 1
        else:
            yield words, first + 1, end - first + 1
            at = end + 1


def main() -> int:
    listed = subprocess.check_output(["git", "ls-files", *PLACES], cwd=ROOT, text=True)
    found = []
    for name in listed.split():
        path = ROOT / name
        if path.suffix not in SUFFIXES or name in TABLES or not path.exists():
            continue
        source = path.read_text()
        if source.count("\n") > MOST_LINES:
            found.append(f"{name}: {source.count(chr(10))} lines, of at most {MOST_LINES}")
        if path.suffix == ".sh":
            continue
        functions = functions_of_python if path.suffix == ".py" else functions_of_cpp
        for function, line, length in functions(source):
            if length > MOST_LINES_OF_FUNCTION and LONG_FUNCTIONS.get(name, "()") not in function:
                found.append(
                    f"{name}:{line}: {length} lines, of at most {MOST_LINES_OF_FUNCTION}: {function}"
                )
    print("\n".join(found) or "no file and no function is too long")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
