// The steps of the forward sweep. A warp sweeps a strip of 32 rows: lane = row, and at step t the lane of row
// r is at column t - r, so that
//
//   S(i, j-1)    is the lane's own last state
//   S(i-1, j)    comes by a shuffle from the lane above
//   S(i-1, j-1)  is what came by the last shuffle
#pragma once
#include "kept.h"
#include "strip_columns.h"

namespace softdp::cuda {

// ---- recurrences of one packing --------------------------------------------------------------------------
//
// Recurrences that keep their weights alike differ in the equations of a cell and in whether the boundary is
// charged. So a kernel is compiled for a packing, and a launch says which recurrence it sweeps. A kernel
// looks at that once a chunk, not once a cell.

// The tables that each of them has.
template <class Packing>
constexpr int tables_with() {
#define SOFTDP_CASE(Name) \
  if (std::is_same_v<Name::Packing, Packing>) return Name::kTables;
  SOFTDP_RECURRENCES(SOFTDP_CASE)
#undef SOFTDP_CASE
  return 0;
}
// Calls run(Of()) with the recurrence `which`, one of them.
template <class Packing, class Run>
SOFTDP_DEVICE void with_recurrence_of(Recurrence which, Run run) {
#define SOFTDP_CASE(Name)                                                                                    \
  if constexpr (std::is_same_v<Name::Packing, Packing>) {                                                    \
    static_assert(Name::kTables == tables_with<Packing>(), "recurrences of a packing have the same tables"); \
    if (which == Name::kId) return run(Name());                                                              \
  }
  SOFTDP_RECURRENCES(SOFTDP_CASE)
#undef SOFTDP_CASE
  __builtin_unreachable();
}

// ---- the steps -------------------------------------------------------------------------------------------

// How a gap reaches the cells: an array like match's; one number a row, or a pair; delete as insert. A gap of
// any other kind is read as kDense; its strides may be 0.
enum class Gap { kNone, kDense, kRow, kShared };

// What a forward kernel is compiled for. kNone: recurrences of one table.
template <class Packing_, class V_, bool kSoft_, Gap kInsert_, Gap kDelete_>
struct Recipe {
  using Packing = Packing_;
  using V = V_;
  using Max = Maxima<V, kSoft_>;
  static constexpr Gap kInsert = kInsert_, kDelete = kDelete_;
  static constexpr bool kHasGaps = kInsert != Gap::kNone;
  using Keeps = Kept<Packing, V, false>;
  // A launch may ask for weights in full where they are rounded else.
  static constexpr bool kMayBeFull = Keeps::kRounds && kDelete == Gap::kDense;
  static constexpr int kMostPlanes = kMayBeFull ? Packing::kNumbers : Keeps::kNumbers;
  static constexpr bool kRounds = Keeps::kRounds && kSoft_;  // of the hard maximum weights are 0 and 1
  template <class Value>                                     // what a cell leaves to be packed
  using Leaves = std::conditional_t<kRounds, Terms<Value>, Weights<Value>>;
  static constexpr int kLoaded = 1 + (kInsert == Gap::kDense) + (kDelete == Gap::kDense);
  static constexpr int kArrays = kLoaded > kMostPlanes ? kLoaded : kMostPlanes;
  // Blocks of four warps for whose registers a multiprocessor is to have room: as many as the arrays let it
  // hold, but with the registers of five blocks two arrays' sweep would spill on compute capability 8.0.
  static constexpr int kBlocks = sizeof(V) == 8 ? (kHasGaps ? 2 : 4) : kArrays == 3 ? 3 : kHasGaps ? 4 : 5;
  // Whether array i holds scores, or only what is saved.
  static constexpr SOFTDP_FN bool is_loaded(int i) {
    return i == 0 || (i == 1 && kInsert == Gap::kDense) || (i == 2 && kDelete == Gap::kDense);
  }
  static_assert(kHasGaps == (tables_with<Packing>() > 1), "recurrences of three tables have gaps");
  static_assert(kDelete != Gap::kDense || kInsert == Gap::kDense, "a dense delete takes the third array");
};

// What a strip's cells read and write in shared memory, and the numbers that they share.
template <class V>
struct Memory {
  V* array[3];           // match, then what is saved first; insert, then what is saved second; delete
  const float* addends;  // of a chunk's steps, where weights are rounded
  V row[2];              // insert and delete of this lane's row
  bool is_full;          // weights are saved in full
};

// A lane's cells in the states of Max: their scores out of the arrays, their weights into them.
template <class R, class Max, class Recurrence>
struct StripCells {
  using V = typename R::V;
  using Value = typename Max::Value;
  using State = typename Max::State;
  using Cell = typename Recurrence::template Cell<Max>;
  using Keeps = typename R::Keeps;
  using Leaves = typename R::template Leaves<Value>;

  // States kept in registers before they are stored.
  static constexpr int kKept = 4;
  // Wide states where narrow ones are the rule.
  static constexpr bool kIsRare = R::Max::kHasNarrow && std::is_same_v<Max, typename R::Max::Wide>;

  struct Raw {
    V score, insert, del;
  };
  struct Ready {
    typename Cell::Ready inputs;
    V worst;  // what may spoil the pair: the largest of the raw scores, or NaN
  };

  const Memory<V>& memory;
  typename Max::Arithmetic::Factor k;
  V threshold;
  typename Max::Input row[2];  // exponentiated once a chunk

