// Which kernels sweep a problem backward. Included by the .cu files that compile these kernels.
#pragma once
#include "backward_bands.h"
#include "launch.h"

namespace softdp::cuda {

// The strips' sums of the gaps that are summed over rows, together.
template <class T, class Arguments>
Error launch_reduce(const Arguments& a, Stream stream) {
  Error error = cudaSuccess;
  for (int i = 1; i < Arguments::kSinks && error == cudaSuccess; i++) {
    const Sink& sink = a.sinks[i];
    if (!sink.data || sink.every_row) continue;
    const int64_t columns = sink.every_column ? a.pairs.columns : 1;
    const ReduceArguments<T> sums{a.pairs, a.grad_score, a.saved, a.partial[i - 1], sink, columns};
    error = launch(reduce_strips<T>, (a.pairs.count * columns + kReduceThreads - 1) / kReduceThreads,
                   kReduceThreads, 0, stream, sums);
  }
  return error;
}

template <class T, class Edge>
Error launch_charge(const ChargeArguments<T, Edge>& a, Stream stream) {
  return launch(charge_boundary<T, Edge>, (a.pairs.count + kBoundaryWarps - 1) / kBoundaryWarps,
                kBoundaryWarps * kStripRows, 0, stream, a);
}

template <class Recurrence, class T>
Error sweep_backward(const Backward& p, Stream stream) {
  using Arguments = BackwardArguments<T, Recurrence>;
  using V = typename Arguments::V;
  const BackwardSpace<Recurrence, V> space(p);
  const auto has_array = [&](int i) {
    return i < Arguments::kSinks && p.sinks[i].data && p.sinks[i].every_column;
  };
  const int arrays = std::max(has_array(2) ? 3 : has_array(1) ? 2 : 1, Arguments::kPlanes);
  const Arguments arguments{p.pairs,
                            static_cast<const V*>(p.grad_score),
                            static_cast<const V*>(p.saved),
                            {p.sinks[0], p.sinks[1], p.sinks[2]},
                            p.shared_gap,
                            p.visits,
                            static_cast<const V*>(p.verdicts),
                            space.boundary,
                            arrays,
                            space.band,
                            space.chain,
                            {space.partial[0], space.partial[1]}};
  Error error = is_relay(p) ? relay_backward<Recurrence>(p, stream)
                            : launch_bands(backward_bands<T, Recurrence>, arrays, arguments, stream);
  if (error == cudaSuccess) error = launch_reduce<T>(arguments, stream);
  if constexpr (Recurrence::kChargesBoundary)
    if (error == cudaSuccess)
      error = launch_charge(ChargeArguments<T, V>{p.pairs,
                                                  arguments.grad_score,
                                                  arguments.saved,
                                                  space.boundary.by_left,
                                                  space.boundary.by_left_diagonal,
                                                  space.boundary.by_above,
                                                  {p.sinks[1], p.sinks[p.shared_gap ? 1 : 2]},
                                                  {p.gaps[0], p.gaps[1]},
                                                  {p.one_for_all.insert, p.one_for_all.del}},
                            stream);
  return error;
}

}  // namespace softdp::cuda
