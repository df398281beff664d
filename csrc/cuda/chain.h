// The row between two strips: within a block in shared memory, between bands in global memory.
#pragma once
#include "strip_columns.h"

namespace softdp::cuda {

// The last row of a strip gets to a chunk's last column in the second chunk after it.
constexpr int kLead = 3;

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
               ? flag_bytes(pairs, band) + pairs.count * edges_of(pairs, between) * int64_t(sizeof(Edge))
               : 0;
  }
  // Of a pair.
  static SOFTDP_FN int64_t edges_of(const Pairs& pairs, int64_t between) {
    return edge_cells(between, pairs.columns, pairs.bandwidth);
  }
  static Chain in(void* workspace, const Pairs& pairs, BandSize band) {
    unsigned* tickets = static_cast<unsigned*>(workspace);
    return {tickets, reinterpret_cast<int*>(tickets + 1),
            reinterpret_cast<Edge*>(static_cast<char*>(workspace) + flag_bytes(pairs, band))};
  }
};

// What goes to a strip from the one above it: three chunks' edges. Those that a chunk of the strip below
// takes lie together. The strip above is 31 columns behind its first row, so its chunk c ends one column into
// what the chunk c - 1 of the strip below takes.
template <class Edge>
struct EdgeRing {
  alignas(16) Edge edges[kLead * kChunk];
  // The 16 that chunk c of the strip below takes.
  SOFTDP_DEVICE Edge* of_taker(int chunk) { return edges + (chunk + 2) % kLead * kChunk; }
};
// Where a strip puts the edges of a chunk's steps.
template <class Edge>
struct Given {
  Edge *first, *last;  // step 0; the last step
  SOFTDP_DEVICE Given(EdgeRing<Edge>& ring, int chunk)
      : first(ring.edges + chunk % kLead * kChunk + 1), last(ring.edges + (chunk + 1) % kLead * kChunk) {}
  SOFTDP_DEVICE Edge& operator[](int step) const { return step < kChunk - 1 ? first[step] : *last; }
};

// A row in global memory: edges from above it or below. With a flag, unless it is there before the launch or
// read after it; null: there is none.
template <class Edge>
struct Row {
  Edge* edges = nullptr;
  int* flag = nullptr;
  // Waits for columns up to `end`.
  SOFTDP_DEVICE void wait(int end, int lane) const {
    if (lane == 0 && flag)
      while (load_acquire_device(flag) < end) spin_device();
    sync_warp();
  }
  // Columns up to `end` are there.
  SOFTDP_DEVICE void given(int end, int lane) const {
    sync_warp();
    if (lane == 0 && flag) store_release_device(flag, end);
  }
};

}  // namespace softdp::cuda
