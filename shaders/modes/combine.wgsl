// combine: the basis after one Rayleigh-Ritz step, from the coefficients of ritz.
//
//   x_j <- x'_j, p_j <- p'_j, Hx_j <- Hx'_j, Hp_j <- Hp'_j (linearly),  u_j <- Hx'_j - C_j x'_j
//
// in:  the workspace
// out: the workspace
// 4 bytes per element for each vector read (S and HS) and written (five per mode).
// builds on: modes_bindings, threads, switches, entry

fn kernel(thread: Thread) {
    if modes.valid == 0u {
        return;
    }
    let basis = arguments.products;
    let walk = shared_walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        // The basis, then its products, which lie behind it.
        for (var first = 0u; first <= basis; first += basis) {
            var s: array<vec4f, MAX_BASIS>;
            for (var k = 0u; k < arguments.columns; k += 1u) {
                s[k] = workspace[element(first + k, i)];
            }
            for (var j = 0u; j < 2u * arguments.modes; j += 4u) {
                var a = vec4f();
                var b = vec4f();
                var c = vec4f();
                var d = vec4f();
                for (var k = 0u; k < arguments.columns; k += 1u) {
                    let factors = modes.combination[k][j / 4u];
                    a = fma(vec4f(factors.x), s[k], a);
                    b = fma(vec4f(factors.y), s[k], b);
                    c = fma(vec4f(factors.z), s[k], c);
                    d = fma(vec4f(factors.w), s[k], d);
                }
                workspace[element(first + j, i)] = a;
                workspace[element(first + j + 1u, i)] = b;
                // With an odd number of modes the last four columns are two.
                if j + 2u < 2u * arguments.modes {
                    workspace[element(first + j + 2u, i)] = c;
                    workspace[element(first + j + 3u, i)] = d;
                }
            }
        }
        for (var j = 0u; j < arguments.modes; j += 1u) {
            let x = workspace[element(j, i)];
            let force = fma(vec4f(-modes.curvatures[j]), x, workspace[product_element(j, i)]);
            workspace[element(2u * arguments.modes + j, i)] = force;
        }
    }
}
