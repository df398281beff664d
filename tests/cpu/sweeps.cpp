// Compares the CPU sweeps, without PyTorch, with sums of exponentials in double. It is for machines that CI
// only emulates. On x86 it is linked with the objects of a build, build/objects/cpu_*.o, as .ci/run does.
//
//   zig c++ -target aarch64-linux-musl -static -O1 -std=c++17 -ffp-contract=off -DSOFTDP_ISA=baseline
//       csrc/cpu/*.cpp tests/cpu/sweeps.cpp -o sweeps && qemu-aarch64 sweeps
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../../csrc/cpu/sweep.h"
#include "layouts.h"
#include "states.h"

namespace {
using namespace softdp;
using cpu::Problem;

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Case {
  const char* name;
  Recurrence recurrence;
  bool anchored, double_scores;
  double gamma;
  bool own_gap;  // a gap for each cell, or 0 for all
  bool one_table() const { return tables_of(recurrence) == 1; }
  bool charges() const {
    return with_recurrence(recurrence, [](auto of) { return decltype(of)::kChargesBoundary; });
  }
  bool every_move() const {  // adds the match score
    return with_recurrence(recurrence, [](auto of) { return decltype(of)::kEveryMove; });
  }
  Start start() const { return charges() ? Start::kGaps : anchored ? Start::kAnchored : Start::kFree; }
};
struct Size {
  int64_t count, rows, columns;
};
struct Result {
  std::vector<double> score, gradient, gap_gradient;
};

cpu::Threads on_threads(int count) {
  return {count, [count](int64_t items, int64_t grain, const std::function<void(int64_t, int64_t)>& run) {
            const int64_t parts = std::min<int64_t>(count, (items + grain - 1) / grain);
            std::vector<std::thread> threads;
            for (int64_t i = 0; i < parts; i++)
              threads.emplace_back([&, i] { run(items * i / parts, items * (i + 1) / parts); });
            for (std::thread& t : threads) t.join();
          }};
}

template <class T>
Result swept(const Case& c, const Size& size, const std::vector<double>& match,
             const std::vector<double>& gap, int threads, const Boundary<double>& boundary = {},
             const BoundaryGradient<double>& by_boundary = {}, const std::vector<T>& weights = {},
             int64_t bandwidth = -1) {
  const int64_t B = size.count, N = size.rows, M = size.columns;
  const std::vector<T> scores(match.begin(), match.end()), gaps(gap.begin(), gap.end());
  std::vector<T> score(B), gradient(match.size()), gap_gradient(gap.size()), ones(B, T(1));
  const Type type = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
  Problem p{};
  p.pairs = {B, N, M, {}, {}, bandwidth};
  p.recurrence = c.recurrence, p.start = c.start(), p.shared_gap = true;
  p.gamma = c.gamma, p.threshold = 0.25;
  p.scores[0] = {scores.data(), type, N * M, M, 1};
  p.scores[1] = c.one_table() ? p.scores[0]
                : c.own_gap   ? Table{gaps.data(), type, N * M, M, 1}
                              : Table{gaps.data(), type, 0, 0, 0};
  p.scores[2] = p.scores[1];
  p.score = score.data();
  const int64_t bytes = cpu::saved_bytes(p);
  unsigned char* const saved =
      static_cast<unsigned char*>(std::aligned_alloc(64, (B * bytes + 63) / 64 * 64));
  p.saved = saved;
  p.grad_score = weights.empty() ? ones.data() : weights.data();
  p.gradients[0] = {gradient.data(), type, true, true};
  if (!c.one_table()) p.gradients[1] = {gap_gradient.data(), type, c.own_gap, c.own_gap};
  if (!c.one_table() && !c.own_gap) p.gradients[1].data = nullptr;
  p.boundary = boundary, p.by_boundary = by_boundary;
  p.is_piece = boundary.any() || by_boundary.any();
  cpu::forward(p, on_threads(threads));
  cpu::backward(p, on_threads(threads));
  std::free(saved);
  return {{score.begin(), score.end()},
          {gradient.begin(), gradient.end()},
          {gap_gradient.begin(), gap_gradient.end()}};
}

// Some rows and columns of every pair's table, as (pairs, rows, columns). A gap of one number stays as it is.
using Span = std::pair<int64_t, int64_t>;
std::vector<double> cut(const std::vector<double>& table, const Size& size, Span rows, Span columns) {
  if (table.size() == 1) return table;
  std::vector<double> part;
  for (int64_t b = 0; b < size.count; b++)
    for (int64_t i = rows.first; i < rows.second; i++) {
      const auto row = table.begin() + (b * size.rows + i) * size.columns;
      part.insert(part.end(), row + columns.first, row + columns.second);
    }
  return part;
}

// Puts a part that cut() took back into the table.
void paste(const std::vector<double>& part, const Size& size, Span rows, Span columns,
           std::vector<double>& table) {
  if (table.size() == 1) return;
  auto from = part.begin();
  const int64_t width = columns.second - columns.first;
  for (int64_t b = 0; b < size.count; b++)
    for (int64_t i = rows.first; i < rows.second; i++, from += width)
      std::copy(from, from + width, table.begin() + (b * size.rows + i) * size.columns + columns.first);
}

// Sweeps in four pieces. Forward, each piece starts from the last rows and columns of the pieces before it.
// Backward, it starts from the gradients that the pieces after it give by these.
template <class T>
Result swept_in_pieces(const Case& c, const Size& size, int64_t row, int64_t column,
                       const std::vector<double>& match, const std::vector<double>& gap, int threads) {
  const int64_t B = size.count, N = size.rows, M = size.columns;
  const Span rows[] = {{0, row}, {row, N}}, columns[] = {{0, column}, {column, M}};
  std::vector<double> last_row[2][2], last_column[2][2], corner[2][2];
  std::vector<double> by_above[2][2], by_left[2][2], by_left_diagonal[2][2];
  Result joined{{}, std::vector<double>(match.size()), std::vector<double>(gap.size())};
  for (const bool backward : {false, true})
    for (int k = 0; k < 4; k++) {
      const int i = backward ? 1 - k / 2 : k / 2, j = backward ? 1 - k % 2 : k % 2;
      const Size part = {B, rows[i].second - rows[i].first, columns[j].second - columns[j].first};
      if (!backward) {
        corner[i][j].assign(B, i + j && c.anchored ? -kInf : 0);
        for (int64_t b = 0; i && j && b < B; b++) corner[i][j][b] = last_row[0][0][b * column + column - 1];
        last_row[i][j].assign(B * part.columns, NAN), last_column[i][j].assign(B * part.rows, NAN);
      }
      Boundary<double> boundary;
      boundary.above = i ? last_row[0][j].data() : nullptr;
      boundary.left = j ? last_column[i][0].data() : nullptr;
      boundary.corner = corner[i][j].data();
      boundary.last_row = last_row[i][j].data(), boundary.last_column = last_column[i][j].data();
      BoundaryGradient<double> by;
      if (backward) {
        by_above[i][j].assign(B * part.columns, NAN), by_left[i][j].assign(B * part.rows, NAN);
        by_left_diagonal[i][j].assign(B * part.rows, NAN);
        by.by_above = by_above[i][j].data(), by.by_left = by_left[i][j].data();
        by.by_left_diagonal = by_left_diagonal[i][j].data();
        for (int64_t b = 0; !i && !j && b < B; b++)  // the last of its row and of its column: added once
          by_above[1][0][b * column + column - 1] += by_left_diagonal[1][1][b * (N - row)];
        by.by_last_row = i ? nullptr : by_above[1][j].data();
        by.by_last_column = j ? nullptr : by_left[i][1].data();
      }
      const std::vector<T> weights(B, T(i && j));
      const Result found = swept<T>(c, part, cut(match, size, rows[i], columns[j]),
                                    cut(gap, size, rows[i], columns[j]), threads, boundary, by, weights);
      if (i && j) joined.score = found.score;
      if (!backward) continue;
      for (int64_t b = 0; b < B; b++)
        for (int64_t r = 1; r < part.rows; r++)
          by_left[i][j][b * part.rows + r - 1] += by_left_diagonal[i][j][b * part.rows + r];
      paste(found.gradient, size, rows[i], columns[j], joined.gradient);
      paste(found.gap_gradient, size, rows[i], columns[j], joined.gap_gradient);
    }
  return joined;
}

// Whether the gradient of a pair that holds a NaN is 0 where its score receives 0, and NaN where it does not.
template <class T>
bool keeps_to_itself(const Case& c, const Size& size, std::vector<double> match,
                     const std::vector<double>& gap, int threads) {
  const int64_t cells = size.rows * size.columns;
  std::vector<T> weights(size.count, T(1));
  for (int64_t b = 0; b < size.count; b++) {
    if (b % 3) match[b * cells + cells / 2] = NAN;
    if (b % 3 == 1) weights[b] = b % 2 ? T(0) : T(-0.0);
  }
  const Result found = swept<T>(c, size, match, gap, threads, {}, {}, weights);
  for (int64_t k = 0; k < size.count * cells; k++) {
    const double g = found.gradient[k];
    const int64_t kind = k / cells % 3;
    if (kind == 0 ? !std::isfinite(g) : kind == 1 ? g != 0 : !std::isnan(g)) return false;
  }
  return true;
}

double smooth_max(const double* a, int count, double gamma, double* w) {
  int first = 0;
  for (int k = 1; k < count; k++)
    if (a[k] > a[first]) first = k;
  const double largest = a[first];
  double sum = 0;
  for (int k = 0; k < count; k++) {
    w[k] = gamma > 0 && largest > -kInf ? std::exp((a[k] - largest) / gamma) : double(k == first);
    sum += w[k];
  }
  for (int k = 0; k < count; k++) w[k] /= sum;
  return gamma > 0 && largest > -kInf ? largest + gamma * std::log(sum) : largest;
}

Result expected(const Case& c, const Size& size, const std::vector<double>& match,
                const std::vector<double>& gap, int64_t bandwidth = -1) {
  const int64_t B = size.count, N = size.rows, M = size.columns;
  Result r{std::vector<double>(B), std::vector<double>(match.size()), std::vector<double>(gap.size())};
  const int64_t W = M + 1;
  const Corridor corridor = Corridor::of(N, M, bandwidth);
  for (int64_t b = 0; b < B; b++) {
    std::vector<double> S((N + 1) * W, c.anchored ? -kInf : 0.0), A((N + 1) * W, 0.0), w(3 * (N + 1) * W);
    S[0] = 0;
    const auto gap_at = [&](int64_t i, int64_t j) {
      return c.own_gap ? gap[(b * N + i - 1) * M + j - 1] : 0.0;
    };
    for (int64_t i = 1; c.charges() && i <= N; i++) S[i * W] = S[(i - 1) * W] + gap_at(i, 1);
    for (int64_t j = 1; c.charges() && j <= M; j++) S[j] = S[j - 1] + gap_at(1, j);
    for (int64_t i = 1; i <= N; i++)
      for (int64_t j = 1; j <= M; j++) {
        const double m = match[(b * N + i - 1) * M + j - 1];
        const double g = gap_at(i, j);
        double* const weights = &w[3 * (i * W + j)];
        if (!corridor.has(i - 1, j - 1)) {
          S[i * W + j] = -kInf;
          continue;
        }
        const double a[3] = {S[(i - 1) * W + j - 1] + (c.one_table() || c.every_move() ? 0 : m),
                             g + S[(i - 1) * W + j], g + S[i * W + j - 1]};
        if (!c.one_table()) {
          S[i * W + j] = (c.every_move() ? m : 0) + smooth_max(a, 3, c.gamma, weights);
        } else if (m >= 0.25) {
          S[i * W + j] = m + a[0];
          weights[0] = 1;
        } else {
          const double plateau[2] = {S[(i - 1) * W + j], S[i * W + j - 1]};
          S[i * W + j] = smooth_max(plateau, 2, c.gamma, weights + 1);
        }
      }
    r.score[b] = S[N * W + M];
    A[N * W + M] = r.score[b] > -kInf;
    for (int64_t i = N; i >= 1; i--)
      for (int64_t j = M; j >= 1; j--) {
        const double a = A[i * W + j], *const weights = &w[3 * (i * W + j)];
        const int64_t cell = (b * N + i - 1) * M + j - 1;
        A[(i - 1) * W + j - 1] += a * weights[0];
        A[(i - 1) * W + j] += a * weights[1];
        A[i * W + j - 1] += a * weights[2];
        r.gradient[cell] = c.every_move() ? a : a * weights[0];
        if (c.own_gap) r.gap_gradient[cell] = a * (weights[1] + weights[2]);
      }
    double sum = 0;
    for (int64_t i = N; c.charges() && i >= 1; i--) r.gap_gradient[(b * N + i - 1) * M] += sum += A[i * W];
    sum = 0;
    for (int64_t j = M; c.charges() && j >= 1; j--) r.gap_gradient[b * N * M + j - 1] += sum += A[j];
  }
  return r;
}

double distance(const std::vector<double>& a, const std::vector<double>& b, bool relative) {
  double most = 0;
  for (size_t k = 0; k < a.size(); k++) {
    if (a[k] == b[k]) continue;  // infinities too
    const double off = std::abs(a[k] - b[k]) / (relative ? std::max(1.0, std::abs(b[k])) : 1.0);
    if (std::isnan(off)) return off;
    most = std::max(most, off);
  }
  return most;
}

// Whether one pair has the same bits with exponents in float and in int32.
bool tiers_agree(const Case& c, const Size& size, const std::vector<double>& match,
                 const std::vector<double>& gap) {
  const int64_t B = size.count, N = size.rows, M = size.columns;
  const std::vector<float> scores(match.begin(), match.end()), gaps(gap.begin(), gap.end());
  Problem p{};
  p.pairs = {B, N, M, {}, {}};
  p.recurrence = c.recurrence, p.start = c.start(), p.shared_gap = true;
  p.gamma = c.gamma, p.threshold = 0.25;
  p.scores[0] = {scores.data(), Type::kFloat32, N * M, M, 1};
  p.scores[1] =
      p.scores[2] = {gaps.data(), Type::kFloat32, c.own_gap ? N * M : 0, c.own_gap ? M : 0, c.own_gap};
  std::vector<unsigned char> saved[2], scratch(size_t(cpu::scratch_bytes(M, false)));
  double score[2];
  for (const int far : {0, 1}) {
    saved[far].resize(size_t(cpu::saved_bytes(N, M, true)));
    cpu::Band band{0, 0, N, far ? cpu::Tier::kFar : cpu::Tier::kNarrow};
    band.weights = saved[far].data() + sizeof(cpu::SavedPair);
    band.scratch = scratch.data();
    score[far] = cpu::chosen().forward_band(p, band).score;
  }
  return score[0] == score[1] && saved[0] == saved[1];
}

}  // namespace

