// Which kernel sweeps a problem forward. Included by the .cu files that compile these kernels.
#pragma once
#include "forward_bands.h"
#include "launch.h"

namespace softdp::cuda {

template <class R>
ForwardArguments<R> forward_arguments(const Forward& p) {
  using V = typename R::V;
  const ForwardSpace<V, R::Max::kIsSoft> space(p);
  const double k = p.gamma > 0 ? kLog2e / p.gamma : 0;
  return {p.recurrence,
          p.pairs,
          R::Max::factor(k),
          R::Max::unit(k),
          V(p.threshold),
          p.start,
          p.ends != Ends::kCorner,
          p.costs && takes_costs(p.recurrence),
          p.is_piece,
          R::kMayBeFull && p.saves == Saves::kFullWeights,
          p.as_saved,
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
// dense; its strides may be 0. Where insert and delete are one gap, tables[2] is it again; a kernel that
// reads it once is worth compiling for soft sweeps in float.
template <class V, bool kSoft>
Error launch_gaps(const Forward& p, Stream stream) {
  using Dense = Recipe<TwoWeights, V, kSoft, Gap::kDense, Gap::kDense>;
  if constexpr (std::is_same_v<V, float>)
    if (p.saves != Saves::kFullWeights) {
      if (p.tables[1].column == 0 && p.tables[2].column == 0)
        return launch_forward<Recipe<TwoWeights, V, kSoft, Gap::kRow, Gap::kRow>>(p, stream);
      if constexpr (kSoft)
        if (p.shared_gap)
          return launch_forward<Recipe<TwoWeights, V, kSoft, Gap::kDense, Gap::kShared>>(p, stream);
    }
  return launch_forward<Dense>(p, stream);
}

// The least score that is not counted as -inf.
template <class V, bool kSoft>
double lowest_score(double k) {
  if constexpr (Maxima<V, kSoft>::kHasNarrow)
    return double(Maxima<V, kSoft>::factor(k).lowest());
  else
    return -ScalarCommon::kInfinity;
}

// The kernels of every type of number and kind of gap.
template <class V, bool kSoft>
Error sweep_cells(const Forward& p, Stream stream) {
  if (is_relay(p)) return relay_forward(p, stream);
  if (tables_of(p.recurrence) > 1) return launch_gaps<V, kSoft>(p, stream);
  return launch_forward<Recipe<OneWeight, V, kSoft, Gap::kNone, Gap::kNone>>(p, stream);
}

// The boundary's states first, where gaps count there, then the sweep that takes them. Where paths may end in
// several cells, the sweep leaves S there, and the score is made of that.
template <class V, bool kSoft>
Error sweep_by(Forward p, Stream stream) {
  for (int i = 1; i < tables_of(p.recurrence); i++)
    if (arithmetic(p.tables[i].type) != arithmetic(p.tables[0].type)) return kBadProblem;
  if (p.start != Start::kGaps && p.ends == Ends::kCorner) return sweep_cells<V, kSoft>(p, stream);
  const ForwardSpace<V, kSoft> space(p);
  const double k = p.gamma > 0 ? kLog2e / p.gamma : 0, unit = Maxima<V, kSoft>::unit(k);
  const Type type = arithmetic(p.tables[0].type);
  if (p.start == Start::kGaps) {
    const Error error =
        launch_boundary({p.pairs,
                         {p.tables[1], p.tables[2]},
                         {p.one_for_all.insert, p.one_for_all.del},
                         1 / unit,
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
  }
  if (p.ends == Ends::kCorner) return sweep_cells<V, kSoft>(p, stream);
  p.boundary.last_row = space.ends[kInRow];
  p.boundary.last_column = space.ends[kInColumn];
  const Error error = sweep_cells<V, kSoft>(p, stream);
  if (error != cudaSuccess) return error;
  return launch_join({p.pairs,
                      p.ends,
                      kSoft,
                      type,
                      {space.ends[kInRow], space.ends[kInColumn]},
                      unit,
                      {p.tables[0], p.tables[1], p.tables[2]},
                      lowest_score<V, kSoft>(k),
                      p.costs && takes_costs(p.recurrence),
                      p.as_saved,
                      p.score,
                      p.ends_weights,
                      p.saved,
                      p.saves == Saves::kFullWeights,
                      p.pairs.rows,
                      1},
                     stream);
}
template <class V>
Error sweep_forward(const Forward& p, Stream stream) {
  return p.gamma > 0 ? sweep_by<V, true>(p, stream) : sweep_by<V, false>(p, stream);
}

}  // namespace softdp::cuda
