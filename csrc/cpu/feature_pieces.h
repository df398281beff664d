// Large pairs are swept in pieces of kPiece by kPiece cells. Pieces of one antidiagonal are independent.
//
// The forward sweep visits all pieces and keeps S along their edges. The backward sweep goes from the last
// piece to the first and visits only pieces that a gradient reaches: the gradient of the costs is
// concentrated in a corridor along the best paths. The weights of a pair's pieces are kept where they take at
// most kKeptBytes. Otherwise the pieces that the backward sweep visits are swept forward again. Every piece
// is swept relative to the largest S at its edges, so float's range must hold the sums of a piece, not of the
// pair. Where paths may end in several cells, these are the last row of the lowest pieces, and the last
// column of the rightmost ones: their weights are what those pieces begin with in the backward sweep.
//
// With a bandwidth a piece has some rows, and of these all cells inside the pair's corridor. Its sweep gets
// the corridor too. The pieces of a pair then follow one another.
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

// What the pieces of a pair have at most.
struct PieceSize {
  int64_t rows = kPiece, columns = kPiece;
  int64_t saved_bytes =
      std::max(cpu::saved_bytes(kPiece, kPiece, true), cpu::saved_bytes(kPiece, kPiece, false));
  bool holds(const PieceSize& other) const {
    return rows >= other.rows && columns >= other.columns && saved_bytes >= other.saved_bytes;
  }
  // Of a pair with n rows whose corridor is cut to pieces. They have up to four times as many cells as
  // others: each hands on a row as wide as the corridor.
  static PieceSize of(int64_t n, const Corridor& corridor, int64_t bandwidth) {
    const auto columns_of = [&](int64_t row, int64_t rows) {
      return corridor.end(std::min(n, row + rows) - 1) - corridor.begin(row);
    };
    PieceSize size{kPiece, 0, 0};
    const auto is_large = [&] {
      return size.rows * ((corridor.right * (size.rows - 1) + 2 * corridor.reach) / corridor.down + 2) >
             kPiece * kPiece * 4;
    };
    while (size.rows > kBand && is_large()) size.rows /= 2;
    for (int64_t row = 0; row < n; row += size.rows) {
      const int64_t rows = std::min(size.rows, n - row), columns = columns_of(row, rows);
      size.columns = std::max(size.columns, columns);
      for (bool packs : {false, true})
        size.saved_bytes = std::max(size.saved_bytes, cpu::saved_bytes(rows, columns, packs, bandwidth));
    }
    return size;
  }
};

