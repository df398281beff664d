// feature_chunks.h scores small pairs, feature_pieces.h large ones. The choice depends on the pairs' size
// only, so results are bitwise reproducible at any thread count. In both, the backward sweep skips blocks
// that no gradient reaches (Problem::negligible).
#include "features.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "feature_chunks.h"
#include "feature_pieces.h"

namespace softdp::cpu {
namespace {

constexpr int64_t kFewSteps = 256;  // of x and of y: a pair with no more is small

// ---- every x and every y -------------------------------------------------------------------------------

// The side with more sequences is divided into slabs. Their number depends on that side only, not on the
// threads. Each slab has a sum of its own for the gradients of the other side. In the end these sums are
// added up.
constexpr int64_t kMostSlabs = 8;

template <class Tables>
void differentiate(const FeatureProblem& p, const Threads& threads) {
  using T = typename Tables::Number;
  if (p.pairs.count == 0 || !wants_gradient(p)) return;
  const int64_t L = p.others, K = p.pairs.count / L;
  const bool by_x = K >= L;
  const int64_t along = by_x ? K : L, across = by_x ? L : K, slabs = std::min(along, kMostSlabs),
                numbers = across * (by_x ? p.pairs.columns : p.pairs.rows) * p.features;
  T* const total = static_cast<T*>(by_x ? p.d_y : p.d_x);
  std::vector<T> sums(size_t(total ? slabs * numbers : 0), T(0));
  const bool small = std::max(p.pairs.rows, p.pairs.columns) <= kFewSteps;
  const auto run = [&](int64_t slab, const Threads& with) {
    FeatureProblem own = p;
    if (total) (by_x ? own.d_y : own.d_x) = sums.data() + slab * numbers;
    const int64_t first = slab * along / slabs, last = (slab + 1) * along / slabs;
    if (small) {
      const int64_t most = pairs_a_chunk<Tables>(own, across);
      Chunk<Tables> chunk(own, most);
      for (int64_t a = first; a < last; a++)
        for (int64_t b = 0; b < across; b += most)
          chunk.run(by_x ? a * L + b : b * L + a, by_x ? 1 : L, std::min(most, across - b), kAlone);
    } else {
      Tables tables(own, 1);
      std::vector<std::unique_ptr<PieceMemory<Tables>>> memory(size_t(with.count));
      for (int64_t a = first; a < last; a++)
        for (int64_t b = 0; b < across; b++)
          PairInPieces<Tables>(own, by_x ? a * L + b : b * L + a, tables, memory).run(with);
    }
  };
  if (!small && slabs < threads.count)
    for (int64_t slab = 0; slab < slabs; slab++) run(slab, threads);
  else
    threads.over(slabs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slab = begin; slab < end; slab++) run(slab, kAlone);
    });
  if (total)
    threads.over(numbers, 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t slab = 0; slab < slabs; slab++)
        for (int64_t i = begin; i < end; i++) total[i] += sums[size_t(slab * numbers + i)];
    });
  Tables::finish_all(p, threads);
}

// ---- entry points --------------------------------------------------------------------------------------

template <class Tables>
void score(const FeatureProblem& p, const Threads& threads) {
  if (p.pairs.count == 0) return;
  std::max(p.pairs.rows, p.pairs.columns) <= kFewSteps ? in_chunks<Tables>(p, threads)
                                                       : in_pieces<Tables>(p, threads);
}
// Calls run with a null pointer whose type is that of the tables.
template <class T, class Run>
void with_tables_of(Kind kind, const Run& run) {
  switch (kind) {
    case Kind::kSquares:
    case Kind::kRoots:
    case Kind::kAbsolute:
      return run(static_cast<SquareTables<T>*>(nullptr));
    case Kind::kTwoCosines:
      return run(static_cast<CosineTables<T, 2>*>(nullptr));
    case Kind::kSimilarities:
    case Kind::kCosines:
      return run(static_cast<CosineTables<T, 1>*>(nullptr));
  }
}
template <class Run>
void with_tables(const FeatureProblem& p, const Run& run) {
  p.is_double ? with_tables_of<double>(p.kind, run) : with_tables_of<float>(p.kind, run);
}

}  // namespace

template <class T>
void scale_gradients(const ScaledGradient<T>& p, const Threads& threads) {
  threads.over(p.pairs, std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(p.numbers, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t b = begin; b < end; b++) {
                   const T factor = p.of_score[b * p.of_score_stride], score = p.score[b];
                   const T* const from = p.made + b * p.numbers;
                   T* const to = p.out + b * p.numbers;
                   if (factor == 0 || std::isnan(score))
                     std::fill_n(to, p.numbers, factor == 0 ? T(0) : score);
                   else
                     std::transform(from, from + p.numbers, to, [=](T x) { return x * factor; });
                 }
               });
}
template void scale_gradients(const ScaledGradient<float>&, const Threads&);
template void scale_gradients(const ScaledGradient<double>&, const Threads&);

void score_features(const FeatureProblem& problem, const Threads& threads) {
  with_tables(problem,
              [&](auto* tables) { score<std::remove_reference_t<decltype(*tables)>>(problem, threads); });
}
void differentiate_features(const FeatureProblem& problem, const Threads& threads) {
  with_tables(problem, [&](auto* tables) {
    differentiate<std::remove_reference_t<decltype(*tables)>>(problem, threads);
  });
}

}  // namespace softdp::cpu
