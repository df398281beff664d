// Small pairs are scored in chunks. A chunk makes the tables of its pairs and sweeps them forward. Then it
// sweeps them backward, which overwrites the tables with their gradients, and sums these into the gradients
// of the features.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "feature_sweeps.h"

namespace softdp::cpu {

constexpr int64_t kChunkBytes = 1 << 19;  // of tables, weights, unit vectors: they stay in the L2 cache

template <class Tables>
class Chunk {
 public:
  using T = typename Tables::Number;

  Chunk(const FeatureProblem& p, int64_t most)
      : p_(p),
        tables_(p, most),
        pitch_(most * p.pairs.rows * p.pairs.columns),
        memory_(Tables::kCount * pitch_ * int64_t(sizeof(T))),
        saved_(wants_gradient(p) ? most * saved_bytes_of(p) : 0),
        scratch_(scratch_bytes()),
        ends_(wants_gradient(p) ? size_t(most * ends_of_pair(p)) : 0),
        n_(size_t(most)),
        m_(size_t(most)),
        scores_(size_t(most)),
        wanted_(size_t(most)) {}

  // The bytes that a pair takes.
  static int64_t bytes(const FeatureProblem& p) {
    return Tables::kCount * p.pairs.rows * p.pairs.columns * int64_t(sizeof(T)) + Tables::bytes(p) +
           (wants_gradient(p) ? saved_bytes_of(p) + ends_of_pair(p) * int64_t(sizeof(T)) : 0);
  }

  // Scores pairs first, first + stride, ...
  void run(int64_t first, int64_t stride, int64_t count, const Threads& threads) {
    const auto number = [&](int64_t k) { return first + k * stride; };
    over_pairs(count, threads, [&](int64_t k, void* scratch) {
      tables_.prepare(k, number(k));
      make(k, number(k), scratch);
    });
    for (int64_t k = 0; k < count; k++) n_[k] = p_.n(number(k)), m_[k] = p_.m(number(k));
    const Pairs pairs{count, p_.pairs.rows, p_.pairs.columns, {n_.data()}, {m_.data()}, p_.pairs.bandwidth};
    Problem sweep = sweep_over<T>(p_, pairs, tables_of(0).at);
    sweep.score = scores_.data();
    sweep.saved = wants_gradient(p_) ? saved_.get() : nullptr;
    sweep.ends = p_.ends, sweep.ends_weights = ends_.data();
    forward(sweep, threads);
    for (int64_t k = 0; k < count; k++) {
      if (tables_.spoils(number(k), n_[k], m_[k])) scores_[k] = T(kNaN);
      if (p_.score) static_cast<T*>(p_.score)[number(k)] = scores_[k];
    }
    if (!wants_gradient(p_)) return;
    const T* const weights = static_cast<const T*>(p_.grad_score);
    for (int64_t k = 0; k < count; k++) wanted_[k] = T(!weights || weights[number(k)] != 0);
    sweep.grad_score = wanted_.data();
    backward(sweep, threads);
    over_pairs(count, threads, [&](int64_t k, void* scratch) {
      if (wanted_[k] == 0) return;
      if (std::isnan(scores_[k])) return spoiled(number(k));
      const Adding to{weights != nullptr, weights ? double(weights[number(k)]) : p_.itself ? 2 : 1};
      add(k, number(k), to, scratch);
      if (!weights) tables_.finish(k, number(k));
    });
  }

