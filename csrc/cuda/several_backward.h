// The backward sweep of several states a cell, on the table seen from its end.
#pragma once
#include "second_order.h"  // shuffles of dual numbers
#include "several.h"

namespace softdp::cuda {

template <class Family_, class V_>
struct SeveralBackward {
  using Family = Family_;
  using V = V_;
  using Edge = Composite<Family::kRowStates, V>;
  static constexpr int kTables = Family::kTables;
  // Weights come in, gradients take their place. Bits come into an array behind the gradients'.
  static constexpr int kMostArrays = Family::kPlanes;
  static_assert(Family::kPlanes > kTables, "bits have an array of their own");
  static constexpr bool kIsAdjoint = true;
  Recurrence recurrence;
  Pairs pairs;
  const V* grad_score;
  SavedNumbers saved;
  Sink sinks[kTables];
  bool is_stored[kTables];  // cell by cell
  bool shared_gap;
  BoundaryGradient<V> boundary;  // by_above, by_left: of recurrences that charge the boundary; else null
  int arrays;
  BandSize band;
  Chain<Edge> chain;
  SOFTDP_DEVICE int arrays_of_warp() const { return arrays; }
  V* partial[kTables - 1];  // of the tables that are summed over rows: (B, strips, M) or (B, strips)
};

// What a lane's cells hand on, by the states that it goes to.
template <class F, class Number>
struct SeveralAdjoints {
  Composite<F::kStates, Number> to_left{};
  Composite<F::kRowStates, Number> to_diagonal{}, to_above{};
  // The adjoints of a cell's states.
  template <class R>
  SOFTDP_DEVICE Composite<F::kStates, Number> given(
      const Composite<F::kRowStates, Number>& from_above) const {
    auto a = spread<R>(from_above);
    over<R::kStates>([&](auto s) { a.of[s] = a.of[s] + to_left.of[s]; });
    return a;
  }
  // As Adjoints::hand_on() of backward_steps.h. handed: of a cell inside its columns. Outside nothing
  // changes: nobody takes what a lane gives before its first cell, which is 0, or after its last.
  template <class R>
  SOFTDP_DEVICE void hand_on(const typename R::template Handed<Number>& handed) {
    over<R::kStates>([&](auto state) {
      constexpr int s = state;
      to_left.of[s] = handed.left[s].value;
      if constexpr (R::crosses(s)) {
        constexpr int place = R::row_place(s);
        to_above.of[place] = handed.above[s].value + to_diagonal.of[place];
        to_diagonal.of[place] = handed.diagonal[s].value;
      }
    });
  }
  // Of a row whose last cell is not the table's: in the column after it the row above takes what is left.
  SOFTDP_DEVICE void end_row() { to_above = to_diagonal; }
};
template <int K, class Number>
SOFTDP_DEVICE Composite<K, Number> from_lane_above(Composite<K, Number> x, bool is_first,
                                                   const Composite<K, Number>& edge) {
  over<K>([&](auto s) { x.of[s] = shuffle_up(x.of[s]); });
  return is_first ? edge : x;
}

// What becomes of the gradients of a strip's tables.
template <class A>
struct SeveralSums {
  using V = typename A::V;
  Sum kind[A::kTables];  // of the first: unused
  V of_chunk[A::kTables] = {};
  double row[A::kTables] = {};
};

// The 16 steps of a chunk.
template <class R, class A, class Of>
SOFTDP_DEVICE void several_backward_chunk(const A& a, typename A::V* array,
                                          SeveralAdjoints<typename A::Family, typename A::V>& from,
                                          SeveralSums<A>& sums, const Of& lane, int chunk,
                                          const typename A::Edge* above, const Given<typename A::Edge>& below,
                                          int bottom) {
  using V = typename A::V;
  using Packing = typename R::Packing;
  const WindowPlaces<-1> places(lane.row, chunk);
  const float* const bits = reinterpret_cast<const float*>(array + R::kTables * kArray);
  const int column = chunk * kChunk - lane.r - first_column(lane);
#pragma unroll 2
  for (int q = 0; q < kChunk; q++) {
    auto given_on = from.to_above;
    if (is_done<1>(lane, column + q)) given_on = {};
    const auto from_above = from_lane_above(given_on, lane.r == 0, above[q]);
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int at = places.at(q);
      typename Packing::template Saved<V> saved;
      if (a.saved.are_bits)
        saved = from_bits<Packing, V>(bits[at]);
      else
        over<Packing::kNumbers>([&](auto plane) { saved.number[plane] = array[plane * kArray + at]; });
      const auto given = from.template given<R>(from_above);
      const auto handed = R::template adjoint<V>(given.of, Packing::unpack(saved));
      from.template hand_on<R>(handed);
      over<R::kTables>([&](auto table) {
        constexpr int i = table;
        V x = handed.scores[i].value;
        if (i == int(Score::kInsert) && a.shared_gap) x = x + handed.scores[int(Score::kDelete)].value;
        if (i == 0 || sums.kind[i] == Sum::kArray) array[i * kArray + at] = x;
        if (i > 0 && sums.kind[i] == Sum::kRow) sums.of_chunk[i] += x;
      });
    } else if (kIsWithin<Of>) {
      if (column + q == lane.m) from.end_row();
      over<R::kTables>([&](auto i) { array[i * kArray + places.at(q)] = 0; });
    }
    if (lane.row == bottom) below[q] = from.to_above;
  }
}

