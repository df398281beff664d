// The second order of several states a cell: forward the tangents of the weights, backward, on dual numbers,
// the products of the Hessian. second_order.h has the sweeps of one state.
//
// A cell takes up to 16 numbers and leaves up to 8. In shared memory those of a strip in double would need
// more than a block has on many devices, so lanes read and write them where they lie.
#pragma once
#include "several_backward.h"

namespace softdp::cuda {

// ---- numbers of a cell, in global memory -----------------------------------------------------------------

// The weights of a cell, from what a pair's forward sweep has saved.
template <class Packing, class V>
SOFTDP_DEVICE typename Packing::template Saved<V> saved_of_cell(const SavedNumbers& saved, const Pairs& pairs,
                                                                int64_t pair, int64_t cell) {
  if (saved.are_bits) return from_bits<Packing, V>(saved.template plane<const float>(pairs, pair, 0)[cell]);
  typename Packing::template Saved<V> out;
  over<Packing::kNumbers>(
      [&](auto plane) { out.number[plane] = saved.template plane<const V>(pairs, pair, plane)[cell]; });
  return out;
}
// The tangents of the weights, whose sum over a state's edges is 0: kept are those that Packing keeps.
template <class R, class V>
SOFTDP_DEVICE typename R::Packing::template Saved<V> packed_tangents(
    const typename R::template Shares<V>& t) {
  typename R::Packing::template Saved<V> saved;
  over<R::kStates>([&](auto state) {
    constexpr int s = state;
    over<R::kNodes[s].count>([&](auto edge) {
      constexpr int k = edge;
      if constexpr (k > 0) saved.number[R::number_of_edge(s, k)] = t.of[s][k];
    });
  });
  return saved;
}
// The weights with their tangents.
template <class R, class V>
SOFTDP_DEVICE typename R::template Shares<Dual<V>> dual_weights(
    const typename R::template Shares<V>& w, const typename R::Packing::template Saved<V>& tangents) {
  typename R::template Shares<Dual<V>> out;
  over<R::kStates>([&](auto state) {
    constexpr int s = state;
    V sum = 0;
    over<R::kNodes[s].count>([&](auto edge) {
      constexpr int k = edge;
      if constexpr (k > 0) {
        const V t = tangents.number[R::number_of_edge(s, k)];
        out.of[s][k] = {w.of[s][k], t};
        sum += t;
      }
    });
    out.of[s][0] = {w.of[s][0], -sum};
  });
  return out;
}

// ---- forward: the tangents of the weights ----------------------------------------------------------------

template <class Family_, class V_>
struct SeveralTangents {
  using Family = Family_;
  using V = V_;
  using Edge = Composite<Family::kRowStates, V>;
  static constexpr int kDirections = Family::kTables;
  static constexpr bool kIsAdjoint = false;
  Recurrence recurrence;
  Pairs pairs;
  V curvature;
  SavedNumbers saved;
  Table directions[kDirections];
  Boundary<V> boundary;  // as TangentArguments has it
  V* tangent;
  SavedNumbers tangents;  // data null where all are 0
  BandSize band;
  Chain<Edge> chain;
  static SOFTDP_FN int arrays_of_warp() { return 0; }
};

// The 16 steps of a chunk of the strip that begins at row0.
template <class R, class A, class Of>
SOFTDP_DEVICE void several_tangent_chunk(const A& a, int64_t pair, int row0, const SavedPlaces& places,
                                         Composite<A::Family::kStates, typename A::V>& left,
                                         typename A::Edge& diagonal, const Of& lane, int chunk,
                                         const typename A::Edge* above, const Given<typename A::Edge>& below,
                                         int bottom) {
  using V = typename A::V;
  const int64_t row = row0 + lane.row;
  const int column = chunk * kChunk - lane.r - first_column(lane);
#pragma unroll 1
  for (int q = 0; q < kChunk; q++) {
    auto given_on = crossing<R>(left.of);
    if (is_done(lane, column + q)) given_on = {};
    const auto from_above = from_lane_above(given_on, lane.r == 0, above[q]);
    const int64_t j = column + q + first_column(lane);
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int64_t cell = places.of(row, j);
      V v[kMostTables] = {};
      over<R::kTables>([&](auto i) {
        const Table& t = a.directions[i];
        if (t.data) v[i] = static_cast<const V*>(t.data)[pair * t.batch + row * t.row + j * t.column];
      });
      const auto w = R::Packing::unpack(saved_of_cell<typename R::Packing, V>(a.saved, a.pairs, pair, cell));
      const auto t = R::template tangent<V>(w, v, spread<R>(diagonal).of, spread<R>(from_above).of, left.of,
                                            a.curvature);
      if (a.tangents.data) {
        const auto packed = packed_tangents<R, V>(t.weights);
        over<R::Packing::kNumbers>([&](auto plane) {
          a.tangents.template plane<V>(a.pairs, pair, plane)[cell] = packed.number[plane];
        });
      }
      over<R::kStates>([&](auto s) { left.of[s] = t.states[s]; });
    }
    diagonal = from_above;
    if (lane.row == bottom) below[q] = crossing<R>(left.of);
  }
}

