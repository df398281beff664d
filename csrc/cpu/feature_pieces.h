// Large pairs are swept in pieces of kPiece by kPiece cells. Pieces of one antidiagonal are independent.
//
// The forward sweep visits all pieces and keeps S along their edges. The backward sweep goes from the last
// piece to the first and visits only pieces that a gradient reaches: the gradient of the costs is
// concentrated in a corridor along the best paths. The weights of a pair's pieces are kept where they take at
// most kKeptBytes. Otherwise the pieces that the backward sweep visits are swept forward again. Every piece
// is swept relative to the largest S at its edges, so float's range must hold the sums of a piece, not of the
// pair. Where paths may end in several cells, these are the last row of the lowest pieces, and the last
// column of the rightmost ones: their weights are what those pieces begin with in the backward sweep.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "denormals.h"
#include "ends.h"
#include "feature_sweeps.h"

namespace softdp::cpu {

constexpr int64_t kPiece = 256;          // rows and columns
constexpr int64_t kKeptBytes = 1 << 24;  // of a pair's weights, at most

// The memory that one thread needs for a piece.
template <class Tables>
struct PieceMemory {
  using T = typename Tables::Number;
  Aligned tables, saved, scratch;
  T* at[2];
  std::vector<double> above, left, by_last_row, by_last_column, by_left_diagonal;
  PieceMemory(const FeatureProblem& p)
      : tables(Tables::kCount * kPiece * kPiece * int64_t(sizeof(T))),
        saved(std::max(saved_bytes(kPiece, kPiece, true), saved_bytes(kPiece, kPiece, false))),
        scratch(Tables::scratch_bytes(p, kPiece, kPiece)),
        at{tables.template get<T>(), tables.template get<T>() + kPiece * kPiece},
        above(kPiece),
        left(kPiece),
        by_last_row(kPiece),
        by_last_column(kPiece),
        by_left_diagonal(kPiece) {}
};

// One pair in pieces. S is the state of the sweep: for costs it is minus their sum.
template <class Tables>
class PairInPieces {
 public:
  using T = typename Tables::Number;
  using Memory = PieceMemory<Tables>;

  PairInPieces(const FeatureProblem& p, int64_t pair, Tables& tables,
               std::vector<std::unique_ptr<Memory>>& memory)
      : p_(p), pair_(pair), n_(p.n(pair)), m_(p.m(pair)), tables_(tables), memory_(memory) {
    piece_rows_ = (n_ + kPiece - 1) / kPiece, piece_columns_ = (m_ + kPiece - 1) / kPiece;
    // Without gradients only the antidiagonals that follow need a piece's edges.
    kept_rows_ = wants_gradient(p) ? piece_rows_ : std::min<int64_t>(piece_rows_, 3);
    kept_columns_ = wants_gradient(p) ? piece_columns_ : std::min<int64_t>(piece_columns_, 3);
    saved_pitch_ = (saved_bytes(kPiece, kPiece, packs<T>(p, kPiece, kPiece)) + 63) / 64 * 64;
    const int64_t kept = piece_rows_ * piece_columns_ * saved_pitch_;
    if (wants_gradient(p) && kept <= kKeptBytes) kept_.reset(new Aligned(kept));
    last_rows_.resize(size_t(kept_rows_ * m_));
    last_columns_.resize(size_t(kept_columns_ * n_));
  }

  void run(const Threads& threads) {
    if (weight() == 0) return;
    if (tables_.spoils(pair_, n_, m_)) return finish(kNaN);
    if (n_ == 0 || m_ == 0) return finish(m_ > 0 ? above_ : n_ > 0 ? left_ : 0);
    tables_.prepare(0, pair_);
    for (bool in_double : {false, true}) {
      in_double_ = in_double;
      spoiled_.assign(size_t(piece_rows_ * piece_columns_), 0);
      in_order(false, threads, [&](int64_t i, int64_t j, Memory& m) { forward_piece(i, j, m); });
      join();
      if (sizeof(T) == 8 || !is_coarse(p_.gamma, score_)) break;
    }
    const bool spoiled = std::find(spoiled_.begin(), spoiled_.end(), 1) != spoiled_.end();
    finish(spoiled ? kNaN : score_);
    if (!wants_gradient(p_) || spoiled || score_ == -kInf) return;
    by_rows_.assign(size_t(m_), 0), by_columns_.assign(size_t(n_), 0);
    by_corners_.assign(size_t((piece_rows_ + 1) * (piece_columns_ + 1)), 0);
    begin_at_ends();
    in_order(true, threads, [&](int64_t i, int64_t j, Memory& m) { backward_piece(i, j, m); });
    if (!p_.grad_score) tables_.finish(0, pair_);
  }

