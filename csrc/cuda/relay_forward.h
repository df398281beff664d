// The forward sweep of few pairs: relay.h.
#pragma once
#include "relay_inputs.h"

namespace softdp::cuda {

// The warp that fetches the row above the strip and gives its last row, and gathers what spoils the pair.
struct RelayRows {
  using Wide = RelayRecipe::Max::Wide;
  using State = Wide::State;
  const RelayForward& a;
  const RelayStrip<RelayForward>& at;
  RelayMemory<State>& memory;
  bool is_spoiled = false;

  // S above the strip at the columns that row 0 takes in chunk c, relative to the base of two chunks before,
  // which is rarely another one than the chunk's.
  SOFTDP_DEVICE void fetch(int c) {
    const int column = c * kChunk + at.lane;
    const bool takes = at.lane < kChunk && column < at.size.m;
    State edge = boundary_state<Wide>(takes && a.start != Start::kAnchored);
    if (takes) {
      if (at.strip > 0)
        edge = at.edges_of(at.strip - 1)[column].wait();
      else if (a.boundary.above)
        edge = static_cast<const State*>(a.boundary.above)[at.pair * a.pairs.columns + column];
    }
    is_spoiled = ballot(is_nan(edge)) != 0 || is_spoiled;
    const int64_t base = memory.base[c & 1];
    const State relative = Base<State>::shifted(edge, base == kNoBase ? 0 : -base);
    const bool fits = base != kNoBase && Base<State>::fits(relative);
    if (at.lane < kChunk) {
      memory.above[c & 1][at.lane] = edge;
      memory.narrow_above[c & 1][at.lane] = narrowed(relative);
    }
    if (at.lane == 0) memory.above_base[c & 1] = fits ? base : kNoBase;
  }
  // The last row of chunk c, to the strip below or to the piece below.
  SOFTDP_DEVICE void give(int c) {
    is_spoiled = is_spoiled || memory.begins_spoiled;
#pragma unroll
    for (int i = 0; i < kBringers; i++) is_spoiled = is_spoiled || memory.is_spoiled[c & 3][i];
    if (c == at.chunks() - 1 && at.lane == 0) memory.ends_spoiled = is_spoiled;
    const int column = at.given_column(c);
    if (at.lane >= kChunk || column < 0 || column >= at.size.m) return;
    const int64_t base = memory.base[c & 1];
    State edge = memory.wide_given[c & 1][at.lane];
    if (base != kNoBase) {
      const float p = memory.last[ring_place(c * kChunk + at.lane, at.bottom_row(), at.bottom())].p;
      const State given = widened<State>(NarrowState{p, memory.given[c & 1][at.lane]});
      edge = Base<State>::shifted(Wide::normalized(given), base);
    }
    if (is_spoiled) spoil(edge);
    if (!at.is_last())
      at.edges_of(at.strip)[column].put(edge);
    else if (a.boundary.last_row)
      static_cast<State*>(a.boundary.last_row)[at.pair * a.pairs.columns + column] = edge;
  }
};

// The warp that makes the steps.
struct RelaySteps {
  using Wide = RelayRecipe::Max::Wide;
  using State = Wide::State;
  using A = RelayRecipe::Max::Narrow::Arithmetic;

  const RelayForward& a;
  const RelayStrip<RelayForward>& at;
  RelayMemory<State>& memory;
  // To the left of the lane's rows, and above that: relative to the base, or as it is where `is_wide`.
  NarrowState left[2] = {}, diagonal = {};
  State wide_left[2] = {}, wide_diagonal = {};
  Base<State> base = {};
  bool is_wide = true;

  struct Inputs {
    FirstInputs first[2];
    LastInput last[2];
  };
  SOFTDP_DEVICE Inputs inputs_at(int place) const {
    return {{memory.first[place], memory.first[place + kStripRows]},
            {memory.last[place], memory.last[place + kStripRows]}};
  }

