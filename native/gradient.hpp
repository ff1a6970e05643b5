// Where gradients go: to the gradient of the logits as they are, or, transposed, to that of low-resolution logits.
#pragma once
#include "interpolation.hpp"

namespace SEGCRIT_ISA {

template <class F>
class DenseGradient {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  explicit DenseGradient(const segcrit_job& j) : job(j) {}

  // Where a full block may be written at once, class c job.gradient_class_stride further, or null.
  T* direct(const Span& span, bool all) const {
    if constexpr (std::is_same<T, Storage>::value) {
      if (all && job.gradient_pixel_stride == 1) return place(span, 0);
    }
    return nullptr;
  }
  int64_t class_stride() const { return job.gradient_class_stride; }
  // Whether rows are better written past the caches: a large gradient does not stay there, and its lines need not be read
  // before they are overwritten.
  bool streams() const { return job.gradient_bytes >= STREAMED_BYTES && can_stream(job.gradient, job.gradient_class_stride * static_cast<int64_t>(sizeof(Storage))); }

  // A block: class c in tile[c * BLOCK ...].
  void take(const Span& span, const T* tile) {
    const int64_t step = job.gradient_pixel_stride;
    const bool streamed = std::is_same<T, Storage>::value && step == 1 && streams();
    for (int64_t c = 0; c < job.classes; ++c) {
      Storage* sink = place(span, c);
      const T* row = tile + c * BLOCK;
      if (streamed && span.count == BLOCK) {
        stream_row(row, reinterpret_cast<T*>(sink));
      } else if (span.count == BLOCK && step == 1) {
        for (int b = 0; b < BLOCK; ++b) sink[b] = F::store(row[b]);
      } else {
        for (int b = 0; b < span.count; ++b) sink[b * step] = F::store(row[b]);
      }
    }
  }
  void zero(const Span& span) {
    for (int64_t c = 0; c < job.classes; ++c) {
      Storage* sink = place(span, c);
      for (int b = 0; b < span.count; ++b) sink[b * job.gradient_pixel_stride] = Storage(0);
    }
  }

 private:
  const segcrit_job& job;

  Storage* place(const Span& span, int64_t channel) const {
    return static_cast<Storage*>(job.gradient) + span.image * job.gradient_image_stride + channel * job.gradient_class_stride +
           span.first * job.gradient_pixel_stride;
  }
};

// Gradient of low-resolution logits. One owner gathers what a slab of samples receives: it walks over all outputs that read
// them, in order, so that the result does not depend on how the work is divided, and nothing is added by two threads. Down
// the columns the block's gradient is added to two rows of outputs' width at a time; a row that is complete is gathered
// along the columns, once for each row of samples instead of once for each row of outputs.
template <class F>
class SlabGradient {
 public:
  using T = typename F::Arithmetic;
  using Storage = typename F::Storage;

  SlabGradient(const segcrit_job& j, const Axes<T>& a) : job(j), axes(a) {}

  // Samples [first, last) of the depth where there is one, else of the rows; the columns [left, right) of the outputs.
  bool open(int64_t image_, int64_t first, int64_t last) {
    image = image_;
    deep = axes.axis[0].low > 1;
    planes_from = deep ? first : 0;
    planes_to = deep ? last : 1;
    rows_from = deep ? 0 : first;
    rows_to = deep ? axes.axis[1].low : last;
    width = axes.axis[2].low;
    return slab.zeros((planes_to - planes_from) * job.classes * (rows_to - rows_from) * width);
  }
  // A strip of columns, walked from the first output row to the last.
  bool begin_strip(int64_t left_, int64_t right_) {
    left = left_;
    right = right_;
    row_of[0] = row_of[1] = -1;
    depth = -1;
    return open_rows.zeros(2 * job.classes * (right - left));
  }
  void end_strip() { flush_all(); }

  T* direct(const Span&, bool) const { return nullptr; }
  bool streams() const { return false; }
  int64_t class_stride() const { return 0; }

