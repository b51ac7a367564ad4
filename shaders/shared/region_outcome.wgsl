// What a step does in one region.
// builds on: types, guard, outcome, regions, scalars, step_bindings

// Whether the dimer reaches into a region.
fn is_reached(region: u32) -> bool {
    return regions[region].elements > 0u;
}

// What is known about the step as a whole, once `regions/norm.wgsl` has run.
fn guard_of_record() -> StepGuard {
    let record = scalars.latest;
    return StepGuard(record.gradient_norm, record.clip, (record.status & SKIPPED) == 0u);
}

// With the guard of the step as a whole, and which of the two records is the previous one.
fn region_outcome(region: u32, guard: StepGuard, parity: u32) -> Outcome {
    let distance = scalars.displacement * step.region_scale;
    let root = sqrt(f32(regions[region].elements));
    let trust = step.trust * root;
    let share = step.inverse_root_length * root;
    let previous = regions[region].records[parity];
    var result = outcome_along(regions[region].sums, previous, guard, distance, trust, share);
    // The sums include the sign, the elements do not.
    result.turn *= sign_of(region);
    return result;
}
