// Cells with several states. Each state is a smooth maximum over its edges. An edge comes from a state of the
// cell's own or of a neighbour, and adds a score. Cell, weights, adjoint and tangent follow from the edges.
#pragma once
#include <utility>

#include "recurrence.h"

namespace softdp {

// The tables of scores, in the order of the operators' arguments.
constexpr int kMostTables = 4;
enum class Score { kNone = -1, kMatch, kInsert, kDelete, kOpen };

// Where the state lies that an edge comes from. kStart: a path starts; the state is 0.
enum class From { kDiagonal, kAbove, kLeft, kHere, kStart };
struct Edge {
  From from = From::kStart;
  int state = 0;
  Score adds = Score::kNone;
};
constexpr int kMostEdges = 4;
struct Node {
  int count;  // of edges
  Edge edges[kMostEdges];
  Score adds = Score::kNone;  // to the maximum
};
// What lies on a boundary: a bit for each state that has the value given there. The others are -inf.
enum class Side { kCorner, kAbove, kLeft };
struct Sides {
  unsigned corner, above, left;
  SOFTDP_FN constexpr unsigned of(Side side) const {
    return side == Side::kCorner ? corner : side == Side::kAbove ? above : left;
  }
};

// Calls run(0) .. run(N - 1), each with a constant.
template <class Run, int... k>
SOFTDP_FN void over(Run run, std::integer_sequence<int, k...>) {
  (run(std::integral_constant<int, k>()), ...);
}
template <int N, class Run>
SOFTDP_FN void over(Run run) {
  over(run, std::make_integer_sequence<int, N>());
}
#define SOFTDP_EACH __attribute__((always_inline))  // for a lambda that over() calls

// The edges' maximum and its weights, on the states of smooth_max.h.
template <class Max>
struct Join;

template <class A>
struct Join<SmoothMax<A>> {
  using Max = SmoothMax<A>;
  using State = typename Max::State;
  using Value = typename Max::Value;
  static SOFTDP_FN State start() { return {Value(1), typename A::Exponent(0)}; }
  static SOFTDP_FN State plus(State s, typename Max::Input x) { return {s.p * x.p, s.e + x.e}; }
  template <int K>
  static SOFTDP_FN State max(const State (&terms)[K], Value (&w)[kMostEdges]) {
    typename A::Exponent e = terms[0].e;
    over<K>([&](auto k) SOFTDP_EACH { e = k == 0 ? e : A::max(e, terms[k].e); });
    Value all = A::scaled(terms[0].p, terms[0].e - e);
    w[0] = all;
    over<K>([&](auto k) SOFTDP_EACH {
      if constexpr (k > 0) w[k] = A::scaled(terms[k].p, terms[k].e - e), all = all + w[k];
    });
    const Value r = A::reciprocal(all);
    over<K>([&](auto k) SOFTDP_EACH { w[k] = w[k] * r; });
    return {all, A::bounded(e)};
  }
};

template <class A>
struct Join<HardMax<A>> {
  using Value = typename A::Value;
  static SOFTDP_FN Value start() { return Value(0); }
  static SOFTDP_FN Value plus(Value s, Value x) { return s + x; }
  template <int K>
  static SOFTDP_FN Value max(const Value (&terms)[K], Value (&w)[kMostEdges]) {
    Value largest = terms[0];
    w[0] = Value(1);
    over<K>([&](auto place) SOFTDP_EACH {
      constexpr int k = place;
      if constexpr (k > 0) {
        const auto better = terms[k] > largest;
        over<k>([&](auto before) SOFTDP_EACH { w[before] = A::select(better, Value(0), w[before]); });
        w[k] = A::select(better, Value(1), Value(0));
        largest = A::max(largest, terms[k]);
      }
    });
    return largest;
  }
};

// A sum that may have no terms.
template <class Value>
struct Sum {
  Value value{};
  bool any = false;  // known when compiled
  SOFTDP_FN void add(Value x) { value = any ? value + x : x, any = true; }
};

// What a recurrence R takes of its own R::kNodes, one node for each state. Edges from kHere come from states
// before their own. The states that the next row reads come first. The last state is that of a path's end.
// R::kSides says which states have the value on each side of the boundary. R's other traits are those of
// recurrence.h.
template <class R>
struct SeveralStates {
  static constexpr bool has_edge(int state, From from) {
    for (const Node& node : R::kNodes)
      for (int k = 0; k < node.count; k++)
        if (node.edges[k].from == from && node.edges[k].state == state) return true;
    return false;
  }
  // Whether the next row reads the state, and its place among such states.
  static constexpr bool crosses(int state) {
    return has_edge(state, From::kAbove) || has_edge(state, From::kDiagonal);
  }
  static constexpr int row_place(int state) {
    int place = 0;
    for (int s = 0; s < state; s++) place += crosses(s);
    return place;
  }
  static constexpr int row_states() { return row_place(R::kStates); }
  // The place of an edge's number among those that are kept. A node keeps none of its first edge.
  static constexpr int number_of_edge(int state, int edge) {
    int place = edge - 1;
    for (int s = 0; s < state; s++) place += R::kNodes[s].count - 1;
    return place;
  }

