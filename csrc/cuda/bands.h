// Sweeps of any size. A block of up to kMostWarps warps sweeps a band of as many strips of one pair; strips
// hand their last row down, within a band through shared memory, from band to band through global memory, a
// flag with every 16 columns. Bands take tickets, the first bands of all pairs before the second ones: the
// band above is then always finished or at work, whatever order the device starts blocks in, and with many
// pairs nobody waits.
#pragma once
#include "strip.h"

namespace softdp::cuda {

constexpr int kMostWarps = 4;

SOFTDP_FN int64_t strips_of(int64_t rows) {
  return (rows + kRows - 1) / kRows;
}

// What bands share in global memory: a ticket counter and a flag per band, all 0 at the launch, then the
// last row of every band but the last.
template <class Edge>
struct Chain {
  unsigned* tickets;
  int* flags;
  Edge* edges;
  static int64_t flag_bytes(const Pairs& pairs, Bands bands) {
    const int64_t count = bands.of(pairs.rows);
    return count > 1 ? ((1 + pairs.count * count) * 4 + 15) / 16 * 16 : 0;
  }
  static int64_t bytes(const Pairs& pairs, Bands bands) {
    const int64_t between = bands.of(pairs.rows) - 1;
    return between > 0
               ? flag_bytes(pairs, bands) + pairs.count * between * pairs.columns * int64_t(sizeof(Edge))
               : 0;
  }
  static Chain in(void* workspace, const Pairs& pairs, Bands bands) {
    unsigned* tickets = static_cast<unsigned*>(workspace);
    return {tickets, reinterpret_cast<int*>(tickets + 1),
            reinterpret_cast<Edge*>(static_cast<char*>(workspace) + flag_bytes(pairs, bands))};
  }
};

// The block's pair and band.
struct Place {
  int64_t pair;
  int band;
};
SOFTDP_DEVICE Place take_place(const Pairs& pairs, Bands bands, unsigned* tickets, unsigned* shared_ticket) {
  unsigned ticket = blockIdx.x;
  if (pairs.rows > bands.rows()) {
    if (threadIdx.x == 0) *shared_ticket = take_ticket(tickets);
    sync_block();
    ticket = *shared_ticket;
  }
  return {ticket % pairs.count, int(ticket / pairs.count)};
}

// The pair's lengths; a pair whose lengths lie outside the table is empty and unfit.
struct Extent {
  int n, m;
  bool unfit;
};
SOFTDP_DEVICE Extent extent_of(const Pairs& pairs, int64_t pair) {
  const int64_t n = pairs.n(pair), m = pairs.m(pair);
  if (n < 0 || m < 0 || n > pairs.rows || m > pairs.columns) return {0, 0, true};
  return {int(n), int(m), false};
}

SOFTDP_DEVICE int clamp(int x, int low, int high) {
  return x < low ? low : x > high ? high : x;
}

// ---- the row between two strips --------------------------------------------------------------------------

// Edges of the strip above come from one of three places, and those for the strip below go to one of three.
template <class Edge>
struct Handover {
  Edge* global = nullptr;  // a whole row, with a flag unless it was there before the launch
  int* global_flag = nullptr;
  Edge* shared = nullptr;  // a ring of kRing columns, with two flags
  int *published = nullptr, *consumed = nullptr;

