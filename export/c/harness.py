"""What comes around the network in the C file: its face, and a ``main`` that reads samples and prints outputs."""

FACE = """
/* Messages of one step, in the order (channel, height, width); of a sample: steps of them, one after another. */
typedef MESSAGE snn_message;

/* State 0 and outputs 0: before every sample. */
void snn_reset(void);
/* One time step. */
void snn_step(const snn_message *input);
/* A whole sample, from state 0: SNN_STEPS * SNN_INPUTS messages in, SNN_OUTPUTS numbers out. */
void snn_run(const snn_message *inputs, int32_t *outputs);
/* What the steps since snn_reset() gave: SNN_OUTPUTS numbers. */
const int32_t *snn_outputs(void);
/* The place of the largest output; of equal ones the first. */
int32_t snn_class(void);
"""

CALLS = """
void snn_run(const snn_message *inputs, int32_t *outputs) {
    snn_reset();
    for (int32_t t = 0; t < SNN_STEPS; t++) snn_step(inputs + t * SNN_INPUTS);
    memcpy(outputs, snn_output, sizeof snn_output);
}

const int32_t *snn_outputs(void) { return snn_output; }

int32_t snn_class(void) {
    int32_t best = 0;
    for (int32_t i = 1; i < SNN_OUTPUTS; i++)
        if (snn_output[i] > snn_output[best]) best = i;
    return best;
}
"""

MAIN = """
#ifndef SNN_NO_MAIN
#include <stdio.h>

BEFORE
/* Reads samples from the file that is named, or from standard input: snn_message by snn_message, in this machine's
 * order of bytes, until there are no more. DOES */
int main(int argc, char **argv) {
    static snn_message step[SNN_INPUTS];
    FILE *from = argc > 1 ? fopen(argv[1], "rb") : stdin;
    if (from == NULL) {
        perror(argv[1]);
        return 1;
    }
    for (;;) {
        snn_reset();BEGIN
        for (int32_t t = 0; t < SNN_STEPS; t++) {
            const size_t got = fread(step, sizeof *step, SNN_INPUTS, from);
            if (got == 0 && t == 0 && feof(from)) {
                fclose(from);
                return fflush(stdout) == 0 ? 0 : 1;
            }
            if (got != SNN_INPUTS) {
                fprintf(stderr, "the input ends within a sample\\n");
                return 1;
            }
            snn_step(step);STEP
        }
END
    }
}
#endif
"""


def main_text(does: str, *, before: str = "", begin: str = "", step: str = "", end: str = "") -> str:
    """Return a ``main``.

    Args:
        does: a sentence about what it writes.
        before: declarations.
        begin: statements at the start of a sample.
        step: statements after each step.
        end: statements after a sample.
    """
    text = MAIN.replace("BEFORE\n", before + "\n" if before else "")
    text = text.replace("DOES", does).replace("BEGIN", begin)
    return text.replace("STEP\n", step + "\n").replace("END\n", end + "\n")


PLAIN = main_text(
    "Prints a line for each: the class, then the outputs.",
    end="""        printf("%ld", (long)snn_class());
        for (int32_t i = 0; i < SNN_OUTPUTS; i++) printf(" %ld", (long)snn_output[i]);
        printf("\\n");""",
)
