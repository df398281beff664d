// Which kernels sweep recurrences with several states a cell. Included by the .cu files that compile these
// kernels: one for each family.
#pragma once
#include "launch.h"
#include "several_backward.h"
#include "several_forward.h"
#include "several_second_order.h"

namespace softdp::cuda {

// Numbers for all pairs' boundaries, in a workspace: of the left side and of the one above, where gaps count
// there.
template <class Number>
void take_sides(Workspace& space, const Pairs& pairs, Start start, Number* (&taken)[2]) {
  if (start != Start::kGaps) return;
  taken[kLeft] = space.take<Number>(pairs.count * pairs.rows);
  taken[kAbove] = space.take<Number>(pairs.count * pairs.columns);
}
template <class Edge>
Chain<Edge> take_bands(Workspace& space, const Pairs& pairs, BandSize band) {
  return Chain<Edge>::in(space.take<char>(Chain<Edge>::bytes(pairs, band)), pairs, band);
}
// Whether the gap's score beside each side is one number, and that of its first step with it.
struct OneForBoth {
  bool side[2];
  explicit OneForBoth(const OneForAll& one, bool opens)
      : side{one.insert && (!opens || one.open_of_insert), one.del && (!opens || one.open_of_delete)} {}
};
template <class F>
constexpr bool kOpens = F::kTables == 4;

// ---- forward ---------------------------------------------------------------------------------------------

template <class F, class V>
struct SeveralForwardSpace {
  using A = SeveralForward<F, V>;
  using State = typename A::State;
  int arrays;
  BandSize band;
  Chain<typename A::Edge> chain{};
  State* edges[2] = {};  // S on the boundary; with gamma 0 plain doubles, which take less
  State* ends[2] = {};
  int64_t bytes;
  explicit SeveralForwardSpace(const Forward& p)
      : arrays(p.saved && p.gamma > 0 ? A::kMostArrays : A::kTables),
        band(band_for<V, typename A::Edge>(p.pairs, A::kMostArrays)) {
    Workspace space(p.workspace);
    chain = take_bands<typename A::Edge>(space, p.pairs, band);
    take_sides(space, p.pairs, p.start, edges);
    take_ends(space, p.pairs, p.ends, ends);
    bytes = space.bytes();
  }
};

template <class F, class V>
Error sweep_several(const Forward& p, Stream stream) {
  using A = SeveralForward<F, V>;
  using Soft = Maxima<V, true>;
  const bool is_soft = p.gamma > 0, costs = p.costs && takes_costs(p.recurrence);
  const Type type = arithmetic(p.tables[0].type);
  for (int i = 1; i < A::kTables; i++)
    if (arithmetic(p.tables[i].type) != type) return kBadProblem;
  const SeveralForwardSpace<F, V> space(p);
  const double k = is_soft ? kLog2e / p.gamma : 0, unit = is_soft ? Soft::unit(k) : 1;
  A a{};
  a.recurrence = p.recurrence;
  a.pairs = p.pairs;
  a.is_soft = is_soft;
  a.k = Soft::factor(k);
  a.unit = unit;
  a.start = p.start;
  a.joins_ends = p.ends != Ends::kCorner;
  a.costs = costs;
  a.boundary.left = space.edges[kLeft];
  a.boundary.above = space.edges[kAbove];
  a.boundary.last_row = space.ends[kInRow];
  a.boundary.last_column = space.ends[kInColumn];
  for (int i = 0; i < A::kTables; i++) a.tables[i] = p.tables[i];
  a.score = static_cast<V*>(p.score);
  a.saved = regime_of(p).several(p.saved);
  a.arrays = space.arrays;
  a.band = space.band;
  a.chain = space.chain;
  Error error = cudaSuccess;
  if (p.start == Start::kGaps) {
    const OneForBoth one(p.one_for_all, kOpens<F>);
    error = launch_boundary(
        {p.pairs,
         {p.tables[1], p.tables[2]},
         {one.side[kLeft], one.side[kAbove]},
         1 / unit,
         {is_soft, is_soft ? type : Type::kFloat64, {space.edges[kLeft], space.edges[kAbove]}},
         type,
         nullptr,
         p.score,
         NAN,
         -ScalarCommon::kInfinity,
         kOpens<F>,
         p.tables[3]},
        stream);
  }
  if (error == cudaSuccess) error = launch_bands(several_forward<F, V>, space.arrays, a, stream);
  if (p.ends == Ends::kCorner || error != cudaSuccess) return error;
  double lowest = -ScalarCommon::kInfinity;
  if constexpr (Soft::kHasNarrow)
    if (is_soft) lowest = double(a.k.lowest());
  JoinArguments join{};
  join.pairs = p.pairs;
  join.ends = p.ends;
  join.is_soft = is_soft;
  join.type = type;
  for (int end = 0; end < 2; end++) join.states[end] = space.ends[end];
  join.unit = unit;
  for (int i = 0; i < A::kTables; i++) join.tables[i] = p.tables[i];
  join.lowest = lowest;
  join.costs = costs;
  join.score = p.score;
  join.weights = p.ends_weights;
  join.saved = p.saved;
  join.height = p.pairs.rows;
  join.kept = 1;
  join.several = a.saved;
  return launch_join(join, stream);
}

// ---- backward --------------------------------------------------------------------------------------------

template <class F, class V>
struct SeveralBackwardSpace {
  using A = SeveralBackward<F, V>;
  int arrays;
  BandSize band;
  Chain<typename A::Edge> chain{};
  V* partial[A::kTables - 1] = {};
  V* by_ends[2] = {};
  BoundaryGradient<V> boundary;
  int64_t bytes;
  explicit SeveralBackwardSpace(const Backward& p)
      : arrays(p.gamma > 0 ? A::kMostArrays : A::kTables + 1),
        band(band_for<V, typename A::Edge>(p.pairs, A::kMostArrays)) {
    Workspace space(p.workspace);
    chain = take_bands<typename A::Edge>(space, p.pairs, band);
    for (int i = 1; i < A::kTables; i++) partial[i - 1] = space.take<V>(partial_size(p, i));
    take_ends(space, p.pairs, p.ends, by_ends);
    boundary.by_last_row = by_ends[kInRow];
    boundary.by_last_column = by_ends[kInColumn];
    if (p.start == Start::kGaps) {
      boundary.by_left = space.take<V>(p.pairs.count * p.pairs.rows);
      boundary.by_left_diagonal = space.take<V>(p.pairs.count * p.pairs.rows);
      boundary.by_above = space.take<V>(p.pairs.count * p.pairs.columns);
    }
    bytes = space.bytes();
  }
};

template <class F, class V>
Error sweep_several(const Backward& p, Stream stream) {
  using A = SeveralBackward<F, V>;
  const Type type = arithmetic(p.sinks[0].type);
  const SeveralBackwardSpace<F, V> space(p);
  A a{};
  a.recurrence = p.recurrence;
  a.pairs = p.pairs;
  a.grad_score = static_cast<const V*>(p.grad_score);
  a.saved = regime_of(p).several(p.saved);
  for (int i = 0; i < A::kTables; i++) {
    a.sinks[i] = p.sinks[i];
    a.is_stored[i] = p.sinks[i].data && p.sinks[i].every_row && p.sinks[i].every_column;
    if (i > 0) a.partial[i - 1] = space.partial[i - 1];
  }
  a.shared_gap = p.shared_gap;
  a.boundary = space.boundary;
  a.arrays = space.arrays;
  a.band = space.band;
  a.chain = space.chain;
  Error error = launch_seeds({p.pairs,
                              p.ends,
                              type,
                              p.grad_score,
                              p.ends_weights,
                              nullptr,
                              {space.by_ends[kInRow], space.by_ends[kInColumn]},
                              p.pairs.rows,
                              0},
                             stream);
  if (error == cudaSuccess) error = launch_bands(several_backward<F, V>, space.arrays, a, stream);
  const SavedWeights weights{p.pairs, nullptr, type, true, a.saved};
  for (int i = 1; i < A::kTables && error == cudaSuccess; i++) {
    const Sink& sink = p.sinks[i];
    if (!sink.data || sink.every_row) continue;
    const int64_t columns = sink.every_column ? p.pairs.columns : 1;
    error = launch_reduce({weights, p.grad_score, space.partial[i - 1], sink, columns}, stream);
  }
  if (p.start != Start::kGaps || error != cudaSuccess) return error;
  const OneForBoth one(p.one_for_all, kOpens<F>);
  return launch_charge({weights,
                        p.grad_score,
                        space.boundary.by_left,
                        space.boundary.by_left_diagonal,
                        space.boundary.by_above,
                        1,
                        {p.sinks[1], p.sinks[p.shared_gap ? 1 : 2]},
                        {p.gaps[0], p.gaps[1]},
                        {one.side[kLeft], one.side[kAbove]},
                        kOpens<F>,
                        p.open,
                        p.sinks[3]},
                       stream);
}

// ---- the second order ------------------------------------------------------------------------------------

template <class F, class V>
struct SeveralTangentSpace {
  using A = SeveralTangents<F, V>;
  BandSize band;
  Chain<typename A::Edge> chain{};
  V* edges[2] = {};
  V* ends[2] = {};
  int64_t bytes;
  explicit SeveralTangentSpace(const TangentSweep& p) : band(band_for<V, typename A::Edge>(p.pairs, 0)) {
    Workspace space(p.workspace);
    chain = take_bands<typename A::Edge>(space, p.pairs, band);
    take_sides(space, p.pairs, p.start, edges);
    take_ends(space, p.pairs, p.ends, ends);
    bytes = space.bytes();
  }
};

template <class F, class V>
Error sweep_several(const TangentSweep& p, Stream stream) {
  using A = SeveralTangents<F, V>;
  const SeveralTangentSpace<F, V> space(p);
  A a{};
  a.recurrence = p.recurrence;
  a.pairs = p.pairs;
  a.curvature = V(p.gamma > 0 ? (p.costs ? -1 : 1) / p.gamma : 0);
  a.saved = regime_of(p).several(p.saved);
  for (int i = 0; i < A::kDirections; i++) a.directions[i] = p.directions[i];
  a.boundary.left = space.edges[kLeft];
  a.boundary.above = space.edges[kAbove];
  a.boundary.last_row = space.ends[kInRow];
  a.boundary.last_column = space.ends[kInColumn];
  a.tangent = static_cast<V*>(p.tangent);
  if (p.gamma > 0) a.tangents = regime_of(p).several(p.tangents);
  a.band = space.band;
  a.chain = space.chain;
  Error error = set_zero(p.tangent, size_t(p.pairs.count) * sizeof(V), stream);
  if (p.start == Start::kGaps && error == cudaSuccess) {
    const OneForBoth one(p.one_for_all, kOpens<F>);
    error = launch_boundary({p.pairs,
                             {p.directions[1], p.directions[2]},
                             {one.side[kLeft], one.side[kAbove]},
                             0,
                             {false, p.type, {space.edges[kLeft], space.edges[kAbove]}},
                             p.type,
                             p.score,
                             p.tangent,
                             0,
                             0,
                             kOpens<F>,
                             p.directions[3]},
                            stream);
  }
  if (error == cudaSuccess) error = launch_bands(several_tangents<F, V>, 0, a, stream);
  if (error != cudaSuccess || p.ends == Ends::kCorner) return error;
  return launch_join_tangents({p.pairs,
                               p.ends,
                               p.type,
                               double(a.curvature),
                               {space.ends[kInRow], space.ends[kInColumn]},
                               nullptr,
                               p.ends_weights,
                               p.tangent,
                               p.ends_tangents,
                               a.saved},
                              stream);
}

template <class F, class V>
struct SeveralProductSpace {
  using A = SeveralProducts<F, V>;
  using Number = typename A::Number;
  BandSize band;
  Chain<typename A::Edge> chain{};
  BoundaryGradient<V> boundary;
  Number* by_above = nullptr;
  Number* by_ends[2] = {};
  int64_t bytes;
  explicit SeveralProductSpace(const ProductSweep& p) : band(band_for<V, typename A::Edge>(p.pairs, 0)) {
    Workspace space(p.workspace);
    chain = take_bands<typename A::Edge>(space, p.pairs, band);
    take_ends(space, p.pairs, p.ends, by_ends);
    if (p.start == Start::kGaps) {
      boundary.by_left = space.take<V>(p.pairs.count * p.pairs.rows);
      boundary.by_left_diagonal = space.take<V>(p.pairs.count * p.pairs.rows);
      by_above = space.take<Number>(p.pairs.count * p.pairs.columns);
    }
    bytes = space.bytes();
  }
};

template <class F, class V>
Error sweep_several(const ProductSweep& p, Stream stream) {
  using A = SeveralProducts<F, V>;
  const SeveralProductSpace<F, V> space(p);
  A a{};
  a.recurrence = p.recurrence;
  a.pairs = p.pairs;
  a.grad_score = static_cast<const V*>(p.grad_score);
  a.saved = regime_of(p).several(p.saved);
  a.tangent = static_cast<const V*>(p.tangent);
  if (p.gamma > 0) a.tangents = regime_of(p).several(p.tangents);
  for (int i = 0; i < A::kProducts; i++) a.products[i] = {p.products[i], p.type, true, true};
  a.boundary = space.boundary;
  a.by_above = space.by_above;
  for (int end = 0; end < 2; end++) a.by_ends[end] = space.by_ends[end];
  a.shared_gap = p.shared_gap;
  a.band = space.band;
  a.chain = space.chain;
  Error error = launch_seeds({p.pairs,
                              p.ends,
                              p.type,
                              p.grad_score,
                              p.ends_weights,
                              p.ends_tangents,
                              {space.by_ends[kInRow], space.by_ends[kInColumn]},
                              p.pairs.rows,
                              0},
                             stream);
  if (error == cudaSuccess) error = launch_bands(several_products<F, V>, 0, a, stream);
  if (p.start != Start::kGaps || error != cudaSuccess) return error;
  const int open = kOpens<F> ? 3 : 0;
  return launch_charge({{p.pairs, nullptr, p.type, true, a.saved},
                        nullptr,
                        space.boundary.by_left,
                        space.boundary.by_left_diagonal,
                        space.by_above,
                        2,
                        {a.products[1], a.products[p.shared_gap ? 1 : 2]},
                        {},
                        {},
                        kOpens<F>,
                        {},
                        a.products[open]},
                       stream);
}

// ---- what wavefront.cu calls -----------------------------------------------------------------------------

template <class F>
template <class V>
int64_t SeveralSweeps<F>::bytes(const Forward& p) {
  return SeveralForwardSpace<F, V>(p).bytes;
}
template <class F>
template <class V>
int64_t SeveralSweeps<F>::bytes(const Backward& p) {
  return SeveralBackwardSpace<F, V>(p).bytes;
}
template <class F>
template <class V>
int64_t SeveralSweeps<F>::bytes(const TangentSweep& p) {
  return SeveralTangentSpace<F, V>(p).bytes;
}
template <class F>
template <class V>
int64_t SeveralSweeps<F>::bytes(const ProductSweep& p) {
  return SeveralProductSpace<F, V>(p).bytes;
}
template <class F>
template <class V, class Problem>
Error SeveralSweeps<F>::sweep(const Problem& p, Stream stream) {
  return sweep_several<F, V>(p, stream);
}

#define SOFTDP_SWEEP(Family, V, Problem)                            \
  template int64_t SeveralSweeps<Family>::bytes<V>(const Problem&); \
  template Error SeveralSweeps<Family>::sweep<V, Problem>(const Problem&, Stream);
#define SOFTDP_FAMILY(Family)                \
  SOFTDP_SWEEP(Family, float, Forward)       \
  SOFTDP_SWEEP(Family, double, Forward)      \
  SOFTDP_SWEEP(Family, float, Backward)      \
  SOFTDP_SWEEP(Family, double, Backward)     \
  SOFTDP_SWEEP(Family, float, TangentSweep)  \
  SOFTDP_SWEEP(Family, double, TangentSweep) \
  SOFTDP_SWEEP(Family, float, ProductSweep)  \
  SOFTDP_SWEEP(Family, double, ProductSweep)

}  // namespace softdp::cuda
