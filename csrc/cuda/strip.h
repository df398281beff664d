// A warp sweeps a strip of 32 rows: lane = row, and at step t the lane of row r is at column t - r, so that
//
//   S(i, j-1)    is the lane's own last state
//   S(i-1, j)    comes by a shuffle from the lane above
//   S(i-1, j-1)  is what came by the last shuffle
//
// Scores reach the lanes through arrays in shared memory that only this warp uses, 32 rows by a ring of 64
// columns. Blocks of 16 columns come in, 16 bytes at a time where the tensor's strides allow it, one block
// ahead; results overwrite the scores that they come from and leave three blocks behind, when the last lane
// has passed them.
//
// In the ring, row r's column c lies at (c + turn) mod 64 with turn the next multiple of 4 from r on, so that
// four columns stay together and at step t every lane reads within 3 places of t mod 64: a chunk's addresses
// are one register plus constants, but for the last three where the ring may end. Rows of the same remainder
// by 4 lie together. Then neither the lanes' steps nor the blocks' four columns ever meet in a bank.
#pragma once
#include <type_traits>

#include "arithmetic.h"
#include "wavefront.h"
#include "weights.h"

namespace softdp::cuda {

constexpr int kRows = 32;
constexpr int kRing = 64;
constexpr int kFour = 4;  // columns that are copied together
constexpr int kPitch = kRing + kFour;
constexpr int kArray = kRows * kPitch - kFour;
constexpr int kRolledUnroll = 4;
constexpr int kBlocksBehind = 3;  // lanes are up to 31 columns apart: a block is done three chunks later

SOFTDP_DEVICE int slot_of(int row) {
  return ((row >> 2) + (row & 3) * (kRows / 4)) * kPitch;
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
  using Plain = std::remove_const_t<T>;
  demand_aligned(first, alignof(Four<Plain>));
  return *reinterpret_cast<Four<Plain>*>(const_cast<Plain*>(first));
}

// Rows and columns of scores or results; strides may be negative, to see a table from its end.
template <class T>
struct View {
  T* origin;
  int64_t row, column;
  SOFTDP_DEVICE T* at(int64_t r, int64_t c) const { return origin + r * row + c * column; }
};

template <class V, class T>
SOFTDP_DEVICE V value_from(T x, Format<T>) {
  return V(x);
}
template <class V>
SOFTDP_DEVICE V value_from(Sixteen x, Format<Sixteen> format) {
  return format.brain ? from_bfloat16(x.bits) : from_half(x.bits);
}
template <class T, class V>
SOFTDP_DEVICE T value_to(V x, Format<T> format) {
  if constexpr (std::is_same_v<T, Sixteen>)
    return {format.brain ? to_bfloat16(x) : to_half(x)};
  else
    return T(x);
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
    return slot_of(row) + i * (kRows / 4) * kPitch + (kStep > 0 ? ring : kRing - kFour - ring);
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
  using Plain = std::remove_const_t<T>;
  T* first = nullptr;  // of block 0
  int64_t row = 0, column = 0;
  bool by_four = false;
  Blocks() = default;
  SOFTDP_DEVICE Blocks(const View<T>& view, const Part& part)
      : first(view.at(part.row, part.column)), row(view.row), column(view.column) {
    const auto fits = [](uintptr_t bytes) { return bytes % alignof(Four<Plain>) == 0; };
    by_four = view.column == kStep && fits(uintptr_t(view.row) * sizeof(T)) &&
              fits(reinterpret_cast<uintptr_t>(four(view.origin)));
  }
  // The first in memory of the four that begin at `begin`.
  static SOFTDP_DEVICE T* four(T* begin) { return kStep > 0 ? begin : begin - (kFour - 1); }
  SOFTDP_DEVICE T* four_of(int block) const { return four(first + kStep * block * kChunk); }
  SOFTDP_DEVICE T* at(int block) const { return first + int64_t(block) * kChunk * column; }
};

// start() sets out to fetch a block, finish() has it in the array once copy_async_wait() and a sync_warp()
// have followed; a lane copies float and double asynchronously, and holds halves in registers in between.
// Rows and columns beyond the table are 0.
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
  SOFTDP_DEVICE void finish(const Part&, int, V*, Format<T>) {}
};

