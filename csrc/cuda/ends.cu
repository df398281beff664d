// The kernels of ends.h, and their launches.
#include "ends.h"
#include "launch.h"
#include "several_saved.h"

namespace softdp::cuda {
namespace {

constexpr int kEndsThreads = 256;

// ---- a block for each pair -------------------------------------------------------------------------------

// The warps' shares in a number of the whole block.
struct BlockMemory {
  double of_warp[kEndsThreads / kStripRows];
};

// The threads' numbers in one, in the same order each time; every thread gets it.
template <class Join>
SOFTDP_DEVICE double joined(double x, BlockMemory& memory, Join join) {
  const int warp = int(threadIdx.x) / kStripRows;
  for (int mask = kStripRows / 2; mask > 0; mask /= 2) x = join(x, shuffle_xor(x, mask));
  if (int(threadIdx.x) % kStripRows == 0) memory.of_warp[warp] = x;
  sync_block();
  double all = memory.of_warp[0];
  for (int other = 1; other < kEndsThreads / kStripRows; other++) all = join(all, memory.of_warp[other]);
  sync_block();
  return all;
}
SOFTDP_DEVICE double sum_of_block(double x, BlockMemory& memory) {
  return joined(x, memory, [](double a, double b) { return a + b; });
}
SOFTDP_DEVICE double largest_of_block(double x, BlockMemory& memory) {
  return joined(x, memory, [](double a, double b) { return max_or_nan(a, b); });
}

// The ends of a pair with cells: columns 1 .. m of the last row, then rows 1 .. n - 1 of the last column; or
// rows 1 .. n of the last column, if paths may end anywhere. Of all those that are inside.
struct EndsOfPair {
  int64_t pair, N, M, of_row;   // of_row: as ends_in_row()
  int n, m, count;              // m: those in the row
  int first_column, first_row;  // inside
  SOFTDP_DEVICE EndsOfPair(const Pairs& pairs, Ends ends, int64_t pair, const Extent& size)
      : pair(pair),
        N(pairs.rows),
        M(pairs.columns),
        n(size.n),
        of_row(ends_in_row(ends, pairs.columns)),
        m(int(ends_in_row(ends, size.m))),
        count(ends == Ends::kAnywhere           ? size.n
              : ends == Ends::kLastRowAndColumn ? size.m + size.n - 1
                                                : size.m) {
    const Corridor inside = Corridor::of(size.n, size.m, pairs.bandwidth);
    first_column = int(inside.begin(size.n - 1));
    first_row = int(inside.transposed().begin(size.m - 1));
  }
  // What lies on the side of end k; where it lies there; where among the ends' weights, which ends_of()
  // numbers.
  template <class Pointer>
  SOFTDP_DEVICE Pointer side(int k, const Pointer (&sides)[2]) const {
    return k < m ? sides[kInRow] : sides[kInColumn];
  }
  SOFTDP_DEVICE int64_t place(int k) const { return k < m ? pair * M + k : pair * N + (k - m); }
  SOFTDP_DEVICE int64_t place_of_weight(int k, int64_t each) const {
    return pair * each + (k < m ? k : of_row + (k - m));
  }
  // Calls run(k) for the thread's ends.
  template <class Run>
  SOFTDP_DEVICE void each(Run run) const {
    for (int k = int(threadIdx.x); k < count; k += kEndsThreads)
      if (k < m ? k >= first_column : k - m >= first_row) run(k);
  }
};

// Numbers of the ends of a pair, 0: those past its lengths stay so. null: not wanted.
SOFTDP_DEVICE void clear_ends(void* numbers, Type type, int64_t pair, int64_t each) {
  if (!numbers) return;
  for (int64_t k = int(threadIdx.x); k < each; k += kEndsThreads)
    put_number(numbers, type, pair * each + k, 0);
}

// ---- after a forward sweep -------------------------------------------------------------------------------

// S at an end: height + log2(part), in units of the log2. Of the hard maximum part is 1, and height is S.
struct EndState {
  double part, height;
};
template <class V>
SOFTDP_DEVICE EndState soft_end(const void* states, int64_t at) {
  const auto s = static_cast<const typename Maxima<V, true>::Wide::State*>(states)[at];
  if (s.p != s.p) return {1, NAN};
  return {double(s.p), is_live(s) ? double(s.e) : -ScalarCommon::kInfinity};
}
// Where S at end k lies on its side.
SOFTDP_DEVICE int64_t place_of_state(const JoinArguments& a, const EndsOfPair& ends, int k) {
  if (a.height >= ends.N) return ends.place(k);
  const int64_t row = k < ends.m ? ends.n - 1 : k - ends.m, piece = row / a.height,
                left = ends.N - piece * a.height, rows = left < a.height ? left : a.height;
  return k < ends.m ? (piece % a.kept * a.pairs.count + ends.pair) * ends.M + k
                    : piece * a.height * a.pairs.count + ends.pair * rows + row % a.height;
}
SOFTDP_DEVICE EndState end_of(const JoinArguments& a, const EndsOfPair& ends, int k) {
  const void* const states = ends.side(k, a.states);
  const int64_t at = place_of_state(a, ends, k);
  if (!a.is_soft) return {1, static_cast<const double*>(states)[at]};
  return a.type == Type::kFloat64 ? soft_end<double>(states, at) : soft_end<float>(states, at);
}

// What an end adds to the sum over all of them, of which the highest is at `top`.
SOFTDP_DEVICE double share_of(const EndState& end, double top) {
  const double below = end.height - top;
  return below > -1100 ? Scalar<double>::scaled(end.part, int64_t(below)) : 0;
}

// Whether a finite score of the pair was counted as -inf: hides_a_score of forward_bands.h.
SOFTDP_DEVICE bool hides_a_score(const JoinArguments& a, int64_t pair, const Extent& size) {
  if (!a.tables[0].data) return false;
  bool found = false;
  const SavedPlaces places(a.pairs, size, a.as_saved);
  const auto look = [&](int64_t row, int64_t column) {
    if (found) return;
    for (const Table& table : a.tables) {
      if (!table.data) continue;
      const int64_t place =
          a.as_saved && table.column ? places.of(row, column) : row * table.row + column * table.column;
      const double x = number_at(table, pair * table.batch + place);
      const double score = a.costs ? -x : x;
      found = found || (!(score > a.lowest) && score > -ScalarCommon::kInfinity);
    }
  };
  const Corridor inside = Corridor::of(size.n, size.m, a.pairs.bandwidth);
  each_cell(inside, size.n, size.m, int(threadIdx.x), kEndsThreads, look);
  return sync_block_any(found);
}

// The verdict on a pair without a gradient, in place of its last cell's weights.
template <class V, bool kFull>
SOFTDP_DEVICE void mark_as(void* saved, const Pairs& pairs, int64_t pair, const Extent& size,
                           double verdict) {
  using Keeps = Kept<TwoWeights, V, kFull>;
  const int64_t cells = cells_of(pairs),
                last = SavedPlaces(pairs, size, pairs.bandwidth >= 0).of(size.n - 1, size.m - 1);
  V* const own = static_cast<V*>(saved) + pair * Keeps::kNumbers * cells;
  for (int plane = 0; plane < Keeps::kNumbers; plane++) own[plane * cells + last] = Keeps::marked(V(verdict));
}
SOFTDP_DEVICE void mark(const JoinArguments& a, int64_t pair, const Extent& size, double verdict) {
  if (a.several.planes) return mark_verdict(a.several, a.pairs, pair, size, verdict);
  if (a.type == Type::kFloat64) return mark_as<double, true>(a.saved, a.pairs, pair, size, verdict);
  a.are_full ? mark_as<float, true>(a.saved, a.pairs, pair, size, verdict)
             : mark_as<float, false>(a.saved, a.pairs, pair, size, verdict);
}

SOFTDP_KERNEL(kEndsThreads)
join_ends(const JoinArguments a) {
  SOFTDP_SHARED(raw);
  BlockMemory& memory = *reinterpret_cast<BlockMemory*>(raw);
  const int64_t pair = blockIdx.x, each = ends_of(a.ends, a.pairs.rows, a.pairs.columns);
  const Extent size = extent_of(a.pairs, pair);
  clear_ends(a.weights, a.type, pair, each);
  if (size.n == 0 || size.m == 0) return;  // the sweep has written the score

  const EndsOfPair ends(a.pairs, a.ends, pair, size);
  double top = -ScalarCommon::kInfinity;
  ends.each([&](int k) { top = max_or_nan(top, end_of(a, ends, k).height); });
  top = largest_of_block(top, memory);
  double s = top;
  if (top > -ScalarCommon::kInfinity) {
    // Of all ends, or of the hard maximum the first of the highest.
    double all = 0, first = ends.count;
    if (a.is_soft) {
      ends.each([&](int k) { all += share_of(end_of(a, ends, k), top); });
      all = sum_of_block(all, memory);
      s = (log2(all) + top) * a.unit;
    } else {
      ends.each([&](int k) { first = end_of(a, ends, k).height == top && k < first ? k : first; });
      first = -largest_of_block(-first, memory);
    }
    if (a.weights)
      ends.each([&](int k) {
        const double weight = a.is_soft ? share_of(end_of(a, ends, k), top) / all : double(k == first);
        put_number(a.weights, a.type, ends.place_of_weight(k, each), weight);
      });
  } else if (top == top && hides_a_score(a, pair, size)) {
    s = NAN;
  }
  if (threadIdx.x != 0) return;
  put_number(a.score, a.type, pair, a.costs ? 0 - s : s);
  if (a.saved && !(s > -ScalarCommon::kInfinity)) mark(a, pair, size, s == s ? double(kNoPath) : double(NAN));
}

// ---- the second order ------------------------------------------------------------------------------------

// Whether a pair has been swept, from the weights of its cells in full.
template <class V>
SOFTDP_DEVICE bool is_swept(const void* saved, const Pairs& pairs, int64_t pair, const Extent& size) {
  using Keeps = Kept<TwoWeights, V, true>;
  const V* const own = static_cast<const V*>(saved) + pair * Keeps::kNumbers * cells_of(pairs);
  return verdict_of<Keeps>(own, size, pairs, pairs.bandwidth >= 0) >= 0;
}

SOFTDP_KERNEL(kEndsThreads)
join_tangents(const JoinTangentsArguments a) {
  SOFTDP_SHARED(raw);
  BlockMemory& memory = *reinterpret_cast<BlockMemory*>(raw);
  const int64_t pair = blockIdx.x, each = ends_of(a.ends, a.pairs.rows, a.pairs.columns);
  const Extent size = extent_of(a.pairs, pair);
  if (!(a.several.planes           ? verdict_of(a.several, a.pairs, pair, size) >= 0
        : a.type == Type::kFloat64 ? is_swept<double>(a.saved, a.pairs, pair, size)
                                   : is_swept<float>(a.saved, a.pairs, pair, size)))
    return;
  clear_ends(a.tangents, a.type, pair, each);
  const EndsOfPair ends(a.pairs, a.ends, pair, size);
  const auto weight_of = [&](int k) { return number_at(a.weights, a.type, ends.place_of_weight(k, each)); };
  const auto tangent_of = [&](int k) {
    return number_at(ends.side(k, a.tangents_of_ends), a.type, ends.place(k));
  };
  // The weights are rounded: their sum is 1 but for that, and it would be left in the differences.
  double sum = 0, all = 0;
  ends.each([&](int k) {
    const double weight = weight_of(k);
    if (weight > 0) sum += weight * tangent_of(k), all += weight;
  });
  sum = sum_of_block(sum, memory);
  all = sum_of_block(all, memory);
  const double mean = sum / all;
  ends.each([&](int k) {
    const double weight = weight_of(k),
                 change = weight > 0 ? weight * (tangent_of(k) - mean) * a.curvature : 0;
    put_number(a.tangents, a.type, ends.place_of_weight(k, each), change);
  });
  if (threadIdx.x == 0) put_number(a.tangent, a.type, pair, mean);
}

// ---- before a backward sweep -----------------------------------------------------------------------------

// A thread for each end: its weight times the gradient of the score, in the order in which a sweep takes it.
SOFTDP_KERNEL(kEndsThreads)
make_seeds(const SeedArguments a) {
  const int64_t N = a.pairs.rows, M = a.pairs.columns, each = ends_of(a.ends, N, M),
                at = int64_t(blockIdx.x) * kEndsThreads + threadIdx.x;
  if (at >= a.pairs.count * each) return;
  const int64_t pair = at / each, k = at % each;
  const Extent size = extent_of(a.pairs, pair);
  const int64_t of_row = ends_in_row(a.ends, M);
  const bool in_row = k<of_row, is_piece = a.all_rows> N;
  const int64_t own = in_row ? size.m : size.n,
                last = own - 1 - (in_row ? k : k - of_row);  // from the last one on
  if (last < 0) return;
  void* const seeds = in_row ? a.seeds[kInRow] : a.seeds[kInColumn];
  const int64_t to = pair * (in_row ? M : N) + last;
  const int64_t from = is_piece ? pair * ends_of(a.ends, a.all_rows, M) + k + (in_row ? 0 : a.first_row) : at;
  const double of_score = a.grad_score ? number_at(a.grad_score, a.type, pair) : 1;
  if (is_piece && in_row && of_score == 0) return;
  const double grad = is_piece ? 1 : of_score, seed = grad * number_at(a.weights, a.type, from);
  if (!a.tangents) return put_number(seeds, a.type, to, seed);
  put_number(seeds, a.type, 2 * to, seed);
  put_number(seeds, a.type, 2 * to + 1, grad * number_at(a.tangents, a.type, at));
}

}  // namespace

Error launch_join(const JoinArguments& a, Stream stream) {
  return launch(join_ends, a.pairs.count, kEndsThreads, sizeof(BlockMemory), stream, a);
}
Error launch_join_tangents(const JoinTangentsArguments& a, Stream stream) {
  return launch(join_tangents, a.pairs.count, kEndsThreads, sizeof(BlockMemory), stream, a);
}
Error launch_seeds(const SeedArguments& a, Stream stream) {
  const int64_t ends = a.pairs.count * ends_of(a.ends, a.pairs.rows, a.pairs.columns);
  return launch(make_seeds, (ends + kEndsThreads - 1) / kEndsThreads, kEndsThreads, 0, stream, a);
}

}  // namespace softdp::cuda
