// The CPU operator of cpu/paths.h.
#include "../cpu/paths.h"

#include <torch/csrc/stable/library.h>

#include "cpu.h"

namespace softdp {
namespace {

using Optional = std::optional<Tensor>;

// A table of the scores, on the CPU, of the dtype of match or of its arithmetic.
Table table(const Tensor& t, const char* name, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(t.is_cpu() && t.dim() == 3, name, " must be a CPU tensor of 3 dimensions");
  STD_TORCH_CHECK(arithmetic(t.scalar_type()) == arithmetic(dtype), name, " must have the dtype of match");
  return table_of(t, name, size);
}

std::tuple<Tensor, Tensor> best_path(const Tensor& match, const Tensor& insert, const Tensor& del,
                                     const Optional& open, const Optional& x_lengths,
                                     const Optional& y_lengths, int64_t recurrence, double threshold,
                                     int64_t boundary, int64_t bandwidth, bool costs) {
  check_numbers(0, threshold);
  const Sizes size = size_of(match, "match");
  const ScalarType dtype = match.scalar_type();
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  cpu::PathProblem p{};
  p.pairs = lengths.pairs(size);
  p.pairs.bandwidth = bandwidth_option(bandwidth, size);
  p.recurrence = recurrence_option(recurrence);
  const StartAndEnds of = boundary_option(boundary, p.recurrence);
  STD_TORCH_CHECK(open.has_value() == (p.recurrence == Recurrence::kAffine),
                  "open must be given with affine gaps, and not without");
  STD_TORCH_CHECK(of.start != Start::kAnywhere || bandwidth < 0, "a local recurrence has no bandwidth, got ",
                  bandwidth);
  if (of.start == Start::kAnywhere) p.recurrence = local_of(p.recurrence);
  p.start = of.start, p.ends = of.ends;
  p.costs = costs;
  p.threshold = dtype == ScalarType::Double ? threshold : double(float(threshold));
  p.scores[0] = table(match, "match", size, dtype);
  p.scores[1] = table(insert, "insert", size, dtype);
  p.scores[2] = table(del, "delete", size, dtype);
  p.one_for_all = one_for_all(insert, del);
  if (open) {
    p.scores[3] = table(*open, "open", size, dtype);
    const OneForAll of_open = one_for_all(*open, *open);
    p.one_for_all.open_of_insert = of_open.insert, p.one_for_all.open_of_delete = of_open.del;
  }
  Tensor steps = new_tensor({size[0], most_steps(p.start, size[1], size[2]), 3}, ScalarType::Long),
         counts = new_tensor({size[0]}, ScalarType::Long);
  p.steps = data<int64_t>(steps);
  p.lengths = data<int64_t>(counts);
  cpu::best_paths(p, threads());
  return {steps, counts};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("best_path", TORCH_BOX(&best_path));
}

}  // namespace softdp
