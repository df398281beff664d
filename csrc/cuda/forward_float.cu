#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const Forward<float>&);
template Error fsd_forward(const Forward<float>&, Stream);
template Error lcs_forward(const Forward<float>&, Stream);
}  // namespace softdp::cuda
