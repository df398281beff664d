#include "launch_second_order.h"

namespace softdp::cuda {
#define SOFTDP_LAUNCHERS(Recurrence)                                              \
  template Error sweep_tangents<Recurrence, float>(const TangentSweep&, Stream);  \
  template Error sweep_tangents<Recurrence, double>(const TangentSweep&, Stream); \
  template Error sweep_products<Recurrence, float>(const ProductSweep&, Stream);  \
  template Error sweep_products<Recurrence, double>(const ProductSweep&, Stream);
SOFTDP_RECURRENCES(SOFTDP_LAUNCHERS)
}  // namespace softdp::cuda
