// CUDA operators: tensors in, a problem for cuda/wavefront.h out, launched on the current stream. Nothing
// here waits for the device. Errors name their operator; the next call starts afresh.
#include <torch/csrc/stable/library.h>

#include "cuda_sweeps.h"

namespace softdp {
namespace {

Options fsd(double gamma, int64_t boundary, int64_t bandwidth, bool costs) {
  return with_gaps(Fsd::kId, gamma, boundary, bandwidth, costs);
}
Options lcs(double gamma, double threshold, int64_t bandwidth) {
  return {Lcs::kId, gamma, threshold, {Start::kFree, Ends::kCorner}, bandwidth};
}

// ---- forward

std::tuple<Tensor, Tensor> fsd_forward(const Tensor& match, const Tensor& insert, const Optional& del,
                                       const Optional& x_lengths, const Optional& y_lengths, double gamma,
                                       int64_t boundary, int64_t bandwidth, bool costs, bool save) {
  return on_device("softdp::fsd_forward", match, [&](cudaStream_t stream) {
    const Scores scores(fsd(gamma, boundary, bandwidth, costs), match, match, insert, del, x_lengths,
                        y_lengths);
    return forward(scores, save, cuda::Saves::kGradients, stream);
  });
}

std::tuple<Tensor, Tensor> lcs_forward(const Tensor& similarity, const Optional& x_lengths,
                                       const Optional& y_lengths, double threshold, double gamma,
                                       int64_t bandwidth, bool save) {
  return on_device("softdp::lcs_forward", similarity, [&](cudaStream_t stream) {
    const Scores scores(lcs(gamma, threshold, bandwidth), similarity, similarity, "similarity", x_lengths,
                        y_lengths);
    return forward(scores, save, cuda::Saves::kGradients, stream);
  });
}

// ---- backward

Gradients fsd_backward(const Tensor& grad, const Tensor& saved, const Tensor& match, const Tensor& insert,
                       const Optional& del, const Optional& x_lengths, const Optional& y_lengths,
                       double gamma, int64_t boundary, int64_t bandwidth, bool costs, bool need_match,
                       bool need_insert, bool need_delete) {
  return on_device("softdp::fsd_backward", saved, [&](cudaStream_t stream) {
    const Scores scores(fsd(gamma, boundary, bandwidth, costs), saved, match, insert, del, x_lengths,
                        y_lengths);
    return backward(scores, grad, saved, {need_match, need_insert, need_delete}, false, stream);
  });
}

Tensor lcs_backward(const Tensor& grad, const Tensor& given, const Tensor& similarity,
                    const Optional& x_lengths, const Optional& y_lengths, double threshold, double gamma,
                    int64_t bandwidth, bool visits) {
  return on_device("softdp::lcs_backward", given, [&](cudaStream_t stream) {
    const Scores scores(lcs(gamma, threshold, bandwidth), given, similarity, "similarity", x_lengths,
                        y_lengths);
    // Of tiny pairs the gradient was saved; visits take weights.
    const Tensor saved = visits ? std::get<1>(forward(scores, true, cuda::Saves::kWeights, stream)) : given;
    return std::get<0>(backward(scores, grad, saved, {true, false, false}, visits, stream));
  });
}

// ---- second order

Products fsd_double_backward(const Optional& v_match, const Optional& v_insert, const Optional& v_delete,
                             const Tensor& grad, const Tensor& match, const Tensor& insert,
                             const Optional& del, const Optional& x_lengths, const Optional& y_lengths,
                             double gamma, int64_t boundary, int64_t bandwidth, bool costs, bool need_match,
                             bool need_insert, bool need_delete) {
  return on_device("softdp::fsd_double_backward", match, [&](cudaStream_t stream) {
    const Scores scores(fsd(gamma, boundary, bandwidth, costs), match, match, insert, del, x_lengths,
                        y_lengths);
    return second_order(scores, grad, {v_match, v_insert, v_delete}, {need_match, need_insert, need_delete},
                        stream);
  });
}

std::tuple<Tensor, Tensor> lcs_double_backward(const Tensor& v, const Tensor& grad, const Tensor& similarity,
                                               const Optional& x_lengths, const Optional& y_lengths,
                                               double threshold, double gamma, int64_t bandwidth,
                                               bool need_similarity) {
  return on_device("softdp::lcs_double_backward", similarity, [&](cudaStream_t stream) {
    const Scores scores(lcs(gamma, threshold, bandwidth), similarity, similarity, "similarity", x_lengths,
                        y_lengths);
    const auto [tangent, product, _, __] =
        second_order(scores, grad, {v, std::nullopt, std::nullopt}, {need_similarity, false, false}, stream);
    return std::make_tuple(tangent, product);
  });
}

// The operators of a recurrence of three tables whose options are gamma, the boundary and the bandwidth.
// Names has those that errors begin with.
template <class R, class Names>
struct Gapped {
  static Options options(double gamma, int64_t boundary, int64_t bandwidth) {
    return with_gaps(R::kId, gamma, boundary, bandwidth);
  }
  static std::tuple<Tensor, Tensor> forward(const Tensor& match, const Tensor& insert, const Optional& del,
                                            const Optional& x_lengths, const Optional& y_lengths,
                                            double gamma, int64_t boundary, int64_t bandwidth, bool save) {
    return on_device(Names::kForward, match, [&](cudaStream_t stream) {
      const Scores scores(options(gamma, boundary, bandwidth), match, match, insert, del, x_lengths,
                          y_lengths);
      return softdp::forward(scores, save, cuda::Saves::kGradients, stream);
    });
  }
  static Gradients backward(const Tensor& grad, const Tensor& saved, const Tensor& match,
                            const Tensor& insert, const Optional& del, const Optional& x_lengths,
                            const Optional& y_lengths, double gamma, int64_t boundary, int64_t bandwidth,
                            bool need_match, bool need_insert, bool need_delete) {
    return on_device(Names::kBackward, saved, [&](cudaStream_t stream) {
      const Scores scores(options(gamma, boundary, bandwidth), saved, match, insert, del, x_lengths,
                          y_lengths);
      return softdp::backward(scores, grad, saved, {need_match, need_insert, need_delete}, false, stream);
    });
  }
  static Products double_backward(const Optional& v_match, const Optional& v_insert, const Optional& v_delete,
                                  const Tensor& grad, const Tensor& match, const Tensor& insert,
                                  const Optional& del, const Optional& x_lengths, const Optional& y_lengths,
                                  double gamma, int64_t boundary, int64_t bandwidth, bool need_match,
                                  bool need_insert, bool need_delete) {
    return on_device(Names::kDoubleBackward, match, [&](cudaStream_t stream) {
      const Scores scores(options(gamma, boundary, bandwidth), match, match, insert, del, x_lengths,
                          y_lengths);
      return second_order(scores, grad, {v_match, v_insert, v_delete}, {need_match, need_insert, need_delete},
                          stream);
    });
  }
};
struct NeedlemanWunschNames {
  static constexpr const char *kForward = "softdp::needleman_wunsch_forward",
                              *kBackward = "softdp::needleman_wunsch_backward",
                              *kDoubleBackward = "softdp::needleman_wunsch_double_backward";
};
using NeedlemanWunschOperators = Gapped<NeedlemanWunsch, NeedlemanWunschNames>;

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CUDA, m) {
  m.impl("fsd_forward", TORCH_BOX(&fsd_forward));
  m.impl("fsd_backward", TORCH_BOX(&fsd_backward));
  m.impl("fsd_double_backward", TORCH_BOX(&fsd_double_backward));
  m.impl("needleman_wunsch_forward", TORCH_BOX(&NeedlemanWunschOperators::forward));
  m.impl("needleman_wunsch_backward", TORCH_BOX(&NeedlemanWunschOperators::backward));
  m.impl("needleman_wunsch_double_backward", TORCH_BOX(&NeedlemanWunschOperators::double_backward));
  m.impl("lcs_forward", TORCH_BOX(&lcs_forward));
  m.impl("lcs_backward", TORCH_BOX(&lcs_backward));
  m.impl("lcs_double_backward", TORCH_BOX(&lcs_double_backward));
}

}  // namespace softdp
