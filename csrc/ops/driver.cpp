// What the loader asks before it lets CUDA tensors meet the kernels. Makes no CUDA context.
#include <cuda_runtime_api.h>

// The newest CUDA version that the driver runs, 0 where there is no driver, and the version that the kernels
// were built with; as CUDA writes them, 13020 for 13.2.
extern "C" __attribute__((visibility("default"))) void softdp_cuda_versions(int* driver, int* built) {
  *driver = *built = 0;
  if (cudaDriverGetVersion(driver) != cudaSuccess) *driver = 0;
  if (cudaRuntimeGetVersion(built) != cudaSuccess) *built = CUDART_VERSION;
}
