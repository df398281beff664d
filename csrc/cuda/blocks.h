// A strip of 32 rows, which a warp sweeps, and the blocks of 16 columns by which its scores come in and its
// results leave.
//
// Scores reach the lanes through arrays in shared memory that only this warp uses. Chunk c works on a window
// of 20 columns of each row: the 16 that came in for it, and before them the last four of the window before.
// An array has two buffers, which even and odd chunks take in turn: the next block comes in beside the chunk,
// 16 bytes at a time where the tensor's strides allow it. Results overwrite the scores that they come from,
// and the first 16 columns of a window leave when its chunk is done.
//
// At step t the lane of row r is at column t - r. Copies want columns by four, so the window of row r = 4 g +
// s is shifted by 4 g: it begins at column 16 c - 4 g - 4, and step i of chunk c is at its place 4 + i - s. A
// chunk's addresses are one register plus constants.
//
// Rows of the same remainder by 4 lie together. Then neither the lanes' steps nor the blocks' four columns
// ever meet in a bank.
#pragma once
#include <type_traits>

#include "arithmetic.h"
#include "wavefront.h"

namespace softdp::cuda {

constexpr int kStripRows = 32;
constexpr int kFour = 4;  // columns that are copied together
constexpr int kWindow = kFour + kChunk;
constexpr int kBuffer = kStripRows * kWindow;
constexpr int kArray = 2 * kBuffer;

SOFTDP_DEVICE int slot_of(int row) {
  return ((row >> 2) + (row & 3) * (kStripRows / 4)) * kWindow;
}
SOFTDP_DEVICE int buffer_of(int chunk) {
  return (chunk & 1) * kBuffer;
}
// The place in a row's slot of the columns from a window's place `begin` on, `columns` of them in memory's
// order. kStep -1: on the table seen from its end, whose columns keep their order in memory, a window lies
// the other way round.
template <int kStep>
SOFTDP_FN constexpr int in_slot(int begin, int columns = 1) {
  return kStep > 0 ? begin : kWindow - columns - begin;
}

// Where the lane of a row finds its cells of a chunk in the arrays.
template <int kStep>
struct WindowPlaces {
  int first;
  SOFTDP_DEVICE WindowPlaces(int row, int chunk)
      : first(buffer_of(chunk) + slot_of(row) + in_slot<kStep>(kFour - (row & 3))) {}
  SOFTDP_DEVICE int at(int i) const { return first + kStep * i; }
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
// Calls run(T()) with what numbers of a type are in memory, where the arithmetic is V.
template <class V, class Run>
SOFTDP_DEVICE void with_numbers(Type type, Run run) {
  if constexpr (std::is_same_v<V, double>)
    run(double());
  else if (type == Type::kFloat32)
    run(float());
  else
    run(Sixteen());
}
// A number of any type, and back.
SOFTDP_DEVICE double number_at(const void* data, Type type, int64_t at) {
  if (type == Type::kFloat64) return static_cast<const double*>(data)[at];
  if (type == Type::kFloat32) return double(static_cast<const float*>(data)[at]);
  return double(value_from<float>(static_cast<const Sixteen*>(data)[at], type));
}
SOFTDP_DEVICE double number_at(const Table& table, int64_t at) {
  return number_at(table.data, table.type, at);
}
SOFTDP_DEVICE void put_number(void* data, Type type, int64_t at, double x) {
  if (type == Type::kFloat64)
    static_cast<double*>(data)[at] = x;
  else if (type == Type::kFloat32)
    static_cast<float*>(data)[at] = float(x);
  else
    static_cast<Sixteen*>(data)[at] = value_to<Sixteen>(float(x), type);
}

// A table's rows from `row` on.
template <class T>
SOFTDP_DEVICE View<const T> rows_of(const Table& table, int64_t pair, int row) {
  return {static_cast<const T*>(table.data) + pair * table.batch + row * table.row, table.row, table.column};
}

// ---- blocks of 16 columns ----------------------------------------------------------------------------

// Columns of a row, from `begin` to before `end`; those from the first one on.
struct Columns {
  static constexpr bool kBeginAnywhere = true;
  int begin, end;
  SOFTDP_FN bool has(int column) const { return unsigned(column - begin) < unsigned(end - begin); }
};
struct FirstColumns {
  static constexpr bool kBeginAnywhere = false;
  static constexpr int begin = 0;
  int end;
  SOFTDP_FN bool has(int column) const { return unsigned(column) < unsigned(end); }
};

// A lane's part of a block: four columns of four rows. Lanes side by side take the columns of a row; a
// quarter of the warp takes two rows that lie half the banks apart.
struct Part {
  int row, column;  // column: of the block's 16
  SOFTDP_DEVICE explicit Part(int lane) {
    const int k = lane >> 2;
    row = kFour * (k >> 1 | (k & 1) << 2);
    column = kFour * (lane & 3);
  }
  // Where the columns of row + i lie in the arrays, in memory's order, of a block that begins at the window's
  // place `begin`.
  template <int kStep>
  SOFTDP_DEVICE int place(int chunk, int begin, int i) const {
    return buffer_of(chunk) + slot_of(row) + i * (kStripRows / 4) * kWindow +
           in_slot<kStep>(begin + column, kFour);
  }
  // The table's column that the lane's first one is, a multiple of four; below 0 and past the table, too.
  SOFTDP_DEVICE int first_of(int chunk, int begin) const {
    return chunk * kChunk - row + column + begin - kFour;
  }
};
// What comes in for a chunk lies behind the four columns of the chunk before; what leaves begins with them.
constexpr int kIn = kFour, kOut = 0;
// The k-th of four columns in memory's order.
template <int kStep>
SOFTDP_FN int in_memory(int k) {
  return kStep > 0 ? k : kFour - 1 - k;
}

// The lane's part of a view's blocks, and whether it can be moved four columns at once; kStep: the columns'
// way through memory. kBegin: kIn or kOut.
template <class T, int kStep, int kBegin>
struct Blocks {
  using Bare = std::remove_const_t<T>;
  static constexpr int kFirst = kBegin;
  T* first = nullptr;  // of block 0
  int64_t row = 0, column = 0;
  bool by_four = false;
  Blocks() = default;
  SOFTDP_DEVICE Blocks(const View<T>& view, const Part& part)
      : first(view.at(part.row, part.first_of(0, kBegin))), row(view.row), column(view.column) {
    const auto fits = [](uintptr_t bytes) { return bytes % alignof(Four<Bare>) == 0; };
    by_four = view.column == kStep && fits(uintptr_t(view.row) * sizeof(T)) &&
              fits(reinterpret_cast<uintptr_t>(four(view.origin)));
  }
  // The first in memory of the four that begin at `begin`.
  static SOFTDP_DEVICE T* four(T* begin) { return kStep > 0 ? begin : begin - (kFour - 1); }
  SOFTDP_DEVICE T* four_of(int block) const { return four(first + kStep * block * kChunk); }
  SOFTDP_DEVICE T* at(int block) const { return first + int64_t(block) * kChunk * column; }
  // How many columns there are from the lane's first one on, of a row that has these and what completes the
  // fours before them; more than four, or none, too.
  template <class Of>
  static SOFTDP_DEVICE int left(const Part& part, int block, const Of& of) {
    const int column = part.first_of(block, kBegin);
    return column < (of.begin & -kFour) ? 0 : of.end - column;
  }
};

// start() sets out to fetch a block, asynchronously. Once copy_async_wait() and a sync_warp() have followed,
// it is in the array. Rows and columns beyond the table are 0.
template <class V, int kStep>
struct BlockLoader : Blocks<const V, kStep, kIn> {
  using Blocks<const V, kStep, kIn>::Blocks;
  // kRepeats: the view may have the same number in all columns.
  template <bool kRepeats = false, class Of>
  SOFTDP_DEVICE void start(const Part& part, int rows, const Of& of, int block, V* array) const {
    const int left = this->left(part, block, of);
    if (this->by_four && (left >= kFour || left <= 0)) {
      const V* from[kFour] = {this->four_of(block)};
#pragma unroll
      for (int i = 1; i < kFour; i++) from[i] = from[i - 1] + this->row;
#pragma unroll
      for (int i = 0; i < kFour; i++)
        copy_async_four(array + part.place<kStep>(block, kIn, i), from[i], left > 0 && part.row + i < rows);
    } else if (kRepeats && this->column == 0) {
      const V* from = this->first;
#pragma unroll 1
      for (int i = 0; i < kFour; i++) {
        const V x = left > 0 && part.row + i < rows ? *from : V(0);
        four_at(array + part.place<kStep>(block, kIn, i)) = {{x, x, x, x}};
        from += this->row;
      }
    } else {
      const V* from = this->at(block);
#pragma unroll 1
      for (int i = 0; i < kFour; i++) {
        V* const to = array + part.place<kStep>(block, kIn, i);
#pragma unroll
        for (int k = 0; k < kFour; k++)
          copy_async(to + in_memory<kStep>(k), from + k * this->column, k < left && part.row + i < rows);
        from += this->row;
      }
    }
  }
};

// The same of numbers of 16 bits: four of them wait in the place of the last two that they become. It is
// asynchronous where four can be copied at once.
struct SixteenLoader : Blocks<const Sixteen, 1, kIn> {
  using Blocks<const Sixteen, 1, kIn>::Blocks;
  template <class Of>
  SOFTDP_DEVICE void start(const Part& part, int rows, const Of& of, int block, float* array) const {
    const int left = this->left(part, block, of);
    const Sixteen* from = at(block);
    const bool are_four = by_four && (left >= kFour || left <= 0);
#pragma unroll
    for (int i = 0; i < kFour; i++) {
      Four<Sixteen>& to = waiting(array + part.place<1>(block, kIn, i));
      const bool is_row = part.row + i < rows;
      if (are_four) {
        copy_async(&to, reinterpret_cast<const Four<Sixteen>*>(from), left > 0 && is_row);
      } else {
#pragma unroll
        for (int k = 0; k < kFour; k++) to.x[k] = k < left && is_row ? from[k * column] : Sixteen{0};
      }
      from += row;
    }
  }
  // After copy_async_wait().
  static SOFTDP_DEVICE void unpack(const Part& part, int block, float* array, Type type) {
#pragma unroll
    for (int i = 0; i < kFour; i++) {
      float* const to = array + part.place<1>(block, kIn, i);
      const Four<Sixteen> from = waiting(to);
      Four<float> values;
#pragma unroll
      for (int k = 0; k < kFour; k++) values.x[k] = value_from<float>(from.x[k], type);
      four_at(to) = values;
    }
  }

