// update_basis: one rotation, from the coefficients of ritz.
//
//   n <- n', Hn <- Hn', with NEXT_DIRECTION p <- p', Hp <- Hp' (linearly),
//   u <- r / |r|, r = Hn' - C n' - p' (p'.Hn'), or n' where it is measured again,  probe <- params + distance u
//   (with an exact product the probe is u; with STOPS nothing is done after an idle ritz)
//   with LAST only N <- n', and with KEEPS_DIRECTION p <- p'
//
// in:  the workspace, params
// out: the workspace and the probe, or N and p
// 12 to 52 bytes per element.
// builds on: basis_bindings, direction, probe_distance, streams, threads, switches, entry

fn combined(coefficients: vec3f, i: u32, p: vec4f) -> vec4f {
    var sum = coefficients.x * load_vector(N, i);
    if HAS_FORCE {
        sum = fma(vec4f(coefficients.y), load_vector(U, i), sum);
    }
    if HAS_DIRECTION {
        sum = fma(vec4f(coefficients.z), p, sum);
    }
    return sum;
}

fn combined_product(coefficients: vec3f, i: u32) -> vec4f {
    var sum = coefficients.x * load_vector(HN, i);
    if HAS_FORCE {
        sum = fma(vec4f(coefficients.y), load_vector(HU, i), sum);
    }
    if HAS_DIRECTION {
        sum = fma(vec4f(coefficients.z), load_vector(HP, i), sum);
    }
    return sum;
}

fn kernel(thread: Thread) {
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
        var p = vec4f();
        if HAS_DIRECTION {
            p = direction_at(i);
        }
        let n = combined(ritz.combination, i, p);
        if LAST {
            store_orientation(i, n);
            if KEEPS_DIRECTION {
                store_vector(P, i, combined(ritz.direction, i, p));
            }
        } else {
            let hn = combined_product(ritz.combination, i);
            var force = fma(vec4f(-ritz.curvature), n, hn);
            if NEXT_DIRECTION {
                let hp = combined_product(ritz.direction, i);
                let next = store_vector(P, i, combined(ritz.direction, i, p));
                store_vector(HP, i, hp);
                force = fma(vec4f(-ritz.along_direction), next, force);
            }
            let kept = store_vector(N, i, n);
            store_vector(HN, i, hn);
            let again = ritz.measures_again != 0u;
            let u = store_vector(U, i, select(ritz.inverse_force * force, kept, again));
            probe[i] = placed(params[i], distance, u);
        }
    }
}
