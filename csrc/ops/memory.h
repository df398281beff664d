// The memory of the CPU operators' results.
#pragma once
#include "tensors.h"

namespace softdp {

// A new CPU tensor, not initialised.
//
// Of larger tensors the C library gives the pages back to the system, mapped for each or cut off its heap,
// and in every pass of a training loop the system clears and maps them anew: that takes up to several times
// as long as a sweep. So their memory is kept for the next ones. All but the last 64 MB are marked as free
// (MADV_FREE): the system takes the pages once it runs short of memory.
//
// Before torch 2.11 a tensor cannot bring its own memory, and none is kept.
Tensor new_tensor(const Sizes& size, ScalarType dtype);

// How many bytes are kept at most: SOFTDP_KEEP_MB times 2^20, else a quarter of the machine's memory. Throws
// std::runtime_error where SOFTDP_KEEP_MB is not a number.
uint64_t kept_at_most();

}  // namespace softdp
