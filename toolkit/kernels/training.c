/* The loops of scan.py, pool.py and fused.py.
 *
 * Arrays are (steps, size), C-contiguous, unless said otherwise. Every operation rounds as its PyTorch counterpart does,
 * in the same order, so this file must be compiled without contraction (fused multiply-add) and without fast-math.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <stdint.h>

#define BLOCK 1024 /* neurons at once: their states stay in the nearest cache */
#define EACH(i) for (int64_t i = 0; i < count; i++)
#define BLOCKS                                                                                                         \
    for (int64_t at = first, count; count = last - at < BLOCK ? last - at : BLOCK, at < last; at += BLOCK)

/* v(t) = beta ((v(t-1) <= threshold) v(t-1)) + in(t);  spikes(t) = v(t) > threshold, for count <= BLOCK neurons; the
 * steps of each array lie its row apart. kept (v before the reset), spikes and marks (spikes as bytes) may be NULL. */
static void fire(const float *in, int64_t in_row, float *kept, int64_t kept_row, float *spikes, uint8_t *marks,
                 int64_t row, int64_t steps, int64_t count, float beta, float threshold) {
    float state[BLOCK];
    const float *before = state;
    for (int64_t t = 0; t < steps; t++) {
        const float *now = in + t * in_row;
        float *v = kept ? kept + t * kept_row : state;
        if (t == 0)
            EACH(i) v[i] = now[i];
        else
#pragma GCC ivdep /* v may be before, never a part of it */
            EACH(i) v[i] = beta * ((before[i] <= threshold ? 1.0f : 0.0f) * before[i]) + now[i];
        before = v;
        if (spikes) {
            float *out = spikes + t * row;
            EACH(i) out[i] = v[i] > threshold ? 1.0f : 0.0f;
        }
        if (marks) {
            uint8_t *out = marks + t * row;
            EACH(i) out[i] = v[i] > threshold;
        }
    }
}

/* What lif_backward says, for count <= BLOCK neurons. */
static void blame(const float *kept, int64_t kept_row, const float *to_spikes, int64_t to_row, float *found, int64_t row,
                  int64_t steps, int64_t count, float beta, float threshold, float half, float slope) {
    const float *later = 0;
    for (int64_t t = steps - 1; t >= 0; t--) {
        const float *v = kept + t * kept_row, *d = to_spikes + t * to_row;
        float *out = found + t * row;
        if (!later)
#pragma GCC ivdep
            EACH(i) {
                float z = (v[i] - threshold) * slope;
                out[i] = 1.0f / (z * z + 1.0f) * half * d[i];
            }
        else
#pragma GCC ivdep
            EACH(i) {
                float z = (v[i] - threshold) * slope;
                float own = 1.0f / (z * z + 1.0f) * half * d[i];
                out[i] = own + later[i] * beta * (v[i] <= threshold ? 1.0f : 0.0f);
            }
        later = out;
    }
}

/* The neurons first <= i < last. Steps of current lie stride apart, 0 for the same at every step. */
void lif_forward(const float *current, int64_t stride, float *membranes, float *spikes, int64_t steps, int64_t size,
                 int64_t first, int64_t last, float beta, float threshold) {
    BLOCKS fire(current + at, stride, membranes ? membranes + at : 0, size, spikes + at, 0, size, steps, count, beta,
                threshold);
}

/* found(t) = h(z) to_spikes(t) + (v(t) <= threshold) (found(t+1) beta),  h = half / (1 + z z),
 * z = slope (v(t) - threshold), for the neurons first <= i < last; steps of membranes lie size apart, those of to_spikes
 * stride, those of found row. */
int lif_backward(const float *membranes, int64_t size, const float *to_spikes, int64_t stride, int64_t steps,
                 float *found, int64_t row, int64_t first, int64_t last, float beta, float threshold, float half,
                 float slope) {
    BLOCKS blame(membranes + at, size, to_spikes + at, stride, found + at, row, steps, count, beta, threshold, half,
                 slope);
    return 1;
}

/* The same from the current: its membranes are computed again, which is faster than to write and read them. Returns 0
 * where memory is short. */
