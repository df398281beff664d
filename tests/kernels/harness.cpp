// Python's way to the kernels on the CPU: addresses of tensors in, the launchers of csrc/cuda run under the
// shim.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../../csrc/cuda/feature_scores.h"
#include "../../csrc/cuda/launch.h"
#include "../../csrc/cuda/paths.h"

namespace py = pybind11;
using namespace softdp;
using namespace softdp::cuda;

namespace {

using Strided = std::array<int64_t, 4>;             // address, batch, row and column stride
using Written = std::tuple<uintptr_t, bool, bool>;  // address, every row, every column
using LengthsOf = std::pair<uintptr_t, bool>;       // address, whether int64
using Sizes = std::array<int64_t, 4>;               // pairs, rows, columns, bandwidth

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}
Lengths lengths(const LengthsOf& given) {
  Lengths out;
  (given.second ? (void)(out.as_int64 = pointer<int64_t>(given.first))
                : (void)(out.as_int32 = pointer<int32_t>(given.first)));
  return out;
}
Pairs pairs(const Sizes& size, const LengthsOf& x, const LengthsOf& y) {
  return {size[0], size[1], size[2], lengths(x), lengths(y), size[3]};
}

Type type_of(const std::string& dtype) {
  if (dtype == "float64") return Type::kFloat64;
  if (dtype == "float32") return Type::kFloat32;
  if (dtype == "float16") return Type::kFloat16;
  if (dtype == "bfloat16") return Type::kBfloat16;
  throw std::invalid_argument("dtype " + dtype);
}
// run(V()) with the type of the arithmetic.
template <class Run>
auto with_value(const std::string& dtype, Run run) {
  return type_of(dtype) == Type::kFloat64 ? run(double()) : run(float());
}
Recurrence recurrence_of(const std::string& name) {
  if (name == "fsd") return Fsd::kId;
  if (name == "lcs") return Lcs::kId;
  if (name == "needleman_wunsch") return NeedlemanWunsch::kId;
  if (name == "affine") return Affine::kId;
  if (name == "local_fsd") return LocalFsd::kId;
  if (name == "smith_waterman") return SmithWaterman::kId;
  if (name == "local_affine") return LocalAffine::kId;
  throw std::invalid_argument("recurrence " + name);
}
StartAndEnds boundary_named(const std::string& name) {
  constexpr const char* kNames[kBoundaries] = {"free",    "anchored", "subsequence",
                                               "overlap", "global",   "local"};
  for (int i = 0; i < kBoundaries; i++)
    if (name == kNames[i]) return boundary_of(i);
  throw std::invalid_argument("boundary " + name);
}
template <class Problem>
void set_boundary(Problem& p, const std::string& name) {
  const StartAndEnds named = boundary_named(name);
  p.start = named.start, p.ends = named.ends;
}
// Whether insert and delete are one number for all steps of the other sequence, and then open beside each.
OneForAll one_for_all(const std::vector<bool>& given) {
  OneForAll out{given[0], given[1]};
  if (given.size() > 2) out.open_of_insert = given[2], out.open_of_delete = given[3];
  return out;
}
Table table(const Strided& given, Type type) {
  return {pointer<void>(uintptr_t(given[0])), type, given[1], given[2], given[3]};
}

// Calls `go(problem, workspace_bytes)` twice: for the size of the workspace, and to run with one.
template <class Problem, class Go>
void with_workspace(Problem& problem, uintptr_t workspace, int64_t bytes, Go go) {
  const int64_t needed = workspace_bytes(problem);
  if (needed != bytes)
    throw std::invalid_argument("the workspace must have " + std::to_string(needed) + " bytes");
  problem.workspace = pointer<void>(workspace);
  const Error error = go();
  if (error != cudaSuccess) throw std::runtime_error("error " + std::to_string(int(error)));
}

