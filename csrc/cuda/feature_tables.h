// Tables of features' scores: unit vectors, and the tables of pairs.
#pragma once
#include <cmath>
#include <type_traits>

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
  for (int other = kStripRows / 2; other > 0; other /= 2) x += shuffle_xor(x, other);
  return x;
}

// ---- tasks: what takes little time ---------------------------------------------------------------------

constexpr int kTaskThreads = 128, kTaskBlocks = 12;  // of a multiprocessor: 40 registers a thread

// A task in float or in double, so that one kernel does both. A Task has items(), and does one when called.
template <template <class> class Task>
struct EitherType {
  bool is_double;
  union {
    Task<float> in_float;
    Task<double> in_double;
  };
  explicit EitherType(const Task<float>& task) : is_double(false), in_float(task) {}
  explicit EitherType(const Task<double>& task) : is_double(true), in_double(task) {}
};
template <template <class> class Task>
SOFTDP_KERNEL_BLOCKS(kTaskThreads, kTaskBlocks)
do_task(const EitherType<Task> either) {
  const auto run = [](const auto& task) {
    const int64_t item = int64_t(blockIdx.x) * kTaskThreads + threadIdx.x;
    if (item < task.items()) task(item);
  };
  either.is_double ? run(either.in_double) : run(either.in_float);
}
template <template <class> class Task, class T>
Error launch_task(const Task<T>& task, Stream stream) {
  return launch(do_task<Task>, (task.items() + kTaskThreads - 1) / kTaskThreads, kTaskThreads, 0, stream,
                EitherType<Task>(task));
}

// ---- unit vectors --------------------------------------------------------------------------------------

// Of all steps of x, then of all of y, in each part of the features by itself. A zero vector has the unit
// vector 0 and the gradient 0; what is not finite has NaN. A warp makes one vector, or differentiates it.
template <class T>
struct UnitVectors {
  bool differentiates;
  int64_t steps_x, steps_y;  // of all sequences together
  int64_t features;          // of a part
  int heads;
  const T *x, *y;
  T* units;
  T* lengths;
  T *d_x, *d_y;  // by the unit vectors, to become those by the features; null: not wanted
  SOFTDP_FN int64_t items() const { return (steps_x + steps_y) * heads * kStripRows; }
  SOFTDP_FN bool is_of_y(int64_t vector) const { return vector >= steps_x * heads; }
  SOFTDP_DEVICE void operator()(int64_t item) const {
    const int lane = int(item % kStripRows);
    differentiates ? differentiate_unit(*this, item / kStripRows, lane)
                   : make_unit(*this, item / kStripRows, lane);
  }
};

template <class T>
SOFTDP_DEVICE void make_unit(const UnitVectors<T>& a, int64_t vector, int lane) {
  // Squares of what is shorter or longer would leave the range.
  constexpr T kLeast = sizeof(T) == 8 ? T(1e-280) : T(1e-28), kMost = sizeof(T) == 8 ? T(1e280) : T(1e28);
  const T* const from =
      a.is_of_y(vector) ? a.y + (vector - a.steps_x * a.heads) * a.features : a.x + vector * a.features;
  T* const to = a.units + vector * a.features;
  T squares = 0, largest = 0;
  bool finite = true;
  for (int64_t k = lane; k < a.features; k += kStripRows) {
    const T x = from[k], size = magnitude(x);
    squares += x * x;
    finite = finite && is_finite(x);
    if (size > largest) largest = size;
  }
  squares = sum_of_warp(squares);
  for (int other = kStripRows / 2; other > 0; other /= 2) {
    const T theirs = shuffle_xor(largest, other);
    if (theirs > largest) largest = theirs;
  }
  finite = all(finite);
  if (!finite || largest == 0) {
    for (int64_t k = lane; k < a.features; k += kStripRows) to[k] = finite ? T(0) : T(NAN);
    if (lane == 0) a.lengths[vector] = T(ScalarCommon::kInfinity);
    return;
  }
  T scale = 1;
  if (!(squares > kLeast && squares < kMost)) {
    scale = largest;
    squares = 0;
    for (int64_t k = lane; k < a.features; k += kStripRows) {
      const T x = from[k] / scale;
      squares += x * x;
    }
    squares = sum_of_warp(squares);
  }
  const T length = T(sqrt(squares));
  for (int64_t k = lane; k < a.features; k += kStripRows) to[k] = from[k] / scale / length;
  if (lane == 0) a.lengths[vector] = length * scale;
}

