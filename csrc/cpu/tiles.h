// How scores come to the lanes, and how gradients leave them. At step t lane r is at column t - r of row r. A
// tile of L steps therefore holds L neighbouring columns of each row, which begin one column further to the
// left from row to row. It is loaded by rows and transposed. Where a strip begins, its tile also holds the
// end of the strip above.
#pragma once
#include "half.h"
#include "kernels.h"
#include "lanes.h"

namespace softdp::cpu::SOFTDP_ISA {

// ---- elements ------------------------------------------------------------------------------------------

// Loads L elements as V.
template <class V, class T>
SOFTDP_FN Vec<V> load_as(const T* from) {
  constexpr int L = kLanes<V>;
  if constexpr (std::is_same_v<T, V>) {
    return Vec<V>::load(from);
  } else if constexpr (std::is_same_v<T, double>) {
    Vec<V> v;
    for (int k = 0; k < L; k++) v.x[k] = V(from[k]);
    return v;
  } else if constexpr (std::is_same_v<V, double>) {
    typename RawVector<float, L>::Type v;
    for (int k = 0; k < L; k++) v[k] = to_float(from[k]);
    return Vec<V>(__builtin_convertvector(v, typename Vec<V>::Raw));
  } else {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, Half>)
      return Vec<V>(
          typename Vec<V>::Raw(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))));
#elif defined(__F16C__)
    if constexpr (std::is_same_v<T, Half>)
      return Vec<V>(
          typename Vec<V>::Raw(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))));
#endif
    if constexpr (std::is_same_v<T, Bfloat16>) {
      typename RawVector<uint16_t, L>::Type v;
      std::memcpy(&v, from, sizeof v);
      using Wide = typename RawVector<uint32_t, L>::Type;
      return Vec<V>(typename Vec<V>::Raw(__builtin_convertvector(v, Wide) << 16));
    }
    Vec<V> v;
    for (int k = 0; k < L; k++) v.x[k] = to_float(from[k]);
    return v;
  }
}
// Parts of vectors, as in simd.h.
template <class V, class T>
SOFTDP_FN Vec<V> load_part_as(const T* data, int64_t offset, int begin, int end) {
  if constexpr (std::is_same_v<T, V>) {
    return load_part(data, offset, begin, end);
  } else {
    T buffer[kLanes<V>] = {};
    for (int k = begin; k < end; k++) buffer[k] = data[offset + k];
    return load_as<V>(buffer);
  }
}
template <class T, class V>
SOFTDP_FN void store_part_as(Vec<V> v, T* data, int64_t offset, int begin, int end) {
  constexpr int L = kLanes<V>;
  if constexpr (std::is_same_v<T, V>) {
    if (begin == 0 && end == L)
      v.store(data + offset);
    else
      store_part(v, data, offset, begin, end);
  } else {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, Half> && std::is_same_v<V, float>)
      if (end - begin == L)
        return _mm256_storeu_si256(reinterpret_cast<__m256i*>(data + offset),
                                   _mm512_cvtps_ph(v.x, _MM_FROUND_TO_NEAREST_INT));
#endif
    for (int k = begin; k < end; k++) put(data[offset + k], double(v.x[k]));
  }
}

// ---- tiles ---------------------------------------------------------------------------------------------

SOFTDP_FN int clamped(int64_t x, int low, int high) {
  return x < low ? low : x > high ? high : int(x);
}

// The columns that are inside a pair's corridor, in the rows of a strip. Lanes without a row have none.
struct Inside {
  int64_t strip = -2;  // its number in its band
  int64_t first;       // its first column
  int64_t begin[kMostLanes], end[kMostLanes];
};

// The cells of a tile. Lane 0 is in row `row`, at `column` and the columns after it. Lane r is r rows below
// and r columns to the left. At column 0 lane r therefore has the last r of the `pitch` columns of the row
// that lies L above its own, and then the first columns of its own row. Columns from m on and rows from
// `rows` on do not exist. Columns are counted from the first one of the strip (layout.h).
struct TilePlace {
  int64_t row, column;
  int rows;        // of the strip; 0 after the last one
  int rows_above;  // of the strip above, if its end is in the tile
  int64_t m, pitch;
  int64_t from = 1;                    // all cells of a tile that lies within columns from .. m-1 exist
  int64_t first = 0, first_above = 0;  // the first columns of the strip and of the one above
  int64_t drift = 0;                   // how far the next strip's first column is from it, about
  const Inside *inside = nullptr, *inside_above = nullptr;  // null: all cells within m are inside
};

