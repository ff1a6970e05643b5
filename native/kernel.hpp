// The pixel kernels: one read of the logits forward, one read and one write backward.
//
// Pixels are taken in blocks of BLOCK; the classes of a block form a (classes x BLOCK) tile that stays in cache. All loops
// over the pixels of a block have constant length and vectorise. This header is compiled once for each instruction set.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include "segcrit.h"

// OpenMP's vector loops, where the compiler has them: MSVC's OpenMP knows no "simd" and stops at it.
#if defined(_MSC_VER) && !defined(__clang__)
#define SEGCRIT_SIMD
#define SEGCRIT_SIMD_SUM(...)
#else
#define SEGCRIT_PRAGMA(text) _Pragma(#text)
#define SEGCRIT_SIMD SEGCRIT_PRAGMA(omp simd)
#define SEGCRIT_SIMD_SUM(...) SEGCRIT_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#endif

namespace SEGCRIT_ISA {

constexpr int BLOCK = 256;

// Growable aligned storage. Not std::vector: its templates would be compiled once for each instruction set under one name,
// and the linker would keep any of them, perhaps one that the processor cannot run.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) { assign(count, T(0)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { free(raw_); }
  void assign(size_t count, T value) {
    if (count > capacity_) {
      free(raw_);
      raw_ = malloc(count * sizeof(T) + 64);
      if (raw_ == nullptr) abort();
      data_ = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(raw_) + 63) & ~static_cast<uintptr_t>(63));
      capacity_ = count;
    }
    size_ = count;
    for (size_t i = 0; i < count; ++i) data_[i] = value;
  }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* raw_ = nullptr;
  T* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
};

// ---------------------------------------------------------------------------------------------------------------------
// Elementary functions, written so that compilers vectorise them.

// exp(x) for x <= 0: Cody-Waite reduction and a degree-6 polynomial (Cephes expf), relative error below 2e-7. exp(-inf) is
// 0, NaN stays. Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits, without a conversion that
// would be undefined for NaN.
static inline float exp_negative(float x) {
  const float clipped = x < -87.0f ? -87.0f : x;
  const float shifted = clipped * 1.44269504088896341f + 12582912.0f;
  const float rounded = shifted - 12582912.0f;
  uint32_t bits;
  memcpy(&bits, &shifted, 4);
  const float r = (clipped - rounded * 0.693145751953125f) - rounded * 1.42860677e-6f;
  float y = 1.9875691500e-4f;
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + (r + 1.0f);
  bits = (bits - 0x4b400000u + 127u) << 23;
  float power;
  memcpy(&power, &bits, 4);
  return x < -87.0f ? 0.0f : y * power;
}
static inline double exp_negative(double x) { return exp(x); }

// log(x) for finite x >= 2^-126 (Cephes logf): relative error below 2e-7.
static inline float log_positive(float x) {
  int32_t bits;
  memcpy(&bits, &x, 4);
  int32_t exponent = (bits >> 23) - 126;
  bits = (bits & 0x007fffff) | 0x3f000000;
  float m;
  memcpy(&m, &bits, 4);
  const bool low = m < 0.707106781186547524f;
  exponent -= low ? 1 : 0;
  m = (low ? m + m : m) - 1.0f;
  const float z = m * m;
  float y = 7.0376836292e-2f;
  y = y * m - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z;
  const float e = static_cast<float>(exponent);
  y += e * -2.12194440e-4f;
  y -= 0.5f * z;
  const float result = m + y + e * 0.693359375f;
  return x == x ? result : x;
}
static inline double log_positive(double x) { return log(x); }

static inline float power_of(float base, float exponent) { return powf(base, exponent); }
static inline double power_of(double base, double exponent) { return pow(base, exponent); }

template <class T>
static inline T power(T base, T exponent) {
  // The exponents that people use are whole or half; pow vectorises poorly.
  if (exponent == T(2)) return base * base;
  if (exponent == T(1)) return base;
  if (exponent == T(0)) return T(1);
  return power_of(base, exponent);
}

// ---------------------------------------------------------------------------------------------------------------------
// Loading: any element type to the arithmetic's type.

static inline float from_bfloat16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}
static inline uint16_t to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (value != value) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static inline float from_float16(uint16_t value) {
  // Shift the exponent by multiplication, which also normalises subnormals (Giesen).
  const uint32_t magnitude = static_cast<uint32_t>(value & 0x7fff) << 13;
  float result;
  memcpy(&result, &magnitude, 4);
  result *= 5.192296858534828e33f;  // 2^112
  uint32_t bits;
  memcpy(&bits, &result, 4);
  bits |= (result >= 65536.0f) ? 0x7f800000u : 0u;
  bits |= static_cast<uint32_t>(value & 0x8000) << 16;
  memcpy(&result, &bits, 4);
  return result;
}
static inline uint16_t to_float16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint32_t sign = (bits >> 16) & 0x8000;
  bits &= 0x7fffffff;
  if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00);
  if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00);
  if (bits < 0x38800000u) {  // subnormal or zero: round through the addition of 2^-1 scaled
    float magic;
    const uint32_t magic_bits = 0x3f000000u;
    memcpy(&magic, &magic_bits, 4);
    float magnitude;
    memcpy(&magnitude, &bits, 4);
    magnitude += magic;
    memcpy(&bits, &magnitude, 4);
    return static_cast<uint16_t>(sign | (bits - magic_bits));
  }
  const uint32_t odd = (bits >> 13) & 1;
  bits += 0xc8000fffu + odd;
  return static_cast<uint16_t>(sign | (bits >> 13));
}

struct Float32 { using Storage = float; using Arithmetic = float;
  static float load(float v) { return v; } static float store(float v) { return v; } };
struct Float64 { using Storage = double; using Arithmetic = double;
  static double load(double v) { return v; } static double store(double v) { return v; } };
struct BFloat16 { using Storage = uint16_t; using Arithmetic = float;
  static float load(uint16_t v) { return from_bfloat16(v); } static uint16_t store(float v) { return to_bfloat16(v); } };
struct Float16 { using Storage = uint16_t; using Arithmetic = float;
  static float load(uint16_t v) { return from_float16(v); } static uint16_t store(float v) { return to_float16(v); } };

