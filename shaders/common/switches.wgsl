// What tells one pipeline of a kernel from another; set by src/kernels/mod.rs.

// Threads of one workgroup; a multiple of RADIX in threads.wgsl.
override WORKGROUP_SIZE: u32 = 256u;
// Whether N is used at all, and whether the dispatch belongs to an event that turns it.
override DIMER: bool = false;
override ROTATION: bool = false;
// Whether the dispatch moves the parameters.
override TRANSLATION: bool = false;
// Whether the translation is saddle-free or climbs, or else the projection.
override SADDLE_FREE: bool = false;
override CLIMB: bool = false;
// The base optimizer: Adam and AdamW, or Sophia, or SGD.
override ADAM: bool = false;
override SOPHIA: bool = false;
override DECOUPLED_DECAY: bool = false;
override MOMENTUM: bool = false;
override NESTEROV: bool = false;
// The rotation by Rayleigh-Ritz: whether the step is one of its events, and within one, whether the
// basis holds more than n, whether it holds p too, whether this is the event's last rotation, and
// whether an earlier one may have been enough.
override RITZ: bool = false;
override FORCE: bool = false;
override DIRECTION: bool = false;
override LAST: bool = false;
// Whether the event measures along p at all, in one rotation.
override AIMS: bool = false;
override STOPS: bool = false;
// Whether the step measures nothing of its gradient.
override UNGUARDED: bool = false;
// The workspace vector that measure writes.
override SLOT: u32 = 0u;
// Whether the displacement is a fraction of the norm of the parameters, whether the kernels adapt
// that fraction, and whether this dispatch belongs to the probe at twice the distance.
override RELATIVE: bool = false;
override AUTOMATIC: bool = false;
override FAR: bool = false;
// Whether the gradients are a pair on both sides of the centre, with the minus side in `gradient`,
// and whether `probe_gradient` is the product itself.
override CENTRAL: bool = false;
override EXACT: bool = false;
