// The second order on a GPU, from the weights that the forward sweep saved: a forward sweep leaves the
// tangents of the weights, a backward sweep, on dual numbers, the products of the Hessian. Strips and bands:
// bands.h.
#pragma once
#include "backward_bands.h"
#include "ends.h"

namespace softdp::cuda {

// ---- forward: the tangents of the weights -----------------------------------------------------------------

template <class V_, class Packing>
struct TangentArguments {
  using V = V_;
  using Edge = V;
  using Keeps = Kept<Packing, V, true>;
  static constexpr int kPlanes = Packing::kNumbers, kDirections = tables_with<Packing>();
  static constexpr int kArrays = kPlanes + kDirections;  // tangents overwrite the weights
  static constexpr bool kIsAdjoint = false;
  Recurrence recurrence;
  Pairs pairs;
  V curvature;
  const V* saved;
  Table directions[3];
  Boundary<V> boundary;  // the tangents of S above the table and to its left, null: 0; at its ends
  V* tangent;
  V* tangents;
  BandSize band;
  Chain<V> chain;
  static SOFTDP_FN int arrays_of_warp() { return kArrays; }
};

// The steps of a chunk, as in forward_steps.h; edges are the tangents of S in the row above.
template <class Recurrence, class V, class Of>
SOFTDP_DEVICE void tangent_chunk(V* const* array, V& left, V& diagonal, V curvature, const Of& lane,
                                 int chunk, const V* above, const Given<V>& below, int bottom) {
  using Packing = typename Recurrence::Packing;
  using Keeps = Kept<Packing, V, true>;
  V* const* const direction = array + Packing::kNumbers;
  const WindowPlaces<1> places(lane.row, chunk);
  const int column = chunk * kChunk - lane.r - first_column(lane);
#pragma unroll 4
  for (int q = 0; q < kChunk; q++) {
    V from_above = shuffle_up(is_done(lane, column + q) ? V(0) : left);
    if (lane.r == 0) from_above = above[q];
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int at = places.at(q);
      Weights<V> v{direction[0][at], V(0), V(0)};
      if constexpr (Recurrence::kTables > 1) v = {v.match, direction[1][at], direction[2][at]};
      const Weights<V> w = Packing::unpack(saved_at<Keeps>(array, at, true));
      const Tangent<V> t = Recurrence::tangent(w, v, diagonal, from_above, left, curvature);
      const auto packed = Packing::pack_tangents(t.weights);
#pragma unroll
      for (int plane = 0; plane < Packing::kNumbers; plane++) array[plane][at] = packed.number[plane];
      left = t.state;
    }
    diagonal = from_above;
    if (lane.row == bottom) below[q] = left;
  }
}

// Whether this thread finds a direction that is not 0 in the band's rows. Looked at only where the pair is
// spoiled: what nothing asks for is 0, before the launch, and the rest NaN.
template <bool kHasCorridor, class A>
SOFTDP_DEVICE bool is_directed(const A& a, int64_t pair, int band, const Extent& size) {
  const int n = size.n;
  const Corridor inside = Corridor::of(n, size.m, kHasCorridor ? a.pairs.bandwidth : -1);
  const int first = band * a.band.rows(), end = first + a.band.rows() < n ? first + a.band.rows() : n;
  bool found = false;
  for (int i = 0; i < A::kDirections; i++) {
    if (!a.directions[i].data) continue;
    const auto v = rows_of<typename A::V>(a.directions[i], pair, 0);
    for (int row = first + int(threadIdx.x) / kStripRows; row < end; row += a.band.warps)
      for (int64_t column = inside.begin(row) + threadIdx.x % kStripRows; column < inside.end(row);
           column += kStripRows)
        found = found || !(*v.at(row, column) == 0);
  }
  return found;
}

// Blocks for whose registers a multiprocessor is to have room.
template <class V, class Packing>
constexpr int kTangentBlocks = tables_with<Packing>() == 1 ? 5
                               : sizeof(V) == 8            ? 3
                                                           : 1;

