// What the CUDA operators of the recurrences share: scores, checked, and the three sweeps. Tensors in, a
// problem for cuda/wavefront.h out, launched on the current stream. Nothing here waits for the device.
#pragma once
#include "gpu.h"

namespace softdp {

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
// Of a recurrence with gaps; where a path may start in any cell, the local recurrence of the same moves.
inline Options with_gaps(Recurrence recurrence, double gamma, int64_t boundary, int64_t bandwidth,
                         bool costs = false) {
  const StartAndEnds of = boundary_option(boundary, recurrence);
  const bool is_local = of.start == Start::kAnywhere;
  STD_TORCH_CHECK(!is_local || bandwidth < 0, "a local recurrence has no bandwidth, got ", bandwidth);
  return {is_local ? local_of(recurrence) : recurrence, gamma, 0, of, bandwidth, costs};
}

constexpr const char* kNames[] = {"match", "insert", "delete", "open"};

// The scores of a problem, checked. Those of a recurrence of one table have no gaps.
struct Scores {
  Options options;
  Sizes size;
  int64_t bandwidth;
  ScalarType dtype;
  LengthsOnDevice lengths;
  int count;                       // of tables
  const Tensor* own[kMostTables];  // match, insert, delete, open; a shared gap stands for both
  Table tables[kMostTables] = {};
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
        own{&match, &match, &match, &match} {
    check_numbers(options.gamma, options.threshold);
    STD_TORCH_CHECK(is_beside(match, beside), name, " must be on the device of what was saved");
    tables[0] = table_of(match, name, size);
  }
  Scores(const Options& options, const Tensor& beside, const Tensor& match, const Tensor& insert,
         const Optional& del, const Optional& x_lengths, const Optional& y_lengths,
         const Tensor* open = nullptr)
      : Scores(options, beside, match, "match", x_lengths, y_lengths) {
    count = open ? 4 : 3;
    own[1] = &insert;
    own[2] = del ? &*del : &insert;
    if (open) own[3] = open;
    shared_gap = !del;
    const auto same_in_all_columns = [](const Tensor& gap) { return gap.dim() == 3 && gap.size(2) == 1; };
    const ScalarType of_gaps = insert.scalar_type();
    bool are_numbers = true;
    for (int i = 1; i < count; i++) are_numbers = are_numbers && same_in_all_columns(*own[i]);
    STD_TORCH_CHECK(of_gaps == dtype || (of_gaps == arithmetic(dtype) && are_numbers),
                    "insert must have match's dtype");
    for (int i = 1; i < count; i++) {
      check_scores(*own[i], kNames[i], is_beside(*own[i], match), of_gaps);
      tables[i] = table_of(*own[i], kNames[i], size);
    }
  }
  // What sweeps take of gaps that are one number for all steps of the other sequence.
  OneForAll ones() const {
    OneForAll one = one_for_all(*own[1], *own[2]);
    const OneForAll open = one_for_all(*own[3], *own[3]);
    one.open_of_insert = open.insert, one.open_of_delete = open.del;
    return one;
  }
  // Whether the operators have a result for table i.
  bool has(int i) const { return i < count && !(i == 2 && shared_gap); }
  Pairs pairs() const {
    Pairs pairs = lengths.pairs(size);
    pairs.bandwidth = bandwidth;
    return pairs;
  }
  // How many bytes a pair are saved of the sweep; those of the ends follow, of all pairs.
  int64_t saved_bytes(cuda::Saves saves) const {
    const cuda::Regime regime{options.recurrence,    tables[0].type, options.gamma, size[1], size[2],
                              options.boundary.ends, bandwidth};
    return regime.saved_bytes(shared_gap, saves);
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
    problem.gamma = options.gamma;
    problem.start = options.boundary.start;
    problem.ends = options.boundary.ends;
  }

