// The CPU operators. They turn tensors into a problem for cpu/sweep.h.
#include "cpu.h"

#include <torch/csrc/stable/library.h>

#include <exception>
#include <string>

#include "../cpu/second_order.h"

namespace softdp {
namespace {

// The table of a tensor of scores, as the kernels take it.
Table table(const Tensor& t, const char* name, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(t.is_cpu(), name, " must be on the scores' device");
  STD_TORCH_CHECK(t.dim() == 3, name, " must have 3 dimensions, got ", t.dim());
  STD_TORCH_CHECK(arithmetic(t.scalar_type()) == arithmetic(dtype), name,
                  " must have the dtype of the scores");
  return table_of(t, name, size);
}

// An operator's scores, lengths and options. With a recurrence of one table, insert is that table too.
const std::optional<Tensor> kNone;
struct Arguments {
  Recurrence recurrence;
  StartAndEnds boundary;
  bool costs;
  const Tensor &match, &insert;
  const std::optional<Tensor>&del, &x_lengths, &y_lengths;
  int64_t bandwidth;
  double gamma, threshold = 0;
  const Tensor* open = nullptr;  // null: of a recurrence without it
};
// The arguments of a recurrence of three tables, or of four, and a boundary.
Arguments with_gaps(Recurrence recurrence, const Tensor& match, const Tensor& insert,
                    const std::optional<Tensor>& del, const std::optional<Tensor>& x_lengths,
                    const std::optional<Tensor>& y_lengths, double gamma, int64_t boundary, int64_t bandwidth,
                    bool costs = false, const Tensor* open = nullptr) {
  const StartAndEnds of = boundary_option(boundary, recurrence);
  const bool is_local = of.start == Start::kAnywhere;
  STD_TORCH_CHECK(!is_local || bandwidth < 0, "a local recurrence has no bandwidth, got ", bandwidth);
  return {is_local ? local_of(recurrence) : recurrence,
          of,
          costs,
          match,
          insert,
          del,
          x_lengths,
          y_lengths,
          bandwidth,
          gamma,
          0,
          open};
}

Arguments fsd(const Tensor& match, const Tensor& insert, const std::optional<Tensor>& del,
              const std::optional<Tensor>& x_lengths, const std::optional<Tensor>& y_lengths, double gamma,
              int64_t boundary, int64_t bandwidth, bool costs) {
  return with_gaps(Fsd::kId, match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth, costs);
}
Arguments lcs(const Tensor& similarity, const std::optional<Tensor>& x_lengths,
              const std::optional<Tensor>& y_lengths, double threshold, double gamma, int64_t bandwidth) {
  return {Lcs::kId,   {Start::kFree, Ends::kCorner},
          false,      similarity,
          similarity, kNone,
          x_lengths,  y_lengths,
          bandwidth,  gamma,
          threshold};
}

// The part of a problem that is the same for all operators of a recurrence.
struct Scores {
  const Arguments& arguments;
  ScalarType dtype;
  Sizes size;
  LengthsOnCpu lengths;
  cpu::Problem problem{};

