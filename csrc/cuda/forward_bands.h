// The forward sweep of pairs of any size: where a strip begins and ends, and the kernel.
#pragma once
#include "forward_strip.h"

namespace softdp::cuda {

// The number of table i at (row, column) of a pair, as a score.
template <class R>
SOFTDP_DEVICE typename R::V score_at(const ForwardArguments<R>& a, int i, int64_t pair, int64_t row,
                                     int64_t column) {
  using V = typename R::V;
  const Table& table = a.tables[i];
  int64_t place = row * table.row + column * table.column;
  if (a.as_saved && table.column)
    place = SavedPlaces(a.pairs, extent_of(a.pairs, pair), true).of(row, column);
  const V x = V(number_at(table, pair * table.batch + place));
  return a.costs ? -x : x;
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
  const bool apart = size.n > 0 ? !is_free_left(a.start) : size.m > 0 && !is_free_above(a.start);
  return size.unfit ? V(NAN) : score_of(V(apart ? -ScalarCommon::kInfinity : 0), a.costs);
}

// Whether a finite score of the pair lies below what the arithmetic holds and was counted as -inf. Looked at
// only where no path was left: such a pair is NaN, not -inf.
template <class R>
SOFTDP_DEVICE bool hides_a_score(const ForwardArguments<R>& a, int64_t pair, int n, int m,
                                 const Corridor& inside, int first, int step) {
  bool found = false;
  if constexpr (R::Max::kHasNarrow) {
    const auto hidden = [&](typename R::V x) { return !(x > a.k.lowest()) && x > -ScalarCommon::kInfinity; };
    each_cell(inside, n, m, first, step, [&](int64_t row, int64_t column) {
      found = found || hidden(score_at(a, 0, pair, row, column));
      if constexpr (R::kHasGaps)
        for (int i = 1; i < 3; i++) found = found || hidden(score_at(a, i, pair, row, column));
    });
  }
  return found;
}

// S to the left of a pair's row; of row -1 it is S(0, 0).
template <class R>
SOFTDP_DEVICE typename R::Max::Wide::State state_left_of(const ForwardArguments<R>& a, int64_t pair,
                                                         int row) {
  using Wide = typename R::Max::Wide;
  const Boundary<void>& boundary = a.boundary;
  const auto given = [&](const void* states, int64_t i, bool reached) {
    return states ? static_cast<const typename Wide::State*>(states)[i] : boundary_state<Wide>(reached);
  };
  // Above a piece of a table the corner is one of the states to the left.
  const bool reached = !boundary.above || is_free_left(a.start) || a.start == Start::kGaps;
  return row < 0 ? given(boundary.corner, pair, reached)
                 : given(boundary.left, pair * a.pairs.rows + row, is_free_left(a.start));
}

// Where a strip begins: its states to the left, dead where a row's first column is another one.
template <class R, class Strip, class Place>
SOFTDP_DEVICE void begin_strip(const ForwardArguments<R>& a, const Place& at, Strip& strip) {
  const int64_t pair = at.pair;
  strip.lane = at.template own_lane<Has::kNever>();
  strip.rows = at.rows;
  const auto nothing = boundary_state<typename R::Max::Wide>(false);
  strip.left = at.lane < at.rows && at.begins(at.lane) ? state_left_of(a, pair, at.row0 + at.lane) : nothing;
  strip.diagonal = at.begins(0) ? state_left_of(a, pair, at.row0 - 1) : nothing;
  if (is_nan(strip.left) || is_nan(strip.diagonal)) strip.worst = NAN;  // of the piece before
  if (R::kInsert == Gap::kRow) strip.worst = max_or_nan(strip.worst, strip.memory.row[0]);
  if (R::kDelete == Gap::kRow) strip.worst = max_or_nan(strip.worst, strip.memory.row[1]);
}

// The score of a pair, and the verdict on it, marked, in place of its last cell's weights. at_end: S(n, m).
template <Has kCorridor = Has::kNever, class R, class Mark>
SOFTDP_DEVICE void end_pair(const ForwardArguments<R>& a, int64_t pair, const Extent& size,
                            typename R::V at_end, bool spoiled, int lane, Mark marked) {
  using V = typename R::V;
  const int64_t bandwidth = kCorridor == Has::kNever ? -1 : a.pairs.bandwidth;
  if (at_end == -ScalarCommon::kInfinity) {
    const Corridor inside = Corridor::of(size.n, size.m, bandwidth);
    spoiled = ballot(hides_a_score(a, pair, size.n, size.m, inside, lane, kStripRows)) != 0 || spoiled;
  }
  if (lane != 0) return;
  const V value = spoiled ? V(NAN) : at_end;
  a.score[pair] = score_of(value, a.costs);
  if (a.saved && !a.is_piece && (value != value || value == -ScalarCommon::kInfinity)) {
    const V verdict = marked(value != value ? V(NAN) : V(kNoPath));
    for (int plane = 0; plane < a.planes(); plane++)
      a.weights(pair, plane)[SavedPlaces(a.pairs, size, bandwidth >= 0).of(size.n - 1, size.m - 1)] = verdict;
  }
}

// And where it ends: its last column, and of the pair's last strip the score, if that is S(n, m).
template <class R, class Strip, class Place>
SOFTDP_DEVICE void end_strip(const ForwardArguments<R>& a, const Place& at, Strip& strip) {
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
  if (!at.is_last() || a.joins_ends) return;
  const V at_end = shuffle_from(V(value_of(strip.last(), a.unit)), at.rows - 1);
  sync_warp();  // after the other lanes' stores of the last block
  end_pair<Place::kCorridor>(a, pair, at.size, at_end, spoiled, lane, [&](V verdict) {
    return a.planes() > R::Keeps::kNumbers ? verdict : R::Keeps::marked(verdict);
  });
}

// A strip's scores on their way in, and its weights on their way out.
template <class R>
using ForwardPlace = BandStrip<ForwardArguments<R>, Has::kEither>;
template <class R>
struct ForwardBlocks {
  using V = typename R::V;
  const ForwardArguments<R>& a;
  const ForwardPlace<R>& at;
  const Part part;
  Memory<V> memory{};
  ScoreLoader<V> loaders[R::kArrays];
  BlockStorer<V, V, 1> storers[R::kMostPlanes];

