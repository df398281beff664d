// Batched sweeps on the CPU: forward and backward of all pairs.
#include "sweep.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "ends.h"
#include "gap_sums.h"
#include "threads.h"

namespace softdp::cpu {
namespace {

// The number of pairs in a group, or 0 where pairs are swept one by one. Groups are used where they take
// fewer steps of one vector.
int group_size(const Problem& p) {
  const Pairs& pairs = p.pairs;
  if (pairs.rows > kGroupRows || pairs.columns > kGroupColumns || pairs.rows * pairs.columns == 0) return 0;
  if (p.ends == Ends::kCorner && (p.boundary.any() || p.by_boundary.any())) return 0;
  if (has_several_states(p.recurrence)) return 0;
  if (!is_narrow(p) && !is_double(p) && p.gamma > 0) return 0;  // scores are float32, the sweep is in double
  const int lanes = p.gamma > 0 && !is_double(p) ? chosen().lanes : chosen().lanes / 2;
  const int64_t groups = (pairs.count + lanes - 1) / lanes, strips = (pairs.rows + lanes - 1) / lanes;
  const int64_t together = groups * pairs.rows * pairs.columns,
                alone = pairs.count * strips * (pairs.columns + lanes + 30);
  return together < alone ? lanes : 0;
}

// The score is NaN where a finite score counts as -inf and no path is found: there may be one.
void finish(const Problem& p, int64_t pair, Verdict how, const Outcome& outcome) {
  const bool no_path = outcome.score == -kInf && !p.is_piece;  // a piece may have other ends
  const bool lost = outcome.hidden && no_path;
  const double score = outcome.spoiled || lost ? kNaN : outcome.score;
  set_score(p, pair, score);
  const Verdict verdict = std::isnan(score) ? Verdict::kSpoiled : no_path ? Verdict::kNoPath : how;
  if (p.saved) Saved(p).set(pair, verdict);
}

// The outcome of a pair whose paths may end in several cells.
Outcome joined(const Problem& p, int64_t pair, Tier tier, const PathEnds& ends, Outcome outcome) {
  if (p.ends == Ends::kCorner || outcome.escapes) return outcome;
  const FlushDenormals flush;  // also where the caller's thread does not
  outcome.score = ends.join(p, pair);
  const bool in_float = tier == Tier::kNarrow || tier == Tier::kFar;
  outcome.escapes = outcome.coarse = in_float && is_coarse(p.gamma, outcome.score);
  return outcome;
}

void forward_alone(const Problem& p, const PathEnds& ends, int64_t pair, unsigned char* scratch) {
  Outcome outcome;
  for (Tier tier = first_tier(p, pair);; tier = next_tier(p, tier, outcome)) {
    const BandsOfPair bands(p, pair, tier, false);
    bands.clear_saved();
    outcome = {};
    for (int64_t i = 0; i < bands.count && !outcome.escapes; i++) {
      Band band = bands[i];
      band.scratch = scratch;
      outcome = combined(outcome, chosen().forward_band(p, band));
    }
    outcome = joined(p, pair, tier, ends, outcome);
    if (!falls_short(p, tier, outcome)) return finish(p, pair, swept(tier), outcome);
  }
}

void forward_together(const Problem& p, const PathEnds& ends, const Threads& threads, int64_t pair) {
  Outcome outcome;
  for (Tier tier = first_tier(p, pair);; tier = next_tier(p, tier, outcome)) {
    const BandsOfPair bands(p, pair, tier, true);
    bands.clear_saved();
    std::vector<Outcome> outcomes(bands.count);
    std::atomic<bool> escaped{false};
    chain(threads, bands.count, scratch_bytes(p, false),
          [&](int64_t i, unsigned char* scratch, Progress* before, Progress* own) {
            if (escaped.load(std::memory_order_relaxed)) {  // wait for the band before: both may share a row
              wait_for(before, p.pairs.m(pair));
              return tell(own, p.pairs.m(pair));
            }
            Band band = bands[i];
            band.scratch = scratch, band.before = before, band.own = own;
            outcomes[i] = chosen().forward_band(p, band);
            if (outcomes[i].escapes) escaped.store(true, std::memory_order_relaxed);
          });
    outcome = {};
    for (const Outcome& one : outcomes) outcome = combined(outcome, one);
    outcome = joined(p, pair, tier, ends, outcome);
    if (!falls_short(p, tier, outcome)) return finish(p, pair, swept(tier), outcome);
  }
}

struct BackwardPair {
  const Problem& p;
  int64_t pair;
  BandsOfPair bands;
  Sums sums;
  Bytes flow;
  std::atomic<bool> changed{false};  // whether scores have changed since forward
  BackwardPair(const Problem& p, int64_t pair, bool together)
      : p(p),
        pair(pair),
        bands(p, pair, tier_of(Saved(p)[pair].verdict), together),
        sums(p),
        flow(bytes(p.pairs.columns * row_states_of(p.recurrence) * int64_t(sizeof(double)))) {
    fill(p, pair, 0, true);
    for (double* by : {p.by_boundary.by_left, p.by_boundary.by_left_diagonal})
      if (by) std::fill_n(by + pair * p.pairs.rows, bands.rows, 0.0);
  }
  // Sweeps the lowest band first: i = 0.
  void sweep(int64_t i, unsigned char* scratch, Progress* before, Progress* own) {
    Band band = bands[bands.count - 1 - i];
    band.scratch = scratch, band.before = before, band.own = own;
    band.flow = flow.get();
    sums.hand_to(band);
    if (!chosen().backward_band(p, band)) changed = true;
  }
  void finish() {
    const int64_t m = p.pairs.m(pair);
    if (p.by_boundary.by_above) {
      const int64_t handed = bands.layout.is_cut() ? bands.layout.corridor.end(0) : m;
      if (bands.tier >= Tier::kDouble)
        take_above(reinterpret_cast<double*>(flow.get()), handed);
      else
        take_above(reinterpret_cast<float*>(flow.get()), handed);
      double* const above = p.by_boundary.by_above + pair * p.pairs.columns;
      std::fill(above + handed, above + m, 0.0);
    }
    if (changed) return fill(p, pair, kNaN, false);
    if (sums_gaps(p)) GapSums::add_gradients(p, pair, sums);
    sums.write(p, pair);
  }

