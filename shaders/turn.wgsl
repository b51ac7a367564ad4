// turn: one rotation, from the coefficients of ritz.
//
//   n <- n', p <- p', Hn <- Hn', Hp <- Hp' (linearly),
//   u <- (Hn' - C n') / |Hn' - C n'|,  probe <- params + distance u
//   (with EXACT the probe is u; with STOPS nothing, after an idle ritz)
//   with LAST only N <- n' and p <- p'
//
// in:  the workspace, params
// out: the workspace and the probe, or N and p
// 24 to 52 bytes an element.

fn combine(coefficients: vec3f, i: u32, n: u32, u: u32, p: u32) -> vec4f {
    var sum = coefficients.x * load_vector(n, i);
    if FORCE {
        sum = fma(vec4f(coefficients.y), load_vector(u, i), sum);
    }
    if DIRECTION {
        sum = fma(vec4f(coefficients.z), load_vector(p, i), sum);
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let ritz = scalars.ritz;
    if ritz.valid == 0u {
        return;
    }
    if STOPS & !LAST {
        if ritz.idle != 0u {
            return;
        }
    }
    let distance = scalars.displacement;
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let n = combine(ritz.combination, i, N, U, P);
        if LAST {
            orientation[i] = packed(n, i, ORIENTATION);
            store_vector(P, i, combine(ritz.direction, i, N, U, P));
        } else {
            let hn = combine(ritz.combination, i, HN, HU, HP);
            if FORCE {
                let p = combine(ritz.direction, i, N, U, P);
                store_vector(HP, i, combine(ritz.direction, i, HN, HU, HP));
                store_vector(P, i, p);
            }
            store_vector(N, i, n);
            store_vector(HN, i, hn);
            let force = fma(vec4f(-ritz.curvature), n, hn);
            let u = store_vector(U, i, ritz.inverse_residual * force);
            probe[i] = placed(params[i], distance, u);
        }
    }
}
