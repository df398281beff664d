// The steps of a backward sweep where a cell has several states: the adjoints of all of them are carried.
#pragma once
#include "strips.h"

namespace softdp::cpu::SOFTDP_ISA {

#define SOFTDP_EACH __attribute__((always_inline))  // for a lambda that over() calls

// As backward_steps of backward.h. Of the states that the row above has, `below` and `flow` have one row
// each, in the order of StatesOfCell, L and `pitch` numbers apart.
template <class R, bool kSpecial, class Strips, class Special, class Flows>
SOFTDP_FN void backward_steps_of_states(const Strips& strips, int64_t strip, int64_t column,
                                        const typename R::Keeps::Element* kept, const typename R::V* below,
                                        const Special& special, typename R::V seed, typename R::V* flow,
                                        int64_t pitch, int count, Flows& flows,
                                        Vec<typename R::V> (*tiles)[R::L]) {
  using Value = typename R::Value;
  using V = typename R::V;
  using I = Integer<V>;
  using Of = typename R::Recurrence;
  constexpr int L = R::L, kEnd = R::kStates - 1;
  const auto lane = lane_numbers<V>();
  const Value zero(V(0));
  const bool takes_left = strips.pair.gradient.by_left || strips.pair.gradient.by_left_diagonal;
#pragma GCC unroll 1
  for (int k = L - 1; k >= 0; k--) {
    Value a[R::kStates];
    over<R::kStates>([&](auto s) SOFTDP_EACH { a[s] = flows.incoming[s]; });
    if constexpr (kSpecial) {
      if (special.edges) a[kEnd] = a[kEnd] + strips.by_edges(strip, column + k);
      if (k == special.last)
        a[kEnd] = select(lane == Vec<I>(I(strips.last_lane())), a[kEnd] + Value(seed), a[kEnd]);
    }
    const auto weights = R::Keeps::weights(R::Keeps::load(kept + k * R::Keeps::kStep));
    prefetch(kept, (k - L) * R::Keeps::kStep);
    auto given = Of::adjoint(a, weights);
    const auto of = [&](Score score) { return given.scores[int(score)].value; };
    tiles[0][k] = of(Score::kMatch);
    tiles[1][k] = R::kShared ? of(Score::kInsert) + of(Score::kDelete) : of(Score::kInsert);
    if constexpr (!R::kShared) tiles[2][k] = of(Score::kDelete);
    if constexpr (Of::kTables == 4) tiles[R::kGaps][k] = of(Score::kOpen);
    if constexpr (kSpecial) {  // left of a row's first cell is the boundary
      const auto starts = lane == Vec<I>(I(special.start + k));
      if (takes_left && special.start == 0 && strip < strips.count) {
        double to_left = 0, to_diagonal = 0;
        over<R::kStates>([&](auto s) SOFTDP_EACH {
          to_left += double(given.left[s].value.x[k]), to_diagonal += double(given.diagonal[s].value.x[k]);
        });
        strips.take_left(strip, k, to_left, to_diagonal);
      }
      over<R::kStates>([&](auto s)
                           SOFTDP_EACH { given.left[s].value = select(starts, zero, given.left[s].value); });
    }
    over<R::kStates>([&](auto s) SOFTDP_EACH {
      Value incoming = given.left[s].value;
      if constexpr (Of::crosses(s)) {  // for the row above; the diagonal's share is of the step before
        constexpr int at = Of::row_place(s);
        const Value up = given.above[s].value + flows.diagonal[at];
        if (!kSpecial || k < count) flow[at * pitch + k] = up.x[0];
        incoming = incoming + shifted_down(up, below[at * L + k]);
        flows.diagonal[at] = given.diagonal[s].value;
        if constexpr (kSpecial)
          flows.diagonal[at] = select(lane == Vec<I>(I(special.start + k)), zero, flows.diagonal[at]);
      }
      flows.incoming[s] = incoming;
    });
  }
}

#undef SOFTDP_EACH

}  // namespace softdp::cpu::SOFTDP_ISA
