// What the kernels take from CUDA, under names that the CPU harness (tests/kernels/shim.h) offers too, so
// that the same kernel sources run under both.
#pragma once
#ifdef SOFTDP_HARNESS
#include "shim.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>

namespace softdp::cuda {
using Stream = cudaStream_t;
using Error = cudaError_t;
}  // namespace softdp::cuda

#ifdef __CUDACC__
#define SOFTDP_DEVICE __device__ __forceinline__
#define SOFTDP_KERNEL_BLOCKS(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define SOFTDP_KERNEL(threads) SOFTDP_KERNEL_BLOCKS(threads, 1)
#define SOFTDP_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

namespace softdp::cuda {

// Of the bits of a float16 or bfloat16, and back, to the nearest.
SOFTDP_DEVICE float from_half(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
SOFTDP_DEVICE float from_bfloat16(uint16_t bits) {
  return __bfloat162float(__ushort_as_bfloat16(bits));
}
SOFTDP_DEVICE uint16_t to_half(float x) {
  return __half_as_ushort(__float2half_rn(x));
}
SOFTDP_DEVICE uint16_t to_bfloat16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

// smooth_max.h, which calls these, compiles for the host too. Only the device runs them.
__host__ SOFTDP_DEVICE float exp2_fast(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
__host__ SOFTDP_DEVICE float reciprocal_fast(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1 / x;
#endif
}

// The low halves of two words, in one.
SOFTDP_DEVICE uint32_t low_halves(uint32_t low, uint32_t high) {
  return __byte_perm(low, high, 0x5410);
}

SOFTDP_DEVICE float max_or_nan(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}

// ---- warps: the mask is always the whole warp's ------------------------------------------------------
template <class T>
SOFTDP_DEVICE T shuffle_up(T x) {
  return __shfl_up_sync(0xffffffffu, x, 1);
}
template <class T>
SOFTDP_DEVICE T shuffle_from(T x, int lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}
template <class T>
SOFTDP_DEVICE T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}
SOFTDP_DEVICE unsigned ballot(bool x) {
  return __ballot_sync(0xffffffffu, x);
}
SOFTDP_DEVICE bool all(bool x) {
  return __all_sync(0xffffffffu, x);
}
// The bits that any lane has.
SOFTDP_DEVICE unsigned any_bits(unsigned x) {
  return __reduce_or_sync(0xffffffffu, x);
}
SOFTDP_DEVICE void sync_warp() {
  __syncwarp();
}
SOFTDP_DEVICE void sync_block() {
  __syncthreads();
}
// The same for warps that wait at different places of the code, whose lanes may have parted before.
SOFTDP_DEVICE void sync_roles() {
  asm volatile("barrier.sync 0;" ::: "memory");
}
// sync_block(), and whether x holds in any thread of the block.
SOFTDP_DEVICE bool sync_block_any(bool x) {
  return __syncthreads_or(x) != 0;
}
SOFTDP_DEVICE int first_set(unsigned mask) {
  return __ffs(int(mask)) - 1;
}

// A pointer to global memory, of whose sum the compiler then knows nothing: what all threads share is added
// once.
template <class T>
SOFTDP_DEVICE T* computed_here(T* pointer) {
  asm("" : "+l"(pointer));
  __builtin_assume(__isGlobal(pointer));
  return pointer;
}

// What follows in one way of a branch is not made before the branch, though the other way has it, too.
SOFTDP_DEVICE void stay_here() {
  asm volatile("");
}

// An access to more than a word at a misaligned address faults by itself.
SOFTDP_DEVICE void demand_aligned(const void*, size_t) {}

// ---- copies from global to shared memory that run beside the arithmetic ------------------------------
// Where valid is false the element becomes 0 and nothing is read, wherever the source may lie.
template <class T>
SOFTDP_DEVICE void copy_async(T* shared, const T* global, bool valid) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "cp.async takes 4, 8 or 16 bytes");
  const unsigned to = unsigned(__cvta_generic_to_shared(shared));
  const int bytes = valid ? int(sizeof(T)) : 0;
  if constexpr (sizeof(T) == 8)
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 8, %2;" ::"r"(to), "l"(global), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes)
                 : "memory");
}
// Four elements; both addresses are multiples of 16 bytes.
template <class T>
SOFTDP_DEVICE void copy_async_four(T* shared, const T* global, bool valid) {
  constexpr int kEach = 16 / int(sizeof(T));  // elements of one copy
#pragma unroll
  for (int i = 0; i < 4; i += kEach) {
    const unsigned to = unsigned(__cvta_generic_to_shared(shared + i));
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(global + i),
                 "r"(bytes)
                 : "memory");
  }
}
// This thread's copies have landed; sync_warp() then shows them to its warp.
SOFTDP_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// ---- flags: what was written before a release is seen after the acquire that reads it ----------------
SOFTDP_DEVICE int load_acquire_device(const int* global) {
  int x;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(x) : "l"(global) : "memory");
  return x;
}
SOFTDP_DEVICE void store_release_device(int* global, int x) {
  asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(global), "r"(x) : "memory");
}
// A number that another block may write meanwhile: seen as it was or as it is, and never in part.
struct alignas(16) TwoWords {
  uint64_t low, high;
};
SOFTDP_DEVICE uint64_t load_word(const uint64_t* global) {
  uint64_t x;
  asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(x) : "l"(global) : "memory");
  return x;
}
SOFTDP_DEVICE void store_word(uint64_t* global, uint64_t x) {
  asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(global), "l"(x) : "memory");
}
// Two words at once need PTX 8.3, CUDA 12.3.
#if CUDART_VERSION >= 12030
constexpr bool kHasWords = true;
SOFTDP_DEVICE TwoWords load_words(const TwoWords* global) {
  TwoWords x;
  asm volatile("{ .reg .b128 x; ld.relaxed.gpu.global.b128 x, [%2]; mov.b128 {%0, %1}, x; }"
               : "=l"(x.low), "=l"(x.high)
               : "l"(global)
               : "memory");
  return x;
}
SOFTDP_DEVICE void store_words(TwoWords* global, TwoWords x) {
  asm volatile("{ .reg .b128 x; mov.b128 x, {%1, %2}; st.relaxed.gpu.global.b128 [%0], x; }" ::"l"(global),
               "l"(x.low), "l"(x.high)
               : "memory");
}
#else
constexpr bool kHasWords = false;
SOFTDP_DEVICE TwoWords load_words(const TwoWords* global) {
  return *global;
}
SOFTDP_DEVICE void store_words(TwoWords* global, TwoWords x) {
  *global = x;
}
#endif
SOFTDP_DEVICE unsigned take_ticket(unsigned* global) {
  return atomicAdd(global, 1u);
}
// Between two looks at a flag. Short sleeps: warps that wait leave the issue slots to those that do not.
SOFTDP_DEVICE void spin_device() {
  __nanosleep(32);
}

