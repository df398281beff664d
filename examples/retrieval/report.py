"""The table of the results, and the machine and the versions that produced them.

python examples/retrieval/report.py FILE    prints the table of a file that train.py wrote
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import aeon
import numpy
import torch

import softdp

HEADS = "method", "retrieval mAP", "untrained", "1-shot accuracy"
AGAINST = "diagonal", "soft-DTW"  # differences of mAP, seed by seed


def table(results: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A row for each method, in Markdown: percent, mean and standard deviation over seeds."""
    heads = [*HEADS, *(f"minus {other}, paired" for other in AGAINST)]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for method, values in results.items():
        cells = [method] + [spread(values[k]) for k in ("mAP", "untrained_mAP", "one_shot")]
        for other in AGAINST:
            pairs = zip(values["mAP"], results[other]["mAP"], strict=True)
            cells.append("" if method == other else difference([a - b for a, b in pairs]))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def gap(results: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The difference of FSD with and without its gap."""
    pairs = zip(results["FSD"]["mAP"], results["FSD, gap 0"]["mAP"], strict=True)
    return f"FSD minus FSD, gap 0, paired: {difference([a - b for a, b in pairs])}"


def spread(values: Sequence[float], sign: str = "") -> str:
    return f"{mean(values):{sign}.1f}" + (f" +- {stdev(values):.1f}" if len(values) > 1 else "")


def difference(values: Sequence[float]) -> str:
    above = f", {sum(v > 0 for v in values)} of {len(values)} above" if len(values) > 1 else ""
    return spread(values, sign="+") + above


def provenance() -> dict[str, Any]:
    """Hardware, versions, commit and date."""
    build = {k: v for k, v in softdp.build_info().items() if k != "extension"}
    return {
        "hardware": {"cpu": cpu_model(), "cores": os.cpu_count(), "os": platform.platform()},
        "versions": versions(),
        "softdp_build": build,
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Each package's own version string: that of torch names its build, as in 2.14.1+cu130."""
    packages = softdp, torch, numpy, aeon
    return {"python": platform.python_version()} | {p.__name__: str(p.__version__) for p in packages}


def cpu_model() -> str:
    """The CPU's name from the Linux kernel, or else from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """The checkout's commit, with "+" if it has changes; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent)]
    try:
        said = [
            subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout.strip()
            for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return said[0] + ("+" if said[1] else "")


if __name__ == "__main__":
    measured = json.loads(Path(sys.argv[1]).read_text())["results"]
    print(table(measured), gap(measured), sep="\n\n")
