// Sweeps of recurrences with several states a cell (../several_states.h): what the two ways have in common.
//
// They go by bands and strips like those of one state (bands.h). What a strip hands down is a row of
// composite edges: a number for each state of a cell that the next row reads. Weights are saved in full, a
// plane for each number of Packing. With gamma 0 they are 0 or 1, and a cell has one number of four bytes,
// whose bits they are.
#pragma once
#include <tuple>

#include "../several_states.h"
#include "forward_strip.h"
#include "several_saved.h"

namespace softdp::cuda {

// Recurrences that one kernel serves: their nodes have the same edges, which add other scores. A kernel looks
// at the launch's recurrence once a chunk.
template <class... Rs>
struct Family {
  using First = std::tuple_element_t<0, std::tuple<Rs...>>;
  static constexpr int kStates = First::kStates, kTables = First::kTables, kPlanes = First::Packing::kNumbers,
                       kRowStates = First::row_states();
  static constexpr int kEnd = kStates - 1;  // the state that a path ends in
  // Paths that may start and end anywhere have no bandwidth.
  static constexpr Has kCorridor = First::kChargesBoundary ? Has::kEither : Has::kNever;
  // The end's place in an edge; -1: no row reads it, and it ends a row.
  static constexpr int kEndInRow = First::crosses(kEnd) ? First::row_place(kEnd) : -1;
  static constexpr unsigned kCorner = First::kSides.corner, kAbove = First::kSides.above,
                            kLeft = First::kSides.left;
  static_assert(((Rs::kStates == kStates && Rs::kTables == kTables && Rs::row_states() == kRowStates) && ...),
                "a family's recurrences have the same states and tables");
  // Calls run(R()) with the recurrence `which`, one of them.
  template <class Run>
  static SOFTDP_DEVICE void with(Recurrence which, Run run) {
    ((which == Rs::kId ? run(Rs()) : void()), ...);
  }
};
using LocalFamily = Family<LocalFsd, SmithWaterman>;
using AffineFamily = Family<Affine>;
using LocalAffineFamily = Family<LocalAffine>;

template <int K, class Number>
struct Composite {
  Number of[K];
};
template <int K, class Number>
SOFTDP_DEVICE Composite<K, Number> composite_of(Number all) {
  Composite<K, Number> x;
  over<K>([&](auto k) { x.of[k] = all; });
  return x;
}

// ---- states at rest --------------------------------------------------------------------------------------

// A kernel sweeps with gamma 0 and above. Between chunks and from strip to strip its states are those of
// Maxima's Wide for gamma above 0; with gamma 0 the exponent has the bits of the plain double.
template <class V>
using RestingState = typename Maxima<V, true>::Wide::State;

template <class V>
SOFTDP_DEVICE RestingState<V> at_rest(double hard) {
  return {V(0), bit_cast<int64_t>(hard)};
}
template <class V>
SOFTDP_DEVICE double as_hard(const RestingState<V>& s) {
  return bit_cast<double>(s.e);
}
template <class V>
SOFTDP_DEVICE bool is_nan(const RestingState<V>& s, bool is_soft) {
  return is_soft ? s.p != s.p : is_nan(as_hard<V>(s));
}
template <class V>
SOFTDP_DEVICE RestingState<V> nan_state(bool is_soft) {
  return is_soft ? RestingState<V>{V(NAN), 0} : at_rest<V>(NAN);
}

// The states of Max, Wide's or Narrow's or the hard maximum's, from those at rest, and back.
template <class V, class Max>
struct Resting {
  using State = typename Max::State;
  using Rest = RestingState<V>;
  static constexpr bool kIsHard = std::is_same_v<State, double>;
  static constexpr bool kIsNarrow = !kIsHard && !std::is_same_v<State, Rest>;
  static SOFTDP_DEVICE State from(const Rest& s) {
    if constexpr (kIsHard)
      return as_hard<V>(s);
    else if constexpr (kIsNarrow)
      return {s.p, is_live(s) ? int32_t(s.e) : kNothingNarrow};
    else
      return s;
  }
  static SOFTDP_DEVICE Rest to(State s) {
    if constexpr (kIsHard) {
      return at_rest<V>(s);
    } else {
      s = Max::normalized(s);
      if constexpr (kIsNarrow)
        return {s.p, s.e > kDeadNarrow ? int64_t(s.e) : kNothing};
      else
        return s;
    }
  }
};
// Whether 32 bits do for a state's exponent in the steps of a chunk.
template <class State>
SOFTDP_DEVICE bool is_near(const State& s) {
  return !is_live(s) || uint64_t(s.e + (kNear - 1)) < uint64_t(2 * kNear - 1);
}

// ---- the two sides of an edge ----------------------------------------------------------------------------

// Of all states of a cell, those that the next row reads.
template <class R, class Number>
SOFTDP_DEVICE Composite<R::row_states(), Number> crossing(const Number (&states)[R::kStates]) {
  Composite<R::row_states(), Number> row;
  over<R::kStates>([&](auto state) {
    constexpr int s = state;
    if constexpr (R::crosses(s)) row.of[R::row_place(s)] = states[s];
  });
  return row;
}
// And back; the other states become 0, and nothing reads them.
template <class R, class Number>
SOFTDP_DEVICE Composite<R::kStates, Number> spread(const Composite<R::row_states(), Number>& row) {
  Composite<R::kStates, Number> all{};
  over<R::kStates>([&](auto state) {
    constexpr int s = state;
    if constexpr (R::crosses(s)) all.of[s] = row.of[R::row_place(s)];
  });
  return all;
}
// What lies on a boundary, of all states or of a row's: `given` for the states whose bit is set, else `none`.
template <class R, class Number>
SOFTDP_DEVICE Composite<R::kStates, Number> on_side(unsigned bits, Number given, Number none) {
  Composite<R::kStates, Number> x;
  over<R::kStates>([&](auto s) { x.of[s] = bits >> s & 1 ? given : none; });
  return x;
}
// The sum of what the states on a boundary receive; an edge's numbers.
template <class R, class Number>
SOFTDP_DEVICE Number sum_on_side(unsigned bits, const Composite<R::row_states(), Number>& row) {
  Number sum{};
  over<R::kStates>([&](auto state) {
    constexpr int s = state;
    if constexpr (R::crosses(s))
      if (bits >> s & 1) sum = sum + row.of[R::row_place(s)];
  });
  return sum;
}

// A strip of a family's recurrences; a lane of it, with the columns of its row; those that the row above the
// strip hands on, and its own last row.
template <class A>
using SeveralPlace = BandStrip<A, A::Family::kCorridor>;
template <class Strip>
SOFTDP_DEVICE auto lane_of(const Strip& at) {
  const Lane all = at.template own_lane<Has::kNever>();
  if constexpr (Strip::kCorridor == Has::kNever)
    return all;
  else
    return at.has_corridor() && at.rows > 0 ? at.columns().lane(at.lane) : CorridorLane{all, 0};
}
template <class Strip>
SOFTDP_DEVICE Columns columns_above(const Strip& at) {
  return at.has_corridor() ? at.columns().above : Columns{0, at.size.m};
}
template <class Strip>
SOFTDP_DEVICE Columns columns_below(const Strip& at) {
  return at.has_corridor() ? at.columns().below : Columns{0, at.size.m};
}

// The steps of a chunk, as sweep_edges() of bands.h makes them. first(column) is the edge above a pair's
// first row; last(column, edge) takes those of its last row. Both count columns from the pair's first one.
// Of columns that the row above has not there is the edge `nothing`.
template <class Strip, class Edge, class First, class Last, class Steps>
SOFTDP_DEVICE void sweep_composites(const Strip& at, int chunk, const Edge& nothing, const Row<Edge>& in,
                                    const Row<Edge>& out, First first, Last last, Steps steps) {
  const int t0 = chunk * kChunk, begin = at.moved(), end = at.size.m + begin, lane = at.lane;
  const Columns of_above = columns_above(at);
  Edge* const above = at.ring_in().of_taker(chunk);
  if (at.warp == 0 && in.edges && t0 < of_above.end)
    in.wait(t0 + kChunk < of_above.end ? t0 + kChunk : of_above.end, lane);
  if (lane < kChunk) {
    const int column = t0 + lane;
    if (!of_above.has(column))
      above[lane] = nothing;
    else if (at.warp == 0)
      above[lane] = in.edges ? in.edges[column - begin] : first(column - begin);
  }
  sync_warp();
  const Given<Edge> below(at.ring_out(), chunk);
  steps(chunk, above, below);
  sync_warp();
  const int given = t0 - (at.rows - 1), column = given + lane;
  const bool is_given = lane < kChunk && column >= begin && column < end;
  if (is_given && at.is_last()) last(column - begin, below[lane]);
  if (!out.edges) return;
  if (lane < kChunk && columns_below(at).has(column)) out.edges[column - begin] = below[lane];
  out.given(clamp(given + kChunk, 0, end), lane);
}

// ---- weights as they are saved ---------------------------------------------------------------------------

// One number of the bits of a cell's weights, with gamma 0, and back.
template <class Packing, class Value>
SOFTDP_DEVICE float bits_of(const typename Packing::template Saved<Value>& saved) {
  unsigned bits = 0;
  over<Packing::kNumbers>([&](auto k) { bits |= unsigned(saved.number[k] != 0) << k; });
  return float(bits);
}
template <class Packing, class V>
SOFTDP_DEVICE typename Packing::template Saved<V> from_bits(float number) {
  const unsigned bits = unsigned(number);
  typename Packing::template Saved<V> saved;
  over<Packing::kNumbers>([&](auto k) { saved.number[k] = V(bits >> k & 1); });
  return saved;
}

}  // namespace softdp::cuda
