// The states of both maxima, one in each lane: on the boundary, in memory, as numbers.
#pragma once
#include <cmath>
#include <cstring>

#include "tiles.h"

namespace softdp::cpu::SOFTDP_ISA {

// The pointer that reaches data[k] by the index first + k. It may point outside of the memory.
template <class T>
SOFTDP_FN T* moved_back(T* data, int64_t first) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(data) - uintptr_t(first) * sizeof(T));
}

// How states of the two maxima are made, loaded, stored and read.
template <class Max>
struct States;

template <class A>
struct States<SmoothMax<A>> {
  using State = typename SmoothMax<A>::State;
  using Value = typename A::Value;
  using V = typename Value::Element;
  using E = typename A::Exponent::Element;
  static constexpr int L = kLanes<V>;
  struct Row {  // a row of states, one for each column
    V* p;
    E* e;
  };
  struct Few {  // L states, to be taken one by one
    alignas(kVectorBytes) V p[L];
    alignas(kVectorBytes) E e[L];
  };
  static SOFTDP_FN Row row_at(unsigned char* memory, int64_t columns) {
    V* const p = reinterpret_cast<V*>(memory);
    return {p, reinterpret_cast<E*>(p + columns)};
  }
  // A row whose first state is that of column `first`.
  static SOFTDP_FN Row from_column(const Row& row, int64_t first) {
    return {moved_back(row.p, first), moved_back(row.e, first)};
  }
  static SOFTDP_FN State boundary(bool reached) {
    return {Value(V(1)), typename A::Exponent(reached ? E(0) : E(A::R::kNothing))};
  }
  static SOFTDP_FN void put(const State& s, Few& few) { s.p.store(few.p), s.e.store(few.e); }
  // Makes the states from `count` on those of cells that no path reaches.
  static SOFTDP_FN void end(Few& few, int count) {
    for (int k = count; k < L; k++) few.p[k] = V(1), few.e[k] = E(A::R::kNothing);
  }
  static SOFTDP_FN State load(const Row& row, int64_t column, int count) {
    State s{load_part(row.p, column, 0, count), load_part(row.e, column, 0, count)};
    if (count < L)  // no state has the mantissa 0
      s.p = SOFTDP_ISA::select(lane_numbers<V>() < Vec<Integer<V>>(Integer<V>(count)), s.p, Value(V(1)));
    return s;
  }
  static SOFTDP_FN void load(const Row& row, int64_t column, int count, Few& few) {
    put(SmoothMax<A>::normalized(load(row, column, count)), few);
  }
  // The states of `count` values. Lanes beyond have S = 0.
  static State of(const double* values, int count, const typename A::Factor& f, Findings& found,
                  Side = Side::kCorner) {
    constexpr int H = kLanes<double>;
    const Vec<double> one{1.0}, dead{double(A::R::kDead)}, near{double(A::R::kNear)}, round{softdp::kRound},
        nothing{double(A::R::kNothing)}, infinity{A::kInfinity};
    Vec<double> p[L / H], e[L / H];
    for (int h = 0; h < L / H; h++) {
      const Vec<double> x = load_part(values, h * H, 0, clamped(count - h * H, 0, H)) / Vec<double>(f.unit);
      found.spoils = found.spoils || any(~(x <= -dead));
      found.hides = found.hides || any((x > -infinity) & ((x > near) | (x < -near)));
      const auto live = (x > dead) & (x <= -dead);
      const Vec<double> whole = (x + round) - round;
      p[h] = SOFTDP_ISA::select(live, exp2_fraction(x - whole), one);
      e[h] = SOFTDP_ISA::select(live, whole, nothing);
    }
    return {Value(converted<typename Value::Raw>(p)),
            typename A::Exponent(converted<typename A::Exponent::Raw>(e))};
  }
  static SOFTDP_FN void prefetch(const Row& row, int64_t column) {
    SOFTDP_ISA::prefetch(row.p, column), SOFTDP_ISA::prefetch(row.e, column);
  }
  static SOFTDP_FN void store_last(const State& s, const Row& row, int64_t column) {
    SOFTDP_ISA::store_last(s.p, row.p, column), SOFTDP_ISA::store_last(s.e, row.e, column);
  }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    return {shifted_up(s.p, above.p[k]), shifted_up(s.e, above.e[k])};
  }
  static SOFTDP_FN bool strays(const State& s) { return any(A::strays(s.e)); }
  static SOFTDP_FN State select(typename A::Mask m, const State& a, const State& b) {
    return SmoothMax<A>::select(m, a, b);
  }
  static SOFTDP_FN State normalized(const State& s) { return SmoothMax<A>::normalized(s); }
  static double value(const State& s, int lane, const typename A::Factor& f) {
    const E e = s.e.x[lane];
    return e < A::R::kDead ? -A::kInfinity : (std::log2(double(s.p.x[lane])) + double(e)) * f.unit;
  }
  // The values of all lanes.
  static void values(const State& s, const typename A::Factor& f, double* to) {
    constexpr int H = kLanes<double>;
    const Vec<double> dead{double(A::R::kDead)}, nothing{-A::kInfinity};
    Vec<double> p[L / H], e[L / H];
    widen(s.p.x, p), widen(s.e.x, e);
    for (int h = 0; h < L / H; h++)
      SOFTDP_ISA::select(e[h] < dead, nothing, (log2_of(p[h]) + e[h]) * Vec<double>(f.unit))
          .store(to + h * H);
  }

 private:
  template <class Raw>
  static SOFTDP_FN Raw converted(const Vec<double>* from) {
    typename RawVector<double, L>::Type wide;
    std::memcpy(&wide, from, sizeof wide);
    return __builtin_convertvector(wide, Raw);
  }
  template <class Raw>
  static SOFTDP_FN void widen(Raw from, Vec<double>* to) {
    const auto wide = __builtin_convertvector(from, typename RawVector<double, L>::Type);
    std::memcpy(to, &wide, sizeof wide);
  }
};

