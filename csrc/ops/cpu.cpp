// CPU operators: tensors in, a problem for cpu/sweep.h out.
#include "cpu.h"

#include <torch/csrc/stable/library.h>

#include <exception>
#include <string>

#include "../cpu/second_order.h"

namespace softdp {
namespace {

cpu::Type type_of(ScalarType dtype, const char* name) {
  switch (dtype) {
    case ScalarType::Double:
      return cpu::Type::kFloat64;
    case ScalarType::Float:
      return cpu::Type::kFloat32;
    case ScalarType::Half:
      return cpu::Type::kFloat16;
    case ScalarType::BFloat16:
      return cpu::Type::kBfloat16;
    default:
      STD_TORCH_CHECK(false, name, " must be float64, float32, float16 or bfloat16");
  }
}
ScalarType arithmetic(ScalarType dtype) {
  return dtype == ScalarType::Double ? dtype : ScalarType::Float;
}

// Tensors of scores, as the kernels take them.
cpu::Table table(const Tensor& t, const char* name, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(t.is_cpu(), name, " must be on the scores' device");
  STD_TORCH_CHECK(t.dim() == 3, name, " must have 3 dimensions, got ", t.dim());
  STD_TORCH_CHECK(arithmetic(t.scalar_type()) == arithmetic(dtype), name,
                  " must have the dtype of the scores");
  int64_t stride[3];
  strides_of(t, name, size, stride);
  return {t.data_ptr(), type_of(t.scalar_type(), name), stride[0], stride[1], stride[2]};
}

// What the forward and the backward operators tell of a problem.
cpu::Problem fsd_problem(const Tensor& match, const Tensor& insert, const std::optional<Tensor>& del,
                         const Sizes& size, const LengthsOnCpu& lengths, double gamma, bool anchored) {
  check_numbers(std::abs(gamma));
  const ScalarType dtype = match.scalar_type();
  cpu::Problem p{};
  p.pairs = lengths.pairs(size);
  p.anchored = anchored;
  p.shared_gap = !del;
  p.gamma = std::abs(gamma);
  p.costs = gamma < 0;
  p.scores[0] = table(match, "match", size, dtype);
  p.scores[1] = table(insert, "insert", size, dtype);
  p.scores[2] = del ? table(*del, "delete", size, dtype) : p.scores[1];
  return p;
}
cpu::Problem lcs_problem(const Tensor& similarity, const Sizes& size, const LengthsOnCpu& lengths,
                         double threshold, double gamma) {
  check_numbers(gamma, threshold);
  cpu::Problem p{};
  p.pairs = lengths.pairs(size);
  p.lcs = p.shared_gap = true;
  p.gamma = gamma;
  p.threshold = threshold;
  for (cpu::Table& scores : p.scores)
    scores = table(similarity, "similarity", size, similarity.scalar_type());
  return p;
}

std::tuple<Tensor, Tensor> forward(cpu::Problem& p, ScalarType dtype, bool save) {
  const Pairs& pairs = p.pairs;
  Tensor score = new_tensor({pairs.count}, arithmetic(dtype));
  Tensor saved = new_tensor(
      save ? Sizes{pairs.count, cpu::saved_bytes(pairs.rows, pairs.columns, cpu::packs(p))} : Sizes{0},
      ScalarType::Byte);
  p.score = score.data_ptr();
  p.saved = save ? data<unsigned char>(saved) : nullptr;
  cpu::forward(p, threads());
  return {score, saved};
}

std::tuple<Tensor, Tensor> fsd_forward(const Tensor& match, const Tensor& insert,
                                       const std::optional<Tensor>& del,
                                       const std::optional<Tensor>& x_lengths,
                                       const std::optional<Tensor>& y_lengths, double gamma, bool anchored,
                                       bool save) {
  const Sizes size = size_of(match, "match");
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  cpu::Problem p = fsd_problem(match, insert, del, size, lengths, gamma, anchored);
  return forward(p, match.scalar_type(), save);
}

std::tuple<Tensor, Tensor> lcs_forward(const Tensor& similarity, const std::optional<Tensor>& x_lengths,
                                       const std::optional<Tensor>& y_lengths, double threshold, double gamma,
                                       bool save) {
  const Sizes size = size_of(similarity, "similarity");
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  cpu::Problem p = lcs_problem(similarity, size, lengths, threshold, gamma);
  return forward(p, similarity.scalar_type(), save);
}

// A gradient of the scores `of` in a problem of this size, empty where it is not needed.
Tensor gradient(cpu::Sink& sink, bool needed, const Tensor& of, const Sizes& size, const char* name,
                ScalarType dtype) {
  const Sizes own = gradient_size(of, size, name);
  Tensor t = new_tensor(needed ? own : Sizes{0}, dtype);
  sink = {needed ? t.data_ptr() : nullptr, type_of(dtype, name), own[1] == size[1], own[2] == size[2]};
  return t;
}

void backward(cpu::Problem& p, const Tensor& grad, const Tensor& saved, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(saved.is_cpu() && saved.is_contiguous() && saved.scalar_type() == ScalarType::Byte &&
                      saved.numel() == size[0] * cpu::saved_bytes(size[1], size[2], cpu::packs(p)) &&
                      saved.dim() == 2,
                  "the saved state does not belong to these scores: was it saved (save=True)?");
  STD_TORCH_CHECK(
      grad.is_cpu() && grad.dim() == 1 && grad.size(0) == size[0] && grad.scalar_type() == arithmetic(dtype),
      "the scores' gradient must be a CPU tensor of shape (", size[0], ",) and their dtype");
  const Tensor grad_score = torch::stable::contiguous(grad);
  p.saved = data<unsigned char>(saved);
  p.grad_score = grad_score.data_ptr();
  cpu::backward(p, threads());
}

std::tuple<Tensor, Tensor, Tensor> fsd_backward(const Tensor& grad, const Tensor& saved, const Tensor& match,
                                                const Tensor& insert, const std::optional<Tensor>& del,
                                                const std::optional<Tensor>& x_lengths,
                                                const std::optional<Tensor>& y_lengths, double gamma,
                                                bool anchored, bool need_match, bool need_insert,
                                                bool need_delete) {
  const Sizes size = size_of(match, "match");
  const ScalarType dtype = match.scalar_type();
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  cpu::Problem p = fsd_problem(match, insert, del, size, lengths, gamma, anchored);
  std::tuple<Tensor, Tensor, Tensor> out{
      gradient(p.gradients[0], need_match, match, size, "match", dtype),
      gradient(p.gradients[1], need_insert, insert, size, "insert", dtype),
      gradient(p.gradients[2], need_delete && del, del.value_or(insert), size, "delete", dtype)};
  backward(p, grad, saved, size, dtype);
  return out;
}

Tensor lcs_backward(const Tensor& grad, const Tensor& saved, const Tensor& similarity,
                    const std::optional<Tensor>& x_lengths, const std::optional<Tensor>& y_lengths,
                    double threshold, double gamma, bool visits) {
  const Sizes size = size_of(similarity, "similarity");
  const ScalarType dtype = similarity.scalar_type();
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  cpu::Problem p = lcs_problem(similarity, size, lengths, threshold, gamma);
  p.visits = visits;
  Tensor out = gradient(p.gradients[0], true, similarity, size, "similarity", dtype);
  backward(p, grad, saved, size, dtype);
  return out;
}

// ---- second order

cpu::SecondOrder second_order_of(const cpu::Problem& p, const Tensor& grad_score) {
  return {p.pairs,
          p.lcs,
          p.anchored,
          p.shared_gap,
          p.gamma,
          p.threshold,
          {p.scores[0], p.scores[1], p.scores[2]},
          {},
          grad_score.data_ptr(),
          nullptr,
          {}};
}

// A direction; the table of a null one is null.
cpu::Table direction(const std::optional<Tensor>& t, const char* name, const Sizes& size, ScalarType dtype) {
  if (!t) return {};
  STD_TORCH_CHECK(t->scalar_type() == dtype, name, " must have the dtype of the scores");
  return table(*t, name, size, dtype);
}

void check_second_order(const Tensor& grad, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                  "the second order is computed in float64 or float32");
  STD_TORCH_CHECK(grad.is_cpu() && grad.dim() == 1 && grad.size(0) == size[0] && grad.scalar_type() == dtype,
                  "the scores' gradient must be a CPU tensor of shape (", size[0], ",) and their dtype");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> fsd_double_backward(
    const std::optional<Tensor>& v_match, const std::optional<Tensor>& v_insert,
    const std::optional<Tensor>& v_delete, const Tensor& grad, const Tensor& match, const Tensor& insert,
    const std::optional<Tensor>& del, const std::optional<Tensor>& x_lengths,
    const std::optional<Tensor>& y_lengths, double gamma, bool anchored, bool need_match, bool need_insert,
    bool need_delete) {
  const Sizes size = size_of(match, "match");
  const ScalarType dtype = match.scalar_type();
  check_second_order(grad, size, dtype);
  check_numbers(gamma);
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  const cpu::Problem scores = fsd_problem(match, insert, del, size, lengths, gamma, anchored);
  STD_TORCH_CHECK(
      scores.scores[1].type == scores.scores[0].type && scores.scores[2].type == scores.scores[0].type,
      "the gaps must have the dtype of the scores");
  const Tensor grad_score = torch::stable::contiguous(grad);
  cpu::SecondOrder p = second_order_of(scores, grad_score);
  p.directions[0] = direction(v_match, "v_match", size, dtype);
  p.directions[1] = direction(v_insert, "v_insert", size, dtype);
  p.directions[2] = del ? direction(v_delete, "v_delete", size, dtype) : p.directions[1];
  Tensor tangent = new_tensor({size[0]}, dtype);
  p.tangent = tangent.data_ptr();
  const auto product = [&](bool needed, int which) {
    Tensor t = new_tensor(needed ? size : Sizes{0}, dtype);
    p.products[which] = needed ? t.data_ptr() : nullptr;
    return t;
  };
  Tensor d_match = product(need_match, 0), d_insert = product(need_insert, 1),
         d_delete = product(need_delete && del, 2);
  cpu::second_order(p, threads());
  return {tangent, d_match, d_insert, d_delete};
}

std::tuple<Tensor, Tensor> lcs_double_backward(const Tensor& v, const Tensor& grad, const Tensor& similarity,
                                               const std::optional<Tensor>& x_lengths,
                                               const std::optional<Tensor>& y_lengths, double threshold,
                                               double gamma) {
  const Sizes size = size_of(similarity, "similarity");
  const ScalarType dtype = similarity.scalar_type();
  check_second_order(grad, size, dtype);
  const LengthsOnCpu lengths(x_lengths, y_lengths, size);
  const Tensor grad_score = torch::stable::contiguous(grad);
  cpu::SecondOrder p = second_order_of(lcs_problem(similarity, size, lengths, threshold, gamma), grad_score);
  p.directions[0] = direction(v, "v", size, dtype);
  Tensor tangent = new_tensor({size[0]}, dtype), product = new_tensor(size, dtype);
  p.tangent = tangent.data_ptr();
  p.products[0] = product.data_ptr();
  cpu::second_order(p, threads());
  return {tangent, product};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("fsd_forward", TORCH_BOX(&fsd_forward));
  m.impl("fsd_backward", TORCH_BOX(&fsd_backward));
  m.impl("lcs_forward", TORCH_BOX(&lcs_forward));
  m.impl("lcs_backward", TORCH_BOX(&lcs_backward));
  m.impl("fsd_double_backward", TORCH_BOX(&fsd_double_backward));
  m.impl("lcs_double_backward", TORCH_BOX(&lcs_double_backward));
}

}  // namespace softdp

// The name of the instruction set in use or, after an exclamation mark, what is wrong with SOFTDP_CPU; for
// ctypes.
extern "C" __attribute__((visibility("default"))) const char* softdp_cpu() {
  static const std::string answer = [] {
    try {
      return std::string(softdp::cpu::chosen().name);
    } catch (const std::exception& error) {
      return std::string("!") + error.what();
    }
  }();
  return answer.c_str();
}
