// ritz: the lowest Ritz pairs in the span of the basis, by one thread after the sums.
//
//   B = orthonormal basis of the span, in coefficients; dependent vectors are dropped
//   y_j = eigenvectors of B'(S.HS)B to its lowest eigenvalues,  x'_j = S B y_j,
//   p'_j = its part outside all x, of unit length
//
// in:  the partials of gram
// out: modes
// Knyazev 2001, SIAM J. Sci. Comput. 23, 517: block LOBPCG.

// As in ../ritz.wgsl.
const DEPENDENT: f32 = 1e-4;
// Cyclic Jacobi sweeps; matrices of 24 rows converge to f32 in six to eight.
const SWEEPS: u32 = 10u;
const ENTRIES: u32 = MAX_BASIS * MAX_BASIS;

// Row by row; `basis` and `vectors` hold a vector in each column.
var<workgroup> overlap: array<f32, ENTRIES>;
var<workgroup> hessian: array<f32, ENTRIES>;
var<workgroup> square: array<f32, ENTRIES>;
var<workgroup> basis: array<f32, ENTRIES>;
var<workgroup> projected: array<f32, ENTRIES>;
var<workgroup> vectors: array<f32, ENTRIES>;

fn at(row: u32, column: u32) -> u32 {
    return row * MAX_BASIS + column;
}

// Sums of the tiles, one entry a thread at a time.
fn gather(lane: u32) {
    let chunks = (goal.vectors + 3u) / 4u;
    for (var entry = lane; entry < goal.vectors * chunks; entry += WORKGROUP_SIZE) {
        var plain = vec4f();
        var small = vec4f();
        var large = vec4f();
        for (var tile = 0u; tile < step.tiles; tile += 1u) {
            plain += modes.partials[entry * step.tiles + tile].plain;
            small += modes.partials[entry * step.tiles + tile].small;
            large += modes.partials[entry * step.tiles + tile].large;
        }
        let row = entry / chunks;
        for (var i = 0u; i < 4u; i += 1u) {
            let column = 4u * (entry % chunks) + i;
            if column < goal.vectors {
                overlap[at(row, column)] = plain[i];
                hessian[at(row, column)] = small[i];
                square[at(row, column)] = large[i];
            }
        }
    }
}

// The overlap of basis vector `column` with vector i of S.
fn metric(column: u32, i: u32) -> f32 {
    var sum = 0.0;
    for (var s = 0u; s < goal.vectors; s += 1u) {
        sum = fma(basis[at(s, column)], overlap[at(s, i)], sum);
    }
    return sum;
}

// Fills `basis` with orthonormal columns and returns how many were kept.
fn orthonormalize() -> u32 {
    var kept = 0u;
    for (var i = 0u; i < goal.vectors; i += 1u) {
        for (var s = 0u; s < goal.vectors; s += 1u) {
            basis[at(s, kept)] = select(0.0, 1.0, s == i);
        }
        // Twice: the first round leaves the rounding of what it took away.
        for (var round = 0u; round < 2u; round += 1u) {
            for (var b = 0u; b < kept; b += 1u) {
                var along = 0.0;
                for (var s = 0u; s < goal.vectors; s += 1u) {
                    along = fma(basis[at(s, kept)], metric(b, s), along);
                }
                for (var s = 0u; s < goal.vectors; s += 1u) {
                    basis[at(s, kept)] -= along * basis[at(s, b)];
                }
            }
        }
        var left = 0.0;
        for (var s = 0u; s < goal.vectors; s += 1u) {
            left = fma(basis[at(s, kept)], metric(kept, s), left);
        }
        if left > DEPENDENT * overlap[at(i, i)] {
            let scale = inverseSqrt(left);
            for (var s = 0u; s < goal.vectors; s += 1u) {
                basis[at(s, kept)] *= scale;
            }
            kept += 1u;
        }
    }
    return kept;
}

// The Hessian in the kept basis, made symmetric.
fn project(kept: u32) {
    for (var a = 0u; a < kept; a += 1u) {
        for (var s = 0u; s < goal.vectors; s += 1u) {
            var sum = 0.0;
            for (var t = 0u; t < goal.vectors; t += 1u) {
                let entry = 0.5 * (hessian[at(s, t)] + hessian[at(t, s)]);
                sum = fma(entry, basis[at(t, a)], sum);
            }
            // H times basis vector a, in row a for now.
            vectors[at(a, s)] = sum;
        }
    }
    for (var a = 0u; a < kept; a += 1u) {
        for (var b = 0u; b < kept; b += 1u) {
            var sum = 0.0;
            for (var s = 0u; s < goal.vectors; s += 1u) {
                sum = fma(basis[at(s, b)], vectors[at(a, s)], sum);
            }
            projected[at(a, b)] = sum;
        }
    }
}

