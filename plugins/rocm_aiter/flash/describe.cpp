// SPDX-License-Identifier: Apache-2.0
/* Prints, as JSON, what the sources say of each kernel of gfx942: its symbol, block, LDS, matrix
 * instructions of one tile, and the fields of its argument. build-aux/gfx942-objects puts it beside
 * what the compiled code says. */
#include "rocm_aiter/flash/decode.h"
#include "rocm_aiter/flash/prefill.h"

#include <cstddef>
#include <cstdio>

namespace
{

#define FIELD(name)                                                         \
    {                                                                       \
#name, offsetof(flash::Forward, name), sizeof(flash::Forward::name) \
    }
const struct {
    const char *name;
    size_t offset, size;
} fields[] = {
    FIELD(layer),     FIELD(batch),    FIELD(list),   FIELD(q),         FIELD(out),
    FIELD(lse),       FIELD(q_token),  FIELD(q_head), FIELD(out_token), FIELD(out_head),
    FIELD(lse_token), FIELD(lse_head), FIELD(k),      FIELD(v),         FIELD(k_scale),
    FIELD(v_scale),   FIELD(sinks),    FIELD(slopes), FIELD(q_vector),  FIELD(out_vector),
    FIELD(early),
};

const char *separator = "";

/* name: of the kernel's template as symbols have it, its length first. */
template <class T, class K>
void
describe(int dq, int dv, const char *name)
{
    const char *type = gpu::Element<T>::is_bf16 ? "4bf16" : "3f16";
    printf("%s{\"name\": \"%s_%s_%d_%d\",\n \"symbol\": "
           "\"_ZN3gpu6kernelIN5flash%sINS_%sELi%dELi%dEEEEEvNT_6ParamsE\",\n",
           separator, K::kName, type + 1, dq, dv, name, type, dq, dv);
    printf(" \"block\": %d, \"grid\": \"compute units x resident blocks\", \"lds\": %u,\n"
           " \"rows\": %d, \"keys\": %d, \"matrix_rows\": %d, \"mfma_per_tile\": %d,\n"
           " \"exponentials_per_tile\": %d, \"halves\": %d,\n",
           K::kThreads, K::kSharedBytes, K::kRows, K::kKeys, K::M, K::kProducts,
           K::Part::kBlocks * K::Part::R, K::kThreads == 512);
    printf(" \"arguments\": [{\"name\": \"params\", \"offset\": 0, \"size\": %zu,\n  \"fields\": [",
           sizeof(flash::Forward));
    const char *comma = "";
    for (const auto &f : fields) {
        printf("%s{\"name\": \"%s\", \"offset\": %zu, \"size\": %zu}", comma, f.name, f.offset,
               f.size);
        comma = ",\n   ";
    }
    printf("]}]}");
    separator = ",\n";
}

template <class T, int DQ, int DV>
void
both()
{
    describe<T, flash::DecodeKernel<T, DQ, DV>>(DQ, DV, "12DecodeKernel");
    describe<T, flash::PrefillKernel<T, DQ, DV>>(DQ, DV, "13PrefillKernel");
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

} // namespace

int
main()
{
    printf("[");
    all<gpu::bf16>();
    all<gpu::f16>();
    return printf("]\n") < 0;
}
