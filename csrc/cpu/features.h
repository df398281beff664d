// Soft-DTW of features: values, and their gradients by the features, in pieces that stay in the cache. No
// torch.
//
// The gradient of a pair's value only scales its gradients by the features. So these are made with the value,
// piece by piece: costs, a sweep there and back, sums of differences. What remains has the size of the
// features, not of the table.
#pragma once
#include "sweep.h"

namespace softdp::cpu {

// Features are contiguous, x (pairs, rows, features) and y (pairs, columns, features), all double or all
// float, and so is what is written. Past a pair's lengths they must be finite; their gradient is 0 there. A
// pair that is not finite has the score NaN and, here, the gradient 0.
struct FeatureProblem {
  Pairs pairs;
  int64_t features;
  bool is_double;
  double gamma;
  const void *x, *y;
  void* score;      // (pairs,)
  void *d_x, *d_y;  // the values' gradients, as x and y; null: not wanted
};

void soft_dtw(const FeatureProblem& problem, const Threads& threads);

}  // namespace softdp::cpu
