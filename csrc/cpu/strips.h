// Sweeps of one pair, band by band. Lanes are rows: at step t of a strip of L rows, lane r is at column
// t - r, so that
//
//   S(i, j-1)    is the lane's own last state
//   S(i-1, j)    comes from the lane above, or, for the first lane, from the row above the strip
//   S(i-1, j-1)  is the state that came from above at the last step
//
// A strip takes `pitch` steps, at least 2 L of them. A lane that has finished its row goes on with the row of
// the next strip, so that lanes wait only at a band's ends. Scores are 0 in columns from m on, in rows from n
// on, and before a lane's first row: there lanes compute finite values that are discarded.
//
// L steps are a block, and a strip starts with a block. The scores of a block come as tiles. States are
// normalised at the end of a block, and where they enter a strip from the row above: a chain of moves
// straight down can leave a strip before its block ends. Between two normalisations a mantissa grows by at
// most 2^2.6 a step: it is a sum of three, each times two inputs of at most 2^1/2.
//
// With a bandwidth a strip has columns of its own (layout.h), and "column" counts from its first one. A cell
// outside the corridor has the score 0 and a dead state, so a path through it has the weight 0. Rows of
// states and of adjoints between strips count columns from the table's first one.
#pragma once
#include <algorithm>

#include "states_of_cell.h"
#include "weights.h"

namespace softdp::cpu::SOFTDP_ISA {

// The choices that a kernel is compiled for. kShared: delete = insert, and it is read once. kByRow: each gap
// has one number a row. kPacks: the weights are saved in four bytes, not computed again.
template <class Recurrence_, class Max_, bool kShared_, bool kByRow_, bool kPacks_>
struct Recipe {
  using Recurrence = Recurrence_;
  using Max = Max_;
  using Cell = typename Recurrence::template Cell<Max>;
  using A = typename Max::Arithmetic;
  using Value = typename Max::Value;
  using V = typename Value::Element;
  using S = typename OfCell<Recurrence, Max>::S;
  using State = typename OfCell<Recurrence, Max>::State;
  using Shares = typename OfCell<Recurrence, Max>::Shares;
  using Keeps = Kept<typename Recurrence::Packing, V, kPacks_>;
  static constexpr int L = kLanes<V>;
  static constexpr bool kShared = kShared_, kByRow = kByRow_;
  static constexpr bool kHard = std::is_same_v<Max, HardMax<A>>;
  static constexpr int kStates = Recurrence::kStates;
  static constexpr int kRowStates = OfCell<Recurrence, Max>::kRowStates;  // those that the next row reads
  static constexpr int kGaps = Recurrence::kTables == 1 ? 0 : Recurrence::kTables - (kShared ? 2 : 1);
  static constexpr int kTiles = kByRow ? 1 : 1 + kGaps;
  // The table of the i-th scores that are read: a shared gap's second table is not.
  static constexpr int table(int i) { return kShared && i > 1 ? i + 1 : i; }
};

// One pair's tables and numbers.
template <class R>
struct Pair {
  using V = typename R::V;
  using Factor = typename R::A::Factor;
  static constexpr int L = R::L;
  const Problem& problem;
  int64_t pair, n, m;
  Layout layout;
  int64_t pitch;
  Factor factor;
  V threshold;
  PairTable cells[kMostTables];
  LoadTile<V> load[kMostTables];
  Boundary<double> boundary;
  BoundaryGradient<double> gradient;

