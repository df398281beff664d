// Few pairs: a sweep is then as fast as its longest row of steps that must follow one another, and what a
// warp does beside its steps costs time.
//
// A block of eight warps takes a strip of 64 rows, and only one of the warps makes steps. Each of its lanes
// has two rows, of the same column: row 2 l + k is row k of lane l. Four warps bring what the steps take,
// with everything computed that hangs on no state. Two take away what the steps have made, and compute from
// that what leaves. One fetches the row above the strip and gives the last row to the strip below. The warps
// go in step, a barrier a round: in round c chunk c is made, the cells of chunk c + 1 come, and those of
// chunk c - 1 go.
//
// Cells lie in a ring of 64 steps, in the order in which the steps take them. Lane l is at column t - l at
// step t. Copies want columns by four, so what comes for chunk c begins at column 16 c - 4 floor(l / 4), and
// what goes begins four columns before that: steps 16 c - 20 to 16 c + 34 are in use.
//
// The last row of a strip goes to the next one through global memory, each number with a tag in one access:
// the block below looks at the number until the tag is there, and nobody waits for a fence.
#pragma once
#include "bands.h"

namespace softdp::cuda {

constexpr int kRelayRows = 64;
constexpr int kRelayWarps = 8;
constexpr int kRelayThreads = kRelayWarps * kStripRows;
constexpr int kRing = 64;  // steps
constexpr BandSize kRelayBand{kRelayRows / kStripRows};
// What a warp does. A multiprocessor has four schedulers, each of which is taken to have every fourth warp:
// the warp that hands rows on, which mostly waits, then shares that of the steps.
enum class Role { kSteps, kBrings, kTakes, kHands };
SOFTDP_DEVICE Role role_of(int warp) {
  return warp == 0 ? Role::kSteps : warp == 4 ? Role::kHands : (warp & 3) == 3 ? Role::kTakes : Role::kBrings;
}
constexpr int kBringers = 4;

// A place in the ring: of row k of a lane at a step, which may be below 0.
SOFTDP_DEVICE int ring_place(int step, int k, int lane) {
  return ((step & (kRing - 1)) * 2 + k) * kStripRows + lane;
}

// ---- edges between strips ------------------------------------------------------------------------------

constexpr uint64_t kTag = uint64_t(1) << 32;
// A number of a strip's last row, and the tag that says that it is there. Memory is 0 before the launch.
template <class Edge>
struct Tagged;
template <>
struct Tagged<float> {
  uint64_t word;
  SOFTDP_DEVICE void put(float x) { store_word(&word, kTag | bit_cast<uint32_t>(x)); }
  SOFTDP_DEVICE float wait() const {
    uint64_t seen;
    while (!((seen = load_word(&word)) & kTag)) spin_device();
    return bit_cast<float>(uint32_t(seen));
  }
};
template <>
struct Tagged<SmoothMax<DeviceFloat<int64_t>>::State> {
  using State = SmoothMax<DeviceFloat<int64_t>>::State;
  TwoWords words;
  SOFTDP_DEVICE void put(const State& s) {
    store_words(&words, {kTag | bit_cast<uint32_t>(s.p), uint64_t(s.e)});
  }
  SOFTDP_DEVICE State wait() const {
    TwoWords seen;
    while (!((seen = load_words(&words)).low & kTag)) spin_device();
    return {bit_cast<float>(uint32_t(seen.low)), int64_t(seen.high)};
  }
};

SOFTDP_FN int64_t relay_strips(int64_t rows) {
  return rows > 0 ? (rows + kRelayRows - 1) / kRelayRows : 1;
}
// Of shared memory, at most.
constexpr size_t kRelayBytes = 128 * 1024;

// What strips share in global memory, all of it 0 at the launch: a ticket counter, and the last row of every
// strip but the last.
template <class Edge>
struct RelayChain {
  static constexpr int64_t kTicketBytes = 16;
  unsigned* tickets;
  Tagged<Edge>* edges;
  RelayChain() = default;
  explicit RelayChain(void* workspace)
      : tickets(static_cast<unsigned*>(workspace)),
        edges(reinterpret_cast<Tagged<Edge>*>(static_cast<char*>(workspace) + kTicketBytes)) {}
  static int64_t bytes(const Pairs& pairs) {
    const int64_t between = relay_strips(pairs.rows) - 1;
    return between > 0 ? kTicketBytes + pairs.count * between * pairs.columns * int64_t(sizeof(Tagged<Edge>))
                       : 0;
  }
};

template <class Edge>
constexpr bool kHasRelay = false;
template <>
inline constexpr bool kHasRelay<float> = true;
template <>
inline constexpr bool kHasRelay<SmoothMax<DeviceFloat<int64_t>>::State> = true;

// ---- recurrences ---------------------------------------------------------------------------------------

// One kernel sweeps all recurrences each way: which one it is counts where cells come and go, and the kernel
// looks at it there. Calls `run` with how its weights are kept.
template <class Run>
SOFTDP_DEVICE auto with_kept(Recurrence recurrence, Run run) {
  using One = Kept<OneWeight, float, false>;
  using Two = Kept<TwoWeights, float, false>;
  static_assert(One::kNumbers == 1 && Two::kNumbers == 1, "a cell's weights are one word");
  const bool keeps_one = with_recurrence(
      recurrence, [](auto of) { return std::is_same_v<typename decltype(of)::Packing, OneWeight>; });
  return keeps_one ? run(One()) : run(Two());
}

// ---- a strip -------------------------------------------------------------------------------------------

// The strip of a block, and what this thread does for it.
template <class Arguments>
struct RelayStrip {
  using Edge = typename Arguments::Edge;
  const Arguments& a;
  int warp, lane;
  Role role;
  int64_t pair;
  int strip;
  Extent size;
  int row0, rows;  // rows is 0 or less where the strip lies below the pair's last row

