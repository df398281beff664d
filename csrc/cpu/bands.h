// Sweeps of one pair, band by band. Lanes are rows: a strip of L rows is swept with lane r at column t - r at
// step t, so that
//
//   S(i, j-1)    is the lane's own last state
//   S(i-1, j)    comes from the lane above, or, for the first, from the row above the strip
//   S(i-1, j-1)  is what came from above at the last step
//
// L steps are a block. Its scores come as tiles; states are normalised at its end, and where they enter a
// strip from the row above: a chain of moves that goes straight down can leave a strip before its block ends.
// In between a mantissa grows by 2^2.6 a step at most (three of them, and two inputs of at most 2^1/2).
#pragma once
#include "tiles.h"

namespace softdp::cpu::SOFTDP_ISA {

// ---- states of lanes in memory -------------------------------------------------------------------------

// How states of the two maxima are moved about.
template <class Max>
struct States;

template <class A>
struct States<SmoothMax<A>> {
  using State = typename SmoothMax<A>::State;
  using Value = typename A::Value;
  using V = typename Value::Element;
  using E = typename A::Exponent::Element;
  static constexpr int L = kLanes<V>;
  struct Row {  // a row of states, a column each
    V* p;
    E* e;
  };
  struct Few {  // L of them, to take one by one
    alignas(kVectorBytes) V p[L];
    alignas(kVectorBytes) E e[L];
  };
  static SOFTDP_FN Row row_at(unsigned char* memory, int64_t columns) {
    V* const p = reinterpret_cast<V*>(memory);
    return {p, reinterpret_cast<E*>(p + columns)};
  }
  static SOFTDP_FN State boundary(bool reached) {
    return {Value(V(1)), typename A::Exponent(reached ? E(0) : E(A::F::kNothing))};
  }
  static SOFTDP_FN void load(const Row& row, int64_t column, int count, Few& few) {
    const State s =
        SmoothMax<A>::normalized({load_part(row.p, column, 0, count), load_part(row.e, column, 0, count)});
    s.p.store(few.p), s.e.store(few.e);
  }
  static SOFTDP_FN void fill(bool reached, Few& few) {
    const State s = boundary(reached);
    s.p.store(few.p), s.e.store(few.e);
  }
  static SOFTDP_FN void store(const State& s, const Row& row, int64_t column, int begin, int end) {
    Few few;
    s.p.store(few.p), s.e.store(few.e);
    for (int k = begin; k < end; k++) row.p[column + k] = few.p[k], row.e[column + k] = few.e[k];
  }
  static SOFTDP_FN void store_whole(const State& s, const Row& row, int64_t column) {
    s.p.store(row.p + column), s.e.store(row.e + column);
  }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    return {shifted_up(s.p, above.p[k]), shifted_up(s.e, above.e[k])};
  }
  static SOFTDP_FN State with_last_of(const State& x, const State& y) {
    return {SOFTDP_ISA::with_last_of(x.p, y.p), SOFTDP_ISA::with_last_of(x.e, y.e)};
  }
  static SOFTDP_FN bool strays(const State& s) { return sizeof(V) == 4 && any(A::strays(s.e)); }
  static double value(const State& s, int lane, const typename A::Factor& f) {
    const E e = s.e.x[lane];
    return e < A::F::kDead ? -A::kInfinity : (std::log2(double(s.p.x[lane])) + double(e)) * f.unit;
  }
};

template <class A>
struct States<HardMax<A>> {
  using State = typename A::Value;
  using V = double;
  static constexpr int L = kLanes<V>;
  using Row = double*;
  struct Few {
    alignas(kVectorBytes) V x[L];
  };
  static SOFTDP_FN Row row_at(unsigned char* memory, int64_t) { return reinterpret_cast<Row>(memory); }
  static SOFTDP_FN State boundary(bool reached) { return State(reached ? 0.0 : -A::kInfinity); }
  static SOFTDP_FN void load(Row row, int64_t column, int count, Few& few) {
    load_part(row, column, 0, count).store(few.x);
  }
  static SOFTDP_FN void fill(bool reached, Few& few) { boundary(reached).store(few.x); }
  static SOFTDP_FN void store(const State& s, Row row, int64_t column, int begin, int end) {
    for (int k = begin; k < end; k++) row[column + k] = s.x[k];
  }
  static SOFTDP_FN void store_whole(const State& s, Row row, int64_t column) { s.store(row + column); }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    return shifted_up(s, above.x[k]);
  }
  static SOFTDP_FN State with_last_of(const State& x, const State& y) {
    return SOFTDP_ISA::with_last_of(x, y);
  }
  static SOFTDP_FN bool strays(const State&) { return false; }
  static double value(const State& s, int lane, const typename A::Factor&) { return s.x[lane]; }
};

