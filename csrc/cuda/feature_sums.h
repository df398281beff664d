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
  const T* roots;                // (pairs, cells_of(pairs)): by -roots squared / 2, where they are by -roots
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

// The most features that a thread takes: of differences in float and of signs in double it has no registers
// for more.
template <class T>
constexpr int most_per_thread(Form form) {
  if (form == Form::kAbsolute && sizeof(T) == 8) return 1;
  return form == Form::kDots && sizeof(T) == 4 ? 2 * kFour : kFour;
}

// kPer: features of a thread. Where no gradient of kSide by kOthers counts, none of the other side's steps
// are read.
template <class T, int kPer>
SOFTDP_KERNEL_BLOCKS(kFeatureThreads, (kFeatureBlocks<T, kPer == 1>))
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
  if (form_of(a.kind) != Form::kDots)
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
    const int64_t pitch = a.pitch_of(pair);
    int64_t first_other = 0, end_of_others = others;
    if (a.within.pitch) {
      const Columns* const inside = of_y ? a.within.of_columns + pair * M : a.within.of_rows + pair * N;
      first_other = inside[own0].begin & -kOthers;
      end_of_others = inside[(own0 + kSide < owns ? own0 + kSide : owns) - 1].end;
    }
    for (int64_t other0 = first_other; other0 < end_of_others; other0 += kOthers) {
      // Lanes side by side take the columns of a row: the thread's rows are `jump` apart.
      const int along = thread % side_of_row, first = thread / side_of_row;
      const bool inside = along < (of_y ? owns - own0 : others - other0);
      int steps = inside ? clamped(of_y ? others - other0 : owns - own0, first + kLoads * jump) : 0;
      const int64_t row0 = of_y ? other0 : own0, column = (of_y ? own0 : other0) + along;
      int from = first;  // less the rows above those that are inside
      if (a.within.pitch && steps > 0) {
        const Columns of_column = a.within.of_columns[pair * M + column];
        const int skipped = clamped(of_column.begin - row0, steps);
        steps = clamped(of_column.end - row0, steps) - skipped, from -= skipped;
      }
      const int64_t at = (row0 + first) * pitch + a.place_in_row(column, pitch);
      T* const to = &memory.gradient[of_y ? first : along][of_y ? along : first];
      bool live = false;
      const auto load = [&](auto by_roots) {
#pragma unroll 8
        for (int i = 0; i < kLoads; i++) {
          T g = 0;
          if (unsigned(from + i * jump) < unsigned(steps)) {
            g = gradients[at + i * jump * pitch];
            if (by_roots) {
              const T root = -a.roots[pair * cells_of(a.pairs) + at + i * jump * pitch];
              g = root == 0 && g == g ? T(0) : g / root;  // NaN stays
            }
          }
          live = live || !(magnitude(g) <= a.negligible);
          to[i * jump * (of_y ? kSide + kFour : 1)] = g * weight;
        }
      };
      // Without roots there are no branches between the loads: none waits for another.
      a.roots ? load(std::true_type()) : load(std::false_type());
      if (!sync_block_any(live)) continue;
      for (int at = thread; at < kOthers * kWidth; at += kFeatureThreads) {
        const int step = at / kWidth, feature = at % kWidth;
        memory.other[step][feature] = other0 + step < others && feature < width
                                          ? other[(other0 + step) * a.pitch + feature0 + feature]
                                          : T(0);
      }
      sync_block();
      with_form(a.kind, [&](auto form) {
        if constexpr (kPer <= most_per_thread<T>(form)) {
#pragma unroll 2
          for (int j = 0; j < kOthers; j++) {
            T g[kEach], of_other[kPer];
            read_row(memory.gradient[j], ty, g);
            read_row(memory.other[j], tx, of_other);
#pragma unroll
            for (int i = 0; i < kEach; i++)
#pragma unroll
              for (int f = 0; f < kPer; f++) sum[i][f] += g[i] * derived<form>(mine[i][f], of_other[f]);
          }
        }
      });
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

// The sum of the slices, of some rows.
template <class T>
struct JoinSlices {
  int64_t sequences, steps, first_row, rows, features;
  int64_t slices;
  const T* parts;  // (slices, sequences, steps, features)
  T* d;            // (sequences, steps, features)
  bool adds;
  SOFTDP_FN int64_t items() const { return sequences * rows * features; }
  SOFTDP_DEVICE void operator()(int64_t at) const {
    const int64_t row = rows * features;
    const int64_t number = (at / row * steps + first_row) * features + at % row;
    T sum = adds ? d[number] : T(0);
    for (int64_t slice = 0; slice < slices; slice++)
      sum += parts[slice * sequences * steps * features + number];
    d[number] = sum;
  }
};

}  // namespace softdp::cuda
