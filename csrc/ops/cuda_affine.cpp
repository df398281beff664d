// The CUDA operators of affine gaps: cuda.cpp has those of other recurrences.
#include <torch/csrc/stable/library.h>

#include "cuda_sweeps.h"

namespace softdp {
namespace {

std::tuple<Tensor, Tensor> affine_forward(const Tensor& match, const Tensor& insert, const Optional& del,
                                          const Tensor& open, const Optional& x_lengths,
                                          const Optional& y_lengths, double gamma, int64_t boundary,
                                          int64_t bandwidth, bool save) {
  return on_device("softdp::affine_forward", match, [&](cudaStream_t stream) {
    const Scores scores(with_gaps(Affine::kId, gamma, boundary, bandwidth), match, match, insert, del,
                        x_lengths, y_lengths, &open);
    return forward(scores, save, cuda::Saves::kWeights, stream);
  });
}
AffineGradients affine_backward(const Tensor& grad, const Tensor& saved, const Tensor& match,
                                const Tensor& insert, const Optional& del, const Tensor& open,
                                const Optional& x_lengths, const Optional& y_lengths, double gamma,
                                int64_t boundary, int64_t bandwidth, bool need_match, bool need_insert,
                                bool need_delete, bool need_open) {
  return on_device("softdp::affine_backward", saved, [&](cudaStream_t stream) {
    const Scores scores(with_gaps(Affine::kId, gamma, boundary, bandwidth), saved, match, insert, del,
                        x_lengths, y_lengths, &open);
    return all_gradients(scores, grad, saved, {need_match, need_insert, need_delete, need_open}, false,
                         stream);
  });
}
AffineProducts affine_double_backward(const Optional& v_match, const Optional& v_insert,
                                      const Optional& v_delete, const Optional& v_open, const Tensor& grad,
                                      const Tensor& match, const Tensor& insert, const Optional& del,
                                      const Tensor& open, const Optional& x_lengths,
                                      const Optional& y_lengths, double gamma, int64_t boundary,
                                      int64_t bandwidth, bool need_match, bool need_insert, bool need_delete,
                                      bool need_open) {
  return on_device("softdp::affine_double_backward", match, [&](cudaStream_t stream) {
    const Scores scores(with_gaps(Affine::kId, gamma, boundary, bandwidth), match, match, insert, del,
                        x_lengths, y_lengths, &open);
    return all_products(scores, grad, {v_match, v_insert, v_delete, v_open},
                        {need_match, need_insert, need_delete, need_open}, stream);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CUDA, m) {
  m.impl("affine_forward", TORCH_BOX(&affine_forward));
  m.impl("affine_backward", TORCH_BOX(&affine_backward));
  m.impl("affine_double_backward", TORCH_BOX(&affine_double_backward));
}

}  // namespace softdp
