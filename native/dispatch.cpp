// Chooses the instruction set once, at the first call: the widest that the processor has, or a narrower one that the
// environment variable SEGCRIT_INSTRUCTION_SET names ("avx2", "baseline").
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "segcrit.h"

#if defined(_WIN32)
#define SEGCRIT_EXPORT extern "C" __declspec(dllexport)
#else
#define SEGCRIT_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace baseline {
int32_t execute(const segcrit_job& job, bool forward);
int32_t count(const segcrit_count_job& task);
}
#ifdef SEGCRIT_X86
namespace avx2 {
int32_t execute(const segcrit_job& job, bool forward);
int32_t count(const segcrit_count_job& task);
}
namespace avx512 {
int32_t execute(const segcrit_job& job, bool forward);
int32_t count(const segcrit_count_job& task);
}
#endif

namespace {

struct Choice {
  int32_t (*execute)(const segcrit_job&, bool);
  int32_t (*count)(const segcrit_count_job&);
  const char* name;
};

Choice choose() {
#ifdef SEGCRIT_X86
  __builtin_cpu_init();
  const char* asked = getenv("SEGCRIT_INSTRUCTION_SET");
  const bool narrow = asked != nullptr && strcmp(asked, "avx512") != 0;
  const bool narrowest = narrow && strcmp(asked, "avx2") != 0;
  if (!narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return {avx512::execute, avx512::count, "avx512"};
  if (!narrowest && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {avx2::execute, avx2::count, "avx2"};
#endif
  return {baseline::execute, baseline::count, "baseline"};
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

int64_t sum_rows(const segcrit_job& job) { return (job.per_image ? job.images : 1) * job.classes; }

bool are_finite(const double* values, int64_t number) {
  for (int64_t i = 0; i < number; ++i)
    if (!(fabs(values[i]) <= DBL_MAX)) return false;
  return true;
}

// Numbers whose products with the weights and probabilities of a pixel stay numbers of float32. NaN is as good as another.
bool are_moderate(const double* values, int64_t number) {
  for (int64_t i = 0; i < number; ++i) {
    const double size = fabs(values[i]);
    if (size > 1e30 || (size < 1e-30 && size != 0.0)) return false;
  }
  return true;
}

}  // namespace

// A result other than 0 hands the batch to the reference engine, which computes in float64 what float32 cannot hold.
SEGCRIT_EXPORT int32_t segcrit_forward(const segcrit_job* job) {
  if (job->logits_type != SEGCRIT_F64 && !are_moderate(job->coefficients, 2 * job->losses * job->classes)) return 1;
  const int32_t result = choice().execute(*job, true);
  if (result != 0 || job->logits_type == SEGCRIT_F64) return result;
  const int64_t cells = job->pixel_weight && job->errors ? 2 * job->bins * job->classes : 0;
  const bool good = are_finite(job->pixel, job->losses) && are_finite(job->tables, (SEGCRIT_FIELDS + job->operands) * sum_rows(*job)) &&
                    are_finite(job->counts, cells) && are_finite(job->moments, cells);
  return good ? 0 : 1;
}
SEGCRIT_EXPORT int32_t segcrit_backward(const segcrit_job* job) {
  if (job->logits_type != SEGCRIT_F64) {
    const int64_t cells = job->pixel_weight && job->errors ? 2 * job->bins * job->classes : 0;
    const bool moderate = are_moderate(job->pixel_gradient, job->losses) &&
                          are_moderate(job->table_gradient, (SEGCRIT_FIELDS + job->operands) * sum_rows(*job)) && are_moderate(job->moment_gradient, cells);
    // Without normalizers: a forward pass in float64 left NaN in their place.
    const float* first = static_cast<const float*>(job->normalizers);
    if (!moderate || (first != nullptr && first[0] != first[0])) return 1;
  }
  return choice().execute(*job, false);
}
SEGCRIT_EXPORT int32_t segcrit_count(const segcrit_count_job* job) { return choice().count(*job); }
SEGCRIT_EXPORT const char* segcrit_instruction_set(void) { return choice().name; }
SEGCRIT_EXPORT int32_t segcrit_abi(void) { return 5; }
SEGCRIT_EXPORT int64_t segcrit_job_bytes(void) { return static_cast<int64_t>(sizeof(segcrit_job)); }
SEGCRIT_EXPORT int64_t segcrit_count_job_bytes(void) { return static_cast<int64_t>(sizeof(segcrit_count_job)); }
