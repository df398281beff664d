// A strip's way through its chunks, in the forward sweep of pairs of any size.
#pragma once
#include "bands.h"
#include "forward_steps.h"

namespace softdp::cuda {

template <class R>
struct ForwardArguments {
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using Edge = typename Wide::State;
  static constexpr bool kIsAdjoint = false;
  Recurrence recurrence;
  Pairs pairs;
  typename Wide::Arithmetic::Factor k;
  double unit;
  V threshold;
  Start start;
  bool joins_ends;       // paths may end in several cells: ends.h makes the score
  bool costs, is_piece;  // costs: the tables hold them
  bool is_full;          // weights are saved in full
  bool as_saved;         // tables with a number for each cell lie as what is saved does
  Boundary<void> boundary;
  Table tables[3];
  V* score;
  V* saved;
  BandSize band;
  Chain<Edge> chain;
  static SOFTDP_FN int arrays_of_warp() { return R::kArrays; }
  SOFTDP_DEVICE int planes() const { return R::kMayBeFull && is_full ? R::kMostPlanes : R::Keeps::kNumbers; }
  // Where the weights of a pair are saved.
  SOFTDP_DEVICE V* weights(int64_t pair, int plane) const {
    return saved + (pair * planes() + plane) * cells_of(pairs);
  }
};

// S where it is 0, or where no path arrives.
template <class Max>
SOFTDP_DEVICE typename Max::State boundary_state(bool reached) {
  if constexpr (std::is_same_v<typename Max::State, double>)
    return reached ? 0 : -ScalarCommon::kInfinity;
  else
    return {1, reached ? 0 : kNothing};
}
SOFTDP_DEVICE bool is_nan(double x) {
  return x != x;
}
template <class State>
SOFTDP_DEVICE bool is_nan(const State& s) {
  return s.p != s.p;
}
template <class State>
SOFTDP_DEVICE void spoil(State& s) {
  s.p = NAN;
}
SOFTDP_DEVICE void spoil(double& s) {
  s = NAN;
}

// The states of a chunk's steps, narrow or wide, in the places of edges.
template <class State, class Edges>
struct InPlace {
  Edges edges;
  SOFTDP_DEVICE State& operator()(int step) const {
    static_assert(sizeof(State) <= sizeof(edges[step]), "a state takes the place of an edge");
    return reinterpret_cast<State&>(edges[step]);
  }
};

// What a warp's exponents are relative to, so that they have 32 bits in the steps of nearly every chunk. A
// vote before the steps looks at that. Where it fails there is a new base, and where that does not help, the
// chunk takes 64 bits.
template <class State>
struct Base {
  int64_t at = 0;

  static SOFTDP_DEVICE State shifted(State s, int64_t by) {
    s.e = is_live(s) ? s.e + by : kNothing;
    return s;
  }
  static SOFTDP_DEVICE bool is_near(const State& s) {
    return !is_live(s) | (uint64_t(s.e + (kNear - 1)) < uint64_t(2 * kNear - 1));
  }
  // Whether the states of all lanes are near the base.
  template <class... States>
  static SOFTDP_DEVICE bool fits(const States&... s) {
    return all((is_near(s) & ...));
  }
  // Takes the exponent of one live state for a new base, and tells whether all are near it.
  template <class... States>
  SOFTDP_DEVICE bool fits_anew(States&... s) {
    const State mine = first_live(s...);
    const unsigned live = ballot(is_live(mine));
    const int64_t by = live ? shuffle_from(mine.e, first_set(live)) : 0;
    at += by;
    ((s = shifted(s, -by)), ...);
    return fits(s...);
  }

 private:
  template <class... States>
  static SOFTDP_DEVICE State first_live(const State& s, const States&... others) {
    if constexpr (sizeof...(others) > 0)
      return is_live(s) ? s : first_live(others...);
    else
      return s;
  }
};

// A strip's state from chunk to chunk: as it is, or, where exponents are near a base, relative to that.
template <class R>
struct ForwardStrip {
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using Narrow = typename R::Max::Narrow;
  using State = typename Wide::State;
  using Small = typename Narrow::State;

  const ForwardArguments<R>& arguments;
  const Memory<V>& memory;
  Lane lane;
  int rows;  // of this strip
  State left, diagonal;
  Small near_left{}, near_diagonal{};  // instead of these, relative to the base
  bool is_near = false;                // which of them it is
  Base<State> base;
  V worst = 0;  // the largest score met, NaN where one was

