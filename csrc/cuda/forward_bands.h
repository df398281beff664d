// The forward sweep of pairs of any size: a strip's way through its chunks, and the kernel.
#pragma once
#include "bands.h"
#include "forward_steps.h"

namespace softdp::cuda {

template <class R>
struct ForwardArguments {
  using T = typename R::T;
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using Edge = typename Wide::State;
  Pairs pairs;
  typename Wide::Arithmetic::Factor k;
  double unit;
  V threshold;
  Start start;
  bool costs, is_piece;
  Boundary<void> boundary;
  Table tables[3];
  V* score;
  V* saved;
  BandSize band;
  Chain<Edge> chain;
  SOFTDP_DEVICE bool negates() const { return R::Recurrence::kTakesCosts && costs; }
  // Where the weights of a pair are saved.
  SOFTDP_DEVICE V* weights(int64_t pair, int plane) const {
    return saved + (pair * R::kPlanes + plane) * pairs.rows * pairs.columns;
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

// The number of table i at (row, column) of a pair, as a score.
template <class R>
SOFTDP_DEVICE typename R::V score_at(const ForwardArguments<R>& a, int i, int64_t pair, int64_t row,
                                     int64_t column) {
  using V = typename R::V;
  const Table& table = a.tables[i];
  const V x = V(number_at(table, pair * table.batch + row * table.row + column * table.column));
  return a.negates() ? -x : x;
}
// The score of S, where the tables hold costs or not.
template <class V>
SOFTDP_DEVICE V score_of(V s, bool costs) {
  return costs ? V(0) - s : s;  // of no cells 0, not -0
}

// The score of a pair without cells.
template <class R>
SOFTDP_DEVICE typename R::V empty_score(const ForwardArguments<R>& a, const Extent& size) {
  using V = typename R::V;
  const bool apart = a.start == Start::kAnchored && size.n != size.m;
  return size.unfit ? V(NAN) : score_of(V(apart ? -ScalarCommon::kInfinity : 0), a.negates());
}

// Whether a finite score of the pair lies below what the arithmetic holds and was counted as -inf. Looked at
// only where no path was left: such a pair is NaN, not -inf.
template <class R>
SOFTDP_DEVICE bool hides_a_score(const ForwardArguments<R>& a, int64_t pair, int n, int m, int first,
                                 int step) {
  bool found = false;
  if constexpr (R::Max::kHasNarrow) {
    const auto hidden = [&](typename R::V x) { return !(x > a.k.lowest()) && x > -ScalarCommon::kInfinity; };
    for (int64_t at = first; at < int64_t(n) * m; at += step) {
      found = found || hidden(score_at(a, 0, pair, at / m, at % m));
      if constexpr (R::kHasGaps)
        for (int i = 1; i < 3; i++) found = found || hidden(score_at(a, i, pair, at / m, at % m));
    }
  }
  return found;
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
  static SOFTDP_DEVICE bool is_near(const State& s) {
    return !is_live(s) | (uint64_t(s.e + (kNear - 1)) < uint64_t(2 * kNear - 1));
  }
  template <class... States>
  static SOFTDP_DEVICE State first_live(const State& s, const States&... others) {
    if constexpr (sizeof...(others) > 0)
      return is_live(s) ? s : first_live(others...);
    else
      return s;
  }
};

// A strip's state from chunk to chunk. Exponents are relative to `base` at rest.
template <class R>
struct ForwardStrip {
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using Narrow = typename R::Max::Narrow;
  using State = typename Wide::State;

  const ForwardArguments<R>& arguments;
  const Memory<V>& memory;
  Lane lane;
  int rows;  // of this strip
  State left, diagonal;
  Base<State> base;
  V worst = 0;  // the largest score met, NaN where one was

  SOFTDP_DEVICE bool is_spoiled() const { return Wide::spoils(typename Wide::Value(worst), arguments.k); }
  // S of the row at its last column so far.
  SOFTDP_DEVICE State last() const { return shifted(left, base.at); }

  // Chunk c of a table of m columns. edge: S of the row above at column t0 + lane, in the first 16 lanes.
  // above: where the steps find these; below: where they put their own. Gives back S of the strip's last row
  // after step `lane`, in the first 16 lanes.
  template <class Below>
  SOFTDP_DEVICE State chunk(int c, int m, State edge, State* above, const Below& below) {
    if (is_nan(edge)) worst = NAN;
    if constexpr (R::Max::kHasNarrow) {
      edge = shifted(edge, -base.at);
      if (base.fits(left, edge, diagonal) || base.fits_anew(left, edge, diagonal))
        return narrow_steps(c, m, edge, above, below);
      return wide_steps(c, shifted(edge, base.at), above, below);
    } else {
      return wide_steps(c, edge, above, below);
    }
  }

 private:
  static SOFTDP_DEVICE State shifted(State s, int64_t by) {
    if constexpr (R::Max::kHasNarrow) return Base<State>::shifted(s, by);
    return s;
  }

  template <class Below>
  SOFTDP_DEVICE State narrow_steps(int c, int m, const State& edge, State* above, const Below& below) {
    using Small = typename Narrow::State;
    const InPlace<Small, State*> in{above};
    const InPlace<Small, Below> out{below};
    if (lane.row < kChunk) in(lane.row) = narrowed<Narrow, Wide>(edge);
    sync_warp();
    const StripCells<R, Narrow> cells(memory, arguments.k, arguments.threshold);
    Small now = narrowed<Narrow, Wide>(left), before = narrowed<Narrow, Wide>(diagonal);
    const WindowPlaces<1> places(lane.row, c);
    const int t0 = c * kChunk;
    if (rows == kStripRows && t0 >= kStripRows - 1 && t0 + kChunk <= m)
      forward_chunk<Steps::kAll>(cells, places, now, before, worst, lane, t0, in, out, rows - 1);
    else
      forward_chunk<Steps::kSome>(cells, places, now, before, worst, lane, t0, in, out, rows - 1);
    left = widened<Narrow, Wide>(now);
    diagonal = widened<Narrow, Wide>(before);
    sync_warp();
    return shifted(widened<Narrow, Wide>(out(lane.row & (kChunk - 1))), base.at);
  }

  template <class Below>
  SOFTDP_DEVICE State wide_steps(int c, const State& edge, State* above, const Below& below) {
    if (lane.row < kChunk) above[lane.row] = edge;
    sync_warp();
    State now = shifted(left, base.at), before = shifted(diagonal, base.at);
    const StripCells<R, Wide> cells(memory, arguments.k, arguments.threshold);
    forward_chunk<Steps::kRolled>(cells, WindowPlaces<1>(lane.row, c), now, before, worst, lane, c * kChunk,
                                  InPlace<State, State*>{above}, InPlace<State, Below>{below}, rows - 1);
    left = shifted(Wide::normalized(now), -base.at);
    diagonal = shifted(Wide::normalized(before), -base.at);
    sync_warp();
    return Wide::normalized(below[lane.row & (kChunk - 1)]);
  }
};

// S to the left of a pair's row; of row -1 it is S(0, 0).
template <class R>
SOFTDP_DEVICE typename R::Max::Wide::State state_left_of(const ForwardArguments<R>& a, int64_t pair,
                                                         int row) {
  using Wide = typename R::Max::Wide;
  const Boundary<void>& boundary = a.boundary;
  const bool is_reached = a.start != Start::kAnchored;
  const auto given = [&](const void* states, int64_t i, bool reached) {
    return states ? static_cast<const typename Wide::State*>(states)[i] : boundary_state<Wide>(reached);
  };
  return row < 0 ? given(boundary.corner, pair, !boundary.above || is_reached)
                 : given(boundary.left, pair * a.pairs.rows + row, is_reached);
}

// Where a strip begins: its states to the left.
template <class R, class Strip, class Place>
SOFTDP_DEVICE void begin_strip(const ForwardArguments<R>& a, const Place& at, Strip& strip) {
  const int64_t pair = at.pair;
  strip.lane = {at.lane, at.lane, at.lane < at.rows ? at.size.m : 0};
  strip.rows = at.rows;
  strip.left = at.lane < at.rows ? state_left_of(a, pair, at.row0 + at.lane)
                                 : boundary_state<typename R::Max::Wide>(false);
  strip.diagonal = state_left_of(a, pair, at.row0 - 1);
  if (is_nan(strip.left) || is_nan(strip.diagonal)) strip.worst = NAN;  // of the piece before
  if (R::kInsert == Gap::kRow) strip.worst = max_or_nan(strip.worst, strip.memory.row[0]);
  if (R::kDelete == Gap::kRow) strip.worst = max_or_nan(strip.worst, strip.memory.row[1]);
}

// The score of a pair, and the verdict on it, marked, in place of its last cell's weights. at_end: S(n, m).
template <class R, class Mark>
SOFTDP_DEVICE void end_pair(const ForwardArguments<R>& a, int64_t pair, const Extent& size,
                            typename R::V at_end, bool spoiled, int lane, Mark marked) {
  using V = typename R::V;
  const int64_t M = a.pairs.columns;
  if (at_end == -ScalarCommon::kInfinity)
    spoiled = ballot(hides_a_score(a, pair, size.n, size.m, lane, kStripRows)) != 0 || spoiled;
  if (lane != 0) return;
  const V value = spoiled ? V(NAN) : at_end;
  a.score[pair] = score_of(value, a.negates());
  if (a.saved && !a.is_piece && (value != value || value == -ScalarCommon::kInfinity)) {
    const V verdict = marked(value != value ? V(NAN) : V(kNoPath));
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      a.weights(pair, plane)[int64_t(size.n - 1) * M + size.m - 1] = verdict;
  }
}

// And where it ends: its last column, and of the pair's last strip the score.
template <class R, class Strip, class Place>
SOFTDP_DEVICE void end_strip(const ForwardArguments<R>& a, const Place& at, const Strip& strip) {
  using V = typename R::V;
  using State = typename R::Max::Wide::State;
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int n = at.size.n, m = at.size.m, lane = at.lane;
  bool spoiled = ballot(strip.is_spoiled()) != 0;
  if (a.boundary.last_column && lane < at.rows) {
    State edge = strip.last();
    if (spoiled) spoil(edge);
    static_cast<State*>(a.boundary.last_column)[pair * N + at.row0 + lane] = edge;
  }
  if (!at.is_last()) return;
  const V at_end = shuffle_from(V(value_of(strip.last(), a.unit)), at.rows - 1);
  sync_warp();  // after the other lanes' stores of the last block
  end_pair(a, pair, at.size, at_end, spoiled, lane, [](V verdict) { return R::Keeps::marked(verdict); });
}

// A strip's scores on their way in, and its weights on their way out.
template <class R>
struct ForwardBlocks {
  using T = typename R::T;
  using V = typename R::V;
  const ForwardArguments<R>& a;
  const BandStrip<ForwardArguments<R>>& at;
  const Part part;
  Memory<V> memory{};
  BlockLoader<T, V, 1> loaders[R::kArrays];
  BlockStorer<V, V, 1> storers[R::kPlanes];

  SOFTDP_DEVICE ForwardBlocks(const ForwardArguments<R>& a, const BandStrip<ForwardArguments<R>>& at)
      : a(a), at(at), part(at.lane) {
    const int64_t M = a.pairs.columns;
#pragma unroll
    for (int i = 0; i < R::kArrays; i++) {
      memory.array[i] = at.array(R::kArrays, i);
      if (R::is_loaded(i)) loaders[i] = BlockLoader<T, V, 1>(rows_of<T>(a.tables[i], at.pair, at.row0), part);
    }
    if (a.saved)
#pragma unroll
      for (int plane = 0; plane < R::kPlanes; plane++)
        storers[plane] = BlockStorer<V, V, 1>({a.weights(at.pair, plane) + at.row0 * M, M, 1}, part);
    memory.addends = at.block.addends[at.warp];
    if (at.lane >= at.rows) return;
    if (R::kInsert == Gap::kRow) memory.row[0] = score_at(a, 1, at.pair, at.row0 + at.lane, 0);
    if (R::kDelete == Gap::kRow) memory.row[1] = score_at(a, 2, at.pair, at.row0 + at.lane, 0);
  }
  SOFTDP_DEVICE void start(int c) {
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i))
        loaders[i].template start<R::kDelete == Gap::kDense>(part, at.rows, at.size.m, c, memory.array[i]);
  }
  SOFTDP_DEVICE void arrive(int c) {
    copy_async_wait();
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i)) loaders[i].finish(part, c, memory.array[i], a.tables[i].type, a.negates());
    if (R::kRounds && at.lane < kChunk)
      at.block.addends[at.warp][at.lane] = addend_of(at.row0 + c * kChunk + at.lane);
  }
  SOFTDP_DEVICE void leave(int c) const {
    if (a.saved)
#pragma unroll
      for (int plane = 0; plane < R::kPlanes; plane++)
        storers[plane].store(part, at.rows, at.size.m, c, memory.array[plane], {});
    carry_over<1, R::kArrays>(memory.array, R::kArrays, c, at.lane);
  }
};