  SOFTDP_DEVICE ForwardBlocks(const ForwardArguments<R>& a, const ForwardPlace<R>& at)
      : a(a), at(at), part(at.lane) {
#pragma unroll
    for (int i = 0; i < R::kArrays; i++) {
      memory.array[i] = at.array(R::kArrays, i);
      if (R::is_loaded(i)) {
        Table table = a.tables[i];
        if (a.as_saved && table.column) table.row = at.columns().pitch;
        loaders[i] = ScoreLoader<V>(table, at.pair, at.row0, part);
      }
    }
    each_plane([&](int plane) {
      storers[plane] = at.template blocks_of<BlockStorer<V, V, 1>>(a.weights(at.pair, plane), part);
    });
    memory.addends = at.block.addends[at.warp];
    memory.is_full = a.is_full;
    if (at.lane >= at.rows) return;
    if (R::kInsert == Gap::kRow) memory.row[0] = score_at(a, 1, at.pair, at.row0 + at.lane, 0);
    if (R::kDelete == Gap::kRow) memory.row[1] = score_at(a, 2, at.pair, at.row0 + at.lane, 0);
  }
  // Calls run(plane) for the planes of weights that are saved.
  template <class Run>
  SOFTDP_DEVICE void each_plane(Run run) const {
    if (!a.saved) return;
#pragma unroll
    for (int plane = 0; plane < R::kMostPlanes; plane++)
      if (plane < R::Keeps::kNumbers || a.is_full) run(plane);
  }
  SOFTDP_DEVICE void start(int c) {
    at.if_corridor([&](auto corridor) {
      constexpr bool kMayRepeat = R::kDelete == Gap::kDense;
      const auto of = at.template columns_of<corridor.value>(part);
      int64_t turn = 0;
      if (corridor.value == Has::kAlways && a.as_saved) turn = at.turn(part.first_of(c, kIn));
#pragma unroll
      for (int i = 0; i < R::kArrays; i++)
        if (R::is_loaded(i))
          loaders[i].template start<kMayRepeat>(a.tables[i].type, part, at.rows, of, c, memory.array[i],
                                                turn);
    });
  }
  SOFTDP_DEVICE void arrive(int c) {
    copy_async_wait();
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i)) ScoreLoader<V>::finish(a.tables[i].type, part, c, memory.array[i], a.costs);
    if (R::kRounds && at.lane < kChunk)
      at.block.addends[at.warp][at.lane] = addend_of(at.row0 + c * kChunk + at.lane);
  }
  SOFTDP_DEVICE void leave(int c) const {
    at.if_corridor([&](auto corridor) {
      const auto of = at.template columns_of<corridor.value>(part);
      each_plane([&](int plane) {
        at.template turned<corridor.value>(storers[plane], part, c)
            .store(part, at.rows, of, c, memory.array[plane], {});
      });
    });
    carry_over<1, R::kArrays>(memory.array, R::kArrays, c, at.lane);
  }
};

