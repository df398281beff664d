// The structs that the kernels of dots.h take: unit vectors of steps, their dot products, and the gradients
// of both. This file does not use PyTorch.
//
//   units            u_i = x_i / |x_i|, in each head (one of equal parts of the features) by itself
//   dots             table(i,j) = offset + factor u_i . w_j
//   weigh            out_x(i) = factor sum_j g(i,j) w_j,   out_y(j) = factor sum_i g(i,j) u_i
//   unit_gradients   (d - u_i (u_i . d)) / |x_i|, the gradient by x_i, where d is the gradient by u_i
#pragma once
#include <cstdint>

namespace softdp::cpu {

// Some steps of a sequence. A zero vector has the unit vector 0 and the gradient 0. A vector that is not
// finite has the unit vector NaN, and the gradient NaN, or 0 where d is 0.
struct Units {
  int64_t steps, features, heads;
  const void* x;   // (steps, features)
  void* unit;      // (steps, features)
  void* length;    // (steps, heads)
  void* gradient;  // unit_gradients: (steps, features), d, which is overwritten
};

// A piece of a pair's table, for one head.
struct Dots {
  int64_t rows, columns, features;
  int64_t pitch;        // from step to step, of x, y and the gradients
  int64_t table_pitch;  // from row to row
  const void *x, *y;
  void* table;          // (rows, columns); weigh: its gradient
  void *out_x, *out_y;  // weigh; null: not wanted
  double offset, factor;
  bool adds;          // weigh: adds to out_x and out_y
  double negligible;  // weigh: gradients up to this magnitude may be left out
  void* scratch;      // dots_scratch_bytes(), aligned to 64
};

constexpr int64_t kDotsBytes = 256;  // at most, of the numbers that a kernel keeps of a step or a feature
inline int64_t dots_scratch_bytes(int64_t features, int64_t steps) {
  return (features > steps ? features : steps) * kDotsBytes;
}

}  // namespace softdp::cpu
