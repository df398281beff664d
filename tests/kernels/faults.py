"""Plants one-line faults into the kernels and demands that the tests notice every one that matters.

    python tests/kernels/faults.py [number ...]
    python tests/kernels/faults.py --every 5      every fifth of those that tests must notice

All faults take half an hour on two cores, those that change no result the longest.

All faults go into one copy of the sources, each as a choice at run time, so that the harness is built once:
an expression becomes `(planted == 7 ? (faulty) : (right))`, a statement `if (planted == 7) {faulty} else
{right}`. Then tests/test_kernels*.py and tests/test_feature_kernels.py run once per fault in a forked
process, until its first failure. A fault is killed by a failing test, an error or deadlock of the shim, a
crash, or the time limit. The script fails if a fault survives that is not known to change no result, or if
its place is not found in the sources.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from _pytest.runner import runtestprotocol

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
import harness  # noqa: E402

COPY = harness.ROOT / "build" / "planted"
FILES = [*sorted(TESTS.glob("test_kernels*.py")), TESTS / "test_feature_kernels.py"]
LIMIT = 180  # seconds a fault, beside other work
# Not run: long, and none of them is needed to notice a fault.
LEFT_OUT = {
    "test_at_random",
    "test_1024_steps_keep_the_promised_accuracy",
    "test_rounding_does_not_add_up_along_a_path",
    "test_a_diagonal_corridor",
    "test_a_row_that_has_grown_by_40_bits",
    "test_long_chains_neither_overflow_nor_vanish",
    "test_extreme_gammas",
}
# Run with these parameters only.
EDGES = {
    "(1, 1)",
    "(9, 8)",
    "(17, 16)",
    "(2, 32)",
    "(32, 32)",
    "(1, 33)",
    "(33, 1)",
    "(33, 128)",
    "(127, 128)",
}
EDGES |= {"(128, 300)", "(129, 2)", "(300, 16)"}
FEW = {
    "test_fsd_at_every_tile_edge": EDGES,
    "test_lcs_at_every_tile_edge": EDGES,
    "test_gap_kinds": {
        "row-row",
        "column-column",
        "column-shared",
        "pair-dense",
        "number-shared",
        "table-table",
    },
    "test_ragged_lengths": {"(70, 50)-torch.int32", "(150, 40)-torch.int64"},
    "test_nan_and_inf_spoil_their_own_pair": {"(11, 13)-0.0", "(70, 40)-0.0", "(150, 20)-0.0"},
    "test_nan_spoils_an_lcs_whose_path_it_does_not_touch": {"(11, 13)-0.1", "(70, 40)-0.1"},
    "test_a_table_swept_in_pieces_is_the_whole_one": {
        *(f"size{i}-at{i}-0.1-dtype0-free" for i in range(3)),
        "size2-at2-0.1-dtype0-anchored",
        "size2-at2-0.1-dtype2-free",
    },
    "test_no_path_is_minus_infinity_without_a_gradient": {"(11, 13)-0.0", "(70, 50)-0.1", "(150, 40)-0.1"},
    "test_masks_and_bands": {"(11, 13)-0.1", "(70, 60)-0.0", "(70, 60)-0.1"},
    "test_path_mass_is_one_at_both_ends": {"8", "33", "129"},
    "test_schedules_and_resident_blocks_change_nothing": {"fsd", "sums"},
    "test_other_types": {"(70, 50)-torch.bfloat16", "(150, 40)-torch.bfloat16", "(33, 129)-torch.float64"},
    "test_gaps_wider_than_the_scores": {"(70, 50)-torch.float16", "(11, 13)-torch.bfloat16"},
    "test_only_what_is_needed": {"(11, 13)", "(70, 50)"},
    "test_the_gradient_of_the_score_scales_and_stays_in_its_pair": {"(11, 13)", "(70, 50)"},
    "test_values_and_gradients": {
        *(f"torch.float32-(3, 5, 7, 4)-{kind}" for kind in ("squares", "fsd", "lcs", "cosines", "roots")),
        *(f"torch.float32-(2, 70, 65, 18)-{kind}" for kind in ("squares", "fsd", "roots", "absolute")),
        "torch.float64-(1, 65, 63, 130)-squares",
        "torch.float64-(1, 65, 63, 130)-cosines",
    },
    "test_hard": {"(2, 40, 33, 6)-squares"},
    "test_strips": {"2-torch.float32-(3, 300, 33, 6)-squares", "0-torch.float32-(2, 129, 70, 4)-lcs"},
    "test_ragged": {"0-integer0-0.2-squares", "0-integer0-0.2-fsd"},
    "test_lengths_that_do_not_fit_spoil_their_own_pair": {"0-squares", "1073741824-squares"},
    "test_what_is_not_finite_spoils_its_own_pair": {
        *(f"{bad}-0.5-{steps}-squares" for bad in ("nan", "inf") for steps in (20, 200)),
        "nan-0.5-20-fsd",
    },
    "test_only_what_is_needed_of_features": {"0-(2, 140, 33, 4)-needs1-squares"},
    "test_every_x_and_every_y": {
        "True-0-(2, 3, 40, 33, 4)-fsd",
        "False-63360-(2, 3, 40, 33, 4)-squares",
        "True-1073741824-(5, 4, 9, 7, 4)-lcs",
    },
    "test_a_spoiled_pair_gives_nan_to_sums_unless_its_weight_is_0": {"squares", "fsd"},
    "test_zeros_and_extreme_lengths_of_vectors": {"squares", "fsd", "roots", "absolute"},
    "test_sequences_with_themselves": {"absolute"},
    "test_tiles_without_a_gradient": {"squares", "roots"},
    "test_few_against_many": {"70-5-0-squares", "6-300-47040-squares"},
    "test_more_strips_than_edges_are_kept": {"squares"},
    "test_nothing_to_compare": {"0-(2, 0, 4)-squares"},
}


@dataclass
class Fault:
    """«...» marks what is replaced; the text around it, unique in the file, says where."""

    file: str
    place: str
    faulty: str
    survives: str = ""  # why it changes no result


STRIP, BANDS, TINY, LAUNCH, SECOND = (
    f"csrc/cuda/{name}.h" for name in ("strip", "bands", "tiny", "launch", "second_order")
)
KERNELS, SCORES = "csrc/cuda/feature_kernels.h", "csrc/cuda/feature_scores.cu"
ARITHMETIC, RECURRENCE, WEIGHTS = "csrc/cuda/arithmetic.h", "csrc/recurrence.h", "csrc/cuda/weights.h"
INSIDE = "kSteps == Steps::kAll || unsigned(column + q) < unsigned(lane.m)"
FULL = "rows == kRows && steps == kChunk && t0 >= kRows - 1 && t0 + kChunk <= m"
COUNTED = FULL.replace("steps", "count")
FORWARD_LOOP = "    if (c + 1 < blocks) start(c + 1);\n    const int t0 = c * kChunk;\n    strip.chunk"
BACKWARD_LOOP = "    if (c + 1 < blocks) start(c + 1);\n    const int t0 = c * kChunk, count"
FORWARD_HEAD = (
    "  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = place.pair;\n  const Extent size ="
    " extent_of(a.pairs, pair);\n  const int n = size.n, m = size.m;\n  V* const saved"
)
BACKWARD_HEAD = FORWARD_HEAD.replace("V* const saved", "const V* const saved")
OWN = "a lane loads into the very places that it has stored from itself"
MEETS = "the warp meets again before anybody reads what was written"

FAULTS = [
    # -- blocks of scores and results
    Fault(STRIP, "(block, i), from, «left > 0 && part.row + i < rows»);", "left > 0",
          "rows beyond the table are read, which AddressSanitizer sees, and used by nobody"),
    Fault(STRIP, "(block, i), from, «left > 0 && part.row + i < rows»);", "part.row + i < rows - 1"),
    Fault(STRIP, "this->by_four && («left >= kFour || left <= 0»)", "left >= kFour - 1 || left <= 0"),
    Fault(STRIP, "this->column, «k < left && part.row + i < rows»);", "k + 1 < left && part.row + i < rows"),
    Fault(STRIP, "this->column, «k < left && part.row + i < rows»);", "k < left && part.row + i + 1 < rows"),
    Fault(STRIP, "to + «in_memory<kStep>(k)», from + k", "k"),
    Fault(STRIP, "by_four = «view.column == kStep» &&", "true"),
    Fault(STRIP, "«fits(uintptr_t(view.row) * sizeof(T))» &&", "true"),
    Fault(STRIP, "&&\n «fits(reinterpret_cast<uintptr_t>(four(view.origin)))»;", "true"),
    Fault(STRIP, "if («this->by_four && left >= kFour && part.row + i < rows»)",
          "this->by_four && part.row + i < rows"),
    Fault(STRIP, "k < kFour; k++)\n if («k < left && part.row + i < rows») held",
          "k < left - 1 && part.row + i < rows"),
    Fault(STRIP, "block < 0 || «left <= 0») return;\n    if", "left <= 1"),
    Fault(STRIP, "if («this->by_four && left >= kFour») {\n T*", "this->by_four"),
    Fault(STRIP, "if («part.row + i < rows») four_at(to)", "part.row + i < rows - 1"),
    Fault(STRIP, "if («part.row + i < rows») four_at(to)", "true"),
    Fault(STRIP, "if («k < left») to[", "k < left - 1"),
    Fault(STRIP, "value_to<T>(from[«in_memory<kStep>(k)»], format);", "k"),
    Fault(STRIP, "(«block * kChunk + column + row + (i > 0 ? kFour : 0)») & (kRing - 1);",
          "block * kChunk + column + row"),
    Fault(STRIP, "return «format.brain» ? from_bfloat16", "true"),
    Fault(STRIP, "return {«format.brain» ? to_bfloat16", "true"),
    Fault(STRIP, "padding_only && row < n ? «m» : 0;", "m + 1"),
    Fault(STRIP, "if («padding_only && n == N && m == M») return;", "padding_only"),
    Fault(STRIP, "if («padding_only && n == N && m == M») return;", "padding_only && n == N"),
    Fault(STRIP, "end = «first + bands.rows() < N ? first + bands.rows() : N»;", "first + bands.rows()"),
    Fault(STRIP, "if («part.row + i < rows && k < left») sum[k]", "k < left"),
    Fault(STRIP, "sum[k] += row.x[«in_memory<kStep>(k)»];", "k"),
    Fault(STRIP, "«sum[k] += shuffle_xor(sum[k], other)»;", "sum[k]"),
    Fault(STRIP, "if («lane < kFour && k < left») sums", "lane < kFour && k < left - 1"),
    # -- cells
    Fault(STRIP, "R::kInsert == Gap::kColumn) x.insert = memory.column[«column & (kRing - 1)»];",
          "(column + 1) & (kRing - 1)"),
    Fault(STRIP, "x.insert = memory.array[«1»][place]", "0"),
    Fault(STRIP, "x.del = memory.array[«2»][place]", "1"),
    Fault(STRIP, "y.hit = «x.score >= threshold»;", "x.score > threshold"),
    Fault(STRIP, "R::kDelete == Gap::kRow ? «row[1]» : take", "row[0]"),
    Fault(STRIP, "memory.array[0][place] = «packed.insert»;", "packed.del"),
    Fault(STRIP, "y.worst = «max_or_nan(y.worst, score)»;", "y.worst"),
    Fault(STRIP, "y.worst = «max_or_nan(y.worst, score)»;", "score"),
    Fault(STRIP, "«if (q > 0) cells.save(place(q - 1), last, weights);»", ""),
    Fault(STRIP, "cells.save(«place(q - 1)», last, weights);", "place(q)"),
    Fault(STRIP, "«cells.save(place(kChunk - 1), last, weights);»", ""),
    Fault(STRIP, "diagonal = from_above;\n    «last = now;»", ""),
    Fault(STRIP, "ring = «kAnyStep || i > kChunk - kFour» ?", "kAnyStep"),
    # -- steps forward
    Fault(STRIP, "from_above = «edge»;\n const State state", "next_edge"),
    Fault(STRIP, "«diagonal = from_above;»", "diagonal = state;"),
    Fault(STRIP, f"if («{INSIDE}») {{\n left", "kSteps == Steps::kAll || column + q < lane.m"),
    Fault(STRIP, f"if («{INSIDE}») {{\n left", INSIDE.replace("<", "<=")),
    Fault(STRIP, "worst = «max_or_nan(worst, now.worst)»;", "now.worst"),
    Fault(STRIP, "if («lane.row == bottom») below[q] = state;", "lane.row == kRows - 1"),
    Fault(STRIP, "kKept - 1 && «lane.row == bottom»", "lane.row == bottom - 1"),
    Fault(STRIP, "cells.read(place(q + 2), «column + q + 2»);", "column + q + 1"),
    Fault(STRIP, "next_edge = above[«q + 1»];\n    }\n    if (q + 2", "q"),
    # -- steps backward
    Fault(STRIP, "V a = «from_above + from.to_left»;", "from_above"),
    Fault(STRIP, "«if (!inside) a = 0;»", "",
          "what leaves the table stays outside, and weights read as 0 pass nothing to a gap"),
    Fault(STRIP, "from.to_above = «out.to_above + from.to_diagonal»;", "out.to_above + out.to_diagonal"),
    Fault(STRIP, "insert = «gaps.shared ? out.to_above + out.to_left : out.to_above»;", "out.to_above"),
    Fault(STRIP, "gaps.del_row += «out.to_left»;", "out.to_above"),
    Fault(STRIP, "if («lane.row == bottom») below[q] = from.to_above;", "lane.row == 0"),
    Fault(STRIP, "next = read(place(q + 1), «is_inside(q + 1)»);", "is_inside(q)"),
    Fault(STRIP, "next = read(place(q + 1), «is_inside(q + 1)»);", "true"),
    # -- places and extents
    Fault(BANDS, "«sync_block();»\n    ticket = *shared_ticket;", ""),
    Fault(BANDS, "ticket = «*shared_ticket»;", "blockIdx.x"),
    Fault(BANDS, "«int(ticket / pairs.count)»", "int(bands.of(pairs.rows) - 1 - ticket / pairs.count)"),
    Fault(BANDS, f"«sync_block();»\n\n{FORWARD_HEAD}", ""),
    Fault(BANDS, f"«sync_block();»\n\n{BACKWARD_HEAD}", ""),
    Fault(BANDS, "n < 0 || m < 0 || «n > pairs.rows» ||", "false"),
    Fault(BANDS, "if («n < 0» || m < 0", "false"),
    Fault(BANDS, "pairs.rows || «m > pairs.columns»)", "m > pairs.columns + 1"),
    # -- flags and rings
    Fault(BANDS, "while (load_acquire_block(published) < «end»)", "end - 1"),
    Fault(BANDS, "«while (load_acquire_block(published) < end) spin_block();»", ""),
    Fault(BANDS, "while (load_acquire_device(global_flag) < «end»)", "end - kChunk"),
    Fault(BANDS, "spin_device();\n    «sync_warp();»", ""),
    Fault(BANDS, "shared ? shared[«column & (kRing - 1)»] :", "(column + 1) & (kRing - 1)"),
    Fault(BANDS, "«sync_warp();»\n    if (lane == 0 && shared) store_release_block(consumed", "",
          "the strip above may then overwrite one column of the block: lane 0's own"),
    Fault(BANDS, "«store_release_block(consumed, end);»", ""),
    Fault(BANDS, "store_release_block(consumed, «end»)", "end + 2 * kChunk"),
    Fault(BANDS, "while (load_acquire_block(consumed) < «end - kRing»)", "end - 2 * kRing"),
    Fault(BANDS, "«while (load_acquire_block(consumed) < end - kRing) spin_block();»", ""),
    Fault(BANDS, "< end - kRing) spin_block();\n    «sync_warp();»", ""),
    Fault(BANDS, "«sync_warp();»\n    if (lane == 0 && shared) store_release_block(published", ""),
    Fault(BANDS, "store_release_block(published, «end»)", "end + kChunk"),
    Fault(BANDS, "store_release_block(published, «end»)", "end - 1"),
    Fault(BANDS, "«store_release_block(published, end);»", ""),
    Fault(BANDS, "store_release_device(global_flag, «end»)", "end + kChunk"),
    Fault(BANDS, "«store_release_device(global_flag, end);»", ""),
    # -- a strip forward
    Fault(BANDS, "(arguments.k, «takes && !arguments.boundary.anchored»)", "takes"),
    Fault(BANDS, "«in.taken(end, lane.row);»", ""),
    Fault(BANDS, "«if (is_nan(edge)) worst = NAN;»", ""),
    Fault(BANDS, f"full = «{FULL}»;", FULL.replace("kRows - 1", "kChunk")),
    Fault(BANDS, f"full = «{FULL}»;", FULL.replace("<= m", "<= m + kChunk - 1")),
    Fault(BANDS, f"full = «{FULL}»;", FULL.replace("kRows - 1", "kRows - 2"),
          "t0 is a multiple of 16: at least 30 and at least 31 are both at least 32"),
    Fault(BANDS, f"full = «{FULL}»;", FULL.replace("rows == kRows && ", ""),
          "lanes beyond the last row hand nothing on, and what they save is not stored"),
    Fault(BANDS, "return «all(near(left) && near(edge) && near(diagonal))»;", "true"),
    Fault(BANDS, "return «all(near(left) && near(edge) && near(diagonal))»;", "all(near(left))"),
    Fault(BANDS, "(«s.e - base < kNear && base - s.e < kNear»)", "s.e - base < kNear"),
    Fault(BANDS, "«sync_warp();»\n    const Cells<R, Narrow> cells", ""),
    Fault(BANDS, "«sync_warp();»\n    const Cells<R, Wide> cells", ""),
    Fault(BANDS, "«sync_warp();»\n    if (!out.shared && !out.global) return;", ""),
    Fault(BANDS, "poisoned = «ballot(is_spoiled()) != 0»;", "(ballot(is_spoiled()), false)"),
    Fault(BANDS, "«if (poisoned) spoil(edge);»", ""),
    Fault(BANDS, "first = «t0 - (rows - 1)», end", "t0 - rows"),
    Fault(BANDS, "lane.row < steps && «column >= 0» && column < m", "column > 0"),
    # -- the forward kernel
    Fault(BANDS, "return «i > 0 && a.wide_gaps» ? reinterpret_cast", "false"),
    Fault(BANDS, "score_at(a, 1, pair, «row0 + lane», 0)", "row0"),
    Fault(BANDS, "lane < rows ? «left_of(row0 + lane)» :", "left_of(row0)"),
    Fault(BANDS, "pair, at_top) : «left_of(row0 - 1)»;", "left_of(row0)"),
    Fault(BANDS, "strip.worst = «max_or_nan(strip.worst, memory.row[1])»;", "strip.worst"),
    Fault(BANDS, "a.chain.flags + «pair * bands + upper»", "pair + upper"),
    Fault(BANDS, "a.chain.edges + («pair * (bands - 1) + upper»)", "upper"),
    Fault(BANDS, "«copy_async_wait();»\n#pragma", ""),
    Fault(BANDS, "(kRing - 1)] = held;\n    «sync_warp();»", "", MEETS),
    Fault(BANDS, f"store(«c - kBlocksBehind»);\n    sync_warp();\n{FORWARD_LOOP}", "c - 2"),
    Fault(BANDS, f"store(c - kBlocksBehind);\n    «sync_warp();»\n{FORWARD_LOOP}", "", OWN),
    Fault(BANDS, FORWARD_LOOP.replace("start(c + 1);", "«start(c + 1);»"), "start(c);"),
    Fault(BANDS, "c = «chunks - kBlocksBehind»; c < blocks; c++) store(c);\n\n  bool spoiled", "chunks - 2"),
    Fault(BANDS, "boundary.last_column && «lane < rows»", "lane < rows - 1"),
    Fault(BANDS, "«sync_warp();»  // after the other lanes'", "",
          "the ballot before it meets as well; only a GPU's memory order needs it"),
    Fault(BANDS, "if («lane == rows - 1») {\n      const V value", "lane == kRows - 1",
          "every lane holds the last row's score"),
    Fault(BANDS, "value = «spoiled» ? V(NAN) : at_end", "false"),
    Fault(BANDS, "verdict = «value != value ? V(NAN) : V(kNoPath)»;", "V(kNoPath)"),
    Fault(BANDS, "saved && !a.is_piece && («value != value || value == -ScalarCommon::kInfinity»)",
          "value != value"),
    Fault(BANDS, "saved && !a.is_piece && («value != value || value == -ScalarCommon::kInfinity»)", "false"),
    # -- the backward kernel
    Fault(BANDS, ": «seed != 0» ? saved[", "true"),
    Fault(BANDS, ": «seed != 0» ? saved[", "seed > 0"),
    Fault(BANDS, "swept = «verdict >= 0»;", "true"),
    Fault(BANDS, "swept || verdict < 0 ? 0.0f : «NAN»", "0.0f"),
    Fault(BANDS, "Edge edge = «column == 0» ? first", "column == 1"),
    Fault(BANDS, "«copy_async_wait();»\n    sync_warp();\n    store(c", ""),
    Fault(BANDS, "copy_async_wait();\n    «sync_warp();»\n    store(c", "", MEETS),
    Fault(BANDS, f"store(«c - kBlocksBehind»);\n    sync_warp();\n{BACKWARD_LOOP}", "c - 2"),
    Fault(BANDS, f"store(c - kBlocksBehind);\n    «sync_warp();»\n{BACKWARD_LOOP}", "", OWN),
    Fault(BANDS, "above[lane] = edge;\n    «sync_warp();»", ""),
    Fault(BANDS, f"steps(t0, count, «{COUNTED}»);", COUNTED.replace("kRows - 1", "kChunk")),
    Fault(BANDS, f"steps(t0, count, {COUNTED});\n    «sync_warp();»", ""),
    Fault(BANDS, "{saved + «plane» * N * M + corner", "(kPlanes - 1 - plane)"),
    Fault(BANDS, "BlockLoader<V, V, -1>({saved + plane * N * M + corner, «-M», -1}, part)", "M"),
    Fault(BANDS, "BlockStorer<T, V, -1>({a.gradients[i].data + pair * N * M + corner, «-M», -1}, part)", "M"),
    Fault(BANDS, "strips_of(N) + «strip») * M", "strip / 2"),
    Fault(BANDS, "sum = «i == 1 ? insert_row : del_row»;", "i == 1 ? del_row : insert_row"),
    Fault(BANDS, "pair * N + («n - 1 - row0 - lane»)", "row0 + lane"),
    Fault(BANDS, "«if (lane >= rows) sum = 0;»", "", "lanes beyond the last row have added up zeros"),
    # -- sums over strips
    Fault(BANDS, "if («a.columns == 1 || column < m») {", "a.columns == 1 || column < m - 1"),
    Fault(BANDS, "a.columns == 1 ? 0 : «m - 1 - column»;", "column"),
    Fault(BANDS, "strip < «strips_of(n)»;", "strips_of(N)"),
    Fault(BANDS, "if (verdict != verdict) sum = «NAN»;", "0"),
    Fault(BANDS, "m > 0 && «a.grad_score[pair] != 0» ? a.saved", "true"),
    # -- tiny pairs
    Fault(TINY, "«copy_async_wait();»\n  sync_warp();", ""),
    Fault(TINY, "copy_async_wait();\n  «sync_warp();»\n\n  Memory", "",
          "the shuffles of `total` meet before anybody reads; only a GPU's memory order needs it"),
    Fault(TINY, "boundary_state<Wide>(a.k, «r == 0»);", "lane == 0"),
    Fault(TINY, "boundary_state<Wide>(a.k, «r < n && !a.boundary.anchored»);", "r < n"),
    Fault(TINY, "«total = theirs > total ? theirs : total;»", ""),
    Fault(TINY, "mine = («group == kRows ? 0xffffffffu : (1u << group) - 1»)", "0xffffffffu"),
    Fault(TINY, "first + («n > 0 ? n - 1 : 0»)", "group - 1"),
    Fault(TINY, "if («present && r == 0») a.score", "r == 0"),
    Fault(TINY, "«sync_warp();»\n    if (lane < kChunk) above[lane]", "", MEETS),
    Fault(TINY, "above[lane] = «t0 + lane == 0» ?", "lane == 0"),
    Fault(TINY, "V(1) : V(0);\n    «sync_warp();»", ""),
    Fault(TINY, "* kTinyPitch + «n + m - 2 - t0»)", "n + m - 1 - t0"),
    Fault(TINY, "«sync_warp();»\n\n  if (!present) return;", ""),
    Fault(TINY, "dead = «value == -ScalarCommon::kInfinity»,", "false"),
    Fault(TINY, "bad = «value != value»;", "false"),
    Fault(TINY, "there = dead || «column >= m» ? 0 : n;", "false"),
    Fault(TINY, "return «x == 0 ? V(0) : scale * x»;", "scale * x"),
    Fault(TINY, "cells = «scale == 0 ? 0 : N * M»;", "N * M"),
    Fault(TINY, "summands = «cells» / (sums", "N * M"),
    Fault(TINY, "pitch = «g.every_column ? M : 1»,", "1"),
    Fault(TINY, "skip = «g.every_row ? M : 1»;", "1"),
    # -- launchers
    Fault(LAUNCH, "group = «p.pairs.rows <= 8» ? 8", "p.pairs.rows <= 9"),
    Fault(LAUNCH, "partial += «partial_size(p, i)»;", "0"),
    Fault(LAUNCH, "«set_zero(p.workspace, size_t(Chain<State>::flag_bytes(p.pairs, bands)), stream)»",
          "cudaSuccess"),
    Fault(LAUNCH, "«set_zero(p.workspace, size_t(Chain<V>::flag_bytes(p.pairs, bands)), stream)»",
          "cudaSuccess"),
    Fault(LAUNCH, "Gap::kRow : «gap.row == 0» ? Gap::kColumn", "false",
          "a kernel for dense gaps reads any through their strides; the column's is only faster"),
    Fault(LAUNCH, "Gap::kRow : «gap.row == 0» ? Gap::kColumn", "true"),
    Fault(LAUNCH, "«p.pairs.count * bands.of(p.pairs.rows)», bands.rows(),\n"
          " Block::bytes(bands.warps, R::kArrays), stream, arguments);\n}",
          "p.pairs.count * bands.of(p.pairs.rows) - 1"),
    Fault(LAUNCH, "while (warps > 1 && («warps > strips_of(pairs.rows)» ||", "false",
          "the warps too many have no strip and leave at once"),
    Fault(LAUNCH, "|| «BandMemory<V, Edge, 1>::bytes(warps, arrays) > most»))", "false"),
    Fault(BANDS, "«ticket % pairs.count», int", "(ticket + 1) % pairs.count",
          "every pair still has every band, the first ones first"),
    Fault(BANDS, "if (!last)\n    strip.out = «warp < a.bands.warps - 1» ?", "warp < kMostWarps - 1"),
    # -- second order
    Fault(SECOND, "diagonal = from_above;\n    if (lane.row == bottom) below[q] = «left»;", "diagonal"),
    Fault(SECOND, "shuffle_up(left);\n    if (lane.r == 0) from_above = «above[q]»;", "V(0)"),
    Fault(SECOND, "v = {v.match, «direction[1][at]», direction[2][at]};", "direction[2][at]"),
    Fault(SECOND, "array[0][at] = «t.weights.insert»;", "t.weights.match"),
    Fault(SECOND, "array[1][at] = «t.weights.del»;", "t.weights.insert"),
    Fault(SECOND, "«diagonal = from_above;»", ""),
    Fault(SECOND, "«left = t.state;»", "left += t.state;"),
    Fault(SECOND, "if («verdict != verdict» && is_directed", "true"),
    Fault(SECOND, "verdict != verdict && «is_directed(a, pair, place.band, n, m)») a", "true"),
    Fault(SECOND, "verdict != verdict && «is_directed(a, pair, place.band, n, m)») a", "false"),
    Fault(SECOND, "end = «first + a.bands.rows() < n ? first + a.bands.rows() : n»;", "n",
          "every band then looks at the rows of those below it too: slower"),
    Fault(SECOND, "end = «first + a.bands.rows() < n ? first + a.bands.rows() : n»;",
          "first + a.bands.rows()"),
    Fault(SECOND, "row < end; «row += a.bands.warps»)", "row += 2 * a.bands.warps"),
    Fault(SECOND, "column < «m»; column += kRows)\n found", "m + 1"),
    Fault(SECOND, "found = «found» || !(v.data", "false"),
    Fault(SECOND, "v.data[«pair * v.batch» + row", "0"),
    Fault(SECOND, "if («row0 + rows == n && lane == rows - 1») a.tangent", "row0 == 0 && lane == rows - 1"),
    Fault(SECOND, "if («row0 + rows == n && lane == rows - 1») a.tangent",
          "row0 + rows == n && lane == kRows - 1"),
    Fault(SECOND, "loaders[i].start(part, «given ? rows : 0», m, at", "given ? rows - 1 : 0"),
    Fault(SECOND, "array[kLcs ? 1 : 2][at], del = «kLcs ? -insert : array[kLcs ? 1 : 3][at]»;",
          "array[kLcs ? 1 : 3][at]"),
    Fault(SECOND, "Weights<Number>{{w.match, «kLcs ? V(0) : -insert - del»}", "V(0)"),
    Fault(SECOND, "{w.insert, insert}, {w.del, «del»}});", "insert"),
    Fault(SECOND, "array[0][at] = «out.score.tangent»;", "out.score.value"),
    Fault(SECOND, "out.to_above.tangent + («shared_gap» ? out", "false"),
    Fault(SECOND, "out.to_above.tangent + («shared_gap» ? out", "true"),
    Fault(SECOND, "array[2][at] = «out.to_left.tangent»;", "out.to_above.tangent"),
    Fault(SECOND, "from.to_above = «out.to_above + from.to_diagonal»;", "out.to_above"),
    Fault(SECOND, "«from.to_diagonal = out.to_diagonal;»", ""),
    Fault(SECOND, "if (lane.row == bottom) below[q] = «from.to_above»;", "out.to_above"),
    Fault(SECOND, "«first.value = a.grad_score[pair];»", "first.value = 1;"),
    Fault(SECOND, "«first.value = a.grad_score[pair];»", "first.value = first.tangent = a.grad_score[pair];"),
    Fault(SECOND, "if («row0 == 0») first.value", "true", "it counts only where nothing is above"),
    Fault(SECOND, "swept ? 0.0f : float(a.tangent[pair]), «swept»);", "false"),
    Fault(SECOND, "«swept ? 0.0f : float(a.tangent[pair])», swept);", "0.0f"),
    Fault(SECOND, "swept ? 0.0f : float(a.tangent[«pair»]), swept);", "0"),
    Fault(LAUNCH, "«set_zero(p.tangent, size_t(p.pairs.count) * sizeof(V), stream)»", "cudaSuccess"),
    Fault(LAUNCH, "V(«p.gamma > 0 ? 1 / p.gamma : 0»);", "1"),
    Fault(RECURRENCE, "t = tangent_of(w, diagonal, «v.insert + above», v.del + left", "above"),
    Fault(RECURRENCE, "v.insert + above, «v.del + left», curvature", "v.insert + left"),
    Fault(RECURRENCE, "t.state += «v.match * w.match»;", "v.match"),
    Fault(RECURRENCE, "w.insert * («above - mean») * c", "above"),
    Fault(RECURRENCE, "a.value * b.tangent + «a.tangent * b.value»", "b.tangent * a.value"),
    # -- features
    Fault(KERNELS, "return «side_by_side ? x + pair : y + pair % ys»;", "x + pair"),
    Fault(KERNELS, "x_of(pair) * «others» + y_of(pair)", "ys"),
    Fault(KERNELS, "if (!(«squares > kLeast» && squares < kMost))", "true"),
    Fault(KERNELS, "if (!(squares > kLeast && «squares < kMost»))", "true"),
    Fault(KERNELS, "a.lengths[vector] = «length * scale»;", "length"),
    Fault(KERNELS, "to[k] = «finite ? T(0) : T(NAN)»;", "T(NAN)"),
    Fault(KERNELS, "«if (all(nothing)) return;»", ""),
    Fault(KERNELS, "d[k] = («d[k] - unit[k] * along») / length;", "d[k]"),
    Fault(KERNELS, "«sync_block();»\n#pragma unroll 2\n for (int k = 0; k < depth", ""),
    Fault(KERNELS, "added<kForm>(of_x[i], of_y[j]);\n }\n «sync_block();»", ""),
    Fault(KERNELS, "«step < rows && feature < depth» ? x[", "step < rows && feature <= depth",
          "what is read beyond the last feature is used by nobody"),
    Fault(KERNELS, "depth = «a.features - k0 < kDepth ? int(a.features - k0) : kDepth»;", "kDepth"),
    Fault(KERNELS, "if («row0 >= size.n || column0 >= size.m») return;", "row0 > size.n || column0 >= size.m",
          "a block without a step makes nothing"),
    Fault(KERNELS, "if (a.kind == Kind::kCosines) «score -= 1;»", "score = 1 - score;"),
    Fault(KERNELS, "if («!is_finite(score)») {", "false"),
    Fault(KERNELS, "score = T(ScalarCommon::kInfinity) + «spoilt»;", "T(0)"),
    Fault(KERNELS, "a.kind == Kind::kRoots ? «-T(sqrt(score))» : -score;", "-score"),
    Fault(KERNELS, "if («row >= rows || column >= columns») continue;\n T score", "row >= rows"),
    Fault(KERNELS, "across = of_y ? («a.batch.side_by_side ? 1 : a.batch.xs») :", "1"),
    Fault(KERNELS, "side_by_side ? sequence : «k * a.batch.ys + sequence»;", "sequence * a.batch.ys + k"),
    Fault(KERNELS, "if («weight == 0» || (a.spoils", "false"),
    Fault(KERNELS, "|| («a.spoils && a.spoils[pair] != a.spoils[pair]»)) continue;", "false"),
    Fault(KERNELS, "g = «root == 0 && g == g ? T(0) : g / root»;", "g / root"),
    Fault(KERNELS, "live = live || «!(magnitude(g) <= a.negligible)»;", "magnitude(g) > a.negligible"),
    Fault(KERNELS, "kSide + kFour : 1)] = «g * weight»;", "g"),
    Fault(KERNELS, "if (!sync_block_any(«live»)) continue;", "live && thread % kRows == 0"),
    Fault(KERNELS, "if (!«sync_block_any(live)») continue;", "(sync_block(), all(live))"),
    Fault(KERNELS, "«sync_block();»\n#pragma unroll 2\n for (int j = 0; j < kOthers", ""),
    Fault(KERNELS, "derived<kForm>(mine[i][f], of_other[f]);\n }\n «sync_block();»", ""),
    Fault(KERNELS, "T(difference > 0) - «T(difference < 0)»;", "T(difference <= 0)"),
    Fault(KERNELS, "kForm == Form::kAbsolute ? «magnitude(difference)» :", "difference"),
    Fault(KERNELS, "if («step >= own_rows || feature >= width») continue;\n T& out", "step >= own_rows"),
    Fault(KERNELS, "out = («side.adds && !in_parts ? out : T(0)») +", "T(0)"),
    Fault(KERNELS, "left < 0 ? 0 : «left < a.height» ? left", "left <= a.height", "the two are equal there"),
    Fault(KERNELS, "T(fits && m > 0 && left > 0 && «left <= a.height»);", "left < a.height"),
    Fault(KERNELS, "fits = «n >= 0 && m >= 0» &&", "true"),
    Fault(KERNELS, "spoiled = «spoiled || own != own»;", "false"),
    Fault(KERNELS, "score == -ScalarCommon::kInfinity ? «T(-1)» : T(1);", "T(1)",
          "the weights of a pair without a path are 0"),
    Fault(KERNELS, "a.score[a.batch.number(pair)] = «a.costs» ? T(0)", "true"),
    Fault(KERNELS, "out[at] = «factor == 0» ? T(0)", "false"),
    Fault(SCORES, "f.boundary.above = edge(batch, «strip - 1»);", "strip"),
    Fault(SCORES, "b.given = handed[«(strip + 1) % 2»];", "strip % 2"),
    Fault(SCORES, "f.is_piece = «strips > 1»;", "false"),
    Fault(SCORES, "t.first_row = «strip * height»;", "0"),
    Fault(SCORES, "if («strip + 1 < strips») forward(batch, strip, true);", "false"),
    Fault(SCORES, "{p_.d_x, «batch.y > 0», plan_", "false"),
    Fault(SCORES, "{p_.d_y, «(batch.x > 0 && p_.others)» || strip", "false"),
    Fault(SCORES, "p_.others) || «strip + 1 < plan_.strips», plan_", "false"),
    Fault(SCORES, "edges + «strip % kept» * edge", "strip % 2 * 0"),
    Fault(SCORES, "abreast = std::max<int64_t>(«p.others ? all_y : count», 1);", "count",
          "a batch is then some x with all of y, or one with fewer: as before"),
    Fault(KERNELS, "to = side.parts + «slice * sequences * steps * a.pitch» +", "0"),
    Fault(KERNELS, "k < «(slice + 1) * across / side.slices»; k++)", "across"),
    Fault(KERNELS, "(at / row * a.steps + «a.first_row») * a.features", "0"),
    Fault(KERNELS, "if (size.unfit) «unfit = T(NAN)»;", "unfit = T(0)"),
    Fault(SCORES, "T((«p_.kind == Kind::kSquares ? 2 : p_.kind == Kind::kCosines ? -1 : 1») *", "1"),
    Fault(SCORES, "* («p_.itself ? 2 : 1»));", "1"),
    Fault(SCORES, "negligible = «plan_.has_roots() ? T(0) : T(kNegligible<T>)»;", "T(1)"),
    Fault(BANDS, "at_top = «!boundary.above || !boundary.anchored»;", "true"),
    Fault(BANDS, "if (saved && «!a.is_piece» && (value", "true"),
    Fault(BANDS, "else if («a.given && seed == 0»)", "bool(a.given)"),
    Fault(BANDS, ": «a.verdicts» ? a.verdicts[pair]", "nullptr"),
    # -- arithmetic
    Fault(ARITHMETIC, "«e += biased - 127;»", ""),
    Fault(ARITHMETIC, "{ return «kIsNarrow ? max(e, kNothing) : e»; }", "e"),
    Fault(ARITHMETIC, "within = «d > -127 ? int32_t(d) : -127»;", "int32_t(d)"),
    Fault(ARITHMETIC, "return !(«x <= f.highest»);", "x <= 1e38f"),
    Fault(ARITHMETIC, "{s.p, «s.e > kDeadNarrow» ?", "true"),
    Fault(ARITHMETIC, "{s.p, «is_live(s)» ? int32_t", "true"),
    Fault(RECURRENCE, "return {s.p, «A::settled(s.e)»};", "s.e",
          "only a table masked whole, of 2^13 steps on either side, comes below the exponents' range"),
    Fault(RECURRENCE, "w = {«a * r», b * r, c * r};", "b * r"),
    Fault(RECURRENCE, "Value b = «above + x.insert», c", "above + x.del"),
    Fault(RECURRENCE, "from_left = «c > A::max(diagonal, b)»,", "c >= A::max(diagonal, b)"),
    Fault(RECURRENCE, "from_above = «b > diagonal»;", "b >= diagonal"),
    Fault(RECURRENCE, "w.del = A::select(«left > above», Value(1)", "left >= above"),
    Fault(RECURRENCE, "return {a, a * w.match, «a * w.insert», a * w.del};", "a * w.del"),
    Fault(WEIGHTS, "{insert, «lesser(rest, del + no_match * (rest - del))»}",
          "del + no_match * (rest - del)"),
    Fault(WEIGHTS, "lesser(T(1), «T(w.insert) + only_insert * (T(1) - T(w.insert))»)", "T(w.insert)"),
    Fault(WEIGHTS, "hit ? T(0) : «T(1) - w.insert»}", "w.insert"),
]  # fmt: skip


# ---- the copy with all faults in it -------------------------------------------------------------------


def find(text: str, fault: Fault) -> tuple[int, int]:
    """Where in the file's text the marked part is; white space does not count."""
    parts = (
        r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]", part)))
        for part in re.split("[«»]", fault.place)
    )
    before, marked, after = parts
    found = list(re.finditer(rf"{before}\s*({marked})\s*{after}", text))
    if len(found) != 1:
        raise LookupError(f"{fault.file}: found {len(found)} times, not once: {fault.place}")
    return found[0].span(1)


