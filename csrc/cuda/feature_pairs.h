// Pairs of features whose tables go in pieces, or beside one another; and gradients times that of the score.
#pragma once
#include "feature_tables.h"

namespace softdp::cuda {

constexpr int kPairThreads = 128;

// The lengths of a batch's pairs, piece by piece, and which piece holds a pair's last cell.
template <class T>
struct CutArguments {
  Batch batch;
  Pairs whole;  // lengths by x and by y
  int64_t pieces, height;
  int64_t *n, *m;  // (pieces, pairs), (pairs,); -1 where they do not fit
  T* seeds;        // (pieces, pairs): 1 where the pair's last cell is, else 0
};
template <class T>
SOFTDP_KERNEL(kPairThreads)
cut_pairs(const CutArguments<T> a) {
  const int64_t pair = int64_t(blockIdx.x) * kPairThreads + threadIdx.x, count = a.batch.count();
  if (pair >= count) return;
  const int64_t n = a.whole.x_lengths(a.batch.x_of(pair), a.whole.rows),
                m = a.whole.y_lengths(a.batch.y_of(pair), a.whole.columns);
  const bool fits = n >= 0 && m >= 0 && n <= a.whole.rows && m <= a.whole.columns;
  a.m[pair] = fits ? m : -1;
  for (int64_t piece = 0; piece < a.pieces; piece++) {
    const int64_t left = n - piece * a.height;
    a.n[piece * count + pair] = !fits ? -1 : left < 0 ? 0 : left < a.height ? left : a.height;
    a.seeds[piece * count + pair] = T(fits && m > 0 && left > 0 && left <= a.height);
  }
}

// The scores of a batch's pairs, of those of their pieces.
template <class T>
struct CollectArguments {
  Batch batch;
  int64_t pieces;
  const T* piece_scores;  // (pieces, pairs)
  const T* seeds;         // null: one piece
  bool costs;
  T* score;     // by the pairs' numbers; null: not wanted
  T* verdicts;  // (pairs,): NaN of a pair that is spoiled, -1 of one without a path, else 1; null: not wanted
};
template <class T>
SOFTDP_KERNEL(kPairThreads)
collect_scores(const CollectArguments<T> a) {
  const int64_t pair = int64_t(blockIdx.x) * kPairThreads + threadIdx.x, count = a.batch.count();
  if (pair >= count) return;
  T score = a.piece_scores[pair];
  bool spoiled = false;
  if (a.seeds)
    for (int64_t piece = 0; piece < a.pieces; piece++) {
      const T own = a.piece_scores[piece * count + pair];
      spoiled = spoiled || own != own;
      if (a.seeds[piece * count + pair] == 0) continue;
      score = own;
      break;
    }
  // Strips end at cells that have no path, or hide one past the range, where paths go round them: only where
  // none is left in the end does that count.
  if (score == -ScalarCommon::kInfinity && spoiled) score = T(NAN);
  if (a.verdicts)
    a.verdicts[pair] = score != score ? score : score == -ScalarCommon::kInfinity ? T(-1) : T(1);
  if (a.score) a.score[a.batch.number(pair)] = a.costs ? T(0) - score : score;
}

// ---- gradients times that of the score -------------------------------------------------------------------

constexpr int kScaled = 4;  // numbers of a thread

template <class T>
SOFTDP_KERNEL(kFeatureThreads)
scale_made(const ScaledGradient<T> a) {
  const int64_t total = a.pairs * a.numbers;
#pragma unroll
  for (int i = 0; i < kScaled; i++) {
    const int64_t at = (int64_t(blockIdx.x) * kScaled + i) * kFeatureThreads + threadIdx.x;
    if (at >= total) return;
    const int64_t pair = at / a.numbers;
    const T factor = a.of_score[pair * a.of_score_stride], score = a.score[pair];
    a.out[at] = factor == 0 ? T(0) : score != score ? score : a.made[at] * factor;
  }
}

}  // namespace softdp::cuda
