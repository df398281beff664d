// The arithmetic of smooth_max.h on L pairs or rows at once, with three ranges.
//
// Exponents are whole numbers in the values' own type, so that no conversion stands between an exponent and a
// mantissa. They are exact below 2^24 in float and 2^53 in double. The exponent of a dead state is so far
// below all others that a live exponent added to it is lost in rounding.
//
// float: score log2(e) / gamma must lie within 2^17, and a live state within 2^22 at the start of a block of
// kLanes<float> steps. Both are checked: inputs as they are loaded, states once a block. A pair past these
// limits is swept again with more range. A state is checked after 31 steps at the latest: it stays below
// 1.5 * 2^23.
//
// float with exponents in int32: inputs within 2^20 and states within 2.5e8; 31 steps of two inputs add
// 6.5e7. Mantissas have the same bits as above. Differences of two exponents stay below 2^31.
//
// double, for scores of any type: inputs within 2^47 and states within 2^48. A pair past these limits is
// swept with gamma 0: gamma is then less than the rounding of the sums.
#pragma once
#include "../problem.h"
#include "simd.h"

namespace softdp::cpu::SOFTDP_ISA {

template <class T>
using Integer = typename IntegerOf<T>::Type;

// x k - whole, without rounding the product. `whole` is x k, rounded to a whole number.
template <class T>
SOFTDP_FN Vec<T> residue(Vec<T> x, T k, Vec<T> whole) {
#if defined(__AVX2__)  // and FMA
  return muladd(x, Vec<T>(k), -whole);
#else
  if constexpr (sizeof(T) == 4) {
    Vec<T> r;  // a float's products are exact in double
    for (int i = 0; i < kLanes<T>; i++) r.x[i] = T(double(x.x[i]) * double(k) - double(whole.x[i]));
    return r;
  } else {
    // Dekker's product: halves of 26 bits, whose products are exact.
    const auto high = [](Vec<T> a) {
      using Bits = Vec<int64_t>::Raw;
      return Vec<T>(typename Vec<T>::Raw(Bits(a.x) & ~((int64_t(1) << 27) - 1)));
    };
    const Vec<T> kk(k), p = x * kk, xh = high(x), xl = x - xh, kh = high(kk), kl = kk - kh;
    return (p - whole) + (((xh * kh - p) + xh * kl + xl * kh) + xl * kl);
  }
#endif
}

// 2^f for f in [-1/2, 1/2].
SOFTDP_FN Vec<float> exp2_fraction(Vec<float> f) {  // minimax, relative error 1.9e-9
  Vec<float> q(1.5345812008e-4f);
  for (float c :
       {1.3399931219e-3f, 9.6184889571e-3f, 5.5503287770e-2f, 2.4022646891e-1f, 6.9314720574e-1f, 1.0f})
    q = muladd(q, f, Vec<float>(c));
  return q;
}
SOFTDP_FN Vec<double> exp2_fraction(Vec<double> f) {  // Taylor series: the next term is below 3e-17
  Vec<double> q(1.3691488853904128e-12);
  for (double c :
       {2.5678435993488205e-11, 4.4455382718708114e-10, 7.0549116208011232e-09, 1.0178086009239700e-07,
        1.3215486790144309e-06, 1.5252733804059840e-05, 1.5403530393381609e-04, 1.3333558146428443e-03,
        9.6181291076284772e-03, 5.5504108664821580e-02, 2.4022650695910071e-01, 6.9314718055994531e-01, 1.0})
    q = muladd(q, f, Vec<double>(c));
  return q;
}

// log2 of a normal positive number m 2^exponent, where m lies between the roots of 1/2 and 2:
//   exponent + 2 atanh((m - 1) / (m + 1)) / ln 2
SOFTDP_FN Vec<double> log2_of(Vec<double> x) {
  using Bits = Vec<int64_t>;
  constexpr int64_t kRootOfHalf = 0x3FE6A09E667F3BCD, kBias = 1023, kBits = 52;
  const Bits exponent =
      shifted_right(bits_as<int64_t>(x) + Bits((kBias << kBits) - kRootOfHalf), kBits) - Bits(kBias);
  const Vec<double> m = bits_as<double>(bits_as<int64_t>(x) - shifted_left(exponent, kBits)), one(1.0),
                    t = (m - one) / (m + one), square = t * t;
  Vec<double> series(2 * kLog2e / 21);
#pragma GCC unroll 16
  for (int k = 19; k > 0; k -= 2) series = muladd(series, square, Vec<double>(2 * kLog2e / k));
  return muladd(series, t, rounded(exponent));
}

template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int kMantissaBits = 23, kBias = 127;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23
  static constexpr int32_t kRoundBits = 0x4B400000;
};
template <>
struct Format<double> {
  static constexpr int kMantissaBits = 52, kBias = 1023;
  static constexpr double kRound = softdp::kRound;
};

