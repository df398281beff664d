// The sums of gaps, before a sweep and after it. All are in double.
//
// Before a forward sweep: the states on a boundary where gaps count, S(i,0) = S(i-1,0) + insert(i,1) and
// S(0,j) = S(0,j-1) + delete(1,j). They add up in the order of the steps, as the CPU's do. After a backward
// sweep: the gaps' share of the gradient there, and the gradients that are summed over a table's rows.
//
// Every kernel is compiled once. The types of numbers are looked at where these are read and written: nothing
// here is done once a cell.
#pragma once
#include "wavefront.h"

namespace softdp::cuda {

enum Side { kLeft, kAbove };  // S(i,0), of insert; S(0,j), of delete

// ---- before a sweep --------------------------------------------------------------------------------------

// What a sweep holds of S on the boundary: states of Maxima's Wide, or plain numbers.
struct BoundaryEdges {
  bool are_states;
  Type type;      // of numbers, or of a state's p
  void* data[2];  // of kLeft and kAbove: (B, N) and (B, M)
};
struct GapArguments {
  Pairs pairs;
  Table gaps[2];  // of kLeft and kAbove: insert and delete; data null: 0
  bool one_for_all[2];
  double k;  // log2(e) / gamma, of states
  BoundaryEdges edges;
  Type type;             // of the scores
  const void* score_of;  // (B,), of tangents: the score that they belong to
  void* score;           // (B,), or the score's tangent; written of pairs without cells only
  double unfit;          // of pairs whose lengths do not fit
  double apart;          // of pairs whose gap differs where there is no step
  bool opens = false;    // the first step of each side takes the number of `open` there
  Table open{};          // data null: 0
};

// ---- after a backward sweep ------------------------------------------------------------------------------

// What a forward sweep has saved.
struct SavedWeights {
  Pairs pairs;
  const void* numbers;
  Type type;               // of the arithmetic, as are all numbers here that have no type of their own
  bool are_full;           // as the second order takes them
  SavedNumbers several{};  // in place of these numbers, of recurrences with several states a cell
};

// What is summed over rows: the strips' sums.
struct ReduceArguments {
  SavedWeights weights;
  const void* grad_score;
  const void* partial;
  Sink sink;        // (B, columns)
  int64_t columns;  // M, or 1
};

// The gaps on a boundary that is charged.
struct ChargeArguments {
  SavedWeights weights;
  const void* grad_score;  // null: that of the second order, which pairs without cells have not
  const void *by_left, *by_left_diagonal;  // (B, N)
  const void* by_above;                    // (B, M), columns from the pair's last one on
  int by_above_numbers;                    // of each: a dual one has two, of which the second counts
  Sink sinks[2];                           // of insert and delete: one where they are shared
  Table gaps[2];
  bool one_for_all[2];
  bool opens = false;  // as GapArguments has it
  Table open{};
  Sink open_sink{};
};

Error launch_boundary(const GapArguments& a, Stream stream);
Error launch_charge(const ChargeArguments& a, Stream stream);
Error launch_reduce(const ReduceArguments& a, Stream stream);

}  // namespace softdp::cuda
