// Groups: small pairs side by side, one in each lane. A group has no skew and no tiles, and no lane waits at
// a strip's ends. Tables are transposed to one vector for each cell and swept row by row. Gradients are
// transposed back.
//
// A path has at most 64 steps from corner to corner. Every exponent stays within its bounds where an input is
// at most a quarter of the limit of Lanes<float>, or the 128th part of the limit of Lanes<double>. Mantissas
// are normalised where they are read: those from above in every fourth row, those from the left in every
// eighth column. A path has at most 36 steps between two such places.
#pragma once
#include "strips.h"

namespace softdp::cpu::SOFTDP_ISA {

// A table of the group: one vector for each cell, or fewer where the table is broadcast.
template <class V>
struct GroupTable {
  Vec<V>* cells;
  int64_t rows, columns;  // 1 where it is broadcast
  int64_t row, column;    // strides, in vectors
  int64_t count() const { return rows * columns; }
  SOFTDP_FN int64_t at(int64_t i, int64_t j) const { return i * row + j * column; }
};
template <class V>
GroupTable<V> group_table(Vec<V>* memory, bool every_row, bool every_column, const Pairs& p) {
  const int64_t rows = every_row ? p.rows : 1, columns = every_column ? p.columns : 1;
  return {memory, rows, columns, every_row ? columns : 0, every_column ? 1 : 0};
}

// Loads the scores of `count` pairs and transposes them. Lanes beyond repeat the last pair.
template <class V, class T>
[[gnu::noinline]] void load_group(const Table& from, int64_t first, int count, V sign,
                                  const GroupTable<V>& to) {
  constexpr int L = kLanes<V>;
  const T* const data = static_cast<const T*>(from.data) + first * from.batch;
  const int64_t cells = to.count();
  const bool in_line = (to.columns == 1 || from.column == 1) && (to.rows == 1 || from.row == to.columns);
  for (int64_t c = 0; c < cells; c += L) {
    const int width = cells - c < L ? int(cells - c) : L;
    Vec<V> v[L];
    for (int r = 0; r < L; r++) {
      const T* const pair = data + (r < count ? r : count - 1) * from.batch;
      if (in_line) {
        v[r] = width == L ? load_as<V>(pair + c) : load_part_as<V>(pair, c, 0, width);
      } else {
        T buffer[L] = {};
        for (int k = 0; k < width; k++)
          buffer[k] = pair[(c + k) / to.columns * from.row + (c + k) % to.columns * from.column];
        v[r] = load_as<V>(buffer);
      }
    }
    transpose(v);
    for (int k = 0; k < L; k++) to.cells[c + k] = v[k] * Vec<V>(sign);
  }
}
template <class V, class T>
[[gnu::noinline]] void store_group(const GroupTable<V>& from, void* to, int64_t first, uint32_t pairs) {
  constexpr int L = kLanes<V>;
  const int64_t cells = from.count();
  for (int64_t c = 0; c < cells; c += L) {
    const int width = cells - c < L ? int(cells - c) : L;
    Vec<V> v[L];
    for (int k = 0; k < L; k++) v[k] = from.cells[c + k];
    transpose(v);
    for (int r = 0; r < L; r++)
      if (pairs >> r & 1) store_part_as(v[r], static_cast<T*>(to), (first + r) * cells + c, 0, width);
  }
}

template <class R>
struct GroupSweep {
  using V = typename R::V;
  using Value = typename R::Value;
  using State = typename R::State;
  using Max = typename R::Max;
  using I = Integer<V>;
  static constexpr int L = R::L;
  static constexpr bool kMayCharge = R::Recurrence::kChargesBoundary;
  static constexpr int kInsert = 1, kDelete = R::kShared ? 1 : 2;  // the tables of the gaps

  const Problem& p;
  const Group& group;
  const int64_t N, M;
  typename R::A::Factor factor;
  V threshold;
  bool ragged;
  Vec<I> n, m;
  const bool is_cut;      // whether cells may be outside of the pairs' corridors
  Corridor corridors[L];  // of the pairs; only where is_cut
  GroupTable<V> tables[3];
  State* row;
  typename R::Keeps::Element* weights;
  Value* flow;
  Vec<V>* results;
  uint32_t hidden = 0;  // lanes with finite scores that count as -inf

