// Histograms of errors with first moments, for the ranking losses.
#pragma once
#include "elements.hpp"

namespace SEGCRIT_ISA {

// x >= 1 as mantissa * 2^octave with the mantissa in [1, 2).
SEGCRIT_INLINE int32_t octave_of(float x, float* mantissa) {
  int32_t bits;
  memcpy(&bits, &x, 4);
  const int32_t fraction = (bits & 0x007fffff) | 0x3f800000;
  memcpy(mantissa, &fraction, 4);
  return (bits >> 23) - 127;
}
SEGCRIT_INLINE int32_t octave_of(double x, double* mantissa) {
  int64_t bits;
  memcpy(&bits, &x, 8);
  const int64_t fraction = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
  memcpy(mantissa, &fraction, 8);
  return static_cast<int32_t>(bits >> 52) - 1023;
}

// Position of an error among the bins, from which bin and distance to its lower edge follow; the rule of engines/binning.py.
template <class T>
SEGCRIT_INLINE T bin_position(T error, int errors, T bins) {
  if (errors == SEGCRIT_PROBABILITY) return error * bins;
  // Margins: in x = 1 + error, each of 8 octaves has bins / 8 uniform bins.
  T mantissa;
  const int32_t octave = octave_of(error + T(1), &mantissa);
  const T position = (static_cast<T>(octave) + mantissa - T(1)) * (bins / T(8));
  return error == error ? position : error;
}

template <class T>
SEGCRIT_INLINE int bin_at(T position, int bins) {
  const T top = static_cast<T>(bins - 1);
  const T inside = position < top ? position : top;  // NaN goes to the last bin
  return static_cast<int>(inside > T(0) ? inside : T(0));
}

// Bins of one thread without pixel weights: one 64-bit word a bin, the count above and below it the distance to the bin's
// lower edge in units of 2^-15 bins. One addition an error, exact, and the same in any order: neither the division of the
// work nor the number of threads changes a digit.
constexpr int COUNT_SHIFT = 39;                                  // 2^24 errors of at most 2^15 units
constexpr int64_t MOST_ERRORS = (int64_t(1) << 24) - BLOCK;
constexpr double UNIT = 32768.0;

// Distance to the lower edge, 0 to 1 bins, in units; NaN, which is counted elsewhere, gives some whole number.
template <class T>
SEGCRIT_INLINE int32_t units_of(T distance) {
  return static_cast<int32_t>((distance < T(2) ? distance : T(0)) * static_cast<T>(UNIT) + T(0.5));
}

class PackedBins {
 public:
  bool prepare(int64_t cells) {
    errors = 0;
    return words.zeros(cells);
  }
  bool has_room() const { return errors < MOST_ERRORS; }
  void expect(int64_t number) { errors += number; }
  uint64_t* at(int64_t cell) { return words.data() + cell; }
  static uint64_t word(int32_t units) { return (uint64_t(1) << COUNT_SHIFT) + static_cast<uint32_t>(units); }

  // Adds the counts and the units to the results (whole numbers in float64, exact) and starts again.
  void flush(double* counts, double* units) {
    const int64_t size = words.size();
    for (int64_t i = 0; i < size; ++i) {
      const uint64_t w = words[i];
      if (w == 0) continue;
      counts[i] += static_cast<double>(w >> COUNT_SHIFT);
      units[i] += static_cast<double>(w & ((uint64_t(1) << COUNT_SHIFT) - 1));
      words[i] = 0;
    }
    errors = 0;
  }

 private:
  Buffer<uint64_t> words;
  int64_t errors = 0;
};

// Calls action(b) for the pixels of a block whose flag is 1, eight flags at a look.
template <class Action>
static inline void for_each_flag(const uint8_t* flag, Action&& action) {
  for (int b = 0; b < BLOCK; b += 8) {
    uint64_t word;
    memcpy(&word, flag + b, 8);
    if (word == 0) continue;
    if (word == 0x0101010101010101u) {
      for (int k = 0; k < 8; ++k) action(b + k);
      continue;
    }
    while (word) {
      const int k = first_byte(word);
      action(b + k);
      word &= word - 1;
    }
  }
}

}  // namespace SEGCRIT_ISA
