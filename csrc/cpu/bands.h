// Sweeps of one pair, band by band. Lanes are rows: a strip of L rows is swept with lane r at column t - r at
// step t, so that
//
//   S(i, j-1)    is the lane's own last state
//   S(i-1, j)    comes from the lane above, or, for the first, from the row above the strip
//   S(i-1, j-1)  is what came from above at the last step
//
// A strip takes `pitch` steps, at least 2 L of them, and a lane that is done with its row goes on with that
// of the next strip: no lane waits but at a band's ends. What it does in columns from m on, in rows from n on
// and before its first row is of no consequence, and a number: its scores are 0.
//
// L steps are a block, and a strip starts with one. Its scores come as tiles; states are normalised at its
// end, and where they enter a strip from the row above: a chain of moves that goes straight down can leave a
// strip before its block ends. In between a mantissa grows by 2^2.6 a step at most (three of them, and two
// inputs of at most 2^1/2).
#pragma once
#include <algorithm>
#include <cmath>

#include "tiles.h"
#include "weights.h"

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
    return {Value(V(1)), typename A::Exponent(reached ? E(0) : E(A::R::kNothing))};
  }
  static SOFTDP_FN void put(const State& s, Few& few) { s.p.store(few.p), s.e.store(few.e); }
  static SOFTDP_FN State load(const Row& row, int64_t column, int count) {
    State s{load_part(row.p, column, 0, count), load_part(row.e, column, 0, count)};
    if (count < L)  // no state is 0
      s.p = select(lane_numbers<V>() < Vec<Integer<V>>(Integer<V>(count)), s.p, Value(V(1)));
    return s;
  }
  static SOFTDP_FN void load(const Row& row, int64_t column, int count, Few& few) {
    put(SmoothMax<A>::normalized(load(row, column, count)), few);
  }
  // States with these values; 0 beyond.
  static State of(const double* values, int count, const typename A::Factor& f, Findings& found) {
    constexpr int H = kLanes<double>;
    const Vec<double> one{1.0}, dead{double(A::R::kDead)}, near{double(A::R::kNear)}, round{softdp::kRound},
        nothing{double(A::R::kNothing)}, infinity{A::kInfinity};
    Vec<double> p[L / H], e[L / H];
    for (int h = 0; h < L / H; h++) {
      const Vec<double> x = load_part(values, h * H, 0, clamped(count - h * H, 0, H)) / Vec<double>(f.unit);
      found.spoils = found.spoils || any(~(x <= -dead));
      found.hides = found.hides || any((x > -infinity) & ((x > near) | (x < -near)));
      const auto live = (x > dead) & (x <= -dead);
      const Vec<double> whole = (x + round) - round;
      p[h] = select(live, exp2_fraction(x - whole), one), e[h] = select(live, whole, nothing);
    }
    return {Value(converted<typename Value::Raw>(p)),
            typename A::Exponent(converted<typename A::Exponent::Raw>(e))};
  }
  static SOFTDP_FN void prefetch(const Row& row, int64_t column) {
    SOFTDP_ISA::prefetch(row.p, column), SOFTDP_ISA::prefetch(row.e, column);
  }
  static SOFTDP_FN void store_last(const State& s, const Row& row, int64_t column) {
    SOFTDP_ISA::store_last(s.p, row.p, column), SOFTDP_ISA::store_last(s.e, row.e, column);
  }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    return {shifted_up(s.p, above.p[k]), shifted_up(s.e, above.e[k])};
  }
  static SOFTDP_FN bool strays(const State& s) { return any(A::strays(s.e)); }
  static double value(const State& s, int lane, const typename A::Factor& f) {
    const E e = s.e.x[lane];
    return e < A::R::kDead ? -A::kInfinity : (std::log2(double(s.p.x[lane])) + double(e)) * f.unit;
  }
  // Of all lanes.
  static void values(const State& s, const typename A::Factor& f, double* to) {
    constexpr int H = kLanes<double>;
    const Vec<double> dead{double(A::R::kDead)}, nothing{-A::kInfinity};
    Vec<double> p[L / H], e[L / H];
    widen(s.p.x, p), widen(s.e.x, e);
    for (int h = 0; h < L / H; h++)
      select(e[h] < dead, nothing, (log2_of(p[h]) + e[h]) * Vec<double>(f.unit)).store(to + h * H);
  }

 private:
  template <class Raw>
  static SOFTDP_FN Raw converted(const Vec<double>* from) {
    typename RawVector<double, L>::Type wide;
    std::memcpy(&wide, from, sizeof wide);
    return __builtin_convertvector(wide, Raw);
  }
  template <class Raw>
  static SOFTDP_FN void widen(Raw from, Vec<double>* to) {
    const auto wide = __builtin_convertvector(from, typename RawVector<double, L>::Type);
    std::memcpy(to, &wide, sizeof wide);
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
  static SOFTDP_FN void put(const State& s, Few& few) { s.store(few.x); }
  static SOFTDP_FN State load(Row row, int64_t column, int count) { return load_part(row, column, 0, count); }
  static SOFTDP_FN void load(Row row, int64_t column, int count, Few& few) {
    put(load(row, column, count), few);
  }
  static State of(const double* values, int count, const typename A::Factor&, Findings& found) {
    State s(0.0);
    for (int r = 0; r < count; r++) {
      found.spoils = found.spoils || !(values[r] < A::kInfinity);
      s.x[r] = values[r];
    }
    return s;
  }
  static SOFTDP_FN void prefetch(Row row, int64_t column) { SOFTDP_ISA::prefetch(row, column); }
  static SOFTDP_FN void store_last(const State& s, Row row, int64_t column) {
    SOFTDP_ISA::store_last(s, row, column);
  }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    return shifted_up(s, above.x[k]);
  }
  static SOFTDP_FN bool strays(const State&) { return false; }
  static double value(const State& s, int lane, const typename A::Factor&) { return s.x[lane]; }
  static void values(const State& s, const typename A::Factor&, double* to) { s.store(to); }
};

