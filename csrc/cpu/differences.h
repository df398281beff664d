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

// Steps begin .. end of y, each `stride` after the one before, as (features, pitch), of which `width` are
// written: 0 past the end.
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
  kRelative,  // x y, relative to an origin: to squared distances
  kAbsolute,  // |x - y|
};

// Squared distances by dot products of steps relative to an origin.
template <class T>
struct Relative {
  const T *x, *y;              // the steps themselves: row 0 of the tile, column 0 of the block
  const T *norms_x, *norms_y;  // squared, relative to the origin
};

// Of a block of y that is kWidth wide, the first kVectors vectors.
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
            from, u + i * D, block_y, block_w, D, out + i * M + j, M, M - j,
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

// ---- sums ----------------------------------------------------------------------------------------------

// Sums for one block, of lanes along one sequence's steps over the other's, for both sequences in turn.

// A power of two would let the same step's features meet in few places of the first cache.
template <class T>
constexpr int64_t kPitch = kBlock + kPadding / int64_t(sizeof(T));

// The weights of a block in strips of L lanes: of each strip, all steps of the other sequence after each
// other, and from which to which any weight counts.
template <class T>
struct WeightStrips {
  static constexpr int kStrips = kBlock / kLanes<T>;
  T* weights;
  int first[kStrips], last[kStrips];

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
};
// A block of the weights along y's steps and along x's; 0 past its rows and columns.
template <class T>
SOFTDP_FN void gather(const T* from, int64_t stride, int rows, int columns, T negligible,
                      WeightStrips<T>& along_y, WeightStrips<T>& along_x) {
  constexpr int L = kLanes<T>;
  along_y.clear(), along_x.clear();
  for (int i = 0; i < rows; i += L)
    for (int j = 0; j < columns; j += L) {
      Vec<T> w[L];
      typename Vec<T>::Mask some{};  // NaN counts
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) {
        const T* const row = from + (i + l) * stride;
        w[l] = i + l >= rows      ? Vec<T>(T(0))
               : j + L <= columns ? Vec<T>::load(row + j)
                                  : load_part(row, j, 0, columns - j);
        some |= ~((w[l] <= Vec<T>(negligible)) & (w[l] >= Vec<T>(-negligible)));
      }
      const bool counts = any(some);
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

// to + w d, or to + w sign(d).
template <bool kSigns, class T>
SOFTDP_FN Vec<T> weighed(Vec<T> w, Vec<T> d, Vec<T> to) {
  if constexpr (kSigns) {
    const Vec<T> zero(T(0));
    return to + select(d > zero, w, select(zero > d, -w, zero));
  } else {
    return muladd(w, d, to);
  }
}
// sums(k, lane) += sum over `steps` of weight(step, lane) (own(k, lane) - other(step, k)), or of its sign.
template <bool kSigns, class T, int kFeatures>
SOFTDP_FN void sum_tile(const T* weights, int64_t steps, const T* own, const T* other, T* sums) {
  constexpr int L = kLanes<T>;
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
      even[k] = weighed<kSigns>(w, step[k] - Vec<T>(other[i * kFeatures + k]), even[k]);
      odd[k] = weighed<kSigns>(next, step[k] - Vec<T>(other[(i + 1) * kFeatures + k]), odd[k]);
    }
  }
  if (i < steps) {
    const Vec<T> w = Vec<T>::load(weights + i * L);
#pragma GCC unroll 16
    for (int k = 0; k < kFeatures; k++)
      even[k] = weighed<kSigns>(w, step[k] - Vec<T>(other[i * kFeatures + k]), even[k]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < kFeatures; k++) (even[k] + odd[k]).store(sums + k * kPitch<T>);
}
// `own` and `sums` are (features, kPitch), `other` (steps, features): of these, kCount features are copied
// side by side, kFeatures at a time. Where kCount is a cache line, every line of `other` is met once.
template <bool kSigns, class T, int kFeatures, int kCount>
SOFTDP_FN void sum_features(const WeightStrips<T>& strips, int count, const T* own, const T* other, int steps,
                            int64_t features, int64_t k, T* sums) {
  constexpr int L = kLanes<T>;
  for (; k + kCount <= features; k += kCount) {
    T few[kCount / kFeatures][kBlock * kFeatures];
    for (int i = 0; i < steps; i++) {
      prefetch(other, i * features + k + kCount);
      for (int f = 0; f < kCount; f += kFeatures)
        std::memcpy(few[f / kFeatures] + i * kFeatures, other + i * features + k + f, sizeof(T) * kFeatures);
    }
    for (int f = 0; f < kCount; f += kFeatures)
      for (int s = 0; s < count; s++)
        if (const int first = strips.first[s], last = strips.last[s] < steps ? strips.last[s] : steps;
            first < last)
          sum_tile<kSigns, T, kFeatures>(
              strips.weights + (s * kBlock + first) * L, last - first, own + (k + f) * kPitch<T> + s * L,
              few[f / kFeatures] + first * kFeatures, sums + (k + f) * kPitch<T> + s * L);
  }
  if constexpr (kFeatures > 1) {
    constexpr int kNext = kCount > kFeatures ? kFeatures : kFeatures / 2;
    sum_features<kSigns, T, kNext, kNext>(strips, count, own, other, steps, features, k, sums);
  }
}

