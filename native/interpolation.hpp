// Linear interpolation of low-resolution logits, block by block: a block of pixels of the target is computed from the few
// rows of logits that it lies between, so that logits of full resolution never exist. Backward is the transposed gather.
#pragma once
#include "target.hpp"

namespace SEGCRIT_ISA {

// One axis in the arithmetic's type, shared by all threads. A position that falls on a sample reads that sample twice with
// half its weight: 0 times a neighbour that is infinite or NaN would not be 0.
template <class T>
struct Axis {
  int64_t low = 1, high = 1, stride = 0;
  const int32_t* first = nullptr;
  Buffer<int32_t> second;
  Buffer<T> share_first, share_second;
  // The transposed map: sample x is read by the outputs begin[x] to end[x] - 1, with the weights from_sample[at[x] ...].
  Buffer<int32_t> begin, end, at;
  Buffer<T> from_sample;

  bool build(const segcrit_axis& axis) {
    low = axis.low;
    high = axis.high;
    stride = axis.stride;
    first = axis.first;
    if (!second.reserve(high) || !share_first.reserve(high) || !share_second.reserve(high)) return false;
    for (int64_t i = 0; i < high; ++i) {
      const bool exact = axis.share[i] == 0.0 || axis.first[i] == axis.second[i];
      second[i] = exact ? axis.first[i] : axis.second[i];
      share_second[i] = exact ? T(0.5) : static_cast<T>(axis.share[i]);
      share_first[i] = exact ? T(0.5) : static_cast<T>(1.0 - axis.share[i]);
    }
    return transpose();
  }

 private:
  bool transpose() {
    if (!begin.zeros(low) || !end.zeros(low) || !at.zeros(low) || !from_sample.reserve(2 * high + 1)) return false;
    int64_t used = 0, from = 0, to = 0;
    for (int64_t x = 0; x < low; ++x) {
      while (from < high && second[from] < x) ++from;
      to = to < from ? from : to;
      while (to < high && first[to] <= x) ++to;
      begin[x] = static_cast<int32_t>(from);
      end[x] = static_cast<int32_t>(to);
      at[x] = static_cast<int32_t>(used);
      for (int64_t i = from; i < to; ++i)
        from_sample[used++] = (first[i] == x ? share_first[i] : T(0)) + (second[i] == x ? share_second[i] : T(0));
    }
    return true;
  }
};

// A part of a block that lies in one row of the target.
struct Segment {
  int64_t depth, row;
  int column, place, count;  // first column in the row, first pixel in the block, number of pixels
};

template <class T>
struct Axes {
  Axis<T> axis[3];

  bool build(const segcrit_job& job) { return axis[0].build(job.axis[0]) && axis[1].build(job.axis[1]) && axis[2].build(job.axis[2]); }

  // Calls action for each row that a block touches.
  template <class Action>
  void segments(const Span& span, Action&& action) const {
    const int64_t width = axis[2].high, height = axis[1].high;
    int64_t at = span.first;
    int place = 0;
    while (place < span.count) {
      const int64_t column = at % width, line = at / width;
      const int64_t left = width - column, rest = span.count - place;
      const int count = static_cast<int>(left < rest ? left : rest);
      action(Segment{line / height, line % height, static_cast<int>(column), place, count});
      place += count;
      at += count;
    }
  }
};

#if defined(__AVX2__)
// Eight outputs from samples that lie within eight of each other: two permutations instead of two gathers.
SEGCRIT_INLINE void expand_eight(const float* samples, const int32_t* first, const int32_t* second, const float* a, const float* b,
                                 float* out) {
  const __m256 window = _mm256_loadu_ps(samples + first[0]);
  const __m256i base = _mm256_set1_epi32(first[0]);
  const __m256i i = _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)), base);
  const __m256i j = _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(second)), base);
  const __m256 left = _mm256_mul_ps(_mm256_loadu_ps(a), _mm256_permutevar8x32_ps(window, i));
  _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_loadu_ps(b), _mm256_permutevar8x32_ps(window, j), left));
}
#endif

// samples[x - lowest] for the samples from lowest on; out[k] for the outputs column + k. The samples may be read eight
// beyond the last one. An output is the same number wherever in a block it lies: the backward pass, whose blocks begin
// elsewhere, must meet the logits that the normalizers were made of.
template <class T>
static inline void expand(const Axis<T>& axis, const T* samples, int64_t lowest, int column, int count, T* out) {
  const int32_t *first = axis.first + column, *second = axis.second.data() + column;
  const T *a = axis.share_first.data() + column, *b = axis.share_second.data() + column;
  samples -= lowest;
  int k = 0;
#if defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    for (; k + 8 <= count; k += 8) {
      if (second[k + 7] - first[k] > 7) break;
      expand_eight(samples, first + k, second + k, a + k, b + k, out + k);
    }
  }
#endif
  for (; k < count; ++k) out[k] = multiply_add(b[k], samples[second[k]], a[k] * samples[first[k]]);
}

template <class F>
class Interpolator {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  Interpolator(const segcrit_job& j, const Axes<T>& a) : job(j), axes(a) {}

  bool prepare() { return line.zeros(axes.axis[2].low + 16); }

  // The logits of one class at the pixels of a block, before any mask.
  void row(const Span& span, int64_t channel, T* out) {
    const Storage* base = static_cast<const Storage*>(job.logits) + span.image * job.image_stride + channel * job.class_stride;
    const Axis<T>&z = axes.axis[0], &y = axes.axis[1], &x = axes.axis[2];
    axes.segments(span, [&](const Segment& part) {
      const int last = part.column + part.count - 1;
      const int64_t lowest = x.first[part.column], samples = x.second[last] - lowest + 1;
      const Storage* corner = base + lowest * x.stride;
      const Storage* rows[4];
      T share[4];
      int number = 0;
      for (int k = 0; k < (z.low > 1 ? 2 : 1); ++k) {
        const int64_t plane = k == 0 ? z.first[part.depth] : z.second[part.depth];
        const T of_plane = z.low > 1 ? (k == 0 ? z.share_first[part.depth] : z.share_second[part.depth]) : T(1);
        for (int l = 0; l < (y.low > 1 ? 2 : 1); ++l) {
          const int64_t line_of = l == 0 ? y.first[part.row] : y.second[part.row];
          const T of_line = y.low > 1 ? (l == 0 ? y.share_first[part.row] : y.share_second[part.row]) : T(1);
          rows[number] = corner + plane * z.stride + line_of * y.stride;
          share[number++] = of_plane * of_line;
        }
      }
      blend(rows, share, number, samples, x.stride);
      expand(x, line.data(), lowest, part.column, part.count, out + part.place);
    });
  }

 private:
  const segcrit_job& job;
  const Axes<T>& axes;
  Buffer<T> line;

  void blend(const Storage* const* rows, const T* share, int number, int64_t samples, int64_t stride) {
    T* out = line.data();
    if (number == 2 && stride == 1) {
      const Storage *one = rows[0], *two = rows[1];
      const T a = share[0], b = share[1];
      SEGCRIT_SIMD
      for (int64_t i = 0; i < samples; ++i) out[i] = a * F::load(one[i]) + b * F::load(two[i]);
      return;
    }
    for (int64_t i = 0; i < samples; ++i) out[i] = share[0] * F::load(rows[0][i * stride]);
    for (int k = 1; k < number; ++k)
      for (int64_t i = 0; i < samples; ++i) out[i] += share[k] * F::load(rows[k][i * stride]);
  }
};

}  // namespace SEGCRIT_ISA