// ---- what is swept -------------------------------------------------------------------------------------

// kRows: both gaps are one number a row. kPacks: the weights are saved in four bytes, not swept again.
template <class Max_, bool kLcs_, bool kShared_, bool kRows_, bool kPacks_>
struct Recipe {
  using Max = Max_;
  using A = typename Max::Arithmetic;
  using Value = typename Max::Value;
  using V = typename Value::Element;
  using S = States<Max>;
  using State = typename Max::State;
  using Recurrence = std::conditional_t<kLcs_, Lcs<Max>, Fsd<Max>>;
  using Keeps = Kept<kLcs_, V, kPacks_>;
  static constexpr int L = kLanes<V>;
  static constexpr bool kLcs = kLcs_, kShared = kShared_, kRows = kRows_;
  static constexpr bool kHard = std::is_same_v<Max, HardMax<A>>;
  static constexpr int kTiles = kLcs || kRows ? 1 : kShared ? 2 : 3;
  static constexpr int kGaps = kLcs ? 0 : kShared ? 1 : 2;
};

// One pair's tables and numbers.
template <class R>
struct Pair {
  using V = typename R::V;
  using Factor = typename R::A::Factor;
  static constexpr int L = R::L;
  const Problem& problem;
  int64_t pair, n, m, pitch;
  Factor factor;
  V threshold;
  Cells cells[3];
  LoadTile<V> load[3];
  Edges edges;

  Pair(const Problem& p, int64_t pair) : problem(p), pair(pair), n(p.pairs.n(pair)), m(p.pairs.m(pair)) {
    pitch = pitch_of(m, L);
    factor = R::kHard ? R::A::whole() : R::A::factor(p.gamma);
    factor.sign = V(p.costs ? -1 : 1);
    threshold = is_double(p) ? V(p.threshold) : V(float(p.threshold));
    for (int i = 0; i <= R::kGaps; i++) {
      const Table& t = p.scores[i];
      cells[i] = {static_cast<const char*>(t.data) + pair * t.batch * bytes_of(t.type), t.row, t.column};
      load[i] = tile_loader<V>(t.type);
    }
    const auto own = [](auto* all, int64_t at) { return all ? all + at : nullptr; };
    const Edges& e = p.edges;
    const int64_t row = pair * p.pairs.columns, column = pair * p.pairs.rows;
    edges = {own(e.above, row),
             own(e.left, column),
             own(e.corner, pair),
             own(e.last_row, row),
             own(e.last_column, column),
             own(e.by_last_row, row),
             own(e.by_last_column, column),
             own(e.by_above, row),
             own(e.by_left, column),
             own(e.by_corner, pair)};
  }
};

// How the steps of a block differ from others'.
struct Special {
  static constexpr int kNever = 1000;
  int start = kNever;  // the lane that starts a row at step 0, the next one at step 1, ...
  int last = kNever;   // the step of the pair's last cell
  // Which lanes' weights are kept: of those that have started the strip, the others' being left alone, or 0
  // where they have been idle; or of the others.
  enum Keep { kAll, kStarted, kStartedAlone, kOthers } keep = kAll;
  bool edges = false;  // whether cells of the last row or column are among them that give or take something
  bool at_all() const { return start != kNever || last != kNever || edges; }
};

// The strips of a band, and where in them a block is.
template <class R>
struct Strips {
  static constexpr int L = R::L;
  const Pair<R>& pair;
  int64_t begin, end, count;  // rows; strips

