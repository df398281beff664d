// What the forward sweep of few pairs takes (relay.h): the inputs of cells, made ahead of the steps.
//
// All recurrences take the same steps,
//
//   S(i,j) = smooth_max( D + S(i-1,j-1),  U + S(i-1,j),  L + S(i,j-1) )
//
// with three inputs a cell. A hit of LCS has U = L = -inf, a plateau D = -inf and U = L = 0. A cell that is
// not one of the table has D = U = -inf and L = 0, so that its row's state stays what it is.
#pragma once
#include "forward_bands.h"
#include "relay.h"

namespace softdp::cuda {

// What the kernel shares with others is compiled for three tables. A recurrence of one table gives it three
// times. Scores of 16 bits come in by the same kernel: their type is looked at where they are brought.
using RelayRecipe = Recipe<TwoWeights, float, true, Gap::kDense, Gap::kDense>;

struct RelayForward : ForwardArguments<RelayRecipe> {
  bool shared_gap;
  RelayChain<Edge> relay;
};

// What a cell takes, mantissas and exponents: match and insert, then delete. A step leaves the terms of its
// moves in their place: insert and delete in that of the first two mantissas, then their sum, which is the
// state's mantissa, and match.
struct alignas(16) FirstInputs {
  float p[2];
  int32_t e[2];
};
struct alignas(8) LastInput {
  float p;
  int32_t e;
};
struct alignas(8) NarrowState {
  float p;
  int32_t e;
};

// The exponents of a chunk, relative to the base. A step makes two moves of a path, of two scores each, so
// that in 16 steps an exponent changes by kMostGrowth at most. Live ones, within kNear at first, stay above
// kRelayDead. Dead ones stay below it, and so does a live one after a dead score. A sum of a state and an
// input, less a live exponent, stays within 32 bits.
constexpr int32_t kRelayNothing = -3 * (1 << 28);
constexpr int32_t kRelayDead = -7 * (1 << 26);
constexpr int64_t kMostGrowth = 2 * kChunk * 2 * int64_t(kInputLimit);
static_assert(-(kNear + kMostGrowth) > kRelayDead && kRelayNothing + kNear + kMostGrowth <= kRelayDead,
              "a chunk keeps the live and the dead apart");
static_assert(2 * int64_t(kRelayNothing) - (kNear + kMostGrowth) >= INT32_MIN, "within 32 bits");

constexpr int64_t kNoBase = INT64_MIN;

// Of what two chunks have at a time, the one of even chunks comes first.
template <class State>
struct RelayMemory {
  FirstInputs first[kRing * kRelayRows];
  LastInput last[kRing * kRelayRows];
  Waiting waiting[kBringers][3][BringsPart::kRows][kStripRows];  // by the warps that bring, by tables
  // S above the strip, by columns: as it came, and relative to `above_base`, which is kNoBase where the
  // exponents do not fit.
  alignas(16) State above[2][kChunk];
  NarrowState narrow_above[2][kChunk];
  int64_t above_base[2];
  // The exponents of the last row at each step, relative to the base, or its states where that is kNoBase.
  int32_t given[2][kChunk];
  State wide_given[2][kChunk];
  int64_t base[2];
  bool is_spoiled[4][kBringers];  // of four chunks, by what each of the warps has brought
  bool begins_spoiled, ends_spoiled;
  unsigned ticket;
};

SOFTDP_DEVICE bool is_near(const NarrowState& s) {
  return (s.e == kRelayNothing) | (unsigned(s.e + int(kNear - 1)) < unsigned(2 * kNear - 1));
}
template <class State>
SOFTDP_DEVICE NarrowState narrowed(const State& s) {
  return {s.p, is_live(s) ? int32_t(s.e) : kRelayNothing};
}
template <class State>
SOFTDP_DEVICE State widened(const NarrowState& s) {
  return {s.p, s.e > kRelayDead ? int64_t(s.e) : kNothing};
}

// The warps that bring: the inputs of row k of half of the lanes.
struct RelayInputs {
  using Narrow = RelayRecipe::Max::Narrow;
  using Wide = RelayRecipe::Max::Wide;
  using State = Wide::State;
  using Input = Narrow::Input;
  static constexpr int kTables = 3;

  const RelayForward& a;
  const RelayStrip<RelayForward>& at;
  RelayMemory<State>& memory;
  const int bringer;
  const BringsPart part;
  RelaySource<1> sources[kTables];

  SOFTDP_DEVICE RelayInputs(const RelayForward& a, const RelayStrip<RelayForward>& at,
                            RelayMemory<State>& memory)
      : a(a), at(at), memory(memory), bringer(bringer_of(at.warp)), part(brings_part(at.warp, at.lane)) {
#pragma unroll
    for (int i = 0; i < kTables; i++) {
      const Table& table = a.tables[i];
      sources[i] = RelaySource<1>(part, table.data, at.pair * table.batch + at.row0 * table.row, table.row,
                                  table.column, bytes_of(table.type));
    }
  }

