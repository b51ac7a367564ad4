// The sums of squares of a gradient and of the displacement that it is multiplied with.
// builds on: arithmetic, partial

fn with_norms(found: Partial, g: vec4f, e: vec4f) -> Partial {
    var result = found;
    result.small.x = dot_lanes(g * SMALL_SCALE, g * SMALL_SCALE);
    result.large.x = dot_lanes(g * LARGE_SCALE, g * LARGE_SCALE);
    result.small.y = dot_lanes(e * SMALL_SCALE, e * SMALL_SCALE);
    result.large.y = dot_lanes(e * LARGE_SCALE, e * LARGE_SCALE);
    return result;
}