// ---- what is swept -------------------------------------------------------------------------------------

// kRows: both gaps are one number a row.
template <class Max_, bool kLcs_, bool kShared_, bool kRows_>
struct Recipe {
  using Max = Max_;
  using A = typename Max::Arithmetic;
  using Value = typename Max::Value;
  using V = typename Value::Element;
  using S = States<Max>;
  using State = typename Max::State;
  using Recurrence = std::conditional_t<kLcs_, Lcs<Max>, Fsd<Max>>;
  static constexpr int L = kLanes<V>;
  static constexpr bool kLcs = kLcs_, kShared = kShared_, kRows = kRows_;
  static constexpr bool kHard = std::is_same_v<Max, HardMax<A>>;
  static constexpr int kTiles = kLcs || kRows ? 1 : kShared ? 2 : 3;
  static constexpr int kGaps = kLcs ? 0 : kShared ? 1 : 2;
};

// The weights of a cell, of which the third is what the others leave of 1; as cuda/weights.h's pack() does:
// what is forbidden is exactly 0, and match never below.
template <bool kLcs, class Value>
SOFTDP_FN void pack_lanes(const Weights<Value>& w, Value& first, Value& second) {
  using V = typename Value::Element;
  const Value zero(V(0)), one(V(1));
  if constexpr (kLcs) {
    first = w.match;
    second = min(select(w.del == zero, one - w.match, w.insert), one);
  } else {
    const auto no_match = w.match == zero;
    first = min(one, select(no_match & (w.del == zero), one, w.insert));
    const Value rest = one - first;
    second = min(rest, select(no_match, rest, w.del));
  }
}
template <bool kLcs, class Value>
SOFTDP_FN Weights<Value> unpack_lanes(Value first, Value second) {
  const Value rest = (Value(typename Value::Element(1)) - first) - second;
  if constexpr (kLcs)
    return {first, second, rest};
  else
    return {rest, first, second};
}

// One pair's tables and numbers, for a strip at a time.
template <class R>
struct Pair {
  using V = typename R::V;
  using Factor = typename R::A::Factor;
  const Problem& problem;
  int64_t pair, n, m;
  Factor factor;
  V threshold;
  FillStage<V> fill[3];

  Pair(const Problem& p, int64_t pair) : problem(p), pair(pair), n(p.pairs.n(pair)), m(p.pairs.m(pair)) {
    factor = R::kHard ? Lanes<V>::whole() : Lanes<V>::factor(p.gamma);
    threshold = is_double(p) ? V(p.threshold) : V(float(p.threshold));
    for (int i = 0; i < R::kGaps + 1; i++) fill[i] = stage_filler<V>(p.scores[i].type);
  }
  Rows rows_of(int i, int64_t row) const {
    const Table& t = problem.scores[i];
    const int64_t bytes = bytes_of(t.type);
    return {static_cast<const char*>(t.data) + (pair * t.batch + row * t.row) * bytes, t.row, t.column};
  }
};

// A row gap's numbers, one a lane, and their inputs.
template <class R>
struct RowGaps {
  typename R::Max::Input input[2];
  SOFTDP_FN RowGaps(const Pair<R>& pair, int64_t row, int rows, Findings& found) {
    using V = typename R::V;
    if constexpr (R::kRows)
      for (int i = 0; i < R::kGaps; i++) {
        const Rows gap = pair.rows_of(i + 1, row);
        Stage<V> stage;  // its rows as the columns of one
        pair.fill[i + 1]({gap.data, 0, gap.row}, 1, 0, R::L, rows, pair.factor, stage, found);
        V lanes[R::L];
        for (int r = 0; r < R::L; r++) lanes[r] = stage.rows[0][r < rows ? r : rows - 1];
        input[i] = R::Max::input(Vec<V>::load(lanes), pair.factor);
      }
  }
};

// ---- forward -------------------------------------------------------------------------------------------

// A strip's row above and row below.
template <class R>
struct Edges {
  using Row = typename R::S::Row;
  bool has_above, has_below;
  Row above, below;
  bool rest_reached;  // where there is no row above: S(0, j)
};

