// Sweeps of any size. A block of up to kMostWarps warps sweeps a band of as many strips of one pair; strips
// hand their last row down, within a band through shared memory, from band to band through global memory, a
// flag with every 16 columns. Bands take tickets, the first bands of all pairs before the second ones: the
// band above is then always finished or at work, whatever order the device starts blocks in, and with many
// pairs nobody waits.
//
// The warps of a block go in step, a barrier a round. In a round each makes one chunk, the strip below kLead
// chunks behind the strip above: what it takes was handed down in a round before.
#pragma once
#include "chain.h"
#include "kept.h"

namespace softdp::cuda {

constexpr int kMostWarps = 4;

SOFTDP_FN int64_t strips_of(int64_t rows) {
  return (rows + kStripRows - 1) / kStripRows;
}

// The pair's lengths; a pair whose lengths lie outside the table is empty and unfit.
struct Extent {
  int n, m;
  bool unfit;
};
SOFTDP_DEVICE Extent extent_of(const Pairs& pairs, int64_t pair) {
  const int64_t n = pairs.n(pair), m = pairs.m(pair);
  if (n < 0 || m < 0 || n > pairs.rows || m > pairs.columns) return {0, 0, true};
  return {int(n), int(m), false};
}

// What the weights' last cell (n, m) of a pair without a gradient says: NaN where the pair is spoiled, this
// where no path is left.
constexpr float kNoPath = -1;
// Where the numbers that are saved of a pair's cells lie, in a plane of it.
struct SavedPlaces {
  int64_t pitch;
  bool has_corridor;
  SOFTDP_DEVICE SavedPlaces(const Pairs& pairs, const Extent& size, bool has_corridor)
      : pitch(pairs.columns), has_corridor(has_corridor) {
    if (has_corridor) pitch = saved_pitch(Corridor::of(size.n, size.m, pairs.bandwidth));
  }
  SOFTDP_DEVICE int64_t of(int64_t row, int64_t column) const {
    return row * pitch + (has_corridor ? column % pitch : column);
  }
};
// That verdict, 0 or more of a pair with a gradient; kNoPath of a pair that has no cells.
template <class Keeps, class V>
SOFTDP_DEVICE V verdict_of(const V* saved, const Extent& size, const Pairs& pairs, bool has_corridor) {
  if (size.n == 0 || size.m == 0) return V(kNoPath);
  return Keeps::verdict(saved[SavedPlaces(pairs, size, has_corridor).of(size.n - 1, size.m - 1)]);
}

SOFTDP_DEVICE int clamp(int x, int low, int high) {
  return x < low ? low : x > high ? high : x;
}

// A block's part of shared memory. The warps' arrays lie behind it, as many as the launch asked for: fewer
// bytes are more blocks a multiprocessor.
template <class V, class Edge>
struct alignas(16) BandMemory {
  EdgeRing<Edge> rings[kMostWarps + 1];  // to each warp, and from the last one
  alignas(16) float addends[kMostWarps][kChunk];
  unsigned ticket;
  SOFTDP_DEVICE V* array(int warp, int arrays, int i) {
    return reinterpret_cast<V*>(this + 1) + (warp * arrays + i) * kArray;
  }
  // Where pairs have a bandwidth.
  SOFTDP_DEVICE StripColumns& columns(int warp, int warps, int arrays) {
    return reinterpret_cast<StripColumns*>(array(warps, arrays, 0))[warp];
  }
  static size_t bytes(int warps, int arrays, const Pairs& pairs) {
    return sizeof(BandMemory) + size_t(warps) * arrays * kArray * sizeof(V) +
           (pairs.bandwidth < 0 ? 0 : warps * sizeof(StripColumns));
  }
};

// What a band's kernel begins with: the block's memory, pair and band, and this warp's strip of it. Of a
// table seen from its end row 0 is the pair's last; within a bandwidth the pair's last column is moved().
// A kernel may know at compile time whether there is a bandwidth: kNever and kAlways.
enum class Has { kNever, kAlways, kEither };
template <class Arguments_, Has kCorridor_>
struct BandStrip {
  using Arguments = Arguments_;
  static constexpr Has kCorridor = kCorridor_;
  using V = typename Arguments::V;
  using Edge = typename Arguments::Edge;
  using Block = BandMemory<V, Edge>;
  static constexpr int kStep = Arguments::kIsAdjoint ? -1 : 1;  // the way through the table
  const Arguments& a;
  Block& block;
  int warp, lane;
  int64_t pair;
  int band;
  Extent size;
  int row0, rows;  // of the strip; rows is 0 or less where it lies below the pair's last row