// Eigenvalues on the diagonal of `projected`, eigenvectors in the columns of `vectors`.
fn diagonalize(kept: u32) {
    for (var a = 0u; a < kept; a += 1u) {
        for (var b = 0u; b < kept; b += 1u) {
            vectors[at(a, b)] = select(0.0, 1.0, a == b);
        }
    }
    for (var sweep = 0u; sweep < SWEEPS; sweep += 1u) {
        for (var p = 0u; p + 1u < kept; p += 1u) {
            for (var q = p + 1u; q < kept; q += 1u) {
                let off = projected[at(p, q)];
                if off != 0.0 {
                    let theta = (projected[at(q, q)] - projected[at(p, p)]) / (2.0 * off);
                    let sign = select(-1.0, 1.0, theta >= 0.0);
                    let t = sign / (abs(theta) + sqrt(fma(theta, theta, 1.0)));
                    let c = inverseSqrt(fma(t, t, 1.0));
                    let s = t * c;
                    for (var k = 0u; k < kept; k += 1u) {
                        let x = projected[at(k, p)];
                        let y = projected[at(k, q)];
                        projected[at(k, p)] = c * x - s * y;
                        projected[at(k, q)] = s * x + c * y;
                    }
                    for (var k = 0u; k < kept; k += 1u) {
                        let x = projected[at(p, k)];
                        let y = projected[at(q, k)];
                        projected[at(p, k)] = c * x - s * y;
                        projected[at(q, k)] = s * x + c * y;
                    }
                    for (var k = 0u; k < kept; k += 1u) {
                        let x = vectors[at(k, p)];
                        let y = vectors[at(k, q)];
                        vectors[at(k, p)] = c * x - s * y;
                        vectors[at(k, q)] = s * x + c * y;
                    }
                }
            }
        }
    }
}

// c.Mc for one of the three matrices.
fn form(c: array<f32, MAX_BASIS>, which: u32) -> f32 {
    var coefficients = c;
    var sum = 0.0;
    for (var s = 0u; s < goal.vectors; s += 1u) {
        var row = 0.0;
        for (var t = 0u; t < goal.vectors; t += 1u) {
            var entry = overlap[at(s, t)];
            if which == 1u {
                entry = hessian[at(s, t)];
            } else if which == 2u {
                entry = square[at(s, t)];
            }
            row = fma(entry, coefficients[t], row);
        }
        sum = fma(coefficients[s], row, sum);
    }
    return sum;
}

// Mode j from column `column` of the eigenvectors; returns whether it is finite.
fn publish(j: u32, column: u32, kept: u32) -> bool {
    var c: array<f32, MAX_BASIS>;
    for (var s = 0u; s < goal.vectors; s += 1u) {
        var sum = 0.0;
        for (var b = 0u; b < kept; b += 1u) {
            sum = fma(basis[at(s, b)], vectors[at(b, column)], sum);
        }
        c[s] = sum;
    }
    let scale = inverseSqrt(form(c, 0u));
    for (var s = 0u; s < goal.vectors; s += 1u) {
        c[s] *= scale;
        modes.combination[s][j] = c[s];
    }
    let curvature = form(c, 1u);
    let product = form(c, 2u);
    modes.curvatures[j] = curvature;
    modes.residuals[j] = sqrt(max(0.0, fma(-curvature, curvature, product)));
    for (var s = 0u; s < goal.modes; s += 1u) {
        c[s] = 0.0;
    }
    let length = form(c, 0u);
    let inverse = select(0.0, inverseSqrt(length), length > 0.0);
    for (var s = 0u; s < goal.vectors; s += 1u) {
        modes.direction[s][j] = inverse * c[s];
    }
    return is_finite(curvature) && is_finite(product) && is_finite(length);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    gather(lane);
    workgroupBarrier();
    if lane != 0u {
        return;
    }
    let kept = orthonormalize();
    project(kept);
    diagonalize(kept);
    var taken = 0u;
    var valid = kept >= goal.modes;
    for (var j = 0u; j < goal.modes && valid; j += 1u) {
        var best = kept;
        for (var b = 0u; b < kept; b += 1u) {
            if (taken >> b & 1u) == 0u {
                if best == kept {
                    best = b;
                } else if projected[at(b, b)] < projected[at(best, best)] {
                    best = b;
                }
            }
        }
        taken |= 1u << best;
        valid = publish(j, best, kept);
    }
    modes.valid &= u32(valid);
}
