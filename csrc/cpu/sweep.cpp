#include "sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "../recurrence.h"
#include "../scalar.h"
#include "denormals.h"

namespace softdp::cpu {
namespace {

// Columns taken together: their inputs are exponentiated in a loop of its own, off the chain of cells, and
// a row's running value is normalised once a block. In between a mantissa grows by 2^3.2 (three mantissas
// of the row above, below 2, and inputs of at most 2^1/2) and shrinks by 2^-1 a step at most, far from
// float's limits.
constexpr int kBlock = 16;

constexpr double kLog2e = 1.4426950408889634;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// ---- inputs ----------------------------------------------------------------------------------------

template <class Max>
struct InputBlock;
template <class A>
struct InputBlock<SmoothMax<A>> {
  typename A::Value p[kBlock];
  typename A::Exponent e[kBlock];
  typename SmoothMax<A>::Input operator[](int j) const { return {p[j], e[j]}; }
  void set(int j, typename SmoothMax<A>::Input x) { p[j] = x.p, e[j] = x.e; }
};
template <class A>
struct InputBlock<HardMax<A>> {
  typename A::Value x[kBlock];
  typename A::Value operator[](int j) const { return x[j]; }
  void set(int j, typename A::Value value) { x[j] = value; }
};

// Reads one pair's scores through their strides, a block at a time; what is broadcast along a row is
// read and exponentiated once a row.
template <class Max, class T>
class Reader {
 public:
  Reader(const Scores<T>& scores, int64_t pair, double k)
      : data_(scores.data + pair * scores.batch), row_(scores.row), column_(scores.column), k_(k) {}

  void begin_row(int64_t i) {
    line_ = data_ + i * row_;
    if (column_ == 0) fill(line_, 0, kBlock);
  }
  void begin_block(int64_t j, int count) {
    if (column_ != 0) fill(line_ + j * column_, column_, count);
  }
  typename Max::Input operator[](int j) const { return block_[j]; }
  T score(int j) const { return T(scores_[j]); }
  bool spoiled() const { return spoiled_; }

 private:
  using Value = typename Max::Value;
  void fill(const T* from, int64_t stride, int count) {
    for (int j = 0; j < count; j++) scores_[j] = Value(from[j * stride]);
    int spoiled = 0;
    for (int j = 0; j < count; j++) {
      spoiled |= Max::spoils(scores_[j], k_);
      block_.set(j, Max::input(scores_[j], k_));
    }
    spoiled_ = spoiled_ || spoiled;
  }

  const T* data_;
  const T* line_ = nullptr;
  int64_t row_, column_;
  double k_;
  Value scores_[kBlock];
  InputBlock<Max> block_;
  bool spoiled_ = false;
};

// kShared: delete = insert, read once.
template <class Max_, class T_, bool kShared>
struct FsdCells {
  using Max = Max_;
  using T = T_;
  Reader<Max, T> match, insert, del;

  void begin_row(int64_t i) {
    match.begin_row(i), insert.begin_row(i);
    if (!kShared) del.begin_row(i);
  }
  void begin_block(int64_t j, int count) {
    match.begin_block(j, count), insert.begin_block(j, count);
    if (!kShared) del.begin_block(j, count);
  }
  template <class State, class Value>
  State cell(int j, State diagonal, State above, State left, Weights<Value>& w) const {
    return Fsd<Max>::cell(Max::moves(match[j], insert[j], kShared ? insert[j] : del[j]), diagonal, above,
                          left, w);
  }
  bool spoiled() const { return match.spoiled() || insert.spoiled() || (!kShared && del.spoiled()); }
};

template <class Max_, class T_>
struct LcsCells {
  using Max = Max_;
  using T = T_;
  Reader<Max, T> similarity;
  T threshold;

