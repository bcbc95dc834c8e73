/* SPDX-License-Identifier: 0BSD */
/* attn/abi_layout.h - the layout of ABI 1.0, field by field.
 *
 * Written by build-aux/gen-layout.py at a release; afterwards
 * lines are only added. Compiled as C and C++ by the tests. */
#ifndef ATTN_ABI_LAYOUT_H
#define ATTN_ABI_LAYOUT_H

#include <attn/plugin.h>

#ifdef __cplusplus
#define ATTN_LAYOUT_(c) static_assert(c, #c)
#else
#define ATTN_LAYOUT_(c) _Static_assert(c, #c)
#endif
#define ATTN_AT(t, f, o) ATTN_LAYOUT_(offsetof(t, f) == (o))
/* One that grows at its end, and the constant a reader compares with. */
#define ATTN_SIZE(t, first, n) ATTN_LAYOUT_(sizeof(t) >= (n) && first == (n))
#define ATTN_FROZEN(t, n) ATTN_LAYOUT_(sizeof(t) == (n))

ATTN_FROZEN(attn_error, 384);
ATTN_AT(attn_error, struct_size, 0);
ATTN_AT(attn_error, status, 4);
ATTN_AT(attn_error, native, 8);
ATTN_AT(attn_error, where, 16);
ATTN_AT(attn_error, message, 80);

ATTN_FROZEN(attn_device, 8);
ATTN_AT(attn_device, type, 0);
ATTN_AT(attn_device, id, 4);

ATTN_FROZEN(attn_dtype, 4);
ATTN_AT(attn_dtype, code, 0);
ATTN_AT(attn_dtype, bits, 1);
ATTN_AT(attn_dtype, lanes, 2);

ATTN_FROZEN(attn_tensor, 48);
ATTN_AT(attn_tensor, data, 0);
ATTN_AT(attn_tensor, device, 8);
ATTN_AT(attn_tensor, ndim, 16);
ATTN_AT(attn_tensor, dtype, 20);
ATTN_AT(attn_tensor, shape, 24);
ATTN_AT(attn_tensor, strides, 32);
ATTN_AT(attn_tensor, byte_offset, 40);

ATTN_FROZEN(attn_stream, 24);
ATTN_AT(attn_stream, handle, 0);
ATTN_AT(attn_stream, device, 8);
ATTN_AT(attn_stream, capturing, 16);
ATTN_AT(attn_stream, reserved, 20);

ATTN_FROZEN(attn_ext, 24);
ATTN_AT(attn_ext, struct_size, 0);
ATTN_AT(attn_ext, reserved, 4);
ATTN_AT(attn_ext, id, 8);
ATTN_AT(attn_ext, next, 16);

ATTN_SIZE(attn_batch, ATTN_BATCH_SIZE_1_0, 104);
ATTN_AT(attn_batch, struct_size, 0);
ATTN_AT(attn_batch, flags, 4);
ATTN_AT(attn_batch, num_reqs, 8);
ATTN_AT(attn_batch, num_tokens, 12);
ATTN_AT(attn_batch, max_query_len, 16);
ATTN_AT(attn_batch, max_seq_len, 20);
ATTN_AT(attn_batch, query_start_loc_state, 24);
ATTN_AT(attn_batch, seq_lens_state, 28);
ATTN_AT(attn_batch, query_start_loc, 32);
ATTN_AT(attn_batch, seq_lens, 40);
ATTN_AT(attn_batch, is_prefilling, 48);
ATTN_AT(attn_batch, num_prompt_tokens, 56);
ATTN_AT(attn_batch, causal, 64);
ATTN_AT(attn_batch, query_start_loc_device, 72);
ATTN_AT(attn_batch, seq_lens_device, 80);
ATTN_AT(attn_batch, causal_device, 88);
ATTN_AT(attn_batch, ext, 96);