  Strips(const Pair<R>& pair, const Band& band)
      : pair(pair), begin(band.begin), end(band.end), count(bands_of(band.end - band.begin, L)) {}
  int rows(int64_t strip) const { return clamped(end - begin - strip * L, 0, L); }
  Place at(int64_t strip, int64_t column) const {
    const int rows_above = column == 0 && strip > 0 ? rows(strip - 1) : 0;
    return {begin + strip * L, column, rows(strip), rows_above, pair.m, pair.pitch};
  }
  // Whether lanes are still at work when all strips are through.
  bool has_tail() const { return runs_over(rows(count - 1), pair.m, L); }
  // Steps of the pair's sweep at which the block begins.
  int64_t step(int64_t strip, int64_t column) const { return (begin / L + strip) * pair.pitch + column; }
  int last_lane() const { return rows(count - 1) - 1; }
  Special special(int64_t strip, int64_t column) const {
    Special s;
    if (column == 0) s.start = 0;
    const int64_t last = (count - 1 - strip) * pair.pitch + pair.m - 1 + last_lane() - column;
    if (end == pair.n && 0 <= last && last < L) s.last = int(last);
    const Edges& e = pair.edges;
    const bool row = (e.last_row && !row_is_kept()) || e.by_last_row,
               right = (e.last_column && !column_is_kept()) || e.by_last_column;
    s.edges = (row && end == pair.n && strip >= count - 1) ||
              (right && (column + L >= pair.m || column + pair.pitch < pair.m - 1 + L));
    return s;
  }
  // Whether the states of the last row are, at the end, those of the row below the band.
  bool row_is_kept() const { return rows(count - 1) == L; }
  // Whether a lane that turns comes from its row's last column, and all of them turn.
  bool column_is_kept() const { return pair.pitch == pair.m && has_tail(); }
  // Of a step, `column` of the strip: in_column(lane, row) for lanes in the last column, and
  // in_row(lane, column) for the one in the pair's last row.
  template <class InColumn, class InRow>
  SOFTDP_FN void over_edges(int64_t strip, int64_t column, InColumn in_column, InRow in_row) const {
    for (int64_t t = strip > 0 ? strip - 1 : 0; t <= strip && t < count; t++) {  // where lanes may still be
      const int64_t lane = column + (strip - t) * pair.pitch - (pair.m - 1);
      if (0 <= lane && lane < rows(t)) in_column(int(lane), begin + t * L + lane);
      const int64_t at = column + (strip - t) * pair.pitch - last_lane();
      if (end == pair.n && t == count - 1 && 0 <= at && at < pair.m) in_row(last_lane(), at);
    }
  }
  // Takes the states of a strip's last column, of lanes that have turned, there.
  void give_column(int64_t strip, const typename R::State& ended) const {
    alignas(kVectorBytes) double values[L];
    R::S::values(ended, pair.factor, values);
    std::copy_n(values, rows(strip), pair.edges.last_column + begin + strip * L);
  }
  // The same of the last row.
  void give_row(const typename R::S::Row& row) const {
    for (int64_t j = 0; j < pair.m; j += L) {
      const int few = clamped(pair.m - j, 0, L);
      alignas(kVectorBytes) double values[L];
      R::S::values(R::S::load(row, j, few), pair.factor, values);
      std::copy_n(values, few, pair.edges.last_row + j);
    }
  }
  // Takes the states of a step to the last row and column.
  void give_edges(int64_t strip, int64_t column, const typename R::State& s) const {
    const auto give = [&](double* to) {
      return [&s, to, this](int lane, int64_t at) {
        if (to) to[at] = R::S::value(s, lane, pair.factor);
      };
    };
    over_edges(strip, column, give(column_is_kept() ? nullptr : pair.edges.last_column),
               give(row_is_kept() ? nullptr : pair.edges.last_row));
  }
  // The gradients by the states of a step that come from outside.
  typename R::Value by_edges(int64_t strip, int64_t column) const {
    using V = typename R::V;
    typename R::Value sum(V(0));
    const auto add = [&](const double* from) {
      return [&sum, from](int lane, int64_t at) {
        if (from) sum.x[lane] += V(from[at]);
      };
    };
    over_edges(strip, column, add(pair.edges.by_last_column), add(pair.edges.by_last_row));
    return sum;
  }
  // What a lane hands to the left of its row's first cell.
  void take_left(int64_t strip, int lane, double to_left, double to_diagonal) const {
    if (lane >= rows(strip)) return;
    const int64_t row = begin + strip * L + lane;
    const Edges& e = pair.edges;
    if (e.by_left) e.by_left[row] += to_left;
    if (e.by_left && row > 0) e.by_left[row - 1] += to_diagonal;
    if (e.by_corner && row == 0) *e.by_corner += to_diagonal;
  }
  // S to the left of a strip and, of each row, the one above that.
  struct Left {
    typename R::State beside, above;
  };
  Left left(int64_t strip, Findings& found) const {
    using S = typename R::S;
    const auto rest = S::boundary(is_free(pair.problem));
    const auto first = lane_numbers<typename R::V>() == Vec<Integer<typename R::V>>(0);
    const int64_t row = begin + strip * L;
    const double zero = 0;
    const double* const corner = pair.edges.corner ? pair.edges.corner : &zero;
    if (!pair.edges.left) {
      const auto above = row > 0 ? rest : S::of(corner, 1, pair.factor, found);
      return {rest, R::Max::select(first, above, rest)};
    }
    const auto beside = S::of(pair.edges.left + row, rows(strip), pair.factor, found);
    double values[L] = {row > 0 ? pair.edges.left[row - 1] : *corner};
    for (int r = 1; r < rows(strip); r++) values[r] = pair.edges.left[row + r - 1];
    return {beside, S::of(values, rows(strip), pair.factor, found)};
  }
};

