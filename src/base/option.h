/* option.h - what a layer, a loss, an optimizer or a reader of files is told by name. A row declares
 * each once: the binding checks a call against it and shows it in help, the row reads the value by its place. */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_MAX = 8 };

typedef enum option_type { OPTION_NUMBER /* finite */, OPTION_COUNT /* whole */, OPTION_FLAG /* 0 or 1 */,
                           OPTION_TEXT, OPTION_TABLE /* these two for readers of files alone */ } option_type;

typedef struct option {
    const char *name; /* NULL ends the list */
    const char *doc;
    option_type type;
    bool required;
    bool by_place;    /* in a list it may stand without its name, in this order */
    double otherwise; /* the default ... */
    const char *like; /* ... or that of an option before it */
    double low, high; /* low <= value <= high; both 0: any */
    bool open;        /* low < value < high ... */
    bool below;       /* ... or low <= value < high */
    const char *wanted, *says; /* of texts and tables: what is expected, and what is done without, in words */
} option;

static inline int option_count(const option *list) {
    int n = 0;
    while (n < OPTIONS_MAX && list[n].name) n++;
    return n;
}

#endif
