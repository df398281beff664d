// What the searches for best paths share: rows of tables, steps along the boundary, and what is written.
#pragma once
#include <algorithm>
#include <vector>

#include "../scalar.h"
#include "gap_sums.h"
#include "half.h"
#include "paths.h"

namespace softdp::cpu {

class PathOfPair {
 public:
  explicit PathOfPair(const PathProblem& p) : p_(p), sign_(p.costs ? -1 : 1) {}

  // Writes the path of a pair. `sweep` finds it where the pair has cells.
  template <class Sweep>
  void write(int64_t pair, Sweep sweep) {
    n_ = p_.pairs.n(pair), m_ = p_.pairs.m(pair);
    corridor_ = p_.pairs.corridor(pair);
    const int64_t most = most_steps(p_.start, p_.pairs.rows, p_.pairs.columns);
    int64_t* const steps = p_.steps + pair * most * 3;
    path_.clear();
    if (n_ > 0 && m_ > 0)
      sweep();
    else
      along_empty(pair);
    p_.lengths[pair] = int64_t(path_.size());
    int64_t* to = steps;
    for (size_t k = path_.size(); k-- > 0; to += 3) std::copy_n(path_[k].numbers, 3, to);
    std::fill(to, steps + most * 3, int64_t(-1));
  }

 protected:
  struct Step {
    int64_t numbers[3];
  };
  enum Move : uint8_t { kMatchMove, kInsertMove, kDeleteMove };

  // Loads the cells of a table's row that are inside, in double. Returns false where one is NaN or +inf.
  bool load(int table, int64_t pair, int64_t row, std::vector<double>& to) const {
    const Table& t = p_.scores[table];
    bool fine = true;
    with_type(t.type, [&](auto type) {
      const auto* const from = static_cast<const decltype(type)*>(t.data) + pair * t.batch + row * t.row;
      const int64_t last = corridor_.end(row);
      for (int64_t j = corridor_.begin(row); j < last; j++) {
        to[size_t(j)] = sign_ * to_double(from[j * t.column]);
        fine = fine && to[size_t(j)] < kInf;
      }
    });
    return fine;
  }

  void to_corner(int64_t i, int64_t j) {
    for (; i > 0; i--) path_.push_back({{i - 1, -1, kInsertMove}});
    for (; j > 0; j--) path_.push_back({{-1, j - 1, kDeleteMove}});
  }

  // A pair without cells has a path only along a boundary that is charged, if its gaps may be read.
  void along_empty(int64_t pair) {
    const int gap = n_ > 0 ? kInsert : kDelete;
    const bool opens = opens_gaps(p_.recurrence);
    const OneForAll& one = p_.one_for_all;
    bool has_gaps = n_ > 0 ? one.insert : one.del;
    if (opens) has_gaps = has_gaps && (n_ > 0 ? one.open_of_insert : one.open_of_delete);
    if (p_.start != Start::kGaps || n_ + m_ == 0 || !has_gaps) return;
    double sum = 0;
    for (int64_t k = 0; k < n_ + m_; k++) {
      const Table& t = p_.scores[opens && k == 0 ? kOpen : gap];
      with_type(t.type, [&](auto type) {
        const auto* const from = static_cast<const decltype(type)*>(t.data) + pair * t.batch;
        sum += sign_ * to_double(from[k * (n_ > 0 ? t.row : t.column)]);
      });
    }
    if (sum > -kInf && sum < kInf) to_corner(n_, m_);
  }

  const PathProblem& p_;
  const double sign_;
  int64_t n_ = 0, m_ = 0;
  Corridor corridor_;
  std::vector<Step> path_;  // from its end
};

}  // namespace softdp::cpu
