// The kernels of distances.h. Lanes lie along y's steps, whatever the number of features: y is transposed
// block by block, so that one feature's values of neighbouring steps are neighbours.
#pragma once
#include <cstdint>
#include <cstring>

#include "distances.h"
#include "simd.h"

namespace softdp::cpu::SOFTDP_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32, not 16
#else
constexpr bool kManyRegisters = false;
#endif

// Steps begin .. end of y, (steps, features), as (features, pitch), of which `width` are written: 0 past the
// end.
template <class T>
SOFTDP_FN void transpose_block(const T* y, int64_t stride, int64_t begin, int64_t end, int64_t features,
                               T* to, int64_t pitch, int64_t width) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < width; j += L) {
    const T* const from = y + (begin + j) * stride;
    const int64_t left = end - begin - j;
    int64_t k = 0;
    for (; left >= L && k + L <= features; k += L) {
      Vec<T> v[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) v[l] = Vec<T>::load(from + l * stride + k);
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
  T sum = v.x[0];
  for (int l = 1; l < kLanes<T>; l++) sum += v.x[l];
  return sum;
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
  Vec<T> sum[4];  // of zeros and NaNs
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

// What a tile of products adds up, and how it is written.
enum class Form {
  kSquares,   // (x - y)^2
  kProducts,  // (x - y) (u - w)
  kDots,      // x y, to be scaled
  kRelative,  // x y, relative to an origin: to squared distances
};

// Squared distances by dot products of steps relative to an origin.
template <class T>
struct Relative {
  const T *x, *y;              // the steps themselves: row 0 of the tile, column 0 of the block
  const T *norms_x, *norms_y;  // squared, relative to the origin
  int64_t stride;
};

template <class T, int kRows, int kVectors, Form kForm>
SOFTDP_FN void product_tile(const T* x, const T* u, int64_t stride, const T* y, const T* w, int64_t features,
                            T* out, int64_t pitch, int64_t columns, T scale, T offset,
                            const Relative<T>& relative) {
  constexpr int L = kLanes<T>, kWidth = kVectors * L;
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
        const Vec<T> a(x[r * stride + k]), b = Vec<T>::load(y + k * kWidth + v * L);
        if constexpr (kForm == Form::kDots || kForm == Form::kRelative) {
          sum[r][v] = muladd(a, b, sum[r][v]);
        } else {
          const Vec<T> d = a - b;
          Vec<T> e = d;
          if constexpr (kForm == Form::kProducts)
            e = Vec<T>(u[r * stride + k]) - Vec<T>::load(w + k * kWidth + v * L);
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
      if constexpr (kForm == Form::kDots) c = muladd(c, Vec<T>(scale), Vec<T>(offset));
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
              to[l] = squared_distance(relative.x + r * relative.stride,
                                       relative.y + (v * L + l) * relative.stride, features);
    }
}

// to(k) = x(k) - origin(k), 0 where that is null; the sum of their squares.
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
  const int64_t D = p.features, N = p.rows, M = p.columns, stride = p.stride;
  const auto of_pair = [&](const void* steps, int64_t count) {
    return static_cast<const T*>(steps) + part.pair * count * stride;
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
      norms_x[i - part.begin] = take_relative(x + i * stride, origin, D, rows_x + (i - part.begin) * D);
  for (int64_t j = 0; j < M; j += kWidth) {
    const int64_t end = j + kWidth < M ? j + kWidth : M;
    transpose_block(y, stride, j, end, D, block_y, kWidth, kWidth);
    if constexpr (kForm == Form::kProducts) transpose_block(w, stride, j, end, D, block_w, kWidth, kWidth);
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
    const auto tile = [&](auto rows, int64_t i) {
      const T* const from = kIsRelative ? rows_x + (i - part.begin) * D : x + i * stride;
      product_tile<T, decltype(rows)::value, kVectors, kForm>(
          from, u + i * stride, kIsRelative ? D : stride, block_y, block_w, D, out + i * M + j, M, M - j,
          T(p.scale), T(p.offset),
          {x + i * stride, y + j * stride, norms_x + (i - part.begin), norms_y, stride});
    };
    int64_t i = part.begin;
    for (; i + kRows <= part.end; i += kRows) tile(std::integral_constant<int, kRows>(), i);
    for (; i < part.end; i++) tile(std::integral_constant<int, 1>(), i);
  }
}
template <class T>
void products(const Differences& p, const Part& part) {
  if (p.dots) return products_of<T, Form::kDots>(p, part);
  if (p.u) return products_of<T, Form::kProducts>(p, part);
  p.relative ? products_of<T, Form::kRelative>(p, part) : products_of<T, Form::kSquares>(p, part);
}

// ---- sums ----------------------------------------------------------------------------------------------

// Sums for one block, of lanes along one sequence's steps over the other's, for both sequences in turn.

// A power of two would let the same step's features meet in few places of the first cache.
template <class T>
constexpr int64_t kPitch = kBlock + kPadding / int64_t(sizeof(T));

// The weights of a block in strips of L lanes: of each strip, all steps of the other sequence after each
// other, from which to which any weight counts, and the sums of these.
template <class T>
struct WeightStrips {
  static constexpr int kStrips = kBlock / kLanes<T>;
  T* weights;
  int first[kStrips], last[kStrips];
  Vec<T> sum[kStrips];

  SOFTDP_FN void clear() {
    for (int s = 0; s < kStrips; s++) first[s] = kBlock, last[s] = 0;
  }
  // L steps of a strip.
  SOFTDP_FN void put(int strip, int step, const Vec<T>* w, bool counts) {
    constexpr int L = kLanes<T>;
#pragma GCC unroll 16
    for (int l = 0; l < L; l++) w[l].store(weights + (strip * kBlock + step + l) * L);
    if (!counts) return;
    if (step < first[strip]) first[strip] = step;
    if (step + L > last[strip]) last[strip] = step + L;
  }
  SOFTDP_FN void sum_up() {
    constexpr int L = kLanes<T>;
    for (int s = 0; s < kStrips; s++) {
      sum[s] = Vec<T>(T(0));
      for (int i = first[s]; i < last[s]; i++) sum[s] = sum[s] + Vec<T>::load(weights + (s * kBlock + i) * L);
    }
  }
};
// A block of the weights along y's steps and along x's; 0 past its rows and columns.
template <class T>
SOFTDP_FN void gather(const T* from, int64_t stride, int rows, int columns, T negligible,
                      WeightStrips<T>& along_y, WeightStrips<T>& along_x) {
  constexpr int L = kLanes<T>;
  along_y.clear(), along_x.clear();
  for (int i = 0; i < rows; i += L)
    for (int j = 0; j < columns; j += L) {
      Vec<T> w[L], most(T(0)), least(T(0));
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) {
        const T* const row = from + (i + l) * stride;
        w[l] = i + l >= rows      ? Vec<T>(T(0))
               : j + L <= columns ? Vec<T>::load(row + j)
                                  : load_part(row, j, 0, columns - j);
        most = max(w[l], most), least = min(w[l], least);
      }
      const bool counts = any((most > Vec<T>(negligible)) | (least < Vec<T>(-negligible)));
      along_y.put(j / L, i, w, counts);
      if (counts) {
        transpose(w);
      } else {
#pragma GCC unroll 16
        for (int l = 0; l < L; l++) w[l] = Vec<T>(T(0));
      }
      along_x.put(i / L, j, w, counts);
    }
}

enum class SumForm {
  kDifferences,  // of weight (own - other)
  kDots,         // of weight other
  kRelative,     // of weight (own - other), by sums of weight other relative to an origin
};

// sums(k, lane) += sum over `steps` of weight(step, lane) (own(k, lane) - other(step, k)), or as kForm says.
template <class T, int kFeatures, SumForm kForm>
SOFTDP_FN void sum_tile(const T* weights, int64_t steps, const T* own, const T* other, Vec<T> all_weights,
                        const T* origin, T* sums) {
  constexpr int L = kLanes<T>;
  if constexpr (kForm != SumForm::kDifferences) {
    Vec<T> sum[kFeatures];
#pragma GCC unroll 16
    for (int k = 0; k < kFeatures; k++) sum[k] = Vec<T>(T(0));
    for (int64_t i = 0; i < steps; i++) {
      const Vec<T> w = Vec<T>::load(weights + i * L);
#pragma GCC unroll 16
      for (int k = 0; k < kFeatures; k++) sum[k] = muladd(w, Vec<T>(other[i * kFeatures + k]), sum[k]);
    }
#pragma GCC unroll 16
    for (int k = 0; k < kFeatures; k++) {
      T* const to = sums + k * kPitch<T>;
      if constexpr (kForm == SumForm::kRelative)
        sum[k] = all_weights * (Vec<T>::load(own + k * kPitch<T>) - Vec<T>(origin[k])) - sum[k];
      (Vec<T>::load(to) + sum[k]).store(to);
    }
    return;
  }
  Vec<T> step[kFeatures], even[kFeatures], odd[kFeatures];
#pragma GCC unroll 16
  for (int k = 0; k < kFeatures; k++) {
    step[k] = Vec<T>::load(own + k * kPitch<T>);
    even[k] = Vec<T>::load(sums + k * kPitch<T>);
    odd[k] = Vec<T>(T(0));
  }
  int64_t i = 0;
  for (; i + 2 <= steps; i += 2) {
    const Vec<T> w = Vec<T>::load(weights + i * L), next = Vec<T>::load(weights + (i + 1) * L);
#pragma GCC unroll 16
    for (int k = 0; k < kFeatures; k++) {
      even[k] = muladd(w, step[k] - Vec<T>(other[i * kFeatures + k]), even[k]);
      odd[k] = muladd(next, step[k] - Vec<T>(other[(i + 1) * kFeatures + k]), odd[k]);
    }
  }
  if (i < steps) {
    const Vec<T> w = Vec<T>::load(weights + i * L);
#pragma GCC unroll 16
    for (int k = 0; k < kFeatures; k++)
      even[k] = muladd(w, step[k] - Vec<T>(other[i * kFeatures + k]), even[k]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < kFeatures; k++) (even[k] + odd[k]).store(sums + k * kPitch<T>);
}
// `own` and `sums` are (features, kPitch), `other` (steps, features): of these, kCount features are copied
// side by side, kFeatures at a time. Where kCount is a cache line, every line of `other` is met once.
template <class T, int kFeatures, int kCount, SumForm kForm>
SOFTDP_FN void sum_features(const WeightStrips<T>& strips, int count, const T* own, const T* other, int steps,
                            int64_t features, int64_t stride, const T* origin, int64_t k, T* sums) {
  constexpr int L = kLanes<T>;
  for (; k + kCount <= features; k += kCount) {
    T few[kCount / kFeatures][kBlock * kFeatures];
    for (int i = 0; i < steps; i++) {
      prefetch(other, i * stride + k + kCount);
      for (int f = 0; f < kCount; f += kFeatures) {
        const T* const from = other + i * stride + k + f;
        T* const to = few[f / kFeatures] + i * kFeatures;
        if constexpr (kForm == SumForm::kRelative)
          take_relative(from, origin + k + f, kFeatures, to);
        else
          std::memcpy(to, from, sizeof(T) * kFeatures);
      }
    }
    for (int f = 0; f < kCount; f += kFeatures)
      for (int s = 0; s < count; s++)
        if (const int first = strips.first[s], last = strips.last[s] < steps ? strips.last[s] : steps;
            first < last)
          sum_tile<T, kFeatures, kForm>(strips.weights + (s * kBlock + first) * L, last - first,
                                        own + (k + f) * kPitch<T> + s * L,
                                        few[f / kFeatures] + first * kFeatures, strips.sum[s], origin + k + f,
                                        sums + (k + f) * kPitch<T> + s * L);
  }
  if constexpr (kFeatures > 1) {
    constexpr int kNext = kCount > kFeatures ? kFeatures : kFeatures / 2;
    sum_features<T, kNext, kNext, kForm>(strips, count, own, other, steps, features, stride, origin, k, sums);
  }
}

// to(step, k) += scale from(k, step).
template <class T>
SOFTDP_FN void add_transposed(const T* from, int64_t steps, int64_t features, T scale, T* to,
                              int64_t stride) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < steps; j += L) {
    int64_t k = 0;
    for (; j + L <= steps && k + L <= features; k += L) {
      Vec<T> v[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) v[l] = Vec<T>::load(from + (k + l) * kPitch<T> + j);
      transpose(v);
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) {
        T* const at = to + (j + l) * stride + k;
        (Vec<T>::load(at) + v[l] * Vec<T>(scale)).store(at);
      }
    }
    for (; k < features; k++)
      for (int64_t l = j; l < j + L && l < steps; l++) to[l * stride + k] += scale * from[k * kPitch<T> + l];
  }
}

