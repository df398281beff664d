// The layouts of the CPU sweeps' strips, for sweeps.cpp: a strip holds the cells of its rows that lie within
// the bandwidth, and what is saved of a pair has room.
#pragma once
#include <algorithm>
#include <cstdio>

#include "../../csrc/cpu/sweep.h"

namespace softdp {

// Whether the strips of a pair hold its cells, and what is saved has room: of the pair, and of larger tables.
inline bool fits(int64_t n, int64_t m, int64_t w, int lanes) {
  const Corridor corridor = Corridor::of(n, m, w);
  const cpu::Layout layout = cpu::Layout::of(n, m, corridor, lanes);
  for (int64_t row = 0; row < n; row += lanes) {
    const int64_t last = std::min(n, row + lanes) - 1, first = layout.first(row);
    if (corridor.begin(row) < first || corridor.end(last) > layout.last(first)) return false;
    if (row > 0 && layout.drift > 0 && first > layout.first(row - lanes) + layout.drift) return false;
  }
  // A piece of the pair: some of its rows, and their cells inside.
  for (int64_t row = 0; row < n; row += 7) {
    const int64_t rows = std::min<int64_t>(n - row, 16),
                  columns = corridor.end(row + rows - 1) - corridor.begin(row);
    const Corridor part = corridor.from_row(row);
    int64_t begin[16], end[16];
    const cpu::Layout of_piece = cpu::Layout::of(rows, columns, part, lanes);
    if (!of_piece.is_cut()) continue;
    of_piece.corridor_of(0, int(rows), begin, end);
    for (int64_t r = 0; r < rows; r++)
      if (begin[r] != part.begin(r) || end[r] != part.end(r)) return false;
  }
  const int64_t weights = (cpu::bands_of(n, lanes) * layout.pitch + lanes) * lanes * 4,
                states = (n - 1) / cpu::kBand * layout.width * cpu::kStateBytes;
  // A pair whose weights are packed keeps rows of states only where it is swept again in double, or is small.
  // With several states a cell it keeps them also in float.
  const bool in_double = lanes <= 8 || (n <= 32 && m <= 32);
  const auto room = [&](bool packs, int row_states) {
    return cpu::saved_bytes(n, m, packs, w, row_states) - int64_t(sizeof(cpu::SavedPair));
  };
  if (weights > room(true, 1) || 4 * states > room(false, 4)) return false;
  for (const bool packs : {true, false}) {
    if (in_double && states > room(packs, 1)) return false;
    for (const int64_t more : {0, 1})
      if (cpu::saved_bytes(n + more, m + 1 - more, packs, w) < cpu::saved_bytes(n, m, packs, w)) return false;
  }
  return layout.pitch >= layout.width && layout.pitch >= layout.drift + 2 * lanes - 1;
}
inline bool layouts_fit() {
  for (const int lanes : {2, 4, 8, 16})
    for (int64_t n = 1; n < 200; n += n < 40 ? 1 : 9)
      for (int64_t m = 1; m < 200; m += m < 40 ? 1 : 9)
        for (const int64_t w : {0, 1, 2, 5, 17, 60})
          if (w < std::max(n, m) - 1 && !fits(n, m, w, lanes))
            return std::printf("%d x %d in a band of %d, %d lanes\n", int(n), int(m), int(w), lanes) < 0;
  return true;
}

}  // namespace softdp
