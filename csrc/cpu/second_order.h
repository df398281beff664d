// The second order on the CPU: the derivative of a backward sweep, pair by pair. This file does not use
// PyTorch.
#pragma once
#include "sweep.h"

namespace softdp::cpu {

// All numbers are float64, or all float32.
struct SecondOrder {
  Pairs pairs;
  Recurrence recurrence;
  Start start;
  Ends ends;
  bool shared_gap;  // delete = insert; they share direction and product too
  bool costs;
  double gamma, threshold;
  Table scores[kMostTables];
  OneForAll one_for_all;
  Table directions[kMostTables];  // of each table; null data: 0
  const void* grad_score;         // (B,)
  void* tangent;                  // (B,): the scores' derivatives along the directions
  // grad_score times the Hessian times the direction, (B, N, M); null: not wanted
  void* products[kMostTables];
};

void second_order(const SecondOrder& problem, const Threads& threads);
// The same of a recurrence with several states a cell.
void second_order_of_states(const SecondOrder& problem, const Threads& threads);

}  // namespace softdp::cpu