template <class S>
static void load_labels_as(const segcrit_job& job, int64_t image, int64_t first, int count, int64_t* labels) {
  const S* source = static_cast<const S*>(job.target) + image * job.target_image_stride + first * job.target_pixel_stride;
  for (int b = 0; b < count; ++b) labels[b] = static_cast<int64_t>(source[b * job.target_pixel_stride]);
}
static void load_labels(const segcrit_job& job, int64_t image, int64_t first, int count, int64_t* labels) {
  switch (job.target_type) {
    case SEGCRIT_U8: load_labels_as<uint8_t>(job, image, first, count, labels); break;
    case SEGCRIT_I8: load_labels_as<int8_t>(job, image, first, count, labels); break;
    case SEGCRIT_I16: load_labels_as<int16_t>(job, image, first, count, labels); break;
    case SEGCRIT_I32: load_labels_as<int32_t>(job, image, first, count, labels); break;
    default: load_labels_as<int64_t>(job, image, first, count, labels); break;
  }
}

// The labels and weights of a block: label -1 where the pixel does not count.
template <class T>
struct Pixels {
  int32_t label[BLOCK];
  T weight[BLOCK];
  bool any, all;
};

// Labels of the common case, one for each pixel and no weight: vectorises. Returns whether all are allowed.
template <class S, class T>
static bool read_plain(const S* source, int64_t classes, int64_t ignored, int count, Pixels<T>& out) {
  // A label type that cannot hold the ignore label never meets it.
  const bool meets = static_cast<int64_t>(static_cast<S>(ignored)) == ignored;
  const S skip = static_cast<S>(ignored);
  int bad = 0, valid_count = 0;
  for (int b = 0; b < count; ++b) {
    const S label = source[b];
    const bool valid = !(meets && label == skip);
    bad |= valid && (label < S(0) || static_cast<uint64_t>(label) >= static_cast<uint64_t>(classes));
    out.label[b] = valid ? static_cast<int32_t>(label) : -1;
    out.weight[b] = valid ? T(1) : T(0);
    valid_count += valid;
  }
  out.any = valid_count > 0;
  out.all = valid_count == BLOCK;
  return bad == 0;
}

template <class T>
static bool read_plain_labels(const segcrit_job& job, int64_t image, int64_t first, int count, Pixels<T>& out) {
  const int64_t at = image * job.target_image_stride + first;
  switch (job.target_type) {
    case SEGCRIT_U8: return read_plain(static_cast<const uint8_t*>(job.target) + at, job.classes, job.ignore_index, count, out);
    case SEGCRIT_I8: return read_plain(static_cast<const int8_t*>(job.target) + at, job.classes, job.ignore_index, count, out);
    case SEGCRIT_I16: return read_plain(static_cast<const int16_t*>(job.target) + at, job.classes, job.ignore_index, count, out);
    case SEGCRIT_I32: return read_plain(static_cast<const int32_t*>(job.target) + at, job.classes, job.ignore_index, count, out);
    default: return read_plain(static_cast<const int64_t*>(job.target) + at, job.classes, job.ignore_index, count, out);
  }
}

// Returns false when a label or weight is not allowed and the job asks to look.
template <class T>
static bool read_pixels(const segcrit_job& job, int64_t image, int64_t first, int count, Pixels<T>& out) {
  const bool plain = !job.pixel_weight && !job.background && !job.foreground_only && job.target_pixel_stride == 1;
  if (plain && read_plain_labels(job, image, first, count, out)) {
    for (int b = count; b < BLOCK; ++b) { out.label[b] = -1; out.weight[b] = 0; }
    return true;
  }
  int64_t labels[BLOCK];
  load_labels(job, image, first, count, labels);
  const T* weight = job.pixel_weight ? static_cast<const T*>(job.pixel_weight) + image * job.weight_image_stride + first : nullptr;
  bool good = true;
  int valid_count = 0;
  for (int b = 0; b < count; ++b) {
    int64_t label = labels[b];
    bool valid = label != job.ignore_index;
    if (!valid && job.background) { label = 0; valid = true; }
    const bool bad = valid && (label < 0 || label >= job.classes);
    T u = weight ? weight[b] : T(1);
    if (job.check && (bad || !(u >= 0) || u > T(3e38))) good = false;
    if ((job.foreground_only && label == 0) || u == T(0)) valid = false;
    if (bad && valid) { u = static_cast<T>(NAN); label = 0; }
    out.label[b] = valid ? static_cast<int32_t>(label) : -1;
    out.weight[b] = valid ? u : T(0);
    valid_count += valid;
  }
  for (int b = count; b < BLOCK; ++b) { out.label[b] = -1; out.weight[b] = 0; }
  out.any = valid_count > 0;
  out.all = valid_count == BLOCK;
  return good;
}

// Bin of an error; the same rule as engines/binning.py.
static inline int bin_of(float error, int errors, int bins) {
  float position;
  if (errors == SEGCRIT_PROBABILITY) {
    position = error * static_cast<float>(bins);
  } else {
    const float shifted = error + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    const int octave = static_cast<int>(bits >> 23) - 127;
    bits = (bits & 0x007fffffu) | 0x3f800000u;
    float mantissa;
    memcpy(&mantissa, &bits, 4);
    const float per_octave = static_cast<float>(bins) / 8.0f;
    position = error == error ? static_cast<float>(octave) * per_octave + (mantissa - 1.0f) * per_octave : error;
  }
  if (!(position < static_cast<float>(bins))) return bins - 1;
  return position > 0.0f ? static_cast<int>(position) : 0;
}

// 1 - exp(l) for l <= 0; the series keeps the digits that 1 - p loses for p near 1.
static inline float one_minus_exp(float l) {
  const float series = -l * (1.0f + l * (1.0f / 2 + l * (1.0f / 6 + l * (1.0f / 24 + l * (1.0f / 120 + l * (1.0f / 720))))));
  return l > -0.125f ? series : 1.0f - exp_negative(l);
}
static inline double one_minus_exp(double l) { return -expm1(l); }

// log(1 + e) for e in [0, 1].
static inline float log_one_plus(float e) {
  return e < 1e-3f ? e * (1.0f - e * (0.5f - e * (1.0f / 3))) : log_positive(1.0f + e);
}
static inline double log_one_plus(double e) { return log1p(e); }

