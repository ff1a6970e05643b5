// Softmax with one label a pixel: a block forward, a block backward.
#pragma once
#include "gradient.hpp"
#include "hard_pair.hpp"
#include "losses.hpp"
#include "softmax_block.hpp"
#include "sums.hpp"

namespace SEGCRIT_ISA {

template <class F>
class HardSoftmax : public SoftmaxBlock<F> {
 public:
  using Base = SoftmaxBlock<F>;
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;
  using Plain = typename PlainOf<T>::Type;

  HardSoftmax(const segcrit_job& j, const Axes<T>& axes) : Base(j, axes), pair(j) {}

  bool prepare() {
    if (!Base::prepare()) return false;
    const int64_t table = job.losses * static_cast<int64_t>(classes);
    if (!weights.reserve(table) || !weight_total.zeros(job.losses)) return false;
    for (int64_t j = 0; j < job.losses; ++j)
      for (int c = 0; c < classes; ++c) {
        const double w = job.coefficients[j * 2 * classes + c];
        weights[j * classes + c] = static_cast<T>(w);
        weight_total[j] += w;
      }
    for (int64_t j = 0; j < job.losses; ++j) {
      smooth = smooth || job.smoothing[j] != 0.0;
      focused = focused || !is_cross_entropy(job, j);
      for (int c = 0; c < classes; ++c) uniform = uniform && weights[j * classes + c] == T(1);
    }
    regional = job.operands || (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q)) != 0;
    sloped = job.operands || job.errors;
    if (!row_buffer.zeros(BLOCK) || !of_label.zeros(classes)) return false;
    if (!label_lanes.zeros(8 * static_cast<int64_t>(classes))) return false;
    if (smooth && !(smooth_values.reserve(job.losses * BLOCK) && spread_rows.reserve(job.losses * BLOCK))) return false;
    if (job.gradient && sloped) {
      if (!slopes.zeros(static_cast<int64_t>(classes) * BLOCK)) return false;
    }
    return true;
  }

  // Sums that a worker keeps for itself go to those of its chunk.
  void close_chunk(const ChunkSums& sums) {
    if (!job.fields) return;
    double *I = sums.tables, *Tt = I + 3 * classes, *V = I + 5 * classes;
    for (int lane = 0; lane < 4; ++lane)
      for (int c = 0; c < classes; ++c) {
        double* own = label_lanes.data() + (lane * classes + c) * 2;
        Tt[c] += own[0];
        I[c] += own[1];
        own[0] = own[1] = 0;
      }
    for (int c = 0; c < classes; ++c) V[c] += valid;
    valid = 0;
  }

  bool forward(const Span& span, const ChunkSums& sums, ThreadCounts& counts) {
    const Storage* plain = this->logits.direct(span, true);
    if (plain && pair.read(span)) {
      pair.forward(plain, sums);
      return true;
    }
    Pixels<T> px;
    if (!read_pixels(job, span, px)) return false;
    if (!px.any) { skip(span); return true; }
    this->locate(span, px.label, px.all);
    T own[BLOCK], log_p[BLOCK];
    // The prediction and label smoothing need the logits themselves.
    if (!job.confusion && !smooth && this->exponentiate(span)) {
      source = nullptr;
      gather(px, own);
      for (int b = 0; b < BLOCK; ++b) log_p[b] = log_positive(own[b] * inverse[b]);
    } else {
      this->find_largest();
      gather(px, own);
      if (job.confusion) find_best();
      if (smooth) smoothed_sums();
      this->normalize(span, job.errors || regional);
      if (smooth)
        for (int b = 0; b < BLOCK; ++b) log_total[b] = log_positive(total[b]);
      log_probability(own, log_p);
    }
    pixel_values(px, log_p, span, sums);
    if (job.fields) class_sums(px, sums);
    if (job.operands) operand_sums(px, span, sums);
    if (job.errors) count_errors(px, log_p, sums, counts);
    if (job.confusion)
      for (int b = 0; b < span.count; ++b)
        if (px.label[b] >= 0 && px.weight[b] == px.weight[b]) ++counts.counted[static_cast<int64_t>(px.label[b]) * classes + best[b]];
    return true;
  }

