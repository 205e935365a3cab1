"""The loops of the C file, as text: each is written only where something calls it.

The arithmetic is that of docs/program.md. Sums that may wrap are unsigned, and what C99 leaves to the compiler (shifts
of negative numbers, conversions that do not fit) is not used.
"""

HELPERS = {
    "clear": """
static void clear(int32_t count, uint32_t *to) { memset(to, 0, (size_t)count * sizeof *to); }
""",
    "lowest": """
/* The place of the lowest bit of x, which is not 0. */
#if defined(__GNUC__) && UINT_MAX == 4294967295u
static int32_t lowest(uint32_t x) { return __builtin_ctz(x); }
#else
static int32_t lowest(uint32_t x) {
    int32_t place = 0;
    while (!(x & 1u)) {
        x >>= 1;
        place++;
    }
    return place;
}
#endif
""",
    "signed_of": """
/* x as a number with a sign, in two's complement. */
static int32_t signed_of(uint32_t x) { return x <= INT32_MAX ? (int32_t)x : -(int32_t)(UINT32_MAX - x) - 1; }
""",
    "floored": """
/* x / 2^bits, toward minus infinity. */
static int32_t floored(int32_t x, int32_t bits) { return x >= 0 ? x >> bits : ~(~x >> bits); }
""",
    "narrowed": """
/* x in 24 bits, in two's complement. */
static uint32_t narrowed(uint32_t x) { return ((x + 8388608u) & 16777215u) - 8388608u; }
""",
    "decayed": """
/* x keep / 4096 toward zero, in products of 32 bits; x is more than -2^31. */
static int32_t decayed(int32_t x, uint32_t keep) {
    const uint32_t most = (uint32_t)(x < 0 ? -x : x);
    const int32_t kept = (int32_t)((most >> 12) * keep + (((most & 4095u) * keep) >> 12));
    return x < 0 ? -kept : kept;
}
""",
}
"""What the loops below call, each by its name."""

DENSE = """
/* Add the weights of one source neuron, times x, to the sums of all target neurons. */
static void dense_WEIGHT(const WEIGHT *restrict weight, int32_t neurons, uint32_t x, uint32_t *restrict to) {
    for (int32_t j = 0; j < neurons; j++) to[j] += (uint32_t)(int32_t)weight[j] * x;
}
"""
SPARSE = """
/* The same for the target neurons that it reaches. */
static void sparse_WEIGHT_ROW(const WEIGHT *restrict weight, const ROW *restrict rows, int32_t first, int32_t last,
                              uint32_t x, uint32_t *restrict to) {
    for (int32_t k = first; k < last; k++) to[rows[k]] += (uint32_t)(int32_t)weight[k] * x;
}
"""
CONVOLUTION = """
/* The same for a convolution: the kernel's weights are added where they meet source neuron i. */
static void convolution_WEIGHT(const struct convolution *c, const WEIGHT *restrict weight, int32_t i, uint32_t x,
                               uint32_t *restrict to) {
    const int32_t pixel = i / c->channels, channel = i - pixel * c->channels, y = pixel / c->width;
    int32_t row, column;
    const int32_t first_y = meeting(y + c->pad_y, &c->y, &row);
    const int32_t first_x = meeting(pixel - y * c->width + c->pad_x, &c->x, &column);
    weight += channel * c->y.kernel * c->x.kernel * c->together;
    to += channel / c->per_group * c->together;
    for (int32_t ky = first_y; ky < c->y.kernel && row >= 0; ky += c->y.jump, row -= c->y.drop) {
        if (row >= c->y.size) continue;
        for (int32_t kx = first_x, at = column; kx < c->x.kernel && at >= 0; kx += c->x.jump, at -= c->x.drop) {
            if (at >= c->x.size) continue;
            const WEIGHT *restrict tap = weight + (ky * c->x.kernel + kx) * c->together;
            uint32_t *restrict sums_here = to + (row * c->x.size + at) * c->to_channels;
            for (int32_t o = 0; o < c->together; o++) sums_here[o] += (uint32_t)(int32_t)tap[o] * x;
        }
    }
}
"""
CONVOLUTION_STRUCT = """
/* One axis of a convolution. size: of the target; jump: from one place of the kernel that meets a target to the next,
 * drop: and by how much that target lies before the other. */
struct axis {
    int32_t size, kernel, stride, dilation, jump, drop;
};
/* channels, width: of the source; together: target channels of a group; per_group: source channels of one. */
struct convolution {
    int32_t channels, width, to_channels, together, per_group, pad_y, pad_x;
    struct axis y, x;
};
"""
MEETING = """
/* The first place of the kernel at which a source meets a target, and that target; its size if there is none. */
static int32_t meeting(int32_t place, const struct axis *a, int32_t *target) {
    int32_t k = 0;
    while (k < a->jump && place >= 0 && place % a->stride) {
        k++;
        place -= a->dilation;
    }
    *target = place / a->stride;
    return k < a->jump && place >= 0 ? k : a->kernel;
}
"""