  void begin_row(int64_t i) { similarity.begin_row(i); }
  void begin_block(int64_t j, int count) { similarity.begin_block(j, count); }
  template <class State, class Value>
  State cell(int j, State diagonal, State above, State left, Weights<Value>& w) const {
    return Lcs<Max>::cell(similarity.score(j) >= threshold, similarity[j], diagonal, above, left, w);
  }
  bool spoiled() const { return similarity.spoiled(); }
};

// ---- forward ---------------------------------------------------------------------------------------

// One pair. above: S(0, 0..m) on the way in, S(n, 0..m) on the way out; left: S(1..n, 0) in, S(1..n, m) out.
template <class Cells, class State>
void sweep_forward(Cells& cells, int64_t n, int64_t m, State* above, State* left,
                   SavedWeights<typename Cells::T>* saved, int64_t pitch) {
  using Max = typename Cells::Max;
  Weights<typename Max::Value> w[kBlock];
  for (int64_t i = 0; i < n; i++) {
    cells.begin_row(i);
    State from_left = left[i], diagonal = above[0];
    above[0] = from_left;
    for (int64_t j = 0; j < m; j += kBlock) {
      int count = int(std::min<int64_t>(kBlock, m - j));
      cells.begin_block(j, count);
      State* row = above + j + 1;
      State top[kBlock];
      for (int c = 0; c < count; c++) top[c] = Max::normalized(row[c]);
      for (int c = 0; c < count; c++) {
        State from_above = top[c];
        from_left = cells.cell(c, diagonal, from_above, from_left, w[c]);
        row[c] = from_left;
        diagonal = from_above;
      }
      from_left = Max::normalized(from_left);
      if (saved)
        for (int c = 0; c < count; c++) saved[i * pitch + j + c] = pack<typename Cells::T>(w[c]);
    }
    left[i] = from_left;
  }
}

template <class State>
double value_of(State s, double gamma) {
  return s.e < kDead ? -kInf : (std::log2(double(s.p)) + double(s.e)) * (gamma / kLog2e);
}
inline double value_of(double s, double) {
  return s;
}

// make_cells(b) gives the cells of pair b. Boundary: 0 at (0, 0), `edge` on the rest of it.
template <class Max, class T, class MakeCells>
void forward(const Pairs& pairs, double gamma, double k, double edge, T* score, SavedWeights<T>* saved,
             int64_t begin, int64_t end, MakeCells make_cells) {
  using State = typename Max::State;
  using Value = typename Max::Value;
  const State corner = Max::input(Value(0), k), beyond = Max::input(Value(edge), k);
  std::vector<State> above(pairs.columns + 1), left(pairs.rows);
  for (int64_t b = begin; b < end; b++) {
    const int64_t n = pairs.n(b), m = pairs.m(b);
    SavedWeights<T>* weights = saved ? saved + b * pairs.rows * pairs.columns : nullptr;
    if (n == 0 || m == 0) {
      score[b] = T(n == m ? 0 : edge);
    } else {
      std::fill(above.begin(), above.begin() + m + 1, beyond);
      std::fill(left.begin(), left.begin() + n, beyond);
      above[0] = corner;
      auto cells = make_cells(b);
      sweep_forward(cells, n, m, above.data(), left.data(), weights, pairs.columns);
      const double value = cells.spoiled() ? kNaN : value_of(above[m], gamma);
      score[b] = T(value);
      SavedWeights<T>* last = weights ? weights + (n - 1) * pairs.columns + m - 1 : nullptr;
      if (last && std::isnan(value)) *last = {T(kNaN), T(kNaN)};
      if (last && value == -kInf) *last = {T(kNoPath), T(kNoPath)};
    }
    // The padding's weights are 0, never whatever was there.
    for (int64_t i = 0; weights && i < pairs.rows; i++)
      std::fill(weights + i * pairs.columns + (i < n ? m : 0), weights + (i + 1) * pairs.columns,
                SavedWeights<T>());
  }
}

// The hard maximum adds plain numbers, in double so that long sums of float32 scores stay exact.
template <class T, class Run>
void with_max(double gamma, Run run) {
  if (gamma > 0) {
    const double k = kLog2e / gamma;  // before denormals go: gamma may be as large as it likes
    FlushDenormals flush;
    run(SmoothMax<Scalar<T>>(), k);
  } else {
    run(HardMax<Scalar<double>>(), 0.0);
  }
}

// ---- backward --------------------------------------------------------------------------------------

// Takes a gradient row by row and writes it, or sums it, to where it belongs.
template <class T>
class GradientWriter {
 public:
  GradientWriter(const Gradient<T>& gradient, const Pairs& pairs)
      : gradient_(gradient),
        rows_(gradient.every_row ? pairs.rows : 1),
        columns_(gradient.every_column ? pairs.columns : 1),
        row_(pairs.columns),
        sums_(columns_) {}

  void begin_pair(int64_t b) {
    if (!gradient_.data) return;
    pair_ = gradient_.data + b * rows_ * columns_;
    std::fill(pair_, pair_ + rows_ * columns_, T(0));
    std::fill(sums_.begin(), sums_.end(), 0.0);
  }
  // Where to put the m gradients of row i; then end_row(i, m).
  T* begin_row(int64_t i) { return dense() ? pair_ + i * columns_ : row_.data(); }
  void end_row(int64_t i, int64_t m) {
    if (!gradient_.data || dense()) return;
    if (gradient_.every_column) {
      for (int64_t j = 0; j < m; j++) sums_[j] += double(row_[j]);
    } else {
      for (int64_t j = 0; j < m; j++) sums_[0] += double(row_[j]);
      if (gradient_.every_row) {
        pair_[i] = T(sums_[0]);
        sums_[0] = 0;
      }
    }
  }
  void end_pair() {
    if (!gradient_.data || gradient_.every_row) return;
    for (int64_t j = 0; j < columns_; j++) pair_[j] = T(sums_[j]);
  }

 private:
  bool dense() const { return gradient_.data && gradient_.every_row && gradient_.every_column; }

