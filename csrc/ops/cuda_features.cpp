// CUDA operators of cuda/feature_scores.h.
#include <torch/csrc/stable/library.h>

#include "gpu.h"

namespace softdp {
namespace {

// run(T()) with the type of the features.
template <class Run>
auto with_type_of(const Tensor& features, Run run) {
  const ScalarType dtype = features.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float, "x must be float64 or float32");
  return dtype == ScalarType::Double ? run(double()) : run(float());
}

// x and y, checked, and what is asked of them.
template <class T>
struct Asked {
  Tensor x, y;
  std::optional<LengthsOnDevice> x_lengths, y_lengths;
  cuda::FeatureProblem<T> problem{};

  // every: every x is compared with every y.
  Asked(const Tensor& given_x, const Tensor& given_y, const std::optional<Tensor>& x_lengths,
        const std::optional<Tensor>& y_lengths, int64_t kind, double gamma, double threshold,
        int64_t boundary, int64_t bandwidth, bool every)
      : x(features_of(given_x, "x", given_x, given_x.size(2))),
        y(features_of(given_y, "y", given_x, given_x.size(2))) {
    check_numbers(gamma, threshold);
    STD_TORCH_CHECK(0 <= kind && kind <= 5, "kind must be 0 to 5, got ", kind);
    const int64_t K = x.size(0), L = y.size(0), D = x.size(2);
    STD_TORCH_CHECK(kind != 1 || D % 2 == 0, "x must have an even number of features, got ", D);
    STD_TORCH_CHECK(every || K == L, "x and y must have as many sequences, got ", K, " and ", L);
    double cells = 1;
    for (const int64_t n : {every ? K * L : K, x.size(1), y.size(1)})
      cells *= double(std::max<int64_t>(n, 1));
    STD_TORCH_CHECK(cells < 0x1p46, "x and y have too many pairs of steps");
    this->x_lengths.emplace(x_lengths, std::nullopt, x, K);
    this->y_lengths.emplace(std::nullopt, y_lengths, y, L);
    cuda::FeatureProblem<T>& p = problem;
    p.pairs = {every ? K * L : K, x.size(1), y.size(1), this->x_lengths->x_lengths,
               this->y_lengths->y_lengths};
    p.others = every ? L : 0;
    p.features = D;
    p.kind = Kind(kind);
    const StartAndEnds found = boundary_option(boundary, p.kind);
    p.start = found.start, p.ends = found.ends;
    p.pairs.bandwidth = bandwidth_option(bandwidth, {K, x.size(1), y.size(1)});
    p.gamma = gamma, p.threshold = threshold;
    p.x = data<const T>(x), p.y = data<const T>(y);
    p.table_bytes = cuda::table_bytes();
  }
  Tensor gradient(const Tensor& of, bool wanted) const {
    return new_tensor(x, wanted ? Sizes{of.size(0), of.size(1), of.size(2)} : Sizes{0}, x.scalar_type());
  }
  void want(Tensor* d_x, Tensor* d_y) {
    problem.d_x = d_x ? data<T>(*d_x) : nullptr, problem.d_y = d_y ? data<T>(*d_y) : nullptr;
  }
  void launch(cudaStream_t stream) {
    const Tensor workspace = workspace_for(problem, x);
    check_launch(cuda::score_features(problem, stream));
  }

 private:
  static Tensor features_of(const Tensor& t, const char* name, const Tensor& x, int64_t features) {
    STD_TORCH_CHECK(t.dim() == 3 && t.size(2) == features && is_beside(t, x), name,
                    " must be of shape (sequences, steps, ", features, "), on the device of x");
    STD_TORCH_CHECK(t.scalar_type() == x.scalar_type(), name, " must have the dtype of x");
    return torch::stable::contiguous(t);
  }
};

void check_features(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 3, "x must have 3 dimensions, got ", x.dim());
}

std::tuple<Tensor, Tensor, Tensor> score_of_features(const Tensor& x, const std::optional<Tensor>& other,
                                                     const std::optional<Tensor>& x_lengths,
                                                     const std::optional<Tensor>& y_lengths, int64_t kind,
                                                     double gamma, double threshold, int64_t boundary,
                                                     int64_t bandwidth, bool need_x, bool need_y) {
  return on_device("softdp::score_of_features", x, [&](cudaStream_t stream) {
    check_features(x);
    return with_type_of(x, [&](auto number) {
      using T = decltype(number);
      const Tensor& y = other ? *other : x;
      Asked<T> asked(x, y, x_lengths, other ? y_lengths : x_lengths, kind, gamma, threshold, boundary,
                     bandwidth, false);
      STD_TORCH_CHECK(other || is_symmetric(Kind(kind), asked.problem.start), "y must be given for kind ",
                      kind, " and boundary ", boundary);
      asked.problem.itself = !other;
      Tensor score = new_tensor(x, {x.size(0)}, x.scalar_type()), d_x = asked.gradient(x, need_x),
             d_y = asked.gradient(y, need_y && other);
      asked.problem.score = data<T>(score);
      asked.want(need_x ? &d_x : nullptr, need_y && other ? &d_y : nullptr);
      asked.launch(stream);
      return std::make_tuple(score, d_x, d_y);
    });
  });
}

