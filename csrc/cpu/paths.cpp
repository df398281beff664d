// A pair is swept row by row, in double and with gamma 0. The move into every cell is kept. The path is then
// followed from its end.
#include "path_of_pair.h"

namespace softdp::cpu {
namespace {

using Max = HardMax<Scalar<double>>;

template <class Recurrence>
class PairPath : PathOfPair {
  using Cell = typename Recurrence::template Cell<Max>;
  static constexpr int kTables = Recurrence::kTables;

 public:
  explicit PairPath(const PathProblem& p) : PathOfPair(p) {}
  void run(int64_t pair) {
    write(pair, [&] { sweep(pair); });
  }

 private:
  void sweep(int64_t pair) {
    const bool charges = p_.start == Start::kGaps;
    const double left_rest = is_free_left(p_.start) ? 0.0 : -kInf;
    const size_t m = size_t(m_);
    std::vector<double>&states = states_, &column = column_;
    const size_t reached = size_t(corridor_.end(0));  // of the boundary above
    states.assign(m, -kInf), column.clear();
    std::fill_n(states.begin(), reached, is_free_above(p_.start) ? 0.0 : -kInf);
    for (auto& row : rows_) row.resize(m);
    moves_of_.resize(size_t(n_));
    int64_t cells = 0;
    for (int64_t i = 0; i < n_; i++) {
      moves_of_[size_t(i)] = cells - corridor_.begin(i);
      cells += corridor_.end(i) - corridor_.begin(i);
    }
    moves_.resize(size_t(cells));
    double edge = 0;  // S(i-1, 0)
    bool fine = true;
    size_t first_above = 0;
    for (int64_t i = 0; i < n_; i++) {
      const size_t first = size_t(corridor_.begin(i)), last = size_t(corridor_.end(i));
      for (int table = 0; table < kTables; table++) fine = load(table, pair, i, rows_[table]) && fine;
      const std::vector<double>& insert = rows_[kTables > 1 ? 1 : 0];
      const std::vector<double>& del = rows_[kTables > 1 ? 2 : 0];
      if (charges && i == 0)
        for (size_t j = 0; j < reached; j++) states[j] = (j > 0 ? states[j - 1] : 0) + del[j];
      double diagonal = i == 0 || charges ? edge : left_rest;
      if (charges && first == 0) edge += insert[0];
      double left = charges ? edge : left_rest;
      if (first > 0)  // the boundary is outside
        left = -kInf, diagonal = first > first_above ? states[first - 1] : -kInf;
      first_above = first;
      uint8_t* const moves = moves_.data() + (moves_of_[size_t(i)] + int64_t(first));
      for (size_t j = first; j < last; j++) {
        const double above = states[j];
        Weights<double> w;
        left = Cell::cell(Cell::ready(rows_[0][j], p_.threshold, rows_[0][j], insert[j], del[j]), diagonal,
                          above, left, w);
        moves[j - first] = w.insert > 0 ? kInsertMove : w.del > 0 ? kDeleteMove : kMatchMove;
        diagonal = above;
        states[j] = left;
      }
      if (p_.ends == Ends::kLastRowAndColumn && i + 1 < n_) column.push_back(last == m ? left : -kInf);
    }
    std::fill_n(states.begin(), first_above, -kInf);  // of rows above the last one
    if (fine) follow(states, column);
  }

  // From the best end to the boundary; of a boundary that is charged to its corner.
  void follow(const std::vector<double>& last_row, const std::vector<double>& last_column) {
    int64_t i = n_, j = m_;
    double best = last_row.back();
    if (p_.ends != Ends::kCorner) {
      const auto in_row = std::max_element(last_row.begin(), last_row.end());
      best = *in_row, j = in_row - last_row.begin() + 1;
      const auto in_column = std::max_element(last_column.begin(), last_column.end());
      if (in_column != last_column.end() && *in_column > best)
        best = *in_column, i = in_column - last_column.begin() + 1, j = m_;
    }
    if (!(best > -kInf)) return;
    while (i > 0 && j > 0) {
      const uint8_t move = moves_[size_t(moves_of_[size_t(i - 1)] + j - 1)];
      path_.push_back({{i - 1, j - 1, move}});
      i -= move != kDeleteMove, j -= move != kInsertMove;
    }
    if (p_.start == Start::kGaps) to_corner(i, j);
  }
  std::vector<double> rows_[3], states_, column_;  // a row of each table; S of a row, and of the last column
  std::vector<uint8_t> moves_;                     // of the cells inside, row by row
  std::vector<int64_t> moves_of_;                  // where in moves_ column 0 of each row would be
};

}  // namespace

void best_paths(const PathProblem& p, const Threads& threads) {
  if (has_several_states(p.recurrence)) return best_paths_of_states(p, threads);
  with_recurrence(p.recurrence, [&](auto recurrence) {
    threads.over(p.pairs.count, 1, [&](int64_t begin, int64_t end) {
      PairPath<decltype(recurrence)> one(p);
      for (int64_t pair = begin; pair < end; pair++) one.run(pair);
    });
  });
}

}  // namespace softdp::cpu
