/* Loihi's neurons over all time steps, alone or fed by the spikes that arrive one by one; see neurons.py and events.py.
 *
 * The arithmetic is that of arithmetic.py. Arrays are (steps, batch, neurons), C-contiguous, unless said otherwise.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 1024 /* neurons at once: their states stay in the nearest cache */
#define LIMIT 8388608
#define EACH(i) for (int64_t i = 0; i < count; i++)
#define BLOCKS                                                                                                         \
    for (int64_t at = first, count; count = last - at < BLOCK ? last - at : BLOCK, at < last; at += BLOCK)
#define INLINE static inline __attribute__((always_inline))

/* keep_u, keep_v: 4096 - decay; vth: in units of the voltage; simple: the current has no memory, and nothing can wrap or
 * saturate; shift: keep_v is 4096 >> shift, or -1. */
struct cell {
    int32_t keep_u, keep_v, vth, simple, shift;
};

/* sgn(x) ((|x| keep) >> 12) for |x| <= 2^24, in two products of 32 bits. */
INLINE int32_t decayed(int32_t x, int32_t keep) {
    int32_t sign = x >> 31, most = (x ^ sign) - sign;
    int32_t kept = (most >> 12) * keep + (((most & 4095) * keep) >> 12);
    return (kept ^ sign) - sign;
}

/* The same for keep = 4096 >> shift: x / 2^shift toward zero. */
INLINE int32_t halved(int32_t x, int32_t shift) { return (x + ((x >> 31) & ((1 << shift) - 1))) >> shift; }

/* One step of count neurons; |in| <= 2^18, so that nothing leaves 32 bits; simple, halve: what is known of the cell when
 * this is compiled. u is not used if simple. raw: voltages before the reset, or NULL. sent: spikes, added to. events:
 * wraps, saturations, swallowed, added to. after: what is done with in. */
#define STEP(name, number, after)                                                                                      \
    INLINE void name(number *restrict in, int64_t count, int32_t *restrict u, int32_t *restrict v,                     \
                     const int32_t *restrict bias, const struct cell c, const int simple, const int halve,             \
                     uint8_t *restrict spikes, uint8_t *restrict sent, float *restrict raw, int64_t *events) {         \
        const int watch_u = 0 < c.keep_u && c.keep_u < 4096, watch_v = 0 < c.keep_v && c.keep_v < 4096;                \
        int32_t wraps = 0, saturations = 0, swallowed = 0;                                                             \
        EACH(i) {                                                                                                      \
            int32_t dv = halve ? halved(v[i], c.shift) : decayed(v[i], c.keep_v);                                      \
            int32_t current = (int32_t)in[i] * 64, lost = watch_v & (v[i] != 0) & (dv == 0);                           \
            if (!simple) {                                                                                             \
                int32_t du = decayed(u[i], c.keep_u), exact = du + current;                                            \
                current = exact - 2 * LIMIT * ((exact > LIMIT) - (exact <= -LIMIT));                                   \
                wraps += current != exact;                                                                             \
                lost |= watch_u & (u[i] != 0) & (du == 0);                                                             \
                u[i] = current;                                                                                        \
            }                                                                                                          \
            int32_t sum = dv + current + bias[i], voltage = sum;                                                       \
            if (!simple) {                                                                                             \
                voltage = sum < 1 - LIMIT ? 1 - LIMIT : sum > LIMIT - 1 ? LIMIT - 1 : sum;                             \
                saturations += voltage != sum;                                                                         \
            }                                                                                                          \
            int32_t fired = voltage > c.vth;                                                                           \
            if (raw) raw[i] = (float)voltage;                                                                          \
            v[i] = fired ? 0 : voltage;                                                                                \
            swallowed += lost;                                                                                         \
            spikes[i] = (uint8_t)fired;                                                                                \
            sent[i] += (uint8_t)fired;                                                                                 \
            after;                                                                                                     \
        }                                                                                                              \
        events[0] += wraps;                                                                                            \
        events[1] += saturations;                                                                                      \
        events[2] += swallowed;                                                                                        \
    }                                                                                                                  \
    INLINE void name##_of(number *in, int64_t count, int32_t *u, int32_t *v, const int32_t *bias, const struct cell c, \
                          const int simple, uint8_t *spikes, uint8_t *sent, float *raw, int64_t *events) {             \
        if (simple && c.shift >= 0)                                                                                    \
            name(in, count, u, v, bias, c, 1, 1, spikes, sent, raw, events);                                           \
        else if (simple)                                                                                               \
            name(in, count, u, v, bias, c, 1, 0, spikes, sent, raw, events);                                           \
        else                                                                                                           \
            name(in, count, u, v, bias, c, 0, 0, spikes, sent, raw, events);                                           \
    }