// The range of exponents, by the type that they are kept in.
template <class E>
struct Range;
template <>
struct Range<float> {
  static constexpr float kNothing = -0x1p60f, kDead = -0x1p40f, kNear = 0x1p22f;
  static constexpr double kLargestInput = 0x1p17;
};
template <>
struct Range<int32_t> {
  static constexpr int32_t kNothing = -700000000, kDead = -400000000, kNear = 250000000;
  static constexpr double kLargestInput = 0x1p20;
};
template <>
struct Range<double> {
  static constexpr double kNothing = -0x1p200, kDead = -0x1p60, kNear = 0x1p48;
  static constexpr double kLargestInput = 0x1p47;
};

// k is log2(e) / gamma. Scores between `lowest` and `highest` are split; a score below counts as -inf.
template <class T>
struct FactorOf {
  T k, lowest, highest;
  double unit;  // a score is unit * log2 of its exponential
  T sign = 1;   // the sign that scores are read with: -1 for costs
};

// E is the type that exponents are kept in: T or int32_t.
template <class T, class E = T>
struct Lanes {
  using Value = Vec<T>;
  using Exponent = Vec<E>;
  using Mask = typename Value::Mask;
  using F = Format<T>;
  using R = Range<E>;
  static constexpr bool kWhole = std::is_same_v<E, int32_t>;
  using Factor = FactorOf<T>;
  static constexpr bool kAboveLast = true;  // a state from above comes by a shuffle
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static Factor factor(double gamma) {
    const double k = kLog2e / gamma, most = std::numeric_limits<T>::max();
    const T rounded = T(k < most ? k : most);
    const double highest = R::kLargestInput / double(rounded);  // rounded is 0 where gamma is past float
    const T limit = T(highest < most ? highest : most);
    return {rounded, -limit, limit, sizeof(T) == 8 ? gamma / kLog2e : 1 / double(rounded)};
  }
  static Factor whole() {  // for HardMax: takes all finite scores
    constexpr T most = std::numeric_limits<T>::max();
    return {T(0), -most, most, 1};
  }
  static SOFTDP_FN void split(Value x, Factor f, Value& p, Exponent& e) {
    using cpu::SOFTDP_ISA::max;
    if constexpr (sizeof(T) == 4) {
      // All scores were checked. One that is not within the range is -inf. Its fraction is NaN, for which max
      // returns its other argument. In a group other scores can come too: their results are discarded.
      const Value whole = muladd(x, Value(f.k), Value(F::kRound)) - Value(F::kRound);
      p = exp2_fraction(max(residue(x, f.k, whole), Value(T(-1))));
      const Value within = max(whole, Value(T(R::kNothing)));
      if constexpr (kWhole)
        e = truncated(within);
      else
        e = within;
    } else {
      const Value lowest(f.lowest);
      // NaN becomes `lowest`, and a score that is too large becomes `highest`: the results are finite.
      split_finite(cpu::SOFTDP_ISA::min(max(x, lowest), Value(f.highest)), f, p, e);
      e = cpu::SOFTDP_ISA::select(x > lowest, e, Exponent(R::kNothing));
    }
  }
  // The same where all scores are within the range.
  static SOFTDP_FN void split_finite(Value x, Factor f, Value& p, Exponent& e) {
    const Value sum = muladd(x, Value(f.k), Value(F::kRound)), whole = sum - Value(F::kRound);
    if constexpr (kWhole)
      e = bits_as<E>(sum) - Exponent(F::kRoundBits);
    else
      e = whole;
    p = exp2_fraction(residue(x, f.k, whole));
  }
  static SOFTDP_FN Value scaled(Value p, Exponent d) {
#if defined(__AVX512F__)
    if constexpr (kWhole)
      return Value(typename Value::Raw(_mm512_scalef_ps(p.x, rounded(d).x)));
    else if constexpr (sizeof(T) == 4)
      return Value(typename Value::Raw(_mm512_scalef_ps(p.x, d.x)));
    else
      return Value(typename Value::Raw(_mm512_scalef_pd(p.x, d.x)));
#else
    // Where the exponent is no integer yet, adding kRound puts it into the low bits.
    const Exponent within = cpu::SOFTDP_ISA::max(d, Exponent(E(-F::kBias))) +
                            Exponent(kWhole ? E(F::kBias) : E(F::kRound + T(F::kBias)));
    return p * bits_as<T>(shifted_left(bits_as<Integer<T>>(within), F::kMantissaBits));
#endif
  }
  static SOFTDP_FN void normalize(Value& p, Exponent& e) {
    using Bits = Vec<Integer<T>>;
    const Bits biased = shifted_right(bits_as<Integer<T>>(p), F::kMantissaBits);  // p > 0
    p = p * bits_as<T>(shifted_left(Bits(Integer<T>(2 * F::kBias)) - biased, F::kMantissaBits));
    const Bits more = biased - Bits(Integer<T>(F::kBias));
    if constexpr (kWhole)
      e = e + more;
    else
      e = e + rounded(more);
  }
  static SOFTDP_FN Exponent bounded(Exponent e) {
    if constexpr (kWhole)
      return cpu::SOFTDP_ISA::max(e, Exponent(R::kNothing));
    else
      return e;
  }
  static SOFTDP_FN Exponent settled(Exponent e) {
    return cpu::SOFTDP_ISA::select(e > Exponent(R::kDead), e, Exponent(R::kNothing));
  }
  // The live exponents that are too far from 0 for the steps of the next block.
  static SOFTDP_FN Mask strays(Exponent e) {
    return (e > Exponent(R::kNear)) | ((e < Exponent(-R::kNear)) & (e > Exponent(R::kDead)));
  }
  static SOFTDP_FN Value reciprocal(Value x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
      // The Newton step is needed: with an error of one ulp a recurring weight would drift.
      const Value r(typename Value::Raw(_mm512_rcp14_ps(x.x)));
      const Value off(typename Value::Raw(_mm512_fnmadd_ps(x.x, r.x, Value(T(1)).x)));
      return muladd(r, off, r);
    }
#endif
    return Value(T(1)) / x;
  }
  static SOFTDP_FN Value muladd(Value a, Value b, Value c) { return cpu::SOFTDP_ISA::muladd(a, b, c); }
  template <class U>
  static SOFTDP_FN Vec<U> max(Vec<U> a, Vec<U> b) {
    return cpu::SOFTDP_ISA::max(a, b);
  }
  template <class U>
  static SOFTDP_FN Vec<U> select(typename Vec<U>::Mask m, Vec<U> a, Vec<U> b) {
    return cpu::SOFTDP_ISA::select(m, a, b);
  }
};

// The functions that recurrence.h packs weights with.
template <class T>
SOFTDP_FN Vec<T> choose(typename Vec<T>::Mask condition, Vec<T> a, Vec<T> b) {
  return select(condition, a, b);
}
template <class T>
SOFTDP_FN typename Vec<T>::Mask is_zero(Vec<T> x) {
  return x == Vec<T>(T(0));
}
template <class T>
SOFTDP_FN Vec<T> where(typename Vec<T>::Mask flag, Vec<T> a, Vec<T> b) {
  return select(flag, a, b);
}
template <class T>
SOFTDP_FN Vec<T> lesser(Vec<T> a, Vec<T> b) {
  return min(a, b);
}

}  // namespace softdp::cpu::SOFTDP_ISA
