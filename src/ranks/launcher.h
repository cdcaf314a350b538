/* launcher.h - what mpirun and srun tell each process that they start, in its environment. */
#ifndef RANKS_LAUNCHER_H
#define RANKS_LAUNCHER_H

#include <stdbool.h>

/* How many ranks the launcher says it started, and which this is; 1 and 0 where there is none. */
int launcher_size(int *rank);
/* Whether there may be others, though the launcher does not say how many. */
bool launcher_started(void);
/* Whether an entry NAME=VALUE of the environment is told to a rank about itself. */
bool launcher_told(const char *entry);

#endif
