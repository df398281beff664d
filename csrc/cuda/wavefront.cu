// The tables of launchers: by recurrence and by type.
#include "launch.h"

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

}  // namespace

int64_t workspace_bytes(const Forward& p) {
  if (is_tiny(p)) return 0;
  return with_value(p.tables[0].type, [&](auto value) {
    using V = decltype(value);
    return p.gamma > 0 ? ForwardSpace<V, true>(p).bytes : ForwardSpace<V, false>(p).bytes;
  });
}
int64_t workspace_bytes(const Backward& p) {
  if (is_tiny(p)) return 0;
  return with_value(p.sinks[0].type, [&](auto value) { return BackwardSpace<decltype(value)>(p).bytes; });
}
int64_t workspace_bytes(const TangentSweep& p) {
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return TangentSpace<decltype(of), decltype(value)>(p).bytes;
  });
}
int64_t workspace_bytes(const ProductSweep& p) {
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return ProductSpace<decltype(of), decltype(value)>(p).bytes;
  });
}

Error forward(const Forward& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  if (is_tiny(p)) return sweep_tiny_pairs(p, stream);
  return with_value(p.tables[0].type, [&](auto value) { return sweep_forward<decltype(value)>(p, stream); });
}
Error backward(const Backward& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  if (is_tiny(p)) return scale_tiny_pairs(p, stream);
  return with_value(p.recurrence, p.sinks[0].type, [&](auto of, auto value) {
    return sweep_backward<decltype(of), decltype(value)>(p, stream);
  });
}
Error sweep_tangents(const TangentSweep& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return sweep_tangents<decltype(of), decltype(value)>(p, stream);
  });
}
Error sweep_products(const ProductSweep& p, Stream stream) {
  if (!fits_int(p.pairs)) return kBadProblem;
  return with_value(p.recurrence, p.type, [&](auto of, auto value) {
    return sweep_products<decltype(of), decltype(value)>(p, stream);
  });
}

}  // namespace softdp::cuda