  Pair(const Problem& p, int64_t pair)
      : problem(p),
        pair(pair),
        n(p.pairs.n(pair)),
        m(p.pairs.m(pair)),
        layout(Layout::of(n, m, corridor_of(p, pair), L)),
        pitch(layout.pitch) {
    factor = R::kHard ? R::A::whole() : R::A::factor(p.gamma);
    factor.sign = V(p.costs ? -1 : 1);
    threshold = is_double(p) ? V(p.threshold) : V(float(p.threshold));
    for (int i = 0; i <= R::kGaps; i++) {
      const Table& t = p.scores[R::table(i)];
      cells[i] = {static_cast<const char*>(t.data) + pair * t.batch * bytes_of(t.type), t.row, t.column};
      load[i] = tile_loader<V>(t.type);
    }
    const auto own = [](auto* all, int64_t at) { return all ? all + at : nullptr; };
    const int64_t row = pair * p.pairs.columns, column = pair * p.pairs.rows;
    const Boundary<double>& s = p.boundary;
    boundary = {own(s.above, row), own(s.left, column), own(s.corner, pair), own(s.last_row, row),
                own(s.last_column, column)};
    const BoundaryGradient<double>& g = p.by_boundary;
    gradient = {own(g.by_last_row, row), own(g.by_last_column, column), own(g.by_above, row),
                own(g.by_left, column), own(g.by_left_diagonal, column)};
  }
};

// Columns of the table, from `first` to `last` - 1.
struct Columns {
  int64_t first, last;
  SOFTDP_FN bool has(int64_t column) const { return first <= column && column < last; }
};

// How a block differs from most others.
struct Special {
  static constexpr int kNever = 1000;
  int start = kNever;  // the lane that starts a row at step 0, the next one at step 1, ...
  int last = kNever;   // the step of the pair's last cell
  // Of which lanes the weights are kept. kAll: of all. kStarted: of those that have started the strip; the
  // memory of the others does not change. kStartedAlone: the same, and the others, which were idle, get 0.
  // kOthers: of those that have not started it.
  enum Keep { kAll, kStarted, kStartedAlone, kOthers } keep = kAll;
  bool edges = false;  // whether some of its cells, in the last row or column, use Boundary
  bool cut = false;    // whether some of its cells are outside the corridor
  bool at_all() const { return start != kNever || last != kNever || edges; }
};

// The steps of a strip at which its lanes are inside the corridor: from `from` to `to` - 1, and before a lane
// turns, in the strip above, from `from_above` to `to_above` - 1.
template <class R>
struct Cut {
  using I = Vec<Integer<typename R::V>>;
  I from, to, from_above, to_above;
  SOFTDP_FN typename I::Mask at(typename I::Mask turned, int64_t step) const {
    const I now{Integer<typename R::V>(step)};
    return (select(turned, from, from_above) <= now) & (select(turned, to, to_above) > now);
  }
};

// The strips of a band, and where in them a block is.
template <class R>
struct Strips {
  static constexpr int L = R::L;
  const Pair<R>& pair;
  int64_t begin, end, count;  // rows; strips

