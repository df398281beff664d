#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const Backward<float>&);
template Error fsd_backward(const Backward<float>&, Stream);
template Error lcs_backward(const Backward<float>&, Stream);
template int64_t workspace_bytes(const Backward<Sixteen>&);
template Error fsd_backward(const Backward<Sixteen>&, Stream);
template Error lcs_backward(const Backward<Sixteen>&, Stream);
template int64_t workspace_bytes(const Backward<double>&);
template Error fsd_backward(const Backward<double>&, Stream);
template Error lcs_backward(const Backward<double>&, Stream);
}  // namespace softdp::cuda
