// SPDX-License-Identifier: Apache-2.0
/* Prints, as JSON, what the sources say of each kernel of gfx942: its symbol, grid, block, LDS,
 * matrix instructions of one tile, and every field of its argument and of what the argument points
 * to. build-aux/gfx942-objects puts it beside what the compiled code says. */
#include "flash/cuda/plan.h"
#include "flash/cuda/update.h"
#include "rocm_aiter/flash/decode.h"
#include "rocm_aiter/flash/prefill.h"
#include "rocm_aiter/flash/symbol.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace
{

constexpr int kUnits = 304; /* compute units of an MI300X */

/* One struct as a list of fields, those of a struct within it under its name and a dot. A byte
 * that is neither of a field nor alignment is an error: a field was added and not named here. */
class Fields
{
  public:
    explicit Fields(const char *name) : name_(name)
    {
    }
    void add(const char *name, size_t offset, size_t size)
    {
        reach(name, offset, size);
        list_.push_back({name, offset, size});
    }
    void within(const char *name, size_t offset, size_t size, const Fields &inner)
    {
        reach(name, offset, size);
        for (const Field &f : inner.list_)
            list_.push_back({std::string(name) + "." + f.name, offset + f.offset, f.size});
    }
    Fields whole(size_t size)
    {
        reach("its end", size, 0);
        return *this;
    }
    void print() const
    {
        const char *comma = "";
        for (const Field &f : list_) {
            printf("%s\n   {\"name\": \"%s\", \"offset\": %zu, \"size\": %zu}", comma,
                   f.name.c_str(), f.offset, f.size);
            comma = ",";
        }
    }

  private:
    struct Field {
        std::string name;
        size_t offset, size;
    };
    void reach(const char *where, size_t offset, size_t size)
    {
        if (offset < end_ || offset - end_ >= 8) {
            fprintf(stderr, "gfx942-describe: %s: fields do not meet at %s\n", name_, where);
            exit(1);
        }
        end_ = offset + size;
    }
    const char *name_;
    std::vector<Field> list_;
    size_t end_ = 0;
};

#define FIELD(name) f.add(#name, offsetof(S, name), sizeof(S::name));
#define WITHIN(name, inner) f.within(#name, offsetof(S, name), sizeof(S::name), inner());
#define STRUCT(function, type, body)    \
    Fields function()                   \
    {                                   \
        typedef flash::type S;          \
        Fields f(#type);                \
        body return f.whole(sizeof(S)); \
    }

/* clang-format off */
STRUCT(layer_fields, Layer,
    FIELD(num_heads) FIELD(num_kv_heads) FIELD(group) FIELD(d) FIELD(dv)
    FIELD(block_size) FIELD(block_shift) FIELD(causal) FIELD(window_left)
    FIELD(window_right) FIELD(kv_kind) FIELD(scale) FIELD(softcap))
STRUCT(batch_fields, Batch,
    FIELD(query_start) FIELD(seq_lens) FIELD(causal) FIELD(ranges) FIELD(table)
    FIELD(slots) FIELD(table_stride) FIELD(num_reqs) FIELD(num_tokens)
    FIELD(num_ranges) FIELD(cross) FIELD(unused))
STRUCT(item_fields, Item,
    FIELD(req) FIELD(head) FIELD(row) FIELD(key_from) FIELD(key_to) FIELD(split)
    FIELD(splits) FIELD(slot) FIELD(start) FIELD(q) FIELD(s) FIELD(causal)
    FIELD(next) FIELD(unused))
STRUCT(list_fields, List,
    FIELD(items) FIELD(head) FIELD(arrived) FIELD(partial) FIELD(partial_ml)
    FIELD(rows) FIELD(keys) FIELD(grid) FIELD(max_slots))
STRUCT(cache_fields, Cache,
    FIELD(data) FIELD(block) FIELD(token) FIELD(head) FIELD(vector))
STRUCT(plan_fields, Plan,
    WITHIN(layer, layer_fields) WITHIN(batch, batch_fields) FIELD(batch_out)
    WITHIN(decode, list_fields) WITHIN(prefill, list_fields))
STRUCT(forward_fields, Forward,
    WITHIN(layer, layer_fields) FIELD(batch) WITHIN(list, list_fields) FIELD(q)
    FIELD(out) FIELD(lse) FIELD(q_token) FIELD(q_head) FIELD(out_token)
    FIELD(out_head) FIELD(lse_token) FIELD(lse_head) WITHIN(k, cache_fields)
    WITHIN(v, cache_fields) FIELD(k_scale) FIELD(v_scale) FIELD(sinks)
    FIELD(slopes) FIELD(q_vector) FIELD(out_vector) FIELD(early))
STRUCT(update_fields, Update,
    WITHIN(layer, layer_fields) FIELD(batch) FIELD(k) FIELD(v) FIELD(k_token)
    FIELD(k_head) FIELD(v_token) FIELD(v_head) WITHIN(k_cache, cache_fields)
    WITHIN(v_cache, cache_fields) FIELD(k_scale) FIELD(v_scale))
STRUCT(constants_fields, Constants,
    FIELD(sinks) FIELD(slopes) FIELD(sinks_out) FIELD(slopes_out)
    FIELD(sinks_stride) FIELD(slopes_stride) FIELD(num_heads) FIELD(sinks_type))
/* clang-format on */

const char *separator = "";

/* most: blocks on an MI300X. */
template <class K>
void
describe(const std::string &name, const char *grid, int most, uint32_t lds, const Fields &fields)
{
    printf("%s{\"name\": \"%s\",\n \"symbol\": \"%s\",\n", separator, name.c_str(),
           flash::symbol_of<K>().c_str());
    printf(" \"block\": %d, \"grid\": \"%s\", \"grid_mi300x\": %d, \"lds\": %u,\n", K::kThreads,
           grid, most, lds);
    printf(" \"arguments\": [{\"name\": \"params\", \"offset\": 0, \"size\": %zu, \"fields\": [",
           sizeof(typename K::Params));
    fields.print();
    printf("]}],\n \"structs\": {\"Batch\": [");
    batch_fields().print();
    printf("],\n  \"Item\": [");
    item_fields().print();
    printf("]}");
    separator = ",\n";
}

template <class T, class K>
void
describe_main(int dq, int dv)
{
    const std::string type = gpu::Element<T>::is_bf16 ? "_bf16_" : "_f16_";
    describe<K>(K::kName + type + std::to_string(dq) + "_" + std::to_string(dv),
                K::kMinBlocks == 1 ? "compute units" : "2 x compute units", K::kMinBlocks * kUnits,
                K::kSharedBytes, forward_fields());
    printf(",\n \"rows\": %d, \"keys\": %d, \"matrix_rows\": %d, \"mfma_per_tile\": %d,\n"
           " \"exponentials_per_tile\": %d, \"halves\": %d}",
           K::kRows, K::kKeys, K::M, K::kProducts, K::Part::kBlocks * K::Part::R,
           K::kThreads == 512);
}

template <class T, int DQ, int DV>
void
both()
{
    describe_main<T, flash::DecodeKernel<T, DQ, DV>>(DQ, DV);
    describe_main<T, flash::PrefillKernel<T, DQ, DV>>(DQ, DV);
}

template <class T>
void
all()
{
    both<T, 64, 64>();
    both<T, 96, 96>();
    both<T, 128, 128>();
    both<T, 192, 128>();
    both<T, 192, 192>();
    both<T, 256, 256>();
}

/* Those that multiply nothing. */
void
support()
{
    static const char update[] = "smaller of tokens and 4 x compute units";
    describe<flash::PlanKernel>("flash_plan", "1", 1, flash::PlanKernel::kSharedBytes,
                                plan_fields());
    printf("}");
    describe<flash::ConstantsKernel>("flash_constants", "1", 1, 0, constants_fields());
    printf("}");
    describe<flash::UpdateKernel<gpu::bf16>>("flash_update_bf16", update, 4 * kUnits, 0,
                                             update_fields());
    printf("}");
    describe<flash::UpdateKernel<gpu::f16>>("flash_update_f16", update, 4 * kUnits, 0,
                                            update_fields());
    printf("}");
}

} // namespace

int
main()
{
    printf("[");
    all<gpu::bf16>();
    all<gpu::f16>();
    support();
    return printf("]\n") < 0;
}
