// Scores of features, and their gradients by the features, in pieces that stay in the cache. This file does
// not use PyTorch.
//
// The memory that is kept has the size of the features, not of the tables. The gradient of a pair's score
// only scales the pair's gradients by the features, so these are computed together with the score. Each piece
// makes its tables, sweeps them forward and backward, and sums their gradients into those of the features.
#pragma once
#include "../kinds.h"
#include "sweep.h"

namespace softdp::cpu {

// x has the shape (pairs, rows, features), y has (pairs, columns, features). Features and results are
// contiguous, and all double or all float. Features past the lengths must be finite; their gradient is 0. A
// pair that is not finite has the score NaN. Its gradient is 0 in score_features.
//
// With `others` every x is compared with every y: x has the shape (pairs / others, rows, features), y has
// (others, columns, features). Pair k * others + l is x_k with y_l. Its lengths are x_lengths(k) and
// y_lengths(l).
struct FeatureProblem {
  Pairs pairs;
  int64_t others;
  bool itself;  // y is x: d_x is the sum of both gradients, which are equal; d_y is null
  int64_t features;
  bool is_double;
  Kind kind;
  Start start;
  Ends ends;
  double gamma, threshold;
  const void *x, *y;
  void* score;             // (pairs,)
  void *d_x, *d_y;         // the scores' gradients, as x and y; null: not wanted
  const void* grad_score;  // (pairs,), for gradients that are summed over pairs; else null

  int64_t x_of(int64_t pair) const { return others ? pair / others : pair; }
  int64_t y_of(int64_t pair) const { return others ? pair % others : pair; }
  int64_t n(int64_t pair) const { return pairs.n(x_of(pair)); }
  int64_t m(int64_t pair) const { return pairs.m(y_of(pair)); }
};

// Computes scores and, without `others`, their gradients.
void score_features(const FeatureProblem& problem, const Threads& threads);

// Adds the gradients of the weighted sum of all scores to d_x and d_y; the weights are grad_score. A pair
// that is not finite gives NaN, unless its weight is 0.
void differentiate_features(const FeatureProblem& problem, const Threads& threads);

template <class T>
void scale_gradients(const ScaledGradient<T>& problem, const Threads& threads);

}  // namespace softdp::cpu
