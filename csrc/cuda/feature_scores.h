// Scores of features on the GPU, and their gradients by the features, without tables that outlive the call.
// No torch: pointers and a stream in, a CUDA error out; nothing waits for the device, nothing is allocated.
//
// The gradient of a pair's value only scales its gradients by the features. So these are made with the value,
// for as many pairs at once as the tables have room for: their tables, a sweep forward and back, the
// features' sums. Tables that are larger go in pieces, of whole rows, of some pairs at once: forward over all
// of them, keeping the states between them, and backward from the last one, whose tables and weights are made
// again. Within a bandwidth a pair goes whole: its tables have only what is inside.
// Where paths may end in several cells, ends.h joins the states of all pieces' ends to the score, and each
// piece begins with the weights of its own ends.
#pragma once
#include "../kinds.h"
#include "wavefront.h"

namespace softdp::cuda {

// Features are contiguous, x (pairs, rows, features) and y (pairs, columns, features), and so is what is
// written. Past the sequences' lengths they must be finite; their gradient is 0 there. A pair that is not
// finite has the score NaN and, here, the gradient 0.
//
// With `others` every x is compared with every y: x (pairs / others, rows, features), y (others, columns,
// features), and pair k * others + l is of x_k and y_l, whose lengths are x_lengths(k) and y_lengths(l).
template <class T>
struct FeatureProblem {
  Pairs pairs;
  int64_t others;
  bool itself;  // y is x: d_x is by both, which are the same, and d_y null
  int64_t features;
  Kind kind;
  Start start;
  Ends ends;
  double gamma, threshold;
  const T *x, *y;
  T* score;             // (pairs,); null: not wanted
  T *d_x, *d_y;         // the scores' gradients, as x and y; null: not wanted
  const T* grad_score;  // (pairs,): gradients are summed over the pairs and weighed by it. A pair that is not
                        // finite then gives NaN, unless its weight is 0
  int64_t table_bytes;  // of tables and weights at once, usually table_bytes(); no fewer than 128 rows of
                        // one; within a bandwidth no fewer than one pair's
  void* workspace;      // workspace_bytes() of it
};

// A sixteenth of the current device's memory.
int64_t table_bytes();
template <class T>
int64_t workspace_bytes(const FeatureProblem<T>& problem);
template <class T>
Error score_features(const FeatureProblem<T>& problem, Stream stream);
template <class T>
Error scale_gradients(const ScaledGradient<T>& problem, Stream stream);
Error clear(void* data, int64_t bytes, Stream stream);

}  // namespace softdp::cuda
