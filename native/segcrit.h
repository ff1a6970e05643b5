// C interface of segcrit's CPU engine: plain C types, no PyTorch headers, so that one library serves every PyTorch.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Element types of tensors.
enum { SEGCRIT_F32 = 0, SEGCRIT_F64 = 1, SEGCRIT_BF16 = 2, SEGCRIT_F16 = 3, SEGCRIT_U8 = 4, SEGCRIT_I8 = 5, SEGCRIT_I16 = 6,
       SEGCRIT_I32 = 7, SEGCRIT_I64 = 8 };

// Which errors the histograms count.
enum { SEGCRIT_NO_ERRORS = 0, SEGCRIT_PROBABILITY = 1, SEGCRIT_MARGIN = 2 };

// Bits of the class sums, in the order of their rows: I, P, Q, T, U, V, D.
enum { SEGCRIT_I = 1, SEGCRIT_P = 2, SEGCRIT_Q = 4, SEGCRIT_T = 8, SEGCRIT_U = 16, SEGCRIT_V = 32, SEGCRIT_D = 64 };

typedef struct {
  // Logits (images, classes, pixels) with strides in elements; the spatial dimensions collapse into one.
  const void* logits;
  int32_t logits_type;
  int64_t images, classes, pixels;
  int64_t image_stride, class_stride, pixel_stride;
  // Softmax: hard labels (images, pixels). Sigmoid: elements (images, classes, pixels), integers or floats.
  const void* target;
  int32_t target_type;
  int64_t target_image_stride, target_class_stride, target_pixel_stride;
  // Weights (images, pixels) in the type of the arithmetic (float64 for float64 logits, else float32), or null.
  const void* pixel_weight;
  int64_t weight_image_stride;
  int64_t ignore_index;
  int32_t sigmoid, background, foreground_only, check;
  double logit_scale;
  // Pixel losses: log-probability pairs with a focusing exponent (0 is cross-entropy).
  int32_t losses;
  const double* gamma;         // (losses)
  const double* smoothing;     // (losses)
  const double* coefficients;  // (losses, 2, classes)
  // What to deliver.
  int32_t fields, per_image, errors, bins, confusion, maps;
  // Results of the forward pass, zeroed by the caller.
  double* pixel;       // (losses)
  double* tables;      // (7, images or 1, classes)
  double* counts;      // (classes, 2, bins)
  double* moments;     // (classes, 2, bins)
  int64_t* counted;    // (classes, classes), or (classes, 2, 2) in sigmoid tasks
  void* map;           // (losses, images, pixels), or (losses, images, classes, pixels): float32 or float64
  // Input of the backward pass.
  const double* pixel_gradient;   // (losses)
  const double* table_gradient;   // (7, images or 1, classes)
  const double* moment_gradient;  // (classes, 2, bins)
  const void* map_gradient;       // as map, or null
  // Result of the backward pass, with strides of its own.
  void* gradient;
  int64_t gradient_image_stride, gradient_class_stride, gradient_pixel_stride;
  int32_t threads;
} segcrit_job;

// Both return 0, or 1 when nothing useful was computed: check is set and a label, weight or target is not allowed, or there
// is no memory for the threads.
int32_t segcrit_forward(const segcrit_job* job);
int32_t segcrit_backward(const segcrit_job* job);
// The instruction set in use: "baseline" (on arm64 it has NEON), "avx2" or "avx512".
const char* segcrit_instruction_set(void);
// Version of this interface.
int32_t segcrit_abi(void);

#ifdef __cplusplus
}
#endif
