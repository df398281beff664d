// Weighted sums of differences: the second kernel of distances.h.
#pragma once
#include "differences.h"

namespace softdp::cpu::SOFTDP_ISA {

// A block is summed for both sequences in turn. Lanes lie along the steps of one sequence, and the sum runs
// over the steps of the other.

// With a power of two the features of a step would share a few places of the L1 cache.
template <class T>
constexpr int64_t kPitch = kBlock + kPadding / int64_t(sizeof(T));

// The weights of a block, in strips of L lanes. A strip has the weights of all steps of the other sequence,
// one step after the other. Only steps first .. last - 1 have weights that count.
template <class T>
struct WeightStrips {
  static constexpr int kStrips = kBlock / kLanes<T>;
  T* weights;
  int first[kStrips], last[kStrips];

  SOFTDP_FN void clear() {
    for (int s = 0; s < kStrips; s++) first[s] = kBlock, last[s] = 0;
  }
  // Puts L steps of a strip. `counts`: some weight of theirs is not negligible.
  SOFTDP_FN void put(int strip, int step, const Vec<T>* w, bool counts) {
    constexpr int L = kLanes<T>;
#pragma GCC unroll 16
    for (int l = 0; l < L; l++) w[l].store(weights + (strip * kBlock + step + l) * L);
    if (!counts) return;
    if (step < first[strip]) first[strip] = step;
    if (step + L > last[strip]) last[strip] = step + L;
  }
};
// Copies a block of the weights twice: with lanes along y's steps, and along x's. Weights past its rows and
// columns are 0.
template <class T>
SOFTDP_FN void gather(const T* from, int64_t stride, int rows, int columns, T negligible,
                      WeightStrips<T>& along_y, WeightStrips<T>& along_x) {
  constexpr int L = kLanes<T>;
  along_y.clear(), along_x.clear();
  for (int i = 0; i < rows; i += L)
    for (int j = 0; j < columns; j += L) {
      Vec<T> w[L];
      typename Vec<T>::Mask some{};  // not negligible, or NaN
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
// sums(k, lane) += sum over `steps` of weight(step, lane) d, where d = own(k, lane) - other(step, k),
// or the sign of that.
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
// `own` and `sums` have the shape (features, kPitch), `other` has (steps, features). kCount features of
// `other` at a time are copied to arrays of kFeatures each. Where kCount numbers are a cache line, every line
// of `other` is read once.
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

// to(step, k) = scale from(k, step); with kAdds, to(step, k) += that. Whole vectors of `from` are read, also
// past the steps.
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

// One number at a time, for pairs with steps that are not finite. A cell with the weight 0 must add nothing;
// in vectors it would add 0 times infinity, which is NaN.
template <class T>
void sums_one_by_one(const Differences& p, const Part& part, const T* weights, const T* x, const T* y,
                     T* sums_x, T* sums_y) {
  const int64_t D = p.features;
  for (int64_t i = 0; i < p.rows; i++)
    for (int64_t j = part.begin; j < part.end; j++) {
      const T weight = T(p.scale) * weights[i * p.pitch + j];
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
      gather(weights + i * p.pitch + j, p.pitch, rows, columns, T(p.negligible), along_y, along_x);
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
