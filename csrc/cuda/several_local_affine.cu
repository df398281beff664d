#include "launch_several.h"

namespace softdp::cuda {
SOFTDP_FAMILY(LocalAffineFamily)
}  // namespace softdp::cuda
