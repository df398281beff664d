// The CUDA versions that the loader checks before CUDA tensors may come to the kernels. Creates no CUDA
// context.
#include <cuda_runtime_api.h>

// `driver` is the newest CUDA version that the driver runs, 0 where there is no driver. `built` is the
// version that the kernels were built with. Both are in CUDA's form: 13020 is 13.2.
extern "C" __attribute__((visibility("default"))) void softdp_cuda_versions(int* driver, int* built) {
  *driver = *built = 0;
  if (cudaDriverGetVersion(driver) != cudaSuccess) *driver = 0;
  if (cudaRuntimeGetVersion(built) != cudaSuccess) *built = CUDART_VERSION;
}
