// The cells of a pair within a bandwidth of the line from its first cell to its last.
#pragma once
#include <cstdint>

#include "smooth_max.h"

namespace softdp {

// With n and m steps and rows and columns counted from 0, a cell is inside where
//
//   |row (m-1) - column (n-1)| <= w min(n-1, m-1)
//
// w is the bandwidth where n = m, and else at least half the slope, so that a path is always left. All cells
// of a pair with a single row or column are inside, and all cells where the bandwidth is below 0. The columns
// of a row that are inside follow each other; from row to row neither the first nor the last goes back. The
// first row has column 0, the last row has column m-1.
//
// The corridor of a piece of the table counts rows and columns from the piece's first ones. The piece has all
// cells of its rows that are inside, and its first column is the first one inside in its first row.
struct Corridor {
  int64_t down, right;                      // n-1, m-1
  int64_t reach;                            // w min(n-1, m-1); below 0: all cells are inside
  int64_t first_row = 0, first_column = 0;  // of the piece
  static SOFTDP_FN Corridor of(int64_t n, int64_t m, int64_t bandwidth) {
    const int64_t down = n - 1, right = m - 1, longer = down > right ? down : right,
                  shorter = down > right ? right : down;
    if (bandwidth < 0 || shorter <= 0) return {down, right, -1};
    int64_t w = bandwidth < longer ? bandwidth : longer;
    const int64_t half_slope = (longer + 2 * shorter - 1) / (2 * shorter);  // rounded up
    if (longer > shorter && w < half_slope) w = half_slope;
    return {down, right, w * shorter};
  }
  // Of the piece whose first row is `row`. 0 <= row < n.
  SOFTDP_FN Corridor from_row(int64_t row) const { return {down, right, reach, row, begin(row)}; }
  SOFTDP_FN bool is_everywhere() const { return reach < 0; }
  // The first column of a row that is inside, and the one after the last. 0 <= row < n.
  SOFTDP_FN int64_t begin(int64_t row) const {
    const int64_t left = (first_row + row) * right - reach;
    return is_everywhere() || left <= 0 ? 0 : (left + down - 1) / down - first_column;
  }
  SOFTDP_FN int64_t end(int64_t row) const {
    if (is_everywhere()) return right + 1;
    const int64_t last = ((first_row + row) * right + reach) / down;
    return (last < right ? last : right) + 1 - first_column;
  }
  SOFTDP_FN bool has(int64_t row, int64_t column) const { return begin(row) <= column && column < end(row); }
  // The same cells with rows and columns exchanged.
  SOFTDP_FN Corridor transposed() const { return {right, down, reach}; }
};

// What a GPU's sweeps keep of a pair's cells within a bandwidth. A row has `pitch` numbers, and that of a
// column lies at the column's remainder by the pitch. Numbers come and go by fours: of four rows, the columns
// that one of them has inside, and what completes the fours at their ends. They fit a row's pitch, so no two
// of them meet there. The pitch is that of the pair's own lengths: two rows that end at column m have all
// columns inside, however small the bandwidth. So no pitch would do for all lengths but that of all columns.
SOFTDP_FN int64_t saved_pitch(const Corridor& inside) {
  const int64_t all = (inside.right + 4) / 4 * 4;
  if (inside.is_everywhere()) return all;
  const int64_t found = ((3 * inside.right + 2 * inside.reach) / inside.down + 7) / 4 * 4;
  return found < all ? found : all;
}
// Numbers that are enough for the cells of any pair of up to `rows` and `columns` steps; a multiple of 4
// where there is a bandwidth. A pair with n >= m needs at most 2 w + 10 a row, w at least 1. One with n < m
// needs at most 2 w + 9 or the slope + 9 a row, and four rows' drift, which is at most 4 (m-1) n / (n-1) in
// all.
SOFTDP_FN int64_t saved_cells(int64_t rows, int64_t columns, int64_t bandwidth) {
  if (bandwidth < 0) return rows * columns;
  const int64_t longer = rows > columns ? rows : columns, within = bandwidth < longer ? bandwidth : longer,
                w = within > 1 ? within : 1, all = rows * (columns + 3),
                enough = rows * (2 * w + 10) + 5 * columns;
  return ((all < enough ? all : enough) + 3) / 4 * 4;
}

// What a GPU's bands keep of the rows between them. The number of row k and column j has the place
// k * edge_pitch + j: a row ends before the next one begins, since what is inside of a row is no more than
// edge_pitch - 1, one column more is kept, and the next row begins no further to the left. `edge_cells` are
// enough for any pair of up to `columns` steps that has no more than `between` such rows, at least 32 apart.
// As in saved_cells, a pair with n < m may have a slope to add: m / 32 in all.
SOFTDP_FN int64_t edge_pitch(const Corridor& inside) {
  const int64_t all = inside.right + 1;
  if (inside.is_everywhere()) return all;
  const int64_t found = 2 * inside.reach / inside.down + 2;
  return found < all ? found : all;
}
SOFTDP_FN int64_t edge_cells(int64_t between, int64_t columns, int64_t bandwidth) {
  const int64_t all = between * columns, within = bandwidth < columns ? bandwidth : columns,
                w = within > 1 ? within : 1, enough = between * (2 * w + 4) + columns + columns / 32 + 1;
  return bandwidth < 0 || all < enough ? all : enough;
}

}  // namespace softdp
