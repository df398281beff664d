"""Reads a log of compute-sanitizer's racecheck, and fails where it has a hazard.

python tools/racecheck.py racecheck.log

Strips hand their rows on behind barriers, which racecheck knows, so that any hazard is an error. racecheck
names the line of an access only where softdp was built with -lineinfo.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path


def hazards(log: str) -> Counter[str]:
    """The places of the accesses in the log."""
    places: Counter[str] = Counter()
    for access in re.findall(r"(?:Read|Write|Atomic) access at (.*)", log):
        place = re.search(r"\bin (?:\S*/)?([\w.]+):(\d+)", access)
        places[f"{place[1]}:{place[2]}" if place else "a place without a line number"] += 1
    return places


def main(argv: list[str]) -> int:
    log = Path(argv[0]).read_text()
    if "agree with float64" not in log:
        print("racecheck.py: the passes did not finish")
        return 1
    found = hazards(log)
    if found:
        print("racecheck.py: HAZARDS: " + ", ".join(f"{place} ({n})" for place, n in found.items()))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