  Strips(const Pair<R>& pair, const Band& band)
      : pair(pair), begin(band.begin), end(band.end), count(bands_of(band.end - band.begin, L)) {
    last_first_ = first(count - 1);
  }
  int rows(int64_t strip) const { return clamped(end - begin - strip * L, 0, L); }
  // A strip's first column, and the one after its last. The strip below the band's last one has a place too.
  int64_t first(int64_t strip) const {
    if (pair.layout.drift == 0) return 0;
    const int64_t row = begin + strip * L;
    return 0 <= row && row < pair.n ? pair.layout.first(row) : 0;
  }
  int64_t last(int64_t strip) const { return pair.layout.last(first(strip)); }
  // The columns whose adjoints the strip below hands up.
  Columns handed(int64_t strip) const { return {first(strip + 1), last(strip + 1)}; }
  // The end of the row above a strip: from this column on, cells there are outside.
  int64_t end_above(int64_t strip) const {
    const int64_t row = begin + strip * L;
    return pair.layout.is_cut() && row > 0 ? pair.layout.corridor.end(row - 1) : pair.m;
  }
  // The columns inside of a strip's rows. It is valid until the one of another strip that is no neighbour is
  // asked for.
  const Inside& inside(int64_t strip) const {
    Inside& found = insides_[strip & 1];
    if (found.strip == strip) return found;
    found.strip = strip, found.first = first(strip);
    const int there = strip < 0 ? 0 : rows(strip);
    std::fill_n(found.begin, L, 0), std::fill_n(found.end, L, 0);
    if (there > 0) pair.layout.corridor_of(begin + strip * L, there, found.begin, found.end);
    return found;
  }
  // A strip's tiles, at a column that move() sets. What they share is found once.
  TilePlace tiles(int64_t strip) const {
    TilePlace at{begin + strip * L, 0, rows(strip), 0, pair.m, pair.pitch};
    if (pair.layout.is_cut()) {
      const Inside &own = inside(strip), &above = inside(strip - 1);
      const int last = at.rows > 0 ? at.rows - 1 : 0;
      at.inside = &own, at.inside_above = &above;
      at.first = own.first, at.first_above = above.first, at.drift = pair.layout.drift;
      at.from = own.begin[last] - own.first + last, at.m = own.end[0] - own.first;
      if (at.from < 1) at.from = 1;
    }
    return at;
  }
  SOFTDP_FN void move(TilePlace& at, int64_t strip, int64_t column) const {
    at.column = column;
    at.rows_above = column == 0 && strip > 0 ? rows(strip - 1) : 0;
  }
  // Whether some of a block's cells are outside the corridor.
  bool cuts(const TilePlace& at) const { return at.inside && (at.column < at.from || at.column + L > at.m); }
  // That of the strip above is `above`, or has no cells above the band's first strip.
  Cut<R> cut(int64_t strip, const Cut<R>& above) const {
    using I = Integer<typename R::V>;
    Cut<R> cut;
    const Inside& of = inside(strip);
    for (int r = 0; r < L; r++) {
      cut.from.x[r] = I(of.begin[r] - of.first + r);
      cut.to.x[r] = of.begin[r] == of.end[r] ? cut.from.x[r] : I(of.end[r] - of.first + r);
    }
    const Vec<I> pitch(strip > 0 ? I(pair.pitch) : I(0));
    cut.from_above = above.from - pitch, cut.to_above = above.to - pitch;
    return cut;
  }
  // Whether lanes are still at work after the steps of all strips.
  bool has_tail() const { return pair.layout.runs_over(rows(count - 1)); }
  // The step of the pair's sweep at which the block begins.
  int64_t step(int64_t strip, int64_t column) const { return (begin / L + strip) * pair.pitch + column; }
  int last_lane() const { return rows(count - 1) - 1; }
  Special special(int64_t strip, int64_t column) const {
    Special s;
    if (column == 0) s.start = 0;
    // The column of the pair's last one, in the last strip.
    const int64_t last = (count - 1 - strip) * pair.pitch + pair.m - 1 - last_first_ + last_lane() - column;
    if (end == pair.n && 0 <= last && last < L) s.last = int(last);
    const bool row = (pair.boundary.last_row && !row_is_kept()) || pair.gradient.by_last_row,
               right = (pair.boundary.last_column && !column_is_kept()) || pair.gradient.by_last_column;
    s.edges = (row && end == pair.n && strip >= count - 1) || (right && meets_last_column(strip, column));
    return s;
  }
  // Whether, at the end, the row below the band holds the states of the last row.
  bool row_is_kept() const { return rows(count - 1) == L; }
  // Whether all lanes turn, and turn straight from their row's last column.
  bool column_is_kept() const { return pair.pitch == pair.m && has_tail() && pair.layout.drift == 0; }
  // For step `column` of the strip, calls in_column(lane, row) for lanes in the last column, and in_row(lane,
  // column) for the lane in the pair's last row.
  template <class InColumn, class InRow>
  SOFTDP_FN void over_edges(int64_t strip, int64_t column, InColumn in_column, InRow in_row) const {
    for (int64_t t = strip > 0 ? strip - 1 : 0; t <= strip && t < count; t++) {  // where lanes may still be
      const int64_t first = this->first(t), last_column = pair.m - 1 - first,
                    lane = column + (strip - t) * pair.pitch - last_column;
      if (0 <= lane && lane < rows(t) && last_column < pair.pitch) in_column(int(lane), begin + t * L + lane);
      const int64_t at = column + (strip - t) * pair.pitch - last_lane();
      if (end == pair.n && t == count - 1 && 0 <= at && at < pair.pitch && first + at < pair.m)
        in_row(last_lane(), first + at);
    }
  }
  // Gives the states of a strip's last column, those of lanes before they turned, to Boundary::last_column.
  void give_column(int64_t strip, const typename R::State& ended) const {
    alignas(kVectorBytes) double values[L];
    R::S::values(ended, pair.factor, values);
    std::copy_n(values, rows(strip), pair.boundary.last_column + begin + strip * L);
  }
  // The same for the last row.
  void give_row(const typename R::S::Row& row) const {
    for (int64_t j = pair.layout.corridor.begin(pair.n - 1); j < pair.m; j += L) {
      const int few = clamped(pair.m - j, 0, L);
      alignas(kVectorBytes) double values[L];
      R::S::values(R::S::load(row, j, few), pair.factor, values);
      std::copy_n(values, few, pair.boundary.last_row + j);
    }
  }
  // Gives the states of a step in the last row and column.
  SOFTDP_FN void give_edges(int64_t strip, int64_t column, const typename R::State& s) const {
    const auto give = [&](double* to) {
      return [&s, to, this](int lane, int64_t at) {
        if (to) to[at] = R::S::value(s, lane, pair.factor);
      };
    };
    over_edges(strip, column, give(column_is_kept() ? nullptr : pair.boundary.last_column),
               give(row_is_kept() ? nullptr : pair.boundary.last_row));
  }
  // The gradients by the states of a step that come from outside the table.
  SOFTDP_FN typename R::Value by_edges(int64_t strip, int64_t column) const {
    using V = typename R::V;
    typename R::Value sum(V(0));
    const auto add = [&](const double* from) {
      return [&sum, from](int lane, int64_t at) {
        if (from) sum.x[lane] += V(from[at]);
      };
    };
    over_edges(strip, column, add(pair.gradient.by_last_column), add(pair.gradient.by_last_row));
    return sum;
  }
  // Takes the shares that a lane hands to the left of its row's first cell.
  void take_left(int64_t strip, int lane, double to_left, double to_diagonal) const {
    if (lane >= rows(strip)) return;
    const int64_t row = begin + strip * L + lane;
    if (pair.gradient.by_left) pair.gradient.by_left[row] = to_left;
    if (pair.gradient.by_left_diagonal) pair.gradient.by_left_diagonal[row] = to_diagonal;
  }
  // S to the left of each row of a strip, and S above that.
  struct Left {
    typename R::State beside, above;
  };
  Left left(int64_t strip, Findings& found) const {
    using S = typename R::S;
    if (first(strip) > 0) return {S::boundary(false), S::boundary(false)};
    const auto rest = S::boundary(is_free_left(pair.problem.start));
    const auto first = lane_numbers<typename R::V>() == Vec<Integer<typename R::V>>(0);
    const int64_t row = begin + strip * L;
    const double zero = 0;
    const double* const corner = pair.boundary.corner ? pair.boundary.corner : &zero;
    if (!pair.boundary.left) {
      const auto above = row > 0 ? rest : S::of(corner, 1, pair.factor, found, Side::kCorner);
      return {rest, S::select(first, above, rest)};
    }
    const auto beside = S::of(pair.boundary.left + row, rows(strip), pair.factor, found, Side::kLeft);
    double values[L] = {row > 0 ? pair.boundary.left[row - 1] : *corner};
    for (int r = 1; r < rows(strip); r++) values[r] = pair.boundary.left[row + r - 1];
    const auto above = S::of(values, rows(strip), pair.factor, found, Side::kLeft);
    if (R::kStates == 1 || row > 0) return {beside, above};
    return {beside, S::select(first, S::of(corner, 1, pair.factor, found, Side::kCorner), above)};
  }

