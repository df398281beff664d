// The structs that the CPU kernels take, and the table of kernels that every instruction set has.
//
// The saved state of a pair has saved_bytes() bytes. It begins with a verdict. A sweep in float saves the
// weights of the pair's cells too, in four bytes each (weights.h). A sweep in double, or of a small pair,
// saves the row of states above every band of kBand rows but the first. The backward sweep then computes a
// band's weights again from its scores, in the cache.
#pragma once
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <limits>

#include "../problem.h"
#include "../several_states.h"
#include "cosines.h"
#include "distances.h"
#include "layout.h"

namespace softdp::cpu {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// `score` and `grad_score` are float64 where scores[0] is float64, and float32 for all other types. A
// recurrence reads as many of `scores` as it has tables.
struct Problem {
  Pairs pairs;
  Recurrence recurrence;
  Start start;
  Ends ends;
  bool shared_gap;           // delete = insert, read once; insert receives the sum of both gradients
  bool visits;               // backward: gradients[0] receives A(i,j), the share of paths through a cell
  bool costs;                // the smooth minimum of costs, -S(-scores)
  bool in_double;            // swept in double, for scores of any type
  bool is_piece;             // a piece of a larger table: gives no verdict on the pair
  const Corridor* of_piece;  // its corridor, which then is that of the only pair; null: pairs.corridor()
  double gamma, threshold;
  Table scores[kMostTables];
  OneForAll one_for_all;
  void* score;             // forward: (B,)
  unsigned char* saved;    // (B, saved_bytes()); forward: null where no gradient is wanted
  void* ends_weights;      // (B, ends_of()), as saved; of the scores' type
  const void* grad_score;  // backward: (B,)
  Sink gradients[kMostTables];
  double negligible;  // backward: adjoints up to this magnitude may count as 0
  // The states S, for costs too: never -S. Backward takes the same as forward.
  Boundary<double> boundary;
  BoundaryGradient<double> by_boundary;
};

SOFTDP_FN bool is_double(const Problem& p) {
  return p.scores[0].type == Type::kFloat64;
}
// Whether the arithmetic in float is tried first.
SOFTDP_FN bool is_narrow(const Problem& p) {
  return !is_double(p) && !p.in_double && p.gamma > 1e-30 && p.gamma < 1e30;
}
// In float the error of a score is some 1e-7 gamma, however small the score is. That is too much where gamma
// is large.
SOFTDP_FN bool is_coarse(double gamma, double score) {
  return gamma > 4 && score < 4 * gamma && score > -4 * gamma;
}
constexpr int kGroupRows = 32, kGroupColumns = 32;
// Whether a sweep in float saves the weights of the cells. The weights of small pairs are computed again:
// they need no memory of their own, and are kept in full. So are those of several states a cell.
SOFTDP_FN bool packs(const Problem& p) {
  return is_narrow(p) && !has_several_states(p.recurrence) &&
         (p.pairs.rows > kGroupRows || p.pairs.columns > kGroupColumns);
}
// Sets the score of a pair from its S(n, m), which is never -S.
SOFTDP_FN void set_score(const Problem& p, int64_t pair, double score) {
  if (p.costs) score = 0 - score;  // 0, not -0, for a pair without cells
  if (is_double(p))
    static_cast<double*>(p.score)[pair] = score;
  else
    static_cast<float*>(p.score)[pair] = float(score);
}
// The pair's number among `numbers`: the scores, or their gradient.
SOFTDP_FN double number_of(const Problem& p, const void* numbers, int64_t pair) {
  return is_double(p) ? static_cast<const double*>(numbers)[pair]
                      : double(static_cast<const float*>(numbers)[pair]);
}

SOFTDP_FN Corridor corridor_of(const Problem& p, int64_t pair) {
  return p.of_piece ? *p.of_piece : p.pairs.corridor(pair);
}

constexpr int kBand = 16, kMostLanes = 16;
constexpr int64_t kStateBytes = 16;  // of the widest state, for each of a row's states

enum class Verdict : int64_t { kGrouped, kNarrow, kDouble, kHard, kSpoiled, kNoPath, kEmpty };

struct SavedPair {
  Verdict verdict;
  int64_t unused[7];  // 64 bytes in all, so that the vectors behind are aligned
  unsigned char* data() { return reinterpret_cast<unsigned char*>(this + 1); }
};
// There is room for the weights of the widest vectors, whose strips are the largest. A pair with a bandwidth
// may have any lengths up to `rows` and `columns`. Its strips then have up to 16 s + 2 w + 47 steps, where s
// is how many columns the corridor goes to the right in a row. Over all strips, 16 s adds up to 2 `columns`.
SOFTDP_FN int64_t saved_bytes(int64_t rows, int64_t columns, bool packs, int64_t bandwidth = -1,
                              int row_states = 1) {
  constexpr int kLanes = kMostLanes;
  const int64_t strips = bands_of(rows, kLanes), kept_rows = ((rows > 0 ? rows : 1) - 1) / kBand;
  int64_t steps = strips * pitch_of(columns, kLanes), states = kept_rows * columns;
  if (bandwidth >= 0) {
    // Several states are kept of float's strips too, and then not of wider rows than these have steps.
    const int64_t few_steps = strips * (2 * bandwidth + 48) + 2 * columns,
                  few_states = row_states > 1 ? few_steps : kept_rows * (2 * bandwidth + 32) + columns;
    steps = few_steps < steps ? few_steps : steps, states = few_states < states ? few_states : states;
  }
  return int64_t(sizeof(SavedPair)) +
         (packs ? (steps + kLanes) * kLanes * 4 : states * row_states * kStateBytes);
}
SOFTDP_FN int64_t saved_bytes(const Problem& p) {
  return saved_bytes(p.pairs.rows, p.pairs.columns, packs(p), p.pairs.bandwidth, row_states_of(p.recurrence));
}

// How many columns of a band are done. The next band follows. Null: there is no band to wait for, or to tell.
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

// The arithmetic of a pair's sweep. Each tier has more range than the one before: float with exponents in
// float, float with exponents in int32, double, double with gamma 0.
enum class Tier { kNarrow, kFar, kDouble, kHard };

// One band of one pair. Several bands of a pair may be swept at once, each a few columns behind the band
// before. Memory that they share is passed on with their progress.
struct Band {
  int64_t pair;
  int64_t begin, end;              // its rows; begin is a multiple of the lanes
  Tier tier;                       // kFar: forward only, where the pair packs()
  unsigned char* above = nullptr;  // states of the row above the band; null: the boundary
  unsigned char* below = nullptr;  // states of its last row; null: not wanted
  int64_t above_first = 0;         // the column of the first state of `above`
  int64_t below_first = 0;
  int64_t columns = 0;               // how many states `above` and `below` have
  unsigned char* weights = nullptr;  // in the pair's saved state; null: not kept, or computed again
  unsigned char* scratch = nullptr;  // of the thread, scratch_bytes()
  Progress* before = nullptr;        // null: bands are swept one after the other
  Progress* own = nullptr;
  unsigned char* flow = nullptr;          // backward: adjoints that the band hands up, one for each column
  double* column_sums[kMostTables] = {};  // backward: of gaps' gradients over the rows
  double* totals = nullptr;               // backward: [kMostTables], of gaps' gradients over all cells
};
// Room for a row of states and, where a band's weights are computed again, some doubles for each cell.
SOFTDP_FN int64_t scratch_bytes(int64_t columns, bool again, int row_states = 1, int numbers = 2) {
  const int64_t weights = kBand * (pitch_of(columns, kBand) + kBand) * numbers * int64_t(sizeof(double));
  return columns * row_states * kStateBytes + (again ? weights : 0) + 256;
}
SOFTDP_FN int64_t scratch_bytes(const Problem& p, bool again) {
  const int numbers = has_several_states(p.recurrence) ? numbers_of(p.recurrence) : 2;
  return scratch_bytes(p.pairs.columns, again, row_states_of(p.recurrence), numbers);
}

struct Outcome {
  bool escapes = false;  // out of the arithmetic's range
  bool coarse = false;   // the score is too inexact in float: is_coarse
  bool spoiled = false;  // the band has a NaN or +inf
  bool hidden = false;   // the band has a finite score that counts as -inf
  double score = 0;      // of the last band
};

// L small pairs side by side, from `first` on.
struct Group {
  int64_t first;
  int count;
  unsigned char* scratch;  // group_bytes()
  double* scores;          // forward: receives the scores of pairs with cells
};
SOFTDP_FN int64_t group_bytes(int64_t rows, int64_t columns) {  // with vectors of 64 bytes
  return (6 * (rows * columns + 16) + 2 * rows * columns + 4 * columns + 8) * 64;
}

struct Kernels {
  const char* name;
  int lanes;  // of float
  Outcome (*forward_band)(const Problem&, const Band&);
  bool (*backward_band)(const Problem&, const Band&);  // false: the scores have changed
  // Return a bit for each pair. Forward: the pair must be swept by itself. Backward: its scores have changed
  // since the forward sweep.
  uint32_t (*forward_group)(const Problem&, const Group&);
  uint32_t (*backward_group)(const Problem&, const Group&, uint32_t pairs);
  // For float and for double.
  void (*products[2])(const Differences&, const Part&);
  void (*sums[2])(const Differences&, const Part&);
  void (*units[2])(const Units&);
  void (*unit_gradients[2])(const Units&);
  void (*dots[2])(const Dots&);
  void (*weigh[2])(const Dots&);
};

// Beside its table, the functions of recurrences with several states a cell, which are compiled apart:
// kernels_of_states.cpp.
#define SOFTDP_KERNELS(isa)                               \
  namespace isa {                                         \
  extern const Kernels kernels;                           \
  Outcome forward_of_states(const Problem&, const Band&); \
  bool backward_of_states(const Problem&, const Band&);   \
  }
SOFTDP_KERNELS(baseline)
#if defined(__x86_64__)
SOFTDP_KERNELS(avx2)
SOFTDP_KERNELS(avx512)
#endif
#undef SOFTDP_KERNELS

}  // namespace softdp::cpu