  explicit Scores(const Arguments& a)
      : arguments(a),
        dtype(a.match.scalar_type()),
        size(size_of(a.match, name(0))),
        lengths(a.x_lengths, a.y_lengths, size) {
    check_numbers(a.gamma, a.threshold);
    problem.pairs = lengths.pairs(size);
    problem.pairs.bandwidth = bandwidth_option(a.bandwidth, size);
    problem.recurrence = a.recurrence;
    problem.start = a.boundary.start;
    problem.ends = a.boundary.ends;
    problem.costs = a.costs;
    problem.shared_gap = !a.del;
    problem.gamma = a.gamma;
    problem.threshold = a.threshold;
    for (int i = 0; i < (a.open ? 4 : 3); i++) problem.scores[i] = table(tensor(i), name(i), size, dtype);
    problem.one_for_all = one_for_all(tensor(1), tensor(2));
    if (a.open) {
      const OneForAll open = one_for_all(*a.open, *a.open);
      problem.one_for_all.open_of_insert = open.insert, problem.one_for_all.open_of_delete = open.del;
    }
  }
  const Tensor& tensor(int i) const {
    if (i == 3) return *arguments.open;
    return i == 0 ? arguments.match : i == 2 && arguments.del ? *arguments.del : arguments.insert;
  }
  // How many bytes a pair are saved of the sweep; those of the ends follow, of all pairs.
  int64_t saved_bytes() const { return cpu::saved_bytes(problem); }
  int64_t ends_bytes() const {
    return ends_of(problem.ends, size[1], size[2]) *
           bytes_of(cpu::is_double(problem) ? Type::kFloat64 : Type::kFloat32);
  }
  void take_saved(const Tensor& saved) {
    problem.saved = data<unsigned char>(saved);
    problem.ends_weights = problem.saved + size[0] * saved_bytes();
  }
  const char* name(int i) const {
    if (arguments.recurrence == Lcs::kId) return "similarity";
    constexpr const char* kNames[] = {"match", "insert", "delete", "open"};
    return kNames[i];
  }
};

std::tuple<Tensor, Tensor> forward(const Arguments& arguments, bool save) {
  Scores scores(arguments);
  cpu::Problem& p = scores.problem;
  const Pairs& pairs = p.pairs;
  Tensor score = new_tensor({pairs.count}, arithmetic(scores.dtype));
  Tensor saved = new_tensor(save ? Sizes{pairs.count, scores.saved_bytes() + scores.ends_bytes()} : Sizes{0},
                            ScalarType::Byte);
  p.score = score.data_ptr();
  if (save) scores.take_saved(saved);
  cpu::forward(p, threads());
  return {score, saved};
}

// The gradient by the i-th table, which the sweep is to write; empty where it is not needed.
Tensor gradient_of(Scores& scores, int i, bool needed) {
  const Sizes own = gradient_size(scores.tensor(i), scores.size, scores.name(i));
  if (i == 2 && !scores.arguments.del) needed = false;
  Tensor t = new_tensor(needed ? own : Sizes{0}, scores.dtype);
  scores.problem.gradients[i] = {needed ? t.data_ptr() : nullptr, type_of(scores.dtype, scores.name(i)),
                                 own[1] == scores.size[1], own[2] == scores.size[2]};
  return t;
}
// Writes the gradients that gradient_of has made.
void sweep_back(Scores& scores, const Tensor& grad, const Tensor& saved, bool visits) {
  cpu::Problem& p = scores.problem;
  const Sizes& size = scores.size;
  STD_TORCH_CHECK(saved.is_cpu() && saved.is_contiguous() && saved.scalar_type() == ScalarType::Byte &&
                      saved.numel() == size[0] * (scores.saved_bytes() + scores.ends_bytes()) &&
                      saved.dim() == 2,
                  "the saved state does not belong to these scores: was it saved (save=True)?");
  STD_TORCH_CHECK(grad.is_cpu() && grad.dim() == 1 && grad.size(0) == size[0] &&
                      grad.scalar_type() == arithmetic(scores.dtype),
                  "the scores' gradient must be a CPU tensor of shape (", size[0], ",) and their dtype");
  const Tensor grad_score = torch::stable::contiguous(grad);
  p.visits = visits;
  scores.take_saved(saved);
  p.grad_score = grad_score.data_ptr();
  cpu::backward(p, threads());
}

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

// The gradients by match, insert and delete.
Gradients backward(const Arguments& arguments, const Tensor& grad, const Tensor& saved,
                   const bool (&needs)[3]) {
  Scores scores(arguments);
  Gradients out{gradient_of(scores, 0, needs[0]), gradient_of(scores, 1, needs[1]),
                gradient_of(scores, 2, needs[2])};
  sweep_back(scores, grad, saved, false);
  return out;
}

// The table of a direction; a null direction has a null table.
Table direction(const std::optional<Tensor>& t, const char* name, const Sizes& size, ScalarType dtype) {
  if (!t) return {};
  STD_TORCH_CHECK(t->scalar_type() == dtype, name, " must have the dtype of the scores");
  return table(*t, name, size, dtype);
}

using Products = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using AffineProducts = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// The scores' derivatives along the directions, and the products that are needed. The tensors of the others
// are empty.
AffineProducts all_products(const Arguments& arguments, const std::optional<Tensor>& v_match,
                            const std::optional<Tensor>& v_insert, const std::optional<Tensor>& v_delete,
                            const std::optional<Tensor>& v_open, const Tensor& grad,
                            const bool (&needs)[kMostTables]) {
  const Scores scores(arguments);
  const cpu::Problem& of = scores.problem;
  const Sizes& size = scores.size;
  const ScalarType dtype = scores.dtype;
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                  "the second order is computed in float64 or float32");
  STD_TORCH_CHECK(grad.is_cpu() && grad.dim() == 1 && grad.size(0) == size[0] && grad.scalar_type() == dtype,
                  "the scores' gradient must be a CPU tensor of shape (", size[0], ",) and their dtype");
  for (int i = 1; i < (arguments.open ? 4 : 3); i++)
    STD_TORCH_CHECK(of.scores[i].type == of.scores[0].type, "the gaps must have the dtype of the scores");
  const Tensor grad_score = torch::stable::contiguous(grad);
  Tensor tangent = new_tensor({size[0]}, dtype);
  cpu::SecondOrder p{};
  p.pairs = of.pairs;
  p.recurrence = of.recurrence;
  p.start = of.start;
  p.ends = of.ends;
  p.shared_gap = of.shared_gap;
  p.costs = of.costs;
  p.gamma = of.gamma;
  p.threshold = of.threshold;
  p.one_for_all = of.one_for_all;
  p.grad_score = grad_score.data_ptr();
  p.tangent = tangent.data_ptr();
  for (int i = 0; i < kMostTables; i++) p.scores[i] = of.scores[i];
  p.directions[0] = direction(v_match, "v_match", size, dtype);
  p.directions[1] = direction(v_insert, "v_insert", size, dtype);
  p.directions[2] = of.shared_gap ? p.directions[1] : direction(v_delete, "v_delete", size, dtype);
  p.directions[3] = direction(v_open, "v_open", size, dtype);
  const auto product = [&](int i) {
    const bool needed = needs[i] && (i != 2 || !of.shared_gap);
    Tensor t = new_tensor(needed ? size : Sizes{0}, dtype);
    p.products[i] = needed ? t.data_ptr() : nullptr;
    return t;
  };
  AffineProducts out{tangent, product(0), product(1), product(2), product(3)};
  cpu::second_order(p, threads());
  return out;
}
Products double_backward(const Arguments& arguments, const std::optional<Tensor>& v_match,
                         const std::optional<Tensor>& v_insert, const std::optional<Tensor>& v_delete,
                         const Tensor& grad, const bool (&needs)[3]) {
  const auto& [tangent, match, insert, del, open] = all_products(
      arguments, v_match, v_insert, v_delete, kNone, grad, {needs[0], needs[1], needs[2], false});
  return {tangent, match, insert, del};
}

// ---- the operators, as csrc/ops/library.cpp declares them ------------------------------------------------

using Optional = const std::optional<Tensor>&;

std::tuple<Tensor, Tensor> fsd_forward(const Tensor& match, const Tensor& insert, Optional del,
                                       Optional x_lengths, Optional y_lengths, double gamma, int64_t boundary,
                                       int64_t bandwidth, bool costs, bool save) {
  return forward(fsd(match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth, costs), save);
}
Gradients fsd_backward(const Tensor& grad, const Tensor& saved, const Tensor& match, const Tensor& insert,
                       Optional del, Optional x_lengths, Optional y_lengths, double gamma, int64_t boundary,
                       int64_t bandwidth, bool costs, bool need_match, bool need_insert, bool need_delete) {
  return backward(fsd(match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth, costs), grad,
                  saved, {need_match, need_insert, need_delete});
}
Products fsd_double_backward(Optional v_match, Optional v_insert, Optional v_delete, const Tensor& grad,
                             const Tensor& match, const Tensor& insert, Optional del, Optional x_lengths,
                             Optional y_lengths, double gamma, int64_t boundary, int64_t bandwidth,
                             bool costs, bool need_match, bool need_insert, bool need_delete) {
  return double_backward(fsd(match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth, costs),
                         v_match, v_insert, v_delete, grad, {need_match, need_insert, need_delete});
}

std::tuple<Tensor, Tensor> lcs_forward(const Tensor& similarity, Optional x_lengths, Optional y_lengths,
                                       double threshold, double gamma, int64_t bandwidth, bool save) {
  return forward(lcs(similarity, x_lengths, y_lengths, threshold, gamma, bandwidth), save);
}
Tensor lcs_backward(const Tensor& grad, const Tensor& saved, const Tensor& similarity, Optional x_lengths,
                    Optional y_lengths, double threshold, double gamma, int64_t bandwidth, bool visits) {
  const Arguments arguments = lcs(similarity, x_lengths, y_lengths, threshold, gamma, bandwidth);
  Scores scores(arguments);
  Tensor out = gradient_of(scores, 0, true);
  sweep_back(scores, grad, saved, visits);
  return out;
}
std::tuple<Tensor, Tensor> lcs_double_backward(const Tensor& v, const Tensor& grad, const Tensor& similarity,
                                               Optional x_lengths, Optional y_lengths, double threshold,
                                               double gamma, int64_t bandwidth, bool need_similarity) {
  const auto& [tangent, product, insert, del] =
      double_backward(lcs(similarity, x_lengths, y_lengths, threshold, gamma, bandwidth), v, kNone, kNone,
                      grad, {need_similarity, false, false});
  return {tangent, product};
}

// The operators of recurrences of three tables whose options are gamma, boundary and bandwidth.
template <class R>
struct Gapped {
  static Arguments arguments(const Tensor& match, const Tensor& insert, Optional del, Optional x_lengths,
                             Optional y_lengths, double gamma, int64_t boundary, int64_t bandwidth) {
    return with_gaps(R::kId, match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth);
  }
  static std::tuple<Tensor, Tensor> forward(const Tensor& match, const Tensor& insert, Optional del,
                                            Optional x_lengths, Optional y_lengths, double gamma,
                                            int64_t boundary, int64_t bandwidth, bool save) {
    return softdp::forward(arguments(match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth),
                           save);
  }
  static Gradients backward(const Tensor& grad, const Tensor& saved, const Tensor& match,
                            const Tensor& insert, Optional del, Optional x_lengths, Optional y_lengths,
                            double gamma, int64_t boundary, int64_t bandwidth, bool need_match,
                            bool need_insert, bool need_delete) {
    return softdp::backward(arguments(match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth),
                            grad, saved, {need_match, need_insert, need_delete});
  }
  static Products double_backward(Optional v_match, Optional v_insert, Optional v_delete, const Tensor& grad,
                                  const Tensor& match, const Tensor& insert, Optional del, Optional x_lengths,
                                  Optional y_lengths, double gamma, int64_t boundary, int64_t bandwidth,
                                  bool need_match, bool need_insert, bool need_delete) {
    return softdp::double_backward(
        arguments(match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth), v_match, v_insert,
        v_delete, grad, {need_match, need_insert, need_delete});
  }
};
using NeedlemanWunschOperators = Gapped<NeedlemanWunsch>;

// With affine gaps.
Arguments affine(const Tensor& match, const Tensor& insert, Optional del, const Tensor& open,
                 Optional x_lengths, Optional y_lengths, double gamma, int64_t boundary, int64_t bandwidth) {
  return with_gaps(Affine::kId, match, insert, del, x_lengths, y_lengths, gamma, boundary, bandwidth, false,
                   &open);
}
std::tuple<Tensor, Tensor> affine_forward(const Tensor& match, const Tensor& insert, Optional del,
                                          const Tensor& open, Optional x_lengths, Optional y_lengths,
                                          double gamma, int64_t boundary, int64_t bandwidth, bool save) {
  return forward(affine(match, insert, del, open, x_lengths, y_lengths, gamma, boundary, bandwidth), save);
}
std::tuple<Tensor, Tensor, Tensor, Tensor> affine_backward(
    const Tensor& grad, const Tensor& saved, const Tensor& match, const Tensor& insert, Optional del,
    const Tensor& open, Optional x_lengths, Optional y_lengths, double gamma, int64_t boundary,
    int64_t bandwidth, bool need_match, bool need_insert, bool need_delete, bool need_open) {
  const Arguments arguments =
      affine(match, insert, del, open, x_lengths, y_lengths, gamma, boundary, bandwidth);
  Scores scores(arguments);
  const std::tuple<Tensor, Tensor, Tensor, Tensor> out{
      gradient_of(scores, 0, need_match), gradient_of(scores, 1, need_insert),
      gradient_of(scores, 2, need_delete), gradient_of(scores, 3, need_open)};
  sweep_back(scores, grad, saved, false);
  return out;
}
AffineProducts affine_double_backward(Optional v_match, Optional v_insert, Optional v_delete, Optional v_open,
                                      const Tensor& grad, const Tensor& match, const Tensor& insert,
                                      Optional del, const Tensor& open, Optional x_lengths,
                                      Optional y_lengths, double gamma, int64_t boundary, int64_t bandwidth,
                                      bool need_match, bool need_insert, bool need_delete, bool need_open) {
  return all_products(affine(match, insert, del, open, x_lengths, y_lengths, gamma, boundary, bandwidth),
                      v_match, v_insert, v_delete, v_open, grad,
                      {need_match, need_insert, need_delete, need_open});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(softdp, CPU, m) {
  m.impl("fsd_forward", TORCH_BOX(&fsd_forward));
  m.impl("fsd_backward", TORCH_BOX(&fsd_backward));
  m.impl("fsd_double_backward", TORCH_BOX(&fsd_double_backward));
  m.impl("lcs_forward", TORCH_BOX(&lcs_forward));
  m.impl("lcs_backward", TORCH_BOX(&lcs_backward));
  m.impl("lcs_double_backward", TORCH_BOX(&lcs_double_backward));
  m.impl("needleman_wunsch_forward", TORCH_BOX(&NeedlemanWunschOperators::forward));
  m.impl("needleman_wunsch_backward", TORCH_BOX(&NeedlemanWunschOperators::backward));
  m.impl("needleman_wunsch_double_backward", TORCH_BOX(&NeedlemanWunschOperators::double_backward));
  m.impl("affine_forward", TORCH_BOX(&affine_forward));
  m.impl("affine_backward", TORCH_BOX(&affine_backward));
  m.impl("affine_double_backward", TORCH_BOX(&affine_double_backward));
}

}  // namespace softdp

// For ctypes: the name of the instruction set in use, or an exclamation mark and the error that SOFTDP_CPU
// causes.
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
