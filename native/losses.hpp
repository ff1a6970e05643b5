// The pixel losses on a block: log-probability pairs v(log p), v'(log p) with a focusing exponent; see formulas/pixel.py.
#pragma once
#include "elements.hpp"

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

// Over a block, with the exponents that people use hoisted out of the loop: pow does not vectorise.
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

// dL/d(value of loss j) at each pixel of a block: the upstream number, plus that of the map where there is one.
template <class T>
static inline void upstream_of(const segcrit_job& job, int64_t j, const T* map, int count, T* out) {
  const T number = static_cast<T>(job.pixel_gradient[j]);
  for (int b = 0; b < BLOCK; ++b) out[b] = number;
  if (map)
    for (int b = 0; b < count; ++b) out[b] += map[b];
}

}  // namespace SEGCRIT_ISA
