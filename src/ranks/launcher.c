/* launcher.c - the names of these variables, which nothing else knows: of Open MPI, of MPICH and its kin, of Slurm. */
#include "launcher.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *rank, *size;
    bool slurm;
} kinds[] = {
    { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", false },
    { "PMI_RANK", "PMI_SIZE", false },
    { "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", true },
    { "SLURM_PROCID", "SLURM_NTASKS", true },
};

static const char *const beginnings[] = {
    "OMPI_",          "PMI_",         "PMIX_",         "MPI_LOCAL",  "SLURM_PROCID=",
    "SLURM_LOCALID=", "SLURM_NTASKS", "SLURM_NPROCS=", "SLURM_STEP", NULL
};

/* The whole number in a variable, or -1. */
static int number_in(const char *name) {
    const char *text = getenv(name);
    char *end = NULL;
    const long n = text ? strtol(text, &end, 10) : -1;
    return text && end != text && !*end && n >= 0 && n <= INT_MAX ? (int)n : -1;
}

int launcher_size(int *rank) {
    const bool batch = getenv("SLURM_JOB_ID") && !getenv("SLURM_STEP_ID"); /* a batch script of Slurm is no rank */
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const int n = number_in(kinds[k].rank), size = number_in(kinds[k].size);
        if ((kinds[k].slurm && batch) || size <= 1 || n < 0 || n >= size) continue;
        *rank = n;
        return size;
    }
    *rank = 0;
    return 1;
}

bool launcher_started(void) {
    int rank;
    return launcher_size(&rank) > 1 || getenv("PMI_RANK") || getenv("PMIX_RANK");
}

bool launcher_told(const char *entry) {
    for (const char *const *p = beginnings; *p; p++)
        if (strncmp(entry, *p, strlen(*p)) == 0) return true;
    return false;
}
