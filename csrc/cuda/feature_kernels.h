// The kernels of feature_scores.h: unit vectors, tables of pairs, sums over the tables' gradients.
#pragma once
#include <cmath>

#include "bands.h"
#include "feature_scores.h"

namespace softdp::cuda {

// The pairs of a launch: all of some x and some y, or, side by side, an x and the y of the same number.
struct Batch {
  int64_t x, xs, y, ys;  // first and how many; side by side ys is 1
  bool side_by_side;
  int64_t others;
  SOFTDP_FN int64_t count() const { return xs * ys; }
  SOFTDP_FN int64_t x_of(int64_t pair) const { return x + pair / ys; }
  SOFTDP_FN int64_t y_of(int64_t pair) const { return side_by_side ? x + pair : y + pair % ys; }
  // The pair's number in the whole problem.
  SOFTDP_FN int64_t number(int64_t pair) const {
    return side_by_side ? x + pair : x_of(pair) * others + y_of(pair);
  }
};

template <class T>
SOFTDP_DEVICE bool is_finite(T x) {
  return x - x == T(0);
}
template <class T>
SOFTDP_DEVICE T magnitude(T x) {
  return x < 0 ? -x : x;  // NaN stays NaN
}
SOFTDP_DEVICE int clamped(int64_t x, int most) {
  return x < most ? int(x) : most;
}
template <class T>
SOFTDP_DEVICE T sum_of_warp(T x) {
  for (int other = kRows / 2; other > 0; other /= 2) x += shuffle_xor(x, other);
  return x;
}

// ---- unit vectors --------------------------------------------------------------------------------------

constexpr int kUnitWarps = 4;

// Of all steps of x, then of all of y, in each part of the features by itself. A zero vector has the unit
// vector 0 and the gradient 0; what is not finite has NaN.
template <class T>
struct UnitArguments {
  int64_t steps_x, steps_y;  // of all sequences together
  int64_t features;          // of a part
  int heads;
  const T *x, *y;
  T* units;
  T* lengths;
  T *d_x, *d_y;  // by the unit vectors, to become those by the features; null: not wanted
  SOFTDP_FN int64_t vectors() const { return (steps_x + steps_y) * heads; }
  SOFTDP_FN bool is_of_y(int64_t vector) const { return vector >= steps_x * heads; }
};
SOFTDP_DEVICE int64_t warp_of_grid() {
  return int64_t(blockIdx.x) * kUnitWarps + threadIdx.x / kRows;
}

template <class T>
SOFTDP_KERNEL(kUnitWarps* kRows)
make_units(const UnitArguments<T> a) {
  // Squares of what is shorter or longer would leave the range.
  constexpr T kLeast = sizeof(T) == 8 ? T(1e-280) : T(1e-28), kMost = sizeof(T) == 8 ? T(1e280) : T(1e28);
  const int64_t vector = warp_of_grid();
  if (vector >= a.vectors()) return;
  const int lane = int(threadIdx.x) % kRows;
  const T* const from =
      a.is_of_y(vector) ? a.y + (vector - a.steps_x * a.heads) * a.features : a.x + vector * a.features;
  T* const to = a.units + vector * a.features;
  T squares = 0, largest = 0;
  bool finite = true;
  for (int64_t k = lane; k < a.features; k += kRows) {
    const T x = from[k], size = magnitude(x);
    squares += x * x;
    finite = finite && is_finite(x);
    if (size > largest) largest = size;
  }
  squares = sum_of_warp(squares);
  for (int other = kRows / 2; other > 0; other /= 2) {
    const T theirs = shuffle_xor(largest, other);
    if (theirs > largest) largest = theirs;
  }
  finite = all(finite);
  if (!finite || largest == 0) {
    for (int64_t k = lane; k < a.features; k += kRows) to[k] = finite ? T(0) : T(NAN);
    if (lane == 0) a.lengths[vector] = T(ScalarCommon::kInfinity);
    return;
  }
  T scale = 1;
  if (!(squares > kLeast && squares < kMost)) {
    scale = largest;
    squares = 0;
    for (int64_t k = lane; k < a.features; k += kRows) {
      const T x = from[k] / scale;
      squares += x * x;
    }
    squares = sum_of_warp(squares);
  }
  const T length = T(sqrt(squares));
  for (int64_t k = lane; k < a.features; k += kRows) to[k] = from[k] / scale / length;
  if (lane == 0) a.lengths[vector] = length * scale;
}

template <class T>
SOFTDP_KERNEL(kUnitWarps* kRows)
differentiate_units(const UnitArguments<T> a) {
  const int64_t vector = warp_of_grid();
  if (vector >= a.vectors()) return;
  const int lane = int(threadIdx.x) % kRows;
  const bool of_y = a.is_of_y(vector);
  if (!(of_y ? a.d_y : a.d_x)) return;
  T* const d = of_y ? a.d_y + (vector - a.steps_x * a.heads) * a.features : a.d_x + vector * a.features;
  const T* const unit = a.units + vector * a.features;
  T along = 0;
  bool nothing = true;
  for (int64_t k = lane; k < a.features; k += kRows) {
    along += unit[k] * d[k];
    nothing = nothing && d[k] == 0;
  }
  if (all(nothing)) return;  // it stays 0, whatever the step holds
  along = sum_of_warp(along);
  const T length = a.lengths[vector];
  for (int64_t k = lane; k < a.features; k += kRows) d[k] = (d[k] - unit[k] * along) / length;
}

// ---- tables --------------------------------------------------------------------------------------------

// A block of two warps makes kSide by kSide numbers, a thread kEach by kEach of them: two times four rows
// beside each other, and so the columns, which it reads from shared memory four at once.
constexpr int kSide = 64, kEach = 8;
constexpr int kAcross = kSide / kEach, kFeatureThreads = kAcross * kAcross;
constexpr int kDepth = 16;  // features at once
SOFTDP_DEVICE int place_of(int thread, int i) {
  return i / kFour * (kSide / 2) + thread * kFour + i % kFour;
}
// Numbers of a row of shared memory for a thread: one, four or eight.
template <int kCount, class T>
SOFTDP_DEVICE void read_row(const T* row, int thread, T (&to)[kCount]) {
  if constexpr (kCount == 1) {
    to[0] = row[thread];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += kFour) {
      const Four<T> four = four_at(row + place_of(thread, i));
#pragma unroll
      for (int c = 0; c < kFour; c++) to[i + c] = four.x[c];
    }
  }
}