  // ticket: in shared memory. One strip a pair needs none: blocks wait for nobody.
  SOFTDP_DEVICE RelayStrip(const Arguments& a, unsigned& ticket)
      : a(a), warp(int(threadIdx.x) / kStripRows), lane(int(threadIdx.x) % kStripRows), role(role_of(warp)) {
    if (threadIdx.x == 0)
      ticket = relay_strips(a.pairs.rows) > 1 ? take_ticket(a.relay.tickets) : unsigned(blockIdx.x);
    sync_block();
    pair = ticket % a.pairs.count;
    strip = int(ticket / a.pairs.count);
    size = extent_of(a.pairs, pair);
    row0 = strip * kRelayRows;
    rows = size.n - row0 < kRelayRows ? size.n - row0 : kRelayRows;
  }
  SOFTDP_DEVICE bool is_at_work() const { return size.m > 0 && rows > 0; }
  SOFTDP_DEVICE bool is_last() const { return row0 + rows == size.n; }
  // The lane of the last row, and which of its two rows that is.
  SOFTDP_DEVICE int bottom() const { return (rows - 1) >> 1; }
  SOFTDP_DEVICE int bottom_row() const { return (rows - 1) & 1; }
  SOFTDP_DEVICE int chunks() const { return (size.m + bottom() + kChunk - 1) / kChunk; }
  // The last row of the strip `upper` of this pair.
  SOFTDP_DEVICE Tagged<Edge>* edges_of(int upper) const {
    return a.relay.edges + (pair * (relay_strips(a.pairs.rows) - 1) + upper) * a.pairs.columns;
  }

