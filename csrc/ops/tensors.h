// How the operators of every device check and read their tensors. Python checks the arguments of public
// functions. The checks here keep a direct call of an operator from reading or writing out of bounds.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "../kinds.h"
#include "../problem.h"

namespace softdp {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

template <class T>
T* data(const Tensor& t) {
  return static_cast<T*>(t.data_ptr());
}

// The dtype of the arithmetic and of its results.
inline ScalarType arithmetic(ScalarType dtype) {
  return dtype == ScalarType::Double ? dtype : ScalarType::Float;
}

inline void check_scores(const Tensor& t, const char* name, bool on_device, ScalarType dtype) {
  STD_TORCH_CHECK(on_device, name, " must be on the scores' device");
  STD_TORCH_CHECK(t.dim() == 3, name, " must have 3 dimensions, got ", t.dim());
  STD_TORCH_CHECK(t.scalar_type() == dtype, name, " must have the dtype of the scores");
}

inline void check_numbers(double gamma, double threshold = 0) {
  STD_TORCH_CHECK(gamma >= 0 && std::isfinite(gamma), "gamma must be finite and not negative, got ", gamma);
  STD_TORCH_CHECK(!std::isnan(threshold), "threshold must not be NaN");
}

// Of the option `recurrence`, a place of the enum class.
inline Recurrence recurrence_option(int64_t number) {
  constexpr Recurrence last = Recurrence::kAffine;
  STD_TORCH_CHECK(number >= 0 && number <= int64_t(last), "recurrence must be 0 to ", int64_t(last), ", got ",
                  number);
  return Recurrence(number);
}

// Of the option `boundary`.
inline StartAndEnds boundary_option(int64_t number, Recurrence recurrence) {
  STD_TORCH_CHECK(number >= 0 && number < kBoundaries, "boundary must lie in [0, ", kBoundaries, "), got ",
                  number);
  const StartAndEnds boundary = boundary_of(number);
  STD_TORCH_CHECK(boundary.start != Start::kGaps || charges_boundary(recurrence), "boundary must not be ",
                  number, ": this recurrence charges no gaps there");
  STD_TORCH_CHECK(boundary.start != Start::kAnywhere || recurrence != Recurrence::kLcs,
                  "there is no local recurrence of LCS");
  return boundary;
}

// Of the option `boundary` of scores of features.
inline StartAndEnds boundary_option(int64_t number, Kind kind) {
  STD_TORCH_CHECK(kind != Kind::kSimilarities || number == 0, "boundary must be 0 for LCS, got ", number);
  const StartAndEnds boundary = boundary_option(number, recurrence_of(kind));
  STD_TORCH_CHECK(boundary.start != Start::kAnywhere, "boundary must not be ", number,
                  ": scores of features have no local recurrence");
  return boundary;
}
// Whether the score of y and x is that of x and y, and so the gradient of x beside itself is by both.
inline bool is_symmetric(Kind kind, Start start) {
  return is_soft_dtw(kind) && is_free_above(start) == is_free_left(start);
}

inline Sizes size_of(const Tensor& scores, const char* name) {
  STD_TORCH_CHECK(scores.dim() == 3, name, " must have 3 dimensions, got ", scores.dim());
  const Sizes size = {scores.size(0), scores.size(1), scores.size(2)};
  // An expanded tensor can have more cells than any memory. Numbers computed from its sizes must not
  // overflow.
  double cells = 1;
  for (const int64_t n : size) cells *= double(std::max<int64_t>(n, 1));
  STD_TORCH_CHECK(cells < 0x1p46, name, " has too many cells: ", size[0], " x ", size[1], " x ", size[2]);
  return size;
}

// Of the option `bandwidth`: -1 where all cells of every pair are inside.
inline int64_t bandwidth_option(int64_t number, const Sizes& size) {
  STD_TORCH_CHECK(number >= -1, "bandwidth must be -1 or more, got ", number);
  STD_TORCH_CHECK(number == -1 || (size[1] < (1 << 30) && size[2] < (1 << 30)),
                  "with a bandwidth a pair must have less than 2^30 steps, got ", size[1], " and ", size[2]);
  return number < std::max(size[1], size[2]) - 1 ? number : -1;
}

// The strides of a tensor, 0 along a broadcast dimension.
inline void strides_of(const Tensor& t, const char* name, const Sizes& size, int64_t (&stride)[3]) {
  STD_TORCH_CHECK(t.dim() == 3, name, " must have 3 dimensions, got ", t.dim());
  for (int d = 0; d < 3; d++) {
    STD_TORCH_CHECK(t.size(d) == size[d] || t.size(d) == 1, name,
                    " must be broadcastable to the scores: dimension ", d, " is ", t.size(d),
                    ", expected 1 or ", size[d]);
    stride[d] = t.size(d) == 1 ? 0 : t.stride(d);
  }
}
inline Type type_of(ScalarType dtype, const char* name) {
  switch (dtype) {
    case ScalarType::Double:
      return Type::kFloat64;
    case ScalarType::Float:
      return Type::kFloat32;
    case ScalarType::Half:
      return Type::kFloat16;
    case ScalarType::BFloat16:
      return Type::kBfloat16;
    default:
      STD_TORCH_CHECK(false, name, " must be float64, float32, float16 or bfloat16");
  }
}
// The table of a tensor of scores, as the kernels take it. Its device and dtype are already checked.
inline Table table_of(const Tensor& t, const char* name, const Sizes& size) {
  int64_t stride[3];
  strides_of(t, name, size, stride);
  return {t.data_ptr(), type_of(t.scalar_type(), name), stride[0], stride[1], stride[2]};
}

// The sizes tell, not the strides: those of an expanded tensor are 0 too.
inline OneForAll one_for_all(const Tensor& insert, const Tensor& del) {
  return {insert.size(2) == 1, del.size(1) == 1};
}

// The size of the gradient, (B, N or 1, M or 1), of scores that broadcast to `full`.
inline Sizes gradient_size(const Tensor& scores, const Sizes& full, const char* name) {
  int64_t stride[3];
  strides_of(scores, name, full, stride);
  return {full[0], scores.size(1), scores.size(2)};
}

}  // namespace softdp
