/* Point splatting on a CPU: one call draws all views of a batch of clouds.
 *
 * Views are shared out among OpenMP's threads. Torch's loops run on the same ones, so neither waits
 * for threads of the other that have nothing to do but have not gone to sleep yet.
 *
 * Equals splat_torch.py bit for bit, so every float32 operation is rounded by itself: compile with
 * -ffp-contract=off and without -ffast-math.
 */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EMPTY_DEPTH INT32_MAX         /* depth code of an empty pixel */
#define FAR_LIMIT 2147483392.0f       /* 2^31 - 256, largest depth in steps */
#define DEPTH_UNITS 1000.0f           /* depth steps per cube unit */
#define DEPTH_STEP 0.001f             /* cube units */
#define BACKGROUND_DEPTH -1.0f

/* One camera; see views.py. Signs are +1 or -1. */
struct view {
    int32_t column_axis, column_sign;
    int32_t row_axis, row_sign;
    int32_t depth_axis, depth_sign;
    float depth_offset;
};

/* A batch of clouds, one behind the other: points (samples, count, 3), features (samples, count,
 * channels), valid (samples, count) or null, divisors (samples) or null. */
struct clouds {
    const float *points, *features;
    const uint8_t *valid;
    const float *divisors;
    int64_t samples, count, channels;
};

/* One of them; divisor 0: its positions are not drawn. */
struct cloud {
    const float *points, *features;
    const uint8_t *valid;
    float divisor;
    int64_t count, channels;
};

/* The neighbours (column, row) that a pixel looks at, in the order in which ties are resolved. */
struct splat {
    const int32_t *columns, *rows;
    int32_t count, margin;
};

/* Where the images (samples, views, channels, size, size) go, and how far apart they lie. */
struct images {
    float *pixels;
    int64_t sample_stride, view_stride, channel_stride;
    int32_t size;
};

static struct cloud pick_cloud(const struct clouds *clouds, int64_t sample)
{
    const int64_t first = sample * clouds->count;
    return (struct cloud){
        .points = clouds->points + 3 * first,
        .features = clouds->features + clouds->channels * first,
        .valid = clouds->valid ? clouds->valid + first : NULL,
        .divisor = clouds->divisors ? clouds->divisors[sample] : 0.0f,
        .count = clouds->count,
        .channels = clouds->channels,
    };
}

static int is_finite(const float *p)
{
    return fabsf(p[0]) <= FLT_MAX && fabsf(p[1]) <= FLT_MAX && fabsf(p[2]) <= FLT_MAX;
}

/* Keep the nearest point of every pixel, of equally near ones the first (quirk R3).
 * keys: `depth steps << 32 | point` per pixel, all ones where empty. */
static void fill_keys(const struct cloud *cloud, const struct view *view, int32_t size,
                      uint64_t *restrict keys)
{
    /* Signs enter as factors: negation is exact. */
    const float half = 0.5f * (float)size, limit = (float)size;
    const float column_scale = (float)view->column_sign * half;
    const float row_scale = (float)view->row_sign * half;
    const float depth_scale = (float)view->depth_sign, offset = view->depth_offset;
    const int32_t column_axis = view->column_axis, row_axis = view->row_axis;
    const int32_t depth_axis = view->depth_axis;
    const uint8_t *valid = cloud->valid;
    const float *p = cloud->points;
    memset(keys, 0xff, sizeof *keys * (size_t)size * (size_t)size);
    for (int64_t i = 0; i < cloud->count; i++, p += 3) {
        const float u = p[column_axis] * column_scale + half;
        const float v = p[row_axis] * row_scale + half;
        if (!(u >= 0.0f && u < limit && v >= 0.0f && v < limit))
            continue;
        if (!is_finite(p) || (valid && !valid[i]))
            continue;
        float steps = (p[depth_axis] * depth_scale + offset) * DEPTH_UNITS;
        steps = steps > 0.0f ? steps : 0.0f; /* behind the camera: in front of all (quirk R2) */
        steps = steps < FAR_LIMIT ? steps : FAR_LIMIT;
        const uint64_t key = (uint64_t)(uint32_t)steps << 32 | (uint64_t)i;
        uint64_t *pixel = keys + (int32_t)v * size + (int32_t)u;
        *pixel = key < *pixel ? key : *pixel;
    }
}

/* Split keys into depth and index images with an empty margin. */
static void split_keys(const uint64_t *restrict keys, int32_t size, int32_t margin,
                       int32_t *restrict depth, int32_t *restrict index)
{
    const int64_t stride = size + 2 * margin;
    for (int64_t i = 0; i < stride * stride; i++)
        depth[i] = EMPTY_DEPTH;
    memset(index, 0xff, sizeof *index * (size_t)(stride * stride));
    for (int32_t y = 0; y < size; y++) {
        int32_t *restrict depths = depth + (y + margin) * stride + margin;
        int32_t *restrict indices = index + (y + margin) * stride + margin;
        for (int32_t x = 0; x < size; x++) {
            const uint64_t key = keys[(int64_t)y * size + x];
            depths[x] = (int32_t)(key >> 32 & EMPTY_DEPTH);
            indices[x] = (int32_t)key;
        }
    }
}

/* Let the pixels of a row take over one neighbour each where it is nearer or equally near: of
 * equally near ones the last visited wins (quirk R5). Depth 0 neither spreads nor is covered
 * (quirk R4). */
