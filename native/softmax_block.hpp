// The softmax of a block: logits, exponentials, and the numbers that a pixel's probabilities are made of.
#pragma once
#include "logits.hpp"

namespace SEGCRIT_ISA {

// The largest logit of each pixel; a NaN must reach the result: it does not reach the maximum, but the sum of exponentials.
template <class T>
static inline void find_maximum(const T* tile, int classes, T* maximum) {
  for (int b = 0; b < BLOCK; ++b) maximum[b] = -static_cast<T>(INFINITY);
  for (int c = 0; c < classes; ++c) {
    const T* row = tile + static_cast<int64_t>(c) * BLOCK;
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) maximum[b] = row[b] > maximum[b] ? row[b] : maximum[b];
  }
}

// The same while the logits are brought into the tile. They are read once only: the classes' planes often lie a power of two
// apart, where a block's rows compete for the same few places of the caches and a second read would find none of them.
template <class F, class T>
static inline void load_maximum(const typename F::Storage* source, int64_t stride, int classes, T* tile, T* maximum) {
  for (int b = 0; b < BLOCK; ++b) maximum[b] = -static_cast<T>(INFINITY);
  for (int c = 0; c < classes; ++c) {
    const typename F::Storage* row = source + c * stride;
    T* out = tile + static_cast<int64_t>(c) * BLOCK;
    prefetch_row(source, stride, classes, c);
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) {
      const T z = F::load(row[b]);
      out[b] = z;
      maximum[b] = z > maximum[b] ? z : maximum[b];
    }
  }
}

// exp(z - maximum) and their sum; the exponentials replace the logits in the tile where they are needed again.
template <class T>
static inline void exponentials(T* tile, int classes, const T* maximum, bool keep, T* total) {
  for (int b = 0; b < BLOCK; ++b) total[b] = 0;
  for (int c = 0; c < classes; ++c) {
    T* row = tile + static_cast<int64_t>(c) * BLOCK;
    if (keep) {
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        const T e = exp_negative(row[b] - maximum[b]);
        row[b] = e;
        total[b] += e;
      }
    } else {
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) total[b] += exp_negative(row[b] - maximum[b]);
    }
  }
}

// Logits between these bounds need no maximum: neither exp(z) nor its sums and quotients leave the range of float32.
constexpr float MODERATE = 30.0f;

// exp(z) into the tile and their sum, in one pass that computes while it waits for memory; the largest |z|. NaN, which
// reaches the sum, is not among the largest.
template <class F, class T>
static inline T moderate_exponentials(const typename F::Storage* source, int64_t stride, int classes, T* tile, T* total) {
  T most = 0;
  for (int b = 0; b < BLOCK; ++b) total[b] = 0;
  for (int c = 0; c < classes; ++c) {
    const typename F::Storage* row = source + c * stride;
    T* out = tile + static_cast<int64_t>(c) * BLOCK;
    prefetch_row(source, stride, classes, c);
    SEGCRIT_SIMD_MAX(most)
    for (int b = 0; b < BLOCK; ++b) {
      const T z = F::load(row[b]);
      const T size = z < T(0) ? -z : z;
      most = size > most ? size : most;
      const T e = exp_moderate(z);
      out[b] = e;
      total[b] += e;
    }
  }
  return most;
}

// The pixels' logits, maxima and sums: what hard and soft targets have in common.
template <class F>
class SoftmaxBlock {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;
  using Plain = typename PlainOf<T>::Type;

  SoftmaxBlock(const segcrit_job& j, const Axes<T>& axes) : job(j), classes(static_cast<int>(j.classes)), logits(j, axes) {}

  bool prepare() { return logits.prepare() && tile.zeros(static_cast<int64_t>(classes) * BLOCK); }

 protected:
  const segcrit_job& job;
  const int classes;
  Logits<F> logits;
  Buffer<T> tile;
  // Where the logits of the block lie: in memory, or in the tile.
  const Storage* source = nullptr;
  T maximum[BLOCK], total[BLOCK], inverse[BLOCK];

