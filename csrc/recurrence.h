// The recurrences of softdp: one cell of FSD and of LCS, its value, weights and adjoint. The only copy.
//
// One pair of sequences: x has n steps, y has m steps; i = 1..n, j = 1..m.
//
//   FSD   S(i,j) = match(i,j) + smooth_max(                 S(i-1,j-1),      move "match"
//                                           insert(i,j)  +  S(i-1,j),        move "insert": a step of x
//                                           delete(i,j)  +  S(i,j-1) )       move "delete": a step of y
//
//   LCS   R(i,j) = R(i-1,j-1) + c(i,j)                          if c(i,j) >= threshold    (a hit)
//                  smooth_max( R(i-1,j), R(i,j-1) )             otherwise                 (a plateau)
//
//   score = S(n,m) or R(n,m)
//
//   boundary "free":      S(0,j) = S(i,0) = 0               boundary "anchored":  S(0,0) = 0, -inf elsewhere
//   LCS                   R(0,j) = R(i,0) = 0
//
//   smooth_max(a) = gamma log sum_k exp(a_k / gamma), its weights w = softmax(a / gamma) are its gradient;
//   gamma = 0: the maximum, w one-hot on the first maximiser in the order match, insert, delete.
//
// Gradients, with A(i,j) = d score / d S(i,j), A(n,m) = 1, and w the weights of cell (i,j):
//
//   d match(i,j) = A(i,j)     d insert(i,j) = A(i,j) w_insert     d delete(i,j) = A(i,j) w_delete
//   A(i-1,j-1) += A(i,j) w_match     A(i-1,j) += A(i,j) w_insert     A(i,j-1) += A(i,j) w_delete
//
// A pair that holds a NaN or +inf is spoiled: its score is NaN, and so is its gradient, within its lengths. A
// pair whose score receives the gradient 0 gets the gradient 0, whatever it holds, and is not swept: the sum
// of some scores trains on their pairs alone. The second order of a spoiled pair is NaN likewise, and 0 where
// its direction is 0 in all of its cells.
//
// Second order, for a direction v of the scores, with dS and dw the derivatives of S and w along it:
//
//   u = (dS(i-1,j-1),  v_insert(i,j) + dS(i-1,j),  v_delete(i,j) + dS(i,j-1))
//   dS(i,j) = v_match(i,j) + sum_k w_k u_k        (LCS: v_c counts where c is a hit, and there alone)
//   dw_k    = w_k (u_k - sum_l w_l u_l) / gamma   (gamma = 0: no curvature)
//
// dS(n,m) is the derivative of the score along v. The Hessian times v is the derivative of the gradients
// along v: the same adjoint once more, on dual numbers A + dA and w + dw.
//
// Arithmetic. The smooth maximum is computed on exp(S / gamma), which is kept as p * 2^e: a mantissa p
// near 1 and a whole exponent e of its own. Sums then need no logarithm and products no exponential;
// only the scores that come in are exponentiated. A value that no path reaches is an exponent below
// every live one, so that a mask of -inf costs nothing. The weights are normalised at their own cell:
// getting them later from differences of S loses the gradient to cancellation.
//
// Every cell is a template over an arithmetic `A` (a GPU's: cuda/arithmetic.h; a CPU's lanes: cpu/lanes.h;
// plain double: scalar.h), which supplies
//   Value, Exponent, Mask       types of p, of e and of a comparison
//   split(x, k, p, e)           2^(x k) = p * 2^e with p in [2^-1/2, 2^1/2] and whole e; e = kNothing for
//                               x = -inf, and harmless numbers for what too_large reports
//   too_large(x, k)             true where x k is NaN, +inf or beyond the exponent's range (for spoils())
//   scaled(p, d)                p * 2^d for whole d <= 0, exactly 0 far below the precision of p
//   normalize(p, e)             p back to [1, 2), e with it
//   bounded(e)                  a state's exponent, so that the next sum of three cannot pass its type's end
//   settled(e)                  e, or kNothing where it is a dead state's
//   reciprocal, muladd, max, select
//   kAboveLast                  whether what comes from above is the last to arrive, or from the left
#pragma once

#ifdef __CUDACC__
#define SOFTDP_FN __host__ __device__ __forceinline__
#else
#define SOFTDP_FN inline __attribute__((always_inline))
#endif

namespace softdp {

// The smaller of two numbers, neither NaN; one instruction on a GPU, where a comparison would take a
// predicate.
template <class T>
SOFTDP_FN T lesser(T a, T b) {
#ifdef __CUDA_ARCH__
  return fmin(a, b);
#else
  return b < a ? b : a;
#endif
}

// Weights of a cell's moves; they sum to 1.
template <class Value>
struct Weights {
  Value match, insert, del;
};

// What a cell hands on, given its adjoint A(i,j).
template <class Value>
struct Adjoint {
  Value score;        // d match(i,j); for LCS d c(i,j)
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

// u by move; what the cell's own score adds to the state comes on top.
template <class Value>
SOFTDP_FN Tangent<Value> tangent_of(Weights<Value> w, Value diagonal, Value above, Value left,
                                    Value curvature) {
  const Value mean = w.match * diagonal + w.insert * above + w.del * left, c = curvature;
  return {mean, {w.match * (diagonal - mean) * c, w.insert * (above - mean) * c, w.del * (left - mean) * c}};
}

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
  // The inputs of the three moves, each with the cell's match score in it.
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
  static SOFTDP_FN Moves moves(Input match, Input insert, Input del) {
    return {match, {insert.p * match.p, insert.e + match.e}, {del.p * match.p, del.e + match.e}};
  }

