// The second order on a GPU, from the weights that the forward sweep saved: a sweep there leaves the tangents
// of the weights, a sweep back, on dual numbers, the products of the Hessian. Strips and bands as in bands.h.
#pragma once
#include "bands.h"

namespace softdp::cuda {

// What is saved of a cell at a place of the arrays; LCS keeps one number.
template <bool kLcs, class V>
SOFTDP_DEVICE Weights<V> weights_at(V* const* array, int at) {
  if constexpr (kLcs)
    return unpack(SavedStep<V>{array[0][at]});
  else
    return unpack(SavedWeights<V>{array[0][at], array[1][at]});
}

// ---- there: the tangents of the weights ------------------------------------------------------------------

template <class V_, bool kLcs>
struct TangentArguments {
  using V = V_;
  static constexpr int kPlanes = kLcs ? 1 : 2, kDirections = kLcs ? 1 : 3;
  static constexpr int kArrays = kPlanes + kDirections;  // tangents overwrite the weights
  Pairs pairs;
  V curvature;
  const V* saved;
  Scores<V> directions[3];
  V* tangent;
  V* tangents;
  Bands bands;
  Chain<V> chain;
};

// `steps` steps from t0 on, as in strip.h; edges are the tangents of S in the row above.
template <bool kLcs, class V>
SOFTDP_DEVICE void tangent_chunk(V* const* array, V& left, V& diagonal, V curvature, const Lane& lane, int t0,
                                 int steps, const V* above, V* below, int bottom) {
  using Recurrence = std::conditional_t<kLcs, Lcs<HardMax<Scalar<double>>>, Fsd<HardMax<Scalar<double>>>>;
  using Arguments = TangentArguments<V, kLcs>;
  V* const* const direction = array + Arguments::kPlanes;
  const RingPlaces<1> places(lane.row, t0);
  const int column = t0 - lane.r;
#pragma unroll 4
  for (int q = 0; q < steps; q++) {
    V from_above = shuffle_up(left);
    if (lane.r == 0) from_above = above[q];
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int at = places.at<true>(q);
      Weights<V> v{direction[0][at], V(0), V(0)};
      if constexpr (!kLcs) v = {v.match, direction[1][at], direction[2][at]};
      const Tangent<V> t =
          Recurrence::tangent(weights_at<kLcs>(array, at), v, diagonal, from_above, left, curvature);
      array[0][at] = t.weights.insert;
      if constexpr (!kLcs) array[1][at] = t.weights.del;
      left = t.state;
    }
    diagonal = from_above;
    if (lane.row == bottom) below[q] = left;
  }
}

// Whether this thread finds a direction that is not 0 in the band's rows. Looked at only where the pair is
// spoiled: what nothing asks for is 0, before the launch, and the rest NaN.
template <class V, bool kLcs>
SOFTDP_DEVICE bool is_directed(const TangentArguments<V, kLcs>& a, int64_t pair, int band, int n, int m) {
  const int first = band * a.bands.rows(), end = first + a.bands.rows() < n ? first + a.bands.rows() : n;
  bool found = false;
  for (int i = 0; i < TangentArguments<V, kLcs>::kDirections; i++) {
    const Scores<V>& v = a.directions[i];
    if (!v.data) continue;
    for (int row = first + int(threadIdx.x) / kRows; row < end; row += a.bands.warps)
      for (int column = int(threadIdx.x) % kRows; column < m; column += kRows)
        found = found || !(v.data[pair * v.batch + row * v.row + column * v.column] == 0);
  }
  return found;
}

