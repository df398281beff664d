// A strip of 32 rows, which a warp sweeps, and the blocks of 16 columns by which its scores come in and its
// results leave.
//
// Scores reach the lanes through arrays in shared memory that only this warp uses, 32 rows by a ring of 64
// columns. Blocks come in one ahead of the sweep, 16 bytes at a time where the tensor's strides allow it.
// Results overwrite the scores that they come from, and leave three blocks behind, when the last lane has
// passed them.
//
// In the ring, row r's column c lies at (c + turn) mod 64 with turn the next multiple of 4 from r on, so that
// four columns stay together and at step t every lane reads within 3 places of t mod 64: a chunk's addresses
// are one register plus constants, but for the last three where the ring may end. Rows of the same remainder
// by 4 lie together. Then neither the lanes' steps nor the blocks' four columns ever meet in a bank.
#pragma once
#include <type_traits>

#include "arithmetic.h"
#include "wavefront.h"

namespace softdp::cuda {

constexpr int kStripRows = 32;
constexpr int kRing = 64;
constexpr int kFour = 4;  // columns that are copied together
constexpr int kPitch = kRing + kFour;
constexpr int kArray = kStripRows * kPitch - kFour;
constexpr int kRolledUnroll = 4;
constexpr int kBlocksBehind = 3;  // lanes are up to 31 columns apart: a block is done three chunks later

SOFTDP_DEVICE int slot_of(int row) {
  return ((row >> 2) + (row & 3) * (kStripRows / 4)) * kPitch;
}
SOFTDP_DEVICE int turn_of(int row) {
  return (row + kFour - 1) & -kFour;
}

// Where the lane of a row finds its cells of a chunk in the arrays. kStep -1: on the table seen from its end,
// whose columns keep their order in memory, so that the ring runs backwards.
template <int kStep>
struct RingPlaces {
  int slot, first;
  SOFTDP_DEVICE RingPlaces(int row, int t0)
      : slot(slot_of(row)), first((t0 & (kRing - 1)) + turn_of(row) - row) {}
  // Of step i, which is known when this is compiled unless kAnyStep.
  template <bool kAnyStep>
  SOFTDP_DEVICE int at(int i) const {
    const int ring = kAnyStep || i > kChunk - kFour ? (first + i) & (kRing - 1) : first + i;
    return slot + (kStep > 0 ? ring : kRing - 1 - ring);
  }
};

template <class T>
struct alignas(sizeof(T) < 4 ? 8 : 16) Four {
  T x[kFour];
};

template <class T>
SOFTDP_DEVICE Four<std::remove_const_t<T>>& four_at(T* first) {
  using Bare = std::remove_const_t<T>;
  demand_aligned(first, alignof(Four<Bare>));
  return *reinterpret_cast<Four<Bare>*>(const_cast<Bare*>(first));
}

// Rows and columns of scores or results; strides may be negative, to see a table from its end.
template <class T>
struct View {
  T* origin;
  int64_t row, column;
  SOFTDP_DEVICE T* at(int64_t r, int64_t c) const { return origin + r * row + c * column; }
};

// Numbers of a table or a sink as the arithmetic has them, and back.
template <class V, class T>
SOFTDP_DEVICE V value_from(T x, Type) {
  return V(x);
}
template <class V>
SOFTDP_DEVICE V value_from(Sixteen x, Type type) {
  return type == Type::kBfloat16 ? from_bfloat16(x.bits) : from_half(x.bits);
}
template <class T, class V>
SOFTDP_DEVICE T value_to(V x, Type type) {
  if constexpr (std::is_same_v<T, Sixteen>)
    return {type == Type::kBfloat16 ? to_bfloat16(x) : to_half(x)};
  else
    return T(x);
}

// A table's rows from `row` on.
template <class T>
SOFTDP_DEVICE View<const T> rows_of(const Table& table, int64_t pair, int row) {
  return {static_cast<const T*>(table.data) + pair * table.batch + row * table.row, table.row, table.column};
}

// ---- blocks of 16 columns ----------------------------------------------------------------------------

// A lane's part of a block: four columns of four rows. Lanes side by side take the columns of a row; a
// quarter of the warp takes two rows that lie half the banks apart.
struct Part {
  int row, column;  // column: of the block's 16
  SOFTDP_DEVICE explicit Part(int lane) {
    const int k = lane >> 2;
    row = kFour * ((k & 4) | (k & 1) << 1 | (k >> 1 & 1));
    column = kFour * (lane & 3);
  }
  // Where the columns of row + i lie in the arrays, in memory's order.
  template <int kStep>
  SOFTDP_DEVICE int place(int block, int i) const {
    const int ring = (block * kChunk + column + row + (i > 0 ? kFour : 0)) & (kRing - 1);
    return slot_of(row) + i * (kStripRows / 4) * kPitch + (kStep > 0 ? ring : kRing - kFour - ring);
  }
  // How many columns there are from the lane's first on, of a table's m; more than four, or none, too.
  SOFTDP_DEVICE int left(int m, int block) const { return m - column - block * kChunk; }
};
// The k-th of four columns in memory's order.
template <int kStep>
SOFTDP_FN int in_memory(int k) {
  return kStep > 0 ? k : kFour - 1 - k;
}

// The lane's part of a view's blocks, and whether it can be moved four columns at once; kStep: the columns'
// way through memory.
template <class T, int kStep>
struct Blocks {
  using Bare = std::remove_const_t<T>;
  T* first = nullptr;  // of block 0
  int64_t row = 0, column = 0;
  bool by_four = false;
  Blocks() = default;
  SOFTDP_DEVICE Blocks(const View<T>& view, const Part& part)
      : first(view.at(part.row, part.column)), row(view.row), column(view.column) {
    const auto fits = [](uintptr_t bytes) { return bytes % alignof(Four<Bare>) == 0; };
    by_four = view.column == kStep && fits(uintptr_t(view.row) * sizeof(T)) &&
              fits(reinterpret_cast<uintptr_t>(four(view.origin)));
  }
  // The first in memory of the four that begin at `begin`.
  static SOFTDP_DEVICE T* four(T* begin) { return kStep > 0 ? begin : begin - (kFour - 1); }
  SOFTDP_DEVICE T* four_of(int block) const { return four(first + kStep * block * kChunk); }
  SOFTDP_DEVICE T* at(int block) const { return first + int64_t(block) * kChunk * column; }
};

// start() sets out to fetch a block. Once copy_async_wait(), finish() and a sync_warp() have followed, it is
// in the array, negated where that is asked for. A lane copies float and double asynchronously, and holds
// halves in registers in between. Rows and columns beyond the table are 0.
template <class T, class V, int kStep>
struct BlockLoader : Blocks<const T, kStep> {
  using Blocks<const T, kStep>::Blocks;
  SOFTDP_DEVICE void start(const Part& part, int rows, int m, int block, V* array) {
    const int left = part.left(m, block);
    if (this->by_four && (left >= kFour || left <= 0)) {
      const T* from = this->four_of(block);
#pragma unroll
      for (int i = 0; i < kFour; i++) {
        copy_async_four(array + part.place<kStep>(block, i), from, left > 0 && part.row + i < rows);
        from += this->row;
      }
    } else {
      const T* from = this->at(block);
#pragma unroll 1
      for (int i = 0; i < kFour; i++) {
        V* const to = array + part.place<kStep>(block, i);
#pragma unroll
        for (int k = 0; k < kFour; k++)
          copy_async(to + in_memory<kStep>(k), from + k * this->column, k < left && part.row + i < rows);
        from += this->row;
      }
    }
  }
  SOFTDP_DEVICE void finish(const Part& part, int block, V* array, Type, bool negates) {
    if (!negates) return;
#pragma unroll 1
    for (int i = 0; i < kFour; i++) {
      Four<V>& four = four_at(array + part.place<kStep>(block, i));
#pragma unroll
      for (int k = 0; k < kFour; k++) four.x[k] = -four.x[k];
    }
  }
};

template <>
struct BlockLoader<Sixteen, float, 1> : Blocks<const Sixteen, 1> {
  using Blocks<const Sixteen, 1>::Blocks;
  uint64_t held[kFour];  // four columns of a row each; unpacked only where they are used
  SOFTDP_DEVICE void start(const Part& part, int rows, int m, int block, float*) {
    const int left = part.left(m, block);
    const Sixteen* from = this->at(block);
    if (this->by_four && (left >= kFour || left <= 0)) {
#pragma unroll
      for (int i = 0; i < kFour; i++) {
        held[i] = load_ahead(from, left > 0 && part.row + i < rows);
        from += this->row;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kFour; i++) {
        held[i] = 0;
#pragma unroll
        for (int k = 0; k < kFour; k++)
          if (k < left && part.row + i < rows) held[i] |= uint64_t(from[k * this->column].bits) << (16 * k);
        from += this->row;
      }
    }
  }
  SOFTDP_DEVICE void finish(const Part& part, int block, float* array, Type type, bool negates) {
#pragma unroll
    for (int i = 0; i < kFour; i++) {
      Four<float> values;
#pragma unroll
      for (int k = 0; k < kFour; k++) {
        const float value = value_from<float>(Sixteen{uint16_t(held[i] >> (16 * k))}, type);
        values.x[k] = negates ? -value : value;
      }
      four_at(array + part.place<1>(block, i)) = values;
    }
  }
};

template <class T, class V, int kStep>
struct BlockStorer : Blocks<T, kStep> {
  using Blocks<T, kStep>::Blocks;
  SOFTDP_DEVICE void store(const Part& part, int rows, int m, int block, const V* array, Type type) const {
    const int left = part.left(m, block);
    if (block < 0 || left <= 0) return;
    if (this->by_four && left >= kFour) {
      T* to = this->four_of(block);
#pragma unroll
      for (int i = 0; i < kFour; i++) {
        const Four<V> from = four_at(array + part.place<kStep>(block, i));
        Four<T> out;
#pragma unroll
        for (int k = 0; k < kFour; k++) out.x[k] = value_to<T>(from.x[k], type);
        if (part.row + i < rows) four_at(to) = out;
        to += this->row;
      }
    } else {
      T* to = this->at(block);
#pragma unroll 1
      for (int i = 0; i < kFour && part.row + i < rows; i++) {
        const V* const from = array + part.place<kStep>(block, i);
#pragma unroll
        for (int k = 0; k < kFour; k++)
          if (k < left) to[k * this->column] = value_to<T>(from[in_memory<kStep>(k)], type);
        to += this->row;
      }
    }
  }
};

// The sums of a block's columns over the strip's rows.
template <int kStep, class V>
SOFTDP_DEVICE void store_column_sums(V* sums, const Part& part, int lane, int rows, int m, int block,
                                     const V* array) {
  if (block < 0) return;
  const int left = part.left(m, block);
  V sum[kFour] = {};
#pragma unroll
  for (int i = 0; i < kFour; i++) {
    const Four<V> row = four_at(array + part.place<kStep>(block, i));
#pragma unroll
    for (int k = 0; k < kFour; k++)
      if (part.row + i < rows && k < left) sum[k] += row.x[in_memory<kStep>(k)];
  }
#pragma unroll
  for (int k = 0; k < kFour; k++) {
    for (int other = kFour; other < kStripRows; other *= 2) sum[k] += shuffle_xor(sum[k], other);
    if (lane < kFour && k < left) sums[block * kChunk + part.column + k] = sum[k];
  }
}

// How a table's rows are shared out: a block of `warps` warps takes a band of as many strips.
struct BandSize {
  int warps;
  SOFTDP_FN int rows() const { return warps * kStripRows; }
  SOFTDP_FN int64_t bands_of(int64_t N) const { return N > 0 ? (N + rows() - 1) / rows() : 1; }
};

// The block's part of a table's rows, one band: 0 in the padding of a pair of n by m cells, and `value` in
// its cells unless only the padding is to be filled.
template <class T>
SOFTDP_DEVICE void fill_rows(T* table, Type type, BandSize size, int band, int64_t N, int64_t M, int n, int m,
                             float value, bool padding_only) {
  if (padding_only && n == N && m == M) return;
  const int64_t first = int64_t(band) * size.rows(), end = first + size.rows() < N ? first + size.rows() : N;
  for (int64_t row = first + threadIdx.x / kStripRows; row < end; row += size.warps) {
    const int64_t begin = padding_only && row < n ? m : 0;
    for (int64_t column = begin + threadIdx.x % kStripRows; column < M; column += kStripRows)
      table[row * M + column] = value_to<T>(row < n && column < m ? value : 0.0f, type);
  }
}

}  // namespace softdp::cuda