 private:
  // Takes what the first row hands up to the boundary, the sum over its states.
  template <class V>
  void take_above(const V* from, int64_t m) const {
    double* const above = p.by_boundary.by_above + pair * p.pairs.columns;
    std::copy_n(from, m, above);
    for (int s = 1; s < row_states_of(p.recurrence); s++)
      for (int64_t j = 0; j < m; j++) above[j] += double(from[s * p.pairs.columns + j]);
  }
};

void backward_alone(const Problem& p, int64_t pair, unsigned char* scratch) {
  BackwardPair work(p, pair, false);
  for (int64_t i = 0; i < work.bands.count; i++) work.sweep(i, scratch, nullptr, nullptr);
  work.finish();
}
void backward_together(const Problem& p, const Threads& threads, int64_t pair) {
  BackwardPair work(p, pair, true);
  chain(threads, work.bands.count, scratch_bytes(p, !work.bands.packed),
        [&](int64_t i, unsigned char* scratch, Progress* before, Progress* own) {
          work.sweep(i, scratch, before, own);
        });
  work.finish();
}

// Divides the pairs into groups of `size`, the last one smaller, and calls run(group) for each.
void over_groups(const Problem& p, const Threads& threads, int size,
                 const std::function<void(const Group&)>& run) {
  const int64_t count = (p.pairs.count + size - 1) / size, cells = size * p.pairs.rows * p.pairs.columns;
  threads.over(count, std::max<int64_t>(1, 4 * kFewCells / cells), [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const Bytes scratch = bytes(group_bytes(p.pairs.rows, p.pairs.columns) + 64);
    double scores[kMostLanes];
    for (int64_t g = begin; g < end; g++)
      run({g * size, int(std::min<int64_t>(size, p.pairs.count - g * size)), scratch.get(), scores});
  });
}

// S at the end of a pair without cells. It has only one row or column, the boundary.
double score_of_empty(const Problem& p, int64_t pair) {
  const int64_t n = p.pairs.n(pair), m = p.pairs.m(pair);
  if (sums_gaps(p)) return EmptyPair(p, pair).score(p, pair);
  const Boundary<double>& s = p.boundary;
  const double origin = s.corner ? s.corner[pair] : p.start == Start::kAnywhere ? -kInf : 0;
  const auto rest = [](bool is_free) { return is_free ? 0.0 : -kInf; };
  const auto above = [&](int64_t j) {
    return s.above ? s.above[pair * p.pairs.columns + j] : rest(is_free_above(p.start));
  };
  const auto left = [&](int64_t i) {
    return s.left ? s.left[pair * p.pairs.rows + i] : rest(is_free_left(p.start));
  };
  for (int64_t j = 0; s.last_row && n == 0 && j < m; j++) s.last_row[pair * p.pairs.columns + j] = above(j);
  for (int64_t i = 0; s.last_column && m == 0 && i < n; i++) s.last_column[pair * p.pairs.rows + i] = left(i);
  return m > 0 ? above(m - 1) : n > 0 ? left(n - 1) : origin;
}
void settle_empty(const Problem& p, int64_t pair) {
  set_score(p, pair, score_of_empty(p, pair));
  if (p.saved) Saved(p).set(pair, Verdict::kEmpty), Saved(p).clear(pair);
  PathEnds::clear(p, pair);
}

// Sweeps small pairs in groups. Returns the pairs that are left for bands.
std::vector<int64_t> forward_groups(const Problem& p, const PathEnds& ends, const Threads& threads,
                                    int size) {
  std::vector<char> again(p.pairs.count, 0);
  over_groups(p, threads, size, [&](const Group& group) {
    const uint32_t failed = chosen().forward_group(p, group);
    for (int r = 0; r < group.count; r++) {
      const int64_t b = group.first + r;
      const bool fails = failed >> r & 1;
      if (is_empty(p, b)) {
        settle_empty(p, b);
      } else if (fails && p.gamma > 0) {
        again[b] = 1;
      } else {
        Outcome outcome{false, false, fails, false, group.scores[r]};
        const Tier tier = p.gamma > 0 && !is_double(p) ? Tier::kNarrow : Tier::kDouble;
        outcome = joined(p, b, tier, ends, outcome);
        if (outcome.escapes) {
          again[b] = 1;
          continue;
        }
        finish(p, b, Verdict::kGrouped, outcome);
        if (p.saved) Saved(p).clear(b);
      }
    }
  });
  std::vector<int64_t> rest;
  for (int64_t b = 0; b < p.pairs.count; b++)
    if (again[b]) rest.push_back(b);
  return rest;
}

void backward_groups(const Problem& p, const Threads& threads, int size) {
  const Saved saved(p);
  over_groups(p, threads, size, [&](const Group& group) {
    uint32_t pairs = 0;
    for (int r = 0; r < group.count; r++) {
      const int64_t b = group.first + r;
      const bool is_grouped = saved[b].verdict == Verdict::kGrouped && !receives_nothing(p, b);
      pairs |= uint32_t(is_grouped) << r;
    }
    const uint32_t failed = pairs ? chosen().backward_group(p, group, pairs) : 0;
    for (int r = 0; r < group.count; r++)
      if (failed >> r & 1) fill(p, group.first + r, kNaN, false);
  });
}

// Writes the gradients of a pair that is not swept.
void fill_unswept(const Problem& p, int64_t pair) {
  const Verdict verdict = Saved(p)[pair].verdict;
  const bool wanted = !receives_nothing(p, pair);
  fill(p, pair, verdict == Verdict::kSpoiled && wanted ? kNaN : 0.0, false);
  if (verdict != Verdict::kEmpty || !sums_gaps(p) || !wanted) return;
  const EmptyPair empty(p, pair);
  const double score = empty.score(p, pair);
  if (score == -kInf) return;
  Sums sums(p);
  const double step = std::isnan(score) ? kNaN : number_of(p, p.grad_score, pair);
  add_steps(p, pair, empty.gap, std::vector<double>(size_t(empty.steps()), step), sums);
  sums.write(p, pair, true);
}

}  // namespace

void forward(const Problem& problem, const Threads& threads) {
  Problem p = problem;
  PathEnds ends(p);
  if (p.ends != Ends::kCorner) p.boundary.last_row = ends.row(), p.boundary.last_column = ends.column();
  std::vector<int64_t> rest;
  if (const int size = group_size(p)) {
    rest = forward_groups(p, ends, threads, size);
  } else {
    for (int64_t b = 0; b < p.pairs.count; b++)
      if (is_empty(p, b))
        settle_empty(p, b);
      else
        rest.push_back(b);
  }
  std::optional<GapSums> boundary;
  if (sums_gaps(p) && !rest.empty()) boundary.emplace(p, rest, false, threads);
  over_pairs(
      p, threads, rest, false, scratch_bytes(p, false),
      [&](int64_t b, unsigned char* scratch) { forward_alone(p, ends, b, scratch); },
      [&](int64_t b) { forward_together(p, ends, threads, b); });
}

void backward(const Problem& problem, const Threads& threads) {
  Problem p = problem;
  p.boundary.last_row = p.boundary.last_column = nullptr;  // the forward sweep has written them
  PathEnds ends(p);
  if (p.ends != Ends::kCorner) {
    const FlushDenormals flush;
    p.by_boundary.by_last_row = ends.row(), p.by_boundary.by_last_column = ends.column();
    for (int64_t b = 0; b < p.pairs.count; b++)
      if (is_swept(Saved(p)[b].verdict) && !receives_nothing(p, b)) ends.differentiate(p, b);
  }
  if (const int size = group_size(p)) backward_groups(p, threads, size);
  std::vector<int64_t> unswept, rest;
  bool again = false;  // whether some weights are computed again
  for (int64_t b = 0; b < p.pairs.count; b++) {
    const Verdict verdict = Saved(p)[b].verdict;
    if (!is_swept(verdict) || receives_nothing(p, b))
      unswept.push_back(b);
    else if (verdict != Verdict::kGrouped)
      rest.push_back(b), again = again || !packs(p) || verdict != Verdict::kNarrow;
  }
  const int64_t cells = std::max<int64_t>(1, p.pairs.rows * p.pairs.columns);
  threads.over(int64_t(unswept.size()), std::max<int64_t>(1, 16 * kFewCells / cells),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; i++) fill_unswept(p, unswept[size_t(i)]);
               });
  std::optional<GapSums> boundary;
  if (sums_gaps(p) && !rest.empty()) boundary.emplace(p, rest, true, threads);
  over_pairs(
      p, threads, rest, true, scratch_bytes(p, again),
      [&](int64_t b, unsigned char* scratch) { backward_alone(p, b, scratch); },
      [&](int64_t b) { backward_together(p, threads, b); });
}

}  // namespace softdp::cpu