 private:
  static SOFTDP_DEVICE Four<Sixteen>& waiting(float* four) {
    return *reinterpret_cast<Four<Sixteen>*>(four + 2);
  }
};

// Scores on their way in: of V or, where that is float, of 16 bits. A table's type is looked at once a block.
// finish() ends what start() has begun, after copy_async_wait().
template <class V>
struct ScoreLoader {
  const void* first = nullptr;  // as in Blocks
  int64_t row = 0, column = 0;
  bool by_four = false;

  ScoreLoader() = default;
  SOFTDP_DEVICE ScoreLoader(const Table& table, int64_t pair, int row0, const Part& part) {
    with_numbers<V>(table.type, [&](auto number) {
      const Loader<decltype(number)> loader(rows_of<decltype(number)>(table, pair, row0), part);
      first = loader.first, row = loader.row, column = loader.column, by_four = loader.by_four;
    });
  }
  // The block lies `turn` columns before its place in rows that have a number for each column.
  template <bool kRepeats, class Of>
  SOFTDP_DEVICE void start(Type type, const Part& part, int rows, const Of& of, int block, V* array,
                           int64_t turn = 0) const {
    with_numbers<V>(type, [&](auto number) {
      using T = decltype(number);
      Loader<T> loader;
      loader.first = static_cast<const T*>(first) - turn * column, loader.row = row, loader.column = column;
      loader.by_four = by_four;
      if constexpr (std::is_same_v<T, V>)
        loader.template start<kRepeats>(part, rows, of, block, array);
      else
        loader.start(part, rows, of, block, array);
    });
  }
  static SOFTDP_DEVICE void finish(Type type, const Part& part, int block, V* array, bool negates) {
    if constexpr (std::is_same_v<V, float>)
      if (type != Type::kFloat32) SixteenLoader::unpack(part, block, array, type);
    if (!negates) return;
#pragma unroll 1
    for (int i = 0; i < kFour; i++) {
      Four<V>& four = four_at(array + part.place<1>(block, kIn, i));
#pragma unroll
      for (int k = 0; k < kFour; k++) four.x[k] = -four.x[k];
    }
  }

