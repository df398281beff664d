// What the sweeps take: pointers, sizes, strides. No torch.
#pragma once
#include <cstdint>

namespace softdp {

// Scores to read, (pairs, rows, columns). Strides in elements, 0 along a broadcast dimension.
template <class T>
struct Scores {
  const T* data;
  int64_t batch, row, column;
};

// A gradient to write, contiguous (pairs, rows, columns), where a broadcast dimension has size 1 and
// receives the sum. Null where it is not wanted.
template <class T>
struct Gradient {
  T* data;
  bool every_row, every_column;  // false: summed over that dimension
};

struct Pairs {
  int64_t count, rows, columns;          // B, N, M
  const int64_t *x_lengths, *y_lengths;  // (B,), or null: every pair is full
  int64_t n(int64_t b) const { return x_lengths ? x_lengths[b] : rows; }
  int64_t m(int64_t b) const { return y_lengths ? y_lengths[b] : columns; }
};

// Weights saved for the backward sweep, (B, N, M) of them; match is what they leave of 1. In the precision
// of the scores: 16 bits each would do for scores at random, but where a small weight recurs along a path
// its rounding error adds up, to 3e-4 of a gradient at 1024 steps and 0.1 at 16384.
// The cell (n, m) of a pair without a gradient of its own tells so: NaN where the pair is spoiled, -1
// where no path is left.
template <class T>
struct SavedWeights {
  T insert, del;
};

template <class T>
struct FsdForward {
  Pairs pairs;
  double gamma;
  bool anchored;
  Scores<T> match, insert, del;
  bool shared_gap;         // delete = insert, read once
  T* score;                // (B,)
  SavedWeights<T>* saved;  // null: not wanted
};

template <class T>
struct LcsForward {
  Pairs pairs;
  double gamma;
  T threshold;
  Scores<T> similarity;
  T* score;
  SavedWeights<T>* saved;
};

// Backward of both: LCS has a match gradient alone.
template <class T>
struct Backward {
  Pairs pairs;
  const T* grad_score;  // (B,)
  const SavedWeights<T>* saved;
  Gradient<T> match, insert, del;
  bool shared_gap;  // insert receives the sum of both
};

}  // namespace softdp