template <Has kCorridor, class V, class Packing>
SOFTDP_DEVICE void sweep_tangent_band(const TangentArguments<V, Packing>& a, unsigned char* raw) {
  using Arguments = TangentArguments<V, Packing>;
  constexpr int kPlanes = Arguments::kPlanes, kArrays = Arguments::kArrays;
  const BandStrip<Arguments, kCorridor> at(a, raw);
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int m = at.size.m, lane = at.lane, row0 = at.row0, rows = at.rows;
  const int64_t cells = cells_of(a.pairs);
  const V* const saved = a.saved + pair * kPlanes * cells;
  const V verdict = verdict_of<typename Arguments::Keeps>(saved, at.size, a.pairs, at.has_corridor());
  if (!(verdict >= 0)) {
    if (verdict != verdict && is_directed<kCorridor == Has::kAlways>(a, pair, at.band, at.size))
      a.tangent[pair] = V(NAN);
    return;
  }
  if (!at.is_at_work()) return;
  at.find_columns();

  V* array[kArrays];
#pragma unroll
  for (int i = 0; i < kArrays; i++) array[i] = at.array(kArrays, i);
  Row<V> in = at.in(), out = at.out();
  if (at.is_last() && a.boundary.last_row) out.edges = a.boundary.last_row + pair * M;
  V left = 0, diagonal = 0;
  if (a.boundary.left) {
    const V* const beside = a.boundary.left + pair * N + row0;
    if (lane < rows && at.begins(lane)) left = beside[lane];
    if (row0 > 0 && rows > 0 && at.begins(0)) diagonal = beside[-1];
    if (row0 == 0) in.edges = const_cast<V*>(a.boundary.above) + pair * M;
  }

  const Part part(lane);
  BlockLoader<V, 1> loaders[kArrays];
  BlockStorer<V, V, 1> storers[kPlanes];
#pragma unroll
  for (int plane = 0; plane < kPlanes; plane++) {
    V* const tangents = a.tangents + (pair * kPlanes + plane) * cells;
    loaders[plane] = at.template blocks_of<BlockLoader<V, 1>>(saved + plane * cells, part);
    storers[plane] = at.template blocks_of<BlockStorer<V, V, 1>>(tangents, part);
  }
#pragma unroll
  for (int i = 0; i < Arguments::kDirections; i++) {
    const Table& v = a.directions[i];
    loaders[kPlanes + i] =
        BlockLoader<V, 1>(v.data ? rows_of<V>(v, pair, row0) : View<const V>{saved, 0, 0}, part);
  }
  const auto start = [&](int c) {
#pragma unroll
    for (int i = 0; i < kArrays; i++) {  // where there is no direction, rows = 0: zeros come in
      const bool given = i < kPlanes || a.directions[i - kPlanes].data;
      const auto loader = i < kPlanes ? at.turned(loaders[i], part, c) : loaders[i];
      loader.start(part, given ? rows : 0, at.columns_of(part), c, array[i]);
    }
  };
  const auto leave = [&](int c) {
#pragma unroll
    for (int plane = 0; plane < kPlanes; plane++)
      at.turned(storers[plane], part, c).store(part, rows, at.columns_of(part), c, array[plane], {});
    carry_over<1, kArrays>(array, kArrays, c, lane);
  };
  const auto where = at.own_lane();
  const auto steps = [&](int c, bool, const V* above, const Given<V>& below) {
    with_recurrence_of<Packing>(a.recurrence, [&](auto recurrence) {
      tangent_chunk<decltype(recurrence)>(array, left, diagonal, a.curvature, where, c, above, below,
                                          rows - 1);
    });
  };
  at.go(
      start, [](int) { copy_async_wait(); }, leave, [&](int c) { sweep_edges(at, c, V(0), in, out, steps); });
  if (a.boundary.last_column && lane < rows) a.boundary.last_column[pair * N + row0 + lane] = left;
  if (at.is_last() && lane == rows - 1) a.tangent[pair] = left;
}
template <class V, class Packing>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kStripRows, (kTangentBlocks<V, Packing>))
tangent_bands(const TangentArguments<V, Packing> a) {
  SOFTDP_SHARED(raw);
  a.pairs.bandwidth < 0 ? sweep_tangent_band<Has::kNever>(a, raw) : sweep_tangent_band<Has::kAlways>(a, raw);
}

