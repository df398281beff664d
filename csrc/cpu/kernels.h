// What the CPU kernels take, and the table of them that every instruction set brings.
//
// What is saved of a pair, saved_bytes(), are a verdict and, of a sweep in float, the weights of its cells in
// four bytes each (weights.h). A sweep in double, or of a small pair, saves the row above every band of kBand
// rows but the first: the backward sweep computes a band's weights again from its scores, in the cache.
#pragma once
#include <sched.h>

#include <atomic>
#include <cstdint>

#include "../problem.h"
#include "cosines.h"
#include "distances.h"

namespace softdp::cpu {

enum class Type { kFloat64, kFloat32, kFloat16, kBfloat16 };
SOFTDP_FN int bytes_of(Type type) {
  return type == Type::kFloat64 ? 8 : type == Type::kFloat32 ? 4 : 2;
}

struct Table {  // scores to read, (pairs, rows, columns); strides in elements, 0 along a broadcast dimension
  const void* data;
  Type type;
  int64_t batch, row, column;
};

// A gradient to write, contiguous; null: not wanted. What is not every is summed; that of the first scores is
// always every.
struct Sink {
  void* data;
  Type type;
  bool every_row, every_column;
};

// Where a table is a piece of a larger one: S (of costs, -S) above it and to its left, -inf where no path
// comes, and what it gives to the pieces that follow. Null: S as `anchored` says, or not wanted. Past a
// pair's lengths nothing is read or written. Backward, the gradients by what it gave are added to those of
// its cells, and those by what it took are written; in the end the gradient by its own score is added too.
struct Edges {
  const double* above;           // (B, M): S(0, 1 .. m)
  const double* left;            // (B, N): S(1 .. n, 0)
  const double* corner;          // (B,): S(0, 0), else 0
  double* last_row;              // (B, M): S(n, 1 .. m)
  double* last_column;           // (B, N): S(1 .. n, m)
  const double* by_last_row;     // backward: (B, M)
  const double* by_last_column;  // (B, N)
  double* by_above;              // (B, M)
  double* by_left;               // (B, N)
  double* by_corner;             // (B,)
  bool by_any() const { return by_last_row || by_last_column || by_above || by_left || by_corner; }
  bool any() const { return above || left || corner || last_row || last_column || by_any(); }
};

// FSD: match, insert, delete; LCS: similarity. Scores and the scores' gradient are float64 for float64 match
// and float32 for all other types.
struct Problem {
  Pairs pairs;
  bool lcs, anchored;
  bool shared_gap;  // delete = insert, read once; insert receives the sum of both gradients
  bool visits;      // LCS, backward: the gradient by a plateau's cells too
  bool costs;       // FSD: the smooth minimum, of scores that are costs: -S(-scores)
  bool wide;        // swept in double, whatever the type of the scores
  double gamma, threshold;
  Table scores[3];
  void* score;             // forward: (B,)
  unsigned char* saved;    // (B, saved_bytes()); forward: null where no gradient is wanted
  const void* grad_score;  // backward: (B,)
  Sink gradients[3];
  double negligible;  // backward: adjoints up to this magnitude may count as 0
  Edges edges;        // backward: as in the forward sweep
};

SOFTDP_FN bool is_double(const Problem& p) {
  return p.scores[0].type == Type::kFloat64;
}
// Whether S is 0, not -inf, on the boundary.
SOFTDP_FN bool is_free(const Problem& p) {
  return p.lcs || !p.anchored;
}
// Whether float's arithmetic is tried first.
SOFTDP_FN bool is_narrow(const Problem& p) {
  return !is_double(p) && !p.wide && p.gamma > 1e-30 && p.gamma < 1e30;
}
// In float a score is off by some 1e-7 gamma, however small it is: too much where gamma is large.
SOFTDP_FN bool is_coarse(double gamma, double score) {
  return gamma > 4 && score < 4 * gamma && score > -4 * gamma;
}
constexpr int kGroupRows = 32, kGroupColumns = 32;
// Whether a sweep in float saves the weights of the cells. Those of small pairs need no memory of their own,
// and can be kept in full.
SOFTDP_FN bool packs(const Problem& p) {
  return is_narrow(p) && (p.pairs.rows > kGroupRows || p.pairs.columns > kGroupColumns);
}
// From S, which is never of costs.
SOFTDP_FN void set_score(const Problem& p, int64_t pair, double score) {
  if (p.costs) score = 0 - score;  // of no cells 0, not -0
  if (is_double(p))
    static_cast<double*>(p.score)[pair] = score;
  else
    static_cast<float*>(p.score)[pair] = float(score);
}
// The pair's number among the scores or among their gradient.
SOFTDP_FN double number_of(const Problem& p, const void* numbers, int64_t pair) {
  return is_double(p) ? static_cast<const double*>(numbers)[pair]
                      : double(static_cast<const float*>(numbers)[pair]);
}

constexpr int kBand = 16, kMostLanes = 16;
constexpr int64_t kStateBytes = 16;  // the widest state's

SOFTDP_FN int64_t bands_of(int64_t rows, int64_t of) {
  return (rows + of - 1) / of;
}
// Steps that a strip of `lanes` rows takes: a row may start only when its lane has come to the one before.
SOFTDP_FN int64_t pitch_of(int64_t columns, int lanes) {
  const int64_t whole = (columns + lanes - 1) / lanes * lanes;
  return whole < 2 * lanes ? 2 * lanes : whole;
}
// Whether the lanes of a strip of `rows` rows are still at work when its steps are through.
SOFTDP_FN bool runs_over(int64_t rows, int64_t columns, int lanes) {
  return columns + rows - 1 > pitch_of(columns, lanes);
}

enum class Verdict : int64_t { kGrouped, kNarrow, kWide, kHard, kSpoiled, kNoPath, kEmpty };

struct SavedPair {
  Verdict verdict;
  int64_t unused[7];  // what follows is aligned as its vectors are
  unsigned char* data() { return reinterpret_cast<unsigned char*>(this + 1); }
};
// Of weights there is room for those of the widest vectors, whose strips are the largest.
SOFTDP_FN int64_t saved_bytes(int64_t rows, int64_t columns, bool packs) {
  constexpr int kLanes = kMostLanes;
  const int64_t weights = (bands_of(rows, kLanes) * pitch_of(columns, kLanes) + kLanes) * kLanes * 4;
  const int64_t states = ((rows > 0 ? rows : 1) - 1) / kBand * columns * kStateBytes;
  return int64_t(sizeof(SavedPair)) + (packs ? weights : states);
}

// How far a band has come, in columns; the next band follows. Null: nobody to wait for, or to tell.
struct alignas(64) Progress {
  std::atomic<int64_t> columns{0};
};
SOFTDP_FN void wait_for(const Progress* before, int64_t columns) {
  if (!before) return;
  for (int looks = 0; before->columns.load(std::memory_order_acquire) < columns; looks++) {
    if (looks > 1000) {  // the other thread may not be running
      sched_yield();
      continue;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
}
SOFTDP_FN void tell(Progress* own, int64_t columns) {
  if (own) own->columns.store(columns, std::memory_order_release);
}

// The arithmetics of a pair's sweep, each with more range than the one before: float with exponents in float,
// float with exponents in int32, double, double with gamma 0.
enum class Tier { kNarrow, kFar, kWide, kHard };

// One band of one pair. The bands of a pair may be at work together, each a few columns behind the one
// before; memory that they share is passed on with their progress.
struct Band {
  int64_t pair;
  int64_t begin, end;                // its rows; begin is a multiple of the lanes
  Tier tier;                         // kFar: forward, where the pair packs()
  unsigned char* above = nullptr;    // states of the row above it; null: the boundary
  unsigned char* below = nullptr;    // states of its last row; null: not wanted
  unsigned char* weights = nullptr;  // of the pair, in what is saved; null: not kept, or computed again
  unsigned char* scratch = nullptr;  // this thread's, scratch_bytes()
  Progress* before = nullptr;        // null: alone
  Progress* own = nullptr;
  unsigned char* flow = nullptr;  // backward: adjoints that the band hands up, a number a column
  double* column_sums[3] = {};    // backward: of gaps' gradients over the rows
  double* totals = nullptr;       // backward: [3], of gaps' gradients over all cells
};
// A row of states and, of a band whose weights are computed again, two doubles a cell.
SOFTDP_FN int64_t scratch_bytes(int64_t columns, bool again) {
  const int64_t weights = kBand * (pitch_of(columns, kBand) + kBand) * 2 * int64_t(sizeof(double));
  return columns * kStateBytes + (again ? weights : 0) + 256;
}

struct Outcome {
  bool escapes = false;  // out of the arithmetic's range
  bool coarse = false;   // a score that float's arithmetic cannot tell well, whatever its range
  bool spoiled = false;  // a NaN or +inf was met
  bool hidden = false;   // a finite score was met that counts as -inf
  double score = 0;      // of the last band
};

// L small pairs side by side, from `first` on.
struct Group {
  int64_t first;
  int count;
  unsigned char* scratch;  // group_bytes()
  double* scores;          // forward: to, of the pairs that have any
};
SOFTDP_FN int64_t group_bytes(int64_t rows, int64_t columns) {  // of 64-byte vectors
  return (6 * (rows * columns + 16) + 2 * rows * columns + 4 * columns + 8) * 64;
}

struct Kernels {
  const char* name;
  int lanes;  // of float
  Outcome (*forward_band)(const Problem&, const Band&);
  bool (*backward_band)(const Problem&, const Band&);  // false: these scores were not swept
  // A bit for each pair that is to be swept alone, or whose scores were not swept.
  uint32_t (*forward_group)(const Problem&, const Group&);
  uint32_t (*backward_group)(const Problem&, const Group&, uint32_t pairs);
  // Of float and of double.
  void (*products[2])(const Differences&, const Part&);
  void (*sums[2])(const Differences&, const Part&);
  void (*units[2])(const Units&);
  void (*unit_gradients[2])(const Units&);
  void (*dots[2])(const Dots&);
  void (*weigh[2])(const Dots&);
};

namespace baseline {
extern const Kernels kernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

}  // namespace softdp::cpu
