// Structures and constants that the fused kernels share with the host; in Rust: src/kernels/gpu_types.rs.
// builds on: partial

// Records in the ring of step results.
const RING: u32 = 1024u;
// vec4 of one block: the unit in which elements are assigned to a group.
const BLOCK_VECTORS: u32 = 16u;
// Entries of the group table.
const MAX_GROUPS: u32 = 256u;
// Rows of four in the tile table.
const MAX_TILE_ROWS: u32 = 512u;
// Events over which the curvature is smoothed.
const CURVATURES: u32 = 4u;
// Bits of `Record.status`.
const EVENT: u32 = 1u;
const SKIPPED: u32 = 2u;
const WRITTEN: u32 = 4u;
const UNMEASURED: u32 = 8u;
const RATE_MEASURED: u32 = 64u;
const RATE_LOST: u32 = 128u;
// What becomes of a measurement of the rate: there is nothing to measure, it is there, or it is lost, since a gradient
// was not finite.
const NOTHING: u32 = 0u;
const MEASUREMENT: u32 = 1u;
const LOST: u32 = 2u;
// The bits of a loss that no objective has written.
const UNWRITTEN: u32 = 0x7fd13e57u;
// Where `Record.status` holds the reason why a rotation stopped, and the reasons.
const STOP_SHIFT: u32 = 4u;
const BY_RESIDUAL: u32 = 1u;
const BY_ANGLE: u32 = 2u;

// The hyperparameters of one step; rounded from f64 by the host.
struct Step {
    index: u32,
    tiles: u32,
    // With a rate from curvature, the factor on the base rate.
    learning_rate: f32,
    momentum: f32,
    beta1_complement: f32,
    beta2: f32,
    beta2_complement: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
    // 0 when the gradient is not clipped.
    max_gradient_norm: f32,
    // 0 when the rate is automatic.
    rotation_rate: f32,
    alpha: f32,
    only_negative_curvature: u32,
    // The distance, or its least value when it is a fraction of the norm of the parameters.
    displacement: f32,
    displacement_factor: f32,
    // Times the learning rate, the longest saddle-free step along N.
    trust: f32,
    damping: f32,
    // The least share of that length that a step takes.
    kick: f32,
    // How many standard errors below zero the smoothed curvature must lie.
    significance: f32,
    // Of Sophia: what the mean square is multiplied by.
    rho: f32,
    // |F| / |C| and radians at which a rotation was enough.
    stop_residual: f32,
    stop_angle: f32,
    // Seed of the signs with which regions are displaced.
    seed: u32,
    // 1 / sqrt(B) for B regions that the dimer reaches, and how many there are in all.
    region_scale: f32,
    regions: u32,
    // How many of them have several pieces.
    several: u32,
    // 1 / sqrt(n) for n elements that the dimer reaches.
    inverse_root_length: f32,
    // The factor by which the objective's gradients are too large, and its inverse; powers of two.
    loss_scale: f32,
    gradient_scale: f32,
    // Of a learning rate from curvature: what the base rate starts from, the multiple of the rate that leads to the
    // lowest point, the distance of the probe as a share of 1 + |params|, and how many measurements the burn-in has.
    initial_rate: f32,
    rate_scale: f32,
    rate_displacement: f32,
    rate_burn_in: u32,
    // The record of the first of two steps on one minibatch, where the step is the second.
    first: u32,
    // Most that a rate may be: with it, decoupled weight decay takes a parameter to 0.
    rate_bound: f32,
    // 1, or -1 where events seek the stiffest direction: the softest of -H.
    mode_sign: f32,
    // Of alternating evaluations: how much of the last turn goes into the next.
    turn_momentum: f32,
    // Of the longest update: with Adam a shorter one counts as that long. Otherwise 0.
    shortest_update: f32,
}

