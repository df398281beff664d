// Paths that may end in several cells (Ends, ../problem.h). A sweep leaves S in the last row, and in the last
// column, and a launch after it joins them to the score. Their weights, times the score's gradient, are what
// those cells receive in the backward sweep: its seeds. The second order does the same with tangents.
//
// Where they may end in any cell, the sweep has joined the ends of each row, in its last column.
//
// Only recurrences that have gaps end so. As in boundary.h, all is in double, and every kernel is compiled
// once.
#pragma once
#include "wavefront.h"

namespace softdp::cuda {

enum EndsIn { kInRow, kInColumn };  // the last row, (B, M); the last column, (B, N)
SOFTDP_FN bool has_ends_in(EndsIn where, Ends ends) {
  return ends == Ends::kLastRowAndColumn || ends == (where == kInRow ? Ends::kLastRow : Ends::kAnywhere);
}
// How many of the weights of a pair's ends belong to its last row; the others belong to its last column.
SOFTDP_FN int64_t ends_in_row(Ends ends, int64_t columns) {
  return has_ends_in(kInRow, ends) ? columns : 0;
}

// After a forward sweep, or after those of all pieces of the tables. Pieces have `height` rows. Each gives S
// in its last row, (kept, B, M): piece k at k % kept. Those in the last column lie piece by piece, (B, rows
// of the piece).
struct JoinArguments {
  Pairs pairs;
  Ends ends;
  bool is_soft;
  Type type;                  // of the arithmetic
  const void* states[2];      // S at the ends, in Maxima's Wide
  double unit;                // of a state's log2
  Table tables[kMostTables];  // data null: none, or a score that counts as -inf was looked for already
  double lowest;              // finite scores below it count as -inf
  bool costs, as_saved;       // as in Forward
  void* score;                // (B,); of pairs with cells it is written
  void* weights;              // of the ends, (B, ends_of()); null: not wanted
  void* saved;                // the weights of the cells; the last one takes the verdict on the pair
  bool are_full;              // they are kept in full
  int64_t height, kept;
  SavedNumbers several{};  // what is saved of recurrences with several states a cell
};
// After the sweep of the tangents. All numbers are of `type`.
struct JoinTangentsArguments {
  Pairs pairs;
  Ends ends;
  Type type;
  double curvature;
  const void* tangents_of_ends[2];  // those of S
  const void* saved;                // the weights of the cells, in full
  const void* weights;              // of the ends
  void* tangent;                    // (B,): the score's; of pairs that are swept it is written
  void* tangents;                   // (B, ends_of()): those of the weights
  SavedNumbers several{};           // in place of `saved`
};
// Before a backward sweep, of whole tables or of a piece of them: some rows, before which `first_row` rows of
// all_rows lie. A piece receives the weights as they are. Its last row receives them where grad_score is not
// 0, since the pair's last row is in it, and elsewhere keeps what the piece below has handed up.
struct SeedArguments {
  Pairs pairs;
  Ends ends;
  Type type;
  const void* grad_score;  // null: 1
  const void* weights;
  const void* tangents;  // of the weights; null: seeds are no dual numbers
  void* seeds[2];        // rows and columns from the pair's last one on
  int64_t all_rows, first_row;
};

Error launch_join(const JoinArguments& a, Stream stream);
Error launch_join_tangents(const JoinTangentsArguments& a, Stream stream);
Error launch_seeds(const SeedArguments& a, Stream stream);  // nothing where paths end in one cell

}  // namespace softdp::cuda