// What is added up over the features, and what their gradients are made of. Differences lose nothing where
// positions are large.
enum class Form {
  kSquares,   // (x - y)^2, and x - y
  kAbsolute,  // |x - y|, and its sign
  kDots,      // x y, of unit vectors, and the other of the two
};
template <Form kForm, class T>
SOFTDP_DEVICE T added(T x, T y) {
  if (kForm == Form::kDots) return x * y;
  const T difference = x - y;
  return kForm == Form::kAbsolute ? magnitude(difference) : difference * difference;
}
template <Form kForm, class T>
SOFTDP_DEVICE T derived(T own, T other) {
  if (kForm == Form::kDots) return other;
  const T difference = own - other;
  return kForm == Form::kSquares ? difference : T(difference > 0) - T(difference < 0);
}

// Blocks that a multiprocessor is to hold: 168 registers a thread, or 255.
template <class T>
constexpr int kFeatureBlocks = sizeof(T) == 4 ? 6 : 4;

// Some rows of the tables of a batch's pairs, as scores to be maximised.
template <class T>
struct Tables {
  Batch batch;
  Pairs pairs;               // count, rows and columns of the tables, and the lengths within them
  int64_t steps_x, steps_y;  // of a sequence
  int64_t first_row;
  int64_t features, pitch;  // of a part of the features; numbers from step to step
  int heads;
  Kind kind;
  const T *x, *y;  // features, or their unit vectors
  SOFTDP_FN const T* step_of_x(int64_t pair, int64_t row, int head) const {
    return x + (batch.x_of(pair) * steps_x + first_row + row) * pitch + head * features;
  }
  SOFTDP_FN const T* step_of_y(int64_t pair, int64_t column, int head) const {
    return y + (batch.y_of(pair) * steps_y + column) * pitch + head * features;
  }
};
SOFTDP_FN int64_t sides_of(int64_t steps) {
  return (steps + kSide - 1) / kSide;
}

