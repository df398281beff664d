// The columns that a strip has of a table: all, or within a bandwidth (../corridor.h) those that are inside.
//
// A strip then makes only the chunks in which one of its rows has a cell inside, and every lane has columns
// of its own. Chunks are counted from the table's first column all the same, so that strips keep step.
#pragma once
#include "blocks.h"

namespace softdp::cuda {

// Where a lane is: its row in the arrays, its row in the strip (its skew), and the columns of its row, 0
// where the row is beyond the table.
struct Lane {
  int row, r, m;
};
// The same within a bandwidth: m columns from `begin` on.
struct CorridorLane : Lane {
  int begin;
};
template <class Of>
constexpr bool kIsWithin = std::is_same_v<Of, CorridorLane>;
SOFTDP_FN int first_column(const Lane&) {
  return 0;
}
SOFTDP_FN int first_column(const CorridorLane& lane) {
  return lane.begin;
}
// Whether a lane that is before `column`, counted from its first one, has nothing left for the next row. It
// hands its last cell's number on, and where kAfter is 1, one after it.
template <int kAfter = 0>
SOFTDP_FN bool is_done(const Lane&, int) {
  return false;
}
template <int kAfter = 0>
SOFTDP_FN bool is_done(const CorridorLane& lane, int column) {
  return column > lane.m + kAfter;
}

// A strip's columns within a bandwidth, in shared memory. A row of adjoints hands the one after its last
// column on, too: what its last cell gives to the cell on its upper left. A table that is seen from its end
// has 0 to 3 columns before the pair's last one, which are in no row: so fours of columns lie as they do in
// what was saved.
struct alignas(16) StripColumns {
  Columns rows[kStripRows];  // none in rows beyond the table
  Columns above, below;      // that the row above and the last row hand on
  int begin, end;            // the chunks
  int pitch;                 // of what is saved

  SOFTDP_DEVICE CorridorLane lane(int i) const {
    return {{i, i, rows[i].end - rows[i].begin}, rows[i].begin};
  }
};

// Calls run(row, column) for a pair's cells, of which every `step`-th from `first` on is the thread's.
template <class Run>
SOFTDP_DEVICE void each_cell(const Corridor& inside, int n, int m, int first, int step, Run run) {
  if (inside.is_everywhere()) {
    for (int64_t at = first; at < int64_t(n) * m; at += step) run(at / m, at % m);
    return;
  }
  for (int64_t row = 0; row < n; row++) {
    const int64_t end = inside.end(row);
    for (int64_t column = inside.begin(row) + first; column < end; column += step) run(row, column);
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
// The same within a bandwidth: 0 also outside, `value` inside. Each lane finds the columns of one row.
template <class T>
SOFTDP_DEVICE void fill_rows_outside(T* table, Type type, BandSize size, int band, int64_t N, int64_t M,
                                     int n, const Corridor& inside, float value, bool outside_only) {
  const int lane = int(threadIdx.x) % kStripRows;
  const int64_t first = int64_t(band) * size.rows() + threadIdx.x / kStripRows,
                own = first + int64_t(lane) * size.warps;
  Columns of_lane{0, 0};
  if (own < n) of_lane = {int(inside.begin(own)), int(inside.end(own))};
  for (int k = 0; k < kStripRows; k++) {
    const int64_t row = first + int64_t(k) * size.warps;
    const Columns of{shuffle_from(of_lane.begin, k), shuffle_from(of_lane.end, k)};
    if (row >= N) return;
    for (int column = lane; column < of.begin; column += kStripRows)
      table[row * M + column] = value_to<T>(0.0f, type);
    for (int64_t column = (outside_only ? of.end : of.begin) + lane; column < M; column += kStripRows)
      table[row * M + column] = value_to<T>(of.has(int(column)) ? value : 0.0f, type);
  }
}

}  // namespace softdp::cuda
