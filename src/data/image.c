/* image.c - PNG by libpng and JPEG by libjpeg-turbo, told apart by their first bytes. Both leave an error by longjmp,
 * which stays inside the two functions that call them: what they hold lies in a `picture`, and is freed by who called.
 * An image is believed only if as many bytes are there as its size needs at the least. */
#include "format.h"
#include "source.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

enum { CHANNELS };
enum {
    MOST_PIXELS = 1 << 26,
    PNG_SHRINK = 1100, /* bytes that deflate makes of one at the most, and a little */
    JPEG_SHRINK = 512, /* pixels in a byte: a block of 64 takes a bit or more */
    JPEG_SCANS = 500,  /* of a progressive file; encoders write about ten */
};

typedef struct picture {
    ctx *c;
    const char *path;
    const unsigned char *data; /* the file */
    size_t n, used;
    int64_t rows, columns;
    int channels;
    size_t reserved;       /* for libjpeg */
    err refused;           /* memory that libpng asked for */
    unsigned char *pixels; /* (rows, columns, channels) */
    png_structp png;
    png_infop info;
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr jpeg_errors;
    struct jpeg_progress_mgr jpeg_progress;
    jmp_buf back;
    bk_status status;
    err *e;
} picture;

static int64_t picture_bytes(const picture *p) {
    return p->rows * p->columns * p->channels;
}

/* Room for the pixels, if the file can hold so many. */
static bool make_room(picture *p, int64_t shrink) {
    if (p->rows < 1 || p->columns < 1 || p->rows > MOST_PIXELS || p->rows * p->columns > MOST_PIXELS)
        p->status = err_set(p->e, BK_EIO, "%s: expected at most %d pixels, got %lld x %lld", p->path, MOST_PIXELS,
                            (long long)p->rows, (long long)p->columns);
    else if (p->rows * p->columns / shrink > (int64_t)p->n)
        p->status = err_set(p->e, BK_EIO, "%s: breaks off: %lld x %lld pixels, the file holds %zu bytes", p->path,
                            (long long)p->rows, (long long)p->columns, p->n);
    else if (!(p->pixels = mem_alloc(p->c, (size_t)picture_bytes(p))))
        p->status = err_nomem(p->e, (size_t)picture_bytes(p));
    return p->status == BK_OK;
}

/* ---- PNG ---- */

static void png_failed(png_structp png, png_const_charp text) {
    picture *p = png_get_error_ptr(png);
    if (!p->status && p->refused.status)
        p->status = err_set(p->e, p->refused.status, "%s", p->refused.text);
    else if (!p->status)
        p->status = err_set(p->e, BK_EIO, "%s: PNG: %s", p->path, text);
    longjmp(p->back, 1);
}

static void png_warned(png_structp png, png_const_charp text) {
    (void)png, (void)text;
}

static void png_bytes(png_structp png, png_bytep to, size_t n) {
    picture *p = png_get_io_ptr(png);
    if (n > p->n - p->used) png_error(png, "the file breaks off");
    if ((p->status = ctx_poll(p->c, p->e))) longjmp(p->back, 1);
    memcpy(to, p->data + p->used, n);
    p->used += n;
}

static png_voidp png_alloc(png_structp png, png_alloc_size_t n) {
    picture *p = png_get_mem_ptr(png);
    void *block = mem_sized_alloc(p->c, n);
    if (!block) err_nomem(&p->refused, n);
    return block;
}

static void png_release(png_structp png, png_voidp block) {
    mem_sized_free(((picture *)png_get_mem_ptr(png))->c, block);
}

/* The colours of the indices that lie at the beginning of the pixels, from the last one on. */
static bool paint(picture *p) {
    png_colorp palette = NULL;
    int n = 0;
    png_get_PLTE(p->png, p->info, &palette, &n);
    for (int64_t i = p->rows * p->columns - 1; i >= 0; i--) {
        const int index = p->pixels[i];
        if (i % (1 << 20) == 0 && (p->status = ctx_poll(p->c, p->e))) return false;
        if (index >= n) {
            p->status = err_set(p->e, BK_EIO,
                                "%s: PNG: row %lld, column %lld: expected one of the palette's %d colours, 0 to %d, "
                                "got %d",
                                p->path, (long long)(i / p->columns + 1), (long long)(i % p->columns + 1), n, n - 1,
                                index);
            return false;
        }
        const unsigned char colour[3] = { palette[index].red, palette[index].green, palette[index].blue };
        memcpy(p->pixels + 3 * i, colour, sizeof colour);
    }
    return true;
}