ATTN_SIZE(attn_kv_group, ATTN_KV_GROUP_SIZE_1_0, 72);
ATTN_AT(attn_kv_group, struct_size, 0);
ATTN_AT(attn_kv_group, flags, 4);
ATTN_AT(attn_kv_group, block_size, 8);
ATTN_AT(attn_kv_group, num_blocks, 12);
ATTN_AT(attn_kv_group, block_table_cols, 16);
ATTN_AT(attn_kv_group, reserved, 20);
ATTN_AT(attn_kv_group, block_table_stride, 24);
ATTN_AT(attn_kv_group, block_table, 32);
ATTN_AT(attn_kv_group, slot_mapping, 40);
ATTN_AT(attn_kv_group, block_table_device, 48);
ATTN_AT(attn_kv_group, slot_mapping_device, 56);
ATTN_AT(attn_kv_group, ext, 64);

ATTN_SIZE(attn_ext_prefix_ranges, ATTN_EXT_PREFIX_RANGES_SIZE_1_0, 48);
ATTN_AT(attn_ext_prefix_ranges, head, 0);
ATTN_AT(attn_ext_prefix_ranges, max_ranges, 24);
ATTN_AT(attn_ext_prefix_ranges, reserved, 28);
ATTN_AT(attn_ext_prefix_ranges, ranges, 32);
ATTN_AT(attn_ext_prefix_ranges, ranges_device, 40);

ATTN_SIZE(attn_ext_context_parallel, ATTN_EXT_CONTEXT_PARALLEL_SIZE_1_0, 56);
ATTN_AT(attn_ext_context_parallel, head, 0);
ATTN_AT(attn_ext_context_parallel, world, 24);
ATTN_AT(attn_ext_context_parallel, rank, 28);
ATTN_AT(attn_ext_context_parallel, interleave, 32);
ATTN_AT(attn_ext_context_parallel, reserved, 36);
ATTN_AT(attn_ext_context_parallel, local_seq_lens, 40);
ATTN_AT(attn_ext_context_parallel, local_seq_lens_device, 48);

ATTN_SIZE(attn_ext_state, ATTN_EXT_STATE_SIZE_1_0, 80);
ATTN_AT(attn_ext_state, head, 0);
ATTN_AT(attn_ext_state, max_checkpoints, 24);
ATTN_AT(attn_ext_state, checkpoint_interval, 28);
ATTN_AT(attn_ext_state, has_initial_state, 32);
ATTN_AT(attn_ext_state, num_accepted_tokens, 40);
ATTN_AT(attn_ext_state, checkpoint_slots, 48);
ATTN_AT(attn_ext_state, has_initial_state_device, 56);
ATTN_AT(attn_ext_state, num_accepted_tokens_device, 64);
ATTN_AT(attn_ext_state, checkpoint_slots_device, 72);

ATTN_FROZEN(attn_layer, 24);
ATTN_AT(attn_layer, struct_size, 0);
ATTN_AT(attn_layer, reserved, 4);
ATTN_AT(attn_layer, family, 8);
ATTN_AT(attn_layer, features, 16);

ATTN_SIZE(attn_flash_layer, ATTN_FLASH_LAYER_SIZE_1_0, 112);
ATTN_AT(attn_flash_layer, head, 0);
ATTN_AT(attn_flash_layer, num_heads, 24);
ATTN_AT(attn_flash_layer, num_kv_heads, 28);
ATTN_AT(attn_flash_layer, head_dim, 32);
ATTN_AT(attn_flash_layer, head_dim_v, 36);
ATTN_AT(attn_flash_layer, block_size, 40);
ATTN_AT(attn_flash_layer, causal, 44);
ATTN_AT(attn_flash_layer, q_dtype, 48);
ATTN_AT(attn_flash_layer, kv_dtype, 52);
ATTN_AT(attn_flash_layer, out_dtype, 56);
ATTN_AT(attn_flash_layer, scale, 60);
ATTN_AT(attn_flash_layer, softcap, 64);
ATTN_AT(attn_flash_layer, window_left, 68);
ATTN_AT(attn_flash_layer, window_right, 72);
ATTN_AT(attn_flash_layer, reserved0, 76);
ATTN_AT(attn_flash_layer, reserved, 80);

