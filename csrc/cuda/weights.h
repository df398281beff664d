// The weights of a cell's moves as they are kept for the backward sweep.
#pragma once
#include "../recurrence.h"

namespace softdp {

// FSD: match is what the two leave of 1. In the precision of the scores: 16 bits each would do for scores
// at random, but where a small weight recurs along a path its rounding error adds up, to 3e-4 of a
// gradient at 1024 steps and 0.1 at 16384.
template <class T>
struct SavedWeights {
  T insert, del;
};

// Match comes out never below 0, and exactly 0 for a move that is forbidden. In products, since a branch on
// a weight of 0 would be mispredicted; each difference is of near equals, so exact.
template <class T, class Value>
SOFTDP_FN SavedWeights<T> pack(Weights<Value> w) {
  const T del = T(w.del), no_match = T(w.match == 0), only_insert = no_match * T(w.del == 0);
  const T insert = lesser(T(1), T(w.insert) + only_insert * (T(1) - T(w.insert))), rest = T(1) - insert;
  return {insert, lesser(rest, del + no_match * (rest - del))};
}
template <class T>
SOFTDP_FN Weights<T> unpack(SavedWeights<T> w) {
  return {(T(1) - w.insert) - w.del, w.insert, w.del};
}

// LCS in one number: kHit, or the insert weight of a plateau, whose other weight is what that leaves of 1.
template <class T>
struct SavedStep {
  T insert;
  static constexpr T kHit = 2;
};

template <class T, class Value>
SOFTDP_FN SavedStep<T> pack_step(bool hit, Weights<Value> w) {
  const T insert = w.del == 0 ? T(1) : T(w.insert);
  return {hit ? SavedStep<T>::kHit : lesser(insert, T(1))};
}
template <class T>
SOFTDP_FN Weights<T> unpack(SavedStep<T> w) {
  const bool hit = w.insert == SavedStep<T>::kHit;
  return {hit ? T(1) : T(0), hit ? T(0) : w.insert, hit ? T(0) : T(1) - w.insert};
}

// What the cell (n, m) of a pair without a gradient of its own holds in its insert weight: NaN where the
// pair is spoiled, this where no path is left.
constexpr float kNoPath = -1;

}  // namespace softdp
