/* SPDX-License-Identifier: Apache-2.0 */
/* symbol.h - the name that gpu::kernel<K> has in the code object. Host code; needs <typeinfo>. */
#ifndef ATTN_ROCM_FLASH_SYMBOL_H
#define ATTN_ROCM_FLASH_SYMBOL_H

#include <string>
#include <typeinfo>

namespace flash
{

/* K's own name, in which a second "3gpu" is a substitution, between those of the function and of
 * its argument. */
template <class K>
std::string
symbol_of()
{
    std::string name = typeid(K).name();
    const size_t at = name.find("IN3gpu");
    if (at != std::string::npos)
        name.replace(at, 6, "INS_");
    return "_ZN3gpu6kernelI" + name + "EEvNT_6ParamsE";
}

} // namespace flash

#endif /* ATTN_ROCM_FLASH_SYMBOL_H */
