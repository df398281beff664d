"""Calls in a Python of its own: `python benchmarks/fresh.py MODULE FUNCTION ARGUMENTS` prints its result."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any


class FailedError(Exception):
    """The other Python's last line of complaint."""


def call(module: str, function: str, arguments: dict[str, Any], **environment: str) -> Any:
    """Arguments and result go through JSON."""
    command = [sys.executable, __file__, module, function, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise FailedError(lines[-1] if lines else f"{module} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    called = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    print(json.dumps(called(**json.loads(sys.argv[3]))))
