"""The tables of a CPU run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from common.tables import Entry, markdown, number, size
from common.timing import PHASES
from cpu.threads import counted

Peered = tuple[Entry, Entry | None]  # softdp, and the faster numba library in the same rounds

NUMBA_PEERS = "pysdtw", "tslearn"
LOOPS = "FTCL's way", "lean loop", "reference"
SPEEDS = (
    ("", "size", "threads", "forward", "backward", "both")
    + ("GB/s", "of copy", "x fastest numba peer")
)  # fmt: skip
BESIDE = "", "size", *(f"x {name}" for name in LOOPS)
MEMORY = "", "size", "with gradients", "without"
CURVE = "steps", "threads", "forward", "backward", "both", "fresh float", "score off by"
ERRORS = "", "size", "", "score off by, relative", "d match off by"
MASS = "", "size", "mass at (1,1) off by"
DERIVATIVES = (
    ("", "size", "threads", "alignment", "second order", "both", "x reference: alignment", "second order")
    + ("both", "loss off by", "derivative off by")
)  # fmt: skip
OVERHEAD = "", "threads", "forward", "backward", "both", "x nothing"
DETAIL = (
    ("", "size", "threads", "", "forward", "backward", "both", "both, quartiles")
    + ("score off by", "gradient off by")
)  # fmt: skip


def tables(run: dict[str, Any]) -> str:
    """All tables of a run."""
    sections: tuple[tuple[str, Sequence[str], Callable], ...] = (
        (
            f"softdp, Mcells/s; the fewest bytes that it can move, a second, and as a part of the copy "
            f"bandwidth ({bandwidths(run)}); how many times as fast a cell is as in the faster numba peer's "
            "soft-DTW, forward and backward:",
            SPEEDS,
            speeds_rows,
        ),
        ("How many times as fast as plain PyTorch, forward and backward:", BESIDE, loop_rows),
        ("softdp with another instruction set, x fastest numba peer:", isa_head(run), isa_rows),
        ("softdp, most memory above the inputs, bytes a cell:", MEMORY, memory_rows),
        ("softdp, fsd, one pair, ns a cell; and ns a float of a new matrix of zeros:", CURVE, curve_rows),
        ("Errors in float32:", ERRORS, error_rows),
        ("softdp, anchored: every path takes (1,1):", MASS, mass_rows),
        ("A call as small as FTCL's, us:", OVERHEAD, overhead_rows),
        (
            "Expected alignment, and the derivative of a loss on it, Mcells/s; how many times as fast as the "
            "reference:",
            DERIVATIVES,
            derivative_rows,
        ),
        (
            "Every implementation, Mcells/s; deviations are the largest from softdp in float64:",
            DETAIL,
            detail_rows,
        ),
    )  # fmt: skip
    after = {SPEEDS: losses, CURVE: flatness}
    parts = [heading(run)]
    for title, head, rows in sections:
        found = list(rows(run))
        if found:
            parts += [title, markdown(head, found)]
            if head in after:
                parts.append(after[head](run))
    return "\n\n".join(parts)


def heading(run: dict[str, Any]) -> str:
    hardware, versions = run["hardware"], run["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    counts = " and ".join(map(str, run["threads"]))
    return (
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['capability']}; {hardware['os']}\n"
        f"threads: {counts} of PyTorch and of numba ({run['numba_layer']}); softdp runs {kernels(run)}; "
        f"{neighbours(run)}\n"
        f"{named}; commit {run['commit']}; {run['date']}; {run['wall_s']:.0f} s"
        + ("; quick: few samples" if run["quick"] else "")
    )


def kernels(run: dict[str, Any]) -> str:
    """The instruction set that softdp used; all that it was built for, where it has no choice."""
    return run["softdp_build"].get("cpu_selected") or "+".join(run["softdp_build"]["cpu"])


def neighbours(run: dict[str, Any]) -> str:
    """How busy other programs kept the machine; see neighbours.py."""
    sections = "throughput", "loops", "overhead", "derivatives", "curve"
    timed = [e for name in sections for e in run.get(name, [])]
    taken = max(map(taken_by_others, timed), default=0.0)
    warning = "; in rows with a * too many for ratios of threaded code" if any(map(busy, timed)) else ""
    return f"other programs took up to {taken:.2f} cores{warning}"


def taken_by_others(entry: Entry) -> float:
    return entry["cores_taken_by_others"] or 0.0


def busy(entry: Entry) -> bool:
    return taken_by_others(entry) > 0.2


# ---- selecting entries ---------------------------------------------------------------------------


def peered(entries: Iterable[Entry]) -> list[Peered]:
    """softdp's entries, sorted by case, each with the numba library that is faster there."""
    groups: dict[tuple[str, int], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((size(entry), entry["threads"]), []).append(entry)
    found = []
    for group in groups.values():
        peers = [e for e in group if e["implementation"] in NUMBA_PEERS]
        for entry in group:
            if entry["implementation"] == "softdp":
                found.append((entry, fastest(peers, entry["case"])))
    cases = list(dict.fromkeys(ours["case"] for ours, _ in found))
    return sorted(found, key=lambda pair: cases.index(pair[0]["case"]))


def fastest(entries: Sequence[Entry], case: str) -> Entry | None:
    """The entry with the smallest ratio to softdp's case."""
    return min(entries, key=lambda entry: faster_by(entry, case), default=None)


def faster_by(entry: Entry, case: str, phase: str = "both") -> float:
    """How many times as fast softdp's case is as the implementation of this entry."""
    return entry["softdp_is_faster_by"][case][phase]["median"]


def bandwidth(run: dict[str, Any], threads: int) -> float:
    """Bytes a second of a copy, read and written."""
    return next(e for e in run["copy"] if e["threads"] == threads)["bytes_per_s"]["median"]


def moved(entry: Entry) -> float:
    """Bytes a second, from the fewest bytes that forward and backward can move."""
    return 1e6 * entry["mcells_per_s"]["both"]["median"] * entry["bytes_per_cell"]["both"]


def marked(entry: Entry) -> str:
    return size(entry) + (" *" if busy(entry) else "")


# ---- rows ----------------------------------------------------------------------------------------


def bandwidths(run: dict[str, Any]) -> str:
    rates = [(e["bytes_per_s"]["median"] / 1e9, counted(e["threads"])) for e in run.get("copy", [])]
    return " and ".join(f"{rate:.1f} GB/s with {threads}" for rate, threads in rates) + ", read and written"


def speeds_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    for ours, peer in peered(run.get("throughput", [])):
        rate = moved(ours)
        yield [
            *(ours["case"], marked(ours), str(ours["threads"]), *speeds(ours)),
            *(number(rate / 1e9), f"{rate / bandwidth(run, ours['threads']):.2f}"),
            f"{number(faster_by(peer, ours['case']))} ({peer['implementation']})" if peer else "-",
        ]


def losses(run: dict[str, Any]) -> str:
    """The cases, sizes and phases in which a cell takes longer than in a numba library's soft-DTW."""
    lost = [
        f"- {case} {size(entry)}, threads {entry['threads']}, {phase}: "
        f"{number(faster_by(entry, case, phase))} of {entry['implementation']}'s speed"
        for entry in run.get("throughput", [])
        for case in entry["softdp_is_faster_by"]
        for phase in PHASES
        if faster_by(entry, case, phase) < 1
    ]
    if not lost:
        return "Where softdp loses to a numba peer: nowhere here, neither forward nor backward."
    return "Where softdp loses to a numba peer:\n\n" + "\n".join(lost)


def loop_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    groups: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in run.get("loops", []):
        groups.setdefault((entry["case"], size(entry)), {})[entry["implementation"]] = entry
    cases = list(dict.fromkeys(case for case, _ in groups))
    for (case, _), by_name in sorted(groups.items(), key=lambda item: cases.index(item[0][0])):
        ratios = [number(faster_by(by_name[name], case)) if name in by_name else "-" for name in LOOPS]
        yield [case, marked(next(iter(by_name.values()))), *ratios]


def isa_head(run: dict[str, Any]) -> tuple[str, ...]:
    return "", "size", "threads", *isa_cases(run)


def isa_cases(run: dict[str, Any]) -> list[str]:
    entries = [e for e in run.get("isa", []) if "not_run" not in e]
    return list(dict.fromkeys(e["case"] for e in entries if e["implementation"] == "softdp"))


def isa_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    """The default set comes first, with the same size."""
    cases = isa_cases(run)
    entries = run.get("isa", [])
    sizes = {size(e) for e in entries if "not_run" not in e}
    own = f"{kernels(run)}, the default"
    default = [{**e, "isa": own} for e in run.get("throughput", []) if size(e) in sizes]
    for name in dict.fromkeys(e["isa"] for e in (*default, *entries)):
        found = [e for e in (*default, *entries) if e["isa"] == name]
        if "not_run" in found[0]:
            yield [name, "-", f"not run: {found[0]['not_run']}", *"-" * len(cases)]
            continue
        rows: dict[tuple[str, int], dict[str, str]] = {}
        for ours, peer in peered(found):
            cell = number(faster_by(peer, ours["case"])) if peer else "-"
            rows.setdefault((size(ours), ours["threads"]), {})[ours["case"]] = cell
        for (of, threads), cells in rows.items():
            yield [name, of, str(threads), *(cells[case] for case in cases)]


def memory_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    found: dict[tuple[str, str], dict[bool, str]] = {}
    for entry in run.get("memory", []):
        bytes_a_cell = f"{entry['bytes_per_cell']:.1f}"
        found.setdefault((entry["case"], size(entry)), {})[entry["gradients"]] = bytes_a_cell
    for (case, of), cells in found.items():
        yield [case, of, cells[True], cells[False]]


def curve_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    for entry in sorted(run.get("curve", []), key=lambda e: (e["threads"], e["N"])):
        named = [str(entry["N"]) + (" *" if busy(entry) else ""), str(entry["threads"])]
        if "not_run" in entry:
            yield [*named, *"----", f"not run: {entry['not_run']}"]
            continue
        costs = [number(entry["ns_per_cell"][phase]["median"]) for phase in PHASES]
        fresh = number(entry["ns_per_fresh_float"]["median"])
        yield [*named, *costs, fresh, f"{entry['score_off']:.0e}"]


def flatness(run: dict[str, Any]) -> str:
    """How much the time of a cell depends on the length."""
    lines = []
    for threads in run["threads"]:
        costs = {e["N"]: e["ns_per_cell"]["both"]["median"] for e in curve(run, threads)}
        if costs:
            low, high = min(costs.values()), max(costs.values())
            lines.append(
                f"- {counted(threads)}, {min(costs)} to {max(costs)} steps: "
                f"{number(low)} to {number(high)} ns a cell, flat within {100 * (high / low - 1):.0f}%"
            )
    return "\n".join(lines)


def curve(run: dict[str, Any], threads: int) -> list[Entry]:
    """The entries of the lengths that were run with this number of threads."""
    return [e for e in run.get("curve", []) if e["threads"] == threads and "not_run" not in e]


def error_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    for entry in run.get("accuracy", []):
        if "score_off" in entry:
            offs = [f"{entry[key]:.0e}" for key in ("score_off", "match_off")]
            yield [entry["case"], size(entry), entry["implementation"], *offs]


def mass_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    for entry in run.get("accuracy", []):
        if "mass_off" in entry:
            yield [entry["case"], size(entry), f"{entry['mass_off']:.0e}"]


def overhead_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    for entry in run.get("overhead", []):
        times = [number(1e6 * entry["seconds"][phase]["median"]) for phase in PHASES]
        ratio = number(entry["of_nothing"]["median"])
        mark = " *" if busy(entry) else ""
        yield [entry["implementation"] + mark, str(entry["threads"]), *times, ratio]


def derivative_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    """softdp, compared with the reference of the same rounds where that was run."""
    entries = run.get("derivatives", [])
    slower = {(e["case"], size(e)): e for e in entries if e["implementation"] == "reference"}
    for ours in entries:
        if ours["implementation"] != "softdp":
            continue
        beside = slower.get((ours["case"], size(ours)))
        yield [
            *(ours["case"], marked(ours), str(ours["threads"]), *speeds(ours)),
            *(number(faster_by(beside, ours["case"], phase)) if beside else "-" for phase in PHASES),
            *(f"{ours[key]:.0e}" for key in ("score_off", "gradient_off")),
        ]


def detail_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    for entry in run.get("throughput", []) + run.get("loops", []):
        both = entry["mcells_per_s"]["both"]
        yield [
            *(entry["case"], size(entry), str(entry["threads"]), entry["implementation"], *speeds(entry)),
            f"{number(both['q1'])} to {number(both['q3'])}",
            *(f"{entry[key]:.0e}" for key in ("score_off", "gradient_off")),
        ]


# ---- cells ---------------------------------------------------------------------------------------


def speeds(entry: Entry) -> list[str]:
    return [number(entry["mcells_per_s"][phase]["median"]) for phase in PHASES]