  // Waits for columns up to `end`.
  SOFTDP_DEVICE void wait(int end, int lane) const {
    if (lane == 0 && shared)
      while (load_acquire_block(published) < end) spin_block();
    if (lane == 0 && global_flag)
      while (load_acquire_device(global_flag) < end) spin_device();
    sync_warp();
  }
  SOFTDP_DEVICE Edge take(int column) const { return shared ? shared[column & (kRing - 1)] : global[column]; }
  // All lanes have taken the columns up to `end`.
  SOFTDP_DEVICE void taken(int end, int lane) const {
    sync_warp();
    if (lane == 0 && shared) store_release_block(consumed, end);
  }
  // Waits until the ring has room for columns up to `end`.
  SOFTDP_DEVICE void wait_for_room(int end, int lane) const {
    if (lane == 0 && shared)
      while (load_acquire_block(consumed) < end - kRing) spin_block();
    sync_warp();
  }
  SOFTDP_DEVICE void give(int column, const Edge& edge) const {
    if (shared) shared[column & (kRing - 1)] = edge;
    if (global) global[column] = edge;
  }
  // Columns up to `end` are there.
  SOFTDP_DEVICE void given(int end, int lane) const {
    sync_warp();
    if (lane == 0 && shared) store_release_block(published, end);
    if (lane == 0 && global_flag) store_release_device(global_flag, end);
  }
};

template <class V, int kColumns>
struct Columns {
  V ring[kRing];
};
template <class V>
struct Columns<V, 0> {
  static constexpr V* ring = nullptr;
};
// A warp's part of its block's shared memory: its own arrays and what it hands on. The arrays lie behind the
// block's, as many as the launch asked for: fewer bytes are more blocks a multiprocessor.
template <class V, class Edge, int kColumns>
struct BandWarp {
  alignas(16) Edge ring[kRing];
  alignas(16) unsigned char above[kChunk * sizeof(Edge)];  // Edges, or their narrow states
  alignas(16) unsigned char below[kChunk * sizeof(Edge)];
  int published, consumed;
  Columns<V, kColumns> columns;
};
template <class V, class Edge, int kColumns = 0>
struct BandMemory {
  alignas(16) unsigned ticket;
  BandWarp<V, Edge, kColumns> warps[kMostWarps];
  SOFTDP_DEVICE V* array(int warp, int arrays, int i) {
    return reinterpret_cast<V*>(this + 1) + (warp * arrays + i) * kArray;
  }
  static size_t bytes(int warps, int arrays) {
    return sizeof(BandMemory) + size_t(warps) * arrays * kArray * sizeof(V);
  }
};

// The way of a warp's last row to the next warp of its block, and of a band's to the pair's next band.
template <class Edge, class Warp>
SOFTDP_DEVICE Handover<Edge> between_warps(Warp& upper) {
  return {nullptr, nullptr, upper.ring, &upper.published, &upper.consumed};
}
template <class Arguments>
SOFTDP_DEVICE auto between_bands(const Arguments& a, int64_t pair, int upper) {
  using Edge = std::remove_pointer_t<decltype(a.chain.edges)>;
  const int64_t bands = a.bands.of(a.pairs.rows);
  return Handover<Edge>{a.chain.edges + (pair * (bands - 1) + upper) * a.pairs.columns,
                        a.chain.flags + pair * bands + upper};
}

// A strip's way through its columns, where edges are handed on as they are: blocks come in one ahead and
// leave three behind, `above` receives the edges of the chunk's columns, and steps(t0, count, full) makes its
// steps and leaves those of the strip's last row in `below`. first: the edge of column 0 where nothing is
// above.
template <class Edge, class Start, class Store, class Steps>
SOFTDP_DEVICE void sweep_blocks(int lane, int rows, int m, const Edge& first, const Handover<Edge>& in,
                                const Handover<Edge>& out, Edge* above, const Edge* below, Start start,
                                Store store, Steps steps) {
  const int total = m + rows - 1, chunks = (total + kChunk - 1) / kChunk, blocks = (m + kChunk - 1) / kChunk;
  start(0);
  for (int c = 0; c < chunks; c++) {
    copy_async_wait();
    sync_warp();
    store(c - kBlocksBehind);
    sync_warp();
    if (c + 1 < blocks) start(c + 1);
    const int t0 = c * kChunk, count = total - t0 < kChunk ? total - t0 : kChunk;
    const int column = t0 + lane, end = t0 + kChunk < m ? t0 + kChunk : m;
    Edge edge = column == 0 ? first : Edge();
    if (t0 < m && (in.shared || in.global)) {
      in.wait(end, lane);
      if (lane < kChunk && column < m) edge = in.take(column);
      in.taken(end, lane);
    }
    if (lane < kChunk) above[lane] = edge;
    sync_warp();
    steps(t0, count, rows == kRows && count == kChunk && t0 >= kRows - 1 && t0 + kChunk <= m);
    sync_warp();
    if (out.shared || out.global) {
      const int given = t0 - (rows - 1), until = clamp(given + count, 0, m);
      out.wait_for_room(until, lane);
      if (lane < count && given + lane >= 0 && given + lane < m) out.give(given + lane, below[lane]);
      out.given(until, lane);
    }
  }
  for (int c = chunks - kBlocksBehind; c < blocks; c++) store(c);
}

// ---- forward ---------------------------------------------------------------------------------------------

template <class R>
struct ForwardArguments {
  using T = typename R::T;
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  Pairs pairs;
  typename Wide::Arithmetic::Factor k;
  double unit;
  V threshold;
  Boundary boundary;
  Format<T> format;
  Scores<T> scores[3];
  bool wide_gaps, is_piece;
  V* score;
  V* saved;
  Bands bands;
  Chain<State> chain;
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

// The i-th score at (row, column) of a pair.
template <class R>
SOFTDP_DEVICE typename R::V score_at(const ForwardArguments<R>& a, int i, int64_t pair, int64_t row,
                                     int64_t column) {
  using V = typename R::V;
  const Scores<typename R::T>& scores = a.scores[i];
  const int64_t at = pair * scores.batch + row * scores.row + column * scores.column;
  return i > 0 && a.wide_gaps ? reinterpret_cast<const V*>(scores.data)[at]
                              : value_from<V>(scores.data[at], a.format);
}

// The score of a pair without cells.
template <class R>
SOFTDP_DEVICE typename R::V empty_score(const ForwardArguments<R>& a, const Extent& size) {
  using V = typename R::V;
  return size.unfit ? V(NAN) : V(a.boundary.anchored && size.n != size.m ? -ScalarCommon::kInfinity : 0);
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
      if constexpr (!R::kLcs)
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
    State edge = boundary_state<Wide>(arguments.k, takes && !arguments.boundary.anchored);
    if (t0 < m && (in.shared || in.global)) {
      in.wait(end, lane.row);
      if (takes) edge = in.take(column);
      in.taken(end, lane.row);
      if (is_nan(edge)) worst = NAN;
    }
    const bool full = rows == kRows && steps == kChunk && t0 >= kRows - 1 && t0 + kChunk <= m;
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
    const Cells<R, Narrow> cells(memory, arguments.k, arguments.threshold);
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
    const Cells<R, Wide> cells(memory, arguments.k, arguments.threshold);
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

// Where a score's array of rows comes from; only what is dense in the recipe is loaded by blocks.
template <class T>
SOFTDP_DEVICE View<const T> rows_of(const Scores<T>& scores, int64_t pair, int row) {
  return {scores.data + pair * scores.batch + row * scores.row, scores.row, scores.column};
}

template <class R>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kRows, R::kBlocks)
forward_bands(const ForwardArguments<R> a) {
  using T = typename R::T;
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  using Block = BandMemory<V, State, R::kColumns>;
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
  V* const saved = a.saved ? a.saved + pair * R::kPlanes * N * M : nullptr;
  if (saved)
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      fill_rows(saved + plane * N * M, Format<V>(), a.bands, place.band, N, M, n, m, V(0), true);
  if ((n == 0 || m == 0) && place.band == 0 && threadIdx.x == 0) a.score[pair] = empty_score(a, size);
  const int row0 = place.band * a.bands.rows() + warp * kRows;
  if (row0 >= n || m == 0) return;

  const int rows = n - row0 < kRows ? n - row0 : kRows;
  Memory<V> memory{};
#pragma unroll
  for (int i = 0; i < R::kArrays; i++) memory.array[i] = block.array(warp, R::kArrays, i);
  memory.column = own.columns.ring;
  if (lane < rows) {
    if (R::kInsert == Gap::kRow) memory.row[0] = score_at(a, 1, pair, row0 + lane, 0);
    if (R::kDelete == Gap::kRow) memory.row[1] = score_at(a, 2, pair, row0 + lane, 0);
  }

  const Boundary& boundary = a.boundary;
  const auto given = [&](const void* states, int64_t at, bool reached) {
    return states ? static_cast<const State*>(states)[at] : boundary_state<Wide>(a.k, reached);
  };
  const auto left_of = [&](int row) { return given(boundary.left, pair * N + row, !boundary.anchored); };
  ForwardStrip<R, true, RingPlaces<1>> strip{a, memory};
  strip.lane = {lane, lane, lane < rows ? m : 0};
  strip.rows = rows;
  strip.above = own.above;
  strip.below = own.below;
  strip.left = lane < rows ? left_of(row0 + lane) : boundary_state<Wide>(a.k, false);
  const bool at_top = !boundary.above || !boundary.anchored;  // S(0,0), or below it on the boundary
  strip.diagonal = row0 == 0 ? given(boundary.corner, pair, at_top) : left_of(row0 - 1);
  if (is_nan(strip.left) || is_nan(strip.diagonal)) strip.worst = NAN;  // of the piece before
  if (R::kInsert == Gap::kRow) strip.worst = max_or_nan(strip.worst, memory.row[0]);
  if (R::kDelete == Gap::kRow) strip.worst = max_or_nan(strip.worst, memory.row[1]);

  const bool last = row0 + rows == n;
  if (warp > 0)
    strip.in = between_warps<State>(block.warps[warp - 1]);
  else if (row0 > 0)
    strip.in = between_bands(a, pair, place.band - 1);
  else if (boundary.above)
    strip.in.global = static_cast<State*>(const_cast<void*>(boundary.above)) + pair * M;
  if (!last)
    strip.out = warp < a.bands.warps - 1 ? between_warps<State>(own) : between_bands(a, pair, place.band);
  else if (boundary.last_row)
    strip.out.global = static_cast<State*>(boundary.last_row) + pair * M;

  const Part part(lane);
  BlockLoader<T, V, 1> loaders[3];
  BlockStorer<V, V, 1> storers[2];
  V held = V(0);
#pragma unroll
  for (int i = 0; i < R::kArrays; i++)
    if (R::is_loaded(i)) loaders[i] = BlockLoader<T, V, 1>(rows_of(a.scores[i], pair, row0), part);
  if (saved)
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      storers[plane] = BlockStorer<V, V, 1>({saved + plane * N * M + row0 * M, M, 1}, part);
  const auto start = [&](int at) {
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i)) loaders[i].start(part, rows, m, at, memory.array[i]);
    const int column = at * kChunk + lane;
    const bool valid = lane < kChunk && column < m;
    if (R::kColumns) held = valid ? score_at(a, R::kInsert == Gap::kColumn ? 1 : 2, pair, 0, column) : V(0);
  };
  const auto finish = [&](int at) {
    copy_async_wait();
#pragma unroll
    for (int i = 0; i < R::kArrays; i++)
      if (R::is_loaded(i)) loaders[i].finish(part, at, memory.array[i], a.format);
    if (R::kColumns && lane < kChunk) memory.column[(at * kChunk + lane) & (kRing - 1)] = held;
    sync_warp();
  };
  const auto store = [&](int at) {
    if (!saved) return;
#pragma unroll
    for (int plane = 0; plane < R::kPlanes; plane++)
      storers[plane].store(part, rows, m, at, memory.array[plane], {});
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

  bool spoiled = ballot(strip.is_spoiled()) != 0;
  if (boundary.last_column && lane < rows) {
    State edge = strip.left;
    if (spoiled) spoil(edge);
    static_cast<State*>(boundary.last_column)[pair * N + row0 + lane] = edge;
  }
  if (last) {
    const V at_end = shuffle_from(V(value_of(strip.left, a.unit)), rows - 1);
    if (at_end == -ScalarCommon::kInfinity)
      spoiled = ballot(hides_a_score(a, pair, n, m, lane, kRows)) != 0 || spoiled;
    sync_warp();  // after the other lanes' stores of the last block
    if (lane == rows - 1) {
      const V value = spoiled ? V(NAN) : at_end;
      a.score[pair] = value;
      const V verdict = value != value ? V(NAN) : V(kNoPath);
      if (saved && !a.is_piece && (value != value || value == -ScalarCommon::kInfinity)) {
#pragma unroll
        for (int plane = 0; plane < R::kPlanes; plane++) saved[plane * N * M + (n - 1) * M + m - 1] = verdict;
      }
    }
  }
}

// ---- backward --------------------------------------------------------------------------------------------

template <class T, bool kLcs_>
struct BackwardArguments {
  using V = typename ValueOf<T>::Type;
  static constexpr int kPlanes = kLcs_ ? 1 : 2;
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  Format<T> format;
  Gradient<T> gradients[3];
  bool shared_gap, visits;
  const V *verdicts, *given;
  V* handed;
  int arrays;  // the third is for delete's gradient, where it is wanted cell by cell
  Bands bands;
  Chain<V> chain;
  V* partial[2];  // of the gaps that are summed over rows: (B, strips, M) or (B, strips)
};

// What fills the gradients of the band's rows where nothing is swept: `value` in the pair's own cells, 0 in
// the padding.
template <class A>
SOFTDP_DEVICE void fill_gradients(const A& a, int64_t pair, int band, int n, int m, float value,
                                  bool padding_only) {
  const int64_t N = a.pairs.rows, M = a.pairs.columns;
#pragma unroll
  for (int i = 0; i < 3; i++) {
    const auto& gradient = a.gradients[i];
    if (!gradient.data || !gradient.every_row) continue;
    if (gradient.every_column)
      fill_rows(gradient.data + pair * N * M, a.format, a.bands, band, N, M, n, m, value, padding_only);
    else
      fill_rows(gradient.data + pair * N, a.format, a.bands, band, N, 1, m > 0 ? n : 0, 1, value,
                padding_only);
  }
}

template <class T, bool kLcs>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kRows, (sizeof(typename ValueOf<T>::Type) == 4 ? 3 : 1))
backward_bands(const BackwardArguments<T, kLcs> a) {
  using V = typename ValueOf<T>::Type;
  constexpr int kPlanes = BackwardArguments<T, kLcs>::kPlanes, kArrays = kLcs ? 1 : 3;
  using Block = BandMemory<V, V>;
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
  // A pair whose score receives the gradient 0 gets it, whatever it holds, and is not swept.
  const V seed = a.grad_score ? a.grad_score[pair] : V(1);
  const V verdict = n == 0 || m == 0 ? V(kNoPath)
                    : a.verdicts     ? a.verdicts[pair]
                    : seed != 0      ? saved[int64_t(n - 1) * M + m - 1]
                                     : V(kNoPath);
  const bool swept = verdict >= 0;
  fill_gradients(a, pair, place.band, n, m, swept || verdict < 0 ? 0.0f : NAN, swept);
  // From here on the table is seen from its end: row 0 is x's last step, column 0 y's.
  const int row0 = place.band * a.bands.rows() + warp * kRows;
  if (!swept || row0 >= n) return;

  const int rows = n - row0 < kRows ? n - row0 : kRows, strip = row0 / kRows;
  V* array[3];
#pragma unroll
  for (int i = 0; i < 3; i++) array[i] = block.array(warp, a.arrays, i < a.arrays ? i : 0);
  const Lane where{lane, lane, lane < rows ? m : 0};
  V* const above = reinterpret_cast<V*>(own.above);
  V* const below = reinterpret_cast<V*>(own.below);

  const auto kind = [&](int i) {
    const Gradient<T>& g = a.gradients[i];
    return !g.data ? Sum::kNone : g.every_column ? Sum::kArray : Sum::kRow;
  };
  GapSums<V> gaps{kLcs ? Sum::kNone : kind(1), kLcs ? Sum::kNone : kind(2), a.shared_gap, a.visits};
  double insert_row = 0, del_row = 0;  // sums over a row, chunk by chunk

  Handover<V> in, out;
  if (warp > 0)
    in = between_warps<V>(block.warps[warp - 1]);
  else if (row0 > 0)
    in = between_bands(a, pair, place.band - 1);
  else if (a.given && seed == 0)
    in.global = const_cast<V*>(a.given) + pair * M;
  if (row0 + rows < n)
    out = warp < a.bands.warps - 1 ? between_warps<V>(own) : between_bands(a, pair, place.band);
  else if (a.handed)
    out.global = a.handed + pair * M;

  const int64_t corner = int64_t(n - 1 - row0) * M + m - 1;
  const Part part(lane);
  BlockLoader<V, V, -1> loaders[kPlanes];
  BlockStorer<T, V, -1> storers[kArrays];
#pragma unroll
  for (int plane = 0; plane < kPlanes; plane++)
    loaders[plane] = BlockLoader<V, V, -1>({saved + plane * N * M + corner, -M, -1}, part);
#pragma unroll
  for (int i = 0; i < kArrays; i++)
    if (a.gradients[i].data)
      storers[i] = BlockStorer<T, V, -1>({a.gradients[i].data + pair * N * M + corner, -M, -1}, part);
  const auto start = [&](int at) {
#pragma unroll
    for (int plane = 0; plane < kPlanes; plane++) loaders[plane].start(part, rows, m, at, array[plane]);
  };
  const auto store = [&](int at) {
#pragma unroll
    for (int i = 0; i < kArrays; i++) {
      const Gradient<T>& g = a.gradients[i];
      if (!g.data || !g.every_column) continue;
      if (g.every_row)
        storers[i].store(part, rows, m, at, array[i], a.format);
      else
        store_column_sums<-1>(a.partial[i - 1] + (pair * strips_of(N) + strip) * M, part, lane, rows, m, at,
                              array[i]);
    }
  };

  Adjoints<V> from;
  sweep_blocks(lane, rows, m, row0 == 0 ? seed : V(0), in, out, above, below, start, store,
               [&](int t0, int, bool full) {
                 const RingPlaces<-1> places(lane, t0);
                 if (full)
                   backward_chunk<false, kLcs>(array, places, from, gaps, where, t0, above, below, rows - 1);
                 else
                   backward_chunk<true, kLcs>(array, places, from, gaps, where, t0, above, below, rows - 1);
                 insert_row += double(gaps.insert_row);
                 del_row += double(gaps.del_row);
                 gaps.insert_row = gaps.del_row = 0;
               });

#pragma unroll
  for (int i = 1; i < kArrays; i++) {
    const Gradient<T>& g = a.gradients[i];
    if (kind(i) != Sum::kRow) continue;
    double sum = i == 1 ? insert_row : del_row;
    if (g.every_row) {
      if (lane < rows) g.data[pair * N + (n - 1 - row0 - lane)] = value_to<T>(V(sum), a.format);
    } else {
      if (lane >= rows) sum = 0;
      for (int other = 16; other > 0; other /= 2) sum += shuffle_xor(sum, other);
      if (lane == 0) a.partial[i - 1][pair * strips_of(N) + strip] = V(sum);
    }
  }
}

