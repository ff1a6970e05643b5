// The pixel losses on a block: pairs v(log p), v'(log p) with one parameter; see formulas/pixel.py.
#pragma once
#include "target.hpp"

namespace SEGCRIT_ISA {

// log p of interpolated logits may be above 0 by a rounding where p is 1, because the normalizer was rounded in another block:
// 1 - p would be negative, and its broken power NaN. NaN itself stays.
template <class T>
SEGCRIT_INLINE T at_most_0(T l) {
  return l > T(0) ? T(0) : l;
}

template <class T>
SEGCRIT_INLINE T pair_value(T l, T gamma) {
  if (gamma == T(0)) return -l;
  l = at_most_0(l);
  const T value = -power(one_minus_exp(l), gamma) * l;
  return l == T(0) ? T(0) : value;
}
template <class T>
SEGCRIT_INLINE T pair_slope(T l, T gamma) {
  if (gamma == T(0)) return T(-1);
  l = at_most_0(l);
  const T error = one_minus_exp(l);
  const T p = exp_negative(l);
  const T ratio = error > T(0) ? l / error : T(-1);
  const T focus = p > T(0) ? gamma * p * ratio : T(0);
  return power(error, gamma) * (focus - T(1));
}

static inline bool is_cross_entropy(const segcrit_job& job, int64_t j) {
  return job.formula[j] == SEGCRIT_FOCAL && job.parameter[j] == 0.0;
}

// Over a block, with the exponents that people use hoisted out of the loop: pow does not vectorise.
template <class T>
static inline void focal_values(const T* l, T gamma, T* out) {
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
static inline void focal_slopes(const T* l, T gamma, T* out) {
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

// Values and slopes of loss j. Poly-1: v = -l + epsilon (1 - p), v' = -1 - epsilon p.
template <class T>
static inline void pair_values(const segcrit_job& job, int64_t j, const T* l, T* out) {
  const T parameter = static_cast<T>(job.parameter[j]);
  if (job.formula[j] == SEGCRIT_FOCAL) {
    focal_values(l, parameter, out);
  } else if (job.formula[j] == SEGCRIT_POLY1) {
    for (int b = 0; b < BLOCK; ++b) out[b] = parameter * one_minus_exp(at_most_0(l[b])) - l[b];
  } else {
    for (int b = 0; b < BLOCK; ++b) out[b] = T(1);
  }
}
template <class T>
static inline void pair_slopes(const segcrit_job& job, int64_t j, const T* l, T* out) {
  const T parameter = static_cast<T>(job.parameter[j]);
  if (job.formula[j] == SEGCRIT_FOCAL) {
    focal_slopes(l, parameter, out);
  } else if (job.formula[j] == SEGCRIT_POLY1) {
    for (int b = 0; b < BLOCK; ++b) out[b] = T(-1) - parameter * exp_negative(at_most_0(l[b]));
  } else {
    for (int b = 0; b < BLOCK; ++b) out[b] = T(0);
  }
}

// One class of one operand on a block, 0 behind the image's end and where the pixel does not count.
template <class T>
static inline void read_operand(const segcrit_job& job, int k, const Span& span, int64_t c, const T* weight, T* out) {
  const T* source = static_cast<const T*>(job.operand[k]) + (span.image * job.classes + c) * job.pixels + span.first;
  for (int b = 0; b < span.count; ++b) out[b] = weight[b] == T(0) ? T(0) : source[b];
  for (int b = span.count; b < BLOCK; ++b) out[b] = 0;
}

// dL/d(value of loss j) at each pixel of a block: the upstream number, plus that of the map where there is one.
template <class T>
static inline void upstream_of(const segcrit_job& job, int64_t j, const T* map, int count, T* out) {
  const T number = static_cast<T>(job.pixel_gradient[j]);
  for (int b = 0; b < BLOCK; ++b) out[b] = number;
  if (map)
    for (int b = 0; b < count; ++b) out[b] += map[b];
}

}  // namespace SEGCRIT_ISA
