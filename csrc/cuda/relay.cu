// The sweeps of few pairs, of all types of scores but float64.
#include "launch_forward.h"
#include "relay_backward.h"
#include "relay_forward.h"

namespace softdp::cuda {

Error relay_forward(const Forward& p, Stream stream) {
  using Memory = RelayMemory<RelayForward::Edge>;
  static_assert(sizeof(Memory) <= kRelayBytes);
  const ForwardSpace<float, true> space(p);
  RelayForward arguments{forward_arguments<RelayRecipe>(p), p.shared_gap, space.relay};
  if (tables_of(p.recurrence) == 1) arguments.tables[1] = arguments.tables[2] = p.tables[0];
  return launch_relay(relay_forward_strips, sizeof(Memory), arguments, stream);
}

template <class Recurrence>
Error relay_backward(const Backward& p, Stream stream) {
  const BackwardSpace<float> space(p);
  const RelayBackward arguments{
      p.recurrence,
      p.pairs,
      static_cast<const float*>(p.grad_score),
      static_cast<const float*>(p.saved),
      {p.sinks[0], p.sinks[1], p.sinks[2]},
      p.shared_gap,
      p.visits,
      p.ends != Ends::kCorner,
      static_cast<const float*>(p.verdicts),
      space.boundary,
      space.relay,
      {partial_size(p, 1) ? space.partial[0] : nullptr, partial_size(p, 2) ? space.partial[1] : nullptr}};
  static_assert(sizeof(RelayBackwardMemory) <= kRelayBytes);
  return launch_relay(relay_backward_strips, sizeof(RelayBackwardMemory), arguments, stream);
}

#define SOFTDP_LAUNCHERS(Recurrence) template Error relay_backward<Recurrence>(const Backward&, Stream);
SOFTDP_RECURRENCES(SOFTDP_LAUNCHERS)

}  // namespace softdp::cuda