  SOFTDP_DEVICE bool is_spoiled() const { return Wide::spoils(typename Wide::Value(worst), arguments.k); }
  // S of the row at its last column so far.
  SOFTDP_DEVICE State last() {
    leave_base();
    return left;
  }

  // Chunk c of a table of m columns. lane: of this one, or within a bandwidth. edge: S of the row above at
  // column t0 + lane, in the first 16 lanes. above: where the steps find these; below: where they put their
  // own. Gives back S of the strip's last row after step `lane`, in the first 16 lanes.
  template <class Of, class Below>
  SOFTDP_DEVICE State chunk(int c, int m, const Of& lane, State edge, State* above, const Below& below) {
    if (is_nan(edge)) worst = NAN;
    if constexpr (R::Max::kHasNarrow) {
      State relative = Base<State>::shifted(edge, -base.at);
      const bool fits =
          is_near & Base<State>::is_near(relative) & is_small(near_left) & is_small(near_diagonal);
      if (all(fits) || fits_anew(relative)) return narrow_steps(c, m, lane, relative, above, below);
    }
    return wide_steps(c, lane, edge, above, below);
  }

 private:
  static SOFTDP_DEVICE bool is_small(const Small& s) {
    return (s.e <= kDeadNarrow) | (uint32_t(s.e + int32_t(kNear - 1)) < uint32_t(2 * kNear - 1));
  }
  // Whether there is a base for the chunk, which is then the new one.
  SOFTDP_DEVICE bool fits_anew(State& edge) {
    leave_base();
    State first = Base<State>::shifted(left, -base.at), corner = Base<State>::shifted(diagonal, -base.at);
    if (!base.fits(first, edge, corner) && !base.fits_anew(first, edge, corner)) return false;
    near_left = narrowed<Narrow, Wide>(first), near_diagonal = narrowed<Narrow, Wide>(corner);
    is_near = true;
    return true;
  }
  SOFTDP_DEVICE void leave_base() {
    if constexpr (R::Max::kHasNarrow) {
      if (!is_near) return;
      left = Base<State>::shifted(widened<Narrow, Wide>(near_left), base.at);
      diagonal = Base<State>::shifted(widened<Narrow, Wide>(near_diagonal), base.at);
      is_near = false;
    }
  }

  template <class Of, class Below>
  SOFTDP_DEVICE State narrow_steps(int c, int m, const Of& lane, const State& edge, State* above,
                                   const Below& below) {
    const InPlace<Small, State*> in{above};
    const InPlace<Small, Below> out{below};
    if (lane.row < kChunk) in(lane.row) = narrowed<Narrow, Wide>(edge);
    sync_warp();
    const WindowPlaces<1> places(lane.row, c);
    const int t0 = c * kChunk;
    const bool are_all = rows == kStripRows && t0 >= kStripRows - 1 && t0 + kChunk <= m;
    with_recurrence_of<typename R::Packing>(arguments.recurrence, [&](auto of) {
      const StripCells<R, Narrow, decltype(of)> cells(memory, arguments.k, arguments.threshold);
      if (!kIsWithin<Of> && are_all)
        forward_chunk<Steps::kAll>(cells, places, near_left, near_diagonal, worst, lane, t0, in, out,
                                   rows - 1);
      else
        forward_chunk<Steps::kSome>(cells, places, near_left, near_diagonal, worst, lane, t0, in, out,
                                    rows - 1);
    });
    near_left = Narrow::normalized(near_left), near_diagonal = Narrow::normalized(near_diagonal);
    left = diagonal = boundary_state<Wide>(false);  // in no register during the steps
    sync_warp();
    return Base<State>::shifted(widened<Narrow, Wide>(out(lane.row & (kChunk - 1))), base.at);
  }

  template <class Of, class Below>
  SOFTDP_DEVICE State wide_steps(int c, const Of& lane, const State& edge, State* above, const Below& below) {
    if (lane.row < kChunk) above[lane.row] = edge;
    sync_warp();
    with_recurrence_of<typename R::Packing>(arguments.recurrence, [&](auto of) {
      const StripCells<R, Wide, decltype(of)> cells(memory, arguments.k, arguments.threshold);
      forward_chunk<Steps::kRolled>(cells, WindowPlaces<1>(lane.row, c), left, diagonal, worst, lane,
                                    c * kChunk, InPlace<State, State*>{above}, InPlace<State, Below>{below},
                                    rows - 1);
    });
    left = Wide::normalized(left), diagonal = Wide::normalized(diagonal);
    sync_warp();
    return Wide::normalized(below[lane.row & (kChunk - 1)]);
  }
};

}  // namespace softdp::cuda
