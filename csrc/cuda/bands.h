// Sweeps of any size. A block of up to kMostWarps warps sweeps a band of as many strips of one pair; strips
// hand their last row down, within a band through shared memory, from band to band through global memory, a
// flag with every 16 columns. Bands take tickets, the first bands of all pairs before the second ones: the
// band above is then always finished or at work, whatever order the device starts blocks in, and with many
// pairs nobody waits.
#pragma once
#include "blocks.h"

namespace softdp::cuda {

constexpr int kMostWarps = 4;

SOFTDP_FN int64_t strips_of(int64_t rows) {
  return (rows + kStripRows - 1) / kStripRows;
}

// What bands share in global memory: a ticket counter and a flag per band, all 0 at the launch, then the
// last row of every band but the last.
template <class Edge>
struct Chain {
  unsigned* tickets;
  int* flags;
  Edge* edges;
  static int64_t flag_bytes(const Pairs& pairs, BandSize band) {
    const int64_t bands = band.bands_of(pairs.rows);
    return bands > 1 ? ((1 + pairs.count * bands) * 4 + 15) / 16 * 16 : 0;
  }
  static int64_t bytes(const Pairs& pairs, BandSize band) {
    const int64_t between = band.bands_of(pairs.rows) - 1;
    return between > 0
               ? flag_bytes(pairs, band) + pairs.count * between * pairs.columns * int64_t(sizeof(Edge))
               : 0;
  }
  static Chain in(void* workspace, const Pairs& pairs, BandSize band) {
    unsigned* tickets = static_cast<unsigned*>(workspace);
    return {tickets, reinterpret_cast<int*>(tickets + 1),
            reinterpret_cast<Edge*>(static_cast<char*>(workspace) + flag_bytes(pairs, band))};
  }
};

// The pair's lengths; a pair whose lengths lie outside the table is empty and unfit.
struct Extent {
  int n, m;
  bool unfit;
};
SOFTDP_DEVICE Extent extent_of(const Pairs& pairs, int64_t pair) {
  const int64_t n = pairs.n(pair), m = pairs.m(pair);
  if (n < 0 || m < 0 || n > pairs.rows || m > pairs.columns) return {0, 0, true};
  return {int(n), int(m), false};
}

// What the weights' last cell (n, m) of a pair without a gradient holds, in its first number: NaN where the
// pair is spoiled, this where no path is left.
constexpr float kNoPath = -1;
// That number; kNoPath of a pair that has no cells.
template <class V>
SOFTDP_DEVICE V verdict_of(const V* saved, const Extent& size, int64_t columns) {
  return size.n > 0 && size.m > 0 ? saved[int64_t(size.n - 1) * columns + size.m - 1] : V(kNoPath);
}

SOFTDP_DEVICE int clamp(int x, int low, int high) {
  return x < low ? low : x > high ? high : x;
}

// ---- the row between two strips --------------------------------------------------------------------------

// Edges of the strip above come from one of three places, and those for the strip below go to one of three.
template <class Edge>
struct Handover {
  Edge* global = nullptr;  // a whole row, with a flag unless it was there before the launch
  int* global_flag = nullptr;
  Edge* shared = nullptr;  // a ring of kRing columns, with two flags
  int *published = nullptr, *consumed = nullptr;

  // Waits for columns up to `end`.
  SOFTDP_DEVICE void wait(int end, int lane) const {
    if (lane == 0 && shared)
      while (load_acquire_block(published) < end) spin_block();
    if (lane == 0 && global_flag)
      while (load_acquire_device(global_flag) < end) spin_device();
    sync_warp();
  }
  SOFTDP_DEVICE Edge take(int column) const {
    if (!shared) return global[column];
    assume_shared(shared);
    return shared[column & (kRing - 1)];
  }
  // All lanes have taken the columns up to `end`.
  SOFTDP_DEVICE void taken(int end, int lane) const {
    sync_warp();
    if (lane == 0 && shared) store_release_block(consumed, end);
  }
  // Waits until the ring has room for columns up to `end`.
  SOFTDP_DEVICE void wait_for_room(int end, int lane) const {
    if (lane == 0 && shared)
      while (load_acquire_block(consumed) < end - kRing) spin_block();
    sync_warp();
  }
  SOFTDP_DEVICE void give(int column, const Edge& edge) const {
    if (shared) shared[column & (kRing - 1)] = edge;
    if (global) global[column] = edge;
  }
  // Columns up to `end` are there.
  SOFTDP_DEVICE void given(int end, int lane) const {
    sync_warp();
    if (lane == 0 && shared) store_release_block(published, end);
    if (lane == 0 && global_flag) store_release_device(global_flag, end);
  }
};

template <class V, int kColumns>
struct Columns {
  V ring[kRing];
};
template <class V>
struct Columns<V, 0> {
  static constexpr V* ring = nullptr;
};
// A warp's part of its block's shared memory: its own arrays and what it hands on. The arrays lie behind the
// block's, as many as the launch asked for: fewer bytes are more blocks a multiprocessor.
template <class V, class Edge, int kColumns>
struct BandWarp {
  alignas(16) Edge ring[kRing];
  alignas(16) unsigned char above[kChunk * sizeof(Edge)];  // Edges, or their narrow states
  alignas(16) unsigned char below[kChunk * sizeof(Edge)];
  int published, consumed;
  Columns<V, kColumns> columns;
};
template <class V, class Edge, int kColumns = 0>
struct BandMemory {
  alignas(16) unsigned ticket;
  BandWarp<V, Edge, kColumns> warps[kMostWarps];
  SOFTDP_DEVICE V* array(int warp, int arrays, int i) {
    return reinterpret_cast<V*>(this + 1) + (warp * arrays + i) * kArray;
  }
  static size_t bytes(int warps, int arrays) {
    return sizeof(BandMemory) + size_t(warps) * arrays * kArray * sizeof(V);
  }
};

// What a band's kernel begins with: the block's memory, pair and band, and this warp's strip of it. Of a
// table seen from its end row 0 is the pair's last.
template <class Arguments>
struct BandStrip {
  using V = typename Arguments::V;
  using Edge = typename Arguments::Edge;
  using Block = BandMemory<V, Edge, Arguments::kColumns>;
  const Arguments& a;
  Block& block;
  int warp, lane;
  int64_t pair;
  int band;
  Extent size;
  int row0, rows;  // of the strip; rows is 0 or less where it lies below the pair's last row

