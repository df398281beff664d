"""tools/cuda_cost: what is predicted of a listing written here, and of launches whose times are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from cuda_cost import launches, relay, tiny, warp
from cuda_cost.listing import functions, names
from cuda_cost.paths import Paths
from cuda_cost.predictions import CASES, predicted, slower, table
from cuda_cost.resources import Kernel
from cuda_cost.ways import HELPS, ROLES, SUFFIXES, Ways

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
    ],
    ids=["wide", "awake", "edge", "done", "signs", "base", "stores", "steps", "sums"],
)
def test_the_usual_way(body, taken, left):
    found = way(*body)
    assert taken in found and left not in found
    assert found[-1].startswith("BRA") and found.count("LDGDEPBAR") == 1


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
    assert [case.shared for case in CASES[:4]] == [45_328, 42_448, 24_848, 21_968]


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
    (found,) = predicted({CASES[0].kernel: code}, kernels)
    assert (found.registers, found.blocks, found.instructions) == (40, 4, 5)
    assert found.best_us < found.many_us  # at a larger share of the bandwidth
    assert "| fsd, float32 | forward | 40 | 4 |" in table([found])
    now = {"fsd": {"1x4096": 112.0, "264x512": 50.0}, "new": {"1x4096": 1.0}}
    kept = {"fsd": {"1x4096": 100.0, "264x512": 50.0}}
    assert slower(now, kept, 0.1) == ["fsd, 1x4096: 112.0 us, 100.0 us before"]
    assert slower(now, now, 0.1) == []
    assert slower({}, kept, 0.1) == ["fsd: its kernel was not found"]


def shuffles(label, *body):
    """A loop that makes steps."""
    return [f"{label}:", *["SHFL.UP R1, R1"] * 8, *body, f"@P0 BRA `({label})"]


MEETS = "BAR.SYNC.DEFER_BLOCKING 0x0"
TINY = [
    "@P1 BRA `(.L_x_1)",  # no cells
    ("LDG.E R2, [R4]", {"written": 0}),
    "@P1 BRA `(.L_x_2)",  # no lengths
    "LDG.E R3, [R4]",
    ".L_x_2:",
    MEETS,
    ("MUFU.EX2 R5, R2", {"waits": (0,)}),
    MEETS,
    "@P1 BRA `(.L_x_4)",
    *shuffles(".L_x_3", "FADD R1"),
    ".L_x_4:",
    "@P1 BRA `(.L_x_6)",
    *shuffles(".L_x_5", "FADD R1", "FADD R1"),
    ".L_x_6:",
    MEETS,
    ".L_x_1:",
    "@P1 BRA `(.L_x_7)",
    "MUFU.LG2 R1, R1",
    "STG.E [R4], R1",
    ".L_x_7:",
    "@!P1 EXIT",
    ".L_x_8:",
    *["STG.E [R4], R1"] * 2,
    "@P1 BRA `(.L_x_8)",
    "EXIT",
]


def test_the_ways_of_the_warps_of_a_tiny_pair():
    found = Ways(function(*TINY))
    ways_of = {role: found.way(role, chunks=3, batches=2) for role in ROLES}
    count = lambda role, name: sum(one.name.startswith(name) for one in ways_of[role])  # noqa: E731
    for role in ROLES:
        assert [count(role, name) for name in ("BAR", "MUFU.EX2", "LDG", "EXIT")] == [3, 1, 1, 2]
    assert [count(role, "SHFL") for role in ROLES] == [24, 24, 0, 0]
    assert [count(role, "FADD") for role in ROLES] == [3, 6, 0, 0]
    assert [count(role, "MUFU.LG2") for role in ROLES] == [0, 0, 0, 1]
    assert [count(role, "STG") for role in ROLES] == [4, 4, 4, 5]


def test_a_tiny_kernel_takes_as_long_as_its_slowest_warps():
    kernel = function(*TINY)
    load, inputs, sweeps, gradients = tiny.of_tiny(kernel)
    assert inputs > warp.LATENCIES["LDG"] - load
    ways_of = Ways(kernel)
    chunks = -(-59 // tiny.CHUNK)
    longer = warp.cycles(ways_of.way(SUFFIXES, chunks, 2)) - warp.cycles(ways_of.way(HELPS, chunks, 2))
    assert sweeps > longer > chunks * 8
    assert tiny.of_tiny(kernel, 5)[2] < sweeps and tiny.of_tiny(kernel, 5)[3] < gradients


def test_value_and_gradient_of_tiny_pairs():
    case = tiny.TINY_CASES[0]
    scale = function(
        "S2R R1", "ACQBULK", ("LDG.E R2, [R4]", {"written": 0}), ("FMUL R2", {"waits": (0,)}), "EXIT"
    )
    kernels = [Kernel(name, "sm_90", 40, 0, 0, 0) for name in case[2:]]
    code = {case.kernel: function(*TINY), case.scale: scale}
    (found,) = tiny.predicted_tiny(code, kernels)
    before, after = found.scale
    assert before < 20 and after > warp.LATENCIES["LDG"]
    clock = 1e6 / launches.H100.clock_alone
    assert found.kernel_us == pytest.approx(sum(found.parts) * clock, abs=0.01)
    assert found.plain_us == pytest.approx(
        found.kernel_us + sum(found.scale) * clock + 2e6 * tiny.LAUNCH, abs=0.02
    )
    assert found.plain_us - found.graph_us == pytest.approx(
        before * clock + 1e6 * tiny.EARLY * tiny.LAUNCH, abs=0.02
    )
    assert "| fsd, float32 | 40 |" in tiny.tiny_table([found]) and "12.0 us" in tiny.tiny_table([found])
    assert tiny.tiny_as_json([found]) == {"fsd float32 tiny": {"16x30, in a graph": found.graph_us}}
    assert tiny.predicted_tiny({case.kernel: code[case.kernel]}, kernels) == []


# A block of csrc/cuda/relay.h: a loop over rounds for each role.
RELAY = [
    "@P5 BRA `(.L_x_10)",
    # the warp that makes the steps
    ".L_x_1:",
    "@P1 BRA `(.L_x_2)",  # the exponents fit
    "FLO.U32 R1, R1",
    ".L_x_2:",
    *[("SHFL.UP R1, R1", {"stall": 9})] * 8,
    MEETS,
    "@P0 BRA `(.L_x_1)",
    "EXIT",
    # those that bring
    ".L_x_10:",
    "@P5 BRA `(.L_x_20)",
    ".L_x_11:",
    "@P1 BRA `(.L_x_12)",  # scores of 16 bits
    *["MUFU.EX2 R1, R1"] * 3,
    "BRA `(.L_x_13)",
    ".L_x_12:",
    "HADD2.F32 R1, R1",
    *["MUFU.EX2 R1, R1"] * 4,
    ".L_x_13:",
    "LDGSTS.E.128 [R1]",
    "@P1 BRA `(.L_x_14)",  # no columns are left over
    "LDGSTS.E [R1]",
    ".L_x_14:",
    MEETS,
    "@P0 BRA `(.L_x_11)",
    "EXIT",
    # those that take
    ".L_x_20:",
    "LDS R1, [R2]",
    "@P1 BRA `(.L_x_21)",
    "STG.E.128 [R1]",
    ".L_x_21:",
    MEETS,
    "@P0 BRA `(.L_x_20)",
    "EXIT",
]


def test_the_ways_of_the_warps_of_a_relay():
    rounds = relay.Rounds(function(*RELAY))
    names = {role: [one.name for one in rounds.way(role)] for role in relay.ROLES}
    assert [names[role].count("BAR.SYNC.DEFER_BLOCKING") for role in relay.ROLES] == [1, 1, 1]
    assert names["steps"].count("SHFL.UP") == 8 and "FLO.U32" not in names["steps"]
    assert names["brings"].count("MUFU.EX2") == 3 and "HADD2.F32" not in names["brings"]
    assert "LDGSTS.E.128" in names["brings"] and "LDGSTS.E" not in names["brings"]
    assert names["takes"].count("STG.E.128") == 1


def test_few_pairs_wait_for_the_strips_above_and_for_the_slowest_warp():
    assert relay.chunks_in_a_row(4096, 4096) == 3 * 63 + 258
    machine = launches.H100
    handed = 63 * (machine.handover + warp.LATENCIES["LDG"])
    seconds = relay.of_one_pair(4096, 4096, 2000.0)
    assert seconds == pytest.approx((447 * 2000 + handed) / machine.clock_alone)
    case = relay.RELAY_CASES[0]
    (found,) = relay.predicted_relay(
        {case.kernel: function(*RELAY)}, [Kernel(case.kernel, "sm_90", 40, 0, 0, 0)]
    )
    assert found.rounds["steps"] == max(found.rounds.values()) > 8 * 9
    assert found.long_us == pytest.approx(1e6 * relay.of_one_pair(4096, 4096, found.rounds["steps"]), abs=0.1)
    more = 447 * warp.CHUNK / machine.clock_alone
    assert found.most_us - found.long_us == pytest.approx(1e6 * more, abs=0.2)
    assert "| fsd | forward | 40 |" in relay.relay_table([found])
    assert relay.relay_as_json([found]) == {"fsd few forward": {"1x4096": found.long_us}}


def test_a_relay_without_a_role_is_an_error():
    case = relay.RELAY_CASES[0]
    with pytest.raises(ValueError, match="no loop over rounds was found of the warp that brings"):
        relay.predicted_relay(
            {case.kernel: function(*RELAY[1:16])}, [Kernel(case.kernel, "sm_90", 40, 0, 0, 0)]
        )
