// ritz: the lowest Ritz pair in span{n, u, p}, or with STIFFEST the highest, by one thread.
//
//   B = orthonormal basis of the span, in coefficients; dependent vectors are dropped
//   y = lowest (highest) eigenvector of B'(S.HS)B,  n' = S B y,  p' = its part outside n, of unit length
//
// in:  the partials of basis_gram
// out: scalars.ritz, and with STOPS whether that was the last rotation that the event needs
// Knyazev 2001, SIAM J. Sci. Comput. 23, 517: the Rayleigh-Ritz step of LOBPCG.
// builds on: basis_bindings, basis_sums, mode, partial, reduction, threads, step_bindings, switches

// A vector is dropped when less than this share of its square lies outside those before it: the rest
// would be magnified rounding, 2^-24 of the whole.
const DEPENDENT: f32 = 1e-4;
// Cyclic Jacobi sweeps; a 3x3 matrix converges to f32 in four.
const SWEEPS: u32 = 6u;

// Columns of unit length in the metric of the overlap, or zero where they were dropped.
fn orthonormal(overlap: mat3x3f) -> array<vec3f, 3> {
    var metric = overlap;
    var basis: array<vec3f, 3>;
    for (var i = 0u; i < 3u; i += 1u) {
        var vector = vec3f();
        vector[i] = 1.0;
        let whole = metric[i][i];
        // Twice: the first round leaves the rounding error of what it removed.
        for (var round = 0u; round < 2u; round += 1u) {
            for (var j = 0u; j < i; j += 1u) {
                vector -= dot(basis[j], metric * vector) * basis[j];
            }
        }
        let left = dot(vector, metric * vector);
        basis[i] = vec3f();
        if left > DEPENDENT * whole {
            basis[i] = vector / sqrt(left);
        }
    }
    return basis;
}

// The coefficients of the lowest eigenvector in the basis that `orthonormal` kept.
fn lowest(hessian: mat3x3f, overlap: mat3x3f) -> vec3f {
    let basis = orthonormal(overlap);
    var b = basis;
    var h = mat3x3f();
    for (var i = 0u; i < 3u; i += 1u) {
        for (var j = 0u; j < 3u; j += 1u) {
            h[i][j] = dot(b[i], hessian * b[j]);
        }
    }
    var vectors = mat3x3f(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0);
    for (var sweep = 0u; sweep < SWEEPS; sweep += 1u) {
        for (var pair = 0u; pair < 3u; pair += 1u) {
            let p = select(0u, 1u, pair == 2u);
            let q = select(1u, 2u, pair > 0u);
            let off = h[p][q];
            if off != 0.0 {
                let theta = (h[q][q] - h[p][p]) / (2.0 * off);
                let sign = select(-1.0, 1.0, theta >= 0.0);
                let t = sign / (abs(theta) + sqrt(fma(theta, theta, 1.0)));
                let c = inverseSqrt(fma(t, t, 1.0));
                let s = t * c;
                for (var k = 0u; k < 3u; k += 1u) {
                    let x = h[k][p];
                    let y = h[k][q];
                    h[k][p] = c * x - s * y;
                    h[k][q] = s * x + c * y;
                }
                for (var k = 0u; k < 3u; k += 1u) {
                    let x = h[p][k];
                    let y = h[q][k];
                    h[p][k] = c * x - s * y;
                    h[q][k] = s * x + c * y;
                }
                let x = vectors[p];
                let y = vectors[q];
                vectors[p] = c * x - s * y;
                vectors[q] = s * x + c * y;
            }
        }
    }
    // n is never dropped; the others take part only if they were kept.
    var best = 0u;
    for (var i = 1u; i < 3u; i += 1u) {
        if dot(b[i], b[i]) > 0.0 && h[i][i] < h[best][best] {
            best = i;
        }
    }
    let y = vectors[best];
    return y.x * b[0] + y.y * b[1] + y.z * b[2];
}

// A rotation after the stop leaves n and p as they are.
fn unturned(last: Ritz) -> Ritz {
    var ritz = last;
    ritz.combination = vec3f(1.0, 0.0, 0.0);
    ritz.direction = vec3f(0.0, 0.0, 1.0);
    ritz.idle = 1u;
    return ritz;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let first = reduce_partials_of(0u, thread);
    workgroupBarrier();
    let second = reduce_partials_of(1u, thread);
    if thread.lane != 0u {
        return;
    }
    let sums = unpack_basis_sums(PackedBasisSums(first, second));
    let overlap = matrix_of(sums.overlap);
    let hessian = matrix_of(sums.hessian);
    let square = matrix_of(sums.square);
    var ritz = Ritz();
    if FORCE {
        ritz = scalars.ritz;
        if STOPS {
            if ritz.stopped != 0u {
                scalars.ritz = unturned(ritz);
                return;
            }
        }
        ritz.rotations += 1u;
    } else {
        ritz.valid = 1u;
        let length = norm_of(sums.raw_direction_small, sums.raw_direction_large);
        ritz.inverse_direction = select(0.0, 1.0 / length, length > 0.0);
    }
    var combination = lowest(sought(1.0) * hessian, overlap);
    combination *= inverseSqrt(dot(combination, overlap * combination));
    // Of the two unit vectors, the one on the side of n.
    combination *= select(-1.0, 1.0, combination.x >= 0.0);
    ritz.combination = combination;
    ritz.curvature = dot(combination, hessian * combination);
    if !FORCE {
        ritz.initial_curvature = ritz.curvature;
    }
    let product = dot(combination, square * combination);
    ritz.residual = sqrt(max(0.0, fma(-ritz.curvature, ritz.curvature, product)));
    ritz.inverse_residual = select(0.0, 1.0 / ritz.residual, ritz.residual > 0.0);
    let outside = vec3f(0.0, combination.y, combination.z);
    let length = dot(outside, overlap * outside);
    ritz.direction = outside * select(0.0, inverseSqrt(length), length > 0.0);
    // Not by the arc cosine: it loses small angles.
    let inverse_length = inverseSqrt(overlap[0][0]);
    let cosine = (overlap * combination).x * inverse_length;
    let along = (overlap * outside).x * inverse_length;
    let sine = sqrt(max(0.0, fma(-along, along, length)));
    let angle = atan2(sine, cosine);
    ritz.angle += angle;
    if STOPS {
        let small = ritz.residual <= step.stop_residual * abs(ritz.curvature);
        let turned_little = FORCE & (angle <= step.stop_angle);
        ritz.stopped = select(select(0u, BY_ANGLE, turned_little), BY_RESIDUAL, small);
    }
    // A gradient that is not finite shows in the squares of the products.
    let finite = is_finite(ritz.curvature) && is_finite(product) && is_finite(ritz.angle);
    ritz.valid &= u32(finite);
    scalars.ritz = ritz;
}
