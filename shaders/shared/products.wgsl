// The products of one vec4.
// builds on: scaled, arithmetic, partial, types, gradients, switches

fn products(i: u32, place: Place) -> Partial {
    var terms = Partial();
    let g = load_gradient(i, place);
    let small = scaled_up(g);
    let large = scaled_down(g);
    terms.small.x = dot_lanes(small, small);
    terms.large.x = dot_lanes(large, large);
    if DIMER {
        let n = orientation_at(i);
        terms.plain.z = dot_lanes(g, n);
        if TRANSLATION == SADDLE_FREE {
            terms.plain.w = place.group.learning_rate_scale * dot_lanes(n, n);
        }
        if ROTATION == BY_GRADIENT {
            let d = load_difference(i, place, g);
            let d_small = scaled_up(d);
            let d_large = scaled_down(d);
            terms.plain.x = dot_lanes(n, n);
            terms.plain.y = dot_lanes(n, d);
            terms.small.y = dot_lanes(d_small, d_small);
            terms.large.y = dot_lanes(d_large, d_large);
            terms.small.z = dot_lanes(small, d_small);
            terms.large.z = dot_lanes(large, d_large);
        }
    }
    return terms;
}