_LIF = """
/* One step of neurons: u <- wrap(decay(u) + 64 sum); v <- clip(decay(v) + u + bias); a spike, and v <- 0, above vth.
 * keep_u, keep_v: 4096 less the decay; biases repeat after period neurons. */
static void NAME(int32_t neurons, PARAMETERSint32_t *restrict v, uint32_t keep_v, int32_t vth, const int16_t *bias,
    int32_t period, int32_t unit, DRIVEuint32_t *restrict spikes) {
    for (int32_t start = 0, k = 0; start < neurons; start += 32) {
        const int32_t count = neurons - start < 32 ? neurons - start : 32;
        uint32_t fired = 0;
        for (int32_t j = 0; j < count; j++) {
            const int32_t i = start + j;
            int32_t current = signed_of((sums[i] << 6)CURRENT);
            current = current > 8388608 ? current - 16777216 : current <= -8388608 ? current + 16777216 : current;KEEP
            int32_t voltage = decayed(v[i], keep_v) + current + (bias[k]ADDED) * unit;
            voltage = voltage < -8388607 ? -8388607 : voltage > 8388607 ? 8388607 : voltage;
            fired |= (uint32_t)(voltage > vth) << j;
            v[i] = voltage > vth ? 0 : voltage;
            k = k + 1 == period ? 0 : k + 1;
        }
        spikes[start / 32] = fired;
    }
}
"""


def lif(memory: bool, drive: str) -> tuple[str, str]:
    """Return the name and the text of a loop over neurons that spike.

    Args:
        memory: whether the current has one.
        drive: C type of bias-coded input; empty where there is none.
    """
    name = ("cuba" if memory else "lif") + (f"_driven_{drive}" if drive else "")
    text = _LIF.replace("NAME", name)
    text = text.replace("PARAMETERS", "int32_t *restrict u, uint32_t keep_u, " if memory else "")
    text = text.replace("CURRENT", " + (uint32_t)decayed(u[i], keep_u)" if memory else "")
    text = text.replace("KEEP", "\n            u[i] = current;" if memory else "")
    text = text.replace("DRIVE", f"const {drive} *drive, " if drive else "")
    return name, text.replace("ADDED", " + (int32_t)drive[i]" if drive else "")


GRADED = """
/* Units without state send what they receive, above vth. */
static void graded_KIND(int32_t neurons, int32_t vth, KIND *restrict sent) {
    for (int32_t i = 0; i < neurons; i++) {
        const int32_t sum = signed_of(sums[i]);
        sent[i] = (KIND)(sum > vth ? sum : 0);
    }
}
"""

_SIGMA_DELTA = """
/* One step of sigma-delta neurons: what arrives is added up, and a change of the activation is sent once it is as large
 * as vth; what is not sent is kept in residue. All of it wraps at 32 bits. */
static void NAME(int32_t neurons, int32_t *restrict sigma, int32_t *restrict act, int32_t *restrict residue,
    const int16_t *bias, int32_t period, uint32_t unit, uint32_t vth, int32_t down, DRIVEint32_t *restrict sent) {
    for (int32_t i = 0, k = 0; i < neurons; i++) {
        sigma[i] = signed_of((uint32_t)sigma[i] + sums[i]);
        int32_t level = signed_of((uint32_t)sigma[i] + (uint32_t)(bias[k]ADDED) * unit);RELU
        const uint32_t moved = (uint32_t)level - (uint32_t)act[i] + (uint32_t)residue[i];
        const int32_t change = signed_of(moved);
        const uint32_t most = change < 0 ? 0u - moved : moved;
        /* The magnitude of -2^31 is -2^31 in 32 bits, which reaches no threshold. */
        const int32_t message = most < vth || moved == 2147483648u ? 0 : change;
        residue[i] = change - message;
        act[i] = level;
        sent[i] = floored(message, down);
        k = k + 1 == period ? 0 : k + 1;
    }
}
"""


def sigma_delta(relu: bool, drive: str) -> tuple[str, str]:
    """Return the name and the text of a loop over sigma-delta neurons.

    Args:
        relu: whether the activation is max(x, 0), not x.
        drive: C type of bias-coded input; empty where there is none.
    """
    name = ("sigma_delta_relu" if relu else "sigma_delta") + (f"_driven_{drive}" if drive else "")
    text = _SIGMA_DELTA.replace("NAME", name).replace("RELU", "\n        if (level < 0) level = 0;" if relu else "")
    text = text.replace("DRIVE", f"const {drive} *drive, " if drive else "")
    return name, text.replace("ADDED", " + (int32_t)drive[i]" if drive else "")


SIGMA = """
/* Units that add up what arrives and send the sum itself. */
static void sigma(int32_t neurons, int32_t *restrict total, int32_t *restrict sent) {
    for (int32_t i = 0; i < neurons; i++) sent[i] = total[i] = signed_of((uint32_t)total[i] + sums[i]);
}
"""
