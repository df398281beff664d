// The backward sweep of pairs of any size.
#pragma once
#include "backward_steps.h"
#include "bands.h"

namespace softdp::cuda {

// The sinks' numbers have one of the types that V is the arithmetic of.
template <class V_, class Packing>
struct BackwardArguments {
  using V = V_;
  using Edge = V;
  using Keeps = Kept<Packing, V, false>;
  static constexpr int kPlanes = Keeps::kNumbers;
  static constexpr int kSinks = tables_with<Packing>();
  static constexpr bool kIsAdjoint = true;
  Recurrence recurrence;
  Pairs pairs;
  const V* grad_score;
  const V* saved;
  Sink sinks[3];
  bool is_stored[3];  // cell by cell
  bool is_summed[3];  // over rows only
  bool shared_gap, visits;
  bool as_saved;  // the sinks that are stored lie as what was saved
  bool has_ends;  // paths may end in several cells: boundary has what these receive of the score
  const V* verdicts;
  BoundaryGradient<V> boundary;  // by_left: of recurrences that charge the boundary; else null
  int arrays;                    // of weights and, where they are wanted cell by cell, of the gaps' gradients
  BandSize band;
  Chain<V> chain;
  V* partial[2];  // of the gaps that are summed over rows: (B, strips, M) or (B, strips)
  SOFTDP_DEVICE int arrays_of_warp() const { return arrays; }
};

// Where a pair's gradients lie as what was saved, and nothing is swept: `value` in all that the band's rows
// may have.
template <class T, int kSinks>
SOFTDP_DEVICE void fill_as_saved(const Sink (&sinks)[kSinks], const Pairs& pairs, BandSize band_size,
                                 int band, int64_t pair, const Extent& size, float value) {
  const int64_t pitch = SavedPlaces(pairs, size, true).pitch;
#pragma unroll
  for (int i = 0; i < kSinks; i++)
    if (sinks[i].data && size.n > 0 && size.m > 0)
      fill_rows(static_cast<T*>(sinks[i].data) + pair * cells_of(pairs), sinks[i].type, band_size, band,
                size.n, pitch, size.n, int(pitch), value, false);
}
// What fills the gradients of the band's rows where nothing is swept: `value` in the pair's own cells, 0 in
// the padding and outside a bandwidth.
template <class T, bool kHasCorridor = false, int kSinks>
SOFTDP_DEVICE void fill_gradients(const Sink (&sinks)[kSinks], const Pairs& pairs, BandSize band_size,
                                  int band, int64_t pair, const Extent& size, float value, bool zeros_only) {
  const int64_t N = pairs.rows, M = pairs.columns;
  const int n = size.n, m = size.m;
#pragma unroll
  for (int i = 0; i < kSinks; i++) {
    const Sink& sink = sinks[i];
    if (!sink.data || !sink.every_row) continue;
    T* const data = static_cast<T*>(sink.data);
    if (sink.every_column && kHasCorridor)
      fill_rows_outside(data + pair * N * M, sink.type, band_size, band, N, M, n,
                        Corridor::of(n, m, pairs.bandwidth), value, zeros_only);
    else if (sink.every_column)
      fill_rows(data + pair * N * M, sink.type, band_size, band, N, M, n, m, value, zeros_only);
    else
      fill_rows(data + pair * N, sink.type, band_size, band, N, 1, m > 0 ? n : 0, 1, value, zeros_only);
  }
}

// Of pair: a pair whose score receives the gradient 0 gets it, whatever it holds, and is not swept.
template <class Keeps, class V>
SOFTDP_DEVICE V verdict_of(const V* saved, V grad_score, const Extent& size, const Pairs& pairs,
                           bool has_corridor) {
  return grad_score != 0 ? verdict_of<Keeps>(saved, size, pairs, has_corridor) : V(kNoPath);
}

SOFTDP_DEVICE Sum sum_of(const Sink& sink) {
  return !sink.data ? Sum::kNone : sink.every_column ? Sum::kArray : Sum::kRow;
}
// The gaps' gradients over a strip's rows: a number a row, or the strip's sum.
template <class A>
SOFTDP_DEVICE void store_row_sum(const A& a, int i, double sum, int64_t pair, int n, int row0, int rows,
                                 int lane, int64_t strip) {
  using V = typename A::V;
  const Sink& sink = a.sinks[i];
  if (sink.every_row) {
    if (lane < rows) put_number(sink.data, sink.type, pair * a.pairs.rows + (n - 1 - row0 - lane), sum);
    return;
  }
  if (lane >= rows) sum = 0;
  for (int other = 16; other > 0; other /= 2) sum += shuffle_xor(sum, other);
  if (lane == 0) a.partial[i - 1][strip] = V(sum);
}

// What a strip's rows receive before their first columns: nothing, unless paths may end there.
template <class A, class Strip>
SOFTDP_DEVICE Adjoints<typename A::V> first_adjoints(const A& a, const Strip& at) {
  Adjoints<typename A::V> from;
  if (a.boundary.by_last_column && at.lane < at.rows && at.begins(at.lane))
    from.to_left = a.boundary.by_last_column[at.pair * a.pairs.rows + at.row0 + at.lane];
  return from;
}

// What a strip gives when its columns are through: to the boundary, and to the gaps that are summed over
// columns.
template <class A, class Strip>
SOFTDP_DEVICE void end_strip(const A& a, const Strip& at, const Adjoints<typename A::V>& from,
                             double insert_row, double del_row) {
  const int n = at.size.n, row0 = at.row0, rows = at.rows, lane = at.lane;
  if (a.boundary.by_left && lane < rows) {
    const int64_t row = at.pair * a.pairs.rows + (n - 1 - row0 - lane);
    a.boundary.by_left[row] = from.to_left;
    a.boundary.by_left_diagonal[row] = from.to_diagonal;
  }
#pragma unroll
  for (int i = 1; i < A::kSinks; i++)
    if (sum_of(a.sinks[i]) == Sum::kRow)
      store_row_sum(a, i, i == 1 ? insert_row : del_row, at.pair, n, row0, rows, lane, at.strip());
}

// The rows that a strip takes and gives outside its block.
template <class A, class Strip>
SOFTDP_DEVICE void find_rows(const A& a, const Strip& at, typename A::V seed, Row<typename A::V>& in,
                             Row<typename A::V>& out) {
  using V = typename A::V;
  in = at.in(), out = at.out();
  if (at.row0 == 0 && a.boundary.by_last_row && (seed == 0 || a.has_ends))
    in.edges = const_cast<V*>(a.boundary.by_last_row) + at.pair * a.pairs.columns;
  if (at.is_last() && a.boundary.by_above) out.edges = a.boundary.by_above + at.pair * a.pairs.columns;
}

// Of a pair, or of the pair that a piece belongs to.
template <class Keeps, bool kHasCorridor = false, class A, class V>
SOFTDP_DEVICE V verdict_of_pair(const A& a, int64_t pair, V seed, const Extent& size) {
  if (size.n == 0 || size.m == 0) return V(kNoPath);
  if (a.verdicts) return a.verdicts[pair];
  const V* const saved = a.saved + pair * Keeps::kNumbers * cells_of(a.pairs);
  return verdict_of<Keeps>(saved, seed, size, a.pairs, kHasCorridor);
}

// What fills the gradients of a band, as fill_gradients() does, or where they lie as what was saved.
template <class T, class A, Has kCorridor>
SOFTDP_DEVICE void fill_band(const A& a, const BandStrip<A, kCorridor>& at, float value, bool zeros_only) {
  constexpr bool kHasCorridor = kCorridor == Has::kAlways;
  if (!kHasCorridor || !a.as_saved)
    fill_gradients<T, kHasCorridor>(a.sinks, a.pairs, a.band, at.band, at.pair, at.size, value, zeros_only);
  else if (!zeros_only)  // nobody reads what is outside
    fill_as_saved<T>(a.sinks, a.pairs, a.band, at.band, at.pair, at.size, value);
}
// What stores a block of a strip's gradients. corner: the place of the strip's first cell in a pair's table.
template <class T, class A, Has kCorridor>
SOFTDP_DEVICE BlockStorer<T, typename A::V, -1> storer_of(const A& a, const BandStrip<A, kCorridor>& at,
                                                          const Sink& sink, int64_t corner, const Part& part,
                                                          int block) {
  T* first = static_cast<T*>(sink.data) + at.pair * (kCorridor == Has::kAlways && a.as_saved
                                                         ? cells_of(a.pairs)
                                                         : a.pairs.rows * a.pairs.columns);
  if constexpr (kCorridor == Has::kNever) {
    return {{first + corner, -a.pairs.columns, -1}, part};
  } else {
    const int64_t pitch = a.as_saved ? at.columns().pitch : a.pairs.columns;
    first += at.first_row() * pitch + at.first_column();
    if (a.as_saved) first -= at.turn(part.first_of(block, kOut));
    return {{first, -pitch, -1}, part};
  }
}

// A kernel holds its code twice, with a bandwidth and without: what a bandwidth takes costs others nothing.
template <Has kCorridor, class V, class Packing>
SOFTDP_DEVICE void sweep_backward_band(const BackwardArguments<V, Packing>& a, unsigned char* raw) {
  using Arguments = BackwardArguments<V, Packing>;
  using Keeps = typename Arguments::Keeps;
  constexpr int kPlanes = Arguments::kPlanes, kSinks = Arguments::kSinks;
  BandStrip<Arguments, kCorridor> at(a, raw);
  const int64_t M = a.pairs.columns, pair = at.pair;
  const int lane = at.lane, row0 = at.row0, rows = at.rows;
  const V* const saved = a.saved + pair * kPlanes * cells_of(a.pairs);
  const V seed = a.grad_score ? a.grad_score[pair] : V(1),
          verdict = verdict_of_pair<Keeps, kCorridor == Has::kAlways>(a, pair, seed, at.size);
  const bool swept = verdict >= 0;
  with_numbers<V>(a.sinks[0].type, [&](auto number) {
    fill_band<decltype(number)>(a, at, swept || verdict < 0 ? 0.0f : NAN, swept);
  });
  if (!swept || !at.is_at_work()) return;
  at.find_columns();
  V* array[3];
#pragma unroll
  for (int i = 0; i < 3; i++) array[i] = at.array(a.arrays, i < a.arrays ? i : 0);
  const auto where = at.own_lane();
  GapSums<V> gaps{kSinks > 1 ? sum_of(a.sinks[1]) : Sum::kNone, kSinks > 1 ? sum_of(a.sinks[2]) : Sum::kNone,
                  a.shared_gap, a.visits};
  double insert_row = 0, del_row = 0;  // sums over a row, chunk by chunk
  Row<V> in, out;
  find_rows(a, at, seed, in, out);

  const int64_t corner = int64_t(at.first_row()) * M + at.first_column();
  const Part part(lane);
  BlockLoader<V, -1> loaders[kPlanes];
  ColumnSums<V> sums[kSinks];  // the first one's are not wanted
#pragma unroll
  for (int plane = 0; plane < kPlanes; plane++)
    loaders[plane] = at.template blocks_of<BlockLoader<V, -1>>(saved + plane * cells_of(a.pairs), part);
  const auto start = [&](int c) {
#pragma unroll
    for (int plane = 0; plane < kPlanes; plane++)
      at.turned(loaders[plane], part, c).start(part, rows, at.columns_of(part), c, array[plane]);
  };
  const auto leave = [&](int c) {
    with_numbers<V>(a.sinks[0].type, [&](auto number) {
      using T = decltype(number);
#pragma unroll
      for (int i = 0; i < kSinks; i++) {
        if (!a.is_stored[i]) continue;
        const Sink& sink = a.sinks[i];
        storer_of<T>(a, at, sink, corner, part, c)
            .store(part, rows, at.columns_of(part), c, array[i], sink.type);
      }
    });
    carry_over<-1, kSinks>(array, a.arrays, c, lane);
  };
  Adjoints<V> from = first_adjoints(a, at);
  const auto steps = [&](int c, bool full, const V* above, const Given<V>& below) {
    const WindowPlaces<-1> places(lane, c);
    backward_chunk_of<Packing, Keeps>(a.recurrence, full, array, places, from, gaps, where, c * kChunk, above,
                                      below, rows - 1);
#pragma unroll
    for (int i = 1; i < kSinks; i++)
      if (a.is_summed[i])
        sums[i].add(array[i], places, lane, c, rows, at.all_columns(),
                    a.partial[i - 1] + at.strip() * M - at.moved());
    insert_row += double(gaps.insert_row);
    del_row += double(gaps.del_row);
    gaps.insert_row = gaps.del_row = 0;
  };
  at.go(
      start, [](int) { copy_async_wait(); }, leave,
      [&](int c) { sweep_edges(at, c, row0 == 0 ? seed : V(0), in, out, steps); });
  at.find();
  if (at.rows > 0) end_strip(a, at, from, insert_row, del_row);
}
// Blocks for whose registers a multiprocessor is to have room.
template <class V, class Packing>
constexpr int kBackwardBlocks = sizeof(V) == 8                ? 2
                                : tables_with<Packing>() == 1 ? 7
                                                              : 5;

template <class V, class Packing>
SOFTDP_KERNEL_BLOCKS(kMostWarps* kStripRows, (kBackwardBlocks<V, Packing>))
backward_bands(const BackwardArguments<V, Packing> a) {
  SOFTDP_SHARED(raw);
  a.pairs.bandwidth < 0 ? sweep_backward_band<Has::kNever>(a, raw)
                        : sweep_backward_band<Has::kAlways>(a, raw);
}

}  // namespace softdp::cuda
