// CUDA operators: tensors in, a problem for cuda/wavefront.h out, launched on the current stream. Nothing
// here waits for the device. Errors name their operator; the next call starts afresh.
#include <torch/csrc/stable/library.h>

#include "gpu.h"

namespace softdp {
namespace {

using Optional = std::optional<Tensor>;

// What an operator is asked for, beside its tensors.
struct Options {
  Recurrence recurrence;
  double gamma;
  double threshold = 0;
  StartAndEnds boundary = {Start::kFree, Ends::kCorner};
  int64_t bandwidth = -1;
  bool costs = false;
};
Options fsd(double gamma, int64_t boundary, int64_t bandwidth, bool costs) {
  return {Fsd::kId, gamma, 0, boundary_option(boundary, Fsd::kId), bandwidth, costs};
}
Options lcs(double gamma, double threshold, int64_t bandwidth) {
  return {Lcs::kId, gamma, threshold, {Start::kFree, Ends::kCorner}, bandwidth};
}

// The scores of a problem, checked. Those of a recurrence of one table have no gaps.
struct Scores {
  Options options;
  Sizes size;
  int64_t bandwidth;
  ScalarType dtype;
  LengthsOnDevice lengths;
  int count;             // of tables
  const Tensor* own[3];  // match, insert, delete; a shared gap stands for both
  Table tables[3] = {};
  bool shared_gap = false;

  // beside: a tensor on the device that all of them must be on.
  Scores(const Options& options, const Tensor& beside, const Tensor& match, const char* name,
         const Optional& x_lengths, const Optional& y_lengths)
      : options(options),
        size(size_of(match, name)),
        bandwidth(bandwidth_option(options.bandwidth, size)),
        dtype(match.scalar_type()),
        lengths(x_lengths, y_lengths, beside, size[0]),
        count(1),
        own{&match, &match, &match} {
    check_numbers(options.gamma, options.threshold);
    STD_TORCH_CHECK(bandwidth < 0, "bandwidth is not implemented on CUDA devices");
    STD_TORCH_CHECK(is_beside(match, beside), name, " must be on the device of what was saved");
    tables[0] = table_of(match, name, size);
  }
  Scores(const Options& options, const Tensor& beside, const Tensor& match, const Tensor& insert,
         const Optional& del, const Optional& x_lengths, const Optional& y_lengths)
      : Scores(options, beside, match, "match", x_lengths, y_lengths) {
    count = 3;
    own[1] = &insert;
    own[2] = del ? &*del : &insert;
    shared_gap = !del;
    const auto same_in_all_columns = [](const Tensor& gap) { return gap.dim() == 3 && gap.size(2) == 1; };
    const ScalarType of_gaps = insert.scalar_type();
    STD_TORCH_CHECK(of_gaps == dtype || (of_gaps == arithmetic(dtype) && same_in_all_columns(*own[1]) &&
                                         same_in_all_columns(*own[2])),
                    "insert must have match's dtype");
    for (int i = 1; i < 3; i++) {
      const char* const name = i == 1 ? "insert" : "delete";
      check_scores(*own[i], name, is_beside(*own[i], match), of_gaps);
      tables[i] = table_of(*own[i], name, size);
    }
  }
  Pairs pairs() const {
    Pairs pairs = lengths.pairs(size);
    pairs.bandwidth = bandwidth;
    return pairs;
  }
  // How many bytes a pair are saved of the sweep; those of the ends follow, of all pairs.
  int64_t saved_bytes(cuda::Saves saves) const {
    const cuda::Regime regime{options.recurrence,   tables[0].type, options.gamma, size[1], size[2],
                              options.boundary.ends};
    return regime.planes(shared_gap, saves) * size[1] * size[2] * bytes_of_number();
  }
  int64_t ends_bytes() const { return ends_of(options.boundary.ends, size[1], size[2]) * bytes_of_number(); }
  Sizes saved_size(cuda::Saves saves) const { return {size[0], saved_bytes(saves) + ends_bytes()}; }
  // Where the ends' numbers lie, in what was saved.
  void* ends_in(const Tensor& saved, cuda::Saves saves) const {
    return static_cast<char*>(saved.data_ptr()) + size[0] * saved_bytes(saves);
  }
  // What every sweep is told of the scores.
  template <class Problem>
  void describe(Problem& problem) const {
    problem.recurrence = options.recurrence;
    problem.pairs = pairs();
    problem.start = options.boundary.start;
    problem.ends = options.boundary.ends;
  }