Tensor pairwise_scores(const Tensor& x, const Tensor& y, const std::optional<Tensor>& x_lengths,
                       const std::optional<Tensor>& y_lengths, int64_t kind, double gamma, double threshold,
                       int64_t boundary, int64_t bandwidth) {
  return on_device("softdp::pairwise_scores", x, [&](cudaStream_t stream) {
    check_features(x);
    return with_type_of(x, [&](auto number) {
      using T = decltype(number);
      Asked<T> asked(x, y, x_lengths, y_lengths, kind, gamma, threshold, boundary, bandwidth, true);
      Tensor scores = new_tensor(x, {x.size(0), y.size(0)}, x.scalar_type());
      asked.problem.score = data<T>(scores);
      asked.launch(stream);
      return scores;
    });
  });
}

std::tuple<Tensor, Tensor> pairwise_gradients(const Tensor& of_scores, const Tensor& x, const Tensor& y,
                                              const std::optional<Tensor>& x_lengths,
                                              const std::optional<Tensor>& y_lengths, int64_t kind,
                                              double gamma, double threshold, int64_t boundary,
                                              int64_t bandwidth, bool need_x, bool need_y) {
  return on_device("softdp::pairwise_gradients", x, [&](cudaStream_t stream) {
    check_features(x);
    return with_type_of(x, [&](auto number) {
      using T = decltype(number);
      Asked<T> asked(x, y, x_lengths, y_lengths, kind, gamma, threshold, boundary, bandwidth, true);
      STD_TORCH_CHECK(is_beside(of_scores, x) && of_scores.dim() == 2 && of_scores.size(0) == x.size(0) &&
                          of_scores.size(1) == y.size(0) && of_scores.scalar_type() == x.scalar_type(),
                      "of_scores must have the shape (", x.size(0), ", ", y.size(0),
                      "), the dtype and the device of x");
      const Tensor weights = torch::stable::contiguous(of_scores);
      Tensor d_x = asked.gradient(x, need_x), d_y = asked.gradient(y, need_y);
      if (asked.problem.pairs.count == 0)
        for (const Tensor* d : {&d_x, &d_y})
          check_launch(cuda::clear(d->data_ptr(), d->numel() * int64_t(sizeof(T)), stream));
      asked.problem.grad_score = data<const T>(weights);
      asked.want(need_x ? &d_x : nullptr, need_y ? &d_y : nullptr);
      asked.launch(stream);
      return std::make_tuple(d_x, d_y);
    });
  });
}

template <class T>
Tensor scaled(const Tensor& of_score, const Tensor& score, const Tensor& made, cudaStream_t stream) {
  Tensor out = new_tensor(score, Sizes(made.sizes().begin(), made.sizes().end()), made.scalar_type());
  if (made.dim() != 3) return out;  // not wanted
  ScaledGradient<T> problem{made.size(0),       made.size(1) * made.size(2), data<const T>(of_score),
                            of_score.stride(0), data<const T>(score),        data<const T>(made),
                            data<T>(out)};
  check_launch(cuda::scale_gradients(problem, stream));
  return out;
}
std::tuple<Tensor, Tensor> scaled_gradients(const Tensor& of_score, const Tensor& score, const Tensor& d_x,
                                            const Tensor& d_y) {
  return on_device("softdp::scaled_gradients", score, [&](cudaStream_t stream) {
    return with_type_of(score, [&](auto number) {
      using T = decltype(number);
      const ScalarType dtype = score.scalar_type();
      STD_TORCH_CHECK(score.dim() == 1 && score.is_contiguous(),
                      "score must be contiguous, of shape (pairs,)");
      STD_TORCH_CHECK(is_beside(of_score, score) && of_score.dim() == 1 &&
                          of_score.size(0) == score.size(0) && of_score.scalar_type() == dtype,
                      "of_score must have the shape, the dtype and the device of score");
      for (const Tensor* made : {&d_x, &d_y})
        STD_TORCH_CHECK(
            is_beside(*made, score) && made->is_contiguous() && made->scalar_type() == dtype &&
                (made->dim() == 3 ? made->size(0) == score.size(0) : made->dim() == 1 && made->size(0) == 0),
            "d_x and d_y must be contiguous, of shape (pairs, steps, features) or (0,)");
      return std::make_tuple(scaled<T>(of_score, score, d_x, stream),
                             scaled<T>(of_score, score, d_y, stream));
    });
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CUDA, m) {
  m.impl("score_of_features", TORCH_BOX(&score_of_features));
  m.impl("pairwise_scores", TORCH_BOX(&pairwise_scores));
  m.impl("pairwise_gradients", TORCH_BOX(&pairwise_gradients));
  m.impl("scaled_gradients", TORCH_BOX(&scaled_gradients));
}

}  // namespace softdp
