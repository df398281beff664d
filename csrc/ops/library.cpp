// The operators' schemas, each once. A recurrence has three: <name>_forward, _backward and _double_backward.
// `boundary`: where paths may begin and end; boundary_of() of problem.h has its numbers.
// `bandwidth`: which cells count, Corridor of corridor.h; -1: all.
// `costs`: the tables are costs, and the score is their smooth minimum. A gap has size 1 or that of the
// scores in each dimension. A gradient has the size of its tensor, but always all B pairs, and match's dtype.
// A gradient that is not needed is an empty tensor. What `saved` holds, and its shape, differ by device:
// cpu/kernels.h, cuda/wavefront.h. The backward operators take the scores too, for their sizes and for the
// derivatives of these operators. Some sweeps read them again.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(softdp, m) {
  m.def(
      "fsd_forward(Tensor match, Tensor insert, Tensor? delete, Tensor? x_lengths, Tensor? y_lengths, "
      "float gamma, int boundary, int bandwidth, bool costs, bool save) -> (Tensor score, Tensor saved)");
  m.def(
      "fsd_backward(Tensor grad_score, Tensor saved, Tensor match, Tensor insert, Tensor? delete, "
      "Tensor? x_lengths, Tensor? y_lengths, float gamma, int boundary, int bandwidth, bool costs, "
      "bool need_match, bool need_insert, bool need_delete) "
      "-> (Tensor d_match, Tensor d_insert, Tensor d_delete)");
  m.def(
      "lcs_forward(Tensor similarity, Tensor? x_lengths, Tensor? y_lengths, float threshold, float gamma, "
      "int bandwidth, bool save) -> (Tensor score, Tensor saved)");
  m.def(
      "lcs_backward(Tensor grad_score, Tensor saved, Tensor similarity, Tensor? x_lengths, "
      "Tensor? y_lengths, float threshold, float gamma, int bandwidth, bool visits) -> Tensor");
  m.def(
      "needleman_wunsch_forward(Tensor match, Tensor insert, Tensor? delete, Tensor? x_lengths, "
      "Tensor? y_lengths, float gamma, int boundary, int bandwidth, bool save) "
      "-> (Tensor score, Tensor saved)");
  m.def(
      "needleman_wunsch_backward(Tensor grad_score, Tensor saved, Tensor match, Tensor insert, "
      "Tensor? delete, Tensor? x_lengths, Tensor? y_lengths, float gamma, int boundary, "
      "int bandwidth, bool need_match, bool need_insert, bool need_delete) "
      "-> (Tensor d_match, Tensor d_insert, Tensor d_delete)");
  // The derivatives of the backward operators: v_match, v_insert and v_delete are the gradients of their
  // results, dense or broadcast; everything is float64, or float32.
  m.def(
      "fsd_double_backward(Tensor? v_match, Tensor? v_insert, Tensor? v_delete, Tensor grad_score, "
      "Tensor match, Tensor insert, Tensor? delete, Tensor? x_lengths, Tensor? y_lengths, float gamma, "
      "int boundary, int bandwidth, bool costs, bool need_match, bool need_insert, bool need_delete) "
      "-> (Tensor tangent, Tensor d_match, Tensor d_insert, Tensor d_delete)");
  m.def(
      "lcs_double_backward(Tensor v, Tensor grad_score, Tensor similarity, Tensor? x_lengths, "
      "Tensor? y_lengths, float threshold, float gamma, int bandwidth, bool need_similarity) "
      "-> (Tensor tangent, Tensor d_similarity)");
  m.def(
      "needleman_wunsch_double_backward(Tensor? v_match, Tensor? v_insert, Tensor? v_delete, "
      "Tensor grad_score, Tensor match, Tensor insert, Tensor? delete, Tensor? x_lengths, "
      "Tensor? y_lengths, float gamma, int boundary, int bandwidth, "
      "bool need_match, bool need_insert, bool need_delete) "
      "-> (Tensor tangent, Tensor d_match, Tensor d_insert, Tensor d_delete)");
  // The best path of each pair, that with gamma 0. recurrence: a place of enum class Recurrence. cpu/paths.h.
  m.def(
      "best_path(Tensor match, Tensor insert, Tensor delete, Tensor? open, Tensor? x_lengths, "
      "Tensor? y_lengths, int recurrence, float threshold, int boundary, int bandwidth, "
      "bool costs) -> (Tensor steps, Tensor lengths)");
  // The same on a GPU, of what the forward operator of N by M scores has returned, with gamma 0.
  // cuda/paths.h.
  m.def(
      "trace_path(Tensor saved, Tensor score, Tensor? x_lengths, Tensor? y_lengths, int rows, int columns, "
      "int recurrence, int boundary, int bandwidth) -> (Tensor steps, Tensor lengths)");
  // Of features (B, N, D), (B, M, D); u and w null: x and y. cpu/distances.h.
  m.def("difference_products(Tensor x, Tensor y, Tensor? u, Tensor? w) -> Tensor");
  m.def(
      "difference_sums(Tensor weights, Tensor x, Tensor y, bool need_x, bool need_y) "
      "-> (Tensor sums_x, Tensor sums_y)");
  // Their scores, and these scores' gradients by them. kind: 0 soft-DTW of squared distances, 1 FSD of both
  // halves' cosines, 2 LCS of cosines, 3 soft-DTW of 1 - cosines, 4 of distances, 5 of sums of absolute
  // differences. LCS has the boundary 0 only. Without y, in soft-DTW that begins alike above and to the left,
  // sequences are compared with themselves, y_lengths and need_y do not count, and d_x is by both.
  // cpu/features.h, cuda/feature_scores.h.
  m.def(
      "score_of_features(Tensor x, Tensor? y, Tensor? x_lengths, Tensor? y_lengths, int kind, float gamma, "
      "float threshold, int boundary, int bandwidth, bool need_x, bool need_y) "
      "-> (Tensor score, Tensor d_x, Tensor d_y)");
  // These gradients, each pair's times that by its score; NaN for a score that is NaN, unless that is 0.
  m.def("scaled_gradients(Tensor of_score, Tensor score, Tensor d_x, Tensor d_y) -> (Tensor, Tensor)");
  // The same of every x and every y, (K, N, D), (L, M, D): scores (K, L), and the gradients by the features.
  m.def(
      "pairwise_scores(Tensor x, Tensor y, Tensor? x_lengths, Tensor? y_lengths, int kind, float gamma, "
      "float threshold, int boundary, int bandwidth) -> Tensor");
  m.def(
      "pairwise_gradients(Tensor of_scores, Tensor x, Tensor y, Tensor? x_lengths, Tensor? y_lengths, "
      "int kind, float gamma, float threshold, int boundary, int bandwidth, bool need_x, bool need_y) "
      "-> (Tensor d_x, Tensor d_y)");
}

