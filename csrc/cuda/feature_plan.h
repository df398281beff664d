// How a problem of features is cut into batches and pieces, and what lies where in its workspace.
#pragma once
#include <algorithm>

#include "ends.h"
#include "feature_pairs.h"
#include "feature_sums.h"

namespace softdp::cuda {

constexpr int64_t kLeastHeight = 128;       // rows of a piece: a band of four warps
constexpr int64_t kBusyBlocks = 264;        // twice the multiprocessors of an H100
constexpr int64_t kMostBlocks = INT32_MAX;  // of a launch
constexpr int64_t kEdgeShare = 4;  // of table_bytes for the states between pieces, unless one pair takes more
// Of a cell's gradient: what is left out. The gradients of a path's cells are 1 together, step by step.
template <class T>
constexpr double kNegligible = sizeof(T) == 8 ? 0x1p-60 : 0x1p-40;

constexpr int64_t blocks_of(int64_t items, int64_t each) {
  return (items + each - 1) / each;
}

// How a problem is cut, and where everything lies in its workspace. By sizes and the device, so that the same
// numbers are added in the same order.
template <class T>
struct Plan {
  static constexpr Type kType = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
  const FeatureProblem<T>& p;
  bool gradients, dots, tiny;
  Recurrence recurrence;
  int heads, planes;
  int64_t all_x, all_y;    // sequences
  int64_t xs, ys;          // of a batch
  int64_t height, pieces;  // rows of a piece; pieces of a table
  int64_t kept;            // rows of states between pieces that are kept
  T *zero, *units, *lengths, *tables, *of_tables, *saved, *scores, *seeds, *verdicts, *handed[2], *parts[2];
  T *ends_weights, *joined, *by_column;
  int64_t *n, *m, *all_n;
  Corridors corridors{};
  char *edges, *last_column, *sweep;
  int64_t bytes = 0;

  explicit Plan(const FeatureProblem<T>& problem) : p(problem) {
    const int64_t N = p.pairs.rows, M = p.pairs.columns, count = p.pairs.count;
    gradients = p.d_x || p.d_y;
    dots = form_of(p.kind) == Form::kDots;
    recurrence = recurrence_of(p.kind);
    heads = p.kind == Kind::kTwoCosines ? 2 : 1;
    all_x = p.others ? count / p.others : count, all_y = p.others ? p.others : count;
    const Regime regime{recurrence, kType, p.gamma, N, M, p.ends, p.pairs.bandwidth};
    planes = regime.planes(true, Saves::kGradients);
    const int64_t cell = (heads + (gradients ? planes : 0) + has_roots()) * int64_t(sizeof(T)),
                  most = std::max<int64_t>(p.table_bytes / std::max<int64_t>(cell * M, 1), 1);  // rows
    const int64_t abreast = std::max<int64_t>(p.others ? all_y : count, 1);
    int64_t together = std::clamp<int64_t>(most / std::max<int64_t>(N, 1), 1, std::max<int64_t>(count, 1));
    height = N;
    if (in_corridors()) {
      const int64_t pair = cell * cells_of(p.pairs) + (N + M) * int64_t(sizeof(Columns));
      const int64_t tiles = heads * sides_of(N) * tiles_along(p.pairs);
      together =
          std::min(p.table_bytes / std::max<int64_t>(pair, 1), kMostBlocks / std::max<int64_t>(tiles, 1));
      together = std::clamp<int64_t>(together, 1, std::max<int64_t>(count, 1));
    } else if (most < N) {
      together = std::clamp<int64_t>(most / kLeastHeight, 1, abreast);
      const auto cut = [&] {
        height = std::min(N, std::max(most / together / kLeastHeight, int64_t(1)) * kLeastHeight);
      };
      for (cut(); together > 1 && blocks_of(N, height) * edge_bytes(together) + column_bytes(together) >
                                      p.table_bytes / kEdgeShare;
           cut())
        together /= 2;
    }
    pieces = height ? blocks_of(N, height) : 1;
    xs = p.others ? std::max<int64_t>(together / all_y, 1) : together,
    ys = p.others ? std::min(together, all_y) : 1;
    tiny = pieces == 1 && regime.is_tiny();
    const int64_t handing = joins_pieces() ? pieces : pieces - 1;  // that give the states of their last row
    kept = gradients ? handing : std::min<int64_t>(handing, 2);
    place();
  }

  // Within a bandwidth tables lie as what is saved does, and go whole.
  bool in_corridors() const { return p.pairs.bandwidth >= 0; }
  bool has_roots() const { return gradients && p.kind == Kind::kRoots; }
  // Whether the ends of paths lie in several pieces.
  bool joins_pieces() const { return pieces > 1 && p.ends != Ends::kCorner; }
  bool is_cut() const { return pieces > 1 || (p.others && p.pairs.has_lengths()); }
  Batch batch(int64_t x, int64_t y) const {
    return {x, std::min(xs, all_x - x), y, p.others ? std::min(ys, all_y - y) : 1, !p.others, p.others};
  }
  int64_t units_of_x() const { return all_x * p.pairs.rows * p.features; }

