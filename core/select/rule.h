/* SPDX-License-Identifier: Apache-2.0 */
/* select/rule.h - which line of the configuration decides for a layer. */
#ifndef ATTN_SELECT_RULE_H
#define ATTN_SELECT_RULE_H

#include <attn/config.h>
#include <attn/select.h>

/* The deciding value and where it stands, or NULL for plain auto. Narrower
 * [select layers] win over wider and over [select]; among equals the later;
 * within a section FAMILY.PHASE over FAMILY. */
typedef struct attn_rule {
    const attn_config_value *value; /* NULL: no configuration */
    int named;                      /* 1: a list of names, 0: auto */
    char text[160];                 /* "[select] flash.decode at file:3" */
} attn_rule;

/* [any] */
void attn_rule_find(const attn_config *config, const char *family_id,
                    const attn_select_params *params, attn_rule *rule);

/* [any] Walks the names of a list: copies one to name, returns the rest, or
 * NULL after the last. Start with rule.value->value. */
const char *attn_rule_next_name(const char *list, char name[32]);

#endif /* ATTN_SELECT_RULE_H */