template <class T>
struct MakeArguments : Tables<T> {
  T* tables;  // (heads, pairs, rows, columns)
  T* zero;    // the gap of soft-DTW
};

// What a block keeps of both sides' steps, feature by feature.
template <class T>
struct MakeMemory {
  alignas(16) T x[kDepth][kSide + kFour];
  alignas(16) T y[kDepth][kSide + kFour];
};

template <class T, Form kForm>
SOFTDP_KERNEL_BLOCKS(kFeatureThreads, kFeatureBlocks<T>)
make_tables(const MakeArguments<T> a) {
  SOFTDP_SHARED(raw);
  MakeMemory<T>& memory = *reinterpret_cast<MakeMemory<T>*>(raw);
  const int thread = int(threadIdx.x), tx = thread % kAcross, ty = thread / kAcross;
  if (blockIdx.x == 0 && thread == 0) *a.zero = 0;
  const int64_t N = a.pairs.rows, M = a.pairs.columns, down = sides_of(N), along = sides_of(M);
  if (N == 0 || M == 0) return;
  int64_t block = blockIdx.x;
  const int64_t column0 = block % along * kSide, row0 = block / along % down * kSide;
  block /= along * down;
  const int64_t pair = block % a.pairs.count;
  const int head = int(block / a.pairs.count);
  const Extent size = extent_of(a.pairs, pair);
  if (row0 >= size.n || column0 >= size.m) return;

  const int rows = size.n - row0 < kSide ? int(size.n - row0) : kSide,
            columns = size.m - column0 < kSide ? int(size.m - column0) : kSide;
  const T *const x = a.step_of_x(pair, row0, head), *const y = a.step_of_y(pair, column0, head);
  T sum[kEach][kEach] = {};
  for (int64_t k0 = 0; k0 < a.features; k0 += kDepth) {
    const int depth = a.features - k0 < kDepth ? int(a.features - k0) : kDepth;
    const int feature = thread % kDepth;
#pragma unroll
    for (int step = thread / kDepth; step < kSide; step += kFeatureThreads / kDepth) {
      memory.x[feature][step] = step < rows && feature < depth ? x[step * a.pitch + k0 + feature] : T(0);
      memory.y[feature][step] = step < columns && feature < depth ? y[step * a.pitch + k0 + feature] : T(0);
    }
    sync_block();
#pragma unroll 2
    for (int k = 0; k < depth; k++) {
      T of_x[kEach], of_y[kEach];
      read_row(memory.x[k], ty, of_x);
      read_row(memory.y[k], tx, of_y);
#pragma unroll
      for (int i = 0; i < kEach; i++)
#pragma unroll
        for (int j = 0; j < kEach; j++) sum[i][j] += added<kForm>(of_x[i], of_y[j]);
    }
    sync_block();
  }
  T* const table = a.tables + ((head * a.pairs.count + pair) * N + row0) * M + column0;
#pragma unroll
  for (int i = 0; i < kEach; i++)
#pragma unroll
    for (int j = 0; j < kEach; j++) {
      const int row = place_of(ty, i), column = place_of(tx, j);
      if (row >= rows || column >= columns) continue;
      T score = sum[i][j];
      if (kForm == Form::kDots) {
        if (a.kind == Kind::kCosines) score -= 1;
      } else {
        if (!is_finite(score)) {  // an infinite step spoils its pair, an infinite cost forbids a cell
          T spoilt = 0;
          for (int64_t k = 0; k < a.features; k++)
            spoilt += (x[row * a.pitch + k] - x[row * a.pitch + k]) +
                      (y[column * a.pitch + k] - y[column * a.pitch + k]);
          score = T(ScalarCommon::kInfinity) + spoilt;
        }
        score = a.kind == Kind::kRoots ? -T(sqrt(score)) : -score;
      }
      table[row * M + column] = score;
    }
}

