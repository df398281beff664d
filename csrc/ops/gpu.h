// What the CUDA operators share: the device and its stream, tensors beside others, lengths, errors.
#pragma once
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>

#include "../cuda/feature_scores.h"
#include "tensors.h"

namespace softdp {

using torch::stable::accelerator::DeviceGuard;

// torch before 2.13 has no other way to a stream's handle.
inline cudaStream_t current_stream(int32_t device) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

// A tensor beside `like`. PyTorch prints why it could not allocate, but passes no more than that it could
// not.
inline Tensor new_tensor(const Tensor& like, const Sizes& size, ScalarType dtype) {
  try {
    return torch::stable::new_empty(like, size, dtype);
  } catch (const std::exception& error) {
    std::ostringstream what;
    what << "a tensor of size (";
    for (size_t d = 0; d < size.size(); d++) what << (d ? ", " : "") << size[d];
    what << ") could not be allocated on cuda:" << like.get_device_index() << ", out of memory? "
         << error.what();
    throw std::runtime_error(what.str());
  }
}

inline void check_launch(cudaError_t error) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // clears the error: whoever asks next would get it again
  throw std::runtime_error(std::string("CUDA error: ") + cudaGetErrorString(error) + " (" +
                           cudaGetErrorName(error) + ")");
}

// Runs an operator on the scores' device. An error's message begins with the operator's name.
template <class Run>
auto on_device(const char* name, const Tensor& scores, Run run) {
  try {
    STD_TORCH_CHECK(scores.is_cuda(), "its first tensor must be on a CUDA device");
    const DeviceGuard guard(scores.get_device_index());
    return run(current_stream(scores.get_device_index()));
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(name) + ": " + error.what());
  }
}

inline bool is_beside(const Tensor& t, const Tensor& scores) {
  return t.is_cuda() && t.get_device_index() == scores.get_device_index();
}

// Lengths as the kernels take them, contiguous. It owns the contiguous copies. The kernels check the values.
struct LengthsOnDevice {
  Lengths x_lengths, y_lengths;  // before x and y, whose making fills them in
  std::optional<Tensor> x, y;
  LengthsOnDevice(const std::optional<Tensor>& x, const std::optional<Tensor>& y, const Tensor& scores,
                  int64_t pairs)
      : x(of(x, "x_lengths", scores, pairs, x_lengths)), y(of(y, "y_lengths", scores, pairs, y_lengths)) {}
  Pairs pairs(const Sizes& size) const { return {size[0], size[1], size[2], x_lengths, y_lengths}; }

 private:
  static std::optional<Tensor> of(const std::optional<Tensor>& lengths, const char* name,
                                  const Tensor& scores, int64_t pairs, Lengths& out) {
    if (!lengths) return std::nullopt;
    STD_TORCH_CHECK(is_beside(*lengths, scores) && lengths->dim() == 1 && lengths->size(0) == pairs, name,
                    " must be a tensor of shape (", pairs, ",) on the scores' device");
    const ScalarType dtype = lengths->scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Long || dtype == ScalarType::Int, name, " must be int32 or int64");
    Tensor values = torch::stable::contiguous(*lengths);
    out = Lengths();
    if (dtype == ScalarType::Long)
      out.as_int64 = data<const int64_t>(values);
    else
      out.as_int32 = data<const int32_t>(values);
    return values;
  }
};

// Workspace for a problem, which it is pointed to; lives until the launch, after which the stream orders its
// reuse.
template <class Problem>
Tensor workspace_for(Problem& problem, const Tensor& scores) {
  Tensor workspace = new_tensor(scores, {cuda::workspace_bytes(problem)}, ScalarType::Byte);
  problem.workspace = workspace.data_ptr();
  return workspace;
}

}  // namespace softdp
