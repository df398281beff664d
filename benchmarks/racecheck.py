"""Reads what compute-sanitizer's racecheck wrote: fails where it names a hazard that is not the strips' own.

python benchmarks/racecheck.py racecheck.log

racecheck knows barriers, and no flags that are released by one warp and acquired by another: so it reports
every row that a strip hands on to the next one through shared memory. Those accesses are in Handover of
csrc/cuda/bands.h and in the flags' loads and stores of csrc/cuda/device.h, and nowhere else; that softdp was
built with -lineinfo lets racecheck say where each is.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

CUDA = Path(__file__).resolve().parent.parent / "csrc" / "cuda"
ALLOWED = {
    "bands.h": r"struct Handover \{.*?\n\};",
    "device.h": r"SOFTDP_DEVICE (?:int load_acquire_block|void store_release_block)\(.*?\n\}",
}


def lines_of(name: str, pattern: str) -> set[int]:
    """Numbers of the lines that the pattern's matches cover."""
    text = (CUDA / name).read_text()
    found = list(re.finditer(pattern, text, re.DOTALL))
    assert found, f"{name}: {pattern} is gone"
    return {
        line
        for m in found
        for line in range(1 + text.count("\n", 0, m.start()), 2 + text.count("\n", 0, m.end()))
    }


def judged(log: str) -> tuple[Counter[str], Counter[str]]:
    """Places of the accesses in the log's hazards: those of the strips' flags, and others."""
    allowed = {(name, line) for name, pattern in ALLOWED.items() for line in lines_of(name, pattern)}
    expected, others = Counter(), Counter()
    for access in re.findall(r"(?:Read|Write|Atomic) access at (.*)", log):
        place = re.search(r"\bin (?:\S*/)?([\w.]+):(\d+)", access)
        named = f"{place[1]}:{place[2]}" if place else "a place without a line number"
        known = place is not None and (place[1], int(place[2])) in allowed
        (expected if known else others)[named] += 1
    return expected, others


def main(argv: list[str]) -> int:
    log = Path(argv[0]).read_text()
    if "agree with float64" not in log:
        print("racecheck.py: the passes did not come to their end")
        return 1
    expected, others = judged(log)
    for title, places in (("rows handed on by flags", expected), ("HAZARDS", others)):
        if places:
            print(f"racecheck.py: {title}: " + ", ".join(f"{place} ({n})" for place, n in places.items()))
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