  GroupSweep(const Problem& p, const Group& g)
      : p(p), group(g), N(p.pairs.rows), M(p.pairs.columns), is_cut(p.pairs.bandwidth >= 0) {
    const Pair<R> any_pair(p, g.first);
    factor = any_pair.factor;
    const V part = V(sizeof(V) == 4 ? 0.25 : 0x1p-7);
    if (!R::kHard) factor.lowest *= part, factor.highest *= part;
    threshold = any_pair.threshold;
    ragged = false;
    for (int r = 0; r < L; r++) {
      const int64_t b = g.first + (r < g.count ? r : g.count - 1);
      n.x[r] = I(p.pairs.n(b)), m.x[r] = I(p.pairs.m(b));
      ragged = ragged || n.x[r] != N || m.x[r] != M;
      if (is_cut) corridors[r] = p.pairs.corridor(b);
    }
    const uintptr_t aligned = (reinterpret_cast<uintptr_t>(g.scratch) + 63) / 64 * 64;
    Vec<V>* memory = reinterpret_cast<Vec<V>*>(aligned);
    const int64_t padded = (N * M + L - 1) / L * L;
    for (int i = 0; i <= R::kGaps; i++) {
      const Table& t = p.scores[i];
      tables[i] = group_table<V>(memory, t.row != 0, t.column != 0, p.pairs);
      memory += padded;
      with_type(t.type, [&](auto type) {
        load_group<V, decltype(type)>(t, g.first, g.count, factor.sign, tables[i]);
      });
    }
    weights = reinterpret_cast<typename R::Keeps::Element*>(memory), memory += 2 * N * M;
    results = memory, memory += 3 * padded;
    flow = memory, memory += M;
    row = reinterpret_cast<State*>(memory);
  }

  // Sweeps all cells, and calls given(i) when `row` holds the states of row i. Returns the lanes that must be
  // swept in double. Where the arithmetic is double or hard already, the pairs in these lanes are NaN.
  template <bool kSave, class Given>
  uint32_t forward(Given given) {
    return is_cut ? forward_rows<kSave, true>(given) : forward_rows<kSave, false>(given);
  }

  // Returns the lanes whose scores have changed since the forward sweep.
  uint32_t backward(uint32_t pairs) {
    const uint32_t changed = pairs & forward<true>([](int64_t) {});
    pairs &= ~changed;
    GroupTable<V> out[3];
    const int64_t padded = (N * M + L - 1) / L * L;
    for (int q = 0; q <= R::kGaps; q++) {
      out[q] = group_table<V>(results + q * padded, p.gradients[q].every_row, p.gradients[q].every_column,
                              p.pairs);
      if (p.gradients[q].data)
        for (int64_t c = 0; c < padded && c < out[q].count() + L; c++) out[q].cells[c] = Value(V(0));
    }
    for (int64_t j = 0; j < M; j++) flow[j] = Value(V(0));
    Value by_edge(V(0)), by_corner(V(0));  // sum of A(k, 0) over k >= i; share of S(i, 0) from below
    for (int64_t i = N - 1; i >= 0; i--) {
      for (int r = 0; r < group.count; r++)
        if (i < n.x[r] && m.x[r] > 0) end_paths(i, r);
      const Span inside = span(i);
      if (inside.end == 0) continue;
      Value a = flow[inside.end - 1], diagonal(V(0)), to_left(V(0));
      for (int64_t j = inside.end - 1; j >= inside.begin; j--) {
        const auto kept = R::Keeps::load(kept_of(i, j));
        const auto given = adjoint_of<R>(a, kept);
        add(out[0], 0, i, j, !R::Recurrence::kEveryMove && p.visits ? a : given.score);
        if constexpr (R::kGaps > 0)
          add(out[1], 1, i, j, R::kShared ? given.to_above + given.to_left : given.to_above);
        if constexpr (R::kGaps > 1) add(out[2], 2, i, j, given.to_left);
        flow[j] = with_above<R>(a, kept, diagonal);
        diagonal = given.to_diagonal;
        to_left = given.to_left;
        // The order and rounding of backward.h.
        a = to_left + (j > inside.begin ? flow[j - 1] : Value(V(0)));
      }
      if (inside.begin > 0) {  // the row's first cell is not beside the boundary
        flow[inside.begin - 1] = diagonal;
        diagonal = to_left = Value(V(0));
      }
      if (charges()) {
        by_edge = by_edge + to_left + by_corner;
        by_corner = diagonal;
        add(out[kInsert], kInsert, i, 0, by_edge);
      }
    }
    if (charges()) {
      by_edge = Value(V(0));
      for (int64_t j = M - 1; j >= 0; j--) {
        by_edge = by_edge + flow[j];
        add(out[kDelete], kDelete, 0, j, by_edge);
      }
    }
    for (int q = 0; q <= R::kGaps; q++)
      if (p.gradients[q].data)
        with_type(p.gradients[q].type, [&](auto type) {
          store_group<V, decltype(type)>(out[q], p.gradients[q].data, group.first, pairs);
        });
    return changed;
  }

