// CPU operators of cpu/features.h.
#include "../cpu/features.h"

#include <torch/csrc/stable/library.h>

#include "cpu.h"

namespace softdp {
namespace {

std::tuple<Tensor, Tensor, Tensor> soft_dtw_of_features(const Tensor& x, const Tensor& y,
                                                        const std::optional<Tensor>& x_lengths,
                                                        const std::optional<Tensor>& y_lengths, double gamma,
                                                        bool need_x, bool need_y) {
  check_numbers(gamma);
  const Features f(x, y);
  const int64_t B = f.sizes.pairs, N = f.sizes.rows, M = f.sizes.columns, D = f.sizes.features;
  const Sizes size{B, N, M};
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  Tensor score = new_tensor({B}, f.dtype), d_x = new_tensor(need_x ? Sizes{B, N, D} : Sizes{0}, f.dtype),
         d_y = new_tensor(need_y ? Sizes{B, M, D} : Sizes{0}, f.dtype);
  cpu::FeatureProblem p{};
  p.pairs = lengths.pairs(size);
  p.features = D;
  p.is_double = f.dtype == ScalarType::Double;
  p.gamma = gamma;
  p.x = f.x.data_ptr(), p.y = f.y.data_ptr();
  p.score = score.data_ptr();
  p.d_x = need_x ? d_x.data_ptr() : nullptr;
  p.d_y = need_y ? d_y.data_ptr() : nullptr;
  cpu::soft_dtw(p, threads());
  return {score, d_x, d_y};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("soft_dtw_of_features", TORCH_BOX(&soft_dtw_of_features));
}

}  // namespace softdp
