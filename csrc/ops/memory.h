// The memory of the CPU operators' results.
#pragma once
#include "tensors.h"

namespace softdp {

// A new CPU tensor, not initialised.
//
// Where it is large, the C library would map fresh pages for it and unmap them with it: in a training loop
// the system clears and maps them anew in every pass, which takes several times as long as a sweep. So the
// memory of large tensors that have gone is kept for the next ones. It is marked as free (MADV_FREE): the
// system takes its pages once it runs short of memory.
//
// Before torch 2.11 a tensor cannot bring its own memory, and none is kept.
Tensor new_tensor(const Sizes& size, ScalarType dtype);

// How many bytes are kept at most: SOFTDP_KEEP_MB times 2^20, else a quarter of the machine's memory. Throws
// std::runtime_error where SOFTDP_KEEP_MB is not a number.
uint64_t kept_at_most();

}  // namespace softdp
