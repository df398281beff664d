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

// Scores of 16 bits come in by the same kernel: their type is looked at where they are brought.
template <class Recurrence>
using RelayRecipe = Recipe<Recurrence, float, true, Recurrence::kTables == 1 ? Gap::kNone : Gap::kDense,
                           Recurrence::kTables == 1 ? Gap::kNone : Gap::kDense>;

template <class Recurrence>
struct RelayForward : ForwardArguments<RelayRecipe<Recurrence>> {
  bool shared_gap;
  RelayChain<typename ForwardArguments<RelayRecipe<Recurrence>>::Edge> relay;
};

// What a cell takes: match and insert, then delete. A step leaves the shares of insert and delete in the
// place of the first two, and in that of delete the sum of all three shares, which is the state's mantissa.
struct alignas(16) FirstInputs {
  float match;
  int32_t match_e;
  float insert;
  int32_t insert_e;
};
struct alignas(8) LastInput {
  float del;
  int32_t del_e;
};
struct alignas(8) Shares {
  float insert, del;
};
struct alignas(8) NarrowState {
  float p;
  int32_t e;
};

// The exponents of a chunk, relative to the base. A step makes two moves of a path, of two scores each, so
// that in 16 steps an exponent changes by 2^28 at most: live ones, within kNear at first, stay above
// kRelayDead, dead ones below it, and sums of a state and an input, less a live exponent, within 32 bits.
constexpr int32_t kRelayNothing = -3 * (1 << 28);
constexpr int32_t kRelayDead = -7 * (1 << 26);
static_assert(-(kNear + (1 << 28)) > kRelayDead && kRelayNothing + (1 << 28) < kRelayDead,
              "a chunk keeps the live and the dead apart");

constexpr int64_t kNoBase = INT64_MIN;

// Of what two chunks have at a time, the one of even chunks comes first.
template <class State>
struct RelayMemory {
  FirstInputs first[kRing * kRelayRows];
  LastInput last[kRing * kRelayRows];
  // S above the strip, by columns: as it came, and relative to `above_base`, which is kNoBase where the
  // exponents do not fit.
  alignas(16) State above[2][kChunk];
  NarrowState narrow_above[2][kChunk];
  int64_t above_base[2];
  // The exponents of the last row at each step, relative to the base, or its states where that is kNoBase.
  int32_t given[2][kChunk];
  State wide_given[2][kChunk];
  int64_t base[2];
  bool is_spoiled[4][2];  // of four chunks, by what either of the warps has brought
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

// The warps that bring: the inputs of row k of all lanes.
template <class Recurrence>
struct RelayInputs {
  using R = RelayRecipe<Recurrence>;
  using Narrow = typename R::Max::Narrow;
  using Wide = typename R::Max::Wide;
  using State = typename Wide::State;
  using Cell = typename Recurrence::template Cell<Narrow>;
  using Input = typename Narrow::Input;
  static constexpr int kTables = Recurrence::kTables;

  const RelayForward<Recurrence>& a;
  const RelayStrip<RelayForward<Recurrence>>& at;
  RelayMemory<State>& memory;
  const int k;
  const RelayPart part{at.lane};
  Held held[kTables][4];  // for the chunk that comes next

  SOFTDP_DEVICE int row_of(int eight) const { return 2 * part.lane_of(eight) + k; }
  SOFTDP_DEVICE void hold_chunk(int c) {
#pragma unroll
    for (int i = 0; i < kTables; i++) {
      if (i == 2 && a.shared_gap) break;
      const Table& table = a.tables[i];
      const int bytes = bytes_of(table.type);
      const char* const first =
          static_cast<const char*>(table.data) + (at.pair * table.batch + at.row0 * table.row) * bytes;
#pragma unroll
      for (int eight = 0; eight < 4; eight++) {
        const int row = row_of(eight), column = part.comes(c, eight);
        const int left = row < at.rows && column >= 0 ? at.size.m - column : 0;
        held[i][eight] =
            hold(first + (row * table.row + column * table.column) * bytes, table.column, bytes, left);
      }
    }
  }

  SOFTDP_DEVICE void bring(int c) {
    if (c < 0) {
      keep_chunk(c);
      hold_chunk(c + 1);
      return;
    }
    bool spoils = Wide::spoils(put_chunk(c), a.k);
    hold_chunk(c + 1);
    if (k == 0) spoils = bring_edges(c) || spoils;
    spoils = ballot(spoils) != 0;
    if (at.lane == 0) memory.is_spoiled[c & 3][k] = spoils;
  }

