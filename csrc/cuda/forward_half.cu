#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const Forward<half>&);
template Error fsd_forward(const Forward<half>&, Stream);
template Error lcs_forward(const Forward<half>&, Stream);
}  // namespace softdp::cuda
