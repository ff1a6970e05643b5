// How the work is divided. Chunks of blocks go to whichever thread is free, and their sums are merged in order: results do
// not depend on the number of threads, except where histograms of fractions are kept for each thread.
#pragma once
#include <new>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "count.hpp"
#include "shares.hpp"
#include "sigmoid.hpp"

namespace SEGCRIT_ISA {

struct Chunk {
  int64_t image, first, last;  // blocks [first, last) of the image
};

// Every image is cut into equally many chunks of at least 16 blocks, about 256 in all.
struct Chunks {
  int64_t blocks, of_image, number;

  explicit Chunks(const segcrit_job& job) {
    blocks = (job.pixels + BLOCK - 1) / BLOCK;
    const int64_t most = job.images < 1 ? 1 : (256 + job.images - 1) / job.images;
    of_image = (blocks + 15) / 16;
    if (of_image > most) of_image = most;
    if (of_image < 1) of_image = 1;
    number = of_image * job.images;
  }
  Chunk at(int64_t index) const {
    const int64_t part = index % of_image;
    return Chunk{index / of_image, blocks * part / of_image, blocks * (part + 1) / of_image};
  }
  static Span span(const segcrit_job& job, int64_t image, int64_t block) {
    const int64_t first = block * BLOCK, left = job.pixels - first;
    return Span{image, first, static_cast<int>(left < BLOCK ? left : BLOCK)};
  }
};

static inline int threads_for(const segcrit_job& job, int64_t tasks) {
  const int64_t threads = job.threads < 1 ? 1 : job.threads;
  return static_cast<int>(threads < tasks ? threads : (tasks < 1 ? 1 : tasks));
}

// Every thread has histograms of its own. Together they stay below half the logits or 2^22 numbers, which leaves fewer
// threads where there is little to share among them.
static inline int64_t most_threads(const segcrit_job& job) {
  if (!job.errors) return 1 << 16;
  const int64_t numbers = job.classes * 2 * static_cast<int64_t>(job.bins) * (ThreadCounts::uses_packed(job) ? 1 : 2);
  const int64_t logits = job.images * job.classes * job.pixels / 4;
  const int64_t most = (logits > (int64_t(1) << 22) ? logits : (int64_t(1) << 22)) / numbers;
  return most < 1 ? 1 : most;
}

// A slot for each thread, made by the thread itself.
template <class Item>
class Slots {
 public:
  explicit Slots(int number) : items_(new (std::nothrow) Item[number]) {}
  ~Slots() { delete[] items_; }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;
  bool ok() const { return items_ != nullptr; }
  Item& operator[](int i) { return items_[i]; }