// ---- what is summed over rows: the strips' sums together, in their order --------------------------------

template <class T>
struct ReduceArguments {
  using V = typename ValueOf<T>::Type;
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  int planes;
  const V* partial;
  Format<T> format;
  T* out;           // (B, columns)
  int64_t columns;  // M, or 1
};

constexpr int kReduceThreads = 128;

template <class T>
SOFTDP_KERNEL(kReduceThreads)
reduce_strips(const ReduceArguments<T> a) {
  using V = typename ValueOf<T>::Type;
  const int64_t N = a.pairs.rows, M = a.pairs.columns;
  const int64_t at = int64_t(blockIdx.x) * kReduceThreads + threadIdx.x;
  if (at >= a.pairs.count * a.columns) return;
  const int64_t pair = at / a.columns, column = at % a.columns;
  const Extent size = extent_of(a.pairs, pair);
  const int n = size.n, m = size.m;
  const V verdict = n > 0 && m > 0 && a.grad_score[pair] != 0
                        ? a.saved[pair * a.planes * N * M + int64_t(n - 1) * M + m - 1]
                        : V(kNoPath);
  double sum = 0;
  if (a.columns == 1 || column < m) {
    if (verdict != verdict) sum = NAN;
    // Strips go from the table's end, and so do their columns.
    const int64_t mirrored = a.columns == 1 ? 0 : m - 1 - column;
    if (verdict >= 0)
      for (int64_t strip = 0; strip < strips_of(n); strip++)
        sum += double(a.partial[(pair * strips_of(N) + strip) * a.columns + mirrored]);
  }
  a.out[at] = value_to<T>(V(sum), a.format);
}

}  // namespace softdp::cuda