template <class T>
SOFTDP_FN void clear(T* numbers, int64_t count) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= count; i += L) Vec<T>(T(0)).store(numbers + i);
  for (; i < count; i++) numbers[i] = 0;
}
template <class T>
SOFTDP_FN void clear_block(T* sums, int64_t features, int64_t width) {
  for (int64_t k = 0; k < features; k++) clear(sums + k * kPitch<T>, width);
}
template <class T>
SOFTDP_FN bool all_finite(const T* steps, int64_t stride, int64_t count, int64_t features) {
  if (stride == features) return all_finite(steps, count * features);
  for (int64_t i = 0; i < count; i++)
    if (!all_finite(steps + i * stride, features)) return false;
  return true;
}

// One number at a time, for pairs with steps that are not finite: a cell with the weight 0 adds nothing.
template <class T>
void sums_one_by_one(const Differences& p, const Part& part, const T* weights, const T* x, const T* y,
                     T* sums_x, T* sums_y) {
  const int64_t D = p.features, stride = p.stride;
  for (int64_t i = 0; i < p.rows; i++)
    for (int64_t j = part.begin; j < part.end; j++) {
      const T weight = T(p.scale) * weights[i * p.columns + j];
      if (weight == 0) continue;
      for (int64_t k = 0; k < D; k++) {
        const T a = x[i * stride + k], b = y[j * stride + k], d = weight * (a - b);
        if (sums_x) sums_x[i * stride + k] += p.dots ? weight * b : d;
        if (sums_y) sums_y[j * stride + k] += p.dots ? weight * a : -d;
      }
    }
}

