// Where the strips of a pair lie. A strip has as many rows as a vector has lanes. Without a bandwidth every
// strip has all columns. With one, a strip has the columns that are inside (../corridor.h) in any of its
// rows, and columns are counted from its own first one.
#pragma once
#include <cstdint>

#include "../problem.h"

namespace softdp::cpu {

SOFTDP_FN int64_t bands_of(int64_t rows, int64_t of) {
  return (rows + of - 1) / of;
}
// The steps of a strip of `lanes` rows: at least 2 * lanes. A strip begins with the first `lanes` states of
// the row above, which the last lane has made after 2 * lanes - 1 steps.
SOFTDP_FN int64_t pitch_of(int64_t columns, int lanes) {
  const int64_t whole = bands_of(columns, lanes) * lanes;
  return whole < 2 * lanes ? 2 * lanes : whole;
}

struct Layout {
  Corridor corridor;
  int64_t columns;    // m
  int64_t width;      // the most columns of a strip
  int64_t pitch;      // the steps of every strip
  int64_t drift = 0;  // the most that a strip begins to the right of the one above; 0: all begin at column 0

  static SOFTDP_FN Layout of(int64_t n, int64_t m, const Corridor& c, int lanes) {
    const Layout whole{{n - 1, m - 1, -1}, m, m, pitch_of(m, lanes)};
    if (c.is_everywhere() || (c.begin(n - 1) == 0 && c.end(0) == m)) return whole;
    // A strip begins one column before its first cell inside: the state of that cell's diagonal neighbour
    // comes from above a step earlier.
    const int64_t drift = (lanes * c.right + c.down - 1) / c.down,
                  width = ((lanes - 1) * c.right + 2 * c.reach) / c.down + 2,
                  // The first states of the row above, as in pitch_of, lie up to `drift` columns further on.
        pitch = pitch_of(width > drift + 2 * lanes ? width : drift + 2 * lanes, lanes);
    if (pitch >= whole.pitch) return {c, m, m, whole.pitch};
    return {c, m, width < m ? width : m, pitch, drift};
  }
  SOFTDP_FN bool is_cut() const { return !corridor.is_everywhere(); }  // whether some cells are outside
  // The first column of the strip whose first row is `row`, and the one after its last.
  SOFTDP_FN int64_t first(int64_t row) const {
    const int64_t begin = drift == 0 ? 0 : corridor.begin(row);
    return begin > 0 ? begin - 1 : 0;
  }
  SOFTDP_FN int64_t last(int64_t first) const { return first + width < columns ? first + width : columns; }
  // Corridor::begin and end of `count` rows, with two divisions in all.
  SOFTDP_FN void corridor_of(int64_t row, int count, int64_t* begin, int64_t* end) const {
    const Corridor& c = corridor;
    const int64_t whole = c.right / c.down, part = c.right % c.down, middle = (c.first_row + row) * c.right,
                  left = middle - c.reach, right = middle + c.reach;
    // left = b down - over, right = e down + under
    int64_t b = left > 0 ? (left + c.down - 1) / c.down : left / c.down, over = b * c.down - left;
    int64_t e = right / c.down, under = right - e * c.down;
    for (int r = 0; r < count; r++) {
      begin[r] = b > 0 ? b - c.first_column : 0, end[r] = (e < c.right ? e : c.right) + 1 - c.first_column;
      const int64_t carry = part > over, borrow = under + part >= c.down;
      b += whole + carry, over += carry * c.down - part;
      e += whole + borrow, under += part - borrow * c.down;
    }
  }
  // Whether lanes of a strip of `rows` rows are still at work after the strip's steps.
  SOFTDP_FN bool runs_over(int64_t rows) const { return width + rows - 1 > pitch; }
};

}  // namespace softdp::cpu
