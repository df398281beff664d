// The kernels of cosines.h. Dots have lanes along y's steps, weighted sums along the features.
#pragma once
#include <algorithm>
#include <cmath>

#include "cosines.h"
#include "difference_sums.h"

namespace softdp::cpu::SOFTDP_ISA {

// ---- unit vectors --------------------------------------------------------------------------------------

template <class T>
SOFTDP_FN T dot(const T* a, const T* b, int64_t count) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) sum[v] = Vec<T>(T(0));
  int64_t k = 0;
  for (; k + 4 * L <= count; k += 4 * L)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++)
      sum[v] = muladd(Vec<T>::load(a + k + v * L), Vec<T>::load(b + k + v * L), sum[v]);
  for (; k + L <= count; k += L) sum[0] = muladd(Vec<T>::load(a + k), Vec<T>::load(b + k), sum[0]);
  T total = sum_of((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; k < count; k++) total += a[k] * b[k];
  return total;
}
// to(k) = a(k) / by
template <class T>
SOFTDP_FN void divide(const T* a, T by, int64_t count, T* to) {
  constexpr int L = kLanes<T>;
  int64_t k = 0;
  for (; k + L <= count; k += L) (Vec<T>::load(a + k) / Vec<T>(by)).store(to + k);
  for (; k < count; k++) to[k] = a[k] / by;
}

template <class T>
void units(const Units& p) {
  // Squares of shorter or longer vectors would leave the range.
  constexpr T least = sizeof(T) == 8 ? T(1e-280) : T(1e-28), most = sizeof(T) == 8 ? T(1e280) : T(1e28);
  const int64_t features = p.features / p.heads;
  const T* x = static_cast<const T*>(p.x);
  T *unit = static_cast<T*>(p.unit), *length = static_cast<T*>(p.length);
  for (int64_t i = 0; i < p.steps * p.heads; i++, x += features, unit += features) {
    const T squares = dot(x, x, features);
    if (squares > least && squares < most) {
      length[i] = std::sqrt(squares);
      divide(x, length[i], features, unit);
      continue;
    }
    T largest = 0;
    bool finite = true;
    for (int64_t k = 0; k < features; k++) {
      finite = finite && std::abs(x[k]) <= std::numeric_limits<T>::max();
      if (std::abs(x[k]) > largest) largest = std::abs(x[k]);
    }
    if (!finite || largest == 0) {
      for (int64_t k = 0; k < features; k++) unit[k] = finite ? T(0) : std::numeric_limits<T>::quiet_NaN();
      length[i] = std::numeric_limits<T>::infinity();
      continue;
    }
    divide(x, largest, features, unit);
    const T of_those = std::sqrt(dot(unit, unit, features));
    divide(unit, of_those, features, unit);
    length[i] = of_those * largest;
  }
}

template <class T>
void unit_gradients(const Units& p) {
  constexpr int L = kLanes<T>;
  const int64_t features = p.features / p.heads;
  const T *unit = static_cast<const T*>(p.unit), *const length = static_cast<const T*>(p.length);
  T* d = static_cast<T*>(p.gradient);
  for (int64_t i = 0; i < p.steps * p.heads; i++, unit += features, d += features) {
    const T along = dot(unit, d, features);
    if (std::isnan(along) && std::all_of(d, d + features, [](T x) { return x == 0; })) continue;
    int64_t k = 0;
    for (; k + L <= features; k += L)
      (muladd(Vec<T>(-along), Vec<T>::load(unit + k), Vec<T>::load(d + k)) / Vec<T>(length[i])).store(d + k);
    for (; k < features; k++) d[k] = (d[k] - along * unit[k]) / length[i];
  }
}

// ---- dots ----------------------------------------------------------------------------------------------

