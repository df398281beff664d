// The backward launch of tiny pairs: saved gradients times the score's, summed where a gap was broadcast.
//
// It is an early launch: its blocks may be on the device before the launch before it ends.
#pragma once
#include "blocks.h"

namespace softdp::cuda {

struct ScaleArguments {
  Pairs pairs;
  const float* grad_score;
  const float* saved;
  int planes;
  Sink sinks[3];
};

constexpr int kScaleThreads = 128;
constexpr int kScaleWarps = kScaleThreads / kStripRows;
// Numbers that a thread asks for at once: their way from memory is what takes time.
constexpr int kTogether = 8;

// A cell without a path has no gradient, and a pair has none whose scale is 0: it may hold NaN.
SOFTDP_DEVICE float scaled_by(float scale, float x) {
  return x == 0 || scale == 0 ? 0.0f : scale * x;
}

template <class T>
SOFTDP_DEVICE void scale_cells(const float* saved, float scale, int cells, T* out, Type type) {
  for (int begin = int(threadIdx.x); begin < cells; begin += kTogether * kScaleThreads) {
    float x[kTogether];
#pragma unroll
    for (int k = 0; k < kTogether; k++)
      x[k] = begin + k * kScaleThreads < cells ? saved[begin + k * kScaleThreads] : 0.0f;
#pragma unroll
    for (int k = 0; k < kTogether; k++)
      if (begin + k * kScaleThreads < cells)
        out[begin + k * kScaleThreads] = value_to<T>(scaled_by(scale, x[k]), type);
  }
}

// A plane's sums over rows or columns. Every warp takes some of the sums, its lanes the summands.
template <class T>
SOFTDP_DEVICE void scale_sums(const float* saved, float scale, int N, int M, const Sink& g, T* out) {
  const int lane = int(threadIdx.x) % kStripRows, warp = int(threadIdx.x) / kStripRows,
            sums = (g.every_row ? N : 1) * (g.every_column ? M : 1), summands = sums > 0 ? N * M / sums : 0,
            pitch = g.every_column ? M : 1, skip = g.every_row ? M : 1;
  for (int begin = warp; begin < sums; begin += kTogether * kScaleWarps) {
    const auto at = [&](int k) { return begin + k * kScaleWarps; };
    float x[kTogether];
    double sum[kTogether] = {};
    for (int j = lane; j < summands; j += kStripRows) {
#pragma unroll
      for (int k = 0; k < kTogether; k++) x[k] = at(k) < sums ? saved[at(k) * skip + j * pitch] : 0.0f;
#pragma unroll
      for (int k = 0; k < kTogether; k++) sum[k] += double(x[k]);
    }
#pragma unroll
    for (int k = 0; k < kTogether; k++) {
      for (int other = kStripRows / 2; other > 0; other /= 2) sum[k] += shuffle_xor(sum[k], other);
      if (lane == 0 && at(k) < sums) out[at(k)] = value_to<T>(scaled_by(scale, float(sum[k])), g.type);
    }
  }
}

// A block scales one plane of a pair, if it is wanted.
SOFTDP_KERNEL(kScaleThreads)
scale_pairs(const ScaleArguments a) {
  const unsigned plane = blockIdx.x, pair = plane / unsigned(a.planes), i = plane % unsigned(a.planes);
  const Sink g = i == 0 ? a.sinks[0] : i == 1 ? a.sinks[1] : a.sinks[2];
  const int N = int(a.pairs.rows), M = int(a.pairs.columns);
  const float* const saved = a.saved + int64_t(plane) * N * M;
  const int64_t first = int64_t(pair) * (g.every_row ? N : 1) * (g.every_column ? M : 1);
  wait_for_previous();
  if (!g.data) return;
  const float scale = a.grad_score[pair];
  with_numbers<float>(g.type, [&](auto type) {
    auto* const out = static_cast<decltype(type)*>(g.data) + first;
    if (g.every_row && g.every_column)
      scale_cells(saved, scale, N * M, out, g.type);
    else
      scale_sums(saved, scale, N, M, g, out);
  });
}

}  // namespace softdp::cuda