  SOFTDP_DEVICE StripCells(const Memory<V>& memory, typename Max::Arithmetic::Factor k, V threshold)
      : memory(memory), k(k), threshold(threshold) {
    if (R::kInsert == Gap::kRow) row[0] = Max::input(Value(memory.row[0]), k);
    if (R::kDelete == Gap::kRow) row[1] = Max::input(Value(memory.row[1]), k);
  }
  // The raw scores of a place in the arrays.
  SOFTDP_DEVICE Raw read(int place) const {
    Raw x{memory.array[0][place], V(0), V(0)};
    if (R::kInsert == Gap::kDense) x.insert = memory.array[1][place];
    if (R::kDelete == Gap::kDense) x.del = memory.array[2][place];
    return x;
  }
  SOFTDP_DEVICE Ready ready(const Raw& x) const {
    Ready y;
    y.worst = x.score;
    const auto match = Max::input(Value(x.score), k);
    if constexpr (R::kHasGaps) {
      const auto take = [&](V score) {
        y.worst = max_or_nan(y.worst, score);
        return Max::input(Value(score), k);
      };
      const auto insert = R::kInsert == Gap::kRow ? row[0] : take(x.insert);
      const auto del = R::kDelete == Gap::kShared ? insert : R::kDelete == Gap::kRow ? row[1] : take(x.del);
      y.inputs = Cell::ready(x.score, threshold, match, insert, del);
    } else {
      y.inputs = Cell::ready(x.score, threshold, match, match, match);
    }
    return y;
  }
  SOFTDP_DEVICE State cell(const Ready& x, State diagonal, State above, State left, Leaves& w) const {
    return Cell::cell(x.inputs, diagonal, above, left, w);
  }
  // Of a step of the chunk.
  SOFTDP_DEVICE void save(int place, int step, const Leaves& left) const {
    if constexpr (R::kMayBeFull)
      if (memory.is_full) return put(place, R::Packing::pack(as_weights(left)));
    if constexpr (R::kRounds)
      put(place, Keeps::pack(left, memory.addends[step]));
    else
      put(place, Keeps::pack(as_weights(left)));
  }

 private:
  static SOFTDP_DEVICE Weights<V> as_weights(const Weights<Value>& w) {
    return {V(w.match), V(w.insert), V(w.del)};
  }
  static SOFTDP_DEVICE Weights<V> as_weights(const Terms<Value>& t) {
    const V r = Max::Arithmetic::reciprocal(t.all);
    return {t.match * r, t.insert * r, t.del * r};
  }
  template <class Saved>
  SOFTDP_DEVICE void put(int place, const Saved& saved) const {
#pragma unroll
    for (int plane = 0; plane < int(sizeof(saved.number) / sizeof(V)); plane++)
      memory.array[plane][place] = saved.number[plane];
  }
};

// The steps of a chunk: all lanes inside their columns; or some, as in a strip's first two chunks and last
// two; or some in a loop that takes little code, where it is rare. What a lane does outside its columns,
// steps past the table's end among them, changes no state, and what it saves there lies where nothing else
// does, or within a bandwidth where nobody reads.
enum class Steps { kAll, kSome, kRolled };

// 16 steps from t0 on. above: S of the row above the strip at columns t0, t0 + 1, ...; below receives the
// states of the lane `bottom`, step by step.
//
// A warp may be the only one on its scheduler, so what the compiler makes of this loop decides the speed of
// long pairs. Scores are read two steps ahead of their cell and exponentiated one step ahead, weights saved
// one step behind; there are no branches; and the states for the strip below are kept in registers, since
// stores to a second pointer would hold up the loads of the steps that follow.
template <Steps kSteps, class StripCells, class Places, class Of, class Above, class Below>
SOFTDP_DEVICE void forward_chunk(const StripCells& cells, const Places& places,
                                 typename StripCells::State& left, typename StripCells::State& diagonal,
                                 typename StripCells::V& worst, const Of& lane, int t0, const Above& above,
                                 const Below& below, int bottom) {
  using State = typename StripCells::State;
  constexpr int kKept = StripCells::kKept;
  constexpr bool kRolled = kSteps == Steps::kRolled;
  constexpr bool kReadsAhead = !(kIsWithin<Of> && StripCells::kIsRare);  // else registers would spill
  const int column = t0 - lane.r - first_column(lane);
  typename StripCells::Ready now = cells.ready(cells.read(places.at(0)));
  typename StripCells::Raw ahead = cells.read(places.at(1));
  State edge = above(0), kept[kKept];
  typename StripCells::Leaves weights{};
#pragma unroll(kRolled ? 1 : kChunk)
  for (int q = 0; q < kChunk; q++) {
    if (!kReadsAhead) now = cells.ready(cells.read(places.at(q))), edge = above(q);
    State from_above = shuffle_up_state(is_done(lane, column + q) ? dead_state<State>() : left);
    typename StripCells::Ready next = now;
    State next_edge = edge;
    if (kReadsAhead && q + 1 < kChunk) {
      next = cells.ready(ahead);
      next_edge = above(q + 1);
    }
    if (kReadsAhead && q + 2 < kChunk) ahead = cells.read(places.at(q + 2));
    if (q > 0) cells.save(places.at(q - 1), q - 1, weights);

    if (lane.r == 0) from_above = edge;
    const State state = cells.cell(now, diagonal, from_above, left, weights);
    if (kSteps == Steps::kAll || unsigned(column + q) < unsigned(lane.m)) {
      left = state;
      worst = max_or_nan(worst, now.worst);
    }
    if (kRolled) {
      if (lane.row == bottom) below(q) = state;
    } else {
      kept[q % kKept] = state;
      if (q % kKept == kKept - 1 && lane.row == bottom)
#pragma unroll
        for (int i = 0; i < kKept; i++) below(q - kKept + 1 + i) = kept[i];
    }
    diagonal = from_above;
    now = next;
    edge = next_edge;
  }
  cells.save(places.at(kChunk - 1), kChunk - 1, weights);
}

}  // namespace softdp::cuda
