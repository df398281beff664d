"""Plants one-line faults into the kernels and demands that the tests notice every one that matters.

    python tests/kernels/faults.py [number ...]
    python tests/kernels/faults.py --every 5      every fifth of those that tests must notice

All faults take half an hour on two cores, those that change no result the longest.

All faults go into one copy of the sources, each as a choice at run time, so that the harness is built once:
an expression becomes `(planted == 7 ? (faulty) : (right))`, a statement `if (planted == 7) {faulty} else
{right}`. Then tests/test_kernels*.py and tests/test_feature_kernels*.py run once per fault in a forked
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
FILES = [*sorted(TESTS.glob("test_kernels*.py")), *sorted(TESTS.glob("test_feature_kernels*.py"))]
FILES.sort(key=lambda file: file.name != "test_kernels_relay.py")  # quick, and what notices most in relay.h
LIMIT = 180  # seconds a fault, beside other work
# Not run: long, and none of them is needed to notice a fault.
LEFT_OUT = {
    "test_at_random",
    "test_long_sequences_keep_the_promised_accuracy",
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
    "test_nan_and_inf_spoil_their_own_pair": {"(11, 13)-0.1", "(70, 40)-0.0", "(150, 20)-0.0"},
    "test_nan_spoils_an_lcs_whose_path_it_does_not_touch": {"(11, 13)-0.1", "(70, 40)-0.1"},
    "test_a_table_swept_in_pieces_is_the_whole_one": {
        *(f"size{i}-at{i}-0.1-dtype0-free" for i in range(3)),
        "size2-at2-0.1-dtype0-anchored",
        "size2-at2-0.1-dtype2-free",
    },
    "test_no_path_is_minus_infinity_without_a_gradient": {"(11, 13)-0.1", "(70, 50)-0.1", "(150, 40)-0.1"},
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
    "test_strips": {
        *(f"2-torch.float32-(3, 300, 33, 6)-{kind}" for kind in ("squares", "overlap")),
        "0-torch.float32-(2, 129, 70, 4)-lcs",
    },
    "test_values_and_gradients_of_open_ends": {
        "torch.float32-(3, 5, 7, 4)-subsequence",
        "torch.float32-(2, 70, 65, 18)-overlap",
    },
    "test_ragged": {
        *(f"0-integer0-0.2-{kind}" for kind in ("squares", "fsd", "subsequence", "overlap")),
        "0-integer0-0.0-overlap",
    },
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
    "test_features_within_a_bandwidth": {
        "torch.float32-(2, 1, 5, 2)-0-roots",
        "torch.float32-(2, 9, 11, 4)-0-squares",
        "torch.float32-(2, 9, 11, 4)-0-fsd",
        "torch.float32-(3, 30, 32, 6)-2-squares",
        "torch.float32-(1, 40, 300, 4)-1-lcs",
        "torch.float32-(1, 130, 129, 4)-1-squares",
        "torch.float32-(1, 200, 180, 4)-70-overlap",
        "torch.float64-(2, 65, 70, 34)-8-squares",
        "torch.float32-(2, 65, 70, 34)-8-roots",
    },
    "test_ragged_features_within_a_bandwidth": {
        "0-integer0-0.2-squares",
        "1073741824-integer1-0.0-fsd",
    },
    "test_every_x_beside_every_y": {
        "False-131072-(2, 5, 90, 140, 20)-squares",
        "True-0-(3, 2, 40, 33, 4)-fsd",
    },
    "test_many_bands_of_a_narrow_corridor": {"400-400-2-fsd-free", "200-600-3-fsd-overlap"},
    "test_tiles_without_a_gradient": {"squares", "roots"},
    "test_few_against_many": {"70-5-0-squares", "6-300-47040-squares"},
    "test_more_strips_than_edges_are_kept": {"squares"},
    "test_nothing_to_compare": {"0-(2, 0, 4)-squares"},
    "test_values_and_gradients_at_every_tile_edge": {
        "(33, 1)-fsd",
        "(65, 18)-smith_waterman",
        "(65, 18)-smith_waterman affine",
        "(129, 7)-needleman_wunsch global",
        "(33, 31)-needleman_wunsch subsequence",
        "(20, 64)-needleman_wunsch overlap",
    },
    "test_nan_and_inf_spoil_all_states": {
        "nan-fsd",
        "inf-smith_waterman affine",
        "nan-needleman_wunsch global",
    },
    "test_ends_at_every_tile_edge": {
        "subsequence-fsd-(33, 20)",
        "subsequence-needleman_wunsch-(9, 1)",
        "overlap-needleman_wunsch-(70, 50)",
        "overlap-fsd-(150, 140)",
    },
    "test_needleman_wunsch_without_gaps_on_the_boundary": {"free-(33, 20)", "anchored-(70, 50)"},
    "test_several_ends_and_gaps_of_every_kind": {"overlap-fsd-row-row", "subsequence-fsd-column-column"},
    "test_several_ends_of_other_types": {
        "overlap-fsd-torch.float64",
        "subsequence-needleman_wunsch-torch.float16",
    },
    "test_ends_of_ragged_pairs": {"overlap-fsd-(11, 13)", "subsequence-needleman_wunsch-(70, 50)"},
    "test_ends_of_costs": {"subsequence-(11, 13)", "overlap-(70, 50)"},
    "test_forbidden_ends": {
        *(f"{ends}-fsd-(11, 13)-{gamma}" for ends in ("overlap", "subsequence") for gamma in (0.0, 0.1)),
        "subsequence-fsd-(70, 50)-0.1",
    },
    "test_a_score_below_the_range_spoils_a_pair_without_a_path": {
        "overlap-fsd-(11, 13)",
        "subsequence-fsd-(150, 40)",
    },
    "test_nan_and_inf_spoil_all_ends_of_their_pair": {
        "overlap-fsd-(11, 13)-0.1",
        "subsequence-needleman_wunsch-(70, 50)-0.0",
    },
    "test_of_equal_ends_the_first_has_all_weight": {"(11, 13)", "(150, 140)"},
    "test_schedules_change_nothing_at_the_ends": {"overlap-fsd"},
    "test_second_order_of_several_ends": {"overlap-fsd-(70, 50)", "subsequence-needleman_wunsch-(70, 50)"},
    "test_second_order_of_needleman_wunsch_without_gaps_on_the_boundary": {"free-(11, 13)"},
    "test_second_order_of_ragged_masked_and_spoiled_ends": {
        "overlap-fsd-(11, 13)",
        "subsequence-fsd-(70, 50)",
    },
    "test_schedules_change_nothing": {"fsd-overlap"},
    "test_a_bandwidth_of_all_cells_changes_no_bit": {"fsd-overlap", "needleman_wunsch-None"},
    "test_no_path_and_scores_below_the_range": {"fsd-free", "fsd-overlap"},
}


@dataclass
class Fault:
    """«...» marks what is replaced; the text around it, unique in the file, says where."""

    file: str
    place: str
    faulty: str
    survives: str = ""  # why it changes no result


(
    KEPT,
    BLOCKS,
    BANDS,
    FORWARD_STEPS,
    FORWARD_STRIP,
    FORWARD,
    BACKWARD_STEPS,
    BACKWARD,
    TINY,
    INPUTS,
    SCALE,
    SECOND,
) = (
    f"csrc/cuda/{name}.h"
    for name in (
        "kept",
        "blocks",
        "bands",
        "forward_steps",
        "forward_strip",
        "forward_bands",
        "backward_steps",
        "backward_bands",
        "tiny",
        "tiny_inputs",
        "scale",
        "second_order",
    )
)
LAUNCH, LAUNCH_FORWARD, LAUNCH_BACKWARD, LAUNCH_SECOND = (
    f"csrc/cuda/launch{name}.h" for name in ("", "_forward", "_backward", "_second_order")
)
FEATURE_TABLES, FEATURE_SUMS, FEATURE_PAIRS = (
    f"csrc/cuda/feature_{name}.h" for name in ("tables", "sums", "pairs")
)
BOUNDARY, ENDS, WAVEFRONT = "csrc/cuda/boundary.cu", "csrc/cuda/ends.cu", "csrc/cuda/wavefront.h"
SCORES, PLAN, ARITHMETIC = (
    f"csrc/cuda/{name}" for name in ("feature_scores.cu", "feature_plan.h", "arithmetic.h")
)
RELAY, RELAY_INPUTS, RELAY_FORWARD, RELAY_BACKWARD = (
    f"csrc/cuda/relay{name}.h" for name in ("", "_inputs", "_forward", "_backward")
)
SEVERAL, SEVERAL_FORWARD, SEVERAL_BACKWARD, SEVERAL_SECOND, SEVERAL_LAUNCH = (
    f"csrc/cuda/{name}.h"
    for name in ("several", "several_forward", "several_backward", "several_second_order", "launch_several")
)
RECURRENCE, SMOOTH_MAX = "csrc/recurrence.h", "csrc/smooth_max.h"
COLUMNS, CHAIN, CORRIDOR = "csrc/cuda/strip_columns.h", "csrc/cuda/chain.h", "csrc/corridor.h"
INSIDE = "kSteps == Steps::kAll || unsigned(column + q) < unsigned(lane.m)"
FULL = "rows == kStripRows && t0 >= kStripRows - 1 && t0 + kChunk <= m"
NEAR = "is_near & Base<State>::is_near(relative) & is_small(near_left) & is_small(near_diagonal)"
ANEW = "base.fits_anew(first, edge, corner)"
DIRECTED = "is_directed<kCorridor == Has::kAlways>(a, pair, at.band, at.size)"
BEYOND = "what lies beyond the table is read, which AddressSanitizer sees, and used by nobody"
PAST = "a number past the pair's columns is read, and used by nobody"
MEETS = "the warp meets again before anybody reads what was written"
APART = "a column's sum is made of that column only, by the rows above; the rest is used by nobody"


def not_shifted(name: str) -> str:
    """A call that leaves a state relative to the base before."""
    return f"[&] {{ State kept = {name}; const bool fits = {ANEW}; {name} = kept; return fits; }}()"


FAULTS = [
    # -- blocks of scores and results
    Fault(BLOCKS, "from[i], «left > 0 && part.row + i < rows»);", "left > 0", BEYOND),
    Fault(BLOCKS, "from[i], «left > 0 && part.row + i < rows»);", "part.row + i < rows - 1"),
    Fault(BLOCKS, "(this->by_four && («left >= kFour || left <= 0»)) {\n const V*",
          "left >= kFour - 1 || left <= 0", PAST),
    Fault(BLOCKS, "this->column, «k < left && part.row + i < rows»);", "k + 1 < left && part.row + i < rows"),
    Fault(BLOCKS, "this->column, «k < left && part.row + i < rows»);", "k < left && part.row + i + 1 < rows"),
    Fault(BLOCKS, "to + «in_memory<kStep>(k)», from + k", "k"),
    Fault(BLOCKS, "by_four = «view.column == kStep» &&", "true"),
    Fault(BLOCKS, "«fits(uintptr_t(view.row) * sizeof(T))» &&", "true"),
    Fault(BLOCKS, "&&\n «fits(reinterpret_cast<uintptr_t>(four(view.origin)))»;", "true"),
    Fault(BLOCKS, "are_four = by_four && («left >= kFour || left <= 0»);",
          "left >= kFour - 1 || left <= 0", PAST),
    Fault(BLOCKS, "(from), «left > 0 && is_row»);", "is_row", BEYOND),
    Fault(BLOCKS, "(from), «left > 0 && is_row»);", "left > 0", BEYOND),
    Fault(BLOCKS, "to.x[k] = «k < left && is_row» ? from", "k < left - 1 && is_row"),
    Fault(BLOCKS, "? «from[k * column]» : Sixteen{0};", "from[k]"),
    Fault(BLOCKS, "value_from<float>(from.x[«k»], type);", "k ^ 1"),
    Fault(BLOCKS, "(four + «2»);", "0", "four numbers are read before the four that they become are written"),
    Fault(BLOCKS, "if («type != Type::kFloat32») SixteenLoader", "false"),
    Fault(BLOCKS, "if («left <= 0») return;", "left <= 1"),
    Fault(BLOCKS, "if («this->by_four && left >= kFour» && skipped <= 0) {\n T*", "this->by_four"),
    Fault(BLOCKS, "if («part.row + i < rows») four_at(to) =", "part.row + i < rows - 1"),
    Fault(BLOCKS, "if («part.row + i < rows») four_at(to) =", "true"),
    Fault(BLOCKS, "if («k < left» && k >= skipped) to[", "k < left - 1"),
    Fault(BLOCKS, "value_to<T>(from[«in_memory<kStep>(k)»], type);", "k"),
    Fault(BLOCKS, "i < kFour && «part.row + i < rows»; i++", "true"),
    Fault(BLOCKS, "return «type == Type::kBfloat16» ? from_bfloat16", "true"),
    Fault(BLOCKS, "return {«type == Type::kBfloat16» ? to_bfloat16", "true"),
    Fault(COLUMNS, "padding_only && row < n ? «m» : 0;", "m + 1"),
    Fault(COLUMNS, "if («padding_only && n == N && m == M») return;", "padding_only"),
    Fault(COLUMNS, "if («padding_only && n == N && m == M») return;", "padding_only && n == N"),
    Fault(COLUMNS, "end = «first + size.rows() < N ? first + size.rows() : N»;", "first + size.rows()"),
    # -- windows
    Fault(BLOCKS, "in_slot<kStep>(kFour - «(row & 3)»)", "0"),
    Fault(BLOCKS, "return «(chunk & 1)» * kBuffer;", "0"),
    Fault(BLOCKS, "kStep > 0 ? begin : «kWindow - columns - begin»;", "begin"),
    Fault(BLOCKS, "kStep > 0 ? begin : «kWindow - columns - begin»;", "kWindow - 1 - begin"),
    Fault(BLOCKS, "in_slot<kStep>(«begin + column», kFour);", "column"),
    Fault(BLOCKS, "return «chunk * kChunk - row + column + begin - kFour»;",
          "chunk * kChunk - row + column + begin"),
    Fault(BLOCKS, "return «chunk * kChunk - row + column + begin - kFour»;",
          "chunk * kChunk - row + column"),
    Fault(BLOCKS, "return «chunk * kChunk - row + column + begin - kFour»;",
          "chunk * kChunk + column + begin - kFour"),
    Fault(BLOCKS, "return «column < (of.begin & -kFour) ? 0 : of.end - column»;", "of.end - column"),
    Fault(BLOCKS, "slot = slot_of(«kFour * (lane & 7) + (lane >> 3)»);", "kFour * (lane & 3) + (lane >> 3)"),
    Fault(BLOCKS, "slot = slot_of(«kFour * (lane & 7) + (lane >> 3)»);", "lane",
          "every row is carried over; lanes only meet in the banks"),
    Fault(BLOCKS, "four_at(array[i] + «buffer_of(chunk)» + slot", "buffer_of(chunk + 1)"),
    Fault(BLOCKS, "four_at(array[i] + «buffer_of(chunk + 1)» + slot", "buffer_of(chunk)"),
    Fault(BLOCKS, "slot + in_slot<kStep>(«kChunk», kFour)", "kFour"),
    Fault(BLOCKS, "slot + in_slot<kStep>(«0», kFour)", "kFour"),
    # -- sums of columns
    Fault(BLOCKS, "«inside && lane < rows» ? array[places.at(q)]", "inside", APART),
    Fault(BLOCKS, "«inside && lane < rows» ? array[places.at(q)]", "lane < rows", APART),
    Fault(BLOCKS, "running = «lane == 0 ? own : above + own»;", "above + own"),
    Fault(BLOCKS, "running = «lane == 0 ? own : above + own»;", "own"),
    Fault(BLOCKS, "if («lane == rows - 1 && inside») sums", "lane == kStripRows - 1 && inside"),
    Fault(BLOCKS, "if («lane == rows - 1 && inside») sums", "lane == rows - 1"),
    # -- weights as they are kept
    Fault(KEPT, "return «kMost» * 0x1p-31f", "0.0f"),
    Fault(KEPT, "return «kMost» * 0x1p-31f", "-kMost"),
    Fault(KEPT, "return «kMost» * 0x1p-31f", "kMost / 2"),
    Fault(KEPT, "return «kMost» * 0x1p-31f", "0.75f"),
    Fault(KEPT, "float(«int32_t(uint32_t(diagonal) * kHalfGolden)»)",
          "int32_t(uint32_t(diagonal / 2) * kHalfGolden)"),
    Fault(KEPT, "is_fine = «t.gaps < t.all * kFineBelow»;", "false"),
    Fault(KEPT, "is_fine = «t.gaps < t.all * kFineBelow»;", "t.gaps < t.all * 2 * kFineBelow"),
    Fault(KEPT, "is_fine = «t.gaps < t.all * kFineBelow»;", "t.insert < t.all * kFineBelow"),
    Fault(KEPT, "one = «is_fine ? kFiner * kOne : kOne», r", "kOne"),
    Fault(KEPT, "unit = «fmaf(r, fmaf(-t.all, near, one), near)»;", "near * 1.0000002f"),
    Fault(KEPT, "fmaf(t.insert, unit, «addend»)", "0.0f"),
    Fault(KEPT, "fmaf(t.gaps, unit, «addend»)", "0.0f"),
    Fault(KEPT, "fmaf(«t.gaps», unit, addend)", "t.del"),
    Fault(KEPT, "low = «is_fine ? kRound + kIsFine : kRound»;", "kRound"),
    Fault(KEPT, "fine = «word & ~(word >> 16) & kIsFine», halves", "word & kIsFine"),
    Fault(KEPT, "fine = «word & ~(word >> 16) & kIsFine», halves", "0"),
    Fault(KEPT, "halves = «word ^ fine»;", "word"),
    Fault(KEPT, "zero = «fine ? kEighths : kWhole»;", "kWhole"),
    Fault(KEPT, "one = «fine ? bit_cast<float>(kEighths) + kOne : bit_cast<float>(kWhole) + kOne»;",
          "bit_cast<float>(kWhole) + kOne"),
    Fault(KEPT, "bit_cast<float>((«halves & 0xffffu») | zero)", "halves & 0xfffeu"),
    Fault(KEPT, "bit_cast<float>(«halves >> 16» | zero)", "halves & 0xffffu"),
    Fault(KEPT, "return {«one - gaps», insert", "one - insert"),
    Fault(KEPT, "(zero), «gaps - insert»};", "gaps - bit_cast<float>(zero)"),
    Fault(KEPT, "return «a * (1 / kOne)»;", "a"),
    Fault(KEPT, "(«verdict == verdict ? kNone : kSpoiled»)", "verdict == verdict ? kSpoiled : kNone"),
    Fault(KEPT, "(«verdict == verdict ? kNone : kSpoiled»)", "kNone"),
    Fault(KEPT, "return «word == kSpoiled ? NAN : word == kNone ? -1.0f : 0.0f»;",
          "word == kNone ? -1.0f : 0.0f"),
    Fault(KEPT, "return «word == kSpoiled ? NAN : word == kNone ? -1.0f : 0.0f»;",
          "word == kSpoiled ? NAN : 0.0f"),
    Fault(FORWARD_STEPS, "memory.addends[«step»]", "0"),
    Fault(FORWARD, "addend_of(«at.row0 + c * kChunk + at.lane»)", "c * kChunk + at.lane"),
    # -- cells
    Fault(FORWARD_STEPS, "x.insert = memory.array[«1»][place]", "0"),
    Fault(FORWARD_STEPS, "x.del = memory.array[«2»][place]", "1"),
    Fault(RECURRENCE, "return {c, «score >= threshold»};", "score > threshold"),
    Fault(FORWARD_STEPS, "R::kDelete == Gap::kRow ? «row[1]» : take", "row[0]"),
    Fault(FORWARD_STEPS, "memory.array[plane][place] = saved.number[«plane»];",
          "int(sizeof(saved.number) / sizeof(V)) - 1 - plane"),
    Fault(FORWARD_STEPS, "y.worst = «max_or_nan(y.worst, score)»;", "y.worst"),
    Fault(FORWARD_STEPS, "y.worst = «max_or_nan(y.worst, score)»;", "score"),
    Fault(FORWARD_STEPS, "«if (q > 0) cells.save(places.at(q - 1), q - 1, weights);»", ""),
    Fault(FORWARD_STEPS, "cells.save(«places.at(q - 1)», q - 1, weights);", "places.at(q)"),
    Fault(FORWARD_STEPS, "«cells.save(places.at(kChunk - 1), kChunk - 1, weights);»", ""),
    Fault(FORWARD_STEPS, "diagonal = from_above;\n    «now = next;»", ""),
    # -- steps forward
    Fault(FORWARD_STEPS, "from_above = «edge»;\n const State state", "next_edge"),
    Fault(FORWARD_STEPS, "«diagonal = from_above;»", "diagonal = state;"),
    Fault(FORWARD_STEPS, f"if («{INSIDE}») {{\n left", "kSteps == Steps::kAll || column + q < lane.m"),
    Fault(FORWARD_STEPS, f"if («{INSIDE}») {{\n left", INSIDE.replace("<", "<=")),
    Fault(FORWARD_STEPS, "worst = «max_or_nan(worst, now.worst)»;", "now.worst"),
    Fault(FORWARD_STEPS, "if («lane.row == bottom») below(q) = state;", "lane.row == kStripRows - 1"),
    Fault(FORWARD_STEPS, "kKept - 1 && «lane.row == bottom»", "lane.row == bottom - 1"),
    Fault(FORWARD_STEPS, "cells.read(«places.at(q + 2)»);", "places.at(q + 1)"),
    Fault(FORWARD_STEPS, "next_edge = above(«q + 1»);\n    }\n    if (kReadsAhead && q + 2", "q"),
    # -- steps backward
    Fault(BACKWARD_STEPS, "V a = «from_above + from.to_left»;", "from_above"),
    Fault(BACKWARD_STEPS, "«if (!inside) a = 0;»", "",
          "what leaves the table stays outside, and weights read as 0 pass nothing to a gap"),
    Fault(BACKWARD_STEPS, "to_above = «out.to_above + to_diagonal»;", "out.to_above + out.to_diagonal"),
    Fault(BACKWARD_STEPS, "insert = «gaps.shared ? out.to_above + out.to_left : out.to_above»;",
          "out.to_above"),
    Fault(BACKWARD_STEPS, "gaps.del_row += «out.to_left»;", "out.to_above"),
    Fault(BACKWARD_STEPS, "if («lane.row == bottom») below[q] = from.to_above;", "lane.row == 0"),
    Fault(BACKWARD_STEPS, "next = saved_at<Keeps>(array, places.at(q + 1), «is_inside(q + 1)»);",
          "is_inside(q)"),
    Fault(BACKWARD_STEPS, "next = saved_at<Keeps>(array, places.at(q + 1), «is_inside(q + 1)»);", "true"),
    # -- places and extents
    Fault(BANDS, "«sync_block();»\n    }\n    find();", ""),
    Fault(BANDS, "takes_tickets() ? «block.ticket» :", "blockIdx.x"),
    Fault(BANDS, "«int(ticket / pairs)»",
          "int(a.band.bands_of(a.pairs.rows) - 1 - ticket / a.pairs.count)"),
    Fault(BANDS, "n < 0 || m < 0 || «n > pairs.rows» ||", "false"),
    Fault(BANDS, "if («n < 0» || m < 0", "false"),
    Fault(BANDS, "pairs.rows || «m > pairs.columns»)", "m > pairs.columns + 1"),
    # -- rounds
    Fault(BANDS, "c < end; c++) {\n «if (a.band.warps > 1) sync_block();»", ""),
    Fault(BANDS, "c = «first - kLead * warp»;", "-2 * warp"),
    Fault(BANDS, "rounds = «most + 2 + kLead * (warps - 1)»;", "most + 1 + kLead * (warps - 1)"),
    Fault(BANDS, "rounds = «most + 2 + kLead * (warps - 1)»;", "most + 2 + kLead * (warps - 2)"),
    Fault(BANDS, "most = chunks_of(«left < kStripRows ? left : kStripRows»), own", "1"),
    Fault(BANDS, "c > «own + 1») continue;", "own"),
    Fault(BANDS, "«if (own > 0) start(begin);»", ""),
    Fault(BANDS, "«arrive(c);»\n      sync_warp();", ""),
    Fault(BANDS, "arrive(c);\n      «sync_warp();»", ""),
    Fault(BANDS, "«arrive(c);\n      sync_warp();\n      leave(c - 1);»",
          "leave(c - 1); sync_warp(); arrive(c);"),
    Fault(BANDS, "leave(«c - 1»);", "c - 2"),
    Fault(BANDS, "leave(c - 1);\n      «sync_warp();»", ""),
    Fault(BANDS, "start(«c + 1»);", "c"),
    Fault(BANDS, "sweep(c);\n    }\n    «copy_async_wait();»", ""),
    Fault(BANDS, "return («size.m + strip_rows - 1 + kChunk - 1») / kChunk;", "size.m + kChunk - 1"),
    Fault(BANDS, "return «rows > 0 && row0 + rows == size.n»;", "row0 + rows == size.n",
          "a warp whose strip lies below the pair's last row sweeps nothing and ends nothing"),
    Fault(BANDS, "return «size.m > 0 && band * a.band.rows() < size.n»;",
          "band * a.band.rows() < size.n"),
    # -- edges between strips
    Fault(CHAIN, "edges + («chunk + 2») % kLead * kChunk;", "chunk + 1"),
    Fault(CHAIN, "first(ring.edges + «chunk % kLead * kChunk + 1»)", "chunk % kLead * kChunk"),
    Fault(CHAIN, "last(ring.edges + «(chunk + 1) % kLead * kChunk»)", "chunk % kLead * kChunk"),
    Fault(CHAIN, "return «step < kChunk - 1 ? first[step] : *last»;", "first[step]"),
    Fault(CHAIN, "while (load_acquire_device(flag) < «end»)", "end - kChunk"),
    Fault(CHAIN, "spin_device();\n    «sync_warp();»", ""),
    Fault(CHAIN, "«sync_warp();»\n    if (lane == 0 && flag) store_release_device", ""),
    Fault(CHAIN, "store_release_device(flag, «end»)", "end + kChunk"),
    Fault(CHAIN, "if (lane == 0 && flag) «store_release_device(flag, end);»", ""),
    Fault(BANDS, "«warp == 0 && row0 > 0» ? between_bands(band - 1)", "row0 > 0",
          "a warp below the block's first one takes its edges from the block, whatever this says"),
    # -- a strip forward
    Fault(FORWARD, "(«takes && a.start != Start::kAnchored»)", "takes"),
    Fault(FORWARD_STRIP, "«if (is_nan(edge)) worst = NAN;»", ""),
    Fault(FORWARD_STRIP, f"are_all = «{FULL}»;", FULL.replace("kStripRows - 1", "kChunk")),
    Fault(FORWARD_STRIP, f"are_all = «{FULL}»;", FULL.replace("<= m", "<= m + kChunk - 1")),
    Fault(FORWARD_STRIP, f"are_all = «{FULL}»;", FULL.replace("kStripRows - 1", "kStripRows - 2"),
          "t0 is a multiple of 16: at least 30 and at least 31 are both at least 32"),
    Fault(FORWARD_STRIP, f"are_all = «{FULL}»;", FULL.replace("rows == kStripRows && ", ""),
          "lanes beyond the last row hand nothing on, and what they save is not stored"),
    Fault(FORWARD_STRIP, f"fits = «{NEAR}»;", "is_near"),
    Fault(FORWARD_STRIP, f"fits = «{NEAR}»;", NEAR.replace("is_near & ", "", 1)),
    Fault(FORWARD_STRIP, f"fits = «{NEAR}»;", NEAR.replace(" & is_small(near_left)", "")),
    Fault(FORWARD_STRIP, f"fits = «{NEAR}»;", NEAR.replace(" & is_small(near_diagonal)", "")),
    Fault(FORWARD_STRIP, f"fits = «{NEAR}»;", NEAR.replace("& Base<State>::is_near(relative) ", "")),
    Fault(FORWARD_STRIP, "return «(s.e <= kDeadNarrow)» |", "false",
          "a chunk with a dead state then looks for a base anew: slower"),
    Fault(FORWARD_STRIP, "if («all(fits) || fits_anew(relative)») return", "fits_anew(relative)",
          "a new base for every chunk: slower"),
    Fault(FORWARD_STRIP, "if (all(fits) || «fits_anew(relative)») return",
          "(leave_base(), false)", "every chunk that is not near then takes 64 bits: slower"),
    Fault(FORWARD_STRIP, f"if (!base.fits(first, edge, corner) && «!{ANEW}») return false;",
          f"({ANEW}, true)", "the chunk takes 64 bits: slower"),
    Fault(FORWARD_STRIP, "return «fits(s...)»;", "true"),
    Fault(FORWARD_STRIP, "return «fits(s...)»;", "fits(first_live(s...))"),
    Fault(FORWARD_STRIP, "return «!is_live(s) | (uint64_t(s.e + (kNear - 1)) < uint64_t(2 * kNear - 1))»;",
          "true"),
    Fault(FORWARD_STRIP, "«uint64_t(s.e + (kNear - 1)) < uint64_t(2 * kNear - 1)»", "s.e < kNear"),
    Fault(FORWARD_STRIP, "relative = Base<State>::shifted(edge, «-base.at»);", "0"),
    Fault(FORWARD_STRIP, "first = Base<State>::shifted(left, «-base.at»),", "0"),
    Fault(FORWARD_STRIP, "corner = Base<State>::shifted(diagonal, «-base.at»);", "0"),
    Fault(FORWARD_STRIP, "left = Base<State>::shifted(widened<Narrow, Wide>(near_left), «base.at»);", "0"),
    Fault(FORWARD_STRIP, "(widened<Narrow, Wide>(near_diagonal), «base.at»);", "0"),
    Fault(FORWARD_STRIP, "last() {\n    «leave_base();»", ""),
    Fault(FORWARD_STRIP, "s.e = «is_live(s) ? s.e + by : kNothing»;", "s.e + by",
          "a dead exponent lies 2^49 below the highest dead one: no strip's base brings it back"),
    Fault(FORWARD_STRIP, "«at += by;»", ""),
    Fault(FORWARD_STRIP, f"&& !«{ANEW}») return false;", not_shifted("first")),
    Fault(FORWARD_STRIP, f"&& !«{ANEW}») return false;", not_shifted("edge")),
    Fault(FORWARD_STRIP, f"&& !«{ANEW}») return false;", not_shifted("corner")),
    Fault(FORWARD_STRIP, "shuffle_from(mine.e, «first_set(live)»)", "0",
          "where the base is far from the states, the chunk takes 64 bits: slower"),
    Fault(FORWARD_STRIP, "«sync_warp();»\n    const WindowPlaces<1> places", "",
          "the shuffle of the first step meets as well; only a GPU's memory order needs it"),
    Fault(FORWARD_STRIP, "«sync_warp();»\n    return Base<State>::shifted(widened", ""),
    Fault(FORWARD_STRIP, "near_left = «Narrow::normalized(near_left)»,", "near_left"),
    Fault(FORWARD_STRIP, "out(lane.row & (kChunk - 1))), «base.at»);", "0"),
    Fault(FORWARD_STRIP, "above[lane.row] = edge;\n    «sync_warp();»", "",
          "the shuffle of the first step meets as well; only a GPU's memory order needs it"),
    Fault(FORWARD_STRIP, "left = «Wide::normalized(left)»,", "left"),
    Fault(FORWARD_STRIP, "«sync_warp();»\n    return Wide::normalized(below", ""),
    Fault(FORWARD, "if («at.warp > 0») {\n      if (takes)", "at.row0 > 0"),
    Fault(FORWARD, "«if (ballot(strip.is_spoiled())) spoil(edge);»", ""),
    Fault(FORWARD, "if («ballot(strip.is_spoiled())») spoil", "strip.is_spoiled()"),
    Fault(FORWARD, "«if (lane < kChunk) below[lane] = edge;»", ""),
    Fault(FORWARD, "given = «column - (rows - 1)»;", "column - rows"),
    Fault(FORWARD, "«at.template below<corridor.value>().has(given)») out", "given > 0 && given < m"),
    Fault(FORWARD, "«at.template below<corridor.value>().has(given)») out", "given >= 0"),
    Fault(FORWARD, "out.given(clamp(«t0 + kChunk - (rows - 1)», 0, m)", "t0 + kChunk"),
    # -- the forward kernel
    Fault(BLOCKS, "if («type == Type::kFloat32») return double", "false"),
    Fault(FORWARD, "score_at(a, 1, at.pair, «at.row0 + at.lane», 0)", "at.row0"),
    Fault(FORWARD, "state_left_of(a, pair, «at.row0 + at.lane») :", "at.row0"),
    Fault(FORWARD, "strip.diagonal = at.begins(0) ? state_left_of(a, pair, «at.row0 - 1») : nothing;",
          "at.row0 > 0 ? at.row0 : -1"),
    Fault(FORWARD, "strip.worst = «max_or_nan(strip.worst, strip.memory.row[1])»;", "strip.worst"),
    Fault(BANDS, "a.chain.flags + «pair * bands + upper»", "pair + upper"),
    Fault(BANDS, "a.chain.edges + «pair * Chain<Edge>::edges_of(a.pairs, bands - 1)»;", "0"),
    Fault(BANDS, "edges += «upper * pitch»;", "0",
          "a band writes a column after it has read it, and the band below waits for that"),
    Fault(FORWARD, "«copy_async_wait();»\n#pragma", ""),
    Fault(FORWARD, "boundary.last_column && «lane < at.rows»", "lane < at.rows - 1"),
    Fault(FORWARD, "«sync_warp();»  // after the other lanes'", "",
          "the ballot before it meets as well; only a GPU's memory order needs it"),
    Fault(FORWARD, "if («lane != 0») return;\n const V value",
          "lane != kStripRows - 1", "every lane holds the last row's score"),
    Fault(FORWARD, "value = «spoiled» ? V(NAN) : at_end", "false"),
    Fault(FORWARD, "marked(«value != value ? V(NAN) : V(kNoPath)»);", "V(kNoPath)"),
    Fault(FORWARD, "saved && !a.is_piece && («value != value || value == -ScalarCommon::kInfinity»)",
          "value != value"),
    Fault(FORWARD, "saved && !a.is_piece && («value != value || value == -ScalarCommon::kInfinity»)",
          "false"),
    # -- the backward kernel
    Fault(BACKWARD, "return «grad_score != 0» ? verdict_of", "true"),
    Fault(BACKWARD, "return «grad_score != 0» ? verdict_of", "grad_score > 0"),
    Fault(BACKWARD, "swept = «verdict >= 0»;", "true"),
    Fault(BACKWARD, "swept || verdict < 0 ? 0.0f : «NAN»", "0.0f"),
    Fault(BANDS, "Edge edge = «column == begin» ? first", "column == 1"),
    Fault(BACKWARD, "start, [](int) { «copy_async_wait();» }", ""),
    Fault(SECOND, "{ «copy_async_wait();» }, leave, [&](int c) { sweep_edges(at, c, V(0)", ""),
    Fault(SECOND, "{ «copy_async_wait();» }, leave,\n      [&](int c) { sweep_edges(at, c, first", ""),
    Fault(BANDS, "if («at.warp == 0») {\n    const int column", "at.row0 == 0"),
    Fault(BANDS, "above[lane] = edge;\n    «sync_warp();»", ""),
    Fault(BANDS, f"steps(chunk, «{FULL}», above", FULL.replace("kStripRows - 1", "kChunk"),
          "weights before the first column are 0 from the second chunk on, and nothing arrives there"),
    Fault(BANDS, "if (out.edges) {\n    «sync_warp();»", ""),
    Fault(BANDS, "given = «t0 - (rows - 1)», column", "t0 - rows"),
    Fault(BANDS, "out.given(clamp(«given + kChunk», 0, m), lane)", "t0 + kChunk"),
    Fault(BACKWARD, "(saved + «plane» * cells_of(a.pairs), part);", "(kPlanes - 1 - plane)"),
    Fault(BANDS, "blocks.row = «kStep * a.pairs.columns»;", "a.pairs.columns"),
    Fault(BACKWARD, "return {{first, «-pitch», -1}, part};", "pitch"),
    Fault(BANDS, "strips_of(a.pairs.rows) + «unsigned(row0) / kStripRows»;", "row0 / kStripRows / 2"),
    Fault(BACKWARD, "store_row_sum(a, i, «i == 1 ? insert_row : del_row»,", "i == 1 ? del_row : insert_row"),
    Fault(BACKWARD, "pair * a.pairs.rows + («n - 1 - row0 - lane»), sum);", "row0 + lane"),
    Fault(BLOCKS, "else if («type == Type::kFloat32»)\n static_cast<float*>", "false"),
    Fault(BLOCKS, "else if («type == Type::kFloat32»)\n run", "true"),
    Fault(FORWARD_STEPS, "if («which == Name::kId») return", "true"),
    Fault(LAUNCH_BACKWARD, "{is_stored(0), «is_stored(1)», is_stored(2)}", "is_stored(2)"),
    Fault(BACKWARD, "«if (lane >= rows) sum = 0;»", "", "lanes beyond the last row have added up zeros"),
    # -- sums over strips
    Fault(BOUNDARY, "if («a.columns == 1 || column < m») {", "a.columns == 1 || column < m - 1"),
    Fault(BOUNDARY, "a.columns == 1 ? 0 : «m - 1 - column»;", "column"),
    Fault(BOUNDARY, "strip < «strips_of(n)»;", "strips_of(pairs.rows)"),
    Fault(BOUNDARY, "if (verdict != verdict) sum = «NAN»;", "0"),
    Fault(BOUNDARY, "«number_at(a.grad_score, type, pair)» != 0 ? verdict_of", "1"),
    Fault(BOUNDARY, "return «w.are_full» ? verdict_as", "false"),
    # -- tiny pairs: scores and their exponentials
    Fault(INPUTS, "log_of(int64_t steps) { return «steps <= 8» ? 3", "steps <= 9"),
    Fault(INPUTS, "& (layout.pairs() - 1), «present - 1»);", "layout.pairs() - 1"),
    Fault(INPUTS, "row = «lesser((at & mask) + (on & mask), int(pairs.rows) - 1)»;",
          "(at & mask) + (on & mask)"),
    Fault(INPUTS, "column = «lesser(thread & ((1 << layout.log_width) - 1), int(pairs.columns) - 1)»;",
          "thread & ((1 << layout.log_width) - 1)"),
    Fault(INPUTS, "bits ^ («costs» ? 0x80000000u : 0u)", "false"),
    Fault(INPUTS, "spoils = «Max::spoils(worst, a.k)»;", "false"),
    Fault(INPUTS, "worst = «max_or_nan(worst, score[i])»;", "worst"),
    Fault(INPUTS, "{ready.insert.p, «bounded(ready.insert.e)»}", "ready.insert.e"),
    Fault(INPUTS, "{ready.c.p, «ready.hit ? ready.c.e : kNone»}", "ready.c.e"),
    Fault(INPUTS, "move[1] = reached(«!ready.hit»);", "true"),
    Fault(INPUTS, "reached(«move == 0 && row == size.n && column == size.m»)", "false"),
    Fault(INPUTS, "reached(«move == 0 && row == size.n && column == size.m»)",
          "move == 0 && column == size.m", "the states beyond the table that these moves lead to are dead"),
    Fault(INPUTS, "alpha[row] = reached(«!a.anchored || row == a.layout.at(pair, 0, 0)»);", "true"),
    Fault(INPUTS, "alpha[column] = reached(«!a.anchored || column == row»);", "!a.anchored",
          "the corner counts for diagonal moves only, whose share nobody asks for where every move matches"),
    Fault(INPUTS, "alpha[column] = reached(«!a.anchored || column == row»);", "true"),
    Fault(INPUTS, "«sync_block();»\n  make_borders", ""),
    Fault(INPUTS, "spoiled |= is_in & spoils ? 1u << «cell.pair» : 0u", "0"),
    Fault(INPUTS, "spoiled |= «is_in» & spoils", "true"),
    Fault(INPUTS, "«spoiled = any_bits(spoiled);»", ""),
    Fault(INPUTS, "«if (thread < kTinyWarps) memory.spoiled[thread] = 0;»", ""),
    Fault(INPUTS, "rows_at_once() const { return «threads()» >> log_width; }", "kTinyThreads"),
    Fault(INPUTS, "if (i == 0) move[i].p = «is_in ? move[i].p : beyond.p»;", "move[i].p"),
    Fault(INPUTS, "{move[i].p, «is_in ? move[i].e : beyond.e»};", "move[i].e"),
    # prefixes and suffixes
    Fault(TINY, "least = «apart < 124u ? apart : 124u»;", "apart"),
    Fault(TINY, "diagonal = «way.r == 0 ? reached(true) : edge», last", "edge"),
    Fault(TINY, "- 1) << «way.r»; // by steps", "0"),
    Fault(TINY, "shuffle_up(e_last);\n if («way.r == 0») up = edge.e;", "false"),
    Fault(TINY, "larger(larger(«bounded(by_d)», by_l), by_a)", "by_d"),
    Fault(TINY, "larger(larger(bounded(by_d), «by_l»), by_a)", "by_d"),
    Fault(TINY, "e_diagonal = «now_inside & 1u << q ? up : e_diagonal»;", "up"),
    Fault(TINY, "e_left = «now_inside & 1u << q ? e : e_left»;", "e"),
    Fault(TINY, "«e_last = e;»", "e_last = e_left;",
          "lanes that have begun hand down their own state, and no other lane takes one"),
    Fault(TINY, "shuffle_up(last.p);\n if («way.r == 0») up = edge.p;", "false"),
    Fault(TINY, "p = fmaf(up, now.above, «fmaf(left.p, now.left, diagonal.p * now.diagonal)»);",
          "left.p * now.left"),
    Fault(TINY, "diagonal.p = «now_inside & 1u << q ? up : diagonal.p»;", "up"),
    Fault(TINY, "left.p = «now_inside & 1u << q ? p : left.p»;", "p"),
    Fault(TINY, "if («now_inside & 1u << q») way.states", "true"),
    Fault(TINY, "«DeviceFloat<int32_t>::normalize(left.p, left.e);»", "",
          "32 by 32 cells make mantissas of 2^127 at most; only states that are 2^124 apart could tell"),
    Fault(TINY, "«DeviceFloat<int32_t>::normalize(diagonal.p, diagonal.e);»", "",
          "it is the state that the lane above has left behind, at most one chunk old"),
    Fault(TINY, "«last = left;» // the two", ""),
    Fault(TINY, "«steps = larger(steps, shuffle_xor(steps, other));»", ""),
    Fault(TINY, "has_row ? «size.n - 1 - r» :", "r"),
    Fault(TINY, "kStep > 0 ? -r : «size.m - 1 + r»,", "size.m - 1"),
    Fault(TINY, "d = kStep > 0 ? at : «at + below + after»,", "at"),
    Fault(TINY, "i = kStep > 0 ? at : «at + below»,", "at"),
    Fault(TINY, "l = kStep > 0 ? at : «at + after»,", "at"),
    Fault(TINY, "states = kStep > 0 ? «at + below + after» : at;", "at"),
    Fault(TINY, "edge = reached(«kStep > 0 && !a.anchored»);", "!a.anchored",
          "no move leads to the states beyond the last row and column"),
    Fault(TINY, "dead = «last.e <= kTinyDead»;", "false"),
    Fault(TINY, "if («ballot(is_last && dead)») {", "false"),
    Fault(TINY, "hides = «without >> pair & 1» && hides_a", "true"),
    Fault(TINY, "column < («row < size.n ? size.m : 0»); column++", "size.m"),
    Fault(TINY, "(!(x > a.k.lowest()) && «x > -float(ScalarCommon::kInfinity)»);", "true"),
    Fault(TINY, "any_bits(hides ? «1u << pair» : 0u);", "1u"),
    Fault(TINY, "is_spoiled = «spoiled >> pair & 1»;", "spoiled != 0"),
    Fault(TINY, "«sync_block();»\n if (warp == 0) sweep_pairs", ""),
    Fault(TINY, "«if (warp == 1 && a.saved) sweep_pairs<Recurrence, -1>(a, memory);»", ""),
    Fault(TINY, "sweep_pairs<Recurrence, -1>(a, memory);\n «sync_block();»", ""),
    # and what is made of them
    Fault(TINY, "s = «size.unfit» ? NAN", "false"),
    Fault(TINY, "«a.anchored && size.n != size.m» ? -kInfinity", "false"),
    Fault(TINY, "total.fill == 0 ? «-kInfinity» : total.fill", "0.0f"),
    Fault(TINY, "a.score[of_batch] = «a.costs ? 0.0f - s : s»;", "s"),
    Fault(TINY, "return «plus(bits >> 23, e) > 0» ?", "true"),
    Fault(TINY, "e = «bounded(plus(beta.e, -total.z.e))»;", "plus(beta.e, -total.z.e)"),
    Fault(TINY, "total.reciprocal), plus(«bounded(plus(from.e, by.e))», e));", "plus(from.e, by.e)"),
    Fault(TINY, "from.p * by.p * («beta.p * total.reciprocal»)", "beta.p"),
    Fault(TINY, "gradient[0] = number_of(«exact», plus(through.e, e));", "about"),
    Fault(TINY, "through = alpha[«below + 1»];", "below"),
    Fault(TINY, "insert = by_move(1, «at + 1»),", "at"),
    Fault(TINY, "del = by_move(R::kMoves - 1, «below»);", "at + 1"),
    Fault(TINY, "gradient[1] = R::kTables == 2 ? «insert + del» : insert;", "insert"),
    Fault(TINY, "gradient[i] = «total.is_filled ? total.fill : gradient[i]»;", "gradient[i]"),
    Fault(TINY, "to[i * N * M] = «is_in ? gradient[i] : 0.0f»;", "gradient[i]"),
    Fault(TINY, "if («pair < a.layout.pairs() && of_batch < a.pairs.count») write_score",
          "pair < a.layout.pairs()"),
    Fault(INPUTS, "if («shared_gap») return run", "false"),
    Fault(BLOCKS, "if («type == Type::kFloat32») run", "true"),
    Fault(SCALE, "return «x == 0 || scale == 0» ? 0.0f", "scale == 0"),
    Fault(SCALE, "return «x == 0 || scale == 0» ? 0.0f", "x == 0"),
    Fault(SCALE, "«wait_for_previous();»", ""),
    Fault(SCALE, "x[k] = «begin + k * kScaleThreads < cells» ? saved", "begin < cells", BEYOND),
    Fault(SCALE, "if («begin + k * kScaleThreads < cells») out", "true"),
    Fault(SCALE, "pitch = «g.every_column ? M : 1»,", "1"),
    Fault(SCALE, "skip = «g.every_row ? M : 1»;", "1"),
    Fault(SCALE, "if («lane == 0 && at(k) < sums») out", "lane == 0"),
    # -- launchers
    Fault(LAUNCH, "bytes_ += «(numbers * int64_t(sizeof(Number)) + 15) / 16 * 16»;", "0"),
    Fault(LAUNCH, "«set_zero(a.chain.tickets, size_t(Chain<Edge>::flag_bytes(a.pairs, a.band)), stream)»",
          "cudaSuccess"),
    Fault(LAUNCH_FORWARD, "if («p.tables[1].column == 0 && p.tables[2].column == 0») return",
          "p.tables[1].column == 0"),
    Fault(BLOCKS, "else if («kRepeats && this->column == 0») {", "false",
          "numbers are then copied one by one"),
    Fault(BLOCKS, "V x = «left > 0 && part.row + i < rows» ? *from", "left > 0", BEYOND),
    Fault(LAUNCH, "blocks = «a.pairs.count * a.band.bands_of(a.pairs.rows)»;",
          "a.pairs.count * a.band.bands_of(a.pairs.rows) - 1"),
    Fault(LAUNCH, "while (warps > 1 && («warps > strips_of(pairs.rows)» ||", "false",
          "the warps too many have no strip and leave at once"),
    Fault(LAUNCH, "|| «BandMemory<V, Edge>::bytes(warps, arrays, pairs) > most»))", "false"),
    Fault(BANDS, "pair = «ticket % pairs»;",
          "(ticket + 1) % a.pairs.count", "every pair still has every band, the first ones first"),
    Fault(BANDS, "return «warp == a.band.warps - 1» && !is_last()", "warp == kMostWarps - 1"),
    Fault(LAUNCH_BACKWARD, "std::max(«has_array(2) ? 3 : has_array(1) ? 2 : 1», Arguments",
          "has_array(1) ? 2 : 1"),
    Fault(LAUNCH_BACKWARD, "std::max(«has_array(2) ? 3 : has_array(1) ? 2 : 1», Arguments",
          "has_array(2) ? 3 : 1"),
    Fault(LAUNCH_BACKWARD, "«std::max(has_array(2) ? 3 : has_array(1) ? 2 : 1, Arguments::kPlanes)»;",
          "has_array(2) ? 3 : has_array(1) ? 2 : 1"),
    Fault(LAUNCH_FORWARD, "R::kMayBeFull && «p.saves == Saves::kFullWeights»,", "false"),
    # -- second order
    Fault(SECOND, "diagonal = from_above;\n    if (lane.row == bottom) below[q] = «left»;", "diagonal"),
    Fault(SECOND, "V(0) : left);\n    if (lane.r == 0) from_above = «above[q]»;", "V(0)"),
    Fault(SECOND, "v = {v.match, «direction[1][at]», direction[2][at]};", "direction[2][at]"),
    Fault(RECURRENCE, "return {{«t.insert», t.del}};", "t.match"),
    Fault(RECURRENCE, "return {{t.insert, «t.del»}};", "t.insert"),
    Fault(SECOND, "«diagonal = from_above;»", ""),
    Fault(SECOND, "«left = t.state;»", "left += t.state;"),
    Fault(SECOND, "if («verdict != verdict» && is_directed", "true"),
    Fault(SECOND, f"verdict != verdict && «{DIRECTED}») a", "true"),
    Fault(SECOND, f"verdict != verdict && «{DIRECTED}») a", "false"),
    Fault(SECOND, "end = «first + a.band.rows() < n ? first + a.band.rows() : n»;",
          "n", "every band then looks at the rows of those below it too: slower"),
    Fault(SECOND, "end = «first + a.band.rows() < n ? first + a.band.rows() : n»;", "first + a.band.rows()"),
    Fault(SECOND, "row < end; «row += a.band.warps»)", "row += 2 * a.band.warps"),
    Fault(SECOND, "column < «inside.end(row)»; column += kStripRows)\n found", "inside.end(row) + 1"),
    Fault(SECOND, "found = «found» || !(*v", "false"),
    Fault(SECOND, "v = rows_of<typename A::V>(a.directions[i], «pair», 0);", "0"),
    Fault(SECOND, "if («at.is_last() && lane == rows - 1») a.tangent", "row0 == 0 && lane == rows - 1"),
    Fault(SECOND, "if («at.is_last() && lane == rows - 1») a.tangent",
          "at.is_last() && lane == kStripRows - 1"),
    Fault(SECOND, "loader.start(part, «given ? rows : 0», at.columns_of(part), c", "given ? rows - 1 : 0"),
    Fault(RECURRENCE, "return {V(0), t.number[0], «-t.number[0]»};", "t.number[0]"),
    Fault(RECURRENCE, "return {«-t.number[0] - t.number[1]», t.number[0], t.number[1]};", "V(0)"),
    Fault(RECURRENCE, "return {-t.number[0] - t.number[1], t.number[0], «t.number[1]»};", "t.number[0]"),
    Fault(SECOND, "array[0][at] = «out.score.tangent»;", "out.score.value"),
    Fault(SECOND, "out.to_above.tangent + («shared_gap» ? out", "false"),
    Fault(SECOND, "out.to_above.tangent + («shared_gap» ? out", "true"),
    Fault(SECOND, "array[2][at] = «out.to_left.tangent»;", "out.to_above.tangent"),
    Fault(BACKWARD_STEPS, "«to_diagonal = out.to_diagonal;»", ""),
    Fault(SECOND, "if (lane.row == bottom) below[q] = «from.to_above»;", "out.to_above"),
    Fault(SECOND, "«first.value = a.grad_score[pair];»", "first.value = 1;"),
    Fault(SECOND, "«first.value = a.grad_score[pair];»", "first.value = first.tangent = a.grad_score[pair];"),
    Fault(SECOND, "if («row0 == 0») first.value", "true", "it counts only where nothing is above"),
    Fault(SECOND, "swept ? 0.0f : float(a.tangent[pair]), «swept»);", "false"),
    Fault(SECOND, "«swept ? 0.0f : float(a.tangent[pair])», swept);", "0.0f"),
    Fault(SECOND, "swept ? 0.0f : float(a.tangent[«pair»]), swept);", "0"),
    Fault(LAUNCH_SECOND, "«set_zero(p.tangent, size_t(p.pairs.count) * sizeof(V), stream)»", "cudaSuccess"),
    Fault(LAUNCH_SECOND, "V(«p.gamma > 0 ? (p.costs ? -1 : 1) / p.gamma : 0»);", "1"),
    Fault(RECURRENCE, "t = tangent_of(w, diagonal, «v.insert + above», v.del + left", "above"),
    Fault(RECURRENCE, "tangent_of(w, diagonal, v.insert + above, «v.del + left», curvature",
          "v.insert + left"),
    Fault(RECURRENCE, "«w.match» * (v.match + diagonal)", "Value(1)"),
    Fault(RECURRENCE, "«(Value(1) - w.match)» * above + by_left", "Value(1)"),
    Fault(RECURRENCE, "const Value by_left = «w.del» * (left - above)", "w.insert"),
    Fault(RECURRENCE, "product = «w.insert» * by_left * curvature", "w.del"),
    Fault(RECURRENCE, "{Value(0), «-product», product}", "product"),
    Fault(RECURRENCE, "w.insert * («to_above - mean») * c", "to_above"),
    Fault(RECURRENCE, "a.value * b.tangent + «a.tangent * b.value»", "b.tangent * a.value"),
    # -- the boundary of gaps
    Fault(BOUNDARY, "sum += shuffle_from(x, «q»);", "lane"),
    Fault(BOUNDARY, "if («q == lane») mine = sum;", "q == 0"),
    Fault(BOUNDARY, "«product < double(kDead)») return", "product == -ScalarCommon::kInfinity",
          "what is too low for 64 bits converts to the lowest number, which is a dead exponent too"),
    Fault(BOUNDARY, "else if («edges.type == Type::kFloat64»)", "true"),
    Fault(BOUNDARY, "exp2(fma(sum, k, «-whole»))", "-product"),
    Fault(BOUNDARY, "step = «side == kLeft ? gap.row : gap.column»;\n const bool is_read",
          "gap.row + gap.column"),
    Fault(BOUNDARY, "is_read = «other > 0 || a.one_for_all[side]»;", "other > 0"),
    Fault(BOUNDARY, "is_read = «other > 0 || a.one_for_all[side]»;", "true"),
    Fault(BOUNDARY, "table.data ? number_at(table, «pair * table.batch» + (is_first ? 0 : at * step))", "0"),
    Fault(BOUNDARY, "if (is_read || «own == 0»)\n found", "false"),
    Fault(BOUNDARY, "if («at < steps») put_edge", "true"),
    Fault(BOUNDARY, "if («other == 0 && !(a.one_for_all[side] && a.grad_score && "
          "number_at(a.grad_score, type, pair) != 0)»)", "other == 0"),
    Fault(BOUNDARY, "a.grad_score && «number_at(a.grad_score, type, pair) != 0»))", "true"),
    Fault(BOUNDARY, "return «score == -ScalarCommon::kInfinity ? 0\n : score == score ? "
          "number_at(a.grad_score, a.weights.type, pair)\n : double(NAN)»;",
          "number_at(a.grad_score, a.weights.type, pair)"),
    Fault(BOUNDARY, "return «sum < ScalarCommon::kInfinity» ? sum", "true"),
    Fault(BOUNDARY, "if («sum == 0 || score == -ScalarCommon::kInfinity») return 0;", "sum == 0"),
    Fault(BOUNDARY, "return «score == score» ? sum : double(NAN);", "true"),
    Fault(LAUNCH_BACKWARD, "{«p.gaps[0]», p.gaps[1]}", "p.gaps[1]"),
    Fault(BOUNDARY, "return «at == 0 ? alone : 0»;", "alone"),
    Fault(BOUNDARY, "row = pair * N + «own - 1 - at»;", "at"),
    Fault(BOUNDARY, "(«at > beyond ? number_at(a.by_left_diagonal, type, row + 1) : 0»)", "0"),
    Fault(BOUNDARY, "(pair * M + «at» + 1) * a.by_above_numbers", "own - 1 - at"),
    Fault(BOUNDARY, "(side == kLeft ? «columns» : 1), mine", "1"),
    Fault(BOUNDARY, "«total += mine;»", "total = mine;"),
    Fault(BOUNDARY, "if (sink.data && «!every_step && lane == 0») add(0, total);", "!every_step"),
    Fault(BOUNDARY, "if («has_cells && !(seed != 0 && verdict_of(a.weights, pair, size) >= 0)»)", "false"),
    Fault(BACKWARD_STEPS, "if («!inside») return;", "false"),
    Fault(BACKWARD, "by_left_diagonal[row] = «from.to_diagonal»;", "from.to_left"),
    Fault(SECOND, "if (lane < rows && at.begins(lane)) left = «beside[lane]»;", "V(0)"),
    Fault(SECOND, "if (row0 > 0 && rows > 0 && at.begins(0)) diagonal = «beside[-1]»;", "V(0)"),
    Fault(SECOND, "by_left[row] = «from.to_left.tangent»;", "from.to_left.value"),
    Fault(LAUNCH_FORWARD, "{«p.one_for_all.insert», p.one_for_all.del}", "true"),
    # -- costs
    Fault(BLOCKS, "four.x[k] = «-four.x[k]»;", "four.x[k]"),
    Fault(FORWARD, "return «a.costs ? -x : x»;", "x"),
    Fault(FORWARD, "a.score[pair] = «score_of(value, a.costs)»;", "value"),
    Fault(FORWARD, "return «costs ? V(0) - s : s»;", "costs ? -s : s"),
    Fault(LAUNCH_SECOND, "(«p.costs ? -1 : 1») / p.gamma", "1"),
    # -- features
    Fault(FEATURE_TABLES, "return «side_by_side ? x + pair : y + pair % ys»;", "x + pair"),
    Fault(FEATURE_TABLES, "x_of(pair) * «others» + y_of(pair)", "ys"),
    Fault(FEATURE_TABLES, "if (!(«squares > kLeast» && squares < kMost))", "true"),
    Fault(FEATURE_TABLES, "if (!(squares > kLeast && «squares < kMost»))", "true"),
    Fault(FEATURE_TABLES, "a.lengths[vector] = «length * scale»;", "length"),
    Fault(FEATURE_TABLES, "to[k] = «finite ? T(0) : T(NAN)»;", "T(NAN)"),
    Fault(FEATURE_TABLES, "«if (all(nothing)) return;»", ""),
    Fault(FEATURE_TABLES, "d[k] = («d[k] - unit[k] * along») / length;", "d[k]"),
    Fault(FEATURE_TABLES, "«sync_block();»\n with_form(a.kind, [&](auto form) {\n#pragma unroll 2", ""),
    Fault(FEATURE_TABLES, "added<form>(of_x[i], of_y[j]);\n }\n });\n «sync_block();»", ""),
    Fault(FEATURE_TABLES, "«step < rows && feature < depth» ? x[", "step < rows && feature <= depth",
          "what is read beyond the last feature is used by nobody"),
    Fault(FEATURE_TABLES, "depth = «a.features - k0 < kDepth ? int(a.features - k0) : kDepth»;", "kDepth"),
    Fault(FEATURE_TABLES, "if («row0 >= size.n») return;", "row0 > size.n",
          "a block without a step makes nothing"),
    Fault(FEATURE_TABLES, "a.kind == Kind::kCosines ? «sum - 1» : sum;", "1 - sum"),
    Fault(FEATURE_TABLES, "if («!is_finite(sum)» && inside) {", "false"),
    Fault(FEATURE_TABLES, "sum = T(ScalarCommon::kInfinity) + «spoilt»;", "T(0)"),
    Fault(FEATURE_TABLES, "a.kind == Kind::kRoots ? «-T(sqrt(sum))» : -sum;", "-sum"),
    Fault(FEATURE_TABLES, "if («inside.has(place_of(tx, j))») to", "true"),
    Fault(FEATURE_SUMS, "across = of_y ? («a.batch.side_by_side ? 1 : a.batch.xs») :", "1"),
    Fault(FEATURE_SUMS, "side_by_side ? sequence : «k * a.batch.ys + sequence»;",
          "sequence * a.batch.ys + k"),
    Fault(FEATURE_SUMS, "if («weight == 0» || (a.spoils", "false"),
    Fault(FEATURE_SUMS, "|| («a.spoils && a.spoils[pair] != a.spoils[pair]»)) continue;", "false"),
    Fault(FEATURE_SUMS, "steps = «inside» ? clamped(", "true"),
    Fault(FEATURE_SUMS, "g = «root == 0 && g == g ? T(0) : g / root»;", "g / root"),
    Fault(FEATURE_SUMS, "live = live || «!(magnitude(g) <= a.negligible)»;", "magnitude(g) > a.negligible"),
    Fault(FEATURE_SUMS, "kSide + kFour : 1)] = «g * weight»;", "g"),
    Fault(FEATURE_SUMS, "if (!sync_block_any(«live»)) continue;", "live && thread % kStripRows == 0"),
    Fault(FEATURE_SUMS, "if (!«sync_block_any(live)») continue;", "(sync_block(), all(live))"),
    Fault(FEATURE_SUMS, "«sync_block();»\n with_form(", ""),
    Fault(FEATURE_SUMS, "derived<form>(mine[i][f], of_other[f]);\n }\n }\n });\n «sync_block();»", ""),
    Fault(FEATURE_TABLES, "T(difference > 0) - «T(difference < 0)»;", "T(difference <= 0)"),
    Fault(FEATURE_TABLES, "kForm == Form::kAbsolute ? «magnitude(difference)» :", "difference"),
    Fault(FEATURE_SUMS, "if («step >= own_rows || feature >= width») continue;\n T& out", "step >= own_rows"),
    Fault(FEATURE_SUMS, "out = («side.adds && !in_parts ? out : T(0)») +", "T(0)"),
    Fault(FEATURE_PAIRS, "left < 0 ? 0 : «left < height» ? left",
          "left <= height", "the two are equal there"),
    Fault(FEATURE_PAIRS, "T(fits && y_length > 0 && left > 0 && «left <= height»);", "left < height"),
    Fault(FEATURE_PAIRS, "fits = «x_length >= 0 && y_length >= 0» &&", "true"),
    Fault(FEATURE_PAIRS, "spoiled = «spoiled || own != own»;", "false"),
    Fault(FEATURE_PAIRS, "has_path ? T(1) : «T(-1)»;", "T(1)"),
    Fault(FEATURE_PAIRS, "score[batch.number(pair)] = «costs» ? T(0)", "true"),
    Fault(FEATURE_PAIRS, "at = item + «i * items()»;", "i"),
    Fault(FEATURE_PAIRS, "out[at] = «factor == 0» ? T(0)", "false"),
    Fault(PLAN, "f.boundary.above = edge(batch, «piece - 1»);", "piece"),
    Fault(PLAN, "b.boundary.by_last_row = handed[«(piece + 1) % 2»];", "piece % 2"),
    Fault(PLAN, "f.is_piece = «pieces > 1»;", "false"),
    Fault(PLAN, "t.first_row = «piece * height»;", "0"),
    Fault(SCORES, "if («piece + 1 < pieces») forward(batch, piece, true);", "false"),
    Fault(SCORES, "{p_.d_x, «batch.y > 0», plan_", "false"),
    Fault(SCORES, "{p_.d_y, «(batch.x > 0 && p_.others)» || piece", "false"),
    Fault(SCORES, "p_.others) || «piece + 1 < plan_.pieces», plan_", "false"),
    Fault(PLAN, "edges + «piece % kept» * edge", "piece % 2 * 0"),
    Fault(PLAN, "abreast = std::max<int64_t>(«p.others ? all_y : count», 1);", "count",
          "a batch is then some x with all of y, or one with fewer: as before"),
    Fault(FEATURE_SUMS, "to = side.parts + «slice * sequences * steps * a.pitch» +", "0"),
    Fault(FEATURE_SUMS, "k < «(slice + 1) * across / side.slices»; k++)", "across"),
    Fault(FEATURE_SUMS, "(at / row * steps + «first_row») * features", "0"),
    Fault(FEATURE_SUMS, "if (size.unfit) «unfit = T(NAN)»;", "unfit = T(0)"),
    Fault(SCORES, "T((«p_.kind == Kind::kSquares ? 2 : p_.kind == Kind::kCosines ? -1 : 1») *", "1"),
    Fault(SCORES, "* («p_.itself ? 2 : 1»));", "1"),
    Fault(SCORES, "negligible = «plan_.has_roots() ? T(0) : T(kNegligible<T>)»;", "T(1)"),
    Fault(FORWARD, "reached = «!boundary.above || is_free_left(a.start) || a.start == Start::kGaps»;",
          "true"),
    Fault(FORWARD, "reached = «!boundary.above || is_free_left(a.start) || a.start == Start::kGaps»;",
          "!boundary.above || a.start != Start::kAnchored"),
    Fault(FORWARD, "if (a.saved && «!a.is_piece» && (value", "true",
          "no gradient reaches a piece's last cell that has no path, and what marks it is finite"),
    Fault(BACKWARD, "if («at.row0 == 0 && a.boundary.by_last_row && (seed == 0 || a.has_ends)»)",
          "at.row0 == 0 && a.boundary.by_last_row"),
    Fault(BACKWARD, "«if (a.verdicts) return a.verdicts[pair];»", ""),
    # -- bandwidth: what lies where
    Fault(CORRIDOR, "(3 * inside.right + «2 * inside.reach») / inside.down", "inside.reach"),
    Fault(CORRIDOR, "enough = «rows * (2 * w + 10) + 5 * columns»;", "rows * (2 * w + 5) + 5 * columns"),
    Fault(BANDS, "row * pitch + («has_corridor ? column % pitch : column»)", "column"),
    Fault(BANDS, "return «column > 0 ? unsigned(column) / unsigned(pitch) * int64_t(pitch) : 0»;", "0"),
    Fault(BANDS, "column = kStep > 0 ? first : «first_column() + 1 - kFour - first»;",
          "first_column() + 1 - first"),
    Fault(BANDS, "has_corridor() ? «-size.m & (kFour - 1)» : 0;", "0"),
    Fault(BLOCKS, "? «of.begin - part.first_of(block, kOut)» : 0;", "0"),
    Fault("csrc/cuda/wavefront.cu", "if («p.saved && p.pairs.bandwidth >= 0») {", "false"),
    Fault(WAVEFRONT, "«bandwidth < 0» && with_recurrence", "true"),
    Fault(LAUNCH, "kHasWords && «pairs.bandwidth < 0» && pairs", "true"),
    # which chunks, and what comes from the strip above
    Fault(BANDS, "return begin > 0 ? «(begin - 1) / kChunk» : 0;", "begin / kChunk"),
    Fault(BANDS, "return («handed_on(inside, row0 + rows - 1).end» + rows",
          "inside_of(inside, row0 + rows - 1).end"),
    Fault(BANDS, "of.end + («Arguments::kIsAdjoint && of.end < size.m + moved()»)}", "false"),
    Fault(BANDS, "of.end + («Arguments::kIsAdjoint && of.end < size.m + moved()»)}", "Arguments::kIsAdjoint"),
    Fault(BANDS, "of.above = «row0 > 0 ? handed_on(inside, row0 - 1) : own»;", "own"),
    Fault(BANDS, "own = has_corridor() ? «columns().end» : chunks_of", "columns().end - 1"),
    Fault(BANDS, "if (lane < kChunk && «!at.above().has(t0 + lane)») above", "false"),
    Fault(BANDS, "edge = in.edges[«column - begin»];", "column"),
    Fault(BANDS, "out.edges[«column - begin»] = below", "column"),
    Fault(FORWARD, "takes = lane < kChunk && «above_it.has(column)»;", "column < m"),
    Fault(FORWARD, "in.wait(«t0 + kChunk < above_it.end ? t0 + kChunk : above_it.end», lane);",
          "t0 + kChunk < m ? t0 + kChunk : m"),
    Fault(FORWARD, "at.lane < at.rows && «at.begins(at.lane)» ? state", "true"),
    # a lane's columns
    Fault(COLUMNS, "return «column > lane.m + kAfter»;", "false"),
    Fault(COLUMNS, "return «column > lane.m + kAfter»;", "column >= lane.m + kAfter"),
    Fault(COLUMNS, "return «column > lane.m + kAfter»;", "column > lane.m"),
    Fault(BACKWARD_STEPS, "if («inside || kIsWithin<Of>») {", "inside"),
    Fault(SECOND, "array[i][places.at(q)] = «0»;", "1"),
    Fault(SECOND, "lane < rows && «at.begins(lane)») left", "true"),
    # zeros outside, and what is not looked at
    Fault(COLUMNS, "column = lane; column < «of.begin»; column", "of.begin - 1"),
    Fault(COLUMNS, "(outside_only ? «of.end» : of.begin) + lane;", "of.end + 1"),
    Fault(COLUMNS, "«of.has(int(column))» ? value : 0.0f", "true"),
    Fault(COLUMNS, "column = «inside.begin(row) + first»; column", "first"),
    Fault(SECOND, "column = «inside.begin(row) + threadIdx.x % kStripRows»;", "threadIdx.x % kStripRows"),
    # sums of gaps, and ends
    Fault(BOUNDARY, "(side == kLeft ? «inside.transposed()» : inside).end(0)", "inside"),
    Fault(BOUNDARY, "beyond = other > 0 ? «own - steps_of(a.weights.pairs, side, size)» : 0;", "0"),
    Fault(BOUNDARY, "if («inside.is_everywhere() || has_sum(strip)») sum", "true"),
    Fault(ENDS, "first_column = int(«inside.begin(size.n - 1)»);", "0"),
    Fault(ENDS, "first_row = int(«inside.transposed().begin(size.m - 1)»);", "0"),
    # -- arithmetic
    Fault(ARITHMETIC, "«e += biased - 127;»", ""),
    Fault(ARITHMETIC, "{ return «kIsNarrow ? max(e, kNothing) : e»; }", "e"),
    Fault(ARITHMETIC, "within = «d > -127 ? int32_t(d) : -127»;", "int32_t(d)"),
    Fault(ARITHMETIC, "return !(«x <= f.highest»);", "x <= 1e38f"),
    Fault(ARITHMETIC, "{s.p, «s.e > kDeadNarrow» ?", "true"),
    Fault(ARITHMETIC, "{s.p, «is_live(s)» ? int32_t", "true"),
    Fault(SMOOTH_MAX, "return {s.p, «A::settled(s.e)»};", "s.e",
          "only a table masked whole, of 2^13 steps on either side, comes below the exponents' range"),
    Fault(SMOOTH_MAX, "w = {«t.match * r», t.insert * r, t.del * r};", "t.insert * r"),
    Fault(SMOOTH_MAX, "largest(diagonal, «above + x.insert», left + x.del, w) + x.match", "above + x.del"),
    Fault(SMOOTH_MAX, "from_left = «c > A::max(a, b)»,", "c >= A::max(a, b)"),
    Fault(SMOOTH_MAX, "from_above = «b > a»;", "b >= a"),
    Fault(SMOOTH_MAX, "w.del = A::select(«left > above», Value(1)", "left >= above"),
    Fault(RECURRENCE, "return {a, share * w.match, «share * w.insert», share * w.del};", "share * w.del"),
    Fault(RECURRENCE, "{{insert, «lesser(rest, where(no_match, rest, w.del))»}}",
          "where(no_match, rest, w.del)"),
    Fault(RECURRENCE, "lesser(one, «where(both(no_match, is_zero(w.del)), one, w.insert)»)", "w.insert"),
    Fault(RECURRENCE, "choose(hit, zero, «one - insert»)", "insert"),
    # -- few pairs: places, strips, rounds
    Fault(RELAY, "* 2 + «k») * kStripRows", "0"),
    Fault(RELAY, "((step & («kRing - 1»)) * 2", "kRing / 2 - 1"),
    Fault(RELAY, "strip = «int(ticket / a.pairs.count)»;",
          "int(relay_strips(a.pairs.rows) - 1 - ticket / a.pairs.count)"),
    Fault(RELAY, "rows = «size.n - row0 < kRelayRows» ?", "false"),
    Fault(RELAY, "return size.m > 0 && «rows > 0»;", "true"),
    Fault(RELAY, "return «(rows - 1) >> 1»;", "kStripRows - 1"),
    Fault(RELAY, "return «(rows - 1) & 1»;", "1"),
    Fault(RELAY, "(size.m + «bottom()» + kChunk - 1)", "0"),
    Fault(RELAY, "«sync_roles();»\n      sync_roles();\n    } else if", ""),
    Fault(RELAY, "«sync_roles();»\n      sync_roles();\n      for", "take(-1);"),
    Fault(RELAY, "take(«c - 1»);", "c"),
    Fault(RELAY, "give(«c - 1»);", "c"),
    Fault(RELAY, "if («c > 0» && c <= own) give", "true"),
    Fault(RELAY, "if (c + 1 < own) fetch(«c + 1»);", "c"),
    Fault(RELAY, "«bring(-1);»", ""),
    Fault(RELAY, "bring(«c + 1»);", "c"),
    Fault(RELAY, "chunk * kChunk + lane - «bottom()»;", "kStripRows + 1"),
    # edges between strips
    Fault(RELAY, "store_word(&word, «kTag | bit_cast<uint32_t>(x)»)", "bit_cast<uint32_t>(x)"),
    Fault(RELAY, "while («!((seen = load_word(&word)) & kTag)»)", "(seen = load_word(&word), false)"),
    Fault(RELAY, "while («!((seen = load_words(&words)).low & kTag)»)",
          "(seen = load_words(&words), false)"),
    Fault(RELAY, "«int64_t(seen.high)»};", "int32_t(seen.high)"),
    Fault(RELAY, "edges + («pair * (relay_strips(a.pairs.rows) - 1) + upper»)", "upper"),
    # four columns of a row
    Fault(RELAY, "- («row_lane & ~(kFour - 1)»)) {}", "row_lane"),
    Fault(RELAY, "«(lane & 7) + 16 * half»", "(lane & 7) + 8 * half"),
    Fault(RELAY, "return (warp & 3) - «1»;", "2"),
    Fault(RELAY, "return {lane, «warp >> 2»};", "0"),
    Fault(RELAY, "comes(chunk, i) - «kFour»;", "0"),
    Fault(RELAY, "column - «kLanesApart * i»;", "0"),
    Fault(RELAY, "by_four = «column == kStep» &&", "true"),
    Fault(RELAY, "«reinterpret_cast<uintptr_t>(four(origin)) % uintptr_t(kFour * bytes) == 0»;", "true"),
    Fault(RELAY, "return by_four && «left >= kFour»; }", "left > 0"),
    Fault(RELAY, "«has_some = true;»", ""),
    Fault(RELAY, "if («are_some(by_four, left)») run", "true",
          "columns that were copied four at once are copied one by one as well: slower"),
    Fault(RELAY, "reinterpret_cast<const char*>(«at & ~(each - 1)»);", "at"),
    Fault(RELAY, "(from + k * column),\n                   «k < left»);", "k < left - 1"),
    Fault(RELAY, "if («k < left») halves[k] =", "k < left - 1"),
    Fault(RELAY, "halves[0] | «halves[1] << 16», to", "halves[1]"),
    Fault(RELAY, "uint16_t*>(from + «k * column»);", "k * bytes"),
    Fault(RELAY, "uint32_t*>(from + «k * column»),", "k * bytes"),
    Fault(RELAY, "«floats.words[k] ^= sign;»", ""),
    Fault(RELAY, "floats.words[k] = waiting.words[«in_memory<kStep>(k)»];", "k"),
    Fault(RELAY, "copy_async(&to.words[«in_memory<kStep>(k)»],", "k"),
    Fault(RELAY, "waiting.words[«k >> 1»] >>", "k & 1"),
    Fault(RELAY, "four_at(kStep > 0 ? to : «to - (kFour - 1)») =", "to"),
    Fault(RELAY, "numbers.x[«in_memory<kStep>(k)»] =", "k"),
    Fault(RELAY, "(data) + «four * bytes_of(type)») %", "first * bytes_of(type)"),
    Fault(RELAY, "return «column < 0» || row_of(i)", "false"),
    Fault(RELAY, "column < 0 || «row_of(i) >= rows» ?", "false"),
    Fault(RELAY, "«copy_async_wait();»\n      for (int c = own - 1", ""),
    Fault(RELAY, "to[«kStep * k»] =", "k"),
    # what a forward step takes
    Fault(RELAY_INPUTS, "(«unsigned(s.e + int(kNear - 1)) < unsigned(2 * kNear - 1)»)", "true"),
    Fault(RELAY_INPUTS, "(«unsigned(s.e + int(kNear - 1)) < unsigned(2 * kNear - 1)»)", "s.e < kNear"),
    Fault(RELAY_INPUTS, "{s.p, «is_live(s)» ? int32_t", "true"),
    Fault(RELAY_INPUTS, "{s.p, «s.e > kRelayDead» ? int64_t", "true"),
    Fault(RELAY_INPUTS, "«copy_async_wait();» // The largest score", ""),
    Fault(RELAY_INPUTS, "start_cells<kRead>(part, sources, «c + 1», at", "c"),
    Fault(RELAY_INPUTS, "ballot(«Wide::spoils(worst, a.k)») != 0", "false"),
    Fault(RELAY_INPUTS, "if («a.shared_gap») return bring_tables", "true"),
    Fault(RELAY_INPUTS, "if («c < 0») break;", "false",
          "cells before the table keep the state, and what they say of the pair is said of chunk 3 again"),
    Fault(RELAY_INPUTS, "is_spoiled[«c & 3»][bringer]", "c & 1"),
    Fault(RELAY_INPUTS, "is_spoiled[c & 3][«bringer»]", "0"),
    Fault(RELAY_INPUTS, "x.e = «x.e > kDeadNarrow ? x.e : kRelayNothing»;", "x.e"),
    Fault(RELAY_INPUTS, "{c.p, «hit ? settled(c).e : kRelayNothing»}", "settled(c).e"),
    Fault(RELAY_INPUTS, "one{1, «hit ? kRelayNothing : 0»};", "0"),
    Fault(RELAY_INPUTS, "kRead == 2 ? insert : «Narrow::input(score(kRead - 1, x), a.k)»);", "insert"),
    Fault(RELAY_INPUTS, "place = places[x] + «BringsPart::kLanesApart * row»;", "0"),
    Fault(RELAY_INPUTS, "inside ? moves.del.p : «1»;", "2"),
    Fault(RELAY_INPUTS, "inside = «x < left»;", "left > 0"),
    Fault(RELAY_INPUTS, "inside ? moves.del.e : «0»;", "kRelayNothing"),
    Fault(RELAY_FORWARD, "boundary_state<Wide>(«takes && a.start != Start::kAnchored»)", "takes"),
    Fault(RELAY_FORWARD, "base != kNoBase && «Base<State>::fits(relative)»;", "true"),
    Fault(RELAY_FORWARD, "at.lane] = «narrowed(relative)»;", "narrowed(edge)"),
    Fault(RELAY_FORWARD, "shifted(edge, base == kNoBase ? 0 : «-base»)", "base"),
    # forward: what leaves
    Fault(RELAY_FORWARD, "i < kBringers; i++) is_spoiled = is_spoiled || «memory.is_spoiled[c & 3][i]»;",
          "memory.is_spoiled[c & 3][0]"),
    Fault(RELAY_FORWARD, "is_spoiled = «ballot(is_nan(edge)) != 0» || is_spoiled;",
          "(ballot(is_nan(edge)), false)"),
    Fault(RELAY_FORWARD, "is_spoiled || «memory.begins_spoiled»;", "false"),
    Fault(RELAY_FORWARD, "if (c == «at.chunks() - 1» && at.lane", "0"),
    Fault(RELAY_FORWARD, "column < 0 || «column >= at.size.m») return;\n  const int64_t base", "false"),
    Fault(RELAY_FORWARD, "ring_place(c * kChunk + at.lane, «at.bottom_row()», at.bottom())", "1"),
    Fault(RELAY_FORWARD, "if («base != kNoBase») {", "true"),
    Fault(RELAY_FORWARD, "shifted(Wide::normalized(given), «base»);", "0"),
    Fault(RELAY_FORWARD, "«if (is_spoiled) spoil(edge);»", ""),
    Fault(RELAY_FORWARD, "t.insert * r, «t.del * r»}", "t.del",
          "LCS keeps the weight of insert, and asks of delete's only whether it is 0"),
    Fault(RELAY_FORWARD, "Weights<float>{«t.gaps == 0 ? 1.0f : 0.0f», t.insert", "0.0f"),
    Fault(RELAY_FORWARD, "t.gaps = «t.match == 0 ? t.all : fminf(t.gaps, t.all)»;", "fminf(t.gaps, t.all)"),
    Fault(RELAY_FORWARD, "t.gaps = «t.match == 0 ? t.all : fminf(t.gaps, t.all)»;",
          "t.match == 0 ? t.all : t.gaps"),
    Fault(RELAY_FORWARD, "addend_of(«at.row0 + part.row_of(row) + column»)", "part.row_of(row) + column"),
    Fault(RELAY_FORWARD, "has_some = «has_some || part.are_some(sink.by_four, left)»;", "has_some"),
    Fault(RELAY_FORWARD, "place = first + «TakesPart::kLanesApart * row»;", "0"),
    Fault(RELAY_FORWARD, "|| «row >= at.rows») continue;", "row >= at.rows - 1"),
    Fault(RELAY_FORWARD, "if («memory.ends_spoiled») spoil", "false"),
    Fault(RELAY_FORWARD, "end = «at.bottom_row() ? steps.last(1) : steps.last(0)»;", "steps.last(1)"),
    Fault(RELAY_FORWARD, "at.bottom()), «memory.ends_spoiled»,", "false"),
    # the steps: whether exponents fit in 32 bits
    Fault(RELAY_FORWARD, "state_left_of(a, at.pair, «at.row0 + row») :", "at.row0"),
    Fault(RELAY_FORWARD, "|| «is_nan(wide_left[1])» ||", "false"),
    Fault(RELAY_FORWARD, "|| «is_nan(wide_diagonal)») != 0", "false"),
    Fault(RELAY_FORWARD, "& «(memory.above_base[c & 1] == base.at)» &", "true"),
    Fault(RELAY_FORWARD, "& «is_near(left[0])» & is_near", "true"),
    Fault(RELAY_FORWARD, "& «is_near(left[1])» &", "true"),
    Fault(RELAY_FORWARD, "is_near(left[1]) &\n «is_near(diagonal)»;", "true"),
    Fault(RELAY_FORWARD, "if («all(fits)» || fits_anew(c))", "(all(fits), false)",
          "the exponents are looked at one by one for every chunk: slower"),
    Fault(RELAY_FORWARD, "base[c & 1] = «is_wide ? kNoBase : base.at»;", "base.at"),
    Fault(RELAY_FORWARD, "&& «!base.fits_anew(first, second, edge, corner)»)", "true",
          "every chunk after the first that is not near then takes 64 bits: slower"),
    Fault(RELAY_FORWARD, "&& «!base.fits_anew(first, second, edge, corner)»)",
          "(base.fits_anew(first, second, edge, corner), false)"),
    Fault(RELAY_FORWARD, "«if (at.lane < kChunk) memory.narrow_above[c & 1][at.lane] = narrowed(edge);»", ""),
    # and what they make
    Fault(RELAY_FORWARD, "«if (at.lane == 0) above = edge;»", ""),
    Fault(RELAY_FORWARD, "of_delete = «A::max(now.own[k] + x.last[k].e, kRelayNothing)»,",
          "now.own[k] + x.last[k].e"),
    Fault(RELAY_FORWARD, "made.insert[k] = A::scaled(x.first[k].p[1], «of_insert - e»);", "of_delete - e"),
    Fault(RELAY_FORWARD, "«diagonal = now.own[k];»", ""),
    Fault(RELAY_FORWARD, "takes_second = «at.bottom_row() == 1»;", "true"),
    Fault(RELAY_FORWARD, "leave(here + k * kStripRows, «above * now.insert[k]», del, match, sum);", "above"),
    Fault(RELAY_FORWARD, "«A::normalize(s.p, s.e);»", ""),
    Fault(RELAY_FORWARD, "{s.p, «s.e > kRelayDead ? s.e : kRelayNothing»}", "s.e",
          "it is then not near the base, and the next look at the exponents makes it dead: slower"),
    Fault(RELAY_FORWARD, "{p, «e > kRelayDead ? int64_t(e) : kNothing»}", "int64_t(e)"),
    Fault(RELAY_FORWARD, "above = «memory.above[c & 1][q]»;", "memory.above[c & 1][0]"),
    Fault(RELAY_FORWARD, "leave(place, t.insert, t.del, t.match, «t.all»);", "2 * t.all"),
    Fault(RELAY_FORWARD, "normalized(«at.bottom_row() ? wide_left[1] : wide_left[0]»);", "wide_left[1]"),
    # few pairs backward
    Fault(RELAY_BACKWARD, "first_row = at.pair * a.pairs.rows + «at.size.n - 1 - at.row0»;",
          "a.pairs.rows - 1 - at.row0"),
    Fault(RELAY_BACKWARD, "«copy_async_wait();»\n    with_kept", ""),
    Fault(RELAY_BACKWARD, "start_cells<1>(part, sources, «c + 1», at", "c"),
    Fault(RELAY_BACKWARD, "has_some = «has_some || part.are_some(by_four, left)»;", "has_some"),
    Fault(RELAY_BACKWARD, "«if (x >= left) w = {0, 0, 0};»", ""),
    Fault(RELAY_BACKWARD, "at.strip == 0 && «column == 0» ? seed", "column == 1"),
    Fault(RELAY_BACKWARD, "seed = a.grad_score ? «a.grad_score[at.pair]» : 1", "a.grad_score[0]"),
    Fault(RELAY_BACKWARD, "a.boundary.by_last_row && («seed == 0» ||", "false"),
    Fault(RELAY_BACKWARD, "adjoint = «up + to_left[k]»,", "up"),
    Fault(RELAY_BACKWARD, "share_of(up, «left_share[k]»);", "0.0f"),
    Fault(RELAY_BACKWARD, "up = fmaf(share, w.insert, «to_diagonal[k]»);", "share * w.match"),
    Fault(RELAY_BACKWARD, "if (is_bottom) given[«k»][q] = up;", "1"),
    Fault(RELAY_BACKWARD, "given[c & 1][«at.bottom_row()»][at.lane]", "1"),
    Fault(RELAY_BACKWARD, "a.pairs.columns + «column»] = edge;\n  }", "at.size.m - 1 - column"),
    Fault(RELAY_BACKWARD, "Of::adjoint(adjoint, «Keeps::share(adjoint)»,", "adjoint"),
    Fault(RELAY_BACKWARD, "= «!Of::kEveryMove && a.visits» ?", "false"),
    Fault(RELAY_BACKWARD, "= «a.shared_gap» ? out.to_above", "false"),
    Fault(RELAY_BACKWARD, "numbers[2][x] = «out.to_left»;", "out.to_above"),
    Fault(RELAY_BACKWARD, "if («left <= 0 || left > kFour») continue;", "left <= 0 || left >= kFour"),
    Fault(RELAY_BACKWARD, "(place(c, «left - 1») + TakesPart::kLanesApart * row)", "kFour - 1"),
    Fault(RELAY_BACKWARD, "(place(c, left - 1) + «TakesPart::kLanesApart * row»)", "0"),
    Fault(RELAY_BACKWARD, "by_left[first_row - part.row_of(row)] = «out.to_left»;", "out.to_diagonal"),
    Fault(RELAY_BACKWARD, "by_left_diagonal[first_row - part.row_of(row)] = «out.to_diagonal»;",
          "out.to_left"),
    Fault(RELAY_BACKWARD, "first_row * M + «at.size.m - 1», -M, a.sinks", "M - 1"),
    Fault(RELAY_BACKWARD, "first_row * M + «at.size.m - 1», -M, -1, 4)", "M - 1"),
    Fault(RELAY_BACKWARD, "if («at.warp < kRelayBand.warps») {", "at.warp == 0"),
    Fault(RELAY_BACKWARD, "swept || verdict < 0 ? 0 : «NAN»;", "0.0f"),
    Fault(RELAY_BACKWARD, "swept = «verdict >= 0»;", "true"),
    Fault(RELAY_BACKWARD, "sum += «x < left ? all[row][i][x] : 0»;", "all[row][i][x]"),
    Fault(RELAY_BACKWARD, "sum += shuffle_xor(sum, 8), «sum += shuffle_xor(sum, 16)»;", "sum"),
    Fault(RELAY_BACKWARD, "«all += sum;»", "all = sum;"),
    Fault(RELAY_BACKWARD, "for (int other = «4»; other > 0", "2"),
    Fault(RELAY_BACKWARD, "a.sinks[i].type, «first_row - part.row_of(row)», sum)", "first_row"),
    Fault(RELAY_BACKWARD, "memory.sums[i - 1][«part.row & 1»] = all;", "0"),
    Fault(RELAY_BACKWARD, "memory.sums[i][0] + «memory.sums[i][1]»);", "0"),
    Fault(RELAY_BACKWARD, "«if (at.rows > kStripRows) of_strip[1] = 0;»", ""),
    Fault(RELAY_BACKWARD, "strips_of(a.pairs.rows) + «at.row0 / kStripRows»;", "at.strip"),
    # and their launchers
    Fault(LAUNCH, "pairs.count <= «multiprocessors() / relay_strips(pairs.rows)» &&",
          "multiprocessors()"),
    Fault(LAUNCH, "«p.gamma > 0» && p.saves", "true"),
    Fault(PLAN, "for (int64_t x : {int64_t(0), «last(all_x, xs)»})", "int64_t(0)"),
    Fault(LAUNCH, "p.gamma > 0 && «p.saves != Saves::kFullWeights»", "true"),
    Fault(LAUNCH, "«!is_summed(p.sinks[1])» &&", "true"),
    Fault(RELAY, "? kTicketBytes + «pairs.count»", "1"),
    Fault(LAUNCH, "«set_zero(a.relay.tickets, size_t(bytes), stream)»;", "cudaSuccess"),
    Fault(LAUNCH, "set_zero(a.relay.tickets, «size_t(bytes)», stream);", "16"),
    # -- ends of paths
    Fault(FORWARD, "row, «is_free_left(a.start)»);", "a.start != Start::kAnchored"),
    Fault(FORWARD, "apart = «size.n > 0 ? !is_free_left(a.start) : size.m > 0 && !is_free_above(a.start)»;",
          "a.start == Start::kAnchored && size.n != size.m"),
    Fault(FORWARD, "if («a.start != Start::kGaps»)", "!charges_boundary(a.recurrence)"),
    Fault(FORWARD, "!at.is_last() || «a.joins_ends») return;", "false"),
    Fault(RELAY_FORWARD, "if («a.start != Start::kGaps»)", "!charges_boundary(a.recurrence)"),
    Fault(RELAY_FORWARD, "!at.is_last() || «a.joins_ends») return;", "false"),
    Fault(BACKWARD, "(seed == 0 || «a.has_ends»)", "false"),
    Fault(BACKWARD, "a.pairs.rows + «at.row0 + at.lane»];", "at.lane"),
    Fault(RELAY_BACKWARD, "(seed == 0 || «a.has_ends»)", "false"),
    Fault(RELAY_BACKWARD, "if («a.boundary.by_left») hand_to_boundary", "a.boundary.by_left + 1"),
    Fault(LAUNCH, "«p.ends != Ends::kLastRowAndColumn» && !is_summed", "true"),
    Fault(LAUNCH_FORWARD, "p.boundary.last_row = space.ends[«kInRow»];", "kInColumn"),
    Fault(LAUNCH_BACKWARD, "if («p.start == Start::kGaps» && error", "charges_boundary(p.recurrence)"),
    Fault(WAVEFRONT, "Type::kFloat64 && «ends == Ends::kCorner» &&", "true"),
    Fault(ENDS, "«sync_block();»\n double all", ""),
    Fault(ENDS, ": ends == Ends::kLastRowAndColumn ? size.m + «size.n - 1»", "size.n"),
    Fault(ENDS, "pair * each + (k < m ? k : «of_row + (k - m)»);", "k"),
    Fault(ENDS, "«put_number(numbers, type, pair * each + k, 0);»", ""),
    Fault(ENDS, "if («s.p != s.p») return {1, NAN};", "false"),
    Fault(ENDS, "«is_live(s) ? double(s.e) : -ScalarCommon::kInfinity»};", "double(s.e)"),
    Fault(ENDS, "return «a.type == Type::kFloat64» ? soft_end", "false"),
    Fault(ENDS, "return «below > -1100» ? Scalar", "below > -8"),
    Fault(ENDS, "score = «a.costs ? -x : x»;", "x"),
    Fault(ENDS, "(«!(score > a.lowest)» && score", "false"),
    Fault(ENDS, "&& «score > -ScalarCommon::kInfinity»);\n }\n };", "true"),
    Fault(ENDS, "«a.are_full» ? mark_as", "false"),
    Fault(ENDS, "== top && «k < first» ? k", "true"),
    Fault(ENDS, "first = «-largest_of_block(-first, memory)»;", "largest_of_block(first, memory)"),
    Fault(ENDS, "s = «(log2(all) + top)» * a.unit;", "top"),
    Fault(ENDS, "(a.score, a.type, pair, «a.costs ? 0 - s : s»);", "s"),
    Fault(ENDS, "if («a.saved && !(s > -ScalarCommon::kInfinity)») mark", "false"),
    Fault(ENDS, "mark(a, pair, size, «s == s ? double(kNoPath) : double(NAN)»);", "double(NAN)"),
    Fault(ENDS, "mark(a, pair, size, «s == s ? double(kNoPath) : double(NAN)»);", "double(kNoPath)"),
    Fault(ENDS, "return «verdict_of<Keeps>(own, size, pairs, pairs.bandwidth >= 0) >= 0»;",
          "size.n > 0 && size.m > 0"),
    Fault(ENDS, "weight * («tangent_of(k) - mean») *", "tangent_of(k)"),
    Fault(ENDS, "(a.tangent, a.type, pair, «mean»);", "number_at(a.tangent, a.type, pair)"),
    Fault(ENDS, "last = own - 1 - («in_row ? k : k - of_row»);", "in_row ? own - 1 - k : own - 1 - k + M"),
    Fault(ENDS, "(seeds, a.type, 2 * to + 1, «grad» * number_at", "1"),
    Fault(ENDS, "row = k < ends.m ? «ends.n - 1» : k - ends.m,", "0"),
    Fault(ENDS, "rows = «left < a.height ? left : a.height»;", "a.height"),
    Fault(ENDS, "(«piece % a.kept» * a.pairs.count + ends.pair)", "0"),
    Fault(ENDS, "ends.pair * rows + «row % a.height»;", "row"),
    Fault(FEATURE_PAIRS, "of_pair = «joined ? joined[pair] : own»;", "own"),
    Fault(ENDS, "if («is_piece && in_row && of_score == 0») return;", "false"),
    Fault(ENDS, "k + («in_row ? 0 : a.first_row») : at;", "0"),
    Fault(ENDS, "grad = «is_piece ? 1 : of_score»,", "of_score"),
    Fault(PLAN, "handing = «joins_pieces() ? pieces : pieces - 1»;", "pieces - 1"),
    Fault(PLAN, "f.ends = «pieces > 1 ? Ends::kCorner : p.ends»;", "p.ends"),
    Fault(PLAN, "if («piece + 1 < pieces || joins_pieces()») f.boundary", "piece + 1 < pieces"),
    Fault(LAUNCH, "if («!p.is_piece && p.ends != Ends::kCorner»)", "p.ends != Ends::kCorner"),
    Fault(SECOND, "if («at.is_last() && a.boundary.last_row») out", "a.boundary.last_row != nullptr"),
    Fault(SECOND, "last_column[pair * N + «row0 + lane»] = left;", "lane"),
    Fault(SECOND, "if («row0 == 0 && a.by_ends[kInRow]») in", "false"),
    Fault(SECOND, "from.to_left = a.by_ends[kInColumn][pair * N + «row0 + lane»];", "lane"),
    # Cells with several states.
    Fault(SEVERAL, "x.of[s] = «bits >> s & 1» ? given : none;", "true"),
    Fault(SEVERAL, "if («bits >> s & 1») sum = sum", "false"),
    Fault(SEVERAL, "in.wait(«t0 + kChunk < of_above.end ? t0 + kChunk : of_above.end», lane);", "0"),
    Fault(SEVERAL, "if («!of_above.has(column)»)", "column >= end"),
    Fault(SEVERAL, "if («!of_above.has(column)»)", "false"),
    Fault(SEVERAL, "above[lane] = «in.edges» ? in.edges", "(column > 0 ? in.edges : nullptr)"),
    Fault(SEVERAL, "in.edges[«column - begin»] : first", "column"),
    Fault(SEVERAL, ": first(«column - begin»);", "column"),
    Fault(SEVERAL, "last(«column - begin», below[lane]);", "column"),
    Fault(SEVERAL, "out.edges[«column - begin»] = below", "column"),
    Fault(SEVERAL, "out.given(«clamp(given + kChunk, 0, end)», lane);", "end"),
    Fault(SEVERAL, "unsigned(saved.number[k] != 0) << «k»;", "0"),
    Fault(SEVERAL, "V(bits >> «k» & 1);", "0"),
    Fault(SEVERAL, "return {s.p, «is_live(s) ? int32_t(s.e) : kNothingNarrow»};", "int32_t(s.e)"),
    Fault(SEVERAL, "return {s.p, «s.e > kDeadNarrow ? int64_t(s.e) : kNothing»};", "int64_t(s.e)"),
    Fault(SEVERAL, "!is_live(s) || «uint64_t(s.e + (kNear - 1)) < uint64_t(2 * kNear - 1)»;", "true"),
    Fault(SEVERAL_FORWARD, "is_over = «is_done(lane, column + q)»;", "false"),
    Fault(SEVERAL_FORWARD, "lane < rows && «!at.begins(lane)») strip.left", "false"),
    Fault(SEVERAL_FORWARD, "if («is_nan<V>(edge, a.is_soft)») strip", "false"),
    Fault(SEVERAL_FORWARD, "fits = fits && «is_near(edge)» &&", "true"),
    Fault(SEVERAL_FORWARD, "fits = fits && «is_near(strip.left.of[s])»;", "true",
          "the lane below looks at that state, too: it is its diagonal"),
    Fault(SEVERAL_FORWARD, "strip.worst = «max_or_nan(strip.worst, score)»;", "score"),
    Fault(SEVERAL_FORWARD, "if («lane.r == 0») from_above = taken", "false"),
    Fault(SEVERAL_FORWARD, "if («unsigned(column + q) < unsigned(lane.m)») {", "true"),
    Fault(SEVERAL_FORWARD, "«diagonal = from_above;»", ""),
    Fault(SEVERAL_FORWARD, "«row == kCornerRow ? F::kCorner : F::kLeft», at", "F::kLeft",
          "of the corner only the state T is read"),
    Fault(SEVERAL_FORWARD, "«is_there && is_free_above(a.start)»);", "is_there"),
    Fault(SEVERAL_FORWARD,
          "spoiled = «ballot(hides_any_score(a, pair, at.size, lane, kStripRows)) != 0 || spoiled»;",
          "spoiled"),
    Fault(SEVERAL_FORWARD, "apart = «a.start == Start::kAnywhere» ||", "false"),
    Fault(SEVERAL_FORWARD, "if («a.start == Start::kGaps» || (n > 0", "false"),
    Fault(SEVERAL_FORWARD, "«spoiled ? nan_state<V>(a.is_soft) : own»);", "own"),
    Fault(SEVERAL_FORWARD, "value == value ? «double(kNoPath)» : double(NAN)", "double(NAN)"),
    Fault(SEVERAL_FORWARD,
          "if (lane < kChunk) «below[lane] = composite_of<F::kRowStates>(nan_state<V>(a.is_soft));»",
          ""),
    Fault(SEVERAL_BACKWARD, "a.of[s] = a.of[s] + «to_left.of[s]»;", "Number{}"),
    Fault(SEVERAL_BACKWARD, "handed.above[s].value + «to_diagonal.of[place]»;", "Number{}"),
    Fault(SEVERAL_BACKWARD, "if (i == int(Score::kInsert) && «a.shared_gap») x", "false"),
    Fault(SEVERAL_BACKWARD, "sums.of_chunk[i] += «x»;", "0"),
    Fault(SEVERAL_BACKWARD, "by_left_diagonal[row] = «sum_on_side<R>(F::kLeft, from.to_diagonal)»;", "0"),
    Fault(SEVERAL_BACKWARD, "if («!by_ends && column == 0») end", "false"),
    Fault(SEVERAL_BACKWARD, "if («by_ends && column < m») end", "false"),
    Fault(SEVERAL_BACKWARD, "by_last_column[pair * N + «at.row0 + lane»];", "lane"),
    Fault(SEVERAL_BACKWARD, "«a.grad_score[pair] != 0» ? verdict_of", "true"),
    Fault(SEVERAL_BACKWARD, "«sums.of_chunk[i] = 0;»", ""),
    Fault(SEVERAL_BACKWARD, "«carry_over<-1, 1>(bits, 1, c, at.lane);»", ""),
    Fault(SEVERAL_BACKWARD, "a.partial[i - 1] + «at.strip() * M» - at.moved()", "0"),
    Fault(SEVERAL_BACKWARD, "at.strip() * M - «at.moved()»);", "0"),
    Fault(SEVERAL_BACKWARD, "at.size.m - 1 + «at.moved()») {", "0"),
    Fault(SEVERAL_BACKWARD, "if («is_done<1>(lane, column + q)») given_on = {};", "false"),
    Fault(SEVERAL_BACKWARD, "if («is_done<1>(lane, column + q)») given_on = {};",
          "is_done<0>(lane, column + q)"),
    Fault(SEVERAL_BACKWARD, "«if (column + q == lane.m) from.end_row();»", ""),
    Fault(SEVERAL_BACKWARD, "array[i * kArray + places.at(q)] = «0»;", "1"),
    Fault(SEVERAL_SECOND, "out.of[s][0] = {w.of[s][0], «-sum»};", "V(0)"),
    Fault(SEVERAL_SECOND, "on_side<R>(F::kLeft, «beside[-1]», V(0))", "V(0)"),
    Fault(SEVERAL_SECOND, "if («is_done(lane, column + q)») given_on = {};", "false",
          "the weights of edges from outside are 0"),
    Fault(SEVERAL_SECOND, "if («is_done<1>(lane, column + q)») given_on = {};", "false"),
    Fault(SEVERAL_SECOND, "lane.m) {\n      «from.end_row();»", ""),
    Fault(SEVERAL_SECOND, "j = column + q + «first_column(lane)»;", "0"),
    Fault(SEVERAL_SECOND, "lane < rows && «at.begins(lane)») left", "true"),
    Fault(SEVERAL_SECOND, "size.m - 1 + «moved» - (column", "0"),
    Fault(SEVERAL_SECOND,
          "verdict != verdict && «is_directed<kMayHaveCorridor>(a, pair, at.band, at.size)»)", "true"),
    Fault(SEVERAL_SECOND, "if (i == int(Score::kInsert) && «a.shared_gap») x", "false"),
    Fault(SEVERAL_SECOND, "end.value = «a.grad_score[pair]»;", "1"),
    Fault(SEVERAL_SECOND, "a.by_ends[kInColumn][pair * N + «row0 + lane»];", "lane"),
    Fault(SEVERAL_SECOND, "by_left_diagonal[row] = «sum_on_side<R>(F::kLeft, from.to_diagonal).tangent»;",
          "0"),
    Fault(SEVERAL_SECOND, "last_column[pair * N + «row0 + lane»] = left", "lane"),
    Fault(SEVERAL_LAUNCH, "side{«one.insert && (!opens || one.open_of_insert)»,", "one.insert"),
    Fault(BOUNDARY, "const bool is_first = «a.opens && at == 0»; const Table& table = is_first ? a.open : "
          "gap; const double x", "false"),
    Fault(BOUNDARY, "if («a.opens && at == own - 1») {", "false"),
    Fault(BOUNDARY, "number_at(a.open_sink.data, a.open_sink.type, to) + «mine»);", "0"),
    Fault(ENDS, "ends == Ends::kAnywhere ? «size.n» :", "size.n - 1"),
    # -- rows between bands, within a bandwidth
    Fault(BANDS, "of.below = «handed_on(inside, last)»;", "own"),
    Fault(BANDS, "if (lane < kChunk && «at.below().has(column)») out", "column >= begin && column < m"),
    Fault(SEVERAL, "if (lane < kChunk && «columns_below(at).has(column)») out", "is_given"),
    Fault(CORRIDOR, "2 * inside.reach / inside.down + «2»;", "1"),
    Fault(CORRIDOR, "enough = «between * (2 * w + 4) + columns + columns / 32 + 1»;",
          "between * (2 * w + 4) + columns"),
    # -- features within a bandwidth: tables lie as what is saved does
    Fault(FORWARD, "if («a.as_saved && table.column») table.row", "a.as_saved"),
    Fault(FORWARD, "if (a.as_saved && table.column) «table.row = at.columns().pitch;»", ""),
    Fault(FORWARD, "kAlways && a.as_saved) «turn = at.turn(part.first_of(c, kIn));»", ""),
    Fault(FORWARD, "if («a.as_saved && table.column»)\n    place", "false"),
    Fault(BLOCKS, "static_cast<const T*>(first) - «turn * column»", "turn"),
    Fault(ENDS, "«a.as_saved && table.column» ? places", "false"),
    Fault(BACKWARD, "else if («!zeros_only»)  // nobody", "false"),
    Fault(BACKWARD, "at.pair * («kCorridor == Has::kAlways && a.as_saved» ? cells_of", "false"),
    Fault(BACKWARD, "if (a.as_saved) «first -= at.turn(part.first_of(block, kOut));»", ""),
    Fault(BACKWARD, "pitch = «a.as_saved ? at.columns().pitch : a.pairs.columns»;", "a.pairs.columns"),
    Fault(FEATURE_TABLES, "if («of_column») inside = inside.transposed();", "false"),
    Fault(FEATURE_TABLES, "to = «own <= inside.down && inside.right >= 0» ?", "true",
          "nothing reads the columns of a row that the pair does not have"),
    Fault(FEATURE_TABLES, "return within.pitch ? «int64_t(within.pitch[pair])» : pairs.columns;",
          "pairs.columns"),
    Fault(FEATURE_TABLES, "within.pitch ? «int64_t(unsigned(column) % unsigned(pitch))» : column;", "column"),
    Fault(FEATURE_TABLES, "if («column0 >= of_rows[last].end») return;", "column0 >= of_rows[row0].end"),
    Fault(FEATURE_TABLES, "if («column0 >= of_rows[last].end») return;", "false",
          "a tile outside is made, and nothing of it is kept: that takes time only"),
    Fault(FEATURE_TABLES, "column0 += «of_rows[row0].begin & -kSide»;", "of_rows[row0].end & -kSide"),
    Fault(FEATURE_TABLES, "tiles = «sides_of(columns) + 1»;", "sides_of(columns)"),
    Fault(FEATURE_TABLES, "inside.is_everywhere() || «pairs.has_lengths()») return all;", "false"),
    Fault(FEATURE_TABLES, "inside = {int(of_row.begin - column0), «int(of_row.end - column0)»};", "columns"),
    Fault(FEATURE_SUMS, "first_other = «inside[own0].begin & -kOthers»;", "inside[own0].begin + kOthers"),
    Fault(FEATURE_SUMS, "inside[«(own0 + kSide < owns ? own0 + kSide : owns) - 1»].end;", "own0"),
    Fault(FEATURE_SUMS, "skipped = «clamped(of_column.begin - row0, steps)»;", "0"),
    Fault(FEATURE_SUMS, "steps = «clamped(of_column.end - row0, steps)» - skipped", "steps"),
    Fault(FEATURE_SUMS, "a.roots[«pair * cells_of(a.pairs)» + at", "pair * N * M"),
    Fault(PLAN, "f.as_saved = «in_corridors()»;", "false"),
    Fault(PLAN, "b.as_saved = «in_corridors()»;", "false"),
    Fault(PLAN, "count * («in_corridors() ? cells_of(p.pairs) : height * p.pairs.columns»)",
          "height * p.pairs.columns"),
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
    texts[SMOOTH_MAX] = texts[SMOOTH_MAX].replace("#pragma once", "#pragma once\nextern int planted;")
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
        found = {(test.originalname, parameters(test)) for test in self.tests}
        missing = [f"{name}[{id}]" for name, few in FEW.items() for id in few if (name, id) not in found]
        return f"no such tests: {missing}" if missing else ""

    def share_references(self, module) -> None:
        """The n-th reference of a test comes from its run without a fault: inputs are seeded."""
        if not hasattr(module, "exactly"):
            return
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
            tests = [test for test in self.tests if may_notice(test, FAULTS[number - 1].file)]
            for test in sorted(tests, key=lambda test: -self.kills[test.name]):
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


def parameters(test) -> str:
    """The id of a test's own parameters; before them stands what kernel_checks.pairs adds."""
    return re.sub("^(many|few)(-|$)", "", test.callspec.id) if hasattr(test, "callspec") else ""


def is_chosen(test) -> bool:
    some = FEW.get(test.originalname)
    return test.originalname not in LEFT_OUT and (some is None or parameters(test) in some)


def may_notice(test, file: str) -> bool:
    """Few pairs have kernels of their own; what these share with others, the tests of many pairs test."""
    if file in (RELAY, RELAY_INPUTS, RELAY_FORWARD, RELAY_BACKWARD):
        return "few" in test.name
    return file == LAUNCH or not (hasattr(test, "callspec") and test.callspec.id.startswith("few"))


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
