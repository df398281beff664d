// Vec holds L numbers side by side. It is one value type over the compilers' vector extensions, with which
// recurrence.h computes L cells at once. This file is compiled once for each instruction set, in a namespace
// of its own (SOFTDP_ISA). Intrinsics stand only where the portable form beside them is slow.
#pragma once
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "../scalar.h"

namespace softdp::cpu::SOFTDP_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

template <class T>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  using Type = int32_t;
};
template <>
struct IntegerOf<double> {
  using Type = int64_t;
};
template <>
struct IntegerOf<int32_t> {
  using Type = int32_t;
};
template <>
struct IntegerOf<int64_t> {
  using Type = int64_t;
};

template <class T, int L>
struct RawVector {
  typedef T Type __attribute__((vector_size(L * sizeof(T))));
  typedef T Unaligned __attribute__((vector_size(L * sizeof(T)), aligned(sizeof(T)), may_alias));
};

template <class T>
struct Vec {
  static constexpr int L = kLanes<T>;
  using Element = T;
  using Raw = typename RawVector<T, L>::Type;
  using Unaligned = typename RawVector<T, L>::Unaligned;
  using Mask = typename RawVector<typename IntegerOf<T>::Type, L>::Type;  // 0 or all bits
  Raw x;

  SOFTDP_FN Vec() = default;
  SOFTDP_FN Vec(Raw raw) : x(raw) {}
  SOFTDP_FN explicit Vec(T s) : x(s - Raw{}) {}
  static SOFTDP_FN Vec load(const T* from) { return Vec(Raw(*reinterpret_cast<const Unaligned*>(from))); }
  SOFTDP_FN void store(T* to) const { *reinterpret_cast<Unaligned*>(to) = x; }

  SOFTDP_FN Vec operator-() const { return -x; }
  friend SOFTDP_FN Vec operator+(Vec a, Vec b) { return a.x + b.x; }
  friend SOFTDP_FN Vec operator-(Vec a, Vec b) { return a.x - b.x; }
  friend SOFTDP_FN Vec operator*(Vec a, Vec b) { return a.x * b.x; }
  friend SOFTDP_FN Vec operator/(Vec a, Vec b) { return a.x / b.x; }
  friend SOFTDP_FN Mask operator<(Vec a, Vec b) { return a.x < b.x; }
  friend SOFTDP_FN Mask operator>(Vec a, Vec b) { return a.x > b.x; }
  friend SOFTDP_FN Mask operator<=(Vec a, Vec b) { return a.x <= b.x; }
  friend SOFTDP_FN Mask operator>=(Vec a, Vec b) { return a.x >= b.x; }
  friend SOFTDP_FN Mask operator==(Vec a, Vec b) { return a.x == b.x; }
};

template <class T>
SOFTDP_FN Vec<T> select(typename Vec<T>::Mask m, Vec<T> a, Vec<T> b) {
  return Vec<T>(typename Vec<T>::Raw(m ? a.x : b.x));
}
// max and min return b where a or b is NaN.
template <class T>
SOFTDP_FN Vec<T> max(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return Vec<T>(typename Vec<T>::Raw(_mm512_max_ps(a.x, b.x)));
  if constexpr (std::is_same_v<T, double>) return Vec<T>(typename Vec<T>::Raw(_mm512_max_pd(a.x, b.x)));
  if constexpr (std::is_same_v<T, int32_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm512_max_epi32((__m512i)a.x, (__m512i)b.x)));
  if constexpr (std::is_same_v<T, int64_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm512_max_epi64((__m512i)a.x, (__m512i)b.x)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) return Vec<T>(typename Vec<T>::Raw(_mm256_max_ps(a.x, b.x)));
  if constexpr (std::is_same_v<T, double>) return Vec<T>(typename Vec<T>::Raw(_mm256_max_pd(a.x, b.x)));
  if constexpr (std::is_same_v<T, int32_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm256_max_epi32((__m256i)a.x, (__m256i)b.x)));
#endif
  return select(a > b, a, b);
}
template <class T>
SOFTDP_FN Vec<T> min(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return Vec<T>(typename Vec<T>::Raw(_mm512_min_ps(a.x, b.x)));
  if constexpr (std::is_same_v<T, double>) return Vec<T>(typename Vec<T>::Raw(_mm512_min_pd(a.x, b.x)));
  if constexpr (std::is_same_v<T, int32_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm512_min_epi32((__m512i)a.x, (__m512i)b.x)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) return Vec<T>(typename Vec<T>::Raw(_mm256_min_ps(a.x, b.x)));
  if constexpr (std::is_same_v<T, double>) return Vec<T>(typename Vec<T>::Raw(_mm256_min_pd(a.x, b.x)));
  if constexpr (std::is_same_v<T, int32_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm256_min_epi32((__m256i)a.x, (__m256i)b.x)));
#endif
  return select(a < b, a, b);
}

