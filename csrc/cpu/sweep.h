// Batched sweeps on the CPU: pairs begin <= b < end of a problem. Pairs are independent, so any split of
// the batch over threads gives the same bits.
#pragma once
#include "../problem.h"

namespace softdp::cpu {

template <class T>
void fsd_forward(const FsdForward<T>& problem, int64_t begin, int64_t end);
template <class T>
void lcs_forward(const LcsForward<T>& problem, int64_t begin, int64_t end);
template <class T>
void fsd_backward(const Backward<T>& problem, int64_t begin, int64_t end);
template <class T>
void lcs_backward(const Backward<T>& problem, int64_t begin, int64_t end);

}  // namespace softdp::cpu
