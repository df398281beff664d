// The forward sweep of several states a cell.
#pragma once
#include "forward_bands.h"
#include "several.h"

namespace softdp::cuda {

template <class Family_, class V_>
struct SeveralForward {
  using Family = Family_;
  using V = V_;
  using Wide = typename Maxima<V, true>::Wide;
  using State = RestingState<V>;
  using Edge = Composite<Family::kRowStates, State>;
  using Factor = typename Wide::Arithmetic::Factor;
  static constexpr int kTables = Family::kTables;
  static constexpr int kMostArrays = kTables > Family::kPlanes ? kTables : Family::kPlanes;
  static constexpr bool kIsAdjoint = false;
  Recurrence recurrence;
  Pairs pairs;
  bool is_soft;
  Factor k;
  double unit;
  Start start;
  bool joins_ends;  // paths may end in several cells: ends.h makes the score
  bool costs;
  Boundary<void> boundary;  // of one number for all states: `above` and `left` where gaps count there
  Table tables[kTables];
  V* score;
  SavedNumbers saved;
  int arrays;  // of scores, and then of what is saved
  BandSize band;
  Chain<Edge> chain;
  SOFTDP_DEVICE int arrays_of_warp() const { return arrays; }
};

// The state of a path that comes to a boundary, or -inf.
template <class A>
SOFTDP_DEVICE typename A::State boundary_number(const A& a, const void* given, int64_t i, bool reached) {
  if (!a.is_soft)
    return at_rest<typename A::V>(given     ? static_cast<const double*>(given)[i]
                                  : reached ? 0
                                            : -ScalarCommon::kInfinity);
  return given ? static_cast<const typename A::State*>(given)[i] : boundary_state<typename A::Wide>(reached);
}
// Those to the left of a row, or of the corner.
constexpr int kCornerRow = -1;
template <class A>
SOFTDP_DEVICE Composite<A::Family::kStates, typename A::State> states_left_of(const A& a, int64_t pair,
                                                                              int row) {
  using F = typename A::Family;
  const auto none = boundary_number(a, nullptr, 0, false);
  const auto at = row < 0
                      ? boundary_number(a, nullptr, 0, a.start != Start::kAnywhere)
                      : boundary_number(a, a.boundary.left, pair * a.pairs.rows + row, is_free_left(a.start));
  return on_side<typename F::First>(row == kCornerRow ? F::kCorner : F::kLeft, at, none);
}
template <class A>
SOFTDP_DEVICE typename A::Edge edge_above(const A& a, int64_t pair, int column, int m) {
  using R = typename A::Family::First;
  const auto none = boundary_number(a, nullptr, 0, false);
  const bool is_there = column < m;
  const auto at = boundary_number(a, is_there ? a.boundary.above : nullptr, pair * a.pairs.columns + column,
                                  is_there && is_free_above(a.start));
  return crossing<R>(on_side<R>(A::Family::kAbove, at, none).of);
}

// A strip's states from chunk to chunk, of a lane.
template <class A>
struct SeveralStrip {
  using V = typename A::V;
  Composite<A::Family::kStates, typename A::State> left;
  typename A::Edge diagonal;
  V worst = 0;  // the largest score met, NaN where one was
};

// The 16 steps of a chunk in the states of Max.
template <class R, class Max, class A, class Of>
SOFTDP_DEVICE void several_chunk(const A& a, typename A::V* array, SeveralStrip<A>& strip, const Of& lane,
                                 int chunk, const typename A::Edge* above,
                                 const Given<typename A::Edge>& below, int bottom) {
  using V = typename A::V;
  using Value = typename Max::Value;
  using Rest = Resting<V, Max>;
  using Cell = typename R::template Cell<Max>;
  using States = typename Cell::State;
  using Row = Composite<R::row_states(), typename Max::State>;
  typename Max::Arithmetic::Factor k{};
  if constexpr (!Rest::kIsHard) k = a.k;
  const WindowPlaces<1> places(lane.row, chunk);
  const int column = chunk * kChunk - lane.r - first_column(lane);
  States left;
  over<R::kStates>([&](auto s) { left.of[s] = Rest::from(strip.left.of[s]); });
  const auto taken = [](const typename A::Edge& edge) {
    Row row;
    over<R::row_states()>([&](auto s) { row.of[s] = Rest::from(edge.of[s]); });
    return row;
  };
  const auto states = [](const Row& row) {
    const auto all = spread<R>(row);
    States x;
    over<R::kStates>([&](auto s) { x.of[s] = all.of[s]; });
    return x;
  };
  Row diagonal = taken(strip.diagonal);
#pragma unroll 2
  for (int q = 0; q < kChunk; q++) {
    Row from_above = crossing<R>(left.of);
    const bool is_over = is_done(lane, column + q);
    over<R::row_states()>([&](auto s) {
      using State = typename Max::State;
      from_above.of[s] = shuffle_up_state(is_over ? dead_state<State>() : from_above.of[s]);
    });
    if (lane.r == 0) from_above = taken(above[q]);
    if (unsigned(column + q) < unsigned(lane.m)) {
      const int at = places.at(q);
      typename Cell::Ready ready;
      over<R::kTables>([&](auto i) {
        const V score = array[i * kArray + at];
        strip.worst = max_or_nan(strip.worst, score);
        ready.of[i] = Max::input(Value(score), k);
      });
      typename R::template Shares<Value> weights;
      left = Cell::cell(ready, states(diagonal), states(from_above), left, weights);
      if (a.saved.data) {
        const auto saved = R::Packing::pack(weights);
        if constexpr (Rest::kIsHard)
          array[at] = V(bits_of<typename R::Packing, Value>(saved));
        else
          over<R::Packing::kNumbers>([&](auto plane) { array[plane * kArray + at] = saved.number[plane]; });
      }
    }
    diagonal = from_above;
    if (lane.row == bottom) {
      const Row given = crossing<R>(left.of);
      over<R::row_states()>([&](auto s) { below[q].of[s] = Rest::to(given.of[s]); });
    }
  }
  over<R::kStates>([&](auto s) { strip.left.of[s] = Rest::to(left.of[s]); });
  over<R::row_states()>([&](auto s) { strip.diagonal.of[s] = Rest::to(diagonal.of[s]); });
}

// A chunk in the narrowest states that hold it. above: the edges of the steps, of which a lane looks at one.
template <class A, class Of>
SOFTDP_DEVICE void several_steps(const A& a, typename A::V* array, SeveralStrip<A>& strip, const Of& lane,
                                 int chunk, const typename A::Edge* above,
                                 const Given<typename A::Edge>& below, int bottom) {
  using F = typename A::Family;
  using V = typename A::V;
  bool fits = true;
  over<F::kRowStates>([&](auto s) {
    const auto& edge = above[lane.row & (kChunk - 1)].of[s];
    if (is_nan<V>(edge, a.is_soft)) strip.worst = V(NAN);
    fits = fits && is_near(edge) && is_near(strip.diagonal.of[s]);
  });
  over<F::kStates>([&](auto s) { fits = fits && is_near(strip.left.of[s]); });
  F::with(a.recurrence, [&](auto recurrence) {
    using R = decltype(recurrence);
    if (!a.is_soft)
      return several_chunk<R, typename Maxima<V, false>::Wide>(a, array, strip, lane, chunk, above, below,
                                                               bottom);
    if constexpr (Maxima<V, true>::kHasNarrow)
      if (all(fits))
        return several_chunk<R, typename Maxima<V, true>::Narrow>(a, array, strip, lane, chunk, above, below,
                                                                  bottom);
    several_chunk<R, typename A::Wide>(a, array, strip, lane, chunk, above, below, bottom);
  });
}

template <class A>
SOFTDP_DEVICE bool is_spoiled(const A& a, typename A::V worst) {
  if (!a.is_soft) return !(double(worst) < ScalarCommon::kInfinity);
  return A::Wide::spoils(worst, a.k);
}

// Whether a finite score of the pair was counted as -inf: hides_a_score() of forward_bands.h.
template <class A>
SOFTDP_DEVICE bool hides_any_score(const A& a, int64_t pair, const Extent& size, int first, int step) {
  bool found = false;
  if constexpr (Maxima<typename A::V, true>::kHasNarrow) {
    if (!a.is_soft) return false;
    const Corridor inside = Corridor::of(size.n, size.m, a.pairs.bandwidth);
    each_cell(inside, size.n, size.m, first, step, [&](int64_t row, int64_t column) {
      over<A::kTables>([&](auto i) {
        const Table& t = a.tables[i];
        const double x = number_at(t, pair * t.batch + row * t.row + column * t.column);
        const double score = a.costs ? -x : x;
        found = found || (!(score > double(a.k.lowest())) && score > -ScalarCommon::kInfinity);
      });
    });
  }
  return found;
}

// A state that paths may end in, where ends.h finds it.
template <class A>
SOFTDP_DEVICE void put_end(const A& a, void* ends, int64_t at, const typename A::State& state) {
  if (a.is_soft)
    static_cast<typename A::State*>(ends)[at] = state;
  else
    static_cast<double*>(ends)[at] = as_hard<typename A::V>(state);
}

// Where a strip ends: the states that paths may end in, in the last column, and the score of a pair whose
// paths end in its last cell.
template <class A, class Strip>
SOFTDP_DEVICE void end_several(const A& a, const Strip& at, const SeveralStrip<A>& strip) {
  using V = typename A::V;
  using State = typename A::State;
  const int64_t N = a.pairs.rows, pair = at.pair;
  const int lane = at.lane;
  bool spoiled = ballot(is_spoiled(a, strip.worst)) != 0;
  const State own = strip.left.of[A::Family::kEnd];
  if (a.boundary.last_column && lane < at.rows)
    put_end(a, a.boundary.last_column, pair * N + at.row0 + lane, spoiled ? nan_state<V>(a.is_soft) : own);
  if (!at.is_last() || a.joins_ends) return;
  const V mine = V(a.is_soft ? value_of(own, a.unit) : as_hard<V>(own)),
          at_end = shuffle_from(mine, at.rows - 1);
  sync_warp();  // after the other lanes' stores of the last block
  if (at_end == -ScalarCommon::kInfinity)
    spoiled = ballot(hides_any_score(a, pair, at.size, lane, kStripRows)) != 0 || spoiled;
  if (lane != 0) return;
  const V value = spoiled ? V(NAN) : at_end;
  a.score[pair] = score_of(value, a.costs);
  if (a.saved.data && !(value > -ScalarCommon::kInfinity))
    mark_verdict(a.saved, a.pairs, pair, at.size, value == value ? double(kNoPath) : double(NAN));
}

// What the band's rows of a pair have before anything is swept: zeros past the pair's lengths, which within a
// bandwidth are there before the launch, and the score of a pair without cells.
template <class A>
SOFTDP_DEVICE void begin_several(const A& a, const SeveralPlace<A>& at) {
  using V = typename A::V;
  const int64_t N = a.pairs.rows, M = a.pairs.columns;
  const int n = at.size.n, m = at.size.m;
  const auto clear = [&](auto* plane) { fill_rows(plane, Type(), a.band, at.band, N, M, n, m, 0.0f, true); };
  if (a.saved.data && !at.has_corridor()) {
    if (!a.is_soft) clear(a.saved.template plane<float>(a.pairs, at.pair, 0));
    for (int plane = 0; a.is_soft && plane < a.saved.planes; plane++)
      clear(a.saved.template plane<V>(a.pairs, at.pair, plane));
  }
  // Else the score is boundary.h's.
  if (a.start == Start::kGaps || (n > 0 && m > 0) || at.band > 0 || threadIdx.x != 0) return;
  const bool apart =
      a.start == Start::kAnywhere || (n > 0 ? !is_free_left(a.start) : m > 0 && !is_free_above(a.start));
  const double s = apart ? -ScalarCommon::kInfinity : 0;
  a.score[at.pair] = at.size.unfit ? V(NAN) : score_of(V(s), a.costs);
}

// A strip's scores on their way in, and its weights on their way out.
template <class A>
struct SeveralBlocks {
  using V = typename A::V;
  const A& a;
  const SeveralPlace<A>& at;
  const Part part;
  V* array[A::kMostArrays];
  ScoreLoader<V> loaders[A::kTables];