int main() {
  const Case cases[] = {{"fsd", Fsd::kId, false, false, 0.1, true},
                        {"fsd, anchored, no gap", Fsd::kId, true, false, 0.1, false},
                        {"fsd, double", Fsd::kId, false, true, 0.1, true},
                        {"fsd, gamma 0", Fsd::kId, true, false, 0, true},
                        {"fsd, exponents in int32", Fsd::kId, false, false, 1e-5, true},
                        {"fsd, anchored, exponents in int32", Fsd::kId, true, false, 1e-5, false},
                        {"lcs, exponents in int32", Lcs::kId, false, false, 1e-5, false},
                        {"fsd, sums past int32's range", Fsd::kId, false, false, 1.6e-6, true},
                        {"fsd, out of float's range", Fsd::kId, false, false, 1e-7, true},
                        {"lcs", Lcs::kId, false, false, 0.1, false},
                        {"lcs, double", Lcs::kId, false, true, 0.1, false},
                        {"nw", NeedlemanWunsch::kId, false, false, 0.1, true},
                        {"nw, double", NeedlemanWunsch::kId, false, true, 0.1, true},
                        {"nw, gamma 0", NeedlemanWunsch::kId, false, false, 0, true},
                        {"nw, exponents in int32", NeedlemanWunsch::kId, false, false, 1e-5, true},
                        {"nw, out of float's range", NeedlemanWunsch::kId, false, false, 1e-7, true}};
  const Size sizes[] = {{1, 1, 1},   {2, 1, 70},  {2, 70, 1},  {20, 5, 7},   {3, 17, 33},
                        {2, 33, 17}, {2, 64, 64}, {3, 40, 50}, {1, 300, 900}};  // the last: in bands
  std::mt19937 random(0);
  int failed = !layouts_fit(), checked = 1;
  const auto check = [&](const Case& c, const Size& size, const char* how, int threads, const Result& found,
                         const Result& exact) {
    const double score = distance(found.score, exact.score, true),
                 gradient = distance(found.gradient, exact.gradient, false),
                 gap = c.own_gap ? distance(found.gap_gradient, exact.gap_gradient, false) : 0;
    const double most = c.double_scores ? 1e-9 : 2e-4;
    checked++;
    if (score < (c.double_scores ? 1e-12 : 1e-6) && gradient < most && gap < most) return;
    std::printf("%s, %d x %d x %d, %s, %d threads: score off by %g, gradients by %g and %g\n", c.name,
                int(size.count), int(size.rows), int(size.columns), how, threads, score, gradient, gap);
    failed++;
  };
  for (const Case& c : cases)
    for (const Size& size : sizes) {
      std::vector<double> match(size.count * size.rows * size.columns),
          gap(c.own_gap ? match.size() : 1, 0.0);
      for (double& x : match) x = int(random() % 129) / 64.0 - 1;  // exact in float
      for (double& x : gap) x = c.own_gap ? int(random() % 129) / 64.0 - 1 : 0;
      const Result exact = expected(c, size, match, gap);
      if (c.gamma == 0.1 && !c.double_scores && std::max(size.rows, size.columns) > 32) {
        checked++;
        if (!tiers_agree(c, size, match, gap)) {
          std::printf("%s, %d x %d: other bits with exponents in int32\n", c.name, int(size.rows),
                      int(size.columns));
          failed++;
        }
      }
      const int64_t w = size.columns / 12;
      check(c, size, "in a band", 1,
            c.double_scores ? swept<double>(c, size, match, gap, 1, {}, {}, {}, w)
                            : swept<float>(c, size, match, gap, 1, {}, {}, {}, w),
            expected(c, size, match, gap, w));
      for (int threads : {1, 3}) {
        const Result found = c.double_scores ? swept<double>(c, size, match, gap, threads)
                                             : swept<float>(c, size, match, gap, threads);
        check(c, size, "whole", threads, found, exact);
        checked++;
        if (!(c.double_scores ? keeps_to_itself<double>(c, size, match, gap, threads)
                              : keeps_to_itself<float>(c, size, match, gap, threads))) {
          std::printf("%s, %d x %d x %d: a pair with a NaN\n", c.name, int(size.count), int(size.rows),
                      int(size.columns));
          failed++;
        }
        const int64_t N = size.rows, M = size.columns;
        for (const auto& [row, column] :
             {Span{1, 1}, {N / 2, M / 3}, {N - 1, M - 1}, {16, 17}, {N - 17, 16}, {32, 32}}) {
          if (c.charges() || row < 1 || row >= N || column < 1 || column >= M) continue;
          const Result pieces = c.double_scores
                                    ? swept_in_pieces<double>(c, size, row, column, match, gap, threads)
                                    : swept_in_pieces<float>(c, size, row, column, match, gap, threads);
          check(c, size, "in pieces", threads, pieces, exact);
        }
      }
    }
  for (const Recurrence recurrence :
       {Recurrence::kLocalFsd, Recurrence::kSmithWaterman, Recurrence::kAffine, Recurrence::kLocalAffine})
    for (const Size& size : {Size{1, 1, 1}, {2, 1, 70}, {2, 70, 1}, {3, 17, 33}, {2, 40, 50}, {1, 100, 300}})
      for (const int threads : {1, 3}) {
        failed += states_off<float>(recurrence, 0.1, size.count, size.rows, size.columns, on_threads(threads),
                                    random) > 0;
        failed += states_off<double>(recurrence, 0.1, size.count, size.rows, size.columns,
                                     on_threads(threads), random) > 0;
        checked += 2;
      }
  std::printf("%s kernels: %d of %d cases off\n", cpu::chosen().name, failed, checked);
  return failed != 0;
}
