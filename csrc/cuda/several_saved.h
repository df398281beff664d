// The verdict on a pair whose cells have several states: in the last cell's first number, as in bands.h.
#pragma once
#include "bands.h"

namespace softdp::cuda {

SOFTDP_DEVICE int64_t last_number_of(const SavedNumbers& saved, const Pairs& pairs, int64_t pair,
                                     const Extent& size) {
  return pair * saved.pitch + SavedPlaces(pairs, size, pairs.bandwidth >= 0).of(size.n - 1, size.m - 1);
}
SOFTDP_DEVICE double verdict_of(const SavedNumbers& saved, const Pairs& pairs, int64_t pair,
                                const Extent& size) {
  if (size.n == 0 || size.m == 0) return double(kNoPath);
  return number_at(saved.data, saved.type, last_number_of(saved, pairs, pair, size));
}
SOFTDP_DEVICE void mark_verdict(const SavedNumbers& saved, const Pairs& pairs, int64_t pair,
                                const Extent& size, double verdict) {
  put_number(saved.data, saved.type, last_number_of(saved, pairs, pair, size), verdict);
}

}  // namespace softdp::cuda
