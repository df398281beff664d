// What tests call through ctypes: from now on every launch fails, or none.
#include "../shim.h"

extern "C" const char* softdp_cpu() {
  return "shim";
}

extern "C" void softdp_launches_fail(bool fail) {
  softdp::cuda::shim::options.launches_fail = fail;
}
