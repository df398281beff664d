// The steps of the backward sweep, on the table seen from its end: row 0 is x's last step, column 0 is y's.
#pragma once
#include "forward_steps.h"

namespace softdp::cuda {

// A lane's adjoints on their way: to the cell on its left, to the one on its upper left, and both that the
// row above is to receive.
template <class V>
struct Adjoints {
  V to_left{}, to_diagonal{}, to_above{};
  // What a cell hands on; nothing where the lane is outside its columns. Before them a lane keeps what its
  // first cell receives as one of the last column, where paths may end there. After them it keeps what its
  // last cell handed to the boundary, where gaps count there. Within a bandwidth the row above takes that
  // once.
  SOFTDP_DEVICE void hand_on(const Adjoint<V>& out, bool inside) {
    to_above = out.to_above + to_diagonal;
    if (!inside) return;
    to_left = out.to_left;
    to_diagonal = out.to_diagonal;
  }
};

// The weights of a cell at a place of the arrays; 0 is read where the lane is outside its columns.
template <class Keeps, class V>
SOFTDP_DEVICE typename Keeps::Saved saved_at(V* const* array, int at, bool inside) {
  typename Keeps::Saved saved;
#pragma unroll
  for (int plane = 0; plane < Keeps::kNumbers; plane++)
    saved.number[plane] = inside ? array[plane][at] : V(0);
  return saved;
}

// What becomes of the two gaps' gradients.
enum class Sum { kNone, kArray, kRow };  // not wanted; into the array, for the block's store; over the row

template <class V>
struct GapSums {
  Sum insert, del;
  bool shared;          // insert takes both
  bool visits = false;  // the gradient by S itself, in place of that by match
  V insert_row = 0, del_row = 0;
};

// The arrays hold what was saved and receive the gradients. kSome: some lane may be outside its columns.
// above, below: as in the forward sweep. The score's gradient comes in as what the row above the table hands
// to its first cell. Within a bandwidth (Of is a CorridorLane) cells outside receive the gradient 0.
template <bool kSome, class Recurrence, class Keeps, class V, class Places, class Of, class Below>
SOFTDP_DEVICE void backward_chunk(V* const (&array)[3], const Places& places, Adjoints<V>& from,
                                  GapSums<V>& gaps, const Of& lane, int t0, const V* above,
                                  const Below& below, int bottom) {
  const int column = t0 - lane.r - first_column(lane);
  const auto is_inside = [&](int q) { return !kSome || unsigned(column + q) < unsigned(lane.m); };
  auto now = saved_at<Keeps>(array, places.at(0), is_inside(0));
  V edge = above[0];
#pragma unroll
  for (int q = 0; q < kChunk; q++) {
    auto next = now;
    V next_edge = edge;
    if (q + 1 < kChunk) {
      next = saved_at<Keeps>(array, places.at(q + 1), is_inside(q + 1));
      next_edge = above[q + 1];
    }
    const bool inside = is_inside(q);
    V from_above = shuffle_up(is_done<1>(lane, column + q) ? V(0) : from.to_above);
    if (lane.r == 0) from_above = edge;
    V a = from_above + from.to_left;
    if (!inside) a = 0;
    const Adjoint<V> out = Recurrence::adjoint(a, Keeps::share(a), Keeps::unpack(now));
    from.hand_on(out, inside);
    const V insert = gaps.shared ? out.to_above + out.to_left : out.to_above;
    if (gaps.insert == Sum::kRow) gaps.insert_row += insert;
    if (gaps.del == Sum::kRow) gaps.del_row += out.to_left;
    if (inside || kIsWithin<Of>) {
      const int at = places.at(q);
      array[0][at] = !Recurrence::kEveryMove && gaps.visits ? a : out.score;
      if (gaps.insert == Sum::kArray) array[1][at] = insert;
      if (gaps.del == Sum::kArray) array[2][at] = out.to_left;
    }
    if (lane.row == bottom) below[q] = from.to_above;
    now = next;
    edge = next_edge;
  }
}
// The same of the recurrence that a launch sweeps. full: all lanes are inside their columns.
template <class Packing, class Keeps, class V, class Places, class Of, class Below>
SOFTDP_DEVICE void backward_chunk_of(Recurrence which, bool full, V* const (&array)[3], const Places& places,
                                     Adjoints<V>& from, GapSums<V>& gaps, const Of& lane, int t0,
                                     const V* above, const Below& below, int bottom) {
  with_recurrence_of<Packing>(which, [&](auto recurrence) {
    using R = decltype(recurrence);
    if (!kIsWithin<Of> && full)
      backward_chunk<false, R, Keeps>(array, places, from, gaps, lane, t0, above, below, bottom);
    else
      backward_chunk<true, R, Keeps>(array, places, from, gaps, lane, t0, above, below, bottom);
  });
}

}  // namespace softdp::cuda