// ---- the features' sums --------------------------------------------------------------------------------

constexpr int kOthers = 32;  // steps of the other side at once

// out(i) = factor sum_j g(i,j) f(own_i, other_j), f as Form says, for every step of x and of y, over all the
// pairs of a batch that it is in.
template <class T>
struct WeighArguments : Tables<T> {
  const T* gradients;
  int64_t from_pair, from_head;  // to the next one's gradients, numbers
  const T* roots;                // (pairs, rows, columns): by -roots squared / 2, where they are by -roots
  const T* spoils;               // (pairs,): a pair that is NaN here adds nothing; null: none
  const T* weights;              // by the pairs' numbers; null: 1
  T negligible, factor;
  // Of each side: null where not wanted; added to what is there, or in its place. Where few sequences meet
  // many, blocks share the others out in slices, whose sums go side by side into `parts`.
  struct Side {
    T* d;
    bool adds;
    int64_t slices;
    T* parts;  // (slices, sequences of the batch, steps, features)
  };
  Side sides[2];
  int64_t blocks_x;
};
template <class T>
struct WeighMemory {
  alignas(16) T gradient[kOthers][kSide + kFour];
  alignas(16) T other[kOthers][kSide];
};

// kPer: features of a thread. Where no gradient of kSide by kOthers counts, none of the other side's steps
// are read.
template <class T, Form kForm, int kPer>
SOFTDP_KERNEL_BLOCKS(kFeatureThreads, kFeatureBlocks<T>)
weigh_tables(const WeighArguments<T> a) {
  constexpr int kWidth = kPer * kAcross, kLoads = kSide * kOthers / kFeatureThreads;
  SOFTDP_SHARED(raw);
  WeighMemory<T>& memory = *reinterpret_cast<WeighMemory<T>*>(raw);
  const int thread = int(threadIdx.x), tx = thread % kAcross, ty = thread / kAcross;
  const int64_t N = a.pairs.rows, M = a.pairs.columns;
  const bool of_y = blockIdx.x >= a.blocks_x;
  const auto& side = a.sides[of_y];
  int64_t block = blockIdx.x - (of_y ? a.blocks_x : 0);
  const int64_t slice = block % side.slices;
  block /= side.slices;
  const int64_t sides = sides_of(of_y ? M : N), widths = (a.features + kWidth - 1) / kWidth;
  const int64_t own0 = block % sides * kSide, feature0 = block / sides % widths * kWidth;
  block /= sides * widths;
  const int head = int(block % a.heads);
  const int64_t sequence = block / a.heads, own_steps = of_y ? M : N;
  const int64_t across = of_y ? (a.batch.side_by_side ? 1 : a.batch.xs) : a.batch.ys;
  const auto pair_of = [&](int64_t k) {
    return !of_y ? sequence * a.batch.ys + k : a.batch.side_by_side ? sequence : k * a.batch.ys + sequence;
  };
  const int64_t any = pair_of(0);
  const T* const own = of_y ? a.step_of_y(any, own0, head) : a.step_of_x(any, own0, head);
  const int width = a.features - feature0 < kWidth ? int(a.features - feature0) : kWidth;
  const int own_rows = own_steps - own0 < kSide ? int(own_steps - own0) : kSide;

  const auto feature_of = [&](int f) { return kPer == 1 ? tx : place_of(tx, f); };
  T sum[kEach][kPer] = {}, mine[kEach][kPer] = {};
  if (kForm != Form::kDots)
#pragma unroll
    for (int i = 0; i < kEach; i++)
#pragma unroll
      for (int f = 0; f < kPer; f++) {
        const int step = place_of(ty, i), feature = feature_of(f);
        if (step < own_rows && feature < width) mine[i][f] = own[step * a.pitch + feature0 + feature];
      }
  const int side_of_row = of_y ? kSide : kOthers, jump = kFeatureThreads / side_of_row;
  T unfit = 0;  // NaN where a pair's lengths do not fit
  for (int64_t k = slice * across / side.slices; k < (slice + 1) * across / side.slices; k++) {
    const int64_t pair = pair_of(k);
    const T weight = a.weights ? a.weights[a.batch.number(pair)] : T(1);
    if (weight == 0 || (a.spoils && a.spoils[pair] != a.spoils[pair])) continue;
    const Extent size = extent_of(a.pairs, pair);
    if (size.unfit) unfit = T(NAN);
    const int64_t owns = of_y ? size.m : size.n, others = of_y ? size.n : size.m;
    if (own0 >= owns) continue;
    const T* const gradients = a.gradients + pair * a.from_pair + head * a.from_head;
    const T* const other = of_y ? a.step_of_x(pair, 0, head) : a.step_of_y(pair, 0, head);
    for (int64_t other0 = 0; other0 < others; other0 += kOthers) {
      // Lanes side by side take the columns of a row: the thread's rows are `jump` apart.
      const int along = thread % side_of_row, first = thread / side_of_row,
                steps = clamped(of_y ? others - other0 : owns - own0, first + kLoads * jump);
      const bool inside = along < (of_y ? owns - own0 : others - other0);
      const int64_t at = of_y ? (other0 + first) * M + own0 + along : (own0 + first) * M + other0 + along;
      T* const to = &memory.gradient[of_y ? first : along][of_y ? along : first];
      bool live = false;
#pragma unroll 8
      for (int i = 0; i < kLoads; i++) {
        T g = 0;
        if (inside && first + i * jump < steps) {
          g = gradients[at + i * jump * M];
          if (kForm == Form::kSquares && a.roots) {
            const T root = -a.roots[pair * N * M + at + i * jump * M];
            g = root == 0 && g == g ? T(0) : g / root;  // NaN stays
          }
        }
        live = live || !(magnitude(g) <= a.negligible);
        to[i * jump * (of_y ? kSide + kFour : 1)] = g * weight;
      }
      if (!sync_block_any(live)) continue;
      for (int at = thread; at < kOthers * kWidth; at += kFeatureThreads) {
        const int step = at / kWidth, feature = at % kWidth;
        memory.other[step][feature] = other0 + step < others && feature < width
                                          ? other[(other0 + step) * a.pitch + feature0 + feature]
                                          : T(0);
      }
      sync_block();
#pragma unroll 2
      for (int j = 0; j < kOthers; j++) {
        T g[kEach], of_other[kPer];
        read_row(memory.gradient[j], ty, g);
        read_row(memory.other[j], tx, of_other);
#pragma unroll
        for (int i = 0; i < kEach; i++)
#pragma unroll
          for (int f = 0; f < kPer; f++) sum[i][f] += g[i] * derived<kForm>(mine[i][f], of_other[f]);
      }
      sync_block();
    }
  }
  T* to = side.d + (own - (of_y ? a.y : a.x));
  const bool in_parts = side.slices > 1;
  if (in_parts) {
    const int64_t sequences = of_y ? a.batch.ys : a.batch.xs, steps = of_y ? a.steps_y : a.steps_x;
    const int64_t first = (of_y ? a.batch.y : a.batch.x) * steps * a.pitch;
    to = side.parts + slice * sequences * steps * a.pitch + (to - side.d) - first;
  }
#pragma unroll
  for (int i = 0; i < kEach; i++)
#pragma unroll
    for (int f = 0; f < kPer; f++) {
      const int step = place_of(ty, i), feature = feature_of(f);
      if (step >= own_rows || feature >= width) continue;
      T& out = to[step * a.pitch + feature0 + feature];
      out = (side.adds && !in_parts ? out : T(0)) + a.factor * sum[i][f] + unfit;
    }
}

