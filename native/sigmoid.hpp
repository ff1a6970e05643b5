// Sigmoid tasks: every element stands alone. Targets are integers or floats, (images, classes, pixels).
#pragma once
#include "gradient.hpp"
#include "hard_sigmoid.hpp"
#include "logits.hpp"
#include "losses.hpp"
#include "sums.hpp"

namespace SEGCRIT_ISA {

template <class F>
class Sigmoid {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;
  using Plain = typename PlainOf<T>::Type;

  Sigmoid(const segcrit_job& j, const Axes<T>& axes) : job(j), classes(static_cast<int>(j.classes)), logits(j, axes), hard(j) {}

  bool prepare() {
    regional = job.operands || (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q | SEGCRIT_D)) != 0;
    return logits.prepare() && tile.reserve(static_cast<int64_t>(classes) * BLOCK);
  }

  void close_chunk(const ChunkSums&) {}

  bool forward(const Span& span, const ChunkSums& sums, ThreadCounts& counts) {
    for (int c = 0; c < classes; ++c)
      if (!forward_channel(span, c, sums, counts)) return false;
    return true;
  }

  template <class Sink>
  bool backward(const Span& span, Sink& sink) {
    T* out = classes == 1 && span.count == BLOCK && !sink.streams() ? sink.direct(span, true) : nullptr;
    for (int c = 0; c < classes; ++c)
      if (!backward_channel(span, c, out ? out : tile.data() + static_cast<int64_t>(c) * BLOCK)) return false;
    if (!out) sink.take(span, tile.data());
    return true;
  }

 private:
  const segcrit_job& job;
  const int classes;
  Logits<F> logits;
  HardSigmoid<F> hard;
  Buffer<T> tile;
  bool regional = false;
  Elements<T> elements;
  T z[BLOCK], log_p[BLOCK], log_q[BLOCK], p[BLOCK], q[BLOCK];

  bool read(const Span& span, int c) {
    if (!read_elements(job, span, c, elements)) return false;
    int32_t label[BLOCK];
    for (int b = 0; b < BLOCK; ++b) label[b] = elements.valid[b] - 1;
    logits.fill(span, c, label, elements.all, z);
    return true;
  }

  // log sigmoid(z) = min(z, 0) - log(1 + exp(-|z|)).
  void log_sigmoid() {
    for (int b = 0; b < BLOCK; ++b) {
      const T size = z[b] < 0 ? z[b] : -z[b];
      const T tail = log_one_plus(exp_negative(size));
      log_p[b] = (z[b] < 0 ? z[b] : T(0)) - tail;
      log_q[b] = (z[b] < 0 ? T(0) : -z[b]) - tail;
    }
  }
  void probabilities() {
    for (int b = 0; b < BLOCK; ++b) {
      const T size = z[b] < 0 ? z[b] : -z[b];
      const T e = exp_negative(size);
      const T high = T(1) / (T(1) + e), low = e * high;
      p[b] = z[b] < 0 ? low : high;
      q[b] = z[b] < 0 ? high : low;
    }
  }

  T coefficient(int64_t j, int64_t sign, int64_t c) const { return static_cast<T>(job.coefficients[(j * 2 + sign) * classes + c]); }

  // Coefficients times smoothed target, of the positive and of the negative side.
  void sides(int64_t j, int c, T* positive, T* negative) const {
    const T of_positive = coefficient(j, 0, c), of_negative = coefficient(j, 1, c), share = static_cast<T>(job.smoothing[j]);
    for (int b = 0; b < BLOCK; ++b) {
      const T t = elements.target[b] * (T(1) - share) + share / T(2);
      positive[b] = of_positive * t;
      negative[b] = of_negative * (T(1) - t);
    }
  }

  // The selects keep a side that does not count from making 0 times infinity.
  void cross_entropy_values(int64_t j, int c, T* values) const {
    const T of_positive = coefficient(j, 0, c), of_negative = coefficient(j, 1, c), share = static_cast<T>(job.smoothing[j]);
    for (int b = 0; b < BLOCK; ++b) {
      const T t = elements.target[b] * (T(1) - share) + share / T(2);
      const T positive = of_positive * t, negative = of_negative * (T(1) - t);
      const T value = (positive == T(0) ? T(0) : positive * log_p[b]) + (negative == T(0) ? T(0) : negative * log_q[b]);
      values[b] = elements.valid[b] ? -elements.weight[b] * value : T(0);
    }
  }
  void pair_of_values(int64_t j, int c, T* values) const {
    T positive[BLOCK], negative[BLOCK], of_positive[BLOCK], of_negative[BLOCK];
    sides(j, c, positive, negative);
    pair_values(job, j, log_p, of_positive);
    pair_values(job, j, log_q, of_negative);
    for (int b = 0; b < BLOCK; ++b) {
      const T value = (positive[b] == T(0) ? T(0) : positive[b] * of_positive[b]) + (negative[b] == T(0) ? T(0) : negative[b] * of_negative[b]);
      values[b] = elements.valid[b] ? elements.weight[b] * value : T(0);
    }
  }