  void locate(const Span& span, const int32_t* label, bool all) {
    source = logits.direct(span, all);
    if (source != nullptr) return;
    for (int c = 0; c < classes; ++c) logits.fill(span, c, label, all, row(c));
  }
  T* row(int64_t c) { return tile.data() + c * BLOCK; }
  const T* row(int64_t c) const { return tile.data() + c * BLOCK; }

  // The logit of one class at one pixel, before exponentials() have replaced those in the tile.
  T logit(int64_t c, int b) const { return source ? F::load(source[c * job.class_stride + b]) : tile[c * BLOCK + b]; }

  // Forward, where the logits are moderate: exponentials in the tile, with maximum 0. False where they are not.
  bool exponentiate(const Span& span) {
    if (source == nullptr) return false;
    const T most = moderate_exponentials<F>(source, job.class_stride, classes, tile.data(), total);
    if (!(most <= T(MODERATE))) return false;
    for (int b = 0; b < BLOCK; ++b) { maximum[b] = 0; inverse[b] = T(1) / total[b]; }
    write_normalizers(span);
    return true;
  }

  // Forward: the largest logits; the logits are in the tile afterwards.
  void find_largest() {
    if (source != nullptr) {
      load_maximum<F>(source, job.class_stride, classes, tile.data(), maximum);
      source = nullptr;
    } else {
      find_maximum(tile.data(), classes, maximum);
    }
  }

  // Sums of exponentials, after find_largest(); "keep": the exponentials replace the tile's content.
  void normalize(const Span& span, bool keep) {
    exponentials(tile.data(), classes, maximum, keep, total);
    for (int b = 0; b < BLOCK; ++b) inverse[b] = T(1) / total[b];
    write_normalizers(span);
  }

  void write_normalizers(const Span& span) const {
    if (!job.normalizers) return;
    T *first = normalizer(span), *second = first + job.images * job.pixels;
    for (int b = 0; b < span.count; ++b) { first[b] = maximum[b]; second[b] = total[b]; }
  }

  // Backward: the maxima and sums of the forward pass, or computed again where none were kept. After locate().
  void recall(const Span& span) {
    if (!job.normalizers) {
      compute_again();
      return;
    }
    const T *first = normalizer(span), *second = first + job.images * job.pixels;
    for (int b = 0; b < span.count; ++b) { maximum[b] = first[b]; total[b] = second[b]; }
    for (int b = span.count; b < BLOCK; ++b) { maximum[b] = 0; total[b] = 1; }
    for (int b = 0; b < BLOCK; ++b) inverse[b] = T(1) / total[b];
    if (job.upsample) cap();
  }

  // Another block, or another engine, may have interpolated the logits of the maxima: these here lie above them by a rounding,
  // and from 1e5 on that is more than an exponential bears.
  void cap() {
    T most = 0;
    for (int b = 0; b < BLOCK; ++b) {
      const T size = maximum[b] < T(0) ? -maximum[b] : maximum[b];
      most = size > most ? size : most;
    }
    if (!(most > T(1e5))) return;
    for (int c = 0; c < classes; ++c) {
      T* z = row(c);
      for (int b = 0; b < BLOCK; ++b) z[b] = z[b] > maximum[b] ? maximum[b] : z[b];
    }
  }

  void compute_again() {
    for (int b = 0; b < BLOCK; ++b) { maximum[b] = -static_cast<T>(INFINITY); total[b] = 0; }
    for (int c = 0; c < classes; ++c)
      for (int b = 0; b < BLOCK; ++b) {
        const T z = logit(c, b);
        maximum[b] = z > maximum[b] ? z : maximum[b];
      }
    for (int c = 0; c < classes; ++c)
      for (int b = 0; b < BLOCK; ++b) total[b] += exp_negative(logit(c, b) - maximum[b]);
    for (int b = 0; b < BLOCK; ++b) inverse[b] = T(1) / total[b];
  }

  // Backward: dL/d(one class sum) of every class, of the image where sums are kept for each.
  const double* row_gradient(int64_t field, int64_t image) const {
    const int64_t rows = job.per_image ? job.images : 1;
    return job.table_gradient + (field * rows + (job.per_image ? image : 0)) * classes;
  }

 private:
  T* normalizer(const Span& span) const { return static_cast<T*>(job.normalizers) + span.image * job.pixels + span.first; }
};

}  // namespace SEGCRIT_ISA