// A row gap's numbers, one a lane, and their inputs.
template <class R>
struct RowGaps {
  typename R::Max::Input input[2];
  void load(const Pair<R>& pair, int64_t row, int rows, Findings& found) {
    using V = typename R::V;
    if constexpr (R::kRows)
      for (int i = 0; i < R::kGaps; i++) {
        const Cells& gap = pair.cells[i + 1];
        Vec<V> scores;  // its rows as the columns of one
        with_type(pair.problem.scores[i + 1].type, [&](auto t) {
          scores =
              load_piece<V, decltype(t)>({gap.data, 0, gap.row}, 0, row, 0, rows) * Vec<V>(pair.factor.sign);
        });
        look_at(&scores, 1, pair.factor, found);
        input[i] = R::Max::input(scores, pair.factor);
      }
  }
};

// ---- forward -------------------------------------------------------------------------------------------

// What goes on from step to step.
template <class R>
struct Front {
  typename R::State left, diagonal, last;  // last: when the pair's last cell is done
  typename R::State ended;                 // of the lanes that have turned, before they did
};
// Where the last lane's states go: at step k to column first + k, if that is within the columns; before step
// `turn` of a special block to the strip above.
template <class R>
struct Outgoing {
  typename R::S::Row row, row_above;
  int64_t first, first_above;
  int turn;
};

// A score as an input of the cell; kFinite: it is known to be within the range.
template <class R, bool kFinite>
SOFTDP_FN typename R::Max::Input input_of(const typename R::Value& score,
                                          const typename Pair<R>::Factor& factor) {
  if constexpr (kFinite && !R::kHard) {
    typename R::Max::Input input;
    R::A::split_finite(score, factor, input.p, input.e);
    return input;
  } else {
    return R::Max::input(score, factor);
  }
}