  void take(const Span& span, const T* tile) {
    const Axis<T>& y = axes.axis[1];
    const int64_t strip = right - left;
    axes.segments(span, [&](const Segment& part) {
      const int64_t rows[2] = {y.first[part.row], y.second[part.row]};
      const T share[2] = {y.share_first[part.row], y.share_second[part.row]};
      require(part, rows);
      for (int l = 0; l < 2; ++l) {
        if (rows[l] < rows_from || rows[l] >= rows_to) continue;
        const T s = share[l];
        for (int64_t c = 0; c < job.classes; ++c) {
          const T* source = tile + c * BLOCK + part.place;
          T* sink = open_rows.data() + ((rows[l] & 1) * job.classes + c) * strip + (part.column - left);
          SEGCRIT_SIMD
          for (int b = 0; b < part.count; ++b) sink[b] += s * source[b];
        }
      }
    });
  }
  void zero(const Span&) {}

  // Writes the slab as the gradient of the logits.
  void close() {
    for (int64_t z = planes_from; z < planes_to; ++z)
      for (int64_t c = 0; c < job.classes; ++c)
        for (int64_t y = rows_from; y < rows_to; ++y) {
          const T* source = slab_row(z, c, y);
          Storage* sink = static_cast<Storage*>(job.gradient) + image * job.gradient_image_stride + c * job.gradient_class_stride +
                          z * job.gradient_axis_stride[0] + y * job.gradient_axis_stride[1];
          for (int64_t x = 0; x < width; ++x) sink[x * job.gradient_axis_stride[2]] = F::store(source[x]);
        }
  }

 private:
  const segcrit_job& job;
  const Axes<T>& axes;
  int64_t image = 0, planes_from = 0, planes_to = 0, rows_from = 0, rows_to = 0, width = 0, left = 0, right = 0;
  bool deep = false;
  Buffer<T> slab, open_rows;
  int64_t row_of[2] = {-1, -1}, depth = -1;

  T* slab_row(int64_t z, int64_t c, int64_t y) {
    return slab.data() + (((z - planes_from) * job.classes + c) * (rows_to - rows_from) + (y - rows_from)) * width;
  }

  // Makes the rows of samples that a row of outputs reads the open ones; those that are complete are gathered.
  void require(const Segment& part, const int64_t* rows) {
    if (depth != part.depth) { flush_all(); depth = part.depth; }
    for (int l = 0; l < 2; ++l) {
      const int64_t slot = rows[l] & 1;
      if (row_of[slot] == rows[l]) continue;
      flush(slot);
      row_of[slot] = rows[l];
    }
  }

  void flush_all() {
    // The lower row first: the order of additions is that of the rows.
    const int64_t lower = row_of[0] < row_of[1] ? 0 : 1;
    flush(lower);
    flush(1 - lower);
  }

  void flush(int64_t slot) {
    const int64_t row = row_of[slot];
    row_of[slot] = -1;
    if (row < rows_from || row >= rows_to) return;
    const Axis<T>&z = axes.axis[0], &x = axes.axis[2];
    const int64_t strip = right - left;
    for (int k = 0; k < (deep ? 2 : 1); ++k) {
      const int64_t plane = !deep ? 0 : (k == 0 ? z.first[depth] : z.second[depth]);
      const T share = !deep ? T(1) : (k == 0 ? z.share_first[depth] : z.share_second[depth]);
      if (plane < planes_from || plane >= planes_to) continue;
      for (int64_t c = 0; c < job.classes; ++c) {
        const T* source = open_rows.data() + (slot * job.classes + c) * strip - left;
        T* sink = slab_row(plane, c, row);
        const int64_t from = x.first[left], to = x.second[right - 1] + 1;
        for (int64_t i = from; i < to; ++i) {
          const int64_t begin = x.begin[i] < left ? left : x.begin[i], end = x.end[i] > right ? right : x.end[i];
          const T* weight = x.from_sample.data() + x.at[i] - x.begin[i];
          T sum = 0;
          for (int64_t o = begin; o < end; ++o) sum += weight[o] * source[o];
          sink[i] += share * sum;
        }
      }
    }
    T* open = open_rows.data() + slot * job.classes * strip;
    for (int64_t i = 0; i < job.classes * strip; ++i) open[i] = 0;
  }
};

}  // namespace SEGCRIT_ISA
