// Softmax with a share for each class at each pixel (soft targets), and label smoothing of losses other than cross-entropy.
#pragma once
#include "softmax.hpp"

namespace SEGCRIT_ISA {

template <class F>
class SoftSoftmax : public SoftmaxBlock<F> {
 public:
  using Base = SoftmaxBlock<F>;
  using T = typename F::Arithmetic;

  SoftSoftmax(const segcrit_job& j, const Axes<T>& axes) : Base(j, axes) {}

  bool prepare() {
    regional = job.operands || (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q | SEGCRIT_D)) != 0;
    const int64_t size = static_cast<int64_t>(classes) * BLOCK;
    return Base::prepare() && shares.zeros(size) && slopes.zeros(size) && log_p.zeros(size);
  }

  void close_chunk(const ChunkSums&) {}

  bool forward(const Span& span, const ChunkSums& sums, ThreadCounts& counts) {
    if (!read(span)) return false;
    log_probabilities();
    this->write_normalizers(span);
    pixel_values(span, sums);
    if (job.fields) class_sums(span, sums);
    if (job.confusion)
      for (int b = 0; b < span.count; ++b)
        if (px.label[b] >= 0 && px.weight[b] == px.weight[b]) ++counts.counted[largest_share(b) * classes + best(b)];
    return true;
  }

  template <class Sink>
  bool backward(const Span& span, Sink& sink) {
    if (!read(span)) return false;
    if (!px.any) { sink.zero(span); return true; }
    log_probabilities();
    T pixel_total[BLOCK], dot[BLOCK];
    for (int b = 0; b < BLOCK; ++b) pixel_total[b] = dot[b] = 0;
    pixel_slopes(span, pixel_total);
    const double* base = this->row_gradient(0, span.image);
    const int64_t step = (job.per_image ? job.images : 1) * job.classes;
    const T scale = static_cast<T>(job.logit_scale);
    // G in the tile's place: u (F_I t + F_P + 2 p F_Q + F_D sign(p - t)).
    T* tile = this->tile.data();
    for (int64_t c = 0; c < classes; ++c) {
      const T overlap = static_cast<T>(base[c]), linear = static_cast<T>(base[step + c]);
      const T square = (job.fields & SEGCRIT_Q) ? static_cast<T>(2 * base[2 * step + c]) : T(0);
      const T distance = (job.fields & SEGCRIT_D) ? static_cast<T>(base[6 * step + c]) : T(0);
      T* g = tile + c * BLOCK;
      const T *l = log_p.data() + c * BLOCK, *t = shares.data() + c * BLOCK;
      T further[BLOCK];
      further_slopes(span, c, base + c, step, further);
      for (int b = 0; b < BLOCK; ++b) {
        const T p = exp_negative(l[b]);
        const T side = p > t[b] ? distance : (p < t[b] ? -distance : T(0));
        g[b] = px.weight[b] * (regional ? overlap * t[b] + linear + square * p + side + further[b] : T(0));
        dot[b] += p * g[b];
      }
    }
    for (int64_t c = 0; c < classes; ++c) {
      T* g = tile + c * BLOCK;
      const T *l = log_p.data() + c * BLOCK, *s = slopes.data() + c * BLOCK;
      for (int b = 0; b < BLOCK; ++b) {
        const T result = (exp_negative(l[b]) * (g[b] - dot[b] - pixel_total[b]) + s[b]) * scale;
        g[b] = px.label[b] < 0 ? T(0) : result;
      }
    }
    sink.take(span, tile);
    return true;
  }

 private:
  using Base::classes;
  using Base::job;
  using Base::maximum;
  using Base::total;
  Buffer<T> shares, slopes, log_p;
  Pixels<T> px;
  bool regional = false;

  // Target and logits of a block; the logits are brought into the tile.
  bool read(const Span& span) {
    if (!read_rows(job, span, shares.data(), px)) return false;
    const bool mixed_bias = job.bias_rows > 1 && job.target_form == SEGCRIT_SHARES;
    for (int64_t c = 0; c < classes; ++c) {
      T* row = this->row(c);
      if (mixed_bias) {
        this->logits.fill_plain(span, c, row);
        this->logits.add_soft_bias(shares.data(), c, row);
        for (int b = 0; b < BLOCK; ++b) row[b] = px.label[b] < 0 ? T(0) : row[b];
      } else {
        this->logits.fill(span, c, px.label, px.all, row);
      }
    }
    this->source = nullptr;
    return true;
  }

  void log_probabilities() {
    this->find_largest();
    T log_total[BLOCK];
    for (int b = 0; b < BLOCK; ++b) total[b] = 0;
    for (int64_t c = 0; c < classes; ++c) {
      const T* z = this->row(c);
      for (int b = 0; b < BLOCK; ++b) total[b] += exp_negative(z[b] - maximum[b]);
    }
    for (int b = 0; b < BLOCK; ++b) log_total[b] = log_positive(total[b]);
    for (int64_t c = 0; c < classes; ++c) {
      const T* z = this->row(c);
      T* l = log_p.data() + c * BLOCK;
      for (int b = 0; b < BLOCK; ++b) l[b] = (z[b] - maximum[b]) - log_total[b];
    }
  }

