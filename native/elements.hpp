// Element types: from what is stored to the arithmetic's type and back.
#pragma once
#include "arithmetic.hpp"
#include "segcrit.h"

namespace SEGCRIT_ISA {

SEGCRIT_INLINE float from_bfloat16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}
SEGCRIT_INLINE uint16_t to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(value == value ? rounded : 0x7fc0u);
}
SEGCRIT_INLINE float from_float16(uint16_t value) {
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
SEGCRIT_INLINE uint16_t to_float16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint32_t sign = (bits >> 16) & 0x8000;
  bits &= 0x7fffffff;
  // Subnormal or zero: adding 0.5 leaves the rounded digits in the low bits.
  float magnitude;
  memcpy(&magnitude, &bits, 4);
  magnitude += 0.5f;
  uint32_t small;
  memcpy(&small, &magnitude, 4);
  small -= 0x3f000000u;
  const uint32_t normal = (bits + 0xc8000fffu + ((bits >> 13) & 1)) >> 13;
  uint32_t result = bits < 0x38800000u ? small : normal;
  result = bits >= 0x477ff000u ? 0x7c00u : result;
  result = bits > 0x7f800000u ? 0x7e00u : result;
  return static_cast<uint16_t>(sign | result);
}

struct Float32 {
  using Storage = float;
  using Arithmetic = float;
  static float load(float v) { return v; }
  static float store(float v) { return v; }
};
struct Float64 {
  using Storage = double;
  using Arithmetic = double;
  static double load(double v) { return v; }
  static double store(double v) { return v; }
};
struct BFloat16 {
  using Storage = uint16_t;
  using Arithmetic = float;
  static float load(uint16_t v) { return from_bfloat16(v); }
  static uint16_t store(float v) { return to_bfloat16(v); }
};
struct Float16 {
  using Storage = uint16_t;
  using Arithmetic = float;
  static float load(uint16_t v) { return from_float16(v); }
  static uint16_t store(float v) { return to_float16(v); }
};

// The element type of numbers that are in the arithmetic's type already.
template <class T>
struct PlainOf;
template <>
struct PlainOf<float> { using Type = Float32; };
template <>
struct PlainOf<double> { using Type = Float64; };

// Calls action(pointer) with the elements of an integer or float tensor in their own type, shifted by offset.
template <class Action>
static inline void with_type(int32_t type, const void* data, int64_t offset, Action&& action) {
  switch (type) {
    case SEGCRIT_U8: action(static_cast<const uint8_t*>(data) + offset); break;
    case SEGCRIT_I8: action(static_cast<const int8_t*>(data) + offset); break;
    case SEGCRIT_I16: action(static_cast<const int16_t*>(data) + offset); break;
    case SEGCRIT_I32: action(static_cast<const int32_t*>(data) + offset); break;
    case SEGCRIT_I64: action(static_cast<const int64_t*>(data) + offset); break;
    case SEGCRIT_F64: action(static_cast<const double*>(data) + offset); break;
    default: action(static_cast<const float*>(data) + offset); break;
  }
}

}  // namespace SEGCRIT_ISA
