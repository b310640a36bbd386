/* Convex combinations of 3x3 neighbourhoods, the inner step of ConvexUpsample, and its gradients.
 *
 * Every pixel becomes 2x2 sub-pixels; each is a weighted sum over nine neighbours, of which those
 * outside the map count as zero. Weights are the soft-max of factor * logits over the neighbours.
 * Maps lie as rows of pixels, all channels of a pixel side by side:
 *
 *   values           (maps, height, width, channels)
 *   logits, weights  (maps, height, width, 9 neighbours, 4 sub-pixels)
 *   combined         (maps, 2 height, 2 width, channels)
 *
 * Maps are shared out among OpenMP's threads (see splat.c) and never share a sum, so results do not
 * depend on the number of threads.
 */

#include <float.h>
#include <stdint.h>
#include <string.h>

#define TAPS 9
#define RATIO 2
#define PARTS (RATIO * RATIO)

struct size {
    int64_t maps, height, width, channels;
};

/* Where a neighbour of a pixel lies; -1 outside the map. */
static inline int64_t neighbour(const struct size *size, int64_t row, int64_t column, int tap)
{
    row += tap / 3 - 1;
    column += tap % 3 - 1;
    if (row < 0 || row >= size->height || column < 0 || column >= size->width)
        return -1;
    return row * size->width + column;
}

/* Where a sub-pixel of a pixel lies in the finer map. */
static inline int64_t part_of(const struct size *size, int64_t row, int64_t column, int part)
{
    return (RATIO * row + part / RATIO) * RATIO * size->width + RATIO * column + part % RATIO;
}

/* e^x for x <= 0, to two units in the last place, in operations that compilers can vectorise. */
static inline float exponential(float x)
{
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number */
    const float whole = shifted - 12582912.0f;
    const float rest = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    float sum = 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    const union {
        int32_t bits;
        float value;
    } power = {((int32_t)whole + 127) << 23};
    return sum * power.value;
}

/* Weights of one pixel. */
static void soft_max(const float *logits, float factor, float *weights)
{
    float largest[PARTS], sum[PARTS] = {0};
    for (int part = 0; part < PARTS; part++)
        largest[part] = -FLT_MAX;
    for (int tap = 0; tap < TAPS; tap++)
        for (int part = 0; part < PARTS; part++) {
            const float logit = factor * logits[tap * PARTS + part];
            largest[part] = logit > largest[part] ? logit : largest[part];
        }
    for (int tap = 0; tap < TAPS; tap++)
        for (int part = 0; part < PARTS; part++) {
            const int place = tap * PARTS + part;
            weights[place] = factor * logits[place] - largest[part];
        }
    for (int place = 0; place < TAPS * PARTS; place++)
        weights[place] = exponential(weights[place]);
    for (int tap = 0; tap < TAPS; tap++)
        for (int part = 0; part < PARTS; part++)
            sum[part] += weights[tap * PARTS + part];
    for (int tap = 0; tap < TAPS; tap++)
        for (int part = 0; part < PARTS; part++)
            weights[tap * PARTS + part] /= sum[part];
}

/* From gradients of the weights of one pixel to those of its logits, in place. */
static void through_soft_max(const float *weights, float factor, float *slopes)
{
    float mean[PARTS] = {0};
    for (int tap = 0; tap < TAPS; tap++)
        for (int part = 0; part < PARTS; part++)
            mean[part] += weights[tap * PARTS + part] * slopes[tap * PARTS + part];
    for (int tap = 0; tap < TAPS; tap++)
        for (int part = 0; part < PARTS; part++) {
            const int place = tap * PARTS + part;
            slopes[place] = factor * (weights[place] * (slopes[place] - mean[part]));
        }
}

static void combine(const struct size *size, const float *values, const float *weights,
                    float *combined)
{
    const int64_t channels = size->channels;
    for (int64_t row = 0; row < size->height; row++)
        for (int64_t column = 0; column < size->width; column++) {
            const float *weight = weights + (row * size->width + column) * TAPS * PARTS;
            for (int part = 0; part < PARTS; part++) {
                float *out = combined + part_of(size, row, column, part) * channels;
                memset(out, 0, channels * sizeof(float));
                for (int tap = 0; tap < TAPS; tap++) {
                    const int64_t from = neighbour(size, row, column, tap);
                    if (from < 0)
                        continue;
                    const float factor = weight[tap * PARTS + part];
                    const float *value = values + from * channels;
                    for (int64_t channel = 0; channel < channels; channel++)
                        out[channel] += factor * value[channel];
                }
            }
        }
}