int64_t run_forward(const std::string& recurrence, const std::string& dtype, const Sizes& size,
                    const LengthsOf& x, const LengthsOf& y, double gamma, double threshold,
                    const std::string& boundary, bool costs, const std::array<uintptr_t, 5>& states,
                    const std::vector<Strided>& tables, bool shared_gap, const std::vector<bool>& one_each,
                    bool gaps_in_value_type, uintptr_t score, uintptr_t saved, uintptr_t ends_weights,
                    int saves, uintptr_t workspace, int64_t bytes) {
  Forward p{};
  p.recurrence = recurrence_of(recurrence);
  p.pairs = pairs(size, x, y);
  p.gamma = gamma;
  p.threshold = threshold;
  set_boundary(p, boundary);
  p.costs = costs;
  p.boundary = {pointer<void>(states[0]), pointer<void>(states[1]), pointer<void>(states[2]),
                pointer<void>(states[3]), pointer<void>(states[4])};
  const Type type = type_of(dtype);
  for (size_t i = 0; i < tables.size(); i++)
    p.tables[i] = table(tables[i], i > 0 && gaps_in_value_type ? arithmetic(type) : type);
  p.shared_gap = shared_gap;
  p.one_for_all = one_for_all(one_each);
  p.score = pointer<void>(score);
  p.saved = pointer<void>(saved);
  p.ends_weights = pointer<void>(ends_weights);
  p.saves = Saves(saves);
  if (bytes < 0) return workspace_bytes(p);
  with_workspace(p, workspace, bytes, [&] { return forward(p, nullptr); });
  return 0;
}

int64_t run_backward(const std::string& recurrence, const std::string& dtype, const Sizes& size,
                     const LengthsOf& x, const LengthsOf& y, double gamma, const std::string& boundary,
                     uintptr_t grad_score, uintptr_t saved, uintptr_t ends_weights,
                     const std::vector<Written>& sinks, bool shared_gap, bool visits,
                     const std::vector<Strided>& gaps, bool gaps_in_value_type,
                     const std::vector<bool>& one_each, uintptr_t workspace, int64_t bytes) {
  Backward p{};
  p.recurrence = recurrence_of(recurrence);
  p.pairs = pairs(size, x, y);
  p.gamma = gamma;
  set_boundary(p, boundary);
  p.grad_score = pointer<void>(grad_score);
  p.saved = pointer<void>(saved);
  p.ends_weights = pointer<void>(ends_weights);
  for (size_t i = 0; i < sinks.size(); i++) {
    const auto& [address, every_row, every_column] = sinks[i];
    p.sinks[i] = {pointer<void>(address), type_of(dtype), every_row, every_column};
  }
  p.shared_gap = shared_gap;
  p.weights = p.visits = visits;
  const Type type = type_of(dtype);
  for (size_t i = 0; i < gaps.size(); i++)
    (i < 2 ? p.gaps[i] : p.open) = table(gaps[i], gaps_in_value_type ? arithmetic(type) : type);
  p.one_for_all = one_for_all(one_each);
  if (bytes < 0) return workspace_bytes(p);
  with_workspace(p, workspace, bytes, [&] { return backward(p, nullptr); });
  return 0;
}

int64_t tangents(const std::string& recurrence, const std::string& dtype, const Sizes& size,
                 const LengthsOf& x, const LengthsOf& y, double gamma, const std::string& boundary,
                 bool costs, uintptr_t score, uintptr_t saved, uintptr_t ends_weights,
                 const std::vector<Strided>& directions, const std::vector<bool>& one_each, uintptr_t tangent,
                 uintptr_t out, uintptr_t ends_tangents, uintptr_t workspace, int64_t bytes) {
  TangentSweep p{};
  p.recurrence = recurrence_of(recurrence);
  p.type = type_of(dtype);
  p.pairs = pairs(size, x, y);
  p.gamma = gamma;
  set_boundary(p, boundary);
  p.costs = costs;
  p.saved = pointer<void>(saved);
  p.ends_weights = pointer<void>(ends_weights);
  for (size_t i = 0; i < directions.size(); i++) p.directions[i] = table(directions[i], p.type);
  p.one_for_all = one_for_all(one_each);
  p.score = pointer<void>(score);
  p.tangent = pointer<void>(tangent);
  p.tangents = pointer<void>(out);
  p.ends_tangents = pointer<void>(ends_tangents);
  if (bytes < 0) return workspace_bytes(p);
  with_workspace(p, workspace, bytes, [&] { return sweep_tangents(p, nullptr); });
  return 0;
}

