// The kernels of boundary.h, and their launches.
#include "boundary.h"
#include "launch.h"
#include "several_saved.h"

namespace softdp::cuda {
namespace {

constexpr int kBoundaryWarps = 4;

SOFTDP_DEVICE int64_t warp_of_launch() {
  return int64_t(blockIdx.x) * kBoundaryWarps + threadIdx.x / kStripRows;
}
// How many steps of a pair with cells lie where a boundary counts: those whose cell beside it is inside.
SOFTDP_DEVICE int steps_of(const Pairs& pairs, Side side, const Extent& size) {
  const Corridor inside = Corridor::of(size.n, size.m, pairs.bandwidth);
  return int((side == kLeft ? inside.transposed() : inside).end(0));
}
// The sum of x over this lane and those before it, after `sum`, which becomes that over all lanes.
SOFTDP_DEVICE double sum_of_lanes(double x, double& sum) {
  const int lane = int(threadIdx.x) % kStripRows;
  double mine = 0;
#pragma unroll
  for (int q = 0; q < kStripRows; q++) {
    sum += shuffle_from(x, q);
    if (q == lane) mine = sum;
  }
  return mine;
}

// ---- before a sweep --------------------------------------------------------------------------------------

// A sum as a sweep's state. Those of many steps lie beyond split()'s range. p is NaN where S is.
template <class State>
SOFTDP_DEVICE State state_of(double sum, double k) {
  const double product = sum * k, whole = rint(product);
  if (product < double(kDead)) return {1, kNothing};
  if (!(product < -double(kDead))) return {NAN, 0};
  return {decltype(State::p)(exp2(fma(sum, k, -whole))), int64_t(whole)};
}
template <class V>
SOFTDP_DEVICE void put_state(void* edges, int64_t at, double sum, double k) {
  using State = typename Maxima<V, true>::Wide::State;
  static_cast<State*>(edges)[at] = state_of<State>(sum, k);
}
SOFTDP_DEVICE void put_edge(const BoundaryEdges& edges, Side side, int64_t at, double sum, double k) {
  void* const data = edges.data[side];
  if (!edges.are_states)
    put_number(data, edges.type, at, sum);
  else if (edges.type == Type::kFloat64)
    put_state<double>(data, at, sum, k);
  else
    put_state<float>(data, at, sum, k);
}

// The score of a pair without cells from the sum of its gaps.
SOFTDP_DEVICE double settled(double sum) {
  return sum < ScalarCommon::kInfinity ? sum : double(NAN);
}
// The tangent of that score from the sum of the directions: 0 without a path, NaN of a spoiled pair.
SOFTDP_DEVICE double settled_tangent(double sum, double score) {
  if (sum == 0 || score == -ScalarCommon::kInfinity) return 0;
  return score == score ? sum : double(NAN);
}

// A warp for each side of each pair.
SOFTDP_KERNEL(kBoundaryWarps* kStripRows)
sum_gaps(const GapArguments a) {
  const int64_t pair = warp_of_launch() / 2;
  if (pair >= a.pairs.count) return;
  const Side side = warp_of_launch() % 2 ? kAbove : kLeft;
  const int lane = int(threadIdx.x) % kStripRows;
  const Extent size = extent_of(a.pairs, pair);
  const int own = side == kLeft ? size.n : size.m, other = side == kLeft ? size.m : size.n;
  const int64_t full = side == kLeft ? a.pairs.rows : a.pairs.columns;
  const Table& gap = a.gaps[side];
  const int64_t step = side == kLeft ? gap.row : gap.column;
  const bool is_read = other > 0 || a.one_for_all[side];  // past the lengths nothing is
  const int steps = own > 0 && other > 0 ? steps_of(a.pairs, side, size) : own;
  double sum = 0;
  for (int first = 0; first < steps && is_read; first += kStripRows) {
    const int at = first + lane;
    const bool is_first = a.opens && at == 0;
    const Table& table = is_first ? a.open : gap;
    const double x =
        at < steps && table.data ? number_at(table, pair * table.batch + (is_first ? 0 : at * step)) : 0;
    const double mine = sum_of_lanes(x, sum);
    if (at < steps) put_edge(a.edges, side, pair * full + at, mine, a.k);
  }
  // Where there is no step on either side, the warp of kAbove writes the score.
  if (lane != 0 || other > 0 || (own == 0 && side == kLeft)) return;
  double found = a.apart;
  if (is_read || own == 0)
    found = a.score_of ? settled_tangent(sum, number_at(a.score_of, a.type, pair)) : settled(sum);
  put_number(a.score, a.type, pair, size.unfit ? a.unfit : found);
}

// ---- after a backward sweep ------------------------------------------------------------------------------

template <class V, bool kFull>
SOFTDP_DEVICE double verdict_as(const SavedWeights& w, int64_t pair, const Extent& size) {
  using Keeps = Kept<TwoWeights, V, kFull>;  // of every recurrence that has gaps
  const V* const own = static_cast<const V*>(w.numbers) + pair * Keeps::kNumbers * cells_of(w.pairs);
  return double(verdict_of<Keeps>(own, size, w.pairs, w.pairs.bandwidth >= 0));
}
SOFTDP_DEVICE double verdict_of(const SavedWeights& w, int64_t pair, const Extent& size) {
  if (w.several.planes) return verdict_of(w.several, w.pairs, pair, size);
  if (w.type == Type::kFloat64) return verdict_as<double, true>(w, pair, size);
  return w.are_full ? verdict_as<float, true>(w, pair, size) : verdict_as<float, false>(w, pair, size);
}

// What the score of a pair without cells hands to each of its gaps: nothing where no gradient arrives or no
// path is left, NaN where the pair is spoiled.
SOFTDP_DEVICE double share_of_empty(const ChargeArguments& a, Side side, int64_t pair, int own, int lane) {
  const Table& gap = a.gaps[side];
  const int64_t step = side == kLeft ? gap.row : gap.column;
  double sum = 0;
  for (int first = 0; first < own; first += kStripRows) {
    const int at = first + lane;
    const bool is_first = a.opens && at == 0;
    const Table& table = is_first ? a.open : gap;
    sum_of_lanes(at < own ? number_at(table, pair * table.batch + (is_first ? 0 : at * step)) : 0, sum);
  }
  const double score = settled(sum);
  return score == -ScalarCommon::kInfinity ? 0
         : score == score                  ? number_at(a.grad_score, a.weights.type, pair)
                                           : double(NAN);
}

// Adds to d insert(i,1) the sum of A(k,0) over k >= i, and to d delete(1,j) that of A(0,k) over k >= j. With
// a score of its own for the first step, that of all goes to d open(1,1).
SOFTDP_DEVICE void charge_side(const ChargeArguments& a, Side side, int64_t pair, const Extent& size,
                               int lane) {
  const Sink& sink = a.sinks[side];
  const Type type = a.weights.type;
  const int own = side == kLeft ? size.n : size.m, other = side == kLeft ? size.m : size.n;
  if (!(sink.data || a.open_sink.data) || own == 0) return;
  const int beyond = other > 0 ? own - steps_of(a.weights.pairs, side, size) : 0;
  if (other == 0 && !(a.one_for_all[side] && a.grad_score && number_at(a.grad_score, type, pair) != 0))
    return;
  const int64_t N = a.weights.pairs.rows, M = a.weights.pairs.columns;
  const int64_t rows = sink.every_row ? N : 1, columns = sink.every_column ? M : 1;
  const bool every_step = side == kLeft ? sink.every_row : sink.every_column;
  const auto add = [&](int64_t step, double x) {
    const int64_t at = pair * rows * columns + step;
    put_number(sink.data, sink.type, at, number_at(sink.data, sink.type, at) + x);
  };
  const double alone = other == 0 ? share_of_empty(a, side, pair, own, lane) : 0;
  // A(own - at, 0) or A(0, own - at), of the steps that count; without cells the score is S at the last step.
  const auto adjoint = [&](int at) -> double {
    if (other == 0) return at == 0 ? alone : 0;
    if (side == kAbove) return number_at(a.by_above, type, (pair * M + at + 1) * a.by_above_numbers - 1);
    const int64_t row = pair * N + own - 1 - at;
    return number_at(a.by_left, type, row) + (at > beyond ? number_at(a.by_left_diagonal, type, row + 1) : 0);
  };
  const int64_t open_numbers = (a.open_sink.every_row ? N : 1) * (a.open_sink.every_column ? M : 1);
  double sum = 0, total = 0;
  for (int first = beyond; first < own; first += kStripRows) {
    const int at = first + lane;
    const double mine = sum_of_lanes(at < own ? adjoint(at) : 0, sum);
    if (at >= own) continue;
    if (a.opens && at == own - 1) {
      if (a.open_sink.data) {
        const int64_t to = pair * open_numbers;
        put_number(a.open_sink.data, a.open_sink.type, to,
                   number_at(a.open_sink.data, a.open_sink.type, to) + mine);
      }
      continue;
    }
    if (!sink.data) continue;
    if (every_step) add((own - 1 - at) * (side == kLeft ? columns : 1), mine);
    total += mine;
  }
  for (int mask = kStripRows / 2; mask > 0; mask /= 2) total += shuffle_xor(total, mask);
  if (sink.data && !every_step && lane == 0) add(0, total);
}

// A warp for each pair, since both sides may add to the same number.
SOFTDP_KERNEL(kBoundaryWarps* kStripRows)
charge_boundary(const ChargeArguments a) {
  const int64_t pair = warp_of_launch();
  if (pair >= a.weights.pairs.count) return;
  const int lane = int(threadIdx.x) % kStripRows;
  const Extent size = extent_of(a.weights.pairs, pair);
  const bool has_cells = size.n > 0 && size.m > 0;
  const double seed = a.grad_score ? number_at(a.grad_score, a.weights.type, pair) : 1;
  if (has_cells && !(seed != 0 && verdict_of(a.weights, pair, size) >= 0)) return;
  charge_side(a, kLeft, pair, size, lane);
  sync_warp();
  charge_side(a, kAbove, pair, size, lane);
}

constexpr int kReduceThreads = 128;

// What is summed over rows: the strips' sums together, in their order.
SOFTDP_KERNEL(kReduceThreads)
reduce_strips(const ReduceArguments a) {
  const Pairs& pairs = a.weights.pairs;
  const int64_t at = int64_t(blockIdx.x) * kReduceThreads + threadIdx.x;
  if (at >= pairs.count * a.columns) return;
  const int64_t pair = at / a.columns, column = at % a.columns;
  const Extent size = extent_of(pairs, pair);
  const int n = size.n, m = size.m;
  const Type type = a.weights.type;
  const double verdict =
      number_at(a.grad_score, type, pair) != 0 ? verdict_of(a.weights, pair, size) : double(kNoPath);
  double sum = 0;
  if (a.columns == 1 || column < m) {
    if (verdict != verdict) sum = NAN;
    // Strips go from the table's end, and so do their columns.
    const int64_t mirrored = a.columns == 1 ? 0 : m - 1 - column;
    const Corridor inside = Corridor::of(n, m, pairs.bandwidth);
    const auto has_sum = [&](int64_t strip) {
      const int64_t first = strip * kStripRows, end = first + kStripRows < n ? first + kStripRows : n;
      return a.columns == 1 || (inside.begin(first) <= mirrored && mirrored < inside.end(end - 1));
    };
    if (verdict >= 0)
      for (int64_t strip = 0; strip < strips_of(n); strip++)
        if (inside.is_everywhere() || has_sum(strip))
          sum += number_at(a.partial, type, (pair * strips_of(pairs.rows) + strip) * a.columns + mirrored);
  }
  put_number(a.sink.data, a.sink.type, at, sum);
}

}  // namespace

Error launch_boundary(const GapArguments& a, Stream stream) {
  return launch(sum_gaps, (2 * a.pairs.count + kBoundaryWarps - 1) / kBoundaryWarps,
                kBoundaryWarps * kStripRows, 0, stream, a);
}
Error launch_reduce(const ReduceArguments& a, Stream stream) {
  const int64_t sums = a.weights.pairs.count * a.columns;
  return launch(reduce_strips, (sums + kReduceThreads - 1) / kReduceThreads, kReduceThreads, 0, stream, a);
}
Error launch_charge(const ChargeArguments& a, Stream stream) {
  return launch(charge_boundary, (a.weights.pairs.count + kBoundaryWarps - 1) / kBoundaryWarps,
                kBoundaryWarps * kStripRows, 0, stream, a);
}

}  // namespace softdp::cuda
