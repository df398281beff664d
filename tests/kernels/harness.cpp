// Python's way to the kernels on the CPU: addresses of tensors in, the launchers of csrc/cuda run under the
// shim.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>

#include "../../csrc/cuda/feature_scores.h"

namespace py = pybind11;
using namespace softdp;
using namespace softdp::cuda;

namespace {

using Strided = std::array<int64_t, 4>;             // address, batch, row and column stride
using Written = std::tuple<uintptr_t, bool, bool>;  // address, every row, every column
using LengthsOf = std::pair<uintptr_t, bool>;       // address, whether int64
using Sizes = std::array<int64_t, 3>;

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}
Lengths lengths(const LengthsOf& given) {
  Lengths out;
  (given.second ? (void)(out.wide = pointer<int64_t>(given.first))
                : (void)(out.narrow = pointer<int32_t>(given.first)));
  return out;
}
Pairs pairs(const Sizes& size, const LengthsOf& x, const LengthsOf& y) {
  return {size[0], size[1], size[2], lengths(x), lengths(y)};
}

template <class Run>
auto with_type(const std::string& dtype, Run run) {
  if (dtype == "float64") return run(double());
  if (dtype == "float32") return run(float());
  if (dtype == "float16" || dtype == "bfloat16") return run(Sixteen());
  throw std::invalid_argument("dtype " + dtype);
}
template <class T>
Format<T> format_of(const std::string& dtype) {
  if constexpr (std::is_same_v<T, Sixteen>)
    return {dtype == "bfloat16"};
  else
    return {};
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

int64_t forward(bool lcs, const std::string& dtype, const Sizes& size, const LengthsOf& x, const LengthsOf& y,
                double gamma, double threshold, bool anchored, const std::array<uintptr_t, 5>& boundary,
                const std::array<Strided, 3>& scores, bool shared_gap, bool wide_gaps, uintptr_t score,
                uintptr_t saved, bool weights, uintptr_t workspace, int64_t bytes) {
  return with_type(dtype, [&](auto type) -> int64_t {
    using T = decltype(type);
    using V = typename ValueOf<T>::Type;
    Forward<T> p{};
    p.pairs = pairs(size, x, y);
    p.format = format_of<T>(dtype);
    p.gamma = gamma;
    p.threshold = threshold;
    p.boundary = {anchored,
                  pointer<void>(boundary[0]),
                  pointer<void>(boundary[1]),
                  pointer<void>(boundary[2]),
                  pointer<void>(boundary[3]),
                  pointer<void>(boundary[4])};
    for (int i = 0; i < 3; i++)
      p.scores[i] = {pointer<const T>(uintptr_t(scores[i][0])), scores[i][1], scores[i][2], scores[i][3]};
    p.shared_gap = shared_gap;
    p.wide_gaps = wide_gaps;
    p.score = pointer<V>(score);
    p.saved = pointer<V>(saved);
    p.weights = weights;
    if (bytes < 0) return workspace_bytes(p);
    with_workspace(p, workspace, bytes,
                   [&] { return lcs ? lcs_forward(p, nullptr) : fsd_forward(p, nullptr); });
    return 0;
  });
}

int64_t backward(bool lcs, const std::string& dtype, const Sizes& size, const LengthsOf& x,
                 const LengthsOf& y, uintptr_t grad_score, uintptr_t saved,
                 const std::array<Written, 3>& gradients, bool shared_gap, bool visits, uintptr_t workspace,
                 int64_t bytes) {
  return with_type(dtype, [&](auto type) -> int64_t {
    using T = decltype(type);
    using V = typename ValueOf<T>::Type;
    cuda::Backward<T> p{};
    p.pairs = pairs(size, x, y);
    p.format = format_of<T>(dtype);
    p.grad_score = pointer<V>(grad_score);
    p.saved = pointer<V>(saved);
    for (int i = 0; i < 3; i++) {
      const auto& [address, every_row, every_column] = gradients[i];
      p.gradients[i] = {pointer<T>(address), every_row, every_column};
    }
    p.shared_gap = shared_gap;
    p.weights = p.visits = visits;
    if (bytes < 0) return workspace_bytes(p);
    with_workspace(p, workspace, bytes,
                   [&] { return lcs ? lcs_backward(p, nullptr) : fsd_backward(p, nullptr); });
    return 0;
  });
}

int64_t tangents(bool lcs, const std::string& dtype, const Sizes& size, const LengthsOf& x,
                 const LengthsOf& y, double gamma, uintptr_t saved, const std::array<Strided, 3>& directions,
                 uintptr_t tangent, uintptr_t out, uintptr_t workspace, int64_t bytes) {
  return with_type(dtype, [&](auto type) -> int64_t {
    using V = typename ValueOf<decltype(type)>::Type;
    TangentSweep<V> p{};
    p.pairs = pairs(size, x, y);
    p.gamma = gamma;
    p.saved = pointer<V>(saved);
    for (int i = 0; i < 3; i++)
      p.directions[i] = {pointer<const V>(uintptr_t(directions[i][0])), directions[i][1], directions[i][2],
                         directions[i][3]};
    p.tangent = pointer<V>(tangent);
    p.tangents = pointer<V>(out);
    if (bytes < 0) return workspace_bytes(p);
    with_workspace(p, workspace, bytes,
                   [&] { return sweep_tangents(p, lcs ? Recurrence::kLcs : Recurrence::kFsd, nullptr); });
    return 0;
  });
}

int64_t products(bool lcs, const std::string& dtype, const Sizes& size, const LengthsOf& x,
                 const LengthsOf& y, uintptr_t grad_score, uintptr_t saved, uintptr_t tangent,
                 uintptr_t tangents, const std::array<uintptr_t, 3>& products, bool shared_gap,
                 uintptr_t workspace, int64_t bytes) {
  return with_type(dtype, [&](auto type) -> int64_t {
    using V = typename ValueOf<decltype(type)>::Type;
    ProductSweep<V> p{};
    p.pairs = pairs(size, x, y);
    p.grad_score = pointer<V>(grad_score);
    p.saved = pointer<V>(saved);
    p.tangent = pointer<V>(tangent);
    p.tangents = pointer<V>(tangents);
    for (int i = 0; i < 3; i++) p.products[i] = pointer<V>(products[i]);
    p.shared_gap = shared_gap;
    if (bytes < 0) return workspace_bytes(p);
    with_workspace(p, workspace, bytes,
                   [&] { return sweep_products(p, lcs ? Recurrence::kLcs : Recurrence::kFsd, nullptr); });
    return 0;
  });
}

int64_t features(const std::string& dtype, const Sizes& size, int64_t others, bool itself, int64_t count,
                 const LengthsOf& x_lengths, const LengthsOf& y_lengths, int kind, double gamma,
                 double threshold, const std::array<uintptr_t, 2>& features, uintptr_t score,
                 const std::array<uintptr_t, 2>& gradients, uintptr_t grad_score, int64_t table_bytes,
                 uintptr_t workspace, int64_t bytes) {
  return with_type(dtype, [&](auto type) -> int64_t {
    using T = typename ValueOf<decltype(type)>::Type;
    FeatureProblem<T> p{};
    p.pairs = pairs(size, x_lengths, y_lengths);
    p.others = others;
    p.itself = itself;
    p.features = count;
    p.kind = Kind(kind);
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

void scale(const std::string& dtype, int64_t pairs, int64_t numbers, uintptr_t of_score, int64_t stride,
           uintptr_t score, uintptr_t made, uintptr_t out) {
  with_type(dtype, [&](auto type) {
    using T = typename ValueOf<decltype(type)>::Type;
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
  m.def("forward", &forward, "Runs a forward launcher; with bytes < 0, says how large a workspace it takes.");
  m.def("backward", &backward, "Likewise, backward.");
  m.def("tangents", &tangents, "Likewise, the second order's way there.");
  m.def("products", &products, "Likewise, its way back.");
  m.def("features", &features, "Likewise, scores of features and their gradients.");
  m.def("scale", &scale, "Gradients times those of their scores.");
  m.def("planes", [](bool lcs, bool shared_gap, int64_t rows, int64_t columns) {
    return planes(lcs ? Recurrence::kLcs : Recurrence::kFsd, shared_gap, rows, columns);
  });
  m.def(
      "schedule",
      [](const std::string& order, unsigned resident, unsigned seed, size_t shared_kib) {
        const auto schedule = order == "forward"   ? shim::Schedule::kForward
                              : order == "reverse" ? shim::Schedule::kReverse
                                                   : shim::Schedule::kRandom;
        shim::options = {schedule, resident, seed, shared_kib * 1024, false};
      },
      py::arg("order"), py::arg("resident"), py::arg("seed"), py::arg("shared_kib") = 227);
}