template <class V, bool kLcs>
SOFTDP_KERNEL(kMostWarps* kRows)
tangent_bands(const TangentArguments<V, kLcs> a) {
  using Arguments = TangentArguments<V, kLcs>;
  using Block = BandMemory<V, V>;
  constexpr int kPlanes = Arguments::kPlanes, kArrays = Arguments::kArrays;
  SOFTDP_SHARED(raw);
  Block& block = *reinterpret_cast<Block*>(raw);
  const int warp = int(threadIdx.x) / kRows, lane = int(threadIdx.x) % kRows;
  auto& own = block.warps[warp];
  if (lane == 0) own.published = own.consumed = 0;
  const Place place = take_place(a.pairs, a.bands, a.chain.tickets, &block.ticket);
  sync_block();

  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = place.pair;
  const Extent size = extent_of(a.pairs, pair);
  const int n = size.n, m = size.m;
  const V* const saved = a.saved + pair * kPlanes * N * M;
  const V verdict = n > 0 && m > 0 ? saved[int64_t(n - 1) * M + m - 1] : V(kNoPath);
  if (!(verdict >= 0)) {
    if (verdict != verdict && is_directed(a, pair, place.band, n, m)) a.tangent[pair] = V(NAN);
    return;
  }
  const int row0 = place.band * a.bands.rows() + warp * kRows;
  if (row0 >= n) return;

  const int rows = n - row0 < kRows ? n - row0 : kRows;
  V* array[kArrays];
#pragma unroll
  for (int i = 0; i < kArrays; i++) array[i] = block.array(warp, kArrays, i);
  Handover<V> in, out;
  if (warp > 0)
    in = between_warps<V>(block.warps[warp - 1]);
  else if (row0 > 0)
    in = between_bands(a, pair, place.band - 1);
  if (row0 + rows < n)
    out = warp < a.bands.warps - 1 ? between_warps<V>(own) : between_bands(a, pair, place.band);

  const Part part(lane);
  BlockLoader<V, V, 1> loaders[kArrays];
  BlockStorer<V, V, 1> storers[kPlanes];
#pragma unroll
  for (int plane = 0; plane < kPlanes; plane++) {
    loaders[plane] = BlockLoader<V, V, 1>({saved + plane * N * M + row0 * M, M, 1}, part);
    storers[plane] =
        BlockStorer<V, V, 1>({a.tangents + (pair * kPlanes + plane) * N * M + row0 * M, M, 1}, part);
  }
#pragma unroll
  for (int i = 0; i < Arguments::kDirections; i++) {
    const Scores<V>& v = a.directions[i];
    loaders[kPlanes + i] =
        BlockLoader<V, V, 1>(v.data ? rows_of(v, pair, row0) : View<const V>{saved, 0, 0}, part);
  }
  const auto start = [&](int at) {
#pragma unroll
    for (int i = 0; i < kArrays; i++) {  // where there is no direction, rows = 0: zeros come in
      const bool given = i < kPlanes || a.directions[i - kPlanes].data;
      loaders[i].start(part, given ? rows : 0, m, at, array[i]);
    }
  };
  const auto store = [&](int at) {
#pragma unroll
    for (int plane = 0; plane < kPlanes; plane++) storers[plane].store(part, rows, m, at, array[plane], {});
  };
  const Lane where{lane, lane, lane < rows ? m : 0};
  V* const above = reinterpret_cast<V*>(own.above);
  V* const below = reinterpret_cast<V*>(own.below);
  V left = 0, diagonal = 0;
  sweep_blocks(lane, rows, m, V(0), in, out, above, below, start, store, [&](int t0, int steps, bool) {
    tangent_chunk<kLcs>(array, left, diagonal, a.curvature, where, t0, steps, above, below, rows - 1);
  });
  if (row0 + rows == n && lane == rows - 1) a.tangent[pair] = left;
}

// ---- back: the products ----------------------------------------------------------------------------------

template <class V_, bool kLcs>
struct ProductArguments {
  using V = V_;
  static constexpr int kPlanes = kLcs ? 1 : 2;
  static constexpr int kArrays = 2 * kPlanes;  // weights, their tangents; products overwrite both
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  const V* tangent;  // (B,): of pairs that are not swept, what their products are too
  const V* tangents;
  Format<V> format;
  Gradient<V> gradients[3];
  bool shared_gap;
  Bands bands;
  Chain<Dual<V>> chain;
};

template <class V>
SOFTDP_DEVICE Dual<V> shuffle_up(const Dual<V>& x) {
  return {shuffle_up(x.value), shuffle_up(x.tangent)};
}

// The table is seen from its end; edges are what the row above receives.
template <bool kLcs, class V>
SOFTDP_DEVICE void product_chunk(V* const* array, Adjoints<Dual<V>>& from, bool shared_gap, const Lane& lane,
                                 int t0, int steps, const Dual<V>* above, Dual<V>* below, int bottom) {
  using Recurrence = std::conditional_t<kLcs, Lcs<HardMax<Scalar<double>>>, Fsd<HardMax<Scalar<double>>>>;
  using Number = Dual<V>;
  const RingPlaces<-1> places(lane.row, t0);
  const int column = t0 - lane.r;
#pragma unroll 4
  for (int q = 0; q < steps; q++) {
    Number from_above = shuffle_up(from.to_above);
    if (lane.r == 0) from_above = above[q];
    Adjoint<Number> out{};
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int at = places.at<true>(q);
      const Weights<V> w = weights_at<kLcs>(array, at);
      const V insert = array[kLcs ? 1 : 2][at], del = kLcs ? -insert : array[kLcs ? 1 : 3][at];
      out = Recurrence::adjoint(
          from_above + from.to_left,
          Weights<Number>{{w.match, kLcs ? V(0) : -insert - del}, {w.insert, insert}, {w.del, del}});
      array[0][at] = out.score.tangent;
      if constexpr (!kLcs) {
        array[1][at] = out.to_above.tangent + (shared_gap ? out.to_left.tangent : V(0));
        array[2][at] = out.to_left.tangent;
      }
    }
    from.to_above = out.to_above + from.to_diagonal;
    from.to_left = out.to_left;
    from.to_diagonal = out.to_diagonal;
    if (lane.row == bottom) below[q] = from.to_above;
  }
}

