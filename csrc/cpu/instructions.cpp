// Chooses the instruction set.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "sweep.h"

namespace softdp::cpu {
namespace {

struct Candidate {
  const Kernels* kernels;
  bool runs_here;
};
#if defined(__x86_64__)
bool has_f16c() {  // not every compiler's __builtin_cpu_supports knows it
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

}  // namespace

const Kernels& chosen() {
  static const Kernels& kernels = choose();
  return kernels;
}

}  // namespace softdp::cpu