  SOFTDP_DEVICE BandStrip(const Arguments& a, unsigned char* shared)
      : a(a),
        block(*reinterpret_cast<Block*>(shared)),
        warp(int(threadIdx.x) / kStripRows),
        lane(int(threadIdx.x) % kStripRows) {
    if (lane == 0) own().published = own().consumed = 0;
    unsigned ticket = blockIdx.x;
    if (a.pairs.rows > a.band.rows()) {
      if (threadIdx.x == 0) block.ticket = take_ticket(a.chain.tickets);
      sync_block();
      ticket = block.ticket;
    }
    pair = ticket % a.pairs.count;
    band = int(ticket / a.pairs.count);
    sync_block();
    size = extent_of(a.pairs, pair);
    row0 = band * a.band.rows() + warp * kStripRows;
    rows = size.n - row0 < kStripRows ? size.n - row0 : kStripRows;
  }

  SOFTDP_DEVICE auto& own() const { return block.warps[warp]; }
  SOFTDP_DEVICE V* array(int arrays, int i) const { return block.array(warp, arrays, i); }
  // Among the strips of all pairs. The division is unsigned: it is a shift then.
  SOFTDP_DEVICE int64_t strip() const { return pair * strips_of(a.pairs.rows) + unsigned(row0) / kStripRows; }
  SOFTDP_DEVICE bool is_last() const { return row0 + rows == size.n; }

  // From the strip above, and to the one below; nothing at the pair's ends.
  SOFTDP_DEVICE Handover<Edge> in() const {
    Handover<Edge> from;
    if (warp > 0)
      from = between_warps(block.warps[warp - 1]);
    else if (row0 > 0)
      from = between_bands(band - 1);
    return from;
  }
  SOFTDP_DEVICE Handover<Edge> out() const {
    Handover<Edge> to;
    if (!is_last()) to = warp < a.band.warps - 1 ? between_warps(own()) : between_bands(band);
    return to;
  }

 private:
  template <class Warp>
  static SOFTDP_DEVICE Handover<Edge> between_warps(Warp& upper) {
    return {nullptr, nullptr, upper.ring, &upper.published, &upper.consumed};
  }
  SOFTDP_DEVICE Handover<Edge> between_bands(int upper) const {
    const int64_t bands = a.band.bands_of(a.pairs.rows);
    return {a.chain.edges + (pair * (bands - 1) + upper) * a.pairs.columns,
            a.chain.flags + pair * bands + upper};
  }
};

// A strip's way through its columns, where edges are handed on as they are: blocks come in one ahead and
// leave three behind, `above` receives the edges of the chunk's columns, and steps(t0, count, full) makes its
// steps and leaves those of the strip's last row in `below`. first: the edge of column 0 where nothing is
// above.
template <class Edge, class Start, class Store, class Steps>
SOFTDP_DEVICE void sweep_blocks(int lane, int rows, int m, const Edge& first, const Handover<Edge>& in,
                                const Handover<Edge>& out, Edge* above, const Edge* below, Start start,
                                Store store, Steps steps) {
  const int total = m + rows - 1, chunks = (total + kChunk - 1) / kChunk, blocks = (m + kChunk - 1) / kChunk;
  start(0);
  for (int c = 0; c < chunks; c++) {
    copy_async_wait();
    sync_warp();
    store(c - kBlocksBehind);
    sync_warp();
    if (c + 1 < blocks) start(c + 1);
    const int t0 = c * kChunk, count = total - t0 < kChunk ? total - t0 : kChunk;
    const int column = t0 + lane, end = t0 + kChunk < m ? t0 + kChunk : m;
    Edge edge = column == 0 ? first : Edge();
    if (t0 < m && (in.shared || in.global)) {
      in.wait(end, lane);
      if (lane < kChunk && column < m) edge = in.take(column);
      in.taken(end, lane);
    }
    if (lane < kChunk) above[lane] = edge;
    sync_warp();
    steps(t0, count, rows == kStripRows && count == kChunk && t0 >= kStripRows - 1 && t0 + kChunk <= m);
    sync_warp();
    if (out.shared || out.global) {
      const int given = t0 - (rows - 1), until = clamp(given + count, 0, m);
      out.wait_for_room(until, lane);
      if (lane < count && given + lane >= 0 && given + lane < m) out.give(given + lane, below[lane]);
      out.given(until, lane);
    }
  }
  for (int c = chunks - kBlocksBehind; c < blocks; c++) store(c);
}

}  // namespace softdp::cuda
