// The kernel of paths.h, and its launch: a warp for each pair. One lane follows the path, since each step
// depends on the one before; it counts the steps first.
#include "launch.h"
#include "paths.h"

namespace softdp::cuda {
namespace {

constexpr int kPathWarps = 4;
enum Move { kMatch, kInsert, kDelete };

struct Cell {
  int64_t row, column;  // from 0
};

// The move into the cell at a place of the pair's planes.
template <class V, class Packing>
SOFTDP_DEVICE Move move_as(const PathProblem& p, int64_t pair, int64_t place) {
  using Keeps = Kept<Packing, V, false>;
  const int64_t cells = cells_of(p.pairs);
  const V* const saved = static_cast<const V*>(p.saved) + pair * Keeps::kNumbers * cells + place;
  typename Keeps::Saved kept;
  for (int plane = 0; plane < Keeps::kNumbers; plane++) kept.number[plane] = saved[plane * cells];
  const Weights<V> w = Keeps::unpack(kept);
  return w.insert > 0 ? kInsert : w.del > 0 ? kDelete : kMatch;
}
SOFTDP_DEVICE Move move_into(const PathProblem& p, int64_t pair, int64_t place) {
  return with_recurrence(p.recurrence, [&](auto of) {
    using Packing = typename decltype(of)::Packing;
    return p.type == Type::kFloat64 ? move_as<double, Packing>(p, pair, place)
                                    : move_as<float, Packing>(p, pair, place);
  });
}

// Where the path of a pair with cells ends: the cell (n, m), or the end that has all weight. If it may end in
// any cell, that is the last one of its row.
SOFTDP_DEVICE Cell end_of(const PathProblem& p, int64_t pair, const Extent& size) {
  const int64_t n = size.n, m = size.m, M = p.pairs.columns, ends = ends_of(p.ends, p.pairs.rows, M),
                of_row = ends_in_row(p.ends, M);
  for (int64_t k = 0; k < ends; k++)
    if (number_at(p.ends_weights, p.type, pair * ends + k) > 0)
      return k < of_row ? Cell{n - 1, k} : Cell{k - of_row, m - 1};
  return {n - 1, m - 1};
}

// Whether the path makes a move where it takes an edge of the node, or goes on in the same alignment.
constexpr bool makes_moves(const Node& node) {
  return node.adds != Score::kNone || node.edges[0].adds != Score::kNone;
}
// Calls run(row, column, move) for the steps of a path through the states of cells, from the end of `at`.
// Gives back where it left the table; a path that starts in a cell leaves it at row -1, column -1.
template <class R, class Run>
SOFTDP_DEVICE Cell walk_states(const PathProblem& p, int64_t pair, const SavedPlaces& places, Cell at,
                               Run run) {
  const float* const weights = p.several.template plane<const float>(p.pairs, pair, 0);
  int state = R::kStates - 1;
  while (at.row >= 0 && at.column >= 0) {
    const unsigned bits = unsigned(weights[places.of(at.row, at.column)]);
    Edge taken{};
    bool moves = false;
    over<R::kStates>([&](auto of) {
      constexpr int s = of;
      if (state != s) return;
      moves = makes_moves(R::kNodes[s]);
      over<R::kNodes[s].count>([&](auto edge) {
        constexpr int k = edge;
        constexpr Edge here = R::kNodes[s].edges[k];
        bool is_taken = k == 0;  // unless another one is
        if constexpr (k > 0) is_taken = bits >> R::number_of_edge(s, k) & 1;
        if (is_taken) taken = here;
      });
    });
    const bool is_up = taken.from == From::kAbove, is_left = taken.from == From::kLeft,
               is_both = taken.from == From::kDiagonal;
    if (moves) run(at.row, at.column, is_up ? kInsert : is_left ? kDelete : kMatch);
    if (taken.from == From::kStart) return {-1, -1};
    at.row -= is_up || is_both, at.column -= is_left || is_both;
    state = taken.state;
  }
  return at;
}
// Calls run(R()) for a recurrence with several states a cell.
template <class Run>
SOFTDP_DEVICE Cell with_states(Recurrence which, Run run) {
  switch (which) {
    case Recurrence::kLocalFsd:
      return run(LocalFsd());
    case Recurrence::kSmithWaterman:
      return run(SmithWaterman());
    case Recurrence::kLocalAffine:
      return run(LocalAffine());
    default:
      return run(Affine());
  }
}

// Calls run(row, column, move) for the steps of a pair's path, from its end; of a boundary that is charged to
// its corner.
template <class Run>
SOFTDP_DEVICE void each_step(const PathProblem& p, int64_t pair, const Extent& size, Run run) {
  const double score = number_at(p.score, p.type, pair);
  const double infinity = double(INFINITY);
  if (size.unfit || !(score > -infinity && score < infinity)) return;
  const bool has_cells = size.n > 0 && size.m > 0;
  const SavedPlaces places(p.pairs, size, p.pairs.bandwidth >= 0);
  Cell at = has_cells ? end_of(p, pair, size) : Cell{size.n - 1, size.m - 1};
  const bool several = has_several_states(p.recurrence);
  if (has_cells && several)
    at = with_states(p.recurrence,
                     [&](auto of) { return walk_states<decltype(of)>(p, pair, places, at, run); });
  while (has_cells && !several && at.row >= 0 && at.column >= 0) {
    const Move move = move_into(p, pair, places.of(at.row, at.column));
    run(at.row, at.column, move);
    at.row -= move != kDelete, at.column -= move != kInsert;
  }
  if (p.start != Start::kGaps) return;
  for (; at.row >= 0; at.row--) run(at.row, -1, kInsert);
  for (; at.column >= 0; at.column--) run(-1, at.column, kDelete);
}

SOFTDP_KERNEL(kPathWarps* kStripRows)
trace_all(const PathProblem p) {
  const int64_t pair = int64_t(blockIdx.x) * kPathWarps + threadIdx.x / kStripRows;
  if (pair >= p.pairs.count) return;
  const int lane = int(threadIdx.x) % kStripRows;
  int64_t* const steps = p.steps + pair * p.most * 3;
  for (int64_t at = lane; at < p.most * 3; at += kStripRows) steps[at] = -1;
  sync_warp();
  if (lane != 0) return;
  const Extent size = extent_of(p.pairs, pair);
  int64_t count = 0;
  each_step(p, pair, size, [&](int64_t, int64_t, Move) { count++; });
  p.lengths[pair] = count;
  each_step(p, pair, size, [&](int64_t row, int64_t column, Move move) {
    int64_t* const to = steps + --count * 3;
    to[0] = row, to[1] = column, to[2] = move;
  });
}

}  // namespace

Error trace_paths(const PathProblem& problem, Stream stream) {
  PathProblem p = problem;
  if (p.pairs.count == 0) return cudaSuccess;
  if (has_several_states(p.recurrence))
    p.several =
        Regime{p.recurrence, p.type, 0, p.pairs.rows, p.pairs.columns, p.ends, p.pairs.bandwidth}.several(
            p.saved);
  return launch(trace_all, (p.pairs.count + kPathWarps - 1) / kPathWarps, kPathWarps * kStripRows, 0, stream,
                p);
}

}  // namespace softdp::cuda
