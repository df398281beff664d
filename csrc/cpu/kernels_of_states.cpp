// The kernels of recurrences with several states a cell, of one instruction set. As kernels.cpp, this file is
// compiled once for each set.
#include <cmath>
#include <limits>
#include <type_traits>

#include "backward.h"

namespace softdp::cpu::SOFTDP_ISA {
namespace {

template <class R, class Max, bool kHasByRow, class Run>
SOFTDP_FN auto with_gaps(const Problem& p, Run run) {
  const bool shared = p.shared_gap;
  if constexpr (kHasByRow) {
    bool by_row = true;
    for (int i = 1; i < R::kTables; i++) by_row = by_row && (p.scores[i].column == 0 || (i == 2 && shared));
    if (by_row)
      return shared ? run(Recipe<R, Max, true, true, false>()) : run(Recipe<R, Max, false, true, false>());
  }
  return shared ? run(Recipe<R, Max, true, false, false>()) : run(Recipe<R, Max, false, false, false>());
}
template <class R, class Run>
SOFTDP_FN auto with_maximum(const Problem& p, Tier tier, Run run) {
  static_assert(R::row_place(R::row_states()) == R::row_states(), "those that the next row reads come first");
  if (p.gamma == 0 || tier == Tier::kHard) return with_gaps<R, HardMax<Lanes<double>>, false>(p, run);
  if (tier == Tier::kDouble) return with_gaps<R, SmoothMax<Lanes<double>>, false>(p, run);
  return with_gaps<R, SmoothMax<Lanes<float>>, true>(p, run);
}
template <class Run>
SOFTDP_FN auto with_recipe(const Problem& p, Tier tier, Run run) {
  switch (p.recurrence) {
    case Recurrence::kLocalFsd:
      return with_maximum<LocalFsd>(p, tier, run);
    case Recurrence::kSmithWaterman:
      return with_maximum<SmithWaterman>(p, tier, run);
    case Recurrence::kAffine:
      return with_maximum<Affine>(p, tier, run);
    default:
      return with_maximum<LocalAffine>(p, tier, run);
  }
}

}  // namespace

Outcome forward_of_states(const Problem& p, const Band& band) {
  return with_recipe(p, band.tier, [&](auto recipe) { return forward_band<decltype(recipe)>(p, band); });
}
bool backward_of_states(const Problem& p, const Band& band) {
  return with_recipe(p, band.tier, [&](auto recipe) { return backward_band<decltype(recipe)>(p, band); });
}

}  // namespace softdp::cpu::SOFTDP_ISA