  SOFTDP_DEVICE BandStrip(const Arguments& a, unsigned char* shared)
      : a(a),
        block(*reinterpret_cast<Block*>(shared)),
        warp(int(threadIdx.x) / kStripRows),
        lane(int(threadIdx.x) % kStripRows) {
    if (takes_tickets()) {
      if (threadIdx.x == 0) block.ticket = take_ticket(a.chain.tickets);
      sync_block();
    }
    find();
  }
  // Where the block was before: registers are short between a kernel's beginning and its end.
  SOFTDP_DEVICE void find() {
    const unsigned ticket = takes_tickets() ? block.ticket : blockIdx.x;
    const unsigned pairs = unsigned(a.pairs.count);  // no more than blocks
    pair = ticket % pairs;
    band = int(ticket / pairs);
    size = extent_of(a.pairs, pair);
    row0 = band * a.band.rows() + warp * kStripRows;
    rows = size.n - row0 < kStripRows ? size.n - row0 : kStripRows;
  }

  // Within a bandwidth, of a strip with rows: what columns() holds.
  SOFTDP_DEVICE StripColumns& columns() const {
    return block.columns(warp, a.band.warps, a.arrays_of_warp());
  }
  SOFTDP_DEVICE void find_columns() const {
    if (!has_corridor() || rows <= 0) return;
    const Corridor inside = Corridor::of(size.n, size.m, a.pairs.bandwidth);
    StripColumns& of = columns();
    const int last = row0 + rows - 1;
    const Columns own = inside_of(inside, lane < rows ? row0 + lane : last);
    of.rows[lane] = {lane < rows ? own.begin : own.end, own.end};
    if (lane == 0) {
      of.above = row0 > 0 ? handed_on(inside, row0 - 1) : own;
      of.below = handed_on(inside, last);
      of.begin = first_chunk(inside, row0), of.end = end_of_chunks(inside, row0, rows);
      of.pitch = int(saved_pitch(inside));
    }
    sync_warp();
  }
  SOFTDP_DEVICE int moved() const {
    return Arguments::kIsAdjoint && has_corridor() ? -size.m & (kFour - 1) : 0;
  }
  SOFTDP_DEVICE bool has_corridor() const {
    return kCorridor == Has::kEither ? a.pairs.bandwidth >= 0 : kCorridor == Has::kAlways;
  }
  // Calls run(std::integral_constant<Has, k>()) with what there is, kNever or kAlways.
  template <class Run>
  SOFTDP_DEVICE void if_corridor(Run run) const {
    if constexpr (kCorridor != Has::kNever)
      if (has_corridor()) {
        stay_here();
        return run(std::integral_constant<Has, Has::kAlways>());
      }
    if constexpr (kCorridor != Has::kAlways) {
      stay_here();
      run(std::integral_constant<Has, Has::kNever>());
    }
  }
  // The columns of a lane's part of a block; of the whole strip; of what the row above hands on.
  template <Has k = kCorridor>
  SOFTDP_DEVICE auto columns_of(const Part& part) const {
    if constexpr (k == Has::kAlways)
      return Columns{columns().rows[part.row].begin, columns().rows[part.row + kFour - 1].end};
    else
      return FirstColumns{size.m};
  }
  template <Has k = kCorridor>
  SOFTDP_DEVICE auto all_columns() const {
    if constexpr (k == Has::kAlways)
      return Columns{columns().rows[0].begin, columns().rows[kStripRows - 1].end};
    else
      return FirstColumns{size.m};
  }
  template <Has k = kCorridor>
  SOFTDP_DEVICE auto above() const {
    if constexpr (k == Has::kAlways)
      return columns().above;
    else
      return FirstColumns{size.m};
  }
  // The columns that the strip's last row hands on.
  template <Has k = kCorridor>
  SOFTDP_DEVICE auto below() const {
    if constexpr (k == Has::kAlways)
      return columns().below;
    else
      return FirstColumns{size.m};
  }
  // The lane, with the columns of its row.
  template <Has k = kCorridor>
  SOFTDP_DEVICE auto own_lane() const {
    if constexpr (k == Has::kAlways)
      return columns().lane(lane);
    else
      return Lane{lane, lane, lane < rows ? size.m : 0};
  }
  // Whether a row's first column is the table's.
  SOFTDP_DEVICE bool begins(int row) const { return !has_corridor() || columns().rows[row].begin == moved(); }
  // What loads or stores the strip's rows of a plane of what is saved. turned() gives it for a block: within
  // a bandwidth its numbers lie elsewhere than in a row that has one for each column.
  template <class BlocksOf, class T>
  SOFTDP_DEVICE BlocksOf blocks_of(T* plane, const Part& part) const {
    const int64_t pitch = has_corridor() ? columns().pitch : a.pairs.columns;
    BlocksOf blocks({plane + first_row() * pitch + first_column(), kStep * pitch, kStep}, part);
    blocks.row = kStep * a.pairs.columns;  // a register less than with a pitch of its own
    return blocks;
  }
  template <Has k = kCorridor, class BlocksOf>
  SOFTDP_DEVICE BlocksOf turned(BlocksOf blocks, const Part& part, int block) const {
    if (k == Has::kNever) return blocks;
    blocks.row = kStep * columns().pitch;
    blocks.first -= turn(part.first_of(block, BlocksOf::kFirst));
    return blocks;
  }
  // Within a bandwidth, how many columns before its place in a row that has a number for each column the
  // number of a column is saved. `first` is the first one of four.
  SOFTDP_DEVICE int64_t turn(int first) const {
    const int pitch = columns().pitch,
              column = kStep > 0 ? first : first_column() + 1 - kFour - first;  // in memory
    return column > 0 ? unsigned(column) / unsigned(pitch) * int64_t(pitch) : 0;
  }
  // The table's row and column that the strip begins with.
  SOFTDP_DEVICE int first_row() const { return kStep > 0 ? row0 : size.n - 1 - row0; }
  SOFTDP_DEVICE int first_column() const { return kStep > 0 ? 0 : size.m - 1 + moved(); }

