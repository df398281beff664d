// Pairs of features whose tables go in pieces, or beside one another; and gradients times that of the score.
#pragma once
#include "feature_tables.h"

namespace softdp::cuda {

// The lengths of a batch's pairs, piece by piece, and which piece holds a pair's last cell.
template <class T>
struct CutPairs {
  Batch batch;
  Pairs whole;  // lengths by x and by y
  int64_t pieces, height;
  int64_t *n, *m;  // (pieces, pairs), (pairs,); -1 where they do not fit
  int64_t* all_n;  // (pairs,): the whole lengths by x; null: not wanted
  T* seeds;        // (pieces, pairs): 1 where the pair's last cell is, else 0
  SOFTDP_FN int64_t items() const { return batch.count(); }
  SOFTDP_DEVICE void operator()(int64_t pair) const {
    const int64_t x_length = whole.x_lengths(batch.x_of(pair), whole.rows),
                  y_length = whole.y_lengths(batch.y_of(pair), whole.columns);
    const bool fits = x_length >= 0 && y_length >= 0 && x_length <= whole.rows && y_length <= whole.columns;
    m[pair] = fits ? y_length : -1;
    if (all_n) all_n[pair] = fits ? x_length : -1;
    for (int64_t piece = 0; piece < pieces; piece++) {
      const int64_t left = x_length - piece * height, at = piece * batch.count() + pair;
      n[at] = !fits ? -1 : left < 0 ? 0 : left < height ? left : height;
      seeds[at] = T(fits && y_length > 0 && left > 0 && left <= height);
    }
  }
};

// The scores of a batch's pairs, of those of their pieces.
template <class T>
struct CollectScores {
  Batch batch;
  int64_t pieces;
  const T* piece_scores;  // (pieces, pairs)
  const T* seeds;         // null: one piece
  const T* joined;        // (pairs,): the scores of pairs with cells, of several ends; null: of one
  bool costs;
  T* score;     // by the pairs' numbers; null: not wanted
  T* verdicts;  // (pairs,): NaN of a pair that is spoiled, -1 of one without a path, else 1; null: not wanted
  SOFTDP_FN int64_t items() const { return batch.count(); }
  SOFTDP_DEVICE void operator()(int64_t pair) const {
    T of_pair = piece_scores[pair];
    bool spoiled = false;
    if (seeds)
      for (int64_t piece = 0; piece < pieces; piece++) {
        const int64_t at = piece * batch.count() + pair;
        const T own = piece_scores[at];
        spoiled = spoiled || own != own;
        if (seeds[at] == 0) continue;
        of_pair = joined ? joined[pair] : own;
        break;
      }
    // Strips end at cells that have no path, or hide one past the range, where paths go round them: only
    // where none is left in the end does that count.
    const bool has_path = of_pair != -ScalarCommon::kInfinity;
    if (!has_path && spoiled) of_pair = T(NAN);
    if (verdicts) verdicts[pair] = of_pair != of_pair ? of_pair : has_path ? T(1) : T(-1);
    if (score) score[batch.number(pair)] = costs ? T(0) - of_pair : of_pair;
  }
};

// Gradients times that of the score. A thread takes some numbers, which lie as far apart as there are
// threads.
template <class T>
struct ScaleMade : ScaledGradient<T> {
  static constexpr int kEach = 4;
  SOFTDP_FN int64_t total() const { return this->pairs * this->numbers; }
  SOFTDP_FN int64_t items() const { return (total() + kEach - 1) / kEach; }
  SOFTDP_DEVICE void operator()(int64_t item) const {
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const int64_t at = item + i * items();
      if (at >= total()) return;
      const int64_t pair = at / this->numbers;
      const T factor = this->of_score[pair * this->of_score_stride], score = this->score[pair];
      this->out[at] = factor == 0 ? T(0) : score != score ? score : this->made[at] * factor;
    }
  }
};

}  // namespace softdp::cuda