template <class R, bool kSpecial, bool kKeep>
SOFTDP_FN void forward_steps(const Strips<R>& strips, int64_t strip, const Vec<typename R::V> (*tiles)[R::L],
                             const RowGaps<R>* gaps, const typename R::S::Few& above, const Special& special,
                             const typename Strips<R>::Left& edge, const Place& at,
                             const Outgoing<R>& outgoing, Front<R>& front, typename R::Keeps::Element* kept) {
  using Max = typename R::Max;
  using Value = typename R::Value;
  using V = typename R::V;
  using S = typename R::S;
  using I = Integer<V>;
  const Pair<R>& pair = strips.pair;
  const auto lane = lane_numbers<V>();
  auto left = front.left, diagonal = front.diagonal;
  const int64_t antidiagonal = at.row + at.column, antidiagonal_above = at.row - R::L + at.pitch;
  float addends[R::L];
  if constexpr (kKeep && R::Keeps::kPacks)
    for (int k = 0; k < R::L; k++) addends[k] = addend_of(antidiagonal + k);
#pragma GCC unroll 1
  for (int k = 0; k < R::L; k++) {
    const auto up = S::from_above(left, above, k);
    auto gap0 = gaps[0].input[0], gap1 = gaps[0].input[1];
    if constexpr (kSpecial) {
      const Vec<I> starting(I(special.start + k));
      const auto starts = lane == starting;
      if (pair.edges.last_column) front.ended = Max::select(starts, left, front.ended);
      left = Max::select(starts, edge.beside, left);
      diagonal = Max::select(starts, edge.above, diagonal);
      if constexpr (R::kRows) {  // those that have not yet started are in the strip above
        const auto earlier = lane > starting;
        gap0 = Max::select(earlier, gaps[1].input[0], gap0);
        if constexpr (!R::kShared) gap1 = Max::select(earlier, gaps[1].input[1], gap1);
      }
    }
    const auto match = input_of<R, !kSpecial>(tiles[0][k], pair.factor);
    Weights<Value> w;
    typename R::State s;
    if constexpr (R::kLcs) {
      s = R::Recurrence::cell(tiles[0][k] >= Value(pair.threshold), match, diagonal, up, left, w);
    } else {
      const auto insert = R::kRows ? gap0 : input_of<R, !kSpecial>(tiles[1][k], pair.factor);
      const auto del = R::kShared ? insert
                       : R::kRows
                           ? gap1
                           : input_of<R, !kSpecial>(tiles[R::kShared || R::kRows ? 0 : 2][k], pair.factor);
      s = R::Recurrence::cell(Max::moves(match, insert, del), diagonal, up, left, w);
    }
    if constexpr (kKeep) {
      Rounding rounding;
      if constexpr (R::Keeps::kPacks) {
        rounding = Rounding(addends[k], oddness_of(antidiagonal + k));
        if constexpr (kSpecial)  // of lanes that have not yet turned
          rounding = select(lane > Words(special.start + k), Rounding(antidiagonal_above + k), rounding);
      }
      const auto weights = R::Keeps::keep(w, rounding);
      auto* const to = kept + k * R::Keeps::kStep;
      if (!kSpecial || special.keep == Special::kAll)
        R::Keeps::store(weights, to);
      else if (special.keep == Special::kOthers)
        R::Keeps::store_part(weights, to, k + 1, R::L);
      else if (special.keep == Special::kStarted)
        R::Keeps::store_part(weights, to, 0, k + 1);
      else
        R::Keeps::store(R::Keeps::first(weights, k + 1), to);
    }
    if constexpr (kSpecial) {
      if (k == special.last) front.last = s;
      if (special.edges) strips.give_edges(strip, at.column + k, s);
      const bool turned = k >= outgoing.turn;
      const int64_t column = (turned ? outgoing.first : outgoing.first_above) + k;
      if (0 <= column && column < pair.m)
        S::store_last(s, turned ? outgoing.row : outgoing.row_above, column);
    } else {
      S::store_last(s, outgoing.row, outgoing.first + k);
    }
    diagonal = up;
    left = s;
  }
  front.left = Max::normalized(left), front.diagonal = Max::normalized(diagonal);
}

// The rows of states that a band meets; what it need not have is not looked at.
template <class R>
struct StateRows {
  typename R::S::Row above, inner, below;  // the band, between its strips, and of its last row
};

// Sweeps a band, and keeps its weights from `kept` on or not. True where the arithmetic's range does not do.
template <class R, bool kKeep>
bool forward_sweep(const Strips<R>& strips, const StateRows<R>& rows, const Progress* before, Progress* own,
                   typename R::Keeps::Element* kept, Front<R>& front, Findings& found) {
  using S = typename R::S;
  constexpr int L = R::L;
  constexpr bool kNarrow = sizeof(typename R::V) == 4;
  const Pair<R>& pair = strips.pair;
  const int64_t m = pair.m, count = strips.count;
  const typename R::State rest = S::boundary(is_free(pair.problem));
  front = {rest, rest, rest, rest};
  typename Strips<R>::Left edge{rest, rest};
  RowGaps<R> gaps[2];
  gaps[0].load(pair, strips.begin, strips.rows(0), found);
  typename S::Few above;
  S::put(rest, above);
  Vec<typename R::V> tiles[R::kTiles][L];
  for (int64_t strip = 0; strip < count + strips.has_tail(); strip++) {
    const bool through = strip == count;
    for (int64_t column = 0; column < (through ? L : pair.pitch); column += L) {
      const Place at = strips.at(strip, column);
      bool odd = false;  // some score is infinite, or past the range
      for (int i = 0; i < R::kTiles; i++)
        odd = pair.load[i](pair.cells[i], at, pair.factor, tiles[i], found) || odd;
      if (column == 0) {
        gaps[1] = gaps[0];
        if (strip > 0 && !through) gaps[0].load(pair, at.row, at.rows, found);
        if (!through) edge = strips.left(strip, found);
      }
      const int few = clamped(m - column, 0, L);
      if (through || few == 0) {
        S::put(rest, above);
      } else if (at.row == 0) {
        if (pair.edges.above) S::put(S::of(pair.edges.above + column, few, pair.factor, found), above);
      } else {
        const auto& row = strip == 0 ? rows.above : rows.inner;
        if (strip == 0) wait_for(before, column + few);
        S::load(row, column, few, above);
        if (before && strip == 0) S::prefetch(row, column + 4 * L);  // from another thread's cache
      }
      if (!R::kHard && (found.spoils || (kNarrow && found.hides))) return true;
      // In a strip's first block the last lane is still in the strip above, but for the last step.
      const auto& row = strip < count - 1 ? rows.inner : rows.below;
      const Outgoing<R> outgoing{row, strip < count ? rows.inner : rows.below, through ? m : column - (L - 1),
                                 strip > 0 ? pair.pitch - (L - 1) : m, column == 0 ? L - 1 : 0};
      const int64_t step = strip * pair.pitch + column;
      auto* const to = kKeep ? kept + step * R::Keeps::kStep : nullptr;
      Special special = strips.special(strip, column);
      if (special.at_all() || column >= m || odd) {
        // Where the lanes of the strip above run over, a strip's first steps are partly that one's: between
        // two bands each keeps its own.
        if (column == 0 && !runs_over(L, m, L))
          special.keep = Special::kStartedAlone;
        else if (column == 0 && strip == 0 && at.row > 0)
          special.keep = Special::kStarted;
        else if (through && strips.end < pair.n)
          special.keep = Special::kOthers;
        forward_steps<R, true, kKeep>(strips, strip, tiles, gaps, above, special, edge, at, outgoing, front,
                                      to);
      } else {
        forward_steps<R, false, kKeep>(strips, strip, tiles, gaps, above, {}, edge, at, outgoing, front, to);
      }
      if (S::strays(front.left)) return true;
      if (pair.edges.last_column && column == 0 && strip > 0 && strips.column_is_kept())
        strips.give_column(strip - 1, front.ended);
      if (strip == count - 1) tell(own, column < m ? column + 1 : m);
    }
  }
  if (pair.edges.last_row && strips.end == pair.n && strips.row_is_kept()) strips.give_row(rows.below);
  return false;
}