template <class T>
SOFTDP_DEVICE void differentiate_unit(const UnitVectors<T>& a, int64_t vector, int lane) {
  const bool of_y = a.is_of_y(vector);
  if (!(of_y ? a.d_y : a.d_x)) return;
  T* const d = of_y ? a.d_y + (vector - a.steps_x * a.heads) * a.features : a.d_x + vector * a.features;
  const T* const unit = a.units + vector * a.features;
  T along = 0;
  bool nothing = true;
  for (int64_t k = lane; k < a.features; k += kStripRows) {
    along += unit[k] * d[k];
    nothing = nothing && d[k] == 0;
  }
  if (all(nothing)) return;  // it stays 0, whatever the step holds
  along = sum_of_warp(along);
  const T length = a.lengths[vector];
  for (int64_t k = lane; k < a.features; k += kStripRows) d[k] = (d[k] - unit[k] * along) / length;
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
SOFTDP_FN Form form_of(Kind kind) {
  if (kind == Kind::kSquares || kind == Kind::kRoots) return Form::kSquares;
  return kind == Kind::kAbsolute ? Form::kAbsolute : Form::kDots;
}
// Calls run with the kind's form as a constant. A kernel takes the kind at run time: its loops over the
// features are compiled for each form, the rest of it once.
template <class Run>
SOFTDP_DEVICE void with_form(Kind kind, Run run) {
  const Form form = form_of(kind);
  if (form == Form::kSquares) run(std::integral_constant<Form, Form::kSquares>());
  if (form == Form::kAbsolute) run(std::integral_constant<Form, Form::kAbsolute>());
  if (form == Form::kDots) run(std::integral_constant<Form, Form::kDots>());
}
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

// Blocks that a multiprocessor is to hold: 168 registers a thread in float, 255 in double. Threads of one
// feature have 96 and 168.
template <class T, bool kOneFeature = false>
constexpr int kFeatureBlocks = sizeof(T) == 4 ? (kOneFeature ? 10 : 6) : (kOneFeature ? 6 : 4);

// Within a bandwidth, of each pair: which columns of a row are inside and which rows of a column, (pairs,
// rows) and (pairs, columns), and the pitch of what is saved, (pairs,). Null: there is no bandwidth.
struct Corridors {
  Columns *of_rows, *of_columns;
  int* pitch;
};
template <class T>
struct FindCorridors {
  Pairs pairs;
  Corridors found;
  SOFTDP_FN int64_t items() const { return pairs.count * (pairs.rows + pairs.columns); }
  SOFTDP_DEVICE void operator()(int64_t item) const {
    const int64_t steps = pairs.rows + pairs.columns, pair = item / steps, step = item % steps;
    const Extent size = extent_of(pairs, pair);
    Corridor inside = Corridor::of(size.n, size.m, pairs.bandwidth);
    if (step == 0) found.pitch[pair] = int(saved_pitch(inside));
    const bool of_column = step >= pairs.rows;
    if (of_column) inside = inside.transposed();
    const int64_t own = of_column ? step - pairs.rows : step;
    Columns& to =
        of_column ? found.of_columns[pair * pairs.columns + own] : found.of_rows[pair * pairs.rows + own];
    to = own <= inside.down && inside.right >= 0 ? Columns{int(inside.begin(own)), int(inside.end(own))}
                                                 : Columns{0, 0};
  }
};

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
  Corridors within;
  // Numbers from row to row of a pair, and the place of a column in its row.
  SOFTDP_DEVICE int64_t pitch_of(int64_t pair) const {
    return within.pitch ? int64_t(within.pitch[pair]) : pairs.columns;
  }
  SOFTDP_DEVICE int64_t place_in_row(int64_t column, int64_t pitch) const {
    return within.pitch ? int64_t(unsigned(column) % unsigned(pitch)) : column;
  }
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
  T* tables;  // (heads, pairs, cells_of(pairs))
  T* zero;    // the gap of soft-DTW
};
// How many tiles beside each other may hold what is inside of kSide rows. Lengths may give any slope.
SOFTDP_FN int64_t tiles_along(const Pairs& pairs) {
  const Corridor inside = Corridor::of(pairs.rows, pairs.columns, pairs.bandwidth);
  const int64_t all = sides_of(pairs.columns);
  if (inside.is_everywhere() || pairs.has_lengths()) return all;
  const int64_t columns = ((kSide - 1) * inside.right + 2 * inside.reach) / inside.down + 1,
                tiles = sides_of(columns) + 1;
  return tiles < all ? tiles : all;
}

