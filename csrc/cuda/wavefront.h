// Batched sweeps on the GPU: what the kernels take, and the launchers. No torch: pointers and a stream in, a
// CUDA error out; nothing waits for the device, nothing is allocated.
//
// T is the type of the scores that come in (double, float, Sixteen), V that of the arithmetic and the results
// (double for double, else float).
#pragma once
#include "../problem.h"
#include "device.h"

namespace softdp::cuda {

// The bits of a float16 or of a bfloat16: one kernel reads and writes both, and its format says which.
struct Sixteen {
  uint16_t bits;
};
template <class T>
struct Format {};
template <>
struct Format<Sixteen> {
  bool brain;  // bfloat16
};

template <class T>
struct ValueOf {
  using Type = float;
};
template <>
struct ValueOf<double> {
  using Type = double;
};

// The boundary of the table: S(0,0) = 0, and the rest 0, or -inf where anchored. Or states of the sweep
// before, so that a pair can be swept in pieces: above S(0, 1..m), (B, M); left S(1..n, 0), (B, N); corner
// S(0,0), (B,). last_row and last_column take S(n, 1..m) and S(1..n, m). All are States of Maxima's Wide;
// null: none. A problem with any of these is not tiny.
struct Boundary {
  bool anchored = false;
  const void *above = nullptr, *left = nullptr, *corner = nullptr;
  void *last_row = nullptr, *last_column = nullptr;
  bool plain() const { return !above && !left && !corner && !last_row && !last_column; }
};

// FSD and LCS forward: scores[0] is match or c, scores[1] and [2] insert and delete.
template <class T>
struct Forward {
  using V = typename ValueOf<T>::Type;
  Pairs pairs;
  double gamma;
  double threshold;  // LCS
  Boundary boundary;
  Format<T> format;
  Scores<T> scores[3];
  bool shared_gap;  // delete = insert, read once
  bool wide_gaps;   // insert and delete hold V, not T
  V* score;         // (B,)
  V* saved;         // planes() of them, (B, planes, N, M); null: not wanted
  bool weights;     // save weights also where the pair is tiny
  bool is_piece;    // of a table: saved takes weights alone, no verdict on the pair
  void* workspace;  // workspace_bytes() of it
};

// Their backward: gradients[0] by match or c, [1] and [2] by insert and delete; T is their type. With a
// shared gap insert receives the sum.
template <class T>
struct Backward {
  using V = typename ValueOf<T>::Type;
  Pairs pairs;
  const V* grad_score;  // (B,); null: 1, for weights and gradients of every row and column alone
  const V* saved;
  Format<T> format;
  Gradient<T> gradients[3];
  bool shared_gap;
  bool weights;  // saved are weights, also where the pair is tiny
  bool visits;   // LCS: the gradient by a plateau's cells too, A(i,j); takes weights
  // A piece of a table, rows of it, is given what the rows below hand up, where grad_score is 0, and hands up
  // what those above are to receive: of columns from the pair's last on, (B, M). verdicts, (B,), says which
  // pairs are swept: those of 0 and more. One that is NaN has the gradient NaN, others 0.
  const V* verdicts;
  const V* given;
  V* handed;
  void* workspace;
};

// What the weights become along a direction of the scores, and then what the gradients do: see recurrence.h,
// second order. Both take weights, planes of them as Forward::weights saves.
template <class V>
struct TangentSweep {
  Pairs pairs;
  double gamma;
  const V* saved;           // (B, planes, N, M)
  Scores<V> directions[3];  // by match or c, insert, delete; data null: 0
  V* tangent;               // (B,): the scores'
  V* tangents;              // (B, planes, N, M): the weights'
  void* workspace;
};
template <class V>
struct ProductSweep {
  Pairs pairs;
  const V* grad_score;  // (B,)
  const V* saved;
  const V* tangent;
  const V* tangents;
  V* products[3];   // by match or c, insert, delete, (B, N, M); null: not wanted
  bool shared_gap;  // insert receives the sum
  void* workspace;
};

enum class Recurrence { kFsd, kLcs };

// Small pairs are swept there and back in one launch, and what is saved is the score's gradient itself, a
// plane each for match, insert and delete (or their sum, where they share a gap). Others save the weights:
// for FSD insert's and delete's, for LCS one number a cell (SavedStep).
inline bool is_tiny(int64_t rows, int64_t columns) {
  return rows <= 32 && columns <= 32;
}
inline int planes(Recurrence recurrence, bool shared_gap, int64_t rows, int64_t columns) {
  if (recurrence == Recurrence::kLcs) return 1;
  return is_tiny(rows, columns) && !shared_gap ? 3 : 2;
}

template <class T>
int64_t workspace_bytes(const Forward<T>& problem);
template <class T>
int64_t workspace_bytes(const Backward<T>& problem);
template <class V>
int64_t workspace_bytes(const TangentSweep<V>& problem);
template <class V>
int64_t workspace_bytes(const ProductSweep<V>& problem);

template <class T>
Error fsd_forward(const Forward<T>& problem, Stream stream);
template <class T>
Error lcs_forward(const Forward<T>& problem, Stream stream);
template <class T>
Error fsd_backward(const Backward<T>& problem, Stream stream);
template <class T>
Error lcs_backward(const Backward<T>& problem, Stream stream);
template <class V>
Error sweep_tangents(const TangentSweep<V>& problem, Recurrence recurrence, Stream stream);
template <class V>
Error sweep_products(const ProductSweep<V>& problem, Recurrence recurrence, Stream stream);

}  // namespace softdp::cuda
