// Soft sweeps in float of pairs of at most 32 by 32 cells: score and gradient in one launch.
//
// All threads of a block load the scores and exponentiate them. Then one warp sweeps the prefixes, and at the
// same time another one the suffixes of the paths:
//
//   alpha(i,j) = D(i,j) alpha(i-1,j-1) + I(i,j) alpha(i-1,j) + L(i,j) alpha(i,j-1)
//   beta(i,j)  = D(i+1,j+1) beta(i+1,j+1) + I(i+1,j) beta(i+1,j) + L(i,j+1) beta(i,j+1),   beta(n,m) = 1
//
// D, I and L are the exponentials of what the moves into a cell add: match, insert and delete. Then all
// threads make the gradients, cell by cell: the share of the paths that make a move is alpha * move * beta /
// Z, with Z = alpha(n,m). All of these numbers are positive, so that nothing cancels. The saved gradients are
// those of the score; the backward launch scales them (scale.h).
//
// A block takes 1, 2 or 4 pairs, as many as have 32 rows together: `group` rows a pair, a power of two. A
// pair has group + 1 rows of `pitch` places in every array, one more than it may have cells: D, I and L end
// with a border of moves that nobody makes, alpha begins with the boundary.
#pragma once
#include "tiny_inputs.h"

namespace softdp::cuda {

// ---- sweeps -------------------------------------------------------------------------------------------

// Of a lane: its first cell's moves, where that cell's state goes, and where it is: r steps behind, in m
// columns.
struct TinyWay {
  const Power *diagonal, *above, *left;
  Power* states;
  int r, m;
};

// What a cell's state is made of: factors of the three states before it, and its exponent.
struct TinyStep {
  float diagonal, above, left;
  int32_t e;
};

// The exponents' sum wraps where a lane is beyond its pair and reads what nobody wrote.
SOFTDP_DEVICE int32_t plus(int32_t a, int32_t b) {
  return int32_t(uint32_t(a) + uint32_t(b));
}
// p * 2^(by - e) for by <= e; p is between 1/2 and 2. Less than 2^-124 p counts as that, which changes
// nothing: what it is added to has 2^-17 at least.
SOFTDP_DEVICE float factor(float p, int32_t by, int32_t e) {
  const uint32_t apart = uint32_t(e) - uint32_t(by), least = apart < 124u ? apart : 124u;
  return bit_cast<float>(bit_cast<uint32_t>(p) - (least << 23));
}

// Sweeps a warp's pairs, `steps` antidiagonals; `edge` is above the first row and left of the first column,
// but for 1 in their corner.
//
// A step's exponent is known before its mantissa, so that two short chains run side by side: maxima of
// exponents a step ahead, and sums of mantissas. Mantissas are normalised every kTinyChunk steps.
template <int kStep>
SOFTDP_DEVICE void sweep_tiny(const TinyWay& way, int steps, Power edge) {
  // A lane that has not begun keeps its left and diagonal states. `last` is for the lane below.
  Power left = edge, diagonal = way.r == 0 ? reached(true) : edge, last = edge;
  const uint64_t inside = ((uint64_t(1) << way.m) - 1) << way.r;  // by steps
  for (int t0 = 0; t0 < steps; t0 += kTinyChunk) {
    const int first = kStep * t0;
    const uint32_t now_inside = uint32_t(inside >> t0);
    int32_t e_left = left.e, e_diagonal = diagonal.e, e_last = last.e;
    const auto exponents = [&](int q) {
      const Power d = way.diagonal[first + kStep * q], a = way.above[first + kStep * q],
                  l = way.left[first + kStep * q];
      int32_t up = shuffle_up(e_last);
      if (way.r == 0) up = edge.e;
      const int32_t by_d = plus(e_diagonal, d.e), by_l = plus(e_left, l.e), by_a = plus(up, a.e),
                    e = larger(larger(bounded(by_d), by_l), by_a);
      e_diagonal = now_inside & 1u << q ? up : e_diagonal;
      e_left = now_inside & 1u << q ? e : e_left;
      e_last = e;
      return TinyStep{factor(d.p, by_d, e), factor(a.p, by_a, e), factor(l.p, by_l, e), e};
    };
    TinyStep now = exponents(0);
#pragma unroll
    for (int q = 0; q < kTinyChunk; q++) {
      TinyStep next = now;
      if (q + 1 < kTinyChunk) next = exponents(q + 1);
      float up = shuffle_up(last.p);
      if (way.r == 0) up = edge.p;
      const float p = fmaf(up, now.above, fmaf(left.p, now.left, diagonal.p * now.diagonal));
      diagonal.p = now_inside & 1u << q ? up : diagonal.p;
      left.p = now_inside & 1u << q ? p : left.p;
      last.p = p;
      if (now_inside & 1u << q) way.states[first + kStep * q] = {p, now.e};
      now = next;
    }
    left.e = e_left, diagonal.e = e_diagonal;
    DeviceFloat<int32_t>::normalize(left.p, left.e);
    DeviceFloat<int32_t>::normalize(diagonal.p, diagonal.e);
    last = left;  // the two differ where nobody asks
  }
}

// Whether a finite score of the lane's row lies below the range and was counted as -inf. Looked at only where
// no path was left: such a pair is NaN, not -inf.
template <class Recurrence>
SOFTDP_DEVICE bool hides_a_score(const TinyArguments& a, int pair, int row, const TinySize& size) {
  const TinyScores<Recurrence::kTables, Sixteen> scores(a);
  bool found = false;
  for (int column = 0; column < (row < size.n ? size.m : 0); column++)
#pragma unroll
    for (int i = 0; i < Recurrence::kTables; i++) {
      const float x = scores.score(i, scores.bits(i, pair, row, column));
      found = found || (!(x > a.k.lowest()) && x > -float(ScalarCommon::kInfinity));
    }
  return found;
}

// The lane of a pair's last row, whose last state is `last`, says what the sums are divided by.
template <class Recurrence>
SOFTDP_DEVICE void sum_up(const TinyArguments& a, TinyMemory& memory, int pair, int r, Power last) {
  const TinySize size = memory.size[pair];
  const bool is_last = r == size.n - 1, dead = last.e <= kTinyDead;
  unsigned spoiled = memory.spoiled[0] | memory.spoiled[1] | memory.spoiled[2] | memory.spoiled[3];
  if (ballot(is_last && dead)) {
    const unsigned without = any_bits(is_last && dead ? 1u << pair : 0u);
    const bool hides = without >> pair & 1 && hides_a_score<Recurrence>(a, pair, r, size);
    spoiled |= any_bits(hides ? 1u << pair : 0u);
  }
  const bool is_spoiled = spoiled >> pair & 1;
  if (is_last)
    memory.total[pair] = {last, DeviceFloat<int32_t>::reciprocal(last.p), is_spoiled ? NAN : 0.0f,
                          is_spoiled || dead};
}

// kStep 1: prefixes, row by row from the first one; -1: suffixes, from the last one.
template <class Recurrence, int kStep>
SOFTDP_DEVICE void sweep_pairs(const TinyArguments& a, TinyMemory& memory) {
  const TinyLayout& layout = a.layout;
  const int lane = int(threadIdx.x) % kStripRows, pair = lane >> layout.log_group,
            r = lane & ((1 << layout.log_group) - 1);
  const TinySize size = memory.size[pair];
  int steps = size.n + size.m - 1;
  for (int other = 1 << layout.log_group; other < kStripRows; other *= 2)
    steps = larger(steps, shuffle_xor(steps, other));
  const bool has_row = r < size.n;
  // Seen from the end, a cell's moves are those out of it. Lanes without a row stay near their pair's.
  const int row = kStep > 0 ? r
                  : has_row ? size.n - 1 - r
                            : 0,
            column = kStep > 0 ? -r : size.m - 1 + r, at = layout.at(pair, row, column), below = layout.pitch,
            after = 1;
  const int d = kStep > 0 ? at : at + below + after, i = kStep > 0 ? at : at + below,
            l = kStep > 0 ? at : at + after, states = kStep > 0 ? at + below + after : at;
  const Power edge = reached(kStep > 0 && !a.anchored);
  const TinyWay way{memory.moves(0, layout) + d,
                    memory.moves(1, layout) + i,
                    memory.moves(layout.moves - 1, layout) + l,
                    (kStep > 0 ? memory.alpha(layout) : memory.beta(layout)) + states,
                    r,
                    has_row ? size.m : 0};
  sweep_tiny<kStep>(way, steps, edge);
  if (kStep > 0) sum_up<Recurrence>(a, memory, pair, r, way.states[has_row ? r + size.m - 1 : 0]);
}

// ---- results ------------------------------------------------------------------------------------------

SOFTDP_DEVICE void write_score(const TinyArguments& a, const TinyMemory& memory, int pair, int64_t of_batch,
                               bool has_cells) {
  constexpr float kInfinity = float(ScalarCommon::kInfinity);
  const TinyTotal& total = memory.total[pair];
  float s = 0;
  if (!has_cells || memory.size[pair].n == 0) {
    const Extent size = extent_of(a.pairs, of_batch);
    s = size.unfit ? NAN : a.anchored && size.n != size.m ? -kInfinity : 0;
  } else if (total.is_filled) {
    s = total.fill == 0 ? -kInfinity : total.fill;
  } else {
    s = float((double(log2f(total.z.p)) + double(total.z.e)) * a.unit);
  }
  a.score[of_batch] = a.costs ? 0.0f - s : s;  // of no cells 0, not -0
}

// p * 2^e, 0 where that is below what float holds.
SOFTDP_DEVICE float number_of(float p, int32_t e) {
  const int32_t bits = bit_cast<int32_t>(p);
  return plus(bits >> 23, e) > 0 ? bit_cast<float>(plus(bits, int32_t(uint32_t(e) << 23))) : 0.0f;
}

// The gradients of a cell within its pair's lengths; of another one any numbers.
template <class R>
SOFTDP_DEVICE void gradients_of(const TinyArguments& a, TinyMemory& memory, const TinyCell& cell,
                                float (&gradient)[R::kTables]) {
  const TinyLayout& layout = a.layout;
  const Power* const alpha = memory.alpha(layout);
  const TinyTotal total = memory.total[cell.pair];
  const int at = cell.place(layout), below = at + layout.pitch;
  const Power beta = memory.beta(layout)[at];
  const int32_t e = bounded(plus(beta.e, -total.z.e));
  const auto by_move = [&](int move, int before) {
    const Power from = alpha[before], by = memory.moves(move, layout)[at];
    return number_of(from.p * by.p * (beta.p * total.reciprocal), plus(bounded(plus(from.e, by.e)), e));
  };
  if (R::Recurrence::kEveryMove) {
    const Power through = alpha[below + 1];  // divided so that the last cell's share is exactly 1
    const float p = through.p * beta.p, about = p * total.reciprocal,
                exact = fmaf(fmaf(-about, total.z.p, p), total.reciprocal, about);
    gradient[0] = number_of(exact, plus(through.e, e));
  } else {
    gradient[0] = by_move(0, at);
  }
  if constexpr (R::kHasGaps) {
    const float insert = by_move(1, at + 1), del = by_move(R::kMoves - 1, below);
    gradient[1] = R::kTables == 2 ? insert + del : insert;
    if (R::kTables == 3) gradient[R::kTables - 1] = del;
  }
#pragma unroll
  for (int i = 0; i < R::kTables; i++) gradient[i] = total.is_filled ? total.fill : gradient[i];
}

// The gradients of every cell, 0 beyond the pair's lengths.
template <class R>
SOFTDP_DEVICE void store_tiny(const TinyArguments& a, TinyMemory& memory) {
  const TinyLayout& layout = a.layout;
  const int N = int(a.pairs.rows), M = int(a.pairs.columns);
  float* const saved = a.saved + int64_t(blockIdx.x) * (layout.pairs() * R::kTables * N * M);
#pragma unroll 1
  for (int begin = 0; begin * layout.rows_at_once() < kStripRows; begin += kAbreast)
#pragma unroll
    for (int k = 0; k < kAbreast; k++) {
      const TinyCell cell(a.pairs, layout, begin + k);
      const bool is_in = cell.is_in(memory.size[cell.pair]);
      float gradient[R::kTables];
      gradients_of<R>(a, memory, cell, gradient);
      float* const to = saved + ((cell.pair * R::kTables * N + cell.row) * M + cell.column);
#pragma unroll
      for (int i = 0; i < R::kTables; i++) to[i * N * M] = is_in ? gradient[i] : 0.0f;
    }
}

template <class Recurrence>
SOFTDP_KERNEL_BLOCKS(kTinyThreads, kTinyBlocks)
tiny_pairs(const TinyArguments a) {
  SOFTDP_SHARED(raw);
  TinyMemory& memory = *reinterpret_cast<TinyMemory*>(raw);
  const int thread = int(threadIdx.x), warp = thread / kStripRows;
  const bool has_cells = a.pairs.rows > 0 && a.pairs.columns > 0;
  let_next_begin();
  if (has_cells) {
    with_recipe<Recurrence>(a.shared_gap, [&](auto recipe) {
      with_numbers<float>(a.tables[0].type,
                          [&](auto type) { load_tiny<decltype(recipe), decltype(type)>(a, memory); });
    });
    sync_block();
    if (warp == 0) sweep_pairs<Recurrence, 1>(a, memory);
    if (warp == 1 && a.saved) sweep_pairs<Recurrence, -1>(a, memory);
    sync_block();
  }
  const int pair = a.layout.threads() - 1 - thread;  // the last warp has no more rows than the others
  const int64_t of_batch = int64_t(blockIdx.x) * a.layout.pairs() + pair;
  if (pair < a.layout.pairs() && of_batch < a.pairs.count) write_score(a, memory, pair, of_batch, has_cells);
  if (has_cells && a.saved)
    with_recipe<Recurrence>(a.shared_gap, [&](auto recipe) { store_tiny<decltype(recipe)>(a, memory); });
}

}  // namespace softdp::cuda