// Calls run(lane, row, first, begin, end) for the rows of a tile, the lowest row first. Elements begin ..
// end-1 of the lane are columns first + begin .. first + end-1 of the row.
template <int L, class Run>
SOFTDP_FN void over_pieces_inside(const TilePlace& at, Run run) {
  const auto piece = [&](const Inside& of, int r, int64_t row, int64_t first, int begin, int end) {
    const int from = clamped(of.begin[r] - first, begin, end), to = clamped(of.end[r] - first, from, end);
    if (from < to) run(r, row, first, from, to);
  };
  const bool turns = at.column == 0;
  for (int r = at.rows - 1; r >= 0; r--)
    piece(*at.inside, r, at.row + r, at.first + at.column - r, turns ? r : 0, L);
  for (int r = at.rows_above - 1; r > 0; r--)
    piece(*at.inside_above, r, at.row + r - L, at.first_above + at.pitch - r, 0, r);
}
template <int L, class Run>
SOFTDP_FN void over_pieces(const TilePlace& at, Run run) {
  if (at.inside) return over_pieces_inside<L>(at, run);
  const int rows = at.rows;
  if (at.column > 0) {
    const int left = clamped(at.m - at.column, -L, L);
    for (int r = rows - 1; r >= 0; r--) run(r, at.row + r, at.column - r, 0, clamped(left + r, 0, L));
    return;
  }
  const int columns = clamped(at.m, 0, L), padding = clamped(at.pitch - at.m, 0, L);
  for (int r = rows - 1; r >= 0; r--) run(r, at.row + r, -r, r, clamped(columns + r, r, L));
  for (int r = at.rows_above - 1; r > 0; r--)
    run(r, at.row + r - L, at.pitch - r, 0, clamped(r - padding, 0, r));
}
// The same of the rows of the strip, or of the one above, as arrays, found without a branch for each row.
// Nothing is to do in rows that have begin = end. Lane r has columns `first` - r and the ones after it of row
// `row` + r.
template <int L>
struct Pieces {
  int64_t row, first;
  int begin[L], end[L];
  SOFTDP_FN Pieces(const Inside& of, int64_t row, int64_t first, bool is_own, bool turns)
      : row(row), first(first) {
    for (int r = 0; r < L; r++) {
      const int64_t low = is_own && turns ? r : 0, high = is_own ? L : r;
      const int64_t from = std::clamp(of.begin[r] - first + r, low, high);
      begin[r] = int(from), end[r] = int(std::clamp(of.end[r] - first + r, from, high));
    }
  }
  SOFTDP_FN int64_t place(int r, int64_t stride) const { return (row + r) * stride + first - r; }
  static SOFTDP_FN Pieces own(const TilePlace& at) {
    return {*at.inside, at.row, at.first + at.column, true, at.column == 0};
  }
  static SOFTDP_FN Pieces above(const TilePlace& at) {  // of a tile at column 0
    return {*at.inside_above, at.row - L, at.first_above + at.pitch, false, true};
  }
};
template <int L>
SOFTDP_FN bool is_whole(const TilePlace& at) {
  return at.column >= at.from && at.column + L <= at.m && at.rows == L;
}

// Whether every lane ends a row, starts one, or both.
template <int L>
SOFTDP_FN bool is_turn(const TilePlace& at) {
  return at.column == 0 && at.m >= L && at.rows % L == 0 && at.rows_above % L == 0 && !at.inside;
}

// How far ahead cells are fetched into the cache: the rows are too many, and the parts of them too short, for
// the machine to foresee. Short rows are fetched a strip ahead. In rows of more than kReach steps a strip
// would be more than a cache, so they are fetched 64 columns ahead.
constexpr int64_t kReach = 128;
struct Ahead {
  int64_t rows, columns;
  template <int L>
  static SOFTDP_FN Ahead of(const TilePlace& at, int direction) {
    if (at.pitch <= kReach) return {direction * L, direction * at.drift};
    constexpr int64_t kColumns = 64;
    const int64_t column = at.column + direction * kColumns;
    if (column < 0) return {-L, at.pitch - kColumns - at.drift};
    if (column >= at.pitch) return {L, kColumns - at.pitch + at.drift};
    return {0, direction * kColumns};
  }
};

// Fetches cells ahead of a tile that a corridor's edge cuts: the loops of whole tiles do it as they go.
template <int L, class T>
SOFTDP_FN void fetch_ahead(const T* data, int64_t stride, const TilePlace& at, int direction) {
  const Ahead ahead = Ahead::of<L>(at, direction);
  const uintptr_t next =
      reinterpret_cast<uintptr_t>(data) +
      uintptr_t(((at.row + ahead.rows) * stride + at.first + at.column + ahead.columns) * int64_t(sizeof(T)));
#pragma GCC unroll 16
  for (int r = 0; r < L; r++)
    __builtin_prefetch(
        reinterpret_cast<const void*>(next + uintptr_t(r * (stride - 1) * int64_t(sizeof(T)))));
}

