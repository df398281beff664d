// Stands in CUDA's place before csrc/ops/cuda.cpp, and makes its operators those of CPU tensors, run under
// the shim: so the binding, and all Python above it, run where there is no GPU (tests/shim.py).
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../shim.h"

using cudaError_t = softdp::cuda::Error;
using cudaStream_t = softdp::cuda::Stream;
using softdp::cuda::cudaSuccess;

inline const char* cudaGetErrorName(cudaError_t error) {
  return error == softdp::cuda::cudaErrorLaunchFailure ? "cudaErrorLaunchFailure" : "cudaErrorInvalidValue";
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == softdp::cuda::cudaErrorLaunchFailure ? "unspecified launch failure" : "invalid argument";
}
inline void cudaGetLastError() {}

// There is one device, the current one, and one stream.
namespace torch::stable::accelerator {
struct NoGuard {
  explicit NoGuard(DeviceIndex) {}
};
}  // namespace torch::stable::accelerator
inline AOTITorchError the_stream(int32_t, void** stream) {
  *stream = nullptr;
  return AOTI_TORCH_SUCCESS;
}

#define DeviceGuard NoGuard
#define aoti_torch_get_current_cuda_stream the_stream
#define is_cuda is_cpu
#define CUDA CPU