  // The same for the slopes: -w t q + w (1 - t) p of cross-entropy.
  void add_cross_entropy_slopes(int64_t j, int c, const T* upstream, T* result) const {
    const T of_positive = coefficient(j, 0, c), of_negative = coefficient(j, 1, c), share = static_cast<T>(job.smoothing[j]);
    for (int b = 0; b < BLOCK; ++b) {
      const T t = elements.target[b] * (T(1) - share) + share / T(2);
      result[b] += upstream[b] * (of_negative * (T(1) - t) * p[b] - of_positive * t * q[b]);
    }
  }
  void add_pair_of_slopes(int64_t j, int c, const T* upstream, T* result) const {
    T positive[BLOCK], negative[BLOCK], of_positive[BLOCK], of_negative[BLOCK];
    sides(j, c, positive, negative);
    pair_slopes(job, j, log_p, of_positive);
    pair_slopes(job, j, log_q, of_negative);
    for (int b = 0; b < BLOCK; ++b) {
      const T slope = (positive[b] == T(0) ? T(0) : positive[b] * of_positive[b] * q[b]) -
                      (negative[b] == T(0) ? T(0) : negative[b] * of_negative[b] * p[b]);
      result[b] += upstream[b] * slope;
    }
  }

  const T* map_at(const void* map, int64_t j, const Span& span, int64_t c) const {
    return static_cast<const T*>(map) + ((j * job.images + span.image) * classes + c) * job.pixels + span.first;
  }

  bool forward_channel(const Span& span, int c, const ChunkSums& sums, ThreadCounts& counts) {
    if (hard.read(span, c)) {
      const Storage* source = logits.direct(span, true);
      if (source) {
        hard.template forward<F>(source + c * job.class_stride, c, sums);
      } else {
        logits.fill(span, c, nullptr, true, z);
        hard.template forward<Plain>(z, c, sums);
      }
      return true;
    }
    if (!read(span, c)) return false;
    if (job.losses) log_sigmoid();
    if (regional) probabilities();
    for (int64_t j = 0; j < job.losses; ++j) {
      T values[BLOCK];
      if (is_cross_entropy(job, j)) {
        cross_entropy_values(j, c, values);
      } else {
        pair_of_values(j, c, values);
      }
      sums.pixel[j] += block_sum(values);
      if (job.maps) {
        T* map = const_cast<T*>(map_at(job.map, j, span, c));
        for (int b = 0; b < span.count; ++b) map[b] = values[b];
      }
    }
    if (job.fields) class_sums(c, sums);
    for (int k = 0; k < job.operands; ++k) {
      T values[BLOCK];
      read_operand(job, k, span, c, elements.weight, values);
      for (int b = 0; b < BLOCK; ++b) values[b] *= elements.weight[b] * p[b];
      sums.tables[(SEGCRIT_FIELDS + static_cast<int64_t>(k)) * classes + c] += block_sum(values);
    }
    if (job.errors) count_errors(c, counts);
    if (job.confusion)
      for (int b = 0; b < span.count; ++b)
        if (elements.valid[b]) ++counts.counted[static_cast<int64_t>(c) * 4 + (elements.target[b] > T(0.5) ? 2 : 0) + (z[b] > 0 ? 1 : 0)];
    return true;
  }

  void class_sums(int c, const ChunkSums& sums) const {
    const T *t = elements.target, *u = elements.weight;
    T values[BLOCK];
    for (int field = 0; field < SEGCRIT_FIELDS; ++field) {
      if (!(job.fields & (1 << field))) continue;
      switch (1 << field) {
        case SEGCRIT_I: for (int b = 0; b < BLOCK; ++b) values[b] = u[b] * p[b] * t[b]; break;
        case SEGCRIT_P: for (int b = 0; b < BLOCK; ++b) values[b] = u[b] * p[b]; break;
        case SEGCRIT_Q: for (int b = 0; b < BLOCK; ++b) values[b] = u[b] * p[b] * p[b]; break;
        case SEGCRIT_T: for (int b = 0; b < BLOCK; ++b) values[b] = u[b] * t[b]; break;
        case SEGCRIT_U: for (int b = 0; b < BLOCK; ++b) values[b] = u[b] * t[b] * t[b]; break;
        case SEGCRIT_D: for (int b = 0; b < BLOCK; ++b) values[b] = u[b] * (p[b] > t[b] ? p[b] - t[b] : t[b] - p[b]); break;
        default: for (int b = 0; b < BLOCK; ++b) values[b] = u[b]; break;
      }
      sums.tables[static_cast<int64_t>(field) * classes + c] += block_sum(values);
    }
  }