// The part of the vectors that one dispatch covers.
struct Shard {
    // Index of its first tile in the whole vector.
    first_tile: u32,
    // vec4 of one tile.
    tile_vectors: u32,
    // vec4 of the shard.
    vectors: u32,
    // Its pieces, where the scope is not global.
    first_piece: u32,
    end_piece: u32,
    // Always 0, which no compiler knows: see scaled.wgsl.
    zero: u32,
    // The tile whose workgroup writes what there is once: the first of the device.
    leading_tile: u32,
    padding: u32,
}

// What the layout says about groups and tiles.
struct Tables {
    groups: array<Group, MAX_GROUPS>,
    // For each tile, the word that all its blocks share, or 0 where they differ or are not full.
    tiles: array<vec4u, MAX_TILE_ROWS>,
}

struct Group {
    learning_rate_scale: f32,
    weight_decay: f32,
    // 1 where the dimer acts, else 0.
    dimer: u32,
    padding: u32,
}

// What a kernel has to know about one vec4: its group, and which lanes hold elements. The others are
// padding, whatever a gradient has there.
struct Place {
    group: Group,
    valid: vec4<bool>,
}

// Factors of the base optimizer that are the same for all elements of one step.
struct BaseFactors {
    learning_rate: f32,
    // 1/(1 - beta1^t) and 1/sqrt(1 - beta2^t)
    first: f32,
    second: f32,
}

// What one step found, and what it does to every element.
struct Outcome {
    record: Record,
    // N' = keep N + turn d
    keep: f32,
    turn: f32,
    // g = clip g1 - correction N'
    clip: f32,
    correction: f32,
    // The step along N' besides that of the base optimizer.
    shift: f32,
}

// What the element-wise pass of a step needs to know, computed once.
struct Applied {
    // N' = keep N + turn d
    keep: f32,
    turn: f32,
    // g = clip g1 - correction N'
    clip: f32,
    correction: f32,
    // The step along N' besides that of the base optimizer.
    shift: f32,
    // 1 when the step must leave the state untouched.
    skipped: u32,
    factors: BaseFactors,
}

// What one step found and did, and the counters that the next one starts from.
struct Record {
    index: u32,
    // Steps applied, and steps skipped for a non-finite gradient, since the start.
    updates: u32,
    skipped: u32,
    // Rotations since the start.
    rotations: u32,
    status: u32,
    // As in Scalars.
    loss: u32,
    curvature: f32,
    residual: f32,
    // Radians by which N turned.
    angle: f32,
    // g1 . N, with N as it is after the rotation.
    projection: f32,
    gradient_norm: f32,
    clip: f32,
    displacement: f32,
    // The largest curvature seen recently.
    curvature_scale: f32,
    // Of the last rotation.
    rate: f32,
    // Events since the start, and the mean of the last curvatures with its standard error.
    events: u32,
    curvature_mean: f32,
    curvature_error: f32,
    // The newest first.
    curvatures: array<f32, CURVATURES>,
    // What the automatic displacement expects C to be off by.
    difference_error: f32,
    // The saddle-free step along N, and its longest length per learning rate; with alternating evaluations that is 0 while the
    // gate is closed.
    shift: f32,
    trust_radius: f32,
    // Where the scope is not global: which of the regions' records is the newest, and which region
    // has the softest curvature, or the stiffest. With alternating evaluations parity is 1 where the next probe lies on the
    // far side of the parameters.
    parity: u32,
    region: u32,
    // Steps skipped in a row, up to this one.
    streak: u32,
    // The rate of the step, and without the factor of the schedule.
    learning_rate: f32,
    base_learning_rate: f32,
    // g.u and u.Hu along the update u, of the last measurement.
    update_slope: f32,
    update_curvature: f32,
    // C of the N that the last event began with.
    initial_curvature: f32,
    // |u| / N.SN of the update u of the last event: the step, per learning rate, that moves as far along N.
    update_norm: f32,
}