// ---- backward: the products ----------------------------------------------------------------------------

template <class V_, class Packing>
struct ProductArguments {
  using V = V_;
  using Edge = Dual<V>;
  using Keeps = Kept<Packing, V, true>;
  static constexpr int kPlanes = Packing::kNumbers, kProducts = tables_with<Packing>();
  static constexpr int kArrays = 2 * kPlanes;  // weights, their tangents; products overwrite both
  static constexpr bool kIsAdjoint = true;
  Recurrence recurrence;
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  const V* tangent;  // (B,): of pairs that are not swept, what their products are too
  const V* tangents;
  Sink products[3];
  // Where the recurrence charges the boundary, else null.
  BoundaryGradient<V> boundary;  // by_left: the tangents that S(i, 0) receives
  Dual<V>* by_above;             // (B, M), columns from the pair's last one on
  const Dual<V>* by_ends[2];     // of the last row and column, where paths may end there, likewise; else null
  bool shared_gap;
  BandSize band;
  Chain<Dual<V>> chain;
  static SOFTDP_FN int arrays_of_warp() { return kArrays; }
};

template <class V>
SOFTDP_DEVICE Dual<V> shuffle_up(const Dual<V>& x) {
  return {shuffle_up(x.value), shuffle_up(x.tangent)};
}

// The table is seen from its end; edges are what the row above receives.
template <class Recurrence, class V, class Of>
SOFTDP_DEVICE void product_chunk(V* const* array, Adjoints<Dual<V>>& from, bool shared_gap, const Of& lane,
                                 int chunk, const Dual<V>* above, const Given<Dual<V>>& below, int bottom) {
  using Packing = typename Recurrence::Packing;
  using Keeps = Kept<Packing, V, true>;
  using Number = Dual<V>;
  const WindowPlaces<-1> places(lane.row, chunk);
  const int column = chunk * kChunk - lane.r - first_column(lane);
#pragma unroll 4
  for (int q = 0; q < kChunk; q++) {
    Number from_above = shuffle_up(is_done<1>(lane, column + q) ? Number{} : from.to_above);
    if (lane.r == 0) from_above = above[q];
    Adjoint<Number> out{};
    const bool inside = unsigned(column + q) < unsigned(lane.m);
    if (inside) {
      const int at = places.at(q);
      const Weights<V> w = Packing::unpack(saved_at<Keeps>(array, at, true)),
                       t = Packing::unpack_tangents(saved_at<Keeps>(array + Packing::kNumbers, at, true));
      const Number a = from_above + from.to_left;
      out = Recurrence::adjoint(a, a,
                                Weights<Number>{{w.match, t.match}, {w.insert, t.insert}, {w.del, t.del}});
      array[0][at] = out.score.tangent;
      if constexpr (Recurrence::kTables > 1) {
        array[1][at] = out.to_above.tangent + (shared_gap ? out.to_left.tangent : V(0));
        array[2][at] = out.to_left.tangent;
      }
    } else if (kIsWithin<Of>) {
#pragma unroll
      for (int i = 0; i < Recurrence::kTables; i++) array[i][places.at(q)] = 0;
    }
    from.hand_on(out, inside);
    if (lane.row == bottom) below[q] = from.to_above;
  }
}

template <class Packing>
constexpr int kProductBlocks = tables_with<Packing>() == 1 ? 5 : 1;