  // The block's way through its columns. steps(rounds) has the chunks made by rounds(chunk), in whose round c
  // chunk(c) makes the steps; bring(c) puts its cells into the ring, and first those before the first chunk,
  // and fetch(c) the row above; give(c) hands the last row on; take(c) takes what is finished of it away.
  // What comes and goes beyond the table is not read or written.
  template <class MakeSteps, class Bring, class Fetch, class Give, class Take>
  SOFTDP_DEVICE void go(MakeSteps steps, Bring bring, Fetch fetch, Give give, Take take) const {
    const int own = chunks();  // rounds go from -1 to own + 1, for each role in a loop of its own
    if (role == Role::kSteps) {
      sync_roles();
      steps([&](auto chunk) {
        for (int c = 0; c < own; c++) {
          chunk(c);
          sync_roles();
        }
      });
      sync_roles();
      sync_roles();
    } else if (role == Role::kBrings) {
      bring(-1);
      for (int c = -1; c + 1 < own; c++) {
        bring(c + 1);
        sync_roles();
      }
      copy_async_wait();
      for (int c = own - 1; c <= own + 1; c++) sync_roles();
    } else if (role == Role::kTakes) {
      sync_roles();
      sync_roles();
      for (int c = 1; c <= own + 1; c++) {
        take(c - 1);
        sync_roles();
      }
    } else {
      for (int c = -1; c <= own + 1; c++) {
        if (c > 0 && c <= own) give(c - 1);
        if (c + 1 < own) fetch(c + 1);
        sync_roles();
      }
    }
  }
  // The column of the last row at step `lane` of a chunk; before the table and beyond it, too.
  SOFTDP_DEVICE int given_column(int chunk) const { return chunk * kChunk + lane - bottom(); }
};

// ---- four columns of a row -----------------------------------------------------------------------------

// The lanes of the warps that bring and take: four columns of some rows each. Lanes side by side take rows
// two apart, so that they meet in no bank; the lane's other rows are 16 apart, and have its columns less 8.
// In the ring all of them lie at the same steps.
template <int kRows_>
struct RelayPart {
  static constexpr int kRows = kRows_, kRowsApart = 16, kLanesApart = 8;
  int row_lane, row,
      column;  // the lane that has the first row; that row; its columns but for the chunk's first
  // k: of the lanes' rows; half: of the strip, where kRows is 2.
  SOFTDP_DEVICE RelayPart(int lane, int k, int half = 0)
      : row_lane((lane & 7) + 16 * half),
        row(2 * row_lane + k),
        column(kFour * (lane >> 3) - (row_lane & ~(kFour - 1))) {}
  // The first of the four columns of row i that come for a chunk, or that go: a multiple of 4.
  SOFTDP_DEVICE int comes(int chunk, int i) const { return chunk * kChunk + column - kLanesApart * i; }
  SOFTDP_DEVICE int goes(int chunk, int i) const { return comes(chunk, i) - kFour; }
  SOFTDP_DEVICE int row_of(int i) const { return row + kRowsApart * i; }
  // How many of the columns from `column` on row i has, in a strip of so many rows and columns; more than
  // four, or none, too.
  SOFTDP_DEVICE int left(int i, int column, int rows, int columns) const {
    return column < 0 || row_of(i) >= rows ? 0 : columns - column;
  }
  // Calls run(i, column, left) for the lane's rows: four columns of row i from `column` on, which is `first`
  // of row 0, and how many of them are left.
  template <class Strip, class Run>
  SOFTDP_DEVICE void each_row(int first, const Strip& at, Run run) const {
#pragma unroll
    for (int i = 0; i < kRows; i++) {
      const int column = first - kLanesApart * i;
      run(i, column, left(i, column, at.rows, at.size.m));
    }
  }
  // The same for the rows that are_some(), in little code: they are rare.
  template <class Strip, class Run>
  SOFTDP_DEVICE void each_of_some(int first, const Strip& at, bool by_four, Run run) const {
#pragma unroll 1
    for (int i = 0; i < kRows; i++) {
      const int column = first - kLanesApart * i, left = this->left(i, column, at.rows, at.size.m);
      if (are_some(by_four, left)) run(i, column, left);
    }
  }
  // Whether four columns are copied at once, where memory allows that, or fewer, one by one.
  static SOFTDP_DEVICE bool are_four(bool by_four, int left) { return by_four && left >= kFour; }
  static SOFTDP_DEVICE bool are_some(bool by_four, int left) { return left > 0 && !are_four(by_four, left); }
  // Where column + x of row 0 lies in the ring; row i lies kLanesApart * i places behind it.
  SOFTDP_DEVICE int place(int column, int x) const {
    return ring_place(column + x + row_lane, row & 1, row_lane);
  }
};
using BringsPart = RelayPart<2>;
using TakesPart = RelayPart<4>;
// Of a warp that brings: its rows of the lanes, and its half of the strip.
SOFTDP_DEVICE int brings_row(int warp) {
  return (warp & 3) - 1;
}
SOFTDP_DEVICE int brings_half(int warp) {
  return warp >> 2;
}
SOFTDP_DEVICE BringsPart brings_part(int warp, int lane) {
  return {lane, brings_row(warp), brings_half(warp)};
}
SOFTDP_DEVICE int bringer_of(int warp) {
  return 2 * brings_half(warp) + brings_row(warp);
}
SOFTDP_DEVICE TakesPart takes_part(int warp, int lane) {
  return {lane, warp >> 2};
}

// Four numbers of a row, where they wait for the chunk that takes them: a lane's own. Numbers of 2 bytes lie
// in the first two words.
struct alignas(16) Waiting {
  uint32_t words[kFour];
};
// The bits of their floats, in the order of the sweep's columns; negated where `sign` is the sign bit.
template <int kStep, class T>
SOFTDP_DEVICE Waiting floats_of(const Waiting& waiting, Type type, uint32_t sign) {
  Waiting floats;
#pragma unroll
  for (int k = 0; k < kFour; k++) {
    if constexpr (sizeof(T) == 4)
      floats.words[k] = waiting.words[in_memory<kStep>(k)];
    else
      floats.words[k] = bit_cast<uint32_t>(
          value_from<float>(Sixteen{uint16_t(waiting.words[k >> 1] >> (16 * (k & 1)))}, type));
    floats.words[k] ^= sign;
  }
  return floats;
}

// The rows of a table that the strip's numbers come from. kStep -1: seen from its end, of floats.
template <int kStep>
struct RelaySource {
  const char* origin = nullptr;  // of the lane's first row, at the strip's first column
  int64_t row = 0, column = 0;   // strides in bytes; of rows kRowsApart apart
  int bytes = 4;                 // of a number, 4 or 2
  bool by_four = false;
  RelaySource() = default;
  template <class Part>
  SOFTDP_DEVICE RelaySource(const Part& part, const void* data, int64_t first, int64_t row, int64_t column,
                            int bytes)
      : origin(static_cast<const char*>(data) + (first + part.row * row) * bytes),
        row(Part::kRowsApart * row * bytes),
        column(column * bytes),
        bytes(bytes) {
    // The lane's other rows lie kRowsApart rows further, a multiple of four numbers.
    by_four = column == kStep && reinterpret_cast<uintptr_t>(four(origin)) % uintptr_t(kFour * bytes) == 0;
  }
  // The first in memory of the four that begin at `begin`.
  SOFTDP_DEVICE const char* four(const char* begin) const {
    return kStep > 0 ? begin : begin - (kFour - 1) * bytes;
  }
  // Sets out to fetch four columns of row i, from a column on that is a multiple of 4. Where left is 0 or
  // less they become 0, and are not read. They are there after copy_async_wait().
  SOFTDP_DEVICE void start(Waiting& to, int i, int begin, int left) const {
    // Of none that are read the address must be a multiple, too.
    const uintptr_t each = uintptr_t(kFour * bytes),
                    at = reinterpret_cast<uintptr_t>(four(origin + i * row + begin * column));
    const char* const from = reinterpret_cast<const char*>(at & ~(each - 1));
    if (bytes == 4)
      copy_async_four(reinterpret_cast<float*>(to.words), reinterpret_cast<const float*>(from), left > 0);
    else
      copy_async(reinterpret_cast<uint64_t*>(to.words), reinterpret_cast<const uint64_t*>(from), left > 0);
  }
  // The first `left` of them. The others become 0.
  SOFTDP_DEVICE void start_some(Waiting& to, int i, int begin, int left) const {
    const char* const from = origin + i * row + begin * column;
    if (bytes == 4) {
#pragma unroll
      for (int k = 0; k < kFour; k++)
        copy_async(&to.words[in_memory<kStep>(k)], reinterpret_cast<const uint32_t*>(from + k * column),
                   k < left);
    } else {
      uint32_t halves[kFour] = {};
      if (column == 0) {
        halves[0] = *reinterpret_cast<const uint16_t*>(from);
        for (int k = 1; k < kFour; k++) halves[k] = k < left ? halves[0] : 0;
      } else {
#pragma unroll
        for (int k = 0; k < kFour; k++)
          if (k < left) halves[k] = *reinterpret_cast<const uint16_t*>(from + k * column);
      }
      to.words[0] = halves[0] | halves[1] << 16, to.words[1] = halves[2] | halves[3] << 16;
    }
  }
};

// Sets out to fetch the cells of chunk c of kRead tables; waiting(i, row) is where those of table i wait.
template <int kRead, int kStep, int kTables, class Strip, class WaitingAt>
SOFTDP_DEVICE void start_cells(const BringsPart& part, const RelaySource<kStep> (&sources)[kTables], int c,
                               const Strip& at, WaitingAt waiting) {
  const int first = part.comes(c, 0);
  bool has_some = false;
#pragma unroll
  for (int i = 0; i < kRead; i++)
    part.each_row(first, at, [&](int row, int column, int left) {
      if (part.are_some(sources[i].by_four, left))
        has_some = true;
      else
        sources[i].start(waiting(i, row), row, column, left);
    });
  if (!has_some) return;
#pragma unroll
  for (int i = 0; i < kRead; i++)
    part.each_of_some(first, at, sources[i].by_four, [&](int row, int column, int left) {
      sources[i].start_some(waiting(i, row), row, column, left);
    });
}

// The rows of a table that the strip's numbers go to. kStep -1: seen from its end.
template <int kStep>
struct RelaySink {
  void* data = nullptr;
  int64_t first = 0, row = 0;  // the lane's first row, at the strip's first column; rows kRowsApart apart
  Type type{};
  bool by_four = false;
  RelaySink() = default;
  template <class Part>
  SOFTDP_DEVICE RelaySink(const Part& part, void* data, int64_t begin, int64_t stride, Type type)
      : data(data), first(begin + part.row * stride), row(Part::kRowsApart * stride), type(type) {
    const int64_t four = kStep > 0 ? first : first - (kFour - 1);
    by_four = (reinterpret_cast<uintptr_t>(data) + four * bytes_of(type)) % (kFour * bytes_of(type)) == 0;
  }
  // Four columns of row i, from a column on that is a multiple of 4. T: of the table.
  template <class T>
  SOFTDP_DEVICE void put(int i, int column, const float (&x)[kFour]) const {
    T* const to = static_cast<T*>(data) + first + i * row + kStep * column;
    Four<T> numbers;
#pragma unroll
    for (int k = 0; k < kFour; k++) numbers.x[in_memory<kStep>(k)] = value_to<T>(x[k], type);
    four_at(kStep > 0 ? to : to - (kFour - 1)) = numbers;
  }
  // The first `left` of them.
  template <class T>
  SOFTDP_DEVICE void put_some(int i, int column, const float (&x)[kFour], int left) const {
    T* const to = static_cast<T*>(data) + first + i * row + kStep * column;
#pragma unroll
    for (int k = 0; k < kFour; k++)
      if (k < left) to[kStep * k] = value_to<T>(x[k], type);
  }
};

}  // namespace softdp::cuda
