// The sums of squares of a gradient and of the displacement that it is multiplied with.
// builds on: scaled, arithmetic, partial

fn with_norms(found: Partial, g: vec4f, e: vec4f) -> Partial {
    var result = found;
    result.small.x = dot_lanes(scaled_up(g), scaled_up(g));
    result.large.x = dot_lanes(scaled_down(g), scaled_down(g));
    result.small.y = dot_lanes(scaled_up(e), scaled_up(e));
    result.large.y = dot_lanes(scaled_down(e), scaled_down(e));
    return result;
}