// v(log p) and v'(log p) of the pair with exponent gamma; see formulas/pixel.py.
template <class T>
static inline T pair_value(T l, T gamma) {
  return gamma == T(0) ? -l : (l == T(0) ? T(0) : -power(one_minus_exp(l), gamma) * l);
}
template <class T>
static inline T pair_slope(T l, T gamma) {
  if (gamma == T(0)) return T(-1);
  const T error = one_minus_exp(l);
  const T p = exp_negative(l);
  const T ratio = error > T(0) ? l / error : T(-1);
  return power(error, gamma) * ((p > T(0) ? gamma * p * ratio : T(0)) - T(1));
}

// The pair over a block, with the exponents that people use hoisted out of the loop: pow does not vectorise.
template <class T>
static inline void pair_values(const T* l, T gamma, T* out) {
  if (gamma == T(0)) {
    for (int b = 0; b < BLOCK; ++b) out[b] = -l[b];
  } else if (gamma == T(2)) {
    for (int b = 0; b < BLOCK; ++b) out[b] = pair_value(l[b], T(2));
  } else if (gamma == T(1)) {
    for (int b = 0; b < BLOCK; ++b) out[b] = pair_value(l[b], T(1));
  } else {
    for (int b = 0; b < BLOCK; ++b) out[b] = pair_value(l[b], gamma);
  }
}
template <class T>
static inline void pair_slopes(const T* l, T gamma, T* out) {
  if (gamma == T(0)) {
    for (int b = 0; b < BLOCK; ++b) out[b] = T(-1);
  } else if (gamma == T(2)) {
    for (int b = 0; b < BLOCK; ++b) out[b] = pair_slope(l[b], T(2));
  } else if (gamma == T(1)) {
    for (int b = 0; b < BLOCK; ++b) out[b] = pair_slope(l[b], T(1));
  } else {
    for (int b = 0; b < BLOCK; ++b) out[b] = pair_slope(l[b], gamma);
  }
}

// What one thread sums up; merged in the order of the threads.
struct Partial {
  Buffer<double> pixel, tables, counts, moments;
  Buffer<int64_t> counted;
  bool good = true;
  void prepare(const segcrit_job& job) {
    const int64_t rows = job.per_image ? job.images : 1;
    pixel.assign(job.losses, 0.0);
    tables.assign(7 * rows * job.classes, 0.0);
    if (job.errors) {
      counts.assign(job.classes * 2 * static_cast<int64_t>(job.bins), 0.0);
      moments.assign(counts.size(), 0.0);
    }
    if (job.confusion) counted.assign(job.sigmoid ? job.classes * 4 : job.classes * job.classes, 0);
  }
  void merge(const segcrit_job& job) const {
    for (size_t i = 0; i < pixel.size(); ++i) job.pixel[i] += pixel[i];
    for (size_t i = 0; i < tables.size(); ++i) job.tables[i] += tables[i];
    for (size_t i = 0; i < counts.size(); ++i) { job.counts[i] += counts[i]; job.moments[i] += moments[i]; }
    for (size_t i = 0; i < counted.size(); ++i) job.counted[i] += counted[i];
  }
};

// Sums of a block: "omp simd" lets the compiler keep one running sum a lane, in an order fixed by the instruction set.
template <class T>
static inline double block_sum(const T* values) {
  T sum = 0;
SEGCRIT_SIMD_SUM(sum)
  for (int b = 0; b < BLOCK; ++b) sum += values[b];
  return sum;
}