// to(step, k) = scale from(k, step), or added to what is there. Vectors that go past the steps may be read.
template <bool kAdds, class T>
SOFTDP_FN void put_transposed(const T* from, int64_t steps, int64_t features, T scale, T* to) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < steps; j += L) {
    const int64_t left = steps - j;
    int64_t k = 0;
    for (; k + L <= features; k += L) {
      Vec<T> v[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) v[l] = Vec<T>::load(from + (k + l) * kPitch<T> + j);
      transpose(v);
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) {
        if (l >= left) break;
        T* const at = to + (j + l) * features + k;
        Vec<T> sum = v[l] * Vec<T>(scale);
        if (kAdds) sum = Vec<T>::load(at) + sum;
        sum.store(at);
      }
    }
    for (; k < features; k++)
      for (int64_t l = j; l < j + L && l < steps; l++) {
        T& at = to[l * features + k];
        at = (kAdds ? at : T(0)) + scale * from[k * kPitch<T> + l];
      }
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

// One number at a time, for pairs with steps that are not finite: a cell with the weight 0 adds nothing.
template <class T>
void sums_one_by_one(const Differences& p, const Part& part, const T* weights, const T* x, const T* y,
                     T* sums_x, T* sums_y) {
  const int64_t D = p.features;
  for (int64_t i = 0; i < p.rows; i++)
    for (int64_t j = part.begin; j < part.end; j++) {
      const T weight = T(p.scale) * weights[i * p.columns + j];
      if (weight == 0) continue;
      for (int64_t k = 0; k < D; k++) {
        const T difference = x[i * D + k] - y[j * D + k];
        const T d = !p.absolute      ? weight * difference
                    : difference > 0 ? weight
                    : difference < 0 ? -weight
                                     : T(0);
        if (sums_x) sums_x[i * D + k] += d;
        if (sums_y) sums_y[j * D + k] -= d;
      }
    }
}

template <bool kSigns, class T>
SOFTDP_FN void sums_of(const Differences& p, const Part& part) {
  constexpr int L = kLanes<T>, kFeatures = kManyRegisters ? 8 : 4, kLine = 64 / int(sizeof(T));
  const int64_t D = p.features, N = p.rows, M = p.columns, own_columns = part.end - part.begin;
  const T *const x = static_cast<const T*>(p.x) + part.pair * N * D,
                 *const y = static_cast<const T*>(p.y) + part.pair * M * D,
                 *const weights = static_cast<const T*>(p.weights) + part.pair * N * M;
  T *const sums_x =
               p.out_x ? static_cast<T*>(p.out_x) + (part.pair * p.splits + part.split) * N * D : nullptr,
           *const sums_y = p.out_y ? static_cast<T*>(p.out_y) + part.pair * M * D : nullptr;
  const auto put = [&](const T* from, int64_t steps, T* to) {
    p.adds ? put_transposed<true>(from, steps, D, T(p.scale), to)
           : put_transposed<false>(from, steps, D, T(p.scale), to);
  };
  if (!all_finite(x, N * D) || !all_finite(y + part.begin * D, own_columns * D)) {
    if (sums_x && !p.adds) clear(sums_x, N * D);
    if (sums_y && !p.adds) clear(sums_y + part.begin * D, own_columns * D);
    return sums_one_by_one(p, part, weights, x, y, sums_x, sums_y);
  }
  T* const memory = static_cast<T*>(part.scratch);
  WeightStrips<T> along_y{memory, {}, {}}, along_x{memory + kBlock * kBlock, {}, {}};
  const int64_t block = D * kPitch<T>, blocks = (own_columns + kBlock - 1) / kBlock;
  T *const block_x = memory + 2 * kBlock * kBlock, *const block_sums_x = block_x + block,
           *const blocks_y = block_sums_x + block, *const blocks_sums_y = blocks_y + blocks * block;
  const auto columns_of = [&](int64_t b) { return int(b + 1 < blocks ? kBlock : own_columns - b * kBlock); };
  for (int64_t b = 0; sums_y && b < blocks; b++) {
    const int64_t j = part.begin + b * kBlock;
    const int64_t width = (columns_of(b) + L - 1) / L * L;
    transpose_block(y, D, j, j + columns_of(b), D, blocks_y + b * block, kPitch<T>, width);
    clear_block(blocks_sums_y + b * block, D, width);
  }
  for (int64_t i = 0; i < N; i += kBlock) {
    const int rows = int(N - i < kBlock ? N - i : kBlock);
    if (sums_x) {
      const int64_t width = (rows + L - 1) / L * L;
      transpose_block(x, D, i, i + rows, D, block_x, kPitch<T>, width);
      clear_block(block_sums_x, D, width);
    }
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t j = part.begin + b * kBlock;
      const int columns = columns_of(b);
      gather(weights + i * M + j, M, rows, columns, T(p.negligible), along_y, along_x);
      if (sums_y)
        sum_features<kSigns, T, kFeatures, kLine>(along_y, (columns + L - 1) / L, blocks_y + b * block,
                                                  x + i * D, rows, D, 0, blocks_sums_y + b * block);
      if (sums_x)
        sum_features<kSigns, T, kFeatures, kLine>(along_x, (rows + L - 1) / L, block_x, y + j * D, columns, D,
                                                  0, block_sums_x);
    }
    if (sums_x) put(block_sums_x, rows, sums_x + i * D);
  }
  for (int64_t b = 0; sums_y && b < blocks; b++)
    put(blocks_sums_y + b * block, columns_of(b), sums_y + (part.begin + b * kBlock) * D);
}

template <class T>
void sums(const Differences& p, const Part& part) {
  p.absolute ? sums_of<true, T>(p, part) : sums_of<false, T>(p, part);
}

}  // namespace softdp::cpu::SOFTDP_ISA
