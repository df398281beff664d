#include "feature_plan.h"

namespace softdp::cuda {
namespace {

// The launches of a problem, one after the other; the first error ends them.
template <class T>
class Run {
 public:
  Run(const Plan<T>& plan, Stream stream) : plan_(plan), p_(plan.p), stream_(stream) {}

  Error all() {
    if (p_.pairs.count == 0) return cudaSuccess;
    if (plan_.dots) go(plan_.unit_vectors(false));
    for (int64_t x = 0; x < plan_.all_x; x += plan_.xs)
      for (int64_t y = 0; y < (p_.others ? plan_.all_y : 1); y += plan_.ys) one(plan_.batch(x, y));
    if (plan_.gradients && plan_.dots) go(plan_.unit_vectors(true));
    return error_;
  }

 private:
  template <class Arguments>
  void go(void (*kernel)(Arguments), int64_t blocks, size_t shared, const Arguments& arguments) {
    if (error_ == cudaSuccess && blocks > 0)
      error_ = launch(kernel, blocks, kFeatureThreads, shared, stream_, arguments);
  }
  template <template <class> class Task>
  void go(const Task<T>& task) {
    if (error_ == cudaSuccess) error_ = launch_task(task, stream_);
  }

  void one(const Batch& batch) {
    const int64_t pieces = plan_.pieces;
    if (plan_.is_cut())
      go(CutPairs<T>{batch, p_.pairs, pieces, plan_.height, plan_.n, plan_.m,
                     plan_.joins_pieces() ? plan_.all_n : nullptr, plan_.seeds});
    if (plan_.in_corridors()) go(FindCorridors<T>{plan_.pairs(batch, 0), plan_.corridors});
    for (int64_t piece = 0; piece < pieces; piece++)
      forward(batch, piece, plan_.gradients && piece + 1 == pieces);
    if (plan_.joins_pieces() && error_ == cudaSuccess) error_ = launch_join(plan_.join(batch), stream_);
    if (p_.score || pieces > 1)
      go(CollectScores<T>{batch, pieces, plan_.scores, plan_.is_cut() ? plan_.seeds : nullptr,
                          plan_.joins_pieces() ? plan_.joined : nullptr, is_soft_dtw(p_.kind), p_.score,
                          pieces > 1 ? plan_.verdicts : nullptr});
    if (!plan_.gradients) return;
    for (int64_t piece = pieces; piece-- > 0;) {
      if (piece + 1 < pieces) forward(batch, piece, true);
      if (plan_.joins_pieces() && error_ == cudaSuccess)
        error_ = launch_seeds(plan_.seed(batch, piece), stream_);
      if (!plan_.tiny && error_ == cudaSuccess)
        error_ = cuda::backward(plan_.backward(batch, piece), stream_);
      weigh(batch, piece);
    }
  }

  void forward(const Batch& batch, int64_t piece, bool saves) {
    MakeArguments<T> make{plan_.tables_of(batch, piece), plan_.tables, plan_.zero};
    const int64_t blocks = plan_.heads * batch.count() * sides_of(make.pairs.rows) * tiles_along(make.pairs);
    go(make_tables<T>, std::max<int64_t>(blocks, 1), sizeof(MakeMemory<T>), make);
    if (error_ == cudaSuccess) error_ = cuda::forward(plan_.forward(batch, piece, saves), stream_);
  }

  void weigh(const Batch& batch, int64_t piece) {
    WeighArguments<T> a{};
    static_cast<Tables<T>&>(a) = plan_.tables_of(batch, piece);
    const int64_t cells = cells_of(a.pairs);
    a.gradients = plan_.tiny ? plan_.saved : plan_.of_tables;
    a.from_pair = plan_.tiny ? plan_.planes * cells : cells;
    a.from_head = plan_.tiny ? cells : batch.count() * cells;
    a.roots = plan_.has_roots() ? plan_.tables : nullptr;
    a.spoils = p_.grad_score ? nullptr : plan_.pieces > 1 ? plan_.verdicts : plan_.scores;
    a.weights = p_.grad_score;
    a.negligible = plan_.has_roots() ? T(0) : T(kNegligible<T>);
    a.factor = T((p_.kind == Kind::kSquares ? 2 : p_.kind == Kind::kCosines ? -1 : 1) * (p_.itself ? 2 : 1));
    const int per = plan_.per_thread();
    const auto blocks = [&](bool of_y) {
      return plan_.weigh_blocks(of_y && p_.others ? batch.ys : batch.xs,
                                of_y ? a.pairs.columns : a.pairs.rows);
    };
    a.sides[0] = {p_.d_x, batch.y > 0, plan_.slices(batch, false), plan_.parts[0]};
    a.sides[1] = {p_.d_y, (batch.x > 0 && p_.others) || piece + 1 < plan_.pieces, plan_.slices(batch, true),
                  plan_.parts[1]};
    a.blocks_x = p_.d_x ? blocks(false) * a.sides[0].slices : 0;
    const int64_t blocks_y = p_.d_y ? blocks(true) * a.sides[1].slices : 0;
    auto* kernel = per == 1 ? weigh_tables<T, 1> : weigh_tables<T, kFour>;
    if constexpr (most_per_thread<T>(Form::kDots) > kFour)
      if (per > kFour) kernel = weigh_tables<T, 2 * kFour>;
    go(kernel, a.blocks_x + blocks_y, sizeof(WeighMemory<T>), a);
    for (bool of_y : {false, true}) {
      const auto& side = a.sides[of_y];
      if (!side.d || side.slices == 1) continue;
      const int64_t steps = of_y ? a.steps_y : a.steps_x, first = of_y ? batch.y : batch.x;
      go(JoinSlices<T>{of_y ? batch.ys : batch.xs, steps, of_y ? 0 : a.first_row, of_y ? steps : a.pairs.rows,
                       a.pitch, side.slices, side.parts, side.d + first * steps * a.pitch, side.adds});
    }
  }

  const Plan<T>& plan_;
  const FeatureProblem<T>& p_;
  Stream stream_;
  Error error_ = cudaSuccess;
};

}  // namespace

template <class T>
int64_t workspace_bytes(const FeatureProblem<T>& problem) {
  return Plan<T>(problem).bytes;
}
template <class T>
Error score_features(const FeatureProblem<T>& problem, Stream stream) {
  const Plan<T> plan(problem);
  return Run<T>(plan, stream).all();
}
template <class T>
Error scale_gradients(const ScaledGradient<T>& problem, Stream stream) {
  return launch_task(ScaleMade<T>{problem}, stream);
}

int64_t table_bytes() {
  return device_bytes() / 16;
}
Error clear(void* data, int64_t bytes, Stream stream) {
  return set_zero(data, size_t(bytes), stream);
}

template int64_t workspace_bytes(const FeatureProblem<float>&);
template Error score_features(const FeatureProblem<float>&, Stream);
template Error scale_gradients(const ScaledGradient<float>&, Stream);
template int64_t workspace_bytes(const FeatureProblem<double>&);
template Error score_features(const FeatureProblem<double>&, Stream);
template Error scale_gradients(const ScaledGradient<double>&, Stream);
}  // namespace softdp::cuda
