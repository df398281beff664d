// The recurrences of softdp: the cell of each, its weights, adjoint and tangent. The only copy, for both
// devices.
//
// One pair of sequences: x has n steps, y has m steps; i = 1..n, j = 1..m.
//
//   FSD   S(i,j) = match(i,j) + smooth_max(                 S(i-1,j-1),      move "match"
//                                           insert(i,j)  +  S(i-1,j),        move "insert": a step of x
//                                           delete(i,j)  +  S(i,j-1) )       move "delete": a step of y
//
//   LCS   S(i,j) = S(i-1,j-1) + c(i,j)                          if c(i,j) >= threshold    (a hit)
//                  smooth_max( S(i-1,j), S(i,j-1) )             otherwise                 (a plateau)
//
//   Needleman-Wunsch
//         S(i,j) = smooth_max( match(i,j) + S(i-1,j-1),  insert(i,j) + S(i-1,j),  delete(i,j) + S(i,j-1) )
//
//   score = S(n,m)
//
// Boundary, S(0,0) = 0 and
//   free       S(0,j) = S(i,0) = 0                                            FSD, LCS
//   anchored   S(0,j) = S(i,0) = -inf                                         FSD
//   gaps       S(i,0) = S(i-1,0) + insert(i,1),  S(0,j) = S(0,j-1) + delete(1,j)      Needleman-Wunsch
//
// Gradients, with A(i,j) = d score / d S(i,j), A(n,m) = 1, and w the weights of cell (i,j):
//
//   d insert(i,j) = A(i,j) w_insert     d delete(i,j) = A(i,j) w_delete
//   d match(i,j)  = A(i,j), where every move adds the match score (FSD), else A(i,j) w_match
//   A(i-1,j-1) += A(i,j) w_match     A(i-1,j) += A(i,j) w_insert     A(i,j-1) += A(i,j) w_delete
//
// and with gaps on the boundary d insert(i,1) += sum of A(k,0) over k >= i, d delete(1,j) likewise.
//
// A pair is spoiled where it holds a NaN or +inf: its score is NaN, and its gradient is NaN within its
// lengths. A pair whose score receives the gradient 0 has the gradient 0, whatever it holds, and is not
// swept: the sum of some of the scores trains only on their pairs. The second order of a spoiled pair is NaN
// too, or 0 where its direction is 0 in all of its cells.
//
// Second order, for a direction v of the scores, with dS and dw the derivatives of S and w along it:
//
//   u = (dS(i-1,j-1),  v_insert(i,j) + dS(i-1,j),  v_delete(i,j) + dS(i,j-1))
//   dS(i,j) = v_match(i,j) + sum_k w_k u_k        (v_match is added where the match score is)
//   dw_k    = w_k (u_k - sum_l w_l u_l) / gamma   (gamma = 0: no curvature)
//
// dS(n,m) is the derivative of the score along v. The Hessian times v is the derivative of the gradients
// along v. The same adjoint computes it, on the dual numbers A + dA and w + dw.
//
// Costs. The score of costs c is the smooth minimum, -S(-c). Its gradient with respect to c is the gradient
// above, at -c. Its second order has the opposite sign, as if the curvature were -1 / gamma.
//
// The traits of a recurrence. The sweeps name no recurrence; they use these:
//   kId                its entry in enum class Recurrence
//   kStates            how many states a cell has: 1; several_states.h has recurrences of more
//   kTables            how many tables of scores come in: 3 (match, insert, delete) or 1
//   kEveryMove         whether every move adds the match score, whose gradient is A(i,j) then
//   kChargesBoundary   whether S has sums of gaps on the boundary
//   kTakesCosts        whether its tables may hold costs
//   Packing            how a cell's weights are kept for the backward sweep. Recurrences of one packing have
//                      the same kTables: on a GPU they share the kernels that begin with weights
//   Cell<Max>          ready() makes a Ready of a cell's scores, before its neighbours' states are known;
//                      cell() makes the state and the weights of that, or where there are three moves their
//                      Terms
//   adjoint, tangent   the equations above, for one cell
#pragma once
#include <type_traits>

