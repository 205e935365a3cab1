/* The loop of hw_targets/loihi/neurons.py over all time steps, neuron by neuron.
 *
 * Arrays are (steps, size), C-contiguous, unless said otherwise; each call does the neurons first <= i < last. Every
 * operation rounds as its PyTorch counterpart does, so this file must be compiled without contraction (fused
 * multiply-add) and without fast-math.
 */
#include <math.h>

#include <stdint.h>

#define BLOCK 1024 /* neurons at once: their states stay in the nearest cache */
#define EACH(i) for (int64_t i = 0; i < count; i++)
#define BLOCKS                                                                                                         \
    for (int64_t at = first, count; count = last - at < BLOCK ? last - at : BLOCK, at < last; at += BLOCK)

/* Loihi's neurons in the arithmetic of hw_targets/loihi/arithmetic.py; doubles hold all of its integers exactly.
 *
 * a: synaptic input, its steps stride apart; bias: 2^exponent times the mantissas (neurons,), the same for every sample
 * of a batch; keep_u, keep_v: (4096 - decay) / 4096. raw, u, v: voltages before the reset, and the state after it, each
 * may be NULL. last_v: (size,), v after the last step. events: wraps, saturations, swallowed, added to. */
#define LOIHI(name, number)                                                                                            \
    void name(const number *a, int64_t stride, const double *bias, int64_t neurons, int64_t steps, int64_t size,       \
              int64_t first, int64_t last, double keep_u, double keep_v, double vth, uint8_t *spikes, float *raw,      \
              int32_t *u_out, int32_t *v_out, float *last_v, int32_t *counts, int64_t *events) {                       \
        const double limit = 8388608.0, full = 4294967296.0;                                                           \
        const int watch_u = 0 < keep_u && keep_u < 1, watch_v = 0 < keep_v && keep_v < 1;                              \
        int64_t wraps = 0, saturations = 0, swallowed = 0;                                                             \
        BLOCKS {                                                                                                       \
            double u[BLOCK], v[BLOCK], b[BLOCK];                                                                       \
            int32_t sent[BLOCK];                                                                                       \
            int64_t from = at % neurons;                                                                               \
            EACH(i) {                                                                                                  \
                u[i] = v[i] = 0;                                                                                       \
                sent[i] = 0;                                                                                           \
                b[i] = bias[from];                                                                                     \
                from = from + 1 == neurons ? 0 : from + 1;                                                             \
            }                                                                                                          \
            for (int64_t t = 0; t < steps; t++) {                                                                      \
                const number *in = a + t * stride + at;                                                                \
                const int64_t place = t * size + at;                                                                   \
                int32_t wrapped = 0, clipped = 0, lost = 0;                                                            \
                EACH(i) {                                                                                              \
                    double du = trunc(u[i] * keep_u), dv = trunc(v[i] * keep_v);                                       \
                    double exact = du + (double)in[i] * 64;                                                            \
                    double current = exact - full * floor((exact + full / 2) / full);                                  \
                    current = current > limit ? current - 2 * limit : current <= -limit ? current + 2 * limit : current; \
                    double sum = dv + current + b[i];                                                                  \
                    double voltage = sum < 1 - limit ? 1 - limit : sum > limit - 1 ? limit - 1 : sum;                  \
                    int fired = voltage > vth;                                                                         \
                    wrapped += current != exact;                                                                       \
                    clipped += voltage != sum;                                                                         \
                    lost += (watch_u & (u[i] != 0) & (du == 0)) | (watch_v & (v[i] != 0) & (dv == 0));                 \
                    if (raw) raw[place + i] = (float)voltage;                                                          \
                    u[i] = current;                                                                                    \
                    v[i] = fired ? 0 : voltage;                                                                        \
                    spikes[place + i] = (uint8_t)fired;                                                                \
                    sent[i] += fired;                                                                                  \
                }                                                                                                      \
                if (u_out) EACH(i) u_out[place + i] = (int32_t)u[i];                                                   \
                if (v_out) EACH(i) v_out[place + i] = (int32_t)v[i];                                                   \
                wraps += wrapped;                                                                                      \
                saturations += clipped;                                                                                \
                swallowed += lost;                                                                                     \
            }                                                                                                          \
            EACH(i) {                                                                                                  \
                last_v[at + i] = (float)v[i];                                                                          \
                counts[at + i] = sent[i];                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        events[0] += wraps;                                                                                            \
        events[1] += saturations;                                                                                      \
        events[2] += swallowed;                                                                                        \
    }
LOIHI(loihi_float, float)
LOIHI(loihi_double, double)
