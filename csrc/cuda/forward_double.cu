#include "launch_forward.h"

namespace softdp::cuda {
#define SOFTDP_LAUNCHERS(Recurrence) template Error sweep_forward<Recurrence, double>(const Forward&, Stream);
SOFTDP_RECURRENCES(SOFTDP_LAUNCHERS)
}  // namespace softdp::cuda
