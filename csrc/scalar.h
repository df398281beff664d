// The arithmetic of smooth_max.h on plain double, with 64-bit exponents.
//
// Range of score log2(e) / gamma: an input above 2^28 makes its pair NaN, and an input below -2^50 counts as
// -inf. A step adds two inputs. 2^20 steps therefore stay below 2^49, and live and dead exponents do not
// meet.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "recurrence.h"

namespace softdp {

constexpr double kLargest = 268435456.0;           // 2^28
constexpr int64_t kNothing = -(int64_t(1) << 50);  // the exponent of exp(-inf)
constexpr int64_t kDead = -(int64_t(1) << 49);     // a state with an exponent below this is -inf

template <class To, class From>
SOFTDP_FN To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// Adding 1.5 * 2^52 rounds a double to a whole number.
constexpr double kRound = 6755399441055744.0;

template <class T>
struct Scalar;

struct ScalarCommon {
  using Exponent = int64_t;
  using Mask = bool;
  using Factor = double;                     // log2(e) / gamma
  static constexpr bool kAboveLast = false;  // a row is swept from left to right
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static SOFTDP_FN int64_t bounded(int64_t e) { return e; }
  static SOFTDP_FN int64_t settled(int64_t e) { return e > kDead ? e : kNothing; }
  template <class T>
  static SOFTDP_FN T reciprocal(T x) {
    return T(1) / x;
  }
  template <class T>
  static SOFTDP_FN T muladd(T a, T b, T c) {
    return a * b + c;
  }
  template <class T>
  static SOFTDP_FN T max(T a, T b) {
    return a < b ? b : a;
  }
  template <class T>
  static SOFTDP_FN T select(bool m, T a, T b) {
    return m ? a : b;
  }
  // Clamps what too_large reports: the score of that pair will be NaN, and its other numbers stay finite. The
  // order of the comparisons takes NaN to kNothing.
  static SOFTDP_FN double clamped(double product) {
    double above = product > double(kNothing) ? product : double(kNothing);
    return above < kLargest ? above : kLargest;
  }
};

template <>
struct Scalar<double> : ScalarCommon {
  using Value = double;
  static SOFTDP_FN void split(double x, double k, double& p, int64_t& e) {
    const double product = x * k, within = clamped(product), whole = std::rint(within);
    e = int64_t(whole);
    // An fma of the unrounded product keeps the fraction exact where the product is large.
    p = std::exp2(within == product ? std::fma(x, k, -whole) : 0.0);
  }
  static SOFTDP_FN bool too_large(double x, double k) { return !(x * k <= kLargest); }
  static SOFTDP_FN double scaled(double p, int64_t d) {
    return p * (d < -1022 ? 0.0 : bit_cast<double>((d + 1023) << 52));
  }
  static SOFTDP_FN void normalize(double& p, int64_t& e) {
    int64_t biased = bit_cast<int64_t>(p) >> 52;  // p > 0
    p *= bit_cast<double>(int64_t(uint64_t(2046 - biased) << 52));
    e += biased - 1023;
  }
};

}  // namespace softdp