  SOFTDP_DEVICE V* array(int arrays, int i) const { return block.array(warp, arrays, i); }
  // Among the strips of all pairs. The division is unsigned: it is a shift then.
  SOFTDP_DEVICE int64_t strip() const { return pair * strips_of(a.pairs.rows) + unsigned(row0) / kStripRows; }
  SOFTDP_DEVICE bool is_last() const { return rows > 0 && row0 + rows == size.n; }
  // Whether the band has rows of the pair at all.
  SOFTDP_DEVICE bool is_at_work() const { return size.m > 0 && band * a.band.rows() < size.n; }

  // From the strip above, and to the one below, within the block.
  SOFTDP_DEVICE EdgeRing<Edge>& ring_in() const { return block.rings[warp]; }
  SOFTDP_DEVICE EdgeRing<Edge>& ring_out() const { return block.rings[warp + 1]; }
  // From the band above, and to the one below; nothing within the block and at the pair's ends.
  SOFTDP_DEVICE Row<Edge> in() const { return warp == 0 && row0 > 0 ? between_bands(band - 1) : Row<Edge>(); }
  SOFTDP_DEVICE Row<Edge> out() const {
    return warp == a.band.warps - 1 && !is_last() ? between_bands(band) : Row<Edge>();
  }

  // The block's way through its columns. All warps take part in the rounds' barriers; a warp's blocks come in
  // one chunk ahead and leave one behind. arrive(c): the block of chunk c is there; leave(c) stores what
  // chunk c has finished and carries the rest over; start(c) sets out to fetch; sweep(c) makes its steps.
  // Blocks before the first chunk and after the last lie outside the table: nothing is read or written.
  // Within a bandwidth the rounds begin with the first strip's first chunk and end with the last strip's
  // last.
  template <class Start, class Arrive, class Leave, class Sweep>
  SOFTDP_DEVICE void go(Start start, Arrive arrive, Leave leave, Sweep sweep) const {
    const int left = size.n - band * a.band.rows(), strips = (left + kStripRows - 1) / kStripRows,
              warps = strips < a.band.warps ? strips : a.band.warps;
    int first = 0, most = chunks_of(left < kStripRows ? left : kStripRows), own = -kLead;
    if (has_corridor()) {
      const Corridor inside = Corridor::of(size.n, size.m, a.pairs.bandwidth);
      const int last_row0 = band * a.band.rows() + (warps - 1) * kStripRows, last_rows = size.n - last_row0;
      first = first_chunk(inside, band * a.band.rows());
      most = end_of_chunks(inside, last_row0, last_rows < kStripRows ? last_rows : kStripRows) - first;
    }
    if (rows > 0) own = has_corridor() ? columns().end : chunks_of(rows);
    const int rounds = most + 2 + kLead * (warps - 1);  // the last window leaves in two parts
    const int begin = has_corridor() && rows > 0 ? columns().begin : 0;
    if (own > 0) start(begin);
    int c = first - kLead * warp;
    const int end = c + rounds;
    for (; c < begin && c < end; c++)
      if (a.band.warps > 1) sync_block();
    for (; c < end; c++) {
      if (a.band.warps > 1) sync_block();
      if (c > own + 1) continue;
      arrive(c);
      sync_warp();
      leave(c - 1);
      sync_warp();
      start(c + 1);
      if (c < own) sweep(c);
    }
    copy_async_wait();
  }
  SOFTDP_DEVICE int chunks_of(int strip_rows) const {
    return (size.m + strip_rows - 1 + kChunk - 1) / kChunk;
  }

