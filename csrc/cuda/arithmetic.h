// The arithmetic of smooth_max.h on a GPU.
//
// float: an input x is split by an fma of the unrounded product x * log2(e) / gamma, so that its fraction is
// exact; |x| log2(e) / gamma must stay below 2^22. What lies above spoils its pair (NaN), what lies below
// counts as -inf, and where that leaves no path the pair is NaN (hides_a_score). Exponents come in two
// widths. Between chunks of kChunk steps, and from strip to strip, they have 64 bits: sums of 2^26 steps of
// two such inputs stay below what counts as -inf. Within a chunk a step changes an exponent by 2^23 at most,
// so that 32 bits relative to a base do, as long as all live exponents of the warp are within kNear of the
// base when the chunk begins (and that is looked at each time); integer adds, maxima and shuffles are then
// one instruction each.
//
// double: scalar.h's own.
#pragma once
#include <type_traits>

#include "../scalar.h"
#include "device.h"

namespace softdp::cuda {

constexpr int kChunk = 16;             // steps between two looks at mantissas and exponents
constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
constexpr int32_t kMagicBits = 0x4B400000;
constexpr float kInputLimit = 4194000.0f;  // of |x| log2(e) / gamma, just below 2^22

// 32 bits, relative to a base: kNear + kChunk * 2^23 < 2^28, so live exponents stay above kDeadNarrow and
// dead ones, at most kNothingNarrow + kChunk * 2^23, below it. A state's and two inputs' sum to -3 * 2^29 at
// least.
constexpr int32_t kNothingNarrow = -(1 << 29);
constexpr int32_t kDeadNarrow = -(1 << 28);
constexpr int64_t kNear = 1 << 26;

// log2(e) / gamma, and the inputs between which it is split
struct FloatFactor {
  float k, highest;
  SOFTDP_FN float lowest() const { return -highest; }
};
inline FloatFactor float_factor(double k) {
  constexpr double kMost = 3e38;  // just within float
  const float rounded = float(k < kMost ? k : kMost);
  const double limit = double(kInputLimit) / double(rounded);  // rounded is 0 where gamma is past float
  const float highest = float(limit < kMost ? limit : kMost);
  return {rounded, highest};
}

template <class Exponent_,
          Exponent_ kNothing_ = Exponent_(sizeof(Exponent_) == 4 ? kNothingNarrow : softdp::kNothing)>
struct DeviceFloat : ScalarCommon {
  using Value = float;
  using Exponent = Exponent_;
  using Factor = FloatFactor;
  static constexpr bool kIsNarrow = sizeof(Exponent) == 4;
  static constexpr Exponent kNothing = kNothing_;  // of an input of -inf
  static constexpr bool kAboveLast = true;         // it comes by a shuffle from another lane
  static SOFTDP_FN void split(float x, Factor f, float& p, Exponent& e) {
    const float within = fminf(fmaxf(x, f.lowest()), f.highest);  // NaN becomes lowest
    const float rounded = fmaf(within, f.k, kMagic);
    p = exp2_fast(fmaf(within, f.k, -(rounded - kMagic)));
    e = x > f.lowest() ? Exponent(bit_cast<int32_t>(rounded) - kMagicBits) : kNothing;
  }
  static SOFTDP_FN bool too_large(float x, Factor f) { return !(x <= f.highest); }
  static SOFTDP_FN float scaled(float p, Exponent d) {
    const int32_t within = d > -127 ? int32_t(d) : -127;
    return p * bit_cast<float>((within + 127) << 23);
  }
  static SOFTDP_FN void normalize(float& p, Exponent& e) {
    const int32_t biased = (bit_cast<int32_t>(p) >> 23) & 255;  // p > 0, or NaN, which stays NaN
    p *= bit_cast<float>(int32_t(uint32_t(254 - biased) << 23));
    e += biased - 127;
  }
  static SOFTDP_FN Exponent bounded(Exponent e) { return kIsNarrow ? max(e, kNothing) : e; }
  static SOFTDP_FN Exponent settled(Exponent e) {
    return e > (kIsNarrow ? Exponent(kDeadNarrow) : Exponent(kDead)) ? e : kNothing;
  }
  // With a Newton step: an error of an ulp in the weights would add up along a path.
  static SOFTDP_FN float reciprocal(float x) {
    const float r = reciprocal_fast(x);
    return fmaf(r, fmaf(-x, r, 1.0f), r);
  }
  static SOFTDP_FN float muladd(float a, float b, float c) { return fmaf(a, b, c); }
};

// A state at rest, between chunks and from strip to strip, is Wide's. Narrow serves the steps of a chunk.
template <class V, bool kSoft>
struct Maxima;
template <>
struct Maxima<float, true> {
  using Wide = SmoothMax<DeviceFloat<int64_t>>;
  static constexpr bool kIsSoft = true;
  using Narrow = SmoothMax<DeviceFloat<int32_t>>;
  static constexpr bool kHasNarrow = true;
  static FloatFactor factor(double k) { return float_factor(k); }
  // What a score's log2 is measured in: that of the kernel's own factor, which is rounded to float.
  static double unit(double k) { return 1 / (k < 1e-37 ? k : double(float_factor(k).k)); }
};
template <>
struct Maxima<double, true> {
  using Wide = SmoothMax<Scalar<double>>;
  static constexpr bool kIsSoft = true;
  using Narrow = Wide;
  static constexpr bool kHasNarrow = false;
  static double factor(double k) { return k; }
  static double unit(double k) { return 1 / k; }
};
// gamma = 0: plain numbers, in double so that long sums of float scores stay exact.
template <class V>
struct Maxima<V, false> {
  using Wide = HardMax<Scalar<double>>;
  static constexpr bool kIsSoft = false;
  using Narrow = Wide;
  static constexpr bool kHasNarrow = false;
  static double factor(double) { return 0; }
  static double unit(double) { return 1; }
};

// The larger of two numbers, NaN where one is; float's is device.h's.
SOFTDP_DEVICE double max_or_nan(double a, double b) {
  return b > a || b != b ? b : a;
}

// ---- states ------------------------------------------------------------------------------------------

template <class State>
SOFTDP_DEVICE bool is_live(const State& s) {
  return s.e > kDead;
}
SOFTDP_DEVICE bool is_live(double) {
  return true;
}
template <class State>
SOFTDP_DEVICE double value_of(const State& s, double unit) {
  return is_live(s) ? (log2(double(s.p)) + double(s.e)) * unit : -ScalarCommon::kInfinity;
}
SOFTDP_DEVICE double value_of(double s, double) {
  return s;
}

// Where no path arrives.
template <class State>
SOFTDP_DEVICE State dead_state() {
  if constexpr (std::is_same_v<State, double>)
    return -ScalarCommon::kInfinity;
  else if constexpr (sizeof(State::e) == sizeof(int32_t))
    return {1, kNothingNarrow};
  else
    return {1, kNothing};
}

template <class State>
SOFTDP_DEVICE State shuffle_up_state(const State& s) {
  State up;
  up.p = shuffle_up(s.p);
  up.e = shuffle_up(s.e);
  return up;
}
SOFTDP_DEVICE double shuffle_up_state(double s) {
  return shuffle_up(s);
}

// Narrow states and back. The exponents of live ones are within kNear of 0.
template <class Narrow, class Wide>
SOFTDP_DEVICE typename Narrow::State narrowed(typename Wide::State s) {
  return {s.p, is_live(s) ? int32_t(s.e) : kNothingNarrow};
}
template <class Narrow, class Wide>
SOFTDP_DEVICE typename Wide::State widened(typename Narrow::State s) {
  Narrow::Arithmetic::normalize(s.p, s.e);
  return {s.p, s.e > kDeadNarrow ? int64_t(s.e) : kNothing};
}

}  // namespace softdp::cuda
