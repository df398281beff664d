// The kernels of distances.h. Lanes lie along y's steps, so that vectors are full at any number of features.
// y is transposed block by block: the values of one feature at neighbouring steps are then neighbours in
// memory.
#pragma once
#include <cstdint>
#include <cstring>

#include "distances.h"
#include "simd.h"

namespace softdp::cpu::SOFTDP_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32 vector registers, not 16
#else
constexpr bool kManyRegisters = false;
#endif

// Transposes steps begin .. end - 1 of y, which are `stride` numbers apart, to a matrix (features, pitch). Of
// each row `width` numbers are written: 0 past the end.
template <class T>
SOFTDP_FN void transpose_block(const T* y, int64_t stride, int64_t begin, int64_t end, int64_t features,
                               T* to, int64_t pitch, int64_t width) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < width; j += L) {
    const T* const from = y + (begin + j) * stride;
    const int64_t left = end - begin - j;
    int64_t k = 0;
    for (; left > 0 && k + L <= features; k += L) {
      Vec<T> v[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) v[l] = l < left ? Vec<T>::load(from + l * stride + k) : Vec<T>(T(0));
      transpose(v);
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) v[l].store(to + (k + l) * pitch + j);
    }
    for (; k < features; k++)
      for (int l = 0; l < L; l++) to[k * pitch + j + l] = l < left ? from[l * stride + k] : T(0);
  }
}

// ---- products ------------------------------------------------------------------------------------------

template <class T>
SOFTDP_FN T sum_of(Vec<T> v) {
  constexpr int L = kLanes<T>;
  alignas(kVectorBytes) T parts[L];
  v.store(parts);
#pragma GCC unroll 4
  for (int half = L / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int l = 0; l < half; l++) parts[l] += parts[l + half];
  return parts[0];
}
template <class T>
SOFTDP_FN T squared_distance(const T* x, const T* y, int64_t features) {
  constexpr int L = kLanes<T>;
  Vec<T> even(T(0)), odd(T(0));
  int64_t k = 0;
  for (; k + 2 * L <= features; k += 2 * L) {
    const Vec<T> d = Vec<T>::load(x + k) - Vec<T>::load(y + k),
                 e = Vec<T>::load(x + k + L) - Vec<T>::load(y + k + L);
    even = muladd(d, d, even), odd = muladd(e, e, odd);
  }
  T sum = sum_of(even + odd);
  for (; k < features; k++) sum += (x[k] - y[k]) * (x[k] - y[k]);
  return sum;
}
template <class T>
SOFTDP_FN bool all_finite(const T* numbers, int64_t count) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[4];  // 0 where all numbers are finite, else NaN
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) sum[v] = Vec<T>(T(0));
  int64_t i = 0;
  for (; i + 4 * L <= count; i += 4 * L)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) sum[v] = muladd(Vec<T>::load(numbers + i + v * L), Vec<T>(T(0)), sum[v]);
  for (; i < count; i += L)
    sum[0] = muladd(load_part(numbers, i, 0, int(count - i < L ? count - i : L)), Vec<T>(T(0)), sum[0]);
  return !any(~((sum[0] + sum[1]) + (sum[2] + sum[3]) == Vec<T>(T(0))));
}

// The terms that a tile of products sums up.
enum class Form {
  kSquares,   // (x - y)^2
  kProducts,  // (x - y) (u - w)
  kRelative,  // x y relative to an origin, from which squared distances are made
  kAbsolute,  // |x - y|
};

// The steps and norms that turn dot products, of steps relative to an origin, into squared distances.
template <class T>
struct Relative {
  const T *x, *y;              // the steps themselves: row 0 of the tile, column 0 of the block
  const T *norms_x, *norms_y;  // squared norms of the steps relative to the origin
};

// A tile of kRows rows by kVectors vectors. These are the first vectors of a block of y that is kWidth wide.
template <class T, int kRows, int kVectors, int kWidth, Form kForm>
SOFTDP_FN void product_tile(const T* x, const T* u, const T* y, const T* w, int64_t features, T* out,
                            int64_t pitch, int64_t columns, const Relative<T>& relative) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) sum[r][v] = Vec<T>(T(0));
  for (int64_t k = 0; k < features; k++)
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; v++) {
        const Vec<T> a(x[r * features + k]), b = Vec<T>::load(y + k * kWidth + v * L);
        if constexpr (kForm == Form::kRelative) {
          sum[r][v] = muladd(a, b, sum[r][v]);
        } else {
          const Vec<T> d = a - b;
          if constexpr (kForm == Form::kAbsolute) {
            sum[r][v] = sum[r][v] + max(d, -d);
            continue;
          }
          Vec<T> e = d;
          if constexpr (kForm == Form::kProducts)
            e = Vec<T>(u[r * features + k]) - Vec<T>::load(w + k * kWidth + v * L);
          sum[r][v] = muladd(d, e, sum[r][v]);
        }
      }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v++) {
      const int64_t left = columns - v * L;
      if (left <= 0) continue;
      T* const to = out + r * pitch + v * L;
      Vec<T> c = sum[r][v];
      typename Vec<T>::Mask close{};
      if constexpr (kForm == Form::kRelative) {
        const Vec<T> both = Vec<T>(relative.norms_x[r]) + Vec<T>::load(relative.norms_y + v * L);
        c = muladd(c, Vec<T>(T(-2)), both);
        close = ~(c >= both * Vec<T>(T(1.0 / 16)));
      }
      if (left >= L)
        c.store(to);
      else
        store_part(c, to, 0, 0, int(left));
      if constexpr (kForm == Form::kRelative)
        if (any(close))
          for (int l = 0; l < L && l < left; l++)
            if (close[l])
              to[l] =
                  squared_distance(relative.x + r * features, relative.y + (v * L + l) * features, features);
    }
}