  SOFTDP_DEVICE void begin() {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const int row = 2 * at.lane + k;
      wide_left[k] = row < at.rows ? state_left_of(a, at.pair, at.row0 + row) : boundary_state<Wide>(false);
    }
    wide_diagonal = state_left_of(a, at.pair, at.row0 - 1);
    const bool spoils = ballot(is_nan(wide_left[0]) || is_nan(wide_left[1]) || is_nan(wide_diagonal)) != 0;
    if (at.lane == 0) memory.begins_spoiled = spoils;
  }
  SOFTDP_DEVICE void chunk(int c) {
    const Inputs first = inputs_at(ring_place(c * kChunk, 0, at.lane));  // ahead of the vote
    const bool fits = !is_wide & (memory.above_base[c & 1] == base.at) & is_near(left[0]) & is_near(left[1]) &
                      is_near(diagonal);
    if (all(fits) || fits_anew(c))
      narrow_steps(c, first);
    else
      wide_steps(c);
    if (at.lane == 0) memory.base[c & 1] = is_wide ? kNoBase : base.at;
  }
  SOFTDP_DEVICE State last(int k) {
    widen();
    return wide_left[k];
  }

 private:
  SOFTDP_DEVICE void widen() {
    if (is_wide) return;
    const auto as_it_is = [&](const NarrowState& s) {
      return Base<State>::shifted(widened<State>(s), base.at);
    };
    wide_left[0] = as_it_is(left[0]), wide_left[1] = as_it_is(left[1]), wide_diagonal = as_it_is(diagonal);
    is_wide = true;
  }
  // Whether there is a base for chunk c, which is then the new one.
  SOFTDP_DEVICE bool fits_anew(int c) {
    widen();
    const auto relative = [&](const State& s) { return Base<State>::shifted(s, -base.at); };
    State first = relative(wide_left[0]), second = relative(wide_left[1]), corner = relative(wide_diagonal),
          edge = relative(memory.above[c & 1][at.lane & (kChunk - 1)]);
    if (!Base<State>::fits(first, second, corner, edge) && !base.fits_anew(first, second, edge, corner))
      return false;
    left[0] = narrowed(first), left[1] = narrowed(second), diagonal = narrowed(corner);
    if (at.lane < kChunk) memory.narrow_above[c & 1][at.lane] = narrowed(edge);
    sync_warp();
    is_wide = false;
    return true;
  }

