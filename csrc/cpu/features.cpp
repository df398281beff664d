// Two ways, by the pairs' size alone, so that any number of threads gives the same bits:
//
// Small pairs go in chunks: all their tables, a sweep forward, one backward that overwrites the tables with
// their gradients, the sums.
//
// Large pairs go in tiles. Forward over all of them, keeping S along their edges; backward from the last tile
// over those alone that a gradient reaches: that of the costs lives in a corridor along the best paths. The
// weights of a pair's tiles are kept where they are few; else these tiles are swept forward again. Every tile
// is swept relative to the largest S at its edges, so that float's range is a tile's, not the pair's. Tiles
// of one antidiagonal are independent.
//
// Within a chunk's table or a tile, too, the backward sweep goes past what no gradient reaches, block by
// block of a vector's lanes (Problem::negligible).
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "feature_tables.h"

namespace softdp::cpu {
namespace {

constexpr int64_t kChunkBytes = 1 << 19;  // of tables, weights, unit vectors: they stay in the second cache
constexpr int64_t kTile = 256;            // rows and columns
constexpr int64_t kFewSteps = 256;        // of x or y, with which a pair goes whole
constexpr int64_t kKeptBytes = 1 << 24;   // of a pair's weights, at most
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const Threads kAlone{1, [](int64_t items, int64_t, const std::function<void(int64_t, int64_t)>& run) {
                       if (items > 0) run(0, items);
                     }};

// A sweep over dense tables of `pairs`, one after the other in each of `tables`; its gradients overwrite
// them.
template <class T>
Problem sweep_over(const FeatureProblem& p, const Pairs& pairs, T* const* tables) {
  static const T zero = 0, one = 1;
  constexpr Type kType = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
  Problem sweep{};
  sweep.pairs = pairs;
  sweep.gamma = p.gamma, sweep.threshold = p.threshold;
  sweep.lcs = p.kind == Kind::kLcs;
  sweep.anchored = sweep.costs = is_soft_dtw(p.kind);
  sweep.shared_gap = true;
  // Small pairs go side by side or alone, by how many there are: nothing is skipped, so that the bits agree.
  const bool small = pairs.rows <= kGroupRows && pairs.columns <= kGroupColumns;
  sweep.negligible = small ? 0 : kNegligible<T>;
  sweep.grad_score = &one;
  const Table dense{nullptr, kType, pairs.rows * pairs.columns, pairs.columns, 1};
  sweep.scores[0] = sweep.scores[1] = dense;
  sweep.scores[0].data = tables[0], sweep.gradients[0] = {tables[0], kType, true, true};
  if (p.kind == Kind::kFsd)
    sweep.scores[1].data = tables[1], sweep.gradients[1] = {tables[1], kType, true, true};
  else
    sweep.scores[1] = {&zero, kType, 0, 0, 0};
  sweep.scores[2] = sweep.scores[1];
  return sweep;
}
template <class T>
bool packs(const FeatureProblem& p, int64_t rows, int64_t columns) {
  T* const none[2] = {};
  return packs(sweep_over<T>(p, {1, rows, columns, {}, {}}, none));
}

// ---- chunks of small pairs -----------------------------------------------------------------------------

template <class Tables>
class Chunk {
 public:
  using T = typename Tables::Number;

  Chunk(const FeatureProblem& p, int64_t most)
      : p_(p),
        tables_(p, most),
        pitch_(most * p.pairs.rows * p.pairs.columns),
        memory_(Tables::kCount * pitch_ * int64_t(sizeof(T))),
        saved_(wants_gradient(p) ? most * saved_bytes_of(p) : 0),
        scratch_(scratch_bytes()),
        n_(size_t(most)),
        m_(size_t(most)),
        scores_(size_t(most)),
        wanted_(size_t(most)) {}

  // Of a pair.
  static int64_t bytes(const FeatureProblem& p) {
    return Tables::kCount * p.pairs.rows * p.pairs.columns * int64_t(sizeof(T)) + Tables::bytes(p) +
           (wants_gradient(p) ? saved_bytes_of(p) : 0);
  }

