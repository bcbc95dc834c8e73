// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/emu/machine.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <sys/mman.h>

#if defined(__x86_64__)
/* Saves what the System V ABI lets a callee keep, and swaps stacks. */
extern "C" void attn_emu_switch(void **save, void *load);
__asm__(".text\n"
        ".globl attn_emu_switch\n"
        ".hidden attn_emu_switch\n"
        ".type attn_emu_switch,@function\n"
        "attn_emu_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp,(%rdi)\n"
        "  movq %rsi,%rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size attn_emu_switch,.-attn_emu_switch\n");
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emu
{

__thread Block *block;

static constexpr size_t kStack = 128 * 1024;

/* AddressSanitizer must know which stack runs. leave: before a switch to the stack at bottom (of
 * the scheduler: NULL); arrive: after one, `from` what leave saved, NULL on a new stack. */
#if defined(__SANITIZE_ADDRESS__)
static thread_local const void *home_bottom;
static thread_local size_t home_size;

static void
leave(void **saved, const void *bottom)
{
    __sanitizer_start_switch_fiber(saved, bottom ? bottom : home_bottom,
                                   bottom ? kStack : home_size);
}

static void
arrive(void *from, bool in_thread)
{
    __sanitizer_finish_switch_fiber(from, in_thread ? &home_bottom : nullptr,
                                    in_thread ? &home_size : nullptr);
}

static void
forget_stacks(const void *stacks, size_t bytes)
{
    __asan_unpoison_memory_region(stacks, bytes);
}
#else
static void
leave(void **, const void *)
{
}

static void
arrive(void *, bool)
{
}

static void
forget_stacks(const void *, size_t)
{
}
#endif

#if defined(__x86_64__)
static void
switch_stack(void **save, void *load)
{
    attn_emu_switch(save, load);
}

static void *
new_stack(uint8_t *base, void (*entry)())
{
    void **top = reinterpret_cast<void **>(base + kStack);
    top -= 3; /* rsp + 8 is a multiple of 16 at entry */
    *top = nullptr;
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    return top;
}
#else
static void
switch_stack(void **save, void *load)
{
    ucontext_t here;
    *save = &here;
    swapcontext(&here, static_cast<ucontext_t *>(load));
}

static void *
new_stack(uint8_t *base, void (*entry)())
{
    ucontext_t *context = new (base) ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = base + sizeof *context;
    context->uc_stack.ss_size = kStack - sizeof *context;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}
#endif

void
Clock::join(const Clock &other)
{
    for (uint32_t i = 0; i < kMaxAgents; i++)
        at[i] = std::max(at[i], other.at[i]);
}

Block::Block(const Launch &l) : launch(l)
{
    const uint32_t num_warps = l.threads / l.warp_size;
    threads.resize(l.threads);
    warps.resize(num_warps);
    warp_ops.resize(num_warps);
    group_ops.resize((l.threads + 127) / 128);
    memory.resize(l.shared_bytes);
    cells.resize((l.shared_bytes + 1) / 2);
    read_clock.resize(cells.size() * num_warps);
    read_lane.resize(cells.size() * num_warps);
    stack_bytes_ = kStack * l.threads;
    void *area = mmap(nullptr, stack_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stacks_ = area == MAP_FAILED ? nullptr : static_cast<uint8_t *>(area);
}

Block::~Block()
{
    if (stacks_)
        munmap(stacks_, stack_bytes_);
}

void
Block::reset()
{
    std::fill(cells.begin(), cells.end(), Cell{});
    std::fill(read_clock.begin(), read_clock.end(), 0u);
    std::fill(memory.begin(), memory.end(), uint8_t{0xCB});
    for (uint32_t w = 0; w < warps.size(); w++) {
        warps[w] = Warp{};
        warps[w].clock.at[w] = 1;
        warp_ops[w] = Collective{};
    }
    for (Collective &op : group_ops)
        op = Collective{};
    for (Barrier &b : barriers)
        b = Barrier{};
    atomics.clear();
    mbarriers.clear();
    transfers.clear();
    failed_ = false;
    forget_stacks(stacks_, stack_bytes_);
    for (uint32_t i = 0; i < threads.size(); i++) {
        Thread &t = threads[i];
        t.state = State::ready;
        t.index = i;
        t.warp = i / launch.warp_size;
        t.lane = i % launch.warp_size;
        t.copies.clear();
        t.products.clear();
        t.copy_groups = t.product_groups = t.proxy_fences = 0;
        t.stack_pointer = new_stack(stacks_ + kStack * i, enter);
    }
}

void
Block::enter()
{
    Block *const b = block;
    arrive(nullptr, true);
    b->launch.entry(b->launch.params);
    Thread &t = *b->self;
    if (!t.copies.empty())
        b->fail(t.copies.front().where, "asynchronous copy to shared[%u] was never waited for",
                t.copies.front().to);
    if (!t.products.empty())
        b->fail(t.products.front().where, "warpgroup product was never waited for");
    t.state = State::done;
    leave(nullptr, nullptr);
    switch_stack(&t.stack_pointer, b->scheduler_);
}

void
Block::start(Thread &thread)
{
    void *saved = nullptr;
    self = &thread;
    leave(&saved, stacks_ + kStack * thread.index);
    switch_stack(&scheduler_, thread.stack_pointer);
    arrive(saved, false);
}

void
Block::wait(State state, const char *what, Where where)
{
    Thread &t = *self;
    t.state = state;
    t.waits_for = what;
    t.where = where;
    void *saved = nullptr;
    leave(&saved, nullptr);
    switch_stack(&t.stack_pointer, scheduler_);
    arrive(saved, true);
}

/* The first of them counts. */
void
Block::report(uint32_t thread, Where where, const char *text)
{
    const char *slash = strrchr(where.file, '/');
    if (!failed_)
        snprintf(message_, kMessage, "%s block %u thread %u: %s (%s:%d)", launch.name, index,
                 thread, text, slash ? slash + 1 : where.file, where.line);
    failed_ = true;
}

void
Block::fail(Where where, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report(self ? self->index : 0, where, text);
    void *dropped;
    leave(nullptr, nullptr);
    switch_stack(&dropped, scheduler_);
    __builtin_unreachable();
}

void
Block::wake_mbarrier_waiters()
{
    for (Thread &t : threads)
        if (t.state == State::mbarrier)
            t.state = State::ready;
}

/* Copies arrive as late as they may: when nothing else can run. */
bool
Block::deliver()
{
    if (transfers.empty())
        return false;
    const Transfer transfer = std::move(transfers.front());
    transfers.pop_front();
    shared_arrive(transfer);
    return true;
}

/* Nothing can run and not all are done: says who waits for what. */
void
Block::diagnose()
{
    const Thread *waiting = nullptr, *other = nullptr;
    for (const Thread &t : threads)
        if (t.state != State::done && !waiting)
            waiting = &t;
    for (const Thread &t : threads)
        if (t.state == State::done || (t.where.line != waiting->where.line && !other))
            other = &t;
    self = const_cast<Thread *>(waiting);
    const char *kind = waiting->state == State::barrier      ? "divergent barrier"
                       : waiting->state == State::collective ? "lanes missing from an exchange"
                                                             : "deadlock";
    char rest[80] = "", text[160];
    if (other)
        snprintf(rest, sizeof rest, "; thread %u %s%s", other->index,
                 other->state == State::done ? "has ended" : "waits for ",
                 other->state == State::done ? "" : other->waits_for);
    snprintf(text, sizeof text, "%s: waits for %s%s", kind, waiting->waits_for, rest);
    report(waiting->index, waiting->where, text);
}

bool
Block::run(uint32_t block_index, char (&message)[kMessage])
{
    if (!stacks_) {
        snprintf(message, kMessage, "%s: no memory for %u stacks", launch.name, launch.threads);
        return false;
    }
    index = block_index;
    message_ = message;
    block = this;
    reset();
    for (;;) {
        bool ran = false, alive = false;
        for (Thread &t : threads) {
            alive |= t.state != State::done;
            if (t.state != State::ready)
                continue;
            start(t);
            if (failed_)
                return block = nullptr, false;
            ran = true;
        }
        if (!alive && transfers.empty())
            break;
        if (!alive)
            report(transfers.front().thread, transfers.front().where,
                   "bulk copy was never waited for");
        else if (!ran && !deliver())
            diagnose();
        if (failed_)
            return block = nullptr, false;
    }
    block = nullptr;
    return true;
}

bool
run(const Launch &launch, char (&message)[kMessage])
{
    if (launch.threads == 0 || launch.threads % launch.warp_size ||
        launch.threads / launch.warp_size > kMaxWarps) {
        snprintf(message, kMessage, "%s: %u threads a block", launch.name, launch.threads);
        return false;
    }
    Block machine(launch);
    for (uint32_t i = 0; i < launch.grid; i++)
        if (!machine.run(i, message))
            return false;
    return true;
}

} // namespace emu