template <class F>
class Softmax {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  explicit Softmax(const segcrit_job& j) : job(j), classes(static_cast<int>(j.classes)), tile(static_cast<size_t>(j.classes) * BLOCK) {
    if (job.errors) slopes.assign(tile.size(), T(0));
    regional = (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q)) != 0;
    weights.assign(static_cast<size_t>(job.losses) * classes, T(0));
    for (int j = 0; j < job.losses; ++j)
      for (int c = 0; c < classes; ++c) weights[static_cast<size_t>(j) * classes + c] = static_cast<T>(job.coefficients[static_cast<int64_t>(j) * 2 * classes + c]);
  }

  bool forward(int64_t image, int64_t first, int count, Partial& out) {
    Pixels<T> px;
    if (!read_pixels(job, image, first, count, px)) return false;
    if (!px.any) { clear_maps(image, first, count); return true; }
    load(image, first, count, px);
    T target_logit[BLOCK], log_p[BLOCK];
    gather(px, target_logit);
    smoothed_sums();
    exponentials();
    for (int b = 0; b < BLOCK; ++b) log_p[b] = (target_logit[b] - maximum[b]) - log_total[b];
    pixel_values(px, log_p, image, first, count, out);
    if (job.fields) sums(px, image, out);
    if (job.errors) histograms(px, log_p, out);
    if (job.confusion)
      for (int b = 0; b < count; ++b)
        if (px.label[b] >= 0 && px.weight[b] == px.weight[b]) ++out.counted[static_cast<int64_t>(px.label[b]) * classes + best[b]];
    return true;
  }

  bool backward(int64_t image, int64_t first, int count) {
    Pixels<T> px;
    if (!read_pixels(job, image, first, count, px)) return false;
    if (!px.any) { write_zero(image, first, count); return true; }
    load(image, first, count, px);
    T target_logit[BLOCK], log_p[BLOCK];
    gather(px, target_logit);
    exponentials();
    for (int b = 0; b < BLOCK; ++b) log_p[b] = (target_logit[b] - maximum[b]) - log_total[b];
    // dz_k = p_k (G_k - sum_c p_c G_c + H) - [k = t] H_t - spread_k: the pixel losses only scale p.
    T pull[BLOCK], pull_target[BLOCK], spread[BLOCK];
    pixel_slopes(px, log_p, image, first, count, pull, pull_target, spread);
    T extra[BLOCK];
    for (int b = 0; b < BLOCK; ++b) extra[b] = 0;
    if (regional || job.errors) region_slopes(px, log_p, image, pull, extra);
    finish(px, image, first, count, pull, pull_target, extra);
    return true;
  }

 private:
  const segcrit_job& job;
  const int classes;
  Buffer<T> tile, slopes, weights;
  T maximum[BLOCK], inverse[BLOCK], log_total[BLOCK];
  int32_t best[BLOCK];
  Buffer<T> smooth_values;
  bool regional;

  const double* row_gradient(int field, int64_t image) const {
    const int64_t rows = job.per_image ? job.images : 1;
    return job.table_gradient + (field * rows + (job.per_image ? image : 0)) * job.classes;
  }

  // The tile's value of each pixel's label (of class 0 where the pixel does not count).
  void gather(const Pixels<T>& px, T* values) const {
    const T* source = tile.data();
SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) values[b] = source[(px.label[b] < 0 ? 0 : px.label[b]) * BLOCK + b];
  }

  // The coefficient of each pixel's label in one loss, 0 where the pixel does not count.
  void label_weights(const Pixels<T>& px, int j, T* values) const {
    const T* source = weights.data() + static_cast<size_t>(j) * classes;
SEGCRIT_SIMD
    for (int b = 0; b < BLOCK; ++b) {
      const T weight = source[px.label[b] < 0 ? 0 : px.label[b]];
      values[b] = px.label[b] < 0 ? T(0) : weight;
    }
  }

  void load(int64_t image, int64_t first, int count, const Pixels<T>& px) {
    const Storage* base = static_cast<const Storage*>(job.logits) + image * job.image_stride + first * job.pixel_stride;
    const T scale = static_cast<T>(job.logit_scale);
    for (int b = 0; b < BLOCK; ++b) { maximum[b] = -static_cast<T>(INFINITY); best[b] = 0; }
    for (int c = 0; c < classes; ++c) {
      const Storage* source = base + c * job.class_stride;
      T* row = &tile[static_cast<size_t>(c) * BLOCK];
      if (px.all && job.pixel_stride == 1) {
        for (int b = 0; b < BLOCK; ++b) row[b] = F::load(source[b]) * scale;
      } else if (count == BLOCK && job.pixel_stride == 1) {
        for (int b = 0; b < BLOCK; ++b) {
          const T value = F::load(source[b]) * scale;
          row[b] = px.label[b] < 0 ? T(0) : value;
        }
      } else {
        for (int b = 0; b < count; ++b) row[b] = px.label[b] < 0 ? T(0) : F::load(source[b * job.pixel_stride]) * scale;
        for (int b = count; b < BLOCK; ++b) row[b] = 0;
      }
      if (job.confusion && !job.gradient) {
        for (int b = 0; b < BLOCK; ++b) {
          const bool higher = row[b] > maximum[b];
          best[b] = higher ? c : best[b];
        }
      }
      // A NaN must reach the result: max(NaN, x) in this form keeps an earlier NaN out, the sum of exponentials does not.
      for (int b = 0; b < BLOCK; ++b) maximum[b] = row[b] > maximum[b] ? row[b] : maximum[b];
    }
  }

  void exponentials() {
    T total[BLOCK];
    for (int b = 0; b < BLOCK; ++b) total[b] = 0;
    for (int c = 0; c < classes; ++c) {
      T* row = &tile[static_cast<size_t>(c) * BLOCK];
      for (int b = 0; b < BLOCK; ++b) {
        const T e = exp_negative(row[b] - maximum[b]);
        row[b] = e;
        total[b] += e;
      }
    }
    for (int b = 0; b < BLOCK; ++b) { inverse[b] = T(1) / total[b]; log_total[b] = log_positive(total[b]); }
  }

  // sum_c w_c z_c of each loss with label smoothing, while the tile still holds logits.
  void smoothed_sums() {
    bool smooth = false;
    for (int j = 0; j < job.losses; ++j) smooth |= job.smoothing[j] != 0.0;
    if (!smooth) return;
    smooth_values.assign(static_cast<size_t>(job.losses) * BLOCK, T(0));
    for (int j = 0; j < job.losses; ++j) {
      if (job.smoothing[j] == 0.0) continue;
      T* sum = &smooth_values[static_cast<size_t>(j) * BLOCK];
      const double* weight = job.coefficients + static_cast<int64_t>(j) * 2 * classes;
      for (int c = 0; c < classes; ++c) {
        const T w = static_cast<T>(weight[c]);
        if (w == T(0)) continue;
        const T* row = &tile[static_cast<size_t>(c) * BLOCK];
        for (int b = 0; b < BLOCK; ++b) sum[b] += w * (row[b] - maximum[b]);
      }
    }
  }

  double weight_total(int j) const {
    double total = 0;
    for (int c = 0; c < classes; ++c) total += job.coefficients[static_cast<int64_t>(j) * 2 * classes + c];
    return total;
  }

  void pixel_values(const Pixels<T>& px, const T* log_p, int64_t image, int64_t first, int count, Partial& out) {
    for (int j = 0; j < job.losses; ++j) {
      const T gamma = static_cast<T>(job.gamma[j]), share = static_cast<T>(job.smoothing[j]);
      T values[BLOCK], coefficient[BLOCK];
      label_weights(px, j, coefficient);
      pair_values(log_p, gamma, values);
      for (int b = 0; b < BLOCK; ++b) values[b] = coefficient[b] == T(0) ? T(0) : (T(1) - share) * values[b] * coefficient[b];
      if (share != T(0)) {
        const T* sum = &smooth_values[static_cast<size_t>(j) * BLOCK];
        const T total = static_cast<T>(weight_total(j)), part = share / static_cast<T>(classes);
        for (int b = 0; b < BLOCK; ++b) values[b] += part * (total * log_total[b] - sum[b]);
      }
      for (int b = 0; b < BLOCK; ++b) values[b] = px.label[b] < 0 ? T(0) : values[b] * px.weight[b];
      out.pixel[j] += block_sum(values);
      if (job.maps) {
        T* map = static_cast<T*>(job.map) + (static_cast<int64_t>(j) * job.images + image) * job.pixels + first;
        for (int b = 0; b < count; ++b) map[b] = values[b];
      }
    }
  }

  void clear_maps(int64_t image, int64_t first, int count) {
    if (!job.maps) return;
    for (int j = 0; j < job.losses; ++j) {
      T* map = static_cast<T*>(job.map) + (static_cast<int64_t>(j) * job.images + image) * job.pixels + first;
      for (int b = 0; b < count; ++b) map[b] = 0;
    }
  }

  void sums(const Pixels<T>& px, int64_t image, Partial& out) {
    const int64_t rows = job.per_image ? job.images : 1;
    double* base = out.tables.data() + (job.per_image ? image : 0) * job.classes;
    const int64_t step = rows * job.classes;
    double *I = base, *P = base + step, *Q = base + 2 * step, *Tt = base + 3 * step, *V = base + 5 * step;
    if (job.fields & SEGCRIT_V) {
      const double total = block_sum(px.weight);
      for (int c = 0; c < classes; ++c) V[c] += total;
    }
    label_sums(px, I, Tt);
    if (!(job.fields & (SEGCRIT_P | SEGCRIT_Q))) return;
    T scaled[BLOCK];
    for (int b = 0; b < BLOCK; ++b) scaled[b] = px.weight[b] * inverse[b];
    for (int c = 0; c < classes; ++c) {
      const T* row = &tile[static_cast<size_t>(c) * BLOCK];
      T sum = 0;
SEGCRIT_SIMD_SUM(sum)
      for (int b = 0; b < BLOCK; ++b) sum += row[b] * scaled[b];
      P[c] += sum;
      if (job.fields & SEGCRIT_Q) {
        T square = 0;
SEGCRIT_SIMD_SUM(square)
        for (int b = 0; b < BLOCK; ++b) square += row[b] * row[b] * scaled[b] * inverse[b];
        Q[c] += square;
      }
    }
  }

  // T and I: by comparison for few classes, whose long runs of one label would wait for each other in a scattered sum.
  void label_sums(const Pixels<T>& px, double* I, double* Tt) {
    T overlap[BLOCK];
    gather(px, overlap);
    for (int b = 0; b < BLOCK; ++b) overlap[b] *= px.weight[b] * inverse[b];
    if (classes > 32) {
      for (int b = 0; b < BLOCK; ++b) {
        const int label = px.label[b];
        if (label < 0) continue;
        Tt[label] += px.weight[b];
        I[label] += overlap[b];
      }
      return;
    }
    for (int c = 0; c < classes; ++c) {
      T weight = 0, sum = 0;
SEGCRIT_SIMD_SUM(weight, sum)
      for (int b = 0; b < BLOCK; ++b) {
        const bool is = px.label[b] == c;
        weight += is ? px.weight[b] : T(0);
        sum += is ? overlap[b] : T(0);
      }
      Tt[c] += weight;
      I[c] += sum;
    }
  }

  void histograms(const Pixels<T>& px, const T* log_p, Partial& out) {
    const int bins = job.bins;
    const T limit = T(1) / static_cast<T>(bins);
    for (int c = 0; c < classes; ++c) {
      const T* row = &tile[static_cast<size_t>(c) * BLOCK];
      double* count = out.counts.data() + static_cast<int64_t>(c) * 2 * bins;
      double* moment = out.moments.data() + static_cast<int64_t>(c) * 2 * bins;
      // Most negatives of most classes lie in the lowest bin: it is summed in registers, the others are scattered.
      T p[BLOCK], low_weight[BLOCK], low_moment[BLOCK];
      for (int b = 0; b < BLOCK; ++b) {
        p[b] = row[b] * inverse[b];
        const bool low = p[b] < limit && px.label[b] != c;
        low_weight[b] = low ? px.weight[b] : T(0);
        low_moment[b] = low ? px.weight[b] * p[b] : T(0);
      }
      count[0] += block_sum(low_weight);
      moment[0] += block_sum(low_moment);
      for (int b = 0; b < BLOCK; ++b) {
        if (p[b] < limit || px.label[b] == c || px.label[b] < 0) continue;
        const int bin = bin_of(static_cast<float>(p[b]), SEGCRIT_PROBABILITY, bins);
        count[bin] += px.weight[b];
        moment[bin] += static_cast<double>(px.weight[b]) * p[b];
      }
    }
    for (int b = 0; b < BLOCK; ++b) {
      if (px.label[b] < 0) continue;
      const T error = one_minus_exp(log_p[b]);
      const int64_t at = (static_cast<int64_t>(px.label[b]) * 2 + 1) * bins + bin_of(static_cast<float>(error), SEGCRIT_PROBABILITY, bins);
      out.counts[at] += px.weight[b];
      out.moments[at] += static_cast<double>(px.weight[b]) * error;
    }
  }

  void pixel_slopes(const Pixels<T>& px, const T* log_p, int64_t image, int64_t first, int count, T* pull, T* pull_target, T* spread) {
    for (int b = 0; b < BLOCK; ++b) pull[b] = pull_target[b] = spread[b] = 0;
    spread_of.assign(0, T(0));
    for (int j = 0; j < job.losses; ++j) {
      const double* weight = job.coefficients + static_cast<int64_t>(j) * 2 * classes;
      const T gamma = static_cast<T>(job.gamma[j]), share = static_cast<T>(job.smoothing[j]);
      T upstream[BLOCK];
      for (int b = 0; b < BLOCK; ++b) upstream[b] = static_cast<T>(job.pixel_gradient[j]);
      if (job.map_gradient) {
        const T* map = static_cast<const T*>(job.map_gradient) + (static_cast<int64_t>(j) * job.images + image) * job.pixels + first;
        for (int b = 0; b < count; ++b) upstream[b] += map[b];
      }
      const T total = static_cast<T>(weight_total(j)), part = share / static_cast<T>(classes);
      T slope[BLOCK], coefficient[BLOCK];
      label_weights(px, j, coefficient);
      pair_slopes(log_p, gamma, slope);
      for (int b = 0; b < BLOCK; ++b) {
        const T scaled = upstream[b] * px.weight[b];
        const T h = coefficient[b] == T(0) ? T(0) : (share - T(1)) * slope[b] * scaled * coefficient[b];
        pull_target[b] += h;
        pull[b] += h + scaled * part * total;
        spread[b] = scaled * part;
      }
      if (share != T(0)) {
        if (spread_of.size() == 0) spread_of.assign(tile.size(), T(0));
        for (int c = 0; c < classes; ++c) {
          const T w = static_cast<T>(weight[c]);
          T* row = &spread_of[static_cast<size_t>(c) * BLOCK];
          for (int b = 0; b < BLOCK; ++b) row[b] += w * spread[b];
        }
      }
    }
  }

  // Adds -sum_c p_c G_c to pull, stores G in slopes where histograms need it, and the target's own share in extra.
  void region_slopes(const Pixels<T>& px, const T* log_p, int64_t image, T* pull, T* extra) {
    const double* overlap = row_gradient(0, image);
    const double* linear = row_gradient(1, image);
    const double* square = row_gradient(2, image);
    const bool squares = (job.fields & SEGCRIT_Q) != 0;
    const T limit = job.errors ? T(1) / static_cast<T>(job.bins) : T(0);
    T dot[BLOCK];
    for (int b = 0; b < BLOCK; ++b) dot[b] = 0;
    for (int c = 0; c < classes; ++c) {
      const T* row = &tile[static_cast<size_t>(c) * BLOCK];
      const T g = regional ? static_cast<T>(linear[c]) : T(0), g2 = squares ? static_cast<T>(2 * square[c]) : T(0);
      if (!job.errors) {
        for (int b = 0; b < BLOCK; ++b) {
          const T p = row[b] * inverse[b];
          dot[b] += p * (g + g2 * p);
        }
        continue;
      }
      T* slope = &slopes[static_cast<size_t>(c) * BLOCK];
      const double* weights = job.moment_gradient + static_cast<int64_t>(c) * 2 * job.bins;
      const T lowest = static_cast<T>(weights[0]);
      for (int b = 0; b < BLOCK; ++b) slope[b] = g + g2 * (row[b] * inverse[b]) + lowest;
      for (int b = 0; b < BLOCK; ++b) {
        const T p = row[b] * inverse[b];
        if (p >= limit) slope[b] += static_cast<T>(weights[bin_of(static_cast<float>(p), SEGCRIT_PROBABILITY, job.bins)]) - lowest;
      }
      for (int b = 0; b < BLOCK; ++b) dot[b] += row[b] * inverse[b] * slope[b];
    }
    for (int b = 0; b < BLOCK; ++b) {
      const int label = px.label[b];
      if (label < 0) continue;
      const T p = tile[static_cast<size_t>(label) * BLOCK + b] * inverse[b];
      T own = regional ? static_cast<T>(overlap[label]) : T(0);
      if (job.errors) {
        const double* weights = job.moment_gradient + static_cast<int64_t>(label) * 2 * job.bins;
        const float error = static_cast<float>(one_minus_exp(log_p[b]));
        own -= static_cast<T>(weights[job.bins + bin_of(error, SEGCRIT_PROBABILITY, job.bins)]);
        own -= static_cast<T>(weights[bin_of(static_cast<float>(p), SEGCRIT_PROBABILITY, job.bins)]);
      }
      dot[b] += p * own;
      extra[b] = own * px.weight[b];
    }
    for (int b = 0; b < BLOCK; ++b) pull[b] -= dot[b] * px.weight[b];
  }

  void finish(const Pixels<T>& px, int64_t image, int64_t first, int count, const T* pull, const T* pull_target, const T* extra) {
    Storage* base = static_cast<Storage*>(job.gradient) + image * job.gradient_image_stride + first * job.gradient_pixel_stride;
    const double* linear = regional ? row_gradient(1, image) : nullptr;
    const double* square = regional ? row_gradient(2, image) : nullptr;
    const bool squares = (job.fields & SEGCRIT_Q) != 0;
    const T scale = static_cast<T>(job.logit_scale);
    // The target's own terms are scattered into a tile-sized correction only at one class a pixel: keep the value aside.
    T own[BLOCK];
    gather(px, own);
    for (int b = 0; b < BLOCK; ++b) own[b] = own[b] * inverse[b] * extra[b] - pull_target[b];
    const bool direct = px.all && job.gradient_pixel_stride == 1;
    for (int c = 0; c < classes; ++c) {
      const T* row = &tile[static_cast<size_t>(c) * BLOCK];
      const T g = regional ? static_cast<T>(linear[c]) : T(0), g2 = squares ? static_cast<T>(2 * square[c]) : T(0);
      Storage* sink = base + c * job.gradient_class_stride;
      if (direct && !job.errors && spread_of.size() == 0) {
        if (!regional) {
          for (int b = 0; b < BLOCK; ++b)
            sink[b] = F::store((row[b] * inverse[b] * pull[b] + (px.label[b] == c ? own[b] : T(0))) * scale);
        } else {
          for (int b = 0; b < BLOCK; ++b) {
            const T p = row[b] * inverse[b];
            sink[b] = F::store((p * (px.weight[b] * (g + g2 * p) + pull[b]) + (px.label[b] == c ? own[b] : T(0))) * scale);
          }
        }
        continue;
      }
      T result[BLOCK];
      if (job.errors) {
        const T* slope = &slopes[static_cast<size_t>(c) * BLOCK];
        for (int b = 0; b < BLOCK; ++b) result[b] = row[b] * inverse[b] * (px.weight[b] * slope[b] + pull[b]);
      } else {
        for (int b = 0; b < BLOCK; ++b) {
          const T p = row[b] * inverse[b];
          result[b] = p * (px.weight[b] * (g + g2 * p) + pull[b]);
        }
      }
      if (spread_of.size() != 0) {
        const T* spread = &spread_of[static_cast<size_t>(c) * BLOCK];
        for (int b = 0; b < BLOCK; ++b) result[b] -= spread[b];
      }
      for (int b = 0; b < BLOCK; ++b) {
        const T value = (result[b] + (px.label[b] == c ? own[b] : T(0))) * scale;
        result[b] = px.label[b] < 0 ? T(0) : value;
      }
      if (count == BLOCK && job.gradient_pixel_stride == 1) {
        for (int b = 0; b < BLOCK; ++b) sink[b] = F::store(result[b]);
      } else {
        for (int b = 0; b < count; ++b) sink[b * job.gradient_pixel_stride] = F::store(result[b]);
      }
    }
  }

  void write_zero(int64_t image, int64_t first, int count) {
    Storage* base = static_cast<Storage*>(job.gradient) + image * job.gradient_image_stride + first * job.gradient_pixel_stride;
    for (int c = 0; c < classes; ++c)
      for (int b = 0; b < count; ++b) base[c * job.gradient_class_stride + b * job.gradient_pixel_stride] = Storage(0);
  }

  Buffer<T> spread_of;
};