  SOFTDP_DEVICE SeveralBlocks(const A& a, const SeveralPlace<A>& at) : a(a), at(at), part(at.lane) {
#pragma unroll
    for (int i = 0; i < A::kMostArrays; i++) array[i] = at.array(a.arrays, i);
#pragma unroll
    for (int i = 0; i < A::kTables; i++) loaders[i] = ScoreLoader<V>(a.tables[i], at.pair, at.row0, part);
  }
  SOFTDP_DEVICE void start(int c) const {
    at.if_corridor([&](auto corridor) {
      const auto of = at.template columns_of<corridor.value>(part);
#pragma unroll
      for (int i = 0; i < A::kTables; i++)
        loaders[i].template start<true>(a.tables[i].type, part, at.rows, of, c, array[i]);
    });
  }
  SOFTDP_DEVICE void arrive(int c) const {
    copy_async_wait();
#pragma unroll
    for (int i = 0; i < A::kTables; i++) ScoreLoader<V>::finish(a.tables[i].type, part, c, array[i], a.costs);
  }
  SOFTDP_DEVICE void leave(int c) const {
    if (a.saved.data && !a.is_soft) store<float>(c, 0);
    if (a.saved.data && a.is_soft)
#pragma unroll 1
      for (int plane = 0; plane < a.saved.planes; plane++) store<V>(c, plane);
    carry_over<1, A::kMostArrays>(array, a.arrays, c, at.lane);
  }

