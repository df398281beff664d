// Unit vectors of steps, their dot products, and the gradients by both: what the kernels of dots.h take. No
// torch.
//
//     units      u_i = x_i / |x_i|, in each part of the features by itself
//     dots       table(i,j) = offset + factor u_i . w_j
//     weighed    out_x(i) = factor sum_j g(i,j) w_j,   out_y(j) = factor sum_i g(i,j) u_i
//     gradients  by x_i, from that by u_i: (d - u (u . d)) / |x_i|
#pragma once
#include <cstdint>

namespace softdp::cpu {

// Some steps of a sequence. A zero vector has the unit vector 0 and the gradient 0; what is not finite has
// NaN, and the gradient 0 where it receives that.
struct Units {
  int64_t steps, features, heads;
  const void* x;   // (steps, features)
  void* unit;      // (steps, features)
  void* length;    // (steps, heads)
  void* gradient;  // gradients: (steps, features), by the units, to be overwritten
};

// A piece of a pair's table, for one head.
struct Dots {
  int64_t rows, columns, features;
  int64_t pitch;  // from step to step, of x, y and the gradients
  const void *x, *y;
  void* table;          // (rows, columns); weighed: its gradient
  void *out_x, *out_y;  // weighed; null: not wanted
  double offset, factor;
  bool adds;          // weighed: to what is there
  double negligible;  // weighed: a gradient up to this magnitude may be left out
  void* scratch;      // dots_scratch_bytes(), aligned to 64
};

constexpr int64_t kDotsBytes = 256;  // of numbers side by side, at most
inline int64_t dots_scratch_bytes(int64_t features, int64_t steps) {
  return (features > steps ? features : steps) * kDotsBytes;
}

}  // namespace softdp::cpu
