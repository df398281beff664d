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
  static constexpr int kColumns = R::kColumns;
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
};

template <class Max>
SOFTDP_DEVICE typename Max::State boundary_state(typename Max::Arithmetic::Factor k, bool reached) {
  using Value = typename Max::Value;
  return Max::input(reached ? Value(0) : Value(-ScalarCommon::kInfinity), k);
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

// The number of table i at (row, column) of a pair. Gaps may have the type of the arithmetic.
template <class R>
SOFTDP_DEVICE typename R::V score_at(const ForwardArguments<R>& a, int i, int64_t pair, int64_t row,
                                     int64_t column) {
  using T = typename R::T;
  using V = typename R::V;
  const Table& table = a.tables[i];
  const int64_t at = pair * table.batch + row * table.row + column * table.column;
  const V x = i > 0 && table.type != a.tables[0].type
                  ? static_cast<const V*>(table.data)[at]
                  : value_from<V>(static_cast<const T*>(table.data)[at], table.type);
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
    const auto hidden = [&](typename R::V x) { return x < a.k.lowest && x > -ScalarCommon::kInfinity; };
    for (int64_t at = first; at < int64_t(n) * m; at += step) {
      found = found || hidden(score_at(a, 0, pair, at / m, at % m));
      if constexpr (R::kHasGaps)
        for (int i = 1; i < 3; i++) found = found || hidden(score_at(a, i, pair, at / m, at % m));
    }
  }
  return found;
}

// A strip's state from chunk to chunk; chunk(): its edges in, its steps, its edges out. kFull: chunks in
// which all lanes are inside their columns occur.
template <class R, bool kFull, class Places>
struct ForwardStrip {
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using Narrow = typename R::Max::Narrow;
  using State = typename Wide::State;

  const ForwardArguments<R>& arguments;
  const Memory<V>& memory;
  Handover<State> in, out;
  Lane lane;
  int rows;  // of this strip
  unsigned char *above, *below;
  State left, diagonal;
  V worst = 0;  // the largest score met, NaN where one was

  SOFTDP_DEVICE bool is_spoiled() const { return Wide::spoils(typename Wide::Value(worst), arguments.k); }

  SOFTDP_DEVICE void chunk(int t0, int steps, int m) {
    const int column = t0 + lane.row, end = t0 + kChunk < m ? t0 + kChunk : m;
    const bool takes = lane.row < kChunk && column < m;
    State edge = boundary_state<Wide>(arguments.k, takes && arguments.start != Start::kAnchored);
    if (t0 < m && (in.shared || in.global)) {
      in.wait(end, lane.row);
      if (takes) edge = in.take(column);
      in.taken(end, lane.row);
      if (is_nan(edge)) worst = NAN;
    }
    const bool full = rows == kStripRows && steps == kChunk && t0 >= kStripRows - 1 && t0 + kChunk <= m;
    if constexpr (R::Max::kHasNarrow) {
      int64_t base;
      if (fits(edge, base))
        narrow_steps(t0, steps, m, full, edge, base);
      else
        wide_steps(t0, steps, m, edge);
    } else {
      wide_steps(t0, steps, m, edge);
    }
  }

  // Whether all that is live lies near one exponent, and which.
  SOFTDP_DEVICE bool fits(const State& edge, int64_t& base) const {
    const State mine = is_live(left) ? left : is_live(edge) ? edge : diagonal;
    const unsigned live = ballot(is_live(mine));
    base = live ? shuffle_from(mine.e, first_set(live)) : 0;
    const auto near = [&](const State& s) {
      return !is_live(s) || (s.e - base < kNear && base - s.e < kNear);
    };
    return all(near(left) && near(edge) && near(diagonal));
  }

  SOFTDP_DEVICE void narrow_steps(int t0, int steps, int m, bool full, const State& edge, int64_t base) {
    using Small = typename Narrow::State;
    auto* const in_steps = reinterpret_cast<Small*>(above);
    auto* const out_steps = reinterpret_cast<Small*>(below);
    if (lane.row < kChunk) in_steps[lane.row] = narrowed<Narrow, Wide>(edge, base);
    sync_warp();
    const StripCells<R, Narrow> cells(memory, arguments.k, arguments.threshold);
    Small now = narrowed<Narrow, Wide>(left, base), before = narrowed<Narrow, Wide>(diagonal, base);
    const Places places(lane.row, t0);
    if (kFull && full)
      forward_chunk<kFull ? Steps::kAll : Steps::kSome>(cells, places, now, before, worst, lane, t0, in_steps,
                                                        out_steps, rows - 1);
    else
      forward_chunk<Steps::kSome>(cells, places, now, before, worst, lane, t0, in_steps, out_steps, rows - 1);
    left = widened<Narrow, Wide>(now, base);
    diagonal = widened<Narrow, Wide>(before, base);
    hand_down(t0, steps, m, [&](int q) { return widened<Narrow, Wide>(out_steps[q], base); });
  }