template <class R, bool kEdge, bool kSave>
SOFTDP_FN void forward_steps(const Pair<R>& pair, Vec<typename R::V> (*tiles)[R::L], const RowGaps<R>& gaps,
                             const typename R::S::Few& above, int64_t t0, typename R::State& left,
                             typename R::State& diagonal, typename R::State& out,
                             typename R::Value* weights) {
  using Max = typename R::Max;
  using Value = typename R::Value;
  using S = typename R::S;
  const auto lane = lane_numbers<typename R::V>();
  for (int k = 0; k < R::L; k++) {
    const auto up = S::from_above(left, above, k);
    const auto match = Max::input(tiles[0][k], pair.factor);
    Weights<Value> w;
    typename R::State s;
    if constexpr (R::kLcs) {
      s = R::Recurrence::cell(tiles[0][k] >= Value(pair.threshold), match, diagonal, up, left, w);
    } else {
      const auto insert = R::kRows ? gaps.input[0] : Max::input(tiles[1][k], pair.factor);
      const auto del = R::kShared ? insert
                       : R::kRows ? gaps.input[1]
                                  : Max::input(tiles[R::kShared || R::kRows ? 0 : 2][k], pair.factor);
      s = R::Recurrence::cell(Max::moves(match, insert, del), diagonal, up, left, w);
    }
    if constexpr (kEdge) {
      using I = Integer<typename R::V>;
      const Vec<I> column = Vec<I>(I(t0 + k)) - lane;
      const auto inside = (column >= Vec<I>(I(0))) & (column < Vec<I>(I(pair.m)));
      s = Max::select(inside, s, left);
      w.insert = select(inside, w.insert, Value(typename R::V(0)));  // outside they may be NaN
      w.del = select(inside, w.del, Value(typename R::V(0)));
      w.match = select(inside, w.match, Value(typename R::V(1)));
    }
    if constexpr (kSave) pack_lanes<R::kLcs>(w, weights[2 * k], weights[2 * k + 1]);
    out = S::with_last_of(out, s);
    diagonal = up;
    left = s;
  }
}

// Rows row .. row + rows - 1. weights: two vectors a step, or null. True where the narrow arithmetic does not
// do. The last state of every row is in `left` then.
template <class R, bool kSave>
bool forward_strip(const Pair<R>& pair, int64_t row, int rows, const Edges<R>& edges, const Progress* before,
                   Progress* own, typename R::State& left, typename R::Value* weights, Findings& found) {
  using S = typename R::S;
  constexpr int L = R::L;
  constexpr bool kNarrow = sizeof(typename R::V) == 4;
  const int64_t m = pair.m;
  typename R::State diagonal = S::boundary(row == 0 || edges.rest_reached), out = diagonal;
  left = S::boundary(edges.rest_reached);
  const RowGaps<R> gaps(pair, row, rows, found);
  Rows from[3];
  for (int i = 0; i < R::kTiles; i++) from[i] = pair.rows_of(i, row);
  typename R::S::Few above;
  S::fill(edges.rest_reached, above);
  Stage<typename R::V> stages[R::kTiles];
  Vec<typename R::V> tiles[R::kTiles][L];
  const int64_t steps = (m + rows - 1 + L - 1) / L * L;
  for (int64_t t0 = 0; t0 < steps; t0 += L) {
    const int in_window = int(t0 % kWindow);
    if (in_window == 0) {
      const int count = steps - t0 < kWindow ? int(steps - t0) : kWindow;
      for (int i = 0; i < R::kTiles; i++)
        pair.fill[i](from[i], rows, t0, count, m, pair.factor, stages[i], found);
      if (kNarrow && (found.spoils || found.hides)) return true;
    }
    for (int i = 0; i < R::kTiles; i++) load_tile(stages[i], in_window, tiles[i]);
    for (int i = 0; i < R::kTiles; i++) {  // the next window is this strip's or, at its end, the next one's
      const Table& t = pair.problem.scores[i];
      const int bytes = bytes_of(t.type);
      const int64_t next = t0 - in_window + kWindow;
      const bool here = next < steps;
      const int64_t in_band = row % kBand;
      const int64_t rows_on = here ? 0 : kSave && in_band + L >= kBand ? -kBand - in_band : L;
      if (t.column == 1 && t.row != 0)
        prefetch_rows<L, 0>(reinterpret_cast<uintptr_t>(from[i].data) + uintptr_t(rows_on * t.row * bytes),
                            t.row * bytes, here ? next : 0, bytes, in_window);
    }
    if (edges.has_above && t0 < m) {
      const int count = m - t0 < L ? int(m - t0) : L;
      wait_for(before, t0 + count);
      S::load(edges.above, t0, count, above);
    }
    const bool edge = t0 < L - 1 || t0 + L > m;
    typename R::Value* const kept = kSave ? weights + 2 * t0 : nullptr;
    if (edge)
      forward_steps<R, true, kSave>(pair, tiles, gaps, above, t0, left, diagonal, out, kept);
    else
      forward_steps<R, false, kSave>(pair, tiles, gaps, above, t0, left, diagonal, out, kept);
    left = R::Max::normalized(left);
    diagonal = R::Max::normalized(diagonal);
    if (kNarrow && S::strays(left)) return true;
    if (edges.has_below) {  // the last row was at column t0 - (L - 1) at the first step
      const int64_t column = t0 - (L - 1);
      const Window in(column, m, L);
      if (in.end - in.begin == L)
        S::store_whole(out, edges.below, column);
      else if (in.end > in.begin)
        S::store(out, edges.below, column, in.begin, in.end);
      tell(own, column + in.end);
    }
  }
  return false;
}