// Sigmoid tasks: every element stands alone. Targets are integers or floats, (images, classes, pixels).
template <class F>
class Sigmoid {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  explicit Sigmoid(const segcrit_job& j) : job(j), classes(static_cast<int>(j.classes)) {
    regional = (job.fields & (SEGCRIT_I | SEGCRIT_P | SEGCRIT_Q | SEGCRIT_D)) != 0;
  }

  bool forward(int64_t image, int64_t first, int count, Partial& out) {
    bool good = true;
    for (int c = 0; c < classes; ++c) good &= forward_channel(image, c, first, count, out);
    return good;
  }

  bool backward(int64_t image, int64_t first, int count) {
    bool good = true;
    for (int c = 0; c < classes; ++c) good &= backward_channel(image, c, first, count);
    return good;
  }

 private:
  const segcrit_job& job;
  const int classes;
  bool regional;
  T logit[BLOCK], target[BLOCK], weight[BLOCK], log_p[BLOCK], log_q[BLOCK], p[BLOCK], q[BLOCK];
  bool valid[BLOCK];

  template <class S>
  void load_target(int64_t image, int c, int64_t first, int count, double* values) const {
    const S* source = static_cast<const S*>(job.target) + image * job.target_image_stride + c * job.target_class_stride +
                      first * job.target_pixel_stride;
    for (int b = 0; b < count; ++b) values[b] = static_cast<double>(source[b * job.target_pixel_stride]);
  }

