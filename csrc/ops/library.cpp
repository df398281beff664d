// The operators' schemas, each once. Sizes are those of the scores: (B, N, M) and, for gaps, each
// dimension 1 or full. A gradient that is not needed is an empty tensor; `dtype` is the gradients', that of
// the scores. What `saved` holds and its shape are each device's own: cpu/kernels.h, cuda/wavefront.h. The
// backward operators read the scores on the CPU, where weights are computed again; on CUDA they may be None.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(softdp, m) {
  m.def(
      "fsd_forward(Tensor match, Tensor insert, Tensor? delete, Tensor? x_lengths, Tensor? y_lengths, "
      "float gamma, bool anchored, bool save) -> (Tensor score, Tensor saved)");
  m.def(
      "fsd_backward(Tensor grad_score, Tensor saved, Tensor? match, Tensor? insert, Tensor? delete, "
      "Tensor? x_lengths, Tensor? y_lengths, float gamma, bool anchored, "
      "SymInt[] match_size, SymInt[] insert_size, SymInt[]? delete_size, "
      "bool need_match, bool need_insert, bool need_delete, ScalarType dtype) "
      "-> (Tensor d_match, Tensor d_insert, Tensor d_delete)");
  m.def(
      "lcs_forward(Tensor similarity, Tensor? x_lengths, Tensor? y_lengths, float threshold, float gamma, "
      "bool save) -> (Tensor score, Tensor saved)");
  m.def(
      "lcs_backward(Tensor grad_score, Tensor saved, Tensor? similarity, Tensor? x_lengths, "
      "Tensor? y_lengths, float threshold, float gamma, SymInt[] similarity_size, bool visits, "
      "ScalarType dtype) -> Tensor");
  // The derivatives of the backward operators: v_match, v_insert and v_delete are the gradients of their
  // results, dense or broadcast; everything is float64, or float32.
  m.def(
      "fsd_double_backward(Tensor? v_match, Tensor? v_insert, Tensor? v_delete, Tensor grad_score, "
      "Tensor match, Tensor insert, Tensor? delete, Tensor? x_lengths, Tensor? y_lengths, float gamma, "
      "bool anchored, bool need_match, bool need_insert, bool need_delete) "
      "-> (Tensor tangent, Tensor d_match, Tensor d_insert, Tensor d_delete)");
  m.def(
      "lcs_double_backward(Tensor v, Tensor grad_score, Tensor similarity, Tensor? x_lengths, "
      "Tensor? y_lengths, float threshold, float gamma) -> (Tensor tangent, Tensor d_similarity)");
}