  // Rows first, first + 1, ... of a batch's pairs.
  Pairs pairs(const Batch& batch, int64_t piece) const {
    Pairs out{batch.count(),    std::min(height, p.pairs.rows - piece * height), p.pairs.columns, {}, {},
              p.pairs.bandwidth};
    if (is_cut()) {
      out.x_lengths.as_int64 = n + piece * batch.count();
      out.y_lengths.as_int64 = m;
    } else if (!p.others) {
      out.x_lengths = from(p.pairs.x_lengths, batch.x), out.y_lengths = from(p.pairs.y_lengths, batch.x);
    }
    return out;
  }

  Forward forward(const Batch& batch, int64_t piece, bool saves) const {
    Forward f{};
    f.recurrence = recurrence;
    f.pairs = pairs(batch, piece);
    f.gamma = p.gamma, f.threshold = p.threshold;
    const int64_t cells = cells_of(f.pairs), M = f.pairs.columns;
    f.tables[0] = {tables, kType, cells, M, 1};
    f.tables[1] =
        heads == 2 ? Table{tables + batch.count() * cells, kType, cells, M, 1} : Table{zero, kType, 0, 0, 0};
    f.tables[2] = f.tables[1];
    f.as_saved = in_corridors();
    f.shared_gap = true;
    f.start = p.start;
    f.ends = pieces > 1 ? Ends::kCorner : p.ends;
    f.ends_weights = saves && pieces == 1 ? ends_weights : nullptr;
    f.score = scores + piece * batch.count();
    f.saved = saves ? saved : nullptr;
    f.is_piece = pieces > 1;
    if (piece > 0) f.boundary.above = edge(batch, piece - 1);
    if (piece + 1 < pieces || joins_pieces()) f.boundary.last_row = edge(batch, piece);
    if (pieces > 1 && p.ends == Ends::kLastRowAndColumn)
      f.boundary.last_column = last_column + piece * height * batch.count() * state_bytes();
    f.workspace = sweep;
    return f;
  }
  Backward backward(const Batch& batch, int64_t piece) const {
    Backward b{};
    b.recurrence = recurrence;
    b.pairs = pairs(batch, piece);
    b.gamma = p.gamma;
    b.start = p.start, b.ends = p.ends;
    b.saved = saved;
    b.ends_weights = ends_weights;
    const int64_t cells = cells_of(b.pairs);
    for (int i = 0; i < heads; i++) b.sinks[i] = {of_tables + i * batch.count() * cells, kType, true, true};
    b.as_saved = in_corridors();
    b.shared_gap = true;
    b.weights = true;
    b.workspace = sweep;
    if (pieces == 1) return b;
    b.is_piece = true;
    b.grad_score = seeds + piece * batch.count();
    b.verdicts = verdicts;
    if (piece + 1 < pieces || joins_pieces()) b.boundary.by_last_row = handed[(piece + 1) % 2];
    if (p.ends == Ends::kLastRowAndColumn) b.boundary.by_last_column = by_column;
    if (piece > 0) b.boundary.by_above = handed[piece % 2];
    return b;
  }
  JoinArguments join(const Batch& batch) const {
    JoinArguments j{};
    j.pairs = {batch.count(), p.pairs.rows, p.pairs.columns, {all_n}, {m}};
    j.ends = p.ends;
    j.is_soft = is_soft();
    j.type = kType;
    j.states[kInRow] = edges, j.states[kInColumn] = last_column;
    j.unit = is_soft() ? Maxima<T, true>::unit(kLog2e / p.gamma) : Maxima<T, false>::unit(0);
    j.score = joined;
    j.weights = gradients ? ends_weights : nullptr;
    j.height = height, j.kept = kept;
    return j;
  }
  SeedArguments seed(const Batch& batch, int64_t piece) const {
    SeedArguments s{};
    s.pairs = pairs(batch, piece);
    s.ends = p.ends;
    s.type = kType;
    s.grad_score = seeds + piece * batch.count();
    s.weights = ends_weights;
    s.seeds[kInRow] = handed[(piece + 1) % 2], s.seeds[kInColumn] = by_column;
    s.all_rows = p.pairs.rows, s.first_row = piece * height;
    return s;
  }
  Tables<T> tables_of(const Batch& batch, int64_t piece) const {
    Tables<T> t{};
    t.batch = batch;
    t.pairs = pairs(batch, piece);
    t.steps_x = p.pairs.rows, t.steps_y = p.pairs.columns;
    t.first_row = piece * height;
    t.features = p.features / heads, t.pitch = p.features;
    t.heads = heads;
    t.kind = p.kind;
    t.within = corridors;
    t.x = dots ? units : p.x, t.y = dots ? units + units_of_x() : p.y;
    return t;
  }
  // How many features a thread of weigh_tables takes: no more than there are.
  int per_thread() const {
    const int64_t features = p.features / heads;
    const int wanted = features <= 2 * kAcross ? 1 : features <= kFour * kAcross ? kFour : 2 * kFour;
    return std::min(wanted, most_per_thread<T>(form_of(p.kind)));
  }
  // The blocks of weigh_tables for a side of so many sequences and steps, but for its slices.
  int64_t weigh_blocks(int64_t sequences, int64_t steps) const {
    return sequences * sides_of(steps) * heads * blocks_of(p.features / heads, per_thread() * kAcross);
  }
  // As many as give every multiprocessor work.
  int64_t slices(const Batch& batch, bool of_y) const {
    if (!p.others) return 1;
    const int64_t blocks = weigh_blocks(of_y ? batch.ys : batch.xs, of_y ? p.pairs.columns : height);
    return std::clamp<int64_t>(kBusyBlocks / std::max<int64_t>(blocks, 1), 1, of_y ? batch.xs : batch.ys);
  }
  UnitVectors<T> unit_vectors(bool differentiates) const {
    return {differentiates,
            all_x * p.pairs.rows,
            all_y * p.pairs.columns,
            p.features / heads,
            heads,
            p.x,
            p.y,
            units,
            lengths,
            p.d_x,
            p.d_y};
  }

