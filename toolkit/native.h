/* What native.c and training.c share: neurons run in blocks whose state stays in the nearest cache. */
#include <stdint.h>

#define BLOCK 1024
#define EACH(i) for (int64_t i = 0; i < count; i++)
#define BLOCKS                                                                                                         \
    for (int64_t at = first, count; count = last - at < BLOCK ? last - at : BLOCK, at < last; at += BLOCK)
