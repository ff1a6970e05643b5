// Sigmoid tasks where every element of a block counts, with weight 1 and a target of 0 or 1: the common case, in one loop
// forward and one backward. The loss of an element is then w softplus(a) with a = -z at positives and z at negatives, and its
// derivative w sigmoid(a), with the sign of a.
#pragma once
#include "losses.hpp"
#include "sums.hpp"

namespace SEGCRIT_ISA {

// Targets of a full block; false where one is neither 0 nor 1.
template <class S, class T>
static inline bool read_hard_elements(const S* source, T* target) {
  int32_t bad = 0;
  if constexpr (std::is_integral<S>::value) {
    int32_t narrow[BLOCK];
    for (int b = 0; b < BLOCK; ++b) narrow[b] = static_cast<int32_t>(source[b]);
    if constexpr (sizeof(S) > 4) {
      int64_t lost = 0;
      for (int b = 0; b < BLOCK; ++b) lost |= static_cast<int64_t>(source[b]) & ~int64_t(1);
      bad = lost != 0;
    }
    for (int b = 0; b < BLOCK; ++b) {
      bad |= narrow[b] & ~1;
      target[b] = static_cast<T>(narrow[b]);
    }
  } else {
    for (int b = 0; b < BLOCK; ++b) {
      const T t = static_cast<T>(source[b]);
      target[b] = t;
      bad |= (t == T(0) ? 0 : 1) & (t == T(1) ? 0 : 1);
    }
  }
  return bad == 0;
}

template <class F>
class HardSigmoid {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;
  using Plain = typename PlainOf<T>::Type;

  explicit HardSigmoid(const segcrit_job& j) : job(j), classes(static_cast<int>(j.classes)) {
    regional = (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q | SEGCRIT_D)) != 0;
    const bool views = job.background || job.foreground_only || job.ignore_index == 0 || job.ignore_index == 1;
    const bool more = job.errors || job.confusion || job.maps || job.map_gradient || job.operands;
    common = !job.pixel_weight && job.target_pixel_stride == 1 && !views && !more && job.losses <= 1;
    if (job.losses == 1) common = common && is_cross_entropy(job, 0) && job.smoothing[0] == 0.0;
  }

  // Reads the targets of a channel; false where the block needs the general way.
  bool read(const Span& span, int c) {
    if (!common || span.count < BLOCK) return false;
    of_positive = job.losses ? static_cast<T>(job.coefficients[c]) : T(0);
    of_negative = job.losses ? static_cast<T>(job.coefficients[classes + c]) : T(0);
    // 0 times infinity must not arise where a side does not count.
    if (job.losses && (of_positive == T(0) || of_negative == T(0))) return false;
    const int64_t offset = span.image * job.target_image_stride + c * job.target_class_stride + span.first;
    bool good = false;
    with_type(job.target_type, job.target, offset, [&](const auto* source) { good = read_hard_elements(source, target); });
    return good;
  }

  // z: the logits of the channel, in memory or in the arithmetic's type.
  template <class L>
  void forward(const typename L::Storage* z, int c, const ChunkSums& sums) const {
    if (regional) {
      add_sums<L, true>(z, c, sums);
    } else {
      add_sums<L, false>(z, c, sums);
    }
  }

  template <class L>
  void backward(const typename L::Storage* z, int64_t image, int c, T* result) const {
    const T scale = static_cast<T>(job.logit_scale), upstream = job.losses ? static_cast<T>(job.pixel_gradient[0]) * scale : T(0);
    const T at_positive = -upstream * of_positive, at_negative = upstream * of_negative;
    if (!regional) {
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        const T x = L::load(z[b]), away = target[b] > T(0) ? -x : x;
        const T e = exp_negative(x < T(0) ? x : -x), high = T(1) / (T(1) + e);
        result[b] = (target[b] > T(0) ? at_positive : at_negative) * (away < T(0) ? e * high : high);
      }
      return;
    }
    const int64_t step = (job.per_image ? job.images : 1) * job.classes;
    const double* sums = job.table_gradient + (job.per_image ? image : 0) * job.classes + c;
    const T overlap = static_cast<T>(sums[0]) * scale, linear = static_cast<T>(sums[step]) * scale;
    const T square = static_cast<T>(2 * sums[2 * step]) * scale;
    const T distance = (job.fields & SEGCRIT_D) ? static_cast<T>(sums[6 * step]) * scale : T(0);
    // The derivative by p, without the square: of I, P and |p - t|.
    const T in_positive = overlap + linear - distance, in_negative = linear + distance;
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) {
      const T x = L::load(z[b]), away = target[b] > T(0) ? -x : x;
      const T e = exp_negative(x < T(0) ? x : -x), high = T(1) / (T(1) + e), low = e * high;
      const T p = x < T(0) ? low : high;
      const T of_probability = (target[b] > T(0) ? in_positive : in_negative) + square * p;
      result[b] = (target[b] > T(0) ? at_positive : at_negative) * (away < T(0) ? low : high) + high * low * of_probability;
    }
  }

 private:
  const segcrit_job& job;
  const int classes;
  bool regional, common;
  T of_positive = 0, of_negative = 0;
  T target[BLOCK];

  template <class L, bool REGIONAL>
  void add_sums(const typename L::Storage* z, int c, const ChunkSums& sums) const {
    T loss = 0, positives = 0, overlap = 0, linear = 0, square = 0, distance = 0;
    SEGCRIT_SIMD_SUM(loss, positives, overlap, linear, square, distance)
    for (int b = 0; b < BLOCK; ++b) {
      const T x = L::load(z[b]), away = target[b] > T(0) ? -x : x;
      const T e = exp_negative(x < T(0) ? x : -x);
      loss += (target[b] > T(0) ? of_positive : of_negative) * ((away < T(0) ? T(0) : away) + log_one_plus(e));
      positives += target[b];
      if (REGIONAL) {
        const T high = T(1) / (T(1) + e), low = e * high;
        const T p = x < T(0) ? low : high;
        overlap += target[b] * p;
        linear += p;
        square += p * p;
        distance += away < T(0) ? low : high;
      }
    }
    if (job.losses) sums.pixel[0] += loss;
    add(sums, 0, c, overlap);
    add(sums, 1, c, linear);
    add(sums, 2, c, square);
    add(sums, 3, c, positives);
    add(sums, 4, c, positives);
    add(sums, 5, c, T(BLOCK));
    add(sums, 6, c, distance);
  }
  void add(const ChunkSums& sums, int field, int c, T value) const {
    if (job.fields & (1 << field)) sums.tables[static_cast<int64_t>(field) * classes + c] += value;
  }
};

}  // namespace SEGCRIT_ISA