ATTN_SIZE(attn_mla_layer, ATTN_MLA_LAYER_SIZE_1_0, 104);
ATTN_AT(attn_mla_layer, head, 0);
ATTN_AT(attn_mla_layer, num_heads, 24);
ATTN_AT(attn_mla_layer, qk_nope_head_dim, 28);
ATTN_AT(attn_mla_layer, qk_rope_head_dim, 32);
ATTN_AT(attn_mla_layer, v_head_dim, 36);
ATTN_AT(attn_mla_layer, kv_lora_rank, 40);
ATTN_AT(attn_mla_layer, block_size, 44);
ATTN_AT(attn_mla_layer, causal, 48);
ATTN_AT(attn_mla_layer, q_dtype, 52);
ATTN_AT(attn_mla_layer, kv_dtype, 56);
ATTN_AT(attn_mla_layer, out_dtype, 60);
ATTN_AT(attn_mla_layer, weight_dtype, 64);
ATTN_AT(attn_mla_layer, scale, 68);
ATTN_AT(attn_mla_layer, reserved, 72);

ATTN_SIZE(attn_mamba2_layer, ATTN_MAMBA2_LAYER_SIZE_1_0, 104);
ATTN_AT(attn_mamba2_layer, head, 0);
ATTN_AT(attn_mamba2_layer, num_heads, 24);
ATTN_AT(attn_mamba2_layer, head_dim, 28);
ATTN_AT(attn_mamba2_layer, num_groups, 32);
ATTN_AT(attn_mamba2_layer, state_dim, 36);
ATTN_AT(attn_mamba2_layer, conv_width, 40);
ATTN_AT(attn_mamba2_layer, chunk_size, 44);
ATTN_AT(attn_mamba2_layer, activation, 48);
ATTN_AT(attn_mamba2_layer, dt_softplus, 52);
ATTN_AT(attn_mamba2_layer, x_dtype, 56);
ATTN_AT(attn_mamba2_layer, conv_state_dtype, 60);
ATTN_AT(attn_mamba2_layer, ssm_state_dtype, 64);
ATTN_AT(attn_mamba2_layer, out_dtype, 68);
ATTN_AT(attn_mamba2_layer, reserved, 72);

ATTN_SIZE(attn_mamba1_layer, ATTN_MAMBA1_LAYER_SIZE_1_0, 96);
ATTN_AT(attn_mamba1_layer, head, 0);
ATTN_AT(attn_mamba1_layer, num_channels, 24);
ATTN_AT(attn_mamba1_layer, state_dim, 28);
ATTN_AT(attn_mamba1_layer, conv_width, 32);
ATTN_AT(attn_mamba1_layer, activation, 36);
ATTN_AT(attn_mamba1_layer, dt_softplus, 40);
ATTN_AT(attn_mamba1_layer, x_dtype, 44);
ATTN_AT(attn_mamba1_layer, conv_state_dtype, 48);
ATTN_AT(attn_mamba1_layer, ssm_state_dtype, 52);
ATTN_AT(attn_mamba1_layer, out_dtype, 56);
ATTN_AT(attn_mamba1_layer, reserved0, 60);
ATTN_AT(attn_mamba1_layer, reserved, 64);

ATTN_FROZEN(attn_range, 12);
ATTN_AT(attn_range, lo, 0);
ATTN_AT(attn_range, hi, 4);
ATTN_AT(attn_range, step, 8);

ATTN_FROZEN(attn_dim_claim, 24);
ATTN_AT(attn_dim_claim, name, 0);
ATTN_AT(attn_dim_claim, range, 8);
ATTN_AT(attn_dim_claim, reserved, 20);

ATTN_FROZEN(attn_dtype_claim, 16);
ATTN_AT(attn_dtype_claim, name, 0);
ATTN_AT(attn_dtype_claim, dtype, 8);
ATTN_AT(attn_dtype_claim, reserved, 12);