template <class F, class V>
SOFTDP_KERNEL(kMostWarps* kStripRows)
several_tangents(const SeveralTangents<F, V> a) {
  using A = SeveralTangents<F, V>;
  using R = typename F::First;
  using Edge = typename A::Edge;
  SOFTDP_SHARED(raw);
  const SeveralPlace<A> at(a, raw);
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int m = at.size.m, lane = at.lane, row0 = at.row0, rows = at.rows;
  const double verdict = verdict_of(a.saved, a.pairs, pair, at.size);
  if (!(verdict >= 0)) {
    constexpr bool kMayHaveCorridor = F::kCorridor != Has::kNever;
    if (verdict != verdict && is_directed<kMayHaveCorridor>(a, pair, at.band, at.size))
      a.tangent[pair] = V(NAN);
    return;
  }
  if (!at.is_at_work()) return;
  at.find_columns();

  Composite<F::kStates, V> left{};
  Edge diagonal{};
  if (a.boundary.left) {
    const V* const beside = a.boundary.left + pair * N + row0;
    if (lane < rows && at.begins(lane)) left = on_side<R>(F::kLeft, beside[lane], V(0));
    if (row0 > 0 && rows > 0 && at.begins(0))
      diagonal = crossing<R>(on_side<R>(F::kLeft, beside[-1], V(0)).of);
  }
  const Row<Edge> in = at.in(), out = at.out();
  const auto where = lane_of(at);
  const SavedPlaces places(a.pairs, at.size, at.has_corridor());
  const auto first = [&](int column) {
    const bool is_given = a.boundary.above && row0 == 0 && column < m;
    const V x = is_given ? a.boundary.above[pair * M + column] : V(0);
    return crossing<R>(on_side<R>(F::kAbove, x, V(0)).of);
  };
  const auto last = [&](int column, const Edge& edge) {
    if constexpr (F::kEndInRow >= 0)
      if (a.boundary.last_row) a.boundary.last_row[pair * M + column] = edge.of[F::kEndInRow];
  };
  const auto steps = [&](int c, const Edge* above, const Given<Edge>& below) {
    F::with(a.recurrence, [&](auto recurrence) {
      several_tangent_chunk<decltype(recurrence)>(a, pair, row0, places, left, diagonal, where, c, above,
                                                  below, rows - 1);
    });
  };
  at.go([](int) {}, [](int) {}, [](int) {},
        [&](int c) { sweep_composites(at, c, Edge{}, in, out, first, last, steps); });
  if (a.boundary.last_column && lane < rows)
    a.boundary.last_column[pair * N + row0 + lane] = left.of[F::kEnd];
  if (at.is_last() && lane == rows - 1) a.tangent[pair] = left.of[F::kEnd];
}

// ---- backward: the products ------------------------------------------------------------------------------

template <class Family_, class V_>
struct SeveralProducts {
  using Family = Family_;
  using V = V_;
  using Number = Dual<V>;
  using Edge = Composite<Family::kRowStates, Number>;
  static constexpr int kProducts = Family::kTables;
  static constexpr bool kIsAdjoint = true;
  Recurrence recurrence;
  Pairs pairs;
  const V* grad_score;
  SavedNumbers saved;
  const V* tangent;
  SavedNumbers tangents;
  Sink products[kProducts];
  BoundaryGradient<V> boundary;  // these three as ProductArguments has them
  Number* by_above;
  const Number* by_ends[2];
  bool shared_gap;
  BandSize band;
  Chain<Edge> chain;
  static SOFTDP_FN int arrays_of_warp() { return 0; }
};

