"""The tables of a run, in GitHub Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Entry = dict[str, Any]

NUMBA_PEERS = "pysdtw", "tslearn"
COMPARED = "FTCL's way", "lean loop", "reference"
PHASES = "forward", "backward", "both"
HEAD = (
    ("", "size", "forward", "backward", "both")
    + ("x FTCL's way", "x lean loop", "x reference", "x fastest numba peer")
)  # fmt: skip
DETAIL = (
    ("", "size", "", "forward", "backward", "both", "both, quartiles", "softdp is")
    + ("score off by", "gradient off by")
)  # fmt: skip


def tables(run: dict[str, Any]) -> str:
    """All that a run has to say."""
    results = run["results"]
    parts = [
        heading(run),
        "softdp, Mcells/s, and how many times as fast as the others forward and backward together:",
        markdown(HEAD, [summary(rows) for rows in groups(results)]),
        losses(results),
        "Every implementation, Mcells/s; deviations are the largest from softdp in float64:",
        markdown(DETAIL, [detail(entry) for entry in results]),
    ]
    return "\n\n".join(parts)


def heading(run: dict[str, Any]) -> str:
    hardware, threads, versions = run["hardware"], run["threads"], run["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['capability']}; {hardware['os']}\n"
        f"threads: PyTorch {threads['torch']}, numba {threads['numba']} ({threads['numba_layer']}); "
        f"{neighbours(run['results'])}\n"
        f"{named}; commit {run['commit']}; {run['date']}"
    )


def neighbours(results: Sequence[Entry]) -> str:
    """How busy others kept the machine: see machine.Neighbours."""
    taken = [taken_by_others(entry) for entry in results]
    warning = "; in rows with a * too many for ratios of threaded code" if any(map(busy, results)) else ""
    return f"other programs took up to {max(taken):.2f} cores{warning}"


def taken_by_others(entry: Entry) -> float:
    return entry["cores_taken_by_others"] or 0.0


def busy(entry: Entry) -> bool:
    return taken_by_others(entry) > 0.2


def groups(results: Sequence[Entry]) -> list[dict[str, Entry]]:
    """The entries of each case and size, by implementation."""
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in results:
        found.setdefault((entry["case"], size(entry)), {})[entry["implementation"]] = entry
    return list(found.values())


def size(entry: Entry) -> str:
    return f"{entry['B']}x{entry['N']}"


def summary(rows: dict[str, Entry]) -> list[str]:
    ours = rows["softdp"]
    numba = [rows[name] for name in NUMBA_PEERS if name in rows]
    fastest = min(numba, key=faster_by, default=None)
    peer = f"{ratio(fastest)} ({fastest['implementation']})" if fastest else "-"
    others = [ratio(rows[name]) if name in rows else "-" for name in COMPARED]
    mark = " *" if busy(ours) else ""
    return [ours["case"], size(ours) + mark, *speeds(ours), *others, peer]


def detail(entry: Entry) -> list[str]:
    both = entry["mcells_per_s"]["both"]
    return [
        entry["case"],
        size(entry),
        entry["implementation"],
        *speeds(entry),
        f"{number(both['q1'])} to {number(both['q3'])}",
        "-" if entry["implementation"] == "softdp" else f"{ratio(entry)}x",
        f"{entry['score_off']:.0e}",
        f"{entry['gradient_off']:.0e}",
    ]


def losses(results: Iterable[Entry]) -> str:
    """Every case, size and phase in which another implementation is faster."""
    lost = [
        f"- {entry['case']} {size(entry)}, {phase}: {entry['implementation']}, softdp at "
        f"{faster_by(entry, phase):.2f} of its speed"
        for entry in results
        for phase in PHASES
        if faster_by(entry, phase) < 1
    ]
    if not lost:
        return "Where softdp loses: nowhere here, neither forward nor backward."
    return "Where softdp loses:\n\n" + "\n".join(lost)


def faster_by(entry: Entry, phase: str = "both") -> float:
    return entry["softdp_is_faster_by"][phase]["median"]


def ratio(entry: Entry) -> str:
    return number(faster_by(entry))


def speeds(entry: Entry) -> list[str]:
    return [number(entry["mcells_per_s"][phase]["median"]) for phase in PHASES]


def number(value: float) -> str:
    """About three digits, never in powers of ten."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns are padded, so that the table reads in a terminal too."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * max(width, 3) for width in widths]
    lines = [head, rule, *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(max(width, 3)) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
