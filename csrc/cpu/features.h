// Scores of features: values, and their gradients by the features, in pieces that stay in the cache. No
// torch.
//
// The gradient of a pair's value only scales its gradients by the features. So these are made with the value,
// piece by piece: tables, a sweep there and back, the features' sums. What remains has the size of the
// features, not of the tables.
#pragma once
#include "sweep.h"

namespace softdp::cpu {

// Features are contiguous, x (pairs, rows, features) and y (pairs, columns, features), all double or all
// float, and so is what is written. Past the sequences' lengths they must be finite; their gradient is 0
// there. A pair that is not finite has the score NaN and, here, the gradient 0.
//
// With `others` every x is compared with every y: x (pairs / others, rows, features), y (others, columns,
// features), and pair k * others + l is of x_k and y_l, whose lengths are x_lengths(k) and y_lengths(l).
struct FeatureProblem {
  Pairs pairs;
  int64_t others;
  bool itself;  // y is x: d_x is by both, which are the same, and d_y null
  int64_t features;
  bool is_double;
  Kind kind;
  double gamma, threshold;
  const void *x, *y;
  void* score;             // (pairs,)
  void *d_x, *d_y;         // the scores' gradients, as x and y; null: not wanted
  const void* grad_score;  // (pairs,), of gradients that are summed over the pairs

  int64_t x_of(int64_t pair) const { return others ? pair / others : pair; }
  int64_t y_of(int64_t pair) const { return others ? pair % others : pair; }
  int64_t n(int64_t pair) const { return pairs.n(x_of(pair)); }
  int64_t m(int64_t pair) const { return pairs.m(y_of(pair)); }
};

// Scores and, of pairs side by side, their gradients.
void score_features(const FeatureProblem& problem, const Threads& threads);

// Of every x and every y: the gradients of the scores' sum, weighed by grad_score. A pair that is not finite
// gives NaN, unless its weight is 0.
void differentiate_features(const FeatureProblem& problem, const Threads& threads);

template <class T>
void scale_gradients(const ScaledGradient<T>& problem, const Threads& threads);

}  // namespace softdp::cpu
