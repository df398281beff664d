// The tables that features.cpp sweeps: distances or cosines of features. They also take their gradients back
// to the features.
//
// Tables<T> has
//   kCount                     how many tables a piece has: one, or scores and gaps
//   prepare(pair)              before the first of a pair's pieces
//   spoils(pair, n, m)         whether the pair's score is NaN, whatever its tables hold
//   make(piece, tables)        makes the dense tables of a piece
//   add(piece, tables, to)     adds the tables' gradient to the features', or overwrites that: see Adding
//   finish(pair)               after the last of a pair's pieces, where gradients are not summed over pairs
//   finish_all(problem)        after all pairs, where gradients are summed over pairs
// Each of the pairs that are prepared together has a slot of its own.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>

#include "features.h"

namespace softdp::cpu {

// Memory that is not initialised and begins at a multiple of 64.
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

inline bool wants_gradient(const FeatureProblem& p) {
  return p.d_x || p.d_y;
}
// Gradients of cells up to this magnitude are left out. The gradients of the cells that paths take at one
// step sum to 1.
template <class T>
constexpr double kNegligible = sizeof(T) == 8 ? 0x1p-60 : 0x1p-40;

struct Piece {  // of a pair's tables
  int64_t pair, row, column, rows, columns;
  int64_t pitch;  // from row to row of the memory
};

// The parts of a piece with a corridor, whose tables are made, and differentiated, one by one. They have all
// cells inside. A taller part has more cells outside; a lower one takes more time to prepare.
constexpr int64_t kMadeRows = 32, kAddedRows = 128, kPartColumns = 256;
// Calls run(part, where its first cell lies from the piece's).
template <class Run>
void over_inside(const Piece& piece, const Corridor& corridor, int64_t height, const Run& run) {
  for (int64_t row = 0; row < piece.rows; row += height) {
    const int64_t rows = std::min(height, piece.rows - row), end = corridor.end(row + rows - 1);
    for (int64_t column = corridor.begin(row); column < end; column += kPartColumns)
      run(Piece{piece.pair, piece.row + row, piece.column + column, rows,
                std::min(kPartColumns, end - column), piece.pitch},
          row * piece.pitch + column);
  }
}

template <class T>
struct Steps {  // of x and y, and their gradients; null: not wanted
  const T *x, *y;
  T *d_x, *d_y;
  explicit Steps(const FeatureProblem& p, int64_t pair, int64_t row = 0, int64_t column = 0) {
    const int64_t at_x = (p.x_of(pair) * p.pairs.rows + row) * p.features,
                  at_y = (p.y_of(pair) * p.pairs.columns + column) * p.features;
    x = static_cast<const T*>(p.x) + at_x, y = static_cast<const T*>(p.y) + at_y;
    d_x = p.d_x ? static_cast<T*>(p.d_x) + at_x : nullptr;
    d_y = p.d_y ? static_cast<T*>(p.d_y) + at_y : nullptr;
  }
};
struct Adding {
  bool adds;  // or else overwrites
  double scale;
};
template <class T>
void clear_gradients(const FeatureProblem& p, int64_t pair) {
  const Steps<T> steps(p, pair);
  if (steps.d_x) std::fill_n(steps.d_x, p.pairs.rows * p.features, T(0));
  if (steps.d_y) std::fill_n(steps.d_y, p.pairs.columns * p.features, T(0));
}
// Writes the gradient NaN of a pair whose gradient is summed with others.
template <class T>
void spoil_gradients(const FeatureProblem& p, int64_t pair) {
  const Steps<T> steps(p, pair);
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  if (steps.d_x) std::fill_n(steps.d_x, p.n(pair) * p.features, nan);
  if (steps.d_y) std::fill_n(steps.d_y, p.m(pair) * p.features, nan);
}

// Tables of squared distances, of their roots, or of absolute differences.
template <class T>
class SquareTables {
 public:
  using Number = T;
  static constexpr int kCount = 1;

