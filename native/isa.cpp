// One instruction set of the kernels; compiled several times with different flags and SEGCRIT_ISA names.
#include "schedule.hpp"

namespace SEGCRIT_ISA {

int32_t execute(const segcrit_job& job, bool forward) {
  switch (job.logits_type) {
    case SEGCRIT_F64: return start<Float64>(job, forward);
    case SEGCRIT_BF16: return start<BFloat16>(job, forward);
    case SEGCRIT_F16: return start<Float16>(job, forward);
    default: return start<Float32>(job, forward);
  }
}

int32_t count(const segcrit_count_job& task) {
  switch (task.source.logits_type) {
    case SEGCRIT_F64: return start_count<Float64>(task);
    case SEGCRIT_BF16: return start_count<BFloat16>(task);
    case SEGCRIT_F16: return start_count<Float16>(task);
    default: return start_count<Float32>(task);
  }
}

}  // namespace SEGCRIT_ISA
