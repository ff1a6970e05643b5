// Pairs of true and predicted label, from logits or from labels, for each image.
#pragma once
#include "logits.hpp"

namespace SEGCRIT_ISA {

// Counts of one image and thread; the cell after the last one takes what does not count, so that nothing branches on it.
// Runs of one pair are common: whole groups of one cell are added at once, and elsewhere four counters a cell take turns,
// so that additions to one cell do not wait for each other.
class PairCounter {
 public:
  bool prepare(int64_t number) {
    cells = number;
    return lanes.zeros(4 * (number + 1));
  }
  template <class I>
  void add(const I* cell, int count) {
    const int64_t lane = cells + 1;
    int b = 0;
    for (; b + GROUP <= count; b += GROUP) {
      I different = 0;
      for (int i = 0; i < GROUP; ++i) different = static_cast<I>(different | (cell[b + i] ^ cell[b]));
      if (different == 0) {
        lanes[cell[b]] += GROUP;
        continue;
      }
      for (int i = 0; i < GROUP; ++i) ++lanes[(i & 3) * lane + cell[b + i]];
    }
    for (; b < count; ++b) ++lanes[cell[b]];
  }
  void add_run(int64_t cell, int count) { lanes[cell] += count; }
  void flush(int64_t* counts) {
    for (int64_t lane = 0; lane < 4; ++lane) {
      int64_t* own = &lanes[lane * (cells + 1)];
      for (int64_t i = 0; i < cells; ++i) {
        counts[i] += own[i];
        own[i] = 0;
      }
    }
  }

 private:
  static constexpr int GROUP = 16;

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

  // Count one block of one channel (0 where the target holds labels). False where something else than classes is met.
  bool count(const Span& span, int channel, PairCounter& counter) {
    const uint8_t* truth = bytes(job.target, job.target_type, job.target_pixel_stride,
                                 span.image * job.target_image_stride + channel * job.target_class_stride + span.first);
    const uint8_t* guess = job.logits != nullptr ? nullptr
        : bytes(task.prediction, task.prediction_type, task.prediction_pixel_stride,
                span.image * task.prediction_image_stride + channel * task.prediction_class_stride + span.first);
    if (truth != nullptr && guess != nullptr) return count_bytes(truth, guess, span, channel, counter);
    return count_cells(span, channel, counter);
  }

 private:
  const segcrit_count_job& task;
  const segcrit_job& job;
  const int classes;
  Logits<F> logits;

  static constexpr int RUN = 32;
  static constexpr int FEW = 255;  // 255 squared and the cell of the rest are below 65536

  int labels() const { return job.target_form == SEGCRIT_ELEMENTS ? 2 : classes; }

  static const uint8_t* bytes(const void* data, int32_t type, int64_t step, int64_t offset) {
    return type == SEGCRIT_U8 && step == 1 ? static_cast<const uint8_t*>(data) + offset : nullptr;
  }

  // Label maps are mostly areas of one class: 32 equal pixels are recognised with a few vector instructions.
  bool count_bytes(const uint8_t* truth, const uint8_t* guess, const Span& span, int channel, PairCounter& counter) {
    const int side = labels();
    int done = 0;
    for (int b = 0; b + RUN <= span.count; b += RUN) {
      const uint8_t t = truth[b], g = guess[b];
      uint8_t different = 0;
      SEGCRIT_SIMD_ANY(different)
      for (int i = 0; i < RUN; ++i) different |= static_cast<uint8_t>((truth[b + i] ^ t) | (guess[b + i] ^ g));
      if (different != 0) continue;
      if (b > done && !count_part(truth, guess, span, done, b, channel, counter)) return false;
      done = b + RUN;
      if (t == job.ignore_index) continue;
      if (t >= side || g >= side) return false;
      counter.add_run(t * side + g, RUN);
    }
    return done == span.count || count_part(truth, guess, span, done, span.count, channel, counter);
  }

