#include "memory.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

// Of torch 2.11 and newer; null where the running torch is older.
extern "C" __attribute__((weak)) AOTITorchError
torch_from_blob(void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides,
                int64_t storage_offset, int32_t dtype, int32_t device_type, int32_t device_index,
                AtenTensorHandle* ret, int32_t layout, const uint8_t* opaque_metadata,
                int64_t opaque_metadata_size, void (*deleter)(void* data, void* ctx), void* deleter_ctx);

namespace softdp {
namespace {

uint64_t bytes_of(const Sizes& size, ScalarType dtype) {
  uint64_t bytes = dtype == ScalarType::Double  ? 8
                   : dtype == ScalarType::Float ? 4
                   : dtype == ScalarType::Byte  ? 1
                                                : 2;
  for (const int64_t n : size) bytes *= uint64_t(n);
  return bytes;
}

#if defined(MADV_FREE) && defined(MADV_HUGEPAGE)

constexpr uint64_t kLarge = 128 << 10;   // from which the C library asks the system
constexpr uint64_t kHugePage = 2 << 20;  // the most common size of one; no harm where it is another
constexpr uint64_t kWarm = 64 << 20;  // bytes that are kept without the system being told that they are free
// Tensors begin at so many bytes, and multiples of them, into their blocks: where two tables are swept at
// once, a store and a load whose addresses agree in the last 12 bits would wait for each other.
constexpr uint64_t kShift = 576, kShifts = 8;

// Memory that is free, what has been so for longest first. Each block begins with a huge page.
class Blocks {
 public:
  explicit Blocks(uint64_t limit) : limit_(limit) { kept_.reserve(kMost + 1); }

  // At least so many bytes, which become as many as were taken; null where there are none to be had.
  void* take(uint64_t& bytes) {
    bytes = rounded(bytes);
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) {
      size_t best = kept_.size();
      for (size_t i = 0; i < kept_.size(); i++)
        if (kept_[i].bytes >= bytes && kept_[i].bytes <= 2 * bytes &&
            (best == kept_.size() || kept_[i].bytes <= kept_[best].bytes))
          best = i;
      if (best < kept_.size()) {
        bytes = kept_[best].bytes;
        return removed(best).data;
      }
    }
    return map(bytes);
  }

  void give_back(void* data, uint64_t bytes) noexcept {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) {
      munmap(data, bytes);
      return;
    }
    kept_.push_back({data, bytes, true});
    total_ += bytes, warm_ += bytes;
    while (total_ > limit_ || kept_.size() > kMost) unmap_at(0);
    for (size_t i = 0; warm_ > kWarm;) {
      if (kept_[i].warm && madvise(kept_[i].data, kept_[i].bytes, MADV_FREE) != 0) {
        unmap_at(i);  // of no use to anybody, were it kept
      } else {
        if (kept_[i].warm) warm_ -= kept_[i].bytes;
        kept_[i++].warm = false;
      }
    }
  }

 private:
  static constexpr size_t kMost = 64;
  struct Block {
    void* data;
    uint64_t bytes;
    bool warm;
  };

  Block removed(size_t i) {
    const Block block = kept_[i];
    kept_.erase(kept_.begin() + int64_t(i));
    total_ -= block.bytes;
    if (block.warm) warm_ -= block.bytes;
    return block;
  }
  void unmap_at(size_t i) {
    const Block block = removed(i);
    munmap(block.data, block.bytes);
  }

  // Sizes that differ a little become one, so that ragged batches find blocks. What is not touched has no
  // pages.
  static uint64_t rounded(uint64_t bytes) {
    const uint64_t step = bytes < (1 << 20) ? 64 << 10 : bytes < 16 * kHugePage ? kHugePage / 4 : kHugePage;
    return (bytes + step - 1) / step * step;
  }

  // From the beginning of a huge page on.
  static void* map(uint64_t bytes) {
    void* const mapped =
        mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    unsigned char* const begin = static_cast<unsigned char*>(mapped);
    const uint64_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
    if (before) munmap(begin, before);
    munmap(begin + before + bytes, kHugePage - before);
    if (bytes >= kHugePage) madvise(begin + before, bytes, MADV_HUGEPAGE);  // advice: may fail
    return begin + before;
  }

  // Held for moments only, and never waited for: a process may have forked in one of them.
  std::mutex mutex_;
  std::vector<Block> kept_;
  uint64_t total_ = 0, warm_ = 0;
  const uint64_t limit_;
};

Blocks& blocks() {
  static Blocks* const all = new Blocks(kept_at_most());  // tensors may outlive the library's static objects
  return *all;
}

std::optional<Tensor> tensor_from_blocks(const Sizes& size, ScalarType dtype, uint64_t bytes) {
  static std::atomic<uint64_t> turn{0};
  bytes += kShift * (kShifts - 1);
  void* const block = blocks().take(bytes);
  if (!block) return std::nullopt;
  void* const data = static_cast<unsigned char*>(block) + kShift * (turn.fetch_add(1) % kShifts);
  Sizes stride(size.size(), 1);
  for (size_t d = size.size() - 1; d > 0; d--) stride[d - 1] = stride[d] * size[d];
  AtenTensorHandle handle = nullptr;
  const AOTITorchError error = torch_from_blob(
      data, int64_t(size.size()), size.data(), stride.data(), 0,
      torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)), aoti_torch_device_type_cpu(),
      -1, &handle, aoti_torch_layout_strided(), nullptr, 0,
      [](void* data, void* bytes) {
        unsigned char* const begin = static_cast<unsigned char*>(data);
        const uint64_t shift = reinterpret_cast<uintptr_t>(data) % kHugePage;
        blocks().give_back(begin - shift, reinterpret_cast<uint64_t>(bytes));
      },
      reinterpret_cast<void*>(bytes));
  if (error == AOTI_TORCH_SUCCESS) return Tensor(handle);
  blocks().give_back(block, bytes);
  return std::nullopt;
}

// For memory of the C library's: fewer faults, if no fewer pages.
void ask_for_huge_pages(void* data, uint64_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data), first = (begin + kPage - 1) / kPage * kPage;
  madvise(reinterpret_cast<void*>(first), begin + bytes - first, MADV_HUGEPAGE);  // advice: may fail
}

#endif

}  // namespace

Tensor new_tensor(const Sizes& size, ScalarType dtype) {
#if defined(MADV_FREE) && defined(MADV_HUGEPAGE)
  if (const uint64_t bytes = bytes_of(size, dtype); bytes >= kLarge) {
    if (torch_from_blob && kept_at_most() > 0)
      if (auto kept = tensor_from_blocks(size, dtype, bytes)) return *kept;
    Tensor t = torch::stable::empty(size, dtype);
    if (bytes >= 4 * kHugePage) ask_for_huge_pages(t.data_ptr(), bytes);
    return t;
  }
#endif
  return torch::stable::empty(size, dtype);
}

uint64_t kept_at_most() {
  static const uint64_t bytes = [] {
    const char* const named = std::getenv("SOFTDP_KEEP_MB");
    if (!named || !*named) return uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE)) / 4;
    char* end = nullptr;
    const unsigned long long megabytes = std::strtoull(named, &end, 10);
    if (!std::isdigit(static_cast<unsigned char>(*named)) || *end || megabytes >> 40)
      throw std::runtime_error("SOFTDP_KEEP_MB=" + std::string(named) + ": must be a number of megabytes");
    return uint64_t(megabytes) << 20;
  }();
  return bytes;
}

}  // namespace softdp
