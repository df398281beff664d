// Few pairs: a sweep is then as fast as its longest row of steps that must follow one another, and what a
// warp does beside its steps costs time.
//
// A block of four warps takes a strip of 64 rows, and only one of the warps makes steps. Each of its lanes
// has two rows, of the same column: row 2 l + k is row k of lane l. Two warps bring what the steps take, with
// everything computed that hangs on no state, one warp for each k. The last one takes away what the steps
// have made, and computes from that what leaves. The warps go in step, a barrier a round: in round c chunk c
// is made, the cells of chunk c + 1 come, and those of chunk c - 1 go, and so does its last row.
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
constexpr int kRelayThreads = 4 * kStripRows;
constexpr int kRing = 64;                                   // steps
enum Role { kSteps, kBringsFirst, kBringsSecond, kTakes };  // of a warp

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

inline int64_t relay_strips(int64_t rows) {
  return rows > 0 ? (rows + kRelayRows - 1) / kRelayRows : 1;
}
// Of shared memory, at most: what a block may have on devices that have little.
constexpr size_t kRelayBytes = 99 * 1024;

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
    return kTicketBytes + pairs.count * between * pairs.columns * int64_t(sizeof(Tagged<Edge>));
  }
};

template <class Edge>
constexpr bool kHasRelay = false;
template <>
inline constexpr bool kHasRelay<float> = true;
template <>
inline constexpr bool kHasRelay<SmoothMax<DeviceFloat<int64_t>>::State> = true;

// ---- a strip -------------------------------------------------------------------------------------------

// The strip of a block, and what this thread does for it.
template <class Arguments>
struct RelayStrip {
  using Edge = typename Arguments::Edge;
  const Arguments& a;
  int warp, lane;
  int64_t pair;
  int strip;
  Extent size;
  int row0, rows;  // rows is 0 or less where the strip lies below the pair's last row

  // ticket: in shared memory.
  SOFTDP_DEVICE RelayStrip(const Arguments& a, unsigned& ticket)
      : a(a), warp(int(threadIdx.x) / kStripRows), lane(int(threadIdx.x) % kStripRows) {
    if (threadIdx.x == 0) ticket = take_ticket(a.relay.tickets);
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
    const int64_t strips = (a.pairs.rows + kRelayRows - 1) / kRelayRows;
    return a.relay.edges + (pair * (strips - 1) + upper) * a.pairs.columns;
  }

  // The block's way through its columns. steps(c) makes chunk c; bring(c) puts its cells into the ring, and
  // first those before the first chunk; give(c) hands its last row on; take(c) takes what is finished of it
  // away. What comes and goes beyond the table is not read or written.
  template <class MakeSteps, class Bring, class Give, class Take>
  SOFTDP_DEVICE void go(MakeSteps steps, Bring bring, Give give, Take take) const {
    const int own = chunks();  // rounds go from -1 to own + 1, for each warp in a loop of its own
    if (warp == kSteps) {
      sync_roles();
      for (int c = 0; c < own; c++) {
        steps(c);
        sync_roles();
      }
      sync_roles();
      sync_roles();
    } else if (warp == kTakes) {
      sync_roles();
      sync_roles();
      for (int c = 0; c <= own; c++) {
        take(c);
        sync_roles();
      }
    } else {
      bring(-1);
      bring(0);
      sync_roles();
      for (int c = 0; c <= own; c++) {
        if (warp == kBringsSecond && c > 0) give(c - 1);
        if (c + 1 < own) bring(c + 1);
        sync_roles();
      }
      sync_roles();
    }
  }
  // The column of the last row at step `lane` of a chunk; before the table and beyond it, too.
  SOFTDP_DEVICE int given_column(int chunk) const { return chunk * kChunk + lane - bottom(); }
};

// ---- four columns of a row -----------------------------------------------------------------------------

// The lanes of the warps that bring and take: eight rows that lie two apart, which meet in no bank, by four
// times four columns. a: which eight rows of 32.
struct RelayPart {
  int row_lane, column;  // the lane that has the row, but for 8 a; the column but for the chunk's first
  SOFTDP_DEVICE explicit RelayPart(int lane) : row_lane(lane & 7), column(kFour * (lane >> 3)) {}
  SOFTDP_DEVICE int lane_of(int a) const { return row_lane + 8 * a; }
  // The first of the four columns that come for a chunk, or that go: a multiple of 4.
  SOFTDP_DEVICE int comes(int chunk, int a) const {
    return chunk * kChunk - (lane_of(a) & ~(kFour - 1)) + column;
  }
  SOFTDP_DEVICE int goes(int chunk, int a) const { return comes(chunk, a) - kFour; }
};

// Four numbers of a row as they lie in memory; nothing waits for them before they are used. Numbers of 2
// bytes lie in the first two words.
struct Held {
  uint32_t words[kFour];
};
// bytes: of a number, 4 or 2; step: from a number to the next, in numbers; left: how many of the four there
// are, all or some or none. Others become 0, and are not read.
SOFTDP_DEVICE Held hold(const void* first, int64_t step, int bytes, int left) {
  const char* from = static_cast<const char*>(first);
  const bool by_four = step == 1 && left >= kFour && reinterpret_cast<uintptr_t>(from) % (4 * bytes) == 0;
  Held held{};
  if (by_four) {
    const uint64_t low = load_ahead(from, true), high = load_ahead(from + 8, bytes == 4);
    held = {uint32_t(low), uint32_t(low >> 32), uint32_t(high), uint32_t(high >> 32)};
  } else if (left > 0) {
#pragma unroll
    for (int k = 0; k < kFour; k++) {
      const uint32_t word = load_number(from, bytes, k < left);
      if (bytes == 4)
        held.words[k] = word;
      else
        held.words[k >> 1] |= word << (16 * (k & 1));
      from += step * bytes;
    }
  }
  return held;
}
// Their values; negated where `sign` is the sign bit.
SOFTDP_DEVICE void numbers_of(const Held& held, Type type, uint32_t sign, float (&x)[kFour]) {
  if (type == Type::kFloat32) {
#pragma unroll
    for (int k = 0; k < kFour; k++) x[k] = bit_cast<float>(held.words[k] ^ sign);
  } else {
#pragma unroll
    for (int k = 0; k < kFour; k++) {
      const float value = value_from<float>(Sixteen{uint16_t(held.words[k >> 1] >> (16 * (k & 1)))}, type);
      x[k] = bit_cast<float>(bit_cast<uint32_t>(value) ^ sign);
    }
  }
}

// Four numbers of a row, the first `left` of them, to where they belong. kStep -1: the numbers go backwards
// through memory.
template <int kStep>
SOFTDP_DEVICE void put_four(void* data, int64_t at, Type type, const float (&x)[kFour], int left) {
  const auto put = [&](auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    T* const first = kStep > 0 ? to : to - (kFour - 1);
    if (left >= kFour && reinterpret_cast<uintptr_t>(first) % alignof(Four<T>) == 0) {
      Four<T> four;
#pragma unroll
      for (int k = 0; k < kFour; k++) four.x[in_memory<kStep>(k)] = value_to<T>(x[k], type);
      four_at(first) = four;
    } else {
#pragma unroll
      for (int k = 0; k < kFour; k++)
        if (k < left) to[kStep * k] = value_to<T>(x[k], type);
    }
  };
  if (type == Type::kFloat32)
    put(static_cast<float*>(data) + at);
  else
    put(static_cast<Sixteen*>(data) + at);
}

}  // namespace softdp::cuda