  // Coefficient times smoothed share of one loss and class.
  void targets_of(int64_t j, int64_t c, T* out) const {
    const T w = static_cast<T>(job.coefficients[j * 2 * job.classes + c]), smoothing = static_cast<T>(job.smoothing[j]);
    const T *t = shares.data() + c * BLOCK, part = smoothing / static_cast<T>(classes);
    for (int b = 0; b < BLOCK; ++b) out[b] = px.label[b] < 0 ? T(0) : w * (t[b] * (T(1) - smoothing) + part);
  }

  void pixel_values(const Span& span, const ChunkSums& sums) {
    for (int64_t j = 0; j < job.losses; ++j) {
      T values[BLOCK], of_class[BLOCK], factor[BLOCK];
      for (int b = 0; b < BLOCK; ++b) values[b] = 0;
      for (int64_t c = 0; c < classes; ++c) {
        targets_of(j, c, factor);
        pair_values(job, j, log_p.data() + c * BLOCK, of_class);
        for (int b = 0; b < BLOCK; ++b) values[b] += factor[b] == T(0) ? T(0) : factor[b] * of_class[b];
      }
      for (int b = 0; b < BLOCK; ++b) values[b] = px.label[b] < 0 ? T(0) : values[b] * px.weight[b];
      sums.pixel[j] += block_sum(values);
      if (job.maps) {
        T* map = static_cast<T*>(job.map) + (j * job.images + span.image) * job.pixels + span.first;
        for (int b = 0; b < span.count; ++b) map[b] = values[b];
      }
    }
  }

  void class_sums(const Span& span, const ChunkSums& sums) {
    const double valid = block_sum(px.weight);
    for (int64_t c = 0; c < classes; ++c) {
      const T *l = log_p.data() + c * BLOCK, *t = shares.data() + c * BLOCK;
      T p[BLOCK], values[BLOCK];
      for (int b = 0; b < BLOCK; ++b) p[b] = exp_negative(l[b]);
      for (int field = 0; field < SEGCRIT_FIELDS; ++field) {
        if (!(job.fields & (1 << field))) continue;
        double* sum = sums.tables + field * job.classes + c;
        switch (1 << field) {
          case SEGCRIT_I: for (int b = 0; b < BLOCK; ++b) values[b] = px.weight[b] * p[b] * t[b]; break;
          case SEGCRIT_P: for (int b = 0; b < BLOCK; ++b) values[b] = px.weight[b] * p[b]; break;
          case SEGCRIT_Q: for (int b = 0; b < BLOCK; ++b) values[b] = px.weight[b] * p[b] * p[b]; break;
          case SEGCRIT_T: for (int b = 0; b < BLOCK; ++b) values[b] = px.weight[b] * t[b]; break;
          case SEGCRIT_U: for (int b = 0; b < BLOCK; ++b) values[b] = px.weight[b] * t[b] * t[b]; break;
          case SEGCRIT_D: for (int b = 0; b < BLOCK; ++b) values[b] = px.weight[b] * (p[b] > t[b] ? p[b] - t[b] : t[b] - p[b]); break;
          default: *sum += valid; continue;
        }
        *sum += block_sum(values);
      }
      for (int k = 0; k < job.operands; ++k) {
        read_operand(job, k, span, c, px.weight, values);
        for (int b = 0; b < BLOCK; ++b) values[b] *= px.weight[b] * p[b];
        sums.tables[(SEGCRIT_FIELDS + k) * job.classes + c] += block_sum(values);
      }
    }
  }

  // dl/d(log p) of all pixel losses in slopes, their sum over the classes in whole.
  void pixel_slopes(const Span& span, T* whole) {
    for (int64_t i = 0; i < slopes.size(); ++i) slopes[i] = 0;
    for (int64_t j = 0; j < job.losses; ++j) {
      const T* map = job.map_gradient ? static_cast<const T*>(job.map_gradient) + (j * job.images + span.image) * job.pixels + span.first : nullptr;
      T upstream[BLOCK], slope[BLOCK], factor[BLOCK];
      upstream_of(job, j, map, span.count, upstream);
      for (int64_t c = 0; c < classes; ++c) {
        targets_of(j, c, factor);
        pair_slopes(job, j, log_p.data() + c * BLOCK, slope);
        T* sum = slopes.data() + c * BLOCK;
        for (int b = 0; b < BLOCK; ++b) {
          const T value = factor[b] == T(0) ? T(0) : upstream[b] * px.weight[b] * factor[b] * slope[b];
          sum[b] += value;
          whole[b] += value;
        }
      }
    }
  }

  // dL/dp of one class by the sums with operands.
  void further_slopes(const Span& span, int64_t c, const double* of_class, int64_t step, T* out) const {
    for (int b = 0; b < BLOCK; ++b) out[b] = 0;
    for (int k = 0; k < job.operands; ++k) {
      T values[BLOCK];
      read_operand(job, k, span, c, px.weight, values);
      const T factor = static_cast<T>(of_class[(SEGCRIT_FIELDS + k) * step]);
      for (int b = 0; b < BLOCK; ++b) out[b] += factor * values[b];
    }
  }

  int64_t largest_share(int b) const { return largest(shares.data() + b); }
  int64_t best(int b) const { return largest(this->tile.data() + b); }
  int64_t largest(const T* values) const {
    int64_t at = 0;
    for (int64_t c = 1; c < classes; ++c) at = values[c * BLOCK] > values[at * BLOCK] ? c : at;
    return at;
  }
};

}  // namespace SEGCRIT_ISA