STEP(step_float, const float, )
STEP(step_int, int32_t, in[i] = 0)

/* counts += sent, sent = 0: every 255 steps, before a byte overflows. */
#define COUNT(t)                                                                                                       \
    if ((t) % 255 == 254 || (t) == steps - 1) {                                                                        \
        EACH(i) {                                                                                                      \
            total[i] += sent[i];                                                                                       \
            sent[i] = 0;                                                                                               \
        }                                                                                                              \
    }

/* a: synaptic input, its steps stride apart; bias: 2^exponent times the mantissas (neurons,), the same for every sample;
 * size: of a step of all samples, of which first <= i < last run. raw: voltages before the reset; u_out, v_out: state
 * after the step; each may be NULL. last_v: (size,), v after the last step. */
void neurons_float(const float *a, int64_t stride, const int32_t *bias, int64_t neurons, int64_t steps, int64_t size,
                   int64_t first, int64_t last, const struct cell *cell, uint8_t *spikes, float *raw, int32_t *u_out,
                   int32_t *v_out, float *last_v, int32_t *counts, int64_t *events) {
    BLOCKS {
        int32_t u[BLOCK], v[BLOCK], b[BLOCK], *total = counts + at;
        uint8_t sent[BLOCK];
        int64_t from = at % neurons;
        EACH(i) {
            u[i] = v[i] = sent[i] = total[i] = 0;
            b[i] = bias[from];
            from = from + 1 == neurons ? 0 : from + 1;
        }
        for (int64_t t = 0; t < steps; t++) {
            const float *in = a + t * stride + at;
            const int64_t place = t * size + at;
            float *kept = raw ? raw + place : NULL;
            step_float_of(in, count, u, v, b, *cell, cell->simple && !u_out, spikes + place, sent, kept, events);
            COUNT(t)
            if (u_out) EACH(i) u_out[place + i] = u[i];
            if (v_out) EACH(i) v_out[place + i] = v[i];
        }
        EACH(i) last_v[at + i] = (float)v[i];
    }
}

/* The same for input beyond 2^18, in doubles, which hold all integers there are: sums of 32 bits, times 64. */
void neurons_double(const double *a, int64_t stride, const int32_t *bias, int64_t neurons, int64_t steps, int64_t size,
                    int64_t first, int64_t last, const struct cell *cell, uint8_t *spikes, float *raw, int32_t *u_out,
                    int32_t *v_out, float *last_v, int32_t *counts, int64_t *events) {
    const double limit = LIMIT, full = 4294967296.0, keep_u = cell->keep_u / 4096.0, keep_v = cell->keep_v / 4096.0;
    const int watch_u = 0 < keep_u && keep_u < 1, watch_v = 0 < keep_v && keep_v < 1;
    BLOCKS {
        double u[BLOCK], v[BLOCK], b[BLOCK];
        int32_t sent[BLOCK];
        int64_t from = at % neurons;
        EACH(i) {
            u[i] = v[i] = 0;
            sent[i] = 0;
            b[i] = bias[from];
            from = from + 1 == neurons ? 0 : from + 1;
        }
        for (int64_t t = 0; t < steps; t++) {
            const double *in = a + t * stride + at;
            const int64_t place = t * size + at;
            int32_t wraps = 0, saturations = 0, swallowed = 0;
            EACH(i) {
                double du = trunc(u[i] * keep_u), dv = trunc(v[i] * keep_v);
                double exact = du + in[i] * 64;
                double current = exact - full * floor((exact + full / 2) / full);
                current = current > limit ? current - 2 * limit : current <= -limit ? current + 2 * limit : current;
                double sum = dv + current + b[i];
                double voltage = sum < 1 - limit ? 1 - limit : sum > limit - 1 ? limit - 1 : sum;
                int fired = voltage > cell->vth;
                wraps += current != exact;
                saturations += voltage != sum;
                swallowed += (watch_u & (u[i] != 0) & (du == 0)) | (watch_v & (v[i] != 0) & (dv == 0));
                if (raw) raw[place + i] = (float)voltage;
                u[i] = current;
                v[i] = fired ? 0 : voltage;
                spikes[place + i] = (uint8_t)fired;
                sent[i] += fired;
            }
            if (u_out) EACH(i) u_out[place + i] = (int32_t)u[i];
            if (v_out) EACH(i) v_out[place + i] = (int32_t)v[i];
            events[0] += wraps;
            events[1] += saturations;
            events[2] += swallowed;
        }
        EACH(i) {
            last_v[at + i] = (float)v[i];
            counts[at + i] = sent[i];
        }
    }
}

