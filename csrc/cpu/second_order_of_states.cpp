// The second order of recurrences with several states a cell. As in second_order.cpp, the forward sweep of a
// pair (there) keeps the weights of every cell and their tangents, and the backward sweep (back) is on dual
// numbers.
#include "second_order_pair.h"

namespace softdp::cpu {
namespace {

template <class Recurrence, class Max, class V>
class StatesSweep : SecondOrderPair<V> {
  using Base = SecondOrderPair<V>;
  using Base::corridor_, Base::curvature_, Base::k_, Base::p_, Base::sign_;
  using Number = typename Base::Number;
  using One = typename Max::State;
  using Cell = typename Recurrence::template Cell<Max>;
  using State = typename Cell::State;
  using Shares = typename Recurrence::template Shares<double>;
  static constexpr int kStates = Recurrence::kStates, kEnd = kStates - 1, kTables = Recurrence::kTables;

  struct Tangents {
    double of[kStates] = {};
  };
  struct Adjoints {
    Number of[kStates];
  };
  // What is kept of a cell: the weights of its states' edges, and their tangents.
  struct Kept {
    V weights[kStates][kMostEdges], tangents[kStates][kMostEdges];
  };

 public:
  explicit StatesSweep(const SecondOrder& p) : Base(p) {}

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
    double along = 0;
    const Verdict verdict = there(pair, n, m, along);
    if (verdict == Verdict::kNoPath) return;
    if (verdict != Verdict::kSpoiled) {
      tangent = V(along);
      back(pair, n, m);
    } else if (this->is_directed(pair, n)) {
      tangent = V(kNaN);
      this->fill(pair, n, tangent);
    }
  }

 private:
  bool charges() const { return Recurrence::kChargesBoundary && p_.start == Start::kGaps; }
  One value(double x) const { return Max::input(x, k_); }
  // The states on a side of the boundary that have `one`, and the same of its tangent.
  State states(Side side, const One& one) const {
    State s;
    for (int k = 0; k < kStates; k++) s.of[k] = Recurrence::kSides.of(side) >> k & 1 ? one : value(-kInf);
    return s;
  }
  Tangents tangents(Side side, double tangent) const {
    Tangents t;
    for (int k = 0; k < kStates; k++) t.of[k] = Recurrence::kSides.of(side) >> k & 1 ? tangent : 0;
    return t;
  }
  State rest(bool reached) const { return states(Side::kCorner, value(reached ? 0.0 : -kInf)); }

  // A sum of gaps on the boundary, and its tangent.
  struct Edge {
    One state;
    double tangent = 0;
  };
  void step(Edge& edge, double gap, double direction) const {
    edge.state = Max::normalized(Max::plus(edge.state, value(sign_ * gap)));
    edge.tangent += direction;
  }

  // Sets the states above the first row. Columns that are outside in the first row stay without a path until
  // a row reaches them.
  void begin(int64_t pair, int64_t m) {
    const int64_t reached = corridor_.end(0);
    above_.assign(size_t(m), rest(false));
    std::fill_n(above_.begin(), reached, rest(is_free_above(p_.start)));
    d_above_.assign(size_t(m), Tangents());
    if (!charges()) return;
    Edge edge{value(0)};
    for (int64_t j = 0; j < reached; j++) {
      const int table = j == 0 ? kOpen : kDelete;
      step(edge, Row<V>(p_.scores[table], pair, 0)[j], Row<V>(p_.directions[table], pair, 0)[j]);
      above_[size_t(j)] = states(Side::kAbove, edge.state);
      d_above_[size_t(j)] = tangents(Side::kAbove, edge.tangent);
    }
  }

