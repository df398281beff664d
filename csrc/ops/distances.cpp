// The CPU operators of cpu/distances.h. They turn tensors into parts for the kernels.
#include <torch/csrc/stable/library.h>

#include <functional>
#include <memory>

#include "cpu.h"

namespace softdp {
namespace {

constexpr int64_t kFewProducts = 1 << 15;  // 5 us of work: less is not worth another thread

// Calls run(part, memory) for all parts, on all threads where that is worth it. The memory belongs to the
// thread and suffices for sums over so many columns.
void over_parts(const Features& f, int64_t parts, int64_t columns,
                const std::function<void(int64_t, void*)>& run) {
  const cpu::Differences& p = f.sizes;
  const double products = double(p.pairs) * double(p.rows) * double(p.columns) * double(p.features);
  const int64_t bytes = cpu::difference_scratch_bytes(p.features, columns, f.bytes_of_number()) + 64;
  torch::stable::parallel_for(0, parts, products < kFewProducts ? parts : 1, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<unsigned char[]> memory(new unsigned char[size_t(bytes)]);
    void* const aligned = memory.get() + 64 - reinterpret_cast<uintptr_t>(memory.get()) % 64;
    for (int64_t i = begin; i < end; i++) run(i, aligned);
  });
}

Tensor difference_products(const Tensor& given_x, const Tensor& given_y, const std::optional<Tensor>& given_u,
                           const std::optional<Tensor>& given_w) {
  const Features f(given_x, given_y);
  cpu::Differences p = f.sizes;
  STD_TORCH_CHECK(bool(given_u) == bool(given_w), "u and w must both be given, or neither");
  Tensor u = f.x, w = f.y;
  if (given_u) {
    u = features_of(*given_u, "u", p.features, f.dtype);
    w = features_of(*given_w, "w", p.features, f.dtype);
    STD_TORCH_CHECK(
        u.size(0) == p.pairs && w.size(0) == p.pairs && u.size(1) == p.rows && w.size(1) == p.columns,
        "u and w must have the pairs and steps of x and y");
    p.u = u.data_ptr(), p.w = w.data_ptr();
  }
  Tensor out = new_tensor({p.pairs, p.rows, p.columns}, f.dtype);
  if (out.numel() == 0) return out;
  p.out = out.data_ptr();
  // Every part transposes y, which costs time; every thread should have several parts.
  const int64_t wanted = p.pairs * p.rows / (4 * int64_t(torch::stable::get_num_threads())),
                rows = std::min<int64_t>(std::max<int64_t>(wanted / 4 * 4, 32), cpu::kPartRows),
                parts = (p.rows + rows - 1) / rows;
  over_parts(f, p.pairs * parts, 0, [&](int64_t i, void* scratch) {
    const int64_t begin = i % parts * rows;
    cpu::chosen().products[f.kernel()](p, {i / parts, begin, std::min(begin + rows, p.rows), 0, scratch});
  });
  return out;
}

// Adds the sums of all splits, in their order, to the first.
template <class T>
void join_splits(const cpu::Differences& p, Tensor& sums) {
  const int64_t size = p.rows * p.features;
  for (int64_t pair = 0; pair < p.pairs; pair++) {
    T* const first = data<T>(sums) + pair * p.splits * size;
    for (int64_t s = 1; s < p.splits; s++)
      for (int64_t k = 0; k < size; k++) first[k] += first[s * size + k];
  }
}

std::tuple<Tensor, Tensor> difference_sums(const Tensor& given_weights, const Tensor& given_x,
                                           const Tensor& given_y, bool need_x, bool need_y) {
  const Features f(given_x, given_y);
  cpu::Differences p = f.sizes;
  const int64_t B = p.pairs, N = p.rows, M = p.columns, D = p.features;
  STD_TORCH_CHECK(given_weights.is_cpu() && given_weights.dim() == 3 && given_weights.size(0) == B &&
                      given_weights.size(1) == N && given_weights.size(2) == M &&
                      given_weights.scalar_type() == f.dtype,
                  "weights must be a CPU tensor of shape (", B, ", ", N, ", ", M, ") and the dtype of x");
  const Tensor weights = torch::stable::contiguous(given_weights);
  // The number of splits depends on sizes only, so results are bitwise reproducible at any thread count. Each
  // split needs sums of its own.
  constexpr int64_t kParts = 8, kFewest = 2 * cpu::kBlock;
  p.splits =
      std::max<int64_t>(std::min((kParts + B - 1) / std::max<int64_t>(B, 1), (M + kFewest - 1) / kFewest), 1);
  const int64_t columns = ((M + p.splits - 1) / p.splits + cpu::kBlock - 1) / cpu::kBlock * cpu::kBlock;
  Tensor x = new_tensor(need_x ? Sizes{B, p.splits, N, D} : Sizes{0}, f.dtype),
         y = new_tensor(need_y ? Sizes{B, M, D} : Sizes{0}, f.dtype);
  p.weights = weights.data_ptr();
  p.out_x = need_x ? x.data_ptr() : nullptr;
  p.out_y = need_y ? y.data_ptr() : nullptr;
  over_parts(f, B * p.splits, std::min(columns, M), [&](int64_t i, void* scratch) {
    const int64_t split = i % p.splits, begin = std::min(split * columns, M);
    cpu::chosen().sums[f.kernel()](p, {i / p.splits, begin, std::min(begin + columns, M), split, scratch});
  });
  if (!need_x) return {x, y};
  f.kernel() ? join_splits<double>(p, x) : join_splits<float>(p, x);
  return {p.splits == 1 ? torch::stable::view(x, {B, N, D}) : torch::stable::select(x, 1, 0), y};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("difference_products", TORCH_BOX(&difference_products));
  m.impl("difference_sums", TORCH_BOX(&difference_sums));
}

}  // namespace softdp
