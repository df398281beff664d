// The launches of tiny pairs.
#include "launch.h"
#include "scale.h"
#include "tiny.h"

namespace softdp::cuda {
namespace {

template <class Recurrence, class T, bool kSharedGap>
Error launch_tiny(const Forward& p, Stream stream) {
  using R = TinyRecipe<Recurrence, T, kSharedGap>;
  const double k = kLog2e / p.gamma;
  const TinyLayout layout(p.pairs);
  const TinyArguments arguments{p.pairs,
                                Maxima<float, true>::factor(k),
                                Maxima<float, true>::unit(k),
                                float(p.threshold),
                                p.start == Start::kAnchored,
                                R::Recurrence::kTakesCosts && p.costs,
                                {TinyTable(p.tables[0]), TinyTable(p.tables[1]), TinyTable(p.tables[2])},
                                static_cast<float*>(p.score),
                                static_cast<float*>(p.saved),
                                layout};
  return launch(tiny_pairs<R>, (p.pairs.count + layout.pairs() - 1) / layout.pairs(), layout.threads(),
                TinyMemory::bytes(R::kMoves + 2, layout), stream, arguments);
}

template <class T>
Error launch_scale(const Backward& p, Stream stream) {
  const int planes = regime_of(p).planes(p.shared_gap, Saves::kGradients);
  const ScaleArguments arguments{p.pairs,
                                 static_cast<const float*>(p.grad_score),
                                 static_cast<const float*>(p.saved),
                                 planes,
                                 {p.sinks[0], p.sinks[1], p.sinks[2]}};
  return launch_early(scale_pairs<T>, p.pairs.count * planes, kScaleThreads, stream, arguments);
}

template <class Run>
Error with_type(Type type, Run run) {
  return type == Type::kFloat32 ? run(float()) : run(Sixteen());
}

}  // namespace

Error sweep_tiny_pairs(const Forward& p, Stream stream) {
  return with_type(p.tables[0].type, [&](auto type) {
    return with_recurrence(p.recurrence, [&](auto of) {
      using T = decltype(type);
      using Of = decltype(of);
      if constexpr (Of::kChargesBoundary)
        return kBadProblem;
      else if constexpr (Of::kTables == 1)
        return launch_tiny<Of, T, false>(p, stream);
      else
        return p.shared_gap ? launch_tiny<Of, T, true>(p, stream) : launch_tiny<Of, T, false>(p, stream);
    });
  });
}

Error scale_tiny_pairs(const Backward& p, Stream stream) {
  return with_type(p.sinks[0].type, [&](auto type) { return launch_scale<decltype(type)>(p, stream); });
}

}  // namespace softdp::cuda