// What a strip gives when its columns are through: to the boundary, and to the tables that are summed over
// columns.
template <class A, class Strip>
SOFTDP_DEVICE void end_several_backward(const A& a, const Strip& at,
                                        const SeveralAdjoints<typename A::Family, typename A::V>& from,
                                        const SeveralSums<A>& sums) {
  using F = typename A::Family;
  using R = typename F::First;
  if (a.boundary.by_left && at.lane < at.rows) {
    const int64_t row = at.pair * a.pairs.rows + (at.size.n - 1 - at.row0 - at.lane);
    a.boundary.by_left[row] = sum_on_side<R>(F::kLeft, crossing<R>(from.to_left.of));
    a.boundary.by_left_diagonal[row] = sum_on_side<R>(F::kLeft, from.to_diagonal);
  }
#pragma unroll
  for (int i = 1; i < A::kTables; i++)
    if (sums.kind[i] == Sum::kRow)
      store_row_sum(a, i, sums.row[i], at.pair, at.size.n, at.row0, at.rows, at.lane, at.strip());
}

// A strip's weights on their way in, and its gradients on their way out.
template <class A>
struct SeveralWeights {
  using V = typename A::V;
  const A& a;
  const SeveralPlace<A>& at;
  const Part part;
  const int64_t corner;  // the strip's first cell, from the pair's first
  V* array[A::kMostArrays];
  float* bits[1];

  SOFTDP_DEVICE SeveralWeights(const A& a, const SeveralPlace<A>& at)
      : a(a),
        at(at),
        part(at.lane),
        corner(int64_t(at.size.n - 1 - at.row0) * a.pairs.columns + at.size.m - 1 + at.moved()) {
#pragma unroll
    for (int i = 0; i < A::kMostArrays; i++) array[i] = at.array(a.arrays, i);
    bits[0] = reinterpret_cast<float*>(array[A::kTables]);
  }
  SOFTDP_DEVICE void start(int c) const {
    if (a.saved.are_bits) return fetch(c, 0, bits[0]);
#pragma unroll 1
    for (int plane = 0; plane < A::kMostArrays; plane++) fetch(c, plane, array[0] + plane * kArray);
  }
  SOFTDP_DEVICE void leave(int c) const {
    with_numbers<V>(a.sinks[0].type, [&](auto number) {
      using T = decltype(number);
#pragma unroll
      for (int i = 0; i < A::kTables; i++) {
        if (!a.is_stored[i]) continue;
        const Sink& sink = a.sinks[i];
        T* const first = static_cast<T*>(sink.data) + at.pair * a.pairs.rows * a.pairs.columns + corner;
        const BlockStorer<T, V, -1> storer({first, -a.pairs.columns, -1}, part);
        at.if_corridor([&](auto corridor) {
          const auto of = at.template columns_of<corridor.value>(part);
          storer.store(part, at.rows, of, c, array[i], sink.type);
        });
      }
    });
    if (!a.saved.are_bits) return carry_over<-1, A::kMostArrays>(array, A::kMostArrays, c, at.lane);
    carry_over<-1, A::kTables>(array, A::kTables, c, at.lane);
    carry_over<-1, 1>(bits, 1, c, at.lane);
  }

