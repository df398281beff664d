// Recurrences with several states a cell, for sweeps.cpp: they are compared with a graph of smooth maxima in
// double, whose derivatives go from the last node to the first.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "../../csrc/cpu/sweep.h"

namespace softdp {

class Graph {
 public:
  explicit Graph(double gamma) : gamma_(gamma) {}
  int given(double value) { return node(value, {}); }
  int sum(int a, int b) { return node(value_[size_t(a)] + value_[size_t(b)], {{a, 1.0}, {b, 1.0}}); }
  int max(const std::vector<int>& of) {
    int first = of[0];
    for (int k : of)
      if (value_[size_t(k)] > value_[size_t(first)]) first = k;
    const double largest = value_[size_t(first)];
    if (!(gamma_ > 0) || largest == -std::numeric_limits<double>::infinity())
      return node(largest, {{first, largest == value_[size_t(first)] ? 1.0 : 0.0}});
    double all = 0;
    std::vector<std::pair<int, double>> from;
    for (int k : of)
      from.push_back({k, std::exp((value_[size_t(k)] - largest) / gamma_)}), all += from.back().second;
    for (auto& [k, weight] : from) weight /= all;
    return node(largest + gamma_ * std::log(all), std::move(from));
  }
  double value(int k) const { return value_[size_t(k)]; }
  // The derivatives of a node by all nodes before it.
  std::vector<double> derivatives(int of) const {
    std::vector<double> by(value_.size(), 0.0);
    by[size_t(of)] = 1;
    for (size_t k = value_.size(); k-- > 0;)
      for (const auto& [from, weight] : from_[k]) by[size_t(from)] += by[k] * weight;
    return by;
  }