 private:
  int bytes_of_number() const { return bytes_of(type_of(arithmetic(dtype), "the scores")); }
};

// ---- forward

inline std::tuple<Tensor, Tensor> forward(const Scores& scores, bool save, cuda::Saves saves,
                                          cudaStream_t stream) {
  const Options& options = scores.options;
  const Sizes& size = scores.size;
  const ScalarType dtype = arithmetic(scores.dtype);
  Tensor score = new_tensor(*scores.own[0], {size[0]}, dtype);
  Tensor saved = new_tensor(*scores.own[0], save ? scores.saved_size(saves) : Sizes{0}, ScalarType::Byte);
  cuda::Forward problem{};
  scores.describe(problem);
  problem.threshold = options.threshold;
  problem.costs = options.costs;
  std::copy(scores.tables, scores.tables + kMostTables, problem.tables);
  problem.shared_gap = scores.shared_gap;
  problem.one_for_all = scores.ones();
  problem.score = score.data_ptr();
  problem.saved = save ? saved.data_ptr() : nullptr;
  problem.ends_weights = save ? scores.ends_in(saved, saves) : nullptr;
  problem.saves = saves;
  const Tensor workspace = workspace_for(problem, score);
  check_launch(cuda::forward(problem, stream));
  return {score, saved};
}

// ---- backward

using Gradients = std::tuple<Tensor, Tensor, Tensor>;
using AffineGradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

inline void check_gradient(const Tensor& grad, const Tensor& saved, const Sizes& size, ScalarType dtype) {
  STD_TORCH_CHECK(is_beside(grad, saved) && grad.dim() == 1 && grad.size(0) == size[0] &&
                      grad.scalar_type() == arithmetic(dtype),
                  "the scores' gradient must have shape (", size[0], ",), their dtype and their device");
}

// By match, insert, delete and open; empty where not needed. visits: by S itself in place of match, from
// weights.
inline AffineGradients all_gradients(const Scores& scores, const Tensor& grad, const Tensor& saved,
                                     const bool (&needs)[kMostTables], bool visits, cudaStream_t stream) {
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
  problem.grad_score = grad_score.data_ptr();
  problem.saved = saved.data_ptr();
  problem.ends_weights = scores.ends_in(saved, saves);
  const auto output = [&](int i) {
    const bool needed = needs[i] && scores.has(i);
    const Sizes own = gradient_size(*scores.own[i], size, kNames[i]);
    Tensor out = new_tensor(saved, needed ? own : Sizes{0}, scores.dtype);
    problem.sinks[i] = {needed ? out.data_ptr() : nullptr, type_of(scores.dtype, "the scores"),
                        own[1] == size[1], own[2] == size[2]};
    return out;
  };
  const Tensor match = output(0), insert = output(1), del = output(2), open = output(3);
  problem.shared_gap = scores.shared_gap;
  problem.weights = problem.visits = visits;
  problem.gaps[0] = scores.tables[1], problem.gaps[1] = scores.tables[2];
  problem.open = scores.tables[3];
  problem.one_for_all = scores.ones();
  const Tensor workspace = workspace_for(problem, saved);
  check_launch(cuda::backward(problem, stream));
  return {match, insert, del, open};
}
inline Gradients backward(const Scores& scores, const Tensor& grad, const Tensor& saved,
                          const bool (&needs)[3], bool visits, cudaStream_t stream) {
  const auto [match, insert, del, open] =
      all_gradients(scores, grad, saved, {needs[0], needs[1], needs[2], false}, visits, stream);
  return {match, insert, del};
}

// ---- second order

using Products = std::tuple<Tensor, Tensor, Tensor, Tensor>;  // the tangent of the score first
using AffineProducts = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

inline AffineProducts all_products(const Scores& scores, const Tensor& grad,
                                   const Optional (&directions)[kMostTables],
                                   const bool (&needs)[kMostTables], cudaStream_t stream) {
  static constexpr const char* kDirections[] = {"v_match", "v_insert", "v_delete", "v_open"};
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
  there.costs = scores.options.costs;
  there.saved = weights.data_ptr();
  there.ends_weights = scores.ends_in(weights, kSaves);
  for (int i = 0; i < scores.count; i++) {
    const Optional& v = directions[i == 2 && scores.shared_gap ? 1 : i];
    if (!v) continue;
    check_scores(*v, kDirections[i], is_beside(*v, weights), dtype);
    there.directions[i] = table_of(*v, kDirections[i], size);
  }
  there.one_for_all = scores.ones();
  there.score = score.data_ptr();
  there.tangent = tangent.data_ptr();
  there.tangents = tangents.data_ptr();
  there.ends_tangents = scores.ends_in(tangents, kSaves);
  const Tensor first = workspace_for(there, weights);
  check_launch(cuda::sweep_tangents(there, stream));

  const auto product = [&](int i) {
    const bool needed = needs[i] && scores.has(i);
    return new_tensor(weights, needed ? size : Sizes{0}, dtype);
  };
  const Tensor products[] = {product(0), product(1), product(2), product(3)};
  const AffineProducts out{tangent, products[0], products[1], products[2], products[3]};
  int64_t numbers = 0;
  for (const Tensor& of : products) numbers += of.numel();
  if (numbers == 0) return out;

  cuda::ProductSweep back{};
  scores.describe(back);
  back.type = there.type;
  back.grad_score = grad_score.data_ptr();
  back.saved = there.saved;
  back.ends_weights = there.ends_weights;
  back.tangent = there.tangent;
  back.tangents = there.tangents;
  back.ends_tangents = there.ends_tangents;
  for (int i = 0; i < kMostTables; i++)
    back.products[i] = products[i].numel() > 0 ? products[i].data_ptr() : nullptr;
  back.shared_gap = scores.shared_gap;
  const Tensor second = workspace_for(back, weights);
  check_launch(cuda::sweep_products(back, stream));
  return out;
}
inline Products second_order(const Scores& scores, const Tensor& grad, const Optional (&directions)[3],
                             const bool (&needs)[3], cudaStream_t stream) {
  const auto [tangent, match, insert, del, open] =
      all_products(scores, grad, {directions[0], directions[1], directions[2], std::nullopt},
                   {needs[0], needs[1], needs[2], false}, stream);
  return {tangent, match, insert, del};
}

}  // namespace softdp