  // The cells of chunk c, while those of the next one set out. Before the first chunk none have come.
  SOFTDP_DEVICE void bring(int c) {
    copy_async_wait();
    // The largest score, NaN where one is.
    const float worst = with_recurrence(a.recurrence, [&](auto of) {
      using Of = decltype(of);
      if constexpr (Of::kTables > 1)
        if (a.shared_gap) return bring_tables<Of, Of::kTables - 1>(c);
      return bring_tables<Of, Of::kTables>(c);
    });
    const bool spoils = ballot(Wide::spoils(worst, a.k)) != 0;
    if (at.lane == 0) memory.is_spoiled[c & 3][bringer] = spoils;
  }

 private:
  using Moves = Narrow::Moves;
  static SOFTDP_DEVICE Input settled(Input x) {
    x.e = x.e > kDeadNarrow ? x.e : kRelayNothing;
    return x;
  }
  SOFTDP_DEVICE Waiting& waiting(int i, int row) const { return memory.waiting[bringer][i][row][at.lane]; }

  // Of a score of a recurrence of one table.
  template <class Of>
  SOFTDP_DEVICE Moves moves_of(float score) const {
    const Input c = Narrow::input(score, a.k);
    const bool hit = Of::template Cell<Narrow>::ready(score, a.threshold, c, c, c).hit;
    const Input one{1, hit ? kRelayNothing : 0};
    return {{c.p, hit ? settled(c).e : kRelayNothing}, one, one};
  }
  template <class Of>
  SOFTDP_DEVICE Moves moves_of(float match, Input of_insert, Input of_delete) const {
    const Moves moves =
        Of::template Cell<Narrow>::ready(match, a.threshold, Narrow::input(match, a.k), of_insert, of_delete);
    return {settled(moves.match), settled(moves.insert), settled(moves.del)};
  }

  // kRead: how many tables are read. Gives back the largest score, NaN where one is.
  template <class Of, int kRead>
  SOFTDP_DEVICE float bring_tables(int c) const {
    const float worst = a.tables[0].type == Type::kFloat32 ? put_cells<Of, float, kRead>(c)
                                                           : put_cells<Of, Sixteen, kRead>(c);
    start_cells<kRead>(part, sources, c + 1, at, [&](int i, int row) -> Waiting& { return waiting(i, row); });
    return worst;
  }
  // Those that are none of the table keep the state. Gives back the largest score, NaN where one is. T: of
  // the scores; gaps may be wider. kRead: how many tables are read.
  template <class Of, class T, int kRead>
  SOFTDP_DEVICE float put_cells(int c) const {
    const uint32_t sign = uint32_t(a.costs) << 31;
    const int first = part.place(part.comes(c, 0), 0), second = part.place(part.comes(c, 0), 1),
              third = part.place(part.comes(c, 0), 2), fourth = part.place(part.comes(c, 0), 3);
    const int places[kFour] = {first, second, third, fourth};
    float worst = 0;
#pragma unroll
    for (int row = 0; row < BringsPart::kRows; row++) {
      const int column = part.comes(c, row), left = part.left(row, column, at.rows, at.size.m);
      Waiting floats[kRead] = {};
#pragma unroll
      for (int i = 0; i < kRead; i++) {
        if (c < 0) break;
        const Type type = a.tables[i].type;
        floats[i] = sizeof(T) == 4 || type == Type::kFloat32
                        ? floats_of<1, float>(waiting(i, row), type, sign)
                        : floats_of<1, T>(waiting(i, row), type, sign);
      }
      const auto score = [&](int i, int x) { return bit_cast<float>(floats[i].words[x]); };
#pragma unroll
      for (int x = 0; x < kFour; x++) {
#pragma unroll
        for (int i = 0; i < kRead; i++) worst = max_or_nan(worst, score(i, x));
        Moves moves;
        if constexpr (kRead == 1) {
          moves = moves_of<Of>(score(0, x));
        } else {
          const Input insert = Narrow::input(score(1, x), a.k);
          moves = moves_of<Of>(score(0, x), insert,
                               kRead == 2 ? insert : Narrow::input(score(kRead - 1, x), a.k));
        }
        const bool inside = x < left;
        moves.match.e = inside ? moves.match.e : kRelayNothing;
        moves.insert.e = inside ? moves.insert.e : kRelayNothing;
        moves.del.e = inside ? moves.del.e : 0;
        moves.del.p = inside ? moves.del.p : 1;
        const int place = places[x] + BringsPart::kLanesApart * row;
        memory.first[place] = {{moves.match.p, moves.insert.p}, {moves.match.e, moves.insert.e}};
        memory.last[place] = {moves.del.p, moves.del.e};
      }
    }
    return worst;
  }
};

}  // namespace softdp::cuda
