// Which kernels sweep the second order. Included by the .cu files that compile these kernels.
#pragma once
#include "launch.h"
#include "second_order.h"

namespace softdp::cuda {

template <class Recurrence, class V>
Error sweep_tangents(const TangentSweep& p, Stream stream) {
  const TangentSpace<Recurrence, V> space(p);
  TangentArguments<V, typename Recurrence::Packing> arguments{};
  arguments.recurrence = p.recurrence;
  arguments.pairs = p.pairs;
  arguments.curvature = V(p.gamma > 0 ? (p.costs ? -1 : 1) / p.gamma : 0);
  arguments.saved = static_cast<const V*>(p.saved);
  for (int i = 0; i < 3; i++) arguments.directions[i] = p.directions[i];
  arguments.tangent = static_cast<V*>(p.tangent);
  arguments.tangents = static_cast<V*>(p.tangents);
  arguments.band = space.band;
  arguments.chain = space.chain;
  Error error = set_zero(p.tangent, size_t(p.pairs.count) * sizeof(V), stream);
  arguments.boundary.last_row = space.ends[kInRow];
  arguments.boundary.last_column = space.ends[kInColumn];
  if (p.start == Start::kGaps) {
    arguments.boundary.left = space.edges[kLeft];
    arguments.boundary.above = space.edges[kAbove];
    if (error == cudaSuccess)
      error = launch_boundary({p.pairs,
                               {p.directions[1], p.directions[2]},
                               {p.one_for_all.insert, p.one_for_all.del},
                               0,
                               {false, p.type, {space.edges[kLeft], space.edges[kAbove]}},
                               p.type,
                               p.score,
                               p.tangent,
                               0,
                               0},
                              stream);
  }
  if (error != cudaSuccess) return error;
  error = launch_bands(tangent_bands<V, typename Recurrence::Packing>, space.kArrays, arguments, stream);
  if (error != cudaSuccess || p.ends == Ends::kCorner) return error;
  return launch_join_tangents({p.pairs,
                               p.ends,
                               p.type,
                               double(arguments.curvature),
                               {space.ends[kInRow], space.ends[kInColumn]},
                               p.saved,
                               p.ends_weights,
                               p.tangent,
                               p.ends_tangents},
                              stream);
}

template <class Recurrence, class V>
Error sweep_products(const ProductSweep& p, Stream stream) {
  const ProductSpace<Recurrence, V> space(p);
  ProductArguments<V, typename Recurrence::Packing> arguments{};
  arguments.recurrence = p.recurrence;
  arguments.pairs = p.pairs;
  arguments.grad_score = static_cast<const V*>(p.grad_score);
  arguments.saved = static_cast<const V*>(p.saved);
  arguments.tangent = static_cast<const V*>(p.tangent);
  arguments.tangents = static_cast<const V*>(p.tangents);
  for (int i = 0; i < Recurrence::kTables; i++) arguments.products[i] = {p.products[i], p.type, true, true};
  arguments.boundary = space.boundary;
  arguments.by_above = space.by_above;
  for (int end = 0; end < 2; end++) arguments.by_ends[end] = space.by_ends[end];
  arguments.shared_gap = p.shared_gap;
  arguments.band = space.band;
  arguments.chain = space.chain;
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
  if (error != cudaSuccess) return error;
  error = launch_bands(product_bands<V, typename Recurrence::Packing>, space.kArrays, arguments, stream);
  if (p.start == Start::kGaps && error == cudaSuccess)
    return launch_charge({{p.pairs, p.saved, p.type, true},
                          nullptr,
                          space.boundary.by_left,
                          space.boundary.by_left_diagonal,
                          space.by_above,
                          2,
                          {arguments.products[1], arguments.products[p.shared_gap ? 1 : 2]},
                          {},
                          {}},
                         stream);
  return error;
}

}  // namespace softdp::cuda
