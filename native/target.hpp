// What the target and the weights say of a block of pixels: the ignore rule of _masking.py, in C++.
#pragma once
#include <type_traits>

#include "elements.hpp"

namespace SEGCRIT_ISA {

// A run of pixels of one image, in the order of the flattened target.
struct Span {
  int64_t image, first;
  int count;  // 1 to BLOCK
};

// The labels and weights of a block; label -1 and weight 0 where the pixel does not count.
template <class T>
struct Pixels {
  int32_t label[BLOCK];
  T weight[BLOCK];
  bool any;   // a pixel counts
  bool all;   // the block is full and all of them count
  bool same;  // all of them, and with one label

  void close(int count) {
    for (int b = count; b < BLOCK; ++b) { label[b] = -1; weight[b] = 0; }
    int low = label[0], high = label[0];
    for (int b = 0; b < BLOCK; ++b) {
      low = label[b] < low ? label[b] : low;
      high = label[b] > high ? label[b] : high;
    }
    any = high >= 0;
    all = low >= 0;
    same = all && low == high;
  }
};

template <class T>
static inline const T* weights_of(const segcrit_job& job, const Span& span) {
  return job.pixel_weight ? static_cast<const T*>(job.pixel_weight) + span.image * job.weight_image_stride + span.first : nullptr;
}

template <class T>
static inline bool is_weight(T u) {
  return u >= T(0) && u <= T(3e38);
}

// Whether a label type holds a number at all: a label that it cannot hold is never met. The first comparison keeps a float that
// is rounded up to 2^63 from a conversion that would be undefined.
template <class S>
static inline bool holds(int64_t label) {
  const S value = static_cast<S>(label);
  if constexpr (std::is_floating_point<S>::value) {
    if (!(value < S(9223372036854775808.0))) return false;
  }
  return static_cast<int64_t>(value) == label;
}

// Integer labels without weights and views, the common case: vectorises, in 32 bits. Returns whether all are allowed.
template <class S, class T>
static inline bool read_plain_labels(const S* source, int64_t classes, int64_t ignored, int count, Pixels<T>& out) {
  int32_t narrow[BLOCK];
  int64_t lost = 0;
  for (int b = 0; b < count; ++b) narrow[b] = static_cast<int32_t>(source[b]);
  if constexpr (sizeof(S) > 4)
    for (int b = 0; b < count; ++b) lost |= static_cast<int64_t>(source[b]) ^ static_cast<int64_t>(narrow[b]);
  // An ignore label of more bits is a label that is lost, or that never comes.
  const bool meets = static_cast<int64_t>(static_cast<int32_t>(ignored)) == ignored;
  const int32_t skip = meets ? static_cast<int32_t>(ignored) : -1;
  const uint32_t most = static_cast<uint32_t>(classes);
  int32_t bad = 0;
  for (int b = 0; b < count; ++b) {
    const int32_t label = narrow[b];
    const bool valid = !meets || label != skip;
    bad |= valid && static_cast<uint32_t>(label) >= most ? 1 : 0;
    out.label[b] = valid ? label : -1;
    out.weight[b] = valid ? T(1) : T(0);
  }
  return bad == 0 && lost == 0;
}

// One label, with the views of the target; false where it is not allowed and the job asks to look.
template <class T>
static inline bool set_pixel(const segcrit_job& job, Pixels<T>& out, int b, int64_t label, bool ignored, bool bad, T u) {
  bool valid = !ignored;
  if (ignored && job.background) { label = 0; valid = true; }
  const bool wrong = valid && !ignored && bad;
  if (job.check && (wrong || !is_weight(u))) return false;
  if ((job.foreground_only && label == 0 && !wrong) || u <= T(0)) valid = false;
  if (wrong && valid) { u = static_cast<T>(NAN); label = 0; }
  out.label[b] = valid ? static_cast<int32_t>(label) : -1;
  out.weight[b] = valid ? u : T(0);
  return true;
}

template <class S, class T>
static inline bool read_labels(const segcrit_job& job, const S* source, const T* weight, int count, Pixels<T>& out) {
  const S largest = static_cast<S>(job.classes - 1);
  bool good = true;
  for (int b = 0; b < count; ++b) {
    const S value = source[b * job.target_pixel_stride];
    // A float is a label where it is whole; the comparison also refuses NaN, before the conversion, which would be undefined.
    const bool inside = value >= S(0) && (value <= largest || static_cast<int64_t>(largest) != job.classes - 1);
    const int64_t label = inside ? static_cast<int64_t>(value) : 0;
    const bool ignored = static_cast<S>(job.ignore_index) == value && holds<S>(job.ignore_index);
    const bool bad = !inside || static_cast<S>(label) != value || label >= job.classes;
    good &= set_pixel(job, out, b, label, ignored, bad, weight ? weight[b] : T(1));
  }
  return good;
}

// Rows with a single 1, of integer or float type; a row of zeros is ignored.
template <class S, class T>
static inline bool read_one_hot(const segcrit_job& job, const S* source, const T* weight, int count, Pixels<T>& out) {
  int32_t label[BLOCK], ones[BLOCK], other[BLOCK];
  for (int b = 0; b < BLOCK; ++b) label[b] = ones[b] = other[b] = 0;
  for (int c = 0; c < job.classes; ++c) {
    const S* row = source + c * job.target_class_stride;
    for (int b = 0; b < count; ++b) {
      const S value = row[b * job.target_pixel_stride];
      const bool one = value == S(1);
      label[b] = one ? c : label[b];
      ones[b] += one ? 1 : 0;
      other[b] |= !one && value != S(0) ? 1 : 0;
    }
  }
  bool good = true;
  for (int b = 0; b < count; ++b) {
    const bool ignored = ones[b] == 0 && other[b] == 0;
    good &= set_pixel(job, out, b, label[b], ignored, other[b] != 0 || ones[b] != 1, weight ? weight[b] : T(1));
  }
  return good;
}

// Returns false when a label or weight is not allowed and the job asks to look.
template <class T>
static inline bool read_pixels(const segcrit_job& job, const Span& span, Pixels<T>& out) {
  const T* weight = weights_of<T>(job, span);
  const int64_t offset = span.image * job.target_image_stride + span.first * job.target_pixel_stride;
  bool good = false;
  with_type(job.target_type, job.target, offset, [&](const auto* source) {
    using S = typename std::remove_cv<typename std::remove_reference<decltype(*source)>::type>::type;
    if (job.target_form == SEGCRIT_ONE_HOT) {
      good = read_one_hot(job, source, weight, span.count, out);
      return;
    }
    if constexpr (std::is_integral<S>::value) {
      const bool plain = !weight && !job.background && !job.foreground_only && job.target_pixel_stride == 1;
      if (plain && read_plain_labels(source, job.classes, job.ignore_index, span.count, out)) {
        good = true;
        return;
      }
    }
    good = read_labels(job, source, weight, span.count, out);
  });
  out.close(span.count);
  return good;
}

// ---------------------------------------------------------------------------------------------------------------------
// Targets with a share for each class: rows[c * BLOCK + b], 0 where the pixel does not count.

// Sums of a soft target's row may differ from 1 by rounding: half precision keeps about three digits.
constexpr double ROW_TOLERANCE = 1e-2;

template <class S, class T>
static inline bool read_shares(const segcrit_job& job, const S* source, const T* weight, int count, T* rows, Pixels<T>& out) {
  T total[BLOCK], highest[BLOCK];
  int32_t bad[BLOCK], some[BLOCK], best[BLOCK];
  for (int b = 0; b < BLOCK; ++b) { total[b] = 0; highest[b] = 0; bad[b] = some[b] = best[b] = 0; }
  const T most = static_cast<T>(1.0 + ROW_TOLERANCE);
  for (int c = 0; c < job.classes; ++c) {
    const S* given = source + c * job.target_class_stride;
    T* row = rows + static_cast<int64_t>(c) * BLOCK;
    for (int b = 0; b < count; ++b) {
      const T t = static_cast<T>(given[b * job.target_pixel_stride]);
      row[b] = t;
      total[b] += t;
      bad[b] |= !(t >= T(0) && t <= most) ? 1 : 0;
      some[b] |= t != T(0) ? 1 : 0;
      best[b] = t > highest[b] ? c : best[b];
      highest[b] = t > highest[b] ? t : highest[b];
    }
    for (int b = count; b < BLOCK; ++b) row[b] = 0;
  }
  bool good = true;
  for (int b = 0; b < count; ++b) {
    const T gap = total[b] > T(1) ? total[b] - T(1) : T(1) - total[b];
    const bool wrong = bad[b] != 0 || !(gap <= static_cast<T>(ROW_TOLERANCE));
    const bool ignored = some[b] == 0;
    good &= set_pixel(job, out, b, best[b], ignored, wrong, weight ? weight[b] : T(1));
    if (ignored && job.background && out.label[b] == 0) rows[b] = 1;
  }
  out.close(count);
  for (int c = 0; c < job.classes; ++c) {
    T* row = rows + static_cast<int64_t>(c) * BLOCK;
    for (int b = 0; b < BLOCK; ++b) row[b] = out.label[b] < 0 ? T(0) : row[b];
  }
  return good;
}

// The shares of any form of target; labels give rows of a single 1.
template <class T>
static inline bool read_rows(const segcrit_job& job, const Span& span, T* rows, Pixels<T>& out) {
  if (job.target_form == SEGCRIT_SHARES) {
    const int64_t offset = span.image * job.target_image_stride + span.first * job.target_pixel_stride;
    bool good = false;
    with_type(job.target_type, job.target, offset, [&](const auto* source) {
      good = read_shares(job, source, weights_of<T>(job, span), span.count, rows, out);
    });
    return good;
  }
  if (!read_pixels(job, span, out)) return false;
  for (int c = 0; c < job.classes; ++c) {
    T* row = rows + static_cast<int64_t>(c) * BLOCK;
    for (int b = 0; b < BLOCK; ++b) row[b] = out.label[b] == c ? T(1) : T(0);
  }
  return true;
}

// ---------------------------------------------------------------------------------------------------------------------
// Elements of one channel in sigmoid tasks.

template <class T>
struct Elements {
  T target[BLOCK], weight[BLOCK];  // 0 where the element does not count
  int32_t valid[BLOCK];
  bool any, all;
};

// Values and weights of a block in the arithmetic's type: weight 0 beyond the last pixel.
template <class S, class T>
static inline void load_elements(const segcrit_job& job, const S* source, const T* weight, int count, T* value, T* u) {
  const int64_t step = job.target_pixel_stride;
  if (step == 1) {
    for (int b = 0; b < count; ++b) value[b] = static_cast<T>(source[b]);
  } else {
    for (int b = 0; b < count; ++b) value[b] = static_cast<T>(source[b * step]);
  }
  if (weight) {
    for (int b = 0; b < count; ++b) u[b] = weight[b];
  } else {
    for (int b = 0; b < count; ++b) u[b] = T(1);
  }
  for (int b = count; b < BLOCK; ++b) value[b] = u[b] = 0;
}

// Loops of few steps each, with 32-bit flags: so that they vectorise.
template <class T>
static inline bool classify_elements(const segcrit_job& job, const T* value, const T* weight, const int32_t* ignored, Elements<T>& out) {
  const int32_t background = job.background ? 1 : 0, everything = job.foreground_only ? 0 : 1, fractions = job.errors ? 0 : 1;
  int32_t wrong[BLOCK], counted[BLOCK], bad = 0;
  for (int b = 0; b < BLOCK; ++b) {
    const int32_t inside = (value[b] >= T(0) ? 1 : 0) & (value[b] <= T(1) ? 1 : 0) & (1 - ignored[b]);
    out.target[b] = inside ? value[b] : T(0);
    wrong[b] = 1 - (inside | ignored[b]);
    counted[b] = (1 - ignored[b]) | background;
  }
  for (int b = 0; b < BLOCK; ++b) {
    const int32_t hard = (out.target[b] == T(0) ? 1 : 0) | (out.target[b] == T(1) ? 1 : 0) | fractions;
    const int32_t weighed = (weight[b] >= T(0) ? 1 : 0) & (weight[b] <= T(3e38) ? 1 : 0);
    bad |= wrong[b] | (1 - hard) | (1 - weighed);
  }
  for (int b = 0; b < BLOCK; ++b) {
    const int32_t foreground = everything | wrong[b] | (out.target[b] > T(0) ? 1 : 0);
    out.valid[b] = counted[b] & foreground & (weight[b] <= T(0) ? 0 : 1);
  }
  for (int b = 0; b < BLOCK; ++b) {
    const T u = wrong[b] ? static_cast<T>(NAN) : weight[b];
    out.target[b] = out.valid[b] ? out.target[b] : T(0);
    out.weight[b] = out.valid[b] ? u : T(0);
  }
  return bad == 0 || !job.check;
}

template <class S, class T>
static inline bool read_elements_as(const segcrit_job& job, const S* source, const T* weight, int count, Elements<T>& out) {
  T value[BLOCK], u[BLOCK];
  load_elements(job, source, weight, count, value, u);
  // A float holds whole numbers below 2^24; a larger ignore label is compared before the conversion.
  int32_t ignored[BLOCK];
  if (job.ignore_index > -(1 << 24) && job.ignore_index < (1 << 24)) {
    const T skip = static_cast<T>(job.ignore_index);
    for (int b = 0; b < BLOCK; ++b) ignored[b] = value[b] == skip ? 1 : 0;
  } else {
    for (int b = 0; b < BLOCK; ++b)
      ignored[b] = b < count && holds<S>(job.ignore_index) && source[b * job.target_pixel_stride] == static_cast<S>(job.ignore_index);
  }
  return classify_elements<T>(job, value, u, ignored, out);
}

template <class T>
static inline bool read_elements(const segcrit_job& job, const Span& span, int channel, Elements<T>& out) {
  const int64_t offset =
      span.image * job.target_image_stride + channel * job.target_class_stride + span.first * job.target_pixel_stride;
  bool good = false;
  with_type(job.target_type, job.target, offset,
            [&](const auto* source) { good = read_elements_as(job, source, weights_of<T>(job, span), span.count, out); });
  int all = 1, any = 0;
  for (int b = 0; b < BLOCK; ++b) { all &= out.valid[b]; any |= out.valid[b]; }
  out.all = all != 0;
  out.any = any != 0;
  return good;
}

}  // namespace SEGCRIT_ISA
