// The backward sweep of few pairs: relay.h, on the table seen from its end.
#pragma once
#include "backward_bands.h"
#include "relay.h"

namespace softdp::cuda {

template <class Recurrence_>
struct RelayBackward {
  using V = float;
  using Edge = float;
  using Recurrence = Recurrence_;
  using Keeps = Kept<typename Recurrence::Packing, float, false>;
  static constexpr int kPlanes = Keeps::kNumbers;
  static_assert(kPlanes == 1, "a cell's weights are one word");
  Pairs pairs;
  const float* grad_score;
  const float* saved;
  Sink sinks[3];
  bool shared_gap, visits;
  const float* verdicts;
  BoundaryGradient<float> boundary;
  RelayChain<float> relay;
};

// What a cell takes: its weights, in the unit in which they are kept. All are 0 where it is not one of the
// table. A step leaves the adjoint A(i,j).
struct alignas(16) KeptWeights {
  float match, insert, del, unused;
};
struct RelayBackwardMemory {
  KeptWeights weights[kRing * kRelayRows];
  float adjoints[kRing * kRelayRows];
  // Of even and of odd chunks: what comes from above, and what both rows of the last lane hand on.
  float above[2][kChunk], given[2][2][kChunk];
  unsigned ticket;
};

template <class Recurrence>
struct RelayWeights {
  using Arguments = RelayBackward<Recurrence>;
  using Keeps = typename Arguments::Keeps;
  const Arguments& a;
  const RelayStrip<Arguments>& at;
  RelayBackwardMemory& memory;
  const int k;
  const float seed;
  const RelayPart part{at.lane};
  Held held[4];       // for the chunk that comes next
  bool is_turned[4];  // whether they lie against memory's order

  SOFTDP_DEVICE int row_of(int eight) const { return 2 * part.lane_of(eight) + k; }
  SOFTDP_DEVICE void hold_chunk(int c) {
    const int n = at.size.n, m = at.size.m;
    const int64_t M = a.pairs.columns;
    const float* const corner = a.saved + at.pair * a.pairs.rows * M + int64_t(n - 1 - at.row0) * M + m - 1;
#pragma unroll
    for (int eight = 0; eight < 4; eight++) {
      const int row = row_of(eight), column = part.comes(c, eight);
      const int left = row < at.rows && column >= 0 ? m - column : 0;
      const float* const first = corner - row * M - column;
      is_turned[eight] = left < kFour || reinterpret_cast<uintptr_t>(first + 1) % 16 != 0;
      held[eight] = is_turned[eight] ? hold(first, -1, 4, left) : hold(first - (kFour - 1), 1, 4, left);
    }
  }

  SOFTDP_DEVICE void bring(int c) {
    if (c < 0) clear();
    put_chunk(c);
    hold_chunk(c + 1);
    if (c >= 0 && k == 0) bring_edges(c);
  }

 private:
  SOFTDP_DEVICE void clear() {
#pragma unroll
    for (int eight = 0; eight < 4; eight++) held[eight] = Held{}, is_turned[eight] = false;
  }
  SOFTDP_DEVICE void put_chunk(int c) const {
#pragma unroll
    for (int eight = 0; eight < 4; eight++) {
      const int lane = part.lane_of(eight), column = part.comes(c, eight);
      const int m = c >= 0 && row_of(eight) < at.rows ? at.size.m : 0;
#pragma unroll
      for (int x = 0; x < kFour; x++) {
        const uint32_t on = held[eight].words[x], back = held[eight].words[kFour - 1 - x];
        const uint32_t word = choose(is_turned[eight], on, back);
        Weights<float> w = Keeps::unpack({{bit_cast<float>(word)}});
        if (unsigned(column + x) >= unsigned(m)) w = {0, 0, 0};
        memory.weights[ring_place(column + x + lane, k, lane)] = {w.match, w.insert, w.del, 0};
      }
    }
  }
  SOFTDP_DEVICE void bring_edges(int c) {
    const int column = c * kChunk + at.lane;
    if (at.lane >= kChunk) return;
    float edge = at.strip == 0 && column == 0 ? seed : 0;
    if (column < at.size.m) {
      if (at.strip > 0)
        edge = at.edges_of(at.strip - 1)[column].wait();
      else if (a.boundary.by_last_row && seed == 0)
        edge = a.boundary.by_last_row[at.pair * a.pairs.columns + column];
    }
    memory.above[c & 1][at.lane] = edge;
  }
};

// The warp that makes the steps.
template <class Recurrence>
struct RelayAdjoints {
  using Arguments = RelayBackward<Recurrence>;
  using Keeps = typename Arguments::Keeps;
  const Arguments& a;
  const RelayStrip<Arguments>& at;
  RelayBackwardMemory& memory;
  float to_left[2] = {}, left_share[2] = {}, to_diagonal[2] = {}, to_above = 0;

