// The CPU operators of cpu/features.h.
#include "../cpu/features.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu.h"

namespace softdp {
namespace {

// x and y, checked, and the problem that an operator asks to solve.
struct Asked {
  Features features;
  LengthsOnCpu lengths;
  cpu::FeatureProblem problem{};

  // every: every x is compared with every y.
  Asked(const Tensor& x, const Tensor& y, const std::optional<Tensor>& x_lengths,
        const std::optional<Tensor>& y_lengths, int64_t kind, double gamma, double threshold,
        int64_t boundary, int64_t bandwidth, bool every)
      : features(x, y, every), lengths(x_lengths, y_lengths, features.x, features.y) {
    check_numbers(gamma, threshold);
    STD_TORCH_CHECK(0 <= kind && kind <= 5, "kind must be 0 to 5, got ", kind);
    const int64_t K = features.x.size(0), L = features.y.size(0), D = features.sizes.features;
    STD_TORCH_CHECK(kind != 1 || D % 2 == 0, "x must have an even number of features, got ", D);
    cpu::FeatureProblem& p = problem;
    p.pairs = lengths.pairs({every ? K * L : K, features.sizes.rows, features.sizes.columns});
    p.others = every ? L : 0;
    p.features = D;
    p.is_double = features.dtype == ScalarType::Double;
    p.kind = Kind(kind);
    const StartAndEnds found = boundary_option(boundary, p.kind);
    p.start = found.start, p.ends = found.ends;
    p.pairs.bandwidth = bandwidth_option(bandwidth, {K, x.size(1), y.size(1)});
    p.gamma = gamma, p.threshold = threshold;
    p.x = features.x.data_ptr(), p.y = features.y.data_ptr();
  }
  Tensor gradient(const Tensor& of, bool wanted) const {
    return new_tensor(wanted ? Sizes{of.size(0), of.size(1), of.size(2)} : Sizes{0}, features.dtype);
  }
};

std::tuple<Tensor, Tensor, Tensor> score_of_features(const Tensor& x, const std::optional<Tensor>& other,
                                                     const std::optional<Tensor>& x_lengths,
                                                     const std::optional<Tensor>& y_lengths, int64_t kind,
                                                     double gamma, double threshold, int64_t boundary,
                                                     int64_t bandwidth, bool need_x, bool need_y) {
  const Tensor& y = other ? *other : x;
  Asked asked(x, y, x_lengths, other ? y_lengths : x_lengths, kind, gamma, threshold, boundary, bandwidth,
              false);
  need_y = need_y && other;
  STD_TORCH_CHECK(other || is_symmetric(Kind(kind), asked.problem.start), "y must be given for kind ", kind,
                  " and boundary ", boundary);
  asked.problem.itself = !other;
  Tensor score = new_tensor({x.size(0)}, asked.features.dtype), d_x = asked.gradient(x, need_x),
         d_y = asked.gradient(y, need_y);
  cpu::FeatureProblem& p = asked.problem;
  p.score = score.data_ptr();
  p.d_x = need_x ? d_x.data_ptr() : nullptr, p.d_y = need_y ? d_y.data_ptr() : nullptr;
  cpu::score_features(p, threads());
  return {score, d_x, d_y};
}

Tensor pairwise_scores(const Tensor& x, const Tensor& y, const std::optional<Tensor>& x_lengths,
                       const std::optional<Tensor>& y_lengths, int64_t kind, double gamma, double threshold,
                       int64_t boundary, int64_t bandwidth) {
  Asked asked(x, y, x_lengths, y_lengths, kind, gamma, threshold, boundary, bandwidth, true);
  Tensor scores = new_tensor({x.size(0), y.size(0)}, asked.features.dtype);
  asked.problem.score = scores.data_ptr();
  cpu::score_features(asked.problem, threads());
  return scores;
}

std::tuple<Tensor, Tensor> pairwise_gradients(const Tensor& of_scores, const Tensor& x, const Tensor& y,
                                              const std::optional<Tensor>& x_lengths,
                                              const std::optional<Tensor>& y_lengths, int64_t kind,
                                              double gamma, double threshold, int64_t boundary,
                                              int64_t bandwidth, bool need_x, bool need_y) {
  Asked asked(x, y, x_lengths, y_lengths, kind, gamma, threshold, boundary, bandwidth, true);
  STD_TORCH_CHECK(of_scores.is_cpu() && of_scores.dim() == 2 && of_scores.size(0) == x.size(0) &&
                      of_scores.size(1) == y.size(0) && of_scores.scalar_type() == asked.features.dtype,
                  "of_scores must have the shape (", x.size(0), ", ", y.size(0), ") and the dtype of x");
  const Tensor weights = torch::stable::contiguous(of_scores);
  Tensor d_x = asked.gradient(x, need_x), d_y = asked.gradient(y, need_y);
  for (Tensor* d : {&d_x, &d_y})
    std::memset(d->data_ptr(), 0, size_t(d->numel() * asked.features.bytes_of_number()));
  cpu::FeatureProblem& p = asked.problem;
  p.grad_score = weights.data_ptr();
  p.d_x = need_x ? d_x.data_ptr() : nullptr, p.d_y = need_y ? d_y.data_ptr() : nullptr;
  cpu::differentiate_features(p, threads());
  return {d_x, d_y};
}

template <class T>
Tensor scaled(const Tensor& of_score, const Tensor& score, const Tensor& made) {
  const Sizes size(made.sizes().begin(), made.sizes().end());
  Tensor out = new_tensor(size, score.scalar_type());
  if (size.size() != 3) return out;  // not wanted
  ScaledGradient<T> problem{size[0],
                            size[1] * size[2],
                            static_cast<const T*>(of_score.data_ptr()),
                            of_score.stride(0),
                            static_cast<const T*>(score.data_ptr()),
                            static_cast<const T*>(made.data_ptr()),
                            static_cast<T*>(out.data_ptr())};
  cpu::scale_gradients(problem, threads());
  return out;
}
std::tuple<Tensor, Tensor> scaled_gradients(const Tensor& of_score, const Tensor& score, const Tensor& d_x,
                                            const Tensor& d_y) {
  const ScalarType dtype = score.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                  "score must be float64 or float32");
  STD_TORCH_CHECK(score.dim() == 1 && score.is_contiguous(), "score must be contiguous, of shape (pairs,)");
  STD_TORCH_CHECK(of_score.is_cpu() && of_score.dim() == 1 && of_score.size(0) == score.size(0) &&
                      of_score.scalar_type() == dtype,
                  "of_score must have the shape and dtype of score");
  for (const Tensor* made : {&d_x, &d_y})
    STD_TORCH_CHECK(
        made->is_cpu() && made->is_contiguous() && made->scalar_type() == dtype &&
            (made->dim() == 3 ? made->size(0) == score.size(0) : made->dim() == 1 && made->size(0) == 0),
        "d_x and d_y must be contiguous, of shape (pairs, steps, features) or (0,)");
  const auto both = [&](auto number) {
    using T = decltype(number);
    return std::make_tuple(scaled<T>(of_score, score, d_x), scaled<T>(of_score, score, d_y));
  };
  return dtype == ScalarType::Double ? both(double()) : both(float());
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("score_of_features", TORCH_BOX(&score_of_features));
  m.impl("pairwise_scores", TORCH_BOX(&pairwise_scores));
  m.impl("pairwise_gradients", TORCH_BOX(&pairwise_gradients));
  m.impl("scaled_gradients", TORCH_BOX(&scaled_gradients));
}

}  // namespace softdp
