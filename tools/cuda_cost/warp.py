"""The cycles of one warp that is alone on its scheduler, along a way through its code.

Instructions issue in order. An instruction waits for its barriers, for its unit, and for the stall of the one
before. The latencies are assumptions for an H100, from published measurements where there are some. CHUNK and
LINE were fitted to four of softdp's kernels on an H100, at one pair of 4096 steps (commit fe53f13): what a
chunk costs that nothing here explains, and what a line of code costs.
"""

from __future__ import annotations

from .listing import Instruction

CHUNK = 900.0  # cycles a chunk
LINE = 4.0  # cycles a line of 128 bytes of code
TAKEN = 10  # cycles of a branch that is taken, beyond its stall
MEETING = 6  # of BSYNC

LATENCIES = {
    "LDS": 30,
    "SHFL": 25,
    "MUFU": 22,
    "LDC": 35,
    "LDG": 700,  # from memory
    "LD": 700,
    "S2R": 30,
    "S2UR": 30,
    "F2F": 24,
    "DADD": 20,
    "DMUL": 20,
    "DFMA": 20,
    "FLO": 24,
    "BREV": 24,
    "POPC": 24,
    "LDGDEPBAR": 2,
}
LATENCY = 20  # of all others
READ = {"STS": 12, "ST": 12, "STG": 20, "LDGSTS": 20}  # cycles until the operands are read
READ_BY_OTHERS = 14

# The unit of an opcode, and the cycles for which an instruction of a warp holds it.
ALU = """FMNMX FSEL FSETP FSET ISETP IADD3 LOP3 SHF LEA SEL VIADD VIMNMX VIMNMX3 VIADDMNMX PRMT PLOP3 P2R R2P
IABS BMSK SGXT ICMP I2FP LOP MOV FMNMX3 CS2R""".split()
UNITS = {
    **dict.fromkeys(ALU, ("alu", 2)),
    **dict.fromkeys(("FFMA", "FMUL", "FADD"), ("fma", 1)),
    **dict.fromkeys(("IMAD", "HFMA2"), ("heavy fma", 2)),
    **dict.fromkeys(("MUFU", "FLO", "BREV", "POPC"), ("special", 8)),
    **dict.fromkeys(("F2F", "I2F", "F2I", "FRND"), ("special", 16)),
    **dict.fromkeys(("DADD", "DMUL", "DFMA"), ("double", 2)),
    "SHFL": ("memory", 2),
}
MEMORY = ("LDS", "STS", "LDG", "STG", "LDGSTS", "LD", "ST")


def unit(one: Instruction) -> tuple[str, int]:
    """The unit that an instruction takes, and for how long; "" if none that could be short."""
    if one.opcode not in MEMORY:
        return UNITS.get(one.opcode, ("", 0))
    narrow = 2 if one.opcode in ("LDS", "STS") else 4
    return "memory", 8 if ".128" in one.name else 4 if ".64" in one.name else narrow


def latency(one: Instruction) -> int:
    """Cycles until the result is there."""
    if one.name.startswith("LDS.128"):
        return 36
    return LATENCIES.get(one.opcode, LATENCY)


def cycles(way: list[Instruction]) -> float:
    """From the first instruction's issue to the end of the last one's stall."""
    return cycles_at(way)[-1]


def cycles_at(way: list[Instruction]) -> list[float]:
    """From the first instruction's issue to the end of each one's stall."""
    now, found = 0.0, []
    barriers = [0.0] * 6
    free: dict[str, float] = {}
    for one, following in zip(way, [*way[1:], None], strict=True):
        at = max([now, *(barriers[k] for k in one.waits)])
        name, held = unit(one)
        if name:
            at = max(at, free.get(name, 0.0))
            free[name] = at + held
        if one.until_written < 6:
            barriers[one.until_written] = max(barriers[one.until_written], at + latency(one) + 2)
        if one.until_read < 6:
            read = READ.get(one.opcode, READ_BY_OTHERS)
            barriers[one.until_read] = max(barriers[one.until_read], at + read + 2)
        now = at + one.stall + (MEETING if one.opcode == "BSYNC" else 0)
        if following is not None and following.address != one.address + 16:
            now += TAKEN
        found.append(now)
    return found


def chunk_cycles(way: list[Instruction]) -> float:
    """The predicted cycles of a chunk whose instructions are `way`, for a warp alone on its scheduler."""
    lines = len({one.address >> 7 for one in way})
    return cycles(way) + CHUNK + LINE * lines