template <class A>
struct States<HardMax<A>> {
  using State = typename A::Value;
  using V = double;
  static constexpr int L = kLanes<V>;
  using Row = double*;
  struct Few {
    alignas(kVectorBytes) V x[L];
  };
  static SOFTDP_FN Row row_at(unsigned char* memory, int64_t) { return reinterpret_cast<Row>(memory); }
  static SOFTDP_FN Row from_column(Row row, int64_t first) { return moved_back(row, first); }
  static SOFTDP_FN State boundary(bool reached) { return State(reached ? 0.0 : -A::kInfinity); }
  static SOFTDP_FN void put(const State& s, Few& few) { s.store(few.x); }
  static SOFTDP_FN void end(Few& few, int count) {
    for (int k = count; k < L; k++) few.x[k] = -A::kInfinity;
  }
  static SOFTDP_FN State load(Row row, int64_t column, int count) { return load_part(row, column, 0, count); }
  static SOFTDP_FN void load(Row row, int64_t column, int count, Few& few) {
    put(load(row, column, count), few);
  }
  static State of(const double* values, int count, const typename A::Factor&, Findings& found,
                  Side = Side::kCorner) {
    State s(0.0);
    for (int r = 0; r < count; r++) {
      found.spoils = found.spoils || !(values[r] < A::kInfinity);
      s.x[r] = values[r];
    }
    return s;
  }
  static SOFTDP_FN void prefetch(Row row, int64_t column) { SOFTDP_ISA::prefetch(row, column); }
  static SOFTDP_FN void store_last(const State& s, Row row, int64_t column) {
    SOFTDP_ISA::store_last(s, row, column);
  }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    return shifted_up(s, above.x[k]);
  }
  static SOFTDP_FN bool strays(const State&) { return false; }
  static SOFTDP_FN State select(typename A::Mask m, State a, State b) { return A::select(m, a, b); }
  static SOFTDP_FN State normalized(State s) { return s; }
  static double value(const State& s, int lane, const typename A::Factor&) { return s.x[lane]; }
  static void values(const State& s, const typename A::Factor&, double* to) { s.store(to); }
};

}  // namespace softdp::cpu::SOFTDP_ISA