  template <class Max>
  struct States {
    typename Max::State of[R::kStates];
  };
  // The weights of every state's edges. Those of a state sum to 1.
  template <class Value>
  struct Shares {
    Value of[R::kStates][kMostEdges];
  };

  // Keeps the weights of all edges but the first of each state, which is 1 minus the others: never below 0,
  // and exactly 0 where the move is forbidden.
  struct Packing {
    static constexpr int kNumbers = number_of_edge(R::kStates, 1);
    template <class V>
    struct Saved {
      V number[kNumbers];
    };
    template <class V>
    static SOFTDP_FN Saved<V> pack(const Shares<V>& w) {
      Saved<V> saved;
      over<R::kStates>([&](auto state) SOFTDP_EACH {
        constexpr int s = state;
        V rest(1);
        over<R::kNodes[s].count>([&](auto edge) SOFTDP_EACH {
          constexpr int k = edge;
          if constexpr (k > 0) {
            auto is_last = is_zero(w.of[s][0]);  // no other weight is left
            over<R::kNodes[s].count>([&](auto later) SOFTDP_EACH {
              if constexpr (later > k) is_last = both(is_last, is_zero(w.of[s][later]));
            });
            V& number = saved.number[number_of_edge(s, k)];
            number = lesser(rest, where(is_last, rest, w.of[s][k]));
            rest = rest - number;
          }
        });
      });
      return saved;
    }
    template <class V>
    static SOFTDP_FN Shares<V> unpack(const Saved<V>& saved) {
      Shares<V> w;
      over<R::kStates>([&](auto state) SOFTDP_EACH {
        constexpr int s = state;
        V first(1);
        over<R::kNodes[s].count>([&](auto k) SOFTDP_EACH {
          if constexpr (k > 0) {
            w.of[s][k] = saved.number[number_of_edge(s, k)];
            first = first - w.of[s][k];
          }
        });
        w.of[s][0] = first;
      });
      return w;
    }
  };

  template <class Max>
  struct Cell {
    using J = Join<Max>;
    using State = States<Max>;
    using Value = typename Max::Value;
    struct Ready {
      typename Max::Input of[R::kTables];
    };
    static SOFTDP_FN State cell(const Ready& x, const State& diagonal, const State& above, const State& left,
                                Shares<Value>& w) {
      State here;
      over<R::kStates>([&](auto state) SOFTDP_EACH {
        constexpr int s = state;
        constexpr Node node = R::kNodes[s];
        typename Max::State terms[node.count];
        over<node.count>([&](auto k) SOFTDP_EACH {
          constexpr Edge edge = R::kNodes[s].edges[k];
          if constexpr (edge.from == From::kStart)
            terms[k] = J::start();
          else
            terms[k] = (edge.from == From::kDiagonal ? diagonal
                        : edge.from == From::kAbove  ? above
                        : edge.from == From::kLeft   ? left
                                                     : here)
                           .of[edge.state];
          if constexpr (edge.adds != Score::kNone) terms[k] = J::plus(terms[k], x.of[int(edge.adds)]);
        });
        if constexpr (node.count > 1)
          here.of[s] = J::max(terms, w.of[s]);
        else
          here.of[s] = terms[0], w.of[s][0] = Value(1);
        if constexpr (node.adds != Score::kNone) here.of[s] = Max::plus(here.of[s], x.of[int(node.adds)]);
      });
      return here;
    }
  };

