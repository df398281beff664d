// The gradients of pairs that are not swept, and the sums that a sweep collects.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "saved.h"

namespace softdp::cpu {

// The part of a sink that belongs to a pair.
template <class T>
struct PairSink {
  T* data;
  int64_t rows, columns, n, m;  // rows, columns: of the sink; n, m: of them, within the lengths
  PairSink(const Problem& p, const Sink& s, int64_t pair)
      : rows(s.every_row ? p.pairs.rows : 1), columns(s.every_column ? p.pairs.columns : 1) {
    data = static_cast<T*>(s.data) + pair * rows * columns;
    const bool empty = is_empty(p, pair);
    n = empty ? 0 : s.every_row ? p.pairs.n(pair) : 1;
    m = empty ? 0 : s.every_column ? p.pairs.m(pair) : 1;
  }
};
template <class Run>
inline void over_sinks(const Problem& p, int64_t pair, Run run) {
  for (int i = 0; i < kMostTables; i++)
    if (p.gradients[i].data)
      with_type(p.gradients[i].type, [&](auto t) { run(i, PairSink<decltype(t)>(p, p.gradients[i], pair)); });
}
// Whether the pair's score receives the gradient 0. The pair then has the gradient 0, whatever it holds, and
// is not swept. The test looks at bits: a denormal number is not 0, but a comparison may take it for 0.
inline bool receives_nothing(const Problem& p, int64_t pair) {
  const bool is_joined =
      p.ends == Ends::kCorner && (p.by_boundary.by_last_row || p.by_boundary.by_last_column);
  if (is_joined) return false;
  if (is_double(p)) {
    uint64_t bits;
    std::memcpy(&bits, static_cast<const double*>(p.grad_score) + pair, sizeof bits);
    return bits << 1 == 0;
  }
  uint32_t bits;
  std::memcpy(&bits, static_cast<const float*>(p.grad_score) + pair, sizeof bits);
  return bits << 1 == 0;
}
// Writes `inside` to the pair's cells and 0 outside: past the lengths and outside the corridor. With
// only_outside, the pair's cells keep their values or become 0: a sweep is going to write them.
inline void fill(const Problem& p, int64_t pair, double inside, bool only_outside) {
  over_sinks(p, pair, [&](int which, auto sink) {
    std::remove_reference_t<decltype(*sink.data)> zero, value;
    put(zero, 0), put(value, inside);
    const Sink& of = p.gradients[which];
    const Corridor corridor = corridor_of(p, pair);
    const bool is_cut = of.every_row && of.every_column && !corridor.is_everywhere();
    // One large part of memory takes half the time of a part in each row. Where gradients overwrite the
    // scores, the sweep still reads those inside.
    if (is_cut && only_outside && of.data != p.scores[which].data &&
        4 * corridor.reach < corridor.down * corridor.right)
      return void(std::memset(sink.data, 0, size_t(sink.rows * sink.columns) * sizeof(zero)));
    for (int64_t i = 0; i < sink.rows; i++) {
      const bool has_cells = i < sink.n && sink.m > 0;
      const int64_t first = is_cut && has_cells ? corridor.begin(i) : 0, last = !has_cells ? 0
                                                                                : is_cut   ? corridor.end(i)
                                                                                           : sink.m;
      auto* const row = sink.data + i * sink.columns;
      std::fill(row, row + first, zero);
      if (!only_outside) std::fill(row + first, row + last, value);
      std::fill(row + last, row + sink.columns, zero);
    }
  });
}

// The sums over rows, and over all cells, that a backward sweep collects.
struct Sums {
  std::vector<double> columns[kMostTables];
  double totals[kMostTables] = {};
  Sums(const Problem& p) {
    for (int i = 1; i < kMostTables; i++)
      if (p.gradients[i].data && !p.gradients[i].every_row && p.gradients[i].every_column)
        columns[i].assign(p.pairs.columns, 0.0);
  }
  void hand_to(Band& band) {
    for (int i = 0; i < kMostTables; i++) band.column_sums[i] = columns[i].data();
    band.totals = totals;
  }
  // Writes the sums within the pair's lengths; `whole`: all of them.
  void write(const Problem& p, int64_t pair, bool whole = false) const {
    over_sinks(p, pair, [&](int i, auto sink) {
      if (p.gradients[i].every_row) return;
      for (int64_t j = 0; j < (whole ? sink.columns : sink.m); j++)
        put(sink.data[j], p.gradients[i].every_column ? columns[i][j] : totals[i]);
    });
  }
};

}  // namespace softdp::cpu