template <class T, SumForm kForm>
SOFTDP_FN void sums_of(const Differences& p, const Part& part, const T* weights, const T* x, const T* y,
                       T* sums_x, T* sums_y) {
  // The sums of products have no chain of their own for odd steps, and room for more features.
  constexpr int L = kLanes<T>, kLine = 64 / int(sizeof(T)),
                kFeatures = kManyRegisters || (kForm != SumForm::kDifferences && kLine >= 8) ? 8 : 4;
  const int64_t D = p.features, N = p.rows, M = p.columns, stride = p.stride,
                own_columns = part.end - part.begin;
  T* const memory = static_cast<T*>(part.scratch);
  WeightStrips<T> along_y{memory, {}, {}, {}}, along_x{memory + kBlock * kBlock, {}, {}, {}};
  const int64_t block = D * kPitch<T>, blocks = (own_columns + kBlock - 1) / kBlock;
  T *const block_x = memory + 2 * kBlock * kBlock, *const block_sums_x = block_x + block,
           *const blocks_y = block_sums_x + block, *const blocks_sums_y = blocks_y + blocks * block;
  const T scale = T(p.scale), negligible = T(p.negligible);
  const auto columns_of = [&](int64_t b) { return int(b + 1 < blocks ? kBlock : own_columns - b * kBlock); };
  for (int64_t b = 0; sums_y && b < blocks; b++) {
    const int64_t j = part.begin + b * kBlock;
    const int64_t width = (columns_of(b) + L - 1) / L * L;
    transpose_block(y, stride, j, j + columns_of(b), D, blocks_y + b * block, kPitch<T>, width);
    clear_block(blocks_sums_y + b * block, D, width);
  }
  for (int64_t i = 0; i < N; i += kBlock) {
    const int rows = int(N - i < kBlock ? N - i : kBlock);
    const T* const origin = x + i * stride;  // near the steps that a path brings together
    if (sums_x) {
      const int64_t width = (rows + L - 1) / L * L;
      transpose_block(x, stride, i, i + rows, D, block_x, kPitch<T>, width);
      clear_block(block_sums_x, D, width);
    }
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t j = part.begin + b * kBlock;
      const int columns = columns_of(b);
      gather(weights + i * M + j, M, rows, columns, negligible, along_y, along_x);
      if constexpr (kForm == SumForm::kRelative) along_y.sum_up(), along_x.sum_up();
      if (sums_y)
        sum_features<T, kFeatures, kLine, kForm>(along_y, (columns + L - 1) / L, blocks_y + b * block,
                                                 x + i * stride, rows, D, stride, origin, 0,
                                                 blocks_sums_y + b * block);
      if (sums_x)
        sum_features<T, kFeatures, kLine, kForm>(along_x, (rows + L - 1) / L, block_x, y + j * stride,
                                                 columns, D, stride, origin, 0, block_sums_x);
    }
    if (sums_x) add_transposed(block_sums_x, rows, D, scale, sums_x + i * stride, stride);
  }
  for (int64_t b = 0; sums_y && b < blocks; b++)
    add_transposed(blocks_sums_y + b * block, columns_of(b), D, scale,
                   sums_y + (part.begin + b * kBlock) * stride, stride);
}

