// Two ways, by the pairs' size alone, so that any number of threads gives the same bits:
//
// Small pairs go in chunks: all their costs, a sweep forward, one backward that overwrites the costs with
// their gradient, the sums.
//
// Large pairs go in tiles. Forward over all of them, keeping S along their edges; backward from the last tile
// over those alone that a gradient reaches: that of the costs lives in a corridor along the best paths. The
// weights of a pair's tiles are kept where they are few; else these tiles are swept forward again. Every tile
// is swept relative to the largest S at its edges, so that float's range is a tile's, not the pair's. Tiles
// of one antidiagonal are independent.
#include "features.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

namespace softdp::cpu {
namespace {

constexpr int64_t kChunkBytes = 1 << 19;  // of costs and weights: they are to stay in the second cache
constexpr int64_t kTile = 256;            // rows and columns
constexpr int64_t kFewSteps = 256;        // of x or y, with which a pair goes whole
constexpr int64_t kKeptBytes = 1 << 24;   // of a pair's weights, at most
// Of a cell's gradient: what is left out. The gradients of a path's cells are 1 together, step by step.
template <class T>
constexpr double kNegligible = sizeof(T) == 8 ? 0x1p-60 : 0x1p-40;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const Threads kAlone{1, [](int64_t items, int64_t, const std::function<void(int64_t, int64_t)>& run) {
                       if (items > 0) run(0, items);
                     }};

// Memory that is not initialised, from a multiple of 64 on.
class Aligned {
 public:
  explicit Aligned(int64_t bytes) : memory_(new unsigned char[size_t(bytes) + 64]) {}
  template <class T = unsigned char>
  T* get() const {
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) / 64 * 64);
  }

 private:
  std::unique_ptr<unsigned char[]> memory_;
};

bool wants_gradient(const FeatureProblem& p) {
  return p.d_x || p.d_y;
}

// Whether some steps are: an infinite one spoils its pair, where an infinite cost would forbid a cell.
template <class T>
bool all_finite(const T* numbers, int64_t count) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  constexpr Bits kExponent = sizeof(T) == 8 ? Bits(0x7ff0000000000000) : Bits(0x7f800000);
  Bits found = 0;
  for (int64_t i = 0; i < count; i++) {
    Bits bits;
    std::memcpy(&bits, numbers + i, sizeof bits);
    found |= Bits((bits & kExponent) == kExponent);
  }
  return !found;
}

// A sweep over `pairs` tables of costs, dense; its gradient overwrites them.
template <class T>
Problem sweep_over(const Pairs& pairs, double gamma, T* costs) {
  static const T zero = 0, one = 1;
  constexpr Type kType = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
  Problem sweep{};
  sweep.pairs = pairs;
  sweep.anchored = sweep.shared_gap = sweep.costs = true;
  sweep.gamma = gamma;
  sweep.scores[0] = {costs, kType, pairs.rows * pairs.columns, pairs.columns, 1};
  sweep.scores[1] = sweep.scores[2] = {&zero, kType, 0, 0, 0};
  sweep.grad_score = &one;
  sweep.gradients[0] = {costs, kType, true, true};
  return sweep;
}

// Some pairs' costs, or those of a piece of a pair, and the sums of their gradient, with the 2 of |x - y|^2.
template <class T>
Differences differences(const FeatureProblem& p, int64_t pairs, int64_t rows, int64_t columns, const T* x,
                        const T* y, T* table) {
  Differences d{};
  d.pairs = pairs, d.rows = rows, d.columns = columns;
  d.features = p.features;
  d.x = x, d.y = y;
  d.out = table, d.weights = table;
  d.splits = 1;
  d.relative = p.features > kFewFeatures;
  d.scale = 2;
  d.negligible = kNegligible<T>;
  return d;
}
template <class T>
void make_costs(const Differences& d, int64_t pair, void* scratch) {
  for (int64_t row = 0; row < d.rows; row += kPartRows)
    chosen().products[sizeof(T) == 8](d, {pair, row, std::min(row + kPartRows, d.rows), 0, scratch});
}
template <class T>
void add_sums(const Differences& d, int64_t pair, void* scratch) {
  chosen().sums[sizeof(T) == 8](d, {pair, 0, d.columns, 0, scratch});
}