// ---- a launch that begins while the one before it ends (launch_early) -----------------------------------
// From here on the launch that follows may begin, if it is an early one.
SOFTDP_DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// Until all that went before is done, and can be read and overwritten.
SOFTDP_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- host --------------------------------------------------------------------------------------------
// What a block may have at most on the current device.
inline size_t shared_bytes_per_block() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 0;
  return size_t(bytes);
}

// A question to the device that may stay without an answer: its error is nobody else's.
inline bool answered(Error error) {
  if (error != cudaSuccess) cudaGetLastError();
  return error == cudaSuccess;
}
// The current device's multiprocessors, 0 where it does not tell.
inline int multiprocessors() {
  constexpr int kDevices = 64;
  static std::atomic<int> known[kDevices];
  int device = 0, count = 0;
  if (!answered(cudaGetDevice(&device)) || device < 0 || device >= kDevices) return 0;
  if (known[device] == 0) {
    if (!answered(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device))) return 0;
    known[device] = count;
  }
  return known[device];
}

// The current device's memory, 0 where it does not tell.
inline int64_t device_bytes() {
  constexpr int kDevices = 64;
  static std::atomic<int64_t> known[kDevices];  // asking takes a millisecond
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device < 0 || device >= kDevices) return 0;
  if (known[device] == 0) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return 0;
    known[device] = int64_t(properties.totalGlobalMem);
  }
  return known[device];
}

