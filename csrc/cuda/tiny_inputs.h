// Tiny pairs (tiny.h): their numbers, what lies where in shared memory, and the scores' way into it.
#pragma once
#include "bands.h"

namespace softdp::cuda {

constexpr int kTinyWarps = 4;  // at most
constexpr int kTinyThreads = kTinyWarps * kStripRows;
// For whose registers a multiprocessor is to have room: as many as have room in its shared memory, where
// pairs are as large as can be and gaps are shared.
constexpr int kTinyBlocks = 6;
constexpr int kTinyCells = kStripRows * kStripRows / kTinyThreads;  // of a thread, at most
constexpr int64_t kManyPairs = 1024;  // from which on a block's two sweeping warps do the rest, too
constexpr int kAbreast = 4;           // cells of a thread that are computed together, without a branch
constexpr int kMostTogether = 4;
constexpr int kTinyChunk = 12;  // steps between two looks at mantissas
constexpr int kTinyPad = 80;    // places before and after the arrays, read by lanes beyond a pair

// A number p * 2^e. An input counts for less than 2^22 in an exponent, and a cell adds two of them, kMove. A
// live path has at most 63 cells, so that its exponent is above -63 kMove. A move that is not allowed has
// kNone + kMove / 2 at most, and a path with one of them 62 kMove more. kTinyDead lies between the two.
// States and moves are kept at kNone or above, so that the sum of two exponents fits 32 bits.
struct alignas(8) Power {
  float p;
  int32_t e;
};
constexpr int32_t kMove = 2 * 4194001;
constexpr int32_t kNone = -(1 << 30) + (1 << 23);
constexpr int32_t kTinyDead = -(1 << 29) + (1 << 22);
// Room for what mantissas add.
static_assert(kNone + kMove / 2 + 62 * kMove + 256 < kTinyDead && kTinyDead < -63 * kMove - 256,
              "live is above dead");
static_assert(int64_t(kNone) - 63 * kMove - 256 > INT32_MIN && 2 * int64_t(kNone) > INT32_MIN, "sums fit");

SOFTDP_DEVICE int32_t larger(int32_t a, int32_t b) {
  return a > b ? a : b;
}
SOFTDP_DEVICE int32_t lesser(int32_t a, int32_t b) {
  return a < b ? a : b;
}
SOFTDP_DEVICE int32_t bounded(int32_t e) {
  return larger(e, kNone);
}
SOFTDP_DEVICE Power no_path() {
  return {1.0f, kNone};
}
SOFTDP_DEVICE Power reached(bool is) {
  return {1.0f, is ? 0 : kNone};
}

// One kernel has both recipes of a recurrence of three tables. The sweeps know only where the arrays lie.
// kTables: read, and gradients written. kMoves: D, and I and L, together where they are the same.
template <class Recurrence_, bool kSharedGap>
struct TinyRecipe {
  using Recurrence = Recurrence_;
  static constexpr int kTables = Recurrence::kTables - (Recurrence::kTables == 3 && kSharedGap);
  static constexpr int kMoves = kTables == 3 ? 3 : 2;
  static constexpr bool kHasGaps = Recurrence::kTables > 1;
  static_assert(!Recurrence::kChargesBoundary, "the boundary is free or anchored");
};

struct TinyLayout {
  int log_group, log_width, log_warps;  // width: a power of two, no less than the columns
  int pitch;
  int places;  // of an array
  int moves;   // arrays of them
  TinyLayout(const Pairs& pairs, int moves)
      : log_group(log_of(pairs.rows)),
        log_width(log_of(pairs.columns)),
        log_warps(log_width < 5 && pairs.count >= kManyPairs ? 1 : 2),
        pitch((int(pairs.columns) + 2) & -2),  // odd less one: rows that lanes read lie in other banks
        places(this->pairs() * rows_of_pair() * pitch),
        moves(moves) {}
  SOFTDP_FN int pairs() const { return kStripRows >> log_group; }
  SOFTDP_FN int rows_of_pair() const { return (1 << log_group) + 1; }
  SOFTDP_FN int threads() const { return kStripRows << log_warps; }
  SOFTDP_FN int rows_at_once() const { return threads() >> log_width; }
  SOFTDP_FN int at(int pair, int row, int column) const {
    return (pair * rows_of_pair() + row) * pitch + column;
  }

