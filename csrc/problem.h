// What the sweeps take: pointers, sizes, strides. No torch. Scores and Gradient are the GPU's; the CPU's are
// in cpu/kernels.h.
#pragma once
#include <cstdint>

#include "recurrence.h"

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

// Lengths of the pairs, (B,); both null: every pair is full.
struct Lengths {
  const int64_t* wide = nullptr;
  const int32_t* narrow = nullptr;
  SOFTDP_FN int64_t operator()(int64_t b, int64_t full) const {
    return wide ? wide[b] : narrow ? narrow[b] : full;
  }
};

struct Pairs {
  int64_t count, rows, columns;  // B, N, M
  Lengths x_lengths, y_lengths;
  SOFTDP_FN int64_t n(int64_t b) const { return x_lengths(b, rows); }
  SOFTDP_FN int64_t m(int64_t b) const { return y_lengths(b, columns); }
};

// What a score of features is made of.
enum class Kind {
  kSquares,   // soft-DTW of squared distances
  kFsd,       // of the cosines of both halves of the features, "free"
  kLcs,       // of the cosines
  kCosines,   // soft-DTW of 1 - the cosines
  kRoots,     // soft-DTW of distances
  kAbsolute,  // soft-DTW of the sums of the features' absolute differences
};
inline bool is_soft_dtw(Kind kind) {
  return kind != Kind::kFsd && kind != Kind::kLcs;
}

// Gradients times that of each pair's score: 0 for 0, NaN for a score that is NaN.
template <class T>
struct ScaledGradient {
  int64_t pairs, numbers;  // numbers: of a pair
  const T* of_score;
  int64_t of_score_stride;
  const T* score;
  const T* made;
  T* out;
};

}  // namespace softdp