  bool load(int64_t image, int c, int64_t first, int count) {
    double values[BLOCK];
    switch (job.target_type) {
      case SEGCRIT_F32: load_target<float>(image, c, first, count, values); break;
      case SEGCRIT_F64: load_target<double>(image, c, first, count, values); break;
      case SEGCRIT_U8: load_target<uint8_t>(image, c, first, count, values); break;
      case SEGCRIT_I8: load_target<int8_t>(image, c, first, count, values); break;
      case SEGCRIT_I16: load_target<int16_t>(image, c, first, count, values); break;
      case SEGCRIT_I32: load_target<int32_t>(image, c, first, count, values); break;
      default: load_target<int64_t>(image, c, first, count, values); break;
    }
    const Storage* source = static_cast<const Storage*>(job.logits) + image * job.image_stride + c * job.class_stride +
                            first * job.pixel_stride;
    const T* given = job.pixel_weight ? static_cast<const T*>(job.pixel_weight) + image * job.weight_image_stride + first : nullptr;
    const double ignored = static_cast<double>(job.ignore_index);
    const T scale = static_cast<T>(job.logit_scale);
    bool good = true;
    for (int b = 0; b < count; ++b) {
      double t = values[b];
      bool counts = t != ignored;
      if (!counts && job.background) { t = 0; counts = true; }
      const bool bad = counts && !(t >= 0 && t <= 1);
      if (bad && job.check) good = false;
      if (job.errors && job.check && counts && t != 0 && t != 1) good = false;
      T u = 1;
      if (given) {
        u = given[b];
        if (job.check && (!(u >= 0) || (u > T(3e38)))) good = false;
      }
      if (job.foreground_only && !(t > 0)) counts = false;
      if (u == 0) counts = false;
      if (bad && counts) { u = static_cast<T>(NAN); t = 0; }
      valid[b] = counts;
      target[b] = counts ? static_cast<T>(t) : T(0);
      weight[b] = counts ? u : T(0);
      logit[b] = counts ? F::load(source[b * job.pixel_stride]) * scale : T(0);
    }
    for (int b = count; b < BLOCK; ++b) { valid[b] = false; target[b] = weight[b] = logit[b] = 0; }
    // log sigmoid(z) = min(z, 0) - log(1 + exp(-|z|)).
    for (int b = 0; b < BLOCK; ++b) {
      const T size = logit[b] < 0 ? logit[b] : -logit[b];
      const T e = exp_negative(size);
      const T tail = log_one_plus(e);
      log_p[b] = (logit[b] < 0 ? logit[b] : T(0)) - tail;
      log_q[b] = (logit[b] < 0 ? T(0) : -logit[b]) - tail;
      const T high = T(1) / (T(1) + e), low = e * high;
      p[b] = logit[b] < 0 ? low : high;
      q[b] = logit[b] < 0 ? high : low;
    }
    return good;
  }