int lif_again(const float *current, int64_t current_stride, const float *to_spikes, int64_t stride, int64_t steps,
              float *found, int64_t row, int64_t first, int64_t last, float beta, float threshold, float half,
              float slope) {
    float *kept = malloc(steps * BLOCK * sizeof(float));
    if (!kept) return 0;
    BLOCKS {
        fire(current + at, current_stride, kept, BLOCK, 0, 0, 0, steps, count, beta, threshold);
        blame(kept, BLOCK, to_spikes + at, stride, found + at, row, steps, count, beta, threshold, half, slope);
    }
    free(kept);
    return 1;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Without a branch, which nobody could predict. */
static inline float pick(int32_t condition, float yes, float no) {
    union {
        float number;
        uint32_t bits;
    } a = {yes}, b = {no};
    a.bits = (a.bits & (uint32_t)-condition) | (b.bits & ~(uint32_t)-condition);
    return a.number;
}

/* PyTorch's rule: a larger entry, or NaN, takes over, so the first of the largest stays. */
#define TAKES(x, best) (((x) > (best)) | ((x) != (x)))

/* Max pooling of 2 x 2 windows, planes of even sides: x are pairs of rows, each of an even width up to BLOCK; out the
 * largest entry of every window, winner its place there: 0 and 1 above, 2 and 3 below. Many pairs are run at once, and
 * copied row by row afterwards: rows are too short for vector instructions. */
void pool_forward(const float *x, float *out, uint8_t *winner, int64_t width, int64_t first, int64_t last) {
    const int64_t half = width / 2, fit = BLOCK / width;
    float side[BLOCK], best[BLOCK];
    int32_t right[BLOCK];
    uint8_t place[BLOCK];
    for (int64_t pair = first, rows; rows = least(fit, last - pair), pair < last; pair += rows) {
        const float *in = x + 2 * pair * width;
        const int64_t count = rows * width;
        EACH(i) {
            float a = in[2 * i], b = in[2 * i + 1];
            right[i] = TAKES(b, a);
            side[i] = pick(right[i], b, a);
        }
        /* Each with what lies below it; every other row of that is of no use. */
        for (int64_t i = 0; i < count - half; i++) {
            float a = side[i], b = side[i + half];
            int32_t under = TAKES(b, a);
            best[i] = pick(under, b, a);
            place[i] = (uint8_t)(under ? right[i + half] + 2 : right[i]);
        }
        for (int64_t row = 0; row < rows; row++) {
            memcpy(out + (pair + row) * half, best + row * width, half * sizeof(float));
            memcpy(winner + (pair + row) * half, place + row * width, half);
        }
    }
}

/* back: to_out at the winner of every window, 0 elsewhere. */
void pool_backward(const float *to_out, const uint8_t *winner, float *back, int64_t width, int64_t first,
                   int64_t last) {
    const int64_t half = width / 2, fit = BLOCK / width;
    float above[BLOCK], below[BLOCK];
    for (int64_t pair = first, rows; rows = least(fit, last - pair), pair < last; pair += rows) {
        const float *in = to_out + pair * half;
        const uint8_t *place = winner + pair * half;
        const int64_t count = rows * half;
        EACH(i) {
            float given = in[i] + 0.0f; /* as PyTorch, which adds to 0: -0 becomes 0 */
            int32_t which = place[i];
            above[2 * i] = pick(which == 0, given, 0);
            above[2 * i + 1] = pick(which == 1, given, 0);
            below[2 * i] = pick(which == 2, given, 0);
            below[2 * i + 1] = pick(which == 3, given, 0);
        }
        for (int64_t row = 0; row < rows; row++) {
            float *to = back + 2 * (pair + row) * width;
            memcpy(to, above + row * width, width * sizeof(float));
            memcpy(to + width, below + row * width, width * sizeof(float));
        }
    }
}

/* weight times the sums of those windows, for whole numbers, which are exact in any order. */
void window_forward(const float *x, float *out, float weight, int64_t width, int64_t first, int64_t last) {
    const int64_t half = width / 2, fit = BLOCK / width;
    float side[BLOCK], sum[BLOCK];
    for (int64_t pair = first, rows; rows = least(fit, last - pair), pair < last; pair += rows) {
        const float *in = x + 2 * pair * width;
        const int64_t count = rows * width;
        EACH(i) side[i] = in[2 * i] + in[2 * i + 1];
        for (int64_t i = 0; i < count - half; i++) sum[i] = weight * (side[i] + side[i + half]);
        for (int64_t row = 0; row < rows; row++)
            memcpy(out + (pair + row) * half, sum + row * width, half * sizeof(float));
    }
}

/* back: weight to_out at every place of a window. */
void window_backward(const float *to_out, float *back, float weight, int64_t width, int64_t first, int64_t last) {
    const int64_t half = width / 2, fit = BLOCK / width;
    float each[BLOCK];
    for (int64_t pair = first, rows; rows = least(fit, last - pair), pair < last; pair += rows) {
        const int64_t count = rows * half;
        const float *in = to_out + pair * half;
        EACH(i) each[2 * i] = each[2 * i + 1] = weight * in[i];
        for (int64_t row = 0; row < rows; row++) {
            float *to = back + 2 * (pair + row) * width;
            memcpy(to, each + row * width, width * sizeof(float));
            memcpy(to + width, each + row * width, width * sizeof(float));
        }
    }
}

/* Neurons and the pool of pool_forward that follows: current (steps, pairs, 2, width), its steps stride apart; pooled
 * (steps, pairs, width / 2). Some pairs of rows first <= i < last at a time, so that spikes stay in the cache. Both return
 * 0 where memory is short. Spikes are bytes here, two neighbours a word: */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the left one of two spikes must be the low byte; PyTorch does the same without these loops"
#endif
typedef uint16_t __attribute__((may_alias)) word;
#define ROOM 8192 /* neurons times steps at once */
#define PAIRS                                                                                                          \
    for (int64_t fit = steps * 2 * width < ROOM ? ROOM / (steps * 2 * width) : 1, pair = from, rows;                   \
         rows = least(fit, to - pair), pair < to; pair += rows)

/* Copy a row of up to many numbers; where there is room for more, as many as can be moved at once. */
static inline void move(float *to, const float *from, int64_t many, int64_t room) {
    if (many <= 16 && room >= 16)
        memcpy(to, from, 16 * sizeof(float));
    else
        memcpy(to, from, many * sizeof(float));
}

/* out: whether any of a window's four spikes is there. Every row is put beside the one below it, and every other result is
 * of no use; some is for twice as many numbers, and 16. */
static void any_of(const uint8_t *marks, float *out, float *some, int64_t width, int64_t rows) {
    const int64_t half = width / 2, count = rows * width - half;
    const word *both = (const word *)marks;
    EACH(i) some[i] = (both[i] | both[i + half]) ? 1.0f : 0.0f;
    for (int64_t row = 0; row < rows; row++) move(out + row * half, some + row * width, half, (rows - row) * half);
}

/* found: to_out where the first spike of its window is, or the window begins if it has none; 0 elsewhere. lower is 255 in
 * every other row. above, below and twice are for use in between, as large as marks. */
static void first_of(const uint8_t *marks, const float *to_out, float *found, const uint8_t *lower, uint8_t *above,
                     uint8_t *below, float *twice, int64_t width, int64_t rows) {
    const int64_t half = width / 2, size = rows * 2 * width;
    const word *both = (const word *)marks;
    word *up = (word *)above, *down = (word *)below + half;
    for (int64_t i = 0; i < rows * width - half; i++) {
        const word a = both[i] & 1, b = both[i] >> 8, c = both[i + half] & 1, d = both[i + half] >> 8;
        const word upper = a | b, three = upper | c;
        up[i] = a | ((three | d) ^ 1) | (word)((b & (a ^ 1)) << 8);
        down[i] = (c & (upper ^ 1)) | (word)((d & (three ^ 1)) << 8);
    }
    for (int64_t i = 0; i < rows * half; i++) /* as PyTorch, which adds to 0: -0 becomes 0 */
        twice[2 * i] = twice[2 * i + 1] = to_out[i] + 0.0f;
    for (int64_t row = 0; row < rows; row++) {
        move(found + 2 * row * width, twice + row * width, width, size - 2 * row * width);
        move(found + (2 * row + 1) * width, twice + row * width, width, size - (2 * row + 1) * width);
    }
    for (int64_t i = 0; i < size; i++) found[i] = pick(lower[i] ? below[i] : above[i], found[i], 0);
}

/* Where scale is given, write in scale + shift of its channel for some pairs of rows into out, steps one after the other, and
 * return out and how far apart steps lie there; a plane has each pairs. PyTorch's batch norm rounds this once, too. */
static const float *bring(const float *in, int64_t *stride, const float *scale, const float *shift, int64_t channels,
                          int64_t each, int64_t pair, int64_t rows, int64_t width, int64_t steps, float *out) {
    if (!scale) return in;
    const int64_t size = rows * 2 * width;
    for (int64_t t = 0; t < steps; t++)
        for (int64_t row = 0, more; row < rows; row += more) {
            const int64_t channel = (pair + row) / each % channels;
            more = least(each - (pair + row) % each, rows - row);
            const float *from = in + t * *stride + row * 2 * width;
            const float by = scale[channel], plus = shift[channel];
            float *to = out + t * size + row * 2 * width;
            const int64_t count = more * 2 * width;
            EACH(i) to[i] = fmaf(from[i], by, plus);
        }
    *stride = size;
    return out;
}

int lif_pool_forward(const float *current, int64_t stride, const float *scale, const float *shift, int64_t channels,
                     int64_t each, float *pooled, int64_t steps, int64_t pairs, int64_t width, int64_t from, int64_t to,
                     float beta, float threshold) {
    const int64_t half = width / 2, room = ROOM + steps * 2 * width;
    float *some = malloc((room + 16) * (2 * sizeof(float) + 1));
    if (!some) return 0;
    float *normed = some + room + 16;
    uint8_t *marks = (uint8_t *)(normed + room);
    PAIRS {
        const int64_t first = 0, last = rows * 2 * width;
        int64_t apart = stride;
        const float *in = bring(current + pair * 2 * width, &apart, scale, shift, channels, each, pair, rows, width,
                                steps, normed);
        BLOCKS fire(in + at, apart, 0, 0, 0, marks + at, last, steps, count, beta, threshold);
        for (int64_t t = 0; t < steps; t++)
            any_of(marks + t * last, pooled + (t * pairs + pair) * half, some, width, rows);
    }
    free(some);
    return 1;
}

/* found: dL/dI as of lif_again, from dL/d pooled, whose steps lie pooled_row apart. */
int lif_pool_backward(const float *current, int64_t stride, const float *scale, const float *shift, int64_t channels,
                      int64_t each, const float *to_pooled, int64_t pooled_row, int64_t steps, int64_t width,
                      float *found, int64_t row, int64_t from, int64_t to, float beta, float threshold,
                      float half_height, float slope) {
    const int64_t half = width / 2, room = ROOM + steps * 2 * width;
    float *given = malloc((room + 16) * (4 * sizeof(float) + 4));
    if (!given) return 0;
    float *kept = given + room, *normed = kept + room, *twice = normed + room;
    uint8_t *marks = (uint8_t *)(twice + room + 16), *above = marks + room, *below = above + room, *lower = below + room;
    for (int64_t i = 0; i < room; i++) lower[i] = i / width % 2 ? 255 : 0;
    PAIRS {
        const int64_t first = 0, last = rows * 2 * width;
        int64_t apart = stride;
        const float *in = bring(current + pair * 2 * width, &apart, scale, shift, channels, each, pair, rows, width,
                                steps, normed);
        BLOCKS fire(in + at, apart, kept + at, last, 0, marks + at, last, steps, count, beta, threshold);
        for (int64_t t = 0; t < steps; t++)
            first_of(marks + t * last, to_pooled + t * pooled_row + pair * half, given + t * last, lower, above, below,
                     twice, width, rows);
        float *out = found + pair * 2 * width;
        BLOCKS blame(kept + at, last, given + at, last, out + at, row, steps, count, beta, threshold, half_height,
                     slope);
    }
    free(given);
    return 1;
}
