// Chooses the instruction set once, at the first call: the widest that the processor has, or a narrower one that the
// environment variable SEGCRIT_INSTRUCTION_SET names ("avx2", "baseline").
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

}  // namespace

SEGCRIT_EXPORT int32_t segcrit_forward(const segcrit_job* job) { return choice().execute(*job, true); }
SEGCRIT_EXPORT int32_t segcrit_backward(const segcrit_job* job) { return choice().execute(*job, false); }
SEGCRIT_EXPORT int32_t segcrit_count(const segcrit_count_job* job) { return choice().count(*job); }
SEGCRIT_EXPORT const char* segcrit_instruction_set(void) { return choice().name; }
SEGCRIT_EXPORT int32_t segcrit_abi(void) { return 4; }
SEGCRIT_EXPORT int64_t segcrit_job_bytes(void) { return static_cast<int64_t>(sizeof(segcrit_job)); }
SEGCRIT_EXPORT int64_t segcrit_count_job_bytes(void) { return static_cast<int64_t>(sizeof(segcrit_count_job)); }