  const double* coefficient(int j, int sign, int c) const {
    return job.coefficients + (static_cast<int64_t>(j) * 2 + sign) * classes + c;
  }

  T smoothed(int j, int b) const {
    const T share = static_cast<T>(job.smoothing[j]);
    return target[b] * (T(1) - share) + share / T(2);
  }

  bool forward_channel(int64_t image, int c, int64_t first, int count, Partial& out) {
    if (!load(image, c, first, count)) return false;
    T values[BLOCK];
    for (int j = 0; j < job.losses; ++j) {
      const T positive = static_cast<T>(*coefficient(j, 0, c)), negative = static_cast<T>(*coefficient(j, 1, c));
      const T gamma = static_cast<T>(job.gamma[j]);
      for (int b = 0; b < BLOCK; ++b) {
        const T t = smoothed(j, b), a = positive * t, n = negative * (T(1) - t);
        const T value = (a == T(0) ? T(0) : a * pair_value(log_p[b], gamma)) + (n == T(0) ? T(0) : n * pair_value(log_q[b], gamma));
        values[b] = valid[b] ? weight[b] * value : T(0);
      }
      out.pixel[j] += block_sum(values);
      if (job.maps) {
        T* map = static_cast<T*>(job.map) + ((static_cast<int64_t>(j) * job.images + image) * classes + c) * job.pixels + first;
        for (int b = 0; b < count; ++b) map[b] = values[b];
      }
    }
    if (job.fields) sums(image, c, values, out);
    if (job.errors) {
      double* counts = out.counts.data() + static_cast<int64_t>(c) * 2 * job.bins;
      double* moments = out.moments.data() + static_cast<int64_t>(c) * 2 * job.bins;
      for (int b = 0; b < count; ++b) {
        if (!valid[b]) continue;
        const T error = margin_error(b);
        const int at = (target[b] > 0 ? job.bins : 0) + bin_of(static_cast<float>(error), job.errors, job.bins);
        counts[at] += weight[b];
        moments[at] += static_cast<double>(weight[b]) * error;
      }
    }
    if (job.confusion)
      for (int b = 0; b < count; ++b)
        if (valid[b]) ++out.counted[static_cast<int64_t>(c) * 4 + (target[b] > T(0.5) ? 2 : 0) + (logit[b] > 0 ? 1 : 0)];
    return true;
  }

  T margin_error(int b) const {
    const T error = T(1) - logit[b] * (T(2) * target[b] - T(1));
    return error > 0 ? error : (error == error ? T(0) : error);
  }

