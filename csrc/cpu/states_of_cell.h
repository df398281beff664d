// The states of a cell with several states, with the functions that States (states.h) has for one.
#pragma once
#include "states.h"

namespace softdp::cpu::SOFTDP_ISA {

#define SOFTDP_EACH __attribute__((always_inline))  // for a lambda that over() calls

// A row in memory holds the states that the next row reads, one after the other.
template <class R, class Max>
struct StatesOfCell {
  using One = States<Max>;
  using State = typename R::template States<Max>;
  using V = typename One::V;
  using Factor = typename Max::Arithmetic::Factor;
  static constexpr int L = One::L, kCount = R::row_states();
  struct Row {
    typename One::Row of[kCount];
  };
  struct Few {
    typename One::Few of[kCount];
  };
  // Calls run(state, its place in a row) for the states that the next row reads.
  template <class Run>
  static SOFTDP_FN void over_row(Run run) {
    over<R::kStates>([&](auto s) SOFTDP_EACH {
      if constexpr (R::crosses(s)) run(s, std::integral_constant<int, R::row_place(s)>());
    });
  }
  static SOFTDP_FN State none() {
    State s;
    over<R::kStates>([&](auto k) SOFTDP_EACH { s.of[k] = One::boundary(false); });
    return s;
  }
  static SOFTDP_FN Row row_at(unsigned char* memory, int64_t columns) {
    Row row;
    over<kCount>([&](auto k) SOFTDP_EACH {
      row.of[k] = One::row_at(memory + int64_t(k) * columns * kStateBytes, columns);
    });
    return row;
  }
  static SOFTDP_FN Row from_column(const Row& row, int64_t first) {
    Row moved;
    over<kCount>([&](auto k) SOFTDP_EACH { moved.of[k] = One::from_column(row.of[k], first); });
    return moved;
  }
  static SOFTDP_FN State boundary(bool reached) {
    State s;
    over<R::kStates>(
        [&](auto k) SOFTDP_EACH { s.of[k] = One::boundary(reached && (R::kSides.corner >> k & 1) != 0); });
    return s;
  }
  static SOFTDP_FN void put(const State& s, Few& few) {
    over_row([&](auto k, auto at) SOFTDP_EACH { One::put(s.of[k], few.of[at]); });
  }
  static SOFTDP_FN void end(Few& few, int count) {
    over<kCount>([&](auto k) SOFTDP_EACH { One::end(few.of[k], count); });
  }
  static SOFTDP_FN State load(const Row& row, int64_t column, int count) {
    State s = none();
    over_row([&](auto k, auto at) SOFTDP_EACH { s.of[k] = One::load(row.of[at], column, count); });
    return s;
  }
  static SOFTDP_FN void load(const Row& row, int64_t column, int count, Few& few) {
    over_row([&](auto, auto at) SOFTDP_EACH { One::load(row.of[at], column, count, few.of[at]); });
  }
  static State of(const double* values, int count, const Factor& f, Findings& found, Side side) {
    State s = none();
    const typename Max::State given = One::of(values, count, f, found, side);
    over<R::kStates>([&](auto k) SOFTDP_EACH {
      if (R::kSides.of(side) >> k & 1) s.of[k] = given;
    });
    return s;
  }
  static SOFTDP_FN void prefetch(const Row& row, int64_t column) {
    over<kCount>([&](auto k) SOFTDP_EACH { One::prefetch(row.of[k], column); });
  }
  static SOFTDP_FN void store_last(const State& s, const Row& row, int64_t column) {
    over_row([&](auto k, auto at) SOFTDP_EACH { One::store_last(s.of[k], row.of[at], column); });
  }
  static SOFTDP_FN State from_above(const State& s, const Few& above, int k) {
    State from = none();
    over_row([&](auto state, auto at)
                 SOFTDP_EACH { from.of[state] = One::from_above(s.of[state], above.of[at], k); });
    return from;
  }
  static SOFTDP_FN bool strays(const State& s) {
    bool some = false;
    over<R::kStates>([&](auto k) SOFTDP_EACH { some = One::strays(s.of[k]) || some; });
    return some;
  }
  static SOFTDP_FN State select(typename Max::Mask m, const State& a, const State& b) {
    State s;
    over<R::kStates>([&](auto k) SOFTDP_EACH { s.of[k] = Max::select(m, a.of[k], b.of[k]); });
    return s;
  }
  static SOFTDP_FN State normalized(const State& s) {
    State out;
    over<R::kStates>([&](auto k) SOFTDP_EACH { out.of[k] = Max::normalized(s.of[k]); });
    return out;
  }
  // Of the state that a path ends in.
  static double value(const State& s, int lane, const Factor& f) {
    return One::value(s.of[R::kStates - 1], lane, f);
  }
  static void values(const State& s, const Factor& f, double* to) {
    One::values(s.of[R::kStates - 1], f, to);
  }
};

// The states of a recurrence's cell, and their weights.
template <class R, class Max, bool kOne = R::kStates == 1>
struct OfCell {
  using S = States<Max>;
  using State = typename Max::State;
  using Shares = Weights<typename Max::Value>;
  static constexpr int kRowStates = 1;
};
template <class R, class Max>
struct OfCell<R, Max, false> {
  using S = StatesOfCell<R, Max>;
  using State = typename S::State;
  using Shares = typename R::template Shares<typename Max::Value>;
  static constexpr int kRowStates = R::row_states();
};

#undef SOFTDP_EACH

}  // namespace softdp::cpu::SOFTDP_ISA