template <Has kCorridor, class V, class Packing>
SOFTDP_DEVICE void sweep_product_band(const ProductArguments<V, Packing>& a, unsigned char* raw) {
  using Number = Dual<V>;
  using Arguments = ProductArguments<V, Packing>;
  constexpr int kPlanes = Arguments::kPlanes, kArrays = Arguments::kArrays, kProducts = Arguments::kProducts;
  const BandStrip<Arguments, kCorridor> at(a, raw);
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int n = at.size.n, m = at.size.m, lane = at.lane, row0 = at.row0, rows = at.rows;
  const int64_t cells = cells_of(a.pairs);
  const V* const saved = a.saved + pair * kPlanes * cells;
  const V* const tangents = a.tangents + pair * kPlanes * cells;
  const bool swept = verdict_of<typename Arguments::Keeps>(saved, at.size, a.pairs, at.has_corridor()) >= 0;
  fill_gradients<V, kCorridor == Has::kAlways>(a.products, a.pairs, a.band, at.band, pair, at.size,
                                               swept ? 0.0f : float(a.tangent[pair]), swept);
  if (!swept || !at.is_at_work()) return;
  at.find_columns();

  V* array[kArrays];
#pragma unroll
  for (int i = 0; i < kArrays; i++) array[i] = at.array(kArrays, i);
  Row<Number> in = at.in(), out = at.out();
  if (row0 == 0 && a.by_ends[kInRow]) in.edges = const_cast<Number*>(a.by_ends[kInRow]) + pair * M;
  if (at.is_last() && a.by_above) out.edges = a.by_above + pair * M;

  const int64_t corner = int64_t(n - 1 - row0) * M + m - 1 + at.moved();
  const Part part(lane);
  BlockLoader<V, -1> loaders[kArrays];
  BlockStorer<V, V, -1> storers[3];
#pragma unroll
  for (int i = 0; i < kArrays; i++) {
    const V* const from = i < kPlanes ? saved + i * cells : tangents + (i - kPlanes) * cells;
    loaders[i] = at.template blocks_of<BlockLoader<V, -1>>(from, part);
  }
#pragma unroll
  for (int i = 0; i < kProducts; i++)
    if (a.products[i].data)
      storers[i] =
          BlockStorer<V, V, -1>({static_cast<V*>(a.products[i].data) + pair * N * M + corner, -M, -1}, part);
  const auto start = [&](int c) {
#pragma unroll
    for (int i = 0; i < kArrays; i++)
      at.turned(loaders[i], part, c).start(part, rows, at.columns_of(part), c, array[i]);
  };
  const auto leave = [&](int c) {
#pragma unroll
    for (int i = 0; i < kProducts; i++)
      if (a.products[i].data) storers[i].store(part, rows, at.columns_of(part), c, array[i], {});
    carry_over<-1, kArrays>(array, kArrays, c, lane);
  };
  const auto where = at.own_lane();
  Number first;
  if (row0 == 0) first.value = a.grad_score[pair];
  Adjoints<Number> from;
  if (a.by_ends[kInColumn] && lane < rows && at.begins(lane))
    from.to_left = a.by_ends[kInColumn][pair * N + row0 + lane];
  const auto steps = [&](int c, bool, const Number* above, const Given<Number>& below) {
    with_recurrence_of<Packing>(a.recurrence, [&](auto recurrence) {
      product_chunk<decltype(recurrence)>(array, from, a.shared_gap, where, c, above, below, rows - 1);
    });
  };
  at.go(
      start, [](int) { copy_async_wait(); }, leave,
      [&](int c) { sweep_edges(at, c, first, in, out, steps); });
  if (a.boundary.by_left && lane < rows) {
    const int64_t row = pair * N + (n - 1 - row0 - lane);
    a.boundary.by_left[row] = from.to_left.tangent;
    a.boundary.by_left_diagonal[row] = from.to_diagonal.tangent;
  }
}
template <class V, class Packing>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kStripRows, (kProductBlocks<Packing>))
product_bands(const ProductArguments<V, Packing> a) {
  SOFTDP_SHARED(raw);
  a.pairs.bandwidth < 0 ? sweep_product_band<Has::kNever>(a, raw) : sweep_product_band<Has::kAlways>(a, raw);
}

}  // namespace softdp::cuda