// Affine gaps: `open` is the score of a gap's first step, insert and delete are those of further ones.
STABLE_TORCH_LIBRARY_FRAGMENT(softdp, m) {
  m.def(
      "affine_forward(Tensor match, Tensor insert, Tensor? delete, Tensor open, Tensor? x_lengths, "
      "Tensor? y_lengths, float gamma, int boundary, int bandwidth, bool save) -> (Tensor score, Tensor "
      "saved)");
  m.def(
      "affine_backward(Tensor grad_score, Tensor saved, Tensor match, Tensor insert, Tensor? delete, "
      "Tensor open, Tensor? x_lengths, Tensor? y_lengths, float gamma, int boundary, int bandwidth, "
      "bool need_match, bool need_insert, bool need_delete, bool need_open) "
      "-> (Tensor d_match, Tensor d_insert, Tensor d_delete, Tensor d_open)");
  m.def(
      "affine_double_backward(Tensor? v_match, Tensor? v_insert, Tensor? v_delete, Tensor? v_open, "
      "Tensor grad_score, Tensor match, Tensor insert, Tensor? delete, Tensor open, Tensor? x_lengths, "
      "Tensor? y_lengths, float gamma, int boundary, int bandwidth, bool need_match, bool need_insert, bool "
      "need_delete, "
      "bool need_open) "
      "-> (Tensor tangent, Tensor d_match, Tensor d_insert, Tensor d_delete, Tensor d_open)");
}
