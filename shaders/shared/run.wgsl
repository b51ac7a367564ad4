// How running sums are kept.

// Additions in a row before a running sum is put aside: errors grow with this number plus the
// number of such runs, not with their product.
const RUN: u32 = 16u;
