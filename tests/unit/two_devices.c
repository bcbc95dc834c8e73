/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin of a machine with three devices, two of them its backend's. It
 * computes nothing; a context is the address of its device's number.
 * TWO_DEVICES_BROKEN: 1 the first of the two does not answer, 2 the second,
 * 3 neither. */
#include <attn/simple.h>

#include "mock_device.h"

static const attn_device devices[] = {
    {ATTN_DEVICE_EXT, 4}, {ATTN_DEVICE_CUDA, 0}, {ATTN_DEVICE_EXT, 6}};
static const char *const names[] = {"mock one", "stranger", "mock two"};

static attn_status
count(uint32_t *number, attn_error *err)
{
    (void)err;
    *number = 3;
    return ATTN_OK;
}

static attn_status
info(uint32_t index, attn_device_info *to, attn_error *err)
{
    const char *broken = getenv("TWO_DEVICES_BROKEN");
    if (broken && atoi(broken) >> index / 2 & 1 && index != 1)
        return attn_fail(err, ATTN_E_DEVICE, "device", "fell off the bus");
    to->device = devices[index];
    attn_text_copy(to->name, sizeof to->name, names[index]);
    attn_text_copy(to->arch, sizeof to->arch, "mock");
    return ATTN_OK;
}

static const void *
get_extension(const char *id)
{
    static attn_device_service service;
    service = mock_service;
    service.count = count;
    service.info = info;
    return strcmp(id, ATTN_DEVICE_SERVICE) ? NULL : &service;
}

static attn_status
open_device(attn_device device, attn_ctx **ctx, attn_error *err)
{
    static int32_t ids[8];
    (void)err;
    ids[device.id] = device.id;
    *ctx = (attn_ctx *)(void *)&ids[device.id];
    return ATTN_OK;
}

static attn_status
forward(attn_builder *builder, const attn_head *args, attn_error *err)
{
    (void)builder, (void)args;
    return attn_fail(err, ATTN_E_INTERNAL, "forward", "computes nothing");
}

static const attn_op op = {ATTN_SIMPLE_FLASH_OP, .forward = forward};
static const attn_caps caps = {.struct_size = sizeof caps,
                               .features = ATTN_F_CAUSAL | ATTN_F_LSE,
                               ATTN_SIMPLE_ARCHS("*")};
static const attn_backend mock = {.struct_size = sizeof mock,
                                  .device_type = ATTN_DEVICE_EXT,
                                  .name = "mock.two",
                                  .summary = "on two devices",
                                  .family = ATTN_FAMILY_FLASH,
                                  .op = &op,
                                  ATTN_SIMPLE_CAPS(&caps)};
static const attn_backend *const backends[] = {&mock};
static const attn_plugin plugin = {.struct_size = sizeof plugin,
                                   .id = "org.libattn.test.two",
                                   .version = "1",
                                   .vendor = "",
                                   .url = "",
                                   .license = "Apache-2.0",
                                   .backends = backends,
                                   .num_backends = 1,
                                   .get_extension = get_extension,
                                   .init = attn_simple_init,
                                   .shutdown = attn_simple_shutdown,
                                   .open = open_device,
                                   .close = attn_simple_close};

ATTN_PLUGIN_NOTE("org.libattn.test.two", "1", "mock", "mock.two");
ATTN_PLUGIN_ENTRY(plugin)