 private:
  static Lengths from(const Lengths& lengths, int64_t first) {
    return {lengths.as_int64 ? lengths.as_int64 + first : nullptr,
            lengths.as_int32 ? lengths.as_int32 + first : nullptr};
  }
  bool is_soft() const { return p.gamma > 0; }
  int64_t state_bytes() const {
    return is_soft() ? sizeof(typename Maxima<T, true>::Wide::State)
                     : sizeof(typename Maxima<T, false>::Wide::State);
  }
  int64_t edge_bytes(int64_t count) const { return count * p.pairs.columns * state_bytes(); }
  int64_t column_bytes(int64_t count) const {  // of the states in the last column
    return p.ends == Ends::kLastRowAndColumn ? count * p.pairs.rows * state_bytes() : 0;
  }
  void* edge(const Batch& batch, int64_t piece) const {
    return edges + piece % kept * edge_bytes(batch.count());
  }

  template <class Number>
  void take(Number*& place, int64_t numbers) {
    place = reinterpret_cast<Number*>(static_cast<char*>(p.workspace) + bytes);
    bytes += blocks_of(std::max<int64_t>(numbers, 0) * int64_t(sizeof(Number)), 256) * 256;
  }
  void place() {
    const int64_t count = xs * ys,
                  cells = count * (in_corridors() ? cells_of(p.pairs) : height * p.pairs.columns);
    const int64_t vectors = dots ? all_x * p.pairs.rows + all_y * p.pairs.columns : 0;
    take(zero, 1);
    take(units, vectors * p.features), take(lengths, vectors * heads);
    if (in_corridors()) {
      take(corridors.of_rows, count * p.pairs.rows), take(corridors.of_columns, count * p.pairs.columns);
      take(corridors.pitch, count);
    }
    take(tables, heads * cells);
    take(of_tables, has_roots() && !tiny ? cells : 0);
    if (!has_roots()) of_tables = tables;
    take(saved, gradients ? planes * cells : 0);
    take(scores, pieces * count);
    take(seeds, is_cut() ? pieces * count : 0);
    take(n, is_cut() ? pieces * count : 0), take(m, is_cut() ? count : 0);
    take(verdicts, pieces > 1 ? count : 0);
    for (T*& row : handed) take(row, pieces > 1 && gradients ? count * p.pairs.columns : 0);
    take(edges, kept * edge_bytes(count));
    take(ends_weights, gradients ? count * ends_of(p.ends, p.pairs.rows, p.pairs.columns) : 0);
    take(joined, joins_pieces() ? count : 0), take(all_n, joins_pieces() ? count : 0);
    take(last_column, joins_pieces() ? column_bytes(count) : 0);
    take(by_column, joins_pieces() && gradients ? count * height : 0);
    for (bool of_y : {false, true}) {  // sequences times slices are no more than those of one with all slices
      const int64_t steps = of_y ? p.pairs.columns : p.pairs.rows,
                    most = kBusyBlocks / std::max<int64_t>(weigh_blocks(1, of_y ? steps : height), 1);
      take(parts[of_y], p.others && gradients ? most * steps * p.features : 0);
    }
    take(sweep, p.pairs.count == 0 ? 0 : sweep_bytes());
  }
  // What any of the sweeps takes. Fewer pairs may take more than many: other kernels sweep them.
  int64_t sweep_bytes() const {
    const auto last = [](int64_t all, int64_t each) { return (all - 1) / each * each; };
    int64_t most = 0;
    for (int64_t x : {int64_t(0), last(all_x, xs)})
      for (int64_t y : {int64_t(0), p.others ? last(all_y, ys) : 0})
        for (int64_t piece : {int64_t(0), pieces - 1}) {
          most = std::max(most, cuda::workspace_bytes(forward(batch(x, y), piece, gradients)));
          if (gradients && !tiny) most = std::max(most, cuda::workspace_bytes(backward(batch(x, y), piece)));
        }
    return most;
  }
};

}  // namespace softdp::cuda
