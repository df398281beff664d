// A pair's sweep there keeps the weights of every cell and their tangents; the sweep back, on dual numbers,
// turns them into the products.
#include "second_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "../scalar.h"
#include "denormals.h"

namespace softdp::cpu {
namespace {

using Soft = SmoothMax<Scalar<double>>;
using Hard = HardMax<Scalar<double>>;

constexpr double kLog2e = 1.4426950408889634;

// The first input of a cell's row, and how far the next column is; null: 0 everywhere.
template <class V>
struct Row {
  const V* data;
  int64_t step;
  Row(const Table& table, int64_t pair, int64_t row)
      : data(table.data ? static_cast<const V*>(table.data) + pair * table.batch + row * table.row : nullptr),
        step(table.column) {}
  double operator[](int64_t column) const { return data ? double(data[column * step]) : 0.0; }
};

// What is kept of a cell.
template <class V>
struct Kept {
  Weights<V> weights, tangents;
};
template <class V>
Weights<V> rounded(const Weights<double>& w) {
  return {V(w.match), V(w.insert), V(w.del)};
}

double value_of(const Soft::State& s, double k) {
  return s.e > kDead ? (std::log2(s.p) + double(s.e)) / k : -std::numeric_limits<double>::infinity();
}
double value_of(double s, double) {
  return s;
}

template <class Max, bool kLcs, class V>
class PairSweep {
  using State = typename Max::State;
  using Recurrence = std::conditional_t<kLcs, Lcs<Max>, Fsd<Max>>;

 public:
  explicit PairSweep(const SecondOrder& p)
      : p_(p), k_(p.gamma > 0 ? kLog2e / p.gamma : 0), curvature_(p.gamma > 0 ? 1 / p.gamma : 0) {}

  void run(int64_t pair) {
    const int64_t n = p_.pairs.n(pair), m = p_.pairs.m(pair);
    V& tangent = static_cast<V*>(p_.tangent)[pair];
    tangent = 0;
    fill(pair, 0, 0, V(0));
    if (n == 0 || m == 0) return;
    kept_.resize(size_t(n * m));
    const Verdict verdict = there(pair, n, m, tangent);
    if (verdict == Verdict::kSpoiled && !is_directed(pair, n, m)) {
      tangent = 0;
    } else if (verdict == Verdict::kSpoiled) {
      tangent = std::numeric_limits<V>::quiet_NaN();
      fill(pair, n, m, tangent);
    } else if (verdict == Verdict::kNoPath) {
      tangent = 0;
    } else {
      back(pair, n, m);
    }
  }

 private:
  // Whether the direction is not 0 somewhere in the pair.
  bool is_directed(int64_t pair, int64_t n, int64_t m) const {
    for (const Table& table : p_.directions)
      for (int64_t i = 0; table.data && i < n; i++) {
        const Row<V> v(table, pair, i);
        for (int64_t j = 0; j < m; j++)
          if (!(v[j] == 0)) return true;
      }
    return false;
  }
  // `value` in the first n by m cells of the pair's products; n = 0: 0 in all of them.
  void fill(int64_t pair, int64_t n, int64_t m, V value) const {
    const int64_t N = p_.pairs.rows, M = p_.pairs.columns;
    for (void* product : p_.products) {
      if (!product) continue;
      V* const to = static_cast<V*>(product) + pair * N * M;
      if (n == 0) std::fill(to, to + N * M, V(0));
      for (int64_t i = 0; i < n; i++) std::fill(to + i * M, to + i * M + m, value);
    }
  }

  State boundary(bool reached) const {
    return Max::input(reached ? 0.0 : -std::numeric_limits<double>::infinity(), k_);
  }

