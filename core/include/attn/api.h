#define ATTN_API __attribute__((visibility("default")))
