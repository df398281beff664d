// The structs that the kernels of differences.h take: differences of all pairs of steps. This file does not
// use PyTorch.
//
//   products   out(i,j) = (x_i - y_j) . (u_i - w_j);   with u = x and w = y the squared distances
//   sums       out_x(i) = scale sum_j g(i,j) (x_i - y_j),   out_y(j) = -scale sum_i g(i,j) (x_i - y_j)
//
// The derivatives of each are made of both, so the two give derivatives of every order. Both subtract before
// they multiply: |x_i|^2 + |y_j|^2 - 2 x_i . y_j loses a small difference of large positions.
//
// With `relative` the squared distances are computed in that form all the same: it is faster where there are
// more than kFewFeatures features. Steps are taken relative to one of them. A distance that is small beside
// the lengths of its steps is computed again from differences. Each distance is then right to some 2e-6 of
// itself at 1024 features.
#pragma once
#include <cstdint>

namespace softdp::cpu {

// All arrays are contiguous, and all float or all double. x and u are (pairs, rows, features); y and w are
// (pairs, columns, features).
struct Differences {
  int64_t pairs, rows, columns, features;
  int64_t pitch;  // from row to row of `weights` and of products' `out`: `columns`, or more where pairs is 1
  const void *x, *y;
  const void *u, *w;    // products; both null: x and y
  const void* weights;  // sums: g, (pairs, rows, columns)
  void* out;            // products: (pairs, rows, columns)
  void* out_x;          // sums: (pairs, splits, rows, features); null: not wanted
  void* out_y;          // sums: (pairs, columns, features); null: not wanted
  int64_t splits;       // sums: the columns are summed in so many parts
  bool relative;        // products, of squared distances: see above
  bool absolute;        // products: of |x - y|, feature by feature; sums: of its sign in place of x - y
  double scale;         // sums
  bool adds;            // sums: adds to out_x and out_y
  double negligible;    // sums: weights up to this magnitude may be left out
};

// Some rows of a pair's products, or the columns of one split of its sums.
struct Part {
  int64_t pair, begin, end, split;
  void* scratch;  // difference_scratch_bytes(), aligned to 64
};

constexpr int64_t kFewFeatures = 12;  // up to so many, differences are as fast as products
constexpr int64_t kTileBytes = 256, kTileRows = 4;
constexpr int64_t kPartRows = 256;  // rows of a part of products, at most
constexpr int64_t kBlock = 128;     // steps of x and of y whose sums are made together, in the L2 cache
constexpr int64_t kPadding = 64;    // bytes after a row of kBlock numbers
// Bytes of scratch, for sums over so many columns and for any products.
inline int64_t difference_scratch_bytes(int64_t features, int64_t columns, int64_t bytes_of_number) {
  const int64_t blocks = (columns + kBlock - 1) / kBlock,
                products = 2 * (features + 1) * kTileBytes + kPartRows * (features + 1) * bytes_of_number,
                sums = 2 * kBlock * kBlock * bytes_of_number +
                       2 * (blocks + 1) * features * (kBlock * bytes_of_number + kPadding);
  return products > sums ? products : sums;
}

}  // namespace softdp::cpu