  // The shares of the adjoints `a` of a cell's states, by the states that they go to, and by the scores.
  template <class Value>
  struct Handed {
    Sum<Value> diagonal[R::kStates], above[R::kStates], left[R::kStates], scores[kMostTables];
  };
  template <class Value>
  static SOFTDP_FN Handed<Value> adjoint(const Value* given, const Shares<Value>& w) {
    Handed<Value> out;
    Value a[R::kStates];
    over<R::kStates>([&](auto s) SOFTDP_EACH { a[s] = given[s]; });
    over<R::kStates>([&](auto from_last) SOFTDP_EACH {
      constexpr int s = R::kStates - 1 - from_last;
      constexpr Node node = R::kNodes[s];
      over<node.count>([&](auto k) SOFTDP_EACH {
        constexpr Edge edge = R::kNodes[s].edges[k];
        const Value share = R::kNodes[s].count > 1 ? a[s] * w.of[s][k] : a[s];
        if constexpr (edge.from == From::kDiagonal) out.diagonal[edge.state].add(share);
        if constexpr (edge.from == From::kAbove) out.above[edge.state].add(share);
        if constexpr (edge.from == From::kLeft) out.left[edge.state].add(share);
        if constexpr (edge.from == From::kHere) a[edge.state] = a[edge.state] + share;
        if constexpr (edge.adds != Score::kNone) out.scores[int(edge.adds)].add(share);
      });
      if constexpr (node.adds != Score::kNone) out.scores[int(node.adds)].add(a[s]);
    });
    return out;
  }

  // The derivatives of a cell's states and of its weights, along the direction v of the scores. Those of the
  // neighbours' states are given. As in recurrence.h they are computed from differences.
  template <class Value>
  struct Tangents {
    Value states[R::kStates];
    Shares<Value> weights;
  };
  template <class Value>
  static SOFTDP_FN Tangents<Value> tangent(const Shares<Value>& w, const Value (&v)[kMostTables],
                                           const Value* diagonal, const Value* above, const Value* left,
                                           Value curvature) {
    Tangents<Value> out;
    over<R::kStates>([&](auto state) SOFTDP_EACH {
      constexpr int s = state;
      constexpr Node node = R::kNodes[s];
      Value u[kMostEdges] = {}, mean(0);
      over<node.count>([&](auto place) SOFTDP_EACH {
        constexpr int k = place;
        constexpr Edge edge = R::kNodes[s].edges[k];
        const Value* const states = edge.from == From::kDiagonal ? diagonal
                                    : edge.from == From::kAbove  ? above
                                    : edge.from == From::kLeft   ? left
                                                                 : out.states;
        u[k] = edge.from == From::kStart ? Value(0) : states[edge.state];
        if constexpr (edge.adds != Score::kNone) u[k] = u[k] + v[int(edge.adds)];
        if constexpr (k > 0) mean = mean + w.of[s][k] * (u[k] - u[0]);
      });
      over<node.count>([&](auto k) SOFTDP_EACH {
        out.weights.of[s][k] = w.of[s][k] * ((u[k] - u[0]) - mean) * curvature;
      });
      out.states[s] = u[0] + mean;
      if constexpr (node.adds != Score::kNone) out.states[s] = out.states[s] + v[int(node.adds)];
    });
    return out;
  }
};
#undef SOFTDP_EACH

}  // namespace softdp
