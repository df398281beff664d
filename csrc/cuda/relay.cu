// The sweeps of few pairs, of all types of scores but float64.
#include "launch_forward.h"
#include "relay_backward.h"
#include "relay_forward.h"

namespace softdp::cuda {

template <class Recurrence>
Error relay_forward(const Forward& p, Stream stream) {
  using R = RelayRecipe<Recurrence>;
  const ForwardSpace<Recurrence, float, true> space(p);
  const RelayForward<Recurrence> arguments{forward_arguments<R>(p), p.shared_gap, space.relay};
  static_assert(sizeof(RelayMemory<typename R::Max::Wide::State>) <= kRelayBytes);
  return launch_relay(relay_forward_strips<Recurrence>, sizeof(RelayMemory<typename R::Max::Wide::State>),
                      arguments, stream);
}

template <class Recurrence>
Error relay_backward(const Backward& p, Stream stream) {
  const BackwardSpace<Recurrence, float> space(p);
  const RelayBackward<Recurrence> arguments{
      p.pairs,
      static_cast<const float*>(p.grad_score),
      static_cast<const float*>(p.saved),
      {p.sinks[0], p.sinks[1], p.sinks[2]},
      p.shared_gap,
      p.visits,
      static_cast<const float*>(p.verdicts),
      space.boundary,
      space.relay,
      {partial_size(p, 1) ? space.partial[0] : nullptr, partial_size(p, 2) ? space.partial[1] : nullptr}};
  static_assert(sizeof(RelayBackwardMemory) <= kRelayBytes);
  return launch_relay(relay_backward_strips<Recurrence>, sizeof(RelayBackwardMemory), arguments, stream);
}

#define SOFTDP_LAUNCHERS(Recurrence)                                \
  template Error relay_forward<Recurrence>(const Forward&, Stream); \
  template Error relay_backward<Recurrence>(const Backward&, Stream);
SOFTDP_RECURRENCES(SOFTDP_LAUNCHERS)

}  // namespace softdp::cuda