/* Where the spikes of one source neuron arrive: hops begin to end, from its own weights on, in its group's channels. */
struct fan {
    int32_t begin, end, weights, group;
};
/* One place of the target, and the weights that lead there; both are offsets of numbers. */
struct hop {
    int32_t to, from;
};

/* Write the places of ones among bytes of 0 and 1 (and up to 3 numbers more), return how many they are. Little-endian
 * machines only. Four at a time, because a branch for every spike costs more than the spike. */
INLINE int64_t ones(const uint8_t *bytes, int64_t count, int32_t *places) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i += 64) {
        uint64_t words[8] = {0}, mask = 0;
        memcpy(words, bytes + i, count - i < 64 ? count - i : 64);
        for (int k = 0; k < 8; k++) mask |= words[k] * 0x0102040810204080u >> 56 << 8 * k; /* one bit a byte */
        const int64_t here = __builtin_popcountll(mask);
        for (int64_t done = 0; done < here; done += 4)
            for (int k = 0; k < 4; k++) {
                places[found + done + k] = (int32_t)i + (mask ? __builtin_ctzll(mask) : 0);
                mask &= mask - 1;
            }
        found += here;
    }
    return found;
}

/* Vectors of the compiler, which leaves short loops as they are. */
typedef int32_t eight __attribute__((vector_size(32)));
typedef int32_t sixteen __attribute__((vector_size(64)));
typedef int16_t shorts __attribute__((vector_size(64)));
#define LOAD(vector, from) memcpy(&(vector), from, sizeof(vector))
#define STORE(into, vector) memcpy(into, &(vector), sizeof(vector))

/* Add the weights of spikes of a convolution to a. width is 8 or a multiple of 16; the last numbers of a tap's weights
 * are 0, and may be added to the next place. Spikes of one pixel come together if channels lie side by side: their sum
 * is formed before it is added. */
#define SCATTER(name, type)                                                                                            \
    INLINE void name(const int32_t *places, int64_t found, const struct fan *fans, const struct hop *hops,             \
                     const int32_t *weights, const int64_t width, int32_t *a) {                                        \
        for (int64_t i = 0, next; i < found; i = next) {                                                               \
            const struct fan fan = fans[places[i]];                                                                    \
            int32_t rows[64];                                                                                          \
            for (next = i; next < found && next - i < 64; next++) {                                                    \
                const struct fan *one = fans + places[next];                                                           \
                if (one->begin != fan.begin || one->group != fan.group || one->end != fan.end) break;                  \
                rows[next - i] = one->weights;                                                                         \
            }                                                                                                          \
            for (int32_t k = fan.begin; k < fan.end; k++)                                                              \
                for (int64_t j = 0; j < width; j += sizeof(type) / 4) {                                                \
                    int32_t *into = a + fan.group + hops[k].to + j;                                                    \
                    const int32_t *from = weights + hops[k].from + j;                                                  \
                    type sum, more;                                                                                    \
                    LOAD(sum, into);                                                                                   \
                    for (int64_t r = 0; r < next - i; r++) {                                                           \
                        LOAD(more, from + rows[r]);                                                                    \
                        sum += more;                                                                                   \
                    }                                                                                                  \
                    STORE(into, sum);                                                                                  \
                }                                                                                                      \
        }                                                                                                              \
    }
SCATTER(scatter_eight, eight)
SCATTER(scatter_sixteen, sixteen)

/* a += the sum of the rows of weights (inputs, width), width a multiple of 32. Weights are 256 in magnitude at most, so
 * that 127 of them fit 16 bits. */
