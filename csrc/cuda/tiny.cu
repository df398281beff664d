// The launches of tiny pairs.
#include "launch.h"
#include "scale.h"
#include "tiny.h"

namespace softdp::cuda {
namespace {

template <class Recurrence>
Error launch_tiny(const Forward& p, Stream stream) {
  const double k = kLog2e / p.gamma;
  const TinyLayout layout(p.pairs, Recurrence::kTables == 3 && !p.shared_gap ? 3 : 2);
  const TinyArguments arguments{p.pairs,
                                Maxima<float, true>::factor(k),
                                Maxima<float, true>::unit(k),
                                float(p.threshold),
                                p.shared_gap,
                                p.start == Start::kAnchored,
                                Recurrence::kTakesCosts && p.costs,
                                {TinyTable(p.tables[0]), TinyTable(p.tables[1]), TinyTable(p.tables[2])},
                                static_cast<float*>(p.score),
                                static_cast<float*>(p.saved),
                                layout};
  return launch(tiny_pairs<Recurrence>, (p.pairs.count + layout.pairs() - 1) / layout.pairs(),
                layout.threads(), TinyMemory::bytes(layout), stream, arguments);
}

}  // namespace

Error sweep_tiny_pairs(const Forward& p, Stream stream) {
  return with_recurrence(p.recurrence, [&](auto of) {
    using Of = decltype(of);
    if constexpr (Of::kChargesBoundary)
      return kBadProblem;
    else
      return launch_tiny<Of>(p, stream);
  });
}

Error scale_tiny_pairs(const Backward& p, Stream stream) {
  const int planes = regime_of(p).planes(p.shared_gap, Saves::kGradients);
  const ScaleArguments arguments{p.pairs,
                                 static_cast<const float*>(p.grad_score),
                                 static_cast<const float*>(p.saved),
                                 planes,
                                 {p.sinks[0], p.sinks[1], p.sinks[2]}};
  return launch_early(scale_pairs, p.pairs.count * planes, kScaleThreads, stream, arguments);
}

}  // namespace softdp::cuda
