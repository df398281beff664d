"""Calls a function in a new Python process: `python benchmarks/common/fresh.py MODULE FUNCTION ARGUMENTS`.

A new process is needed where the peak memory is measured, and where an environment variable must be set
before softdp is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class FailedError(Exception):
    """Holds the last line that the process wrote to stderr."""


def call(module: str, function: str, arguments: dict[str, Any], **environment: str) -> Any:
    """The function's result. Arguments and result are passed as JSON."""
    command = [sys.executable, __file__, module, function, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise FailedError(lines[-1] if lines else f"{module} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    called = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    print(json.dumps(called(**json.loads(sys.argv[3]))))
