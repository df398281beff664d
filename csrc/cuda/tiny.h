// Pairs of at most 32 by 32 cells: a warp, or a part of one, sweeps a pair there and back in one launch, all
// in shared memory. What is saved is the score's gradient, which the backward launch scales.
#pragma once
#include "bands.h"

namespace softdp::cuda {

// Row r's column c lies at c + r of its row, so that all lanes of a pair are at the same place.
constexpr int kTinyPitch = 2 * kRows + 1;
template <int kStep>
struct TinyPlaces {
  int first;
  SOFTDP_DEVICE explicit TinyPlaces(int first) : first(first) {}
  SOFTDP_DEVICE TinyPlaces(int row, int t0) : first(row * kTinyPitch + t0) {}
  template <bool>
  SOFTDP_DEVICE int at(int i) const {
    return first + kStep * i;
  }
};

template <class V, class State, int kArrays>
struct TinyMemory {
  alignas(16) V arrays[kArrays][kRows * kTinyPitch];
  alignas(16) unsigned char above[kChunk * sizeof(State)];
  alignas(16) unsigned char below[kChunk * sizeof(State)];
};

template <class R>
struct TinyArguments : ForwardArguments<R> {
  int group;  // lanes a pair: 8, 16 or 32, no fewer than its rows
};

template <class R>
SOFTDP_KERNEL(kRows)
tiny_pairs(const TinyArguments<R> a) {
  using T = typename R::T;
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  constexpr int kPlanes = R::kArrays;  // scores in, gradients out
  using Block = TinyMemory<V, State, kPlanes>;
  SOFTDP_SHARED(raw);
  Block& block = *reinterpret_cast<Block*>(raw);

  const int64_t N = a.pairs.rows, M = a.pairs.columns;
  const int lane = int(threadIdx.x), group = a.group, g = lane / group, r = lane % group, first = g * group;
  const int64_t pair = int64_t(blockIdx.x) * (kRows / group) + g;
  const bool present = pair < a.pairs.count;
  const Extent size = present ? extent_of(a.pairs, pair) : Extent{0, 0, true};
  const int n = size.m ? size.n : 0, m = size.n ? size.m : 0;
  const auto slot = [&](int row, int column) { return (first + row) * kTinyPitch + column + row; };

  for (int column = r; column < m; column += group)
#pragma unroll
    for (int i = 0; i < kPlanes; i++) {
      V* to = &block.arrays[i][slot(0, column)];
      if constexpr (std::is_same_v<T, V>) {
        const Scores<T>& from = a.scores[i];
        const T* at = from.data + pair * from.batch + column * from.column;
#pragma unroll 4
        for (int row = 0; row < n; row++, at += from.row, to += kTinyPitch + 1) copy_async(to, at, true);
      } else {
#pragma unroll 4
        for (int row = 0; row < n; row++, to += kTinyPitch + 1) *to = score_at(a, i, pair, row, column);
      }
    }
  copy_async_wait();
  sync_warp();

  Memory<V> memory{};
#pragma unroll
  for (int i = 0; i < kPlanes; i++) memory.array[i] = block.arrays[i];
  const Lane where{lane, r, r < n ? m : 0};
  ForwardStrip<R, false, TinyPlaces<1>> strip{a, memory};
  strip.lane = where;
  strip.rows = kRows;
  strip.above = block.above;
  strip.below = block.below;
  strip.left = boundary_state<Wide>(a.k, r < n && !a.boundary.anchored);
  strip.diagonal = boundary_state<Wide>(a.k, r == 0);
  int total = n + m - 1;
  for (int other = kRows / 2; other > 0; other /= 2) {
    const int theirs = shuffle_xor(total, other);
    total = theirs > total ? theirs : total;
  }
  for (int t0 = 0; t0 < total; t0 += kChunk)
    strip.chunk(t0, total - t0 < kChunk ? total - t0 : kChunk, int(M));

  const unsigned mine = (group == kRows ? 0xffffffffu : (1u << group) - 1) << first;
  const V at_end = shuffle_from(V(value_of(strip.left, a.unit)), first + (n > 0 ? n - 1 : 0));
  const bool hides = at_end == -ScalarCommon::kInfinity && n > 0 && hides_a_score(a, pair, n, m, r, group);
  const bool spoiled = (ballot(strip.is_spoiled() || hides) & mine) != 0;
  const V value = n == 0 ? empty_score(a, size) : spoiled ? V(NAN) : at_end;
  if (present && r == 0) a.score[pair] = value;
  if (!a.saved) return;

  V* array[3];
#pragma unroll
  for (int i = 0; i < 3; i++) array[i] = block.arrays[i < kPlanes ? i : 0];
  GapSums<V> gaps{R::kLcs ? Sum::kNone : Sum::kArray, kPlanes == 3 ? Sum::kArray : Sum::kNone, kPlanes == 2};
  Adjoints<V> from;
  V* const above = reinterpret_cast<V*>(block.above);
  V* const below = reinterpret_cast<V*>(block.below);
  for (int t0 = 0; t0 < total; t0 += kChunk) {
    sync_warp();
    if (lane < kChunk) above[lane] = t0 + lane == 0 ? V(1) : V(0);
    sync_warp();
    // Seen from its end: this lane's row is n-1-r, its column at step t m-1-(t-r).
    const TinyPlaces<-1> places((first + n - 1 - r) * kTinyPitch + n + m - 2 - t0);
    backward_chunk<true, R::kLcs>(array, places, from, gaps, where, t0, above, below, kRows - 1);
  }
  sync_warp();

  if (!present) return;
  const bool dead = value == -ScalarCommon::kInfinity, bad = value != value;
  for (int column = r; column < M; column += group)
#pragma unroll
    for (int i = 0; i < kPlanes; i++) {
      V* to = a.saved + (pair * kPlanes + i) * N * M + column;
      const V* from = &array[i][slot(0, column)];
      const int there = dead || column >= m ? 0 : n;
#pragma unroll 4
      for (int row = 0; row < int(N); row++, to += M, from += kTinyPitch + 1)
        *to = row >= there ? V(0) : bad ? V(NAN) : *from;
    }
}

// ---- the backward launch: saved gradients times the score's, summed where a gap was broadcast

template <class T>
struct ScaleArguments {
  using V = typename ValueOf<T>::Type;
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  int planes;
  Format<T> format;
  Gradient<T> gradients[3];
};

constexpr int kScaleWarps = 4;
constexpr int kTogether =
    8;  // numbers that a thread asks for at once: their way from memory is what takes time

// A block scales one plane of a pair, if it is wanted. Where the scale is 0 nothing is read: the pair may
// hold NaN, and gets 0.
template <class T>
SOFTDP_KERNEL(kScaleWarps* kRows)
scale_pairs(const ScaleArguments<T> a) {
  using V = typename ValueOf<T>::Type;
  const int64_t plane = blockIdx.x, pair = plane / a.planes;
  const int i = int(plane % a.planes);
  const Gradient<T> g = i == 0 ? a.gradients[0] : i == 1 ? a.gradients[1] : a.gradients[2];
  if (!g.data) return;
  const int N = int(a.pairs.rows), M = int(a.pairs.columns), thread = int(threadIdx.x);
  const int lane = thread % kRows, warp = thread / kRows;
  const V scale = a.grad_score[pair];
  const auto scaled = [&](V x) {
    return x == 0 ? V(0) : scale * x;
  };  // a cell without a path has no gradient
  const V* const saved = a.saved + plane * N * M;
  const int cells = scale == 0 ? 0 : N * M;  // to read
  V x[kTogether];
  if (g.every_row && g.every_column) {
    for (int begin = thread; begin < N * M; begin += kTogether * kScaleWarps * kRows) {
      const auto at = [&](int k) { return begin + k * kScaleWarps * kRows; };
#pragma unroll
      for (int k = 0; k < kTogether; k++) x[k] = at(k) < cells ? saved[at(k)] : V(0);
#pragma unroll
      for (int k = 0; k < kTogether; k++)
        if (at(k) < N * M) g.data[pair * N * M + at(k)] = value_to<T>(scaled(x[k]), a.format);
    }
    return;
  }
  // Every warp takes some of the sums, its lanes the summands.
  const int rows = g.every_row ? N : 1, columns = g.every_column ? M : 1, sums = rows * columns;
  const int summands = cells / (sums > 0 ? sums : 1), pitch = g.every_column ? M : 1,
            skip = g.every_row ? M : 1;
  for (int begin = warp; begin < sums; begin += kTogether * kScaleWarps) {
    const auto at = [&](int k) { return begin + k * kScaleWarps; };
    double sum[kTogether] = {};
    for (int j = lane; j < summands; j += kRows) {
#pragma unroll
      for (int k = 0; k < kTogether; k++) x[k] = at(k) < sums ? saved[at(k) * skip + j * pitch] : V(0);
#pragma unroll
      for (int k = 0; k < kTogether; k++) sum[k] += double(x[k]);
    }
#pragma unroll
    for (int k = 0; k < kTogether; k++) {
      for (int other = kRows / 2; other > 0; other /= 2) sum[k] += shuffle_xor(sum[k], other);
      if (lane == 0 && at(k) < sums) g.data[pair * sums + at(k)] = value_to<T>(scaled(V(sum[k])), a.format);
    }
  }
}

}  // namespace softdp::cuda