  // Pairs first, first + stride, ...
  void run(int64_t first, int64_t stride, int64_t count, const Threads& threads) {
    const auto number = [&](int64_t k) { return first + k * stride; };
    over_pairs(count, threads, [&](int64_t k, void* scratch) {
      tables_.prepare(k, number(k));
      tables_.make(k, piece(number(k)), tables_of(k).at, scratch);
    });
    for (int64_t k = 0; k < count; k++) n_[k] = p_.n(number(k)), m_[k] = p_.m(number(k));
    const Pairs pairs{count, p_.pairs.rows, p_.pairs.columns, {n_.data()}, {m_.data()}};
    Problem sweep = sweep_over<T>(p_, pairs, tables_of(0).at);
    sweep.score = scores_.data();
    sweep.saved = wants_gradient(p_) ? saved_.get() : nullptr;
    forward(sweep, threads);
    for (int64_t k = 0; k < count; k++) {
      if (tables_.spoils(number(k), n_[k], m_[k])) scores_[k] = T(kNaN);
      if (p_.score) static_cast<T*>(p_.score)[number(k)] = scores_[k];
    }
    if (!wants_gradient(p_)) return;
    const T* const weights = static_cast<const T*>(p_.grad_score);
    for (int64_t k = 0; k < count; k++) wanted_[k] = T(!weights || weights[number(k)] != 0);
    sweep.grad_score = wanted_.data();
    backward(sweep, threads);
    over_pairs(count, threads, [&](int64_t k, void* scratch) {
      if (wanted_[k] == 0) return;
      if (std::isnan(scores_[k])) return spoiled(number(k));
      const Adding to{weights != nullptr, weights ? double(weights[number(k)]) : p_.itself ? 2 : 1};
      tables_.add(k, piece(number(k)), tables_of(k).at, to, scratch);
      if (!weights) tables_.finish(k, number(k));
    });
  }

 private:
  struct Few {
    T* at[2];
  };
  Few tables_of(int64_t k) const {
    T* const first = memory_.template get<T>() + k * p_.pairs.rows * p_.pairs.columns;
    return {{first, first + pitch_}};
  }
  Piece piece(int64_t pair) const { return {pair, 0, 0, p_.pairs.rows, p_.pairs.columns}; }
  void spoiled(int64_t pair) const {
    p_.grad_score ? spoil_gradients<T>(p_, pair) : clear_gradients<T>(p_, pair);
  }
  static int64_t saved_bytes_of(const FeatureProblem& p) {
    return saved_bytes(p.pairs.rows, p.pairs.columns, packs<T>(p, p.pairs.rows, p.pairs.columns));
  }
  int64_t scratch_bytes() const { return Tables::scratch_bytes(p_, p_.pairs.rows, p_.pairs.columns); }
  template <class Run>
  void over_pairs(int64_t count, const Threads& threads, const Run& run) {
    const auto over = [&](int64_t begin, int64_t end, void* scratch) {
      for (int64_t k = begin; k < end; k++) run(k, scratch);
    };
    if (threads.count == 1) return over(0, count, scratch_.get());
    threads.over(count, 1,
                 [&](int64_t begin, int64_t end) { over(begin, end, Aligned(scratch_bytes()).get()); });
  }

