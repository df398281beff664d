// Batched sweeps on the CPU: which kernels sweep what, and on which threads. No torch.
#pragma once
#include <functional>

#include "kernels.h"

namespace softdp::cpu {

// The instruction set in use: the best that the machine has, or the one that SOFTDP_CPU names. Throws
// std::runtime_error where the machine lacks that one.
const Kernels& chosen();

struct Threads {
  int count;
  // Calls run(begin, end) on parts of 0 .. items, together all of them.
  std::function<void(int64_t items, int64_t grain, const std::function<void(int64_t, int64_t)>& run)> over;
};

void forward(const Problem& problem, const Threads& threads);
void backward(const Problem& problem, const Threads& threads);

}  // namespace softdp::cpu