// The memory of a band's thread: rows between its strips, and a strip's weights, two vectors a step.
template <class R>
struct Scratch {
  typename R::S::Row row;
  typename R::Value* weights;
  int64_t pitch;  // vectors from strip to strip
  Scratch(unsigned char* memory, int64_t columns) {
    memory = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    pitch = 2 * (columns + 2 * R::L);
    weights = reinterpret_cast<typename R::Value*>(memory);
    constexpr int kStrips = kBand / R::L;
    row = R::S::row_at(memory + kStrips * pitch * kVectorBytes, columns);
  }
};

// Sweeps a band, saving its weights or not. True where the narrow arithmetic does not do.
template <class R, bool kSave>
bool sweep_band(const Pair<R>& pair, const Band& band, const Scratch<R>& scratch, typename R::State& left,
                Findings& found) {
  const Problem& p = pair.problem;
  const int64_t row0 = band.index * kBand, M = p.pairs.columns;
  const int64_t end = row0 + kBand < pair.n ? row0 + kBand : pair.n;
  for (int64_t row = row0; row < end; row += R::L) {
    const bool first = row == row0, last = row + R::L >= end;
    Edges<R> edges{};
    edges.rest_reached = p.lcs || !p.anchored;
    edges.has_above = row > 0;
    edges.has_below = row + R::L < pair.n && !(kSave && last);
    if (row > 0)
      edges.above = first ? R::S::row_at(band.rows + (band.index - 1) * band.rows_pitch, M) : scratch.row;
    if (edges.has_below)
      edges.below = last ? R::S::row_at(band.rows + band.index * band.rows_pitch, M) : scratch.row;
    typename R::Value* const weights =
        kSave ? scratch.weights + (row - row0) / R::L * scratch.pitch : nullptr;
    const int rows = end - row < R::L ? int(end - row) : R::L;
    if (forward_strip<R, kSave>(pair, row, rows, edges, !kSave && first ? band.before : nullptr,
                                !kSave && last ? band.own : nullptr, left, weights, found))
      return true;
  }
  return false;
}

template <class R>
Outcome forward_band(const Problem& p, const Band& band) {
  const Pair<R> pair(p, band.pair);
  Outcome outcome;
  Findings found;
  typename R::State left;
  const Scratch<R> scratch(band.scratch, p.pairs.columns);
  outcome.escapes = sweep_band<R, false>(pair, band, scratch, left, found);
  outcome.spoiled = found.spoils;
  if ((band.index + 1) * kBand >= pair.n && !outcome.escapes)
    outcome.score = R::S::value(left, int((pair.n - 1) % R::L), pair.factor);
  if (outcome.escapes)
    wait_for(band.before, pair.m);  // who follows may write where the one before still does
  tell(band.own, pair.m);
  return outcome;
}

// ---- backward ------------------------------------------------------------------------------------------

// Takes the tiles of a gradient to where they belong.
template <class V>
struct Target {
  enum { kNone, kCells, kRows, kColumns, kTotal } kind = kNone;
  char* data = nullptr;  // of the pair
  Type type;
  int bytes;
  WriteStage<V> write = nullptr;
  Stage<V> stage;
  double* column_sums = nullptr;
  double* total = nullptr;
  double lanes[kLanes<V>];