def demand_places(texts: dict[str, str]) -> None:
    missing = []
    for fault in FAULTS:
        try:
            find(texts[fault.file], fault)
        except LookupError as error:
            missing.append(str(error))
    if missing:
        raise SystemExit("\n".join(missing))


def choice(right: str, numbered: list[tuple[int, str]]) -> str:
    if right.endswith(";"):
        first = " else ".join(f"if (planted == {k}) {{ {faulty} }}" for k, faulty in numbered)
        return f"{{ {first} else {{ {right} }} }}"
    faults = "".join(f"planted == {k} ? ({faulty}) : " for k, faulty in numbered)
    return f"({faults}({right}))"


def plant(text: str, faults: list[tuple[int, Fault]]) -> str:
    spans = defaultdict(list)
    for number, fault in faults:
        spans[find(text, fault)].append((number, fault.faulty))
    grown = {}  # by how much the text grew, where: a statement may hold an expression with faults of its own
    for (start, end), numbered in sorted(spans.items(), key=lambda item: (-item[0][0], item[0][1])):
        end += sum(more for at, more in grown.items() if start <= at < end)
        chosen = choice(text[start:end], numbered)
        grown[start] = grown.get(start, 0) + len(chosen) - (end - start)
        text = text[:start] + chosen + text[end:]
    return text