  // Exponents hang on exponents only, and mantissas on both. So a step's exponents are made a step ahead,
  // with the factors that bring its mantissas to them: two rows of work that do not wait for each other.
  struct Factors {
    float match[2], insert[2], del[2];
    int32_t e[2];  // of the states
  };
  struct Exponents {
    int32_t own[2], before;
  };
  // The exponent of a state is bounded where the lane's own last one goes into it, which is there first.
  SOFTDP_DEVICE Factors factors_of(const Inputs& x, int32_t edge, Exponents& now) const {
    Factors made;
    int32_t above = shuffle_up(now.own[1]);
    if (at.lane == 0) above = edge;
    int32_t diagonal = now.before;
    now.before = above;
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const int32_t of_match = diagonal + x.first[k].e[0], of_insert = above + x.first[k].e[1],
                    of_delete = A::max(now.own[k] + x.last[k].e, kRelayNothing),
                    e = A::max(A::max(of_match, of_delete), of_insert);
      made.match[k] = A::scaled(x.first[k].p[0], of_match - e);
      made.insert[k] = A::scaled(x.first[k].p[1], of_insert - e);
      made.del[k] = A::scaled(x.last[k].p, of_delete - e);
      diagonal = now.own[k];
      made.e[k] = now.own[k] = above = e;
    }
    return made;
  }

  SOFTDP_DEVICE void narrow_steps(int c, const Inputs& inputs) {
    const int lane = at.lane, place = ring_place(c * kChunk, 0, lane);
    const bool is_bottom = lane == at.bottom();
    const NarrowState(&edges)[kChunk] = memory.narrow_above[c & 1];
    int32_t (&given)[kChunk] = memory.given[c & 1];
    const bool takes_second = at.bottom_row() == 1;
    Exponents exponents{{left[0].e, left[1].e}, diagonal.e};
    float own[2] = {left[0].p, left[1].p}, before = diagonal.p, edge_now = edges[0].p;
    Factors now = factors_of(inputs, edges[0].e, exponents);
    Inputs ahead = inputs_at(place + kRelayRows);
    NarrowState next_edge = edges[1];
#pragma unroll
    for (int q = 0; q < kChunk; q++) {
      const int here = place + q * kRelayRows;
      float above = shuffle_up(own[1]);
      Factors next = now;
      if (q + 1 < kChunk) next = factors_of(ahead, next_edge.e, exponents);
      if (lane == 0) above = edge_now;
      edge_now = next_edge.p;
      if (q + 2 < kChunk) next_edge = edges[q + 2];
      float diagonal = before;
      before = above;
#pragma unroll
      for (int k = 0; k < 2; k++) {
        const float match = diagonal * now.match[k], del = own[k] * now.del[k],
                    sum = fmaf(above, now.insert[k], match + del);
        leave(here + k * kStripRows, above * now.insert[k], del, match, sum);
        diagonal = own[k];
        own[k] = above = sum;
      }
      if (q + 2 < kChunk) ahead = inputs_at(here + 2 * kRelayRows);
      if (is_bottom) given[q] = takes_second ? now.e[1] : now.e[0];
      now = next;
    }
    left[0] = at_rest({own[0], exponents.own[0]}), left[1] = at_rest({own[1], exponents.own[1]});
    diagonal = at_rest({before, exponents.before});
  }
  SOFTDP_DEVICE void leave(int place, float insert, float del, float match, float all) {
    memory.first[place].p[0] = insert, memory.first[place].p[1] = del;
    memory.last[place] = {all, bit_cast<int32_t>(match)};
  }
  static SOFTDP_DEVICE NarrowState at_rest(NarrowState s) {
    A::normalize(s.p, s.e);
    return {s.p, s.e > kRelayDead ? s.e : kRelayNothing};
  }

  // The same with exponents of 64 bits, in little code: it is rare.
  SOFTDP_DEVICE void wide_steps(int c) {
    const auto input = [](float p, int32_t e) { return State{p, e > kRelayDead ? int64_t(e) : kNothing}; };
#pragma unroll 1
    for (int q = 0; q < kChunk; q++) {
      State above = shuffle_up_state(wide_left[1]);
      if (at.lane == 0) above = memory.above[c & 1][q];
      State diagonal = wide_diagonal;
      wide_diagonal = above;
#pragma unroll
      for (int k = 0; k < 2; k++) {
        const int place = ring_place(c * kChunk + q, k, at.lane);
        const FirstInputs x = memory.first[place];
        const LastInput y = memory.last[place];
        Terms<float> t;
        const State state = Wide::max(diagonal, above, wide_left[k],
                                      {input(x.p[0], x.e[0]), input(x.p[1], x.e[1]), input(y.p, y.e)}, t);
        leave(place, t.insert, t.del, t.match, t.all);
        diagonal = wide_left[k];
        wide_left[k] = above = state;
      }
      if (at.lane == at.bottom())
        memory.wide_given[c & 1][q] = Wide::normalized(at.bottom_row() ? wide_left[1] : wide_left[0]);
    }
#pragma unroll
    for (int k = 0; k < 2; k++) wide_left[k] = Wide::normalized(wide_left[k]);
    wide_diagonal = Wide::normalized(wide_diagonal);
  }
};

// The warps that take weights away.
struct RelayWeightsOut {
  using A = RelayRecipe::Max::Narrow::Arithmetic;
  using Memory = RelayMemory<RelayForward::Edge>;

  const RelayStrip<RelayForward>& at;
  const Memory& memory;
  const TakesPart part;
  RelaySink<1> sink;

  SOFTDP_DEVICE RelayWeightsOut(const RelayForward& a, const RelayStrip<RelayForward>& at,
                                const Memory& memory)
      : at(at), memory(memory), part(takes_part(at.warp, at.lane)) {
    const int64_t M = a.pairs.columns;
    if (a.saved) sink = RelaySink<1>(part, a.weights(at.pair, 0), at.row0 * M, M, Type::kFloat32);
  }
  SOFTDP_DEVICE void take(int c) const {
    if (!sink.data) return;
    with_kept(at.a.recurrence, [&](auto keeps) { take_as<decltype(keeps)>(c); });
  }