  const Gradient<T>& gradient_;
  int64_t rows_, columns_;
  T* pair_ = nullptr;
  std::vector<T> row_;        // where rows go that are not written out
  std::vector<double> sums_;  // over rows, or over the columns of a row
};

// One pair: the adjoint sweep from (n, m) to (1, 1). `below` holds A of the row about to be swept.
template <class Recurrence, bool kGaps, class T>
void sweep_backward(const SavedWeights<T>* saved, int64_t pitch, int64_t n, int64_t m, T seed,
                    bool shared_gap, T* below, GradientWriter<T>& match, GradientWriter<T>& insert,
                    GradientWriter<T>& del) {
  std::fill(below, below + m, T(0));
  below[m - 1] = seed;
  for (int64_t i = n - 1; i >= 0; i--) {
    const SavedWeights<T>* weights = saved + i * pitch;
    T *match_row = match.begin_row(i), *insert_row = insert.begin_row(i), *del_row = del.begin_row(i);
    T from_right = 0, from_diagonal = 0;  // shares from (i, j+1): for (i, j) and for (i-1, j)
    for (int64_t j = m - 1; j >= 0; j--) {
      Adjoint<T> a = Recurrence::adjoint(below[j] + from_right, unpack(weights[j]));
      match_row[j] = a.score;
      if (kGaps) {
        insert_row[j] = shared_gap ? a.to_above + a.to_left : a.to_above;
        del_row[j] = a.to_left;
      }
      from_right = a.to_left;
      below[j] = a.to_above + from_diagonal;
      from_diagonal = a.to_diagonal;
    }
    match.end_row(i, m), insert.end_row(i, m), del.end_row(i, m);
  }
}

template <class Recurrence, class T>
void backward(const Backward<T>& p, int64_t begin, int64_t end) {
  FlushDenormals flush;
  const int64_t N = p.pairs.rows, M = p.pairs.columns;
  GradientWriter<T> match(p.match, p.pairs), insert(p.insert, p.pairs), del(p.del, p.pairs);
  GradientWriter<T>* writers[] = {&match, &insert, &del};
  std::vector<T> below(M);
  for (int64_t b = begin; b < end; b++) {
    const int64_t n = p.pairs.n(b), m = p.pairs.m(b);
    for (auto* writer : writers) writer->begin_pair(b);
    const SavedWeights<T>* saved = p.saved + b * N * M;
    const T verdict = n > 0 && m > 0 ? saved[(n - 1) * M + m - 1].insert : T(kNoPath);
    if (std::isnan(verdict)) {
      for (int64_t i = 0; i < n; i++)
        for (auto* writer : writers) {
          T* row = writer->begin_row(i);
          std::fill(row, row + m, T(kNaN));
          writer->end_row(i, m);
        }
    } else if (verdict >= 0) {
      auto sweep = p.insert.data || p.del.data ? sweep_backward<Recurrence, true, T>
                                               : sweep_backward<Recurrence, false, T>;
      sweep(saved, M, n, m, p.grad_score[b], p.shared_gap, below.data(), match, insert, del);
    }
    for (auto* writer : writers) writer->end_pair();
  }
}

}  // namespace

template <class T>
void fsd_forward(const FsdForward<T>& p, int64_t begin, int64_t end) {
  with_max<T>(p.gamma, [&](auto max, double k) {
    using Max = decltype(max);
    auto run = [&](auto shared) {
      forward<Max>(p.pairs, p.gamma, k, p.anchored ? -kInf : 0.0, p.score, p.saved, begin, end,
                   [&](int64_t b) {
                     Reader<Max, T> match(p.match, b, k), insert(p.insert, b, k), del(p.del, b, k);
                     return FsdCells<Max, T, decltype(shared)::value>{match, insert, del};
                   });
    };
    p.shared_gap ? run(std::true_type()) : run(std::false_type());
  });
}

template <class T>
void lcs_forward(const LcsForward<T>& p, int64_t begin, int64_t end) {
  with_max<T>(p.gamma, [&](auto max, double k) {
    using Max = decltype(max);
    forward<Max>(p.pairs, p.gamma, k, 0.0, p.score, p.saved, begin, end, [&](int64_t b) {
      return LcsCells<Max, T>{Reader<Max, T>(p.similarity, b, k), p.threshold};
    });
  });
}

template <class T>
void fsd_backward(const Backward<T>& p, int64_t begin, int64_t end) {
  backward<Fsd<SmoothMax<Scalar<T>>>>(p, begin, end);
}
template <class T>
void lcs_backward(const Backward<T>& p, int64_t begin, int64_t end) {
  backward<Lcs<SmoothMax<Scalar<T>>>>(p, begin, end);
}

#define SOFTDP_INSTANTIATE(T)                                        \
  template void fsd_forward(const FsdForward<T>&, int64_t, int64_t); \
  template void lcs_forward(const LcsForward<T>&, int64_t, int64_t); \
  template void fsd_backward(const Backward<T>&, int64_t, int64_t);  \
  template void lcs_backward(const Backward<T>&, int64_t, int64_t);
SOFTDP_INSTANTIATE(float)
SOFTDP_INSTANTIATE(double)

}  // namespace softdp::cpu