int64_t products(const std::string& recurrence, const std::string& dtype, const Sizes& size,
                 const LengthsOf& x, const LengthsOf& y, double gamma, const std::string& boundary,
                 uintptr_t grad_score, uintptr_t saved, uintptr_t ends_weights, uintptr_t tangent,
                 uintptr_t tangents, uintptr_t ends_tangents, const std::vector<uintptr_t>& products,
                 bool shared_gap, uintptr_t workspace, int64_t bytes) {
  ProductSweep p{};
  p.recurrence = recurrence_of(recurrence);
  p.type = type_of(dtype);
  p.pairs = pairs(size, x, y);
  p.gamma = gamma;
  set_boundary(p, boundary);
  p.grad_score = pointer<void>(grad_score);
  p.saved = pointer<void>(saved);
  p.ends_weights = pointer<void>(ends_weights);
  p.tangent = pointer<void>(tangent);
  p.tangents = pointer<void>(tangents);
  p.ends_tangents = pointer<void>(ends_tangents);
  for (size_t i = 0; i < products.size(); i++) p.products[i] = pointer<void>(products[i]);
  p.shared_gap = shared_gap;
  if (bytes < 0) return workspace_bytes(p);
  with_workspace(p, workspace, bytes, [&] { return sweep_products(p, nullptr); });
  return 0;
}

int64_t features(const std::string& dtype, const Sizes& size, int64_t others, bool itself, int64_t count,
                 const LengthsOf& x_lengths, const LengthsOf& y_lengths, int kind, double gamma,
                 double threshold, const std::string& boundary, const std::array<uintptr_t, 2>& features,
                 uintptr_t score, const std::array<uintptr_t, 2>& gradients, uintptr_t grad_score,
                 int64_t table_bytes, uintptr_t workspace, int64_t bytes) {
  return with_value(dtype, [&](auto value) -> int64_t {
    using T = decltype(value);
    FeatureProblem<T> p{};
    p.pairs = pairs(size, x_lengths, y_lengths);
    p.others = others;
    p.itself = itself;
    p.features = count;
    p.kind = Kind(kind);
    set_boundary(p, boundary);
    p.gamma = gamma;
    p.threshold = threshold;
    p.x = pointer<const T>(features[0]);
    p.y = pointer<const T>(features[1]);
    p.score = pointer<T>(score);
    p.d_x = pointer<T>(gradients[0]);
    p.d_y = pointer<T>(gradients[1]);
    p.grad_score = pointer<const T>(grad_score);
    p.table_bytes = table_bytes;
    if (bytes < 0) return workspace_bytes(p);
    with_workspace(p, workspace, bytes, [&] { return score_features(p, nullptr); });
    return 0;
  });
}

void trace(const std::string& recurrence, const std::string& dtype, const Sizes& size, const LengthsOf& x,
           const LengthsOf& y, const std::string& boundary, uintptr_t score, uintptr_t saved,
           uintptr_t ends_weights, uintptr_t steps, uintptr_t counts, int64_t most) {
  PathProblem p{};
  p.recurrence = recurrence_of(recurrence);
  p.type = type_of(dtype);
  p.pairs = pairs(size, x, y);
  set_boundary(p, boundary);
  p.score = pointer<void>(score);
  p.saved = pointer<void>(saved);
  p.ends_weights = pointer<void>(ends_weights);
  p.steps = pointer<int64_t>(steps);
  p.lengths = pointer<int64_t>(counts);
  p.most = most;
  const Error error = trace_paths(p, nullptr);
  if (error != cudaSuccess) throw std::runtime_error("error " + std::to_string(int(error)));
}