  Verdict there(int64_t pair, int64_t n, int64_t m, double& along) {
    begin(pair, m);
    ends_.clear();
    Edge edge{value(0)};
    bool spoiled = false;
    State diagonal_edge = rest(p_.start != Start::kAnywhere);
    Tangents d_diagonal_edge;
    auto kept = kept_.begin();
    int64_t first_above = 0;
    for (int64_t i = 0; i < n; i++) {
      const int64_t first = corridor_.begin(i), last = corridor_.end(i);
      State diagonal = diagonal_edge, left = rest(is_free_left(p_.start));
      Tangents d_diagonal = d_diagonal_edge, d_left;
      if (charges() && first == 0) {
        const int table = i == 0 ? kOpen : kInsert;
        step(edge, Row<V>(p_.scores[table], pair, i)[0], Row<V>(p_.directions[table], pair, i)[0]);
        left = states(Side::kLeft, edge.state), d_left = tangents(Side::kLeft, edge.tangent);
      }
      diagonal_edge = left, d_diagonal_edge = d_left;
      if (first > 0) {  // the boundary is outside
        left = diagonal = rest(false), d_left = d_diagonal = Tangents();
        if (first > first_above)
          diagonal = above_[size_t(first - 1)], d_diagonal = d_above_[size_t(first - 1)];
      }
      first_above = first;
      spoiled = sweep_row(pair, i, diagonal, d_diagonal, left, d_left, kept) || spoiled;
      const bool is_end = p_.ends == Ends::kAnywhere || (p_.ends == Ends::kLastRowAndColumn && i + 1 < n);
      if (is_end)
        ends_.push_back(last == m ? Number{value_of(left.of[kEnd], k_), d_left.of[kEnd]} : Number{-kInf, 0});
    }
    std::fill_n(above_.begin(), first_above, rest(false));  // of rows above the last one
    const double score = join_ends(along);
    if (spoiled || score != score) return Verdict::kSpoiled;
    return score == -kInf ? Verdict::kNoPath : Verdict::kDouble;
  }
  // From the states on the row's left to those of its last cell inside. Returns whether a score spoils the
  // pair. `at` goes on to the next row's cells.
  bool sweep_row(int64_t pair, int64_t i, State diagonal, Tangents d_diagonal, State& left, Tangents& d_left,
                 typename std::vector<Kept>::iterator& at) {
    bool spoiled = false;
    std::vector<Row<V>> rows, directions;
    for (int t = 0; t < kTables; t++)
      rows.emplace_back(p_.scores[t], pair, i), directions.emplace_back(p_.directions[t], pair, i);
    const int64_t last = corridor_.end(i);
    for (int64_t j = corridor_.begin(i); j < last; j++) {
      typename Cell::Ready x;
      double v[kMostTables] = {};
      for (int t = 0; t < kTables; t++) {
        const double score = sign_ * rows[size_t(t)][j];
        spoiled = spoiled || Max::spoils(score, k_);
        x.of[t] = value(score), v[t] = directions[size_t(t)][j];
      }
      const State above = above_[size_t(j)];
      const Tangents d_above = d_above_[size_t(j)];
      Shares w;
      left = Cell::cell(x, diagonal, above, left, w);
      for (One& state : left.of) state = Max::normalized(state);
      const auto t = Recurrence::tangent(w, v, d_diagonal.of, d_above.of, d_left.of, curvature_);
      std::copy_n(t.states, kStates, d_left.of);
      Kept& kept = *at++;
      for (int s = 0; s < kStates; s++)
        for (int k = 0; k < Recurrence::kNodes[s].count; k++)
          kept.weights[s][k] = V(w.of[s][k]), kept.tangents[s][k] = V(t.weights.of[s][k]);
      diagonal = above, d_diagonal = d_above;
      above_[size_t(j)] = left, d_above_[size_t(j)] = d_left;
    }
    return spoiled;
  }
  // The score and its tangent. `ends_`, which has those of the last column, then has the weights of all ends.
  double join_ends(double& tangent) {
    const int64_t m = int64_t(above_.size());
    for (int64_t j = p_.ends == Ends::kCorner ? m - 1 : 0; j < m && p_.ends != Ends::kAnywhere; j++)
      ends_.push_back({value_of(above_[size_t(j)].of[kEnd], k_), d_above_[size_t(j)].of[kEnd]});
    return this->join(ends_, tangent);
  }

