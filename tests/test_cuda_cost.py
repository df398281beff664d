"""tools/cuda_cost: what is predicted of a listing written here, and of launches whose times are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from cuda_cost import launches, warp
from cuda_cost.listing import functions, names
from cuda_cost.paths import Paths
from cuda_cost.predictions import CASES, predicted, slower, table
from cuda_cost.resources import MOST, Kernel, faults_of

NONE = 7


def listing(*lines: str | tuple[str, dict]) -> str:
    """nvdisasm's text of a function "kernel": labels, and instructions with stall, barriers and waits."""
    text, address = [".text.other:", "\t.text.kernel:".strip()], 0
    for line in lines:
        code, control = (line, {}) if isinstance(line, str) else line
        if code.endswith(":"):
            text.append(code)
            continue
        waits = sum(1 << barrier for barrier in control.get("waits", ()))
        bits = control.get("stall", 1) | control.get("written", NONE) << 5
        bits |= control.get("read", NONE) << 8 | waits << 11
        text.append(f"        /*{address:04x}*/ {code} ; /* 0x{0:016x} */")
        text.append(f"        /* 0x{bits << 41:016x} */")
        address += 16
    return "\n".join(text)


def function(*lines):
    (found,) = functions(listing(*lines), {"kernel"})
    return found


def test_a_listing_is_read():
    text = listing(
        ".L_x_1:",
        ("@!P0 LDS.128 R4, [R2+0x10]", {"stall": 3, "written": 2, "read": 1, "waits": (0, 5)}),
        "BRA P1, `(.L_x_1)",
        "EXIT",
    )
    assert names(text) == ["other", "kernel"]
    (found,) = functions(text, {"kernel"})
    load, branch, end = found.code
    assert (load.address, load.guard, load.name, load.opcode) == (0, "@!P0", "LDS.128", "LDS")
    assert (load.stall, load.until_written, load.until_read, load.waits) == (3, 2, 1, [0, 5])
    assert branch.is_branch and branch.is_conditional and found.target(1) == 0
    assert not end.is_branch and end.waits == [] and end.until_written == NONE


def loop(*body):
    return function(".L_x_0:", "LDGDEPBAR", *body, "SHFL.UP R1, R1", "@P0 BRA `(.L_x_0)", "EXIT")


def way(*body):
    paths = Paths(loop(*body))
    return [f"{one.name} {one.operands}".strip() for one in paths.usual(paths.chunk_loop(), stores=1)]


@pytest.mark.parametrize(
    "body, taken, left",
    [
        # wide copies, though the narrow ones come first; what both ways do at the end stays
        (
            [
                "@P1 BRA `(.L_x_1)",
                "LDGSTS.E [R1]",
                "BRA `(.L_x_2)",
                ".L_x_1:",
                "LDGSTS.E.128 [R1]",
                ".L_x_2:",
            ],
            "LDGSTS.E.128 [R1]",
            "LDGSTS.E [R1]",
        ),
        # no sleep, but the first look at the flag
        (
            ["LD.E.STRONG R1", "@P1 BRA `(.L_x_1)", "NANOSLEEP 0x20", "YIELD", ".L_x_1:", "IADD3 R1"],
            "LD.E.STRONG R1",
            "NANOSLEEP 0x20",
        ),
        # an edge from shared memory
        (["@P1 BRA `(.L_x_1)", "LDG.E R1", ".L_x_1:", "LDS R1"], "LDS R1", "LDG.E R1"),
        # what one way only does is done
        (["@P1 BRA `(.L_x_1)", "STS [R1]", ".L_x_1:", "LDS R1"], "STS [R1]", "NANOSLEEP"),
        # signs stay as they are
        (
            ["@P1 BRA `(.L_x_1)", "LDS R4", *["FADD R4, -R4, -RZ"] * 4, "STS [R1], R4", ".L_x_1:", "LDS R5"],
            "LDS R5",
            "STS [R1], R4",
        ),
        # exponents keep their base
        (
            ["@P1 BRA `(.L_x_1)", "FLO.U32 R2, R1", "SHFL.IDX R3", ".L_x_1:", "LDS R1"],
            "LDS R1",
            "SHFL.IDX R3",
        ),
        # one table is stored
        (
            [*["STG.E.128 [R1]"] * 4, "@P1 BRA `(.L_x_1)", *["STG.E.128 [R2]"] * 4, ".L_x_1:", "LDS R1"],
            "STG.E.128 [R1]",
            "STG.E.128 [R2]",
        ),
        # steps that are unrolled, and none in a loop
        (
            [
                "@P1 BRA `(.L_x_2)",
                ".L_x_1:",
                *["SHFL.UP R2, R2"] * 8,
                "@P2 BRA `(.L_x_1)",
                "BRA `(.L_x_3)",
                ".L_x_2:",
                *["SHFL.UP R3, R3"] * 8,
                ".L_x_3:",
                "LDS R1",
            ],
            "SHFL.UP R3, R3",
            "SHFL.UP R2, R2",
        ),
        # no sums by column
        (
            ["@P1 BRA `(.L_x_2)", ".L_x_1:", "SHFL.UP R2, R2", "@P2 BRA `(.L_x_1)", ".L_x_2:", "LDS R1"],
            "LDS R1",
            "SHFL.UP R2, R2",
        ),
        # no bandwidth
        (
            [
                "ULDC UR4, c[0x0][0x254]",
                "ISETP.LE.AND P1, PT, RZ, UR4, PT",
                "@!P1 BRA `(.L_x_1)",
                "LDS R2",
                ".L_x_1:",
                "LDS R1",
            ],
            "LDS R1",
            "LDS R2",
        ),
    ],
    ids=["wide", "awake", "edge", "done", "signs", "base", "stores", "steps", "sums", "bandwidth"],
)
def test_the_usual_way(body, taken, left):
    found = way(*body)
    assert taken in found and left not in found
    assert found[-1].startswith("BRA") and found.count("LDGDEPBAR") == 1


