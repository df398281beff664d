// The smooth maximum and the maximum, on states as the sweeps keep them.
//
//   gamma > 0   smooth_max(a) = gamma log sum_k exp(a_k / gamma); its gradient is w = softmax(a / gamma)
//   gamma = 0   the maximum; w is 1 on the first maximiser in the order match, insert, delete, and else 0
//
// Arithmetic. The smooth maximum is computed on exp(S / gamma). A state is kept as p * 2^e: a mantissa p near
// 1 and a whole exponent e of its own. Sums then need no logarithm and products no exponential: only the
// scores that come in are exponentiated. A state that no path reaches has an exponent below every live one,
// so a mask of -inf costs no time. The weights are normalised at their own cell. Computing them later, from
// differences of S, would lose the gradient to cancellation.
//
// Both maxima are templates over an arithmetic `A` (a GPU's: cuda/arithmetic.h; a CPU's lanes: cpu/lanes.h;
// plain double: scalar.h), which supplies
//   Value, Exponent, Mask       types of p, of e and of a comparison
//   split(x, k, p, e)           2^(x k) = p * 2^e with p in [2^-1/2, 2^1/2] and whole e; e = kNothing for
//                               x = -inf, and some finite numbers where too_large is true
//   too_large(x, k)             true where x k is NaN, +inf or beyond the exponent's range (for spoils())
//   scaled(p, d)                p * 2^d for whole d <= 0, exactly 0 far below the precision of p
//   normalize(p, e)             brings p back to [1, 2), and changes e with it
//   bounded(e)                  a state's exponent, bounded so that the next sum of three cannot overflow
//   settled(e)                  e, or kNothing where the state is dead
//   reciprocal, muladd, max, select
//   kAboveLast                  whether the state from above arrives last; else the state from the left does
#pragma once

#ifdef __CUDACC__
#define SOFTDP_FN __host__ __device__ __forceinline__
#else
#define SOFTDP_FN inline __attribute__((always_inline))
#endif

namespace softdp {

// Weights of a cell's moves; they sum to 1.
template <class Value>
struct Weights {
  Value match, insert, del;
};
// The weights of a cell's moves times their sum, which is `all`. gaps: insert and delete. A GPU adds them so
// that gaps is exactly `all` where match is 0, and exactly insert where delete is 0.
template <class Value>
struct Terms {
  Value match, insert, del, gaps, all;
};

// gamma > 0. A state is exp(S / gamma) and an input exp(score / gamma), both as p * 2^e.
template <class A>
struct SmoothMax {
  using Arithmetic = A;
  using Value = typename A::Value;
  using Exponent = typename A::Exponent;
  using Mask = typename A::Mask;
  struct State {
    Value p;
    Exponent e;
  };
  using Input = State;
  // The inputs of the three moves.
  struct Moves {
    Input match, insert, del;
  };

  static SOFTDP_FN Input input(Value score, typename A::Factor k) {
    Input s;
    A::split(score, k, s.p, s.e);
    return s;
  }
  static SOFTDP_FN Mask spoils(Value score, typename A::Factor k) { return A::too_large(score, k); }

  // score + S
  static SOFTDP_FN State plus(State s, Input x) { return {s.p * x.p, A::bounded(s.e + x.e)}; }
  // The match score in every move, for max_of_every.
  static SOFTDP_FN Moves in_every(Input match, Input insert, Input del) {
    return {match, {insert.p * match.p, insert.e + match.e}, {del.p * match.p, del.e + match.e}};
  }

