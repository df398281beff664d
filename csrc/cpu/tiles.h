// How scores come to the lanes and gradients leave them. At step t lane r is at column t - r of row r: a tile
// of L steps is L neighbouring columns of each row, a row's one to the left of those of the row above, and a
// transposition.
#pragma once
#include "half.h"
#include "kernels.h"
#include "lanes.h"

namespace softdp::cpu::SOFTDP_ISA {

// ---- elements ------------------------------------------------------------------------------------------

// A pointer's L elements, as V.
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
// Parts of vectors, as simd.h's.
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
    if (end - begin == L)
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

// ---- stages --------------------------------------------------------------------------------------------

SOFTDP_FN int clamped(int64_t x, int low, int high) {
  return x < low ? low : x > high ? high : int(x);
}

// The part of a row's window, from column `first` on, that lies within m columns.
struct Window {
  int begin, end;
  SOFTDP_FN Window(int64_t first, int64_t m, int L)
      : begin(clamped(-first, 0, L)), end(clamped(m - first, 0, L)) {}
};

// What the scores of a stage do to their pair.
struct Findings {
  bool spoils = false;  // a NaN, or a score above what the arithmetic takes
  bool hides = false;   // a finite one below it
};
template <class V>
SOFTDP_FN void look_at(const V* scores, int count, const typename Lanes<V>::Factor& f, Findings& found) {
  const Vec<V> highest(f.highest), lowest(f.lowest), nothing(-std::numeric_limits<V>::infinity());
  typename Vec<V>::Mask spoils = {}, hides = {};
  for (int k = 0; k < count; k += kLanes<V>) {
    const Vec<V> v = Vec<V>::load(scores + k);
    spoils |= ~(v <= highest);
    hides |= (v < lowest) & (v > nothing);
  }
  found.spoils = found.spoils || any(spoils);
  found.hides = found.hides || any(hides);
}

// A band's rows in a table.
struct Rows {
  const void* data;
  int64_t row, column;  // strides
};

// kWindow steps of a strip: row r holds columns t0 - r, t0 - r + 1, ... Rows are copied here a piece at a
// time, converted and looked at, so that each cache line of a table is touched once; tables whose rows lie a
// power of two apart would otherwise throw each other out of the cache. The pitch spreads the rows over its
// sets.
constexpr int kWindow = 128;
template <class V>
struct Stage {
  static constexpr int kPitch = kWindow + kVectorBytes / int(sizeof(V));
  alignas(kVectorBytes) V rows[kLanes<V>][kPitch];
};

// Steps t0 .. t0 + steps - 1; 0 beyond the columns and the rows.
template <class V, class T>
[[gnu::noinline]] void fill_stage(const Rows& from, int rows, int64_t t0, int steps, int64_t m,
                                  const typename Lanes<V>::Factor& f, Stage<V>& stage, Findings& found) {
  constexpr int L = kLanes<V>;
  using I = Integer<V>;
  Vec<I> largest(I(0));  // magnitudes as bits, in whose order infinity and NaN come last
  for (int r = 0; r < L; r++) {
    V* const to = stage.rows[r];
    const Window in(t0 - r, m, steps);
    const int begin = r < rows ? in.begin : steps, end = r < rows ? in.end : steps;
    const T* const row = static_cast<const T*>(from.data) + r * from.row;
    const int64_t first = (t0 - r) * from.column;
    // Whole vectors of the stage, which a tile can then load as they were stored.
    for (int k = 0; k < steps; k += L) {
      const int low = clamped(begin - k, 0, L), high = clamped(end - k, 0, L);
      Vec<V> v;
      if (from.column == 1) {
        v = high - low == L ? load_as<V>(row + (first + k)) : load_part_as<V>(row, first + k, low, high);
      } else {
        T buffer[L] = {};
        for (int i = low; i < high; i++) buffer[i] = row[first + (k + i) * from.column];
        v = load_as<V>(buffer);
      }
      v.store(to + k);
      largest = max(largest, magnitude_bits(v));
    }
  }
  // Minus infinity is looked at once more, though it is welcome.
  const V limit = f.highest < -f.lowest ? f.highest : -f.lowest;
  if (any(largest > Vec<I>(bit_cast<I>(limit))))
    for (int r = 0; r < rows; r++) look_at(stage.rows[r], steps, f, found);
}
template <class V>
using FillStage = void (*)(const Rows&, int, int64_t, int, int64_t, const typename Lanes<V>::Factor&,
                           Stage<V>&, Findings&);
template <class V>
SOFTDP_FN FillStage<V> stage_filler(Type type) {
  return with_type(type, [](auto t) -> FillStage<V> { return fill_stage<V, decltype(t)>; });
}

// Sets out to fetch a stage into the cache, a few rows with each of the window's blocks: the copy itself
// would wait for memory, and the rows are too many and their pieces too short for the machine to foresee
// them. The addresses need not exist.
template <int L, int kWrite>
SOFTDP_FN void prefetch_rows(uintptr_t data, int64_t pitch_bytes, int64_t t0, int bytes, int in_window) {
  constexpr int kBlocks = kWindow / L, kLine = 64;
  const int block = in_window / L;
  for (int r = block * L / kBlocks; r < (block + 1) * L / kBlocks; r++) {
    const uintptr_t from = data + uintptr_t(r * pitch_bytes + (t0 - r) * bytes);
    for (int at = 0; at <= kWindow * bytes; at += kLine)
      __builtin_prefetch(reinterpret_cast<const void*>(from + uintptr_t(at)), kWrite, 2);
  }
}

// L steps of a stage, a vector each, and back.
template <class V>
SOFTDP_FN void load_tile(const Stage<V>& stage, int step, Vec<V>* tile) {
#pragma GCC unroll 16
  for (int r = 0; r < kLanes<V>; r++) tile[r] = Vec<V>::load(stage.rows[r] + step);
  transpose(tile);
}
template <class V>
SOFTDP_FN void store_tile(Vec<V>* tile, int step, Stage<V>& stage) {
  transpose(tile);
#pragma GCC unroll 16
  for (int r = 0; r < kLanes<V>; r++) tile[r].store(stage.rows[r] + step);
}

// A stage's cells to their rows of `pitch` columns.
template <class V, class T>
[[gnu::noinline]] void write_stage(const Stage<V>& stage, void* data, int64_t pitch, int rows, int64_t t0,
                                   int steps, int64_t m) {
  constexpr int L = kLanes<V>;
  for (int r = 0; r < rows; r++) {
    const Window in(t0 - r, m, steps);
    const int64_t first = r * pitch + (t0 - r);
    for (int k = in.begin; k < in.end; k += L)
      store_part_as(Vec<V>::load(stage.rows[r] + k), static_cast<T*>(data), first + k, 0,
                    in.end - k < L ? in.end - k : L);
  }
}
template <class V>
using WriteStage = void (*)(const Stage<V>&, void*, int64_t, int, int64_t, int, int64_t);
template <class V>
SOFTDP_FN WriteStage<V> stage_writer(Type type) {
  return with_type(type, [](auto t) -> WriteStage<V> { return write_stage<V, decltype(t)>; });
}

// Adds a stage's cells to the sums of their columns.
template <class V>
[[gnu::noinline]] void add_columns(const Stage<V>& stage, double* sums, int rows, int64_t t0, int steps,
                                   int64_t m) {
  for (int r = rows - 1; r >= 0; r--) {
    const Window in(t0 - r, m, steps);
    for (int k = in.begin; k < in.end; k++) sums[t0 - r + k] += double(stage.rows[r][k]);
  }
}

}  // namespace softdp::cpu::SOFTDP_ISA