  template <class Sink>
  bool backward(const Span& span, Sink& sink) {
    const Storage* plain = this->logits.direct(span, true);
    if (plain && pair.read(span)) {
      T* direct = sink.direct(span, true);
      T* rows = direct && !sink.streams() ? direct : tile.data();
      pair.backward(plain, span.image, rows, rows + (rows == direct ? sink.class_stride() : BLOCK));
      if (rows != direct) sink.take(span, rows);
      return true;
    }
    Pixels<T> px;
    if (!read_pixels(job, span, px)) return false;
    if (!px.any) { sink.zero(span); return true; }
    this->locate(span, px.label, px.all);
    this->recall(span);
    T log_p[BLOCK];
    if (focused || job.errors) {
      T target_logit[BLOCK];
      gather(px, target_logit);
      log_probability(target_logit, log_p);
    }
    // dz_k = p_k (G_k - sum_c p_c G_c + H) - [k = t] H_t - spread_k: the pixel losses only scale p.
    T pull[BLOCK], pull_target[BLOCK];
    pixel_slopes(px, log_p, span, pull, pull_target);
    T* out = sink.direct(span, px.all);
    const int64_t stride = out ? sink.class_stride() : BLOCK;
    T* base = out ? out : this->tile.data();
    streamed = out && sink.streams() && !smooth ? row_buffer.data() : nullptr;
    if (regional || job.errors) {
      region(px, log_p, span, pull, pull_target, base, stride);
    } else {
      scaled_probabilities(px, pull, pull_target, base, stride);
    }
    if (smooth) subtract_spread(base, stride);
    if (!out) {
      if (!px.all) clear_ignored(px);
      sink.take(span, base);
    }
    return true;
  }

 private:
  using Base::classes;
  using Base::inverse;
  using Base::job;
  using Base::maximum;
  using Base::source;
  using Base::tile;
  using Base::total;
  Buffer<T> weights, slopes, smooth_values, spread_rows, of_label;
  Buffer<double> weight_total, label_lanes;
  Buffer<T> row_buffer;
  HardPair<F> pair;
  T* streamed = nullptr;  // where a row is computed that is then written past the caches, or null
  double valid = 0;
  T log_total[BLOCK];
  int32_t best[BLOCK];
  bool regional = false, smooth = false, focused = false, uniform = true;
  bool sloped = false;  // dL/dp differs from pixel to pixel: it is kept in slopes

  // log p of the label. The difference of two logarithms keeps probabilities that are no float32; the logarithm of
  // the quotient keeps the digits of the others where the logits have a common offset.
  void log_probability(const T* target_logit, T* log_p) const {
    for (int b = 0; b < BLOCK; ++b) {
      const T p = exp_negative(target_logit[b] - maximum[b]) * inverse[b];
      const T quotient = log_positive(p > T(1e-30) ? p : T(1));
      const T difference = (target_logit[b] - maximum[b]) - log_positive(total[b]);
      log_p[b] = p > T(1e-30) ? quotient : difference;
    }
  }

  // What the block holds for each pixel's label: logits or exponentials (of class 0 where the pixel does not count).
  void gather(const Pixels<T>& px, T* values) const {
    if (source != nullptr) {
      for (int b = 0; b < BLOCK; ++b) values[b] = F::load(source[px.label[b] * job.class_stride + b]);
    } else if (px.same) {
      const T* row = tile.data() + px.label[0] * static_cast<int64_t>(BLOCK);
      for (int b = 0; b < BLOCK; ++b) values[b] = row[b];
    } else if (classes <= FEW_CLASSES) {
      for (int b = 0; b < BLOCK; ++b) values[b] = tile[b];
      for (int c = 1; c < classes; ++c) {
        const T* row = this->row(c);
        for (int b = 0; b < BLOCK; ++b) values[b] = px.label[b] == c ? row[b] : values[b];
      }
    } else {
      const T* rows = tile.data();
      for (int b = 0; b < BLOCK; ++b) values[b] = rows[(px.label[b] < 0 ? 0 : px.label[b]) * BLOCK + b];
    }
  }