 private:
  template <class T>
  using Loader = std::conditional_t<std::is_same_v<T, V>, BlockLoader<V, 1>, SixteenLoader>;
};

template <class T, class V, int kStep>
struct BlockStorer : Blocks<T, kStep, kOut> {
  using Blocks<T, kStep, kOut>::Blocks;
  template <class Of>
  SOFTDP_DEVICE void store(const Part& part, int rows, const Of& of, int block, const V* array,
                           Type type) const {
    const int left = this->left(part, block, of);
    if (left <= 0) return;
    // Of a table seen from its end, what completes the first four may lie beyond its memory.
    const int skipped = kStep < 0 && Of::kBeginAnywhere ? of.begin - part.first_of(block, kOut) : 0;
    if (this->by_four && left >= kFour && skipped <= 0) {
      T* to = this->four_of(block);
      Four<V> from[kFour];
#pragma unroll
      for (int i = 0; i < kFour; i++) from[i] = four_at(array + part.place<kStep>(block, kOut, i));
#pragma unroll
      for (int i = 0; i < kFour; i++) {
        Four<T> out;
#pragma unroll
        for (int k = 0; k < kFour; k++) out.x[k] = value_to<T>(from[i].x[k], type);
        if (part.row + i < rows) four_at(to) = out;
        to += this->row;
      }
    } else {
      T* to = this->at(block);
#pragma unroll 1
      for (int i = 0; i < kFour && part.row + i < rows; i++) {
        const V* const from = array + part.place<kStep>(block, kOut, i);
#pragma unroll
        for (int k = 0; k < kFour; k++)
          if (k < left && k >= skipped) to[k * this->column] = value_to<T>(from[in_memory<kStep>(k)], type);
        to += this->row;
      }
    }
  }
};

// The last four columns of a chunk's windows, into the first four of the next one's, in the first `arrays`
// of kMost. Every lane takes a row.
template <int kStep, int kMost, class V>
SOFTDP_DEVICE void carry_over(V* const* array, int arrays, int chunk, int lane) {
  const int slot = slot_of(kFour * (lane & 7) + (lane >> 3));  // eight lanes side by side meet in no bank
  Four<V> carried[kMost];
#pragma unroll
  for (int i = 0; i < kMost; i++)
    if (i < arrays) carried[i] = four_at(array[i] + buffer_of(chunk) + slot + in_slot<kStep>(kChunk, kFour));
#pragma unroll
  for (int i = 0; i < kMost; i++)
    if (i < arrays) four_at(array[i] + buffer_of(chunk + 1) + slot + in_slot<kStep>(0, kFour)) = carried[i];
}

// Sums of a table's columns over a strip's rows, on their way down the strip: a lane adds its own number to
// what the lane above has.
template <class V>
struct ColumnSums {
  V running = 0;  // of the lane's last column
  // Adds the numbers of chunk c in the array, 0 where a row has no cell; the last row has the sums.
  template <class Places, class Of>
  SOFTDP_DEVICE void add(const V* array, const Places& places, int lane, int chunk, int rows, const Of& of,
                         V* sums) {
    const int column = chunk * kChunk - lane;
#pragma unroll 4
    for (int q = 0; q < kChunk; q++) {
      const bool inside = of.has(column + q);
      const V own = inside && lane < rows ? array[places.at(q)] : V(0), above = shuffle_up(running);
      running = lane == 0 ? own : above + own;
      if (lane == rows - 1 && inside) sums[column + q] = running;
    }
  }
};

}  // namespace softdp::cuda