 private:
  template <class Keeps>
  SOFTDP_DEVICE void take_as(int c) const {
    const int places[kFour] = {place(c, 0), place(c, 1), place(c, 2), place(c, 3)};
    const auto pack_row = [&](int row, int column, float (&packed)[kFour]) {
#pragma unroll
      for (int x = 0; x < kFour; x++) packed[x] = pack<Keeps>(places[x], row, column + x);
    };
    float all[TakesPart::kRows][kFour];
#pragma unroll
    for (int row = 0; row < TakesPart::kRows; row++) pack_row(row, part.goes(c, row), all[row]);
    const int first = part.goes(c, 0);
    bool has_some = false;
    part.each_row(first, at, [&](int row, int column, int left) {
      if (part.are_four(sink.by_four, left)) sink.put<float>(row, column, all[row]);
      has_some = has_some || part.are_some(sink.by_four, left);
    });
    if (!has_some) return;
    part.each_of_some(first, at, sink.by_four, [&](int row, int column, int left) {
      float packed[kFour];
      pack_row(row, column, packed);
      sink.put_some<float>(row, column, packed, left);
    });
  }
  SOFTDP_DEVICE int place(int c, int x) const { return part.place(part.goes(c, 0), x); }
  template <class Keeps>
  SOFTDP_DEVICE float pack(int first, int row, int column) const {
    const int place = first + TakesPart::kLanesApart * row;
    const FirstInputs& gaps = memory.first[place];
    const LastInput& sum = memory.last[place];
    Terms<float> t{bit_cast<float>(sum.e), gaps.p[0], gaps.p[1], gaps.p[0] + gaps.p[1], sum.p};
    if constexpr (Keeps::kRounds) {
      // A step adds delete to match first, so that the two gaps alone are off by some units in the last
      // place.
      t.gaps = t.match == 0 ? t.all : fminf(t.gaps, t.all);
      return Keeps::pack(t, addend_of(at.row0 + part.row_of(row) + column)).number[0];
    } else {
      const float r = A::reciprocal(t.all);
      return Keeps::pack(Weights<float>{t.gaps == 0 ? 1.0f : 0.0f, t.insert * r, t.del * r}).number[0];
    }
  }
};

SOFTDP_KERNEL_BLOCKS(kRelayThreads, 1)
relay_forward_strips(const RelayForward a) {
  using State = RelayForward::Edge;
  SOFTDP_SHARED(raw);
  RelayMemory<State>& memory = *reinterpret_cast<RelayMemory<State>*>(raw);
  if (threadIdx.x == 0) memory.base[0] = memory.base[1] = kNoBase;
  const RelayStrip<RelayForward> at(a, memory.ticket);
  const Extent& size = at.size;
  if (a.saved && at.warp < kRelayBand.warps)
    fill_rows(a.weights(at.pair, 0), Type::kFloat32, kRelayBand, at.strip, a.pairs.rows, a.pairs.columns,
              size.n, size.m, 0.0f, true);
  if (a.start != Start::kGaps)  // else boundary.h's
    if ((size.n == 0 || size.m == 0) && at.strip == 0 && threadIdx.x == 0)
      a.score[at.pair] = empty_score(a, size);
  if (!at.is_at_work()) return;  // a pair without cells may have no memory

  RelayInputs inputs(a, at, memory);
  RelaySteps steps{a, at, memory};
  const RelayWeightsOut weights(a, at, memory);
  if (at.role == Role::kSteps) steps.begin();
  RelayRows rows{a, at, memory};
  at.go([&](auto rounds) { rounds([&](int c) { steps.chunk(c); }); }, [&](int c) { inputs.bring(c); },
        [&](int c) { rows.fetch(c); }, [&](int c) { rows.give(c); }, [&](int c) { weights.take(c); });
  if (at.role != Role::kSteps) return;

#pragma unroll
  for (int k = 0; k < 2; k++) {
    const int row = 2 * at.lane + k;
    if (!a.boundary.last_column || row >= at.rows) continue;
    State edge = steps.last(k);
    if (memory.ends_spoiled) spoil(edge);
    static_cast<State*>(a.boundary.last_column)[at.pair * a.pairs.rows + at.row0 + row] = edge;
  }
  if (!at.is_last() || a.joins_ends) return;
  const State end = at.bottom_row() ? steps.last(1) : steps.last(0);
  end_pair(a, at.pair, size, shuffle_from(float(value_of(end, a.unit)), at.bottom()), memory.ends_spoiled,
           at.lane, [&](float verdict) {
             return with_kept(a.recurrence, [&](auto keeps) { return keeps.marked(verdict); });
           });
}

}  // namespace softdp::cuda