  // The class of the largest logit, the lowest one on a tie.
  void find_best() {
    T highest[BLOCK];
    for (int b = 0; b < BLOCK; ++b) { highest[b] = -static_cast<T>(INFINITY); best[b] = 0; }
    for (int c = 0; c < classes; ++c)
      for (int b = 0; b < BLOCK; ++b) {
        const T z = this->logit(c, b);
        best[b] = z > highest[b] ? c : best[b];
        highest[b] = z > highest[b] ? z : highest[b];
      }
  }

  // The coefficient of each pixel's label in one loss, 0 where the pixel does not count.
  void label_weights(const Pixels<T>& px, int64_t j, T* values) const {
    const T* of_class = weights.data() + j * classes;
    for (int b = 0; b < BLOCK; ++b) {
      const T weight = of_class[px.label[b] < 0 ? 0 : px.label[b]];
      values[b] = px.label[b] < 0 ? T(0) : weight;
    }
  }

  // sum_c w_c (z_c - maximum) of each loss with label smoothing, while the tile still holds logits.
  void smoothed_sums() {
    for (int64_t j = 0; j < job.losses; ++j) {
      if (job.smoothing[j] == 0.0) continue;
      T* sum = smooth_values.data() + j * BLOCK;
      for (int b = 0; b < BLOCK; ++b) sum[b] = 0;
      for (int c = 0; c < classes; ++c) {
        const T w = weights[j * classes + c];
        if (w == T(0)) continue;
        for (int b = 0; b < BLOCK; ++b) sum[b] += w * (this->logit(c, b) - maximum[b]);
      }
    }
  }

  void pixel_values(const Pixels<T>& px, const T* log_p, const Span& span, const ChunkSums& sums) {
    for (int64_t j = 0; j < job.losses; ++j) {
      const T share = static_cast<T>(job.smoothing[j]);
      T values[BLOCK], coefficient[BLOCK];
      pair_values(job, j, log_p, values);
      if (uniform && share == T(0)) {
        for (int b = 0; b < BLOCK; ++b) values[b] = px.label[b] < 0 ? T(0) : values[b] * px.weight[b];
        store_values(values, j, span, sums);
        continue;
      }
      label_weights(px, j, coefficient);
      for (int b = 0; b < BLOCK; ++b) values[b] = coefficient[b] == T(0) ? T(0) : (T(1) - share) * values[b] * coefficient[b];
      if (share != T(0)) {
        const T* sum = smooth_values.data() + j * BLOCK;
        const T whole = static_cast<T>(weight_total[j]), part = share / static_cast<T>(classes);
        for (int b = 0; b < BLOCK; ++b) values[b] += part * (whole * log_total[b] - sum[b]);
      }
      for (int b = 0; b < BLOCK; ++b) values[b] = px.label[b] < 0 ? T(0) : values[b] * px.weight[b];
      store_values(values, j, span, sums);
    }
  }
  void store_values(const T* values, int64_t j, const Span& span, const ChunkSums& sums) const {
    sums.pixel[j] += block_sum(values);
    if (!job.maps) return;
    T* map = static_cast<T*>(job.map) + (j * job.images + span.image) * job.pixels + span.first;
    for (int b = 0; b < span.count; ++b) map[b] = values[b];
  }

  // A block without a pixel that counts. Its normalizers are read where upsampling cuts the backward pass into other blocks.
  void skip(const Span& span) {
    for (int b = 0; b < BLOCK; ++b) { maximum[b] = 0; total[b] = 1; }
    this->write_normalizers(span);
    if (!job.maps) return;
    for (int64_t j = 0; j < job.losses; ++j) {
      T* map = static_cast<T*>(job.map) + (j * job.images + span.image) * job.pixels + span.first;
      for (int b = 0; b < span.count; ++b) map[b] = 0;
    }
  }

