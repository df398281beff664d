// The gradients by features: sums over the tables' gradients.
#pragma once
#include "feature_tables.h"

namespace softdp::cuda {

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

}  // namespace softdp::cuda