  SOFTDP_DEVICE void chunk(int c) {
    const int lane = at.lane;
    const bool is_bottom = lane == at.bottom();
    float (&given)[2][kChunk] = memory.given[c & 1];
    const float (&above)[kChunk] = memory.above[c & 1];
    const int place = ring_place(c * kChunk, 0, lane);
    float next_edge = above[0];
    KeptWeights next[2] = {memory.weights[place], memory.weights[place + kStripRows]};
#pragma unroll
    for (int q = 0; q < kChunk; q++) {
      float up = shuffle_up(to_above);
      if (lane == 0) up = next_edge;
      if (q + 1 < kChunk) next_edge = above[q + 1];
      const int here = place + q * kRelayRows;
#pragma unroll
      for (int k = 0; k < 2; k++) {
        const KeptWeights w = next[k];
        if (q + 1 < kChunk) next[k] = memory.weights[here + kRelayRows + k * kStripRows];
        const float adjoint = up + to_left[k], share = Keeps::share_of(up, left_share[k]);
        memory.adjoints[here + k * kStripRows] = adjoint;
        up = fmaf(share, w.insert, to_diagonal[k]);
        to_left[k] = share * w.del;
        left_share[k] = Keeps::share(to_left[k]);
        to_diagonal[k] = share * w.match;
        if (is_bottom) given[k][q] = up;
      }
      to_above = up;
    }
  }
  SOFTDP_DEVICE void give(int c) const {
    const int column = at.given_column(c);
    if (at.lane >= kChunk || column < 0 || column >= at.size.m) return;
    const float edge = memory.given[c & 1][at.bottom_row()][at.lane];
    if (!at.is_last())
      at.edges_of(at.strip)[column].put(edge);
    else if (a.boundary.by_above)
      a.boundary.by_above[at.pair * a.pairs.columns + column] = edge;
  }
};

// The warp that takes gradients away.
template <class Recurrence>
SOFTDP_DEVICE void take_gradients(const RelayBackward<Recurrence>& a,
                                  const RelayStrip<RelayBackward<Recurrence>>& at,
                                  const RelayBackwardMemory& memory, int c) {
  using Keeps = typename RelayBackward<Recurrence>::Keeps;
  constexpr int kSinks = Recurrence::kTables;
  const int64_t N = a.pairs.rows, M = a.pairs.columns;
  const int m = at.size.m;
  const RelayPart part(at.lane);
#pragma unroll 1
  for (int eight = 0; eight < 4; eight++) {
    const int lane = part.lane_of(eight), column = part.goes(c, eight);
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const int row = 2 * lane + k;
      if (row >= at.rows || column < 0 || column >= m) continue;
      float gradient[kSinks][kFour];
      const int64_t row_in_table = at.size.n - 1 - at.row0 - row;
#pragma unroll
      for (int x = 0; x < kFour; x++) {
        const int place = ring_place(column + x + lane, k, lane);
        const KeptWeights w = memory.weights[place];
        const float adjoint = memory.adjoints[place];
        const Adjoint<float> out =
            Recurrence::adjoint(adjoint, Keeps::share(adjoint), Weights<float>{w.match, w.insert, w.del});
        gradient[0][x] = !Recurrence::kEveryMove && a.visits ? adjoint : out.score;
        if constexpr (kSinks > 1) {
          gradient[1][x] = a.shared_gap ? out.to_above + out.to_left : out.to_above;
          gradient[2][x] = out.to_left;
        }
        if constexpr (Recurrence::kChargesBoundary)
          if (column + x == m - 1) {
            a.boundary.by_left[at.pair * N + row_in_table] = out.to_left;
            a.boundary.by_left_diagonal[at.pair * N + row_in_table] = out.to_diagonal;
          }
      }
#pragma unroll
      for (int i = 0; i < kSinks; i++)
        if (a.sinks[i].data)
          put_four<-1>(a.sinks[i].data, (at.pair * N + row_in_table) * M + m - 1 - column, a.sinks[i].type,
                       gradient[i], m - column);
    }
  }
}

template <class Recurrence>
SOFTDP_KERNEL_BLOCKS(kRelayThreads, 2)
relay_backward_strips(const RelayBackward<Recurrence> a) {
  using Arguments = RelayBackward<Recurrence>;
  SOFTDP_SHARED(raw);
  RelayBackwardMemory& memory = *reinterpret_cast<RelayBackwardMemory*>(raw);
  const RelayStrip<Arguments> at(a, memory.ticket);
  const float seed = a.grad_score ? a.grad_score[at.pair] : 1,
              verdict = verdict_of_pair(a, at.pair, seed, at.size);
  const bool swept = verdict >= 0;
  if (at.warp < 2) {
    const float value = swept || verdict < 0 ? 0 : NAN;
    if (a.sinks[0].type == Type::kFloat32)
      fill_gradients<float>(a.sinks, a.pairs, {2}, at.strip, at.pair, at.size, value, swept);
    else
      fill_gradients<Sixteen>(a.sinks, a.pairs, {2}, at.strip, at.pair, at.size, value, swept);
  }
  if (!swept || !at.is_at_work()) return;

  RelayWeights<Recurrence> weights{a, at, memory, at.warp == kBringsSecond, seed};
  RelayAdjoints<Recurrence> adjoints{a, at, memory};
  at.go([&](int c) { adjoints.chunk(c); }, [&](int c) { weights.bring(c); }, [&](int c) { adjoints.give(c); },
        [&](int c) { take_gradients(a, at, memory, c); });
}

}  // namespace softdp::cuda
