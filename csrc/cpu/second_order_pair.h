// What the second order's sweeps share: rows of tables, the ends of paths, and what is written for a pair.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "../scalar.h"
#include "denormals.h"
#include "ends.h"
#include "gap_sums.h"
#include "second_order.h"

namespace softdp::cpu {

// Which cells are hits follows no pattern: a choice by a branch would be foreseen badly.
struct Arithmetic : Scalar<double> {
  template <class T>
  static SOFTDP_FN T select(bool m, T a, T b) {
    const int64_t mask = -int64_t(m);
    return bit_cast<T>((bit_cast<int64_t>(a) & mask) | (bit_cast<int64_t>(b) & ~mask));
  }
};
using Soft = SmoothMax<Arithmetic>;
using Hard = HardMax<Arithmetic>;

// A row of a table: its first number, and the stride to the next column. Null: 0 everywhere.
template <class V>
struct Row {
  const V* data;
  int64_t step;
  Row(const Table& table, int64_t pair, int64_t row)
      : data(table.data ? static_cast<const V*>(table.data) + pair * table.batch + row * table.row : nullptr),
        step(table.column) {}
  double operator[](int64_t column) const { return data ? double(data[column * step]) : 0.0; }
};

inline double value_of(const Soft::State& s, double k) {
  return s.e > kDead ? (std::log2(s.p) + double(s.e)) / k : -kInf;
}
inline double value_of(double s, double) {
  return s;
}

template <class V>
class SecondOrderPair {
 protected:
  using Number = Dual<double>;

  explicit SecondOrderPair(const SecondOrder& p)
      : p_(p),
        sign_(p.costs ? -1 : 1),
        k_(p.gamma > 0 ? kLog2e / p.gamma : 0),
        curvature_(p.gamma > 0 ? sign_ / p.gamma : 0) {}

  // Whether the direction has a number other than 0 within the pair.
  bool is_directed(int64_t pair, int64_t n) const {
    for (const Table& table : p_.directions)
      for (int64_t i = 0; table.data && i < n; i++) {
        const Row<V> v(table, pair, i);
        const int64_t last = corridor_.end(i);
        for (int64_t j = corridor_.begin(i); j < last; j++)
          if (!(v[j] == 0)) return true;
      }
    return false;
  }
  // Writes `value` to the cells of the first n rows of the pair's products. With n = 0, writes 0 to all of
  // them.
  void fill(int64_t pair, int64_t n, V value) const {
    const int64_t N = p_.pairs.rows, M = p_.pairs.columns;
    for (void* product : p_.products) {
      if (!product) continue;
      V* const to = static_cast<V*>(product) + pair * N * M;
      if (n == 0) std::fill(to, to + N * M, V(0));
      for (int64_t i = 0; i < n; i++)
        std::fill(to + i * M + corridor_.begin(i), to + i * M + corridor_.end(i), value);
    }
  }

  // The score of a pair without cells has a derivative only where the boundary is charged and the gaps are
  // the same for all steps of the empty sequence. Its path goes along the boundary.
  void without_cells(int64_t pair, int64_t n, int64_t m, bool charges, V& tangent) const {
    if (!charges || n + m == 0) return;
    const int gap = n > 0 ? kInsert : kDelete;
    const bool opens = opens_gaps(p_.recurrence);
    const OneForAll& one = p_.one_for_all;
    if (!(n > 0 ? one.insert : one.del)) return;
    if (opens && !(n > 0 ? one.open_of_insert : one.open_of_delete)) return;
    double sum = 0, score = 0;
    for (int64_t k = 0; k < n + m; k++) {
      const int table = opens && k == 0 ? kOpen : gap;
      sum += Row<V>(p_.directions[table], pair, n > 0 ? k : 0)[n > 0 ? 0 : k];
      score += sign_ * Row<V>(p_.scores[table], pair, n > 0 ? k : 0)[n > 0 ? 0 : k];
    }
    if (sum != 0) tangent = score < kInf ? V(sum) : V(kNaN);
    if (score == -kInf) tangent = 0;  // no path
  }

  // Joins the ends, given as their values and tangents. Returns their smooth maximum and sets `tangent`.
  // `ends` then has the weights and their tangents.
  double join(std::vector<Number>& ends, double& tangent) const {
    std::vector<double> values, weights;
    for (const Number& end : ends) values.push_back(end.value);
    const double score = smooth_max_of(values, p_.gamma, weights);
    tangent = 0;
    for (size_t k = 0; k < weights.size(); k++)
      if (weights[k] > 0) tangent += weights[k] * ends[k].tangent;
    for (size_t k = 0; k < weights.size(); k++) {
      const double w = weights[k], change = w > 0 ? w * (ends[k].tangent - tangent) * curvature_ : 0;
      ends[k] = {w, change};
    }
    return score;
  }
  void put(int which, int64_t at, const Dual<double>& number) const {
    if (p_.products[which]) static_cast<V*>(p_.products[which])[at] = V(number.tangent);
  }

  const SecondOrder& p_;
  const double sign_, k_, curvature_;
  Corridor corridor_;  // of the pair
};

}  // namespace softdp::cpu
