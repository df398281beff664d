// Batched sweeps on the GPU: what they take, and the launchers. No torch: pointers and a stream in, a CUDA
// error out. Nothing waits for the device, nothing is allocated.
//
// V is the type of the arithmetic and of the results: double for scores in double, else float.
#pragma once
#include "../problem.h"
#include "device.h"

namespace softdp::cuda {

// The bits of a float16 or of a bfloat16: one kernel reads and writes both, and a Type says which.
struct Sixteen {
  uint16_t bits;
};

// Of the kernels for scores of a type, as are their results.
inline Type arithmetic(Type type) {
  return type == Type::kFloat64 ? type : Type::kFloat32;
}

// How many numbers are saved of a pair's cells, in a plane: (N, M), or what a bandwidth leaves of that
// (saved_cells, ../corridor.h).
SOFTDP_FN int64_t cells_of(const Pairs& pairs) {
  return saved_cells(pairs.rows, pairs.columns, pairs.bandwidth);
}

// What is saved of a forward sweep.
enum class Saves {
  kGradients,  // of tiny pairs, else weights
  kWeights,
  kFullWeights  // not rounded to 16 bits: what the second order takes
};

// The forward sweep. tables[0] is match, or the scores of a recurrence of one table; tables[1] and [2] are
// insert and delete. Gaps have match's type, or that of the arithmetic, if they are the same in all columns.
// The boundary's numbers are states of Maxima's Wide. Of costs S is swept on their negatives. Where paths may
// end in several cells, ends_weights receives their shares in the score, as ends_of() numbers them.
struct Forward {
  Recurrence recurrence;
  Pairs pairs;
  double gamma;
  double threshold;  // LCS
  Start start;
  Ends ends;
  bool costs;  // the tables hold costs, and the score is the smooth minimum
  Boundary<void> boundary;
  Table tables[3];
  bool shared_gap;  // delete = insert, read once
  OneForAll one_for_all;
  void* score;         // V, (B,)
  void* saved;         // V, planes() of them, (B, planes, cells_of()); null: not wanted
  void* ends_weights;  // V, (B, ends_of()); null where saved is
  Saves saves;
  bool is_piece;    // of a larger table: saved takes weights only, no verdict on the pair
  void* workspace;  // workspace_bytes() of it
};

// The backward sweep: sinks[0] by match or a recurrence's one table, [1] and [2] by insert and delete. With a
// shared gap insert receives the sum.
//
// A piece of a larger table takes boundary.by_last_row from the piece below, where grad_score is 0, and
// writes boundary.by_above for the piece above. Both are V, (B, M), their columns counted from the pair's
// last one.
struct Backward {
  Recurrence recurrence;
  Pairs pairs;
  double gamma;  // the forward sweep's, as are start and ends
  Start start;
  Ends ends;
  const void* grad_score;  // V, (B,); null: 1, for weights and gradients of every row and column only
  const void* saved;
  const void* ends_weights;
  Sink sinks[3];
  bool shared_gap;
  bool weights;  // saved are weights, also where the pair is tiny
  bool visits;   // the gradient by S itself, A(i,j), in place of that by match; takes weights
  const void*
      verdicts;  // V, (B,), of a piece: the pairs of 0 and more are swept. NaN: their gradient, else 0
  BoundaryGradient<void> boundary;
  Table gaps[2];  // insert and delete, of a recurrence that charges the boundary
  OneForAll one_for_all;
  void* workspace;
};

// What the weights become along a direction of the scores, and then what the gradients do: recurrence.h,
// second order. Both take weights, as Saves::kFullWeights keeps them; all numbers are of `type`.
struct TangentSweep {
  Recurrence recurrence;
  Type type;
  Pairs pairs;
  double gamma;
  Start start;
  Ends ends;
  bool costs;
  const void* score;  // (B,)
  const void* saved;  // (B, planes, cells_of())
  const void* ends_weights;
  Table directions[3];  // by match or the one table, insert, delete; data null: 0
  OneForAll one_for_all;
  void* tangent;        // (B,): the scores'
  void* tangents;       // (B, planes, cells_of()): the weights'
  void* ends_tangents;  // (B, ends_of()): those of ends_weights
  void* workspace;
};
struct ProductSweep {
  Recurrence recurrence;
  Type type;
  Pairs pairs;
  Start start;
  Ends ends;
  const void* grad_score;  // (B,)
  const void* saved;
  const void* ends_weights;
  const void* tangent;
  const void* tangents;
  const void* ends_tangents;
  void* products[3];  // by match or the one table, insert, delete, (B, N, M); null: not wanted
  bool shared_gap;    // insert receives the sum
  void* workspace;
};

// Small pairs are swept forward and back in one launch, and what is saved is the score's gradient itself, a
// plane each for match, insert and delete (or their sum, where they share a gap). Others save the weights of
// their cells, as kept.h packs them. So do recurrences that may charge the boundary, paths that may end in
// several cells, pairs with a bandwidth, and hard and float64 sweeps of any size.
struct Regime {
  Recurrence recurrence;
  Type type;  // of the scores
  double gamma;
  int64_t rows, columns;
  Ends ends = Ends::kCorner;
  int64_t bandwidth = -1;  // below 0: none
  bool is_tiny() const {
    return rows <= 32 && columns <= 32 && gamma > 0 && type != Type::kFloat64 && ends == Ends::kCorner &&
           bandwidth < 0 &&
           with_recurrence(recurrence, [](auto of) { return !decltype(of)::kChargesBoundary; });
  }
  // Numbers a cell, of the arithmetic's type.
  int planes(bool shared_gap, Saves saves) const {
    return with_recurrence(recurrence, [&](auto of) {
      using Of = decltype(of);
      if (saves == Saves::kGradients && is_tiny()) return Of::kTables - (Of::kTables == 3 && shared_gap);
      return saves == Saves::kFullWeights || type == Type::kFloat64 ? Of::Packing::kNumbers : 1;
    });
  }
};

int64_t workspace_bytes(const Forward& problem);
int64_t workspace_bytes(const Backward& problem);
int64_t workspace_bytes(const TangentSweep& problem);
int64_t workspace_bytes(const ProductSweep& problem);

Error forward(const Forward& problem, Stream stream);
Error backward(const Backward& problem, Stream stream);
Error sweep_tangents(const TangentSweep& problem, Stream stream);
Error sweep_products(const ProductSweep& problem, Stream stream);

}  // namespace softdp::cuda
