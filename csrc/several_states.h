// Recurrences with several states a cell: local alignments, and affine gaps. edges.h makes their cells.
//
// Local, of FSD and of Needleman-Wunsch (Smith-Waterman). A path starts and ends in any cell:
//
//   S(i,j) = match(i,j) + smooth_max( S(i-1,j-1),  insert(i,j) + S(i-1,j),  delete(i,j) + S(i,j-1),  0 )
//   S(i,j) = smooth_max( match(i,j) + S(i-1,j-1),  insert(i,j) + S(i-1,j),  delete(i,j) + S(i,j-1),
//                        match(i,j) )
//   E(i,j) = smooth_max( E(i,j-1),  S(i,j) )
//   score  = smooth_max of E(i,m) over i, which is that of all S;      S = E = -inf on the boundary
//
// Affine gaps. M ends with a match, X with a step of x without a partner, Y with one of y. T is any of them:
//
//   M(i,j) = match(i,j) + T(i-1,j-1)                                   local: + smooth_max( T(i-1,j-1), 0 )
//   X(i,j) = smooth_max( open(i,j) + M(i-1,j),  insert(i,j) + X(i-1,j),  open(i,j) + Y(i-1,j) )
//   Y(i,j) = smooth_max( open(i,j) + M(i,j-1),  open(i,j) + X(i,j-1),  delete(i,j) + Y(i,j-1) )
//   T(i,j) = smooth_max( M(i,j),  X(i,j),  Y(i,j) )
//   E(i,j) = smooth_max( E(i,j-1),  T(i,j) )                           local only
//   score  = T(n,m), or as above
//
// Every alignment, a string of moves, has one path through these states. On the boundary, where a path may
// start, M = T = 0. With sums of gaps X(i,0) = T(i,0) = open(1,1) + insert(2,1) + .. + insert(i,1), and
// Y(0,j) = T(0,j) likewise. All else is -inf.
#pragma once
#include "edges.h"

namespace softdp {

// The end of a row so far: of the state `of`, and of E to the left, whose place is `own`.
constexpr Node ends_so_far(int own, int of) {
  return {2, {{From::kLeft, own}, {From::kHere, of}}};
}

// FSD between any two cells: S, E.
struct LocalFsd : SeveralStates<LocalFsd> {
  static constexpr Recurrence kId = Recurrence::kLocalFsd;
  static constexpr int kTables = 3, kStates = 2;
  static constexpr bool kChargesBoundary = false;
  static constexpr Sides kSides = {0, 0, 0};
  static constexpr Node kNodes[] = {{4,
                                     {{From::kDiagonal, 0},
                                      {From::kAbove, 0, Score::kInsert},
                                      {From::kLeft, 0, Score::kDelete},
                                      {From::kStart, 0}},
                                     Score::kMatch},
                                    ends_so_far(1, 0)};
};

// Local alignment: S, E.
struct SmithWaterman : SeveralStates<SmithWaterman> {
  static constexpr Recurrence kId = Recurrence::kSmithWaterman;
  static constexpr int kTables = 3, kStates = 2;
  static constexpr bool kChargesBoundary = false;
  static constexpr Sides kSides = {0, 0, 0};
  static constexpr Node kNodes[] = {{4,
                                     {{From::kDiagonal, 0, Score::kMatch},
                                      {From::kAbove, 0, Score::kInsert},
                                      {From::kLeft, 0, Score::kDelete},
                                      {From::kStart, 0, Score::kMatch}}},
                                    ends_so_far(1, 0)};
};

// Alignment with affine gaps: M, X, Y, T.
constexpr Node kGapOfX = {
    3, {{From::kAbove, 0, Score::kOpen}, {From::kAbove, 1, Score::kInsert}, {From::kAbove, 2, Score::kOpen}}};
constexpr Node kGapOfY = {
    3, {{From::kLeft, 0, Score::kOpen}, {From::kLeft, 1, Score::kOpen}, {From::kLeft, 2, Score::kDelete}}};
constexpr Node kAnyOfThree = {3, {{From::kHere, 0}, {From::kHere, 1}, {From::kHere, 2}}};

struct Affine : SeveralStates<Affine> {
  static constexpr Recurrence kId = Recurrence::kAffine;
  static constexpr int kTables = 4, kStates = 4;
  static constexpr bool kChargesBoundary = true;
  static constexpr Sides kSides = {0b1001, 0b1100, 0b1010};
  static constexpr Node kNodes[] = {
      {1, {{From::kDiagonal, 3}}, Score::kMatch}, kGapOfX, kGapOfY, kAnyOfThree};
};

// Local alignment with affine gaps: M, X, Y, T, E.
struct LocalAffine : SeveralStates<LocalAffine> {
  static constexpr Recurrence kId = Recurrence::kLocalAffine;
  static constexpr int kTables = 4, kStates = 5;
  static constexpr bool kChargesBoundary = false;
  static constexpr Sides kSides = {0, 0, 0};
  static constexpr Node kNodes[] = {{2, {{From::kDiagonal, 3}, {From::kStart, 0}}, Score::kMatch},
                                    kGapOfX,
                                    kGapOfY,
                                    kAnyOfThree,
                                    ends_so_far(4, 3)};
};

// ---- all recurrences -----------------------------------------------------------------------------------

// Calls run(R()) for any recurrence, on the host. with_recurrence of recurrence.h has those of one state.
template <class Run>
SOFTDP_FN auto with_any_recurrence(Recurrence which, Run run) {
  switch (which) {
    case Recurrence::kLocalFsd:
      return run(LocalFsd());
    case Recurrence::kSmithWaterman:
      return run(SmithWaterman());
    case Recurrence::kAffine:
      return run(Affine());
    case Recurrence::kLocalAffine:
      return run(LocalAffine());
    default:
      return with_recurrence(which, run);
  }
}
SOFTDP_FN bool has_several_states(Recurrence which) {
  return which > Recurrence::kNeedlemanWunsch;
}
// How many states of a cell the next row reads.
SOFTDP_FN int row_states_of(Recurrence which) {
  return with_any_recurrence(which, [](auto recurrence) {
    using R = decltype(recurrence);
    if constexpr (R::kStates == 1)
      return 1;
    else
      return R::row_states();
  });
}
// How many numbers the weights of a cell take, where they are kept in full.
SOFTDP_FN int numbers_of(Recurrence which) {
  return with_any_recurrence(which, [](auto recurrence) { return decltype(recurrence)::Packing::kNumbers; });
}
// The local recurrence of the same moves.
SOFTDP_FN Recurrence local_of(Recurrence which) {
  return which == Recurrence::kFsd      ? Recurrence::kLocalFsd
         : which == Recurrence::kAffine ? Recurrence::kLocalAffine
                                        : Recurrence::kSmithWaterman;
}

}  // namespace softdp