 private:
  int node(double value, std::vector<std::pair<int, double>> from) {
    value_.push_back(value), from_.push_back(std::move(from));
    return int(value_.size()) - 1;
  }
  double gamma_;
  std::vector<double> value_;
  std::vector<std::vector<std::pair<int, double>>> from_;
};

inline bool has_opening(Recurrence recurrence) {
  return recurrence == Recurrence::kAffine || recurrence == Recurrence::kLocalAffine;
}
// Of one pair: the score, and its gradients by match, by the gap, and by the score of a gap's first step.
struct OfPair {
  double score;
  std::vector<double> match, gap, open;
};
inline OfPair expected_of_states(Recurrence recurrence, double gamma, int n, int m, const double* match,
                                 const double* gap, const double* open) {
  const bool affine = has_opening(recurrence), local = recurrence != Recurrence::kAffine,
             every = recurrence == Recurrence::kLocalFsd;
  Graph g(gamma);
  std::vector<int> of_match, of_gap, of_open;
  for (int k = 0; k < n * m; k++) {
    of_match.push_back(g.given(match[k])), of_gap.push_back(g.given(gap[k]));
    of_open.push_back(g.given(open[k]));
  }
  const int dead = g.given(-std::numeric_limits<double>::infinity()), zero = g.given(0);
  const int W = m + 1;
  std::vector<int> M((n + 1) * W, dead), X = M, Y = M, ends;
  if (!local) M[0] = zero;
  for (int i = 1; !local && i <= n; i++)
    X[i * W] = i == 1 ? of_open[0] : g.sum(X[(i - 1) * W], of_gap[(i - 1) * m]);
  for (int j = 1; !local && j <= m; j++) Y[j] = j == 1 ? of_open[0] : g.sum(Y[j - 1], of_gap[j - 1]);
  for (int i = 1; i <= n; i++)
    for (int j = 1; j <= m; j++) {
      const int c = (i - 1) * m + j - 1, at = i * W + j, up = at - W, left = at - 1, before = up - 1;
      const int s = of_match[c], e = of_gap[c], o = affine ? of_open[c] : e;
      std::vector<int> moves = {M[before], X[before], Y[before]};
      if (local) moves.push_back(zero);
      if (affine) {
        M[at] = g.sum(s, g.max(moves));
        X[at] = g.max({g.sum(M[up], o), g.sum(X[up], e), g.sum(Y[up], o)});
        Y[at] = g.max({g.sum(M[left], o), g.sum(X[left], o), g.sum(Y[left], e)});
      } else {
        const int by_match = g.max({M[before], zero});
        M[at] = every ? g.sum(s, g.max({by_match, g.sum(M[up], e), g.sum(M[left], e)}))
                      : g.max({g.sum(by_match, s), g.sum(M[up], e), g.sum(M[left], e)});
      }
      if (local || (i == n && j == m)) ends.insert(ends.end(), {M[at], X[at], Y[at]});
    }
  const int score = g.max(ends);
  const std::vector<double> by = g.derivatives(score);
  OfPair r{g.value(score), {}, {}, {}};
  for (int k = 0; k < n * m; k++) {
    r.match.push_back(by[size_t(of_match[k])]), r.gap.push_back(by[size_t(of_gap[k])]);
    r.open.push_back(by[size_t(of_open[k])]);
  }
  return r;
}

inline bool are_close(const std::vector<double>& a, const std::vector<double>& b, double most) {
  for (size_t k = 0; k < a.size(); k++)
    if (!(std::abs(a[k] - b[k]) < most)) return false;
  return true;
}
// How many pairs' scores and gradients differ from those of a graph in double, with several states a cell.
template <class T>
int states_off(Recurrence recurrence, double gamma, int64_t B, int64_t N, int64_t M,
               const cpu::Threads& threads, std::mt19937& random) {
  const int64_t cells = N * M;
  constexpr Type kType = sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32;
  std::vector<T> tables[3], gradients[3], score(B), ones(B, T(1));
  for (int t = 0; t < 3; t++) {
    for (int64_t k = 0; k < B * cells; k++)
      tables[t].push_back(T(int(random() % 129) / 64.0 - (t ? 1.5 : 1)));
    gradients[t].resize(size_t(B * cells));
  }
  cpu::Problem p{};
  p.pairs = {B, N, M, {}, {}};
  p.recurrence = recurrence, p.shared_gap = true, p.gamma = gamma;
  const bool affine = has_opening(recurrence), local = recurrence != Recurrence::kAffine;
  p.start = local ? Start::kAnywhere : Start::kGaps, p.ends = local ? Ends::kAnywhere : Ends::kCorner;
  const int places[] = {0, 1, 3};
  for (int t = 0; t < (affine ? 3 : 2); t++) {
    p.scores[places[t]] = {tables[t].data(), kType, cells, M, 1};
    p.gradients[places[t]] = {gradients[t].data(), kType, true, true};
  }
  p.scores[2] = p.scores[1];
  const int64_t bytes = cpu::saved_bytes(p);
  unsigned char* const saved =
      static_cast<unsigned char*>(std::aligned_alloc(64, (B * bytes + 63) / 64 * 64));
  std::vector<T> ends_weights(size_t(B * ends_of(p.ends, N, M)));
  p.saved = saved, p.ends_weights = ends_weights.data();
  p.score = score.data(), p.grad_score = ones.data();
  cpu::forward(p, threads);
  cpu::backward(p, threads);
  std::free(saved);
  int off = 0;
  for (int64_t b = 0; b < B; b++) {
    std::vector<double> of[3];
    for (int t = 0; t < 3; t++)
      of[t].assign(tables[t].begin() + b * cells, tables[t].begin() + (b + 1) * cells);
    const OfPair e =
        expected_of_states(recurrence, gamma, int(N), int(M), of[0].data(), of[1].data(), of[2].data());
    const auto found = [&](int t) {
      const auto from = gradients[t].begin() + b * cells;
      return std::vector<double>(from, from + cells);
    };
    const double most = kType == Type::kFloat64 ? 1e-9 : 2e-4,
                 of_score = kType == Type::kFloat64 ? 1e-12 : 1e-6;
    const bool fits = std::abs(double(score[b]) - e.score) < of_score * std::max(1.0, std::abs(e.score)) &&
                      are_close(found(0), e.match, most) && are_close(found(1), e.gap, most) &&
                      (!affine || are_close(found(2), e.open, most));
    off += !fits;
  }
  if (off)
    std::printf("recurrence %d, gamma %g, %d x %d x %d, %d threads: %d pairs off\n", int(recurrence), gamma,
                int(B), int(N), int(M), threads.count, off);
  return off;
}

}  // namespace softdp
