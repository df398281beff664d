// The names of csrc/cuda/device.h on a CPU: the kernels' own sources run as C++, every thread a fiber, so
// that their logic can be tested where there is no GPU.
//
// A kernel runs wrong here, with an error, or never ends, with an error, where a GPU would forgive or hide
// it:
//   warp collectives      lanes meet; all 32 must come to the same one
//   shared memory         starts as NaN, and as an improbable flag; ends at its last byte
//                         (AddressSanitizer sees what goes beyond)
//   asynchronous copies   their bytes land at the wait, and are NaN until then
//   schedules             lanes and blocks take turns forwards, in reverse, or at random with half the
//                         warps asleep for a while; as many blocks at once as are resident
//   early launches        all of their threads wait for the launch before
//   flags                 when nobody moves any more, that is a deadlock
//   alignment             an asynchronous copy, or four elements at once, from or to a misaligned address is
//                         an error
// It cannot see weak memory order, the special functions' error, or how long anything takes.
#pragma once
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#define SOFTDP_DEVICE inline
#define SOFTDP_KERNEL_BLOCKS(threads, blocks) inline void
#define SOFTDP_KERNEL(threads) inline void
#define SOFTDP_SHARED(name) unsigned char* const name = shim::shared_memory()

namespace softdp::cuda {

inline float from_half(uint16_t bits) {
  return c10::Half(bits, c10::Half::from_bits());
}
inline float from_bfloat16(uint16_t bits) {
  return c10::BFloat16(bits, c10::BFloat16::from_bits());
}
inline uint16_t to_half(float x) {
  return c10::Half(x).x;
}
inline uint16_t to_bfloat16(float x) {
  return c10::BFloat16(x).x;
}
// A GPU's special functions are off by an ulp or two; so are these, by an amount that hangs on x.
inline float off_by_up_to(int ulps, float y, float x) {
  uint32_t bits, seed;
  std::memcpy(&bits, &y, sizeof bits);
  std::memcpy(&seed, &x, sizeof seed);
  if (!std::isnormal(y)) return y;
  bits += uint32_t(int(((seed * 2654435761u) >> 16) % unsigned(2 * ulps + 1)) - ulps);
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
inline float exp2_fast(float x) {
  return x == 0 ? 1.0f : off_by_up_to(2, std::exp2(x), x);
}
inline uint32_t low_halves(uint32_t low, uint32_t high) {
  return (low & 0xffffu) | high << 16;
}
inline float reciprocal_fast(float x) {
  return off_by_up_to(1, 1 / x, x);
}
inline float max_or_nan(float a, float b) {
  return b > a || b != b ? b : a;
}

namespace shim {

enum class Schedule { kForward, kReverse, kRandom };
struct Options {
  Schedule schedule = Schedule::kForward;
  unsigned resident = 1u << 30;  // blocks at once
  unsigned seed = 1;
  size_t shared_bytes = 227 * 1024;  // of a block, at most: an H100's
  bool launches_fail = false;
  int multiprocessors = 1;
};
extern Options options;

// What a lane brings to a collective, and who came.
enum class Collective { kShuffle, kBallot, kSync };
uint64_t meet(Collective kind, uint64_t mine, int from);  // the value of lane `from`; a ballot's mask
bool block_barrier(bool mine);                            // whether any thread's was true
void copy(void* to, const void* from, size_t bytes, bool valid);
void copies_land();
void demand_aligned(const void* address, size_t bytes);
void wait_for_previous();
void spin();  // looked at a flag in vain
unsigned char* shared_memory();
unsigned thread();
unsigned block();

// is_early: every thread must wait for the launch before.
void run(const std::function<void()>& kernel, unsigned blocks, unsigned threads, size_t shared_bytes,
         bool is_early);

template <class T>
T shuffle(T x, int from) {
  static_assert(sizeof x <= sizeof(uint64_t), "a lane brings eight bytes at most");
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof x);
  bits = meet(Collective::kShuffle, bits, from);
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

}  // namespace shim

struct Coordinate {
  unsigned (*get)();
  operator unsigned() const { return get(); }
};
struct Coordinates {
  Coordinate x;
};
inline constexpr Coordinates threadIdx{{shim::thread}};
inline constexpr Coordinates blockIdx{{shim::block}};

template <class T>
T shuffle_up(T x) {
  const int lane = int(shim::thread() % 32);
  return shim::shuffle(x, lane ? lane - 1 : 0);
}
template <class T>
T shuffle_from(T x, int lane) {
  return shim::shuffle(x, lane);
}
template <class T>
T shuffle_xor(T x, int mask) {
  return shim::shuffle(x, int(shim::thread() % 32) ^ mask);
}
inline unsigned ballot(bool x) {
  return unsigned(shim::meet(shim::Collective::kBallot, x, 0));
}
inline bool all(bool x) {
  return ballot(x) == 0xffffffffu;
}
inline unsigned any_bits(unsigned x) {
  for (int other = 16; other > 0; other /= 2) x |= shuffle_xor(x, other);
  return x;
}
inline void sync_warp() {
  shim::meet(shim::Collective::kSync, 0, 0);
}
inline void sync_block() {
  shim::block_barrier(false);
}
inline void sync_roles() {
  sync_block();
}
inline bool sync_block_any(bool x) {
  return shim::block_barrier(x);
}
inline int first_set(unsigned mask) {
  return __builtin_ffs(int(mask)) - 1;
}

using shim::demand_aligned;
template <class T>
T* computed_here(T* pointer) {
  return pointer;
}
inline void stay_here() {}
template <class T>
void copy_async(T* shared, const T* global, bool valid) {
  shim::copy(shared, global, sizeof(T), valid);
}
template <class T>
void copy_async_four(T* shared, const T* global, bool valid) {
  demand_aligned(shared, 16);
  demand_aligned(global, 16);
  for (int i = 0; i < 4; i++) shim::copy(shared + i, global + i, sizeof(T), valid);
}
inline void copy_async_wait() {
  shim::copies_land();
}

// Fibers take turns only where they wait, so plain loads and stores are as strong as any.
inline int load_acquire_device(const int* global) {
  return *global;
}
inline void store_release_device(int* global, int x) {
  *global = x;
}
constexpr bool kHasWords = true;
struct alignas(16) TwoWords {
  uint64_t low, high;
};
inline uint64_t load_word(const uint64_t* global) {
  return *global;
}
inline void store_word(uint64_t* global, uint64_t x) {
  *global = x;
}
inline TwoWords load_words(const TwoWords* global) {
  demand_aligned(global, sizeof *global);
  return *global;
}
inline void store_words(TwoWords* global, TwoWords x) {
  demand_aligned(global, sizeof *global);
  *global = x;
}
inline unsigned take_ticket(unsigned* global) {
  return (*global)++;
}
inline void spin_device() {
  shim::spin();
}

// The launch before is done when the next one begins; whether that one waits is looked at all the same.
inline void let_next_begin() {}
inline void wait_for_previous() {
  shim::wait_for_previous();
}

using Stream = void*;
enum Error { cudaSuccess, cudaErrorInvalidValue, cudaErrorLaunchFailure };

inline size_t shared_bytes_per_block() {
  return shim::options.shared_bytes;
}

inline int multiprocessors() {
  return shim::options.multiprocessors;
}

inline int64_t device_bytes() {
  return int64_t(1) << 34;
}

template <class Arguments>
int blocks_at_once(void (*)(Arguments), int, size_t) {
  return 0;
}
inline size_t shared_for(int) {
  return 0;
}
template <class Arguments>
Error launch(void (*kernel)(Arguments), int64_t blocks, int threads, size_t shared_bytes, Stream,
             const Arguments& arguments, bool is_early = false) {
  if (blocks > INT32_MAX || shared_bytes > shim::options.shared_bytes) return cudaErrorInvalidValue;
  if (shim::options.launches_fail) return cudaErrorLaunchFailure;
  shim::run([&] { kernel(arguments); }, unsigned(blocks), unsigned(threads), shared_bytes, is_early);
  return cudaSuccess;
}
template <class Arguments>
Error launch_early(void (*kernel)(Arguments), int64_t blocks, int threads, Stream stream,
                   const Arguments& arguments) {
  return launch(kernel, blocks, threads, 0, stream, arguments, true);
}
inline Error set_zero(void* data, size_t bytes, Stream) {
  if (bytes) std::memset(data, 0, bytes);
  return cudaSuccess;
}

}  // namespace softdp::cuda