 private:
  template <class T>
  SOFTDP_DEVICE void fetch(int c, int plane, T* to) const {
    const T* const numbers = a.saved.template plane<const T>(a.pairs, at.pair, plane);
    const auto loader = at.template blocks_of<BlockLoader<T, -1>>(numbers, part);
    at.if_corridor([&](auto corridor) {
      constexpr Has k = corridor.value;
      at.template turned<k>(loader, part, c).start(part, at.rows, at.template columns_of<k>(part), c, to);
    });
  }
};

// The edge above the first row: what its cells receive of the score.
template <class A>
SOFTDP_DEVICE typename A::Edge seeds_above(const A& a, int64_t pair, int column, int m) {
  typename A::Edge edge{};
  if constexpr (A::Family::kEndInRow >= 0) {
    auto& end = edge.of[A::Family::kEndInRow];
    const auto* const by_ends = a.boundary.by_last_row;
    if (!by_ends && column == 0) end = a.grad_score[pair];
    if (by_ends && column < m) end = by_ends[pair * a.pairs.columns + column];
  }
  return edge;
}

template <class F, class V>
SOFTDP_KERNEL(kMostWarps* kStripRows)
several_backward(const SeveralBackward<F, V> a) {
  using A = SeveralBackward<F, V>;
  using R = typename F::First;
  using Edge = typename A::Edge;
  SOFTDP_SHARED(raw);
  SeveralPlace<A> at(a, raw);
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int m = at.size.m, lane = at.lane, rows = at.rows;
  const double verdict =
      a.grad_score[pair] != 0 ? verdict_of(a.saved, a.pairs, pair, at.size) : double(kNoPath);
  const bool swept = verdict >= 0;
  with_numbers<V>(a.sinks[0].type, [&](auto number) {
    at.if_corridor([&](auto corridor) {
      fill_gradients<decltype(number), corridor.value == Has::kAlways>(
          a.sinks, a.pairs, a.band, at.band, pair, at.size, swept || verdict < 0 ? 0.0f : NAN, swept);
    });
  });
  if (!swept || !at.is_at_work()) return;
  at.find_columns();

  const SeveralWeights<A> blocks(a, at);
  SeveralSums<A> sums;
  ColumnSums<V> column_sums[A::kTables];
#pragma unroll
  for (int i = 1; i < A::kTables; i++) sums.kind[i] = sum_of(a.sinks[i]);
  const Row<Edge> in = at.in(), out = at.out();
  const auto where = lane_of(at);
  SeveralAdjoints<F, V> from;
  if (a.boundary.by_last_column && lane < rows && at.begins(lane))
    from.to_left.of[F::kEnd] = a.boundary.by_last_column[pair * N + at.row0 + lane];
  const auto first = [&](int column) { return at.row0 == 0 ? seeds_above(a, pair, column, m) : Edge{}; };
  const auto last = [&](int column, const Edge& edge) {
    if (a.boundary.by_above) a.boundary.by_above[pair * M + column] = sum_on_side<R>(F::kAbove, edge);
  };
  const auto steps = [&](int c, const Edge* above, const Given<Edge>& below) {
    F::with(a.recurrence, [&](auto recurrence) {
      several_backward_chunk<decltype(recurrence)>(a, blocks.array[0], from, sums, where, c, above, below,
                                                   rows - 1);
    });
#pragma unroll
    for (int i = 1; i < A::kTables; i++) {
      if (sums.kind[i] == Sum::kArray && !a.sinks[i].every_row)
        at.if_corridor([&](auto corridor) {
          column_sums[i].add(blocks.array[i], WindowPlaces<-1>(lane, c), lane, c, rows,
                             at.template all_columns<corridor.value>(),
                             a.partial[i - 1] + at.strip() * M - at.moved());
        });
      sums.row[i] += double(sums.of_chunk[i]);
      sums.of_chunk[i] = 0;
    }
  };
  at.go([&](int c) { blocks.start(c); }, [](int) { copy_async_wait(); }, [&](int c) { blocks.leave(c); },
        [&](int c) { sweep_composites(at, c, Edge{}, in, out, first, last, steps); });
  at.find();
  if (at.rows > 0) end_several_backward(a, at, from, sums);
}

}  // namespace softdp::cuda