// The memory of a band's thread.
template <class R>
struct Scratch {
  typename R::S::Row row;            // between the band's strips
  typename R::Keeps::Element* kept;  // of a band that is swept again
  Scratch(unsigned char* memory, int64_t columns) {
    memory = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    row = R::S::row_at(memory, columns);
    kept = reinterpret_cast<typename R::Keeps::Element*>(memory + (columns * kStateBytes + 63) / 64 * 64);
  }
};
template <class R>
StateRows<R> state_rows(const Pair<R>& pair, const Band& band, const Scratch<R>& scratch) {
  const int64_t columns = pair.problem.pairs.columns;
  const auto row_at = [&](unsigned char* at) { return at ? R::S::row_at(at, columns) : scratch.row; };
  return {row_at(band.above), scratch.row, row_at(band.below)};
}
// Where the band's weights lie in what is saved of its pair.
template <class R>
typename R::Keeps::Element* saved_weights(const Strips<R>& strips, const Band& band) {
  return reinterpret_cast<typename R::Keeps::Element*>(band.weights) + strips.step(0, 0) * R::Keeps::kStep;
}

template <class R>
Outcome forward_band(const Problem& p, const Band& band) {
  const Pair<R> pair(p, band.pair);
  const Strips<R> strips(pair, band);
  const Scratch<R> scratch(band.scratch, p.pairs.columns);
  const StateRows<R> rows = state_rows(pair, band, scratch);
  Outcome outcome;
  Findings found;
  Front<R> front;
  constexpr bool kKeep = R::Keeps::kPacks;
  typename R::Keeps::Element* const kept = kKeep ? saved_weights(strips, band) : nullptr;
  outcome.escapes = forward_sweep<R, kKeep>(strips, rows, band.before, band.own, kept, front, found);
  outcome.spoiled = found.spoils;
  outcome.hidden = found.hides;
  if (band.end == pair.n && !outcome.escapes) {
    outcome.score = R::S::value(R::Max::normalized(front.last), strips.last_lane(), pair.factor);
    // Of a piece, whoever joins the pieces looks at the sum.
    outcome.escapes = outcome.coarse =
        sizeof(typename R::V) == 4 && !p.edges.any() && is_coarse(p.gamma, outcome.score);
  }
  if (outcome.escapes)
    wait_for(band.before, pair.m);  // who follows may write where the one before still does
  tell(band.own, pair.m);
  return outcome;
}

// ---- backward ------------------------------------------------------------------------------------------

// Takes the tiles of a gradient to where they belong.
template <class V>
struct Target {
  static constexpr int L = kLanes<V>;
  enum { kNone, kCells, kRows, kColumns, kTotal } kind = kNone;
  char* data = nullptr;  // of the pair
  Type type;
  int64_t columns;
  StoreTile<V> store = nullptr;
  double* column_sums = nullptr;
  double* total = nullptr;
  double lanes[L] = {};  // sums of the lanes' rows