 private:
  struct PieceOfPair {
    int64_t i, j, row, column, rows, columns;
  };
  PieceOfPair piece_at(int64_t i, int64_t j) const {
    return {
        i, j, i * kPiece, j * kPiece, std::min(kPiece, n_ - i * kPiece), std::min(kPiece, m_ - j * kPiece)};
  }
  // Calls run for every piece, one antidiagonal after the other.
  template <class Run>
  void in_order(bool backward, const Threads& threads, const Run& run) {
    const int64_t diagonals = piece_rows_ + piece_columns_ - 1;
    for (int64_t k = 0; k < diagonals; k++) {
      const int64_t diagonal = backward ? diagonals - 1 - k : k,
                    first = std::max<int64_t>(0, diagonal - (piece_columns_ - 1)),
                    count = std::min(diagonal, piece_rows_ - 1) - first + 1,
                    workers = std::min<int64_t>(threads.count, count);
      threads.over(workers, 1, [&](int64_t begin, int64_t end) {
        for (int64_t worker = begin; worker < end; worker++) {
          if (!memory_[worker]) memory_[worker].reset(new Memory(p_));
          for (int64_t i = first + worker; i < first + count; i += workers)
            run(i, diagonal - i, *memory_[worker]);
        }
      });
    }
  }

  double* last_row(int64_t i) { return &last_rows_[size_t(i % kept_rows_ * m_)]; }
  double* last_column(int64_t j) { return &last_columns_[size_t(j % kept_columns_ * n_)]; }

  // Sets the pair's S, and the weights of its ends.
  void join() {
    const double* const row = last_row(piece_rows_ - 1);
    if (p_.ends == Ends::kCorner) {
      score_ = row[m_ - 1];
      return;
    }
    const FlushDenormals flush;  // also where the caller's thread does not
    const double* const column =
        p_.ends == Ends::kLastRowAndColumn ? last_column(piece_columns_ - 1) : nullptr;
    score_ = join_ends(row, m_, column, n_, p_.gamma, ends_);
  }
  // Sets the adjoints that the backward sweep begins with.
  void begin_at_ends() {
    if (p_.ends == Ends::kCorner) {
      by_rows_[size_t(m_ - 1)] = 1;
      return;
    }
    std::copy_n(ends_.begin(), m_, by_rows_.begin());
    std::copy(ends_.begin() + m_, ends_.end(), by_columns_.begin());
  }

  // The kept weights of a piece; null: they are not kept.
  unsigned char* kept(const PieceOfPair& t) {
    return kept_ ? kept_->get() + (t.i * piece_columns_ + t.j) * saved_pitch_ : nullptr;
  }
  static bool was_narrow(const unsigned char* saved) {
    return reinterpret_cast<const SavedPair*>(saved)->verdict == Verdict::kNarrow;
  }
  Piece piece(const PieceOfPair& t) const { return {pair_, t.row, t.column, t.rows, t.columns}; }
  // Makes the sweep of a piece. Returns the S that the piece's edges are relative to.
  double prepare(const PieceOfPair& t, Memory& m, Problem& sweep, double& corner) {
    sweep = sweep_over<T>(p_, {1, t.rows, t.columns, {}, {}}, m.at);
    sweep.in_double = in_double_;
    sweep.is_piece = true;
    sweep.saved = kept(t);
    corner = t.i > 0 && t.j > 0 ? last_row(t.i - 1)[t.column - 1] : t.i > 0 ? left_ : t.j > 0 ? above_ : 0;
    double base = corner;
    for (int64_t k = 0; k < t.columns; k++) {
      m.above[k] = t.i > 0 ? last_row(t.i - 1)[t.column + k] : above_;
      base = std::max(base, m.above[k]);
    }
    for (int64_t k = 0; k < t.rows; k++) {
      m.left[k] = t.j > 0 ? last_column(t.j - 1)[t.row + k] : left_;
      base = std::max(base, m.left[k]);
    }
    if (!std::isfinite(base)) base = 0;  // no path reaches this piece
    corner -= base;
    for (int64_t k = 0; k < t.columns; k++) m.above[k] -= base;
    for (int64_t k = 0; k < t.rows; k++) m.left[k] -= base;
    sweep.boundary.above = m.above.data();
    sweep.boundary.left = m.left.data();
    return base;
  }