 private:
  struct Few {
    T* at[2];
  };
  Few tables_of(int64_t k, int64_t first_cell = 0) const {
    T* const first = memory_.template get<T>() + k * p_.pairs.rows * p_.pairs.columns + first_cell;
    return {{first, first + pitch_}};
  }
  bool is_cut() const { return p_.pairs.bandwidth >= 0; }
  // The tables of a pair; with a bandwidth, its cells.
  Piece piece(int64_t pair) const {
    const int64_t N = p_.pairs.rows, M = p_.pairs.columns;
    if (!is_cut()) return {pair, 0, 0, N, M, M};
    const int64_t n = p_.n(pair), m = p_.m(pair);
    return {pair, 0, 0, m > 0 ? n : 0, m, M};
  }
  Corridor corridor(int64_t pair) const { return Corridor::of(p_.n(pair), p_.m(pair), p_.pairs.bandwidth); }
  void make(int64_t k, int64_t pair, void* scratch) const {
    if (!is_cut()) return tables_.make(k, piece(pair), tables_of(k).at, scratch);
    over_inside(piece(pair), corridor(pair), kMadeRows, [&](const Piece& part, int64_t first) {
      tables_.make(k, part, tables_of(k, first).at, scratch);
    });
  }
  void add(int64_t k, int64_t pair, Adding to, void* scratch) const {
    if (!is_cut()) return tables_.add(k, piece(pair), tables_of(k).at, to, scratch);
    if (!to.adds) clear_gradients<T>(p_, pair);
    over_inside(piece(pair), corridor(pair), kAddedRows, [&](const Piece& part, int64_t first) {
      tables_.add(k, part, tables_of(k, first).at, {true, to.scale}, scratch);
    });
  }
  void spoiled(int64_t pair) const {
    p_.grad_score ? spoil_gradients<T>(p_, pair) : clear_gradients<T>(p_, pair);
  }
  static int64_t saved_bytes_of(const FeatureProblem& p) {
    return saved_bytes(p.pairs.rows, p.pairs.columns, packs<T>(p, p.pairs.rows, p.pairs.columns),
                       p.pairs.bandwidth);
  }
  static int64_t ends_of_pair(const FeatureProblem& p) {
    return ends_of(p.ends, p.pairs.rows, p.pairs.columns);
  }
  int64_t scratch_bytes() const { return Tables::scratch_bytes(p_, p_.pairs.rows, p_.pairs.columns); }
  template <class Run>
  void over_pairs(int64_t count, const Threads& threads, const Run& run) {
    const auto over = [&](int64_t begin, int64_t end, void* scratch) {
      for (int64_t k = begin; k < end; k++) run(k, scratch);
    };
    if (threads.count == 1) return over(0, count, scratch_.get());
    threads.over(count, 1,
                 [&](int64_t begin, int64_t end) { over(begin, end, Aligned(scratch_bytes()).get()); });
  }

  const FeatureProblem& p_;
  Tables tables_;
  const int64_t pitch_;  // from one of a pair's tables to the next
  Aligned memory_, saved_, scratch_;
  std::vector<T> ends_;  // the weights of the pairs' ends
  std::vector<int64_t> n_, m_;
  std::vector<T> scores_, wanted_;
};
template <class Tables>
int64_t pairs_a_chunk(const FeatureProblem& p, int64_t count) {
  const int64_t most = std::clamp<int64_t>(kChunkBytes / std::max<int64_t>(Chunk<Tables>::bytes(p), 1), 1,
                                           std::max<int64_t>(count, 1));
  return most > kMostLanes ? most / kMostLanes * kMostLanes : most;  // then small pairs fill vectors
}

template <class Tables>
void in_chunks(const FeatureProblem& p, const Threads& threads) {
  const int64_t B = p.pairs.count, most = pairs_a_chunk<Tables>(p, B), chunks = (B + most - 1) / most;
  const auto run = [&](Chunk<Tables>& chunk, int64_t i, const Threads& with) {
    chunk.run(i * most, 1, std::min(most, B - i * most), with);
  };
  if (chunks >= threads.count) {
    threads.over(chunks, 1, [&](int64_t begin, int64_t end) {
      Chunk<Tables> chunk(p, most);
      for (int64_t i = begin; i < end; i++) run(chunk, i, kAlone);
    });
  } else {
    Chunk<Tables> chunk(p, most);
    for (int64_t i = 0; i < chunks; i++) run(chunk, i, threads);
  }
}

}  // namespace softdp::cpu