def copy_with_faults() -> None:
    """The sources under COPY; files that have not changed keep their time, so that a second run is quick."""
    texts = {}
    for folder in ("csrc", "tests/kernels"):
        for path in (harness.ROOT / folder).rglob("*"):
            if path.suffix in (".h", ".cpp", ".cu"):
                texts[str(path.relative_to(harness.ROOT))] = path.read_text()
    demand_places(texts)
    for file in {f.file for f in FAULTS}:
        texts[file] = plant(texts[file], [(k, f) for k, f in enumerate(FAULTS, 1) if f.file == file])
    texts[RECURRENCE] = texts[RECURRENCE].replace("#pragma once", "#pragma once\nextern int planted;")
    texts["tests/kernels/shim.cpp"] += "\nint planted = 0;\n"
    module = "tests/kernels/harness.cpp"
    texts[module] = re.sub(
        r"(PYBIND11_MODULE\(.*\{)", r'\1 m.def("plant", [](int k) { planted = k; });', texts[module]
    )
    for file, text in texts.items():
        target = COPY / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_text() != text:
            target.write_text(text)
    for path in COPY.rglob("*.*"):
        if path.is_file() and str(path.relative_to(COPY)) not in texts:
            path.unlink()


# ---- running ------------------------------------------------------------------------------------------


