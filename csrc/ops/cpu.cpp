// CPU operators: tensors in, a problem for cpu/sweep.h out.
#include <torch/csrc/stable/library.h>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "../cpu/sweep.h"
#include "tensors.h"

namespace softdp {
namespace {

// Lengths as int64, checked against the padded size. Null stays null.
std::optional<Sizes> lengths_of(const std::optional<Tensor>& lengths, const char* name, int64_t pairs,
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
  Pairs pairs(const Sizes& size) const {
    return {size[0], size[1], size[2], {x ? x->data() : nullptr}, {y ? y->data() : nullptr}};
  }
};

// Large tensors come as fresh pages each time, and the page faults would cost as much as a tenth of a sweep:
// ask for huge ones.
Tensor new_tensor(const Sizes& size, ScalarType dtype) {
  Tensor t = torch::stable::empty(size, dtype);
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = 4096, kLarge = 8 << 20;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(t.data_ptr());
  const uintptr_t bytes = t.numel() * (dtype == ScalarType::Double ? sizeof(double) : sizeof(float));
  if (bytes >= kLarge) {
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
    madvise(reinterpret_cast<void*>(first), begin + bytes - first, MADV_HUGEPAGE);  // advice: may fail
  }
#endif
  return t;
}

Sizes saved_size(const Sizes& size) {
  return {size[0], size[1], size[2], 2};
}

// run(float()) or run(double())
template <class Run>
void with_dtype(ScalarType dtype, const char* name, Run run) {
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, name,
                  " must be float32 or float64");
  dtype == ScalarType::Float ? run(float()) : run(double());
}

// Pairs over threads, some 2^12 cells at least to a thread: 0.1 ms, ten times what waking it costs.
template <class Sweep>
void over_pairs(const Pairs& pairs, Sweep sweep) {
  const int64_t cells = std::max<int64_t>(1, pairs.rows * pairs.columns);
  torch::stable::parallel_for(0, pairs.count, std::max<int64_t>(1, 4096 / cells), sweep);
}

// The tensors that the forward sweep fills.
struct Results {
  Tensor score, saved;
  Results(const Sizes& size, ScalarType dtype, bool save)
      : score(new_tensor({size[0]}, dtype)), saved(new_tensor(save ? saved_size(size) : Sizes{0}, dtype)) {}
};

std::tuple<Tensor, Tensor> fsd_forward(const Tensor& match, const Tensor& insert,
                                       const std::optional<Tensor>& del,
                                       const std::optional<Tensor>& x_lengths,
                                       const std::optional<Tensor>& y_lengths, double gamma, bool anchored,
                                       bool save) {
  check_numbers(gamma);
  const ScalarType dtype = match.scalar_type();
  const Sizes size = size_of(match, "match");
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  Results out(size, dtype, save);
  with_dtype(dtype, "match", [&](auto type) {
    using T = decltype(type);
    check_scores(insert, "insert", insert.is_cpu(), dtype);
    if (del) check_scores(*del, "delete", del->is_cpu(), dtype);
    const Scores<T> gap = scores_of<T>(insert, "insert", size);
    const FsdForward<T> problem{lengths.pairs(size),
                                gamma,
                                anchored,
                                scores_of<T>(match, "match", size),
                                gap,
                                del ? scores_of<T>(*del, "delete", size) : gap,
                                !del,
                                data<T>(out.score),
                                save ? data<SavedWeights<T>>(out.saved) : nullptr};
    over_pairs(problem.pairs, [&](int64_t begin, int64_t end) { cpu::fsd_forward(problem, begin, end); });
  });
  return {out.score, out.saved};
}

std::tuple<Tensor, Tensor> lcs_forward(const Tensor& similarity, const std::optional<Tensor>& x_lengths,
                                       const std::optional<Tensor>& y_lengths, double threshold, double gamma,
                                       bool save) {
  check_numbers(gamma, threshold);
  const ScalarType dtype = similarity.scalar_type();
  const Sizes size = size_of(similarity, "similarity");
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  Results out(size, dtype, save);
  with_dtype(dtype, "similarity", [&](auto type) {
    using T = decltype(type);
    const LcsForward<T> problem{lengths.pairs(size), gamma,
                                T(threshold),        scores_of<T>(similarity, "similarity", size),
                                data<T>(out.score),  save ? data<SavedWeights<T>>(out.saved) : nullptr};
    over_pairs(problem.pairs, [&](int64_t begin, int64_t end) { cpu::lcs_forward(problem, begin, end); });
  });
  return {out.score, out.saved};
}

// A gradient of a tensor of size `given`, empty where it is not needed.
template <class T>
struct Output {
  Tensor tensor;
  Gradient<T> gradient;
  Output(bool needed, const Sizes& given, const Sizes& full, const char* name, ScalarType dtype)
      : tensor(new_tensor(needed ? gradient_size(given, full, name) : Sizes{0}, dtype)),
        gradient{needed ? data<T>(tensor) : nullptr, given[1] == full[1], given[2] == full[2]} {}
};

// The forward sweep's weights, and the gradient that comes in.
template <class T>
Backward<T> backward_problem(const Pairs& pairs, const Tensor& grad_score, const Tensor& saved,
                             const Sizes& size) {
  STD_TORCH_CHECK(saved.is_cpu() && saved.is_contiguous() && saved.numel() == size[0] * size[1] * size[2] * 2,
                  "the saved weights do not belong to these scores: were they saved (save=True)?");
  STD_TORCH_CHECK(grad_score.is_cpu() && grad_score.dim() == 1 && grad_score.size(0) == size[0] &&
                      grad_score.scalar_type() == saved.scalar_type(),
                  "the scores' gradient must be a CPU tensor of shape (", size[0], ",) and their dtype");
  Backward<T> problem{};
  problem.pairs = pairs;
  problem.grad_score = data<T>(grad_score);
  problem.saved = data<SavedWeights<T>>(saved);
  return problem;
}

void check_dtype(ScalarType dtype, const Tensor& saved) {
  STD_TORCH_CHECK(dtype == saved.scalar_type(), "the gradient's dtype must be that of the saved weights");
}

std::tuple<Tensor, Tensor, Tensor> fsd_backward(const Tensor& grad, const Tensor& saved,
                                                const std::optional<Tensor>& x_lengths,
                                                const std::optional<Tensor>& y_lengths, Sizes size,
                                                Sizes insert_size, std::optional<Sizes> delete_size,
                                                bool need_match, bool need_insert, bool need_delete,
                                                ScalarType dtype) {
  check_size(size, "match_size");
  check_size(insert_size, "insert_size");
  if (delete_size) check_size(*delete_size, "delete_size");
  check_dtype(dtype, saved);
  const Tensor grad_score = torch::stable::contiguous(grad);
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  std::optional<std::tuple<Tensor, Tensor, Tensor>> out;
  with_dtype(dtype, "saved", [&](auto type) {
    using T = decltype(type);
    auto problem = backward_problem<T>(lengths.pairs(size), grad_score, saved, size);
    Output<T> match(need_match, size, size, "match", dtype);
    Output<T> insert(need_insert, insert_size, size, "insert", dtype);
    Output<T> del(need_delete && delete_size, delete_size.value_or(insert_size), size, "delete", dtype);
    problem.match = match.gradient;
    problem.insert = insert.gradient;
    problem.del = del.gradient;
    problem.shared_gap = !delete_size;
    over_pairs(problem.pairs, [&](int64_t begin, int64_t end) { cpu::fsd_backward(problem, begin, end); });
    out.emplace(match.tensor, insert.tensor, del.tensor);
  });
  return *out;
}

Tensor lcs_backward(const Tensor& grad, const Tensor& saved, const std::optional<Tensor>& x_lengths,
                    const std::optional<Tensor>& y_lengths, Sizes size, ScalarType dtype) {
  check_size(size, "similarity_size");
  check_dtype(dtype, saved);
  const Tensor grad_score = torch::stable::contiguous(grad);
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  std::optional<Tensor> out;
  with_dtype(dtype, "saved", [&](auto type) {
    using T = decltype(type);
    auto problem = backward_problem<T>(lengths.pairs(size), grad_score, saved, size);
    Output<T> similarity(true, size, size, "similarity", dtype);
    problem.match = similarity.gradient;
    over_pairs(problem.pairs, [&](int64_t begin, int64_t end) { cpu::lcs_backward(problem, begin, end); });
    out.emplace(similarity.tensor);
  });
  return *out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("fsd_forward", TORCH_BOX(&fsd_forward));
  m.impl("fsd_backward", TORCH_BOX(&fsd_backward));
  m.impl("lcs_forward", TORCH_BOX(&lcs_forward));
  m.impl("lcs_backward", TORCH_BOX(&lcs_backward));
}

}  // namespace softdp