  void class_sums(const Pixels<T>& px, const ChunkSums& sums) {
    double *I = sums.tables, *P = I + classes, *Q = P + classes, *Tt = Q + classes;
    valid += block_sum(px.weight);
    label_sums(px, I, Tt);
    if (!(job.fields & (SEGCRIT_P | SEGCRIT_Q))) return;
    T scaled[BLOCK];
    for (int b = 0; b < BLOCK; ++b) scaled[b] = px.weight[b] * inverse[b];
    for (int c = 0; c < classes; ++c) {
      const T* e = this->row(c);
      T sum = 0;
      SEGCRIT_SIMD_SUM(sum)
      for (int b = 0; b < BLOCK; ++b) sum += e[b] * scaled[b];
      P[c] += sum;
      if (job.fields & SEGCRIT_Q) {
        T square = 0;
        SEGCRIT_SIMD_SUM(square)
        for (int b = 0; b < BLOCK; ++b) square += e[b] * e[b] * scaled[b] * inverse[b];
        Q[c] += square;
      }
    }
  }

  // T and I. Masks have long runs of one label: a block of a single label is summed at once, and a few classes by comparison;
  // otherwise the pixels go to four rows of sums in turn, so that additions to one class do not wait for each other.
  static constexpr int FEW_CLASSES = 8;
  void label_sums(const Pixels<T>& px, double* I, double* Tt) {
    const bool overlaps = (job.fields & SEGCRIT_I) != 0;
    T overlap[BLOCK];
    if (overlaps) {
      gather(px, overlap);
      for (int b = 0; b < BLOCK; ++b) overlap[b] *= px.weight[b] * inverse[b];
    }
    if (px.same) {
      Tt[px.label[0]] += block_sum(px.weight);
      if (overlaps) I[px.label[0]] += block_sum(overlap);
      return;
    }
    if (classes <= FEW_CLASSES) {
      for (int c = 0; c < classes; ++c) {
        T weight = 0, sum = 0;
        SEGCRIT_SIMD_SUM(weight)
        for (int b = 0; b < BLOCK; ++b) weight += px.label[b] == c ? px.weight[b] : T(0);
        Tt[c] += weight;
        if (!overlaps) continue;
        SEGCRIT_SIMD_SUM(sum)
        for (int b = 0; b < BLOCK; ++b) sum += px.label[b] == c ? overlap[b] : T(0);
        I[c] += sum;
      }
      return;
    }
    double* lanes = label_lanes.data();
    for (int b = 0; b < BLOCK; ++b) {
      if (px.label[b] < 0) continue;
      double* sums = lanes + ((b & 3) * classes + px.label[b]) * 2;
      sums[0] += px.weight[b];
      if (overlaps) sums[1] += overlap[b];
    }
  }

  void operand_sums(const Pixels<T>& px, const Span& span, const ChunkSums& sums) const {
    T scaled[BLOCK], values[BLOCK];
    for (int b = 0; b < BLOCK; ++b) scaled[b] = px.weight[b] * inverse[b];
    for (int k = 0; k < job.operands; ++k)
      for (int c = 0; c < classes; ++c) {
        read_operand(job, k, span, c, px.weight, values);
        const T* e = this->row(c);
        for (int b = 0; b < BLOCK; ++b) values[b] *= e[b] * scaled[b];
        sums.tables[(SEGCRIT_FIELDS + k) * job.classes + c] += block_sum(values);
      }
  }

