"""The tables of a GPU run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from common.problems import LONG, TINY
from common.tables import Entry, markdown, number, size
from common.timing import PHASES

MAIN = (
    ("", "size", "forward", "backward", "both", "Gcells/s", "of copy: forward", "backward", "both")
    + ("bf16: forward", "backward", "both", "of copy: both", "peak MB")
)  # fmt: skip
TINIES = ("", "size", "", "forward", "backward", "both", "graph", "graph of 20", "peak MB")
PEERS = ("", "size", "", "both, us", "softdp is", "score off by", "gradient off by", "")
CHAIN = ("", "size", "", "forward", "backward")
ACCURACY = ("", "size", "", "alignment off by", "score off by", "float64 on")
# "good" and "goal" are the targets of the kernels' design, set before any kernel was run.
GOALS = ("", "measured", "good", "goal")


def tables(run: dict[str, Any]) -> str:
    """All tables of a run."""
    parts = [heading(run)]
    sections: tuple[tuple[str, Sequence[str], Callable], ...] = (
        ("Against the goals of the kernels' design:", GOALS, goals),
        ('softdp. Times of a pass in us; "of copy" is the achieved part of the copy bandwidth:', MAIN, main),
        ("softdp, tiny problems. Times of a pass in us:", TINIES, tiny),
        ("softdp, one long pair: ns an anti-diagonal:", CHAIN, chain),
        ("Others, float32, forward and backward:", PEERS, others),
        ("Alignment, float32, largest errors against float64 operators:", ACCURACY, accuracy),
    )  # fmt: skip
    for title, head, rows in sections:
        found = list(rows(run))
        if found:
            parts += [title, markdown(head, found)]
    return "\n\n".join([*parts, *not_run(run["results"])])


def heading(run: dict[str, Any]) -> str:
    hardware, copy = run["hardware"], run["copy"]
    bandwidth = f"{copy['bytes_per_s'] / 1e12:.2f} TB/s" if copy else "not measured"
    named = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if version)
    quick = "; quick: fewer passes" if run["quick"] else ""
    return (
        f"{hardware['gpu'] or 'no GPU'}, {hardware.get('sms', 0)} SMs, "
        f"{hardware.get('memory_bytes', 0) / 1e9:.0f} GB, "
        f"driver {hardware.get('driver')}, CUDA {run['cuda']}; "
        f"copy bandwidth (read and written) {bandwidth}\n"
        f"{hardware['cpu']}, {hardware['cores']} cores; {hardware['os']}\n"
        f"{named}; commit {run['commit']}; {run['date']}{quick}"
    )


# ---- what the tables pick ------------------------------------------------------------------------


class Results:
    """The entries that were run, by case, size, implementation, dtype and mode."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.entries = run["results"]
        self.copy = run["copy"]["bytes_per_s"] if run["copy"] else None
        self.found = {key(e): e for e in self.entries if "seconds" in e}

    def get(
        self, case: str, B: int, N: int, name: str = "softdp", dtype: str = "float32", mode: str = "eager"
    ) -> Entry | None:
        return self.found.get((case, B, N, name, dtype, mode))

    def problems(self) -> list[tuple[str, int, int]]:
        """Cases and sizes, sorted by case."""
        found = dict.fromkeys((e["case"], e["B"], e["N"]) for e in self.entries)
        cases = list(dict.fromkeys(case for case, _, _ in found))
        return sorted(found, key=lambda problem: cases.index(problem[0]))

    def fraction(self, entry: Entry | None, phase: str) -> float | None:
        """The achieved part of the copy bandwidth."""
        if not (entry and self.copy):
            return None
        moved = entry["bytes_per_cell"][phase] * cells(entry)
        return moved / seconds(entry, phase) / self.copy


def key(entry: Entry) -> tuple:
    return tuple(entry[name] for name in ("case", "B", "N", "implementation", "dtype", "mode"))


def cells(entry: Entry) -> int:
    return entry["B"] * entry["N"] ** 2


def seconds(entry: Entry, phase: str = "both") -> float:
    return entry["seconds"][phase]["median"]


# ---- rows ----------------------------------------------------------------------------------------


def main(run: dict[str, Any]) -> Iterator[list[str]]:
    results = Results(run)
    for case, B, N in results.problems():
        full, half = (results.get(case, B, N, dtype=dtype) for dtype in ("float32", "bfloat16"))
        if N <= TINY or not (full or half):
            continue
        rate = number(cells(full) / seconds(full) / 1e9) if full else "-"
        yield [
            *(case, f"{B}x{N}", *times(full), rate),
            *(fraction(results.fraction(full, phase)) for phase in PHASES),
            *(*times(half), fraction(results.fraction(half, "both")), megabytes(full)),
        ]