template <class T>
struct JoinArguments {
  int64_t sequences, steps, first_row, rows, features;
  int64_t slices;
  const T* parts;  // (slices, sequences, steps, features)
  T* d;            // (sequences, steps, features)
  bool adds;
};
// The sum of the slices, of some rows.
template <class T>
SOFTDP_KERNEL(kFeatureThreads)
join_slices(const JoinArguments<T> a) {
  const int64_t row = a.rows * a.features, at = int64_t(blockIdx.x) * kFeatureThreads + threadIdx.x;
  if (at >= a.sequences * row) return;
  const int64_t number = (at / row * a.steps + a.first_row) * a.features + at % row;
  T sum = a.adds ? a.d[number] : T(0);
  for (int64_t slice = 0; slice < a.slices; slice++)
    sum += a.parts[slice * a.sequences * a.steps * a.features + number];
  a.d[number] = sum;
}

// ---- pairs that go in strips, or beside one another ------------------------------------------------------

constexpr int kPairThreads = 128;

// The lengths of a batch's pairs, strip by strip, and which strip holds a pair's last cell.
template <class T>
struct CutArguments {
  Batch batch;
  Pairs whole;  // lengths by x and by y
  int64_t strips, height;
  int64_t *n, *m;  // (strips, pairs), (pairs,); -1 where they do not fit
  T* seeds;        // (strips, pairs): 1 where the pair's last cell is, else 0
};
template <class T>
SOFTDP_KERNEL(kPairThreads)
cut_pairs(const CutArguments<T> a) {
  const int64_t pair = int64_t(blockIdx.x) * kPairThreads + threadIdx.x, count = a.batch.count();
  if (pair >= count) return;
  const int64_t n = a.whole.x_lengths(a.batch.x_of(pair), a.whole.rows),
                m = a.whole.y_lengths(a.batch.y_of(pair), a.whole.columns);
  const bool fits = n >= 0 && m >= 0 && n <= a.whole.rows && m <= a.whole.columns;
  a.m[pair] = fits ? m : -1;
  for (int64_t strip = 0; strip < a.strips; strip++) {
    const int64_t left = n - strip * a.height;
    a.n[strip * count + pair] = !fits ? -1 : left < 0 ? 0 : left < a.height ? left : a.height;
    a.seeds[strip * count + pair] = T(fits && m > 0 && left > 0 && left <= a.height);
  }
}

