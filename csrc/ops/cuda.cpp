// CUDA operators: tensors in, a problem for cuda/wavefront.h out, launched on the current stream. Nothing
// here waits for the device. Errors name their operator; the next call starts afresh.
#include <torch/csrc/stable/library.h>

#include "gpu.h"

namespace softdp {
namespace {

// run(T()) with the type of the scores.
template <class Run>
void with_dtype(ScalarType dtype, Run run) {
  switch (dtype) {
    case ScalarType::Double:
      return run(double());
    case ScalarType::Float:
      return run(float());
    case ScalarType::Half:
    case ScalarType::BFloat16:
      return run(cuda::Sixteen());
    default:
      STD_TORCH_CHECK(false, "the scores must be float64, float32, float16 or bfloat16");
  }
}
template <class T>
cuda::Format<T> format_of(ScalarType dtype) {
  if constexpr (std::is_same_v<T, cuda::Sixteen>)
    return {dtype == ScalarType::BFloat16};
  else
    return {};
}
ScalarType arithmetic(ScalarType dtype) {
  return dtype == ScalarType::Double ? dtype : ScalarType::Float;
}

struct Results {
  Tensor score, saved;
};

template <class Problem>
int64_t planes_of(cuda::Recurrence recurrence, const Problem& problem, const Sizes& size) {
  if (problem.weights) return recurrence == cuda::Recurrence::kLcs ? 1 : 2;
  return cuda::planes(recurrence, problem.shared_gap, size[1], size[2]);
}

// Fills in what FSD and LCS have in common, and launches.
template <class T, class Launch>
Results forward(cuda::Forward<T>& problem, cuda::Recurrence recurrence, const Tensor& scores,
                const Sizes& size, const LengthsOnDevice& lengths, double gamma, bool save, Launch launch) {
  using V = typename cuda::ValueOf<T>::Type;
  const ScalarType dtype = arithmetic(scores.scalar_type());
  const int64_t planes = planes_of(recurrence, problem, size);
  Results out{new_tensor(scores, {size[0]}, dtype),
              new_tensor(scores, save ? Sizes{size[0], planes, size[1], size[2]} : Sizes{0}, dtype)};
  problem.pairs = lengths.pairs(size);
  problem.format = format_of<T>(scores.scalar_type());
  problem.gamma = gamma;
  problem.score = data<V>(out.score);
  problem.saved = save ? data<V>(out.saved) : nullptr;
  const Tensor workspace = workspace_for(problem, scores);
  check_launch(launch(problem));
  return out;
}

// weights: saved are weights, also of tiny pairs.
Results sweep_fsd(const Tensor& match, const Tensor& insert, const std::optional<Tensor>& del,
                  const Sizes& size, const LengthsOnDevice& lengths, double gamma, bool anchored, bool save,
                  bool weights, cudaStream_t stream) {
  check_numbers(gamma);
  const ScalarType dtype = match.scalar_type();
  const Tensor& second = del ? *del : insert;
  const ScalarType gap_dtype = insert.scalar_type();
  const bool along_rows =
      insert.dim() == 3 && insert.size(2) == 1 && second.dim() == 3 && second.size(2) == 1;
  STD_TORCH_CHECK(gap_dtype == dtype || (gap_dtype == arithmetic(dtype) && along_rows),
                  "insert must have match's dtype");
  check_scores(insert, "insert", is_beside(insert, match), gap_dtype);
  check_scores(second, "delete", is_beside(second, match), gap_dtype);
  std::optional<Results> out;
  with_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    cuda::Forward<T> problem{};
    problem.boundary.anchored = anchored;
    problem.scores[0] = scores_of<T>(match, "match", size);
    problem.scores[1] = scores_of<T>(insert, "insert", size);
    problem.scores[2] = scores_of<T>(second, "delete", size);
    problem.shared_gap = !del;
    problem.wide_gaps = gap_dtype != dtype;
    problem.weights = weights;
    out = forward(problem, cuda::Recurrence::kFsd, match, size, lengths, gamma, save,
                  [&](const auto& p) { return cuda::fsd_forward(p, stream); });
  });
  return *out;
}