// Lets a kernel's blocks have so much shared memory: as much as a block may have at all, so that launches
// that run beside each other want the same.
template <class Arguments>
Error allow_shared(void (*kernel)(Arguments), size_t bytes) {
  if (bytes <= 48 * 1024) return cudaSuccess;
  const size_t most = shared_bytes_per_block();
  if (bytes > most) return cudaErrorInvalidValue;
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, int(most));
}
// How many blocks of so many bytes a multiprocessor holds; 0 where the device does not tell.
template <class Arguments>
int blocks_at_once(void (*kernel)(Arguments), int threads, size_t bytes) {
  int at_once = 0;
  if (!answered(allow_shared(kernel, bytes)) ||
      !answered(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, reinterpret_cast<const void*>(kernel),
                                                              threads, bytes)))
    return 0;
  return at_once;
}
// The shared memory of a block with which a multiprocessor holds no more than `at_once`; 0 likewise.
inline size_t shared_for(int at_once) {
  int device = 0, shared = 0, reserved = 0;
  if (!answered(cudaGetDevice(&device)) ||
      !answered(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device)) ||
      !answered(cudaDeviceGetAttribute(&reserved, cudaDevAttrReservedSharedMemoryPerBlock, device)))
    return 0;
  const size_t bytes = size_t(shared / at_once - reserved) / 1024 * 1024;
  return bytes <= shared_bytes_per_block() ? bytes : 0;
}

template <class Arguments>
Error launch(void (*kernel)(Arguments), int64_t blocks, int threads, size_t shared_bytes, Stream stream,
             const Arguments& arguments, const cudaLaunchAttribute* attribute = nullptr) {
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const Error error = allow_shared(kernel, shared_bytes);
  if (error != cudaSuccess) return error;
  void* parameters[] = {const_cast<Arguments*>(&arguments)};
  if (!attribute)
    return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(unsigned(blocks)),
                            dim3(unsigned(threads)), parameters, shared_bytes, stream);
  cudaLaunchConfig_t how{};
  how.gridDim = dim3(unsigned(blocks));
  how.blockDim = dim3(unsigned(threads));
  how.dynamicSmemBytes = shared_bytes;
  how.stream = stream;
  how.attrs = const_cast<cudaLaunchAttribute*>(attribute);
  how.numAttrs = 1;
  return cudaLaunchKernelExC(&how, reinterpret_cast<const void*>(kernel), parameters);
}

// Whether the code of a kernel that runs on the current device waits for what went before: PTX for sm_90 or
// newer has the instruction. A driver older than 12.3 does not capture such launches. Kernels of the same
// arguments are compiled for the same architectures.
template <class Arguments>
bool waits_for_previous(void (*kernel)(Arguments)) {
  constexpr int kDevices = 64;
  static std::atomic<int> known[kDevices];  // by device: 1 no, 2 yes; asking takes microseconds
  int device = 0, driver = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device < 0 || device >= kDevices) return false;
  if (known[device] == 0) {
    cudaFuncAttributes found;
    if (cudaFuncGetAttributes(&found, reinterpret_cast<const void*>(kernel)) != cudaSuccess) return false;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) return false;
    known[device] = found.ptxVersion >= 90 && driver >= 12030 ? 2 : 1;
  }
  return known[device] == 2;
}
// Launches a kernel that calls wait_for_previous() before it touches global memory. Its blocks may come to
// the device before the launch before it ends: where that one calls let_next_begin(), or at its end.
template <class Arguments>
Error launch_early(void (*kernel)(Arguments), int64_t blocks, int threads, Stream stream,
                   const Arguments& arguments) {
#if CUDART_VERSION >= 12030
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  if (waits_for_previous(kernel)) return launch(kernel, blocks, threads, 0, stream, arguments, &early);
#endif
  return launch(kernel, blocks, threads, 0, stream, arguments);
}
inline Error set_zero(void* data, size_t bytes, Stream stream) {
  return bytes ? cudaMemsetAsync(data, 0, bytes, stream) : cudaSuccess;
}

}  // namespace softdp::cuda
#endif  // __CUDACC__
#endif  // SOFTDP_HARNESS