  Target(const Sink& sink, const Pairs& pairs, int64_t pair, double* column_sums, double* total)
      : type(sink.type), bytes(bytes_of(sink.type)), column_sums(column_sums), total(total) {
    if (!sink.data) return;
    kind = sink.every_row ? sink.every_column ? kCells : kRows : sink.every_column ? kColumns : kTotal;
    data = static_cast<char*>(sink.data) +
           pair * (sink.every_row ? pairs.rows : 1) * (sink.every_column ? pairs.columns : 1) * bytes;
    write = stage_writer<V>(sink.type);
  }
  void begin_strip() {
    for (double& sum : lanes) sum = 0;
  }
  SOFTDP_FN void take(Vec<V>* tile, int step) {
    if (kind == kNone) return;
    if (kind == kCells || kind == kColumns) return store_tile(tile, step, stage);
    Vec<V> sum = tile[kLanes<V> - 1];
    for (int k = kLanes<V> - 2; k >= 0; k--) sum = sum + tile[k];
    for (int r = 0; r < kLanes<V>; r++) lanes[r] += double(sum.x[r]);
  }
  SOFTDP_FN void prefetch(const Pairs& pairs, int64_t row, int64_t t0, int in_window) const {
    const int64_t pitch = pairs.columns * bytes;
    prefetch_rows<kLanes<V>, 1>(reinterpret_cast<uintptr_t>(data) + uintptr_t(row * pitch), pitch, t0, bytes,
                                in_window);
  }
  void end_window(const Pairs& pairs, int64_t row, int rows, int64_t t0, int steps, int64_t m) {
    if (kind == kCells) write(stage, data + row * pairs.columns * bytes, pairs.columns, rows, t0, steps, m);
    if (kind == kColumns) add_columns(stage, column_sums, rows, t0, steps, m);
  }
  void end_strip(int64_t row, int rows) {
    for (int r = 0; kind == kTotal && r < rows; r++) *total += lanes[r];
    if (kind != kRows) return;
    with_type(type, [&](auto t) {
      for (int r = 0; r < rows; r++) put(reinterpret_cast<decltype(t)*>(data)[row + r], lanes[r]);
    });
  }
};

template <class V>
struct Flows {  // what a lane hands on between steps
  Vec<V> incoming, diagonal;
};

template <class R, bool kEdge>
SOFTDP_FN void backward_steps(const Pair<R>& pair, const typename R::Value* weights, int64_t t0,
                              const typename R::V* below, Flows<typename R::V>& flows, typename R::Value& up,
                              int64_t seed_step, int seed_lane, typename R::V seed,
                              Vec<typename R::V> (*tiles)[R::L]) {
  using Value = typename R::Value;
  using V = typename R::V;
  using I = Integer<V>;
  const auto lane = lane_numbers<V>();
  for (int k = R::L - 1; k >= 0; k--) {
    Value a = flows.incoming;
    if constexpr (kEdge) {
      if (t0 + k == seed_step) a = select(lane == Vec<I>(I(seed_lane)), Value(seed), a);
      const Vec<I> column = Vec<I>(I(t0 + k)) - lane;
      a = select((column >= Vec<I>(I(0))) & (column < Vec<I>(I(pair.m))), a, Value(V(0)));
    }
    const auto w = unpack_lanes<R::kLcs>(weights[2 * k], weights[2 * k + 1]);
    const auto given = R::Recurrence::adjoint(a, w);
    tiles[0][k] = R::kLcs && pair.problem.visits ? a : given.score;
    if constexpr (R::kGaps > 0) tiles[1][k] = R::kShared ? given.to_above + given.to_left : given.to_above;
    if constexpr (R::kGaps > 1) tiles[2][k] = given.to_left;
    const Value s = given.to_above + flows.diagonal;  // for the row above, a column to the left
    up = shifted_up(up, s.x[0]);
    flows.incoming = given.to_left + shifted_down(s, below[k]);
    flows.diagonal = given.to_diagonal;
  }
}

