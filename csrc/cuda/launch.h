// What the launchers share: how large bands are, and what lies where in a workspace.
#pragma once
#include <algorithm>

#include "bands.h"
#include "boundary.h"
#include "ends.h"
#include "relay.h"

namespace softdp::cuda {

constexpr Error kBadProblem = cudaErrorInvalidValue;

inline bool fits_int(const Pairs& pairs) {
  constexpr int64_t kMost = int64_t(1) << 30;  // steps t and columns are ints
  return pairs.rows <= kMost && pairs.columns <= kMost;
}

// As many warps a block as the device's shared memory holds and as there are strips.
template <class V, class Edge>
BandSize band_for(const Pairs& pairs, int arrays) {
  const size_t most = shared_bytes_per_block();
  int warps = kMostWarps;
  while (warps > 1 &&
         (warps > strips_of(pairs.rows) || BandMemory<V, Edge>::bytes(warps, arrays, pairs) > most))
    warps--;
  return {warps};
}
// Of first-order sweeps: one size for every number of arrays.
template <class V>
BandSize band_for(const Pairs& pairs) {
  return band_for<V, typename Maxima<V, true>::Wide::State>(pairs, 3);
}

// Arrays one after the other in a workspace; on a null one the sum of their sizes.
class Workspace {
 public:
  explicit Workspace(void* workspace) : start_(static_cast<char*>(workspace)) {}
  template <class Number>
  Number* take(int64_t numbers) {
    Number* const array = reinterpret_cast<Number*>(start_ + bytes_);
    bytes_ += (numbers * int64_t(sizeof(Number)) + 15) / 16 * 16;
    return array;
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* start_;
  int64_t bytes_ = 0;
};

inline Type type_of(const Forward& p) {
  return p.tables[0].type;
}
inline Type type_of(const Backward& p) {
  return p.sinks[0].type;
}
inline Type type_of(const TangentSweep& p) {
  return p.type;
}
inline Type type_of(const ProductSweep& p) {
  return p.type;
}
template <class Problem>
Regime regime_of(const Problem& p) {
  return {p.recurrence, type_of(p), p.gamma, p.pairs.rows, p.pairs.columns, p.ends, p.pairs.bandwidth};
}
inline bool is_tiny(const Forward& p) {
  return regime_of(p).is_tiny() && !p.boundary.any() && p.saves == Saves::kGradients;
}
inline bool is_tiny(const Backward& p) {
  return regime_of(p).is_tiny() && !p.weights;
}

// Whether blocks of relay.h take the pairs' strips: where each may have a multiprocessor. With more pairs
// bands.h does more in the same time. Tickets keep blocks in order wherever a device starts them. Pairs with
// a bandwidth take bands.h, which leaves out what lies outside.
inline bool has_few(const Pairs& pairs) {
  return kHasWords && pairs.bandwidth < 0 && pairs.count > 0 && pairs.columns > 0 &&
         pairs.count <= multiprocessors() / relay_strips(pairs.rows) &&
         kRelayBytes <= shared_bytes_per_block();
}
inline bool is_relay(const Forward& p) {
  return p.tables[0].type != Type::kFloat64 && p.gamma > 0 && p.saves != Saves::kFullWeights &&
         has_few(p.pairs);
}
// Gradients of gaps that are summed over rows only take bands.h, and so do paths that may end in the last
// column: in relay.h a row receives nothing before its first cell.
inline bool is_relay(const Backward& p) {
  const auto is_summed = [](const Sink& sink) { return sink.data && sink.every_column && !sink.every_row; };
  return p.sinks[0].type != Type::kFloat64 && p.ends != Ends::kLastRowAndColumn && !is_summed(p.sinks[1]) &&
         !is_summed(p.sinks[2]) && has_few(p.pairs);
}

// What strips or bands hand each other, in a workspace.
template <class Edge>
void take_chain(Workspace& space, const Pairs& pairs, bool is_relay, BandSize band, Chain<Edge>& chain,
                RelayChain<Edge>& relay) {
  if constexpr (kHasRelay<Edge>)
    if (is_relay) {
      relay = RelayChain<Edge>(space.take<char>(RelayChain<Edge>::bytes(pairs)));
      return;
    }
  chain = Chain<Edge>::in(space.take<char>(Chain<Edge>::bytes(pairs, band)), pairs, band);
}

// Numbers for the ends of all pairs, in a workspace: of the last row and of the last column.
template <class Number>
void take_ends(Workspace& space, const Pairs& pairs, Ends ends, Number* (&taken)[2]) {
  if (has_ends_in(kInRow, ends)) taken[kInRow] = space.take<Number>(pairs.count * pairs.columns);
  if (has_ends_in(kInColumn, ends)) taken[kInColumn] = space.take<Number>(pairs.count * pairs.rows);
}

template <class V, bool kSoft>
struct ForwardSpace {
  using State = typename Maxima<V, kSoft>::Wide::State;
  BandSize band;
  Chain<State> chain{};
  RelayChain<State> relay{};
  State* edges[2] = {};  // S on the boundary, where gaps count there
  State* ends[2] = {};   // S at the ends of paths, where there are several
  int64_t bytes;
  explicit ForwardSpace(const Forward& p) : band(band_for<V>(p.pairs)) {
    Workspace space(p.workspace);
    take_chain(space, p.pairs, is_relay(p), band, chain, relay);
    if (p.start == Start::kGaps) {
      edges[kLeft] = space.take<State>(p.pairs.count * p.pairs.rows);
      edges[kAbove] = space.take<State>(p.pairs.count * p.pairs.columns);
    }
    take_ends(space, p.pairs, p.ends, ends);
    bytes = space.bytes();
  }
};

// The strips' sums of gap i, numbers: 0 where there are none.
inline int64_t partial_size(const Backward& p, int i) {
  const Sink& sink = p.sinks[i];
  if (!sink.data || sink.every_row) return 0;
  return p.pairs.count * strips_of(p.pairs.rows) * (sink.every_column ? p.pairs.columns : 1);
}
template <class V>
struct BackwardSpace {
  BandSize band;
  Chain<V> chain{};
  RelayChain<V> relay{};
  V* partial[2];
  V* by_ends[2] = {};  // what the ends of paths receive of the score, where there are several
  BoundaryGradient<V> boundary;
  int64_t bytes;
  explicit BackwardSpace(const Backward& p) : band(band_for<V>(p.pairs)) {
    Workspace space(p.workspace);
    take_chain(space, p.pairs, is_relay(p), band, chain, relay);
    for (int i = 1; i < 3; i++) partial[i - 1] = space.take<V>(partial_size(p, i));
    boundary.by_last_row = static_cast<const V*>(p.boundary.by_last_row);
    boundary.by_above = static_cast<V*>(p.boundary.by_above);
    boundary.by_last_column = static_cast<const V*>(p.boundary.by_last_column);
    if (!p.is_piece && p.ends != Ends::kCorner) {
      take_ends(space, p.pairs, p.ends, by_ends);
      boundary.by_last_row = by_ends[kInRow], boundary.by_last_column = by_ends[kInColumn];
    }
    if (p.start == Start::kGaps) {
      boundary.by_left = space.take<V>(p.pairs.count * p.pairs.rows);
      boundary.by_left_diagonal = space.take<V>(p.pairs.count * p.pairs.rows);
      boundary.by_above = space.take<V>(p.pairs.count * p.pairs.columns);
    }
    bytes = space.bytes();
  }
};

template <class Recurrence, class V>
struct TangentSpace {
  static constexpr int kArrays = Recurrence::Packing::kNumbers + Recurrence::kTables;
  BandSize band;
  Chain<V> chain;
  V* edges[2] = {};
  V* ends[2] = {};
  int64_t bytes;
  explicit TangentSpace(const TangentSweep& p) : band(band_for<V, V>(p.pairs, kArrays)) {
    Workspace space(p.workspace);
    chain = Chain<V>::in(space.take<char>(Chain<V>::bytes(p.pairs, band)), p.pairs, band);
    if (p.start == Start::kGaps) {
      edges[kLeft] = space.take<V>(p.pairs.count * p.pairs.rows);
      edges[kAbove] = space.take<V>(p.pairs.count * p.pairs.columns);
    }
    take_ends(space, p.pairs, p.ends, ends);
    bytes = space.bytes();
  }
};
template <class Recurrence, class V>
struct ProductSpace {
  static constexpr int kArrays = 2 * Recurrence::Packing::kNumbers;
  BandSize band;
  Chain<Dual<V>> chain;
  BoundaryGradient<V> boundary;
  Dual<V>* by_above = nullptr;
  Dual<V>* by_ends[2] = {};
  int64_t bytes;
  explicit ProductSpace(const ProductSweep& p) : band(band_for<V, Dual<V>>(p.pairs, kArrays)) {
    Workspace space(p.workspace);
    chain = Chain<Dual<V>>::in(space.take<char>(Chain<Dual<V>>::bytes(p.pairs, band)), p.pairs, band);
    take_ends(space, p.pairs, p.ends, by_ends);
    if (p.start == Start::kGaps) {
      boundary.by_left = space.take<V>(p.pairs.count * p.pairs.rows);
      boundary.by_left_diagonal = space.take<V>(p.pairs.count * p.pairs.rows);
      by_above = space.take<Dual<V>>(p.pairs.count * p.pairs.columns);
    }
    bytes = space.bytes();
  }
};

// Clears what strips hand each other and launches them.
template <class Arguments>
Error launch_relay(void (*kernel)(Arguments), size_t shared, const Arguments& a, Stream stream) {
  const int64_t bytes = RelayChain<typename Arguments::Edge>::bytes(a.pairs);
  const Error error = set_zero(a.relay.tickets, size_t(bytes), stream);
  if (error != cudaSuccess) return error;
  return launch(kernel, a.pairs.count * relay_strips(a.pairs.rows), kRelayThreads, shared, stream, a);
}

// Blocks that do not find room at once come in waves. Of so many blocks, of which a multiprocessor holds
// `at_once`, how many it is to hold: where they come in two waves, as many in the second as in the first. Of
// eight blocks of a multiprocessor five and then three would leave more of its memory's time unused than four
// and four: 3% is predicted, nothing was measured.
inline int even_waves(int64_t blocks, int64_t processors, int at_once) {
  if (processors <= 0 || at_once <= 1) return at_once;
  const int64_t room = processors * at_once;
  return blocks > room && blocks <= 2 * room ? int((blocks + 2 * processors - 1) / (2 * processors))
                                             : at_once;
}

// Clears a chain's flags and launches its bands.
template <class Arguments>
Error launch_bands(void (*kernel)(Arguments), int arrays, const Arguments& a, Stream stream) {
  using Edge = typename Arguments::Edge;
  using Block = BandMemory<typename Arguments::V, Edge>;
  const Error error = set_zero(a.chain.tickets, size_t(Chain<Edge>::flag_bytes(a.pairs, a.band)), stream);
  if (error != cudaSuccess) return error;
  const int64_t blocks = a.pairs.count * a.band.bands_of(a.pairs.rows);
  const int threads = a.band.rows();
  size_t shared = Block::bytes(a.band.warps, arrays, a.pairs);
  if (blocks > multiprocessors() && !a.pairs.has_lengths()) {
    const int at_once = blocks_at_once(kernel, threads, shared);
    const int even = even_waves(blocks, multiprocessors(), at_once);
    if (even < at_once) shared = std::max(shared, shared_for(even));
  }
  return launch(kernel, blocks, threads, shared, stream, a);
}

// ---- what the .cu files compile ------------------------------------------------------------------------

template <class V>
Error sweep_forward(const Forward& problem, Stream stream);
template <class Recurrence, class V>
Error sweep_backward(const Backward& problem, Stream stream);
Error relay_forward(const Forward& problem, Stream stream);
template <class Recurrence>
Error relay_backward(const Backward& problem, Stream stream);
Error sweep_tiny_pairs(const Forward& problem, Stream stream);
Error scale_tiny_pairs(const Backward& problem, Stream stream);
template <class Recurrence, class V>
Error sweep_tangents(const TangentSweep& problem, Stream stream);
template <class Recurrence, class V>
Error sweep_products(const ProductSweep& problem, Stream stream);
// Of recurrences with several states a cell, by family (several.h) and by the type V of the arithmetic.
template <class Family>
struct SeveralSweeps {
  template <class V>
  static int64_t bytes(const Forward& problem);
  template <class V>
  static int64_t bytes(const Backward& problem);
  template <class V>
  static int64_t bytes(const TangentSweep& problem);
  template <class V>
  static int64_t bytes(const ProductSweep& problem);
  template <class V, class Problem>
  static Error sweep(const Problem& problem, Stream stream);
};

}  // namespace softdp::cuda