static void take_nearer(const int32_t *restrict near_depth, const int32_t *restrict near_index,
                        int32_t size, int32_t *restrict best_depth, int32_t *restrict best_index)
{
    for (int32_t x = 0; x < size; x++) {
        const int32_t take = -((near_depth[x] > 0) & (near_depth[x] <= best_depth[x]));
        best_depth[x] = (near_depth[x] & take) | (best_depth[x] & ~take);
        best_index[x] = (near_index[x] & take) | (best_index[x] & ~take);
    }
}

static void resolve_row(const int32_t *depth, const int32_t *index, int64_t stride, int32_t size,
                        const struct splat *splat, int32_t *best_depth, int32_t *best_index)
{
    memcpy(best_depth, depth, sizeof *depth * (size_t)size);
    memcpy(best_index, index, sizeof *index * (size_t)size);
    for (int32_t k = 0; k < splat->count; k++) {
        const int64_t shift = splat->rows[k] * stride + splat->columns[k];
        take_nearer(depth + shift, index + shift, size, best_depth, best_index);
    }
}

/* Spread a table (count, 3) over the channel rows of the points that a row shows. */
static void gather_three(const float *restrict table, const int32_t *restrict index, int32_t size,
                         int64_t plane, float *restrict row)
{
    static const float nothing[3] = {0.0f, 0.0f, 0.0f};
    float *restrict first = row, *restrict second = row + plane, *restrict third = row + 2 * plane;
    for (int32_t x = 0; x < size; x++) {
        const float *entry = index[x] < 0 ? nothing : table + 3 * (int64_t)index[x];
        first[x] = entry[0];
        second[x] = entry[1];
        third[x] = entry[2];
    }
}

/* The same for any number of channels. */
static void gather_row(const float *restrict table, int64_t channels, const int32_t *restrict index,
                       int32_t size, int64_t plane, float *restrict row)
{
    if (channels == 3) {
        gather_three(table, index, size, plane, row);
        return;
    }
    for (int32_t x = 0; x < size; x++) {
        const int64_t i = index[x];
        for (int64_t c = 0; c < channels; c++)
            row[c * plane + x] = i < 0 ? 0.0f : table[channels * i + c];
    }
}

/* Write the channels of a row: position / divisor (if there is one), features, depth. */
static void pack_row(const struct cloud *cloud, const int32_t *restrict depth,
                     const int32_t *restrict index, int32_t size, int64_t plane,
                     float *restrict row)
{
    if (cloud->divisor > 0.0f) {
        gather_row(cloud->points, 3, index, size, plane, row);
        for (int32_t c = 0; c < 3; c++, row += plane)
            for (int32_t x = 0; x < size; x++)
                row[x] /= cloud->divisor;
    }
    gather_row(cloud->features, cloud->channels, index, size, plane, row);
    row += cloud->channels * plane;
    for (int32_t x = 0; x < size; x++)
        row[x] = index[x] < 0 ? BACKGROUND_DEPTH : (float)depth[x] * DEPTH_STEP;
}

/* Draw a view into image (positions + channels + 1, size, size), whose channels lie `plane` apart.
 * keys: size^2; scratch: 2 (size + 2 margin)^2 + 2 size integers. */
static void draw_view(const struct cloud *cloud, const struct view *view,
                      const struct splat *splat, int32_t size, int64_t plane, uint64_t *keys,
                      int32_t *scratch, float *image)
{
    const int64_t stride = size + 2 * splat->margin;
    int32_t *depth = scratch, *index = depth + stride * stride;
    int32_t *best_depth = index + stride * stride, *best_index = best_depth + size;
    fill_keys(cloud, view, size, keys);
    split_keys(keys, size, splat->margin, depth, index);
    for (int32_t y = 0; y < size; y++) {
        const int64_t start = (y + splat->margin) * stride + splat->margin;
        resolve_row(depth + start, index + start, stride, size, splat, best_depth, best_index);
        pack_row(cloud, best_depth, best_index, size, plane, image + (int64_t)y * size);
    }
}

/* Draw all views of all clouds. keys (threads, size^2) and scratch (threads, `scratch_count`) are
 * working memory: the caller keeps it, since fresh memory costs as much as drawing. */
void sam2act_draw(const struct clouds *clouds, const struct view *views, int32_t view_count,
                  const struct splat *splat, const struct images *images, int32_t threads,
                  uint64_t *keys, int32_t *scratch, int64_t scratch_count)
{
    const int64_t pixels = (int64_t)images->size * images->size;
    const int64_t count = clouds->samples * view_count;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int32_t thread = 0; thread < threads; thread++)
        for (int64_t i = thread; i < count; i += threads) {
            const int64_t sample = i / view_count, number = i % view_count;
            const struct cloud cloud = pick_cloud(clouds, sample);
            draw_view(&cloud, &views[number], splat, images->size, images->channel_stride,
                      keys + thread * pixels, scratch + thread * scratch_count,
                      images->pixels + sample * images->sample_stride +
                          number * images->view_stride);
        }
}

static float largest_coordinate(const struct cloud *cloud)
{
    float largest = 0.0f;
    for (int64_t i = 0; i < cloud->count; i++) {
        const float *p = cloud->points + 3 * i;
        if (!is_finite(p) || (cloud->valid && !cloud->valid[i]))
            continue;
        for (int c = 0; c < 3; c++)
            largest = fabsf(p[c]) > largest ? fabsf(p[c]) : largest;
    }
    return largest > 0.0f ? largest : 1.0f;
}

/* The largest absolute coordinate of each cloud's existing points; 1 if there is none or it is 0. */
void sam2act_largest_coordinates(const struct clouds *clouds, int32_t threads, float *largest)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t sample = 0; sample < clouds->samples; sample++) {
        const struct cloud cloud = pick_cloud(clouds, sample);
        largest[sample] = largest_coordinate(&cloud);
    }
}
