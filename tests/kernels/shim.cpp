#include "shim.h"

#include <algorithm>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define SHIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHIM_ASAN 1
#endif
#endif
#if SHIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace softdp::cuda::shim {

Options options;

namespace {

#if SHIM_ASAN
constexpr size_t kStack = 256 * 1024;  // its frames have red zones
#else
constexpr size_t kStack = 64 * 1024;
#endif

// A random schedule lets half the warps sleep for so many rounds: some run far ahead of others.
constexpr unsigned kNap = 400;
// And now and then one lane of a warp, for a few.
constexpr unsigned kLag = 12;

// ---- fibers: a stack each, and a switch that keeps what a call must keep --------------------------------

#if defined(__x86_64__)
struct Context {
  void* stack_pointer;
};
__attribute__((naked, noinline)) void switch_context(Context*, Context*) {
  asm(R"(
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
  )");
}
void prepare(Context& context, char* stack, void (*entry)()) {
  auto* top = reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(stack + kStack) & ~uintptr_t(15));
  *--top = 0;  // where entry would return to: keeps its frame aligned as after a call
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; i++) *--top = 0;
  context.stack_pointer = top;
}
#else
struct Context {
  ucontext_t machine;
};
void switch_context(Context* from, Context* to) {
  swapcontext(&from->machine, &to->machine);
}
void prepare(Context& context, char* stack, void (*entry)()) {
  getcontext(&context.machine);
  context.machine.uc_stack.ss_sp = stack;
  context.machine.uc_stack.ss_size = kStack;
  context.machine.uc_link = nullptr;
  makecontext(&context.machine, entry, 0);
}
#endif

struct Copy {
  void* to;
  const void* from;  // null: zeros
  size_t bytes;
};

struct Block;
enum class Waits { kNo, kWarp, kBlock, kFlag, kForever };

struct Fiber {
  Context context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  Block* block;
  unsigned thread;
  Waits waits = Waits::kNo;
  uint64_t generation = 0;                // of the meeting that it waits for
  bool done = false, has_waited = false;  // for the launch before
  std::vector<Copy> copies;
  void* fake_stack = nullptr;
};

struct Warp {
  uint64_t value[32], shown[32];
  uint32_t arrived = 0, ballot = 0;
  Collective kind;
  uint64_t generation = 0;
  // Left behind by a random schedule: the whole warp, or one lane until a round.
  bool asleep = false;
  unsigned straggler = 0, until = 0;
};

struct Block {
  unsigned index;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::unique_ptr<unsigned char[]> shared;
  unsigned at_barrier = 0;
  bool any = false, shown_any = false;  // of those at the barrier, and of the last one
  uint64_t generation = 0;
};

Context scheduler;
Fiber* current = nullptr;
const std::function<void()>* body = nullptr;
std::string failure;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_size = 0;

void to_scheduler(bool forever = false) {
#if SHIM_ASAN
  __sanitizer_start_switch_fiber(forever ? nullptr : &current->fake_stack, scheduler_stack,
                                 scheduler_stack_size);
#endif
  Fiber* self = current;
  (void)forever;
  switch_context(&self->context, &scheduler);
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(self->fake_stack, &scheduler_stack, &scheduler_stack_size);
#endif
}
void to_fiber(Fiber& fiber) {
  current = &fiber;
#if SHIM_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), kStack);
#endif
  switch_context(&scheduler, &fiber.context);
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

// Ends the launch: the scheduler throws what went wrong.
[[noreturn]] void fail(const std::string& what) {
  failure = what + " (block " + std::to_string(current->block->index) + ", thread " +
            std::to_string(current->thread) + ")";
  current->waits = Waits::kForever;
  for (;;) to_scheduler();
}

void entry() {
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
#endif
  (*body)();
  current->done = true;
  to_scheduler(true);
}

bool can_run(const Fiber& fiber) {
  switch (fiber.waits) {
    case Waits::kWarp:
      return fiber.block->warps[fiber.thread / 32].generation != fiber.generation;
    case Waits::kBlock:
      return fiber.block->generation != fiber.generation;
    case Waits::kForever:
      return false;
    default:
      return !fiber.done;
  }
}

std::unique_ptr<Block> start_block(unsigned index, unsigned threads, size_t shared_bytes) {
  auto block = std::make_unique<Block>();
  block->index = index;
  block->shared.reset(new unsigned char[shared_bytes]);
  // NaN as a float or double; as a whole number, a flag for one, -1 or the largest of all.
  std::fill_n(reinterpret_cast<uint32_t*>(block->shared.get()), shared_bytes / 4,
              options.schedule == Schedule::kForward ? 0xFFFFFFFF : 0x7FFFFFFF);
  block->warps.resize(threads / 32);
  block->fibers.resize(threads);
  for (unsigned t = 0; t < threads; t++) {
    Fiber& fiber = block->fibers[t];
    fiber.block = block.get();
    fiber.thread = t;
    prepare(fiber.context, fiber.stack.get(), entry);
  }
  return block;
}

}  // namespace

