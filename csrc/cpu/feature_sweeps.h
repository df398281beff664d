// Sweeps over tables that were made of features.
#pragma once
#include "feature_tables.h"

namespace softdp::cpu {

inline const Threads kAlone{1, [](int64_t items, int64_t, const std::function<void(int64_t, int64_t)>& run) {
                              if (items > 0) run(0, items);
                            }};

// A sweep over dense tables, whose paths end in one cell. Each of `tables` has the pairs one after the other.
// The gradients overwrite the tables.
template <class T>
Problem sweep_over(const FeatureProblem& p, const Pairs& pairs, T* const* tables) {
  static const T zero = 0, one = 1;
  constexpr Type kType = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
  Problem sweep{};
  sweep.pairs = pairs;
  sweep.gamma = p.gamma, sweep.threshold = p.threshold;
  sweep.recurrence = recurrence_of(p.kind);
  sweep.start = p.start;
  sweep.costs = is_soft_dtw(p.kind);
  sweep.shared_gap = true;
  // Small pairs are swept in groups or one by one, depending on how many there are. Both ways must give the
  // same bits, so nothing is skipped.
  const bool small = pairs.rows <= kGroupRows && pairs.columns <= kGroupColumns;
  sweep.negligible = small ? 0 : kNegligible<T>;
  sweep.grad_score = &one;
  const Table dense{nullptr, kType, pairs.rows * pairs.columns, pairs.columns, 1};
  sweep.scores[0] = sweep.scores[1] = dense;
  sweep.scores[0].data = tables[0], sweep.gradients[0] = {tables[0], kType, true, true};
  if (p.kind == Kind::kTwoCosines)
    sweep.scores[1].data = tables[1], sweep.gradients[1] = {tables[1], kType, true, true};
  else
    sweep.scores[1] = {&zero, kType, 0, 0, 0};
  sweep.scores[2] = sweep.scores[1];
  return sweep;
}
template <class T>
bool packs(const FeatureProblem& p, int64_t rows, int64_t columns) {
  T* const none[2] = {};
  return packs(sweep_over<T>(p, {1, rows, columns, {}, {}}, none));
}

}  // namespace softdp::cpu
