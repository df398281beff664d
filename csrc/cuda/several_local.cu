#include "launch_several.h"

namespace softdp::cuda {
SOFTDP_FAMILY(LocalFamily)
}  // namespace softdp::cuda
