// The backward launch of tiny pairs: saved gradients times the score's, summed where a gap was broadcast.
#pragma once
#include "blocks.h"

namespace softdp::cuda {

template <class T>
struct ScaleArguments {
  using V = typename ValueOf<T>::Type;
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  int planes;
  Sink sinks[3];
};

constexpr int kScaleWarps = 4;
// Numbers that a thread asks for at once: their way from memory is what takes time.
constexpr int kTogether = 8;

// A block scales one plane of a pair, if it is wanted. Where the scale is 0 nothing is read: the pair may
// hold NaN, and gets 0.
template <class T>
SOFTDP_KERNEL(kScaleWarps* kStripRows)
scale_pairs(const ScaleArguments<T> a) {
  using V = typename ValueOf<T>::Type;
  const int64_t plane = blockIdx.x, pair = plane / a.planes;
  const int i = int(plane % a.planes);
  const Sink g = i == 0 ? a.sinks[0] : i == 1 ? a.sinks[1] : a.sinks[2];
  if (!g.data) return;
  T* const out = static_cast<T*>(g.data);
  const int N = int(a.pairs.rows), M = int(a.pairs.columns), thread = int(threadIdx.x);
  const int lane = thread % kStripRows, warp = thread / kStripRows;
  const V scale = a.grad_score[pair];
  const auto scaled = [&](V x) {
    return x == 0 ? V(0) : scale * x;
  };  // a cell without a path has no gradient
  const V* const saved = a.saved + plane * N * M;
  const int cells = scale == 0 ? 0 : N * M;  // to read
  V x[kTogether];
  if (g.every_row && g.every_column) {
    for (int begin = thread; begin < N * M; begin += kTogether * kScaleWarps * kStripRows) {
      const auto at = [&](int k) { return begin + k * kScaleWarps * kStripRows; };
#pragma unroll
      for (int k = 0; k < kTogether; k++) x[k] = at(k) < cells ? saved[at(k)] : V(0);
#pragma unroll
      for (int k = 0; k < kTogether; k++)
        if (at(k) < N * M) out[pair * N * M + at(k)] = value_to<T>(scaled(x[k]), g.type);
    }
    return;
  }
  // Every warp takes some of the sums, its lanes the summands.
  const int rows = g.every_row ? N : 1, columns = g.every_column ? M : 1, sums = rows * columns;
  const int summands = cells / (sums > 0 ? sums : 1), pitch = g.every_column ? M : 1,
            skip = g.every_row ? M : 1;
  for (int begin = warp; begin < sums; begin += kTogether * kScaleWarps) {
    const auto at = [&](int k) { return begin + k * kScaleWarps; };
    double sum[kTogether] = {};
    for (int j = lane; j < summands; j += kStripRows) {
#pragma unroll
      for (int k = 0; k < kTogether; k++) x[k] = at(k) < sums ? saved[at(k) * skip + j * pitch] : V(0);
#pragma unroll
      for (int k = 0; k < kTogether; k++) sum[k] += double(x[k]);
    }
#pragma unroll
    for (int k = 0; k < kTogether; k++) {
      for (int other = kStripRows / 2; other > 0; other /= 2) sum[k] += shuffle_xor(sum[k], other);
      if (lane == 0 && at(k) < sums) out[pair * sums + at(k)] = value_to<T>(scaled(V(sum[k])), g.type);
    }
  }
}

}  // namespace softdp::cuda