#include "smooth_max.h"

namespace softdp {

// The shares of its adjoint A(i,j) that a cell hands on.
template <class Value>
struct Adjoint {
  Value score;        // d match(i,j), or d c(i,j)
  Value to_diagonal;  // share of A(i-1,j-1)
  Value to_above;     // share of A(i-1,j), which is also d insert(i,j)
  Value to_left;      // share of A(i,j-1), which is also d delete(i,j)
};

// A number and its derivative along a direction.
template <class Value>
struct Dual {
  Value value = 0, tangent = 0;
};
template <class Value>
SOFTDP_FN Dual<Value> operator+(Dual<Value> a, Dual<Value> b) {
  return {a.value + b.value, a.tangent + b.tangent};
}
template <class Value>
SOFTDP_FN Dual<Value> operator*(Dual<Value> a, Dual<Value> b) {
  return {a.value * b.value, a.value * b.tangent + a.tangent * b.value};
}

// The derivatives of a cell's state and of its weights.
template <class Value>
struct Tangent {
  Value state;
  Weights<Value> weights;
};
// The tangents of a cell with a match move. They are computed from differences: the u of neighbours are close
// to each other, and a weighted sum of them would lose their differences to rounding.
template <class Value>
SOFTDP_FN Tangent<Value> tangent_of(Weights<Value> w, Value diagonal, Value above, Value left,
                                    Value curvature) {
  const Value to_above = above - diagonal, to_left = left - diagonal, c = curvature,
              mean = w.insert * to_above + w.del * to_left;
  return {diagonal + mean,
          {w.match * -mean * c, w.insert * (to_above - mean) * c, w.del * (to_left - mean) * c}};
}

// ---- how weights are kept ------------------------------------------------------------------------------

// A choice by a condition. These are the overloads for plain numbers; the vectors of a CPU have their own
// (cpu/lanes.h).
template <class T>
SOFTDP_FN T choose(bool condition, T a, T b) {
  return condition ? a : b;
}
// A choice by a product, whose flag is 0 or 1: a condition on weights would make a GPU branch. a - b must be
// exact.
template <class T>
SOFTDP_FN T is_zero(T x) {
  return T(x == 0);
}
template <class T>
SOFTDP_FN T where(T flag, T a, T b) {
  return b + flag * (a - b);
}
template <class Flag>
SOFTDP_FN Flag both(Flag a, Flag b) {
  if constexpr (std::is_arithmetic_v<Flag>)
    return a * b;
  else
    return a & b;
}
// The smaller of two numbers, neither NaN. On a GPU fmin is one instruction; a comparison would also need a
// predicate.
template <class T>
SOFTDP_FN T lesser(T a, T b) {
#ifdef __CUDA_ARCH__
  return fmin(a, b);
#else
  return b < a ? b : a;
#endif
}

// Keeps the weights of insert and delete. Match is 1 minus both: it is never below 0, and exactly 0 where the
// move is forbidden. The numbers have the precision of the scores, because the rounding error of a small
// weight that recurs along a path adds up. With 16 bits, rounded to nearest, the error of a gradient would be
// 3e-4 at 1024 steps and 0.1 at 16384.
struct TwoWeights {
  static constexpr int kNumbers = 2;
  template <class V>
  struct Saved {
    V number[2];
  };
  template <class V>
  static SOFTDP_FN Saved<V> pack(const Weights<V>& w) {
    const V one(1);
    const auto no_match = is_zero(w.match);
    const V insert = lesser(one, where(both(no_match, is_zero(w.del)), one, w.insert)), rest = one - insert;
    return {{insert, lesser(rest, where(no_match, rest, w.del))}};
  }
  template <class V>
  static SOFTDP_FN Weights<V> unpack(const Saved<V>& w) {
    return {(V(1) - w.number[0]) - w.number[1], w.number[0], w.number[1]};
  }
  template <class V>
  static SOFTDP_FN Saved<V> pack_tangents(const Weights<V>& t) {
    return {{t.insert, t.del}};
  }
  template <class V>
  static SOFTDP_FN Weights<V> unpack_tangents(const Saved<V>& t) {
    return {-t.number[0] - t.number[1], t.number[0], t.number[1]};
  }
};

// Keeps kHit for a hit, and for a plateau the weight of insert. The weight of delete is 1 minus that.
struct OneWeight {
  static constexpr int kNumbers = 1;
  static constexpr int kHit = 2;
  template <class V>
  struct Saved {
    V number[1];
  };
  template <class V>
  static SOFTDP_FN Saved<V> pack(const Weights<V>& w) {
    const V zero(0), one(1), insert = choose(w.del == zero, one, lesser(w.insert, one));
    return {{choose(w.match == one, V(kHit), insert)}};
  }
  template <class V>
  static SOFTDP_FN Weights<V> unpack(const Saved<V>& w) {
    const V zero(0), one(1), insert = w.number[0];
    const auto hit = insert > one;
    return {choose(hit, one, zero), choose(hit, zero, insert), choose(hit, zero, one - insert)};
  }
  template <class V>
  static SOFTDP_FN Saved<V> pack_tangents(const Weights<V>& t) {
    return {{t.insert}};
  }
  template <class V>
  static SOFTDP_FN Weights<V> unpack_tangents(const Saved<V>& t) {
    return {V(0), t.number[0], -t.number[0]};
  }
};

// ---- the recurrences -----------------------------------------------------------------------------------

// All recurrences: TAKE(Name) for each. The dispatch below and the launch tables of csrc/cuda use this list.
#define SOFTDP_RECURRENCES(TAKE) TAKE(Fsd) TAKE(Lcs) TAKE(NeedlemanWunsch)

// The recurrence of a problem. Those after the first three are in several_states.h.
enum class Recurrence { kFsd, kLcs, kNeedlemanWunsch, kAffine, kLocalFsd, kSmithWaterman, kLocalAffine };

// The arguments that every recurrence takes:
//   ready      the match score itself and the threshold, for LCS; the inputs of all tables
//   adjoint    A(i,j), and `share`: A(i,j) in the unit of the weights
//   tangent    v: the direction at the cell; dS of the neighbours; the curvature 1 / gamma, or 0

// Fine-grained sequence distance.
struct Fsd {
  static constexpr Recurrence kId = Recurrence::kFsd;
  static constexpr int kStates = 1, kTables = 3;
  static constexpr bool kEveryMove = true, kChargesBoundary = false, kTakesCosts = true;
  using Packing = TwoWeights;

