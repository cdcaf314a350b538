/* nearest.h - what a mistyped name most likely means: for "did you mean". */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

/* The known name (NULL-ended) that begins with `name` or is few edits from it, or NULL. */
const char *name_nearest(const char *name, const char *const *known);

/* " (did you mean NAME?)" of it, or "": what a message about the name ends with. */
typedef struct name_hint {
    char text[100];
} name_hint;
name_hint name_meant(const char *name, const char *const *known);

#endif