  T margin_error(int b) const {
    const T error = T(1) - z[b] * (T(2) * elements.target[b] - T(1));
    return error > 0 ? error : (error == error ? T(0) : error);
  }
  int cell_of(int b, T error) const {
    return (elements.target[b] > 0 ? job.bins : 0) + bin_at(bin_position(error, job.errors, static_cast<T>(job.bins)), job.bins);
  }

  void count_errors(int c, ThreadCounts& counts) const {
    double* count = counts.counts.data() + static_cast<int64_t>(c) * 2 * job.bins;
    double* moment = counts.moments.data() + static_cast<int64_t>(c) * 2 * job.bins;
    T error[BLOCK];
    int32_t cell[BLOCK];
    for (int b = 0; b < BLOCK; ++b) error[b] = margin_error(b);
    for (int b = 0; b < BLOCK; ++b) cell[b] = cell_of(b, error[b]);
    for (int b = 0; b < BLOCK; ++b) {
      if (!elements.valid[b]) continue;
      count[cell[b]] += elements.weight[b];
      moment[cell[b]] += static_cast<double>(elements.weight[b]) * error[b];
    }
  }

  bool backward_channel(const Span& span, int c, T* result) {
    if (hard.read(span, c)) {
      const Storage* source = logits.direct(span, true);
      if (source) {
        hard.template backward<F>(source + c * job.class_stride, span.image, c, result);
      } else {
        logits.fill(span, c, nullptr, true, z);
        hard.template backward<Plain>(z, span.image, c, result);
      }
      return true;
    }
    if (!read(span, c)) return false;
    for (int b = 0; b < BLOCK; ++b) result[b] = 0;
    if (regional || job.losses) probabilities();
    if (regional) add_region(span, c, result);
    if (job.errors) add_errors(c, result);
    bool focused = false;
    for (int64_t j = 0; j < job.losses; ++j) focused = focused || !is_cross_entropy(job, j);
    if (focused) log_sigmoid();
    for (int64_t j = 0; j < job.losses; ++j) {
      T upstream[BLOCK];
      upstream_of(job, j, job.map_gradient ? map_at(job.map_gradient, j, span, c) : nullptr, span.count, upstream);
      if (is_cross_entropy(job, j)) {
        add_cross_entropy_slopes(j, c, upstream, result);
      } else {
        add_pair_of_slopes(j, c, upstream, result);
      }
    }
    const T scale = static_cast<T>(job.logit_scale);
    for (int b = 0; b < BLOCK; ++b) result[b] = elements.valid[b] ? result[b] * elements.weight[b] * scale : T(0);
    return true;
  }

  void add_region(const Span& span, int c, T* result) const {
    const int64_t image = span.image, step = (job.per_image ? job.images : 1) * job.classes;
    const double* base = job.table_gradient + (job.per_image ? image : 0) * job.classes + c;
    const T overlap = static_cast<T>(base[0]), linear = static_cast<T>(base[step]), square = static_cast<T>(2 * base[2 * step]);
    const T distance = (job.fields & SEGCRIT_D) ? static_cast<T>(base[6 * step]) : T(0);
    const T* t = elements.target;
    for (int b = 0; b < BLOCK; ++b) {
      const T side = p[b] > t[b] ? distance : (p[b] < t[b] ? -distance : T(0));
      result[b] += p[b] * q[b] * (overlap * t[b] + linear + square * p[b] + side);
    }
    for (int k = 0; k < job.operands; ++k) {
      T values[BLOCK];
      read_operand(job, k, span, c, elements.weight, values);
      const T factor = static_cast<T>(base[(SEGCRIT_FIELDS + k) * step]);
      for (int b = 0; b < BLOCK; ++b) result[b] += p[b] * q[b] * factor * values[b];
    }
  }

  void add_errors(int c, T* result) const {
    const double* slopes = job.moment_gradient + static_cast<int64_t>(c) * 2 * job.bins;
    T error[BLOCK];
    int32_t cell[BLOCK];
    for (int b = 0; b < BLOCK; ++b) error[b] = margin_error(b);
    for (int b = 0; b < BLOCK; ++b) cell[b] = cell_of(b, error[b]);
    for (int b = 0; b < BLOCK; ++b) {
      const T slope = static_cast<T>(slopes[cell[b]]);
      result[b] += error[b] > 0 ? (elements.target[b] > 0 ? -slope : slope) : T(0);
    }
  }
};

}  // namespace SEGCRIT_ISA