ATTN_SIZE(attn_caps, ATTN_CAPS_SIZE_1_0, 104);
ATTN_AT(attn_caps, struct_size, 0);
ATTN_AT(attn_caps, capture, 4);
ATTN_AT(attn_caps, features, 8);
ATTN_AT(attn_caps, properties, 16);
ATTN_AT(attn_caps, max_seq_len, 24);
ATTN_AT(attn_caps, archs, 32);
ATTN_AT(attn_caps, dims, 40);
ATTN_AT(attn_caps, dtypes, 48);
ATTN_AT(attn_caps, num_archs, 56);
ATTN_AT(attn_caps, num_dims, 60);
ATTN_AT(attn_caps, num_dtypes, 64);
ATTN_AT(attn_caps, reserved0, 68);
ATTN_AT(attn_caps, reserved, 72);

ATTN_SIZE(attn_reasons, ATTN_REASONS_SIZE_1_0, 32);
ATTN_AT(attn_reasons, struct_size, 0);
ATTN_AT(attn_reasons, count, 4);
ATTN_AT(attn_reasons, buf, 8);
ATTN_AT(attn_reasons, capacity, 16);
ATTN_AT(attn_reasons, used, 24);

ATTN_FROZEN(attn_cache_spec, 104);
ATTN_AT(attn_cache_spec, name, 0);
ATTN_AT(attn_cache_spec, dtype, 16);
ATTN_AT(attn_cache_spec, ndim, 20);
ATTN_AT(attn_cache_spec, shape, 24);
ATTN_AT(attn_cache_spec, strides, 56);
ATTN_AT(attn_cache_spec, bytes_per_block, 88);
ATTN_AT(attn_cache_spec, alignment, 96);

ATTN_SIZE(attn_kv_spec, ATTN_KV_SPEC_SIZE_1_0, 440);
ATTN_AT(attn_kv_spec, struct_size, 0);
ATTN_AT(attn_kv_spec, num_caches, 4);
ATTN_AT(attn_kv_spec, block_sizes, 8);
ATTN_AT(attn_kv_spec, preferred_block_size, 20);
ATTN_AT(attn_kv_spec, caches, 24);

ATTN_SIZE(attn_limits, ATTN_LIMITS_SIZE_1_0, 40);
ATTN_AT(attn_limits, struct_size, 0);
ATTN_AT(attn_limits, max_reqs, 4);
ATTN_AT(attn_limits, max_tokens, 8);
ATTN_AT(attn_limits, max_query_len, 12);
ATTN_AT(attn_limits, max_seq_len, 16);
ATTN_AT(attn_limits, max_blocks_per_req, 20);
ATTN_AT(attn_limits, num_threads, 24);
ATTN_AT(attn_limits, steps_in_flight, 28);
ATTN_AT(attn_limits, capture, 32);
ATTN_AT(attn_limits, reserved, 36);

ATTN_SIZE(attn_workspace, ATTN_WORKSPACE_SIZE_1_0, 56);
ATTN_AT(attn_workspace, struct_size, 0);
ATTN_AT(attn_workspace, reserved, 4);
ATTN_AT(attn_workspace, host_bytes, 8);
ATTN_AT(attn_workspace, host_align, 16);
ATTN_AT(attn_workspace, pinned_bytes, 24);
ATTN_AT(attn_workspace, pinned_align, 32);
ATTN_AT(attn_workspace, device_bytes, 40);
ATTN_AT(attn_workspace, device_align, 48);

ATTN_SIZE(attn_binding, ATTN_BINDING_SIZE_1_0, 32);
ATTN_AT(attn_binding, struct_size, 0);
ATTN_AT(attn_binding, reserved, 4);
ATTN_AT(attn_binding, host, 8);
ATTN_AT(attn_binding, pinned, 16);
ATTN_AT(attn_binding, device, 24);

