// The best path of each pair, that of a sweep with gamma 0, with one byte a cell. This file does not use
// PyTorch.
#pragma once
#include "sweep.h"

namespace softdp::cpu {

struct PathProblem {
  Pairs pairs;
  Recurrence recurrence;
  Start start;
  Ends ends;
  bool costs;
  double threshold;
  Table scores[kMostTables];
  OneForAll one_for_all;
  // (B, most_steps(), 3): row and column of each cell on the path, from 0, and the move into it: 0 match,
  // 1 insert, 2 delete. A gap before the other sequence's first step has -1 in its place. Past a path's
  // length all numbers are -1.
  int64_t* steps;
  int64_t* lengths;  // (B,); 0 for a pair without a path, or with a NaN or +inf
};

void best_paths(const PathProblem& problem, const Threads& threads);
// The same of a recurrence with several states a cell.
void best_paths_of_states(const PathProblem& problem, const Threads& threads);

}  // namespace softdp::cpu
