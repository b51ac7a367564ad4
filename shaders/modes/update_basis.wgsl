// update_basis: the block after one Rayleigh-Ritz step, from the coefficients of ritz.
//
//   x_j <- x'_j, p_j <- p'_j, Hx_j <- Hx'_j, Hp_j <- Hp'_j (linearly),
//   u_j <- (Hx'_j - C_j x'_j) / |Hx'_j - C_j x'_j|, or 0 once the mode has converged
//
// in:  the workspace
// out: the workspace
// 4 bytes per element for each vector read (S and HS) and written (five per mode).
// builds on: modes_bindings, streams, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    if modes.valid == 0u {
        return;
    }
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        var s: array<vec4f, MAX_BASIS>;
        var hs: array<vec4f, MAX_BASIS>;
        for (var k = 0u; k < goal.vectors; k += 1u) {
            s[k] = workspace[slot(k, i)];
            hs[k] = workspace[product_slot(k, i)];
        }
        for (var j = 0u; j < goal.modes; j += 1u) {
            var x = vec4f();
            var hx = vec4f();
            var p = vec4f();
            var hp = vec4f();
            for (var k = 0u; k < goal.vectors; k += 1u) {
                let combination = vec4f(modes.combination[k][j]);
                let direction = vec4f(modes.direction[k][j]);
                x = fma(combination, s[k], x);
                hx = fma(combination, hs[k], hx);
                p = fma(direction, s[k], p);
                hp = fma(direction, hs[k], hp);
            }
            let inverse = modes.inverse_residuals[j];
            workspace[slot(j, i)] = x;
            workspace[product_slot(j, i)] = hx;
            workspace[slot(goal.modes + j, i)] = inverse * fma(vec4f(-modes.curvatures[j]), x, hx);
            workspace[slot(2u * goal.modes + j, i)] = p;
            workspace[product_slot(2u * goal.modes + j, i)] = hp;
        }
    }
}
