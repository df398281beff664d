// Pairs of at most 32 by 32 cells: a warp, or a part of one, sweeps a pair forward and back in one launch,
// all in shared memory. What is saved is the score's gradient, which the backward launch scales.
#pragma once
#include "backward_steps.h"
#include "forward_bands.h"

namespace softdp::cuda {

// Row r's column c lies at c + r of its row, so that all lanes of a pair are at the same place.
constexpr int kTinyPitch = 2 * kStripRows + 1;
template <int kStep>
struct TinyPlaces {
  int first;
  SOFTDP_DEVICE explicit TinyPlaces(int first) : first(first) {}
  SOFTDP_DEVICE TinyPlaces(int row, int chunk) : first(row * kTinyPitch + chunk * kChunk) {}
  SOFTDP_DEVICE int at(int i) const { return first + kStep * i; }
};

template <class V, class State, int kArrays>
struct TinyMemory {
  alignas(16) V arrays[kArrays][kStripRows * kTinyPitch];
  alignas(16) unsigned char above[kChunk * sizeof(State)];
  alignas(16) unsigned char below[kChunk * sizeof(State)];
};

template <class R>
struct TinyArguments : ForwardArguments<R> {
  int group;  // lanes a pair: 8, 16 or 32, no fewer than its rows
};

// A lane's pair of n by m cells, its row there, and its group's first row in the arrays.
struct TinyPair {
  int64_t pair;
  int n, m, r, first;
  SOFTDP_DEVICE int slot(int row, int column) const { return (first + row) * kTinyPitch + column + row; }
};

// The pair's scores into the arrays.
template <class R, class Arrays>
SOFTDP_DEVICE void load_tiny(const TinyArguments<R>& a, const TinyPair& at, Arrays& arrays) {
  using T = typename R::T;
  using V = typename R::V;
  constexpr int kPlanes = R::kArrays;
  for (int column = at.r; column < at.m; column += a.group)
#pragma unroll
    for (int i = 0; i < kPlanes; i++) {
      V* to = &arrays[i][at.slot(0, column)];
      if constexpr (std::is_same_v<T, V>) {
        const Table& from = a.tables[i];
        const T* first = static_cast<const T*>(from.data) + at.pair * from.batch + column * from.column;
#pragma unroll 4
        for (int row = 0; row < at.n; row++, first += from.row, to += kTinyPitch + 1)
          copy_async(to, first, true);
      } else {
#pragma unroll 4
        for (int row = 0; row < at.n; row++, to += kTinyPitch + 1) *to = score_at(a, i, at.pair, row, column);
      }
    }
  copy_async_wait();
  if (std::is_same_v<T, V> && a.negates())
    for (int column = at.r; column < at.m; column += a.group)
#pragma unroll 1
      for (int i = 0; i < kPlanes; i++) {
        V* to = &arrays[i][at.slot(0, column)];
        for (int row = 0; row < at.n; row++, to += kTinyPitch + 1) *to = -*to;
      }
  sync_warp();
}

// The gradients of the pair's score out of them: 0 without a path, NaN of a spoiled pair.
template <class R, class Arrays>
SOFTDP_DEVICE void store_tiny(const TinyArguments<R>& a, const TinyPair& at, typename R::V value,
                              const Arrays& arrays) {
  using V = typename R::V;
  constexpr int kPlanes = R::kArrays;
  const int64_t N = a.pairs.rows, M = a.pairs.columns;
  const bool dead = value == -ScalarCommon::kInfinity, bad = value != value;
  for (int column = at.r; column < M; column += a.group)
#pragma unroll
    for (int i = 0; i < kPlanes; i++) {
      V* to = a.saved + (at.pair * kPlanes + i) * N * M + column;
      const V* from = &arrays[i][at.slot(0, column)];
      const int there = dead || column >= at.m ? 0 : at.n;
#pragma unroll 4
      for (int row = 0; row < int(N); row++, to += M, from += kTinyPitch + 1)
        *to = row >= there ? V(0) : bad ? V(NAN) : *from;
    }
}

template <class R>
SOFTDP_KERNEL_BLOCKS(kStripRows, R::kTinyBlocks)
tiny_pairs(const TinyArguments<R> a) {
  using V = typename R::V;
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  constexpr int kPlanes = R::kArrays;  // scores in, gradients out
  using Block = TinyMemory<V, State, kPlanes>;
  SOFTDP_SHARED(raw);
  Block& block = *reinterpret_cast<Block*>(raw);

  const int lane = int(threadIdx.x), group = a.group, r = lane % group, first = lane - r;
  const int64_t pair = int64_t(blockIdx.x) * (kStripRows / group) + lane / group;
  const bool present = pair < a.pairs.count;
  const Extent size = present ? extent_of(a.pairs, pair) : Extent{0, 0, true};
  const int n = size.m ? size.n : 0, m = size.n ? size.m : 0;
  const TinyPair at{pair, n, m, r, first};
  load_tiny(a, at, block.arrays);
  Memory<V> memory{};
#pragma unroll
  for (int i = 0; i < kPlanes; i++) memory.array[i] = block.arrays[i];
  const Lane where{lane, r, r < n ? m : 0};
  ForwardStrip<R, false, TinyPlaces<1>> strip{a, memory};
  strip.lane = where;
  strip.rows = kStripRows;
  strip.left = boundary_state<Wide>(r < n && a.start != Start::kAnchored);
  strip.diagonal = boundary_state<Wide>(r == 0);
  int total = n + m - 1;
  for (int other = kStripRows / 2; other > 0; other /= 2) {
    const int theirs = shuffle_xor(total, other);
    total = theirs > total ? theirs : total;
  }
  for (int c = 0; c * kChunk < total; c++) {
    const bool reached = a.start != Start::kAnchored && c * kChunk + lane < int(a.pairs.columns);
    strip.chunk(c, int(a.pairs.columns), boundary_state<Wide>(reached), reinterpret_cast<State*>(block.above),
                Given<State>(reinterpret_cast<State*>(block.below)));
  }

  const unsigned mine = (group == kStripRows ? 0xffffffffu : (1u << group) - 1) << first;
  const V at_end = shuffle_from(V(value_of(strip.last(), a.unit)), first + (n > 0 ? n - 1 : 0));
  const bool hides = at_end == -ScalarCommon::kInfinity && n > 0 && hides_a_score(a, pair, n, m, r, group);
  const bool spoiled = (ballot(strip.is_spoiled() || hides) & mine) != 0;
  const V value = n == 0 ? empty_score(a, size) : spoiled ? V(NAN) : at_end;
  if (present && r == 0) a.score[pair] = n == 0 ? value : score_of(value, a.negates());
  if (!a.saved) return;

  V* array[3];
#pragma unroll
  for (int i = 0; i < 3; i++) array[i] = block.arrays[i < kPlanes ? i : 0];
  GapSums<V> gaps{R::kHasGaps ? Sum::kArray : Sum::kNone, kPlanes == 3 ? Sum::kArray : Sum::kNone,
                  kPlanes == 2};
  Adjoints<V> from;
  V* const above = reinterpret_cast<V*>(block.above);
  V* const below = reinterpret_cast<V*>(block.below);
  for (int t0 = 0; t0 < total; t0 += kChunk) {
    sync_warp();
    if (lane < kChunk) above[lane] = t0 + lane == 0 ? V(1) : V(0);
    sync_warp();
    // Seen from its end: this lane's row is n-1-r, its column at step t m-1-(t-r).
    const TinyPlaces<-1> places((first + n - 1 - r) * kTinyPitch + n + m - 2 - t0);
    backward_chunk<true, typename R::Recurrence, typename R::Keeps>(array, places, from, gaps, where, t0,
                                                                    above, Given<V>(below), kStripRows - 1);
  }
  sync_warp();

  if (!present) return;
  store_tiny(a, at, value, block.arrays);
}

}  // namespace softdp::cuda