template <class R>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kStripRows, R::kBlocks)
forward_bands(const ForwardArguments<R> a) {
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  SOFTDP_SHARED(raw);
  BandStrip<ForwardArguments<R>> at(a, raw);
  const int m = at.size.m, lane = at.lane, rows = at.rows;
  if (a.saved)
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      fill_rows(a.weights(at.pair, plane), Type(), a.band, at.band, a.pairs.rows, a.pairs.columns, at.size.n,
                m, typename R::V(0), true);
  if constexpr (!R::Recurrence::kChargesBoundary)  // else boundary.h's
    if ((at.size.n == 0 || m == 0) && at.band == 0 && threadIdx.x == 0)
      a.score[at.pair] = empty_score(a, at.size);
  if (!at.is_at_work()) return;  // a pair without cells may have no memory

  ForwardBlocks<R> blocks(a, at);
  ForwardStrip<R> strip{a, blocks.memory};
  if (rows > 0) begin_strip(a, at, strip);
  Row<State> in = at.in(), out = at.out();
  const auto row_of = [&](void* row) { return static_cast<State*>(row) + at.pair * a.pairs.columns; };
  if (at.row0 == 0 && a.boundary.above) in.edges = row_of(const_cast<void*>(a.boundary.above));
  if (at.is_last() && a.boundary.last_row) out.edges = row_of(a.boundary.last_row);
  const auto sweep = [&](int c) {
    const int t0 = c * kChunk, column = t0 + lane, given = column - (rows - 1);
    const bool takes = lane < kChunk && column < m;
    State* const above = at.ring_in().of_taker(c);
    State edge = boundary_state<Wide>(takes && a.start != Start::kAnchored);
    if (at.warp > 0) {
      if (takes) edge = above[lane];
    } else if (t0 < m && in.edges) {
      in.wait(t0 + kChunk < m ? t0 + kChunk : m, lane);
      if (takes) edge = in.edges[column];
    }
    const Given<State> below(at.ring_out(), c);
    edge = strip.chunk(c, m, edge, above, below);
    if (ballot(strip.is_spoiled())) spoil(edge);  // and so all strips that follow
    sync_warp();                                  // all lanes have read what they overwrite
    if (lane < kChunk) below[lane] = edge;
    if (out.edges) {
      if (lane < kChunk && given >= 0 && given < m) out.edges[given] = edge;
      out.given(clamp(t0 + kChunk - (rows - 1), 0, m), lane);
    }
  };
  at.go([&](int c) { blocks.start(c); }, [&](int c) { blocks.arrive(c); }, [&](int c) { blocks.leave(c); },
        sweep);
  at.find();
  if (at.rows > 0) end_strip(a, at, strip);
}

}  // namespace softdp::cuda