  // Whether a cell of lane r's pair is inside.
  bool is_inside(int r, int64_t i, int64_t j) const { return !is_cut || corridors[r].has(i, j); }

 private:
  template <bool kSave, bool kCut, class Given>
  uint32_t forward_rows(Given given) {
    typename Value::Mask bad = {}, hides = {};
    const Value highest(factor.highest), lowest(factor.lowest), nothing(-std::numeric_limits<V>::infinity());
    const State rest = R::S::boundary(is_free_left(p.start)), origin = R::S::boundary(true),
                dead = R::S::boundary(false);
    State edge = origin;           // S(0, j), then S(i, 0)
    const Span reached = span(0);  // of the boundary above
    for (int64_t j = 0; j < M; j++)
      row[j] = j >= reached.end ? dead
               : charges()      ? edge = next_on_boundary(edge, kDelete, 0, j, reached)
                                : R::S::boundary(is_free_above(p.start));
    edge = origin;
    int64_t begin_above = 0;
    for (int64_t i = 0; i < N; i++) {
      const Span inside = span(i);
      State diagonal = i == 0 || charges() ? edge : rest;
      if (charges()) edge = next_on_boundary(edge, kInsert, i, 0, inside);
      State left = charges() ? edge : rest;
      if (inside.begin > 0) left = dead, diagonal = inside.begin > begin_above ? row[inside.begin - 1] : dead;
      begin_above = inside.begin;
      for (int64_t j = inside.begin; j < inside.end; j++) {
        const auto is_inside = inside.has(j);
        Value x[3];
        for (int q = 0; q <= R::kGaps; q++) {
          x[q] = score(q, i, j);
          if constexpr (kCut) x[q] = select(is_inside, x[q], Value(V(0)));
          bad |= ~(x[q] <= highest);
          hides |= (x[q] < lowest) & (x[q] > nothing);
        }
        State above = row[j];
        if (i % 4 == 0) above = Max::normalized(above);
        if (j % 8 == 0) left = Max::normalized(left);
        const auto match = Max::input(x[0], factor), insert = R::kGaps > 0 ? Max::input(x[1], factor) : match,
                   del = R::kGaps > 1 ? Max::input(x[2], factor) : insert;
        Weights<Value> w;
        left = R::Cell::cell(R::Cell::ready(x[0], Value(threshold), match, insert, del), diagonal, above,
                             left, w);
        if constexpr (kCut) left = Max::select(is_inside, left, dead);
        if constexpr (kSave) R::Keeps::store(R::Keeps::keep(w, Rounding()), kept_of(i, j));
        row[j] = left;
        diagonal = above;
      }
      given(i);
    }
    bad |= hides;
    uint32_t lanes = 0;
    hidden = 0;
    for (int r = 0; r < group.count; r++)
      lanes |= uint32_t(bad[r] != 0) << r, hidden |= uint32_t(hides[r] != 0) << r;
    return lanes;
  }
  // The columns of a row that are inside: those of any pair, and those of each.
  struct Span {
    int64_t begin, end;
    Vec<I> first, last;
    SOFTDP_FN typename Value::Mask has(int64_t j) const {
      return (first <= Vec<I>(I(j))) & (last > Vec<I>(I(j)));
    }
  };
  Span span(int64_t i) const {
    Span all{0, M, Vec<I>(0), Vec<I>(I(M))};
    if (!is_cut) return all;
    all.begin = M, all.end = 0, all.last = all.first;
    for (int r = 0; r < L; r++) {
      if (i >= n.x[r] || m.x[r] == 0) continue;
      const int64_t begin = corridors[r].begin(i), end = corridors[r].end(i);
      all.first.x[r] = I(begin), all.last.x[r] = I(end);
      all.begin = begin < all.begin ? begin : all.begin, all.end = end > all.end ? end : all.end;
    }
    return all;
  }
  // Adds the adjoints of lane r's ends in row i.
  void end_paths(int64_t i, int r) {
    const int64_t pair = group.first + r, last = m.x[r] - 1;
    const BoundaryGradient<double>& by = p.by_boundary;
    if (by.by_last_column) flow[last].x[r] += V(by.by_last_column[pair * N + i]);
    if (n.x[r] != i + 1) return;
    if (!by.by_last_row) flow[last].x[r] = V(number_of(p, p.grad_score, pair));
    for (int64_t j = 0; by.by_last_row && j <= last; j++) flow[j].x[r] += V(by.by_last_row[pair * M + j]);
  }
  SOFTDP_FN bool charges() const { return kMayCharge && p.start == Start::kGaps; }
  // A score; 0 past the lengths.
  SOFTDP_FN Value score(int q, int64_t i, int64_t j) const {
    const Value x = tables[q].cells[tables[q].at(i, j)];
    return ragged ? select((n > Vec<I>(I(i))) & (m > Vec<I>(I(j))), x, Value(V(0))) : x;
  }
  SOFTDP_FN State next_on_boundary(const State& before, int gap, int64_t i, int64_t j,
                                   const Span& inside) const {
    Value x = score(gap, i, j);
    if (is_cut) x = select(inside.has(j), x, Value(V(0)));
    return Max::normalized(Max::plus(before, Max::input(x, factor)));
  }
  SOFTDP_FN typename R::Keeps::Element* kept_of(int64_t i, int64_t j) const {
    return weights + (i * M + j) * R::Keeps::kStep;
  }
  SOFTDP_FN void add(const GroupTable<V>& to, int q, int64_t i, int64_t j, Value x) const {
    if (!p.gradients[q].data) return;
    Value& sum = to.cells[to.at(i, j)];
    sum = sum + x;
  }
};

template <class R>
uint32_t forward_group(const Problem& p, const Group& group) {
  GroupSweep<R> sweep(p, group);
  const auto value = [&](int64_t j, int r) {
    return R::S::value(R::Max::normalized(sweep.row[j]), r, sweep.factor);
  };
  const Boundary<double>& boundary = p.boundary;
  uint32_t lanes = sweep.template forward<false>([&](int64_t i) {
    for (int r = 0; r < group.count; r++) {
      const int64_t pair = group.first + r, n = sweep.n.x[r], m = sweep.m.x[r];
      if (i >= n || m == 0) continue;
      if (i + 1 == n) group.scores[r] = value(m - 1, r);
      if (boundary.last_column) boundary.last_column[pair * sweep.N + i] = value(m - 1, r);
      for (int64_t j = 0; boundary.last_row && i + 1 == n && j < m; j++)
        boundary.last_row[pair * sweep.M + j] = sweep.is_inside(r, i, j) ? value(j, r) : -R::A::kInfinity;
    }
  });
  for (int r = 0; r < group.count; r++) {
    if (sweep.n.x[r] == 0 || sweep.m.x[r] == 0) continue;
    const double score = group.scores[r];
    const bool coarse = sizeof(typename R::V) == 4 && p.ends == Ends::kCorner && is_coarse(p.gamma, score);
    const bool lost = (sweep.hidden >> r & 1) != 0 && score == -R::A::kInfinity;
    lanes |= uint32_t(coarse || lost) << r;
  }
  return lanes;
}

template <class R>
uint32_t backward_group(const Problem& p, const Group& group, uint32_t pairs) {
  return GroupSweep<R>(p, group).backward(pairs);
}

}  // namespace softdp::cpu::SOFTDP_ISA