template <class T>
struct Steps {  // of x and y, and their gradients; null: not wanted
  const T *x, *y;
  T *d_x, *d_y;
  bool are_finite(const FeatureProblem& p, int64_t n, int64_t m) const {  // of a pair without cells no matter
    return n == 0 || m == 0 || (all_finite(x, n * p.features) && all_finite(y, m * p.features));
  }
  Steps(const FeatureProblem& p, int64_t pair, int64_t row = 0, int64_t column = 0) {
    const int64_t at_x = (pair * p.pairs.rows + row) * p.features,
                  at_y = (pair * p.pairs.columns + column) * p.features;
    x = static_cast<const T*>(p.x) + at_x, y = static_cast<const T*>(p.y) + at_y;
    d_x = p.d_x ? static_cast<T*>(p.d_x) + at_x : nullptr;
    d_y = p.d_y ? static_cast<T*>(p.d_y) + at_y : nullptr;
  }
};

// ---- chunks of small pairs -----------------------------------------------------------------------------

template <class T>
class Chunk {
 public:
  Chunk(const FeatureProblem& p, int64_t most)
      : p_(p),
        costs_(most * p.pairs.rows * p.pairs.columns * int64_t(sizeof(T))),
        saved_(wants_gradient(p) ? most * saved_bytes_of(p) : 0),
        scratch_(scratch_bytes_of(p)),
        ones_(size_t(most), T(1)) {}

  static int64_t saved_bytes_of(const FeatureProblem& p) {
    return saved_bytes(p.pairs.rows, p.pairs.columns, packs(sweep_over<T>(p.pairs, p.gamma, nullptr)));
  }

  void run(int64_t first, int64_t count, const Threads& threads) {
    const Steps<T> steps(p_, first);
    Differences d = differences<T>(p_, count, p_.pairs.rows, p_.pairs.columns, steps.x, steps.y,
                                   costs_.template get<T>());
    over_pairs(d, threads, make_costs<T>);
    Pairs pairs = p_.pairs;
    pairs.count = count;
    for (Lengths* lengths : {&pairs.x_lengths, &pairs.y_lengths}) {
      if (lengths->wide) lengths->wide += first;
      if (lengths->narrow) lengths->narrow += first;
    }
    Problem sweep = sweep_over<T>(pairs, p_.gamma, costs_.template get<T>());
    sweep.score = static_cast<T*>(p_.score) + first;
    sweep.saved = wants_gradient(p_) ? saved_.get() : nullptr;
    forward(sweep, threads);
    for (int64_t k = 0; k < count; k++)
      if (!Steps<T>(p_, first + k).are_finite(p_, pairs.n(k), pairs.m(k)))
        static_cast<T*>(sweep.score)[k] = T(kNaN);
    if (!wants_gradient(p_)) return;
    sweep.grad_score = ones_.data();
    backward(sweep, threads);
    d.out_x = steps.d_x, d.out_y = steps.d_y;
    over_pairs(d, threads, [&](const Differences& d, int64_t pair, void* scratch) {
      if (!std::isnan(static_cast<const T*>(sweep.score)[pair])) return add_sums<T>(d, pair, scratch);
      const Steps<T> spoiled(p_, first + pair);
      if (spoiled.d_x) std::fill_n(spoiled.d_x, d.rows * d.features, T(0));
      if (spoiled.d_y) std::fill_n(spoiled.d_y, d.columns * d.features, T(0));
    });
  }

 private:
  static int64_t scratch_bytes_of(const FeatureProblem& p) {
    return difference_scratch_bytes(p.features, p.pairs.columns, sizeof(T));
  }
  template <class Run>
  void over_pairs(const Differences& d, const Threads& threads, const Run& run) {
    const auto over = [&](int64_t begin, int64_t end, void* scratch) {
      for (int64_t pair = begin; pair < end; pair++) run(d, pair, scratch);
    };
    if (threads.count == 1) return over(0, d.pairs, scratch_.get());
    threads.over(d.pairs, 1,
                 [&](int64_t begin, int64_t end) { over(begin, end, Aligned(scratch_bytes_of(p_)).get()); });
  }

  const FeatureProblem& p_;
  Aligned costs_, saved_, scratch_;
  std::vector<T> ones_;
};

template <class T>
void in_chunks(const FeatureProblem& p, const Threads& threads) {
  const int64_t B = p.pairs.count,
                pair = std::max<int64_t>(p.pairs.rows * p.pairs.columns * int64_t(sizeof(T)) +
                                             (wants_gradient(p) ? Chunk<T>::saved_bytes_of(p) : 0),
                                         1);
  int64_t most = std::clamp<int64_t>(kChunkBytes / pair, 1, B);
  if (most > kMostLanes) most = most / kMostLanes * kMostLanes;  // small pairs fill vectors
  const int64_t chunks = (B + most - 1) / most;
  const auto run = [&](Chunk<T>& chunk, int64_t i, const Threads& with) {
    chunk.run(i * most, std::min(most, B - i * most), with);
  };
  if (chunks >= threads.count) {
    threads.over(chunks, 1, [&](int64_t begin, int64_t end) {
      Chunk<T> chunk(p, most);
      for (int64_t i = begin; i < end; i++) run(chunk, i, kAlone);
    });
  } else {
    Chunk<T> chunk(p, most);
    for (int64_t i = 0; i < chunks; i++) run(chunk, i, threads);
  }
}

