// The forward sweep of a pair (there) keeps the weights of every cell and their tangents. The backward sweep
// (back), on dual numbers, turns them into the products.
#include "second_order.h"

#include "second_order_pair.h"

namespace softdp::cpu {
namespace {

// The numbers that are kept of a cell.
template <class V>
struct Kept {
  Weights<V> weights, tangents;
};
template <class V>
Weights<V> rounded(const Weights<double>& w) {
  return {V(w.match), V(w.insert), V(w.del)};
}

template <class Recurrence, class Max, class V>
class PairSweep : SecondOrderPair<V> {
  using Base = SecondOrderPair<V>;
  using Base::corridor_, Base::curvature_, Base::k_, Base::p_, Base::sign_;
  using Number = typename Base::Number;
  using State = typename Max::State;
  using Input = typename Max::Input;
  using Cell = typename Recurrence::template Cell<Max>;

 public:
  explicit PairSweep(const SecondOrder& p) : Base(p) {}

  void run(int64_t pair) {
    const int64_t n = p_.pairs.n(pair), m = p_.pairs.m(pair);
    corridor_ = p_.pairs.corridor(pair);
    V& tangent = static_cast<V*>(p_.tangent)[pair];
    tangent = 0;
    this->fill(pair, 0, V(0));
    if (n == 0 || m == 0) return this->without_cells(pair, n, m, charges(), tangent);
    int64_t cells = 0;
    for (int64_t i = 0; i < n; i++) cells += corridor_.end(i) - corridor_.begin(i);
    kept_.resize(size_t(cells));
    const Verdict verdict = there(pair, n, m, tangent);
    if (verdict == Verdict::kSpoiled && !this->is_directed(pair, n)) {
      tangent = 0;
    } else if (verdict == Verdict::kSpoiled) {
      tangent = V(kNaN);
      this->fill(pair, n, tangent);
    } else if (verdict == Verdict::kNoPath) {
      tangent = 0;
    } else if (p_.products[0] || p_.products[1] || p_.products[2]) {
      back(pair, n, m);
    }
  }

 private:
  bool charges() const { return Recurrence::kChargesBoundary && p_.start == Start::kGaps; }
  State boundary(bool reached) const { return Max::input(reached ? 0.0 : -kInf, k_); }
  State next_on_boundary(const State& before, double gap) const {
    return Max::normalized(Max::plus(before, Max::input(sign_ * gap, k_)));
  }
  // Sets S(0, 1 .. m) and its tangents. Columns that are outside in the first row stay without a path until a
  // row reaches them.
  void begin(int64_t pair, int64_t m) {
    const int64_t reached = corridor_.end(0);
    states_.assign(size_t(m), boundary(false));
    std::fill_n(states_.begin(), reached, boundary(is_free_above(p_.start)));
    tangents_.assign(size_t(m), 0.0);
    if (!charges()) return;
    const Row<V> del(p_.scores[2], pair, 0), d_del(p_.directions[2], pair, 0);
    State state = boundary(true);
    double tangent = 0;
    for (int64_t j = 0; j < reached; j++) {
      states_[size_t(j)] = state = next_on_boundary(state, del[j]);
      tangents_[size_t(j)] = tangent += d_del[j];
    }
  }

  Verdict there(int64_t pair, int64_t n, int64_t m, V& tangent) {
    begin(pair, m);
    ends_.clear();
    const State rest = boundary(is_free_left(p_.start));
    State edge = boundary(true);  // S(i, 0)
    double d_edge = 0;
    bool spoiled = false;
    const double sign = Recurrence::kTakesCosts ? sign_ : 1;
    auto kept = kept_.begin();
    int64_t first_above = 0;
    for (int64_t i = 0; i < n; i++) {
      const int64_t first = corridor_.begin(i), last = corridor_.end(i);
      const Row<V> match(p_.scores[0], pair, i), insert(p_.scores[1], pair, i), del(p_.scores[2], pair, i);
      const Row<V> d_match(p_.directions[0], pair, i), d_insert(p_.directions[1], pair, i),
          d_del(p_.directions[2], pair, i);
      State diagonal = i == 0 || charges() ? edge : rest;
      double d_diagonal = d_edge;
      if (charges() && first == 0) edge = next_on_boundary(edge, insert[0]), d_edge += d_insert[0];
      State left = charges() ? edge : rest;
      double d_left = d_edge;
      if (first > 0) {  // the boundary is outside
        const bool has_diagonal = first > first_above;
        left = boundary(false), d_left = 0;
        diagonal = has_diagonal ? states_[size_t(first - 1)] : left;
        d_diagonal = has_diagonal ? tangents_[size_t(first - 1)] : 0;
      }
      first_above = first;
      for (int64_t j = first; j < last; j++) {
        const State above = states_[size_t(j)];
        const double d_above = tangents_[size_t(j)], score = sign * match[j];
        const auto input = [&](double x) {
          spoiled = spoiled || Max::spoils(x, k_);
          return Max::input(x, k_);
        };
        const Input x = input(score), y = Recurrence::kTables > 1 ? input(sign * insert[j]) : x,
                    z = Recurrence::kTables > 1 ? input(sign * del[j]) : x;
        Weights<double> w;
        left = Cell::cell(Cell::ready(score, double(V(p_.threshold)), x, y, z), diagonal, above, left, w);
        left = Max::normalized(left);
        const Tangent<double> t = Recurrence::tangent(w, {d_match[j], d_insert[j], d_del[j]}, d_diagonal,
                                                      d_above, d_left, curvature_);
        *kept++ = {rounded<V>(w), rounded<V>(t.weights)};
        diagonal = above;
        d_diagonal = d_above;
        states_[size_t(j)] = left;
        tangents_[size_t(j)] = d_left = t.state;
      }
      if (p_.ends == Ends::kLastRowAndColumn && i + 1 < n)
        ends_.push_back(last == m ? Number{value_of(left, k_), d_left} : Number{-kInf, 0});
    }
    std::fill_n(states_.begin(), first_above, boundary(false));  // of rows above the last one
    double joined = 0;
    const double score = p_.ends == Ends::kCorner ? value_of(states_[size_t(m - 1)], k_) : join_ends(joined);
    tangent = V(p_.ends == Ends::kCorner ? tangents_[size_t(m - 1)] : joined);
    if (spoiled || score != score) return Verdict::kSpoiled;
    return score == -kInf ? Verdict::kNoPath : Verdict::kDouble;
  }