  Target(const Sink& sink, const Pairs& pairs, int64_t pair, double* column_sums, double* total)
      : type(sink.type), columns(pairs.columns), column_sums(column_sums), total(total) {
    if (!sink.data) return;
    kind = sink.every_row ? sink.every_column ? kCells : kRows : sink.every_column ? kColumns : kTotal;
    data = static_cast<char*>(sink.data) + pair * (sink.every_row ? pairs.rows : 1) *
                                               (sink.every_column ? pairs.columns : 1) * bytes_of(type);
    store = tile_storer<V>(type);
  }
  // A tile that holds zeros adds nothing to sums, and is written within a strip's steps.
  SOFTDP_FN void take_zeros(const Place& at) {
    if (kind == kCells) store(nullptr, data, columns, at);
  }
  SOFTDP_FN void take(const Vec<V>* tile, const Place& at) {
    if (kind == kNone) return;
    if (kind == kCells) return store(tile, data, columns, at);
    if (kind == kColumns) return add_columns(tile, column_sums, at);
    if (at.column > 0) return add_rows([&](int k) { return tile[k]; });
    using I = Integer<V>;
    const auto lane = lane_numbers<V>();
    const Vec<V> zero(V(0));
    add_rows([&](int k) { return select(lane > Vec<I>(I(k)), zero, tile[k]); });
    end_rows(at.row, at.rows);
    add_rows([&](int k) { return select(lane > Vec<I>(I(k)), tile[k], zero); });
  }

 private:
  template <class Part>
  SOFTDP_FN void add_rows(Part part) {
    Vec<V> sum = part(L - 1);
    for (int k = L - 2; k >= 0; k--) sum = sum + part(k);
    for (int r = 0; r < L; r++) lanes[r] += double(sum.x[r]);
  }
  void end_rows(int64_t row, int rows) {
    for (int r = 0; kind == kTotal && r < rows; r++) *total += lanes[r];
    if (kind == kRows)
      with_type(type, [&](auto t) {
        for (int r = 0; r < rows; r++) cpu::put(reinterpret_cast<decltype(t)*>(data)[row + r], lanes[r]);
      });
    for (double& sum : lanes) sum = 0;
  }
};

template <class V>
struct Flows {  // what a lane hands on between steps
  Vec<V> incoming, diagonal;
};

// Whether what comes to a block's steps is negligible.
template <class V>
SOFTDP_FN bool are_idle(const Flows<V>& flows, const V* below, double negligible) {
  const Vec<V> most{V(negligible)}, least{V(-negligible)};
  typename Vec<V>::Mask some{};  // NaN counts
  for (const Vec<V>& x : {flows.incoming, flows.diagonal, Vec<V>::load(below)})
    some |= ~((x <= most) & (x >= least));
  return !any(some);
}

template <class R, bool kSpecial>
SOFTDP_FN void backward_steps(const Strips<R>& strips, int64_t strip, int64_t column,
                              const typename R::Keeps::Element* kept, const typename R::V* below,
                              const Special& special, typename R::V seed, typename R::V* flow, int count,
                              Flows<typename R::V>& flows, Vec<typename R::V> (*tiles)[R::L]) {
  using Value = typename R::Value;
  using V = typename R::V;
  using I = Integer<V>;
  const auto lane = lane_numbers<V>();
  const Value zero(V(0));
  const bool takes_left = strips.pair.edges.by_left || strips.pair.edges.by_corner;
  Value incoming = flows.incoming, diagonal = flows.diagonal;
#pragma GCC unroll 1
  for (int k = R::L - 1; k >= 0; k--) {
    Value a = incoming;
    if constexpr (kSpecial) {
      if (special.edges) a = a + strips.by_edges(strip, column + k);
      if (k == special.last) a = select(lane == Vec<I>(I(strips.last_lane())), a + Value(seed), a);
    }
    const auto kept_weights = R::Keeps::load(kept + k * R::Keeps::kStep);
    prefetch(kept, (k - 3 * R::L) * R::Keeps::kStep);
    auto given = adjoint_of<R>(a, kept_weights);
    tiles[0][k] = R::kLcs && strips.pair.problem.visits ? a : given.score;
    if constexpr (R::kGaps > 0) tiles[1][k] = R::kShared ? given.to_above + given.to_left : given.to_above;
    if constexpr (R::kGaps > 1) tiles[2][k] = given.to_left;
    const Value s = with_above<R>(a, kept_weights, diagonal);  // for the row above, a column to the left
    if (!kSpecial || k < count) flow[k] = s.x[0];
    if constexpr (kSpecial) {  // what is left of a row's first cell is the boundary
      const auto starts = lane == Vec<I>(I(special.start + k));
      if (takes_left && special.start == 0 && strip < strips.count)
        strips.take_left(strip, k, double(given.to_left.x[k]), double(given.to_diagonal.x[k]));
      given.to_left = select(starts, zero, given.to_left);
      given.to_diagonal = select(starts, zero, given.to_diagonal);
    }
    incoming = given.to_left + shifted_down(s, below[k]);
    diagonal = given.to_diagonal;
  }
  flows = {incoming, diagonal};
}