  template <class Max>
  struct Cell {
    using State = typename Max::State;
    using Value = typename Max::Value;
    using Input = typename Max::Input;
    using Ready = typename Max::Moves;
    static SOFTDP_FN Ready ready(Value, Value, Input match, Input insert, Input del) {
      return Max::in_every(match, insert, del);
    }
    template <class Out>
    static SOFTDP_FN State cell(const Ready& x, State diagonal, State above, State left, Out& out) {
      return Max::max_of_every(diagonal, above, left, x, out);
    }
  };
  template <class Value>
  static SOFTDP_FN Adjoint<Value> adjoint(Value a, Value share, Weights<Value> w) {
    return {a, share * w.match, share * w.insert, share * w.del};
  }
  template <class Value>
  static SOFTDP_FN Tangent<Value> tangent(Weights<Value> w, Weights<Value> v, Value diagonal, Value above,
                                          Value left, Value curvature) {
    Tangent<Value> t = tangent_of(w, diagonal, v.insert + above, v.del + left, curvature);
    t.state += v.match;
    return t;
  }
};

// Longest common subsequence. A hit has the weights of a match, (1, 0, 0).
struct Lcs {
  static constexpr Recurrence kId = Recurrence::kLcs;
  static constexpr int kStates = 1, kTables = 1;
  static constexpr bool kEveryMove = false, kChargesBoundary = false, kTakesCosts = false;
  using Packing = OneWeight;

