// Paths that may end in several cells (Ends, ../problem.h). A forward sweep gives S in the last row, and in
// the last column, to this code, which joins them to the score. The weights of the ends are saved: times the
// score's gradient they are the adjoints that a backward sweep begins with.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"

namespace softdp::cpu {

// Writes softmax(values / gamma) to `weights` and returns the smooth maximum. With gamma 0, and past the
// range of double, the first largest value has all weight. Where all are -inf, so is the result, and the
// weights are 0.
inline double smooth_max_of(const std::vector<double>& values, double gamma, std::vector<double>& weights) {
  weights.assign(values.size(), 0.0);
  const auto first = std::max_element(values.begin(), values.end());
  if (first == values.end() || *first == -kInf) return -kInf;
  if (!(gamma > 0) || *first == kInf) {
    weights[size_t(first - values.begin())] = 1;
    return *first;
  }
  double sum = 0;
  for (size_t k = 0; k < values.size(); k++) sum += weights[k] = std::exp((values[k] - *first) / gamma);
  for (double& weight : weights) weight /= sum;
  return *first + gamma * std::log(sum);
}

// The smooth maximum of S over a pair's ends, and their weights: the last row's m, then those of rows 1 ..
// n-1 of the last column. row or column null: it is no end. Without the row the column has row n too.
inline double join_ends(const double* row, int64_t m, const double* column, int64_t n, double gamma,
                        std::vector<double>& weights) {
  std::vector<double> values;
  if (row) values.assign(row, row + m);
  if (column) values.insert(values.end(), column, column + (row ? n - 1 : n));
  return smooth_max_of(values, gamma, weights);
}

// S at the ends of all pairs of a call, or the adjoints there.
class PathEnds {
 public:
  // Cells outside a corridor, which no sweep gives, are -inf.
  explicit PathEnds(const Problem& p)
      : row_(p.ends == Ends::kLastRow || p.ends == Ends::kLastRowAndColumn
                 ? size_t(p.pairs.count * p.pairs.columns)
                 : 0,
             -kInf),
        column_(p.ends == Ends::kLastRowAndColumn || p.ends == Ends::kAnywhere
                    ? size_t(p.pairs.count * p.pairs.rows)
                    : 0,
                -kInf) {}
  double* row() { return row_.empty() ? nullptr : row_.data(); }
  double* column() { return column_.empty() ? nullptr : column_.data(); }

  // Joins the ends of a pair with cells: returns its S, and saves the weights.
  double join(const Problem& p, int64_t pair) const {
    const int64_t n = p.pairs.n(pair), m = p.pairs.m(pair), N = p.pairs.rows, M = p.pairs.columns;
    const int64_t in_row = row_.empty() ? 0 : m;
    const double* const row = row_.empty() ? nullptr : &row_[size_t(pair * M)];
    const double* const column = column_.empty() ? nullptr : &column_[size_t(pair * N)];
    std::vector<double> weights;
    const double s = join_ends(row, m, column, n, p.gamma, weights);
    clear(p, pair);
    each_saved(p, pair, [&](auto* saved) {
      std::copy_n(weights.begin(), in_row, saved);
      std::copy(weights.begin() + in_row, weights.end(), saved + (row_.empty() ? 0 : M));
    });
    return s;
  }
  // Sets the saved weights of a pair to 0.
  static void clear(const Problem& p, int64_t pair) {
    each_saved(p, pair,
               [&](auto* saved) { std::fill_n(saved, ends_of(p.ends, p.pairs.rows, p.pairs.columns), 0); });
  }
  // Sets the adjoints of a pair's ends.
  void differentiate(const Problem& p, int64_t pair) {
    const int64_t N = p.pairs.rows, M = row_.empty() ? 0 : p.pairs.columns;
    const double grad = number_of(p, p.grad_score, pair);
    each_saved(p, pair, [&](const auto* saved) {
      for (int64_t j = 0; j < M; j++) row_[size_t(pair * M + j)] = grad * double(saved[j]);
      for (int64_t i = 0; i < N && !column_.empty(); i++)
        column_[size_t(pair * N + i)] = grad * double(saved[M + i]);
    });
  }

 private:
  // Calls run with the pair's saved weights, if there are any.
  template <class Run>
  static void each_saved(const Problem& p, int64_t pair, Run run) {
    if (!p.saved || p.ends == Ends::kCorner) return;
    const int64_t at = pair * ends_of(p.ends, p.pairs.rows, p.pairs.columns);
    is_double(p) ? run(static_cast<double*>(p.ends_weights) + at)
                 : run(static_cast<float*>(p.ends_weights) + at);
  }
  std::vector<double> row_, column_;  // (B, M) and (B, N)
};

}  // namespace softdp::cpu
