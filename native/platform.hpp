// What differs between compilers and processors, in one place.
#pragma once
#include <stdint.h>
#include <stdlib.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

// OpenMP's vector loops, where the compiler has them: MSVC's OpenMP knows no "simd" and stops at it.
#if defined(_MSC_VER) && !defined(__clang__)
#define SEGCRIT_SIMD
#define SEGCRIT_SIMD_SUM(...)
#define SEGCRIT_SIMD_MAX(most)
#define SEGCRIT_SIMD_ANY(bits)
#define SEGCRIT_INLINE static __forceinline
#else
#define SEGCRIT_PRAGMA(text) _Pragma(#text)
#define SEGCRIT_SIMD SEGCRIT_PRAGMA(omp simd)
#define SEGCRIT_SIMD_SUM(...) SEGCRIT_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#define SEGCRIT_SIMD_MAX(most) SEGCRIT_PRAGMA(omp simd reduction(max : most))
#define SEGCRIT_SIMD_ANY(bits) SEGCRIT_PRAGMA(omp simd reduction(| : bits))
#define SEGCRIT_INLINE static inline __attribute__((always_inline))
#endif

namespace SEGCRIT_ISA {

// Pixels of a block. The classes of a block form a (classes x BLOCK) tile that stays in cache, and all loops over the
// pixels of a block have this constant length.
constexpr int BLOCK = 256;

// Rows of a block are short, and the processor's own prefetching starts anew at each: those some classes ahead are asked for
// early.
constexpr int AHEAD = 4;
// rows: those of a block, stride apart; beyond the last one come those of the next block.
template <class S>
SEGCRIT_INLINE void prefetch_row(const S* rows, int64_t stride, int number, int c) {
#if defined(__GNUC__) || defined(__clang__)
  const int ahead = c + AHEAD;
  const S* row = rows + (ahead % number) * stride + (ahead / number) * BLOCK;
  for (int b = 0; b < BLOCK; b += static_cast<int>(64 / sizeof(S))) __builtin_prefetch(row + b);
#else
  (void)rows;
  (void)stride;
  (void)number;
  (void)c;
#endif
}

// Writes a row of a block past the caches, where the processor can.
constexpr int64_t STREAMED_BYTES = int64_t(16) << 20;
static inline bool can_stream(const void* data, int64_t stride) {
#if defined(__AVX2__)
  return reinterpret_cast<uintptr_t>(data) % 32 == 0 && stride % 32 == 0;
#else
  (void)data;
  (void)stride;
  return false;
#endif
}
template <class T>
SEGCRIT_INLINE void stream_row(const T* row, T* out) {
#if defined(__AVX2__)
  const float* from = reinterpret_cast<const float*>(row);
  float* to = reinterpret_cast<float*>(out);
  for (int i = 0; i < static_cast<int>(BLOCK * sizeof(T) / 4); i += 8) _mm256_stream_ps(to + i, _mm256_load_ps(from + i));
#else
  (void)row;
  (void)out;
#endif
}

// Rows that were streamed are in memory before other threads go on.
static inline void end_stream() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// Growable aligned storage. Not std::vector: its templates would be compiled once for each instruction set under one name,
// and the linker would keep any of them, perhaps one that the processor cannot run. It does not throw: a failed request
// leaves it empty, and the caller asks has().
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { free(raw_); }

  // Room for count elements, with any content.
  bool reserve(int64_t count) {
    if (count > capacity_) {
      free(raw_);
      raw_ = malloc(static_cast<size_t>(count) * sizeof(T) + 64);
      data_ = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(raw_) + 63) & ~static_cast<uintptr_t>(63));
      capacity_ = raw_ == nullptr ? 0 : count;
    }
    size_ = capacity_ < count ? 0 : count;
    return capacity_ >= count;
  }
  bool zeros(int64_t count) {
    if (!reserve(count)) return false;
    for (int64_t i = 0; i < count; ++i) data_[i] = T(0);
    return true;
  }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  void* raw_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0, capacity_ = 0;
};

}  // namespace SEGCRIT_ISA
