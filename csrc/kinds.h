// The kinds of scores of features: the tables that each kind sweeps, and its recurrence.
#pragma once
#include "recurrence.h"

namespace softdp {

// The score that is swept, and the features' tables that go into it.
enum class Kind {
  kSquares,       // soft-DTW of squared distances
  kTwoCosines,    // FSD of the cosines of both halves of the features
  kSimilarities,  // LCS of the cosines
  kCosines,       // soft-DTW of 1 - the cosines
  kRoots,         // soft-DTW of distances
  kAbsolute,      // soft-DTW of the sums of the features' absolute differences
};
inline bool is_soft_dtw(Kind kind) {
  return kind != Kind::kTwoCosines && kind != Kind::kSimilarities;
}

inline Recurrence recurrence_of(Kind kind) {
  return kind == Kind::kSimilarities ? Lcs::kId : Fsd::kId;
}

}  // namespace softdp
