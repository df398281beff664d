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

inline Gap kind_of(const Table& gap) {
  return gap.column == 0 ? Gap::kRow : gap.row == 0 ? Gap::kColumn : Gap::kDense;
}

// Kinds of gaps beyond the first two are worth kernels of their own in soft sweeps in float, and only of
// recurrences that do not charge the boundary. Gaps that are wider than the scores come by row only.
template <class Recurrence, class T, bool kSoft>
Error launch_gaps(const Forward& p, Stream stream) {
  const Gap insert = kind_of(p.tables[1]), del = kind_of(p.tables[2]);
  if constexpr (!std::is_same_v<T, double>) {
    if (p.shared_gap && insert == Gap::kRow)
      return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kRow, Gap::kShared>>(p, stream);
    if (!p.shared_gap && insert == Gap::kRow && del == Gap::kRow)
      return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kRow, Gap::kRow>>(p, stream);
    if constexpr (kSoft && !Recurrence::kChargesBoundary) {
      if (p.shared_gap && insert == Gap::kColumn)
        return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kColumn, Gap::kShared>>(p, stream);
      if (!p.shared_gap && insert == Gap::kRow && del == Gap::kColumn)
        return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kRow, Gap::kColumn>>(p, stream);
    }
    if (p.tables[1].type != p.tables[0].type) return kBadProblem;
  }
  return p.shared_gap ? launch_forward<Recipe<Recurrence, T, kSoft, Gap::kDense, Gap::kShared>>(p, stream)
                      : launch_forward<Recipe<Recurrence, T, kSoft, Gap::kDense, Gap::kDense>>(p, stream);
}

// The boundary's states first, then the sweep that takes them.
template <class Recurrence, class T, bool kSoft>
Error launch_charged(Forward p, Stream stream) {
  using V = typename ValueOf<T>::Type;
  using Space = ForwardSpace<Recurrence, V, kSoft>;
  const Space space(p);
  const double k = p.gamma > 0 ? kLog2e / p.gamma : 0;
  const GapArguments<typename Space::State, V> gaps{p.pairs,
                                                    {p.tables[1], p.tables[2]},
                                                    {p.one_for_all.insert, p.one_for_all.del},
                                                    1 / Maxima<V, kSoft>::unit(k),
                                                    {space.edges[kLeft], space.edges[kAbove]},
                                                    nullptr,
                                                    static_cast<V*>(p.score),
                                                    V(NAN),
                                                    V(-ScalarCommon::kInfinity)};
  const Error error =
      launch(sum_gaps<typename Space::State, V>, (2 * p.pairs.count + kBoundaryWarps - 1) / kBoundaryWarps,
             kBoundaryWarps * kStripRows, 0, stream, gaps);
  if (error != cudaSuccess) return error;
  p.boundary.left = space.edges[kLeft];
  p.boundary.above = space.edges[kAbove];
  return launch_gaps<Recurrence, T, kSoft>(p, stream);
}

template <class Recurrence, class T, bool kSoft>
Error launch_recurrence(const Forward& p, Stream stream) {
  if constexpr (Recurrence::kTables == 1)
    return launch_forward<Recipe<Recurrence, T, kSoft, Gap::kNone, Gap::kNone>>(p, stream);
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
