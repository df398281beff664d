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
};

}  // namespace softdp