  const FeatureProblem& p_;
  Tables tables_;
  const int64_t pitch_;  // from one of a pair's tables to the next
  Aligned memory_, saved_, scratch_;
  std::vector<int64_t> n_, m_;
  std::vector<T> scores_, wanted_;
};
template <class Tables>
int64_t pairs_a_chunk(const FeatureProblem& p, int64_t count) {
  const int64_t most = std::clamp<int64_t>(kChunkBytes / std::max<int64_t>(Chunk<Tables>::bytes(p), 1), 1,
                                           std::max<int64_t>(count, 1));
  return most > kMostLanes ? most / kMostLanes * kMostLanes : most;  // small pairs fill vectors
}

template <class Tables>
void in_chunks(const FeatureProblem& p, const Threads& threads) {
  const int64_t B = p.pairs.count, most = pairs_a_chunk<Tables>(p, B), chunks = (B + most - 1) / most;
  const auto run = [&](Chunk<Tables>& chunk, int64_t i, const Threads& with) {
    chunk.run(i * most, 1, std::min(most, B - i * most), with);
  };
  if (chunks >= threads.count) {
    threads.over(chunks, 1, [&](int64_t begin, int64_t end) {
      Chunk<Tables> chunk(p, most);
      for (int64_t i = begin; i < end; i++) run(chunk, i, kAlone);
    });
  } else {
    Chunk<Tables> chunk(p, most);
    for (int64_t i = 0; i < chunks; i++) run(chunk, i, threads);
  }
}

// ---- tiles of large pairs ------------------------------------------------------------------------------

// What one thread needs for a tile.
template <class Tables>
struct TileMemory {
  using T = typename Tables::Number;
  Aligned tables, saved, scratch;
  T* at[2];
  std::vector<double> above, left, by_last_row, by_last_column;
  TileMemory(const FeatureProblem& p)
      : tables(Tables::kCount * kTile * kTile * int64_t(sizeof(T))),
        saved(std::max(saved_bytes(kTile, kTile, true), saved_bytes(kTile, kTile, false))),
        scratch(Tables::scratch_bytes(p, kTile, kTile)),
        at{tables.template get<T>(), tables.template get<T>() + kTile * kTile},
        above(kTile),
        left(kTile),
        by_last_row(kTile),
        by_last_column(kTile) {}
};

// One pair in tiles. S stands for the sweep's values, which are minus the costs' sums.
template <class Tables>
class TiledPair {
 public:
  using T = typename Tables::Number;
  using Memory = TileMemory<Tables>;

  TiledPair(const FeatureProblem& p, int64_t pair, Tables& tables,
            std::vector<std::unique_ptr<Memory>>& memory)
      : p_(p), pair_(pair), n_(p.n(pair)), m_(p.m(pair)), tables_(tables), memory_(memory) {
    tile_rows_ = (n_ + kTile - 1) / kTile, tile_columns_ = (m_ + kTile - 1) / kTile;
    // Without gradients a tile's edges are needed by the antidiagonals that follow alone.
    kept_rows_ = wants_gradient(p) ? tile_rows_ : std::min<int64_t>(tile_rows_, 3);
    kept_columns_ = wants_gradient(p) ? tile_columns_ : std::min<int64_t>(tile_columns_, 3);
    saved_pitch_ = (saved_bytes(kTile, kTile, packs<T>(p, kTile, kTile)) + 63) / 64 * 64;
    const int64_t kept = tile_rows_ * tile_columns_ * saved_pitch_;
    if (wants_gradient(p) && kept <= kKeptBytes) kept_.reset(new Aligned(kept));
    last_rows_.resize(size_t(kept_rows_ * m_));
    last_columns_.resize(size_t(kept_columns_ * n_));
  }

  void run(const Threads& threads) {
    if (weight() == 0) return;
    if (tables_.spoils(pair_, n_, m_)) return finish(kNaN);
    if (n_ == 0 || m_ == 0) return finish(free_ || n_ == m_ ? 0 : -kInf);
    tables_.prepare(0, pair_);
    for (bool wide : {false, true}) {
      wide_ = wide;
      spoiled_.assign(size_t(tile_rows_ * tile_columns_), 0);
      over_tiles(false, threads, [&](int64_t i, int64_t j, Memory& m) { forward_tile(i, j, m); });
      if (sizeof(T) == 8 || !is_coarse(p_.gamma, score())) break;
    }
    const bool spoiled = std::find(spoiled_.begin(), spoiled_.end(), 1) != spoiled_.end();
    finish(spoiled ? kNaN : score());
    if (!wants_gradient(p_) || spoiled || score() == -kInf) return;
    by_rows_.assign(size_t(m_), 0), by_columns_.assign(size_t(n_), 0);
    by_corners_.assign(size_t((tile_rows_ + 1) * (tile_columns_ + 1)), 0);
    by_rows_[size_t(m_ - 1)] = 1;
    over_tiles(true, threads, [&](int64_t i, int64_t j, Memory& m) { backward_tile(i, j, m); });
    if (!p_.grad_score) tables_.finish(0, pair_);
  }

