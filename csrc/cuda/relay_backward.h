// The backward sweep of few pairs: relay.h, on the table seen from its end.
#pragma once
#include "backward_bands.h"
#include "relay.h"

namespace softdp::cuda {

struct RelayBackward {
  using Edge = float;
  Recurrence recurrence;
  Pairs pairs;
  const float* grad_score;
  const float* saved;
  Sink sinks[3];
  bool shared_gap, visits;
  bool has_ends;  // as in backward_bands.h
  const float* verdicts;
  BoundaryGradient<float> boundary;
  RelayChain<float> relay;
  float* partial[2];  // of the gaps of one number a pair: (B, strips of 32 rows)
};

// What a cell takes: its weights, in the unit in which they are kept. All are 0 where it is not one of the
// table. A step leaves the adjoint A(i,j).
struct alignas(16) KeptWeights {
  float match, insert, del, unused;
};
struct RelayBackwardMemory {
  KeptWeights weights[kRing * kRelayRows];
  float adjoints[kRing * kRelayRows];
  Waiting waiting[kBringers][BringsPart::kRows][kStripRows];  // by the warps that bring
  // Of even and of odd chunks: what comes from above, and what both rows of the last lane hand on.
  float above[2][kChunk], given[2][2][kChunk];
  double sums[2][2];  // of insert and delete over the rows of each warp that takes
  unsigned ticket;
};

struct RelayWeights {
  const RelayBackward& a;
  const RelayStrip<RelayBackward>& at;
  RelayBackwardMemory& memory;
  const int bringer;
  const BringsPart part;
  RelaySource<-1> sources[1];

  SOFTDP_DEVICE RelayWeights(const RelayBackward& a, const RelayStrip<RelayBackward>& at,
                             RelayBackwardMemory& memory)
      : a(a), at(at), memory(memory), bringer(bringer_of(at.warp)), part(brings_part(at.warp, at.lane)) {
    const int64_t M = a.pairs.columns, first_row = at.pair * a.pairs.rows + at.size.n - 1 - at.row0;
    sources[0] = RelaySource<-1>(part, a.saved, first_row * M + at.size.m - 1, -M, -1, 4);
  }

  // The cells of chunk c, while those of the next one set out. Before the first chunk none have come.
  SOFTDP_DEVICE void bring(int c) {
    copy_async_wait();
    with_kept(a.recurrence, [&](auto keeps) { put_cells<decltype(keeps)>(c); });
    start_cells<1>(part, sources, c + 1, at, [&](int, int row) -> Waiting& { return waiting(row); });
  }

 private:
  SOFTDP_DEVICE Waiting& waiting(int row) const { return memory.waiting[bringer][row][at.lane]; }
  template <class Keeps>
  SOFTDP_DEVICE void put_cells(int c) const {
    const int first = part.comes(c, 0);
    const int places[kFour] = {part.place(first, 0), part.place(first, 1), part.place(first, 2),
                               part.place(first, 3)};
#pragma unroll
    for (int row = 0; row < BringsPart::kRows; row++) {
      const int left = part.left(row, part.comes(c, row), at.rows, at.size.m);
      const Waiting words = floats_of<-1, float>(waiting(row), Type::kFloat32, 0);
#pragma unroll
      for (int x = 0; x < kFour; x++) {
        Weights<float> w = Keeps::unpack({{bit_cast<float>(words.words[x])}});
        if (x >= left) w = {0, 0, 0};
        memory.weights[places[x] + BringsPart::kLanesApart * row] = {w.match, w.insert, w.del, 0};
      }
    }
  }
};

// The warp that makes the steps.
struct RelayAdjoints {
  const RelayBackward& a;
  const RelayStrip<RelayBackward>& at;
  RelayBackwardMemory& memory;
  float to_left[2] = {}, left_share[2] = {}, to_diagonal[2] = {}, to_above = 0;

  template <class Keeps>
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
};

// The warp that fetches what the strip above hands on and gives what the last row does.
struct RelayAdjointRows {
  const RelayBackward& a;
  const RelayStrip<RelayBackward>& at;
  RelayBackwardMemory& memory;
  const float seed;