 private:
  template <class T>
  SOFTDP_DEVICE void store(int c, int plane) const {
    T* const numbers = a.saved.template plane<T>(a.pairs, at.pair, plane);
    const auto storer = at.template blocks_of<BlockStorer<T, V, 1>>(numbers, part);
    at.if_corridor([&](auto corridor) {
      constexpr Has k = corridor.value;
      at.template turned<k>(storer, part, c)
          .store(part, at.rows, at.template columns_of<k>(part), c, array[0] + plane * kArray, {});
    });
  }
};

template <class F, class V>
SOFTDP_KERNEL(kMostWarps* kStripRows)
several_forward(const SeveralForward<F, V> a) {
  using A = SeveralForward<F, V>;
  using Edge = typename A::Edge;
  SOFTDP_SHARED(raw);
  SeveralPlace<A> at(a, raw);
  const int64_t M = a.pairs.columns, pair = at.pair;
  const int m = at.size.m, lane = at.lane, rows = at.rows, row0 = at.row0;
  begin_several(a, at);
  if (!at.is_at_work()) return;  // a pair without cells may have no memory
  at.find_columns();

  const SeveralBlocks<A> blocks(a, at);
  SeveralStrip<A> strip;
  const auto nothing = boundary_number(a, nullptr, 0, false);
  strip.left = states_left_of(a, pair, lane < rows ? row0 + lane : kCornerRow);
  strip.diagonal = crossing<typename F::First>(states_left_of(a, pair, rows > 0 ? row0 - 1 : kCornerRow).of);
  if (rows > 0 && lane < rows && !at.begins(lane)) strip.left = composite_of<F::kStates>(nothing);
  if (rows > 0 && !at.begins(0)) strip.diagonal = composite_of<F::kRowStates>(nothing);
  over<F::kStates>([&](auto s) {
    if (is_nan<V>(strip.left.of[s], a.is_soft)) strip.worst = V(NAN);
  });
  const Row<Edge> in = at.in(), out = at.out();
  const auto where = lane_of(at);
  const auto first = [&](int column) { return edge_above(a, pair, column, m); };
  const auto last = [&](int column, const Edge& edge) {
    if constexpr (F::kEndInRow >= 0)
      if (a.boundary.last_row) put_end(a, a.boundary.last_row, pair * M + column, edge.of[F::kEndInRow]);
  };
  const Edge none_above = composite_of<F::kRowStates>(nothing);
  const auto steps = [&](int c, const Edge* above, const Given<Edge>& below) {
    several_steps(a, blocks.array[0], strip, where, c, above, below, rows - 1);
    if (!ballot(is_spoiled(a, strip.worst))) return;
    sync_warp();
    if (lane < kChunk) below[lane] = composite_of<F::kRowStates>(nan_state<V>(a.is_soft));
  };
  at.go([&](int c) { blocks.start(c); }, [&](int c) { blocks.arrive(c); }, [&](int c) { blocks.leave(c); },
        [&](int c) { sweep_composites(at, c, none_above, in, out, first, last, steps); });
  at.find();
  if (at.rows > 0) end_several(a, at, strip);
}

}  // namespace softdp::cuda
