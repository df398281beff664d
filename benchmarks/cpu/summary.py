"""The short tables of a CPU run, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.tables import Entry, markdown, number, size
from cpu.report import (
    busy,
    derivative_rows,
    error_rows,
    faster_by,
    flatness,
    isa_head,
    isa_rows,
    kernels,
    mass_rows,
    peered,
)
from cpu.threads import counted

LOOP_NAMES = {"FTCL's way": "FTCL's way, a Python loop over cells", "lean loop": "the same loop made lean"}
COMPARED = ("fsd", "16x5"), ("lcs", "16x30"), ("lcs, gamma 0", "16x30")  # FTCL's defaults


def summary(run: dict[str, Any]) -> str:
    parts = [heading(run)]
    found = list(ratio_rows(run))
    if found:
        title = (
            "How many times as fast a cell is as in soft-DTW of the faster of pysdtw and tslearn, forward "
            "and backward, by size (pairs x steps) and threads; fsd has a gap matrix, and a gradient for it:"
        )
        parts += [title, markdown(["", "threads", *sizes(run)], found)]
    isas = list(isa_rows(run))
    if isas:
        parts += ["The same with other instruction sets:", markdown(isa_head(run), isas)]
    lost_and_won = [*lost(run), *loops(run), *curve(run), *accuracy(run)]
    lines = [*lost_and_won, *memory(run), *overhead(run), *derivatives(run)]
    return "\n\n".join([*parts, "\n".join(lines)])


def heading(run: dict[str, Any]) -> str:
    hardware = run["hardware"]
    starred = " (* while other programs ran)" if any(map(busy, run.get("throughput", []))) else ""
    quick = " quick: few samples;" if run["quick"] else ""
    return (
        f"{hardware['cpu']}, {hardware['cores']} cores, softdp's {kernels(run)} kernels, float32;{quick} "
        f"commit {run['commit']}, {run['date'][:10]}{starred}."
    )


def sizes(run: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(size(entry) for entry in run.get("throughput", [])))


def ratio_rows(run: dict[str, Any]) -> Iterator[list[str]]:
    found: dict[tuple[str, int], dict[str, str]] = {}
    for ours, peer in peered(run.get("throughput", [])):
        if peer:
            cell = number(faster_by(peer, ours["case"])) + (" *" if busy(ours) else "")
            found.setdefault((ours["case"], ours["threads"]), {})[size(ours)] = cell
    for (case, threads), cells in found.items():
        yield [case, str(threads), *(cells[of] for of in sizes(run))]


def lost(run: dict[str, Any]) -> Iterator[str]:
    """The cases in which forward and backward together take longer than in a numba library."""
    pairs = [(ours, peer) for ours, peer in peered(run.get("throughput", [])) if peer]
    found = [
        f"{ours['case']} {size(ours)}, {counted(ours['threads'])} "
        f"({number(faster_by(peer, ours['case']))} of {peer['implementation']}'s speed)"
        for ours, peer in pairs
        if faster_by(peer, ours["case"]) < 1
    ]
    if pairs:
        yield f"- Where softdp loses to a numba peer: {'; '.join(found) or 'nowhere in this table'}."


def loops(run: dict[str, Any]) -> Iterator[str]:
    entries = [e for e in run.get("loops", []) if (e["case"], size(e)) in COMPARED]
    for name, called in LOOP_NAMES.items():
        ratios = [
            f"{number(faster_by(e, e['case']))} in {e['case']} {size(e)}"
            for e in entries
            if e["implementation"] == name
        ]
        if ratios:
            yield f"- Times as fast as {called}: {'; '.join(ratios)}."


def curve(run: dict[str, Any]) -> Iterator[str]:
    found = flatness(run)
    if found:
        yield from (f"- One pair in fsd, {line.removeprefix('- ')}." for line in found.splitlines())


def accuracy(run: dict[str, Any]) -> Iterator[str]:
    errors = [f"{case} {name} {match}" for case, _, name, _, match in error_rows(run)]
    if errors:
        of = next(row[1] for row in error_rows(run))
        yield f"- Largest error of a derivative by match, {of}, gamma 0.1, float32: {'; '.join(errors)}."
    masses = [f"{case} {of} {off}" for case, of, off in mass_rows(run)]
    if masses:
        yield f"- Mass of the anchored paths at (1,1), which is 1, off by: {'; '.join(masses)}."


def memory(run: dict[str, Any]) -> Iterator[str]:
    def listed(gradients: bool) -> str:
        entries = [e for e in run["memory"] if e["gradients"] == gradients]
        return "; ".join(f"{e['case']} {e['bytes_per_cell']:.1f}" for e in entries)

    if run.get("memory"):
        yield f"- Memory above the inputs, bytes a cell: {listed(True)}; without gradients: {listed(False)}."


def overhead(run: dict[str, Any]) -> Iterator[str]:
    entries: list[Entry] = [e for e in run.get("overhead", []) if e["implementation"] == "softdp.fsd_loss"]
    ratios = [f"{number(e['of_nothing']['median'])} with {counted(e['threads'])}" for e in entries]
    if ratios:
        yield (
            "- A call of `fsd_loss` on 16 pairs of 5 steps and 64 features, with its backward, takes as long "
            f"as so many of a custom operator that does nothing: {'; '.join(ratios)}."
        )


def derivatives(run: dict[str, Any]) -> Iterator[str]:
    rates = [f"{row[1]} {row[3]} and {row[4]}" for row in derivative_rows(run)]
    if rates:
        yield f"- Alignment of fsd, and the derivative of a loss on it, Mcells/s: {'; '.join(rates)}."