  Verdict there(int64_t pair, int64_t n, int64_t m, V& tangent) {
    const bool reached = !p_.anchored;
    states_.assign(size_t(m), boundary(reached));
    tangents_.assign(size_t(m), 0.0);
    bool spoiled = false;
    for (int64_t i = 0; i < n; i++) {
      const Row<V> match(p_.scores[0], pair, i), insert(p_.scores[1], pair, i), del(p_.scores[2], pair, i);
      const Row<V> d_match(p_.directions[0], pair, i), d_insert(p_.directions[1], pair, i),
          d_del(p_.directions[2], pair, i);
      State left = boundary(reached), diagonal = boundary(reached || i == 0);
      double d_left = 0, d_diagonal = 0;
      for (int64_t j = 0; j < m; j++) {
        const State above = states_[size_t(j)];
        const double d_above = tangents_[size_t(j)], score = match[j];
        Weights<double> w;
        spoiled = spoiled || Max::spoils(score, k_);
        const typename Max::Input x = Max::input(score, k_);
        if constexpr (kLcs) {
          left = Recurrence::cell(score >= double(V(p_.threshold)), x, diagonal, above, left, w);
        } else {
          spoiled = spoiled || Max::spoils(insert[j], k_) || Max::spoils(del[j], k_);
          const auto moves = Max::moves(x, Max::input(insert[j], k_), Max::input(del[j], k_));
          left = Recurrence::cell(moves, diagonal, above, left, w);
        }
        left = Max::normalized(left);
        const Tangent<double> t = Recurrence::tangent(w, {d_match[j], d_insert[j], d_del[j]}, d_diagonal,
                                                      d_above, d_left, curvature_);
        kept_[size_t(i * m + j)] = {rounded<V>(w), rounded<V>(t.weights)};
        diagonal = above;
        d_diagonal = d_above;
        states_[size_t(j)] = left;
        tangents_[size_t(j)] = d_left = t.state;
      }
    }
    tangent = V(tangents_[size_t(m - 1)]);
    const double score = value_of(states_[size_t(m - 1)], k_);
    if (spoiled || score != score) return Verdict::kSpoiled;
    return score == -std::numeric_limits<double>::infinity() ? Verdict::kNoPath : Verdict::kWide;
  }

  void back(int64_t pair, int64_t n, int64_t m) {
    using Number = Dual<double>;
    const int64_t N = p_.pairs.rows, M = p_.pairs.columns;
    adjoints_.assign(size_t(m + 1), Number());
    for (int64_t i = n - 1; i >= 0; i--) {
      Number from_right, to_diagonal;  // shares of A(i,j), and of A(i-1,j) by the cell on its lower right
      if (i == n - 1) from_right.value = double(static_cast<const V*>(p_.grad_score)[pair]);
      for (int64_t j = m - 1; j >= 0; j--) {
        const auto& [w, t] = kept_[size_t(i * m + j)];
        const Weights<Number> weights{{w.match, t.match}, {w.insert, t.insert}, {w.del, t.del}};
        const Adjoint<Number> out = Recurrence::adjoint(adjoints_[size_t(j)] + from_right, weights);
        const int64_t at = (pair * N + i) * M + j;
        put(0, at, out.score);
        put(1, at, p_.shared_gap ? out.to_above + out.to_left : out.to_above);
        put(2, at, out.to_left);
        adjoints_[size_t(j)] = out.to_above + to_diagonal;
        to_diagonal = out.to_diagonal;
        from_right = out.to_left;
      }
    }
  }
  void put(int which, int64_t at, const Dual<double>& number) const {
    if (p_.products[which]) static_cast<V*>(p_.products[which])[at] = V(number.tangent);
  }

  const SecondOrder& p_;
  const double k_, curvature_;
  std::vector<Kept<V>> kept_;
  std::vector<State> states_;
  std::vector<double> tangents_;
  std::vector<Dual<double>> adjoints_;
};

template <class Max, bool kLcs, class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  threads.over(p.pairs.count, 1, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    PairSweep<Max, kLcs, V> one(p);
    for (int64_t pair = begin; pair < end; pair++) one.run(pair);
  });
}
template <class Max, class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  p.lcs ? sweep<Max, true, V>(p, threads) : sweep<Max, false, V>(p, threads);
}
template <class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  p.gamma > 0 ? sweep<Soft, V>(p, threads) : sweep<Hard, V>(p, threads);
}

}  // namespace

void second_order(const SecondOrder& p, const Threads& threads) {
  p.scores[0].type == Type::kFloat64 ? sweep<double>(p, threads) : sweep<float>(p, threads);
}

}  // namespace softdp::cpu