// Scores outside the range of the arithmetic.
struct Findings {
  bool spoils = false;  // a NaN, or a score above the range
  bool hides = false;   // a finite score below the range: it counts as -inf
};
template <class V>
[[gnu::noinline]] void look_at(const Vec<V>* scores, int count, const typename Lanes<V>::Factor& f,
                               Findings& found) {
  const Vec<V> highest(f.highest), lowest(f.lowest), nothing(-std::numeric_limits<V>::infinity());
  typename Vec<V>::Mask spoils = {}, hides = {};
  for (int k = 0; k < count; k++) {
    spoils |= ~(scores[k] <= highest);
    hides |= (scores[k] < lowest) & (scores[k] > nothing);
  }
  found.spoils = found.spoils || any(spoils);
  found.hides = found.hides || any(hides);
}

// A pair's cells in a table.
struct PairTable {
  const void* data;
  int64_t row, column;  // strides
};

template <class V, class T>
SOFTDP_FN Vec<V> load_piece(const PairTable& from, int64_t row, int64_t first, int begin, int end) {
  const T* const data = static_cast<const T*>(from.data) + row * from.row;
  if (from.column == 1) return load_part_as<V>(data, first, begin, end);
  T buffer[kLanes<V>] = {};
  for (int k = begin; k < end; k++) buffer[k] = data[(first + k) * from.column];
  return load_as<V>(buffer);
}

// The rows of a tile that a corridor's edge cuts. Whole tiles keep the registers that this would take.
template <class V>
[[gnu::noinline]] void load_cut_tile(const V* data, int64_t stride, const TilePlace& at, Vec<V>* v) {
  constexpr int L = kLanes<V>;
  fetch_ahead<L>(data, stride, at, 1);
  const auto own = Pieces<L>::own(at);
#pragma GCC unroll 16
  for (int r = 0; r < L; r++) v[r] = load_part_as<V>(data, own.place(r, stride), own.begin[r], own.end[r]);
  if (at.rows_above == 0) return;
  const auto above = Pieces<L>::above(at);
#pragma GCC unroll 16
  for (int r = 1; r < L; r++)
    v[r] = v[r] + load_part_as<V>(data, above.place(r, stride), above.begin[r], above.end[r]);
}

// Loads a tile: L steps, one vector each; 0 where there is no cell. Returns true where a score is infinite or
// past the range.
template <class V, class T>
[[gnu::noinline]] bool load_tile(const PairTable& from, const TilePlace& at,
                                 const typename Lanes<V>::Factor& f, Vec<V>* tile, Findings& found) {
  constexpr int L = kLanes<V>;
  using I = Integer<V>;
  Vec<V> v[L];
  Vec<I> largest(I(0));  // magnitudes as bits: infinity and NaN are the largest
  if (is_whole<L>(at) && from.column == 1) {
    const T* const first = static_cast<const T*>(from.data) + at.row * from.row + at.first + at.column;
    const Ahead ahead = Ahead::of<L>(at, 1);
    const uintptr_t next = reinterpret_cast<uintptr_t>(first) +
                           uintptr_t((ahead.rows * from.row + ahead.columns) * int64_t(sizeof(T)));
    const int64_t step = from.row - 1;
#pragma GCC unroll 16
    for (int r = 0; r < L; r++) {
      v[r] = load_as<V>(first + r * step);
      __builtin_prefetch(reinterpret_cast<const void*>(next + uintptr_t(r * step * int64_t(sizeof(T)))));
      largest = max(largest, magnitude_bits(v[r]));
    }
  } else if (is_turn<L>(at) && from.column == 1) {
    const T* const data = static_cast<const T*>(from.data) + at.row * from.row;
    const int padding = int(at.pitch - at.m);
    const bool starts = at.rows == L, ends = at.rows_above == L;
#pragma GCC unroll 16
    for (int r = 0; r < L; r++) {
      v[r] = Vec<V>(V(0));
      if (starts) v[r] = load_part_as<V>(data + r * from.row, -r, r, L);
      if (ends && r > padding)
        v[r] = v[r] + load_part_as<V>(data + (r - L) * from.row, at.pitch - r, 0, r - padding);
      largest = max(largest, magnitude_bits(v[r]));
    }
  } else if (std::is_same_v<T, V> && at.inside && from.column == 1) {
    load_cut_tile(static_cast<const V*>(from.data), from.row, at, v);
#pragma GCC unroll 16
    for (int r = 0; r < L; r++) largest = max(largest, magnitude_bits(v[r]));
  } else {
    if (at.inside) fetch_ahead<L>(static_cast<const T*>(from.data), from.row, at, 1);
    for (int r = 0; r < L; r++) v[r] = Vec<V>(V(0));
    over_pieces<L>(at, [&](int r, int64_t row, int64_t first, int begin, int end) {
      v[r] = v[r] + load_piece<V, T>(from, row, first, begin, end);
    });
    for (int r = 0; r < L; r++) largest = max(largest, magnitude_bits(v[r]));
  }
  transpose(v);
  const Vec<V> sign(f.sign);
#pragma GCC unroll 16
  for (int k = 0; k < L; k++) tile[k] = v[k] * sign;
  // -inf is a valid score, but its magnitude is past the limit. look_at then finds no fault.
  const V limit = f.highest < -f.lowest ? f.highest : -f.lowest;
  const bool extreme = any(largest > Vec<I>(bit_cast<I>(limit)));
  if (extreme) look_at(tile, L, f, found);
  return extreme;
}
template <class V>
using LoadTile = bool (*)(const PairTable&, const TilePlace&, const typename Lanes<V>::Factor&, Vec<V>*,
                          Findings&);