def test_the_loop_of_pairs_without_a_bandwidth():
    """It may be the shorter one."""
    paths = Paths(
        function(
            "ULDC UR4, c[0x0][0x254]", "ISETP.LE.AND P1, PT, RZ, UR4, PT", "@P1 BRA `(.L_x_2)",
            ".L_x_1:", "LDGDEPBAR", "SHFL.UP R1, R1", "@P0 BRA `(.L_x_1)", "EXIT",
            ".L_x_2:", "LDGDEPBAR", *["LDS R1"] * 8, "SHFL.UP R1, R1", "@P0 BRA `(.L_x_2)", "EXIT",
        )
    )  # fmt: skip
    assert paths.chunk_loop() == 3


def test_the_way_that_stores_numbers_of_a_type():
    body = [
        "@P1 BRA `(.L_x_1)", *["STG.E.64 [R1]"] * 4, "BRA `(.L_x_2)",
        ".L_x_1:", *["STG.E.128 [R1]"] * 4, ".L_x_2:", "LDS R1",
    ]  # fmt: skip
    paths = Paths(loop(*body))
    for bits, other in ((64, 128), (128, 64)):
        found = [one.name for one in paths.usual(paths.chunk_loop(), 1, bits)]
        assert found.count(f"STG.E.{bits}") == 4 and f"STG.E.{other}" not in found
    assert {case.bits for case in CASES if case.dtype == "float32"} == {128}


def test_the_way_that_reads_numbers_of_a_type():
    body = [
        "@P1 BRA `(.L_x_1)", "LDS.64 R1", "HADD2.F32 R2", "STS.128 R2", ".L_x_1:",
        "@P2 BRA `(.L_x_2)", *["LDGSTS.E.64 [R1]"] * 4, "BRA `(.L_x_3)",
        ".L_x_2:", *["LDGSTS.E.128 [R1]"] * 4, ".L_x_3:", "LDS R1",
    ]  # fmt: skip
    paths = Paths(loop(*body))
    for bits, other in ((64, 128), (128, 64)):
        found = [one.name for one in paths.usual(paths.chunk_loop(), 1, read_bits=bits)]
        assert found.count(f"LDGSTS.E.{bits}") == 4 and f"LDGSTS.E.{other}" not in found
        assert ("HADD2.F32" in found) == (bits == 64)
    assert {case.read_bits for case in CASES if case.sweep == "backward"} == {128}


def test_the_way_of_the_recurrence_that_multiplies_most():
    """Of FSD, where all lanes are inside the table; not of Needleman-Wunsch, whose code is shorter."""
    steps = lambda *extra: [*extra, *["SHFL.UP R2, R2"] * 8]  # noqa: E731
    body = [
        "@P1 BRA `(.L_x_1)",
        "@P2 BRA `(.L_x_3)", *steps(*["FMUL R1"] * 16, "ISETP R9"), "BRA `(.L_x_2)",
        ".L_x_3:", *steps(*["FMUL R1"] * 16), "BRA `(.L_x_2)",
        ".L_x_1:", *steps(), ".L_x_2:", "LDS R1",
    ]  # fmt: skip
    paths = Paths(loop(*body))
    found = [one.name for one in paths.usual(paths.chunk_loop(), 1)]
    assert found.count("FMUL") == 16 and "ISETP" not in found


def test_spills_and_too_many_kernels_are_faults():
    found = [Kernel(f"kernel_{i}", name, 32, 0, 0, 0) for name in ("sm_80", "sm_90") for i in range(MOST)]
    assert faults_of(found) == []
    found += [Kernel("one_more", "sm_90", 32, 0, 8, 0)]
    assert faults_of(found) == ["spills: one_more (sm_90)", f"{MOST + 1} kernels for sm_90, at most {MOST}"]