  void count_errors(const Pixels<T>& px, const T* log_p, const ChunkSums& sums, ThreadCounts& counts) {
    if (!counts.is_packed) { weigh_errors(px, log_p, sums, counts); return; }
    if (!counts.packed.has_room()) {
#pragma omp critical(segcrit_flush)
      counts.packed.flush(job.counts, job.moments);
    }
    counts.packed.expect(BLOCK);
    const int bins = job.bins;
    const T number = static_cast<T>(bins);
    int broken = 0;
    for (int b = 0; b < BLOCK; ++b) broken |= total[b] == total[b] ? 0 : 1;
    for (int c = 0; c < classes; ++c) {
      const T* e = this->row(c);
      int32_t bin[BLOCK], units[BLOCK];
      uint8_t flag[BLOCK];
      // Most errors of most classes lie in the lowest bin: those are summed in registers, the others are scattered.
      T low_number = 0, low_sum = 0;
      int some = 0;
      SEGCRIT_SIMD_SUM(low_number, low_sum)
      for (int b = 0; b < BLOCK; ++b) {
        const T p = e[b] * inverse[b];
        const T position = p * number;
        const bool counted = px.label[b] >= 0 && px.label[b] != c;
        const bool low = position < T(1);
        low_number += counted && low ? T(1) : T(0);
        low_sum += counted && low ? p : T(0);
        const T capped = position < number - T(1) ? position : number - T(1);
        bin[b] = static_cast<int32_t>(capped);
        units[b] = units_of(position - static_cast<T>(bin[b]));
      }
      for (int b = 0; b < BLOCK; ++b) {
        flag[b] = (bin[b] != 0) & (px.label[b] >= 0) & (px.label[b] != c);
        some |= flag[b];
      }
      if (broken) some |= set_broken_aside(px, c, flag, sums);
      sums.lowest[c] += low_number;
      sums.lowest[classes + c] += low_sum;
      if (!some) continue;
      uint64_t* words = counts.packed.at(static_cast<int64_t>(c) * 2 * bins);
      for_each_flag(flag, [&](int b) { words[bin[b]] += PackedBins::word(units[b]); });
    }
    uint64_t* words = counts.packed.at(0);
    int64_t cell[BLOCK];
    int32_t units[BLOCK];
    for (int b = 0; b < BLOCK; ++b) {
      const T position = one_minus_exp(log_p[b]) * number;
      const T capped = position < number - T(1) ? position : number - T(1);
      const int32_t bin = static_cast<int32_t>(capped);
      cell[b] = (static_cast<int64_t>(px.label[b]) * 2 + 1) * bins + bin;
      units[b] = units_of(position - static_cast<T>(bin));
    }
    for (int b = 0; b < BLOCK; ++b) {
      if (px.label[b] < 0) continue;
      if (broken && total[b] != total[b]) {
        sums.broken[classes + px.label[b]] += 1;
        continue;
      }
      words[cell[b]] += PackedBins::word(units[b]);
    }
  }

  // Errors that are NaN have no place among whole numbers: they are counted by themselves. Returns whether flags are left.
  int set_broken_aside(const Pixels<T>& px, int c, uint8_t* flag, const ChunkSums& sums) {
    int left = 0;
    for (int b = 0; b < BLOCK; ++b) {
      if (total[b] != total[b]) {
        if (px.label[b] >= 0 && px.label[b] != c) sums.broken[c] += 1;
        flag[b] = 0;
      }
      left |= flag[b];
    }
    return left;
  }