 private:
  Item* items_;
};

template <class Worker, class T>
static int32_t run_forward(const segcrit_job& job, const Axes<T>& axes) {
  const Chunks chunks(job);
  const int64_t size = ChunkSums::size(job);
  int threads = threads_for(job, chunks.number);
  if (threads > most_threads(job)) threads = static_cast<int>(most_threads(job));
  Buffer<double> data;
  Slots<ThreadCounts> counts(threads);
  if (!counts.ok() || !data.zeros(chunks.number * size)) return 1;
  // Sums of weighted histograms depend on which thread took which chunk: there the chunks are dealt out in turn.
  const bool fixed = job.errors && !ThreadCounts::uses_packed(job);
  int bad = 0;
#pragma omp parallel num_threads(threads) reduction(| : bad)
  {
#if defined(_OPENMP)
    const int thread = omp_get_thread_num();
#else
    const int thread = 0;
#endif
    Worker worker(job, axes);
    bad |= worker.prepare() && counts[thread].prepare(job) ? 0 : 1;
    const auto work = [&](int64_t index) {
      if (bad) return;
      const Chunk chunk = chunks.at(index);
      const ChunkSums sums = ChunkSums::at(job, data.data() + index * size);
      for (int64_t block = chunk.first; block < chunk.last && !bad; ++block)
        bad |= worker.forward(Chunks::span(job, chunk.image, block), sums, counts[thread]) ? 0 : 1;
      worker.close_chunk(sums);
    };
    if (fixed) {
#pragma omp for schedule(static, 1)
      for (int64_t index = 0; index < chunks.number; ++index) work(index);
    } else {
#pragma omp for schedule(dynamic, 1)
      for (int64_t index = 0; index < chunks.number; ++index) work(index);
    }
  }
  if (bad) return 1;
  for (int thread = 0; thread < threads; ++thread) counts[thread].merge(job);
  if (job.errors && ThreadCounts::uses_packed(job)) ThreadCounts::finish(job);
  for (int64_t index = 0; index < chunks.number; ++index)
    ChunkSums::at(job, data.data() + index * size).merge(job, chunks.at(index).image);
  return 0;
}

template <class Worker, class T>
static void share_tables(Worker&, const T*) {}
template <class F, class T>
static void share_tables(HardSoftmax<F>& worker, const T* tables) {
  worker.bin_tables = tables;
}

// Backward of upsampled logits: each task owns a slab of samples and walks over the outputs that read it. Slabs of at least
// 8 rows keep the outputs that two of them read, and that are computed twice, few.
template <class F, class Worker, class T>
static int32_t run_slabs(const segcrit_job& job, const Axes<T>& axes, const T* tables) {
  const bool deep = axes.axis[0].low > 1;
  const Axis<T>& cut = axes.axis[deep ? 0 : 1];
  const int64_t width = axes.axis[2].high, height = axes.axis[1].high;
  // Rows narrower than a block are walked together; wider ones in strips, so that the open rows stay in cache.
  const int64_t strips = (width + BLOCK - 1) / BLOCK;
  int64_t slabs = (cut.low + 7) / 8;
  const int64_t enough = (4 * static_cast<int64_t>(job.threads) + job.images - 1) / (job.images < 1 ? 1 : job.images);
  if (slabs > enough) slabs = enough < 1 ? 1 : enough;
  const int64_t number = slabs * job.images;
  int bad = 0;
#pragma omp parallel num_threads(threads_for(job, number)) reduction(| : bad)
  {
    Worker worker(job, axes);
    SlabGradient<F> sink(job, axes);
    bad |= worker.prepare() ? 0 : 1;
    share_tables(worker, tables);
#pragma omp for schedule(dynamic, 1)
    for (int64_t index = 0; index < number; ++index) {
      if (bad) continue;
      const int64_t image = index / slabs, slab = index % slabs;
      const int64_t first = cut.low * slab / slabs, last = cut.low * (slab + 1) / slabs;
      if (first == last) continue;
      bad |= sink.open(image, first, last) ? 0 : 1;
      const int64_t from = cut.begin[first], to = cut.end[last - 1];
      const int64_t planes_from = deep ? from : 0, planes_to = deep ? to : axes.axis[0].high;
      const int64_t rows_from = deep ? 0 : from, rows_to = deep ? height : to;
      for (int64_t strip = 0; strip < strips && !bad; ++strip) {
        const int64_t left = strip * BLOCK, right = left + BLOCK < width ? left + BLOCK : width;
        bad |= sink.begin_strip(left, right) ? 0 : 1;
        for (int64_t plane = planes_from; plane < planes_to && !bad; ++plane) {
          const int64_t start = (plane * height + rows_from) * width, end = (plane * height + rows_to) * width;
          const int64_t step = strips == 1 ? BLOCK : width;
          for (int64_t at = start + left; at < end && !bad; at += step) {
            const int64_t stop = strips == 1 ? (at + BLOCK < end ? at + BLOCK : end) : at + right - left;
            bad |= worker.backward(Span{image, at, static_cast<int>(stop - at)}, sink) ? 0 : 1;
          }
        }
        sink.end_strip();
      }
      if (!bad) sink.close();
    }
  }
  return bad ? 1 : 0;
}

template <class F, class Worker, class T>
static int32_t run_backward(const segcrit_job& job, const Axes<T>& axes) {
  Buffer<T> tables;
  if (job.errors == SEGCRIT_PROBABILITY) {
    if (!tables.reserve(job.classes * job.bins)) return 1;
    for (int64_t c = 0; c < job.classes; ++c)
      for (int64_t k = 0; k < job.bins; ++k) tables[c * job.bins + k] = static_cast<T>(job.moment_gradient[c * 2 * job.bins + k]);
  }
  if (job.upsample) return run_slabs<F, Worker>(job, axes, tables.data());
  const Chunks chunks(job);
  int bad = 0;
#pragma omp parallel num_threads(threads_for(job, chunks.number)) reduction(| : bad)
  {
    Worker worker(job, axes);
    DenseGradient<F> sink(job);
    bad |= worker.prepare() ? 0 : 1;
    share_tables(worker, tables.data());
#pragma omp for schedule(dynamic, 1)
    for (int64_t index = 0; index < chunks.number; ++index) {
      const Chunk chunk = chunks.at(index);
      for (int64_t block = chunk.first; block < chunk.last && !bad; ++block)
        bad |= worker.backward(Chunks::span(job, chunk.image, block), sink) ? 0 : 1;
      end_stream();
    }
  }
  return bad ? 1 : 0;
}

template <class F, class T>
static int32_t run_count(const segcrit_count_job& task, const Axes<T>& axes) {
  const segcrit_job& job = task.source;
  const bool elements = job.target_form == SEGCRIT_ELEMENTS;
  const int64_t channels = elements ? job.classes : 1, side = elements ? 2 : job.classes, cells = side * side;
  const Chunks chunks(job);
  int bad = 0;
#pragma omp parallel num_threads(threads_for(job, chunks.number)) reduction(| : bad)
  {
    Predictor<F> predictor(task, axes);
    PairCounter counter;
    bad |= predictor.prepare() && counter.prepare(cells) ? 0 : 1;
#pragma omp for schedule(dynamic, 1)
    for (int64_t index = 0; index < chunks.number; ++index) {
      const Chunk chunk = chunks.at(index);
      for (int64_t channel = 0; channel < channels && !bad; ++channel) {
        for (int64_t block = chunk.first; block < chunk.last && !bad; ++block) {
          const Span span = Chunks::span(job, chunk.image, block);
          bad |= predictor.count(span, static_cast<int>(channel), counter) ? 0 : 1;
        }
#pragma omp critical(segcrit_count)
        counter.flush(task.counts + (chunk.image * channels + channel) * cells);
      }
    }
  }
  return bad ? 1 : 0;
}

template <class F>
static int32_t start(const segcrit_job& job, bool forward) {
  using T = typename F::Arithmetic;
  Axes<T> axes;
  if (job.upsample && !axes.build(job)) return 1;
  if (job.target_form == SEGCRIT_ELEMENTS)
    return forward ? run_forward<Sigmoid<F>>(job, axes) : run_backward<F, Sigmoid<F>>(job, axes);
  bool shares = job.target_form == SEGCRIT_SHARES;
  // Cross-entropy takes label smoothing in the fast path; other losses spread the label over the classes.
  for (int64_t j = 0; j < job.losses; ++j) shares = shares || (job.smoothing[j] != 0.0 && !is_cross_entropy(job, j));
  if (shares) return forward ? run_forward<SoftSoftmax<F>>(job, axes) : run_backward<F, SoftSoftmax<F>>(job, axes);
  return forward ? run_forward<HardSoftmax<F>>(job, axes) : run_backward<F, HardSoftmax<F>>(job, axes);
}

template <class F>
static int32_t start_count(const segcrit_count_job& task) {
  Axes<typename F::Arithmetic> axes;
  if (task.source.upsample && !axes.build(task.source)) return 1;
  return run_count<F>(task, axes);
}

}  // namespace SEGCRIT_ISA
