/* A piece of memory that belongs to somebody else; `bytes` is NULL where there is none. */
#ifndef SPAN_H
#define SPAN_H

#include <stddef.h>
#include <stdint.h>

struct span {
    const uint8_t *bytes;
    size_t length;
};

#endif