 private:
  int bytes_of_number() const { return bytes_of(type_of(arithmetic(dtype), "the scores")); }
};

// ---- forward

std::tuple<Tensor, Tensor> forward(const Scores& scores, bool save, cuda::Saves saves, cudaStream_t stream) {
  const Options& options = scores.options;
  const Sizes& size = scores.size;
  const ScalarType dtype = arithmetic(scores.dtype);
  Tensor score = new_tensor(*scores.own[0], {size[0]}, dtype);
  Tensor saved = new_tensor(*scores.own[0], save ? scores.saved_size(saves) : Sizes{0}, ScalarType::Byte);
  cuda::Forward problem{};
  scores.describe(problem);
  problem.gamma = options.gamma;
  problem.threshold = options.threshold;
  problem.costs = options.costs;
  std::copy(scores.tables, scores.tables + 3, problem.tables);
  problem.shared_gap = scores.shared_gap;
  problem.one_for_all = one_for_all(*scores.own[1], *scores.own[2]);
  problem.score = score.data_ptr();
  problem.saved = save ? saved.data_ptr() : nullptr;
  problem.ends_weights = save ? scores.ends_in(saved, saves) : nullptr;
  problem.saves = saves;
  const Tensor workspace = workspace_for(problem, score);
  check_launch(cuda::forward(problem, stream));
  return {score, saved};
}

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

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

void check_gradient(const Tensor& grad, const Tensor& saved, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(is_beside(grad, saved) && grad.dim() == 1 && grad.size(0) == size[0] &&
                      grad.scalar_type() == arithmetic(dtype),
                  "the scores' gradient must have shape (", size[0], ",), their dtype and their device");
}

// By match, insert and delete; empty where not needed. visits: by S itself in place of match, from weights.
Gradients backward(const Scores& scores, const Tensor& grad, const Tensor& saved, const bool (&needs)[3],
                   bool visits, cudaStream_t stream) {
  static constexpr const char* kNames[] = {"match", "insert", "delete"};
  const Sizes& size = scores.size;
  const cuda::Saves saves = visits ? cuda::Saves::kWeights : cuda::Saves::kGradients;
  STD_TORCH_CHECK(saved.scalar_type() == ScalarType::Byte && saved.is_contiguous() &&
                      saved.numel() == size[0] * scores.saved_size(saves)[1] &&
                      reinterpret_cast<uintptr_t>(saved.data_ptr()) % sizeof(double) == 0,
                  "the saved weights do not belong to these scores: were they saved (save=True)?");
  check_gradient(grad, saved, size, scores.dtype);
  const Tensor grad_score = torch::stable::contiguous(grad);
  cuda::Backward problem{};
  scores.describe(problem);
  problem.gamma = scores.options.gamma;
  problem.grad_score = grad_score.data_ptr();
  problem.saved = saved.data_ptr();
  problem.ends_weights = scores.ends_in(saved, saves);
  const auto output = [&](int i) {
    const bool needed = needs[i] && i < scores.count - scores.shared_gap;
    const Sizes own = gradient_size(*scores.own[i], size, kNames[i]);
    Tensor out = new_tensor(saved, needed ? own : Sizes{0}, scores.dtype);
    problem.sinks[i] = {needed ? out.data_ptr() : nullptr, type_of(scores.dtype, "the scores"),
                        own[1] == size[1], own[2] == size[2]};
    return out;
  };
  const Tensor match = output(0), insert = output(1), del = output(2);
  problem.shared_gap = scores.shared_gap;
  problem.weights = problem.visits = visits;
  problem.gaps[0] = scores.tables[1], problem.gaps[1] = scores.tables[2];
  problem.one_for_all = one_for_all(*scores.own[1], *scores.own[2]);
  const Tensor workspace = workspace_for(problem, saved);
  check_launch(cuda::backward(problem, stream));
  return {match, insert, del};
}

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

using Products = std::tuple<Tensor, Tensor, Tensor, Tensor>;  // the tangent of the score first

Products second_order(const Scores& scores, const Tensor& grad, const Optional (&directions)[3],
                      const bool (&needs)[3], cudaStream_t stream) {
  static constexpr const char* kNames[] = {"v_match", "v_insert", "v_delete"};
  const Sizes& size = scores.size;
  const ScalarType dtype = scores.dtype;
  STD_TORCH_CHECK(dtype == ScalarType::Double || dtype == ScalarType::Float,
                  "the second order is computed in float64 or float32");
  constexpr cuda::Saves kSaves = cuda::Saves::kFullWeights;
  const auto [score, weights] = forward(scores, true, kSaves, stream);
  check_gradient(grad, weights, size, dtype);
  const Tensor grad_score = torch::stable::contiguous(grad);
  Tensor tangent = new_tensor(weights, {size[0]}, dtype);
  const Tensor tangents = new_tensor(weights, scores.saved_size(kSaves), ScalarType::Byte);
  cuda::TangentSweep there{};
  scores.describe(there);
  there.type = type_of(dtype, "the scores");
  there.gamma = scores.options.gamma;
  there.costs = scores.options.costs;
  there.saved = weights.data_ptr();
  there.ends_weights = scores.ends_in(weights, kSaves);
  for (int i = 0; i < scores.count; i++) {
    const Optional& v = directions[i == 2 && scores.shared_gap ? 1 : i];
    if (!v) continue;
    check_scores(*v, kNames[i], is_beside(*v, weights), dtype);
    there.directions[i] = table_of(*v, kNames[i], size);
  }
  there.one_for_all = one_for_all(*scores.own[1], *scores.own[2]);
  there.score = score.data_ptr();
  there.tangent = tangent.data_ptr();
  there.tangents = tangents.data_ptr();
  there.ends_tangents = scores.ends_in(tangents, kSaves);
  const Tensor first = workspace_for(there, weights);
  check_launch(cuda::sweep_tangents(there, stream));

  const auto product = [&](int i) {
    const bool needed = needs[i] && i < scores.count - scores.shared_gap;
    return new_tensor(weights, needed ? size : Sizes{0}, dtype);
  };
  const Tensor products[] = {product(0), product(1), product(2)};
  if (products[0].numel() + products[1].numel() + products[2].numel() == 0)
    return {tangent, products[0], products[1], products[2]};

  cuda::ProductSweep back{};
  scores.describe(back);
  back.type = there.type;
  back.grad_score = grad_score.data_ptr();
  back.saved = there.saved;
  back.ends_weights = there.ends_weights;
  back.tangent = there.tangent;
  back.tangents = there.tangents;
  back.ends_tangents = there.ends_tangents;
  for (int i = 0; i < 3; i++) back.products[i] = products[i].numel() > 0 ? products[i].data_ptr() : nullptr;
  back.shared_gap = scores.shared_gap;
  const Tensor second = workspace_for(back, weights);
  check_launch(cuda::sweep_products(back, stream));
  return {tangent, products[0], products[1], products[2]};
}

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
    return {R::kId, gamma, 0, boundary_option(boundary, R::kId), bandwidth};
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