void scale(const std::string& dtype, int64_t pairs, int64_t numbers, uintptr_t of_score, int64_t stride,
           uintptr_t score, uintptr_t made, uintptr_t out) {
  with_value(dtype, [&](auto value) {
    using T = decltype(value);
    const ScaledGradient<T> p{pairs,
                              numbers,
                              pointer<const T>(of_score),
                              stride,
                              pointer<const T>(score),
                              pointer<const T>(made),
                              pointer<T>(out)};
    const Error error = scale_gradients(p, nullptr);
    if (error != cudaSuccess) throw std::runtime_error("error " + std::to_string(int(error)));
    return 0;
  });
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("forward", &run_forward,
        "Runs a forward launcher; with bytes < 0, says how large a workspace it takes.");
  m.def("backward", &run_backward, "Likewise, backward.");
  m.def("tangents", &tangents, "Likewise, the second order's way there.");
  m.def("products", &products, "Likewise, its way back.");
  m.def("features", &features, "Likewise, scores of features and their gradients.");
  m.def("even_waves", &even_waves, "How many blocks a multiprocessor is to hold.");
  m.def("trace", &trace, "The best path of each pair, from what a sweep with gamma 0 has saved.");
  m.def("scale", &scale, "Gradients times those of their scores.");
  m.def(
      "planes",
      [](const std::string& recurrence, const std::string& dtype, double gamma, bool shared_gap, int saves,
         int64_t rows, int64_t columns, const std::string& boundary, int64_t bandwidth) {
        const Regime regime{recurrence_of(recurrence),     type_of(dtype), gamma, rows, columns,
                            boundary_named(boundary).ends, bandwidth};
        return regime.planes(shared_gap, Saves(saves));
      },
      py::arg("recurrence"), py::arg("dtype"), py::arg("gamma"), py::arg("shared_gap"), py::arg("saves"),
      py::arg("rows"), py::arg("columns"), py::arg("boundary") = "free", py::arg("bandwidth") = -1);
  m.def("saved_bytes", [](const std::string& recurrence, const std::string& dtype, double gamma, int64_t rows,
                          int64_t columns, int64_t bandwidth) {
    const Regime regime{
        recurrence_of(recurrence), type_of(dtype), gamma, rows, columns, Ends::kCorner, bandwidth};
    return regime.saved_bytes(false, Saves::kWeights);
  });
  m.def("saved_cells", &saved_cells, "How many numbers are saved of a pair's cells.");
  m.def(
      "saved_pitch",
      [](int64_t n, int64_t m, int64_t bandwidth) { return saved_pitch(Corridor::of(n, m, bandwidth)); },
      "How many numbers a row of them has.");
  m.def(
      "edge_pitch",
      [](int64_t n, int64_t m, int64_t bandwidth) { return edge_pitch(Corridor::of(n, m, bandwidth)); },
      "How many numbers a row between bands has.");
  m.def("edge_cells", &edge_cells, "How many numbers the rows between a pair's bands have.");
  m.def(
      "corridor",
      [](int64_t n, int64_t m, int64_t bandwidth) {
        const Corridor inside = Corridor::of(n, m, bandwidth);
        std::vector<std::pair<int64_t, int64_t>> rows;
        for (int64_t row = 0; row < n; row++) rows.emplace_back(inside.begin(row), inside.end(row));
        return rows;
      },
      "The first column inside of each row, and the one after the last.");
  m.def("ends", [](const std::string& boundary, int64_t rows, int64_t columns) {
    return ends_of(boundary_named(boundary).ends, rows, columns);
  });
  m.def(
      "schedule",
      [](const std::string& order, unsigned resident, unsigned seed, size_t shared_kib, int multiprocessors) {
        const auto schedule = order == "forward"   ? shim::Schedule::kForward
                              : order == "reverse" ? shim::Schedule::kReverse
                                                   : shim::Schedule::kRandom;
        shim::options = {schedule, resident, seed, shared_kib * 1024, false, multiprocessors};
      },
      py::arg("order"), py::arg("resident"), py::arg("seed"), py::arg("shared_kib") = 227,
      py::arg("multiprocessors") = 0);
}