// ---- tiles of large pairs ------------------------------------------------------------------------------

// What one thread needs for a tile.
template <class T>
struct TileMemory {
  Aligned costs, saved, scratch;
  std::vector<double> above, left, by_last_row, by_last_column;
  TileMemory(const FeatureProblem& p)
      : costs(kTile * kTile * int64_t(sizeof(T))),
        saved(std::max(saved_bytes(kTile, kTile, true), saved_bytes(kTile, kTile, false))),
        scratch(difference_scratch_bytes(p.features, kTile, sizeof(T))),
        above(kTile),
        left(kTile),
        by_last_row(kTile),
        by_last_column(kTile) {}
};

// One pair in tiles. S stands for the sweep's values, which are minus the costs' sums.
template <class T>
class TiledPair {
 public:
  TiledPair(const FeatureProblem& p, int64_t pair, std::vector<std::unique_ptr<TileMemory<T>>>& memory)
      : p_(p), pair_(pair), n_(p.pairs.n(pair)), m_(p.pairs.m(pair)), memory_(memory) {
    tile_rows_ = (n_ + kTile - 1) / kTile, tile_columns_ = (m_ + kTile - 1) / kTile;
    // Without gradients a tile's edges are needed by the antidiagonals that follow alone.
    kept_rows_ = wants_gradient(p) ? tile_rows_ : std::min<int64_t>(tile_rows_, 3);
    kept_columns_ = wants_gradient(p) ? tile_columns_ : std::min<int64_t>(tile_columns_, 3);
    const bool packed = packs(sweep_over<T>({1, kTile, kTile, {}, {}}, p.gamma, nullptr));
    saved_pitch_ = (saved_bytes(kTile, kTile, packed) + 63) / 64 * 64;
    const int64_t kept = tile_rows_ * tile_columns_ * saved_pitch_;
    if (wants_gradient(p) && kept <= kKeptBytes) kept_.reset(new Aligned(kept));
    last_rows_.resize(size_t(kept_rows_ * m_));
    last_columns_.resize(size_t(kept_columns_ * n_));
  }

