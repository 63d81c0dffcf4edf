/* As much of JSON (RFC 8259) as it takes to find a member of an object without reading the others. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>

#include "span.h"

/* True if `text` is one object from its first byte to its last. */
bool json_is_object(struct span text);

/* The value of the member `name`, as it is written; none where `object` has no such member, or is no object. */
struct span json_member(struct span object, const char *name);

/* The value as a whole number, 0 or more; 0 where it is none, or where there is no value. */
uint64_t json_number(struct span value);

bool json_is_true(struct span value);

#endif
