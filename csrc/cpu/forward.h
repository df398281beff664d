// The forward sweep of a band.
#pragma once
#include "strips.h"

namespace softdp::cpu::SOFTDP_ISA {

// The states that lanes carry from step to step.
template <class R>
struct Front {
  typename R::State left, diagonal, last;  // last: at the step of the pair's last cell
  typename R::State ended;                 // the last states of lanes before they turned
};
// Where the last lane's states go: at step k to column first + k of `row`, if that is before `last`. In a
// special block, before step `turn`, they go to `row_above`, that of the strip above, from column first_above
// on.
template <class R>
struct Outgoing {
  typename R::S::Row row, row_above;
  int64_t first, first_above, last, last_above;
  int turn;
};

// A score as an input of the cell. kFinite: the score is known to be within the range.
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

// The inputs of both gaps at step k. They come by row, or in tiles. A recurrence with one table does not use
// them.
template <class R, bool kFinite>
SOFTDP_FN auto gap_inputs(const Vec<typename R::V> (*tiles)[R::L], int k, const typename R::Max::Input& match,
                          const typename R::Max::Input& by_row0, const typename R::Max::Input& by_row1,
                          const typename R::Max::Input& by_row2, const typename Pair<R>::Factor& factor) {
  struct Gaps {
    typename R::Max::Input insert, del, open;
  };
  if constexpr (R::kGaps == 0) {
    return Gaps{match, match, match};
  } else if constexpr (R::kByRow) {
    return Gaps{by_row0, R::kShared ? by_row0 : by_row1, R::kShared ? by_row1 : by_row2};
  } else {
    constexpr bool kOpens = R::Recurrence::kTables == 4;
    const auto insert = input_of<R, kFinite>(tiles[1][k], factor);
    return Gaps{insert, R::kShared ? insert : input_of<R, kFinite>(tiles[R::kShared ? 1 : 2][k], factor),
                kOpens ? input_of<R, kFinite>(tiles[R::kTiles - 1][k], factor) : insert};
  }
}
// What a cell makes of its scores, before its neighbours' states are known.
template <class R, class Gaps>
SOFTDP_FN auto ready_of(const Pair<R>& pair, const typename R::Value& score,
                        const typename R::Max::Input& match, const Gaps& gaps) {
  using Ready = typename R::Cell::Ready;
  if constexpr (R::kStates == 1)
    return R::Cell::ready(score, typename R::Value(pair.threshold), match, gaps.insert, gaps.del);
  else if constexpr (R::Recurrence::kTables == 3)
    return Ready{{match, gaps.insert, gaps.del}};
  else
    return Ready{{match, gaps.insert, gaps.del, gaps.open}};
}

// kSpecial: the block is special, or has a score outside the range. kCut: it may have cells outside the
// corridor; a block that is not special has them only past its strip's first block.
template <class R, bool kSpecial, bool kCut, bool kKeep>
SOFTDP_FN void forward_steps(const Strips<R>& strips, int64_t strip, const Vec<typename R::V> (*tiles)[R::L],
                             const RowGaps<R>* gaps, const typename R::S::Few& above, const Special& special,
                             const Cut<R>& cut, const typename Strips<R>::Left& edge, const TilePlace& at,
                             const Outgoing<R>& outgoing, Front<R>& front, typename R::Keeps::Element* kept) {
  using Max = typename R::Max;
  using V = typename R::V;
  using S = typename R::S;
  using I = Integer<V>;
  const Pair<R>& pair = strips.pair;
  const auto lane = lane_numbers<V>();
  auto left = front.left, diagonal = front.diagonal;
  const int64_t antidiagonal = at.row + at.first + at.column,
                antidiagonal_above = at.row - R::L + at.first_above + at.pitch;
  float addends[R::L];
  if constexpr (kKeep && R::Keeps::kPacks)
    for (int k = 0; k < R::L; k++) addends[k] = addend_of(antidiagonal + k);
#pragma GCC unroll 1
  for (int k = 0; k < R::L; k++) {
    const auto up = S::from_above(left, above, k);
    auto gap0 = gaps[0].input[0], gap1 = gaps[0].input[1], gap2 = gaps[0].input[RowGaps<R>::kThird];
    if constexpr (kSpecial) {
      const Vec<I> starting(I(special.start + k));
      const auto starts = lane == starting;
      if (pair.boundary.last_column) front.ended = S::select(starts, left, front.ended);
      left = S::select(starts, edge.beside, left);
      diagonal = S::select(starts, edge.above, diagonal);
      if constexpr (R::kByRow) {  // lanes that have not yet started are in the strip above
        const auto earlier = lane > starting;
        gap0 = Max::select(earlier, gaps[1].input[0], gap0);
        if constexpr (R::kGaps > 1) gap1 = Max::select(earlier, gaps[1].input[1], gap1);
        if constexpr (R::kGaps > 2) gap2 = Max::select(earlier, gaps[1].input[2], gap2);
      }
    }
    const auto match = input_of<R, !kSpecial>(tiles[0][k], pair.factor);
    const auto gap = gap_inputs<R, !kSpecial>(tiles, k, match, gap0, gap1, gap2, pair.factor);
    typename R::Shares w;
    const auto ready = ready_of<R>(pair, tiles[0][k], match, gap);
    typename R::State s = R::Cell::cell(ready, diagonal, up, left, w);
    if constexpr (kCut)
      if (special.cut) {
        const auto turned = lane <= Vec<I>(I(kSpecial ? special.start + k : Special::kNever));
        s = S::select(cut.at(turned, at.column + k), s, S::boundary(false));
      }
    if constexpr (kKeep) {
      Rounding rounding;
      if constexpr (R::Keeps::kPacks) {
        rounding = Rounding(addends[k], oddness_of(antidiagonal + k));
        if constexpr (kSpecial)  // for lanes that have not yet turned
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
      const int64_t last = !kCut ? pair.m : turned ? outgoing.last : outgoing.last_above;
      if (0 <= column && column < last) S::store_last(s, turned ? outgoing.row : outgoing.row_above, column);
    } else if (!kCut || outgoing.first + k < outgoing.last) {
      S::store_last(s, outgoing.row, outgoing.first + k);
    }
    diagonal = up;
    left = s;
  }
  front.left = S::normalized(left), front.diagonal = S::normalized(diagonal);
}

// The steps of a block of a pair that has cells outside the corridor: of those that the corridor cuts, and of
// special ones. They are not inlined: the loops of all other blocks keep their registers.
template <class R, bool kSpecial, bool kKeep>
[[gnu::noinline]] void cut_steps(const Strips<R>& strips, int64_t strip,
                                 const Vec<typename R::V> (*tiles)[R::L], const RowGaps<R>* gaps,
                                 const typename R::S::Few& above, const Special& special, const Cut<R>& cut,
                                 const typename Strips<R>::Left& edge, const TilePlace& at,
                                 const Outgoing<R>& outgoing, Front<R>& front,
                                 typename R::Keeps::Element* kept) {
  forward_steps<R, kSpecial, true, kKeep>(strips, strip, tiles, gaps, above, special, cut, edge, at, outgoing,
                                          front, kept);
}

// The rows of states that a band reads and writes. A row that the band does not need is not accessed.
template <class R>
struct StateRows {
  typename R::S::Row above, inner, below;  // above the band, between its strips, of its last row
};

// The states above a block, in a row that starts at column `first` of the table. The first `few` of them are
// of cells.
template <class R>
SOFTDP_FN void take_above(const Strips<R>& strips, const StateRows<R>& rows, const Progress* before,
                          int64_t strip, int64_t first, int few, typename R::S::Few& above, Findings& found) {
  using S = typename R::S;
  const Pair<R>& pair = strips.pair;
  if (few == 0) {
    S::put(S::boundary(is_free_left(pair.problem.start)), above);
  } else if (strip == 0 && strips.begin == 0) {
    if (pair.boundary.above)
      S::put(S::of(pair.boundary.above + first, few, pair.factor, found, Side::kAbove), above);
  } else {
    const auto& row = strip == 0 ? rows.above : rows.inner;
    if (strip == 0) wait_for(before, first + few);
    S::load(row, first, few, above);
    if (before && strip == 0) S::prefetch(row, first + 4 * R::L);  // from another thread's cache
  }
  if (pair.layout.is_cut() && strip + strips.begin > 0) S::end(above, few);
}

// Sweeps a band; with kKeep its weights go to `kept`. Returns true where the range of the arithmetic is too
// small for the pair.
template <class R, bool kKeep>
bool forward_sweep(const Strips<R>& strips, const StateRows<R>& rows, const Progress* before, Progress* own,
                   typename R::Keeps::Element* kept, Front<R>& front, Findings& found) {
  using S = typename R::S;
  constexpr int L = R::L;
  constexpr bool kNarrow = sizeof(typename R::V) == 4;
  const Pair<R>& pair = strips.pair;
  const int64_t m = pair.m, count = strips.count;
  const bool is_cut = pair.layout.is_cut();
  const typename R::State rest = S::boundary(is_free_left(pair.problem.start));
  front = {rest, rest, rest, rest};
  typename Strips<R>::Left edge{rest, rest};
  RowGaps<R> gaps[2];
  gaps[0].load(pair, strips.begin, strips.rows(0), found);
  typename S::Few above;
  S::put(S::boundary(is_free_above(pair.problem.start)), above);
  Vec<typename R::V> tiles[R::kTiles][L];
  Cut<R> cut{};
  for (int64_t strip = 0; strip < count + strips.has_tail(); strip++) {
    const bool through = strip == count;
    const int64_t first = strips.first(strip), first_above = strips.first(strip - 1),
                  last = pair.layout.last(first), last_above = pair.layout.last(first_above),
                  end_above = through ? 0 : strips.end_above(strip);
    if (is_cut) cut = strips.cut(strip, cut);
    TilePlace at = strips.tiles(strip);
    for (int64_t column = 0; column < (through ? L : pair.pitch); column += L) {
      strips.move(at, strip, column);
      bool extreme = false;  // some score is infinite, or past the range
      for (int i = 0; i < R::kTiles; i++)
        extreme = pair.load[i](pair.cells[i], at, pair.factor, tiles[i], found) || extreme;
      if (column == 0) {
        gaps[1] = gaps[0];
        if (strip > 0 && !through) gaps[0].load(pair, at.row, at.rows, found);
        if (!through) edge = strips.left(strip, found);
      }
      const int few = clamped(end_above - (first + column), 0, L);
      take_above(strips, rows, before, strip, first + column, few, above, found);
      if (!R::kHard && (found.spoils || (kNarrow && found.hides))) return true;
      // In a strip's first block the last lane is still in the strip above, except at the last step.
      const Outgoing<R> outgoing{strip < count - 1 ? rows.inner : rows.below,
                                 strip < count ? rows.inner : rows.below,
                                 through ? m : first + column - (L - 1),
                                 strip > 0 ? first_above + pair.pitch - (L - 1) : m,
                                 last,
                                 last_above,
                                 column == 0 ? L - 1 : 0};
      auto* const to = kKeep ? kept + (strip * pair.pitch + column) * R::Keeps::kStep : nullptr;
      Special special = strips.special(strip, column);
      special.cut = is_cut && strips.cuts(at);
      if (special.at_all() || column >= m || extreme) {
        // Where the lanes of the strip above run over, they share the first steps of this strip. Between two
        // bands each band keeps the weights of its own lanes.
        if (column == 0 && !pair.layout.runs_over(L))
          special.keep = Special::kStartedAlone;
        else if (column == 0 && strip == 0 && at.row > 0)
          special.keep = Special::kStarted;
        else if (through && strips.end < pair.n)
          special.keep = Special::kOthers;
        if (is_cut)
          cut_steps<R, true, kKeep>(strips, strip, tiles, gaps, above, special, cut, edge, at, outgoing,
                                    front, to);
        else
          forward_steps<R, true, false, kKeep>(strips, strip, tiles, gaps, above, special, cut, edge, at,
                                               outgoing, front, to);
      } else if (special.cut) {
        cut_steps<R, false, kKeep>(strips, strip, tiles, gaps, above, special, cut, edge, at, outgoing, front,
                                   to);
      } else {
        forward_steps<R, false, false, kKeep>(strips, strip, tiles, gaps, above, {}, cut, edge, at, outgoing,
                                              front, to);
      }
      if (S::strays(front.left)) return true;
      if (pair.boundary.last_column && column == 0 && strip > 0 && strips.column_is_kept())
        strips.give_column(strip - 1, front.ended);
      if (strip == count - 1) tell(own, column < m ? column + 1 : m);
    }
  }
  if (pair.boundary.last_row && strips.end == pair.n && strips.row_is_kept()) strips.give_row(rows.below);
  return false;
}

// The memory of the thread that sweeps a band.
template <class R>
struct Scratch {
  typename R::S::Row row;            // between the band's strips
  typename R::Keeps::Element* kept;  // the weights of a band that is swept again
  Scratch(unsigned char* memory, int64_t columns) {
    memory = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    row = R::S::row_at(memory, columns);
    const int64_t bytes = columns * R::kRowStates * kStateBytes;
    kept = reinterpret_cast<typename R::Keeps::Element*>(memory + (bytes + 63) / 64 * 64);
  }
};
template <class R>
StateRows<R> state_rows(const Pair<R>& pair, const Band& band, const Scratch<R>& scratch) {
  const auto row_at = [&](unsigned char* at, int64_t first) {
    return at ? R::S::from_column(R::S::row_at(at, band.columns), first) : scratch.row;
  };
  return {row_at(band.above, band.above_first), scratch.row, row_at(band.below, band.below_first)};
}
// Where the band's weights lie in the saved state of its pair.
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
    outcome.score = R::S::value(R::S::normalized(front.last), strips.last_lane(), pair.factor);
    // The score of a piece, or at one of several ends, is not the pair's: the code that joins them checks
    // that.
    outcome.escapes = outcome.coarse = sizeof(typename R::V) == 4 && !p.is_piece && p.ends == Ends::kCorner &&
                                       is_coarse(p.gamma, outcome.score);
  }
  if (outcome.escapes)
    wait_for(band.before, pair.m);  // the next band may write where the one before still writes
  tell(band.own, pair.m);
  return outcome;
}

}  // namespace softdp::cpu::SOFTDP_ISA