  // match + smooth_max(diagonal, insert + above, del + left). The inputs' products hang on scores only and
  // can be made ahead; what arrives last passes through one multiply-add.
  static SOFTDP_FN State max(State diagonal, State above, State left, Moves x, Weights<Value>& w) {
    Exponent ed = diagonal.e + x.match.e, ea = above.e + x.insert.e, el = left.e + x.del.e;
    Exponent e = A::kAboveLast ? A::max(A::max(ed, el), ea) : A::max(A::max(ed, ea), el);
    Value fd = A::scaled(x.match.p, ed - e), fa = A::scaled(x.insert.p, ea - e),
          fl = A::scaled(x.del.p, el - e);
    Value a = diagonal.p * fd, b = above.p * fa, c = left.p * fl;
    Value sum = A::kAboveLast ? A::muladd(above.p, fa, a + c) : A::muladd(left.p, fl, a + b);
    Value r = A::reciprocal(sum);
    w = {a * r, b * r, c * r};
    return {sum, A::bounded(e)};
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
  static SOFTDP_FN Moves moves(Input match, Input insert, Input del) { return {match, insert, del}; }
  // The match score comes after the comparisons: rounding it in first could break a tie.
  static SOFTDP_FN State max(State diagonal, State above, State left, Moves x, Weights<Value>& w) {
    Value b = above + x.insert, c = left + x.del;
    Mask from_left = c > A::max(diagonal, b), from_above = b > diagonal;
    w.del = A::select(from_left, Value(1), Value(0));
    w.insert = A::select(from_left, Value(0), A::select(from_above, Value(1), Value(0)));
    w.match = Value(1) - w.insert - w.del;
    return A::max(A::max(diagonal, b), c) + x.match;
  }
  static SOFTDP_FN State max(State above, State left, Weights<Value>& w) {
    w.match = Value(0);
    w.del = A::select(left > above, Value(1), Value(0));
    w.insert = Value(1) - w.del;
    return A::max(above, left);
  }
  static SOFTDP_FN State select(Mask m, State a, State b) { return A::select(m, a, b); }
  static SOFTDP_FN State normalized(State s) { return s; }
};

// Fine-grained sequence distance.
template <class Max>
struct Fsd {
  using State = typename Max::State;
  template <class Value>
  static SOFTDP_FN State cell(typename Max::Moves moves, State diagonal, State above, State left,
                              Weights<Value>& w) {
    return Max::max(diagonal, above, left, moves, w);
  }
  template <class Value>
  static SOFTDP_FN Adjoint<Value> adjoint(Value a, Weights<Value> w) {
    return {a, a * w.match, a * w.insert, a * w.del};
  }
  // v: the direction at the cell; curvature = 1 / gamma, or 0.
  template <class Value>
  static SOFTDP_FN Tangent<Value> tangent(Weights<Value> w, Weights<Value> v, Value diagonal, Value above,
                                          Value left, Value curvature) {
    Tangent<Value> t = tangent_of(w, diagonal, v.insert + above, v.del + left, curvature);
    t.state += v.match;
    return t;
  }
};
// Longest common subsequence. A hit's weights are those of a match, (1, 0, 0).
template <class Max>
struct Lcs {
  using State = typename Max::State;
  using Input = typename Max::Input;
  template <class Value>
  static SOFTDP_FN State cell(typename Max::Mask hit, Input c, State diagonal, State above, State left,
                              Weights<Value>& w) {
    using A = typename Max::Arithmetic;
    State plateau = Max::max(above, left, w);
    w.match = A::select(hit, Value(1), w.match);
    w.insert = A::select(hit, Value(0), w.insert);
    w.del = A::select(hit, Value(0), w.del);
    return Max::select(hit, Max::plus(diagonal, c), plateau);
  }
  template <class Value>
  static SOFTDP_FN Adjoint<Value> adjoint(Value a, Weights<Value> w) {
    return {a * w.match, a * w.match, a * w.insert, a * w.del};
  }
  template <class Value>
  static SOFTDP_FN Tangent<Value> tangent(Weights<Value> w, Weights<Value> v, Value diagonal, Value above,
                                          Value left, Value curvature) {
    Tangent<Value> t = tangent_of(w, diagonal, above, left, curvature);
    t.state += v.match * w.match;
    return t;
  }
};
}  // namespace softdp
