// Softmax over two classes where every pixel of a block counts, with weight 1: the common case of foreground and background, in
// one loop forward and one backward. The probability of class 1 is the sigmoid of x = z1 - z0, the loss of a pixel
// w softplus(a) with a = -x at label 1 and x at label 0, and the gradients of the two logits are opposite.
#pragma once
#include "hard_sigmoid.hpp"

namespace SEGCRIT_ISA {

template <class F>
class HardPair {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  explicit HardPair(const segcrit_job& j) : job(j) {
    regional = (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q)) != 0;
    const bool views = job.background || job.foreground_only || job.ignore_index == 0 || job.ignore_index == 1;
    // Where normalizers are kept, they are those of every pixel.
    const bool more = job.errors || job.confusion || job.maps || job.map_gradient || job.normalizers || job.operands;
    common = job.classes == 2 && job.target_form == SEGCRIT_LABELS && !job.pixel_weight && job.target_pixel_stride == 1 && !views && !more &&
             job.losses <= 1;
    if (job.losses != 1) return;
    of_label[0] = static_cast<T>(job.coefficients[0]);
    of_label[1] = static_cast<T>(job.coefficients[1]);
    // 0 times infinity must not arise where a class does not count.
    common = common && is_cross_entropy(job, 0) && job.smoothing[0] == 0.0 && of_label[0] != T(0) && of_label[1] != T(0);
  }

  // Reads the labels; false where the block needs the general way.
  bool read(const Span& span) {
    if (!common || span.count < BLOCK) return false;
    bool good = false;
    with_type(job.target_type, job.target, span.image * job.target_image_stride + span.first,
              [&](const auto* source) { good = read_hard_elements(source, target); });
    return good;
  }

  void forward(const Storage* z, const ChunkSums& sums) const {
    if (regional) {
      add_sums<true>(z, sums);
    } else {
      add_sums<false>(z, sums);
    }
  }

  // first, second: the gradients of the logits of class 0 and 1.
  void backward(const Storage* z, int64_t image, T* first, T* second) const {
    const Storage* other = z + job.class_stride;
    const T upstream = job.losses ? static_cast<T>(job.pixel_gradient[0]) : T(0);
    const T at_one = -upstream * of_label[1], at_zero = upstream * of_label[0];
    if (!regional) {
      SEGCRIT_SIMD
      for (int b = 0; b < BLOCK; ++b) {
        const T x = difference(F::load(z[b]), F::load(other[b])), away = target[b] > T(0) ? -x : x;
        const T e = exp_negative(x < T(0) ? x : -x), high = T(1) / (T(1) + e);
        const T slope = (target[b] > T(0) ? at_one : at_zero) * (away < T(0) ? e * high : high);
        first[b] = -slope;
        second[b] = slope;
      }
      return;
    }
    const int64_t step = (job.per_image ? job.images : 1) * 2;
    const double* sums = job.table_gradient + (job.per_image ? image : 0) * 2;
    const double *overlap = sums, *linear = sums + step, *square = sums + 2 * step;
    // dL/dp1 - dL/dp0 at the two labels, and what grows with p1 and p0.
    const T in_one = static_cast<T>(overlap[1] + linear[1] - linear[0]), in_zero = static_cast<T>(linear[1] - linear[0] - overlap[0]);
    const bool squares = (job.fields & SEGCRIT_Q) != 0;
    const T of_one = squares ? static_cast<T>(2 * square[1]) : T(0), of_zero = squares ? static_cast<T>(2 * square[0]) : T(0);
    SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) {
      const T x = difference(F::load(z[b]), F::load(other[b])), away = target[b] > T(0) ? -x : x;
      const T e = exp_negative(x < T(0) ? x : -x), high = T(1) / (T(1) + e), low = e * high;
      const T p = x < T(0) ? low : high, q = x < T(0) ? high : low;
      const T pull = (target[b] > T(0) ? in_one : in_zero) + of_one * p - of_zero * q;
      const T slope = (target[b] > T(0) ? at_one : at_zero) * (away < T(0) ? low : high) + p * q * pull;
      first[b] = -slope;
      second[b] = slope;
    }
  }

 private:
  const segcrit_job& job;
  bool regional, common;
  T of_label[2] = {0, 0};
  T target[BLOCK];

  // z1 - z0, and NaN where the larger one is infinite, as the softmax of such logits is.
  static T difference(T zero, T one) { return (one - zero) + T(0) * (one > zero ? one : zero); }

  template <bool REGIONAL>
  void add_sums(const Storage* z, const ChunkSums& sums) const {
    const Storage* other = z + job.class_stride;
    const T at_one = of_label[1], at_zero = of_label[0];
    T loss = 0, ones = 0, of_one = 0, of_zero = 0, linear_one = 0, linear_zero = 0, square_one = 0, square_zero = 0;
    SEGCRIT_SIMD_SUM(loss, ones, of_one, of_zero, linear_one, linear_zero, square_one, square_zero)
    for (int b = 0; b < BLOCK; ++b) {
      const T x = difference(F::load(z[b]), F::load(other[b])), away = target[b] > T(0) ? -x : x;
      const T e = exp_negative(x < T(0) ? x : -x);
      loss += (target[b] > T(0) ? at_one : at_zero) * ((away < T(0) ? T(0) : away) + log_one_plus(e));
      ones += target[b];
      if (REGIONAL) {
        const T high = T(1) / (T(1) + e), low = e * high;
        const T p = x < T(0) ? low : high, q = x < T(0) ? high : low;
        of_one += target[b] > T(0) ? p : T(0);
        of_zero += target[b] > T(0) ? T(0) : q;
        linear_one += p;
        linear_zero += q;
        square_one += p * p;
        square_zero += q * q;
      }
    }
    if (job.losses) sums.pixel[0] += loss;
    add(sums, 0, of_zero, of_one);
    add(sums, 1, linear_zero, linear_one);
    add(sums, 2, square_zero, square_one);
    add(sums, 3, T(BLOCK) - ones, ones);
    add(sums, 5, T(BLOCK), T(BLOCK));
  }
  void add(const ChunkSums& sums, int field, T zero, T one) const {
    if (!(job.fields & (1 << field))) return;
    sums.tables[static_cast<int64_t>(field) * 2] += zero;
    sums.tables[static_cast<int64_t>(field) * 2 + 1] += one;
  }
};

}  // namespace SEGCRIT_ISA
