// Pairs of true and predicted label, from logits or from labels, for each image.
#pragma once
#include "logits.hpp"

namespace SEGCRIT_ISA {

// Counts of one image and thread. Runs of one pair are common: four counters a cell in turn, so that additions to one cell
// do not wait for each other.
class PairCounter {
 public:
  bool prepare(int64_t number) {
    cells = number;
    return lanes.zeros(4 * number);
  }
  void add(const int32_t* cell, int count) {
    int b = 0;
    for (; b + 4 <= count; b += 4)
      for (int lane = 0; lane < 4; ++lane)
        if (cell[b + lane] >= 0) ++lanes[lane * cells + cell[b + lane]];
    for (; b < count; ++b)
      if (cell[b] >= 0) ++lanes[cell[b]];
  }
  void flush(int64_t* counts) {
    for (int64_t lane = 0; lane < 4; ++lane)
      for (int64_t i = 0; i < cells; ++i) {
        counts[i] += lanes[lane * cells + i];
        lanes[lane * cells + i] = 0;
      }
  }

 private:
  Buffer<int64_t> lanes;
  int64_t cells = 0;
};

template <class F>
class Predictor {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;
  using Plain = typename PlainOf<T>::Type;

  Predictor(const segcrit_count_job& j, const Axes<T>& axes)
      : task(j), job(j.source), classes(static_cast<int>(j.source.classes)), logits(j.source, axes) {}

  bool prepare() { return task.source.logits == nullptr || logits.prepare(); }

  // Cells of one block of one channel (0 where the target holds labels): true label times side plus predicted one, -1 where
  // ignored. False where something else than classes is met.
  bool cells(const Span& span, int channel, int32_t* cell) {
    const bool elements = job.target_form == SEGCRIT_ELEMENTS;
    const int side = elements ? 2 : classes;
    int32_t truth[BLOCK], guess[BLOCK];
    if (!read(job.target, job.target_type, span.image * job.target_image_stride + channel * job.target_class_stride,
              job.target_pixel_stride, span, side, true, truth))
      return false;
    if (job.logits == nullptr) {
      if (!read(task.prediction, task.prediction_type,
                span.image * task.prediction_image_stride + channel * task.prediction_class_stride, task.prediction_pixel_stride,
                span, side, false, guess))
        return false;
    } else if (elements) {
      threshold(span, channel, guess);
    } else {
      largest(span, guess);
    }
    int wrong = 0;
    for (int b = 0; b < span.count; ++b) {
      wrong |= truth[b] >= 0 && guess[b] < 0 ? 1 : 0;
      cell[b] = truth[b] < 0 ? -1 : truth[b] * side + guess[b];
    }
    return wrong == 0;
  }

 private:
  const segcrit_count_job& task;
  const segcrit_job& job;
  const int classes;
  Logits<F> logits;

  // Labels below side; -1 for the ignore label of a target, and for other values of a prediction.
  bool read(const void* data, int32_t type, int64_t offset, int64_t step, const Span& span, int side, bool truth, int32_t* out) const {
    bool good = true;
    with_type(type, data, offset + span.first * step, [&](const auto* source) {
      using S = typename std::remove_cv<typename std::remove_reference<decltype(*source)>::type>::type;
      if constexpr (std::is_integral<S>::value) {
        const bool meets = truth && static_cast<int64_t>(static_cast<S>(job.ignore_index)) == job.ignore_index;
        const S skip = static_cast<S>(job.ignore_index);
        int bad = 0;
        const auto each = [&](int b, S value) {
          const bool ignored = meets && value == skip;
          const bool inside = value >= S(0) && static_cast<uint64_t>(value) < static_cast<uint64_t>(side);
          bad |= !ignored && !inside ? 1 : 0;
          out[b] = inside && !ignored ? static_cast<int32_t>(value) : -1;
        };
        if (step == 1) {
          for (int b = 0; b < span.count; ++b) each(b, source[b]);
        } else {
          for (int b = 0; b < span.count; ++b) each(b, source[b * step]);
        }
        good = !truth || bad == 0;
      } else {
        good = false;
      }
    });
    return good;
  }

  // The class of the largest logit, the lowest one on a tie; -1 where a logit is NaN.
  void largest(const Span& span, int32_t* out) {
    T best[BLOCK], row[BLOCK], finite = 0;
    for (int b = 0; b < BLOCK; ++b) { best[b] = -static_cast<T>(INFINITY); out[b] = 0; }
    const Storage* source = logits.direct(span, span.count == BLOCK);
    for (int c = 0; c < classes; ++c) {
      if (source != nullptr) {
        prefetch_row(source, job.class_stride, classes, c);
        finite += take_row<F>(source + c * job.class_stride, c, best, out);
      } else {
        logits.fill_plain(span, c, row);
        finite += take_row<Plain>(row, c, best, out);
      }
    }
    if (finite == T(0)) return;
    // Something is infinite, which is in order, or no number.
    for (int c = 0; c < classes; ++c) {
      logits.fill_plain(span, c, row);
      for (int b = 0; b < BLOCK; ++b) out[b] = row[b] == row[b] ? out[b] : -1;
    }
  }
  // Returns 0, or NaN where a logit is infinite or NaN.
  template <class L>
  static T take_row(const typename L::Storage* row, int c, T* best, int32_t* out) {
    T finite = 0;
    SEGCRIT_SIMD_SUM(finite)
    for (int b = 0; b < BLOCK; ++b) {
      const T z = L::load(row[b]);
      out[b] = z > best[b] ? c : out[b];
      best[b] = z > best[b] ? z : best[b];
      finite += z * T(0);
    }
    return finite;
  }

  void threshold(const Span& span, int channel, int32_t* out) {
    T row[BLOCK];
    logits.fill_plain(span, channel, row);
    for (int b = 0; b < BLOCK; ++b) out[b] = row[b] == row[b] ? (static_cast<double>(row[b]) > task.threshold ? 1 : 0) : -1;
  }
};

}  // namespace SEGCRIT_ISA
