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
    states.assign(m, is_free_above(p_.start) ? 0.0 : -kInf), column.clear();
    for (auto& row : rows_) row.resize(m);
    moves_.resize(size_t(n_) * m);
    double edge = 0;  // S(i-1, 0)
    bool fine = true;
    for (int64_t i = 0; i < n_; i++) {
      for (int table = 0; table < kTables; table++) fine = load(table, pair, i, rows_[table]) && fine;
      const std::vector<double>& insert = rows_[kTables > 1 ? 1 : 0];
      const std::vector<double>& del = rows_[kTables > 1 ? 2 : 0];
      if (charges && i == 0)
        for (size_t j = 0; j < m; j++) states[j] = (j > 0 ? states[j - 1] : 0) + del[j];
      double diagonal = i == 0 || charges ? edge : left_rest;
      if (charges) edge += insert[0];
      double left = charges ? edge : left_rest;
      uint8_t* const moves = &moves_[size_t(i) * m];
      for (size_t j = 0; j < m; j++) {
        const double above = states[j];
        Weights<double> w;
        left = Cell::cell(Cell::ready(rows_[0][j], p_.threshold, rows_[0][j], insert[j], del[j]), diagonal,
                          above, left, w);
        moves[j] = w.insert > 0 ? kInsertMove : w.del > 0 ? kDeleteMove : kMatchMove;
        diagonal = above;
        states[j] = left;
      }
      if (p_.ends == Ends::kLastRowAndColumn && i + 1 < n_) column.push_back(left);
    }
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
      const uint8_t move = moves_[size_t((i - 1) * m_ + j - 1)];
      path_.push_back({{i - 1, j - 1, move}});
      i -= move != kDeleteMove, j -= move != kInsertMove;
    }
    if (p_.start == Start::kGaps) to_corner(i, j);
  }
  std::vector<double> rows_[3], states_, column_;  // a row of each table; S of a row, and of the last column
  std::vector<uint8_t> moves_;                     // (n, m)
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
