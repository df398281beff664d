// Batched sweeps on the GPU: what they take, and the launchers. No torch: pointers and a stream in, a CUDA
// error out. Nothing waits for the device, nothing is allocated.
//
// V is the type of the arithmetic and of the results: double for scores in double, else float.
#pragma once
#include "../problem.h"
#include "../several_states.h"
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

// The numbers that are saved of the cells of recurrences with several states a cell, (B, planes, cells_of()):
// their weights in full, of the arithmetic's type. With gamma 0 one float a cell, whose bits they are.
struct SavedNumbers {
  void* data = nullptr;  // null: not wanted
  int planes = 0;        // 0: of recurrences of one state, which kept.h tells of
  Type type = Type::kFloat32;
  int64_t pitch = 0;  // numbers of a pair
  bool are_bits = false;
  template <class T>
  SOFTDP_FN T* plane(const Pairs& pairs, int64_t pair, int plane) const {
    return static_cast<T*>(data) + pair * pitch + plane * cells_of(pairs);
  }
};

// The forward sweep. tables[0] is match, or the scores of a recurrence of one table; tables[1] and [2] are
// insert and delete, and [3] is that of a gap's first step. Gaps have match's type, or that of the
// arithmetic, if they are the same in all columns. The boundary's numbers are states of Maxima's Wide. Of
// costs S is swept on their negatives. Where paths may end in several cells, ends_weights receives their
// shares in the score, as ends_of() numbers them.
struct Forward {
  Recurrence recurrence;
  Pairs pairs;
  double gamma;
  double threshold;  // LCS
  Start start;
  Ends ends;
  bool costs;  // the tables hold costs, and the score is the smooth minimum
  Boundary<void> boundary;
  Table tables[kMostTables];
  bool shared_gap;  // delete = insert, read once
  OneForAll one_for_all;
  void* score;         // V, (B,)
  void* saved;         // V, planes() of them, (B, planes, cells_of()); null: not wanted
  void* ends_weights;  // V, (B, ends_of()); null where saved is
  Saves saves;
  bool is_piece;  // of a larger table: saved takes weights only, no verdict on the pair
  bool as_saved;  // tables with a number for each cell, of pairs with a bandwidth, lie as what is saved does
  void* workspace;  // workspace_bytes() of it
};

// The backward sweep: sinks[0] by match or a recurrence's one table, [1] and [2] by insert and delete. With a
// shared gap insert receives the sum.
//
// A piece of a larger table takes boundary.by_last_row from the piece below, where grad_score is 0, and
// writes boundary.by_above for the piece above. Both are V, (B, M), their columns counted from the pair's
// last one. Where paths may end in several cells, by_last_row has what those of the last row receive,
// whatever grad_score is, and by_last_column what those of the last column do, (B, N), its rows counted from
// the pair's last one.
struct Backward {
  Recurrence recurrence;
  Pairs pairs;
  double gamma;  // the forward sweep's, as are start and ends
  Start start;
  Ends ends;
  const void* grad_score;  // V, (B,); null: 1, for weights and gradients of every row and column only
  const void* saved;
  const void* ends_weights;
  Sink sinks[kMostTables];
  bool shared_gap;
  bool weights;   // saved are weights, also where the pair is tiny
  bool is_piece;  // of a larger table: what the ends of paths receive is in `boundary`, not in ends_weights
  bool visits;    // the gradient by S itself, A(i,j), in place of that by match; takes weights
  bool as_saved;  // the sinks with a number for each cell lie as the forward sweep's tables
  const void*
      verdicts;  // V, (B,), of a piece: the pairs of 0 and more are swept. NaN: their gradient, else 0
  BoundaryGradient<void> boundary;
  Table gaps[2];  // insert and delete, of a recurrence that charges the boundary
  Table open;     // of its gaps' first steps, if they have scores of their own
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
  Table directions[kMostTables];  // by match or the one table, insert, delete, open; data null: 0
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
  double gamma;
  Start start;
  Ends ends;
  const void* grad_score;  // (B,)
  const void* saved;
  const void* ends_weights;
  const void* tangent;
  const void* tangents;
  const void* ends_tangents;
  // By match or the one table, insert, delete, open, (B, N, M); null: not wanted.
  void* products[kMostTables];
  bool shared_gap;  // insert receives the sum
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
  // The numbers of a recurrence with several states a cell. Those of each pair take a multiple of the bytes
  // of the arithmetic's type.
  SavedNumbers several(const void* data) const {
    const int64_t cells = saved_cells(rows, columns, bandwidth);
    void* const numbers = const_cast<void*>(data);
    if (!(gamma > 0))
      return {numbers, 1, Type::kFloat32, type == Type::kFloat64 ? (cells + 1) / 2 * 2 : cells, true};
    const int planes = numbers_of(recurrence);
    return {numbers, planes, arithmetic(type), planes * cells, false};
  }
  // Bytes a pair.
  int64_t saved_bytes(bool shared_gap, Saves saves) const {
    if (!has_several_states(recurrence))
      return planes(shared_gap, saves) * saved_cells(rows, columns, bandwidth) * bytes_of(arithmetic(type));
    const SavedNumbers numbers = several(nullptr);
    return numbers.pitch * bytes_of(numbers.type);
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