ATTN_FROZEN(attn_head, 8);
ATTN_AT(attn_head, struct_size, 0);
ATTN_AT(attn_head, reserved, 4);

ATTN_SIZE(attn_flash_constants, ATTN_FLASH_CONSTANTS_SIZE_1_0, 24);
ATTN_AT(attn_flash_constants, head, 0);
ATTN_AT(attn_flash_constants, sinks, 8);
ATTN_AT(attn_flash_constants, alibi_slopes, 16);

ATTN_SIZE(attn_mla_constants, ATTN_MLA_CONSTANTS_SIZE_1_0, 24);
ATTN_AT(attn_mla_constants, head, 0);
ATTN_AT(attn_mla_constants, w_uk, 8);
ATTN_AT(attn_mla_constants, w_uv, 16);

ATTN_SIZE(attn_mamba_constants, ATTN_MAMBA_CONSTANTS_SIZE_1_0, 48);
ATTN_AT(attn_mamba_constants, head, 0);
ATTN_AT(attn_mamba_constants, conv_weight, 8);
ATTN_AT(attn_mamba_constants, conv_bias, 16);
ATTN_AT(attn_mamba_constants, a, 24);
ATTN_AT(attn_mamba_constants, d, 32);
ATTN_AT(attn_mamba_constants, dt_bias, 40);

ATTN_SIZE(attn_flash_update, ATTN_FLASH_UPDATE_SIZE_1_0, 80);
ATTN_AT(attn_flash_update, head, 0);
ATTN_AT(attn_flash_update, stream, 8);
ATTN_AT(attn_flash_update, k, 32);
ATTN_AT(attn_flash_update, v, 40);
ATTN_AT(attn_flash_update, k_cache, 48);
ATTN_AT(attn_flash_update, v_cache, 56);
ATTN_AT(attn_flash_update, k_scale, 64);
ATTN_AT(attn_flash_update, v_scale, 72);

ATTN_SIZE(attn_mla_update, ATTN_MLA_UPDATE_SIZE_1_0, 64);
ATTN_AT(attn_mla_update, head, 0);
ATTN_AT(attn_mla_update, stream, 8);
ATTN_AT(attn_mla_update, latent, 32);
ATTN_AT(attn_mla_update, k_pe, 40);
ATTN_AT(attn_mla_update, kv_cache, 48);
ATTN_AT(attn_mla_update, kv_scale, 56);

ATTN_SIZE(attn_flash_forward, ATTN_FLASH_FORWARD_SIZE_1_0, 96);
ATTN_AT(attn_flash_forward, head, 0);
ATTN_AT(attn_flash_forward, stream, 8);
ATTN_AT(attn_flash_forward, layer, 32);
ATTN_AT(attn_flash_forward, q, 40);
ATTN_AT(attn_flash_forward, k_cache, 48);
ATTN_AT(attn_flash_forward, v_cache, 56);
ATTN_AT(attn_flash_forward, k_scale, 64);
ATTN_AT(attn_flash_forward, v_scale, 72);
ATTN_AT(attn_flash_forward, out, 80);
ATTN_AT(attn_flash_forward, lse, 88);

ATTN_SIZE(attn_mla_forward, ATTN_MLA_FORWARD_SIZE_1_0, 88);
ATTN_AT(attn_mla_forward, head, 0);
ATTN_AT(attn_mla_forward, stream, 8);
ATTN_AT(attn_mla_forward, layer, 32);
ATTN_AT(attn_mla_forward, q_nope, 40);
ATTN_AT(attn_mla_forward, q_pe, 48);
ATTN_AT(attn_mla_forward, kv_cache, 56);
ATTN_AT(attn_mla_forward, kv_scale, 64);
ATTN_AT(attn_mla_forward, out, 72);
ATTN_AT(attn_mla_forward, lse, 80);

