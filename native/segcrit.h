// C interface of segcrit's CPU engine: plain C types, no PyTorch headers, so that one library serves every PyTorch.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Element types of tensors.
enum { SEGCRIT_F32 = 0, SEGCRIT_F64 = 1, SEGCRIT_BF16 = 2, SEGCRIT_F16 = 3, SEGCRIT_U8 = 4, SEGCRIT_I8 = 5, SEGCRIT_I16 = 6,
       SEGCRIT_I32 = 7, SEGCRIT_I64 = 8 };

// Forms of the target: labels (images, pixels); rows (images, classes, pixels) with one 1, or with shares that sum to 1;
// elements (images, classes, pixels) that stand alone (sigmoid tasks).
enum { SEGCRIT_LABELS = 0, SEGCRIT_ONE_HOT = 1, SEGCRIT_SHARES = 2, SEGCRIT_ELEMENTS = 3 };

// Which errors the histograms count.
enum { SEGCRIT_NO_ERRORS = 0, SEGCRIT_PROBABILITY = 1, SEGCRIT_MARGIN = 2 };

// Formulas of the pixel losses, each with one parameter: focal (exponent; 0 is cross-entropy), poly-1 (epsilon), and the
// constant 1, whose map says how much each pixel counts.
enum { SEGCRIT_FOCAL = 0, SEGCRIT_POLY1 = 1, SEGCRIT_COUNTED = 2 };

// Bits of the class sums, in the order of their rows: I, P, Q, T, U, V, D. The rows of the operands follow them.
enum { SEGCRIT_I = 1, SEGCRIT_P = 2, SEGCRIT_Q = 4, SEGCRIT_T = 8, SEGCRIT_U = 16, SEGCRIT_V = 32, SEGCRIT_D = 64,
       SEGCRIT_FIELDS = 7 };

// Linear interpolation along one axis: out[i] = (1 - share[i]) in[first[i]] + share[i] in[second[i]], both rising with i.
typedef struct {
  int64_t low, high;  // sizes before and after
  const int32_t* first;
  const int32_t* second;
  const double* share;
  int64_t stride;  // of the logits along this axis
} segcrit_axis;

typedef struct {
  // Logits (images, classes, pixels) with strides in elements; the spatial dimensions collapse into one.
  const void* logits;
  int32_t logits_type;
  int64_t images, classes, pixels;
  int64_t image_stride, class_stride, pixel_stride;
  // Logits of a lower resolution (upsample = 1): pixels are those of the target, axes depth, height, width.
  int32_t upsample;
  segcrit_axis axis[3];
  const void* target;
  int32_t target_type, target_form;
  int64_t target_image_stride, target_class_stride, target_pixel_stride;
  // Weights (images, pixels) in the type of the arithmetic (float64 for float64 logits, else float32), or null.
  const void* pixel_weight;
  int64_t weight_image_stride;
  int64_t ignore_index;
  int32_t background, foreground_only, check;
  // Logit transform z' = scale z + bias[label, class]; bias has 0, 1 or classes rows.
  double logit_scale;
  const double* logit_bias;
  int64_t bias_rows;
  // Pixel losses: pairs of value and derivative by the log-probability.
  int32_t losses;
  const int32_t* formula;      // (losses)
  const double* parameter;     // (losses)
  const double* smoothing;     // (losses)
  const double* coefficients;  // (losses, 2, classes)
  // What to deliver.
  int32_t fields, per_image, errors, bins, confusion, maps;
  // Maps beside the target, each (images, classes, pixels), contiguous, in the type of the arithmetic: the sums of u p times
  // each of them.
  int32_t operands;
  const void* const* operand;  // (operands)
  // Results of the forward pass, zeroed by the caller except map and normalizers.
  double* pixel;        // (losses)
  double* tables;       // (7 + operands, images or 1, classes)
  double* counts;       // (classes, 2, bins)
  double* moments;      // (classes, 2, bins)
  int64_t* counted;     // (classes, classes), or (classes, 2, 2) in sigmoid tasks
  void* map;            // (losses, images, pixels), or (losses, images, classes, pixels): float32 or float64
  // Largest logit and sum of exp(z - largest) of each pixel, (2, images, pixels): written forward where not null, read
  // backward. Softmax only.
  void* normalizers;
  // Input of the backward pass.
  const double* pixel_gradient;   // (losses)
  const double* table_gradient;   // (7 + operands, images or 1, classes)
  const double* moment_gradient;  // (classes, 2, bins)
  const void* map_gradient;       // as map, or null
  // Result of the backward pass, with strides of its own along image, class and (depth, height, width) or pixel.
  void* gradient;
  int64_t gradient_bytes;
  int64_t gradient_image_stride, gradient_class_stride, gradient_pixel_stride;
  int64_t gradient_axis_stride[3];
  int32_t threads;
} segcrit_job;

// Pairs of true and predicted label, for each image: from logits (the target has the form of labels or elements) or from
// predicted labels. Nothing but classes, and in the target the ignore label, is counted: anything else gives 1.
typedef struct {
  segcrit_job source;      // logits, target, ignore_index, threads; logits null where labels are given
  const void* prediction;  // labels, or elements, of integer type prediction_type
  int32_t prediction_type;
  int64_t prediction_image_stride, prediction_class_stride, prediction_pixel_stride;
  double threshold;  // elements are 1 where the logit is greater
  int64_t* counts;   // (images, classes, classes), or (images, classes, 2, 2) for elements; zeroed by the caller
} segcrit_count_job;

// All return 0, or 1 when nothing useful was computed: a label, weight or target is not allowed (looked at where check is
// set), or there is no memory.
int32_t segcrit_forward(const segcrit_job* job);
int32_t segcrit_backward(const segcrit_job* job);
int32_t segcrit_count(const segcrit_count_job* job);
// The instruction set in use: "baseline" (on arm64 it has NEON), "avx2" or "avx512".
const char* segcrit_instruction_set(void);
// Version of this interface, and the bytes of its two structures: a caller whose structures differ must not call.
int32_t segcrit_abi(void);
int64_t segcrit_job_bytes(void);
int64_t segcrit_count_job_bytes(void);

#ifdef __cplusplus
}
#endif