// The scores of a batch's pairs, of those of their strips.
template <class T>
struct CollectArguments {
  Batch batch;
  int64_t strips;
  const T* strip_scores;  // (strips, pairs)
  const T* seeds;         // null: one strip
  bool costs;
  T* score;     // by the pairs' numbers; null: not wanted
  T* verdicts;  // (pairs,): NaN of a pair that is spoiled, -1 of one without a path, else 1; null: not wanted
};
template <class T>
SOFTDP_KERNEL(kPairThreads)
collect_scores(const CollectArguments<T> a) {
  const int64_t pair = int64_t(blockIdx.x) * kPairThreads + threadIdx.x, count = a.batch.count();
  if (pair >= count) return;
  T score = a.strip_scores[pair];
  bool spoiled = false;
  if (a.seeds)
    for (int64_t strip = 0; strip < a.strips; strip++) {
      const T own = a.strip_scores[strip * count + pair];
      spoiled = spoiled || own != own;
      if (a.seeds[strip * count + pair] == 0) continue;
      score = own;
      break;
    }
  // Strips end at cells that have no path, or hide one past the range, where paths go round them: only where
  // none is left in the end does that count.
  if (score == -ScalarCommon::kInfinity && spoiled) score = T(NAN);
  if (a.verdicts)
    a.verdicts[pair] = score != score ? score : score == -ScalarCommon::kInfinity ? T(-1) : T(1);
  if (a.score) a.score[a.batch.number(pair)] = a.costs ? T(0) - score : score;
}

// ---- gradients times that of the score -------------------------------------------------------------------

constexpr int kScaled = 4;  // numbers of a thread

template <class T>
SOFTDP_KERNEL(kFeatureThreads)
scale_made(const ScaledGradient<T> a) {
  const int64_t total = a.pairs * a.numbers;
#pragma unroll
  for (int i = 0; i < kScaled; i++) {
    const int64_t at = (int64_t(blockIdx.x) * kScaled + i) * kFeatureThreads + threadIdx.x;
    if (at >= total) return;
    const int64_t pair = at / a.numbers;
    const T factor = a.of_score[pair * a.of_score_stride], score = a.score[pair];
    a.out[at] = factor == 0 ? T(0) : score != score ? score : a.made[at] * factor;
  }
}

}  // namespace softdp::cuda