Results sweep_lcs(const Tensor& similarity, const Sizes& size, const LengthsOnDevice& lengths,
                  double threshold, double gamma, bool save, bool weights, cudaStream_t stream) {
  check_numbers(gamma, threshold);
  std::optional<Results> out;
  with_dtype(similarity.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::Forward<T> problem{};
    problem.threshold = threshold;
    problem.scores[0] = scores_of<T>(similarity, "similarity", size);
    problem.weights = weights;
    out = forward(problem, cuda::Recurrence::kLcs, similarity, size, lengths, gamma, save,
                  [&](const auto& p) { return cuda::lcs_forward(p, stream); });
  });
  return *out;
}

std::tuple<Tensor, Tensor> fsd_forward(const Tensor& match, const Tensor& insert,
                                       const std::optional<Tensor>& del,
                                       const std::optional<Tensor>& x_lengths,
                                       const std::optional<Tensor>& y_lengths, double gamma, bool anchored,
                                       bool save) {
  return on_device("softdp::fsd_forward", match, [&](cudaStream_t stream) {
    const Sizes size = size_of(match, "match");
    const LengthsOnDevice lengths(x_lengths, y_lengths, match, size[0]);
    const Results out = sweep_fsd(match, insert, del, size, lengths, gamma, anchored, save, false, stream);
    return std::make_tuple(out.score, out.saved);
  });
}

std::tuple<Tensor, Tensor> lcs_forward(const Tensor& similarity, const std::optional<Tensor>& x_lengths,
                                       const std::optional<Tensor>& y_lengths, double threshold, double gamma,
                                       bool save) {
  return on_device("softdp::lcs_forward", similarity, [&](cudaStream_t stream) {
    const Sizes size = size_of(similarity, "similarity");
    const LengthsOnDevice lengths(x_lengths, y_lengths, similarity, size[0]);
    const Results out = sweep_lcs(similarity, size, lengths, threshold, gamma, save, false, stream);
    return std::make_tuple(out.score, out.saved);
  });
}

// A gradient of the scores `of` in a problem of this size, empty where it is not needed.
template <class T>
struct Output {
  Sizes own;
  Tensor tensor;
  Gradient<T> gradient;
  Output(bool needed, const Tensor& of, const Sizes& size, const char* name, const Tensor& saved,
         ScalarType dtype)
      : own(gradient_size(of, size, name)),
        tensor(new_tensor(saved, needed ? own : Sizes{0}, dtype)),
        gradient{needed ? data<T>(tensor) : nullptr, own[1] == size[1], own[2] == size[2]} {}
};

// Fills in what FSD and LCS have in common, and launches.
template <class T, class Launch>
void backward(cuda::Backward<T>& problem, cuda::Recurrence recurrence, const Tensor& grad_score,
              const Tensor& saved, ScalarType dtype, const Sizes& size, const LengthsOnDevice& lengths,
              Launch launch) {
  using V = typename cuda::ValueOf<T>::Type;
  const int64_t planes = planes_of(recurrence, problem, size);
  STD_TORCH_CHECK(saved.is_contiguous() && saved.numel() == size[0] * planes * size[1] * size[2],
                  "the saved weights do not belong to these scores: were they saved (save=True)?");
  STD_TORCH_CHECK(is_beside(grad_score, saved) && grad_score.dim() == 1 && grad_score.size(0) == size[0] &&
                      grad_score.scalar_type() == saved.scalar_type(),
                  "the scores' gradient must have shape (", size[0], ",), their dtype and their device");
  problem.pairs = lengths.pairs(size);
  problem.format = format_of<T>(dtype);
  problem.grad_score = data<const V>(grad_score);
  problem.saved = data<const V>(saved);
  const Tensor workspace = workspace_for(problem, saved);
  check_launch(launch(problem));
}