template <class R>
void backward_strip(const Pair<R>& pair, const Band& band, int64_t row, int rows, bool bottom,
                    const Progress* before, Progress* own, const typename R::Value* weights,
                    Target<typename R::V>* targets) {
  using V = typename R::V;
  constexpr int L = R::L;
  const int64_t m = pair.m, last = (m + rows - 1 + L - 1) / L * L - L;  // the last block's first step
  V* const flow = reinterpret_cast<V*>(band.flow);
  const V seed = V(number_of(pair.problem, pair.problem.grad_score, pair.pair));
  const int64_t seed_step = bottom ? m - 1 + rows - 1 : -1;
  bool sums_columns = false;  // whose order is that of the bands
  for (int i = 0; i <= R::kGaps; i++) sums_columns = sums_columns || targets[i].kind == Target<V>::kColumns;
  Flows<V> flows{Vec<V>(V(0)), Vec<V>(V(0))};
  Vec<V> up(V(0)), tiles[3][L];
  for (int i = 0; i <= R::kGaps; i++) targets[i].begin_strip();
  if (!bottom && last < m) {  // the last lane's first cell is its first step's
    wait_for(before, m - last);
    flows.incoming = shifted_down(flows.incoming, flow[last]);
  }
  for (int64_t t0 = last; t0 >= 0; t0 -= L) {
    // After step t the last lane takes what the row below hands to column t - L.
    alignas(kVectorBytes) V below[L] = {};
    if (!bottom) {
      const int64_t column = t0 - L;
      const Window in(column, m, L);
      if (in.end > in.begin) {
        wait_for(before, m - (column + in.begin));
        for (int k = in.begin; k < in.end; k++) below[k] = flow[column + k];
      }
    }
    const bool edge = t0 < L - 1 || t0 + L > m || (seed_step >= t0 && seed_step < t0 + L);
    if (edge)
      backward_steps<R, true>(pair, weights + 2 * t0, t0, below, flows, up, seed_step, rows - 1, seed, tiles);
    else
      backward_steps<R, false>(pair, weights + 2 * t0, t0, below, flows, up, seed_step, rows - 1, seed,
                               tiles);
    const int in_window = int(t0 % kWindow);
    for (int i = 0; i <= R::kGaps; i++) targets[i].take(tiles[i], in_window);
    for (int i = 0; i <= R::kGaps; i++) {
      const int64_t next = t0 - in_window - kWindow;
      if (targets[i].kind == Target<V>::kCells)
        targets[i].prefetch(pair.problem.pairs, next >= 0 ? row : row - L,
                            next >= 0 ? next : last - last % kWindow, in_window);
    }
    if (in_window == 0) {
      const int steps = last + L - t0 < kWindow ? int(last + L - t0) : kWindow;
      for (int i = 0; i <= R::kGaps; i++) targets[i].end_window(pair.problem.pairs, row, rows, t0, steps, m);
    }
    // What the first row hands up, from column t0 on.
    if (t0 + L <= m)
      up.store(flow + t0);
    else if (t0 < m)
      store_part(up, flow, t0, 0, int(m - t0));
    if (0 < t0 && t0 < m && (in_window == 0 || !sums_columns))
      tell(own, m - t0);  // the end: by the band, after its sums
  }
  for (int i = 0; i <= R::kGaps; i++) targets[i].end_strip(row, rows);
}

// False where the scores are not those that were swept.
template <class R>
bool backward_band(const Problem& p, const Band& band) {
  using V = typename R::V;
  const Pair<R> pair(p, band.pair);
  const Scratch<R> scratch(band.scratch, p.pairs.columns);
  Findings found;
  typename R::State left;
  if (sweep_band<R, true>(pair, band, scratch, left, found)) {
    wait_for(band.before, pair.m);
    tell(band.own, pair.m);
    return false;
  }
  Target<V> targets[3] = {
      {p.gradients[0], p.pairs, band.pair, nullptr, nullptr},
      {p.gradients[1], p.pairs, band.pair, band.column_sums[1], band.totals ? band.totals + 1 : nullptr},
      {p.gradients[2], p.pairs, band.pair, band.column_sums[2], band.totals ? band.totals + 2 : nullptr}};
  const int64_t row0 = band.index * kBand, end = row0 + kBand < pair.n ? row0 + kBand : pair.n;
  for (int64_t row = row0 + (end - 1 - row0) / R::L * R::L; row >= row0; row -= R::L) {
    const int rows = end - row < R::L ? int(end - row) : R::L;
    const bool lowest = row + R::L >= end, highest = row == row0;
    backward_strip<R>(pair, band, row, rows, row + rows == pair.n, lowest ? band.before : nullptr,
                      highest ? band.own : nullptr, scratch.weights + (row - row0) / R::L * scratch.pitch,
                      targets);
  }
  tell(band.own, pair.m);
  return true;
}

}  // namespace softdp::cpu::SOFTDP_ISA
