/* The loops of scan.py over all time steps, neuron by neuron.
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

/* v(t) = beta ((v(t-1) <= threshold) v(t-1)) + current(t);  spikes(t) = v(t) > threshold.
 * Steps of current lie stride apart, 0 for the same at every step; membranes may be NULL. */
void lif_forward(const float *current, int64_t stride, float *membranes, float *spikes, int64_t steps, int64_t size,
                 int64_t first, int64_t last, float beta, float threshold) {
    BLOCKS {
        float v[BLOCK];
        for (int64_t t = 0; t < steps; t++) {
            const float *in = current + t * stride + at;
            float *out = spikes + t * size + at;
            if (t == 0)
                EACH(i) v[i] = in[i];
            else
                EACH(i) v[i] = beta * ((v[i] <= threshold ? 1.0f : 0.0f) * v[i]) + in[i];
            EACH(i) out[i] = v[i] > threshold ? 1.0f : 0.0f;
            if (membranes) {
                float *kept = membranes + t * size + at;
                EACH(i) kept[i] = v[i];
            }
        }
    }
}

/* found(t) = h(z) to_spikes(t) + (v(t) <= threshold) (found(t+1) beta),  h = (sharpness / 2) / (1 + z z),
 * z = (pi / 2 sharpness) (v(t) - threshold); steps of to_spikes lie stride apart, 0 for the same at every step. */
void lif_backward(const float *membranes, const float *to_spikes, int64_t stride, float *found, int64_t steps,
                  int64_t size, int64_t first, int64_t last, float beta, float threshold, float half, float slope) {
    BLOCKS {
        float later[BLOCK];
        for (int64_t t = steps - 1; t >= 0; t--) {
            const float *v = membranes + t * size + at, *d = to_spikes + t * stride + at;
            float *out = found + t * size + at;
            EACH(i) {
                float z = (v[i] - threshold) * slope;
                float own = 1.0f / (z * z + 1.0f) * half * d[i];
                if (t < steps - 1) own += later[i] * beta * (v[i] <= threshold ? 1.0f : 0.0f);
                later[i] = own;
                out[i] = own;
            }
        }
    }
}