template <class T, int kRows, int kVectors>
SOFTDP_FN void dots_tile(const T* x, int64_t pitch, const T* y, int64_t features, T offset, T factor, T* out,
                         int64_t columns, int64_t left) {
  constexpr int L = kLanes<T>, kWidth = kVectors * L;
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) sum[r][v] = Vec<T>(T(0));
  for (int64_t k = 0; k < features; k++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      const Vec<T> b = Vec<T>::load(y + k * kWidth + v * L);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) sum[r][v] = muladd(Vec<T>(x[r * pitch + k]), b, sum[r][v]);
    }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      const Vec<T> c = muladd(sum[r][v], Vec<T>(factor), Vec<T>(offset));
      const int64_t here = left - v * L;
      if (here >= L)
        c.store(out + r * columns + v * L);
      else if (here > 0)
        store_part(c, out + r * columns, v * L, 0, int(here));
    }
}
template <class T, int kVectors>
SOFTDP_FN void dots_of_block(const Dots& p, int64_t j) {
  constexpr int kRows = 4, kWidth = kVectors * kLanes<T>;
  static_assert(kWidth * sizeof(T) <= kDotsBytes, "the scratch holds a block of y");
  const T *const x = static_cast<const T*>(p.x), *const y = static_cast<const T*>(p.y);
  T *const block = static_cast<T*>(p.scratch), *const out = static_cast<T*>(p.table) + j;
  const int64_t end = j + kWidth < p.columns ? j + kWidth : p.columns;
  transpose_block(y, p.pitch, j, end, p.features, block, kWidth, kWidth);
  const T offset = T(p.offset), factor = T(p.factor);
  int64_t i = 0;
  for (; i + kRows <= p.rows; i += kRows)
    dots_tile<T, kRows, kVectors>(x + i * p.pitch, p.pitch, block, p.features, offset, factor,
                                  out + i * p.table_pitch, p.table_pitch, end - j);
  for (; i < p.rows; i++)
    dots_tile<T, 1, kVectors>(x + i * p.pitch, p.pitch, block, p.features, offset, factor,
                              out + i * p.table_pitch, p.table_pitch, end - j);
}
template <class T>
void dots(const Dots& p) {
  constexpr int kVectors = kManyRegisters ? 4 : 2, L = kLanes<T>;
  int64_t j = 0;
  for (; j + 2 * L < p.columns; j += kVectors * L) dots_of_block<T, kVectors>(p, j);
  if (j + L < p.columns)
    dots_of_block<T, 2>(p, j);
  else if (j < p.columns)
    dots_of_block<T, 1>(p, j);
}

// ---- weighted sums -------------------------------------------------------------------------------------

// The live parts of a table of at most kMostSteps x kMostSteps. They are, for each block of rows, the range
// of columns whose blocks have a number that counts; and for each block of columns the range of rows.
constexpr int kMostSteps = 256, kLiveBlock = 32, kLiveBlocks = kMostSteps / kLiveBlock;
struct Live {
  int first[kLiveBlocks], last[kLiveBlocks];  // in steps; first >= last: none
};
template <class T>
SOFTDP_FN void find_live(const T* table, int64_t pitch, int rows, int columns, T negligible, Live& of_rows,
                         Live& of_columns) {
  constexpr int L = kLanes<T>;
  for (Live* live : {&of_rows, &of_columns})
    for (int b = 0; b < kLiveBlocks; b++) live->first[b] = kMostSteps, live->last[b] = 0;
  for (int j = 0; j < columns; j += kLiveBlock)
    for (int i = 0; i < rows; i += kLiveBlock) {
      const int width = columns - j < kLiveBlock ? columns - j : kLiveBlock,
                height = rows - i < kLiveBlock ? rows - i : kLiveBlock;
      typename Vec<T>::Mask some{};  // not negligible, or NaN
      for (int r = 0; r < height; r++) {
        const T* const row = table + (i + r) * pitch + j;
        for (int k = 0; k < width; k += L) {
          const Vec<T> w = k + L <= width ? Vec<T>::load(row + k) : load_part(row, k, 0, width - k);
          some |= ~((w <= Vec<T>(negligible)) & (w >= Vec<T>(-negligible)));
        }
      }
      if (!any(some)) continue;
      const auto reaches = [](Live& live, int block, int begin, int end) {
        if (begin < live.first[block]) live.first[block] = begin;
        if (end > live.last[block]) live.last[block] = end;
      };
      reaches(of_rows, i / kLiveBlock, j, j + width);
      reaches(of_columns, j / kLiveBlock, i, i + height);
    }
}

