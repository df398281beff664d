#include "launch_backward.h"

namespace softdp::cuda {
#define SOFTDP_LAUNCHERS(Recurrence)                                         \
  template Error sweep_backward<Recurrence, float>(const Backward&, Stream); \
  template Error sweep_backward<Recurrence, double>(const Backward&, Stream);
SOFTDP_RECURRENCES(SOFTDP_LAUNCHERS)
}  // namespace softdp::cuda
