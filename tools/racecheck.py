"""Reads a log of compute-sanitizer's racecheck, and fails where it has a hazard that is not expected.

python tools/racecheck.py racecheck.log

racecheck knows barriers. It does not know flags that one warp releases and another one acquires, so it
reports every row that a strip hands over to the next strip through shared memory. These accesses are in
Handover of csrc/cuda/bands.h, and in the loads and stores of the flags in csrc/cuda/device.h. Accesses
anywhere else are errors. racecheck names the line of an access only where softdp was built with -lineinfo.
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
    """The numbers of the lines that match the pattern."""
    text = (CUDA / name).read_text()
    found = list(re.finditer(pattern, text, re.DOTALL))
    assert found, f"{name}: {pattern} is gone"
    return {
        line
        for m in found
        for line in range(1 + text.count("\n", 0, m.start()), 2 + text.count("\n", 0, m.end()))
    }


def judged(log: str) -> tuple[Counter[str], Counter[str]]:
    """The places of the accesses in the log: the expected ones, and all others."""
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
        print("racecheck.py: the passes did not finish")
        return 1
    expected, others = judged(log)
    for title, places in (("rows handed on by flags", expected), ("HAZARDS", others)):
        if places:
            print(f"racecheck.py: {title}: " + ", ".join(f"{place} ({n})" for place, n in places.items()))
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