template <class R>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kStripRows, R::kBlocks)
forward_bands(const ForwardArguments<R> a) {
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  SOFTDP_SHARED(raw);
  ForwardPlace<R> at(a, raw);
  const int m = at.size.m, lane = at.lane, rows = at.rows;
  if (a.saved && !at.has_corridor())  // else there are zeros before the launch
    for (int plane = 0; plane < a.planes(); plane++)
      fill_rows(a.weights(at.pair, plane), Type(), a.band, at.band, a.pairs.rows, a.pairs.columns, at.size.n,
                m, typename R::V(0), true);
  if (a.start != Start::kGaps)  // else boundary.h's
    if ((at.size.n == 0 || m == 0) && at.band == 0 && threadIdx.x == 0)
      a.score[at.pair] = empty_score(a, at.size);
  if (!at.is_at_work()) return;  // a pair without cells may have no memory
  at.find_columns();

  ForwardBlocks<R> blocks(a, at);
  ForwardStrip<R> strip{a, blocks.memory};
  if (rows > 0) begin_strip(a, at, strip);
  Row<State> in = at.in(), out = at.out();
  const auto row_of = [&](void* row) { return static_cast<State*>(row) + at.pair * a.pairs.columns; };
  if (at.row0 == 0 && a.boundary.above) in.edges = row_of(const_cast<void*>(a.boundary.above));
  if (at.is_last() && a.boundary.last_row) out.edges = row_of(a.boundary.last_row);
  const auto sweep = [&](int c, auto corridor) {
    const int t0 = c * kChunk, column = t0 + lane, given = column - (rows - 1);
    const auto above_it = at.template above<corridor.value>();
    const bool takes = lane < kChunk && above_it.has(column);
    State* const above = at.ring_in().of_taker(c);
    State edge = boundary_state<Wide>(takes && a.start != Start::kAnchored);
    if (at.warp > 0) {
      if (takes) edge = above[lane];
    } else if (t0 < above_it.end && in.edges) {
      in.wait(t0 + kChunk < above_it.end ? t0 + kChunk : above_it.end, lane);
      if (takes) edge = in.edges[column];
    }
    const Given<State> below(at.ring_out(), c);
    edge = strip.chunk(c, m, at.template own_lane<corridor.value>(), edge, above, below);
    if (ballot(strip.is_spoiled())) spoil(edge);  // and so all strips that follow
    sync_warp();                                  // all lanes have read what they overwrite
    if (lane < kChunk) below[lane] = edge;
    if (out.edges) {
      if (lane < kChunk && at.template below<corridor.value>().has(given)) out.edges[given] = edge;
      out.given(clamp(t0 + kChunk - (rows - 1), 0, m), lane);
    }
  };
  at.go([&](int c) { blocks.start(c); }, [&](int c) { blocks.arrive(c); }, [&](int c) { blocks.leave(c); },
        [&](int c) { at.if_corridor([&](auto corridor) { sweep(c, corridor); }); });
  at.find();
  if (at.rows > 0) end_strip(a, at, strip);
}

}  // namespace softdp::cuda
