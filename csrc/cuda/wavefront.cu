// The tables of launchers: by recurrence and by type.
#include "launch.h"
#include "several.h"

namespace softdp::cuda {
namespace {

// run(V())
template <class Run>
auto with_value(Type type, Run run) {
  return type == Type::kFloat64 ? run(double()) : run(float());
}
// run(Recurrence(), V())
template <class Run>
auto with_value(Recurrence recurrence, Type type, Run run) {
  return with_recurrence(
      recurrence, [&](auto of) { return with_value(type, [&](auto value) { return run(of, value); }); });
}
// run(Family(), V()) with the family of a recurrence with several states a cell.
template <class Run>
auto with_family(Recurrence recurrence, Type type, Run run) {
  return with_value(type, [&](auto value) {
    return recurrence == Affine::kId        ? run(AffineFamily(), value)
           : recurrence == LocalAffine::kId ? run(LocalAffineFamily(), value)
                                            : run(LocalFamily(), value);
  });
}
template <class Problem>
int64_t several_bytes(const Problem& p) {
  return with_family(p.recurrence, type_of(p), [&](auto family, auto value) {
    return SeveralSweeps<decltype(family)>::template bytes<decltype(value)>(p);
  });
}
template <class Problem>
Error sweep_several(const Problem& p, Stream stream) {
  return with_family(p.recurrence, type_of(p), [&](auto family, auto value) {
    return SeveralSweeps<decltype(family)>::template sweep<decltype(value)>(p, stream);
  });
}

// Tables that lie as what is saved are those of pairs with a bandwidth, and of recurrences of one state.
template <class Problem>
bool may_lie_as_saved(const Problem& p) {
  return !p.as_saved || (p.pairs.bandwidth >= 0 && !has_several_states(p.recurrence));
}

}  // namespace

int64_t workspace_bytes(const Forward& p) {
  if (has_several_states(p.recurrence)) return several_bytes(p);
  if (is_tiny(p)) return 0;
  return with_value(p.tables[0].type, [&](auto value) {
    using V = decltype(value);
    return p.gamma > 0 ? ForwardSpace<V, true>(p).bytes : ForwardSpace<V, false>(p).bytes;
  });
}
int64_t workspace_bytes(const Backward& p) {
  if (has_several_states(p.recurrence)) return several_bytes(p);
  if (is_tiny(p)) return 0;
  return with_value(p.sinks[0].type, [&](auto value) { return BackwardSpace<decltype(value)>(p).bytes; });
}
int64_t workspace_bytes(const TangentSweep& p) {
  if (has_several_states(p.recurrence)) return several_bytes(p);
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return TangentSpace<decltype(of), decltype(value)>(p).bytes;
  });
}
int64_t workspace_bytes(const ProductSweep& p) {
  if (has_several_states(p.recurrence)) return several_bytes(p);
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return ProductSpace<decltype(of), decltype(value)>(p).bytes;
  });
}

Error forward(const Forward& p, Stream stream) {
  if (!fits_int(p.pairs) || !may_lie_as_saved(p)) return kBadProblem;
  if (p.saved && p.pairs.bandwidth >= 0) {
    // What no cell takes is 0, so that the same scores save the same bits.
    const int64_t bytes = p.pairs.count * regime_of(p).saved_bytes(p.shared_gap, p.saves);
    const Error error = set_zero(p.saved, size_t(bytes), stream);
    if (error != cudaSuccess) return error;
  }
  if (has_several_states(p.recurrence)) return sweep_several(p, stream);
  if (is_tiny(p)) return sweep_tiny_pairs(p, stream);
  return with_value(p.tables[0].type, [&](auto value) { return sweep_forward<decltype(value)>(p, stream); });
}
Error backward(const Backward& p, Stream stream) {
  if (!fits_int(p.pairs) || !may_lie_as_saved(p)) return kBadProblem;
  if (has_several_states(p.recurrence)) return sweep_several(p, stream);
  if (is_tiny(p)) return scale_tiny_pairs(p, stream);
  return with_value(p.recurrence, p.sinks[0].type, [&](auto of, auto value) {
    return sweep_backward<decltype(of), decltype(value)>(p, stream);
  });
}
Error sweep_tangents(const TangentSweep& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  if (has_several_states(p.recurrence)) return sweep_several(p, stream);
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return sweep_tangents<decltype(of), decltype(value)>(p, stream);
  });
}
Error sweep_products(const ProductSweep& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  if (has_several_states(p.recurrence)) return sweep_several(p, stream);
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return sweep_products<decltype(of), decltype(value)>(p, stream);
  });
}

}  // namespace softdp::cuda
