/* The loops of scan.py, pool.py and norm.py.
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
 * steps of each array lie its row apart. kept (v before the reset) and spikes may be NULL. */
static void fire(const float *in, int64_t in_row, float *kept, int64_t kept_row, float *spikes, int64_t row,
                 int64_t steps, int64_t count, float beta, float threshold) {
    float v[BLOCK];
    for (int64_t t = 0; t < steps; t++) {
        const float *now = in + t * in_row;
        if (t == 0)
            EACH(i) v[i] = now[i];
        else
            EACH(i) v[i] = beta * ((v[i] <= threshold ? 1.0f : 0.0f) * v[i]) + now[i];
        if (spikes) {
            float *out = spikes + t * row;
            EACH(i) out[i] = v[i] > threshold ? 1.0f : 0.0f;
        }
        if (kept) memcpy(kept + t * kept_row, v, count * sizeof(float));
    }
}

/* What lif_backward says, for count <= BLOCK neurons. */
static void blame(const float *kept, int64_t kept_row, const float *to_spikes, int64_t to_row, float *found, int64_t row,
                  int64_t steps, int64_t count, float beta, float threshold, float half, float slope) {
    float later[BLOCK];
    for (int64_t t = steps - 1; t >= 0; t--) {
        const float *v = kept + t * kept_row, *d = to_spikes + t * to_row;
        float *out = found + t * row;
        if (t == steps - 1)
            EACH(i) {
                float z = (v[i] - threshold) * slope;
                later[i] = 1.0f / (z * z + 1.0f) * half * d[i];
            }
        else
            EACH(i) {
                float z = (v[i] - threshold) * slope;
                float own = 1.0f / (z * z + 1.0f) * half * d[i];
                later[i] = own + later[i] * beta * (v[i] <= threshold ? 1.0f : 0.0f);
            }
        memcpy(out, later, count * sizeof(float));
    }
}