  SquareTables(const FeatureProblem& p, int64_t) : p_(p) {}
  static int64_t bytes(const FeatureProblem&) { return 0; }  // of a slot
  static int64_t scratch_bytes(const FeatureProblem& p, int64_t rows, int64_t columns) {
    return roots_at(p, columns) + (p.kind == Kind::kRoots ? rows * columns * int64_t(sizeof(T)) : 0);
  }
  void prepare(int64_t, int64_t) {}
  // A step that is not finite makes the pair NaN. The sweep would not notice: an infinite cost only forbids a
  // cell.
  bool spoils(int64_t pair, int64_t n, int64_t m) const {
    const Steps<T> steps(p_, pair);
    return n > 0 && m > 0 && !(all_finite(steps.x, n * p_.features) && all_finite(steps.y, m * p_.features));
  }
  void make(int64_t, const Piece& piece, T* const* tables, void* scratch) const {
    const Differences d = differences(piece, tables[0]);
    for (int64_t row = 0; row < d.rows; row += kPartRows)
      chosen().products[sizeof(T) == 8](d, {0, row, std::min(row + kPartRows, d.rows), 0, scratch});
    if (p_.kind == Kind::kRoots)
      over_rows(d, [&](T* row, int64_t) {
        for (int64_t j = 0; j < d.columns; j++) row[j] = std::sqrt(row[j]);
      });
  }
  void add(int64_t, const Piece& piece, T* const* tables, Adding to, void* scratch) const {
    Differences d = differences(piece, tables[0]);
    d.adds = to.adds, d.scale *= to.scale;
    if (p_.kind == Kind::kRoots) {
      T* const roots = reinterpret_cast<T*>(static_cast<char*>(scratch) + roots_at(p_, d.columns));
      Piece dense = piece;
      dense.pitch = piece.columns;
      make(0, dense, &roots, scratch);
      over_rows(d, [&](T* row, int64_t i) {  // by |x - y| to by |x - y|^2 / 2
        const T* const of_row = roots + i * d.columns;
        for (int64_t j = 0; j < d.columns; j++) row[j] = of_row[j] == 0 ? T(0) : row[j] / of_row[j];
      });
      d.scale = to.scale, d.negligible = 0;
    }
    chosen().sums[sizeof(T) == 8](d, {0, 0, d.columns, 0, scratch});
  }
  void finish(int64_t, int64_t) const {}
  static void finish_all(const FeatureProblem&, const Threads&) {}

 private:
  // Where in the scratch the roots are computed again: after the memory for differences.
  static int64_t roots_at(const FeatureProblem& p, int64_t columns) {
    return (difference_scratch_bytes(p.features, columns, sizeof(T)) + 63) / 64 * 64;
  }
  // Calls run(row, its number) for the rows of a table.
  template <class Run>
  static void over_rows(const Differences& d, const Run& run) {
    for (int64_t i = 0; i < d.rows; i++) run(static_cast<T*>(d.out) + i * d.pitch, i);
  }
  static bool all_finite(const T* numbers, int64_t count) {
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
  Differences differences(const Piece& piece, T* table) const {
    const Steps<T> steps(p_, piece.pair, piece.row, piece.column);
    Differences d{};
    d.pairs = 1, d.rows = piece.rows, d.columns = piece.columns, d.pitch = piece.pitch;
    d.features = p_.features;
    d.x = steps.x, d.y = steps.y, d.out_x = steps.d_x, d.out_y = steps.d_y;
    d.out = table, d.weights = table;
    d.splits = 1;
    d.absolute = p_.kind == Kind::kAbsolute;
    d.relative = !d.absolute && p_.features > kFewFeatures;
    d.scale = d.absolute ? 1 : 2;  // the derivative of |x - y|^2 is 2 (x - y)
    d.negligible = kNegligible<T>;
    return d;
  }

  const FeatureProblem& p_;
};

// Tables of dot products of unit vectors. The gradients by unit vectors are collected in the memory of the
// gradients by the features.
template <class T, int kHeads>
class CosineTables {
 public:
  using Number = T;
  static constexpr int kCount = kHeads;

