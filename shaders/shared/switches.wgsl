// What tells one pipeline of a kernel from another; src/kernels/switches.rs has the same in Rust.

// Threads of one workgroup; a multiple of RADIX in threads.wgsl.
override WORKGROUP_SIZE: u32 = 256u;

// Threads that walk one stream of consecutive vec4 together; a power of two, at most WORKGROUP_SIZE.
override STREAM_WIDTH: u32 = 8u;

// The base optimizer.
override BASE: u32 = 0u;
const SGD: u32 = 0u;
const MOMENTUM: u32 = 1u;
const NESTEROV: u32 = 2u;
const ADAM: u32 = 3u;
const ADAMW: u32 = 4u;
const SOPHIA: u32 = 5u;
const LION: u32 = 6u;

// How the event that the dispatch belongs to turns N; outside events not at all.
override ROTATION: u32 = 0u;
const NO_ROTATION: u32 = 0u;
const BY_GRADIENT: u32 = 1u;
const BY_RAYLEIGH_RITZ: u32 = 2u;


// What the step does along N.
override TRANSLATION: u32 = 0u;
const NO_TRANSLATION: u32 = 0u;
const PROJECT: u32 = 1u;
const SADDLE_FREE: u32 = 2u;
const CLIMB: u32 = 3u;

// From which gradients a product is made. CENTRAL: a pair on both sides of the centre, with the minus side in
// `gradient`. EXACT: `probe_gradient` is the product itself.
override DIFFERENCE: u32 = 0u;
const FORWARD: u32 = 0u;
const CENTRAL: u32 = 1u;
const EXACT: u32 = 2u;

// Whether the displacement is a fraction of the norm of the parameters, and whether the kernels adapt it.
override DISPLACEMENT: u32 = 0u;
const ABSOLUTE: u32 = 0u;
const RELATIVE: u32 = 1u;
const AUTOMATIC: u32 = 2u;

// Where the learning rate comes from. CURVATURE: it is the last one times a factor. MEASURED: this step measures
// it anew.
override LEARNING_RATE: u32 = 0u;
const FIXED: u32 = 0u;
const CURVATURE: u32 = 1u;
const MEASURED: u32 = 2u;

// Whether the learning rate is measured by two steps on one minibatch.
override REPEATED: bool = false;

// Whether the step uses N, whether the dispatch moves the parameters, and whether the step measures nothing of
// its gradient.
override DIMER: bool = false;
override MOVES: bool = false;
override UNGUARDED: bool = false;

// Of a rotation by Rayleigh-Ritz: whether the basis holds more than n, whether it holds p too, and the next
// one's does; whether this is the event's last rotation, whether the event measures along p, in one rotation,
// and whether an earlier rotation may have been enough.
override HAS_FORCE: bool = false;
override HAS_DIRECTION: bool = false;
override NEXT_DIRECTION: bool = false;
override LAST: bool = false;
override KEEPS_DIRECTION: bool = false;
override STOPS: bool = false;
// The vector of the workspace that hessian_product writes.
override VECTOR: u32 = 0u;

// Whether sum_tiles has added the partials of all tiles before.
override SUMMED: bool = false;

// Whether the dispatch belongs to the probe at twice the distance.
override FAR: bool = false;
