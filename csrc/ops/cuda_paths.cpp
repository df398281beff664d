// The CUDA operator of cuda/paths.h.
#include <torch/csrc/stable/library.h>

#include "../cuda/paths.h"
#include "gpu.h"

namespace softdp {
namespace {

// saved: what the forward operator of the recurrence has saved, of scores (B, N, M) with gamma 0.
std::tuple<Tensor, Tensor> trace_path(const Tensor& saved, const Tensor& score,
                                      const std::optional<Tensor>& x_lengths,
                                      const std::optional<Tensor>& y_lengths, int64_t rows, int64_t columns,
                                      int64_t recurrence, int64_t boundary, int64_t bandwidth) {
  return on_device("softdp::trace_path", saved, [&](cudaStream_t stream) {
    STD_TORCH_CHECK(rows >= 0 && columns >= 0, "the sizes must not be negative");
    const ScalarType dtype = score.scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                    "score must be float64 or float32");
    STD_TORCH_CHECK(is_beside(score, saved) && score.dim() == 1 && score.is_contiguous() &&
                        saved.is_contiguous() && saved.scalar_type() == ScalarType::Byte,
                    "score and saved must be what the forward operator has returned");
    const int64_t B = score.size(0);
    const LengthsOnDevice lengths(x_lengths, y_lengths, score, B);
    cuda::PathProblem p{};
    p.recurrence = recurrence_option(recurrence);
    const StartAndEnds of = boundary_option(boundary, p.recurrence);
    if (of.start == Start::kAnywhere) p.recurrence = local_of(p.recurrence);
    p.type = type_of(dtype, "score");
    p.pairs = lengths.pairs({B, rows, columns});
    p.pairs.bandwidth = bandwidth_option(bandwidth, {B, rows, columns});
    p.start = of.start, p.ends = of.ends;
    const cuda::Regime regime{p.recurrence, p.type, 0, rows, columns, p.ends, p.pairs.bandwidth};
    const int64_t own = B * regime.saved_bytes(false, cuda::Saves::kWeights),
                  ends = B * ends_of(p.ends, rows, columns) * bytes_of(p.type);
    STD_TORCH_CHECK(saved.numel() == own + ends, "saved does not belong to these sizes");
    p.score = score.data_ptr();
    p.saved = saved.data_ptr();
    p.ends_weights = static_cast<const char*>(saved.data_ptr()) + own;
    p.most = most_steps(p.start, rows, columns);
    Tensor steps = new_tensor(score, {B, p.most, 3}, ScalarType::Long),
           counts = new_tensor(score, {B}, ScalarType::Long);
    p.steps = data<int64_t>(steps);
    p.lengths = data<int64_t>(counts);
    check_launch(cuda::trace_paths(p, stream));
    return std::make_tuple(steps, counts);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CUDA, m) {
  m.impl("trace_path", TORCH_BOX(&trace_path));
}

}  // namespace softdp