  CosineTables(const FeatureProblem& p, int64_t slots)
      : p_(p),
        units_(slots * steps(p) * p.features * int64_t(sizeof(T))),
        lengths_(slots * steps(p) * kHeads * int64_t(sizeof(T))) {}
  static int64_t bytes(const FeatureProblem& p) {
    return steps(p) * (p.features + kHeads) * int64_t(sizeof(T));
  }
  static int64_t scratch_bytes(const FeatureProblem& p, int64_t, int64_t) {
    return dots_scratch_bytes(p.features / kHeads, kMostSteps);
  }
  void prepare(int64_t slot, int64_t pair) {
    for (bool y : {false, true}) chosen().units[sizeof(T) == 8](units_of(slot, pair, y));
  }
  bool spoils(int64_t, int64_t, int64_t) const { return false; }  // the sweep finds NaN
  void make(int64_t slot, const Piece& piece, T* const* tables, void* scratch) const {
    for (int head = 0; head < kHeads; head++)
      chosen().dots[sizeof(T) == 8](dots_of(slot, piece, head, tables[head], scratch));
  }
  void add(int64_t slot, const Piece& piece, T* const* tables, Adding to, void* scratch) const {
    const Steps<T> own(p_, piece.pair, piece.row, piece.column);
    for (int head = 0; head < kHeads; head++) {
      Dots d = dots_of(slot, piece, head, tables[head], scratch);
      const int64_t at = head * d.features;
      d.out_x = own.d_x ? own.d_x + at : nullptr, d.out_y = own.d_y ? own.d_y + at : nullptr;
      d.adds = to.adds, d.factor *= to.scale;
      chosen().weigh[sizeof(T) == 8](d);
    }
  }
  void finish(int64_t slot, int64_t pair) const {
    for (bool y : {false, true}) {
      const Units units = units_of(slot, pair, y);
      if (units.gradient) chosen().unit_gradients[sizeof(T) == 8](units);
    }
  }
  // Turns gradients by unit vectors into gradients by features, for all x and all y. These gradients are sums
  // over pairs.
  static void finish_all(const FeatureProblem& p, const Threads& threads) {
    for (bool y : {false, true}) {
      if (!(y ? p.d_y : p.d_x)) continue;
      const int64_t count = y ? p.others : p.pairs.count / p.others, of = y ? 1 : p.others;
      threads.over(count, 1, [&](int64_t begin, int64_t end) {
        CosineTables tables(p, 1);
        for (int64_t k = begin; k < end; k++) {
          const Units units = tables.units_of(0, k * of, y);
          chosen().units[sizeof(T) == 8](units);
          chosen().unit_gradients[sizeof(T) == 8](units);
        }
      });
    }
  }

 private:
  static constexpr int64_t kMostSteps = 256;
  static int64_t steps(const FeatureProblem& p) { return p.pairs.rows + p.pairs.columns; }
  T* unit(int64_t slot, int64_t step) const {  // x's, then y's
    return units_.template get<T>() + (slot * steps(p_) + step) * p_.features;
  }
  Units units_of(int64_t slot, int64_t pair, bool y) const {
    const Steps<T> own(p_, pair);
    const int64_t first = y ? p_.pairs.rows : 0, count = y ? p_.pairs.columns : p_.pairs.rows;
    return {count,
            p_.features,
            kHeads,
            y ? own.y : own.x,
            unit(slot, first),
            lengths_.template get<T>() + (slot * steps(p_) + first) * kHeads,
            y ? own.d_y : own.d_x};
  }
  Dots dots_of(int64_t slot, const Piece& piece, int head, T* table, void* scratch) const {
    Dots d{};
    d.rows = piece.rows, d.columns = piece.columns;
    d.features = p_.features / kHeads, d.pitch = p_.features, d.table_pitch = piece.pitch;
    d.x = unit(slot, piece.row) + head * d.features;
    d.y = unit(slot, p_.pairs.rows + piece.column) + head * d.features;
    d.table = table;
    const bool costs = p_.kind == Kind::kCosines;
    d.offset = costs ? 1 : 0, d.factor = costs ? -1 : 1;
    d.negligible = kNegligible<T>;
    d.scratch = scratch;
    return d;
  }

  const FeatureProblem& p_;
  Aligned units_, lengths_;
};

}  // namespace softdp::cpu