  // The pixels from first to last of a block, which are of several classes. Cells of few classes fit 16 bits: twice as many
  // in a vector.
  bool count_part(const uint8_t* truth, const uint8_t* guess, const Span& span, int first, int last, int channel,
                  PairCounter& counter) {
    const int side = labels();
    if (side > FEW) return count_cells({span.image, span.first + first, last - first}, channel, counter);
    const bool meets = job.ignore_index >= 0 && job.ignore_index <= 255;
    const uint16_t skip = meets ? static_cast<uint16_t>(job.ignore_index) : 0xFFFF;
    const uint16_t width = static_cast<uint16_t>(side), rest = static_cast<uint16_t>(side * side);
    uint16_t cell[BLOCK], bad = 0;
    SEGCRIT_SIMD_ANY(bad)
    for (int b = 0; b < last - first; ++b) {
      const uint16_t t = truth[first + b], g = guess[first + b];
      const uint16_t ignored = t == skip ? 0xFFFF : 0, outside = (t < width ? 0 : 0xFFFF) | (g < width ? 0 : 0xFFFF);
      bad = static_cast<uint16_t>(bad | (outside & ~ignored));
      cell[b] = static_cast<uint16_t>((ignored & rest) | (~ignored & (t * width + g)));
    }
    if (bad != 0) return false;
    counter.add(cell, last - first);
    return true;
  }

  bool count_cells(const Span& span, int channel, PairCounter& counter) {
    int32_t cell[BLOCK];
    if (!cells(span, channel, cell)) return false;
    counter.add(cell, span.count);
    return true;
  }

  // Cells of one block of one channel (0 where the target holds labels): true label times side plus predicted one, side
  // squared where ignored. False where something else than classes is met.
  bool cells(const Span& span, int channel, int32_t* cell) {
    const bool elements = job.target_form == SEGCRIT_ELEMENTS;
    const int side = labels();
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
    int32_t wrong = 0;
    const int32_t rest = side * side;
    SEGCRIT_SIMD_ANY(wrong)
    for (int b = 0; b < span.count; ++b) {
      const bool ignored = truth[b] < 0;
      wrong |= ignored ? 0 : guess[b];
      cell[b] = ignored ? rest : truth[b] * side + guess[b];
    }
    return wrong >= 0;
  }

  // Labels below side; -1 for the ignore label of a target, and for other values of a prediction.
  bool read(const void* data, int32_t type, int64_t offset, int64_t step, const Span& span, int side, bool truth, int32_t* out) const {
    bool good = true;
    with_type(type, data, offset + span.first * step, [&](const auto* source) {
      using S = typename std::remove_cv<typename std::remove_reference<decltype(*source)>::type>::type;
      if constexpr (std::is_integral<S>::value) {
        const bool meets = truth && static_cast<int64_t>(static_cast<S>(job.ignore_index)) == job.ignore_index;
        const S skip = static_cast<S>(job.ignore_index);
        const int32_t met = meets ? -1 : 0;
        int32_t bad = 0;
        // No branch and, but for 64-bit labels, 32 bits all through: vector instructions throughout.
        const auto each = [&](S value) {
          const int32_t label = static_cast<int32_t>(value);
          const int32_t ignored = (value == skip ? -1 : 0) & met;
          int32_t outside = static_cast<uint32_t>(label) >= static_cast<uint32_t>(side) ? -1 : 0;
          if constexpr (sizeof(S) > sizeof(int32_t)) outside |= static_cast<S>(label) != value ? -1 : 0;
          bad |= outside & ~ignored;
          return label | ignored | outside;
        };
        if (step == 1) {
          SEGCRIT_SIMD_ANY(bad)
          for (int b = 0; b < span.count; ++b) out[b] = each(source[b]);
        } else {
          for (int b = 0; b < span.count; ++b) out[b] = each(source[b * step]);
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