  void forward_piece(int64_t i, int64_t j, Memory& m) {
    const PieceOfPair t = piece_at(i, j);
    Problem sweep;
    double corner;
    const double base = prepare(t, m, sweep, corner);
    T score;
    sweep.score = &score;
    sweep.boundary.corner = &corner;
    tables_.make(0, piece(t), m.at, m.scratch.get());
    double *const row = last_row(i) + t.column, *const column = last_column(j) + t.row;
    sweep.boundary.last_row = row, sweep.boundary.last_column = column;
    forward(sweep, kAlone);
    for (int64_t k = 0; k < t.columns; k++) row[k] += base;
    for (int64_t k = 0; k < t.rows; k++) column[k] += base;
    spoiled_[size_t(i * piece_columns_ + j)] = std::isnan(score);
  }

  double& by_corner(int64_t i, int64_t j) { return by_corners_[size_t(i * (piece_columns_ + 1) + j)]; }

  void backward_piece(int64_t i, int64_t j, Memory& m) {
    const PieceOfPair t = piece_at(i, j);
    double *const by_row = &by_rows_[size_t(t.column)], *const by_column = &by_columns_[size_t(t.row)];
    by_row[t.columns - 1] += by_corner(i + 1, j + 1);
    const auto counts = [](const double* numbers, int64_t count) {
      return std::any_of(numbers, numbers + count, [](double x) { return std::abs(x) > kNegligible<T>; });
    };
    if (!counts(by_row, t.columns) && !counts(by_column, t.rows)) {
      std::fill_n(by_row, t.columns, 0.0), std::fill_n(by_column, t.rows, 0.0);
      by_corner(i, j) = 0;
      return;
    }
    Problem sweep;
    double corner;
    prepare(t, m, sweep, corner);
    const T nothing = 0;
    T score;
    sweep.score = &score, sweep.grad_score = &nothing;
    sweep.boundary.corner = &corner;
    std::copy_n(by_row, t.columns, m.by_last_row.data());
    std::copy_n(by_column, t.rows, m.by_last_column.data());
    sweep.by_boundary = {m.by_last_row.data(), m.by_last_column.data(), by_row, by_column,
                         m.by_left_diagonal.data()};
    const bool swept = sweep.saved, has_weights = swept && packs(sweep) && was_narrow(sweep.saved);
    if (!has_weights) tables_.make(0, piece(t), m.at, m.scratch.get());
    if (!swept) {
      sweep.saved = m.saved.get();
      forward(sweep, kAlone);
    }
    backward(sweep, kAlone);
    by_corner(i, j) = m.by_left_diagonal[0];
    for (int64_t k = 1; k < t.rows; k++) by_column[k - 1] += m.by_left_diagonal[size_t(k)];
    tables_.add(0, piece(t), m.at, {true, weight()}, m.scratch.get());
  }

  // The factor of the pair's gradient.
  double weight() const {
    return p_.grad_score ? double(static_cast<const T*>(p_.grad_score)[pair_]) : p_.itself ? 2 : 1;
  }
  // Writes the score. Sets gradients that are not summed over pairs to 0, so that pieces can add to them.
  void finish(double score) {
    if (p_.score) static_cast<T*>(p_.score)[pair_] = T(is_soft_dtw(p_.kind) ? 0 - score : score);
    if (!p_.grad_score)
      clear_gradients<T>(p_, pair_);
    else if (std::isnan(score))
      spoil_gradients<T>(p_, pair_);
  }

  const FeatureProblem& p_;
  const double above_ = is_free_above(p_.start) ? 0 : -kInf;  // S(0, j)
  const double left_ = is_free_left(p_.start) ? 0 : -kInf;    // S(i, 0)
  int64_t pair_, n_, m_, piece_rows_, piece_columns_, kept_rows_, kept_columns_, saved_pitch_;
  std::unique_ptr<Aligned> kept_;
  bool in_double_ = false;
  Tables& tables_;
  std::vector<std::unique_ptr<Memory>>& memory_;           // of each thread
  std::vector<double> last_rows_, last_columns_;           // S, of each row and column of pieces
  std::vector<double> by_rows_, by_columns_, by_corners_;  // the gradient by S at the edges so far
  double score_ = 0;                                       // S of the pair
  std::vector<double> ends_;                               // the weights of its ends
  std::vector<char> spoiled_;
};

template <class Tables>
void in_pieces(const FeatureProblem& p, const Threads& threads) {
  const int64_t B = p.pairs.count;
  const auto run = [&](int64_t begin, int64_t end, const Threads& with) {
    Tables tables(p, 1);
    std::vector<std::unique_ptr<PieceMemory<Tables>>> memory(size_t(with.count));
    for (int64_t pair = begin; pair < end; pair++) PairInPieces<Tables>(p, pair, tables, memory).run(with);
  };
  if (B >= threads.count)
    threads.over(B, 1, [&](int64_t begin, int64_t end) { run(begin, end, kAlone); });
  else
    run(0, B, threads);
}

}  // namespace softdp::cpu