// The memory that one thread needs for a piece.
template <class Tables>
struct PieceMemory {
  using T = typename Tables::Number;
  PieceSize size;
  Aligned tables, saved, scratch;
  T* at[2];
  Corridor corridor{};  // of the piece, where it has one
  std::vector<double> above, left, by_last_row, by_last_column, by_left_diagonal;
  PieceMemory(const FeatureProblem& p, const PieceSize& size)
      : size(size),
        tables(Tables::kCount * size.rows * size.columns * int64_t(sizeof(T))),
        saved(size.saved_bytes),
        scratch(Tables::scratch_bytes(p, kPiece, kPiece)),
        at{tables.template get<T>(), tables.template get<T>() + size.rows * size.columns},
        above(size_t(size.columns)),
        left(size_t(size.rows)),
        by_last_row(size_t(size.columns)),
        by_last_column(size_t(size.rows)),
        by_left_diagonal(size_t(size.rows)) {}
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
    corridor_ = Corridor::of(n_, m_, p.pairs.bandwidth);
    is_cut_ = !corridor_.is_everywhere() && (corridor_.begin(n_ - 1) > 0 || corridor_.end(0) < m_);
    if (is_cut_) size_ = PieceSize::of(n_, corridor_, p.pairs.bandwidth);
    piece_rows_ = bands_of(n_, size_.rows), piece_columns_ = is_cut_ ? 1 : bands_of(m_, kPiece);
    // Without gradients only the antidiagonals that follow need a piece's edges.
    kept_rows_ = wants_gradient(p) ? piece_rows_ : std::min<int64_t>(piece_rows_, 3);
    kept_columns_ = wants_gradient(p) ? piece_columns_ : std::min<int64_t>(piece_columns_, 3);
    saved_pitch_ =
        bands_of(is_cut_ ? size_.saved_bytes : saved_bytes(kPiece, kPiece, packs<T>(p, kPiece, kPiece)), 64) *
        64;
    const int64_t kept = piece_rows_ * piece_columns_ * saved_pitch_;
    if (wants_gradient(p) && kept <= kKeptBytes) kept_.reset(new Aligned(kept));
    row_pitch_ = is_cut_ ? size_.columns : m_;
    last_rows_.resize(size_t(kept_rows_ * row_pitch_));
    last_columns_.resize(size_t(kept_columns_ * n_), -kInf);
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
    if (is_cut_) {
      const int64_t row = i * size_.rows, rows = std::min(size_.rows, n_ - row),
                    column = corridor_.begin(row);
      return {i, j, row, column, rows, corridor_.end(row + rows - 1) - column};
    }
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
          if (!memory_[worker] || !memory_[worker]->size.holds(size_))
            memory_[worker].reset(new Memory(p_, size_));
          for (int64_t i = first + worker; i < first + count; i += workers)
            run(i, diagonal - i, *memory_[worker]);
        }
      });
    }
  }

  // S in the last row of pieces i, from column first_kept(i) to end_kept(i) - 1.
  double* last_row(int64_t i) { return &last_rows_[size_t(i % kept_rows_ * row_pitch_)]; }
  int64_t first_kept(int64_t i) const { return is_cut_ ? piece_at(i, 0).column : 0; }
  int64_t end_kept(int64_t i) const {
    return is_cut_ ? corridor_.end(std::min(n_, (i + 1) * size_.rows) - 1) : m_;
  }
  double* last_column(int64_t j) { return &last_columns_[size_t(j % kept_columns_ * n_)]; }

  // Sets the pair's S, and the weights of its ends.
  void join() {
    const double* const row = last_row(piece_rows_ - 1);
    const int64_t count = m_ - first_kept(piece_rows_ - 1);
    if (p_.ends == Ends::kCorner) {
      score_ = row[count - 1];
      return;
    }
    const FlushDenormals flush;  // also where the caller's thread does not
    const double* const column =
        p_.ends == Ends::kLastRowAndColumn ? last_column(piece_columns_ - 1) : nullptr;
    score_ = join_ends(row, count, column, n_, p_.gamma, ends_);
  }
  // Sets the adjoints that the backward sweep begins with.
  void begin_at_ends() {
    if (p_.ends == Ends::kCorner) {
      by_rows_[size_t(m_ - 1)] = 1;
      return;
    }
    const int64_t first = first_kept(piece_rows_ - 1), count = m_ - first;
    std::copy_n(ends_.begin(), count, by_rows_.begin() + first);
    std::copy(ends_.begin() + count, ends_.end(), by_columns_.begin());
  }
  // Whether paths may end in a piece's last column.
  bool ends_in_column(const PieceOfPair& t) const {
    return p_.ends == Ends::kLastRowAndColumn && t.column + t.columns == m_;
  }

  // The kept weights of a piece; null: they are not kept.
  unsigned char* kept(const PieceOfPair& t) {
    return kept_ ? kept_->get() + (t.i * piece_columns_ + t.j) * saved_pitch_ : nullptr;
  }
  static bool was_narrow(const unsigned char* saved) {
    return reinterpret_cast<const SavedPair*>(saved)->verdict == Verdict::kNarrow;
  }
  Piece piece(const PieceOfPair& t) const { return {pair_, t.row, t.column, t.rows, t.columns, t.columns}; }
  void make(const PieceOfPair& t, Memory& m) const {
    if (!is_cut_) return tables_.make(0, piece(t), m.at, m.scratch.get());
    over_inside(piece(t), corridor_.from_row(t.row), kMadeRows, [&](const Piece& part, int64_t first) {
      T* const at[2] = {m.at[0] + first, m.at[1] + first};
      tables_.make(0, part, at, m.scratch.get());
    });
  }
  void add(const PieceOfPair& t, Memory& m) const {
    const Adding to{true, weight()};
    if (!is_cut_) return tables_.add(0, piece(t), m.at, to, m.scratch.get());
    over_inside(piece(t), corridor_.from_row(t.row), kAddedRows, [&](const Piece& part, int64_t first) {
      T* const at[2] = {m.at[0] + first, m.at[1] + first};
      tables_.add(0, part, at, to, m.scratch.get());
    });
  }
  // Makes the sweep of a piece. Returns the S that the piece's edges are relative to.
  double prepare(const PieceOfPair& t, Memory& m, Problem& sweep, double& corner) {
    sweep = sweep_over<T>(p_, {1, t.rows, t.columns, {}, {}}, m.at);
    sweep.in_double = in_double_;
    sweep.is_piece = true;
    sweep.saved = kept(t);
    if (is_cut_) {
      m.corridor = corridor_.from_row(t.row);
      sweep.of_piece = &m.corridor, sweep.pairs.bandwidth = p_.pairs.bandwidth;
    }
    const double* const row = t.i > 0 ? last_row(t.i - 1) : nullptr;
    const int64_t first = row ? first_kept(t.i - 1) : 0, end = row ? end_kept(t.i - 1) : 0;
    const auto above = [&](int64_t column) {
      return !row ? above_ : first <= column && column < end ? row[column - first] : -kInf;
    };
    corner = t.i > 0 && t.column > 0 ? above(t.column - 1) : t.i > 0 ? left_ : t.column > 0 ? above_ : 0;
    double base = corner;
    for (int64_t k = 0; k < t.columns; k++) {
      m.above[k] = above(t.column + k);
      base = std::max(base, m.above[k]);
    }
    const double outside = t.column > 0 ? -kInf : left_;  // to the left of a corridor's piece
    for (int64_t k = 0; k < t.rows; k++) {
      m.left[k] = t.j > 0 ? last_column(t.j - 1)[t.row + k] : outside;
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
    make(t, m);
    double *const row = last_row(i) + t.column - first_kept(i), *const column = last_column(j) + t.row;
    if (is_cut_) std::fill_n(row, t.columns, -kInf), std::fill_n(column, t.rows, -kInf);
    sweep.boundary.last_row = row;
    if (!is_cut_ || ends_in_column(t)) sweep.boundary.last_column = column;
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
    if (is_cut_ && !ends_in_column(t)) sweep.by_boundary.by_last_column = nullptr;
    const bool swept = sweep.saved, has_weights = swept && packs(sweep) && was_narrow(sweep.saved);
    if (!has_weights) make(t, m);
    if (!swept) {
      sweep.saved = m.saved.get();
      forward(sweep, kAlone);
    }
    backward(sweep, kAlone);
    if (!is_cut_)
      by_corner(i, j) = m.by_left_diagonal[0];
    else if (t.column > 0)
      by_rows_[size_t(t.column - 1)] += m.by_left_diagonal[0];
    for (int64_t k = 1; k < t.rows; k++) by_column[k - 1] += m.by_left_diagonal[size_t(k)];
    add(t, m);
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
  int64_t pair_, n_, m_, piece_rows_, piece_columns_, kept_rows_, kept_columns_, saved_pitch_, row_pitch_;
  Corridor corridor_;
  bool is_cut_;  // whether some cells are outside the corridor
  PieceSize size_;
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
