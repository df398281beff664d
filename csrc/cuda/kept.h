// The weights of cells as they are kept between the sweeps.
//
// In float, insert and delete take 16 bits each, both in one number of four bytes. Their unit is 1/65535: the
// low half is insert, the high half is insert + delete, and match is 1 minus that. Rounding to the nearest
// would bias a gradient, for a small weight that recurs along a path would have the same error each time. So
// a number between -1/2 and 1/2 is added to both halves before they are rounded, the addend of the cell's
// antidiagonal. Addends are multiples of half the golden section less their whole parts: they are spread
// evenly along rows and columns, and most evenly along a diagonal, so that a weight that recurs is right on
// average.
//
// A forbidden move has exactly the weight 0. Where match is forbidden, insert + delete is within 0.018 units
// of 65535, since the terms, their sum and its reciprocal are rounded; so the addend shrinks with that sum,
// to 0.482 at most.
//
// The second order takes the numbers in full (recurrence.h), and so do LCS, which has one number a cell, and
// double.
#pragma once
#include "../recurrence.h"
#include "device.h"

namespace softdp::cuda {

constexpr float kOne = 65535;  // units
// How the weights of an antidiagonal are rounded: insert * unit + addend, and delete * unit more.
struct Rounding {
  float unit, addend;
};
SOFTDP_DEVICE Rounding rounding_of(int64_t diagonal) {
  constexpr uint32_t kHalfGolden = 1327217885u;  // in units of 2^-32
  constexpr float kMost = 0.4999f, kShrinks = 0.036f;
  const float addend = kMost * 0x1p-31f * float(int32_t(uint32_t(diagonal) * kHalfGolden));
  return {fmaf(addend, -kShrinks, kOne), addend};
}

template <class Packing, class V, bool kFull>
struct Kept {
  static constexpr bool kRounds = false;
  static constexpr int kNumbers = Packing::kNumbers;
  using Saved = typename Packing::template Saved<V>;
  static SOFTDP_DEVICE Saved pack(const Weights<V>& w, const Rounding&) { return Packing::pack(w); }
  static SOFTDP_DEVICE Weights<V> unpack(const Saved& saved) { return Packing::unpack(saved); }
  static SOFTDP_DEVICE V share(V a) { return a; }
  static SOFTDP_DEVICE V share_of(V a, V share_of_b) { return a + share_of_b; }
  // A verdict in place of a cell's first number, and that again: of weights it is 0 or more.
  static SOFTDP_DEVICE V marked(V verdict) { return verdict; }
  static SOFTDP_DEVICE V verdict(V number) { return number; }
};

template <>
struct Kept<TwoWeights, float, false> {
  static constexpr bool kRounds = true;
  static constexpr int kNumbers = 1;
  static constexpr float kRound =
      12582912;                             // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
  static constexpr float kWhole = 8388608;  // 2^23: its low bits are whole numbers
  static constexpr uint32_t kWholeBits = 0x4B000000;
  struct Saved {
    float number[1];  // the word's bits
  };
  static SOFTDP_DEVICE Saved pack(const Weights<float>& w, const Rounding& r) {
    const float insert = fmaf(w.insert, r.unit, r.addend), both = fmaf(w.del, r.unit, insert);
    const uint32_t low = bit_cast<uint32_t>(insert + kRound), high = bit_cast<uint32_t>(both + kRound);
    return {{bit_cast<float>((low & 0xffffu) | high << 16)}};
  }
  // Weights times kOne.
  static SOFTDP_DEVICE Weights<float> unpack(const Saved& saved) {
    const uint32_t word = bit_cast<uint32_t>(saved.number[0]);
    const float insert = bit_cast<float>((word & 0xffffu) | kWholeBits),
                both = bit_cast<float>(word >> 16 | kWholeBits);
    return {(kWhole + kOne) - both, insert - kWhole, both - insert};
  }
  // The adjoint in the unit of the weights. Multiplying the weights instead would round them, and the error
  // of a weight that recurs would add up along a path.
  static SOFTDP_DEVICE float share(float a) { return a * (1 / kOne); }
  // Of a + b, by one operation after a.
  static SOFTDP_DEVICE float share_of(float a, float share_of_b) { return fmaf(a, 1 / kOne, share_of_b); }
  // No weights have a low half above the high one.
  static constexpr uint32_t kSpoiled = 2, kNone = 1;
  static SOFTDP_DEVICE float marked(float verdict) {
    return bit_cast<float>(verdict == verdict ? kNone : kSpoiled);
  }
  static SOFTDP_DEVICE float verdict(float number) {
    const uint32_t word = bit_cast<uint32_t>(number);
    return word == kSpoiled ? NAN : word == kNone ? -1.0f : 0.0f;
  }
};

}  // namespace softdp::cuda
