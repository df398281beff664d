// A warp sweeps a strip of 32 rows: lane = row, and at step t the lane of row r is at column t - r, so that
//
//   S(i, j-1)    is the lane's own last state
//   S(i-1, j)    comes by a shuffle from the lane above
//   S(i-1, j-1)  is what came by the last shuffle
//
// Scores reach the lanes through arrays in shared memory that only this warp uses, 32 rows by a ring of 64
// columns. Row r's column c lies at (c + r) mod 64: at step t every lane reads place t mod 64 of its row,
// which makes a chunk's addresses one register plus constants; the odd pitch spreads the lanes over the
// banks. Blocks of 16 columns come in coalesced, one block ahead; results overwrite the scores that they come
// from and leave three blocks behind, when the last lane has passed them.
#pragma once
#include <type_traits>

#include "arithmetic.h"
#include "wavefront.h"
#include "weights.h"

namespace softdp::cuda {

constexpr int kRows = 32;
constexpr int kRing = 64;
constexpr int kPitch = kRing + 1;
constexpr int kArray = kRows * kPitch;
constexpr int kPartialUnroll = 4;
constexpr int kBlocksBehind = 3;  // lanes are up to 31 columns apart: a block is done three chunks later

// Rows and columns of scores or results; strides may be negative, to see a table from its end.
template <class T>
struct View {
  T* origin;
  int64_t row, column;
  SOFTDP_DEVICE T* at(int64_t r, int64_t c) const { return origin + r * row + c * column; }
};

template <class V, class T>
SOFTDP_DEVICE V value_from(T x) {
  if constexpr (sizeof(T) == 2)
    return to_float(x);
  else
    return V(x);
}
template <class T, class V>
SOFTDP_DEVICE T value_to(V x) {
  if constexpr (sizeof(T) == 2)
    return from_float<T>(x);
  else
    return T(x);
}

// ---- blocks of 16 columns: lane & 15 is the column, lane >> 4 the first of every second row ------------

// start() sets out to fetch a block, finish() has it in the array once copy_async_wait() and a sync_warp()
// have followed; a lane copies float and double asynchronously, and holds halves in registers in between.
// Rows and columns beyond the table are 0.
template <class T, class V>
struct BlockLoader {
  SOFTDP_DEVICE void start(const View<const T>& view, int lane, int rows, int m, int block, V* array) {
    const int column = block * kChunk + (lane & 15);
    const T* from = view.at(lane >> 4, column);
    // Unrolled whole, sixteen rows' offsets would be kept in registers from block to block.
#pragma unroll 4
    for (int i = 0; i < kRows / 2; i++) {
      const int r = (lane >> 4) + 2 * i;
      const bool valid = r < rows && column < m;
      copy_async(array + r * kPitch + ((column + r) & (kRing - 1)), valid ? from : view.origin, valid);
      from += 2 * view.row;
    }
  }
  SOFTDP_DEVICE void finish(int, int, V*) {}
};

template <class T>
struct HalfBlockLoader {
  uint32_t held[kRows / 4];  // two rows each
  SOFTDP_DEVICE void start(const View<const T>& view, int lane, int rows, int m, int block, float*) {
    const int column = block * kChunk + (lane & 15);
    const T* from = view.at(lane >> 4, column);
    const auto next = [&](int i) -> uint32_t {
      const bool valid = (lane >> 4) + 2 * i < rows && column < m;
      const uint32_t bits = valid ? softdp::bit_cast<uint16_t>(*from) : 0;
      from += 2 * view.row;
      return bits;
    };
#pragma unroll
    for (int i = 0; i < kRows / 4; i++) {
      const uint32_t low = next(2 * i);
      held[i] = low | next(2 * i + 1) << 16;
    }
  }
  SOFTDP_DEVICE void finish(int lane, int block, float* array) {
    const int column = block * kChunk + (lane & 15);
#pragma unroll
    for (int i = 0; i < kRows / 2; i++) {
      const int r = (lane >> 4) + 2 * i;
      const uint16_t bits = uint16_t(held[i / 2] >> (i % 2 * 16));
      array[r * kPitch + ((column + r) & (kRing - 1))] = to_float(softdp::bit_cast<T>(bits));
    }
  }
};
template <>
struct BlockLoader<half, float> : HalfBlockLoader<half> {};
template <>
struct BlockLoader<bfloat16, float> : HalfBlockLoader<bfloat16> {};

template <class T, class V>
SOFTDP_DEVICE void store_block(const View<T>& view, int lane, int rows, int m, int block, const V* array) {
  const int column = block * kChunk + (lane & 15);
  if (block < 0 || column >= m) return;
  T* to = view.at(lane >> 4, column);
#pragma unroll 4
  for (int i = 0; i < kRows / 2; i++) {
    const int r = (lane >> 4) + 2 * i;
    if (r < rows) *to = value_to<T>(array[r * kPitch + ((column + r) & (kRing - 1))]);
    to += 2 * view.row;
  }
}

// How a table's rows are shared out: a block of `warps` warps takes a band of as many strips.
struct Bands {
  int warps;
  SOFTDP_FN int rows() const { return warps * kRows; }
  SOFTDP_FN int64_t of(int64_t N) const { return N > 0 ? (N + rows() - 1) / rows() : 1; }
};

// The block's part of a table's rows, one band: 0 in the padding of a pair of n by m cells, and `value` in
// its cells unless only the padding is to be filled.
template <class T>
SOFTDP_DEVICE void fill_rows(T* table, Bands bands, int band, int64_t N, int64_t M, int n, int m, float value,
                             bool padding_only) {
  if (padding_only && n == N && m == M) return;
  const int64_t first = int64_t(band) * bands.rows(),
                end = first + bands.rows() < N ? first + bands.rows() : N;
  for (int64_t row = first + threadIdx.x / kRows; row < end; row += bands.warps) {
    const int64_t begin = padding_only && row < n ? m : 0;
    for (int64_t column = begin + threadIdx.x % kRows; column < M; column += kRows)
      table[row * M + column] = value_to<T>(row < n && column < m ? value : 0.0f);
  }
}

// The sums of a block's columns over the strip's rows.
template <class V>
SOFTDP_DEVICE void store_column_sums(V* sums, int lane, int rows, int m, int block, const V* array) {
  if (block < 0) return;
  const int column = block * kChunk + (lane & 15);
  V sum = 0;
#pragma unroll 4
  for (int i = 0; i < kRows / 2; i++) {
    const int r = (lane >> 4) + 2 * i;
    if (r < rows && column < m) sum += array[r * kPitch + ((column + r) & (kRing - 1))];
  }
  sum += shuffle_xor(sum, 16);
  if (lane < kChunk && column < m) sums[column] = sum;
}

// ---- forward -------------------------------------------------------------------------------------------

// How a gap reaches the cells: an array like match's; one number a row (or a pair); a ring of one number a
// column; delete as insert. What fits none of the kinds compiled is dense with strides of 0.
enum class Gap { kNone, kDense, kRow, kColumn, kShared };

// What a forward kernel is compiled for. kInsert = kNone: LCS.
template <class T_, bool kSoft_, Gap kInsert_, Gap kDelete_>
struct Recipe {
  using T = T_;
  using V = typename ValueOf<T>::Type;
  using Max = Maxima<V, kSoft_>;
  static constexpr Gap kInsert = kInsert_, kDelete = kDelete_;
  static constexpr bool kLcs = kInsert == Gap::kNone;
  static constexpr int kPlanes = kLcs ? 1 : 2;
  static constexpr int kArrays = kLcs ? 1 : kInsert == Gap::kDense && kDelete == Gap::kDense ? 3 : 2;
  // Blocks of four warps that a multiprocessor is to hold: as many as the arrays let it.
  static constexpr int kBlocks = sizeof(V) == 8 ? 1 : kArrays == 3 ? 2 : 3;
  // Whether array i holds scores, or only what is saved.
  static constexpr SOFTDP_FN bool is_loaded(int i) {
    return i == 0 || (i == 1 && kInsert == Gap::kDense) || (i == 2 && kDelete == Gap::kDense);
  }
  static_assert(kDelete != Gap::kDense || kInsert == Gap::kDense, "a dense delete takes the third array");
};

// What a strip's cells read and write in shared memory, and the numbers that they share.
template <class V>
struct Memory {
  V* array[3];   // match, then what is saved first; insert, then what is saved second; delete
  V* column[2];  // insert and delete by column
  V row[2];      // insert and delete of this lane's row
};

template <class R, class Max>
struct Cells {
  using V = typename R::V;
  using A = typename Max::Arithmetic;
  using Value = typename Max::Value;
  using State = typename Max::State;
  using Recurrence = std::conditional_t<R::kLcs, Lcs<Max>, Fsd<Max>>;

