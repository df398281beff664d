// The best path of each pair on a GPU, from what a forward sweep with gamma 0 has saved: the weights of the
// moves are 1 or 0.
#pragma once
#include "wavefront.h"

namespace softdp::cuda {

struct PathProblem {
  Recurrence recurrence;
  Type type;  // of the arithmetic
  Pairs pairs;
  Start start;
  Ends ends;
  const void* score;         // (B,)
  const void* saved;         // (B, planes, cells_of()): the weights
  const void* ends_weights;  // (B, ends_of())
  int64_t* steps;            // as those of cpu/paths.h: (B, most, 3)
  int64_t* lengths;          // (B,)
  int64_t most;
  SavedNumbers several;  // what trace_paths() makes of `saved`, of recurrences with several states a cell
};

Error trace_paths(const PathProblem& problem, Stream stream);

}  // namespace softdp::cuda
