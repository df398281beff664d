#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const Forward<Sixteen>&);
template Error fsd_forward(const Forward<Sixteen>&, Stream);
template Error lcs_forward(const Forward<Sixteen>&, Stream);
}  // namespace softdp::cuda