// What ritz found in the basis (n, u, p).
struct Ritz {
    // n' = combination . (n, u, p)
    combination: vec3f,
    curvature: f32,
    // p' = direction . (n, u, p)
    direction: vec3f,
    residual: f32,
    // p'.Hn', where the next rotation has p', and 1 / |Hn' - C n' - p' (p'.Hn')|, or 0 where there is no force.
    along_direction: f32,
    inverse_force: f32,
    // Radians by which n turned in this event, and in how many rotations.
    angle: f32,
    rotations: u32,
    // 0 once a gradient of this event was not finite.
    valid: u32,
    // Why this event needs no further rotation (BY_RESIDUAL, BY_ANGLE), or 0; and whether the last one did
    // nothing.
    stopped: u32,
    idle: u32,
    // 1 / |p| before this event, or 0.
    inverse_direction: f32,
    // C of the n that the event began with.
    initial_curvature: f32,
    // Whether the next rotation measures along n' again, in place of the force.
    measures_again: u32,
}

// What a step of alternating evaluations does, over (N, HN, b) with b the last turn of N.
struct Alternation {
    // N' = combination . (N, HN, b)
    combination: vec3f,
    // g = clip g - correction N'
    correction: f32,
    // b' = direction . (N, HN, b)
    direction: vec3f,
    // 0 where the step must leave the state untouched.
    valid: u32,
}

// State of the automatic displacement.
struct Calibration {
    // Fraction of the norm of the parameters; 0 before the first event.
    factor: f32,
    // Distance of the near probe.
    distance: f32,
    // Curvature at twice that distance.
    far: f32,
    // What the event finds: the error of its curvature, and the factor after it, taken up once the step counts.
    error: f32,
    next_factor: f32,
}

// What is found of the curvature along the update.
struct RateState {
    // Distance of the probe, and the norm of the update that it lies along.
    distance: f32,
    update_norm: f32,
    // The products of the gradient with that update, and with the update of the step before.
    own_slope: f32,
    previous_slope: f32,
    // Of the first of two steps on one minibatch: its record, its rate, and its gradient times what it moved.
    first: u32,
    first_slope: f32,
    first_rate: f32,
    // By how many learning rates the parameters moved in the steps of the last measurement; and its slope and curvature.
    last_move: f32,
    last_slope: f32,
    last_curvature: f32,
    // The last measurement.
    base_learning_rate: f32,
    update_slope: f32,
    update_curvature: f32,
    // The means below with the last measurement, or 0 and -1 if it does not count there; and what became of it.
    next_mean: f32,
    next_signal: f32,
    measured: u32,
    // The geometric mean of the estimates, and for how many it counts; the mean of the signals of the burn-in, and their
    // number; and the number of all measurements. They count the steps that were taken, so that a step that is skipped
    // or taken again leaves no trace.
    mean_estimate: f32,
    estimates: u32,
    mean_signal: f32,
    signals: u32,
    measurements: u32,
    // How many were lost, since a gradient at the probe was not finite.
    lost: u32,
    // How many updates there had been after the last measurement.
    last_updates: u32,
    // For how many estimates the next mean counts.
    next_estimates: u32,
    // Of all measurements the largest |u|, and the steepest way down along one: -g.u / |u|; and both with the last.
    longest: f32,
    steepest: f32,
    next_longest: f32,
    next_steepest: f32,
}

struct Scalars {
    // Written by the objective, if it supplies its loss: the bits of an f32, since it may be a NaN that says something.
    loss: u32,
    // Distance of the probe in the current event.
    displacement: f32,
    // 1 once a step took a parameter beyond f32; and what gram found there before the current step.
    overflowed: atomic<u32>,
    broken: u32,
    calibration: Calibration,
    // The last record, and a copy of it from before the current step: gram makes the copy, so that no
    // workgroup of the update can read what another one writes.
    latest: Record,
    previous: Record,
    ritz: Ritz,
    alternation: Alternation,
    rate: RateState,
    records: array<Record, RING>,
    // Of the first set of partials, from sum_tiles.
    total: Partial,
    partials: array<Partial>,
}
