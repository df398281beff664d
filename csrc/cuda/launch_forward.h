// Which kernel sweeps a problem forward. Included by the .cu files that compile these kernels.
#pragma once
#include "forward_bands.h"
#include "launch.h"

namespace softdp::cuda {

template <class R>
ForwardArguments<R> forward_arguments(const Forward& p) {
  using V = typename R::V;
  const ForwardSpace<typename R::Recurrence, V, R::Max::kIsSoft> space(p);
  const double k = p.gamma > 0 ? kLog2e / p.gamma : 0;
  return {p.pairs,
          R::Max::factor(k),
          R::Max::unit(k),
          V(p.threshold),
          p.start,
          p.costs,
          p.is_piece,
          p.boundary,
          {p.tables[0], p.tables[1], p.tables[2]},
          static_cast<V*>(p.score),
          static_cast<V*>(p.saved),
          space.band,
          space.chain};
}

template <class R>
Error launch_forward(const Forward& p, Stream stream) {
  return launch_bands(forward_bands<R>, R::kArrays, forward_arguments<R>(p), stream);
}

// A gap that is the same in all columns is a number a row, or a pair, and takes no array. Any other one is
// dense; its strides may be 0. Gaps that are wider than the scores come by row only. Where insert and delete
// are one gap, tables[2] is it again; a kernel that reads it once is worth compiling for soft sweeps in
// float.
template <class Recurrence, class T, bool kSoft>
Error launch_gaps(const Forward& p, Stream stream) {
  if (is_relay(p)) return relay_forward<Recurrence>(p, stream);
  using Dense = Recipe<Recurrence, T, kSoft, Gap::kDense, Gap::kDense>;
  if constexpr (!std::is_same_v<T, double>) {
    if (p.saves == Saves::kFullWeights) {
      if constexpr (std::is_same_v<T, float>)
        return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kDense, Gap::kDense, true>>(p, stream);
      return kBadProblem;
    }
    if (p.tables[1].column == 0 && p.tables[2].column == 0)
      return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kRow, Gap::kRow>>(p, stream);
    if (p.tables[1].type != p.tables[0].type) return kBadProblem;
    if constexpr (kSoft)
      if (p.shared_gap)
        return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kDense, Gap::kShared>>(p, stream);
  }
  return launch_forward<Dense>(p, stream);
}

// The boundary's states first, then the sweep that takes them.
template <class Recurrence, class T, bool kSoft>
Error launch_charged(Forward p, Stream stream) {
  using V = typename ValueOf<T>::Type;
  const ForwardSpace<Recurrence, V, kSoft> space(p);
  const double k = p.gamma > 0 ? kLog2e / p.gamma : 0;
  const Type type = arithmetic(p.tables[0].type);
  const Error error =
      launch_boundary({p.pairs,
                       {p.tables[1], p.tables[2]},
                       {p.one_for_all.insert, p.one_for_all.del},
                       1 / Maxima<V, kSoft>::unit(k),
                       {kSoft, kSoft ? type : Type::kFloat64, {space.edges[kLeft], space.edges[kAbove]}},
                       type,
                       nullptr,
                       p.score,
                       NAN,
                       -ScalarCommon::kInfinity},
                      stream);
  if (error != cudaSuccess) return error;
  p.boundary.left = space.edges[kLeft];
  p.boundary.above = space.edges[kAbove];
  return launch_gaps<Recurrence, T, kSoft>(p, stream);
}

template <class Recurrence, class T, bool kSoft>
Error launch_recurrence(const Forward& p, Stream stream) {
  if constexpr (Recurrence::kTables == 1)
    return is_relay(p) ? relay_forward<Recurrence>(p, stream)
                       : launch_forward<Recipe<Recurrence, T, kSoft, Gap::kNone, Gap::kNone>>(p, stream);
  else if constexpr (Recurrence::kChargesBoundary)
    return launch_charged<Recurrence, T, kSoft>(p, stream);
  else
    return launch_gaps<Recurrence, T, kSoft>(p, stream);
}
template <class Recurrence, class T>
Error sweep_forward(const Forward& p, Stream stream) {
  return p.gamma > 0 ? launch_recurrence<Recurrence, T, true>(p, stream)
                     : launch_recurrence<Recurrence, T, false>(p, stream);
}

}  // namespace softdp::cuda
