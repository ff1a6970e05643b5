// Elementary functions, written so that compilers vectorise them.
#pragma once
#include <math.h>
#include <string.h>

#include "platform.hpp"

namespace SEGCRIT_ISA {

// 2^n and r with x = n log 2 + r, |r| <= log(2)/2. Adding 1.5 * 2^23 + 127 rounds n to an integer and leaves n + 127, the
// exponent of 2^n, in the low bits, without a conversion that would be undefined for NaN.
SEGCRIT_INLINE float reduce(float x, float* power) {
  const float magic = 12582912.0f + 127.0f;
  const float shifted = x * 1.44269504088896341f + magic;
  const float n = shifted - magic;
  uint32_t bits;
  memcpy(&bits, &shifted, 4);
  bits <<= 23;
  memcpy(power, &bits, 4);
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  // The product is not rounded: what remains is n times the rounding of log 2, 2e-9.
  return x - n * 0.693147180559945f;
#else
  return (x - n * 0.693145751953125f) - n * 1.42860677e-6f;
#endif
}

// exp(r) for |r| <= log(2)/2 with relative error 3e-9: a polynomial of degree 6, fitted by minimax with the first two
// coefficients 1, so that exp(0) is 1.
SEGCRIT_INLINE float exp_reduced(float r) {
  float y = 0.0013814466f;
  y = y * r + 0.008368781f;
  y = y * r + 0.041668393f;
  y = y * r + 0.1666652f;
  y = y * r + 0.49999994f;
  y = y * r + 1.0f;
  return y * r + 1.0f;
}

// exp(x) for |x| <= 80; other numbers give garbage.
SEGCRIT_INLINE float exp_moderate(float x) {
  float power;
  const float r = reduce(x, &power);
  return exp_reduced(r) * power;
}
SEGCRIT_INLINE double exp_moderate(double x) { return exp(x); }

// exp(x) for x <= 80. exp(-inf) is 0, because the exponent of n = -127 is that of 0; NaN stays.
SEGCRIT_INLINE float exp_negative(float x) { return exp_moderate(x < -88.0f ? -88.0f : x); }
SEGCRIT_INLINE double exp_negative(double x) { return exp(x); }

// log(x) for finite x >= 2^-126 (Cephes logf): relative error below 2e-7.
SEGCRIT_INLINE float log_positive(float x) {
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
SEGCRIT_INLINE double log_positive(double x) { return log(x); }

// log(1 + e) for e in [0, 1], relative error 1e-7: 2 atanh(s) with s = e/(2 + e) <= 1/3, and atanh(s)/s a polynomial in s^2 fitted
// by minimax (8e-9) with the first coefficient 1, which keeps the digits of small e.
SEGCRIT_INLINE float log_one_plus(float e) {
  const float s = e / (2.0f + e), u = s * s;
  float y = 0.14089164f;
  y = y * u + 0.13980296f;
  y = y * u + 0.20012456f;
  y = y * u + 0.33333158f;
  return 2.0f * (s + s * u * y);
}
SEGCRIT_INLINE double log_one_plus(double e) { return log1p(e); }

// 1 - exp(l) for l <= 0; the series keeps the digits that 1 - p loses for p near 1.
SEGCRIT_INLINE float one_minus_exp(float l) {
  const float series = -l * (1.0f + l * (1.0f / 2 + l * (1.0f / 6 + l * (1.0f / 24 + l * (1.0f / 120 + l * (1.0f / 720))))));
  const float difference = 1.0f - exp_negative(l);
  return l > -0.125f ? series : difference;
}
SEGCRIT_INLINE double one_minus_exp(double l) { return -expm1(l); }

SEGCRIT_INLINE float power_of(float base, float exponent) { return powf(base, exponent); }
SEGCRIT_INLINE double power_of(double base, double exponent) { return pow(base, exponent); }

template <class T>
SEGCRIT_INLINE T power(T base, T exponent) {
  // The exponents that people use are whole or half; pow vectorises poorly.
  if (exponent == T(2)) return base * base;
  if (exponent == T(1)) return base;
  if (exponent == T(0)) return T(1);
  return power_of(base, exponent);
}

// a b + c, rounded once where the processor can, and always in this way: left to itself the compiler may choose another
// product where two are added.
SEGCRIT_INLINE float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
SEGCRIT_INLINE double multiply_add(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// The position of the first byte that is not 0, on a little-endian processor.
SEGCRIT_INLINE int first_byte(uint64_t word) {
#if defined(_MSC_VER) && !defined(__clang__)
  int bit = 0;
  while ((word & 0xff) == 0) { word >>= 8; ++bit; }
  return bit;
#else
  return __builtin_ctzll(word) >> 3;
#endif
}

// Sum of a block: "omp simd" lets the compiler keep one running sum a lane, in an order fixed by the instruction set.
template <class T>
SEGCRIT_INLINE double block_sum(const T* values) {
  T sum = 0;
  SEGCRIT_SIMD_SUM(sum)
  for (int b = 0; b < BLOCK; ++b) sum += values[b];
  return sum;
}

}  // namespace SEGCRIT_ISA
