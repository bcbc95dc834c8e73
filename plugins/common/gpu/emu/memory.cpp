// SPDX-License-Identifier: Apache-2.0
#include "common/gpu/emu/machine.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace emu
{

static std::mutex lock;
static std::map<uintptr_t, size_t> ranges; /* bytes */
static uint64_t used;
static uint64_t changes; /* invalidates each thread's last hit */

void *
memory_alloc(size_t bytes)
{
    const size_t size = (bytes + 255) / 256 * 256;
    void *memory = aligned_alloc(256, size ? size : 256);
    if (!memory)
        return nullptr;
    memset(memory, 0xCB, size ? size : 256);
    std::lock_guard<std::mutex> hold(lock);
    ranges[reinterpret_cast<uintptr_t>(memory)] = bytes;
    used += bytes;
    changes++;
    return memory;
}

bool
memory_free(void *memory)
{
    std::lock_guard<std::mutex> hold(lock);
    auto it = ranges.find(reinterpret_cast<uintptr_t>(memory));
    if (it == ranges.end())
        return false;
    used -= it->second;
    ranges.erase(it);
    changes++;
    free(memory);
    return true;
}

uint64_t
memory_used()
{
    std::lock_guard<std::mutex> hold(lock);
    return used;
}

bool
memory_holds(const void *address, size_t bytes)
{
    static thread_local uintptr_t last_from, last_to;
    static thread_local uint64_t last_change = ~uint64_t{0};
    const uintptr_t from = reinterpret_cast<uintptr_t>(address);
    if (last_change == __atomic_load_n(&changes, __ATOMIC_RELAXED) && from >= last_from &&
        from + bytes <= last_to)
        return true;
    std::lock_guard<std::mutex> hold(lock);
    auto it = ranges.upper_bound(from);
    if (it == ranges.begin())
        return false;
    --it;
    if (from + bytes > it->first + it->second)
        return false;
    last_from = it->first;
    last_to = it->first + it->second;
    last_change = changes;
    return true;
}

void
global_check(const void *address, size_t bytes, int write, Where where)
{
    if (reinterpret_cast<uintptr_t>(address) % bytes)
        block->fail(where, "global %s of %zu bytes at %p: misaligned", write ? "write" : "read",
                    bytes, address);
    if (!memory_holds(address, bytes))
        block->fail(where, "global %s of %zu bytes at %p: out of bounds of any buffer",
                    write ? "write" : "read", bytes, address);
}

} // namespace emu
