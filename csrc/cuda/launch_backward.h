// Which kernels sweep a problem backward. Included by the .cu files that compile these kernels.
#pragma once
#include "backward_bands.h"
#include "launch.h"

namespace softdp::cuda {

template <class Recurrence, class V>
Error sweep_backward(const Backward& p, Stream stream) {
  using Packing = typename Recurrence::Packing;
  using Arguments = BackwardArguments<V, Packing>;
  const BackwardSpace<V> space(p);
  const auto has_array = [&](int i) {
    return i < Arguments::kSinks && p.sinks[i].data && p.sinks[i].every_column;
  };
  const auto is_stored = [&](int i) { return has_array(i) && p.sinks[i].every_row; };
  const auto is_summed = [&](int i) { return i > 0 && has_array(i) && !p.sinks[i].every_row; };
  const int arrays = std::max(has_array(2) ? 3 : has_array(1) ? 2 : 1, Arguments::kPlanes);
  const Arguments arguments{p.recurrence,
                            p.pairs,
                            static_cast<const V*>(p.grad_score),
                            static_cast<const V*>(p.saved),
                            {p.sinks[0], p.sinks[1], p.sinks[2]},
                            {is_stored(0), is_stored(1), is_stored(2)},
                            {is_summed(0), is_summed(1), is_summed(2)},
                            p.shared_gap,
                            p.visits,
                            p.as_saved,
                            p.ends != Ends::kCorner,
                            static_cast<const V*>(p.verdicts),
                            space.boundary,
                            arrays,
                            space.band,
                            space.chain,
                            {space.partial[0], space.partial[1]}};
  const Type type = arithmetic(p.sinks[0].type);
  Error error = launch_seeds({p.pairs,
                              p.is_piece ? Ends::kCorner : p.ends,
                              type,
                              p.grad_score,
                              p.ends_weights,
                              nullptr,
                              {space.by_ends[kInRow], space.by_ends[kInColumn]},
                              p.pairs.rows,
                              0},
                             stream);
  if (error != cudaSuccess) return error;
  error = is_relay(p) ? relay_backward<Recurrence>(p, stream)
                      : launch_bands(backward_bands<V, Packing>, arrays, arguments, stream);
  const SavedWeights weights{p.pairs, p.saved, type, false};
  for (int i = 1; i < Arguments::kSinks && error == cudaSuccess; i++) {
    const Sink& sink = p.sinks[i];
    if (!sink.data || sink.every_row) continue;
    const int64_t columns = sink.every_column ? p.pairs.columns : 1;
    error = launch_reduce({weights, p.grad_score, space.partial[i - 1], sink, columns}, stream);
  }
  if (p.start == Start::kGaps && error == cudaSuccess)
    error = launch_charge({weights,
                           p.grad_score,
                           space.boundary.by_left,
                           space.boundary.by_left_diagonal,
                           space.boundary.by_above,
                           1,
                           {p.sinks[1], p.sinks[p.shared_gap ? 1 : 2]},
                           {p.gaps[0], p.gaps[1]},
                           {p.one_for_all.insert, p.one_for_all.del}},
                          stream);
  return error;
}

}  // namespace softdp::cuda