def test_code_for_lanes_that_are_apart_is_no_loop():
    code = function(
        "NOP", ".L_x_3:", "NOP", ".L_x_0:", "LDGDEPBAR", "BRA.DIV UR4, `(.L_x_1)", ".L_x_2:",
        "SHFL.UP R1, R1", "@P0 BRA `(.L_x_0)", "EXIT", ".L_x_1:", "NOP", "BRA `(.L_x_2)", "BRA `(.L_x_3)",
    )  # fmt: skip
    assert code.code[Paths(code).chunk_loop()].opcode == "LDGDEPBAR"


def test_a_function_without_a_loop_over_chunks():
    assert Paths(function("SHFL.UP R1, R1", "EXIT")).chunk_loop() is None


def test_cycles_of_a_warp():
    free = function("IMAD R1", "IMAD R2", "FFMA R3")
    assert warp.cycles(free.code) == 2 + 1 + 1  # the second waits for the unit of the first
    stalls = function(("FADD R1", {"stall": 5}), "FADD R2")
    assert warp.cycles(stalls.code) == 6
    waits = function(("LDS R1, [R2]", {"written": 0}), ("FADD R3", {"waits": (0,)}))
    assert warp.cycles(waits.code) == warp.LATENCIES["LDS"] + 2 + 1
    wide = function(("LDS.128 R1, [R2]", {"written": 0}), ("FADD R3", {"waits": (0,)}))
    assert warp.cycles(wide.code) > warp.cycles(waits.code)
    read = function(("STS [R2], R1", {"read": 3}), ("FADD R1", {"waits": (3,)}))
    assert warp.cycles(read.code) == warp.READ["STS"] + 2 + 1
    jumps = [free.code[0], free.code[2]]
    assert warp.cycles(jumps) == 1 + warp.TAKEN + 1
    assert warp.chunk_cycles(free.code) == warp.cycles(free.code) + warp.CHUNK + warp.LINE


def test_blocks_of_a_multiprocessor():
    assert launches.blocks_at_once(168, 1000) == 3  # by registers, which come in eights
    assert launches.blocks_at_once(169, 1000) == 2
    assert launches.blocks_at_once(32, 75_728) == 3  # by shared memory
    assert [case.shared for case in CASES[:4]] == [45_072, 42_192, 24_592, 21_712]


CHUNK = launches.Chunk(instructions=1000, cycles=5000.0, bytes=8192)


def test_waves_are_even():
    assert launches.even_waves(1056, 5) == 4  # two waves of four, not of five and three
    assert launches.even_waves(1056, 4) == 4
    assert launches.even_waves(1056, 8) == 8
    assert launches.even_waves(132 * 11, 5) == 5  # three waves
    assert launches.even_waves(132 * 5, 5) == 5


def test_a_launch_of_few_pairs_takes_the_chunks_in_a_row():
    alone, chunk = launches.H100._replace(handover=0), CHUNK._replace(bytes=0)
    seconds = launches.of_many_pairs(2, 256, 256, chunk, 1, alone)
    assert seconds == pytest.approx(launches.chunks_in_a_row(256, 256) * chunk.cycles / alone.clock)
    slow = launches.of_many_pairs(2, 256, 256, chunk, 1, launches.H100)
    assert seconds < slow < 1.5 * seconds  # one row goes from block to block


def test_a_launch_of_many_pairs_is_bound_by_memory_or_by_issue():
    chunks = 2000 * 4 * launches.chunks_in_a_row(32, 128)
    copied = CHUNK._replace(instructions=10, cycles=900.0)
    by_memory = chunks * copied.bytes / (launches.H100.copy * launches.H100.share)
    assert launches.of_many_pairs(2000, 128, 128, copied, 6) == pytest.approx(by_memory, rel=0.15)
    busy = CHUNK._replace(instructions=3000, cycles=3100.0, bytes=64)
    chunks = 264 * 4 * launches.chunks_in_a_row(32, 1024)
    by_issue = chunks * busy.instructions / (132 * 4 * launches.H100.clock)
    assert launches.of_many_pairs(264, 128, 1024, busy, 2) == pytest.approx(by_issue, rel=0.2)


def test_predictions_are_told_and_compared():
    code = loop("LDS R1", "STS [R1]")
    kernels = [Kernel(CASES[0].kernel, "sm_90", 40, 0, 0, 0)]
    found, halves = predicted({CASES[0].kernel: code}, kernels)
    assert (found.registers, found.blocks, found.instructions) == (40, 4, 5)
    assert (halves.case.dtype, halves.registers) == ("bfloat16", 40)  # the same kernel
    assert found.best_us < found.many_us  # at a larger share of the bandwidth
    assert "| fsd, float32 | forward | 40 | 4 |" in table([found])
    now = {"fsd": {"1x4096": 112.0, "264x512": 50.0}, "new": {"1x4096": 1.0}}
    kept = {"fsd": {"1x4096": 100.0, "264x512": 50.0}}
    assert slower(now, kept, 0.1) == ["fsd, 1x4096: 112.0 us, 100.0 us before"]
    assert slower(now, now, 0.1) == []
    assert slower({}, kept, 0.1) == ["fsd: its kernel was not found"]
