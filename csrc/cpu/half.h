// 16-bit scores and gradients, to and from float. Denormal floats count as zero where this code runs.
// Therefore no conversion has one as an intermediate result.
#pragma once
#include "../scalar.h"
#include "kernels.h"

namespace softdp::cpu {

struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

// Exact.
SOFTDP_FN float to_float(Half h) {
  const uint32_t sign = uint32_t(h.bits & 0x8000) << 16, twice = uint32_t(h.bits) << 17;
  const float normal = bit_cast<float>((twice >> 4) + (0xE0u << 23)) * 0x1p-112f;
  const float denormal = bit_cast<float>((twice >> 17) | (126u << 23)) - 0.5f;
  return bit_cast<float>(sign | bit_cast<uint32_t>(twice < (1u << 27) ? denormal : normal));
}
SOFTDP_FN float to_float(Bfloat16 b) {
  return bit_cast<float>(uint32_t(b.bits) << 16);
}
// Rounds to nearest, ties to even.
SOFTDP_FN void from_float(float x, Half& h) {
  const uint32_t bits = bit_cast<uint32_t>(x), twice = bits + bits;
  const uint32_t exponent = twice & 0xFF000000u, least = 0x71000000u;
  float base = (bit_cast<float>(bits & 0x7FFFFFFFu) * 0x1p+112f) * 0x1p-110f;
  base = bit_cast<float>(((exponent < least ? least : exponent) >> 1) + 0x07800000u) + base;
  const uint32_t rounded = bit_cast<uint32_t>(base);
  const uint32_t magnitude = ((rounded >> 13) & 0x7C00u) + (rounded & 0x0FFFu);
  h.bits = uint16_t((bits >> 31) << 15 | (twice > 0xFF000000u ? 0x7E00u : magnitude));
}
SOFTDP_FN void from_float(float x, Bfloat16& b) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  b.bits = x != x ? 0x7FC0 : uint16_t((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
SOFTDP_FN float to_float(float x) {
  return x;
}
SOFTDP_FN void from_float(float x, float& y) {
  y = x;
}
template <class T>
SOFTDP_FN double to_double(T x) {
  return double(to_float(x));
}
SOFTDP_FN double to_double(double x) {
  return x;
}
template <class T>
SOFTDP_FN void put(T& to, double x) {
  from_float(float(x), to);
}
SOFTDP_FN void put(double& to, double x) {
  to = x;
}

template <class Run>
SOFTDP_FN auto with_type(Type type, Run run) {
  switch (type) {
    case Type::kFloat64:
      return run(double());
    case Type::kFloat32:
      return run(float());
    case Type::kFloat16:
      return run(Half());
    default:
      return run(Bfloat16());
  }
}

}  // namespace softdp::cpu
