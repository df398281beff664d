#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const Forward<double>&);
template Error fsd_forward(const Forward<double>&, Stream);
template Error lcs_forward(const Forward<double>&, Stream);
}  // namespace softdp::cuda
