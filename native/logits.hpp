// The logits of a block: read where they lie when nothing has to be done to them, otherwise brought into a tile.
#pragma once
#include "interpolation.hpp"

namespace SEGCRIT_ISA {

template <class F>
class Logits {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  Logits(const segcrit_job& j, const Axes<T>& axes) : job(j), interpolator(j, axes) {}

  bool prepare() {
    if (job.upsample && !interpolator.prepare()) return false;
    if (!bias.reserve(job.bias_rows * job.classes)) return false;
    for (int64_t i = 0; i < job.bias_rows * job.classes; ++i) bias[i] = static_cast<T>(job.logit_bias[i]);
    return true;
  }

  // The logits of class 0 at the pixels of a block; those of class c are job.class_stride further. Null where they must be
  // transformed, gathered or masked first. "all": every pixel of a full block counts.
  const Storage* direct(const Span& span, bool all) const {
    if (!all || job.upsample || job.pixel_stride != 1 || job.logit_scale != 1.0 || job.bias_rows) return nullptr;
    return static_cast<const Storage*>(job.logits) + span.image * job.image_stride + span.first;
  }

  // z of one class times the scale, before bias and mask.
  void fill_plain(const Span& span, int64_t channel, T* row) {
    if (job.upsample) {
      interpolator.row(span, channel, row);
    } else {
      const Storage* source =
          static_cast<const Storage*>(job.logits) + span.image * job.image_stride + channel * job.class_stride + span.first * job.pixel_stride;
      const int64_t step = job.pixel_stride;
      if (step == 1 && span.count == BLOCK) {
        for (int b = 0; b < BLOCK; ++b) row[b] = F::load(source[b]);
      } else {
        for (int b = 0; b < span.count; ++b) row[b] = F::load(source[b * step]);
      }
    }
    for (int b = span.count; b < BLOCK; ++b) row[b] = 0;
    if (job.logit_scale != 1.0) {
      const T scale = static_cast<T>(job.logit_scale);
      for (int b = 0; b < BLOCK; ++b) row[b] *= scale;
    }
  }

  // z' of one class, 0 where label is negative: an ignored pixel may hold anything.
  void fill(const Span& span, int64_t channel, const int32_t* label, bool all, T* row) {
    fill_plain(span, channel, row);
    if (job.bias_rows == 1) {
      for (int b = 0; b < BLOCK; ++b) row[b] += bias[channel];
    } else if (job.bias_rows > 1) {
      for (int b = 0; b < BLOCK; ++b) row[b] += bias[(label[b] < 0 ? 0 : label[b]) * job.classes + channel];
    }
    if (!all)
      for (int b = 0; b < BLOCK; ++b) row[b] = label[b] < 0 ? T(0) : row[b];
  }

  // The bias of soft targets, sum_l t_l b[l, class]; rows as those of read_rows.
  void add_soft_bias(const T* shares, int64_t channel, T* row) const {
    for (int64_t l = 0; l < job.classes; ++l) {
      const T value = bias[l * job.classes + channel];
      for (int b = 0; b < BLOCK; ++b) row[b] += value * shares[l * BLOCK + b];
    }
  }

 private:
  const segcrit_job& job;
  Interpolator<F> interpolator;
  Buffer<T> bias;
};

}  // namespace SEGCRIT_ISA