  void back(int64_t pair, int64_t n, int64_t m) {
    const int64_t N = p_.pairs.rows, M = p_.pairs.columns;
    up_.assign(size_t(m), Adjoints());
    const Number seed{double(static_cast<const V*>(p_.grad_score)[pair]), 0};
    const int64_t count = int64_t(ends_.size()), in_row = p_.ends == Ends::kCorner     ? 1
                                                          : p_.ends == Ends::kAnywhere ? 0
                                                                                       : m;
    const int64_t in_column = count - in_row;
    for (int64_t k = 0; k < in_row; k++)
      up_[size_t(m - in_row + k)].of[kEnd] = seed * ends_[size_t(in_column + k)];
    auto kept = kept_.end();
    Number by_edge, by_corner;  // as in second_order.cpp
    for (int64_t i = n - 1; i >= 0; i--) {
      Adjoints from_right, to_diagonal;
      if (i < in_column) from_right.of[kEnd] = seed * ends_[size_t(i)];
      Number by_above;
      const int64_t first = corridor_.begin(i);
      for (int64_t j = corridor_.end(i) - 1; j >= first; j--) {
        Number a[kStates];
        for (int s = 0; s < kStates; s++) a[s] = up_[size_t(j)].of[s] + from_right.of[s];
        const auto out = Recurrence::adjoint(a, weights(*--kept));
        Number to_left, to_above, scores[kMostTables];
        for (int s = 0; s < kStates; s++) {
          up_[size_t(j)].of[s] = out.above[s].value + to_diagonal.of[s];
          to_diagonal.of[s] = out.diagonal[s].value, from_right.of[s] = out.left[s].value;
          to_left = to_left + from_right.of[s], to_above = to_above + up_[size_t(j)].of[s];
        }
        for (int t = 0; t < kTables; t++) scores[t] = out.scores[t].value;
        const auto add = [&](int table, const Number& x) { scores[table] = scores[table] + x; };
        if (charges() && j == 0) add(i == 0 ? kOpen : kInsert, by_edge = by_edge + to_left + by_corner);
        if (charges() && i == 0) add(j == 0 ? kOpen : kDelete, by_above = by_above + to_above);
        if (p_.shared_gap) add(kInsert, scores[kDelete]);
        for (int t = 0; t < kTables; t++) this->put(t, (pair * N + i) * M + j, scores[t]);
      }
      by_corner = Number();
      if (first > 0)
        up_[size_t(first - 1)] = to_diagonal;
      else
        for (const Number& share : to_diagonal.of) by_corner = by_corner + share;
    }
  }
  static auto weights(const Kept& kept) {
    typename Recurrence::template Shares<Number> w;
    for (int s = 0; s < kStates; s++)
      for (int k = 0; k < Recurrence::kNodes[s].count; k++)
        w.of[s][k] = {double(kept.weights[s][k]), double(kept.tangents[s][k])};
    return w;
  }

  std::vector<Kept> kept_;  // of the cells inside, row by row
  std::vector<State> above_;
  std::vector<Tangents> d_above_;
  std::vector<Adjoints> up_;  // of the states above each column
  std::vector<Number> ends_;  // of the last column, if it counts, then of the last row
};

template <class Max, class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  with_any_recurrence(p.recurrence, [&](auto recurrence) {
    if constexpr (decltype(recurrence)::kStates > 1)
      threads.over(p.pairs.count, 1, [&](int64_t begin, int64_t end) {
        const FlushDenormals flush;
        StatesSweep<decltype(recurrence), Max, V> one(p);
        for (int64_t pair = begin; pair < end; pair++) one.run(pair);
      });
  });
}
template <class V>
void sweep(const SecondOrder& p, const Threads& threads) {
  p.gamma > 0 ? sweep<Soft, V>(p, threads) : sweep<Hard, V>(p, threads);
}

}  // namespace

void second_order_of_states(const SecondOrder& p, const Threads& threads) {
  p.scores[0].type == Type::kFloat64 ? sweep<double>(p, threads) : sweep<float>(p, threads);
}

}  // namespace softdp::cpu
