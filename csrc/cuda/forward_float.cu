#include "launch_forward.h"

namespace softdp::cuda {
template Error sweep_forward<float>(const Forward&, Stream);
}  // namespace softdp::cuda