// to(k) = x(k) - origin(k), where a null origin is 0. Returns the sum of the squares of `to`.
template <class T>
SOFTDP_FN T take_relative(const T* x, const T* origin, int64_t features, T* to) {
  constexpr int L = kLanes<T>;
  Vec<T> squares(T(0));
  int64_t k = 0;
  for (; k + L <= features; k += L) {
    Vec<T> d = Vec<T>::load(x + k);
    if (origin) d = d - Vec<T>::load(origin + k);
    d.store(to + k);
    squares = muladd(d, d, squares);
  }
  T sum = sum_of(squares);
  for (; k < features; k++) {
    to[k] = x[k] - (origin ? origin[k] : T(0));
    sum += to[k] * to[k];
  }
  return sum;
}

template <class T, Form kForm>
SOFTDP_FN void products_of(const Differences& p, const Part& part) {
  constexpr int kRows = kTileRows, kVectors = kManyRegisters ? 4 : 2, kWidth = kVectors * kLanes<T>;
  constexpr bool kIsRelative = kForm == Form::kRelative;
  static_assert(kWidth * sizeof(T) <= kTileBytes, "the scratch holds two blocks of y");
  const int64_t D = p.features, N = p.rows, M = p.columns;
  const auto of_pair = [&](const void* steps, int64_t count) {
    return static_cast<const T*>(steps) + part.pair * count * D;
  };
  const T *const x = of_pair(p.x, N), *const y = of_pair(p.y, M),
                 *const u = kForm == Form::kProducts ? of_pair(p.u, N) : x,
                 *const w = kForm == Form::kProducts ? of_pair(p.w, M) : y;
  T *const out = static_cast<T*>(p.out) + part.pair * N * M, *const block_y = static_cast<T*>(part.scratch),
           *const block_w = block_y + D * kWidth, *const norms_y = block_w + D * kWidth,
           *const norms_x = norms_y + kTileBytes / int64_t(sizeof(T)), *const rows_x = norms_x + kPartRows;
  const T* const origin = kIsRelative && all_finite(x, D) ? x : nullptr;
  if constexpr (kIsRelative)
    for (int64_t i = part.begin; i < part.end; i++)
      norms_x[i - part.begin] = take_relative(x + i * D, origin, D, rows_x + (i - part.begin) * D);
  for (int64_t j = 0; j < M; j += kWidth) {
    const int64_t end = j + kWidth < M ? j + kWidth : M;
    transpose_block(y, D, j, end, D, block_y, kWidth, kWidth);
    if constexpr (kForm == Form::kProducts) transpose_block(w, D, j, end, D, block_w, kWidth, kWidth);
    if constexpr (kIsRelative) {
      Vec<T> norms[kVectors];
      for (int v = 0; v < kVectors; v++) norms[v] = Vec<T>(T(0));
      for (int64_t k = 0; k < D; k++)
        for (int v = 0; v < kVectors; v++) {
          T* const at = block_y + k * kWidth + v * kLanes<T>;
          const Vec<T> d = Vec<T>::load(at) - Vec<T>(origin ? origin[k] : T(0));
          d.store(at);
          norms[v] = muladd(d, d, norms[v]);
        }
      for (int v = 0; v < kVectors; v++) norms[v].store(norms_y + v * kLanes<T>);
    }
    const auto tiles = [&](auto vectors) {
      const auto tile = [&](auto rows, int64_t i) {
        const T* const from = kIsRelative ? rows_x + (i - part.begin) * D : x + i * D;
        product_tile<T, decltype(rows)::value, decltype(vectors)::value, kWidth, kForm>(
            from, u + i * D, block_y, block_w, D, out + i * p.pitch + j, p.pitch, M - j,
            {x + i * D, y + j * D, norms_x + (i - part.begin), norms_y});
      };
      int64_t i = part.begin;
      for (; i + kRows <= part.end; i += kRows) tile(std::integral_constant<int, kRows>(), i);
      for (; i < part.end; i++) tile(std::integral_constant<int, 1>(), i);
    };
    if (M - j > kWidth / 2)
      tiles(std::integral_constant<int, kVectors>());
    else
      tiles(std::integral_constant<int, kVectors / 2>());
  }
}
template <class T>
void products(const Differences& p, const Part& part) {
  if (p.u) return products_of<T, Form::kProducts>(p, part);
  if (p.absolute) return products_of<T, Form::kAbsolute>(p, part);
  p.relative ? products_of<T, Form::kRelative>(p, part) : products_of<T, Form::kSquares>(p, part);
}

}  // namespace softdp::cpu::SOFTDP_ISA
