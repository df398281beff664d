// The weights of cells as they are kept between the sweeps, L cells at a time.
//
// Of a sweep in float the pair's saved state keeps four bytes a cell. LCS: kHit, or the insert weight of a
// plateau. FSD: insert and delete in 16 bits each, in units of 1/65535, of which match is what they leave.
// Rounding to the nearest would not do: a small weight that recurs along a path would be off by the same each
// time, which is 3e-4 of a gradient after 1024 steps and 0.1 after 16384. So a number between -1/2 and 1/2 is
// added before, that of the cell's antidiagonal: multiples of the golden section less their whole parts,
// which are spread evenly along every row and column, as every second one is along a diagonal. What recurs
// comes out right on average. From the other weight it is subtracted: then their sum is never more than 1 on
// that account.
//
// Of a sweep in double, or of a small pair, the weights are kept whole, in the cache, for the one band that
// is swept again.
#pragma once
#include "lanes.h"

namespace softdp::cpu::SOFTDP_ISA {

using Words = Vec<int32_t>;

// How the weights of cell (i, j) are rounded; diagonal = i + j. A sum of a weight and its addend lies halfway
// between two places in one of some hundred cases, for it has 24 bits, and always at the same cells where a
// weight recurs. It then goes to the even number of the two or, in every second cell, to the odd one.
constexpr uint32_t kGolden = 2654435769u;  // in units of 2^-32
SOFTDP_FN float addend_of(int64_t diagonal) {
  return 0x1p-32f * float(int32_t((uint32_t(diagonal) * kGolden & 0xFFFFFE00u) | 0x100u));  // never 1/2
}
SOFTDP_FN int oddness_of(int64_t diagonal) {
  return int((uint32_t(diagonal) * kGolden >> 5) & 1);
}
constexpr int32_t kOne = 65535;
struct Round {            // to whole numbers in the low bits
  float number;           // to be added
  int32_t all, complete;  // kOne, and what with a weight's bits makes those of its complement
  int32_t offset;         // of two of them in one word
};
constexpr Round make_round(int odd) {
  const int64_t base = Format<float>::kRoundBits + odd;
  return {Format<float>::kRound + float(odd), int32_t(base + kOne), int32_t(uint32_t(2 * base + kOne)),
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

// Weights in four bytes. Match comes out exactly 0 for a move that is forbidden, and so do the others.
template <bool kLcs>
struct Packed;

template <>
struct Packed<false> {
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
};

template <>
struct Packed<true> {
  static constexpr float kHit = 2;
  static SOFTDP_FN Words pack(const Weights<Vec<float>>& w, const Rounding&) {
    const Vec<float> zero(0.0f), one(1.0f);
    const Vec<float> insert = select(w.del == zero, one, min(w.insert, one));
    return bits_as<int32_t>(select(w.match == one, Vec<float>(kHit), insert));
  }
  static SOFTDP_FN Weights<Vec<float>> unpack(Words words) {
    const Vec<float> zero(0.0f), one(1.0f), insert = bits_as<float>(words);
    const auto hit = insert > one;
    return {select(hit, one, zero), select(hit, zero, insert), select(hit, zero, one - insert)};
  }
};

// Weights of a value each; the third is what the others leave of 1, as cuda/weights.h's pack() does: what is
// forbidden is exactly 0, and match never below.
template <bool kLcs, class Value>
struct Whole {
  Value first, second;
};
template <bool kLcs, class Value>
SOFTDP_FN Whole<kLcs, Value> pack_whole(const Weights<Value>& w) {
  using V = typename Value::Element;
  const Value zero(V(0)), one(V(1));
  if constexpr (kLcs) {
    return {w.match, min(select(w.del == zero, one - w.match, w.insert), one)};
  } else {
    const auto no_match = w.match == zero;
    const Value first = min(one, select(no_match & (w.del == zero), one, w.insert)), rest = one - first;
    return {first, min(rest, select(no_match, rest, w.del))};
  }
}
template <bool kLcs, class Value>
SOFTDP_FN Weights<Value> unpack_whole(const Whole<kLcs, Value>& w) {
  const Value rest = (Value(typename Value::Element(1)) - w.first) - w.second;
  if constexpr (kLcs)
    return {w.first, w.second, rest};
  else
    return {rest, w.first, w.second};
}

// The weights of L cells, as a sweep of values V keeps them: packed, or whole.
template <bool kLcs, class V, bool kPacks_>
struct Kept {
  static constexpr bool kPacks = kPacks_;
  using Type = std::conditional_t<kPacks, Words, Whole<kLcs, Vec<V>>>;
  using Element = std::conditional_t<kPacks, int32_t, V>;     // in memory
  static constexpr int kStep = (kPacks ? 1 : 2) * kLanes<V>;  // of these
  static SOFTDP_FN Type keep(const Weights<Vec<V>>& w, const Rounding& rounding) {
    if constexpr (kPacks)
      return Packed<kLcs>::pack(w, rounding);
    else
      return pack_whole<kLcs>(w);
  }
  static SOFTDP_FN void store(const Type& kept, Element* to) {
    if constexpr (kPacks)
      kept.store(to);
    else
      kept.first.store(to), kept.second.store(to + kLanes<V>);
  }
  // Those of the first lanes, and 0.
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
      store(kept, to);  // nobody else keeps any there
  }
  static SOFTDP_FN Type load(const Element* from) {
    if constexpr (kPacks)
      return Words::load(from);
    else
      return {Vec<V>::load(from), Vec<V>::load(from + kLanes<V>)};
  }
  // Weights may come in a unit of their own, by which the adjoint is multiplied first: if the weights were,
  // the rounding of one that recurs would add up along a path.
  static SOFTDP_FN Vec<V> scaled(Vec<V> a) {
    if constexpr (kPacks && !kLcs)
      return a * Vec<V>(1.0f / kOne);
    else
      return a;
  }
  static SOFTDP_FN Weights<Vec<V>> weights(const Type& kept) {
    if constexpr (kPacks)
      return Packed<kLcs>::unpack(kept);
    else
      return unpack_whole<kLcs>(kept);
  }
};

// What a cell hands on of its adjoint.
template <class R, class Value = typename R::Value>
SOFTDP_FN Adjoint<Value> adjoint_of(Value a, const typename R::Keeps::Type& kept) {
  auto given = R::Recurrence::adjoint(R::Keeps::scaled(a), R::Keeps::weights(kept));
  if constexpr (!R::kLcs) given.score = a;
  return given;
}
// Its share for above, and what there is already: in one rounding, since the next step waits for it.
template <class R, class Value = typename R::Value>
SOFTDP_FN Value with_above(Value a, const typename R::Keeps::Type& kept, Value sum) {
  return muladd(R::Keeps::scaled(a), R::Keeps::weights(kept).insert, sum);
}

}  // namespace softdp::cpu::SOFTDP_ISA
