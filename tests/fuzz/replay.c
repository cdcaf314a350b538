/* replay.c - a harness without a fuzzer: each file given is one input. Last line: `N passed, N failed`; a broken promise
 * ends the process. */
#include "fuzz.h"

int main(int argc, char **argv) {
    static uint8_t data[1 << 20];
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) return 2;
        const size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        fprintf(stderr, "%s\n", argv[i]);
        uint8_t *whole = malloc(n + !n); /* its size and no more */
        if (!whole) return 2;
        memcpy(whole, data, n);
        LLVMFuzzerTestOneInput(whole, n);
        free(whole);
    }
    fprintf(stderr, "%d passed, 0 failed\n", argc - 1);
    return 0;
}
