// The structs that the sweeps of both devices take: pointers, sizes, strides. This file does not use PyTorch.
#pragma once
#include <cstdint>

#include "corridor.h"
#include "recurrence.h"

namespace softdp {

constexpr double kLog2e = 1.4426950408889634;

enum class Type { kFloat64, kFloat32, kFloat16, kBfloat16 };
SOFTDP_FN int bytes_of(Type type) {
  return type == Type::kFloat64 ? 8 : type == Type::kFloat32 ? 4 : 2;
}

// Scores to read, of shape (pairs, rows, columns). Strides count elements. The stride along a broadcast
// dimension is 0.
struct Table {
  const void* data;
  Type type;
  int64_t batch, row, column;
};

// A gradient to write: contiguous, of shape (pairs, rows, columns). A broadcast dimension has size 1 and
// receives the sum. `data` is null where the gradient is not wanted. The gradient of the first table always
// has every row and every column.
struct Sink {
  void* data;
  Type type;
  bool every_row, every_column;  // false: summed over that dimension
};

// The lengths of the pairs, of shape (B,), as int64 or int32. Where both pointers are null, every pair is
// full.
struct Lengths {
  const int64_t* as_int64 = nullptr;
  const int32_t* as_int32 = nullptr;
  SOFTDP_FN bool are_given() const { return as_int64 || as_int32; }
  SOFTDP_FN int64_t operator()(int64_t b, int64_t full) const {
    return as_int64 ? as_int64[b] : as_int32 ? as_int32[b] : full;
  }
};

struct Pairs {
  int64_t count, rows, columns;  // B, N, M
  Lengths x_lengths, y_lengths;
  int64_t bandwidth = -1;  // below 0: all cells count
  SOFTDP_FN int64_t n(int64_t b) const { return x_lengths(b, rows); }
  SOFTDP_FN int64_t m(int64_t b) const { return y_lengths(b, columns); }
  SOFTDP_FN Corridor corridor(int64_t b) const { return Corridor::of(n(b), m(b), bandwidth); }
  SOFTDP_FN bool has_lengths() const { return x_lengths.are_given() || y_lengths.are_given(); }
};

// The states S on the boundary of a table: recurrence.h has the equations. kGaps is for recurrences that
// charge gaps there. kAnywhere: of local recurrences, whose paths start in any cell and never on the
// boundary.
enum class Start { kFree, kAnchored, kFreeAbove, kGaps, kAnywhere };
SOFTDP_FN bool is_free_above(Start start) {
  return start == Start::kFree || start == Start::kFreeAbove;
}
SOFTDP_FN bool is_free_left(Start start) {
  return start == Start::kFree;
}
// The cells that a path may end in. The score is the smooth maximum of S over them. kAnywhere: all cells. A
// sweep joins those of a row, in its last column.
enum class Ends { kCorner, kLastRow, kLastRowAndColumn, kAnywhere };
// The weights of a pair's ends: of the last row's columns 1 .. M, then of the last column's rows 1 .. N. The
// cell (n, m) counts in the row; its number in the column is 0. So are those past the pair's lengths. Of
// kAnywhere they are the weights of rows 1 .. N. In what an operator saves they lie behind what the sweeps
// save, of all pairs.
SOFTDP_FN int64_t ends_of(Ends ends, int64_t rows, int64_t columns) {
  return ends == Ends::kCorner     ? 0
         : ends == Ends::kLastRow  ? columns
         : ends == Ends::kAnywhere ? rows
                                   : columns + rows;
}
struct StartAndEnds {
  Start start;
  Ends ends;
};
// Of the option `boundary` of the operators, whose numbers softdp/_recurrences.py has too.
constexpr int kBoundaries = 6;
inline StartAndEnds boundary_of(int64_t number) {
  constexpr StartAndEnds kOf[kBoundaries] = {
      {Start::kFree, Ends::kCorner},       {Start::kAnchored, Ends::kCorner},
      {Start::kFreeAbove, Ends::kLastRow}, {Start::kFree, Ends::kLastRowAndColumn},
      {Start::kGaps, Ends::kCorner},       {Start::kAnywhere, Ends::kAnywhere}};
  return kOf[number];
}

// The most steps of a best path: the cells that it can take, and steps along a boundary where gaps count.
inline int64_t most_steps(Start start, int64_t rows, int64_t columns) {
  const int64_t all = rows + columns;
  return start == Start::kGaps || all == 0 ? all : all - 1;
}

// Whether insert is one number for all steps of y, and delete one for all steps of x. A pair without cells,
// of a recurrence that charges the boundary, then scores the sum of its gaps. Other gaps lie past its
// lengths.
struct OneForAll {
  bool insert = false, del = false;
  // The same of the score of a gap's first step, beside insert and beside delete.
  bool open_of_insert = false, open_of_delete = false;
};

// The states S at the ends of a table.
//
// `above`, `left` and `corner` hold S above the table and to its left. They are given where the table is a
// piece of a larger one, or where its boundary has sums of gaps. S is -inf where no path arrives. Where
// `above` or `left` is null, S there is as Start says. `last_row` and `last_column` receive S for the pieces
// that follow; null: not wanted. A Number is a double on the CPU and a state on a GPU. Past a pair's lengths
// nothing is read or written.
template <class Number>
struct Boundary {
  const Number* above = nullptr;   // (B, M): S(0, 1 .. m)
  const Number* left = nullptr;    // (B, N): S(1 .. n, 0)
  const Number* corner = nullptr;  // (B,): S(0, 0); null: 0
  Number* last_row = nullptr;      // (B, M): S(n, 1 .. m)
  Number* last_column = nullptr;   // (B, N): S(1 .. n, m)
  bool any() const { return above || left || corner || last_row || last_column; }
};

// The gradients at the ends of a table, in the backward sweep. `by_x` is the gradient with respect to x.
//
// The sweep adds `by_last_row` and `by_last_column` to the adjoints of the cells there, and writes the other
// three. S(i, 0) hands on two shares: one comes from S(i, 1), the other from S(i+1, 1). They stay apart, so
// that one thread writes each row.
template <class Number>
struct BoundaryGradient {
  const Number* by_last_row = nullptr;     // (B, M)
  const Number* by_last_column = nullptr;  // (B, N)
  Number* by_above = nullptr;              // (B, M): S(0, 1 .. m)
  Number* by_left = nullptr;               // (B, N): S(1 .. n, 0), from S(i, 1)
  Number* by_left_diagonal = nullptr;      // (B, N): S(0 .. n-1, 0), from S(i+1, 1)
  bool any() const { return by_last_row || by_last_column || by_above || by_left || by_left_diagonal; }
};

// Gradients of pairs, times the gradient of each pair's score. The result is 0 where the score's gradient is
// 0, and else NaN where the score is NaN.
template <class T>
struct ScaledGradient {
  int64_t pairs, numbers;  // numbers: how many each pair has
  const T* of_score;
  int64_t of_score_stride;
  const T* score;
  const T* made;
  T* out;
};

}  // namespace softdp
