// The backward sweep of a band. The forward sweep has saved the weights, or they are computed again.
#pragma once
#include "backward_states.h"
#include "forward.h"

namespace softdp::cpu::SOFTDP_ISA {

// Writes the tiles of a gradient to its sink, or adds them to the sink's sums.
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
  // Takes a tile of zeros, which changes no sum. No row ends in it: its column is not 0.
  SOFTDP_FN void take_zeros(const TilePlace& at) {
    if (kind == kCells) store(nullptr, data, columns, at);
  }
  SOFTDP_FN void take(const Vec<V>* tile, const TilePlace& at) {
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
struct Flows {  // the adjoints that lanes hand on from step to step
  Vec<V> incoming, diagonal;
};
// The same of several states. Those that the next row reads receive a share of the diagonal.
template <class V, int kStates, int kRowStates>
struct FlowsOfStates {
  Vec<V> incoming[kStates], diagonal[kRowStates];
};
template <class R>
using FlowsOf = std::conditional_t<R::kStates == 1, Flows<typename R::V>,
                                   FlowsOfStates<typename R::V, R::kStates, R::kRowStates>>;
template <class V>
SOFTDP_FN void clear(Flows<V>& flows) {
  flows = {Vec<V>(V(0)), Vec<V>(V(0))};
}
template <class V, int kStates, int kRowStates>
SOFTDP_FN void clear(FlowsOfStates<V, kStates, kRowStates>& flows) {
  for (auto& x : flows.incoming) x = Vec<V>(V(0));
  for (auto& x : flows.diagonal) x = Vec<V>(V(0));
}

// Whether all adjoints that enter a block are negligible.
template <class V>
SOFTDP_FN bool are_idle(const Flows<V>& flows, const V* below, double negligible) {
  const Vec<V> most{V(negligible)}, least{V(-negligible)};
  typename Vec<V>::Mask some{};  // not negligible, or NaN
  for (const Vec<V>& x : {flows.incoming, flows.diagonal, Vec<V>::load(below)})
    some |= ~((x <= most) & (x >= least));
  return !any(some);
}
template <class V, int kStates, int kRowStates>
SOFTDP_FN bool are_idle(const FlowsOfStates<V, kStates, kRowStates>& flows, const V* below,
                        double negligible) {
  for (int s = 0; s < kStates; s++) {
    const int at = s < kRowStates ? s : 0;  // those that the next row reads come first
    if (!are_idle(Flows<V>{flows.incoming[s], flows.diagonal[at]}, below + at * kLanes<V>, negligible))
      return false;
  }
  return true;
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
  const bool takes_left = strips.pair.gradient.by_left || strips.pair.gradient.by_left_diagonal;
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
    tiles[0][k] = !R::Recurrence::kEveryMove && strips.pair.problem.visits ? a : given.score;
    if constexpr (R::kGaps > 0) tiles[1][k] = R::kShared ? given.to_above + given.to_left : given.to_above;
    if constexpr (R::kGaps > 1) tiles[2][k] = given.to_left;
    const Value s = with_above<R>(a, kept_weights, diagonal);  // for the row above, one column to the left
    if (!kSpecial || k < count) flow[k] = s.x[0];
    if constexpr (kSpecial) {  // left of a row's first cell is the boundary
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

// Takes the adjoints that the row below a strip hands up to the last lane, in L columns from `first` on. The
// row below hands up those of the columns `handed`.
template <class R>
SOFTDP_FN void take_below(const Strips<R>& strips, const Band& band, int64_t strip, int64_t first,
                          const Columns& handed, typename R::V* below) {
  using V = typename R::V;
  constexpr int L = R::L;
  const Pair<R>& pair = strips.pair;
  const bool is_last = strip == strips.count - 1;
  if (strip < 0 || strip >= strips.count || (is_last && strips.end == pair.n)) return;
  const int from = clamped(handed.first - first, 0, L), to = clamped(handed.last - first, from, L);
  if (from == to) return;
  if (is_last) wait_for(band.before, pair.m - first);
  for (int s = 0; s < R::kRowStates; s++) {
    const V* const numbers = reinterpret_cast<V*>(band.flow) + s * pair.problem.pairs.columns + first;
    if (from == 0 && to == L)
      Vec<V>::load(numbers).store(below + s * L);
    else
      for (int k = from; k < to; k++) below[s * L + k] = numbers[k];
  }
}

template <class R>
void backward_sweep(const Strips<R>& strips, const Band& band, const typename R::Keeps::Element* kept,
                    Target<typename R::V>* targets) {
  using V = typename R::V;
  constexpr int L = R::L;
  const Pair<R>& pair = strips.pair;
  const int64_t m = pair.m, pitch = pair.pitch, count = strips.count;
  V* const flow = reinterpret_cast<V*>(band.flow);
  // The adjoints of several ends come from the edges.
  const V seed = pair.problem.ends == Ends::kCorner
                     ? V(number_of(pair.problem, pair.problem.grad_score, pair.pair))
                     : V(0);
  const bool tail = strips.has_tail(), is_lowest = strips.end == pair.n;
  FlowsOf<R> flows;
  clear(flows);
  Vec<V> tiles[kMostTables][L];
  const int64_t flow_pitch = pair.problem.pairs.columns;
  if (!tail && !is_lowest &&
      pitch - L < pair.layout.width) {  // the last lane has a cell at the very first step
    const int64_t column = strips.first(count - 1) + pitch - L;
    const bool is_handed = strips.handed(count - 1).has(column);
    wait_for(band.before, m - column);
    if constexpr (R::kStates == 1)
      flows.incoming = shifted_down(flows.incoming, is_handed ? flow[column] : V(0));
    else
      for (int s = 0; s < R::kRowStates; s++)
        flows.incoming[s] = shifted_down(flows.incoming[s], is_handed ? flow[s * flow_pitch + column] : V(0));
  }
  for (int64_t strip = tail ? count : count - 1; strip >= 0; strip--) {
    const bool through = strip == count;
    const int64_t own = strips.first(strip), width = strips.last(strip) - own,
                  above = strips.first(strip - 1);
    const Columns handed{own, own + width}, handed_below = strips.handed(strip);
    TilePlace at = strips.tiles(strip);
    for (int64_t column = through ? 0 : pitch - L; column >= 0; column -= L) {
      strips.move(at, strip, column);
      // After each step the last lane moves one column to the left. There it takes the adjoint that the row
      // below hands up.
      alignas(kVectorBytes) V below[R::kRowStates * L] = {};
      if (column > 0)
        take_below(strips, band, strip, own + column - L, handed_below, below);
      else
        take_below(strips, band, strip - 1, above + pitch - L, handed, below);
      const int64_t step = strip * pitch + column;
      const Special special = strips.special(strip, column);
      const auto* const from = kept + step * R::Keeps::kStep;
      // The first lane hands its adjoints to the row above.
      const int count_up = through ? 0 : clamped(width - column, 0, L);
      V* const hands_up = flow + (through ? 0 : own + column);
      // A block in which a strip turns (column 0) is always swept: its cells depend on how many strips the
      // band has.
      if (pair.problem.negligible > 0 && column > 0 && special.last == Special::kNever && !special.edges &&
          are_idle(flows, below, pair.problem.negligible)) {
        clear(flows);
        for (int s = 0; s < R::kRowStates; s++) std::fill_n(hands_up + s * flow_pitch, count_up, V(0));
        for (int i = 0; i <= R::kGaps; i++) targets[i].take_zeros(at);
        if (strip == 0 && column < width) tell(band.own, m - own - column);
        continue;
      }
      const bool is_special = special.at_all() || count_up < L;
      if constexpr (R::kStates > 1) {
        if (is_special)
          backward_steps_of_states<R, true>(strips, strip, column, from, below, special, seed, hands_up,
                                            flow_pitch, count_up, flows, tiles);
        else
          backward_steps_of_states<R, false>(strips, strip, column, from, below, Special(), seed, hands_up,
                                             flow_pitch, L, flows, tiles);
      } else if (is_special) {
        backward_steps<R, true>(strips, strip, column, from, below, special, seed, hands_up, count_up, flows,
                                tiles);
      } else {
        backward_steps<R, false>(strips, strip, column, from, below, {}, seed, hands_up, L, flows, tiles);
      }
      for (int i = 0; i <= R::kGaps; i++) targets[i].take(tiles[i], at);
      if (strip == 0 && 0 < column && column < width)
        tell(band.own, m - own - column);  // the end: by backward_band
    }
  }
}

// Returns false where the scores have changed since the forward sweep.
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
  const auto target = [&](int i) {  // those past the last table are not used
    const int t = R::table(i <= R::kGaps ? i : 0);
    return Target<V>(p.gradients[t], p.pairs, band.pair, band.column_sums[t],
                     band.totals ? band.totals + t : nullptr);
  };
  Target<V> targets[kMostTables] = {target(0), target(1), target(2), target(3)};
  backward_sweep<R>(strips, band, kept, targets);
  tell(band.own, pair.m);
  return true;
}

}  // namespace softdp::cpu::SOFTDP_ISA
