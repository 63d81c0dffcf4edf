#include "inflate.h"

#include <stdlib.h>

enum { RAW = -15 }; /* without zlib's header, and with the largest window, which reads all smaller ones */

void inflation_init(struct inflation *inflation, uint32_t members, size_t text_max) {
    *inflation = (struct inflation){.n = members, .text_max = text_max};
    inflation->kept = calloc(members, sizeof *inflation->kept);
    inflation->text = malloc(text_max);
    if (!inflation->kept || !inflation->text || inflateInit2(&inflation->fresh, RAW) != Z_OK) abort();
}

void inflation_free(struct inflation *inflation) {
    for (uint32_t i = 0; i < inflation->n; i++) {
        if (!inflation->kept[i]) continue;
        inflateEnd(inflation->kept[i]);
        free(inflation->kept[i]);
    }
    inflateEnd(&inflation->fresh);
    free(inflation->kept);
    free(inflation->text);
}

void inflation_keep(struct inflation *inflation, uint32_t member) {
    z_stream *stream = calloc(1, sizeof *stream);
    if (!stream || inflateInit2(stream, RAW) != Z_OK) abort();
    inflation->kept[member] = stream;
}

static int feed(z_stream *stream, const uint8_t *bytes, size_t length) {
    stream->next_in = (uint8_t *)(uintptr_t)bytes; /* zlib does not write there */
    stream->avail_in = (uInt)length;
    return inflate(stream, Z_SYNC_FLUSH);
}

long inflation_run(struct inflation *inflation, uint32_t member, const uint8_t *payload, size_t length) {
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    z_stream *stream = inflation->kept[member] ? inflation->kept[member] : &inflation->fresh;
    if (stream == &inflation->fresh) inflateReset(stream);
    stream->next_out = inflation->text;
    stream->avail_out = (uInt)inflation->text_max;
    int result = feed(stream, payload, length);
    /* A final block (§7.2.3.4) ends the message by itself; a context could not go on behind it. */
    if (result == Z_STREAM_END) return stream == &inflation->fresh ? (long)(stream->next_out - inflation->text) : -1;
    if (result != Z_OK || stream->avail_in) return -1;
    result = feed(stream, tail, sizeof tail);
    if ((result != Z_OK && result != Z_BUF_ERROR) || stream->avail_in) return -1;
    return (long)(stream->next_out - inflation->text);
}