template <class T>
void sums(const Differences& p, const Part& part) {
  const int64_t D = p.features, N = p.rows, M = p.columns, stride = p.stride,
                own_columns = part.end - part.begin;
  const T *const x = static_cast<const T*>(p.x) + part.pair * N * stride,
                 *const y = static_cast<const T*>(p.y) + part.pair * M * stride,
                 *const weights = static_cast<const T*>(p.weights) + part.pair * N * M;
  T *const sums_x = p.out_x ? static_cast<T*>(p.out_x) + (part.pair * p.splits + part.split) * N * stride
                            : nullptr,
           *const sums_y = p.out_y ? static_cast<T*>(p.out_y) + part.pair * M * stride : nullptr;
  if (!p.adds) {  // then all of it is there to be written
    if (sums_x) clear(sums_x, N * stride);
    if (sums_y) clear(sums_y + part.begin * stride, own_columns * stride);
  }
  if (!all_finite(x, stride, N, D) || !all_finite(y + part.begin * stride, stride, own_columns, D))
    return sums_one_by_one(p, part, weights, x, y, sums_x, sums_y);
  if (p.dots) return sums_of<T, SumForm::kDots>(p, part, weights, x, y, sums_x, sums_y);
  p.relative ? sums_of<T, SumForm::kRelative>(p, part, weights, x, y, sums_x, sums_y)
             : sums_of<T, SumForm::kDifferences>(p, part, weights, x, y, sums_x, sums_y);
}

}  // namespace softdp::cpu::SOFTDP_ISA