/* The neurons first <= i < last. Steps of current lie stride apart, 0 for the same at every step. */
void lif_forward(const float *current, int64_t stride, float *membranes, float *spikes, int64_t steps, int64_t size,
                 int64_t first, int64_t last, float beta, float threshold) {
    BLOCKS fire(current + at, stride, membranes ? membranes + at : 0, size, spikes + at, size, steps, count, beta,
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
        fire(current + at, current_stride, kept, BLOCK, 0, 0, steps, count, beta, threshold);
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
 * 0 where memory is short. */
#define ROOM 8192 /* neurons times steps at once */
#define PAIRS                                                                                                          \
    for (int64_t fit = steps * 2 * width < ROOM ? ROOM / (steps * 2 * width) : 1, pair = from, rows;                   \
         rows = least(fit, to - pair), pair < to; pair += rows)

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
    float *spikes = malloc(room * (2 * sizeof(float) + 1));
    if (!spikes) return 0;
    float *normed = spikes + room;
    uint8_t *winner = (uint8_t *)(normed + room);
    PAIRS {
        const int64_t first = 0, last = rows * 2 * width;
        int64_t apart = stride;
        const float *in = bring(current + pair * 2 * width, &apart, scale, shift, channels, each, pair, rows, width,
                                steps, normed);
        BLOCKS fire(in + at, apart, 0, 0, spikes + at, last, steps, count, beta, threshold);
        for (int64_t t = 0; t < steps; t++)
            pool_forward(spikes + t * last, pooled + (t * pairs + pair) * half, winner, width, 0, rows);
    }
    free(spikes);
    return 1;
}

/* found: dL/dI as of lif_again, from dL/d pooled, whose steps lie pooled_row apart. */
int lif_pool_backward(const float *current, int64_t stride, const float *scale, const float *shift, int64_t channels,
                      int64_t each, const float *to_pooled, int64_t pooled_row, int64_t steps, int64_t width,
                      float *found, int64_t row, int64_t from, int64_t to, float beta, float threshold,
                      float half_height, float slope) {
    const int64_t half = width / 2, room = ROOM + steps * 2 * width;
    float *spikes = malloc(room * (4 * sizeof(float) + 1));
    if (!spikes) return 0;
    float *kept = spikes + room, *unused = kept + room, *normed = unused + room;
    uint8_t *winner = (uint8_t *)(normed + room);
    PAIRS {
        const int64_t first = 0, last = rows * 2 * width;
        int64_t apart = stride;
        const float *in = bring(current + pair * 2 * width, &apart, scale, shift, channels, each, pair, rows, width,
                                steps, normed);
        BLOCKS fire(in + at, apart, kept + at, last, spikes + at, last, steps, count, beta, threshold);
        for (int64_t t = 0; t < steps; t++) {
            float *now = spikes + t * last;
            pool_forward(now, unused, winner, width, 0, rows);
            /* Where the spikes were, their gradients come. */
            pool_backward(to_pooled + t * pooled_row + pair * half, winner, now, width, 0, rows);
        }
        float *out = found + pair * 2 * width;
        BLOCKS blame(kept + at, last, spikes + at, last, out + at, row, steps, count, beta, threshold, half_height,
                     slope);
    }
    free(spikes);
    return 1;
}

/* Mean and 1 / sqrt(variance + eps) of the channels first <= c < last of x (samples, channels, size), and the running
 * statistics, as PyTorch's batch norm has them in training: every channel is added up in double, in one long chain. Several
 * chains at once, because each waits for its last sum. total (channels,) is for use in between. */
#define CHAINS 8
static void add_up(const float *x, double *total, const float *centre, int64_t samples, int64_t channels, int64_t size,
                   int64_t first, int64_t last) {
    for (int64_t channel = first; channel < last; channel++) total[channel] = 0;
    for (int64_t n = 0; n < samples; n++)
        for (int64_t from = first; from < last; from += CHAINS) {
            const float *line[CHAINS];
            double sum[CHAINS];
            float middle[CHAINS];
            for (int c = 0; c < CHAINS; c++) { /* where channels run out, the last one again */
                int64_t channel = least(from + c, last - 1);
                line[c] = x + (n * channels + channel) * size;
                sum[c] = total[channel];
                middle[c] = centre ? centre[channel] : 0;
            }
            /* Short lines are over before the machine guesses what comes next. */
            for (int64_t ahead = 0; ahead < CHAINS * size; ahead += 16)
                __builtin_prefetch(line[0] + CHAINS * size + ahead);
            if (centre)
                for (int64_t i = 0; i < size; i++)
                    for (int c = 0; c < CHAINS; c++) {
                        float away = line[c][i] - middle[c];
                        sum[c] += away * away;
                    }
            else
                for (int64_t i = 0; i < size; i++)
                    for (int c = 0; c < CHAINS; c++) sum[c] += line[c][i];
            for (int c = 0; c < least(CHAINS, last - from); c++) total[from + c] = sum[c];
        }
}

void norm_statistics(const float *x, float *mean, float *inverse, float *running_mean, float *running_var,
                     double *total, int64_t samples, int64_t channels, int64_t size, int64_t first, int64_t last,
                     float momentum, double eps) {
    const int64_t count = samples * size;
    add_up(x, total, 0, samples, channels, size, first, last);
    for (int64_t c = first; c < last; c++) mean[c] = (float)(total[c] / (double)count);
    add_up(x, total, mean, samples, channels, size, first, last);
    for (int64_t c = first; c < last; c++) {
        const float squares = (float)total[c], variance = squares / (float)count;
        const double unbiased = squares / (float)(count - 1);
        inverse[c] = (float)(1 / sqrt(variance + eps));
        running_mean[c] = momentum * mean[c] + (1 - momentum) * running_mean[c];
        running_var[c] = (float)(momentum * unbiased + (1 - momentum) * running_var[c]);
    }
}

/* y = x scale + shift of each channel, rounded once, for the channels first <= c < last. */
void norm_apply(const float *x, float *y, const float *scale, const float *shift, int64_t samples, int64_t channels,
                int64_t size, int64_t first, int64_t last) {
    for (int64_t n = 0; n < samples; n++)
        for (int64_t c = first; c < last; c++) {
            const float *in = x + (n * channels + c) * size, by = scale[c], plus = shift[c];
            float *out = y + (n * channels + c) * size;
            for (int64_t i = 0; i < size; i++) out[i] = fmaf(in[i], by, plus);
        }
}

#define LANES 8 /* numbers that PyTorch's batch norm adds up side by side */

/* Add the sums over a plane of dy and of (x - mean) dy to sums: LANES at once, then halves onto halves. PyTorch's compiler
 * fused the product with its sum where lines end, and only there. */
static inline void add_plane(const float *x, const float *dy, int64_t size, float mean, double *sums) {
    float of[LANES], with[LANES];
    if (size < LANES) {
        of[0] = dy[0], with[0] = (x[0] - mean) * dy[0];
        for (int64_t i = 1; i < size; i++) of[0] += dy[i], with[0] += (x[i] - mean) * dy[i];
    } else {
        int64_t at = LANES;
        for (int i = 0; i < LANES; i++) of[i] = dy[i], with[i] = (x[i] - mean) * dy[i];
        for (; at + LANES <= size; at += LANES)
            for (int i = 0; i < LANES; i++) of[i] += dy[at + i], with[i] += (x[at + i] - mean) * dy[at + i];
        for (int i = 0; at + i < size; i++)
            of[i] += dy[at + i], with[i] = fmaf(x[at + i] - mean, dy[at + i], with[i]);
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; i++) of[i] += of[i + half], with[i] += with[i + half];
    }
    sums[0] += of[0], sums[1] += with[0];
}

/* What is behind norm_statistics, backwards, for the channels first <= c < last: from dy to dx, dweight and dbias, as
 * PyTorch's batch norm has them. All channels of a sample follow each other in memory; PyTorch goes through the samples of
 * one channel after the other. sums (channels, 2) are for use in between; dx may be dy. */
void norm_backward(const float *x, const float *dy, float *dx, const float *mean, const float *inverse,
                   const float *weight, float *to_weight, float *to_bias, double *sums, int64_t samples,
                   int64_t channels, int64_t size, int64_t first, int64_t last) {
    const float count = (float)(samples * size);
    memset(sums + 2 * first, 0, 2 * (last - first) * sizeof(double));
    for (int64_t n = 0; n < samples; n++)
        for (int64_t c = first; c < last; c++) {
            const int64_t at = (n * channels + c) * size;
            add_plane(x + at, dy + at, size, mean[c], sums + 2 * c);
        }
    for (int64_t c = first; c < last; c++) {
        to_bias[c] = (float)sums[2 * c];
        to_weight[c] = (float)(sums[2 * c + 1] * inverse[c]);
    }
    /* Backwards: what was read last is still in the cache. */
    for (int64_t n = samples - 1; n >= 0; n--)
        for (int64_t c = first; c < last; c++) {
            const int64_t at = (n * channels + c) * size;
            const float away = (float)sums[2 * c + 1] * inverse[c] * inverse[c] / count;
            const float middle = (float)(sums[2 * c] / (double)(samples * size));
            const float *in = x + at, *given = dy + at, centre = mean[c], scale = inverse[c], by = weight[c];
            float *out = dx + at;
#pragma GCC ivdep /* dx may be dy */
            for (int64_t i = 0; i < size; i++) out[i] = fmaf(centre - in[i], away, given[i] - middle) * scale * by;
        }
}
