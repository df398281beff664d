// The weights of cells as they are kept between the sweeps.
//
// In float, all three take one number of four bytes. Its low half has insert, its high half insert + delete,
// and match is 1 minus that. Their unit is 1/65535, or an eighth of that where insert + delete is below
// 1/16.1: then halves are below 2^15, and bit 15 says so. In the larger unit insert has that bit only where
// insert + delete has bit 31, for it is not more. Rounding to the nearest would bias a gradient, for a small
// weight that recurs along a path would have the same error each time. So a number between -1/2 and 1/2 is
// added to both halves before they are rounded, the addend of the cell's antidiagonal. Addends are multiples
// of half the golden section less their whole parts: they are spread evenly along rows and columns, and most
// evenly along a diagonal, so that a weight that recurs is right on average within 0.006 units. Weights that
// change slowly keep step with the addends for a while, and their errors add up meanwhile. The finer unit is
// for those.
//
// A forbidden move has exactly the weight 0. Where match is forbidden, insert + delete is within 0.006 units
// of 65535, since a reciprocal and the sum with the addend are rounded; so addends are at most 0.494.
//
// The second order takes the numbers in full (recurrence.h), and so do LCS, which has one number a cell, and
// double.
#pragma once
#include "../scalar.h"
#include "device.h"

namespace softdp::cuda {

// What is added to the numbers of an antidiagonal's cells before they are rounded.
SOFTDP_DEVICE float addend_of(int64_t diagonal) {
  constexpr uint32_t kHalfGolden = 1327217885u;  // in units of 2^-32
  constexpr float kMost = 0.494f;
  return kMost * 0x1p-31f * float(int32_t(uint32_t(diagonal) * kHalfGolden));
}

template <class Packing, class V, bool kFull>
struct Kept {
  static constexpr bool kRounds = false;
  static constexpr int kNumbers = Packing::kNumbers;
  using Saved = typename Packing::template Saved<V>;
  static SOFTDP_DEVICE Saved pack(const Weights<V>& w) { return Packing::pack(w); }
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
  static constexpr float kOne = 65535, kFiner = 8;  // units; finer ones in a unit
  static constexpr uint32_t kIsFine = 1 << 15;
  static constexpr float kFineBelow = 1 / 16.1f;  // with an addend finer units stay below 2^15
  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits.
  static constexpr uint32_t kRound = 0x4B400000;
  // 2^23, whose low bits are whole numbers, and 2^20, whose low bits are eighths.
  static constexpr uint32_t kWhole = 0x4B000000, kEighths = 0x49800000;
  struct Saved {
    float number[1];  // the word's bits
  };
  static SOFTDP_DEVICE Saved pack(const Terms<float>& t, float addend) {
    const bool is_fine = t.gaps < t.all * kFineBelow;
    const float one = is_fine ? kFiner * kOne : kOne, r = reciprocal_fast(t.all), near = r * one,
                unit = fmaf(r, fmaf(-t.all, near, one), near);  // one / all, rounded once
    const float insert = fmaf(t.insert, unit, addend), gaps = fmaf(t.gaps, unit, addend);
    const uint32_t low = is_fine ? kRound + kIsFine : kRound;
    return {{bit_cast<float>(low_halves(bit_cast<uint32_t>(insert + bit_cast<float>(low)),
                                        bit_cast<uint32_t>(gaps + bit_cast<float>(kRound))))}};
  }
  // Of weights that are 0 or 1.
  static SOFTDP_DEVICE Saved pack(const Weights<float>& w) {
    return pack({w.match, w.insert, w.del, w.insert + w.del, 1}, 0);
  }
  // Weights times kOne.
  static SOFTDP_DEVICE Weights<float> unpack(const Saved& saved) {
    const uint32_t word = bit_cast<uint32_t>(saved.number[0]);
    const uint32_t fine = word & ~(word >> 16) & kIsFine, halves = word ^ fine;
    const uint32_t zero = fine ? kEighths : kWhole;
    const float one = fine ? bit_cast<float>(kEighths) + kOne : bit_cast<float>(kWhole) + kOne;
    const float insert = bit_cast<float>((halves & 0xffffu) | zero),
                gaps = bit_cast<float>(halves >> 16 | zero);
    return {one - gaps, insert - bit_cast<float>(zero), gaps - insert};
  }
  // The adjoint in the unit of the weights. Multiplying the weights instead would round them, and the error
  // of a weight that recurs would add up along a path.
  static SOFTDP_DEVICE float share(float a) { return a * (1 / kOne); }
  // Of a + b, by one operation after a.
  static SOFTDP_DEVICE float share_of(float a, float share_of_b) { return fmaf(a, 1 / kOne, share_of_b); }
  // No weights have a low half above the high one, but for bit 15.
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