  void weigh_errors(const Pixels<T>& px, const T* log_p, const ChunkSums& sums, ThreadCounts& counts) {
    const int bins = job.bins;
    const T number = static_cast<T>(bins);
    for (int c = 0; c < classes; ++c) {
      const T* e = this->row(c);
      double* count = counts.counts.data() + static_cast<int64_t>(c) * 2 * bins;
      double* moment = counts.moments.data() + static_cast<int64_t>(c) * 2 * bins;
      T p[BLOCK], low_weight = 0, low_sum = 0;
      uint8_t flag[BLOCK];
      SEGCRIT_SIMD_SUM(low_weight, low_sum)
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = e[b] * inverse[b];
        const bool low = p[b] * number < T(1) && px.label[b] != c;
        low_weight += low ? px.weight[b] : T(0);
        low_sum += low ? px.weight[b] * p[b] : T(0);
      }
      for (int b = 0; b < BLOCK; ++b) flag[b] = !(p[b] * number < T(1)) & (px.label[b] >= 0) & (px.label[b] != c);
      sums.lowest[c] += low_weight;
      sums.lowest[classes + c] += low_sum;
      for_each_flag(flag, [&](int b) {
        const int bin = bin_at(p[b] * number, bins);
        count[bin] += px.weight[b];
        moment[bin] += static_cast<double>(px.weight[b]) * p[b];
      });
    }
    for (int b = 0; b < BLOCK; ++b) {
      if (px.label[b] < 0) continue;
      const T error = one_minus_exp(log_p[b]);
      const int64_t at = (static_cast<int64_t>(px.label[b]) * 2 + 1) * bins + bin_at(error * number, bins);
      counts.counts[at] += px.weight[b];
      counts.moments[at] += static_cast<double>(px.weight[b]) * error;
    }
  }

  void pixel_slopes(const Pixels<T>& px, const T* log_p, const Span& span, T* pull, T* pull_target) {
    // Not simply 0: the weight of a label that is not allowed is NaN, and must reach the gradient of every loss.
    for (int b = 0; b < BLOCK; ++b) pull[b] = pull_target[b] = px.weight[b] * T(0);
    for (int64_t j = 0; j < job.losses; ++j) {
      const T share = static_cast<T>(job.smoothing[j]);
      const T* map = job.map_gradient ? static_cast<const T*>(job.map_gradient) + (j * job.images + span.image) * job.pixels + span.first : nullptr;
      T upstream[BLOCK], slope[BLOCK], coefficient[BLOCK];
      if (uniform && is_cross_entropy(job, j) && share == T(0) && !map) {
        const T h = static_cast<T>(job.pixel_gradient[j]);
        for (int b = 0; b < BLOCK; ++b) { pull[b] += h * px.weight[b]; pull_target[b] += h * px.weight[b]; }
        continue;
      }
      upstream_of(job, j, map, span.count, upstream);
      label_weights(px, j, coefficient);
      pair_slopes(job, j, log_p, slope);
      const T whole = static_cast<T>(weight_total[j]), part = share / static_cast<T>(classes);
      for (int b = 0; b < BLOCK; ++b) {
        const T scaled = upstream[b] * px.weight[b];
        const T h = coefficient[b] == T(0) ? T(0) : (share - T(1)) * slope[b] * scaled * coefficient[b];
        pull_target[b] += h;
        pull[b] += h + scaled * part * whole;
      }
      if (share != T(0)) {
        T* spread = spread_rows.data() + j * BLOCK;
        for (int b = 0; b < BLOCK; ++b) spread[b] = upstream[b] * px.weight[b] * part * static_cast<T>(job.logit_scale);
      }
    }
  }

  // out_k = p_k pull - [k = t] pull_target: all that pixel losses need.
  void scaled_probabilities(const Pixels<T>& px, const T* pull, const T* pull_target, T* base, int64_t stride) {
    T factor[BLOCK], less[BLOCK];
    const T scale = static_cast<T>(job.logit_scale);
    for (int b = 0; b < BLOCK; ++b) { factor[b] = inverse[b] * pull[b] * scale; less[b] = pull_target[b] * scale; }
    if (source != nullptr) {
      scale_rows<F>(source, job.class_stride, px, factor, less, base, stride);
    } else {
      scale_rows<Plain>(tile.data(), BLOCK, px, factor, less, base, stride);
    }
  }
  template <class L>
  void scale_rows(const typename L::Storage* rows, int64_t row_stride, const Pixels<T>& px, const T* factor, const T* less, T* base,
                  int64_t stride) const {
    for (int c = 0; c < classes; ++c) {
      const typename L::Storage* z = rows + c * row_stride;
      T* out = streamed ? streamed : base + c * stride;
      prefetch_row(rows, row_stride, classes, c);
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        const T of_label = px.label[b] == c ? less[b] : T(0);
        out[b] = exp_negative(L::load(z[b]) - maximum[b]) * factor[b] - of_label;
      }
      if (streamed) stream_row(streamed, base + c * stride);
    }
  }

  // out_k = p_k (u G_k + pull - u sum_c p_c G_c) - [k = t] pull_target, with G the derivative by the probabilities.
  void region(const Pixels<T>& px, const T* log_p, const Span& span, const T* pull, const T* pull_target, T* base, int64_t stride) {
    const int64_t image = span.image;
    const double *linear = this->row_gradient(1, image), *square = this->row_gradient(2, image), *overlap = this->row_gradient(0, image);
    const bool squares = (job.fields & SEGCRIT_Q) != 0;
    const T scale = static_cast<T>(job.logit_scale);
    T dot[BLOCK], common[BLOCK], weight[BLOCK], less[BLOCK];
    for (int b = 0; b < BLOCK; ++b) dot[b] = 0;
    for (int c = 0; c < classes; ++c) {
      const T g = regional ? static_cast<T>(linear[c]) : T(0), g2 = squares ? static_cast<T>(2 * square[c]) : T(0);
      if (source != nullptr) {
        prefetch_row(source, job.class_stride, classes, c);
        weigh_class<F>(source + c * job.class_stride, c, g, g2, dot);
      } else {
        weigh_class<Plain>(this->row(c), c, g, g2, dot);
      }
      of_label[c] = regional ? static_cast<T>(overlap[c]) : T(0);
      if (job.operands) operand_slopes(px, span, c, dot);
    }
    source = nullptr;  // the tile holds probabilities now
    if (sloped) {
      add_label_slopes(px, log_p, dot);
    } else {
      T own[BLOCK];
      gather(px, own);
      for (int b = 0; b < BLOCK; ++b) dot[b] += own[b] * of_label[px.label[b] < 0 ? 0 : px.label[b]];
    }
    for (int b = 0; b < BLOCK; ++b) {
      weight[b] = px.weight[b] * scale;
      common[b] = (pull[b] - dot[b] * px.weight[b]) * scale;
      less[b] = pull_target[b] * scale;
    }
    for (int c = 0; c < classes; ++c) {
      const T* p = this->row(c);
      T* out = streamed ? streamed : base + c * stride;
      const T g = regional ? static_cast<T>(linear[c]) : T(0), g2 = squares ? static_cast<T>(2 * square[c]) : T(0);
      const T at_label = g + of_label[c];
      if (sloped) {
        const T* slope = slopes.data() + static_cast<int64_t>(c) * BLOCK;
        SEGCRIT_SIMD
        for (int b = 0; b < BLOCK; ++b) {
          const T subtracted = px.label[b] == c ? less[b] : T(0);
          out[b] = p[b] * (weight[b] * slope[b] + common[b]) - subtracted;
        }
      } else if (squares) {
        SEGCRIT_SIMD
        for (int b = 0; b < BLOCK; ++b) {
          const T subtracted = px.label[b] == c ? less[b] : T(0);
          out[b] = p[b] * (weight[b] * ((px.label[b] == c ? at_label : g) + g2 * p[b]) + common[b]) - subtracted;
        }
      } else {
        SEGCRIT_SIMD
        for (int b = 0; b < BLOCK; ++b) {
          const T subtracted = px.label[b] == c ? less[b] : T(0);
          out[b] = p[b] * (weight[b] * (px.label[b] == c ? at_label : g) + common[b]) - subtracted;
        }
      }
      if (streamed) stream_row(streamed, base + c * stride);
    }
  }

  // G by the sums with operands, added to that of the other sums.
  void operand_slopes(const Pixels<T>& px, const Span& span, int c, T* dot) {
    T* slope = slopes.data() + static_cast<int64_t>(c) * BLOCK;
    const T* p = this->row(c);
    for (int k = 0; k < job.operands; ++k) {
      T values[BLOCK];
      read_operand(job, k, span, c, px.weight, values);
      const T factor = static_cast<T>(this->row_gradient(SEGCRIT_FIELDS + k, span.image)[c]);
      for (int b = 0; b < BLOCK; ++b) {
        slope[b] += factor * values[b];
        dot[b] += p[b] * factor * values[b];
      }
    }
  }

  // At the label, G is that of the other classes, less what the histogram of negatives has given, and that of the positives.
  void add_label_slopes(const Pixels<T>& px, const T* log_p, T* dot) {
    const T number = static_cast<T>(job.bins);
    for (int b = 0; b < BLOCK; ++b) {
      if (px.label[b] < 0) continue;
      const int64_t label = px.label[b], at = label * BLOCK + b;
      if (!job.errors) {
        slopes[at] += of_label[label];
        dot[b] += tile[at] * of_label[label];
        continue;
      }
      const double* bin_slopes = job.moment_gradient + label * 2 * job.bins;
      const T positive = static_cast<T>(bin_slopes[job.bins + bin_at(one_minus_exp(log_p[b]) * number, job.bins)]);
      const T negative = static_cast<T>(bin_slopes[bin_at(tile[at] * number, job.bins)]);
      const T extra = of_label[label] - positive - negative;
      slopes[at] += extra;
      dot[b] += tile[at] * extra;
    }
  }

  // Probabilities of one class into the tile, where errors are counted also its G (the label's pixels as the others, corrected
  // afterwards), and p G added to dot.
  template <class L>
  void weigh_class(const typename L::Storage* z, int c, T g, T g2, T* dot) {
    T* p = this->row(c);
    if (sloped) {
      T highest = 0;
      SEGCRIT_SIMD_MAX(highest)
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = exp_negative(L::load(z[b]) - maximum[b]) * inverse[b];
        highest = p[b] > highest ? p[b] : highest;
      }
      error_slopes(c, p, highest, g, g2, dot);
    } else if (g2 != T(0)) {
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = exp_negative(L::load(z[b]) - maximum[b]) * inverse[b];
        dot[b] += p[b] * (g + g2 * p[b]);
      }
    } else {
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = exp_negative(L::load(z[b]) - maximum[b]) * inverse[b];
        dot[b] += p[b] * g;
      }
    }
  }

  // G of one class: a look into the class's table of bins.
  void error_slopes(int c, const T* p, T highest, T g, T g2, T* dot) {
    T* slope = slopes.data() + static_cast<int64_t>(c) * BLOCK;
    const T* table = job.errors ? bin_tables + c * static_cast<int64_t>(job.bins) : nullptr;
    const T number = static_cast<T>(job.bins), top = number - T(1);
    if (!table || highest * number < T(1)) {
      const T lowest = table ? g + table[0] : g;
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        slope[b] = lowest + g2 * p[b];
        dot[b] += p[b] * slope[b];
      }
      return;
    }
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) {
      const T position = p[b] * number;
      const int32_t bin = static_cast<int32_t>(position < top ? position : top);
      slope[b] = g + g2 * p[b] + table[bin];
      dot[b] += p[b] * slope[b];
    }
  }

 public:
  // Slopes of the negatives' bins, (classes, bins), in the arithmetic's type; shared by all threads.
  const T* bin_tables = nullptr;

 private:
  // Label smoothing: the share of every class.
  void subtract_spread(T* base, int64_t stride) {
    for (int64_t j = 0; j < job.losses; ++j) {
      if (job.smoothing[j] == 0.0) continue;
      const T* spread = spread_rows.data() + j * BLOCK;
      for (int c = 0; c < classes; ++c) {
        const T w = weights[j * classes + c];
        T* out = base + c * stride;
        for (int b = 0; b < BLOCK; ++b) out[b] -= w * spread[b];
      }
    }
  }

  void clear_ignored(const Pixels<T>& px) {
    for (int c = 0; c < classes; ++c) {
      T* out = tile.data() + static_cast<int64_t>(c) * BLOCK;
      for (int b = 0; b < BLOCK; ++b) out[b] = px.label[b] < 0 ? T(0) : out[b];
    }
  }
};

}  // namespace SEGCRIT_ISA