 private:
  SOFTDP_DEVICE Columns inside_of(const Corridor& inside, int row) const {
    return {int(inside.begin(row)) + moved(), int(inside.end(row)) + moved()};
  }
  SOFTDP_DEVICE Columns handed_on(const Corridor& inside, int row) const {
    const Columns of = inside_of(inside, row);
    return {of.begin, of.end + (Arguments::kIsAdjoint && of.end < size.m + moved())};
  }
  // The first lane's first cell takes one from the column before it.
  SOFTDP_DEVICE int first_chunk(const Corridor& inside, int row0) const {
    const int begin = inside_of(inside, row0).begin;
    return begin > 0 ? (begin - 1) / kChunk : 0;
  }
  SOFTDP_DEVICE int end_of_chunks(const Corridor& inside, int row0, int rows) const {
    return (handed_on(inside, row0 + rows - 1).end + rows - 1 + kChunk - 1) / kChunk;
  }
  SOFTDP_DEVICE bool takes_tickets() const { return a.pairs.rows > a.band.rows(); }
  SOFTDP_DEVICE Row<Edge> between_bands(int upper) const {
    const int64_t bands = a.band.bands_of(a.pairs.rows);
    Edge* edges = a.chain.edges + pair * Chain<Edge>::edges_of(a.pairs, bands - 1);
    const int64_t pitch =
        has_corridor() ? edge_pitch(Corridor::of(size.n, size.m, a.pairs.bandwidth)) : a.pairs.columns;
    edges += upper * pitch;
    return {edges, a.chain.flags + pair * bands + upper};
  }
};

// The steps of a chunk where edges are handed on as they are. steps(chunk, full, above, below) makes them:
// above holds the edges of the chunk's columns, below receives those of the strip's last row. first: the edge
// of the first column where nothing is above. Rows of edges begin with that column.
template <class Strip, class Edge, class Steps>
SOFTDP_DEVICE void sweep_edges(const Strip& at, int chunk, const Edge& first, const Row<Edge>& in,
                               const Row<Edge>& out, Steps steps) {
  const int t0 = chunk * kChunk, begin = at.moved(), m = at.size.m + begin, lane = at.lane, rows = at.rows;
  Edge* const above = at.ring_in().of_taker(chunk);
  if (at.warp == 0) {
    const int column = t0 + lane;
    const auto given = at.above();
    Edge edge = column == begin ? first : Edge();
    if (t0 < given.end && in.edges) {
      in.wait(t0 + kChunk < given.end ? t0 + kChunk : given.end, lane);
      if (lane < kChunk && given.has(column)) edge = in.edges[column - begin];
    }
    if (lane < kChunk) above[lane] = edge;
    sync_warp();
  } else if (at.has_corridor()) {
    if (lane < kChunk && !at.above().has(t0 + lane)) above[lane] = Edge();  // the strip above did not
    sync_warp();
  }
  const Given<Edge> below(at.ring_out(), chunk);
  steps(chunk, rows == kStripRows && t0 >= kStripRows - 1 && t0 + kChunk <= m, above, below);
  if (out.edges) {
    sync_warp();
    const int given = t0 - (rows - 1), column = given + lane;
    if (lane < kChunk && at.below().has(column)) out.edges[column - begin] = below[lane];
    out.given(clamp(given + kChunk, 0, m), lane);
  }
}

}  // namespace softdp::cuda
