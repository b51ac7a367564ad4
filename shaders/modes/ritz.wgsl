// ritz: the lowest Ritz pairs in the span of the basis, by one workgroup; one thread per row or column.
//
//   B = orthonormal basis of the span, in coefficients; dependent vectors become zero
//   y_j = eigenvectors of B'(S.HS)B for its lowest eigenvalues,  x'_j = S B y_j,
//   p'_j = its part outside all x, of unit length
//
// in:  the partials of gram
// out: modes
// Knyazev 2001, SIAM J. Sci. Comput. 23, 517: block LOBPCG.
// builds on: modes_bindings, mode_sums, partial, threads, step_bindings, switches

// As in ../lobpcg/ritz.wgsl.
const DEPENDENT: f32 = 1e-4;
// Cyclic Jacobi sweeps; matrices of 24 rows converge to f32 in six to eight. One thread alone must not do
// them: some drivers (Mesa 22 on a CPU) end the loops of a thread after 65 536 iterations in all.
const SWEEPS: u32 = 8u;
const NOT_FINITE: f32 = -1.0;
const ENTRIES: u32 = MAX_BASIS * MAX_BASIS;
// Once |Hx - C x| is less than a thousandth of the largest |Hx| of the block, it is rounding, and so is
// the direction of a turn of less than 1e-4 radians: following them would magnify the errors of the
// products that are carried along.
const CONVERGED: f32 = 1e-6;
const LEAST_TURN: f32 = 1e-8;
// The eigenvalue of a dropped vector, so that it comes last.
const DROPPED: f32 = 3e38;

// Row by row; `basis`, `image` and `vectors` hold a vector in each column.
var<workgroup> overlap: array<f32, ENTRIES>;
var<workgroup> hessian: array<f32, ENTRIES>;
var<workgroup> square: array<f32, ENTRIES>;
var<workgroup> basis: array<f32, ENTRIES>;
// The overlap times the basis, then the Hessian in it.
var<workgroup> image: array<f32, ENTRIES>;
var<workgroup> vectors: array<f32, ENTRIES>;
// One value per thread: projections, then the order of the eigenvalues, then what is finite.
var<workgroup> shared_values: array<f32, MAX_BASIS>;
var<workgroup> order: array<u32, MAX_BASIS>;

fn at(row: u32, column: u32) -> u32 {
    return row * MAX_BASIS + column;
}

// Sums of the tiles, one entry per thread at a time.
fn gather(lane: u32) {
    let chunks = (goal.vectors + 3u) / 4u;
    for (var entry = lane; entry < goal.vectors * chunks; entry += WORKGROUP_SIZE) {
        var sums = Partial();
        for (var tile = 0u; tile < step.tiles; tile += 1u) {
            sums = add(sums, modes.partials[entry * step.tiles + tile]);
        }
        let found = unpack_row_sums(sums);
        let row = entry / chunks;
        for (var i = 0u; i < 4u; i += 1u) {
            let column = 4u * (entry % chunks) + i;
            if column < goal.vectors {
                overlap[at(row, column)] = found.overlap[i];
                hessian[at(row, column)] = found.hessian[i];
                square[at(row, column)] = found.square[i];
            }
        }
    }
    workgroupBarrier();
}

// Orthonormal columns in the metric of the overlap, or zero where a vector depends on those before it.
fn orthonormalize(lane: u32) {
    let takes_part = lane < goal.vectors;
    for (var i = 0u; i < goal.vectors; i += 1u) {
        if takes_part {
            basis[at(lane, i)] = select(0.0, 1.0, lane == i);
        }
        workgroupBarrier();
        // Twice: the first round leaves the rounding error of what it removed.
        for (var round = 0u; round < 2u; round += 1u) {
            if lane < i {
                var along = 0.0;
                for (var s = 0u; s < goal.vectors; s += 1u) {
                    along = fma(basis[at(s, i)], image[at(s, lane)], along);
                }
                shared_values[lane] = along;
            }
            workgroupBarrier();
            if takes_part {
                var left = basis[at(lane, i)];
                for (var b = 0u; b < i; b += 1u) {
                    left = fma(-shared_values[b], basis[at(lane, b)], left);
                }
                basis[at(lane, i)] = left;
            }
            workgroupBarrier();
        }
        var product = 0.0;
        if takes_part {
            for (var s = 0u; s < goal.vectors; s += 1u) {
                product = fma(overlap[at(lane, s)], basis[at(s, i)], product);
            }
            image[at(lane, i)] = product;
        }
        workgroupBarrier();
        var left = 0.0;
        for (var s = 0u; s < goal.vectors; s += 1u) {
            left = fma(basis[at(s, i)], image[at(s, i)], left);
        }
        workgroupBarrier();
        let scale = select(0.0, inverseSqrt(left), left > DEPENDENT * overlap[at(i, i)]);
        if takes_part {
            basis[at(lane, i)] *= scale;
            image[at(lane, i)] *= scale;
        }
        workgroupBarrier();
    }
}

// The Hessian in the basis, made symmetric, into `image`.
fn project(lane: u32) {
    let takes_part = lane < goal.vectors;
    if takes_part {
        for (var s = 0u; s < goal.vectors; s += 1u) {
            var sum = 0.0;
            for (var t = 0u; t < goal.vectors; t += 1u) {
                let entry = 0.5 * (hessian[at(s, t)] + hessian[at(t, s)]);
                sum = fma(entry, basis[at(t, lane)], sum);
            }
            vectors[at(s, lane)] = sum;
        }
        for (var b = 0u; b < goal.vectors; b += 1u) {
            var sum = 0.0;
            var length = 0.0;
            for (var s = 0u; s < goal.vectors; s += 1u) {
                sum = fma(basis[at(s, b)], vectors[at(s, lane)], sum);
                length = fma(basis[at(s, b)], basis[at(s, b)], length);
            }
            image[at(b, lane)] = select(sum, DROPPED, b == lane && length == 0.0);
        }
    }
    workgroupBarrier();
}