  void sums(int64_t image, int c, T* values, Partial& out) {
    const int64_t rows = job.per_image ? job.images : 1, step = rows * job.classes;
    double* base = out.tables.data() + (job.per_image ? image : 0) * job.classes + c;
    for (int field = 0; field < 7; ++field) {
      if (!(job.fields & (1 << field))) continue;
      for (int b = 0; b < BLOCK; ++b) {
        const T t = target[b];
        T value = 1;
        switch (1 << field) {
          case SEGCRIT_I: value = p[b] * t; break;
          case SEGCRIT_P: value = p[b]; break;
          case SEGCRIT_Q: value = p[b] * p[b]; break;
          case SEGCRIT_T: value = t; break;
          case SEGCRIT_U: value = t * t; break;
          case SEGCRIT_D: value = p[b] > t ? p[b] - t : t - p[b]; break;
          default: break;
        }
        values[b] = weight[b] * value;
      }
      base[field * step] += block_sum(values);
    }
  }

  bool backward_channel(int64_t image, int c, int64_t first, int count) {
    if (!load(image, c, first, count)) return false;
    T result[BLOCK];
    for (int b = 0; b < BLOCK; ++b) result[b] = 0;
    if (regional) {
      const int64_t rows = job.per_image ? job.images : 1, step = rows * job.classes;
      const double* base = job.table_gradient + (job.per_image ? image : 0) * job.classes + c;
      const T overlap = static_cast<T>(base[0]), linear = static_cast<T>(base[step]), square = static_cast<T>(2 * base[2 * step]);
      const T distance = (job.fields & SEGCRIT_D) ? static_cast<T>(base[6 * step]) : T(0);
      for (int b = 0; b < BLOCK; ++b) {
        const T side = p[b] > target[b] ? distance : (p[b] < target[b] ? -distance : T(0));
        result[b] = p[b] * q[b] * (overlap * target[b] + linear + square * p[b] + side);
      }
    }
    if (job.errors) {
      const double* weights = job.moment_gradient + static_cast<int64_t>(c) * 2 * job.bins;
      for (int b = 0; b < count; ++b) {
        if (!valid[b]) continue;
        const T error = margin_error(b);
        if (!(error > 0)) continue;
        const bool positive = target[b] > 0;
        const T w = static_cast<T>(weights[(positive ? job.bins : 0) + bin_of(static_cast<float>(error), job.errors, job.bins)]);
        result[b] += positive ? -w : w;
      }
    }
    for (int j = 0; j < job.losses; ++j) {
      const T positive = static_cast<T>(*coefficient(j, 0, c)), negative = static_cast<T>(*coefficient(j, 1, c));
      const T gamma = static_cast<T>(job.gamma[j]), upstream = static_cast<T>(job.pixel_gradient[j]);
      const T* map = job.map_gradient
                         ? static_cast<const T*>(job.map_gradient) + ((static_cast<int64_t>(j) * job.images + image) * classes + c) * job.pixels + first
                         : nullptr;
      for (int b = 0; b < BLOCK; ++b) {
        const T t = smoothed(j, b), a = positive * t, n = negative * (T(1) - t);
        const T slope = (a == T(0) ? T(0) : a * pair_slope(log_p[b], gamma) * q[b]) - (n == T(0) ? T(0) : n * pair_slope(log_q[b], gamma) * p[b]);
        result[b] += (upstream + (map && b < count ? map[b] : T(0))) * slope;
      }
    }
    Storage* sink = static_cast<Storage*>(job.gradient) + image * job.gradient_image_stride + c * job.gradient_class_stride +
                    first * job.gradient_pixel_stride;
    const T scale = static_cast<T>(job.logit_scale);
    for (int b = 0; b < BLOCK; ++b) result[b] = valid[b] ? result[b] * weight[b] * scale : T(0);
    for (int b = 0; b < count; ++b) sink[b * job.gradient_pixel_stride] = F::store(result[b]);
    return true;
  }
};

// ---------------------------------------------------------------------------------------------------------------------

// Every thread has sums of its own. Histograms of many classes are large: together they stay below half the logits or
// 2^22 numbers, which leaves fewer threads where there is little to share among them.
static int most_threads(const segcrit_job& job) {
  const int64_t numbers = job.errors ? job.classes * 4 * job.bins : 1;
  const int64_t logits = job.images * job.classes * job.pixels / 4;
  const int64_t most = (logits > (int64_t(1) << 22) ? logits : (int64_t(1) << 22)) / numbers;
  return most < 1 ? 1 : (most > 65536 ? 65536 : static_cast<int>(most));
}

template <class Worker>
static int32_t run(const segcrit_job& job, bool forward) {
  const int64_t per_image = (job.pixels + BLOCK - 1) / BLOCK;
  const int64_t blocks = per_image * job.images;
  int threads = job.threads < 1 ? 1 : job.threads;
  if (threads > blocks) threads = blocks < 1 ? 1 : static_cast<int>(blocks);
  if (forward && threads > most_threads(job)) threads = most_threads(job);
  Partial* partials = new (std::nothrow) Partial[threads];
  if (partials == nullptr) return 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int thread = 0; thread < threads; ++thread) {
    Partial& partial = partials[thread];
    if (forward) partial.prepare(job);
    Worker worker(job);
    for (int64_t block = blocks * thread / threads; block < blocks * (thread + 1) / threads && partial.good; ++block) {
      const int64_t image = block / per_image, first = (block % per_image) * BLOCK;
      const int count = static_cast<int>(job.pixels - first < BLOCK ? job.pixels - first : BLOCK);
      partial.good = forward ? worker.forward(image, first, count, partial) : worker.backward(image, first, count);
    }
  }
  bool good = true;
  for (int thread = 0; thread < threads; ++thread) good &= partials[thread].good;
  if (good && forward)
    for (int thread = 0; thread < threads; ++thread) partials[thread].merge(job);
  delete[] partials;
  return good ? 0 : 1;
}

template <class F>
static int32_t start(const segcrit_job& job, bool forward) {
  return job.sigmoid ? run<Sigmoid<F>>(job, forward) : run<Softmax<F>>(job, forward);
}

int32_t execute(const segcrit_job& job, bool forward) {
  switch (job.logits_type) {
    case SEGCRIT_F64: return start<Float64>(job, forward);
    case SEGCRIT_BF16: return start<BFloat16>(job, forward);
    case SEGCRIT_F16: return start<Float16>(job, forward);
    default: return start<Float32>(job, forward);
  }
}

}  // namespace SEGCRIT_ISA