  // smooth_max(match + diagonal, insert + above, del + left). The products of the inputs depend on scores
  // only and can be computed ahead. The state that arrives last passes through one multiply-add, and on a
  // GPU through one more addition.
  static SOFTDP_FN State max(State diagonal, State above, State left, Moves x, Terms<Value>& t) {
    Exponent ed = diagonal.e + x.match.e, ea = above.e + x.insert.e, el = left.e + x.del.e;
    Exponent e = A::kAboveLast ? A::max(A::max(ed, el), ea) : A::max(A::max(ed, ea), el);
    Value fd = A::scaled(x.match.p, ed - e), fa = A::scaled(x.insert.p, ea - e),
          fl = A::scaled(x.del.p, el - e);
    t.match = diagonal.p * fd, t.insert = above.p * fa, t.del = left.p * fl;
    t.gaps = A::muladd(above.p, fa, t.del);
    t.all = A::kAboveLast ? t.match + t.gaps : A::muladd(left.p, fl, t.match + t.insert);
    return {t.all, A::bounded(e)};
  }
  static SOFTDP_FN State max(State diagonal, State above, State left, Moves x, Weights<Value>& w) {
    Terms<Value> t;
    const State state = max(diagonal, above, left, x, t);
    const Value r = A::reciprocal(t.all);
    w = {t.match * r, t.insert * r, t.del * r};
    return state;
  }
  // match + smooth_max(diagonal, insert + above, del + left), with the moves of in_every.
  template <class Out>  // Weights or Terms
  static SOFTDP_FN State max_of_every(State diagonal, State above, State left, Moves x, Out& out) {
    return max(diagonal, above, left, x, out);
  }
  // smooth_max(above, left)
  static SOFTDP_FN State max(State above, State left, Weights<Value>& w) {
    Exponent e = A::max(above.e, left.e);
    Value b = A::scaled(above.p, above.e - e), c = A::scaled(left.p, left.e - e);
    Value sum = b + c, r = A::reciprocal(sum);
    w = {Value(0), b * r, c * r};
    return {sum, e};
  }
  static SOFTDP_FN State select(Mask m, State a, State b) {
    return {A::select(m, a.p, b.p), A::select(m, a.e, b.e)};
  }
  static SOFTDP_FN State normalized(State s) {
    A::normalize(s.p, s.e);
    return {s.p, A::settled(s.e)};
  }
};

// gamma = 0. States and inputs are the plain numbers.
template <class A>
struct HardMax {
  using Arithmetic = A;
  using Value = typename A::Value;
  using Mask = typename A::Mask;
  using State = Value;
  using Input = Value;
  struct Moves {
    Input match, insert, del;
  };

  static SOFTDP_FN Input input(Value score, typename A::Factor) { return score; }
  static SOFTDP_FN Mask spoils(Value score, typename A::Factor) { return !(score < Value(A::kInfinity)); }
  static SOFTDP_FN State plus(State s, Input x) { return s + x; }
  static SOFTDP_FN Moves in_every(Input match, Input insert, Input del) { return {match, insert, del}; }
  static SOFTDP_FN State max(State diagonal, State above, State left, Moves x, Weights<Value>& w) {
    return largest(diagonal + x.match, above + x.insert, left + x.del, w);
  }
  // The match score is added after the comparisons: adding it before could break a tie by rounding.
  static SOFTDP_FN State max_of_every(State diagonal, State above, State left, Moves x, Weights<Value>& w) {
    return largest(diagonal, above + x.insert, left + x.del, w) + x.match;
  }
  static SOFTDP_FN State max(State above, State left, Weights<Value>& w) {
    w.match = Value(0);
    w.del = A::select(left > above, Value(1), Value(0));
    w.insert = Value(1) - w.del;
    return A::max(above, left);
  }
  static SOFTDP_FN State select(Mask m, State a, State b) { return A::select(m, a, b); }
  static SOFTDP_FN State normalized(State s) { return s; }

 private:
  static SOFTDP_FN State largest(State a, State b, State c, Weights<Value>& w) {
    Mask from_left = c > A::max(a, b), from_above = b > a;
    w.del = A::select(from_left, Value(1), Value(0));
    w.insert = A::select(from_left, Value(0), A::select(from_above, Value(1), Value(0)));
    w.match = Value(1) - w.insert - w.del;
    return A::max(A::max(a, b), c);
  }
};

}  // namespace softdp
