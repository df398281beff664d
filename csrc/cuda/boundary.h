// The boundary of tables whose gaps count there, S(i,0) = S(i-1,0) + insert(i,1) and S(0,j) = S(0,j-1) +
// delete(1,j): the states that a sweep takes, before it, and the gaps' share of the gradient, after it. Sums
// are in double. States add up in the order of the steps, as the CPU's do.
#pragma once
#include "bands.h"

namespace softdp::cuda {

constexpr int kBoundaryWarps = 4;
enum Side { kLeft, kAbove };  // S(i,0), of insert; S(0,j), of delete

SOFTDP_DEVICE int64_t warp_of_launch() {
  return int64_t(blockIdx.x) * kBoundaryWarps + threadIdx.x / kStripRows;
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

// A sum as a sweep holds it. Those of many steps lie beyond split()'s range. A state's p is NaN where S is.
template <class Edge>
struct EdgeOf {
  static SOFTDP_DEVICE Edge make(double sum, double k) {
    const double product = sum * k, whole = rint(product);
    if (product < double(kDead)) return {1, kNothing};
    if (!(product < -double(kDead))) return {NAN, 0};
    using P = decltype(Edge::p);
    return {P(exp2(fma(sum, k, -whole))), int64_t(whole)};
  }
};
template <>
struct EdgeOf<double> {
  static SOFTDP_DEVICE double make(double sum, double) { return sum; }
};
template <>
struct EdgeOf<float> {
  static SOFTDP_DEVICE float make(double sum, double) { return float(sum); }
};

// Edge: states of Maxima's Wide, or the tangents of S.
template <class Edge, class V>
struct GapArguments {
  Pairs pairs;
  Table gaps[2];  // of kLeft and kAbove: insert and delete; data null: 0
  bool one_for_all[2];
  double k;           // log2(e) / gamma, of states
  Edge* edges[2];     // (B, N) and (B, M)
  const V* score_of;  // (B,), of tangents: the score that they belong to
  V* score;           // (B,), or the score's tangent; written of pairs without cells only
  V unfit, apart;  // of pairs whose lengths do not fit, and of those whose gap differs where there is no step
};

// The score of a pair without cells from the sum of its gaps, or, where the score is given, its tangent from
// the sum of the directions: 0 without a path, NaN of a spoiled pair.
template <class V>
SOFTDP_DEVICE double settled(double sum, const V* score) {
  if (!score) return sum < ScalarCommon::kInfinity ? sum : double(NAN);
  if (sum == 0 || *score == -ScalarCommon::kInfinity) return 0;
  return *score == *score ? sum : double(NAN);
}

// A warp for each side of each pair.
template <class Edge, class V>
SOFTDP_KERNEL(kBoundaryWarps* kStripRows)
sum_gaps(const GapArguments<Edge, V> a) {
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
  Edge* const edges = a.edges[side] + pair * full;
  double sum = 0;
  for (int first = 0; first < own && is_read; first += kStripRows) {
    const int at = first + lane;
    const double x = at < own && gap.data ? number_at(gap, pair * gap.batch + at * step) : 0;
    const double mine = sum_of_lanes(x, sum);
    if (at < own) edges[at] = EdgeOf<Edge>::make(mine, a.k);
  }
  // Where there is no step on either side, the warp of kAbove writes the score.
  if (lane != 0 || other > 0 || (own == 0 && side == kLeft)) return;
  const V found =
      V(is_read || own == 0 ? settled<V>(sum, a.score_of ? a.score_of + pair : nullptr) : a.apart);
  a.score[pair] = size.unfit ? a.unfit : found;
}

// ---- after the sweep back --------------------------------------------------------------------------------

// Edge: a gradient, or a dual one, whose tangent counts.
template <class T_, class Edge>
struct ChargeArguments {
  using T = T_;
  using V = typename ValueOf<T>::Type;
  using Keeps = Kept<TwoWeights, V, !std::is_same_v<V, Edge>>;  // the second order takes weights in full
  Pairs pairs;
  const V* grad_score;  // null: that of the second order, which pairs without cells have not
  const V* saved;
  const V *by_left, *by_left_diagonal;  // (B, N)
  const Edge* by_above;                 // (B, M), columns from the pair's last one on
  Sink sinks[2];                        // of insert and delete: one where they are shared
  Table gaps[2];
  bool one_for_all[2];
};
template <class V>
SOFTDP_DEVICE double counted(V x) {
  return double(x);
}
template <class V>
SOFTDP_DEVICE double counted(const Dual<V>& x) {
  return double(x.tangent);
}

// What the score of a pair without cells hands to each of its gaps: nothing where no gradient arrives or no
// path is left, NaN where the pair is spoiled.
template <class A>
SOFTDP_DEVICE double share_of_empty(const A& a, Side side, int64_t pair, int own, int lane) {
  const Table& gap = a.gaps[side];
  const int64_t step = side == kLeft ? gap.row : gap.column;
  double sum = 0;
  for (int first = 0; first < own; first += kStripRows) {
    const int at = first + lane;
    sum_of_lanes(at < own ? number_at(gap, pair * gap.batch + at * step) : 0, sum);
  }
  const double score = settled<typename A::V>(sum, nullptr);
  return score == -ScalarCommon::kInfinity ? 0 : score == score ? double(a.grad_score[pair]) : double(NAN);
}

// Adds to d insert(i,1) the sum of A(k,0) over k >= i, and to d delete(1,j) that of A(0,k) over k >= j.
template <class A>
SOFTDP_DEVICE void charge_side(const A& a, Side side, int64_t pair, const Extent& size, int lane) {
  using T = typename A::T;
  using V = typename A::V;
  const Sink& sink = a.sinks[side];
  const int own = side == kLeft ? size.n : size.m, other = side == kLeft ? size.m : size.n;
  if (!sink.data || own == 0) return;
  if (other == 0 && !(a.one_for_all[side] && a.grad_score && a.grad_score[pair] != 0)) return;
  const int64_t N = a.pairs.rows, rows = sink.every_row ? N : 1,
                columns = sink.every_column ? a.pairs.columns : 1;
  T* const out = static_cast<T*>(sink.data) + pair * rows * columns;
  const bool every_step = side == kLeft ? sink.every_row : sink.every_column;
  const auto add = [&](int64_t at, double x) {
    out[at] = value_to<T>(V(double(value_from<V>(out[at], sink.type)) + x), sink.type);
  };
  const double alone = other == 0 ? share_of_empty(a, side, pair, own, lane) : 0;
  // A(own - at, 0) or A(0, own - at); without cells the score is S at the last step.
  const auto adjoint = [&](int at) -> double {
    if (other == 0) return at == 0 ? alone : 0;
    if (side == kAbove) return counted(a.by_above[pair * a.pairs.columns + at]);
    const int64_t row = pair * N + own - 1 - at;
    return double(a.by_left[row]) + (at > 0 ? double(a.by_left_diagonal[row + 1]) : 0);
  };
  double sum = 0, total = 0;
  for (int first = 0; first < own; first += kStripRows) {
    const int at = first + lane;
    const double mine = sum_of_lanes(at < own ? adjoint(at) : 0, sum);
    if (at >= own) continue;
    if (every_step) add((own - 1 - at) * (side == kLeft ? columns : 1), mine);
    total += mine;
  }
  for (int mask = kStripRows / 2; mask > 0; mask /= 2) total += shuffle_xor(total, mask);
  if (!every_step && lane == 0) add(0, total);
}

// A warp for each pair, since both sides may add to the same number.
template <class T, class Edge>
SOFTDP_KERNEL(kBoundaryWarps* kStripRows)
charge_boundary(const ChargeArguments<T, Edge> a) {
  using V = typename ValueOf<T>::Type;
  const int64_t pair = warp_of_launch();
  if (pair >= a.pairs.count) return;
  const int lane = int(threadIdx.x) % kStripRows;
  const Extent size = extent_of(a.pairs, pair);
  const bool has_cells = size.n > 0 && size.m > 0;
  const V seed = a.grad_score ? a.grad_score[pair] : V(1);
  using Keeps = typename ChargeArguments<T, Edge>::Keeps;
  const V* const saved = a.saved + pair * Keeps::kNumbers * a.pairs.rows * a.pairs.columns;
  if (has_cells && !(seed != 0 && verdict_of<Keeps>(saved, size, a.pairs.columns) >= 0)) return;
  charge_side(a, kLeft, pair, size, lane);
  sync_warp();
  charge_side(a, kAbove, pair, size, lane);
}

}  // namespace softdp::cuda