template <class V, bool kLcs>
SOFTDP_KERNEL(kMostWarps* kRows)
product_bands(const ProductArguments<V, kLcs> a) {
  using Number = Dual<V>;
  using Arguments = ProductArguments<V, kLcs>;
  using Block = BandMemory<V, Number>;
  constexpr int kPlanes = Arguments::kPlanes, kArrays = Arguments::kArrays;
  SOFTDP_SHARED(raw);
  Block& block = *reinterpret_cast<Block*>(raw);
  const int warp = int(threadIdx.x) / kRows, lane = int(threadIdx.x) % kRows;
  auto& own = block.warps[warp];
  if (lane == 0) own.published = own.consumed = 0;
  const Place place = take_place(a.pairs, a.bands, a.chain.tickets, &block.ticket);
  sync_block();

  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = place.pair;
  const Extent size = extent_of(a.pairs, pair);
  const int n = size.n, m = size.m;
  const V* const saved = a.saved + pair * kPlanes * N * M;
  const V* const tangents = a.tangents + pair * kPlanes * N * M;
  const V verdict = n > 0 && m > 0 ? saved[int64_t(n - 1) * M + m - 1] : V(kNoPath);
  const bool swept = verdict >= 0;
  fill_gradients(a, pair, place.band, n, m, swept ? 0.0f : float(a.tangent[pair]), swept);
  const int row0 = place.band * a.bands.rows() + warp * kRows;
  if (!swept || row0 >= n) return;

  const int rows = n - row0 < kRows ? n - row0 : kRows;
  V* array[kArrays];
#pragma unroll
  for (int i = 0; i < kArrays; i++) array[i] = block.array(warp, kArrays, i);
  Handover<Number> in, out;
  if (warp > 0)
    in = between_warps<Number>(block.warps[warp - 1]);
  else if (row0 > 0)
    in = between_bands(a, pair, place.band - 1);
  if (row0 + rows < n)
    out = warp < a.bands.warps - 1 ? between_warps<Number>(own) : between_bands(a, pair, place.band);

  const int64_t corner = int64_t(n - 1 - row0) * M + m - 1;
  const Part part(lane);
  BlockLoader<V, V, -1> loaders[kArrays];
  BlockStorer<V, V, -1> storers[3];
#pragma unroll
  for (int i = 0; i < kArrays; i++) {
    const V* const from = i < kPlanes ? saved + i * N * M : tangents + (i - kPlanes) * N * M;
    loaders[i] = BlockLoader<V, V, -1>({from + corner, -M, -1}, part);
  }
#pragma unroll
  for (int i = 0; i < 3; i++)
    if (a.gradients[i].data)
      storers[i] = BlockStorer<V, V, -1>({a.gradients[i].data + pair * N * M + corner, -M, -1}, part);
  const auto start = [&](int at) {
#pragma unroll
    for (int i = 0; i < kArrays; i++) loaders[i].start(part, rows, m, at, array[i]);
  };
  const auto store = [&](int at) {
#pragma unroll
    for (int i = 0; i < (kLcs ? 1 : 3); i++)
      if (a.gradients[i].data) storers[i].store(part, rows, m, at, array[i], a.format);
  };
  const Lane where{lane, lane, lane < rows ? m : 0};
  Number* const above = reinterpret_cast<Number*>(own.above);
  Number* const below = reinterpret_cast<Number*>(own.below);
  Number first;
  if (row0 == 0) first.value = a.grad_score[pair];
  Adjoints<Number> from;
  sweep_blocks(lane, rows, m, first, in, out, above, below, start, store, [&](int t0, int steps, bool) {
    product_chunk<kLcs>(array, from, a.shared_gap, where, t0, steps, above, below, rows - 1);
  });
}

}  // namespace softdp::cuda