ATTN_SIZE(attn_mamba2_forward, ATTN_MAMBA2_FORWARD_SIZE_1_0, 88);
ATTN_AT(attn_mamba2_forward, head, 0);
ATTN_AT(attn_mamba2_forward, stream, 8);
ATTN_AT(attn_mamba2_forward, layer, 32);
ATTN_AT(attn_mamba2_forward, xbc, 40);
ATTN_AT(attn_mamba2_forward, dt, 48);
ATTN_AT(attn_mamba2_forward, z, 56);
ATTN_AT(attn_mamba2_forward, conv_state, 64);
ATTN_AT(attn_mamba2_forward, ssm_state, 72);
ATTN_AT(attn_mamba2_forward, out, 80);

ATTN_SIZE(attn_mamba1_forward, ATTN_MAMBA1_FORWARD_SIZE_1_0, 104);
ATTN_AT(attn_mamba1_forward, head, 0);
ATTN_AT(attn_mamba1_forward, stream, 8);
ATTN_AT(attn_mamba1_forward, layer, 32);
ATTN_AT(attn_mamba1_forward, x, 40);
ATTN_AT(attn_mamba1_forward, dt, 48);
ATTN_AT(attn_mamba1_forward, b, 56);
ATTN_AT(attn_mamba1_forward, c, 64);
ATTN_AT(attn_mamba1_forward, z, 72);
ATTN_AT(attn_mamba1_forward, conv_state, 80);
ATTN_AT(attn_mamba1_forward, ssm_state, 88);
ATTN_AT(attn_mamba1_forward, out, 96);

ATTN_SIZE(attn_op, ATTN_OP_SIZE_1_0, 96);
ATTN_AT(attn_op, struct_size, 0);
ATTN_AT(attn_op, reserved, 4);
ATTN_AT(attn_op, check, 8);
ATTN_AT(attn_op, kv_spec, 16);
ATTN_AT(attn_op, builder_create, 24);
ATTN_AT(attn_op, workspace, 32);
ATTN_AT(attn_op, bind, 40);
ATTN_AT(attn_op, layer_bytes, 48);
ATTN_AT(attn_op, layer_prepare, 56);
ATTN_AT(attn_op, build, 64);
ATTN_AT(attn_op, update_cache, 72);
ATTN_AT(attn_op, forward, 80);
ATTN_AT(attn_op, builder_destroy, 88);

ATTN_SIZE(attn_backend, ATTN_BACKEND_SIZE_1_0, 56);
ATTN_AT(attn_backend, struct_size, 0);
ATTN_AT(attn_backend, device_type, 4);
ATTN_AT(attn_backend, name, 8);
ATTN_AT(attn_backend, summary, 16);
ATTN_AT(attn_backend, family, 24);
ATTN_AT(attn_backend, op, 32);
ATTN_AT(attn_backend, caps, 40);
ATTN_AT(attn_backend, num_caps, 48);
ATTN_AT(attn_backend, reserved, 52);

ATTN_SIZE(attn_device_info, ATTN_DEVICE_INFO_SIZE_1_0, 120);
ATTN_AT(attn_device_info, struct_size, 0);
ATTN_AT(attn_device_info, device, 4);
ATTN_AT(attn_device_info, reserved, 12);
ATTN_AT(attn_device_info, name, 16);
ATTN_AT(attn_device_info, arch, 80);
ATTN_AT(attn_device_info, total_bytes, 112);

ATTN_SIZE(attn_device_service, ATTN_DEVICE_SERVICE_SIZE_1_0, 160);
ATTN_AT(attn_device_service, struct_size, 0);
ATTN_AT(attn_device_service, reserved, 4);
ATTN_AT(attn_device_service, count, 8);
ATTN_AT(attn_device_service, info, 16);
ATTN_AT(attn_device_service, memory_info, 24);
ATTN_AT(attn_device_service, alloc, 32);
ATTN_AT(attn_device_service, free, 40);
ATTN_AT(attn_device_service, copy, 48);
ATTN_AT(attn_device_service, fill, 56);
ATTN_AT(attn_device_service, stream_create, 64);
ATTN_AT(attn_device_service, stream_synchronize, 72);
ATTN_AT(attn_device_service, stream_destroy, 80);
ATTN_AT(attn_device_service, event_create, 88);
ATTN_AT(attn_device_service, event_record, 96);
ATTN_AT(attn_device_service, event_wait, 104);
ATTN_AT(attn_device_service, event_elapsed, 112);
ATTN_AT(attn_device_service, event_destroy, 120);
ATTN_AT(attn_device_service, graph_begin, 128);
ATTN_AT(attn_device_service, graph_end, 136);
ATTN_AT(attn_device_service, graph_launch, 144);
ATTN_AT(attn_device_service, graph_destroy, 152);