// Eigenvalues on the diagonal of `image`, eigenvectors in the columns of `vectors`.
fn diagonalize(lane: u32) {
    let takes_part = lane < goal.vectors;
    if takes_part {
        for (var b = 0u; b < goal.vectors; b += 1u) {
            vectors[at(lane, b)] = select(0.0, 1.0, lane == b);
        }
    }
    workgroupBarrier();
    for (var sweep = 0u; sweep < SWEEPS; sweep += 1u) {
        for (var p = 0u; p + 1u < goal.vectors; p += 1u) {
            for (var q = p + 1u; q < goal.vectors; q += 1u) {
                let off = 0.5 * (image[at(p, q)] + image[at(q, p)]);
                let low = image[at(p, p)];
                let high = image[at(q, q)];
                let theta = (high - low) / (2.0 * off);
                let sign = select(-1.0, 1.0, theta >= 0.0);
                let root = sign / (abs(theta) + sqrt(fma(theta, theta, 1.0)));
                let t = select(root, 0.0, off == 0.0);
                let c = inverseSqrt(fma(t, t, 1.0));
                let s = t * c;
                workgroupBarrier();
                if takes_part {
                    let v = vectors[at(lane, p)];
                    let w = vectors[at(lane, q)];
                    vectors[at(lane, p)] = c * v - s * w;
                    vectors[at(lane, q)] = s * v + c * w;
                    if lane == p {
                        image[at(p, p)] = fma(-t, off, low);
                        image[at(q, q)] = fma(t, off, high);
                        image[at(p, q)] = 0.0;
                        image[at(q, p)] = 0.0;
                    } else if lane != q {
                        let x = image[at(lane, p)];
                        let y = image[at(lane, q)];
                        image[at(lane, p)] = c * x - s * y;
                        image[at(p, lane)] = c * x - s * y;
                        image[at(lane, q)] = s * x + c * y;
                        image[at(q, lane)] = s * x + c * y;
                    }
                }
                workgroupBarrier();
            }
        }
    }
    // The rank of each eigenvalue among all.
    if takes_part {
        let mine = image[at(lane, lane)];
        var place = 0u;
        for (var b = 0u; b < goal.vectors; b += 1u) {
            let other = image[at(b, b)];
            place += u32(other < mine || (other == mine && b < lane));
        }
        order[place] = lane;
    }
    workgroupBarrier();
}

// c.Mc for the overlap, the Hessian or the square of the Hessian.
fn forms(c: array<f32, MAX_BASIS>) -> vec3f {
    var coefficients = c;
    var sums = vec3f();
    for (var s = 0u; s < goal.vectors; s += 1u) {
        var row = vec3f();
        for (var t = 0u; t < goal.vectors; t += 1u) {
            let entry = vec3f(overlap[at(s, t)], hessian[at(s, t)], square[at(s, t)]);
            row = fma(entry, vec3f(coefficients[t]), row);
        }
        sums = fma(row, vec3f(coefficients[s]), sums);
    }
    return sums;
}

// Mode j; returns |Hx|^2, or NOT_FINITE.
fn publish(j: u32) -> f32 {
    let column = order[j];
    var c: array<f32, MAX_BASIS>;
    for (var s = 0u; s < goal.vectors; s += 1u) {
        var sum = 0.0;
        for (var b = 0u; b < goal.vectors; b += 1u) {
            sum = fma(basis[at(s, b)], vectors[at(b, column)], sum);
        }
        c[s] = sum;
    }
    let found = forms(c);
    let curvature = found.y / found.x;
    let product = found.z / found.x;
    modes.curvatures[j] = curvature;
    modes.residuals[j] = sqrt(max(0.0, fma(-curvature, curvature, product)));
    let scale = inverseSqrt(found.x);
    for (var s = 0u; s < goal.vectors; s += 1u) {
        modes.combination[s][j] = scale * c[s];
        if s < goal.modes {
            c[s] = 0.0;
        }
    }
    let length = forms(c).x;
    let inverse = select(0.0, inverseSqrt(length), length > LEAST_TURN);
    for (var s = 0u; s < goal.vectors; s += 1u) {
        modes.direction[s][j] = inverse * c[s];
    }
    let finite = is_finite(curvature) && is_finite(product) && is_finite(length);
    return select(NOT_FINITE, product, finite && found.x > 0.0);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let lane = thread.lane;
    gather(lane);
    orthonormalize(lane);
    project(lane);
    diagonalize(lane);
    if lane < goal.modes {
        shared_values[lane] = publish(lane);
    }
    workgroupBarrier();
    if lane == 0u {
        var largest = 0.0;
        var valid = modes.valid;
        for (var j = 0u; j < goal.modes; j += 1u) {
            valid &= u32(shared_values[j] != NOT_FINITE);
            largest = max(largest, shared_values[j]);
        }
        modes.valid = valid;
        for (var j = 0u; j < goal.modes; j += 1u) {
            let residual = modes.residuals[j];
            let goes_on = residual * residual > CONVERGED * largest;
            modes.inverse_residuals[j] = select(0.0, 1.0 / residual, goes_on);
        }
    }
}