  SOFTDP_DEVICE void wide_steps(int t0, int steps, int m, const State& edge) {
    auto* const in_steps = reinterpret_cast<State*>(above);
    auto* const out_steps = reinterpret_cast<State*>(below);
    if (lane.row < kChunk) in_steps[lane.row] = edge;
    sync_warp();
    const StripCells<R, Wide> cells(memory, arguments.k, arguments.threshold);
    forward_chunk<Steps::kRolled>(cells, Places(lane.row, t0), left, diagonal, worst, lane, t0, in_steps,
                                  out_steps, rows - 1);
    left = Wide::normalized(left);
    diagonal = Wide::normalized(diagonal);
    hand_down(t0, steps, m, [&](int q) { return Wide::normalized(out_steps[q]); });
  }

  // The chunk's states of the strip's last row. A strip that met a bad score poisons all that follow.
  template <class Given>
  SOFTDP_DEVICE void hand_down(int t0, int steps, int m, Given given) {
    sync_warp();
    if (!out.shared && !out.global) return;
    const int first = t0 - (rows - 1), end = clamp(first + steps, 0, m);
    out.wait_for_room(end, lane.row);
    const bool poisoned = ballot(is_spoiled()) != 0;
    const int column = first + lane.row;
    if (lane.row < steps && column >= 0 && column < m) {
      State edge = given(lane.row);
      if (poisoned) spoil(edge);
      out.give(column, edge);
    }
    out.given(end, lane.row);
  }
};

// Where a strip begins: its states to the left, what it takes from above, what it gives.
template <class R, class Strip, class Place>
SOFTDP_DEVICE void begin_strip(const ForwardArguments<R>& a, const Place& at,
                               const Memory<typename R::V>& memory, Strip& strip) {
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const Boundary<void>& boundary = a.boundary;
  const bool is_reached = a.start != Start::kAnchored;
  const auto given = [&](const void* states, int64_t i, bool reached) {
    return states ? static_cast<const State*>(states)[i] : boundary_state<Wide>(a.k, reached);
  };
  const auto left_of = [&](int row) { return given(boundary.left, pair * N + row, is_reached); };
  strip.lane = {at.lane, at.lane, at.lane < at.rows ? at.size.m : 0};
  strip.rows = at.rows;
  strip.above = at.own().above;
  strip.below = at.own().below;
  strip.left = at.lane < at.rows ? left_of(at.row0 + at.lane) : boundary_state<Wide>(a.k, false);
  const bool at_top = !boundary.above || is_reached;  // S(0,0), or below it on the boundary
  strip.diagonal = at.row0 == 0 ? given(boundary.corner, pair, at_top) : left_of(at.row0 - 1);
  if (is_nan(strip.left) || is_nan(strip.diagonal)) strip.worst = NAN;  // of the piece before
  if (R::kInsert == Gap::kRow) strip.worst = max_or_nan(strip.worst, memory.row[0]);
  if (R::kDelete == Gap::kRow) strip.worst = max_or_nan(strip.worst, memory.row[1]);
  strip.in = at.in();
  if (at.row0 == 0 && boundary.above)
    strip.in.global = static_cast<State*>(const_cast<void*>(boundary.above)) + pair * M;
  strip.out = at.out();
  if (at.is_last() && boundary.last_row) strip.out.global = static_cast<State*>(boundary.last_row) + pair * M;
}