 private:
  struct Tile {
    int64_t i, j, row, column, rows, columns;
  };
  Tile tile(int64_t i, int64_t j) const {
    return {i, j, i * kTile, j * kTile, std::min(kTile, n_ - i * kTile), std::min(kTile, m_ - j * kTile)};
  }
  // One antidiagonal after the other.
  template <class Run>
  void over_tiles(bool backward, const Threads& threads, const Run& run) {
    const int64_t diagonals = tile_rows_ + tile_columns_ - 1;
    for (int64_t k = 0; k < diagonals; k++) {
      const int64_t diagonal = backward ? diagonals - 1 - k : k,
                    first = std::max<int64_t>(0, diagonal - (tile_columns_ - 1)),
                    count = std::min(diagonal, tile_rows_ - 1) - first + 1,
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
  double score() { return last_row(tile_rows_ - 1)[m_ - 1]; }

  // The weights that are kept of a tile.
  unsigned char* kept(const Tile& t) {
    return kept_ ? kept_->get() + (t.i * tile_columns_ + t.j) * saved_pitch_ : nullptr;
  }
  static bool was_narrow(const unsigned char* saved) {
    return reinterpret_cast<const SavedPair*>(saved)->verdict == Verdict::kNarrow;
  }
  Piece piece(const Tile& t) const { return {pair_, t.row, t.column, t.rows, t.columns}; }
  // The sweep of a tile, from its edges relative to the returned S.
  double prepare(const Tile& t, Memory& m, Problem& sweep, double& corner) {
    sweep = sweep_over<T>(p_, {1, t.rows, t.columns, {}, {}}, m.at);
    sweep.wide = wide_;
    sweep.saved = kept(t);
    const double outside = free_ ? 0 : -kInf;
    corner = t.i > 0 && t.j > 0 ? last_row(t.i - 1)[t.column - 1] : t.i + t.j > 0 ? outside : 0;
    double base = corner;
    for (int64_t k = 0; k < t.columns; k++) {
      m.above[k] = t.i > 0 ? last_row(t.i - 1)[t.column + k] : outside;
      base = std::max(base, m.above[k]);
    }
    for (int64_t k = 0; k < t.rows; k++) {
      m.left[k] = t.j > 0 ? last_column(t.j - 1)[t.row + k] : outside;
      base = std::max(base, m.left[k]);
    }
    if (!std::isfinite(base)) base = 0;  // no path comes here
    corner -= base;
    for (int64_t k = 0; k < t.columns; k++) m.above[k] -= base;
    for (int64_t k = 0; k < t.rows; k++) m.left[k] -= base;
    sweep.edges.above = m.above.data();
    sweep.edges.left = m.left.data();
    return base;
  }

  void forward_tile(int64_t i, int64_t j, Memory& m) {
    const Tile t = tile(i, j);
    Problem sweep;
    double corner;
    const double base = prepare(t, m, sweep, corner);
    T score;
    sweep.score = &score;
    sweep.edges.corner = &corner;
    tables_.make(0, piece(t), m.at, m.scratch.get());
    double *const row = last_row(i) + t.column, *const column = last_column(j) + t.row;
    sweep.edges.last_row = row, sweep.edges.last_column = column;
    forward(sweep, kAlone);
    for (int64_t k = 0; k < t.columns; k++) row[k] += base;
    for (int64_t k = 0; k < t.rows; k++) column[k] += base;
    spoiled_[size_t(i * tile_columns_ + j)] = std::isnan(score);
  }

  double& by_corner(int64_t i, int64_t j) { return by_corners_[size_t(i * (tile_columns_ + 1) + j)]; }

  void backward_tile(int64_t i, int64_t j, Memory& m) {
    const Tile t = tile(i, j);
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
    sweep.edges.corner = &corner;
    std::copy_n(by_row, t.columns, m.by_last_row.data());
    std::copy_n(by_column, t.rows, m.by_last_column.data());
    sweep.edges.by_last_row = m.by_last_row.data(), sweep.edges.by_last_column = m.by_last_column.data();
    sweep.edges.by_above = by_row, sweep.edges.by_left = by_column, sweep.edges.by_corner = &by_corner(i, j);
    const bool swept = sweep.saved, has_weights = swept && packs(sweep) && was_narrow(sweep.saved);
    if (!has_weights) tables_.make(0, piece(t), m.at, m.scratch.get());
    if (!swept) {
      sweep.saved = m.saved.get();
      forward(sweep, kAlone);
    }
    backward(sweep, kAlone);
    tables_.add(0, piece(t), m.at, {true, weight()}, m.scratch.get());
  }

  // Of the pair's gradient.
  double weight() const {
    return p_.grad_score ? double(static_cast<const T*>(p_.grad_score)[pair_]) : p_.itself ? 2 : 1;
  }
  // The value, and gradients to be added to.
  void finish(double score) {
    if (p_.score) static_cast<T*>(p_.score)[pair_] = T(is_soft_dtw(p_.kind) ? 0 - score : score);
    if (!p_.grad_score)
      clear_gradients<T>(p_, pair_);
    else if (std::isnan(score))
      spoil_gradients<T>(p_, pair_);
  }

  const FeatureProblem& p_;
  const bool free_ = !is_soft_dtw(p_.kind);  // S is 0, not -inf, on the boundary
  int64_t pair_, n_, m_, tile_rows_, tile_columns_, kept_rows_, kept_columns_, saved_pitch_;
  std::unique_ptr<Aligned> kept_;
  bool wide_ = false;
  Tables& tables_;
  std::vector<std::unique_ptr<Memory>>& memory_;           // of each thread
  std::vector<double> last_rows_, last_columns_;           // S, of each row and column of tiles
  std::vector<double> by_rows_, by_columns_, by_corners_;  // the gradient by S at the edges of what is done
  std::vector<char> spoiled_;
};

template <class Tables>
void in_tiles(const FeatureProblem& p, const Threads& threads) {
  const int64_t B = p.pairs.count;
  const auto run = [&](int64_t begin, int64_t end, const Threads& with) {
    Tables tables(p, 1);
    std::vector<std::unique_ptr<TileMemory<Tables>>> memory(size_t(with.count));
    for (int64_t pair = begin; pair < end; pair++) TiledPair<Tables>(p, pair, tables, memory).run(with);
  };
  if (B >= threads.count)
    threads.over(B, 1, [&](int64_t begin, int64_t end) { run(begin, end, kAlone); });
  else
    run(0, B, threads);
}

// ---- every x and every y -------------------------------------------------------------------------------

// Slabs of the longer side, as many as that has alone, whatever the number of threads. Each has a sum of its
// own for the other side's gradients, and these are summed in the end.
constexpr int64_t kMostSlabs = 8;

template <class Tables>
void differentiate(const FeatureProblem& p, const Threads& threads) {
  using T = typename Tables::Number;
  if (p.pairs.count == 0 || !wants_gradient(p)) return;
  const int64_t L = p.others, K = p.pairs.count / L;
  const bool by_x = K >= L;
  const int64_t along = by_x ? K : L, across = by_x ? L : K, slabs = std::min(along, kMostSlabs),
                numbers = across * (by_x ? p.pairs.columns : p.pairs.rows) * p.features;
  T* const total = static_cast<T*>(by_x ? p.d_y : p.d_x);
  std::vector<T> sums(size_t(total ? slabs * numbers : 0), T(0));
  const bool small = std::max(p.pairs.rows, p.pairs.columns) <= kFewSteps;
  const auto run = [&](int64_t slab, const Threads& with) {
    FeatureProblem own = p;
    if (total) (by_x ? own.d_y : own.d_x) = sums.data() + slab * numbers;
    const int64_t first = slab * along / slabs, last = (slab + 1) * along / slabs;
    if (small) {
      const int64_t most = pairs_a_chunk<Tables>(own, across);
      Chunk<Tables> chunk(own, most);
      for (int64_t a = first; a < last; a++)
        for (int64_t b = 0; b < across; b += most)
          chunk.run(by_x ? a * L + b : b * L + a, by_x ? 1 : L, std::min(most, across - b), kAlone);
    } else {
      Tables tables(own, 1);
      std::vector<std::unique_ptr<TileMemory<Tables>>> memory(size_t(with.count));
      for (int64_t a = first; a < last; a++)
        for (int64_t b = 0; b < across; b++)
          TiledPair<Tables>(own, by_x ? a * L + b : b * L + a, tables, memory).run(with);
    }
  };
  if (!small && slabs < threads.count)
    for (int64_t slab = 0; slab < slabs; slab++) run(slab, threads);
  else
    threads.over(slabs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slab = begin; slab < end; slab++) run(slab, kAlone);
    });
  if (total)
    threads.over(numbers, 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t slab = 0; slab < slabs; slab++)
        for (int64_t i = begin; i < end; i++) total[i] += sums[size_t(slab * numbers + i)];
    });
  Tables::finish_all(p, threads);
}

