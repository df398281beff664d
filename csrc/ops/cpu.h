// Helpers of the CPU operators: lengths, features and threads, as the kernels take them.
#pragma once
#include "../cpu/sweep.h"
#include "tensors.h"

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace softdp {

// A new CPU tensor, not initialised. A large tensor asks for huge pages: some systems give them only on
// request, and getting small pages takes up to twice as long as a sweep that fills them.
inline Tensor new_tensor(const Sizes& size, ScalarType dtype) {
  Tensor t = torch::stable::empty(size, dtype);
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096, kMany = 4 << 20;
  if (const uintptr_t bytes = uintptr_t(t.numel()) * t.element_size(); bytes >= kMany) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(t.data_ptr()),
                    first = (begin + kPage - 1) / kPage * kPage;
    madvise(reinterpret_cast<void*>(first), begin + bytes - first, MADV_HUGEPAGE);  // advice: it may fail
  }
#endif
  return t;
}

// Lengths as int64, checked against the padded size. Null stays null.
inline std::optional<Sizes> lengths_of(const std::optional<Tensor>& lengths, const char* name, int64_t pairs,
                                       int64_t longest) {
  if (!lengths) return std::nullopt;
  const Tensor& t = *lengths;
  STD_TORCH_CHECK(t.is_cpu() && t.dim() == 1 && t.size(0) == pairs, name, " must be a CPU tensor of shape (",
                  pairs, ",)");
  const bool wide = t.scalar_type() == ScalarType::Long;
  STD_TORCH_CHECK(wide || t.scalar_type() == ScalarType::Int, name, " must be int32 or int64");
  Sizes out(pairs);
  for (int64_t b = 0; b < pairs; b++) {
    const int64_t at = b * t.stride(0);
    out[b] =
        wide ? static_cast<const int64_t*>(t.data_ptr())[at] : static_cast<const int32_t*>(t.data_ptr())[at];
    STD_TORCH_CHECK(out[b] >= 0 && out[b] <= longest, name, " must lie in [0, ", longest, "], got ", out[b]);
  }
  return out;
}

struct LengthsOnCpu {
  std::optional<Sizes> x, y;
  LengthsOnCpu(const std::optional<Tensor>& x_lengths, const std::optional<Tensor>& y_lengths,
               const Sizes& size)
      : x(lengths_of(x_lengths, "x_lengths", size[0], size[1])),
        y(lengths_of(y_lengths, "y_lengths", size[0], size[2])) {}
  // The lengths of features (sequences, steps, features).
  LengthsOnCpu(const std::optional<Tensor>& x_lengths, const std::optional<Tensor>& y_lengths,
               const Tensor& of_x, const Tensor& of_y)
      : x(lengths_of(x_lengths, "x_lengths", of_x.size(0), of_x.size(1))),
        y(lengths_of(y_lengths, "y_lengths", of_y.size(0), of_y.size(1))) {}
  Pairs pairs(const Sizes& size) const {
    return {size[0], size[1], size[2], {x ? x->data() : nullptr}, {y ? y->data() : nullptr}};
  }
};

inline const cpu::Threads& threads() {
  thread_local cpu::Threads found{
      0, [](int64_t items, int64_t grain, const std::function<void(int64_t, int64_t)>& run) {
        torch::stable::parallel_for(0, items, grain, run);
      }};
  found.count = int(torch::stable::get_num_threads());
  return found;
}

inline Tensor features_of(const Tensor& t, const char* name, int64_t features, ScalarType dtype) {
  STD_TORCH_CHECK(t.is_cpu() && t.dim() == 3 && t.size(2) == features, name,
                  " must be a CPU tensor of shape (sequences, steps, ", features, ")");
  STD_TORCH_CHECK(t.scalar_type() == dtype, name, " must have the dtype of x");
  return torch::stable::contiguous(t);
}

// x and y, contiguous, and their sizes.
struct Features {
  Tensor x, y;
  ScalarType dtype;
  cpu::Differences sizes{};

  // every: every x is compared with every y, instead of in pairs.
  Features(const Tensor& given_x, const Tensor& given_y, bool every = false) : dtype(given_x.scalar_type()) {
    STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                    "x must be float64 or float32");
    STD_TORCH_CHECK(given_x.dim() == 3, "x must have 3 dimensions, got ", given_x.dim());
    const int64_t D = given_x.size(2);
    x = features_of(given_x, "x", D, dtype);
    y = features_of(given_y, "y", D, dtype);
    STD_TORCH_CHECK(every || x.size(0) == y.size(0), "x and y must have as many sequences, got ", x.size(0),
                    " and ", y.size(0));
    const int64_t B = every ? x.size(0) * y.size(0) : x.size(0);
    sizes.pairs = B, sizes.rows = x.size(1), sizes.columns = sizes.pitch = y.size(1), sizes.features = D;
    sizes.scale = 1;
    sizes.x = x.data_ptr(), sizes.y = y.data_ptr();
    double cells = 1;
    for (const int64_t n : {B, sizes.rows, sizes.columns}) cells *= double(std::max<int64_t>(n, 1));
    STD_TORCH_CHECK(cells < 0x1p46, "x and y have too many pairs of steps");
  }
  int64_t bytes_of_number() const { return dtype == ScalarType::Double ? 8 : 4; }
  int kernel() const { return dtype == ScalarType::Double; }
};

}  // namespace softdp
