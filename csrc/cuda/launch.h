// The launchers: which kernel sweeps a problem. Included by the .cu files that compile the kernels.
#pragma once
#include <algorithm>

#include "second_order.h"
#include "tiny.h"

namespace softdp::cuda {

constexpr double kLog2e = 1.4426950408889634;
constexpr Error kBadProblem = cudaErrorInvalidValue;

inline bool fits_int(const Pairs& pairs) {
  constexpr int64_t kMost = int64_t(1) << 30;  // steps t and columns are ints
  return pairs.rows <= kMost && pairs.columns <= kMost;
}

// As many warps a block as the device's shared memory holds and as there are strips.
template <class V, class Edge>
Bands bands_for(const Pairs& pairs, int arrays) {
  const size_t most = shared_bytes_per_block();
  int warps = kMostWarps;
  while (warps > 1 && (warps > strips_of(pairs.rows) || BandMemory<V, Edge, 1>::bytes(warps, arrays) > most))
    warps--;
  return {warps};
}
template <class V>
Bands bands_for(const Pairs& pairs) {
  return bands_for<V, typename Maxima<V, true>::Wide::State>(pairs, 3);
}

template <class R, class T>
ForwardArguments<R> forward_arguments(const Forward<T>& p) {
  using State = typename R::Max::Wide::State;
  const double k = p.gamma > 0 ? kLog2e / p.gamma : 0;
  const Bands bands = bands_for<typename R::V>(p.pairs);
  return {p.pairs,
          R::Max::factor(k),
          R::Max::unit(k),
          typename R::V(p.threshold),
          p.boundary,
          p.format,
          {p.scores[0], p.scores[1], p.scores[2]},
          p.wide_gaps,
          p.is_piece,
          p.score,
          p.saved,
          bands,
          Chain<State>::in(p.workspace, p.pairs, bands)};
}

template <class R, class T>
Error launch_bands(const Forward<T>& p, Stream stream) {
  using State = typename R::Max::Wide::State;
  using Block = BandMemory<typename R::V, State, R::kColumns>;
  const ForwardArguments<R> arguments = forward_arguments<R>(p);
  const Bands bands = arguments.bands;
  const Error error = set_zero(p.workspace, size_t(Chain<State>::flag_bytes(p.pairs, bands)), stream);
  if (error != cudaSuccess) return error;
  return launch(forward_bands<R>, p.pairs.count * bands.of(p.pairs.rows), bands.rows(),
                Block::bytes(bands.warps, R::kArrays), stream, arguments);
}

template <class R, class T>
Error launch_tiny(const Forward<T>& p, Stream stream) {
  using State = typename R::Max::Wide::State;
  const int group = p.pairs.rows <= 8 ? 8 : p.pairs.rows <= 16 ? 16 : kRows, together = kRows / group;
  TinyArguments<R> arguments;
  static_cast<ForwardArguments<R>&>(arguments) = forward_arguments<R>(p);
  arguments.group = group;
  return launch(tiny_pairs<R>, (p.pairs.count + together - 1) / together, kRows,
                sizeof(TinyMemory<typename R::V, State, R::kArrays>), stream, arguments);
}

template <class T>
bool is_tiny(const Forward<T>& p) {
  return is_tiny(p.pairs.rows, p.pairs.columns) && p.boundary.plain() && !p.weights;
}
template <class T>
bool is_tiny(const Backward<T>& p) {
  return is_tiny(p.pairs.rows, p.pairs.columns) && !p.weights;
}

template <class T>
Gap kind_of(const Scores<T>& gap) {
  return gap.column == 0 ? Gap::kRow : gap.row == 0 ? Gap::kColumn : Gap::kDense;
}

// Kinds of gaps beyond the first two are worth their own kernels in soft float sweeps; gaps that are wider
// than the scores come by row or column only.
template <class T, bool kSoft>
Error launch_fsd_bands(const Forward<T>& p, Stream stream) {
  const Gap insert = kind_of(p.scores[1]), del = kind_of(p.scores[2]);
  if constexpr (!std::is_same_v<T, double>) {
    if (p.shared_gap && insert == Gap::kRow)
      return launch_bands<Recipe<T, kSoft, Gap::kRow, Gap::kShared>>(p, stream);
    if (!p.shared_gap && insert == Gap::kRow && del == Gap::kRow)
      return launch_bands<Recipe<T, kSoft, Gap::kRow, Gap::kRow>>(p, stream);
    if constexpr (kSoft) {
      if (p.shared_gap && insert == Gap::kColumn)
        return launch_bands<Recipe<T, kSoft, Gap::kColumn, Gap::kShared>>(p, stream);
      if (!p.shared_gap && insert == Gap::kRow && del == Gap::kColumn)
        return launch_bands<Recipe<T, kSoft, Gap::kRow, Gap::kColumn>>(p, stream);
    }
    if (p.wide_gaps && sizeof(T) != sizeof(typename Forward<T>::V)) return kBadProblem;
  }
  return p.shared_gap ? launch_bands<Recipe<T, kSoft, Gap::kDense, Gap::kShared>>(p, stream)
                      : launch_bands<Recipe<T, kSoft, Gap::kDense, Gap::kDense>>(p, stream);
}

template <class T, bool kSoft>
Error launch_fsd(const Forward<T>& p, Stream stream) {
  if (!is_tiny(p)) return launch_fsd_bands<T, kSoft>(p, stream);
  return p.shared_gap ? launch_tiny<Recipe<T, kSoft, Gap::kDense, Gap::kShared>>(p, stream)
                      : launch_tiny<Recipe<T, kSoft, Gap::kDense, Gap::kDense>>(p, stream);
}

template <class T, bool kSoft>
Error launch_lcs(const Forward<T>& p, Stream stream) {
  using R = Recipe<T, kSoft, Gap::kNone, Gap::kNone>;
  return is_tiny(p) ? launch_tiny<R>(p, stream) : launch_bands<R>(p, stream);
}

template <class T>
int64_t workspace_bytes(const Forward<T>& p) {
  using V = typename Forward<T>::V;
  if (is_tiny(p)) return 0;
  const Bands bands = bands_for<V>(p.pairs);
  return p.gamma > 0 ? Chain<typename Maxima<V, true>::Wide::State>::bytes(p.pairs, bands)
                     : Chain<typename Maxima<V, false>::Wide::State>::bytes(p.pairs, bands);
}

template <class T>
Error fsd_forward(const Forward<T>& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  return p.gamma > 0 ? launch_fsd<T, true>(p, stream) : launch_fsd<T, false>(p, stream);
}
template <class T>
Error lcs_forward(const Forward<T>& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  return p.gamma > 0 ? launch_lcs<T, true>(p, stream) : launch_lcs<T, false>(p, stream);
}

// ---- backward ------------------------------------------------------------------------------------------

// The strips' sums of gap i, numbers: 0 where there are none.
template <class T>
int64_t partial_size(const Backward<T>& p, int i) {
  const Gradient<T>& g = p.gradients[i];
  if (!g.data || g.every_row) return 0;
  return p.pairs.count * strips_of(p.pairs.rows) * (g.every_column ? p.pairs.columns : 1);
}

template <class T>
int64_t chain_bytes(const Backward<T>& p) {
  using V = typename Backward<T>::V;
  return (Chain<V>::bytes(p.pairs, bands_for<V>(p.pairs)) + 15) / 16 * 16;
}

template <class T>
int64_t workspace_bytes(const Backward<T>& p) {
  if (is_tiny(p)) return 0;
  return chain_bytes(p) +
         (partial_size(p, 1) + partial_size(p, 2)) * int64_t(sizeof(typename Backward<T>::V));
}

template <class T>
Error launch_scale(const Backward<T>& p, int planes, Stream stream) {
  const ScaleArguments<T> arguments{p.pairs, p.grad_score, p.saved,
                                    planes,  p.format,     {p.gradients[0], p.gradients[1], p.gradients[2]}};
  return launch(scale_pairs<T>, p.pairs.count * planes, kScaleWarps * kRows, 0, stream, arguments);
}

template <class T, bool kLcs>
Error launch_backward(const Backward<T>& p, Stream stream) {
  using V = typename Backward<T>::V;
  if (!fits_int(p.pairs)) return kBadProblem;
  if (is_tiny(p)) return launch_scale(p, kLcs ? 1 : p.shared_gap ? 2 : 3, stream);
  using Block = BandMemory<V, V>;
  const Bands bands = bands_for<V>(p.pairs);
  const int arrays = kLcs ? 1 : p.gradients[2].data && p.gradients[2].every_column ? 3 : 2;
  BackwardArguments<T, kLcs> arguments{p.pairs,
                                       p.grad_score,
                                       p.saved,
                                       p.format,
                                       {p.gradients[0], p.gradients[1], p.gradients[2]},
                                       p.shared_gap,
                                       p.visits,
                                       p.verdicts,
                                       p.given,
                                       p.handed,
                                       arrays,
                                       bands,
                                       Chain<V>::in(p.workspace, p.pairs, bands),
                                       {nullptr, nullptr}};
  V* partial = reinterpret_cast<V*>(static_cast<char*>(p.workspace) + chain_bytes(p));
  for (int i = 1; i < 3; i++) {
    arguments.partial[i - 1] = partial;
    partial += partial_size(p, i);
  }
  Error error = set_zero(p.workspace, size_t(Chain<V>::flag_bytes(p.pairs, bands)), stream);
  if (error != cudaSuccess) return error;
  error = launch(backward_bands<T, kLcs>, p.pairs.count * bands.of(p.pairs.rows), bands.rows(),
                 Block::bytes(bands.warps, arrays), stream, arguments);
  for (int i = 1; i < 3 && error == cudaSuccess; i++) {
    const Gradient<T>& g = p.gradients[i];
    if (!g.data || g.every_row) continue;
    const int64_t columns = g.every_column ? p.pairs.columns : 1;
    const ReduceArguments<T> sums{p.pairs,  p.grad_score, p.saved, kLcs ? 1 : 2, arguments.partial[i - 1],
                                  p.format, g.data,       columns};
    error = launch(reduce_strips<T>, (p.pairs.count * columns + kReduceThreads - 1) / kReduceThreads,
                   kReduceThreads, 0, stream, sums);
  }
  return error;
}

template <class T>
Error fsd_backward(const Backward<T>& p, Stream stream) {
  return launch_backward<T, false>(p, stream);
}
template <class T>
Error lcs_backward(const Backward<T>& p, Stream stream) {
  return launch_backward<T, true>(p, stream);
}

// ---- second order --------------------------------------------------------------------------------------

template <class V, class Edge>
int64_t chain_bytes(const Pairs& pairs, int arrays) {
  return Chain<Edge>::bytes(pairs, bands_for<V, Edge>(pairs, arrays));
}
// The chain of either recurrence fits: LCS takes fewer arrays, so its bands are no narrower.
template <class V>
int64_t workspace_bytes(const TangentSweep<V>& p) {
  return std::max(chain_bytes<V, V>(p.pairs, TangentArguments<V, false>::kArrays),
                  chain_bytes<V, V>(p.pairs, TangentArguments<V, true>::kArrays));
}
template <class V>
int64_t workspace_bytes(const ProductSweep<V>& p) {
  return std::max(chain_bytes<V, Dual<V>>(p.pairs, ProductArguments<V, false>::kArrays),
                  chain_bytes<V, Dual<V>>(p.pairs, ProductArguments<V, true>::kArrays));
}

template <class Edge, class Arguments, class Problem>
Error launch_chain(void (*kernel)(Arguments), const Problem& p, Arguments arguments, Stream stream) {
  using V = typename Arguments::V;
  if (!fits_int(p.pairs)) return kBadProblem;
  const Bands bands = bands_for<V, Edge>(p.pairs, Arguments::kArrays);
  arguments.bands = bands;
  arguments.chain = Chain<Edge>::in(p.workspace, p.pairs, bands);
  const Error error = set_zero(p.workspace, size_t(Chain<Edge>::flag_bytes(p.pairs, bands)), stream);
  if (error != cudaSuccess) return error;
  return launch(kernel, p.pairs.count * bands.of(p.pairs.rows), bands.rows(),
                BandMemory<V, Edge>::bytes(bands.warps, Arguments::kArrays), stream, arguments);
}

template <bool kLcs, class V>
Error launch_tangents(const TangentSweep<V>& p, Stream stream) {
  TangentArguments<V, kLcs> arguments{};
  arguments.pairs = p.pairs;
  arguments.curvature = V(p.gamma > 0 ? 1 / p.gamma : 0);
  arguments.saved = p.saved;
  for (int i = 0; i < 3; i++) arguments.directions[i] = p.directions[i];
  arguments.tangent = p.tangent;
  arguments.tangents = p.tangents;
  const Error error = set_zero(p.tangent, size_t(p.pairs.count) * sizeof(V), stream);
  if (error != cudaSuccess) return error;
  return launch_chain<V>(tangent_bands<V, kLcs>, p, arguments, stream);
}
template <class V>
Error sweep_tangents(const TangentSweep<V>& p, Recurrence recurrence, Stream stream) {
  return recurrence == Recurrence::kLcs ? launch_tangents<true>(p, stream)
                                        : launch_tangents<false>(p, stream);
}

template <bool kLcs, class V>
Error launch_products(const ProductSweep<V>& p, Stream stream) {
  ProductArguments<V, kLcs> arguments{};
  arguments.pairs = p.pairs;
  arguments.grad_score = p.grad_score;
  arguments.saved = p.saved;
  arguments.tangent = p.tangent;
  arguments.tangents = p.tangents;
  for (int i = 0; i < 3; i++) arguments.gradients[i] = {kLcs && i > 0 ? nullptr : p.products[i], true, true};
  arguments.shared_gap = p.shared_gap;
  return launch_chain<Dual<V>>(product_bands<V, kLcs>, p, arguments, stream);
}
template <class V>
Error sweep_products(const ProductSweep<V>& p, Recurrence recurrence, Stream stream) {
  return recurrence == Recurrence::kLcs ? launch_products<true>(p, stream)
                                        : launch_products<false>(p, stream);
}

}  // namespace softdp::cuda