/* With one channel the loops over channels would be short; these run over the sub-pixels. */
static void combine_one(const struct size *size, const float *values, const float *weights,
                        float *combined)
{
    for (int64_t row = 0; row < size->height; row++)
        for (int64_t column = 0; column < size->width; column++) {
            const float *weight = weights + (row * size->width + column) * TAPS * PARTS;
            float sums[PARTS] = {0};
            for (int tap = 0; tap < TAPS; tap++) {
                const int64_t from = neighbour(size, row, column, tap);
                if (from < 0)
                    continue;
                for (int part = 0; part < PARTS; part++)
                    sums[part] += weight[tap * PARTS + part] * values[from];
            }
            for (int part = 0; part < PARTS; part++)
                combined[part_of(size, row, column, part)] = sums[part];
        }
}

static float product(const float *first, const float *second, int64_t count)
{
    float lanes[8] = {0}; /* the order of this sum is the same with and without wide vectors */
    int64_t place = 0;
    for (; place + 8 <= count; place += 8)
        for (int lane = 0; lane < 8; lane++)
            lanes[lane] += first[place + lane] * second[place + lane];
    float sum = ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5]))
              + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
    for (; place < count; place++)
        sum += first[place] * second[place];
    return sum;
}

static void gradients(const struct size *size, const float *values, const float *weights,
                      const float *slopes, float *value_slopes, float *weight_slopes)
{
    const int64_t channels = size->channels;
    memset(value_slopes, 0, size->height * size->width * channels * sizeof(float));
    for (int64_t row = 0; row < size->height; row++)
        for (int64_t column = 0; column < size->width; column++) {
            const int64_t at = (row * size->width + column) * TAPS * PARTS;
            for (int tap = 0; tap < TAPS; tap++) {
                const int64_t from = neighbour(size, row, column, tap);
                for (int part = 0; part < PARTS; part++) {
                    const int64_t place = at + tap * PARTS + part;
                    if (from < 0) {
                        weight_slopes[place] = 0;
                        continue;
                    }
                    const float *slope = slopes + part_of(size, row, column, part) * channels;
                    const float factor = weights[place];
                    float *value_slope = value_slopes + from * channels;
                    weight_slopes[place] = product(slope, values + from * channels, channels);
                    for (int64_t channel = 0; channel < channels; channel++)
                        value_slope[channel] += factor * slope[channel];
                }
            }
        }
}

static void gradients_of_one(const struct size *size, const float *values, const float *weights,
                             const float *slopes, float *value_slopes, float *weight_slopes)
{
    memset(value_slopes, 0, size->height * size->width * sizeof(float));
    for (int64_t row = 0; row < size->height; row++)
        for (int64_t column = 0; column < size->width; column++) {
            const int64_t at = (row * size->width + column) * TAPS * PARTS;
            float slope[PARTS];
            for (int part = 0; part < PARTS; part++)
                slope[part] = slopes[part_of(size, row, column, part)];
            for (int tap = 0; tap < TAPS; tap++) {
                const float *weight = weights + at + tap * PARTS;
                const int64_t from = neighbour(size, row, column, tap);
                const float value = from < 0 ? 0 : values[from];
                for (int part = 0; part < PARTS; part++)
                    weight_slopes[at + tap * PARTS + part] = value * slope[part];
                if (from >= 0)
                    value_slopes[from] += (weight[0] * slope[0] + weight[1] * slope[1])
                                        + (weight[2] * slope[2] + weight[3] * slope[3]);
            }
        }
}

void sam2act_combine(const struct size *size, int threads, float factor, const float *values,
                     const float *logits, float *weights, float *combined)
{
    const int64_t pixels = size->height * size->width;
    (void)threads;
#pragma omp parallel for num_threads(threads)
    for (int64_t map = 0; map < size->maps; map++) {
        const int64_t first = map * pixels;
        for (int64_t pixel = first; pixel < first + pixels; pixel++)
            soft_max(logits + pixel * TAPS * PARTS, factor, weights + pixel * TAPS * PARTS);
        (size->channels == 1 ? combine_one : combine)(
                size, values + first * size->channels, weights + first * TAPS * PARTS,
                combined + first * PARTS * size->channels);
    }
}

void sam2act_combine_gradients(const struct size *size, int threads, float factor,
                               const float *values, const float *weights, const float *slopes,
                               float *value_slopes, float *logit_slopes)
{
    const int64_t pixels = size->height * size->width;
    (void)threads;
#pragma omp parallel for num_threads(threads)
    for (int64_t map = 0; map < size->maps; map++) {
        const int64_t first = map * pixels;
        (size->channels == 1 ? gradients_of_one : gradients)(
                size, values + first * size->channels, weights + first * TAPS * PARTS,
                slopes + first * PARTS * size->channels, value_slopes + first * size->channels,
                logit_slopes + first * TAPS * PARTS);
        for (int64_t pixel = first; pixel < first + pixels; pixel++)
            through_soft_max(weights + pixel * TAPS * PARTS, factor,
                             logit_slopes + pixel * TAPS * PARTS);
    }
}