  template <class Max>
  struct Cell {
    using A = typename Max::Arithmetic;
    using State = typename Max::State;
    using Value = typename Max::Value;
    using Input = typename Max::Input;
    struct Ready {
      Input c;
      typename Max::Mask hit;
    };
    template <class Score>  // a GPU compares floats as they came, also where it computes in double
    static SOFTDP_FN Ready ready(Score score, Score threshold, Input c, Input, Input) {
      return {c, score >= threshold};
    }
    static SOFTDP_FN State cell(const Ready& x, State diagonal, State above, State left, Weights<Value>& w) {
      const State plateau = Max::max(above, left, w);
      w.match = A::select(x.hit, Value(1), w.match);
      w.insert = A::select(x.hit, Value(0), w.insert);
      w.del = A::select(x.hit, Value(0), w.del);
      return Max::select(x.hit, Max::plus(diagonal, x.c), plateau);
    }
  };
  template <class Value>
  static SOFTDP_FN Adjoint<Value> adjoint(Value, Value share, Weights<Value> w) {
    const Value hit = share * w.match;
    return {hit, hit, share * w.insert, share * w.del};
  }
  template <class Value>
  static SOFTDP_FN Tangent<Value> tangent(Weights<Value> w, Weights<Value> v, Value diagonal, Value above,
                                          Value left, Value curvature) {
    // From differences, as above. At a hit w.match is 1 and the other terms are 0.
    const Value by_left = w.del * (left - above), product = w.insert * by_left * curvature;
    return {w.match * (v.match + diagonal) + (Value(1) - w.match) * above + by_left,
            {Value(0), -product, product}};
  }
};

// Needleman-Wunsch: global alignment. Gaps at both ends are charged.
struct NeedlemanWunsch {
  static constexpr Recurrence kId = Recurrence::kNeedlemanWunsch;
  static constexpr int kStates = 1, kTables = 3;
  static constexpr bool kEveryMove = false, kChargesBoundary = true, kTakesCosts = false;
  using Packing = TwoWeights;

  template <class Max>
  struct Cell {
    using State = typename Max::State;
    using Value = typename Max::Value;
    using Input = typename Max::Input;
    using Ready = typename Max::Moves;
    static SOFTDP_FN Ready ready(Value, Value, Input match, Input insert, Input del) {
      return {match, insert, del};
    }
    template <class Out>
    static SOFTDP_FN State cell(const Ready& x, State diagonal, State above, State left, Out& out) {
      return Max::max(diagonal, above, left, x, out);
    }
  };
  template <class Value>
  static SOFTDP_FN Adjoint<Value> adjoint(Value, Value share, Weights<Value> w) {
    const Value match = share * w.match;
    return {match, match, share * w.insert, share * w.del};
  }
  template <class Value>
  static SOFTDP_FN Tangent<Value> tangent(Weights<Value> w, Weights<Value> v, Value diagonal, Value above,
                                          Value left, Value curvature) {
    return tangent_of(w, v.match + diagonal, v.insert + above, v.del + left, curvature);
  }
};

// Calls run(Fsd()), run(Lcs()) or run(NeedlemanWunsch()). `run` may be the host's or a GPU's, and so may the
// caller; nvcc would warn of either.
#ifdef __CUDACC__
#pragma nv_exec_check_disable
#endif
template <class Run>
SOFTDP_FN auto with_recurrence(Recurrence which, Run run) {
#define SOFTDP_CASE(Name) \
  case Name::kId:         \
    return run(Name());
  switch (which) {
    default:  // any other value, which nobody gives
      SOFTDP_RECURRENCES(SOFTDP_CASE)
  }
#undef SOFTDP_CASE
}
inline int tables_of(Recurrence which) {
  return with_recurrence(which, [](auto recurrence) { return decltype(recurrence)::kTables; });
}
SOFTDP_FN bool charges_boundary(Recurrence which) {
  return which == Recurrence::kAffine ||
         with_recurrence(which, [](auto recurrence) { return decltype(recurrence)::kChargesBoundary; });
}
inline bool takes_costs(Recurrence which) {
  return with_recurrence(which, [](auto recurrence) { return decltype(recurrence)::kTakesCosts; });
}

}  // namespace softdp