 private:
  // Whether lanes of a block may be in the pair's last column. The lanes are in the strip or in the one
  // above.
  bool meets_last_column(int64_t strip, int64_t column) const {
    const int64_t own = pair.m - 1 - first(strip), above = pair.m - 1 - first(strip - 1);
    return (own < pair.pitch && column + L > own) || (above < pair.pitch && column + pair.pitch < above + L);
  }
  int64_t last_first_;  // the first column of the last strip
  mutable Inside insides_[2];
};

// The inputs of gaps with one number a row, one row in each lane.
template <class R>
struct RowGaps {
  static constexpr int kThird = R::kGaps > 2 ? 2 : 0;  // the place of the third gap
  typename R::Max::Input input[R::kGaps > 2 ? 3 : 2];
  void load(const Pair<R>& pair, int64_t row, int rows, Findings& found) {
    using V = typename R::V;
    if constexpr (R::kByRow)
      for (int i = 0; i < R::kGaps; i++) {
        const PairTable& gap = pair.cells[i + 1];
        Vec<V> scores;  // the rows of the gap, read as columns of one row
        with_type(pair.problem.scores[R::table(i + 1)].type, [&](auto t) {
          scores =
              load_piece<V, decltype(t)>({gap.data, 0, gap.row}, 0, row, 0, rows) * Vec<V>(pair.factor.sign);
        });
        look_at(&scores, 1, pair.factor, found);
        input[i] = R::Max::input(scores, pair.factor);
      }
  }
};

}  // namespace softdp::cpu::SOFTDP_ISA
