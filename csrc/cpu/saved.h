// The saved states of pairs, and which arithmetic sweeps a pair.
#pragma once
#include <cmath>
#include <cstring>

#include "half.h"
#include "sweep.h"

namespace softdp::cpu {

inline bool is_empty(const Problem& p, int64_t pair) {
  return p.pairs.n(pair) == 0 || p.pairs.m(pair) == 0;
}

class Saved {
 public:
  explicit Saved(const Problem& p) : data_(p.saved), pitch_(saved_bytes(p)) {}
  void set(int64_t pair, Verdict verdict) const {
    SavedPair& saved = (*this)[pair];
    saved.verdict = verdict;
    std::fill(std::begin(saved.unused), std::end(saved.unused), 0);
  }
  SavedPair& operator[](int64_t pair) const { return *reinterpret_cast<SavedPair*>(data_ + pair * pitch_); }
  // Sets bytes that no sweep writes to 0: they are part of an operator's output.
  void clear(int64_t pair, int64_t from = 0) const {
    unsigned char* const data = (*this)[pair].data() + from;
    std::memset(data, 0, size_t(data_ + (pair + 1) * pitch_ - data));
  }

 private:
  unsigned char* data_;
  int64_t pitch_;
};

// ---- tiers ---------------------------------------------------------------------------------------------

inline Verdict swept(Tier tier) {
  return tier == Tier::kHard ? Verdict::kHard : tier == Tier::kDouble ? Verdict::kDouble : Verdict::kNarrow;
}

inline bool is_swept(Verdict v) {
  return v == Verdict::kGrouped || v == Verdict::kNarrow || v == Verdict::kDouble || v == Verdict::kHard;
}

inline Tier tier_of(Verdict v) {
  return v == Verdict::kHard ? Tier::kHard : v == Verdict::kDouble ? Tier::kDouble : Tier::kNarrow;
}

// Whether the pair's states are likely to pass the range of the narrow arithmetic. A few scores of the first
// row, the first column and the diagonal give an estimate. A wrong estimate costs time and changes no bit of
// the result. Scores outside the corridor are not read.
inline bool reaches_far(const Problem& p, int64_t pair) {
  constexpr int64_t kSamples = 16;
  constexpr double kReach = 0x1p22;  // lanes.h: of states
  const int64_t n = p.pairs.n(pair), m = p.pairs.m(pair);
  const Corridor corridor = corridor_of(p, pair);
  const auto mean_of = [&](const Table& table, bool down, bool right, auto is_inside) {
    double sum = 0;
    int64_t count = 0;
    with_type(table.type, [&](auto t) {
      const auto* const data = static_cast<const decltype(t)*>(table.data) + pair * table.batch;
      for (int64_t k = 0; k < kSamples; k++) {
        const int64_t i = down ? (n - 1) * k / (kSamples - 1) : 0,
                      j = right ? (m - 1) * k / (kSamples - 1) : 0;
        if (!is_inside(i, j)) continue;
        const double score = double(to_float(data[i * table.row + j * table.column]));
        if (std::isfinite(score)) sum += std::abs(score), count++;
      }
    });
    return count ? sum / double(count) : 0.0;
  };
  const auto mean = [&](const Table& table, bool down, bool right) {
    if (corridor.is_everywhere()) return mean_of(table, down, right, [](int64_t, int64_t) { return true; });
    return mean_of(table, down, right, [&](int64_t i, int64_t j) { return corridor.has(i, j); });
  };
  double most = 0;
  for (const auto& [down, right] : {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    double step = mean(p.scores[0], down, right);
    if (p.recurrence != Lcs::kId) step += mean(p.scores[1], down, right);
    most = std::max(most, step * double(down && right ? std::max(n, m) : down ? n : m));
  }
  return most * kLog2e > kReach * p.gamma;
}
inline Tier first_tier(const Problem& p, int64_t pair) {
  if (!is_narrow(p)) return Tier::kDouble;
  if (has_several_states(p.recurrence)) return reaches_far(p, pair) ? Tier::kDouble : Tier::kNarrow;
  return packs(p) && reaches_far(p, pair) ? Tier::kFar : Tier::kNarrow;
}
inline Tier next_tier(const Problem& p, Tier tier, const Outcome& outcome) {
  if (tier == Tier::kDouble) return Tier::kHard;
  return tier == Tier::kNarrow && packs(p) && !outcome.coarse ? Tier::kFar : Tier::kDouble;
}
// Whether the pair must be swept again with more range: the sweep has left its range, or finite scores count
// as -inf and no path is left.
inline bool falls_short(const Problem& p, Tier tier, const Outcome& outcome) {
  const bool lost = outcome.hidden && outcome.score == -kInf && tier != Tier::kHard && p.gamma > 0;
  return outcome.escapes || lost;
}

}  // namespace softdp::cpu
