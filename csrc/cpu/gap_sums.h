// Sums of gaps on the boundary (recurrence.h), for pairs that are swept by bands and for pairs without cells:
// the states S there, and their share of the gaps' gradients.
#pragma once
#include <algorithm>
#include <vector>

#include "sinks.h"

namespace softdp::cpu {

constexpr int kInsert = 1, kDelete = 2, kOpen = 3;  // the tables of the gaps

// Whether the first step of a gap has a score of its own.
inline bool opens_gaps(Recurrence recurrence) {
  return recurrence == Recurrence::kAffine;
}
// Whether S on the boundary is computed here. A piece of a table is given its boundary.
inline bool sums_gaps(const Problem& p) {
  return p.start == Start::kGaps && !p.is_piece;
}

// The gaps of the boundary's steps: insert(1 .. n, 1), or delete(1, 1 .. m). With affine gaps the first is
// open(1, 1).
class BoundaryGaps {
 public:
  BoundaryGaps(const Problem& p, int64_t pair, int gap)
      : table_(p.scores[gap]), open_(p.scores[kOpen]), opens_(opens_gaps(p.recurrence)), pair_(pair) {
    sign_ = p.costs ? -1 : 1;
    step_ = gap == kInsert ? table_.row : table_.column;
  }
  double operator[](int64_t k) const { return opens_ && k == 0 ? at(open_, 0) : at(table_, k * step_); }
  // Computes the first `count` sums.
  void sum(int64_t count, double* sums) const {
    double sum = 0;
    for (int64_t k = 0; k < count; k++) sums[k] = sum += (*this)[k];
  }

