/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - the emulated GPU: one block at a time, each thread a fiber.
 *
 * Order between threads is tracked with vector clocks, one entry a warp and one an asynchronous
 * agent (a memory barrier that receives copies), so that a race is reported whether or not this
 * run's interleaving shows it. Lanes of one warp are ordered by their warp's own clock. */
#ifndef ATTN_GPU_EMU_MACHINE_H
#define ATTN_GPU_EMU_MACHINE_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace emu
{

/* A place in a kernel's source. */
struct Where {
    const char *file;
    int line;
};
/* As a default argument: the place of the call. */
constexpr Where
here(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    return {file, line};
}
#define EMU_HERE ::emu::here()

constexpr uint32_t kMaxWarps = 32;
constexpr uint32_t kMaxAgents = 2 * kMaxWarps;
constexpr uint32_t kMaxLanes = 64;
constexpr uint32_t kMaxBarriers = 16;
constexpr uint32_t kMessage = 304;

struct Clock {
    uint32_t at[kMaxAgents];
    void join(const Clock &other);
};

/* A kernel launch. params is copied by the caller for as long as it runs. */
struct Launch {
    const char *name;
    uint32_t grid, threads;
    uint32_t shared_bytes;
    uint32_t warp_size; /* 32, or 64 as on gfx942 */
    void (*entry)(const void *params);
    const void *params;
};

/* Runs every block. False: a detector fired, message says kernel, block, thread and place. */
bool run(const Launch &launch, char (&message)[kMessage]);

/* ------------------------------------------------------------ inside run() */

enum class State : uint8_t { ready, collective, barrier, mbarrier, done };

/* A copy that a thread issued and has not waited for. */
struct AsyncCopy {
    const void *from; /* NULL: zeros */
    uint32_t to, bytes, group;
    Where where;
};

/* A warpgroup product that was issued and not waited for: read at the wait, as the hardware may. */
struct AsyncProduct {
    float *acc;
    const uint32_t *a; /* registers, or NULL: desc_a */
    uint64_t desc_a, desc_b;
    uint32_t n, group;
    bool bf16, add, trans_b;
    Where where;
};

struct Thread {
    void *stack_pointer = nullptr;
    State state = State::ready;
    uint32_t index = 0, warp = 0, lane = 0;
    const char *waits_for = "";
    Where where = {"", 0};
    uint32_t wait_address = 0;
    std::vector<AsyncCopy> copies;
    std::vector<AsyncProduct> products;
    uint32_t copy_groups = 0, product_groups = 0;
    uint32_t proxy_fences = 0; /* fence.proxy.async so far */
};

/* Threads that do one thing together: a warp, or a warpgroup. */
struct Collective {
    uint32_t arrived = 0;
    const char *op = nullptr;
    Where where = {"", 0};
    void *slot[128] = {};
};

struct Warp {
    Clock clock = {};
};

struct Barrier {
    uint32_t arrived = 0, expected = 0;
    uint32_t warps = 0;
    Where where[kMaxWarps] = {};
};

/* A barrier object in shared memory with a transaction count. */
struct MemoryBarrier {
    uint32_t address, count;
    int64_t pending, bytes;
    uint32_t phase; /* number of phases completed */
    uint32_t agent, transfers;
    Clock filling, completed;
};

/* A bulk copy under way into shared memory. */
struct Transfer {
    uint32_t barrier; /* index */
    uint32_t to, bytes;
    std::vector<uint8_t> data;
    Where where;
    uint32_t thread; /* that asked for it */
};

/* What is known about two bytes of shared memory. */
struct Cell {
    uint32_t write_clock;
    uint32_t proxy_fences; /* the writer's before it wrote */
    uint8_t agent, lane;
    uint8_t written, pending;
    bool atomic; /* Block::atomics has it */
};

/* Each warp's last access: its clock (0: none) and lane (255: more than one at that clock). */
struct Accesses {
    uint32_t clock[kMaxWarps];
    uint8_t lane[kMaxWarps];
};

class Block
{
  public:
    explicit Block(const Launch &launch);
    ~Block();
    bool run(uint32_t index, char (&message)[kMessage]);

    const Launch &launch;
    uint32_t index = 0;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<Collective> warp_ops, group_ops;
    Barrier barriers[kMaxBarriers];
    std::vector<MemoryBarrier> mbarriers;
    std::deque<Transfer> transfers;
    std::vector<uint8_t> memory;
    std::vector<Cell> cells;
    std::vector<uint32_t> read_clock; /* [cell][warp] */
    std::vector<uint8_t> read_lane;
    std::map<size_t, Accesses> atomics; /* on a cell since it was last written otherwise */
    Thread *self = nullptr;

    /* Stops the running thread until its state is set ready again. */
    void wait(State state, const char *what, Where where);
    /* Ends the launch with this text; does not return. */
    [[noreturn]] void fail(Where where, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
    Warp &warp()
    {
        return warps[self->warp];
    }
    void wake_mbarrier_waiters();

  private:
    void reset();
    void start(Thread &thread);
    bool deliver();
    void diagnose();
    void report(uint32_t thread, Where where, const char *text);
    static void enter();

    void *scheduler_ = nullptr;
    uint8_t *stacks_ = nullptr;
    size_t stack_bytes_ = 0;
    bool failed_ = false;
    char *message_ = nullptr;
};

/* The block that this host thread runs. __thread: constant at its start, so access needs no
 * wrapper. A wrapper's address UBSan tests for null, by flags that the linker's relaxed code does
 * not set. */
extern __thread Block *block;

/* ---------------------------------------------------------- shared memory */

#define EMU_READ 0
#define EMU_WRITE 1

/* Checks one access by `thread` and records it. */
void shared_access(Thread &thread, uint32_t address, uint32_t bytes, int write, Where where);
/* The same for the reads that a product makes through the asynchronous proxy, for the given warps.
 */
void shared_proxy_read(uint32_t first_warp, uint32_t num_warps, uint32_t address, uint32_t bytes,
                       Where where);
/* Fails unless whoever wrote these bytes has made a proxy fence since. */
void shared_fenced(uint32_t address, uint32_t bytes, Where where);
/* Atomics on a word, of which another thread's need no order between; all else does. */
int32_t shared_add(uint32_t address, int32_t n, Where where);
int32_t shared_max(uint32_t address, int32_t n, Where where);
void shared_pending(uint32_t address, uint32_t bytes, Where where);
void shared_arrive(const Transfer &transfer);

template <class T>
T
shared_load(uint32_t address, Where where)
{
    T value;
    shared_access(*block->self, address, sizeof value, EMU_READ, where);
    __builtin_memcpy(&value, block->memory.data() + address, sizeof value);
    return value;
}

template <class T>
void
shared_store(uint32_t address, const T &value, Where where)
{
    shared_access(*block->self, address, sizeof value, EMU_WRITE, where);
    __builtin_memcpy(block->memory.data() + address, &value, sizeof value);
}

/* ------------------------------------------------------- exchange, barrier */

/* Every lane of the warp (threads of the warpgroup) calls with the same op and its own slot; the
 * last one to come runs `act` on all slots, lane by lane. */
typedef void (*Act)(void **slots, uint32_t count, Where where);
void warp_together(const char *op, void *slot, Act act, Where where);
void group_together(const char *op, void *slot, Act act, Where where);
void warp_sync(Where where);
void barrier_sync(uint32_t id, uint32_t count, Where where);
void barrier_arrive(uint32_t id, uint32_t count, Where where);

/* -------------------------------------------------------- asynchronous copy */

void copy_async(uint32_t to, const void *from, uint32_t bytes, bool valid, Where where);
void copy_commit();
void copy_wait(uint32_t pending);

/* ----------------------------------------------------------- global memory */

void *memory_alloc(size_t bytes);
bool memory_free(void *memory);
uint64_t memory_used();
/* The live allocation that holds [address, address + bytes), or false. */
bool memory_holds(const void *address, size_t bytes);
void global_check(const void *address, size_t bytes, int write, Where where);

} // namespace emu

#endif /* ATTN_GPU_EMU_MACHINE_H */
