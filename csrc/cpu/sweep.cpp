#include "sweep.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "denormals.h"
#include "half.h"

namespace softdp::cpu {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kFewCells = 4096;  // 5 us of work: less is not worth another thread

// ---- instruction sets ----------------------------------------------------------------------------------

struct Candidate {
  const Kernels* kernels;
  bool runs_here;
};
#if defined(__x86_64__)
bool has_f16c() {  // which __builtin_cpu_supports does not know in every compiler
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif
std::vector<Candidate> candidates() {  // the best first
  std::vector<Candidate> all;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  all.push_back({&avx512::kernels, avx512});
  all.push_back({&avx2::kernels, avx2});
#endif
  all.push_back({&baseline::kernels, true});
  return all;
}

const Kernels& choose() {
  const char* const named = std::getenv("SOFTDP_CPU");
  const std::string name = named ? named : "";
  std::string known;
  for (const Candidate& c : candidates()) {
    if (name.empty() ? c.runs_here : name == c.kernels->name) {
      if (c.runs_here) return *c.kernels;
      throw std::runtime_error("SOFTDP_CPU=" + name + ": this machine does not have these instructions");
    }
    known = c.kernels->name + (known.empty() ? "" : ", " + known);
  }
  throw std::runtime_error("SOFTDP_CPU=" + name + ": must be one of " + known);
}

// ---- memory --------------------------------------------------------------------------------------------

using Bytes = std::unique_ptr<unsigned char[]>;
Bytes bytes(int64_t count) {
  return Bytes(new unsigned char[count]);  // not initialised
}

// ---- which pairs are swept how -------------------------------------------------------------------------

Verdict swept(Tier tier) {
  return tier == Tier::kHard ? Verdict::kHard : tier == Tier::kWide ? Verdict::kWide : Verdict::kNarrow;
}

// Whether the pair's states are likely to pass the narrow arithmetic's range. A few scores of the first row,
// the first column and the diagonal say how far they come: to begin with another tier than is needed costs
// time, and changes no bit of the result.
bool reaches_far(const Problem& p, int64_t pair) {
  constexpr int64_t kSamples = 16;
  constexpr double kReach = 0x1p22;  // lanes.h: of states
  const int64_t n = p.pairs.n(pair), m = p.pairs.m(pair);
  const auto mean = [&](const Table& table, bool down, bool right) {
    double sum = 0;
    int64_t count = 0;
    with_type(table.type, [&](auto t) {
      const auto* const data = static_cast<const decltype(t)*>(table.data) + pair * table.batch;
      for (int64_t k = 0; k < kSamples; k++) {
        const int64_t i = down ? (n - 1) * k / (kSamples - 1) : 0,
                      j = right ? (m - 1) * k / (kSamples - 1) : 0;
        const double score = double(to_float(data[i * table.row + j * table.column]));
        if (std::isfinite(score)) sum += std::abs(score), count++;
      }
    });
    return count ? sum / double(count) : 0.0;
  };
  double most = 0;
  for (const auto& [down, right] : {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    double step = mean(p.scores[0], down, right);
    if (!p.lcs) step += mean(p.scores[1], down, right);
    most = std::max(most, step * double(down && right ? std::max(n, m) : down ? n : m));
  }
  return most * 1.4426950408889634 > kReach * p.gamma;
}
Tier first_tier(const Problem& p, int64_t pair) {
  if (!is_narrow(p)) return Tier::kWide;
  return packs(p) && reaches_far(p, pair) ? Tier::kFar : Tier::kNarrow;
}
Tier next_tier(const Problem& p, Tier tier, const Outcome& outcome) {
  if (tier == Tier::kWide) return Tier::kHard;
  return tier == Tier::kNarrow && packs(p) && !outcome.coarse ? Tier::kFar : Tier::kWide;
}
// Whether a sweep does not do: it has left its range, or finite scores count as -inf and no path is left.
bool falls_short(const Problem& p, Tier tier, const Outcome& outcome) {
  const bool lost = outcome.hidden && outcome.score == -kInf && tier != Tier::kHard && p.gamma > 0;
  return outcome.escapes || lost;
}

// Pairs side by side in lanes, where that takes fewer steps than pair by pair. Counts steps of one vector.
int group_size(const Problem& p) {
  const Pairs& pairs = p.pairs;
  if (pairs.rows > kGroupRows || pairs.columns > kGroupColumns || pairs.rows * pairs.columns == 0) return 0;
  if (p.edges.any()) return 0;
  if (!is_narrow(p) && !is_double(p) && p.gamma > 0) return 0;  // its scores are float, its sweep wide
  const int lanes = p.gamma > 0 && !is_double(p) ? chosen().lanes : chosen().lanes / 2;
  const int64_t groups = (pairs.count + lanes - 1) / lanes, strips = (pairs.rows + lanes - 1) / lanes;
  const int64_t together = groups * pairs.rows * pairs.columns,
                alone = pairs.count * strips * (pairs.columns + lanes + 30);
  return together < alone ? lanes : 0;
}

class Saved {
 public:
  explicit Saved(const Problem& p)
      : data_(p.saved), pitch_(saved_bytes(p.pairs.rows, p.pairs.columns, packs(p))) {}
  void set(int64_t pair, Verdict verdict) const {
    SavedPair& saved = (*this)[pair];
    saved.verdict = verdict;
    std::fill(std::begin(saved.unused), std::end(saved.unused), 0);
  }
  SavedPair& operator[](int64_t pair) const { return *reinterpret_cast<SavedPair*>(data_ + pair * pitch_); }
  // What no sweep writes is 0: it is part of an operator's output.
  void clear(int64_t pair, int64_t from = 0) const {
    unsigned char* const data = (*this)[pair].data() + from;
    std::memset(data, 0, size_t(data_ + (pair + 1) * pitch_ - data));
  }

 private:
  unsigned char* data_;
  int64_t pitch_;
};

bool is_empty(const Problem& p, int64_t pair) {
  return p.pairs.n(pair) == 0 || p.pairs.m(pair) == 0;
}

// S of a pair without cells, at whose only row or column it ends.
double settle_edges(const Problem& p, int64_t pair) {
  const Edges& e = p.edges;
  const int64_t n = p.pairs.n(pair), m = p.pairs.m(pair);
  const double rest = is_free(p) ? 0 : -kInf, origin = e.corner ? e.corner[pair] : 0;
  const auto above = [&](int64_t j) { return e.above ? e.above[pair * p.pairs.columns + j] : rest; };
  const auto left = [&](int64_t i) { return e.left ? e.left[pair * p.pairs.rows + i] : rest; };
  for (int64_t j = 0; e.last_row && n == 0 && j < m; j++) e.last_row[pair * p.pairs.columns + j] = above(j);
  for (int64_t i = 0; e.last_column && m == 0 && i < n; i++) e.last_column[pair * p.pairs.rows + i] = left(i);
  return m > 0 ? above(m - 1) : n > 0 ? left(n - 1) : origin;
}

// ---- one pair's bands, alone or on several threads -----------------------------------------------------

// Sweeps bands 0 .. count - 1 in the order of their tickets, each thread its own; sweep(index, thread's
// scratch, progress of the one before, its own).
using SweepBand = std::function<void(int64_t, unsigned char*, Progress*, Progress*)>;
void chain(const Threads& threads, int64_t count, int64_t scratch, const SweepBand& sweep) {
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

// For pairs 0 .. count - 1: whole rounds of them a thread each, and what is left by bands on all threads.
template <class Alone, class Together>
void over_pairs(const Problem& p, const Threads& threads, const std::vector<int64_t>& pairs, bool backward,
                int64_t scratch_size, const Alone& alone, const Together& together) {
  const int64_t cells = std::max<int64_t>(1, p.pairs.rows * p.pairs.columns), count = int64_t(pairs.size());
  // Bands pay where the pairs that are left are fewer than what bands of one are swept at once, with a margin
  // for their waiting.
  const int64_t left = count % threads.count,
                together_at_once = std::min<int64_t>(threads.count, bands_of(p.pairs.rows, kBand));
  const bool by_bands = 3 * left < 2 * together_at_once && p.pairs.columns >= 4 * kBand &&
                        cells >= 16 * kFewCells && !p.edges.by_any();  // which bands would write together
  const int64_t whole = by_bands ? count - left : count;
  threads.over(whole, std::max<int64_t>(1, kFewCells / cells), [&](int64_t begin, int64_t end) {
    const FlushDenormals flush;
    const Bytes scratch = bytes(scratch_size);
    for (int64_t i = begin; i < end; i++)  // as the rows are: what is fetched ahead is the next pair's
      alone(pairs[backward ? begin + end - 1 - i : i], scratch.get());
  });
  for (int64_t i = whole; i < count; i++) together(pairs[i]);
}

Outcome combined(Outcome a, const Outcome& b) {
  // What is swept after a band that escaped may be anything.
  return {a.escapes || b.escapes, a.coarse || (!a.escapes && b.coarse), a.spoiled || b.spoiled,
          a.hidden || b.hidden, b.score};
}

// The bands of a pair. Where weights are saved a thread alone takes the pair in one, and threads together a
// few rows each, so that many are at work: a band's first row must wait for the last one of the band before.
struct Bands {
  const Problem& p;
  int64_t pair, rows, of, count;
  Tier tier;
  bool packed;
  unsigned char* states;  // of the rows between them
  int64_t pitch;          // bytes from row to row; 0 where one row serves them all in turn
  Bytes own;
  Bands(const Problem& p, int64_t pair, Tier tier, bool together)
      : p(p), pair(pair), rows(p.pairs.n(pair)), tier(tier), packed(packs(p) && tier < Tier::kWide) {
    of = !packed ? kBand : together ? std::max(chosen().lanes, 8) : rows;
    count = bands_of(rows, of);
    pitch = p.saved && !packed ? p.pairs.columns * kStateBytes : 0;
    if (pitch) states = Saved(p)[pair].data();
    if (!pitch) own = bytes(p.pairs.columns * kStateBytes), states = own.get();
  }
  // Before the forward sweep, which then overwrites the most of it.
  void clear_saved() const {
    if (!p.saved) return;
    if (!packed) return Saved(p).clear(pair);
    const int lanes = chosen().lanes;
    const int64_t strips = bands_of(rows, lanes), columns = p.pairs.m(pair);
    const bool tail = runs_over(rows - (strips - 1) * lanes, columns, lanes);
    Saved(p).clear(pair, (strips * pitch_of(columns, lanes) + (tail ? lanes : 0)) * lanes * 4);
  }
  Band operator[](int64_t i) const {
    Band band{pair, i * of, std::min(rows, (i + 1) * of), tier};
    if (i > 0) band.above = states + (i - 1) * pitch;
    if (i + 1 < count) band.below = states + i * pitch;
    if (p.saved && packed) band.weights = Saved(p)[pair].data();
    return band;
  }
};

// Whether a path is left is not known where a finite score counts as -inf.
void finish(const Problem& p, int64_t pair, Verdict how, const Outcome& outcome) {
  const bool no_path = outcome.score == -kInf && !p.edges.any();  // a piece may have other ends
  const bool lost = outcome.hidden && no_path;
  const double score = outcome.spoiled || lost ? kNaN : outcome.score;
  set_score(p, pair, score);
  const Verdict verdict = std::isnan(score) ? Verdict::kSpoiled : no_path ? Verdict::kNoPath : how;
  if (p.saved) Saved(p).set(pair, verdict);
}

void forward_alone(const Problem& p, int64_t pair, unsigned char* scratch) {
  Outcome outcome;
  for (Tier tier = first_tier(p, pair);; tier = next_tier(p, tier, outcome)) {
    const Bands bands(p, pair, tier, false);
    bands.clear_saved();
    outcome = {};
    for (int64_t i = 0; i < bands.count && !outcome.escapes; i++) {
      Band band = bands[i];
      band.scratch = scratch;
      outcome = combined(outcome, chosen().forward_band(p, band));
    }
    if (!falls_short(p, tier, outcome)) return finish(p, pair, swept(tier), outcome);
  }
}

void forward_together(const Problem& p, const Threads& threads, int64_t pair) {
  Outcome outcome;
  for (Tier tier = first_tier(p, pair);; tier = next_tier(p, tier, outcome)) {
    const Bands bands(p, pair, tier, true);
    bands.clear_saved();
    std::vector<Outcome> outcomes(bands.count);
    std::atomic<bool> escaped{false};
    chain(threads, bands.count, scratch_bytes(p.pairs.columns, false),
          [&](int64_t i, unsigned char* scratch, Progress* before, Progress* own) {
            if (escaped.load(std::memory_order_relaxed)) {  // after the one before: they may share a row
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
    if (!falls_short(p, tier, outcome)) return finish(p, pair, swept(tier), outcome);
  }
}

// ---- gradients that are not swept ----------------------------------------------------------------------

// The part of a sink that belongs to a pair.
template <class T>
struct PairSink {
  T* data;
  int64_t rows, columns, n, m;  // of the sink, and those of them that are within the lengths
  PairSink(const Problem& p, const Sink& s, int64_t pair)
      : rows(s.every_row ? p.pairs.rows : 1), columns(s.every_column ? p.pairs.columns : 1) {
    data = static_cast<T*>(s.data) + pair * rows * columns;
    const bool empty = is_empty(p, pair);
    n = empty ? 0 : s.every_row ? p.pairs.n(pair) : 1;
    m = empty ? 0 : s.every_column ? p.pairs.m(pair) : 1;
  }
};
template <class Run>
void over_sinks(const Problem& p, int64_t pair, Run run) {
  for (int i = 0; i < 3; i++)
    if (p.gradients[i].data)
      with_type(p.gradients[i].type, [&](auto t) { run(i, PairSink<decltype(t)>(p, p.gradients[i], pair)); });
}
// Whether the pair's score receives the gradient 0: then so does the pair, whatever it holds, and nothing is
// swept. By its bits, since a number too small for normal ones is not 0 and may be compared as if it were.
bool receives_nothing(const Problem& p, int64_t pair) {
  if (p.edges.by_last_row || p.edges.by_last_column) return false;
  if (is_double(p)) {
    uint64_t bits;
    std::memcpy(&bits, static_cast<const double*>(p.grad_score) + pair, sizeof bits);
    return bits << 1 == 0;
  }
  uint32_t bits;
  std::memcpy(&bits, static_cast<const float*>(p.grad_score) + pair, sizeof bits);
  return bits << 1 == 0;
}
// `inside` within the lengths and 0 outside; or, with only_outside, what is inside is left alone.
void fill(const Problem& p, int64_t pair, double inside, bool only_outside) {
  over_sinks(p, pair, [&](int, auto sink) {
    std::remove_reference_t<decltype(*sink.data)> zero, value;
    put(zero, 0), put(value, inside);
    for (int64_t i = 0; i < sink.rows; i++) {
      const int64_t m = i < sink.n ? sink.m : 0;
      auto* const row = sink.data + i * sink.columns;
      if (!only_outside) std::fill(row, row + m, value);
      std::fill(row + m, row + sink.columns, zero);
    }
  });
}

// The sums over rows, and over all cells, that a backward sweep has collected.
struct Sums {
  std::vector<double> columns[3];
  double totals[3] = {0, 0, 0};
  Sums(const Problem& p) {
    for (int i = 1; i < 3; i++)
      if (p.gradients[i].data && !p.gradients[i].every_row && p.gradients[i].every_column)
        columns[i].assign(p.pairs.columns, 0.0);
  }
  void hand_to(Band& band) {
    for (int i = 0; i < 3; i++) band.column_sums[i] = columns[i].data();
    band.totals = totals;
  }
  void write(const Problem& p, int64_t pair) const {
    over_sinks(p, pair, [&](int i, auto sink) {
      if (p.gradients[i].every_row) return;
      for (int64_t j = 0; j < sink.m; j++)
        put(sink.data[j], p.gradients[i].every_column ? columns[i][j] : totals[i]);
    });
  }
};

// ---- backward ------------------------------------------------------------------------------------------

bool is_swept(Verdict v) {
  return v == Verdict::kGrouped || v == Verdict::kNarrow || v == Verdict::kWide || v == Verdict::kHard;
}

Tier tier_of(Verdict v) {
  return v == Verdict::kHard ? Tier::kHard : v == Verdict::kWide ? Tier::kWide : Tier::kNarrow;
}

struct BackwardPair {
  const Problem& p;
  int64_t pair;
  Bands bands;
  Sums sums;
  Bytes flow;
  std::atomic<bool> changed{false};  // the scores, since the forward sweep
  BackwardPair(const Problem& p, int64_t pair, bool together)
      : p(p),
        pair(pair),
        bands(p, pair, tier_of(Saved(p)[pair].verdict), together),
        sums(p),
        flow(bytes(p.pairs.columns * int64_t(sizeof(double)))) {
    fill(p, pair, 0, true);
    const Edges& e = p.edges;
    if (e.by_left) std::fill_n(e.by_left + pair * p.pairs.rows, bands.rows, 0.0);
    if (e.by_corner) e.by_corner[pair] = 0;
  }
  // The lowest band first.
  void sweep(int64_t i, unsigned char* scratch, Progress* before, Progress* own) {
    Band band = bands[bands.count - 1 - i];
    band.scratch = scratch, band.before = before, band.own = own;
    band.flow = flow.get();
    sums.hand_to(band);
    if (!chosen().backward_band(p, band)) changed = true;
  }
  void finish() {
    if (changed)
      fill(p, pair, kNaN, false);
    else
      sums.write(p, pair);
    const int64_t m = p.pairs.m(pair);
    double* const above = p.edges.by_above ? p.edges.by_above + pair * p.pairs.columns : nullptr;
    if (above && bands.tier >= Tier::kWide) std::copy_n(reinterpret_cast<double*>(flow.get()), m, above);
    if (above && bands.tier < Tier::kWide) std::copy_n(reinterpret_cast<float*>(flow.get()), m, above);
  }
};

void backward_alone(const Problem& p, int64_t pair, unsigned char* scratch) {
  BackwardPair work(p, pair, false);
  for (int64_t i = 0; i < work.bands.count; i++) work.sweep(i, scratch, nullptr, nullptr);
  work.finish();
}
void backward_together(const Problem& p, const Threads& threads, int64_t pair) {
  BackwardPair work(p, pair, true);
  chain(threads, work.bands.count, scratch_bytes(p.pairs.columns, !work.bands.packed),
        [&](int64_t i, unsigned char* scratch, Progress* before, Progress* own) {
          work.sweep(i, scratch, before, own);
        });
  work.finish();
}

// Pairs first .. first + count - 1 side by side; run(group) for each such group.
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

}  // namespace

const Kernels& chosen() {
  static const Kernels& kernels = choose();
  return kernels;
}

void forward(const Problem& p, const Threads& threads) {
  std::vector<int64_t> rest;
  const auto settle_empty = [&](int64_t b) {
    set_score(p, b, settle_edges(p, b));
    if (p.saved) Saved(p).set(b, Verdict::kEmpty), Saved(p).clear(b);
  };
  if (const int size = group_size(p)) {
    std::vector<char> again(p.pairs.count, 0);
    over_groups(p, threads, size, [&](const Group& group) {
      const uint32_t odd = chosen().forward_group(p, group);
      for (int r = 0; r < group.count; r++) {
        const int64_t b = group.first + r;
        if (is_empty(p, b))
          settle_empty(b);
        else if (odd >> r & 1 && p.gamma > 0)
          again[b] = 1;
        else {
          finish(p, b, Verdict::kGrouped, {false, false, (odd >> r & 1) != 0, false, group.scores[r]});
          if (p.saved) Saved(p).clear(b);
        }
      }
    });
    for (int64_t b = 0; b < p.pairs.count; b++)
      if (again[b]) rest.push_back(b);
  } else {
    for (int64_t b = 0; b < p.pairs.count; b++)
      if (is_empty(p, b))
        settle_empty(b);
      else
        rest.push_back(b);
  }
  over_pairs(
      p, threads, rest, false, scratch_bytes(p.pairs.columns, false),
      [&](int64_t b, unsigned char* scratch) { forward_alone(p, b, scratch); },
      [&](int64_t b) { forward_together(p, threads, b); });
}

void backward(const Problem& problem, const Threads& threads) {
  Problem p = problem;
  p.edges.last_row = p.edges.last_column = nullptr;  // they are there already
  const Saved saved(p);
  std::vector<int64_t> filled, rest;
  bool again = false;  // whether some weights are computed again
  const int size = group_size(p);
  if (size)
    over_groups(p, threads, size, [&](const Group& group) {
      uint32_t pairs = 0;
      for (int r = 0; r < group.count; r++)
        pairs |= uint32_t(saved[group.first + r].verdict == Verdict::kGrouped &&
                          !receives_nothing(p, group.first + r))
                 << r;
      const uint32_t odd = pairs ? chosen().backward_group(p, group, pairs) : 0;
      for (int r = 0; r < group.count; r++)
        if (odd >> r & 1) fill(p, group.first + r, kNaN, false);
    });
  for (int64_t b = 0; b < p.pairs.count; b++) {
    const Verdict verdict = saved[b].verdict;
    if (!is_swept(verdict) || receives_nothing(p, b))
      filled.push_back(b);
    else if (verdict != Verdict::kGrouped)
      rest.push_back(b), again = again || !packs(p) || verdict != Verdict::kNarrow;
  }
  const int64_t cells = std::max<int64_t>(1, p.pairs.rows * p.pairs.columns);
  threads.over(int64_t(filled.size()), std::max<int64_t>(1, 16 * kFewCells / cells),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; i++) {
                   const int64_t b = filled[i];
                   const bool spoiled = saved[b].verdict == Verdict::kSpoiled && !receives_nothing(p, b);
                   fill(p, b, spoiled ? kNaN : 0.0, false);
                 }
               });
  over_pairs(
      p, threads, rest, true, scratch_bytes(p.pairs.columns, again),
      [&](int64_t b, unsigned char* scratch) { backward_alone(p, b, scratch); },
      [&](int64_t b) { backward_together(p, threads, b); });
}

}  // namespace softdp::cpu