static void read_png(picture *p) {
    p->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, p, png_failed, png_warned, p, png_alloc, png_release);
    p->info = p->png ? png_create_info_struct(p->png) : NULL;
    if (!p->info) {
        p->status = err_nomem(p->e, 0);
        return;
    }
    if (setjmp(p->back)) return;
    png_set_read_fn(p->png, p, png_bytes);
    /* texts and profiles are passed over: they may unpack to a thousand times their size */
    png_set_keep_unknown_chunks(p->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(p->png, p->info);
    p->rows = png_get_image_height(p->png, p->info);
    p->columns = png_get_image_width(p->png, p->info);
    const int colour = png_get_color_type(p->png, p->info);
    const bool palette = colour == PNG_COLOR_TYPE_PALETTE;
    if (palette)
        png_set_packing(p->png); /* an index a byte: libpng would paint one beyond the palette black */
    else
        png_set_expand(p->png); /* few bits, a transparent colour */
    png_set_scale_16(p->png);
    png_set_strip_alpha(p->png);
    const int passes = png_set_interlace_handling(p->png);
    png_read_update_info(p->png, p->info);
    p->channels = colour & PNG_COLOR_MASK_COLOR ? 3 : 1;
    const int64_t row_bytes = p->columns * (palette ? 1 : p->channels);
    if (png_get_rowbytes(p->png, p->info) != (size_t)row_bytes) png_error(p->png, "an unknown kind");
    if (!make_room(p, (int64_t)PNG_SHRINK * 8)) return; /* 8 pixels in a byte, at one bit each */
    for (int pass = 0; pass < passes; pass++)
        for (int64_t row = 0; row < p->rows; row++) {
            if (row % 64 == 0 && (p->status = ctx_poll(p->c, p->e))) return;
            png_read_row(p->png, p->pixels + row * row_bytes, NULL);
        }
    png_read_end(p->png, NULL);
    if (palette && !paint(p)) return;
    if (p->used < p->n) p->status = err_set(p->e, BK_EIO, "%s: bytes follow after the end of the image", p->path);
}

/* ---- JPEG ---- */

static picture *of_jpeg(j_common_ptr j) {
    return j->client_data;
}

static void jpeg_failed(j_common_ptr j) {
    char text[JMSG_LENGTH_MAX];
    picture *p = of_jpeg(j);
    j->err->format_message(j, text);
    if (!p->status) p->status = err_set(p->e, BK_EIO, "%s: JPEG: %s", p->path, text);
    longjmp(p->back, 1);
}

static void jpeg_said(j_common_ptr j, int level) { /* below 0: damage, which the library would paint over */
    if (level < 0) jpeg_failed(j);
}

static void jpeg_silent(j_common_ptr j) {
    (void)j;
}

static void jpeg_goes_on(j_common_ptr j) {
    picture *p = of_jpeg(j);
    if (p->jpeg.input_scan_number > JPEG_SCANS)
        p->status = err_set(p->e, BK_EIO, "%s: JPEG: more than %d scans", p->path, JPEG_SCANS);
    else
        p->status = ctx_poll(p->c, p->e);
    if (p->status) longjmp(p->back, 1);
}

/* What libjpeg, which takes no allocator, uses: some rows of samples; of a file in several scans every coefficient, 2
 * bytes each. */
static size_t jpeg_need(picture *p) {
    size_t need = (size_t)(64 * p->columns * p->channels) + (1 << 19);
    for (int k = 0; k < p->jpeg.num_components && jpeg_has_multiple_scans(&p->jpeg); k++) {
        const jpeg_component_info *one = &p->jpeg.comp_info[k];
        need += (size_t)(one->width_in_blocks + 8) * (one->height_in_blocks + 8) * DCTSIZE2 * sizeof(JCOEF);
    }
    return need;
}

static void read_jpeg(picture *p) {
    p->jpeg.err = jpeg_std_error(&p->jpeg_errors);
    p->jpeg_errors.error_exit = jpeg_failed;
    p->jpeg_errors.emit_message = jpeg_said;
    p->jpeg_errors.output_message = jpeg_silent;
    p->jpeg.client_data = p;
    if (setjmp(p->back)) return;
    jpeg_create_decompress(&p->jpeg);
    jpeg_mem_src(&p->jpeg, p->data, (unsigned long)p->n);
    p->jpeg_progress.progress_monitor = jpeg_goes_on;
    p->jpeg.progress = &p->jpeg_progress;
    jpeg_read_header(&p->jpeg, TRUE);
    p->rows = p->jpeg.image_height;
    p->columns = p->jpeg.image_width;
    p->channels = p->jpeg.num_components == 1 ? 1 : 3;
    if (p->jpeg.num_components != 1 && p->jpeg.num_components != 3) {
        p->status =
            err_set(p->e, BK_EIO, "%s: JPEG: expected grey or RGB, got %d colours", p->path, p->jpeg.num_components);
        return;
    }
    p->jpeg.out_color_space = p->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    if (!make_room(p, p->jpeg.arith_code ? MOST_PIXELS : JPEG_SHRINK)) return;
    p->jpeg.mem->max_memory_to_use = (long)(8 * picture_bytes(p) + (16 << 20)); /* a progressive file's coefficients */
    p->reserved = jpeg_need(p);
    if (!mem_reserve(p->c, p->reserved)) {
        p->status = err_nomem(p->e, p->reserved);
        p->reserved = 0;
        return;
    }
    jpeg_start_decompress(&p->jpeg);
    while (p->jpeg.output_scanline < p->jpeg.output_height) {
        JSAMPROW row = p->pixels + (size_t)p->jpeg.output_scanline * (size_t)(p->columns * p->channels);
        jpeg_read_scanlines(&p->jpeg, &row, 1);
    }
    jpeg_finish_decompress(&p->jpeg);
}