template <class To, class T>
SOFTDP_FN Vec<To> bits_as(Vec<T> a) {
  return Vec<To>(typename Vec<To>::Raw(a.x));
}
template <class T>
SOFTDP_FN Vec<T> shifted_left(Vec<T> a, int by) {
  return Vec<T>(typename Vec<T>::Raw(a.x << by));
}
template <class T>
SOFTDP_FN Vec<T> shifted_right(Vec<T> a, int by) {
  return Vec<T>(typename Vec<T>::Raw(a.x >> by));
}

template <class T>
SOFTDP_FN Vec<T> operator&(Vec<T> a, Vec<T> b) {
  return Vec<T>(typename Vec<T>::Raw(a.x & b.x));
}
template <class T>
SOFTDP_FN Vec<T> operator|(Vec<T> a, Vec<T> b) {
  return Vec<T>(typename Vec<T>::Raw(a.x | b.x));
}
SOFTDP_FN Vec<int32_t> shifted_right_unsigned(Vec<int32_t> a, int by) {
  using Unsigned = typename RawVector<uint32_t, kLanes<int32_t>>::Type;
  return Vec<int32_t>(typename Vec<int32_t>::Raw(Unsigned(a.x) >> by));
}
SOFTDP_FN Vec<int32_t> truncated(Vec<float> a) {
  return Vec<int32_t>(__builtin_convertvector(a.x, typename Vec<int32_t>::Raw));
}
SOFTDP_FN Vec<float> rounded(Vec<int32_t> a) {
  return Vec<float>(__builtin_convertvector(a.x, typename Vec<float>::Raw));
}
SOFTDP_FN Vec<double> rounded(Vec<int64_t> a) {
  return Vec<double>(__builtin_convertvector(a.x, typename Vec<double>::Raw));
}

template <class T>
SOFTDP_FN Vec<typename IntegerOf<T>::Type> magnitude_bits(Vec<T> a) {
  using I = typename IntegerOf<T>::Type;
  return Vec<I>(typename Vec<I>::Raw(typename Vec<I>::Raw(a.x) & std::numeric_limits<I>::max()));
}

// a b + c, in one rounding where the instruction set has it. The compiler fuses no other product with a sum
// (-ffp-contract=off): a pair's bits must not depend on how the compiler arranged the code that swept it.
template <class T>
SOFTDP_FN Vec<T> muladd(Vec<T> a, Vec<T> b, Vec<T> c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::Raw(_mm512_fmadd_ps(a.x, b.x, c.x)));
  else
    return Vec<T>(typename Vec<T>::Raw(_mm512_fmadd_pd(a.x, b.x, c.x)));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::Raw(_mm256_fmadd_ps(a.x, b.x, c.x)));
  else
    return Vec<T>(typename Vec<T>::Raw(_mm256_fmadd_pd(a.x, b.x, c.x)));
#else
  return a * b + c;
#endif
}

template <class Mask>
SOFTDP_FN bool any(Mask m) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)m, (__m512i)m) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#else
  uint64_t words[kVectorBytes / 8], found = 0;
  std::memcpy(words, &m, sizeof m);
  for (uint64_t word : words) found |= word;
  return found != 0;
#endif
}

// ---- shuffles ------------------------------------------------------------------------------------------

template <class T, std::size_t... k>
SOFTDP_FN Vec<T> shuffle(Vec<T> a, Vec<T> b, std::index_sequence<k...>) {
#if defined(__clang__)
  return Vec<T>(__builtin_shufflevector(a.x, b.x, int(k)...));
#else
  return Vec<T>(__builtin_shuffle(a.x, b.x, typename Vec<T>::Mask{typename IntegerOf<T>::Type(k)...}));
#endif
}
template <class F, std::size_t... k>
constexpr auto places(F, std::index_sequence<k...>) {
  return std::index_sequence<F::from(k)...>{};
}
template <class T>
using Places = std::make_index_sequence<kLanes<T>>;

template <int L>
struct Up {  // of (first, x): the last lane of first, then x without its last
  static constexpr std::size_t from(std::size_t k) { return L - 1 + k; }
};
template <int L>
struct Down {  // of (x, last): x without its first lane, then the first of last
  static constexpr std::size_t from(std::size_t k) { return k + 1; }
};
template <class T>
SOFTDP_FN Vec<T> shifted_up(Vec<T> x, T first) {
  return shuffle(Vec<T>(first), x, places(Up<kLanes<T>>{}, Places<T>{}));
}
template <class T>
SOFTDP_FN Vec<T> shifted_down(Vec<T> x, T last) {
  return shuffle(x, Vec<T>(last), places(Down<kLanes<T>>{}, Places<T>{}));
}
template <int L, int s>
struct FirstHalves {
  static constexpr std::size_t from(std::size_t k) { return k & s ? L + k - s : k; }
};
template <int L, int s>
struct SecondHalves {
  static constexpr std::size_t from(std::size_t k) { return k & s ? L + k : k + s; }
};
template <int s, class T>
SOFTDP_FN void transpose_stage(Vec<T>* v) {
  constexpr int L = kLanes<T>;
#pragma GCC unroll 16
  for (int i = 0; i < L; i++)
    if (!(i & s)) {
      const Vec<T> a = v[i], b = v[i + s];
      v[i] = shuffle(a, b, places(FirstHalves<L, s>{}, Places<T>{}));
      v[i + s] = shuffle(a, b, places(SecondHalves<L, s>{}, Places<T>{}));
    }
  if constexpr (s > 1) transpose_stage<s / 2>(v);
}
// L rows of L become L columns.
template <class T>
SOFTDP_FN void transpose(Vec<T>* v) {
  transpose_stage<kLanes<T> / 2>(v);
}