uint64_t meet(Collective kind, uint64_t mine, int from) {
  Warp& warp = current->block->warps[current->thread / 32];
  const unsigned lane = current->thread % 32;
  if (warp.arrived == 0) {
    warp.kind = kind;
    warp.ballot = 0;
  } else if (warp.kind != kind) {
    fail("lanes of a warp came to different collectives");
  }
  warp.value[lane] = mine;
  warp.arrived |= 1u << lane;
  if (kind == Collective::kBallot && mine) warp.ballot |= 1u << lane;
  if (warp.arrived == 0xffffffffu) {
    std::memcpy(warp.shown, warp.value, sizeof warp.value);
    if (kind == Collective::kBallot)
      for (auto& shown : warp.shown) shown = warp.ballot;
    warp.arrived = 0;
    warp.generation++;
  } else {
    current->waits = Waits::kWarp;
    current->generation = warp.generation;
    to_scheduler();
    current->waits = Waits::kNo;
  }
  if (from < 0 || from >= 32) fail("a shuffle reads a lane that does not exist");
  return warp.shown[from];
}

bool block_barrier(bool mine) {
  Block& block = *current->block;
  block.any = block.any || mine;
  if (++block.at_barrier == block.fibers.size()) {
    block.shown_any = block.any;
    block.any = false;
    block.at_barrier = 0;
    block.generation++;
    return block.shown_any;
  }
  current->waits = Waits::kBlock;
  current->generation = block.generation;
  to_scheduler();
  current->waits = Waits::kNo;
  return block.shown_any;
}

void demand_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes) fail("an access to a misaligned address");
}

void copy(void* to, const void* from, size_t bytes, bool valid) {
  demand_aligned(to, bytes);
  demand_aligned(from, bytes);
  std::memset(to, 0xFF, bytes);
  current->copies.push_back({to, valid ? from : nullptr, bytes});
}

void copies_land() {
  for (const Copy& copy : current->copies) {
    if (copy.from)
      std::memcpy(copy.to, copy.from, copy.bytes);
    else
      std::memset(copy.to, 0, copy.bytes);
  }
  current->copies.clear();
}

void wait_for_previous() {
  current->has_waited = true;
}

void spin() {
  current->waits = Waits::kFlag;
  to_scheduler();
}

unsigned char* shared_memory() {
  return current->block->shared.get();
}
unsigned thread() {
  return current->thread;
}
unsigned block() {
  return current->block->index;
}

void run(const std::function<void()>& kernel, unsigned blocks, unsigned threads, size_t shared_bytes,
         bool is_early) {
  if (threads % 32) throw std::invalid_argument("a block must be whole warps");
  body = &kernel;
  failure.clear();
  std::mt19937 random(options.seed);
  std::vector<unsigned> order(blocks);
  for (unsigned i = 0; i < blocks; i++) order[i] = i;
  const auto arrange = [&](auto& items) {
    if (options.schedule == Schedule::kReverse) std::reverse(items.begin(), items.end());
    if (options.schedule == Schedule::kRandom) std::shuffle(items.begin(), items.end(), random);
  };
  arrange(order);  // a device may start blocks in any order
  std::vector<std::unique_ptr<Block>> active;
  size_t next = 0;
  std::vector<Fiber*> turn;
  unsigned round = 0;
  while (next < blocks || !active.empty()) {
    while (next < blocks && active.size() < options.resident)
      active.push_back(start_block(order[next++], threads, shared_bytes));
    turn.clear();
    for (auto& block : active)
      for (Fiber& fiber : block->fibers)
        if (!fiber.done) turn.push_back(&fiber);
    arrange(turn);
    round++;
    if (options.schedule == Schedule::kRandom)
      for (auto& block : active)
        for (Warp& warp : block->warps) {
          if (round % kNap == 1) warp.asleep = random() % 2;
          if (random() % 32 == 0) warp.straggler = random() % 32, warp.until = round + kLag;
        }
    bool moved = false, slept = false;
    for (Fiber* fiber : turn) {
      if (!can_run(*fiber)) continue;
      const Warp& warp = fiber->block->warps[fiber->thread / 32];
      if (warp.asleep || (warp.straggler == fiber->thread % 32 && round < warp.until)) {
        slept = true;
        continue;
      }
      const bool looked_before = fiber->waits == Waits::kFlag;
      fiber->waits = looked_before ? Waits::kNo : fiber->waits;
      to_fiber(*fiber);
      if (!failure.empty()) throw std::runtime_error("shim: " + failure);
      moved = moved || !looked_before || fiber->waits != Waits::kFlag;
    }
    if (!moved && slept) {  // all that are awake wait for one that is not
      for (auto& block : active)
        for (Warp& warp : block->warps) warp.asleep = false;
      continue;
    }
    if (!moved) throw std::runtime_error("shim: deadlock");
    for (size_t i = active.size(); i-- > 0;) {
      const auto& fibers = active[i]->fibers;
      if (!std::all_of(fibers.begin(), fibers.end(), [](const Fiber& f) { return f.done; })) continue;
      for (const Fiber& fiber : fibers) {
        if (!fiber.copies.empty()) throw std::runtime_error("shim: an asynchronous copy outlives its thread");
        if (is_early && !fiber.has_waited) throw std::runtime_error("shim: an early launch did not wait");
      }
      active.erase(active.begin() + long(i));
    }
  }
}

}  // namespace softdp::cuda::shim