ATTN_SIZE(attn_host, ATTN_HOST_SIZE_1_0, 56);
ATTN_AT(attn_host, struct_size, 0);
ATTN_AT(attn_host, reserved, 4);
ATTN_AT(attn_host, impl, 8);
ATTN_AT(attn_host, name, 16);
ATTN_AT(attn_host, version, 24);
ATTN_AT(attn_host, log, 32);
ATTN_AT(attn_host, parallel_for, 40);
ATTN_AT(attn_host, get_extension, 48);

ATTN_SIZE(attn_option, ATTN_OPTION_SIZE_1_0, 56);
ATTN_AT(attn_option, struct_size, 0);
ATTN_AT(attn_option, type, 4);
ATTN_AT(attn_option, name, 8);
ATTN_AT(attn_option, value, 16);
ATTN_AT(attn_option, choices, 24);
ATTN_AT(attn_option, lo, 32);
ATTN_AT(attn_option, hi, 40);
ATTN_AT(attn_option, help, 48);

ATTN_FROZEN(attn_key_value, 16);
ATTN_AT(attn_key_value, key, 0);
ATTN_AT(attn_key_value, value, 8);

ATTN_SIZE(attn_plugin, ATTN_PLUGIN_SIZE_1_0, 112);
ATTN_AT(attn_plugin, struct_size, 0);
ATTN_AT(attn_plugin, flags, 4);
ATTN_AT(attn_plugin, id, 8);
ATTN_AT(attn_plugin, version, 16);
ATTN_AT(attn_plugin, vendor, 24);
ATTN_AT(attn_plugin, url, 32);
ATTN_AT(attn_plugin, license, 40);
ATTN_AT(attn_plugin, backends, 48);
ATTN_AT(attn_plugin, options, 56);
ATTN_AT(attn_plugin, num_backends, 64);
ATTN_AT(attn_plugin, num_options, 68);
ATTN_AT(attn_plugin, get_extension, 72);
ATTN_AT(attn_plugin, init, 80);
ATTN_AT(attn_plugin, shutdown, 88);
ATTN_AT(attn_plugin, open, 96);
ATTN_AT(attn_plugin, close, 104);

ATTN_FROZEN(attn_handshake, 96);
ATTN_AT(attn_handshake, magic, 0);
ATTN_AT(attn_handshake, size, 4);
ATTN_AT(attn_handshake, host_major_lo, 8);
ATTN_AT(attn_handshake, host_major_hi, 10);
ATTN_AT(attn_handshake, host_minor, 12);
ATTN_AT(attn_handshake, host_flags, 14);
ATTN_AT(attn_handshake, plugin_major_lo, 16);
ATTN_AT(attn_handshake, plugin_major_hi, 18);
ATTN_AT(attn_handshake, plugin_minor, 20);
ATTN_AT(attn_handshake, need_minor, 22);
ATTN_AT(attn_handshake, chosen_major, 24);
ATTN_AT(attn_handshake, accepted, 26);
ATTN_AT(attn_handshake, reserved16, 28);
ATTN_AT(attn_handshake, host, 32);
ATTN_AT(attn_handshake, plugin, 40);
ATTN_AT(attn_handshake, refusal, 48);
ATTN_AT(attn_handshake, reserved, 56);

#endif /* ATTN_ABI_LAYOUT_H */