// The 16 steps of a chunk of the strip whose first row is `row0` from the table's end.
template <class R, class A, class Of>
SOFTDP_DEVICE void several_product_chunk(const A& a, int64_t pair, const Extent& size, int row0, int moved,
                                         const SavedPlaces& places,
                                         SeveralAdjoints<typename A::Family, typename A::Number>& from,
                                         const Of& lane, int chunk, const typename A::Edge* above,
                                         const Given<typename A::Edge>& below, int bottom) {
  using V = typename A::V;
  using Number = typename A::Number;
  using Saved = typename R::Packing::template Saved<V>;
  const int64_t row = size.n - 1 - row0 - lane.row;
  const int column = chunk * kChunk - lane.r - first_column(lane);
#pragma unroll 1
  for (int q = 0; q < kChunk; q++) {
    auto given_on = from.to_above;
    if (is_done<1>(lane, column + q)) given_on = {};
    const auto from_above = from_lane_above(given_on, lane.r == 0, above[q]);
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int64_t j = size.m - 1 + moved - (column + q + first_column(lane)), cell = places.of(row, j);
      const auto w = R::Packing::unpack(saved_of_cell<typename R::Packing, V>(a.saved, a.pairs, pair, cell));
      const Saved t =
          a.tangents.data ? saved_of_cell<typename R::Packing, V>(a.tangents, a.pairs, pair, cell) : Saved{};
      const auto given = from.template given<R>(from_above);
      const auto handed = R::template adjoint<Number>(given.of, dual_weights<R, V>(w, t));
      from.template hand_on<R>(handed);
      const int64_t place = (pair * a.pairs.rows + row) * a.pairs.columns + j;
      over<R::kTables>([&](auto table) {
        constexpr int i = table;
        V x = handed.scores[i].value.tangent;
        if (i == int(Score::kInsert) && a.shared_gap)
          x = x + handed.scores[int(Score::kDelete)].value.tangent;
        if (a.products[i].data) static_cast<V*>(a.products[i].data)[place] = x;
      });
    } else if (kIsWithin<Of> && column + q == lane.m) {
      from.end_row();
    }
    if (lane.row == bottom) below[q] = from.to_above;
  }
}

template <class F, class V>
SOFTDP_KERNEL(kMostWarps* kStripRows)
several_products(const SeveralProducts<F, V> a) {
  using A = SeveralProducts<F, V>;
  using R = typename F::First;
  using Edge = typename A::Edge;
  SOFTDP_SHARED(raw);
  const SeveralPlace<A> at(a, raw);
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int m = at.size.m, lane = at.lane, row0 = at.row0, rows = at.rows;
  const bool swept = verdict_of(a.saved, a.pairs, pair, at.size) >= 0;
  at.if_corridor([&](auto corridor) {
    fill_gradients<V, corridor.value == Has::kAlways>(a.products, a.pairs, a.band, at.band, pair, at.size,
                                                      swept ? 0.0f : float(a.tangent[pair]), swept);
  });
  if (!swept || !at.is_at_work()) return;
  at.find_columns();

  const Row<Edge> in = at.in(), out = at.out();
  const auto where = lane_of(at);
  const SavedPlaces places(a.pairs, at.size, at.has_corridor());
  SeveralAdjoints<F, typename A::Number> from;
  if (a.by_ends[kInColumn] && lane < rows && at.begins(lane))
    from.to_left.of[F::kEnd] = a.by_ends[kInColumn][pair * N + row0 + lane];
  const auto first = [&](int column) {
    Edge edge{};
    if constexpr (F::kEndInRow >= 0) {
      auto& end = edge.of[F::kEndInRow];
      if (row0 == 0 && !a.by_ends[kInRow] && column == 0) end.value = a.grad_score[pair];
      if (row0 == 0 && a.by_ends[kInRow] && column < m) end = a.by_ends[kInRow][pair * M + column];
    }
    return edge;
  };
  const auto last = [&](int column, const Edge& edge) {
    if (a.by_above) a.by_above[pair * M + column] = sum_on_side<R>(F::kAbove, edge);
  };
  const auto steps = [&](int c, const Edge* above, const Given<Edge>& below) {
    F::with(a.recurrence, [&](auto recurrence) {
      several_product_chunk<decltype(recurrence)>(a, pair, at.size, row0, at.moved(), places, from, where, c,
                                                  above, below, rows - 1);
    });
  };
  at.go([](int) {}, [](int) {}, [](int) {},
        [&](int c) { sweep_composites(at, c, Edge{}, in, out, first, last, steps); });
  if (a.boundary.by_left && lane < rows) {
    const int64_t row = pair * N + (at.size.n - 1 - row0 - lane);
    a.boundary.by_left[row] = sum_on_side<R>(F::kLeft, crossing<R>(from.to_left.of)).tangent;
    a.boundary.by_left_diagonal[row] = sum_on_side<R>(F::kLeft, from.to_diagonal).tangent;
  }
}

}  // namespace softdp::cuda
