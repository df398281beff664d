// The weights of cells as they are kept between the sweeps, L cells at a time.
//
// After a sweep in float, the pair's saved state keeps four bytes a cell: the float of OneWeight, or the
// insert and delete of TwoWeights in 16 bits each. Their unit is 1/65535, and match is 1 minus both.
//
// Rounding these to the nearest number would bias a gradient. A small weight that recurs along a path would
// have the same error each time: 3e-4 of a gradient after 1024 steps and 0.1 after 16384. Therefore a number
// between -1/2 and 1/2 is added before rounding, the addend of the cell's antidiagonal. Addends are multiples
// of the golden section less their whole parts. They are spread evenly along every row and column, and every
// second one along a diagonal, so a weight that recurs is right on average. The addend is added to insert and
// subtracted from delete: it then never takes their sum above 1.
//
// After a sweep in double, or of a small pair, the weights are kept in full (recurrence.h), in the cache, for
// the one band that is swept again.
#pragma once
#include "lanes.h"

namespace softdp::cpu::SOFTDP_ISA {

using Words = Vec<int32_t>;

// How the weights of cell (i, j) are rounded; diagonal = i + j. The sum of a weight and its addend has 24
// bits. In one of some hundred cases it lies halfway between two numbers, and where a weight recurs, always
// at the same cells. It then goes to the even number of the two or, in every second cell, to the odd one.
constexpr uint32_t kGolden = 2654435769u;  // in units of 2^-32
SOFTDP_FN float addend_of(int64_t diagonal) {
  return 0x1p-32f * float(int32_t((uint32_t(diagonal) * kGolden & 0xFFFFFE00u) | 0x100u));  // never 1/2
}
SOFTDP_FN int oddness_of(int64_t diagonal) {
  return int((uint32_t(diagonal) * kGolden >> 5) & 1);
}
constexpr int32_t kOne = 65535;
struct Round {            // rounds to whole numbers in the low bits
  float number;           // the number to add
  int32_t all, complete;  // bits of kOne; complete - bits of w: bits of kOne - w
  int32_t offset;         // of two such numbers in one word
};
constexpr Round make_round(int to_odd) {
  const int64_t base = Format<float>::kRoundBits + to_odd;
  return {Format<float>::kRound + float(to_odd), int32_t(base + kOne), int32_t(uint32_t(2 * base + kOne)),
          int32_t(uint32_t(base * 65537))};
}
constexpr Round kRounds[2] = {make_round(0), make_round(1)};

struct Rounding {
  Vec<float> addend, number;
  Words all, complete, offset;
  SOFTDP_FN Rounding() = default;
  SOFTDP_FN Rounding(float addend, int oddness)
      : addend(addend),
        number(kRounds[oddness].number),
        all(kRounds[oddness].all),
        complete(kRounds[oddness].complete),
        offset(kRounds[oddness].offset) {}
  SOFTDP_FN explicit Rounding(int64_t diagonal) : Rounding(addend_of(diagonal), oddness_of(diagonal)) {}
};
SOFTDP_FN Rounding select(typename Words::Mask m, const Rounding& a, const Rounding& b) {
  Rounding r;
  r.addend = select(m, a.addend, b.addend), r.number = select(m, a.number, b.number);
  r.all = select(m, a.all, b.all), r.complete = select(m, a.complete, b.complete);
  r.offset = select(m, a.offset, b.offset);
  return r;
}

// Weights in four bytes.
template <class Packing>
struct Packed;

// The weight of a forbidden move is exactly 0: match, insert and delete.
template <>
struct Packed<TwoWeights> {
  static SOFTDP_FN Words pack(const Weights<Vec<float>>& w, const Rounding& r) {
    const Vec<float> one(float{kOne}), zero(0.0f);
    const auto no_match = w.match == zero;
    const Words insert = bits_as<int32_t>(muladd(w.insert, one, r.addend) + r.number),
                del = bits_as<int32_t>(muladd(w.del, one, -r.addend) + r.number);
    const Words most = select(no_match & (w.del == zero), r.all, min(insert, r.all));
    const Words rest = r.complete - most;
    return most + shifted_left(select(no_match, rest, min(del, rest)), 16) - r.offset;
  }
  // Weights times kOne.
  static SOFTDP_FN Weights<Vec<float>> unpack(Words words) {
    const Words insert = words & Words(kOne), del = shifted_right_unsigned(words, 16);
    return {rounded(Words(kOne) - insert - del), rounded(insert), rounded(del)};
  }
  // The adjoint in the unit of the weights. Multiplying the weights instead would round them, and the error
  // of a weight that recurs would add up along a path.
  static SOFTDP_FN Vec<float> share(Vec<float> a) { return a * Vec<float>(1.0f / kOne); }
};

template <>
struct Packed<OneWeight> {
  static SOFTDP_FN Words pack(const Weights<Vec<float>>& w, const Rounding&) {
    return bits_as<int32_t>(OneWeight::pack(w).number[0]);
  }
  static SOFTDP_FN Weights<Vec<float>> unpack(Words words) {
    return OneWeight::unpack(OneWeight::Saved<Vec<float>>{{bits_as<float>(words)}});
  }
  static SOFTDP_FN Vec<float> share(Vec<float> a) { return a; }
};

// The weights of L cells, as a sweep of values V keeps them: packed, or in full.
template <class Packing, class V, bool kPacks_>
struct Kept {
  static constexpr bool kPacks = kPacks_;
  static constexpr int kNumbers = kPacks ? 1 : Packing::kNumbers;
  using Whole = typename Packing::template Saved<Vec<V>>;
  using Type = std::conditional_t<kPacks, Words, Whole>;
  using Element = std::conditional_t<kPacks, int32_t, V>;  // the type in memory
  static constexpr int kStep = kNumbers * kLanes<V>;       // Elements of L cells
  template <class Shares>
  static SOFTDP_FN Type keep(const Shares& w, const Rounding& rounding) {
    if constexpr (kPacks)
      return Packed<Packing>::pack(w, rounding);
    else
      return Packing::pack(w);
  }
  static SOFTDP_FN void store(const Type& kept, Element* to) {
    if constexpr (kPacks)
      kept.store(to);
    else
      for (int i = 0; i < kNumbers; i++) kept.number[i].store(to + i * kLanes<V>);
  }
  // The weights of the first lanes, and 0.
  static SOFTDP_FN Type first(const Type& kept, int count) {
    if constexpr (kPacks)
      return select(lane_numbers<int32_t>() < Words(count), kept, Words(0));
    else
      return kept;
  }
  static SOFTDP_FN void store_part(const Type& kept, Element* to, int begin, int end) {
    if constexpr (kPacks)
      SOFTDP_ISA::store_part(kept, to, 0, begin, end);
    else
      store(kept, to);  // no other band keeps weights there
  }
  static SOFTDP_FN Type load(const Element* from) {
    if constexpr (kPacks) {
      return Words::load(from);
    } else {
      Whole whole;
      for (int i = 0; i < kNumbers; i++) whole.number[i] = Vec<V>::load(from + i * kLanes<V>);
      return whole;
    }
  }
  static SOFTDP_FN Vec<V> share(Vec<V> a) {
    if constexpr (kPacks)
      return Packed<Packing>::share(a);
    else
      return a;
  }
  static SOFTDP_FN auto weights(const Type& kept) {
    if constexpr (kPacks)
      return Packed<Packing>::unpack(kept);
    else
      return Packing::unpack(kept);
  }
};

// The shares of its adjoint that a cell hands on.
template <class R, class Value = typename R::Value>
SOFTDP_FN Adjoint<Value> adjoint_of(Value a, const typename R::Keeps::Type& kept) {
  return R::Recurrence::adjoint(a, R::Keeps::share(a), R::Keeps::weights(kept));
}
// `sum` and the share for the cell above, in one rounding: the next step waits for it.
template <class R, class Value = typename R::Value>
SOFTDP_FN Value with_above(Value a, const typename R::Keeps::Type& kept, Value sum) {
  return muladd(R::Keeps::share(a), R::Keeps::weights(kept).insert, sum);
}

}  // namespace softdp::cpu::SOFTDP_ISA