// And where it ends: its last column, and of the pair's last strip the score and the verdict.
template <class R, class Strip, class Place>
SOFTDP_DEVICE void end_strip(const ForwardArguments<R>& a, const Place& at, const Strip& strip,
                             typename R::V* saved) {
  using V = typename R::V;
  using State = typename R::Max::Wide::State;
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int n = at.size.n, m = at.size.m, lane = at.lane;
  bool spoiled = ballot(strip.is_spoiled()) != 0;
  if (a.boundary.last_column && lane < at.rows) {
    State edge = strip.left;
    if (spoiled) spoil(edge);
    static_cast<State*>(a.boundary.last_column)[pair * N + at.row0 + lane] = edge;
  }
  if (!at.is_last()) return;
  const V at_end = shuffle_from(V(value_of(strip.left, a.unit)), at.rows - 1);
  if (at_end == -ScalarCommon::kInfinity)
    spoiled = ballot(hides_a_score(a, pair, n, m, lane, kStripRows)) != 0 || spoiled;
  sync_warp();  // after the other lanes' stores of the last block
  if (lane == at.rows - 1) {
    const V value = spoiled ? V(NAN) : at_end;
    a.score[pair] = score_of(value, a.negates());
    const V verdict = value != value ? V(NAN) : V(kNoPath);
    if (saved && !a.is_piece && (value != value || value == -ScalarCommon::kInfinity)) {
#pragma unroll
      for (int plane = 0; plane < R::kPlanes; plane++) saved[plane * N * M + (n - 1) * M + m - 1] = verdict;
    }
  }
}

template <class R>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kStripRows, R::kBlocks)
forward_bands(const ForwardArguments<R> a) {
  using T = typename R::T;
  using V = typename R::V;
  SOFTDP_SHARED(raw);
  const BandStrip<ForwardArguments<R>> at(a, raw);
  const int64_t N = a.pairs.rows, M = a.pairs.columns, pair = at.pair;
  const int m = at.size.m, lane = at.lane, row0 = at.row0, rows = at.rows;
  V* const saved = a.saved ? a.saved + pair * R::kPlanes * N * M : nullptr;
  if (saved)
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      fill_rows(saved + plane * N * M, Type(), a.band, at.band, N, M, at.size.n, m, V(0), true);
  if constexpr (!R::Recurrence::kChargesBoundary)  // else boundary.h's
    if ((at.size.n == 0 || m == 0) && at.band == 0 && threadIdx.x == 0)
      a.score[pair] = empty_score(a, at.size);
  if (rows <= 0 || m == 0) return;

  Memory<V> memory{};
#pragma unroll
  for (int i = 0; i < R::kArrays; i++) memory.array[i] = at.array(R::kArrays, i);
  memory.column = at.own().columns.ring;
  if (lane < rows) {
    if (R::kInsert == Gap::kRow) memory.row[0] = score_at(a, 1, pair, row0 + lane, 0);
    if (R::kDelete == Gap::kRow) memory.row[1] = score_at(a, 2, pair, row0 + lane, 0);
  }
  ForwardStrip<R, true, RingPlaces<1>> strip{a, memory};
  begin_strip(a, at, memory, strip);

  const Part part(lane);
  BlockLoader<T, V, 1> loaders[3];
  BlockStorer<V, V, 1> storers[2];
  V held = V(0);
#pragma unroll
  for (int i = 0; i < R::kArrays; i++)
    if (R::is_loaded(i)) loaders[i] = BlockLoader<T, V, 1>(rows_of<T>(a.tables[i], pair, row0), part);
  if (saved)
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      storers[plane] = BlockStorer<V, V, 1>({saved + plane * N * M + row0 * M, M, 1}, part);
  const auto start = [&](int block) {
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i)) loaders[i].start(part, rows, m, block, memory.array[i]);
    const int column = block * kChunk + lane;
    const bool valid = lane < kChunk && column < m;
    if (R::kColumns) held = valid ? score_at(a, R::kInsert == Gap::kColumn ? 1 : 2, pair, 0, column) : V(0);
  };
  const auto finish = [&](int block) {
    copy_async_wait();
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i)) loaders[i].finish(part, block, memory.array[i], a.tables[i].type, a.negates());
    if (R::kColumns && lane < kChunk) memory.column[(block * kChunk + lane) & (kRing - 1)] = held;
    sync_warp();
  };
  const auto store = [&](int block) {
    if (!saved) return;
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      storers[plane].store(part, rows, m, block, memory.array[plane], {});
  };

  const int total = m + rows - 1, chunks = (total + kChunk - 1) / kChunk, blocks = (m + kChunk - 1) / kChunk;
  start(0);
  for (int c = 0; c < chunks; c++) {
    finish(c);
    store(c - kBlocksBehind);
    sync_warp();
    if (c + 1 < blocks) start(c + 1);
    const int t0 = c * kChunk;
    strip.chunk(t0, total - t0 < kChunk ? total - t0 : kChunk, m);
  }
  for (int c = chunks - kBlocksBehind; c < blocks; c++) store(c);
  end_strip(a, at, strip, saved);
}

}  // namespace softdp::cuda