// ---- what is asked for ---------------------------------------------------------------------------------

template <class Tables>
void score(const FeatureProblem& p, const Threads& threads) {
  if (p.pairs.count == 0) return;
  std::max(p.pairs.rows, p.pairs.columns) <= kFewSteps ? in_chunks<Tables>(p, threads)
                                                       : in_tiles<Tables>(p, threads);
}
// run(the tables), as a null pointer to them.
template <class T, class Run>
void with_tables_of(Kind kind, const Run& run) {
  switch (kind) {
    case Kind::kSquares:
    case Kind::kRoots:
    case Kind::kAbsolute:
      return run(static_cast<SquareTables<T>*>(nullptr));
    case Kind::kFsd:
      return run(static_cast<CosineTables<T, 2>*>(nullptr));
    case Kind::kLcs:
    case Kind::kCosines:
      return run(static_cast<CosineTables<T, 1>*>(nullptr));
  }
}
template <class Run>
void with_tables(const FeatureProblem& p, const Run& run) {
  p.is_double ? with_tables_of<double>(p.kind, run) : with_tables_of<float>(p.kind, run);
}

}  // namespace

template <class T>
void scale_gradients(const ScaledGradient<T>& p, const Threads& threads) {
  threads.over(p.pairs, std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(p.numbers, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t b = begin; b < end; b++) {
                   const T factor = p.of_score[b * p.of_score_stride], score = p.score[b];
                   const T* const from = p.made + b * p.numbers;
                   T* const to = p.out + b * p.numbers;
                   if (factor == 0 || std::isnan(score))
                     std::fill_n(to, p.numbers, factor == 0 ? T(0) : score);
                   else
                     std::transform(from, from + p.numbers, to, [=](T x) { return x * factor; });
                 }
               });
}
template void scale_gradients(const ScaledGradient<float>&, const Threads&);
template void scale_gradients(const ScaledGradient<double>&, const Threads&);

void score_features(const FeatureProblem& problem, const Threads& threads) {
  with_tables(problem,
              [&](auto* tables) { score<std::remove_reference_t<decltype(*tables)>>(problem, threads); });
}
void differentiate_features(const FeatureProblem& problem, const Threads& threads) {
  with_tables(problem, [&](auto* tables) {
    differentiate<std::remove_reference_t<decltype(*tables)>>(problem, threads);
  });
}

}  // namespace softdp::cpu