  void run(const Threads& threads) {
    if (!Steps<T>(p_, pair_).are_finite(p_, n_, m_)) return finish(kNaN);
    if (n_ == 0 || m_ == 0) return finish(n_ == m_ ? 0 : -kInf);
    for (bool wide : {false, true}) {
      wide_ = wide;
      spoiled_.assign(size_t(tile_rows_ * tile_columns_), 0);
      over_tiles(false, threads, [&](int64_t i, int64_t j, TileMemory<T>& m) { forward_tile(i, j, m); });
      if (sizeof(T) == 8 || !is_coarse(p_.gamma, score())) break;
    }
    const bool spoiled = std::find(spoiled_.begin(), spoiled_.end(), 1) != spoiled_.end();
    finish(spoiled ? kNaN : score());
    if (!wants_gradient(p_) || spoiled || score() == -kInf) return;
    by_rows_.assign(size_t(m_), 0), by_columns_.assign(size_t(n_), 0);
    by_corners_.assign(size_t((tile_rows_ + 1) * (tile_columns_ + 1)), 0);
    by_rows_[size_t(m_ - 1)] = 1;
    over_tiles(true, threads, [&](int64_t i, int64_t j, TileMemory<T>& m) { backward_tile(i, j, m); });
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
          if (!memory_[worker]) memory_[worker].reset(new TileMemory<T>(p_));
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
  static bool was_wide(const unsigned char* saved) {
    return reinterpret_cast<const SavedPair*>(saved)->verdict == Verdict::kWide;
  }
  // The sweep of a tile, from its edges relative to the returned S.
  double prepare(const Tile& t, TileMemory<T>& m, Differences& d, Problem& sweep, double& corner) {
    const Steps<T> steps(p_, pair_, t.row, t.column);
    d = differences<T>(p_, 1, t.rows, t.columns, steps.x, steps.y, m.costs.template get<T>());
    d.out_x = steps.d_x, d.out_y = steps.d_y;
    sweep = sweep_over<T>({1, t.rows, t.columns, {}, {}}, p_.gamma, m.costs.template get<T>());
    sweep.wide = wide_;
    sweep.saved = kept(t);
    corner = t.i > 0 && t.j > 0 ? last_row(t.i - 1)[t.column - 1] : t.i + t.j > 0 ? -kInf : 0;
    double base = corner;
    for (int64_t k = 0; k < t.columns; k++) {
      m.above[k] = t.i > 0 ? last_row(t.i - 1)[t.column + k] : -kInf;
      base = std::max(base, m.above[k]);
    }
    for (int64_t k = 0; k < t.rows; k++) {
      m.left[k] = t.j > 0 ? last_column(t.j - 1)[t.row + k] : -kInf;
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

  void forward_tile(int64_t i, int64_t j, TileMemory<T>& m) {
    const Tile t = tile(i, j);
    Differences d;
    Problem sweep;
    double corner;
    const double base = prepare(t, m, d, sweep, corner);
    T score;
    sweep.score = &score;
    sweep.edges.corner = &corner;
    make_costs<T>(d, 0, m.scratch.get());
    double *const row = last_row(i) + t.column, *const column = last_column(j) + t.row;
    sweep.edges.last_row = row, sweep.edges.last_column = column;
    forward(sweep, kAlone);
    for (int64_t k = 0; k < t.columns; k++) row[k] += base;
    for (int64_t k = 0; k < t.rows; k++) column[k] += base;
    spoiled_[size_t(i * tile_columns_ + j)] = std::isnan(score);
  }

  double& by_corner(int64_t i, int64_t j) { return by_corners_[size_t(i * (tile_columns_ + 1) + j)]; }

  void backward_tile(int64_t i, int64_t j, TileMemory<T>& m) {
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
    Differences d;
    Problem sweep;
    double corner;
    prepare(t, m, d, sweep, corner);
    const T nothing = 0;
    T score;
    sweep.score = &score, sweep.grad_score = &nothing;
    sweep.edges.corner = &corner;
    std::copy_n(by_row, t.columns, m.by_last_row.data());
    std::copy_n(by_column, t.rows, m.by_last_column.data());
    sweep.edges.by_last_row = m.by_last_row.data(), sweep.edges.by_last_column = m.by_last_column.data();
    sweep.edges.by_above = by_row, sweep.edges.by_left = by_column, sweep.edges.by_corner = &by_corner(i, j);
    const bool swept = sweep.saved, has_weights = swept && packs(sweep) && !was_wide(sweep.saved);
    if (!has_weights) make_costs<T>(d, 0, m.scratch.get());
    if (!swept) {
      sweep.saved = m.saved.get();
      forward(sweep, kAlone);
    }
    backward(sweep, kAlone);
    d.adds = true;
    add_sums<T>(d, 0, m.scratch.get());
  }

  // The value, and gradients to be added to.
  void finish(double score) {
    static_cast<T*>(p_.score)[pair_] = T(0 - score);
    const Steps<T> steps(p_, pair_);
    if (steps.d_x) std::fill_n(steps.d_x, p_.pairs.rows * p_.features, T(0));
    if (steps.d_y) std::fill_n(steps.d_y, p_.pairs.columns * p_.features, T(0));
  }

  const FeatureProblem& p_;
  int64_t pair_, n_, m_, tile_rows_, tile_columns_, kept_rows_, kept_columns_, saved_pitch_;
  std::unique_ptr<Aligned> kept_;
  bool wide_ = false;
  std::vector<std::unique_ptr<TileMemory<T>>>& memory_;    // of each thread
  std::vector<double> last_rows_, last_columns_;           // S, of each row and column of tiles
  std::vector<double> by_rows_, by_columns_, by_corners_;  // the gradient by S at the edges of what is done
  std::vector<char> spoiled_;
};

template <class T>
void in_tiles(const FeatureProblem& p, const Threads& threads) {
  const int64_t B = p.pairs.count;
  const auto run = [&](int64_t begin, int64_t end, const Threads& with) {
    std::vector<std::unique_ptr<TileMemory<T>>> memory(size_t(with.count));
    for (int64_t pair = begin; pair < end; pair++) TiledPair<T>(p, pair, memory).run(with);
  };
  if (B >= threads.count)
    threads.over(B, 1, [&](int64_t begin, int64_t end) { run(begin, end, kAlone); });
  else
    run(0, B, threads);
}

template <class T>
void soft_dtw_of(const FeatureProblem& p, const Threads& threads) {
  if (p.pairs.count == 0) return;
  std::max(p.pairs.rows, p.pairs.columns) <= kFewSteps ? in_chunks<T>(p, threads) : in_tiles<T>(p, threads);
}

}  // namespace

void soft_dtw(const FeatureProblem& problem, const Threads& threads) {
  problem.is_double ? soft_dtw_of<double>(problem, threads) : soft_dtw_of<float>(problem, threads);
}

}  // namespace softdp::cpu