template <class T>
SOFTDP_FN Vec<typename IntegerOf<T>::Type> lane_numbers() {
  Vec<typename IntegerOf<T>::Type> lanes;
  for (int k = 0; k < kLanes<T>; k++) lanes.x[k] = k;
  return lanes;
}

// ---- parts of vectors ----------------------------------------------------------------------------------

// Loads or stores elements begin <= k < end of the vector `offset` elements after `data`. The other lanes
// load 0. Other elements are not accessed, and their addresses need not exist.
#if defined(__AVX512F__)
SOFTDP_FN uint32_t mask_of(int begin, int end) {
  return ((1u << end) - 1) & ~((1u << begin) - 1);
}
#elif defined(__AVX2__)
alignas(64) constexpr int32_t kOnes[24] = {0,  0,  0,  0,  0, 0, 0, 0, -1, -1, -1, -1,
                                           -1, -1, -1, -1, 0, 0, 0, 0, 0,  0,  0,  0};
SOFTDP_FN __m256i mask_of(int begin, int end) {  // of 8 lanes
  const auto from = [](int k) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes + k)); };
  return _mm256_and_si256(from(8 - begin), from(16 - end));
}
#endif
template <class T>
SOFTDP_FN Vec<T> load_part(const T* data, int64_t offset, int begin, int end) {
  const T* const from =
      reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(data) + uintptr_t(offset) * sizeof(T));
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return Vec<T>(typename Vec<T>::Raw(_mm512_maskz_loadu_ps(__mmask16(mask_of(begin, end)), from)));
  if constexpr (std::is_same_v<T, double>)
    return Vec<T>(typename Vec<T>::Raw(_mm512_maskz_loadu_pd(__mmask8(mask_of(begin, end)), from)));
  if constexpr (std::is_same_v<T, int32_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm512_maskz_loadu_epi32(__mmask16(mask_of(begin, end)), from)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>)
    return Vec<T>(typename Vec<T>::Raw(_mm256_maskload_ps(from, mask_of(begin, end))));
  if constexpr (std::is_same_v<T, double>)
    return Vec<T>(typename Vec<T>::Raw(_mm256_maskload_pd(from, mask_of(2 * begin, 2 * end))));
  if constexpr (std::is_same_v<T, int32_t>)
    return Vec<T>(typename Vec<T>::Raw(_mm256_maskload_epi32(from, mask_of(begin, end))));
#endif
  alignas(kVectorBytes) T buffer[kLanes<T>] = {};
  for (int k = begin; k < end; k++) buffer[k] = from[k];
  return Vec<T>::load(buffer);
}
template <class T>
SOFTDP_FN void store_part(Vec<T> v, T* data, int64_t offset, int begin, int end) {
  T* const to = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(data) + uintptr_t(offset) * sizeof(T));
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_mask_storeu_ps(to, __mmask16(mask_of(begin, end)), v.x);
  if constexpr (std::is_same_v<T, double>)
    return _mm512_mask_storeu_pd(to, __mmask8(mask_of(begin, end)), v.x);
  if constexpr (std::is_same_v<T, int32_t>)
    return _mm512_mask_storeu_epi32(to, __mmask16(mask_of(begin, end)), (__m512i)v.x);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) return _mm256_maskstore_ps(to, mask_of(begin, end), v.x);
  if constexpr (std::is_same_v<T, double>) return _mm256_maskstore_pd(to, mask_of(2 * begin, 2 * end), v.x);
  if constexpr (std::is_same_v<T, int32_t>)
    return _mm256_maskstore_epi32(to, mask_of(begin, end), (__m256i)v.x);
#endif
  alignas(kVectorBytes) T buffer[kLanes<T>];
  v.store(buffer);
  for (int k = begin; k < end; k++) to[k] = buffer[k];
}

// The address need not exist.
template <class T>
SOFTDP_FN void prefetch(const T* data, int64_t offset) {
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(data) + uintptr_t(offset) * sizeof(T)));
}
template <class T>
SOFTDP_FN void store_last(Vec<T> v, T* data, int64_t offset) {
#if defined(__AVX512F__)
  constexpr int L = kLanes<T>;
  store_part(v, data, offset - (L - 1), L - 1, L);
#else
  data[offset] = v.x[kLanes<T> - 1];
#endif
}

}  // namespace softdp::cpu::SOFTDP_ISA