 private:
  double at(const Table& table, int64_t offset) const {
    return with_type(table.type, [&](auto t) {
      return sign_ * to_double(static_cast<const decltype(t)*>(table.data)[pair_ * table.batch + offset]);
    });
  }
  const Table &table_, &open_;
  bool opens_;
  int64_t pair_, step_;
  double sign_;
};

// A pair without cells. Its path goes along the boundary. Its gaps are read only where they are one
// number for all steps of the empty sequence. Otherwise the pair has no path.
struct EmptyPair {
  int64_t n, m;
  int gap;  // the gap of its steps
  bool has_path;
  EmptyPair(const Problem& p, int64_t pair)
      : n(p.pairs.n(pair)), m(p.pairs.m(pair)), gap(n > 0 ? kInsert : kDelete) {
    const OneForAll& one = p.one_for_all;
    has_path = steps() == 0 || (gap == kInsert ? one.insert : one.del);
    if (steps() > 0 && opens_gaps(p.recurrence))
      has_path = has_path && (gap == kInsert ? one.open_of_insert : one.open_of_delete);
  }
  int64_t steps() const { return n + m; }
  double score(const Problem& p, int64_t pair) const {
    if (!has_path) return -kInf;
    const BoundaryGaps gaps(p, pair, gap);
    double sum = 0;
    for (int64_t k = 0; k < steps(); k++) sum += gaps[k];
    return sum < kInf ? sum : kNaN;
  }
};

// Adds the gradients of the boundary's steps begin .. end-1 to the gradient of a table: to cells that are
// already written, or to sums that are written later.
inline void add_steps_to(const Problem& p, int64_t pair, int to, bool down, const std::vector<double>& values,
                         int64_t begin, int64_t end, Sums& sums) {
  const Sink& sink = p.gradients[to];
  if (!sink.data) return;
  const int64_t columns = sink.every_column ? p.pairs.columns : 1;
  with_type(sink.type, [&](auto t) {
    auto* const data =
        static_cast<decltype(t)*>(sink.data) + pair * (sink.every_row ? p.pairs.rows : 1) * columns;
    const auto add = [](auto& cell, double value) { put(cell, to_double(cell) + value); };
    for (int64_t k = begin; k < end; k++) {
      const int64_t row = down && sink.every_row ? k : 0, column = !down && sink.every_column ? k : 0;
      if (sink.every_row)
        add(data[row * columns + column], values[size_t(k)]);
      else if (sink.every_column)
        sums.columns[to][size_t(column)] += values[size_t(k)];
      else
        sums.totals[to] += values[size_t(k)];
    }
  });
}

// Adds the gradients of the boundary's steps, `values`, to those of the gap's table, and with affine gaps
// that of the first step to that of `open`.
inline void add_steps(const Problem& p, int64_t pair, int gap, const std::vector<double>& values,
                      Sums& sums) {
  const int to = p.shared_gap ? kInsert : gap;
  const int64_t count = int64_t(values.size()),
                opening = opens_gaps(p.recurrence) ? std::min<int64_t>(1, count) : 0;
  add_steps_to(p, pair, kOpen, gap == kInsert, values, 0, opening, sums);
  add_steps_to(p, pair, to, gap == kInsert, values, opening, count, sums);
}

// How many rows have their first column inside the corridor. The boundary beside the others is not reached.
inline int64_t rows_at_left(const Corridor& corridor) {
  const int64_t rows = corridor.reach / corridor.right;
  return std::min(rows, corridor.down) + 1;
}

// The boundary of pairs that are swept by bands.
class GapSums {
 public:
  GapSums(Problem& p, const std::vector<int64_t>& pairs, bool backward, const Threads& threads)
      : left_(size_t(p.pairs.count * p.pairs.rows), -kInf),
        above_(size_t(p.pairs.count * p.pairs.columns), -kInf) {
    const int64_t steps = std::max<int64_t>(1, p.pairs.rows + p.pairs.columns);
    threads.over(int64_t(pairs.size()), std::max<int64_t>(1, (1 << 14) / steps),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; i++) {
                     const int64_t pair = pairs[size_t(i)];
                     const Corridor corridor = p.pairs.corridor(pair);
                     const int64_t n = corridor.is_everywhere() ? p.pairs.n(pair) : rows_at_left(corridor),
                                   m = corridor.is_everywhere() ? p.pairs.m(pair) : corridor.end(0);
                     BoundaryGaps(p, pair, kInsert).sum(n, &left_[size_t(pair * p.pairs.rows)]);
                     BoundaryGaps(p, pair, kDelete).sum(m, &above_[size_t(pair * p.pairs.columns)]);
                   }
                 });
    p.boundary.left = left_.data(), p.boundary.above = above_.data();
    if (!backward) return;
    by_left_.resize(left_.size()), by_left_diagonal_.resize(left_.size()), by_above_.resize(above_.size());
    p.by_boundary.by_left = by_left_.data(), p.by_boundary.by_left_diagonal = by_left_diagonal_.data();
    p.by_boundary.by_above = by_above_.data();
  }
  // S(i, 0) hands all of its adjoint on to S(i-1, 0). Therefore insert(i, 1) gets the sum of A(k, 0)
  // over k >= i.
  static void add_gradients(const Problem& p, int64_t pair, Sums& sums) {
    const int64_t n = p.pairs.n(pair), m = p.pairs.m(pair);
    const BoundaryGradient<double>& by = p.by_boundary;
    const double *const left = by.by_left + pair * p.pairs.rows,
                        *const diagonal = by.by_left_diagonal + pair * p.pairs.rows,
                        *const above = by.by_above + pair * p.pairs.columns;
    std::vector<double> steps(static_cast<size_t>(n));
    double sum = 0;
    for (int64_t i = n - 1; i >= 0; i--)
      steps[size_t(i)] = sum += left[i] + (i + 1 < n ? diagonal[i + 1] : 0);
    add_steps(p, pair, kInsert, steps, sums);
    steps.assign(size_t(m), 0), sum = 0;
    for (int64_t j = m - 1; j >= 0; j--) steps[size_t(j)] = sum += above[j];
    add_steps(p, pair, kDelete, steps, sums);
  }

 private:
  std::vector<double> left_, above_, by_left_, by_left_diagonal_, by_above_;
};

}  // namespace softdp::cpu