def tiny(run: dict[str, Any]) -> Iterator[list[str]]:
    results = Results(run)
    for case, B, N in results.problems():
        for dtype in "float32", "bfloat16":
            eager = results.get(case, B, N, dtype=dtype)
            if N > TINY or not eager:
                continue
            graphs = [results.get(case, B, N, dtype=dtype, mode=m) for m in ("graph", "graph of 20")]
            replayed = [micro(seconds(graph)) if graph else "-" for graph in graphs]
            yield [case, f"{B}x{N}", dtype, *times(eager), *replayed, megabytes(eager)]


def chain(run: dict[str, Any]) -> Iterator[list[str]]:
    results = Results(run)
    for case, B, N in results.problems():
        for dtype in "float32", "bfloat16":
            entry = results.get(case, B, N, dtype=dtype)
            if B == 1 and N > TINY and entry:
                diagonals = 2 * N - 1
                each = [number(1e9 * seconds(entry, p) / diagonals) for p in PHASES[:2]]
                yield [case, f"{B}x{N}", dtype, *each]


def others(run: dict[str, Any]) -> Iterator[list[str]]:
    """Sizes that an implementation did not run for the same reason share a row."""
    results = Results(run)
    entries = [e for e in results.entries if e["implementation"] != "softdp" and e["dtype"] == "float32"]
    entries.sort(key=lambda e: (*by_case(results, e), e.get("not_run", "")))
    for (case, name, reason), group in groupby(
        entries, lambda e: (e["case"], e["implementation"], e.get("not_run"))
    ):
        if reason:
            yield [case, ", ".join(map(size, group)), name, *"----", f"not run: {reason}"]
            continue
        for entry in group:
            ours = results.get(case, entry["B"], entry["N"])
            ratio = f"{number(seconds(entry) / seconds(ours))}x as fast" if ours else "-"
            offs = [f"{entry[k]:.0e}" for k in ("score_off", "gradient_off")]
            yield [case, size(entry), name, micro(seconds(entry)), ratio, *offs, ""]


def by_case(results: Results, entry: Entry) -> tuple[int, str]:
    cases = [e["case"] for e in results.entries]
    return cases.index(entry["case"]), entry["implementation"]


def accuracy(run: dict[str, Any]) -> Iterator[list[str]]:
    """Errors at the lengths where float32 tables lose digits of the alignment."""
    results = Results(run)
    for case, B, N in results.problems():
        if N not in (LONG, 4 * LONG):
            continue
        for entry in results.found.values():
            if (entry["case"], entry["B"], entry["N"], entry["dtype"]) == (case, B, N, "float32"):
                offs = [f"{entry[k]:.0e}" for k in ("alignment_off", "score_off")]
                yield [case, f"{B}x{N}", entry["implementation"], *offs, entry["float64_on"]]


def goals(run: dict[str, Any]) -> Iterator[list[str]]:
    results = Results(run)
    for case, good, goal in (("fsd", 0.75, 0.90), ("fsd, row and column gaps", 0.65, 0.80)):
        for B, N in (1024, 256), (264, 512):
            reached = results.fraction(results.get(case, B, N), "both")
            if reached is not None:
                yield [f"{case}, {B}x{N}, both: of copy", f"{reached:.2f}", f"{good:.2f}", f"{goal:.2f}"]
    for mode in "graph", "graph of 20":
        step = results.get("fsd", 16, 30, mode=mode)
        if step:
            yield [f"fsd, 16x30, both, {mode}", f"{micro(seconds(step))} us", "7 us", "4 us"]
    for case, B, N in results.problems():
        ours, theirs = (results.get(case, B, N, name) for name in ("softdp", "pysdtw"))
        if ours and theirs:
            ratio = f"{number(seconds(theirs) / seconds(ours))}x"
            yield [f"{case}, {B}x{N}, both: against pysdtw", ratio, "10x", "50x"]


def not_run(entries: Iterable[Entry]) -> Iterator[str]:
    """What softdp did not run, and why. Sizes with the same reason share a line."""
    ours = [e for e in entries if e["implementation"] == "softdp" and "not_run" in e]
    found: dict[tuple[str, str, str], list[str]] = {}
    for entry in ours:
        found.setdefault((entry["case"], entry["dtype"], entry["not_run"]), []).append(size(entry))
    if found:
        lines = [f"- {c} {d}, {', '.join(sizes)}: not run: {why}" for (c, d, why), sizes in found.items()]
        yield "softdp, not run:\n\n" + "\n".join(lines)


# ---- cells ---------------------------------------------------------------------------------------


def times(entry: Entry | None) -> list[str]:
    return [micro(seconds(entry, phase)) if entry else "-" for phase in PHASES]


def micro(value: float) -> str:
    return number(1e6 * value)


def fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def megabytes(entry: Entry | None) -> str:
    peak = entry and entry.get("peak_bytes")
    return "-" if peak is None else number(peak / 1e6)