INLINE void add_rows(const int32_t *places, int64_t found, const int16_t *weights, int64_t width, int32_t *a) {
    for (int64_t i = 0; i < found; i += 127) {
        const int64_t past = found - i < 127 ? found : i + 127;
        for (int64_t j = 0; j < width; j += 128) {
            const int64_t here = width - j < 128 ? (width - j) / 32 : 4;
            shorts sum[4] = {{0}, {0}, {0}, {0}}, more;
            int16_t part[128];
            if (here == 4)
                for (int64_t r = i; r < past; r++)
                    for (int k = 0; k < 4; k++) {
                        LOAD(more, weights + places[r] * width + j + 32 * k);
                        sum[k] += more;
                    }
            else
                for (int64_t k = 0; k < here; k++)
                    for (int64_t r = i; r < past; r++) {
                        LOAD(more, weights + places[r] * width + j + 32 * k);
                        sum[k] += more;
                    }
            STORE(part, sum);
            for (int64_t k = 0; k < 32 * here; k++) a[j + k] += part[k];
        }
    }
}

/* Neurons fed by one synapse, sample by sample: the samples first <= b < last. source: (steps, batch, inputs) bytes.
 * dense: the rows of a matrix in order of the source, or NULL for a convolution. spare: 4 size + inputs + 256 numbers
 * for each call. exponent: of the weights; sums stay below 2^18 after it. */
void neurons_events(const uint8_t *source, int64_t inputs, const struct fan *fans, const struct hop *hops,
                    const int32_t *weights, const int16_t *dense, int64_t width, int64_t exponent, int32_t *spare,
                    const int32_t *bias,
                    int64_t steps, int64_t batch, int64_t size, int64_t first, int64_t last, const struct cell *cell,
                    uint8_t *spikes, int32_t *u_out, int32_t *v_out, float *last_v, int32_t *counts, int64_t *events) {
    const int64_t count = size;
    int32_t *u = spare, *v = u + size, *a = v + size, *places = a + size + 64; /* rows are wider */
    uint8_t *sent = (uint8_t *)(places + inputs + 64);
    memset(spare, 0, (3 * size + 64) * sizeof *spare);
    memset(sent, 0, size);
    for (int64_t b = first; b < last; b++) {
        int32_t *total = counts + b * size;
        memset(u, 0, 2 * size * sizeof *u);
        memset(total, 0, size * sizeof *total);
        for (int64_t t = 0; t < steps; t++) {
            const int64_t place = (t * batch + b) * size;
            const int64_t found = ones(source + (t * batch + b) * inputs, inputs, places);
            if (dense)
                add_rows(places, found, dense, width, a);
            else if (width == 8)
                scatter_eight(places, found, fans, hops, weights, 8, a);
            else if (width == 16)
                scatter_sixteen(places, found, fans, hops, weights, 16, a);
            else
                scatter_sixteen(places, found, fans, hops, weights, width, a);
            if (exponent > 0) EACH(i) a[i] *= 1 << exponent;
            if (exponent < 0) EACH(i) a[i] >>= -exponent;
            step_int_of(a, count, u, v, bias, *cell, cell->simple && !u_out, spikes + place, sent, NULL, events);
            COUNT(t)
            if (u_out) memcpy(u_out + place, u, size * sizeof *u);
            if (v_out) memcpy(v_out + place, v, size * sizeof *v);
        }
        EACH(i) last_v[b * size + i] = (float)v[i];
    }
}

/* Neurons without memory that any one spike makes fire: the OR of the spikes that reach them. places: inputs + 4 numbers. */
void any_events(const uint8_t *source, int64_t inputs, const struct fan *fans, const struct hop *hops, int32_t *places,
                int64_t steps, int64_t batch, int64_t size, int64_t first, int64_t last, uint8_t *spikes,
                int32_t *counts) {
    for (int64_t b = first; b < last; b++) {
        int32_t *sent = counts + b * size;
        memset(sent, 0, size * sizeof *sent);
        for (int64_t t = 0; t < steps; t++) {
            uint8_t *out = spikes + (t * batch + b) * size;
            memset(out, 0, size);
            const int64_t count = ones(source + (t * batch + b) * inputs, inputs, places);
            EACH(i) {
                const struct fan fan = fans[places[i]];
                for (int32_t k = fan.begin; k < fan.end; k++) {
                    const int32_t to = fan.group + hops[k].to;
                    sent[to] += !out[to];
                    out[to] = 1;
                }
            }
        }
    }
}