template <class V>
SOFTDP_FN LoadTile<V> tile_loader(Type type) {
  return with_type(type, [](auto t) -> LoadTile<V> { return load_tile<V, decltype(t)>; });
}

template <class V>
[[gnu::noinline]] void store_cut_tile(const Vec<V>* v, V* to, int64_t stride, const TilePlace& at) {
  constexpr int L = kLanes<V>;
  const auto own = Pieces<L>::own(at);
#pragma GCC unroll 16
  for (int r = 0; r < L; r++) store_part_as(v[r], to, own.place(r, stride), own.begin[r], own.end[r]);
  if (at.rows_above == 0) return;
  const auto above = Pieces<L>::above(at);
#pragma GCC unroll 16
  for (int r = 1; r < L; r++) store_part_as(v[r], to, above.place(r, stride), above.begin[r], above.end[r]);
}
// Stores a tile of gradients to rows `stride` apart; null: a tile of zeros.
template <class V, class T>
[[gnu::noinline]] void store_tile(const Vec<V>* tile, void* data, int64_t stride, const TilePlace& at) {
  constexpr int L = kLanes<V>;
  Vec<V> v[L];
#pragma GCC unroll 16
  for (int k = 0; k < L; k++) v[k] = tile ? tile[k] : Vec<V>(V(0));
  if (tile) transpose(v);
  T* const to = static_cast<T*>(data);
  if (is_whole<L>(at)) {
    T* const first = to + at.row * stride + at.first + at.column;
    const Ahead ahead = Ahead::of<L>(at, -1);
    const uintptr_t next = reinterpret_cast<uintptr_t>(first) +
                           uintptr_t((ahead.rows * stride + ahead.columns) * int64_t(sizeof(T)));
#pragma GCC unroll 16
    for (int r = 0; r < L; r++) {
      store_part_as(v[r], first + r * (stride - 1), 0, 0, L);
      __builtin_prefetch(
          reinterpret_cast<const void*>(next + uintptr_t(r * (stride - 1) * int64_t(sizeof(T)))), 1);
    }
    return;
  }
  if (is_turn<L>(at)) {
    const int padding = int(at.pitch - at.m);
    const bool starts = at.rows == L, ends = at.rows_above == L;
    T* const data_of = to + at.row * stride;
#pragma GCC unroll 16
    for (int r = 0; r < L; r++) {
      if (starts) store_part_as(v[r], data_of + r * stride, -r, r, L);
      if (ends && r > padding) store_part_as(v[r], data_of + (r - L) * stride, at.pitch - r, 0, r - padding);
    }
    return;
  }
  if (at.inside) fetch_ahead<L>(static_cast<const T*>(data), stride, at, -1);
  if constexpr (std::is_same_v<T, V>)
    if (at.inside) return store_cut_tile(v, to, stride, at);
  over_pieces<L>(at, [&](int r, int64_t row, int64_t first, int begin, int end) {
    store_part_as(v[r], to + row * stride, first, begin, end);
  });
}
template <class V>
using StoreTile = void (*)(const Vec<V>*, void*, int64_t, const TilePlace&);
template <class V>
SOFTDP_FN StoreTile<V> tile_storer(Type type) {
  return with_type(type, [](auto t) -> StoreTile<V> { return store_tile<V, decltype(t)>; });
}

// Adds a tile's cells to the sums of their columns, the lowest row first.
template <class V>
[[gnu::noinline]] void add_columns(const Vec<V>* tile, double* sums, const TilePlace& at) {
  constexpr int L = kLanes<V>;
  Vec<V> v[L];
  for (int k = 0; k < L; k++) v[k] = tile[k];
  transpose(v);
  over_pieces<L>(at, [&](int r, int64_t, int64_t first, int begin, int end) {
    for (int k = begin; k < end; k++) sums[first + k] += double(v[r].x[k]);
  });
}

}  // namespace softdp::cpu::SOFTDP_ISA
