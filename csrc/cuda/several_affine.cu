#include "launch_several.h"

namespace softdp::cuda {
SOFTDP_FAMILY(AffineFamily)
}  // namespace softdp::cuda
