// What the forward pass sums up. Sums of floats are kept for each chunk of blocks and merged in the order of the chunks, so
// that they do not depend on which thread took which chunk; whole numbers are kept for each thread.
#pragma once
#include "histogram.hpp"

namespace SEGCRIT_ISA {

// Sums of one chunk, which lies within one image.
struct ChunkSums {
  double* pixel;   // (losses)
  double* tables;  // (7 + operands, classes)
  double* lowest;  // (2, classes): number and sum of the errors in the lowest bin of the negatives
  double* broken;  // (2, classes): number of errors that are NaN, of negatives and of positives

  static int64_t fields(const segcrit_job& job) { return SEGCRIT_FIELDS + job.operands; }
  static int64_t size(const segcrit_job& job) { return job.losses + (fields(job) + (job.errors ? 4 : 0)) * job.classes; }
  static ChunkSums at(const segcrit_job& job, double* data) {
    double* tables = data + job.losses;
    double* lowest = tables + fields(job) * job.classes;
    return ChunkSums{data, tables, lowest, lowest + 2 * job.classes};
  }
  void merge(const segcrit_job& job, int64_t image) const {
    const int64_t classes = job.classes, rows = job.per_image ? job.images : 1, row = job.per_image ? image : 0;
    for (int64_t j = 0; j < job.losses; ++j) job.pixel[j] += pixel[j];
    for (int64_t field = 0; field < fields(job); ++field)
      for (int64_t c = 0; c < classes; ++c) job.tables[(field * rows + row) * classes + c] += tables[field * classes + c];
    if (!job.errors) return;
    for (int64_t c = 0; c < classes; ++c) {
      job.counts[c * 2 * job.bins] += lowest[c];
      job.moments[c * 2 * job.bins] += lowest[classes + c];
      for (int64_t sign = 0; sign < 2; ++sign) {
        if (broken[sign * classes + c] == 0.0) continue;
        const int64_t last = (c * 2 + sign + 1) * job.bins - 1;
        job.counts[last] += broken[sign * classes + c];
        job.moments[last] = NAN;
      }
    }
  }
};

// Counts of one thread.
struct ThreadCounts {
  PackedBins packed;
  Buffer<double> counts, moments;  // (classes, 2, bins), with pixel weights and for margins
  Buffer<int64_t> counted;
  bool is_packed = false;

  bool prepare(const segcrit_job& job) {
    const int64_t cells = job.errors ? job.classes * 2 * job.bins : 0;
    is_packed = uses_packed(job);
    if (is_packed ? !packed.prepare(cells) : !(counts.zeros(cells) && moments.zeros(cells))) return false;
    return !job.confusion || counted.zeros(job.target_form == SEGCRIT_ELEMENTS ? job.classes * 4 : job.classes * job.classes);
  }
  // Where every weight is 1: none are given, and bad labels, whose weight would be NaN, are refused. Not for float64 logits,
  // which have more digits than a unit.
  static bool uses_packed(const segcrit_job& job) { return job.errors == SEGCRIT_PROBABILITY && job.logits_type != SEGCRIT_F64 && !job.pixel_weight && job.check; }

  void merge(const segcrit_job& job) {
    if (is_packed) packed.flush(job.counts, job.moments);
    for (int64_t i = 0; i < counts.size(); ++i) {
      job.counts[i] += counts[i];
      job.moments[i] += moments[i];
    }
    for (int64_t i = 0; i < counted.size(); ++i) job.counted[i] += counted[i];
  }
  // From units to sums of errors: those of a bin are its lower edge times their number, plus their distances to it.
  static void finish(const segcrit_job& job) {
    for (int64_t i = 0; i < job.classes * 2 * job.bins; ++i)
      if (job.counts[i] != 0.0)
        job.moments[i] = (static_cast<double>(i % job.bins) * job.counts[i] + job.moments[i] / UNIT) / static_cast<double>(job.bins);
  }
};

}  // namespace SEGCRIT_ISA