  SOFTDP_DEVICE void fetch(int c) const {
    const int column = c * kChunk + at.lane;
    if (at.lane >= kChunk) return;
    float edge = at.strip == 0 && column == 0 ? seed : 0;
    if (column < at.size.m) {
      if (at.strip > 0)
        edge = at.edges_of(at.strip - 1)[column].wait();
      else if (a.boundary.by_last_row && (seed == 0 || a.has_ends))
        edge = a.boundary.by_last_row[at.pair * a.pairs.columns + column];
    }
    memory.above[c & 1][at.lane] = edge;
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

// The warps that take gradients away.
struct RelayGradients {
  static constexpr int kSinks = 3;
  using Numbers = float[kSinks][kFour];

  const RelayBackward& a;
  const RelayStrip<RelayBackward>& at;
  RelayBackwardMemory& memory;
  const TakesPart part;
  int64_t first_row;  // of the table
  Sum kinds[kSinks];
  RelaySink<-1> sinks[kSinks];
  bool by_four = true;
  double row_sums[2][TakesPart::kRows] = {};  // of insert and delete, where they are summed over columns

  SOFTDP_DEVICE RelayGradients(const RelayBackward& a, const RelayStrip<RelayBackward>& at,
                               RelayBackwardMemory& memory)
      : a(a),
        at(at),
        memory(memory),
        part(takes_part(at.warp, at.lane)),
        first_row(at.pair * a.pairs.rows + at.size.n - 1 - at.row0) {
    const int64_t M = a.pairs.columns;
#pragma unroll
    for (int i = 0; i < kSinks; i++) {
      kinds[i] = sum_of(a.sinks[i]);
      if (kinds[i] != Sum::kArray) continue;
      sinks[i] = RelaySink<-1>(part, a.sinks[i].data, first_row * M + at.size.m - 1, -M, a.sinks[i].type);
      by_four = by_four && sinks[i].by_four;
    }
  }
  SOFTDP_DEVICE void take(int c) {
    with_recurrence(a.recurrence, [&](auto of) {
      with_numbers<float>(a.sinks[0].type, [&](auto type) { take_as<decltype(of), decltype(type)>(c); });
    });
  }

  // After the last chunk: the sums over columns, of each row or of all.
  SOFTDP_DEVICE void end() const {
#pragma unroll
    for (int i = 1; i < kSinks; i++) {
      if (kinds[i] != Sum::kRow) continue;
      double all = 0;
#pragma unroll
      for (int row = 0; row < TakesPart::kRows; row++) {
        double sum = row_sums[i - 1][row];
        sum += shuffle_xor(sum, 8), sum += shuffle_xor(sum, 16);  // the lanes that have the row's columns
        all += sum;
        if (a.sinks[i].every_row && at.lane < 8 && part.row_of(row) < at.rows)
          put_number(a.sinks[i].data, a.sinks[i].type, first_row - part.row_of(row), sum);
      }
      for (int other = 4; other > 0; other /= 2) all += shuffle_xor(all, other);
      if (at.lane == 0) memory.sums[i - 1][part.row & 1] = all;
    }
  }

 private:
  template <class Of, class T>
  SOFTDP_DEVICE void take_as(int c) {
    constexpr int kTables = Of::kTables;
    const int places[kFour] = {place(c, 0), place(c, 1), place(c, 2), place(c, 3)};
    const auto make_row = [&](int row, Numbers& numbers) {
#pragma unroll
      for (int x = 0; x < kFour; x++) make<Of>(places[x] + TakesPart::kLanesApart * row, x, numbers);
    };
    const int first = part.goes(c, 0);
    Numbers all[TakesPart::kRows];
    bool is_whole[TakesPart::kRows], has_some = false;
    part.each_row(first, at, [&](int row, int, int left) {
      is_whole[row] = part.are_four(by_four, left);
      has_some = has_some || part.are_some(by_four, left);
      make_row(row, all[row]);
    });
    if constexpr (Of::kChargesBoundary)
      if (a.boundary.by_left) hand_to_boundary<Of>(c);
#pragma unroll
    for (int i = 1; i < kTables; i++) {
      if (kinds[i] != Sum::kRow) continue;
#pragma unroll
      for (int row = 0; row < TakesPart::kRows; row++) {
        const int left = left_of(c, row);
        float sum = 0;
#pragma unroll
        for (int x = 0; x < kFour; x++) sum += x < left ? all[row][i][x] : 0;
        row_sums[i - 1][row] += double(sum);
      }
    }
#pragma unroll
    for (int i = 0; i < kTables; i++) {
      if (kinds[i] != Sum::kArray) continue;
#pragma unroll
      for (int row = 0; row < TakesPart::kRows; row++)
        if (is_whole[row]) sinks[i].template put<T>(row, part.goes(c, row), all[row][i]);
    }
    if (!has_some) return;
    part.each_of_some(first, at, by_four, [&](int row, int column, int left) {
      Numbers some;
      make_row(row, some);
#pragma unroll
      for (int i = 0; i < kTables; i++)
        if (kinds[i] == Sum::kArray) sinks[i].template put_some<T>(row, column, some[i], left);
    });
  }

  SOFTDP_DEVICE int left_of(int c, int row) const {
    return part.left(row, part.goes(c, row), at.rows, at.size.m);
  }
  SOFTDP_DEVICE int place(int c, int x) const { return part.place(part.goes(c, 0), x); }
  template <class Of>
  SOFTDP_DEVICE Adjoint<float> shares_at(int place) const {
    using Keeps = Kept<typename Of::Packing, float, false>;
    const KeptWeights w = memory.weights[place];
    const float adjoint = memory.adjoints[place];
    return Of::adjoint(adjoint, Keeps::share(adjoint), Weights<float>{w.match, w.insert, w.del});
  }
  // Number x of a row, into numbers.
  template <class Of>
  SOFTDP_DEVICE void make(int place, int x, Numbers& numbers) const {
    const Adjoint<float> out = shares_at<Of>(place);
    numbers[0][x] = !Of::kEveryMove && a.visits ? memory.adjoints[place] : out.score;
    if constexpr (Of::kTables > 1) {
      numbers[1][x] = a.shared_gap ? out.to_above + out.to_left : out.to_above;
      numbers[2][x] = out.to_left;
    }
  }
  // What the rows' last cells hand to the boundary.
  template <class Of>
  SOFTDP_DEVICE void hand_to_boundary(int c) const {
#pragma unroll 1
    for (int row = 0; row < TakesPart::kRows; row++) {
      const int left = left_of(c, row);
      if (left <= 0 || left > kFour) continue;
      const Adjoint<float> out = shares_at<Of>(place(c, left - 1) + TakesPart::kLanesApart * row);
      a.boundary.by_left[first_row - part.row_of(row)] = out.to_left;
      a.boundary.by_left_diagonal[first_row - part.row_of(row)] = out.to_diagonal;
    }
  }
};

SOFTDP_KERNEL_BLOCKS(kRelayThreads, 1)
relay_backward_strips(const RelayBackward a) {
  SOFTDP_SHARED(raw);
  RelayBackwardMemory& memory = *reinterpret_cast<RelayBackwardMemory*>(raw);
  const RelayStrip<RelayBackward> at(a, memory.ticket);
  const float seed = a.grad_score ? a.grad_score[at.pair] : 1;
  const float verdict = with_kept(
      a.recurrence, [&](auto keeps) { return verdict_of_pair<decltype(keeps)>(a, at.pair, seed, at.size); });
  const bool swept = verdict >= 0;
  if (at.warp < kRelayBand.warps) {
    const float value = swept || verdict < 0 ? 0 : NAN;
    with_numbers<float>(a.sinks[0].type, [&](auto type) {
      fill_gradients<decltype(type)>(a.sinks, a.pairs, kRelayBand, at.strip, at.pair, at.size, value, swept);
    });
  }
  if (!swept || !at.is_at_work()) return;

  RelayWeights weights(a, at, memory);
  RelayAdjoints adjoints{a, at, memory};
  RelayGradients gradients(a, at, memory);
  const RelayAdjointRows rows{a, at, memory, seed};
  const auto steps = [&](auto rounds) {
    with_kept(a.recurrence, [&](auto keeps) { rounds([&](int c) { adjoints.chunk<decltype(keeps)>(c); }); });
  };
  at.go(
      steps, [&](int c) { weights.bring(c); }, [&](int c) { rows.fetch(c); }, [&](int c) { rows.give(c); },
      [&](int c) { gradients.take(c); });
  if (at.role == Role::kTakes) gradients.end();
  if (!a.partial[0] && !a.partial[1]) return;
  sync_roles();
  // Sums over a strip are kept by 32 rows: all is the first half's.
#pragma unroll
  for (int i = 0; i < 2; i++) {
    if (threadIdx.x != 0 || !a.partial[i]) continue;
    float* const of_strip = a.partial[i] + at.pair * strips_of(a.pairs.rows) + at.row0 / kStripRows;
    of_strip[0] = float(memory.sums[i][0] + memory.sums[i][1]);
    if (at.rows > kStripRows) of_strip[1] = 0;
  }
}

}  // namespace softdp::cuda