 private:
  static int log_of(int64_t steps) { return steps <= 8 ? 3 : steps <= 16 ? 4 : 5; }
};

// Scores to read; strides are in bytes. Gaps beside halves may be floats.
struct TinyTable {
  const char* data;
  int64_t batch, row, column;
  Type type;
  explicit TinyTable(const Table& table)
      : data(static_cast<const char*>(table.data)),
        batch(table.batch * bytes_of(table.type)),
        row(table.row * bytes_of(table.type)),
        column(table.column * bytes_of(table.type)),
        type(table.type) {}
};

struct TinyArguments {
  Pairs pairs;
  FloatFactor k;
  double unit;
  float threshold;
  bool shared_gap, anchored, costs;
  TinyTable tables[3];
  float* score;
  float* saved;
  TinyLayout layout;
};

// Calls `run` with the recipe.
template <class Recurrence, class Run>
SOFTDP_DEVICE void with_recipe(bool shared_gap, Run run) {
  if constexpr (Recurrence::kTables == 3)
    if (shared_gap) return run(TinyRecipe<Recurrence, true>());
  run(TinyRecipe<Recurrence, false>());
}

// Of a pair: Z, the reciprocal of its mantissa, and whether the gradient is `fill` instead of what the sums
// say.
struct alignas(16) TinyTotal {
  Power z;
  float reciprocal, fill;
  int is_filled;
};

// A pair's lengths; of one that is beyond the batch, or whose lengths do not fit, 0.
struct alignas(8) TinySize {
  int n, m;
};

// What the threads of a block share. The arrays lie behind it: alpha, beta, D, I, L (or D and both gaps).
struct TinyMemory {
  TinySize size[kMostTogether];
  TinyTotal total[kMostTogether];
  alignas(16) unsigned spoiled[kTinyWarps];  // pairs by bits, of a score that is NaN or too large
  Power before[kTinyPad];
  SOFTDP_DEVICE Power* array(int i, const TinyLayout& layout) {
    return reinterpret_cast<Power*>(this + 1) + i * layout.places;
  }
  SOFTDP_DEVICE Power* alpha(const TinyLayout& layout) { return array(0, layout); }
  SOFTDP_DEVICE Power* beta(const TinyLayout& layout) { return array(1, layout); }
  SOFTDP_DEVICE Power* moves(int i, const TinyLayout& layout) { return array(2 + i, layout); }
  static size_t bytes(const TinyLayout& layout) {
    return sizeof(TinyMemory) + (size_t(layout.moves + 2) * layout.places + kTinyPad) * sizeof(Power);
  }
};
// A thread's k-th cell. Threads side by side take columns side by side. Threads that would lie beyond the
// table or the batch, and a k beyond the last row, take a cell that another one takes too: they read and
// write the same numbers at the same places, so that no thread branches.
struct TinyCell {
  int pair, row, column;  // pair: of the block's
  SOFTDP_DEVICE TinyCell(const Pairs& pairs, const TinyLayout& layout, int k) {
    const int thread = int(threadIdx.x), at = thread >> layout.log_width, on = k * layout.rows_at_once(),
              mask = (1 << layout.log_group) - 1;
    const int64_t left = pairs.count - int64_t(blockIdx.x) * layout.pairs();
    const int present = left < layout.pairs() ? int(left) : layout.pairs();
    pair = lesser(((at >> layout.log_group) + (on >> layout.log_group)) & (layout.pairs() - 1), present - 1);
    row = lesser((at & mask) + (on & mask), int(pairs.rows) - 1);
    column = lesser(thread & ((1 << layout.log_width) - 1), int(pairs.columns) - 1);
  }
  SOFTDP_DEVICE bool is_in(const TinySize& size) const { return (row < size.n) & (column < size.m); }
  SOFTDP_DEVICE int place(const TinyLayout& layout) const { return layout.at(pair, row, column); }
};

// ---- scores -------------------------------------------------------------------------------------------

// The bits of a cell's score, and the score in them; of costs its negative.
template <class T>
SOFTDP_DEVICE uint32_t bits_at(const TinyTable& table, const char* first, int pair, int row, int column) {
  const char* const at =
      first + unsigned(column) * table.column + unsigned(pair) * table.batch + unsigned(row) * table.row;
  if (std::is_same_v<T, float> || table.type == Type::kFloat32) return *reinterpret_cast<const uint32_t*>(at);
  return *reinterpret_cast<const uint16_t*>(at);
}
template <class T>
SOFTDP_DEVICE float score_in(uint32_t bits, Type type, bool costs) {
  if (!(std::is_same_v<T, float> || type == Type::kFloat32))
    bits = bit_cast<uint32_t>(value_from<float>(Sixteen{uint16_t(bits)}, type));
  return bit_cast<float>(bits ^ (costs ? 0x80000000u : 0u));
}

// D, I and L of a cell's scores.
template <class R>
SOFTDP_DEVICE void moves_of(const TinyArguments& a, const float (&score)[R::kTables],
                            Power (&move)[R::kMoves], bool& spoils) {
  using Max = SmoothMax<DeviceFloat<int32_t, kNone>>;
  using Cell = typename R::Recurrence::template Cell<Max>;
  typename Max::Input input[R::kTables];
  float worst = score[0];  // the largest, or NaN
#pragma unroll
  for (int i = 0; i < R::kTables; i++) {
    input[i] = Max::input(score[i], a.k);
    if (i > 0) worst = max_or_nan(worst, score[i]);
  }
  spoils = Max::spoils(worst, a.k);
  const auto ready = Cell::ready(score[0], a.threshold, input[0], input[R::kTables > 1 ? 1 : 0],
                                 input[R::kTables > 1 ? R::kTables - 1 : 0]);
  if constexpr (R::kHasGaps) {
    move[0] = {ready.match.p, ready.match.e};
    move[1] = {ready.insert.p, bounded(ready.insert.e)};
    if (R::kMoves == 3) move[R::kMoves - 1] = {ready.del.p, bounded(ready.del.e)};
  } else {
    move[0] = {ready.c.p, ready.hit ? ready.c.e : kNone};
    move[1] = reached(!ready.hit);
  }
}

// Instead of D where a cell is beyond the pair's lengths: nobody makes that move, but for the one out of the
// last cell, into beta(n,m).
SOFTDP_DEVICE Power move_beyond(int move, const TinySize& size, int row, int column) {
  return reached(move == 0 && row == size.n && column == size.m);
}

// Moves beyond the table, and alpha's boundary.
template <class R>
SOFTDP_DEVICE void make_borders(const TinyArguments& a, TinyMemory& memory, int pair, int first, int step) {
  const int N = int(a.pairs.rows), M = int(a.pairs.columns);
  const TinySize size = memory.size[pair];
  Power* const alpha = memory.alpha(a.layout);
  for (int i = first; i <= kStripRows; i += step) {
    const int row = a.layout.at(pair, lesser(i, N), 0), column = a.layout.at(pair, 0, lesser(i, M)),
              below = a.layout.at(pair, N, 0) - a.layout.at(pair, 0, 0);
#pragma unroll
    for (int k = 0; k < R::kMoves; k++) {
      memory.moves(k, a.layout)[row + M] = move_beyond(k, size, lesser(i, N), M);
      memory.moves(k, a.layout)[column + below] = move_beyond(k, size, N, lesser(i, M));
    }
    alpha[row] = reached(!a.anchored || row == a.layout.at(pair, 0, 0));
    alpha[column] = reached(!a.anchored || column == row);
  }
}

// The block's tables, of which a thread reads cells. T: of the scores, or Sixteen for both; gaps may be
// wider.
template <int kTables, class T>
struct TinyScores {
  const TinyArguments& a;
  const char* first[kTables];
  SOFTDP_DEVICE explicit TinyScores(const TinyArguments& a) : a(a) {
#pragma unroll
    for (int i = 0; i < kTables; i++)
      first[i] = computed_here(a.tables[i].data + int64_t(blockIdx.x) * a.layout.pairs() * a.tables[i].batch);
  }
  SOFTDP_DEVICE uint32_t bits(int i, int pair, int row, int column) const {
    return bits_at<T>(a.tables[i], first[i], pair, row, column);
  }
  SOFTDP_DEVICE float score(int i, uint32_t bits) const {
    return score_in<T>(bits, a.tables[i].type, a.costs);
  }
};

// All scores at once, as exponentials, into the arrays.
template <class R, class T>
SOFTDP_DEVICE void load_tiny(const TinyArguments& a, TinyMemory& memory) {
  const TinyLayout& layout = a.layout;
  const TinyScores<R::kTables, T> scores(a);
  const int thread = int(threadIdx.x), together = layout.pairs(),
            log_share = layout.log_warps + layout.log_group;
  uint32_t bits[kTinyCells][R::kTables] = {};
#pragma unroll
  for (int begin = 0; begin < kTinyCells; begin += kAbreast) {
    if (begin * layout.rows_at_once() >= kStripRows) break;
#pragma unroll
    for (int k = begin; k < begin + kAbreast; k++) {
      const TinyCell cell(a.pairs, layout, k);
#pragma unroll
      for (int i = 0; i < R::kTables; i++) bits[k][i] = scores.bits(i, cell.pair, cell.row, cell.column);
    }
  }
  if (thread < together) {
    const int64_t pair = int64_t(blockIdx.x) * together + thread;
    const Extent size = pair < a.pairs.count ? extent_of(a.pairs, pair) : Extent{0, 0, true};
    memory.size[thread] = {size.m ? size.n : 0, size.n ? size.m : 0};
  }
  if (thread < kTinyWarps) memory.spoiled[thread] = 0;
  sync_block();
  make_borders<R>(a, memory, thread >> log_share, thread & ((1 << log_share) - 1), 1 << log_share);
  unsigned spoiled = 0;
#pragma unroll
  for (int begin = 0; begin < kTinyCells; begin += kAbreast) {
    if (begin * layout.rows_at_once() >= kStripRows) break;
#pragma unroll
    for (int k = begin; k < begin + kAbreast; k++) {
      const TinyCell cell(a.pairs, layout, k);
      const TinySize size = memory.size[cell.pair];
      const bool is_in = cell.is_in(size);
      float score[R::kTables];
#pragma unroll
      for (int i = 0; i < R::kTables; i++) score[i] = scores.score(i, bits[k][i]);
      Power move[R::kMoves];
      bool spoils = false;
      moves_of<R>(a, score, move, spoils);
      spoiled |= is_in & spoils ? 1u << cell.pair : 0u;
// The mantissa of a move that nobody makes may be any.
#pragma unroll
      for (int i = 0; i < R::kMoves; i++) {
        const Power beyond = move_beyond(i, size, cell.row, cell.column);
        if (i == 0) move[i].p = is_in ? move[i].p : beyond.p;
        memory.moves(i, layout)[cell.place(layout)] = {move[i].p, is_in ? move[i].e : beyond.e};
      }
    }
  }
  spoiled = any_bits(spoiled);
  if (thread % kStripRows == 0) memory.spoiled[thread / kStripRows] = spoiled;
}

}  // namespace softdp::cuda
