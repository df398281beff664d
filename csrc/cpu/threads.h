// Pairs and their bands on several threads.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "denormals.h"
#include "saved.h"

namespace softdp::cpu {

constexpr int64_t kFewCells = 4096;  // 5 us of work: less is not worth another thread

using Bytes = std::unique_ptr<unsigned char[]>;
inline Bytes bytes(int64_t count) {
  return Bytes(new unsigned char[count]);  // not initialised
}

// Sweeps bands 0 .. count - 1. A thread that is free takes the next band. The arguments of sweep are the
// band's index, the thread's scratch, the progress of the band before, and the band's own progress.
using SweepBand = std::function<void(int64_t, unsigned char*, Progress*, Progress*)>;
inline void chain(const Threads& threads, int64_t count, int64_t scratch, const SweepBand& sweep) {
  const std::unique_ptr<Progress[]> progress(new Progress[count]);
  std::atomic<int64_t> ticket{0};
  threads.over(std::min<int64_t>(threads.count, count), 1, [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const Bytes own = bytes(scratch);
    for (int64_t thread = begin; thread < end; thread++)
      for (int64_t i; (i = ticket.fetch_add(1)) < count;)
        sweep(i, own.get(), i > 0 ? &progress[i - 1] : nullptr, &progress[i]);
  });
}

// Sweeps pairs. Whole rounds of pairs take one thread for each pair. The pairs that are left are swept one by
// one, each in bands on all threads.
template <class Alone, class Together>
void over_pairs(const Problem& p, const Threads& threads, const std::vector<int64_t>& pairs, bool backward,
                int64_t scratch_size, const Alone& alone, const Together& together) {
  const int64_t cells = std::max<int64_t>(1, p.pairs.rows * p.pairs.columns), count = int64_t(pairs.size());
  // Bands pay where the pairs that are left are fewer than the bands of one pair that are swept at once. The
  // factor 3 / 2 is a margin for the time that bands wait.
  const int64_t left = count % threads.count,
                together_at_once = std::min<int64_t>(threads.count, bands_of(p.pairs.rows, kBand));
  const bool by_bands = 3 * left < 2 * together_at_once && p.pairs.columns >= 4 * kBand &&
                        cells >= 16 * kFewCells && !p.is_piece && p.pairs.bandwidth < 0;
  const int64_t whole = by_bands ? count - left : count;
  threads.over(whole, std::max<int64_t>(1, kFewCells / cells), [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const Bytes scratch = bytes(scratch_size);
    // Backward begins with the last pair: it sweeps upwards, so the memory that it fetches ahead belongs to
    // the pair before.
    for (int64_t i = begin; i < end; i++) alone(pairs[backward ? begin + end - 1 - i : i], scratch.get());
  });
  for (int64_t i = whole; i < count; i++) together(pairs[i]);
}

inline Outcome combined(Outcome a, const Outcome& b) {
  // After a band that escaped, the outcomes of later bands mean nothing.
  return {a.escapes || b.escapes, a.coarse || (!a.escapes && b.coarse), a.spoiled || b.spoiled,
          a.hidden || b.hidden, b.score};
}

// The bands of a pair. Where weights are saved, one thread sweeps the pair as one band. Several threads sweep
// bands of a few rows each, so that many are at work at once: a band's first row must wait for the last row
// of the band before.
struct BandsOfPair {
  const Problem& p;
  int64_t pair, rows, of, count;
  Tier tier;
  bool packed;
  Layout layout;
  unsigned char* states;  // of the rows between bands
  int64_t columns;        // of such a row: all, or those of one strip
  int64_t pitch;          // bytes from row to row; 0: one row serves all bands in turn
  Bytes own;
  BandsOfPair(const Problem& p, int64_t pair, Tier tier, bool together)
      : p(p), pair(pair), rows(p.pairs.n(pair)), tier(tier), packed(packs(p) && tier < Tier::kDouble) {
    of = !packed ? kBand : together ? std::max(chosen().lanes, 8) : rows;
    count = bands_of(rows, of);
    layout = Layout::of(rows, p.pairs.m(pair), corridor_of(p, pair), lanes());
    const bool keeps_rows = p.saved && !packed;
    columns = keeps_rows && p.pairs.bandwidth >= 0 ? layout.width : p.pairs.columns;
    const int64_t row = columns * row_states_of(p.recurrence) * kStateBytes;
    pitch = keeps_rows ? row : 0;
    if (pitch) states = Saved(p)[pair].data();
    if (!pitch) own = bytes(row), states = own.get();
  }
  // Of the sweep's vectors.
  int lanes() const { return tier < Tier::kDouble ? chosen().lanes : chosen().lanes / 2; }
  // Sets bytes that the forward sweep may not write to 0. It runs before that sweep, which then overwrites
  // most of them.
  void clear_saved() const {
    if (!p.saved) return;
    if (!packed) return Saved(p).clear(pair);
    const int64_t strips = bands_of(rows, lanes());
    const bool tail = layout.runs_over(rows - (strips - 1) * lanes());
    Saved(p).clear(pair, (strips * layout.pitch + (tail ? lanes() : 0)) * lanes() * 4);
  }
  Band operator[](int64_t i) const {
    Band band{pair, i * of, std::min(rows, (i + 1) * of), tier};
    if (i > 0) band.above = states + (i - 1) * pitch, band.above_first = first_kept(i - 1);
    if (i + 1 < count) band.below = states + i * pitch, band.below_first = first_kept(i);
    band.columns = columns;
    if (p.saved && packed) band.weights = Saved(p)[pair].data();
    return band;
  }

 private:
  // The column of the first state that is kept of a band's last row: the first one of the band's last strip.
  int64_t first_kept(int64_t band) const { return pitch > 0 ? layout.first((band + 1) * of - lanes()) : 0; }
};

}  // namespace softdp::cpu