std::tuple<Tensor, Tensor, Tensor> fsd_backward(const Tensor& grad, const Tensor& saved, const Tensor& scores,
                                                const Tensor& insert_scores,
                                                const std::optional<Tensor>& delete_scores,
                                                const std::optional<Tensor>& x_lengths,
                                                const std::optional<Tensor>& y_lengths, double, bool,
                                                bool need_match, bool need_insert, bool need_delete) {
  return on_device("softdp::fsd_backward", saved, [&](cudaStream_t stream) {
    const Sizes size = size_of(scores, "match");
    const ScalarType dtype = scores.scalar_type();
    STD_TORCH_CHECK(saved.scalar_type() == arithmetic(dtype), "the saved weights are of another dtype");
    const Tensor grad_score = torch::stable::contiguous(grad);
    const LengthsOnDevice lengths(x_lengths, y_lengths, saved, size[0]);
    std::optional<std::tuple<Tensor, Tensor, Tensor>> out;
    with_dtype(dtype, [&](auto type) {
      using T = decltype(type);
      Output<T> match(need_match, scores, size, "match", saved, dtype);
      Output<T> insert(need_insert, insert_scores, size, "insert", saved, dtype);
      Output<T> del(need_delete && delete_scores, delete_scores.value_or(insert_scores), size, "delete",
                    saved, dtype);
      cuda::Backward<T> problem{};
      problem.gradients[0] = match.gradient;
      problem.gradients[1] = insert.gradient;
      problem.gradients[2] = del.gradient;
      problem.shared_gap = !delete_scores;
      backward(problem, cuda::Recurrence::kFsd, grad_score, saved, dtype, size, lengths,
               [&](const auto& p) { return cuda::fsd_backward(p, stream); });
      out.emplace(match.tensor, insert.tensor, del.tensor);
    });
    return *out;
  });
}

Tensor lcs_backward(const Tensor& grad, const Tensor& given, const Tensor& similarity,
                    const std::optional<Tensor>& x_lengths, const std::optional<Tensor>& y_lengths,
                    double threshold, double gamma, bool visits) {
  return on_device("softdp::lcs_backward", given, [&](cudaStream_t stream) {
    const Sizes size = size_of(similarity, "similarity");
    const ScalarType dtype = similarity.scalar_type();
    STD_TORCH_CHECK(is_beside(similarity, given), "similarity must be on the device of what was saved");
    const LengthsOnDevice lengths(x_lengths, y_lengths, given, size[0]);
    // Of tiny pairs the gradient was saved; visits take weights.
    const Tensor saved =
        visits ? sweep_lcs(similarity, size, lengths, threshold, gamma, true, true, stream).saved : given;
    STD_TORCH_CHECK(saved.scalar_type() == arithmetic(dtype), "the saved weights are of another dtype");
    const Tensor grad_score = torch::stable::contiguous(grad);
    std::optional<Tensor> out;
    with_dtype(dtype, [&](auto type) {
      using T = decltype(type);
      Output<T> gradient(true, similarity, size, "similarity", saved, dtype);
      cuda::Backward<T> problem{};
      problem.gradients[0] = gradient.gradient;
      problem.weights = problem.visits = visits;
      backward(problem, cuda::Recurrence::kLcs, grad_score, saved, dtype, size, lengths,
               [&](const auto& p) { return cuda::lcs_backward(p, stream); });
      out.emplace(gradient.tensor);
    });
    return *out;
  });
}

// ---- second order

struct Products {
  Tensor tangent, match, insert, del;
};

