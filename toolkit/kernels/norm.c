/* The loops of norm.py: batch norm in training. Compiled as training.c is. Arrays are (samples, channels, size), C-contiguous,
 * unless said otherwise.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Mean and 1 / sqrt(variance + eps) of the channels first <= c < last of x (samples, channels, size), and the running
 * statistics, as PyTorch's batch norm has them in training: every channel is added up in double, in one long chain. Several
 * chains at once, because each waits for its last sum. total (channels,) is for use in between. */
#define CHAINS 8
typedef float __attribute__((vector_size(4 * CHAINS))) few;
typedef double __attribute__((vector_size(8 * CHAINS))) chains;

#if defined(__clang__) || __GNUC__ >= 12
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
/* Rows become columns. */
static inline void turn(few *x) {
    few y[CHAINS];
    for (int i = 0; i < CHAINS; i += 2) {
        y[i] = MIX(x[i], x[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        y[i + 1] = MIX(x[i], x[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < CHAINS; i += 4)
        for (int j = 0; j < 2; j++) {
            x[i + 2 * j] = MIX(y[i + j], y[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            x[i + 2 * j + 1] = MIX(y[i + j], y[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        y[i] = MIX(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        y[i + 4] = MIX(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    memcpy(x, y, sizeof y);
}
#else
static inline void turn(few *x) {
    few y[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        for (int j = 0; j < CHAINS; j++) y[i][j] = x[j][i];
    memcpy(x, y, sizeof y);
}
#endif

static void add_up(const float *x, double *total, const float *centre, int64_t samples, int64_t channels, int64_t size,
                   int64_t first, int64_t last) {
    for (int64_t channel = first; channel < last; channel++) total[channel] = 0;
    for (int64_t n = 0; n < samples; n++)
        for (int64_t from = first; from < last; from += CHAINS) {
            const float *line[CHAINS];
            chains sum;
            few middle, now[CHAINS];
            for (int c = 0; c < CHAINS; c++) { /* where channels run out, the last one again */
                int64_t channel = least(from + c, last - 1);
                line[c] = x + (n * channels + channel) * size;
                sum[c] = total[channel];
                middle[c] = centre ? centre[channel] : 0;
            }
            /* Short lines are over before the machine guesses what comes next. */
            for (int64_t ahead = 0; ahead < CHAINS * size; ahead += 16)
                __builtin_prefetch(line[0] + CHAINS * size + ahead);
            int64_t at = 0;
            for (; at + CHAINS <= size; at += CHAINS) {
                for (int c = 0; c < CHAINS; c++) memcpy(now + c, line[c] + at, sizeof *now);
                turn(now);
                for (int i = 0; i < CHAINS; i++) {
                    few away = now[i] - middle;
                    sum += __builtin_convertvector(centre ? away * away : now[i], chains);
                }
            }
            for (; at < size; at++) {
                for (int c = 0; c < CHAINS; c++) now[0][c] = line[c][at];
                few away = now[0] - middle;
                sum += __builtin_convertvector(centre ? away * away : now[0], chains);
            }
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
