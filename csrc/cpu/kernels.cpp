// The kernels of one instruction set. buildtools/sources.py compiles this file once for each set, with the
// set's flags and SOFTDP_ISA. All code is in the set's own namespace or inlined, so that no machine runs code
// of a set that it lacks.
#include <cmath>
#include <limits>
#include <type_traits>

#include "backward.h"
#include "difference_sums.h"
#include "dots.h"
#include "groups.h"

namespace softdp::cpu::SOFTDP_ISA {
namespace {

using Narrow = SmoothMax<Lanes<float>>;
using Far = SmoothMax<Lanes<float, int32_t>>;
using Double = SmoothMax<Lanes<double>>;
using Hard = HardMax<Lanes<double>>;

template <class Max, bool kHasByRow, bool kPacks, class Run>
SOFTDP_FN auto with_gaps(const Problem& p, Run run) {
  return with_recurrence(p.recurrence, [&](auto recurrence) {
    using R = decltype(recurrence);
    if constexpr (R::kTables == 1) {
      return run(Recipe<R, Max, true, false, kPacks>());
    } else {
      if constexpr (kHasByRow)
        if (p.scores[1].column == 0 && (p.shared_gap || p.scores[2].column == 0))
          return p.shared_gap ? run(Recipe<R, Max, true, true, kPacks>())
                              : run(Recipe<R, Max, false, true, kPacks>());
      return p.shared_gap ? run(Recipe<R, Max, true, false, kPacks>())
                          : run(Recipe<R, Max, false, false, kPacks>());
    }
  });
}
// Calls run(Recipe) for the problem's kind of maximum and of gaps.
template <class Run>
SOFTDP_FN auto with_recipe(const Problem& p, Tier tier, Run run) {
  if (p.gamma == 0 || tier == Tier::kHard) return with_gaps<Hard, false, false>(p, run);
  return tier == Tier::kDouble ? with_gaps<Double, false, false>(p, run)
                               : with_gaps<Narrow, true, false>(p, run);
}

Outcome forward(const Problem& p, const Band& band) {
  if (has_several_states(p.recurrence)) return forward_of_states(p, band);
  const auto run = [&](auto recipe) { return forward_band<decltype(recipe)>(p, band); };
  if (band.tier == Tier::kFar)
    return band.weights ? with_gaps<Far, true, true>(p, run) : with_gaps<Far, true, false>(p, run);
  return band.weights ? with_gaps<Narrow, true, true>(p, run) : with_recipe(p, band.tier, run);
}
bool backward(const Problem& p, const Band& band) {
  if (has_several_states(p.recurrence)) return backward_of_states(p, band);
  const auto run = [&](auto recipe) { return backward_band<decltype(recipe)>(p, band); };
  return band.weights ? with_gaps<Narrow, true, true>(p, run) : with_recipe(p, band.tier, run);
}
uint32_t forward_pairs(const Problem& p, const Group& group) {
  return with_recipe(p, is_double(p) ? Tier::kDouble : Tier::kNarrow,
                     [&](auto recipe) { return forward_group<decltype(recipe)>(p, group); });
}
uint32_t backward_pairs(const Problem& p, const Group& group, uint32_t pairs) {
  return with_recipe(p, is_double(p) ? Tier::kDouble : Tier::kNarrow,
                     [&](auto recipe) { return backward_group<decltype(recipe)>(p, group, pairs); });
}

}  // namespace

#define SOFTDP_STRING(x) #x
#define SOFTDP_NAME(x) SOFTDP_STRING(x)
const Kernels kernels = {SOFTDP_NAME(SOFTDP_ISA),
                         kLanes<float>,
                         forward,
                         backward,
                         forward_pairs,
                         backward_pairs,
                         {products<float>, products<double>},
                         {sums<float>, sums<double>},
                         {units<float>, units<double>},
                         {unit_gradients<float>, unit_gradients<double>},
                         {dots<float>, dots<double>},
                         {weigh<float>, weigh<double>}};

}  // namespace softdp::cpu::SOFTDP_ISA
