"""tools/cuda_cost: what is predicted of tiny pairs and of few pairs, of listings written here."""

from __future__ import annotations

import pytest

from test_cuda_cost import function  # isort: skip  # which finds tools
from cuda_cost import launches, relay, tiny, warp
from cuda_cost.resources import Kernel
from cuda_cost.ways import HELPS, ROLES, SUFFIXES, Ways


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
    found = Ways(function(*TINY), 1, False)
    ways_of = {role: found.way(role, chunks=3, batches=2) for role in ROLES}
    count = lambda role, name: sum(one.name.startswith(name) for one in ways_of[role])  # noqa: E731
    for role in ROLES:
        assert [count(role, name) for name in ("BAR", "MUFU.EX2", "LDG", "EXIT")] == [3, 1, 1, 2]
    assert [count(role, "SHFL") for role in ROLES] == [24, 24, 0, 0]
    assert [count(role, "FADD") for role in ROLES] == [3, 6, 0, 0]
    assert [count(role, "MUFU.LG2") for role in ROLES] == [0, 0, 0, 1]
    assert [count(role, "STG") for role in ROLES] == [4, 4, 4, 5]


def test_the_ways_of_tables_and_types_are_told_apart():
    """By exponentials and stores of four cells, and by conversions."""

    def load(tables, *conversions):
        return [*conversions, *["MUFU.EX2 R1, R1"] * 4 * tables]

    code = function(
        "@P1 BRA `(.L_x_1)",
        "@P2 BRA `(.L_x_2)",
        *load(1),
        "BRA `(.L_x_4)",
        ".L_x_2:",
        *load(1, "HADD2.F32 R1, R1"),
        "BRA `(.L_x_4)",
        ".L_x_1:",
        "@P2 BRA `(.L_x_3)",
        *load(2),
        "BRA `(.L_x_4)",
        ".L_x_3:",
        *load(2, "HADD2.F32 R1, R1"),
        ".L_x_4:",
        "@P1 BRA `(.L_x_5)",
        *["STG.E [R4], R1"] * 4,
        "EXIT",
        ".L_x_5:",
        *["STG.E [R4], R1"] * 8,
        "EXIT",
    )
    for tables in (1, 2):
        for converts in (False, True):
            way = Ways(code, tables, converts).way(HELPS, chunks=1, batches=1)
            names = [one.name for one in way]
            assert names.count("MUFU.EX2") == names.count("STG.E") == 4 * tables
            assert ("HADD2.F32" in names) == converts


def test_a_tiny_kernel_takes_as_long_as_its_slowest_warps():
    kernel = function(*TINY)
    load, inputs, sweeps, gradients = tiny.of_tiny(kernel, 1, False)
    assert inputs > warp.LATENCIES["LDG"] - load
    ways_of = Ways(kernel, 1, False)
    chunks = -(-59 // tiny.CHUNK)
    longer = warp.cycles(ways_of.way(SUFFIXES, chunks, 2)) - warp.cycles(ways_of.way(HELPS, chunks, 2))
    assert sweeps > longer > chunks * 8
    assert tiny.of_tiny(kernel, 1, False, 5)[2] < sweeps
    assert tiny.of_tiny(kernel, 1, False, 5)[3] < gradients


def test_value_and_gradient_of_tiny_pairs():
    case = tiny.TINY_CASES[0]
    scale = function(
        "S2R R1", "ACQBULK", ("LDG.E R2, [R4]", {"written": 0}), ("FMUL R2", {"waits": (0,)}), "EXIT"
    )
    kernels = [Kernel(name, "sm_90", 40, 0, 0, 0) for name in (case.kernel, tiny.SCALE)]
    code = {case.kernel: function(*TINY), tiny.SCALE: scale}
    found, *others = tiny.predicted_tiny(code, kernels)
    assert [other.case.case for other in others] == ["fsd, two gaps", "fsd", "fsd, two gaps"]
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
    names = {role: [one.name for one in rounds.way(role, 0)] for role in relay.ROLES}
    assert [names[role].count("BAR.SYNC.DEFER_BLOCKING") for role in relay.ROLES] == [1, 1, 1]
    assert names["steps"].count("SHFL.UP") == 8 and "FLO.U32" not in names["steps"]
    assert names["brings"].count("MUFU.EX2") == 3 and "HADD2.F32" not in names["brings"]
    assert "LDGSTS.E.128" in names["brings"] and "LDGSTS.E" not in names["brings"]
    assert names["takes"].count("STG.E.128") == 1


def test_the_ways_of_recurrences_are_told_apart_by_their_products():
    brings = [*["MUFU.EX2 R1, R1"] * 8, *["FMUL R1, R1"] * 8]
    steps = ["FMUL R1, R1"] * 64
    code = function(
        *shuffles(".L_x_1", *steps, MEETS),
        *shuffles(".L_x_2", *steps, *steps[:32], MEETS),
        ".L_x_3:",
        "@P1 BRA `(.L_x_4)",
        *["MUFU.EX2 R1, R1"] * 8,
        "BRA `(.L_x_6)",
        ".L_x_4:",
        "@P1 BRA `(.L_x_5)",
        *brings,
        *brings,
        "BRA `(.L_x_6)",
        ".L_x_5:",
        *brings,
        ".L_x_6:",
        "LDGSTS.E.128 [R1]",
        MEETS,
        "@P0 BRA `(.L_x_3)",
        "EXIT",
    )
    rounds = relay.Rounds(code)
    for role, products in (("steps", 2), ("steps", 3), ("brings", 0), ("brings", 1), ("brings", 2)):
        made = sum(one.opcode == "FMUL" for one in rounds.way(role, products))
        assert made == products * relay.CELLS[role]


def test_few_pairs_wait_for_the_strips_above_and_for_the_slowest_warp():
    assert relay.chunks_in_a_row(4096, 4096) == 3 * 63 + 258
    machine = launches.H100
    handed = 63 * (machine.handover + warp.LATENCIES["LDG"])
    seconds = relay.of_one_pair(4096, 4096, 2000.0)
    assert seconds == pytest.approx((447 * 2000 + handed) / machine.clock_alone)
    case = relay.RELAY_CASES[0]
    found, other = relay.predicted_relay(  # fsd and lcs, by one kernel
        {case.kernel: function(*RELAY)}, [Kernel(case.kernel, "sm_90", 40, 0, 0, 0)]
    )
    assert found.rounds["steps"] == max(found.rounds.values()) > 8 * 9
    assert found.long_us == pytest.approx(1e6 * relay.of_one_pair(4096, 4096, found.rounds["steps"]), abs=0.1)
    more = 447 * warp.CHUNK / machine.clock_alone
    assert found.most_us - found.long_us == pytest.approx(1e6 * more, abs=0.2)
    assert "| fsd | forward | 40 |" in relay.relay_table([found])
    assert relay.relay_as_json([found]) == {"fsd few forward": {"1x4096": found.long_us}}
    assert other == found._replace(case=relay.RELAY_CASES[2])


def test_a_relay_without_a_role_is_an_error():
    case = relay.RELAY_CASES[0]
    with pytest.raises(ValueError, match="no loop over rounds was found of the warp that brings"):
        relay.predicted_relay(
            {case.kernel: function(*RELAY[1:16])}, [Kernel(case.kernel, "sm_90", 40, 0, 0, 0)]
        )