// out(r, k) = factor sum over `count` steps of weight(r, step) steps(step, k); `adds`: out(r, k) += that.
template <class T, int kRows, int kVectors>
SOFTDP_FN void weigh_tile(const T* weights, int64_t row, int64_t step, int64_t count, const T* steps,
                          T factor, bool adds, T* out, int64_t pitch, int64_t left) {
  constexpr int L = kLanes<T>, kWidth = kVectors * L;
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) sum[r][v] = Vec<T>(T(0));
  for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      const Vec<T> b = Vec<T>::load(steps + i * kWidth + v * L);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) sum[r][v] = muladd(Vec<T>(weights[r * row + i * step]), b, sum[r][v]);
    }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      T* const to = out + r * pitch + v * L;
      const int64_t here = left - v * L;
      if (here <= 0) continue;
      Vec<T> c = sum[r][v] * Vec<T>(factor);
      if (here >= L) {
        if (adds) c = c + Vec<T>::load(to);
        c.store(to);
      } else {
        if (adds) c = c + load_part(to, 0, 0, int(here));
        store_part(c, to, 0, 0, int(here));
      }
    }
}
// The sums of one side, for some features from k on. weight(own, other) lies at own * row + other * step.
template <class T, int kVectors>
SOFTDP_FN void weigh_features(const Dots& p, int64_t k, const T* from, int64_t row, int64_t step, int own,
                              int other, const Live& live, T* out) {
  constexpr int kRows = 4, L = kLanes<T>, kWidth = kVectors * L;
  const T* const weights = static_cast<const T*>(p.table);
  T* const packed = static_cast<T*>(p.scratch);
  const int64_t left = p.features - k;
  for (int i = 0; i < other; i++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      const T* const at = from + i * p.pitch + k + v * L;
      const int64_t here = left - v * L;
      const Vec<T> x = here >= L  ? Vec<T>::load(at)
                       : here > 0 ? load_part(at, 0, 0, int(here))
                                  : Vec<T>(T(0));
      x.store(packed + i * kWidth + v * L);
    }
  for (int begin = 0; begin < own; begin += kLiveBlock) {
    const int end = begin + kLiveBlock < own ? begin + kLiveBlock : own,
              first = live.first[begin / kLiveBlock], last = live.last[begin / kLiveBlock];
    const int64_t count = last > first ? last - first : 0;
    if (count == 0 && p.adds) continue;
    int i = begin;
    const auto tile = [&](auto rows) {
      weigh_tile<T, decltype(rows)::value, kVectors>(weights + i * row + (count ? first : 0) * step, row,
                                                     step, count, packed + first * kWidth, T(p.factor),
                                                     p.adds, out + i * p.pitch + k, p.pitch, left);
    };
    for (; i + kRows <= end; i += kRows) tile(std::integral_constant<int, kRows>());
    for (; i < end; i++) tile(std::integral_constant<int, 1>());
  }
}
template <class T>
void weigh(const Dots& p) {
  constexpr int kVectors = kManyRegisters ? 4 : 2, L = kLanes<T>;
  static_assert(kVectors * L * sizeof(T) <= kDotsBytes, "the scratch holds some features of all steps");
  const int rows = int(p.rows), columns = int(p.columns);
  Live of_rows, of_columns;
  find_live(static_cast<const T*>(p.table), p.table_pitch, rows, columns, T(p.negligible), of_rows,
            of_columns);
  const auto side = [&](const void* from, int64_t row, int64_t step, int own, int other, const Live& live,
                        void* out) {
    if (!out) return;
    const T* const steps = static_cast<const T*>(from);
    int64_t k = 0;
    for (; k + L < p.features; k += kVectors * L)
      weigh_features<T, kVectors>(p, k, steps, row, step, own, other, live, static_cast<T*>(out));
    if (k < p.features) weigh_features<T, 1>(p, k, steps, row, step, own, other, live, static_cast<T*>(out));
  };
  side(p.y, p.table_pitch, 1, rows, columns, of_rows, p.out_x);
  side(p.x, 1, p.table_pitch, columns, rows, of_columns, p.out_y);
}

}  // namespace softdp::cpu::SOFTDP_ISA