// The score of two steps, by the sum over their features. Steps that are not inside are not read.
template <Form kForm, class T>
SOFTDP_DEVICE T score_of(const Tables<T>& a, T sum, bool inside, const T* x, const T* y) {
  if (kForm == Form::kDots) return a.kind == Kind::kCosines ? sum - 1 : sum;
  if (!is_finite(sum) && inside) {  // an infinite step spoils its pair, an infinite cost forbids a cell
    T spoilt = 0;
#pragma unroll 1
    for (int64_t k = 0; k < a.features; k++) spoilt += (x[k] - x[k]) + (y[k] - y[k]);
    sum = T(ScalarCommon::kInfinity) + spoilt;
  }
  return a.kind == Kind::kRoots ? -T(sqrt(sum)) : -sum;
}

// What a block keeps of both sides' steps, feature by feature.
template <class T>
struct MakeMemory {
  alignas(16) T x[kDepth][kSide + kFour];
  alignas(16) T y[kDepth][kSide + kFour];
};

template <class T>
SOFTDP_KERNEL_BLOCKS(kFeatureThreads, kFeatureBlocks<T>)
make_tables(const MakeArguments<T> a) {
  SOFTDP_SHARED(raw);
  MakeMemory<T>& memory = *reinterpret_cast<MakeMemory<T>*>(raw);
  const int thread = int(threadIdx.x), tx = thread % kAcross, ty = thread / kAcross;
  if (blockIdx.x == 0 && thread == 0) *a.zero = 0;
  const int64_t N = a.pairs.rows, M = a.pairs.columns, down = sides_of(N), along = tiles_along(a.pairs);
  if (N == 0 || M == 0) return;
  const int64_t block = blockIdx.x, row0 = block / along % down * kSide, table = block / along / down,
                pair = table % a.pairs.count;
  int64_t column0 = block % along * kSide;
  const int head = int(table / a.pairs.count);
  const Extent size = extent_of(a.pairs, pair);
  if (row0 >= size.n) return;
  if (a.within.pitch) {  // the tiles begin where the first row does
    const Columns* const of_rows = a.within.of_rows + pair * N;
    const int64_t last = row0 + kSide < size.n ? row0 + kSide - 1 : size.n - 1;
    column0 += of_rows[row0].begin & -kSide;
    if (column0 >= of_rows[last].end) return;
  }
  if (column0 >= size.m) return;

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
    with_form(a.kind, [&](auto form) {
#pragma unroll 2
      for (int k = 0; k < depth; k++) {
        T of_x[kEach], of_y[kEach];
        read_row(memory.x[k], ty, of_x);
        read_row(memory.y[k], tx, of_y);
#pragma unroll
        for (int i = 0; i < kEach; i++)
#pragma unroll
          for (int j = 0; j < kEach; j++) sum[i][j] += added<form>(of_x[i], of_y[j]);
      }
    });
    sync_block();
  }
  const int64_t pitch = a.pitch_of(pair);
  T* const to = a.tables + (head * a.pairs.count + pair) * cells_of(a.pairs) + row0 * pitch;
  with_form(a.kind, [&](auto form) {
#pragma unroll
    for (int i = 0; i < kEach; i++)
#pragma unroll
      for (int j = 0; j < kEach; j++) {
        const int row = place_of(ty, i), column = place_of(tx, j);
        const bool inside = row < rows && column < columns;
        sum[i][j] = score_of<form>(a, sum[i][j], inside, x + row * a.pitch, y + column * a.pitch);
      }
  });
  // In a loop of its own: together with the scores it takes more registers than there are.
  int64_t places[kEach / kFour];  // of four columns each
#pragma unroll
  for (int j = 0; j < kEach; j += kFour) places[j / kFour] = a.place_in_row(column0 + place_of(tx, j), pitch);
#pragma unroll
  for (int i = 0; i < kEach; i++) {
    const int row = place_of(ty, i);
    if (row >= rows) continue;
    Columns inside{0, columns};
    if (a.within.pitch) {
      const Columns of_row = a.within.of_rows[pair * N + row0 + row];
      inside = {int(of_row.begin - column0), int(of_row.end - column0)};
    }
#pragma unroll
    for (int j = 0; j < kEach; j++)
      if (inside.has(place_of(tx, j))) to[row * pitch + places[j / kFour] + j % kFour] = sum[i][j];
  }
}

}  // namespace softdp::cuda
