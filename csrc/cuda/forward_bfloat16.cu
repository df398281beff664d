#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const Forward<bfloat16>&);
template Error fsd_forward(const Forward<bfloat16>&, Stream);
template Error lcs_forward(const Forward<bfloat16>&, Stream);
}  // namespace softdp::cuda
