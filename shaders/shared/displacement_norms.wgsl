// The sums of squares of a gradient and of the displacement that it is multiplied with.
// builds on: scaled, arithmetic, partial

fn with_norms(found: Partial, g: vec4f, e: vec4f) -> Partial {
    var result = found;
    result.small.x = square_up(g);
    result.large.x = square_down(g);
    result.small.y = square_up(e);
    result.large.y = square_down(e);
    return result;
}