template <>
struct BlockLoader<Sixteen, float, 1> : Blocks<const Sixteen, 1> {
  using Blocks<const Sixteen, 1>::Blocks;
  Four<Sixteen> held[kFour];
  SOFTDP_DEVICE void start(const Part& part, int rows, int m, int block, float*) {
    const int left = part.left(m, block);
    const Sixteen* from = this->at(block);
#pragma unroll
    for (int i = 0; i < kFour; i++) {
      held[i] = {};
      if (this->by_four && left >= kFour && part.row + i < rows)
        held[i] = four_at(from);
      else
#pragma unroll
        for (int k = 0; k < kFour; k++)
          if (k < left && part.row + i < rows) held[i].x[k] = from[k * this->column];
      from += this->row;
    }
  }
  SOFTDP_DEVICE void finish(const Part& part, int block, float* array, Format<Sixteen> format) {
#pragma unroll
    for (int i = 0; i < kFour; i++) {
      Four<float> wide;
#pragma unroll
      for (int k = 0; k < kFour; k++) wide.x[k] = value_from<float>(held[i].x[k], format);
      four_at(array + part.place<1>(block, i)) = wide;
    }
  }
};

template <class T, class V, int kStep>
struct BlockStorer : Blocks<T, kStep> {
  using Blocks<T, kStep>::Blocks;
  SOFTDP_DEVICE void store(const Part& part, int rows, int m, int block, const V* array,
                           Format<T> format) const {
    const int left = part.left(m, block);
    if (block < 0 || left <= 0) return;
    if (this->by_four && left >= kFour) {
      T* to = this->four_of(block);
#pragma unroll
      for (int i = 0; i < kFour; i++) {
        const Four<V> from = four_at(array + part.place<kStep>(block, i));
        Four<T> out;
#pragma unroll
        for (int k = 0; k < kFour; k++) out.x[k] = value_to<T>(from.x[k], format);
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
          if (k < left) to[k * this->column] = value_to<T>(from[in_memory<kStep>(k)], format);
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
    for (int other = kFour; other < kRows; other *= 2) sum[k] += shuffle_xor(sum[k], other);
    if (lane < kFour && k < left) sums[block * kChunk + part.column + k] = sum[k];
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
SOFTDP_DEVICE void fill_rows(T* table, Format<T> format, Bands bands, int band, int64_t N, int64_t M, int n,
                             int m, float value, bool padding_only) {
  if (padding_only && n == N && m == M) return;
  const int64_t first = int64_t(band) * bands.rows(),
                end = first + bands.rows() < N ? first + bands.rows() : N;
  for (int64_t row = first + threadIdx.x / kRows; row < end; row += bands.warps) {
    const int64_t begin = padding_only && row < n ? m : 0;
    for (int64_t column = begin + threadIdx.x % kRows; column < M; column += kRows)
      table[row * M + column] = value_to<T>(row < n && column < m ? value : 0.0f, format);
  }
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
  static constexpr int kColumns =
      kInsert == Gap::kColumn || kDelete == Gap::kColumn ? 1 : 0;  // rings of them
  // Blocks of four warps that a multiprocessor is to hold: as many as the arrays let it, and the registers in
  // which halves wait.
  static constexpr int kBlocks = sizeof(V) == 8                                     ? 1
                                 : kArrays == 3 || (kArrays == 2 && sizeof(T) == 2) ? 2
                                                                                    : 3;
  // Whether array i holds scores, or only what is saved.
  static constexpr SOFTDP_FN bool is_loaded(int i) {
    return i == 0 || (i == 1 && kInsert == Gap::kDense) || (i == 2 && kDelete == Gap::kDense);
  }
  static_assert(kDelete != Gap::kDense || kInsert == Gap::kDense, "a dense delete takes the third array");
  static_assert(kInsert != Gap::kColumn || kDelete != Gap::kColumn, "there is one ring");
};

// What a strip's cells read and write in shared memory, and the numbers that they share.
template <class V>
struct Memory {
  V* array[3];  // match, then what is saved first; insert, then what is saved second; delete
  V* column;    // insert or delete by column
  V row[2];     // insert and delete of this lane's row
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
    if (R::kInsert == Gap::kColumn) x.insert = memory.column[column & (kRing - 1)];
    if (R::kDelete == Gap::kDense) x.del = memory.array[2][place];
    if (R::kDelete == Gap::kColumn) x.del = memory.column[column & (kRing - 1)];
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

// The steps of a chunk: all lanes inside their columns; some; or some, in a loop that takes little code,
// where it is rare. What a lane does outside its columns, steps past the table's end among them, changes no
// state, and what it saves there lies where nothing else does.
enum class Steps { kAll, kSome, kRolled };

// 16 steps from t0 on. above: S of the row above the strip at columns t0, t0 + 1, ...; below receives the
// states of the lane `bottom`, step by step.
//
// A warp may be alone on its scheduler, so what the compiler makes of this loop decides the speed of long
// pairs. Scores are read two steps ahead of their cell and exponentiated one step ahead, weights saved one
// step behind; there are no branches; and the states for the strip below are kept in registers, since stores
// to a second pointer would hold up the loads of the steps that follow.
template <Steps kSteps, class Cells, class Places>
SOFTDP_DEVICE void forward_chunk(const Cells& cells, const Places& places, typename Cells::State& left,
                                 typename Cells::State& diagonal, typename Cells::V& worst, const Lane& lane,
                                 int t0, const typename Cells::State* above, typename Cells::State* below,
                                 int bottom) {
  using State = typename Cells::State;
  constexpr int kKept = Cells::kKept;
  constexpr bool kRolled = kSteps == Steps::kRolled;
  const int column = t0 - lane.r;
  const auto place = [&](int q) { return places.template at<kRolled>(q); };
  typename Cells::Ready now = cells.ready(cells.read(place(0), column)), last = now;
  typename Cells::Raw ahead = cells.read(place(1), column + 1);
  State edge = above[0], kept[kKept];
  Weights<typename Cells::Value> weights{};
#pragma unroll(kRolled ? kRolledUnroll : kChunk)
  for (int q = 0; q < kChunk; q++) {
    State from_above = shuffle_up_state(left);
    typename Cells::Ready next = now;
    State next_edge = edge;
    if (q + 1 < kChunk) {
      next = cells.ready(ahead);
      next_edge = above[q + 1];
    }
    if (q + 2 < kChunk) ahead = cells.read(place(q + 2), column + q + 2);
    if (q > 0) cells.save(place(q - 1), last, weights);

    if (lane.r == 0) from_above = edge;
    const State state = cells.cell(now, diagonal, from_above, left, weights);
    if (kSteps == Steps::kAll || unsigned(column + q) < unsigned(lane.m)) {
      left = state;
      worst = max_or_nan(worst, now.worst);
    }
    if (kRolled) {
      if (lane.row == bottom) below[q] = state;
    } else {
      kept[q % kKept] = state;
      if (q % kKept == kKept - 1 && lane.row == bottom)
#pragma unroll
        for (int i = 0; i < kKept; i++) below[q - kKept + 1 + i] = kept[i];
    }
    diagonal = from_above;
    last = now;
    now = next;
    edge = next_edge;
  }
  cells.save(place(kChunk - 1), last, weights);
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

// The arrays hold what was saved and receive the gradients. kSome: some lane may be outside its columns.
// above, below: as in the forward sweep; the
// score's gradient comes in as what the row above the table hands to its first cell.
template <bool kSome, bool kLcs, class V, class Places>
SOFTDP_DEVICE void backward_chunk(V* const (&array)[3], const Places& places, Adjoints<V>& from,
                                  GapSums<V>& gaps, const Lane& lane, int t0, const V* above, V* below,
                                  int bottom) {
  using Saved = std::conditional_t<kLcs, SavedStep<V>, SavedWeights<V>>;
  using Recurrence = std::conditional_t<kLcs, Lcs<HardMax<Scalar<double>>>, Fsd<HardMax<Scalar<double>>>>;
  const auto read = [&](int at, bool inside) {
    if constexpr (kLcs)
      return Saved{inside ? array[0][at] : V(0)};
    else
      return Saved{inside ? array[0][at] : V(0), inside ? array[1][at] : V(0)};
  };
  const int column = t0 - lane.r;
  const auto place = [&](int q) { return places.template at<false>(q); };
  const auto is_inside = [&](int q) { return !kSome || unsigned(column + q) < unsigned(lane.m); };
  Saved now = read(place(0), is_inside(0));
  V edge = above[0];
#pragma unroll
  for (int q = 0; q < kChunk; q++) {
    Saved next = now;
    V next_edge = edge;
    if (q + 1 < kChunk) {
      next = read(place(q + 1), is_inside(q + 1));
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
      const int at = place(q);
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