  // Joins the ends: those of the last column, which ends_ has, and those of the last row.
  double join_ends(double& tangent) {
    for (size_t j = 0; j < states_.size(); j++) ends_.push_back({value_of(states_[j], k_), tangents_[j]});
    return this->join(ends_, tangent);
  }

  void back(int64_t pair, int64_t n, int64_t m) {
    const int64_t N = p_.pairs.rows, M = p_.pairs.columns;
    adjoints_.assign(size_t(m + 1), Number());
    const Number seed{double(static_cast<const V*>(p_.grad_score)[pair]), 0};
    const size_t in_column = ends_.empty() ? 0 : ends_.size() - size_t(m);
    for (size_t j = 0; in_column + j < ends_.size(); j++) adjoints_[j] = seed * ends_[in_column + j];
    auto kept = kept_.end();
    Number by_edge, by_corner;  // the sum of A(k,0) over k >= i; the share of S(i,0) from the row below
    for (int64_t i = n - 1; i >= 0; i--) {
      Number from_right, to_diagonal;  // shares of A(i,j), and of A(i-1,j) from the cell on its lower right
      if (i == n - 1 && ends_.empty()) from_right = seed;
      if (size_t(i) < in_column) from_right = seed * ends_[size_t(i)];
      Number by_above;  // the sum of A(0,k) over k >= j
      const int64_t first = corridor_.begin(i);
      for (int64_t j = corridor_.end(i) - 1; j >= first; j--) {
        const auto& [w, t] = *--kept;
        const Weights<Number> weights{{w.match, t.match}, {w.insert, t.insert}, {w.del, t.del}};
        const Number a = adjoints_[size_t(j)] + from_right;
        const Adjoint<Number> out = Recurrence::adjoint(a, a, weights);
        adjoints_[size_t(j)] = out.to_above + to_diagonal;
        to_diagonal = out.to_diagonal;
        from_right = out.to_left;
        Number insert = out.to_above, del = out.to_left;
        if (charges() && j == 0) insert = insert + (by_edge = by_edge + out.to_left + by_corner);
        if (charges() && i == 0) del = del + (by_above = by_above + adjoints_[size_t(j)]);
        const int64_t at = (pair * N + i) * M + j;
        this->put(0, at, out.score);
        this->put(1, at, p_.shared_gap ? insert + del : insert);
        this->put(2, at, del);
      }
      by_corner = first > 0 ? Number() : to_diagonal;
      if (first > 0) adjoints_[size_t(first - 1)] = to_diagonal;
    }
  }
  std::vector<Kept<V>> kept_;  // of the cells inside, row by row
  std::vector<State> states_;
  std::vector<double> tangents_;
  std::vector<Number> adjoints_;
  std::vector<Number> ends_;  // where paths may end in several cells: rows 1 .. n-1 of the last column,
                              // if it counts, then columns 1 .. m of the last row
};

template <class Max, class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  with_recurrence(p.recurrence, [&](auto recurrence) {
    threads.over(p.pairs.count, 1, [&](int64_t begin, int64_t end) {
      const FlushDenormals flush;
      PairSweep<decltype(recurrence), Max, V> one(p);
      for (int64_t pair = begin; pair < end; pair++) one.run(pair);
    });
  });
}
template <class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  p.gamma > 0 ? sweep<Soft, V>(p, threads) : sweep<Hard, V>(p, threads);
}

}  // namespace

void second_order(const SecondOrder& p, const Threads& threads) {
  if (has_several_states(p.recurrence)) return second_order_of_states(p, threads);
  p.scores[0].type == Type::kFloat64 ? sweep<double>(p, threads) : sweep<float>(p, threads);
}

}  // namespace softdp::cpu