 private:
  using Moves = typename Narrow::Moves;
  static SOFTDP_DEVICE Input dead() { return {1, kRelayNothing}; }
  static SOFTDP_DEVICE Moves keeping() { return {dead(), dead(), {1, 0}}; }
  static SOFTDP_DEVICE Input settled(Input x) {
    x.e = x.e > kDeadNarrow ? x.e : kRelayNothing;
    return x;
  }
  SOFTDP_DEVICE void put(int step, int lane, const Moves& x) const {
    const int place = ring_place(step, k, lane);
    memory.first[place] = {x.match.p, x.match.e, x.insert.p, x.insert.e};
    memory.last[place] = {x.del.p, x.del.e};
  }

  SOFTDP_DEVICE Moves moves_of(float match, float insert, float del) const {
    const Input of_match = Narrow::input(match, a.k);
    if constexpr (kTables == 1) {
      const bool hit = Cell::ready(match, a.threshold, of_match, of_match, of_match).hit;
      const Input one{1, hit ? kRelayNothing : 0};
      return {{of_match.p, hit ? settled(of_match).e : kRelayNothing}, one, one};
    } else {
      const Input of_insert = Narrow::input(insert, a.k),
                  of_delete = a.shared_gap ? of_insert : Narrow::input(del, a.k);
      const Moves moves = Cell::ready(match, a.threshold, of_match, of_insert, of_delete);
      return {settled(moves.match), settled(moves.insert), settled(moves.del)};
    }
  }

  SOFTDP_DEVICE void keep_chunk(int c) const {
#pragma unroll 1
    for (int eight = 0; eight < 4; eight++)
      for (int x = 0; x < kFour; x++)
        put(part.comes(c, eight) + x + part.lane_of(eight), part.lane_of(eight), keeping());
  }
  // The cells of chunk c, those that are none of the table such that they keep the state. The largest of
  // their scores, or NaN.
  SOFTDP_DEVICE float put_chunk(int c) const {
    const uint32_t sign = uint32_t(a.negates()) << 31;
    float worst = 0;
#pragma unroll
    for (int eight = 0; eight < 4; eight++) {
      float score[3][kFour] = {};
#pragma unroll
      for (int i = 0; i < kTables; i++) {
        if (i == 2 && a.shared_gap) break;
        numbers_of(held[i][eight], a.tables[i].type, sign, score[i]);
#pragma unroll
        for (int x = 0; x < kFour; x++) worst = max_or_nan(worst, score[i][x]);
      }
      const int lane = part.lane_of(eight), column = part.comes(c, eight);
      const int m = row_of(eight) < at.rows ? at.size.m : 0;
#pragma unroll
      for (int x = 0; x < kFour; x++) {
        const bool inside = unsigned(column + x) < unsigned(m);
        Moves moves = moves_of(score[0][x], score[1][x], score[2][x]);
        moves.match.e = inside ? moves.match.e : kRelayNothing;
        moves.insert.e = inside ? moves.insert.e : kRelayNothing;
        moves.del.e = inside ? moves.del.e : 0;
        moves.del.p = inside ? moves.del.p : 1;
        put(column + x + lane, lane, moves);
      }
    }
    return worst;
  }

  // S above the strip at the columns that row 0 takes in chunk c, relative to the base of two chunks before,
  // which is rarely another one than the chunk's. Whether it is NaN.
  SOFTDP_DEVICE bool bring_edges(int c) {
    const int column = c * kChunk + at.lane;
    State edge = boundary_state<Wide>(column < at.size.m && a.start != Start::kAnchored);
    if (at.lane < kChunk && column < at.size.m) {
      if (at.strip > 0)
        edge = at.edges_of(at.strip - 1)[column].wait();
      else if (a.boundary.above)
        edge = static_cast<const State*>(a.boundary.above)[at.pair * a.pairs.columns + column];
    }
    const int64_t base = memory.base[c & 1];
    const State relative = Base<State>::shifted(edge, -base);
    const bool fits = base != kNoBase && Base<State>::fits(relative);
    if (at.lane < kChunk) {
      memory.above[c & 1][at.lane] = edge;
      memory.narrow_above[c & 1][at.lane] = narrowed(relative);
    }
    if (at.lane == 0) memory.above_base[c & 1] = fits ? base : kNoBase;
    return is_nan(edge);
  }
};

}  // namespace softdp::cuda