  // States kept in registers before they are stored: fewer where registers are short.
  static constexpr int kKept = R::kInsert == Gap::kDense ? 4 : 8;

  struct Raw {
    V score, insert, del;
  };
  struct Ready {
    typename Max::Moves moves;
    bool hit;
    V worst;  // what may spoil the pair: the largest of the raw scores, or NaN
  };

  const Memory<V>& memory;
  typename A::Factor k;
  V threshold;
  typename Max::Input row[2];  // exponentiated once a chunk

  SOFTDP_DEVICE Cells(const Memory<V>& memory, typename A::Factor k, V threshold)
      : memory(memory), k(k), threshold(threshold) {
    if (R::kInsert == Gap::kRow) row[0] = Max::input(Value(memory.row[0]), k);
    if (R::kDelete == Gap::kRow) row[1] = Max::input(Value(memory.row[1]), k);
  }
  // The raw scores of a place in the arrays, whose column is at `column` in the rings.
  SOFTDP_DEVICE Raw read(int place, int column) const {
    Raw x{memory.array[0][place], V(0), V(0)};
    if (R::kInsert == Gap::kDense) x.insert = memory.array[1][place];
    if (R::kInsert == Gap::kColumn) x.insert = memory.column[0][column & (kRing - 1)];
    if (R::kDelete == Gap::kDense) x.del = memory.array[2][place];
    if (R::kDelete == Gap::kColumn) x.del = memory.column[1][column & (kRing - 1)];
    return x;
  }
  SOFTDP_DEVICE Ready ready(const Raw& x) const {
    Ready y;
    y.hit = x.score >= threshold;
    y.worst = x.score;
    y.moves.match = Max::input(Value(x.score), k);
    if constexpr (!R::kLcs) {
      const auto take = [&](V score) {
        y.worst = max_or_nan(y.worst, score);
        return Max::input(Value(score), k);
      };
      const auto insert = R::kInsert == Gap::kRow ? row[0] : take(x.insert);
      const auto del = R::kDelete == Gap::kShared ? insert : R::kDelete == Gap::kRow ? row[1] : take(x.del);
      y.moves = Max::moves(y.moves.match, insert, del);
    }
    return y;
  }
  SOFTDP_DEVICE State cell(const Ready& x, State diagonal, State above, State left, Weights<Value>& w) const {
    if constexpr (R::kLcs)
      return Recurrence::cell(x.hit, x.moves.match, diagonal, above, left, w);
    else
      return Recurrence::cell(x.moves, diagonal, above, left, w);
  }
  SOFTDP_DEVICE void save(int place, const Ready& x, const Weights<Value>& w) const {
    if constexpr (R::kLcs) {
      memory.array[0][place] = pack_step<V>(x.hit, w).insert;
    } else {
      const SavedWeights<V> packed = pack<V>(w);
      memory.array[0][place] = packed.insert;
      memory.array[1][place] = packed.del;
    }
  }
};

// Where a lane is: its row in the arrays, its row in the strip (its skew), and the columns of its row, 0
// where the row is beyond the table.
struct Lane {
  int row, r, m;
};

// `steps` steps from t0 on. above: S of the row above the strip at columns t0, t0 + 1, ...; below receives
// the states of the lane `bottom`, step by step. kPartial: some lane may be outside its columns, or steps <
// kChunk.
//
// A warp may be alone on its scheduler, so what the compiler makes of this loop decides the speed of long
// pairs. Scores are read two steps ahead of their cell and exponentiated one step ahead, weights saved one
// step behind; there are no predicates but where they must be; and the states for the strip below are kept in
// registers, since stores to a second pointer would hold up the loads of the steps that follow.
template <bool kPartial, class Cells>
SOFTDP_DEVICE void forward_chunk(const Cells& cells, typename Cells::State& left,
                                 typename Cells::State& diagonal, typename Cells::V& worst, const Lane& lane,
                                 int t0, int steps, const typename Cells::State* above,
                                 typename Cells::State* below, int bottom) {
  using State = typename Cells::State;
  constexpr int kKept = Cells::kKept;
  const int place = lane.row * kPitch + (t0 & (kRing - 1)), column = t0 - lane.r;
  const int count = kPartial ? steps : kChunk;
  typename Cells::Ready now = cells.ready(cells.read(place, column)), last = now;
  typename Cells::Raw ahead = cells.read(place + 1, column + 1);
  State edge = above[0], kept[kKept];
  Weights<typename Cells::Value> weights{};
  bool was_inside = false;
#pragma unroll(kPartial ? kPartialUnroll : kChunk)
  for (int q = 0; q < count; q++) {
    State from_above = shuffle_up_state(left);
    typename Cells::Ready next = now;
    State next_edge = edge;
    if (q + 1 < kChunk) {
      next = cells.ready(ahead);
      next_edge = above[q + 1];
    }
    if (q + 2 < kChunk) ahead = cells.read(place + q + 2, column + q + 2);
    if (was_inside) cells.save(place + q - 1, last, weights);

    if (lane.r == 0) from_above = edge;
    const State state = cells.cell(now, diagonal, from_above, left, weights);
    const bool inside = !kPartial || unsigned(column + q) < unsigned(lane.m);
    if (inside) {
      left = state;
      worst = max_or_nan(worst, now.worst);
    }
    kept[q % kKept] = state;
    if (kPartial && lane.row == bottom) below[q] = state;
    if (!kPartial && q % kKept == kKept - 1 && lane.row == bottom)
#pragma unroll
      for (int i = 0; i < kKept; i++) below[q - kKept + 1 + i] = kept[i];
    diagonal = from_above;
    last = now;
    was_inside = inside;
    now = next;
    edge = next_edge;
  }
  if (was_inside) cells.save(place + count - 1, last, weights);
}

// ---- backward, on the table seen from its end -------------------------------------------------------------

// A lane's adjoints on their way: to the cell on its left, to the one on its upper left, and both that the
// row above is to receive.
template <class V>
struct Adjoints {
  V to_left{}, to_diagonal{}, to_above{};
};

// What becomes of the two gaps' gradients.
enum class Sum { kNone, kArray, kRow };  // not wanted; into the array, for the block's store; over the row

template <class V>
struct GapSums {
  Sum insert, del;
  bool shared;          // insert takes both
  bool visits = false;  // LCS: the gradient by a plateau's cells too
  V insert_row = 0, del_row = 0;
};

// kStep: 1, or -1 where the arrays hold the table from its beginning (tiny pairs). The arrays hold what was
// saved and receive the gradients. above, below: as in the forward sweep; the score's gradient comes in as
// what the row above the table hands to its first cell.
template <bool kPartial, int kStep, bool kLcs, class V>
SOFTDP_DEVICE void backward_chunk(V* const (&array)[3], Adjoints<V>& from, GapSums<V>& gaps, const Lane& lane,
                                  int place, int t0, int steps, const V* above, V* below, int bottom) {
  using Saved = std::conditional_t<kLcs, SavedStep<V>, SavedWeights<V>>;
  using Recurrence = std::conditional_t<kLcs, Lcs<HardMax<Scalar<double>>>, Fsd<HardMax<Scalar<double>>>>;
  const auto read = [&](int at, bool inside) {
    if constexpr (kLcs)
      return Saved{inside ? array[0][at] : V(0)};
    else
      return Saved{inside ? array[0][at] : V(0), inside ? array[1][at] : V(0)};
  };
  const int column = t0 - lane.r, count = kPartial ? steps : kChunk;
  const auto is_inside = [&](int q) { return !kPartial || unsigned(column + q) < unsigned(lane.m); };
  Saved now = read(place, is_inside(0));
  V edge = above[0];
#pragma unroll(kPartial ? kPartialUnroll : kChunk)
  for (int q = 0; q < count; q++) {
    Saved next = now;
    V next_edge = edge;
    if (q + 1 < count) {
      next = read(place + kStep * (q + 1), is_inside(q + 1));
      next_edge = above[q + 1];
    }
    const bool inside = is_inside(q);
    V from_above = shuffle_up(from.to_above);
    if (lane.r == 0) from_above = edge;
    V a = from_above + from.to_left;
    if (!inside) a = 0;
    const Adjoint<V> out = Recurrence::adjoint(a, unpack(now));
    from.to_above = out.to_above + from.to_diagonal;
    from.to_left = out.to_left;
    from.to_diagonal = out.to_diagonal;
    const V insert = gaps.shared ? out.to_above + out.to_left : out.to_above;
    if (gaps.insert == Sum::kRow) gaps.insert_row += insert;
    if (gaps.del == Sum::kRow) gaps.del_row += out.to_left;
    if (inside) {
      const int at = place + kStep * q;
      array[0][at] = kLcs && gaps.visits ? a : out.score;
      if (gaps.insert == Sum::kArray) array[1][at] = insert;
      if (gaps.del == Sum::kArray) array[2][at] = out.to_left;
    }
    if (lane.row == bottom) below[q] = from.to_above;
    now = next;
    edge = next_edge;
  }
}

}  // namespace softdp::cuda
