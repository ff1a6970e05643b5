// What a loss cannot do without, and nothing else: no labels, weights, checks, sums or errors. Logits are (images, classes,
// pixels); a block of pixels stays in the cache between the classes, as in the engine, whose functions are used.
#define SEGCRIT_ISA stripped
#include <omp.h>

#include <vector>

#include "../../native/arithmetic.hpp"

using namespace SEGCRIT_ISA;

namespace {
constexpr int BINS = 4096;

template <class Work>
void over_blocks(int64_t images, int64_t classes, int64_t pixels, int threads, Work work) {
  const int64_t blocks = pixels / BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t index = 0; index < images * blocks; ++index)
    work(index / blocks * classes * pixels + index % blocks * BLOCK, index / blocks * pixels + index % blocks * BLOCK);
}
}  // namespace

extern "C" {

// One exponential an element: the normaliser of a softmax.
void normalisers(const float* logits, float* scale, int64_t images, int64_t classes, int64_t pixels, int threads) {
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t pixel) {
    float sum[BLOCK] = {};
    for (int64_t c = 0; c < classes; ++c) {
      const float* z = logits + at + c * pixels;
      prefetch_row(z, pixels, static_cast<int>(classes), static_cast<int>(c));
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) sum[b] += exp_moderate(z[b]);
    }
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) scale[pixel + b] = 1.0f / sum[b];
  });
}

// One exponential an element again, a product, and the gradient is written, past the caches where it is large.
void gradient(const float* logits, const float* scale, float* out, int64_t images, int64_t classes, int64_t pixels, int threads) {
  const bool streams = images * classes * pixels * 4 >= STREAMED_BYTES && can_stream(out, pixels * 4);
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t pixel) {
    alignas(64) float row[BLOCK];
    for (int64_t c = 0; c < classes; ++c) {
      const float* z = logits + at + c * pixels;
      float* g = streams ? row : out + at + c * pixels;
      prefetch_row(z, pixels, static_cast<int>(classes), static_cast<int>(c));
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) g[b] = exp_moderate(z[b]) * scale[pixel + b];
      if (streams) stream_row(row, out + at + c * pixels);
    }
    end_stream();
  });
}

// Beside the probability, a count in the histogram of its class; tables (threads, classes, bins).
void histograms(const float* logits, const float* scale, int32_t* tables, int64_t images, int64_t classes, int64_t pixels,
                int threads) {
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t pixel) {
    for (int64_t c = 0; c < classes; ++c) {
      const float* z = logits + at + c * pixels;
      int32_t bin[BLOCK];
      float p[BLOCK];
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = exp_moderate(z[b]) * scale[pixel + b];
        const int32_t place = static_cast<int32_t>(p[b] * BINS);
        bin[b] = place < BINS ? place : BINS - 1;
      }
      int32_t* table = tables + (omp_get_thread_num() * classes + c) * BINS;
      for (int b = 0; b < BLOCK; ++b) ++table[bin[b]];
    }
  });
}

// What the histograms became is read again: the slope of each element's bin, then the gradient of a softmax, p (slope - sum).
void slopes(const float* logits, const float* scale, const float* tables, float* out, int64_t images, int64_t classes,
            int64_t pixels, int threads) {
  const bool streams = images * classes * pixels * 4 >= STREAMED_BYTES && can_stream(out, pixels * 4);
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t pixel) {
    thread_local std::vector<float> kept;
    kept.resize(2 * classes * BLOCK);
    alignas(64) float row[BLOCK];
    float sum[BLOCK] = {};
    for (int64_t c = 0; c < classes; ++c) {
      const float* z = logits + at + c * pixels;
      float *p = kept.data() + 2 * c * BLOCK, *slope = p + BLOCK;
      int32_t bin[BLOCK];
      prefetch_row(z, pixels, static_cast<int>(classes), static_cast<int>(c));
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = exp_moderate(z[b]) * scale[pixel + b];
        const int32_t place = static_cast<int32_t>(p[b] * BINS);
        bin[b] = place < BINS ? place : BINS - 1;
      }
      const float* table = tables + c * BINS;
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        slope[b] = table[bin[b]];
        sum[b] += p[b] * slope[b];
      }
    }
    for (int64_t c = 0; c < classes; ++c) {
      const float *p = kept.data() + 2 * c * BLOCK, *slope = p + BLOCK;
      float* g = streams ? row : out + at + c * pixels;
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) g[b] = p[b] * (slope[b] - sum[b]);
      if (streams) stream_row(row, out + at + c * pixels);
    }
    end_stream();
  });
}

// The class of the largest logit, without a look at NaN.
void largest(const float* logits, int32_t* labels, int64_t images, int64_t classes, int64_t pixels, int threads) {
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t pixel) {
    float best[BLOCK];
    int32_t label[BLOCK] = {};
    for (int b = 0; b < BLOCK; ++b) best[b] = logits[at + b];
    for (int64_t c = 1; c < classes; ++c) {
      const float* z = logits + at + c * pixels;
      prefetch_row(z, pixels, static_cast<int>(classes), static_cast<int>(c));
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        label[b] = z[b] > best[b] ? static_cast<int32_t>(c) : label[b];
        best[b] = z[b] > best[b] ? z[b] : best[b];
      }
    }
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) labels[pixel + b] = label[b];
  });
}

// The binary cross-entropy of targets that are all 0 (one class): its sum of each block, then its gradient.
void softplus(const float* logits, float* sums, int64_t images, int64_t classes, int64_t pixels, int threads) {
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t pixel) {
    float sum = 0;
    SEGCRIT_SIMD_SUM(sum)
    for (int b = 0; b < BLOCK; ++b) {
      const float x = logits[at + b], e = exp_moderate(x < 0 ? x : -x);
      sum += (x < 0 ? 0 : x) + log_one_plus(e);
    }
    sums[pixel / BLOCK] = sum;
  });
}

void logistic(const float* logits, float* out, int64_t images, int64_t classes, int64_t pixels, int threads) {
  over_blocks(images, classes, pixels, threads, [=](int64_t at, int64_t) {
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) {
      const float x = logits[at + b], e = exp_moderate(x < 0 ? x : -x);
      out[at + b] = (x < 0 ? e : 1.0f) / (1.0f + e);
    }
  });
}

}  // extern "C"
