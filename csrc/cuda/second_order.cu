#include "launch.h"

namespace softdp::cuda {
template int64_t workspace_bytes(const TangentSweep<float>&);
template Error sweep_tangents(const TangentSweep<float>&, Recurrence, Stream);
template int64_t workspace_bytes(const ProductSweep<float>&);
template Error sweep_products(const ProductSweep<float>&, Recurrence, Stream);
template int64_t workspace_bytes(const TangentSweep<double>&);
template Error sweep_tangents(const TangentSweep<double>&, Recurrence, Stream);
template int64_t workspace_bytes(const ProductSweep<double>&);
template Error sweep_products(const ProductSweep<double>&, Recurrence, Stream);
}  // namespace softdp::cuda