/* ---- the tensor ---- */

/* Of one pixel, in the number of channels asked for: grey is repeated, RGB weighed as in ITU-R BT.601. */
static double sample(const picture *p, const unsigned char *at, int wanted, int channel) {
    if (wanted == p->channels) return at[channel];
    return p->channels == 1 ? at[0] : 0.299 * at[0] + 0.587 * at[1] + 0.114 * at[2];
}

static bk_status as_tensor(const picture *p, int wanted, tensor *out, err *e) {
    const int64_t area = p->rows * p->columns, shape[3] = { wanted, p->rows, p->columns };
    bk_status status = tensor_new(p->c, BK_FLOAT32, 3, shape, out, e);
    if (status) return status;
    float *to = tensor_data(out);
    for (int channel = 0; channel < wanted; channel++)
        for (int64_t i = 0; i < area; i++) {
            if (i % (1 << 20) == 0 && (status = ctx_poll(p->c, e))) return status;
            *to++ = (float)sample(p, p->pixels + i * p->channels, wanted, channel);
        }
    return BK_OK;
}

static bk_status decode(picture *p, const bytes *file, int wanted, tensor *out, err *e) {
    static const unsigned char png[8] = "\x89PNG\r\n\x1a\n", jpeg[3] = { 0xff, 0xd8, 0xff };
    p->data = file->data, p->n = file->count, p->e = e;
    if (p->n >= sizeof png && memcmp(p->data, png, sizeof png) == 0)
        read_png(p);
    else if (p->n >= sizeof jpeg && memcmp(p->data, jpeg, sizeof jpeg) == 0)
        read_jpeg(p);
    else
        p->status = err_set(e, BK_EIO, "%s: neither PNG nor JPEG by its first bytes", p->path);
    if (!p->status) p->status = as_tensor(p, wanted ? wanted : p->channels, out, e);
    mem_free(p->c, p->pixels, p->pixels ? (size_t)picture_bytes(p) : 0);
    if (p->png) png_destroy_read_struct(&p->png, p->info ? &p->info : NULL, NULL);
    if (p->jpeg.err) jpeg_destroy_decompress(&p->jpeg);
    mem_unreserve(p->c, p->reserved);
    return p->status;
}

static bk_status image_read(const format_call *call, value *out, err *e) {
    source s;
    bytes file = { 0 };
    tensor t = { 0 };
    const int channels = (int)call->option[CHANNELS];
    if (channels != 0 && channels != 1 && channels != 3)
        return err_set(e, BK_EINVAL, "bk.data.image: channels: expected 1, 3, or 0 for the file's, got %d", channels);
    picture *p = mem_zalloc(call->c, sizeof *p);
    if (!p) return err_nomem(e, sizeof *p);
    bk_status status = source_open(call->c, call->path, &s, e);
    if (!status) status = source_read_all(&s, &file, e);
    p->c = call->c, p->path = s.path;
    if (!status) status = decode(p, &file, channels, &t, e);
    source_close(&s);
    bytes_free(call->c, &file);
    mem_free(call->c, p, sizeof *p);
    if (!status) return value_add_tensor(out, NULL, &t, e);
    tensor_release(&t);
    return status;
}

const format_row format_image = {
    .name = "image",
    .doc =
        "bk.data.image(path [, { channels = 0 }]) -> tensor (channels, rows, columns)\n"
        "A PNG or JPEG file as float32 numbers 0..255; bk.data.images reads a folder of them.\n\n"
        "Grey images have 1 channel, coloured ones 3 (RGB). 16 bits are scaled to 8, palettes become colours, an alpha "
        "channel is left out. A file that breaks off or is damaged, one with a pixel that its palette lacks, one of "
        "more than 2^26 pixels, and CMYK are errors that name it.",
    .options = { { "channels",
                   "1: colours become grey (0.299 R + 0.587 G + 0.114 B); 3: grey is repeated; 0: as in the "
                   "file",
                   OPTION_COUNT, .high = 3 } },
    .read = image_read,
};