class Battery:
    """A pytest plugin: instead of running the collected tests once, runs them once per fault."""

    def __init__(self, plant: Callable[[int], None], numbers: list[int]):
        self.plant = plant
        self.numbers = numbers
        self.kills = Counter()  # by test: those that killed before go first
        self.results = {}  # fault -> what killed it, "" if nothing did

    def pytest_runtestloop(self, session) -> bool:
        import kernel_checks  # not earlier: pytest rewrites the assertions of what it imports itself

        self.tests = list(filter(is_chosen, session.items))
        modules = {id(test.module): test.module for test in session.items}.values()
        for module in [kernel_checks, *modules]:
            if hasattr(module, "exactly"):
                self.share_references(module)
        self.results[0] = self.absent() or next(filter(None, map(self.failure, self.tests)), "")
        print(line(0, self.results[0]), flush=True)
        running, waiting = {}, list(self.numbers)
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                number = waiting.pop(0)
                running[self.start(number)] = number
            pid, status = os.wait()
            number = running.pop(pid)
            self.results[number] = self.verdict(number, status)
            print(line(number, self.results[number]), flush=True)
        return True

    def absent(self) -> str:
        """What FEW names and the tests no longer have."""
        found = {(test.originalname, test.callspec.id) for test in self.tests if hasattr(test, "callspec")}
        missing = [f"{name}[{id}]" for name, few in FEW.items() for id in few if (name, id) not in found]
        return f"no such tests: {missing}" if missing else ""

    def share_references(self, module) -> None:
        """The n-th reference of a test comes from its run without a fault: inputs are seeded."""
        compute, known = module.exactly, {}

        def exactly(*args, **options):
            self.calls += 1
            key = (self.current, self.calls)
            if key not in known:
                known[key] = compute(*args, **options)
            return known[key]

        module.exactly = exactly

    def failure(self, test) -> str:
        """Runs one test; "" if it passes, else its name and what the shim had to say."""
        self.current, self.calls = test.nodeid, 0
        for report in runtestprotocol(test, log=False, nextitem=None):
            if report.failed:
                shim = re.search(r"shim: [^(\n]*", str(report.longrepr))
                return f"{test.name}: {shim.group().strip()}" if shim else test.name
        return ""

    def start(self, number: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        signal.alarm(LIMIT)
        with log(number).open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            self.plant(number)
            for test in sorted(self.tests, key=lambda test: -self.kills[test.name]):
                failure = self.failure(test)
                if failure:
                    out.write(f"{KILLED}{failure}\n")
                    break
        os._exit(0)

    def verdict(self, number: int, status: int) -> str:
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return "the time limit" if name == "SIGALRM" else name
        _, _, killed_by = log(number).read_text().partition(KILLED)
        self.kills[killed_by.partition(": ")[0].strip()] += 1
        return killed_by.strip()


KILLED = "killed by "


def is_chosen(test) -> bool:
    few = FEW.get(test.originalname)
    return test.originalname not in LEFT_OUT and (few is None or test.callspec.id in few)


def log(number: int) -> Path:
    return COPY / f"log_{number}.out"


def line(number: int, killed_by: str) -> str:
    if number == 0:
        return f"  0  no fault: {killed_by or 'passes'}"
    fault = FAULTS[number - 1]
    _, marked, _ = re.split("[«»]", fault.place)
    what = f"{' '.join(marked.split())}  ->  {fault.faulty or '(nothing)'}"
    text = (harness.ROOT / fault.file).read_text()
    row = text.count("\n", 0, find(text, fault)[0]) + 1
    verdict = f"killed by {killed_by}" if killed_by else f"SURVIVED: {fault.survives or 'unexpected'}"
    if killed_by and fault.survives:
        verdict += "; was expected to survive"
    return f"{number:3}  {Path(fault.file).name}:{row}  {what}\n       {verdict}"


def summary(results: dict[int, str]) -> bool:
    """Prints the counts; whether all is as it should be."""
    survivors = [k for k, killed_by in results.items() if k and not killed_by]
    unexpected = sorted(k for k in survivors if not FAULTS[k - 1].survives)
    killed = sorted(k for k, killed_by in results.items() if k and killed_by)
    clumsy = [k for k in killed if FAULTS[k - 1].survives]
    print(f"{len(killed) + len(survivors)} faults: {len(killed)} killed, {len(survivors)} survived")
    print(f"survived unexpectedly: {unexpected or 'none'}; killed unexpectedly: {clumsy or 'none'}")
    print(f"without a fault: {results[0] or 'all tests pass'}")
    return not unexpected and not results[0]


def chosen(arguments: list[str]) -> list[int]:
    if arguments[:1] == ["--every"]:
        noticed = [k for k, fault in enumerate(FAULTS, 1) if not fault.survives]
        return noticed[:: int(arguments[1])]
    return [int(n) for n in arguments] or list(range(1, len(FAULTS) + 1))


def main() -> None:
    started = time.monotonic()
    torch.set_num_threads(1)
    copy_with_faults()
    module = harness.build(COPY)
    harness.module = lambda: module
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    battery = Battery(module.plant, chosen(sys.argv[1:]))
    options = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        "-p",
        "no:faulthandler",
        "-o",
        "addopts=",
        "--capture=no",
    ]
    pytest.main([*options, *map(str, FILES)], plugins=[battery])
    fine = summary(battery.results)
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(not fine)


if __name__ == "__main__":
    main()
