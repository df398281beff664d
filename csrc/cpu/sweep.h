// Batched sweeps on the CPU: which kernel sweeps which pair, and on which threads. This file does not use
// PyTorch.
#pragma once
#include <functional>

#include "kernels.h"

namespace softdp::cpu {

// The kernels of the instruction set in use: the best set that the machine has, or the one that SOFTDP_CPU
// names. Throws std::runtime_error where the machine lacks the named set, or no set has that name.
const Kernels& chosen();

struct Threads {
  int count;
  // Calls run(begin, end) for parts of 0 .. items - 1 that together are all of them.
  std::function<void(int64_t items, int64_t grain, const std::function<void(int64_t, int64_t)>& run)> over;
};

void forward(const Problem& problem, const Threads& threads);
void backward(const Problem& problem, const Threads& threads);

}  // namespace softdp::cpu