template <class R>
void backward_sweep(const Strips<R>& strips, const Band& band, const typename R::Keeps::Element* kept,
                    Target<typename R::V>* targets) {
  using V = typename R::V;
  constexpr int L = R::L;
  const Pair<R>& pair = strips.pair;
  const int64_t m = pair.m, pitch = pair.pitch, count = strips.count;
  V* const flow = reinterpret_cast<V*>(band.flow);
  const V seed = V(number_of(pair.problem, pair.problem.grad_score, pair.pair));
  const bool tail = strips.has_tail(), is_lowest = strips.end == pair.n;
  Flows<V> flows{Vec<V>(V(0)), Vec<V>(V(0))};
  Vec<V> tiles[3][L];
  if (!tail && !is_lowest && pitch - L < m) {  // the last lane's first cell is its first step's
    wait_for(band.before, m - (pitch - L));
    flows.incoming = shifted_down(flows.incoming, flow[pitch - L]);
  }
  for (int64_t strip = tail ? count : count - 1; strip >= 0; strip--) {
    const bool through = strip == count;
    for (int64_t column = through ? 0 : pitch - L; column >= 0; column -= L) {
      const Place at = strips.at(strip, column);
      // After a step the last lane takes what the row below hands to the column that it comes to.
      alignas(kVectorBytes) V below[L] = {};
      const int64_t taker = column > 0 ? strip : strip - 1, first = (column > 0 ? column : pitch) - L;
      if (taker >= 0 && first < m && (taker < count - 1 || !is_lowest)) {
        if (taker == count - 1) wait_for(band.before, m - first);
        if (first + L <= m)
          Vec<V>::load(flow + first).store(below);
        else
          for (int k = 0; k < m - first; k++) below[k] = flow[first + k];
      }
      const int64_t step = strip * pitch + column;
      const Special special = strips.special(strip, column);
      const auto* const from = kept + step * R::Keeps::kStep;
      // The first lane hands its own to the row above.
      const int count_up = through || column >= m ? 0 : m - column < L ? int(m - column) : L;
      // Where a strip turns, what lies in a block hangs on how many strips a band has: that is always swept.
      if (pair.problem.negligible > 0 && column > 0 && special.last == Special::kNever && !special.edges &&
          are_idle(flows, below, pair.problem.negligible)) {
        flows = {Vec<V>(V(0)), Vec<V>(V(0))};
        std::fill_n(flow + column, count_up, V(0));
        for (int i = 0; i <= R::kGaps; i++) targets[i].take_zeros(at);
        if (strip == 0 && column < m) tell(band.own, m - column);
        continue;
      }
      if (special.at_all() || count_up < L)
        backward_steps<R, true>(strips, strip, column, from, below, special, seed,
                                flow + (through ? 0 : column), count_up, flows, tiles);
      else
        backward_steps<R, false>(strips, strip, column, from, below, {}, seed, flow + column, L, flows,
                                 tiles);
      for (int i = 0; i <= R::kGaps; i++) targets[i].take(tiles[i], at);
      if (strip == 0 && 0 < column && column < m) tell(band.own, m - column);  // the end: by the band
    }
  }
}

// False where the scores are not those that were swept.
template <class R>
bool backward_band(const Problem& p, const Band& band) {
  using V = typename R::V;
  const Pair<R> pair(p, band.pair);
  const Strips<R> strips(pair, band);
  const Scratch<R> scratch(band.scratch, p.pairs.columns);
  const typename R::Keeps::Element* kept;
  if constexpr (R::Keeps::kPacks) {
    kept = saved_weights(strips, band);
  } else {
    StateRows<R> rows = state_rows(pair, band, scratch);
    rows.below = rows.inner;
    Findings found;
    Front<R> front;
    if (forward_sweep<R, true>(strips, rows, nullptr, nullptr, scratch.kept, front, found) || found.spoils) {
      wait_for(band.before, pair.m);
      tell(band.own, pair.m);
      return false;
    }
    kept = scratch.kept;
  }
  Target<V> targets[3] = {
      {p.gradients[0], p.pairs, band.pair, nullptr, nullptr},
      {p.gradients[1], p.pairs, band.pair, band.column_sums[1], band.totals ? band.totals + 1 : nullptr},
      {p.gradients[2], p.pairs, band.pair, band.column_sums[2], band.totals ? band.totals + 2 : nullptr}};
  backward_sweep<R>(strips, band, kept, targets);
  tell(band.own, pair.m);
  return true;
}

}  // namespace softdp::cpu::SOFTDP_ISA