template <class V>
Products second_order(cuda::Recurrence recurrence, const Tensor& weights, const Tensor& grad,
                      const std::optional<Tensor> (&directions)[3], const bool (&needs)[3], bool shared_gap,
                      const Sizes& size, const LengthsOnDevice& lengths, double gamma, cudaStream_t stream) {
  static constexpr const char* kNames[] = {"v_match", "v_insert", "v_delete"};
  const ScalarType dtype = weights.scalar_type();
  STD_TORCH_CHECK(
      is_beside(grad, weights) && grad.dim() == 1 && grad.size(0) == size[0] && grad.scalar_type() == dtype,
      "the scores' gradient must have shape (", size[0], ",), their dtype and their device");
  const Tensor grad_score = torch::stable::contiguous(grad);
  const auto product = [&](bool needed) { return new_tensor(weights, needed ? size : Sizes{0}, dtype); };
  Products out{new_tensor(weights, {size[0]}, dtype), product(needs[0]), product(needs[1]),
               product(needs[2])};
  const Tensor tangents =
      new_tensor(weights, {weights.size(0), weights.size(1), weights.size(2), weights.size(3)}, dtype);
  cuda::TangentSweep<V> there{};
  there.pairs = lengths.pairs(size);
  there.gamma = gamma;
  there.saved = data<const V>(weights);
  for (int i = 0; i < 3; i++) {
    if (!directions[i]) continue;
    check_scores(*directions[i], kNames[i], is_beside(*directions[i], weights), dtype);
    there.directions[i] = scores_of<V>(*directions[i], kNames[i], size);
  }
  there.tangent = data<V>(out.tangent);
  there.tangents = data<V>(tangents);
  const Tensor first = workspace_for(there, weights);
  check_launch(cuda::sweep_tangents(there, recurrence, stream));

  cuda::ProductSweep<V> back{};
  back.pairs = there.pairs;
  back.grad_score = data<const V>(grad_score);
  back.saved = there.saved;
  back.tangent = there.tangent;
  back.tangents = there.tangents;
  const Tensor* products[] = {&out.match, &out.insert, &out.del};
  for (int i = 0; i < 3; i++) back.products[i] = needs[i] ? data<V>(*products[i]) : nullptr;
  back.shared_gap = shared_gap;
  const Tensor second = workspace_for(back, weights);
  check_launch(cuda::sweep_products(back, recurrence, stream));
  return out;
}
template <class... Arguments>
Products second_order_of(ScalarType dtype, const Arguments&... arguments) {
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                  "the second order is computed in float64 or float32");
  return dtype == ScalarType::Double ? second_order<double>(arguments...) : second_order<float>(arguments...);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> fsd_double_backward(
    const std::optional<Tensor>& v_match, const std::optional<Tensor>& v_insert,
    const std::optional<Tensor>& v_delete, const Tensor& grad, const Tensor& match, const Tensor& insert,
    const std::optional<Tensor>& del, const std::optional<Tensor>& x_lengths,
    const std::optional<Tensor>& y_lengths, double gamma, bool anchored, bool need_match, bool need_insert,
    bool need_delete) {
  return on_device("softdp::fsd_double_backward", match, [&](cudaStream_t stream) {
    const Sizes size = size_of(match, "match");
    const LengthsOnDevice lengths(x_lengths, y_lengths, match, size[0]);
    const Tensor weights =
        sweep_fsd(match, insert, del, size, lengths, gamma, anchored, true, true, stream).saved;
    const std::optional<Tensor> directions[] = {v_match, v_insert, del ? v_delete : v_insert};
    const bool needs[] = {need_match, need_insert, need_delete && del};
    const Products out = second_order_of(match.scalar_type(), cuda::Recurrence::kFsd, weights, grad,
                                         directions, needs, !del, size, lengths, gamma, stream);
    return std::make_tuple(out.tangent, out.match, out.insert, out.del);
  });
}

std::tuple<Tensor, Tensor> lcs_double_backward(const Tensor& v, const Tensor& grad, const Tensor& similarity,
                                               const std::optional<Tensor>& x_lengths,
                                               const std::optional<Tensor>& y_lengths, double threshold,
                                               double gamma) {
  return on_device("softdp::lcs_double_backward", similarity, [&](cudaStream_t stream) {
    const Sizes size = size_of(similarity, "similarity");
    const LengthsOnDevice lengths(x_lengths, y_lengths, similarity, size[0]);
    const Tensor weights = sweep_lcs(similarity, size, lengths, threshold, gamma, true, true, stream).saved;
    const std::optional<Tensor> directions[] = {v, std::nullopt, std::nullopt};
    const bool needs[] = {true, false, false};
    const Products out = second_order_of(similarity.scalar_type(), cuda::Recurrence::kLcs, weights, grad,
                                         directions, needs, false, size, lengths, gamma, stream);
    return std::make_tuple(out.tangent, out.match);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CUDA, m) {
  m.impl("fsd_forward", TORCH_BOX(&fsd_forward));
  m.impl("fsd_backward", TORCH_BOX(&fsd_backward));
  m.impl("lcs_forward", TORCH_BOX(&lcs_forward));
  m.impl("lcs_backward", TORCH_BOX(&lcs_backward));
  m.impl("fsd_double_backward", TORCH_BOX(&fsd_double_backward));
  m.impl("lcs_double_backward", TORCH_BOX(&lcs_double_backward));
}

}  // namespace softdp
