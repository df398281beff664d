// The best paths of recurrences with several states a cell: a byte a cell says which edge each of its states
// came by.
#include "path_of_pair.h"

namespace softdp::cpu {
namespace {

using Max = HardMax<Scalar<double>>;

template <class Recurrence>
class StatesPath : PathOfPair {
  using Cell = typename Recurrence::template Cell<Max>;
  using State = typename Cell::State;
  static constexpr int kTables = Recurrence::kTables, kStates = Recurrence::kStates;
  // A path's end is found among all cells: E, which joins the ends of a row, is not followed.
  static constexpr bool kLocal = !Recurrence::has_edge(kStates - 1, From::kDiagonal);
  static constexpr int kEnd = kLocal ? kStates - 2 : kStates - 1;
  static_assert(kEnd < 4, "the edges of four states fit a byte");

 public:
  explicit StatesPath(const PathProblem& p) : PathOfPair(p) {}
  void run(int64_t pair) {
    write(pair, [&] { sweep(pair); });
  }

 private:
  State boundary(Side side, double value) const {
    State s;
    for (int k = 0; k < kStates; k++) s.of[k] = Recurrence::kSides.of(side) >> k & 1 ? value : -kInf;
    return s;
  }

  void sweep(int64_t pair) {
    const bool charges = p_.start == Start::kGaps;
    const State rest = boundary(Side::kCorner, is_free_left(p_.start) ? 0.0 : -kInf);
    const State none = boundary(Side::kCorner, -kInf);
    const size_t m = size_t(m_), reached = size_t(corridor_.end(0));  // reached: of the boundary above
    states_.assign(m, none);
    std::fill_n(states_.begin(), reached, boundary(Side::kCorner, is_free_above(p_.start) ? 0.0 : -kInf));
    edges_of_.resize(size_t(n_));
    int64_t cells = 0;
    for (int64_t i = 0; i < n_; i++) {
      edges_of_[size_t(i)] = cells - corridor_.begin(i);
      cells += corridor_.end(i) - corridor_.begin(i);
    }
    edges_.resize(size_t(cells));
    uint8_t* edges = edges_.data();
    best_ = {-kInf, 0, 0};
    for (auto& row : rows_) row.resize(m);
    double edge = 0;
    State corner = boundary(Side::kCorner, 0);
    bool fine = true;
    size_t first_above = 0;
    for (int64_t i = 0; i < n_; i++) {
      const size_t first = size_t(corridor_.begin(i)), last = size_t(corridor_.end(i));
      for (int table = 0; table < kTables; table++) fine = load(table, pair, i, rows_[table]) && fine;
      const auto gap = [&](int table, bool opens) { return rows_[opens ? kOpen : table].data(); };
      if (charges && i == 0) {
        double sum = 0;
        for (size_t j = 0; j < reached; j++)
          states_[j] = boundary(Side::kAbove, sum += gap(kDelete, j == 0)[j]);
      }
      State diagonal = corner, left = rest;
      if (charges && first == 0) left = boundary(Side::kLeft, edge += gap(kInsert, i == 0)[0]);
      corner = left;
      if (first > 0)  // the boundary is outside
        left = none, diagonal = first > first_above ? states_[first - 1] : none;
      first_above = first;
      for (size_t j = first; j < last; j++) {
        typename Cell::Ready x;
        for (int table = 0; table < kTables; table++) x.of[table] = rows_[table][j];
        typename Recurrence::template Shares<double> w;
        const State above = states_[j];
        left = Cell::cell(x, diagonal, above, left, w);
        *edges++ = edges_of(w);
        diagonal = above;
        states_[j] = left;
        if (is_end(i, int64_t(j))) take(left.of[kEnd], i + 1, int64_t(j) + 1);
      }
    }
    if (fine && best_.value > -kInf) follow();
  }
  static uint8_t edges_of(const typename Recurrence::template Shares<double>& w) {
    unsigned edges = 0;
    for (int s = 0; s <= kEnd; s++)
      for (int k = 1; k < Recurrence::kNodes[s].count; k++)
        if (w.of[s][k] > 0) edges |= unsigned(k) << 2 * s;
    return uint8_t(edges);
  }
  bool is_end(int64_t i, int64_t j) const {
    const bool in_row = i == n_ - 1, in_column = j == m_ - 1;
    if (p_.ends == Ends::kAnywhere) return true;
    if (p_.ends == Ends::kCorner) return in_row && in_column;
    return in_row || (p_.ends == Ends::kLastRowAndColumn && in_column);
  }
  // The first of the best ends: by rows; but those of the last row come before those of the last column.
  void take(double value, int64_t i, int64_t j) {
    const bool first = p_.ends == Ends::kLastRowAndColumn && i == n_ && best_.i < n_;
    if (value > best_.value || (first && value == best_.value)) best_ = {value, i, j};
  }
  void follow() {
    int64_t i = best_.i, j = best_.j;
    int state = kEnd;
    while (i > 0 && j > 0) {
      const int k = edges_[size_t(edges_of_[size_t(i - 1)] + j - 1)] >> 2 * state & 3;
      const Edge& edge = Recurrence::kNodes[state].edges[k];
      state = edge.state;
      if (edge.from == From::kHere) continue;
      const Move move = edge.from == From::kAbove  ? kInsertMove
                        : edge.from == From::kLeft ? kDeleteMove
                                                   : kMatchMove;
      path_.push_back({{i - 1, j - 1, move}});
      if (edge.from == From::kStart) return;
      i -= move != kDeleteMove, j -= move != kInsertMove;
    }
    if (p_.start == Start::kGaps) to_corner(i, j);
  }

  struct End {
    double value;
    int64_t i, j;
  };
  End best_{};
  std::vector<double> rows_[kMostTables];
  std::vector<State> states_;
  std::vector<uint8_t> edges_;     // of the cells inside, row by row: two bits for each state
  std::vector<int64_t> edges_of_;  // where in edges_ column 0 of each row would be
};

}  // namespace

void best_paths_of_states(const PathProblem& p, const Threads& threads) {
  with_any_recurrence(p.recurrence, [&](auto recurrence) {
    if constexpr (decltype(recurrence)::kStates > 1)
      threads.over(p.pairs.count, 1, [&](int64_t begin, int64_t end) {
        StatesPath<decltype(recurrence)> one(p);
        for (int64_t pair = begin; pair < end; pair++) one.run(pair);
      });
  });
}

}  // namespace softdp::cpu
