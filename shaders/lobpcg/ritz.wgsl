// ritz: the lowest Ritz pair in span{n, u, p}, or the highest where that is sought, by one thread.
//
//   B = orthonormal basis of the span, in coefficients; dependent vectors are dropped
//   y = lowest (highest) eigenvector of B'(S.HS)B,  n' = S B y
//   p' = n made orthogonal to n', in the plane of the two;  with KEEPS_DIRECTION the part of n' outside n, of unit length
//
// Products are carried from rotation to rotation. Without KEEPS_DIRECTION n', p' and what is kept of u are orthonormal,
// and combined by orthonormal coefficients, so that the errors of their products do not grow.
//
// in:  the partials of basis_gram
// out: scalars.ritz, and with STOPS whether that was the last rotation that the event needs
// Knyazev 2001, SIAM J. Sci. Comput. 23, 517: the Rayleigh-Ritz step of LOBPCG. Stathopoulos and Saad 1998,
// Electron. Trans. Numer. Anal. 7, 163: p' as Davidson's method with a thick restart keeps it.
// builds on: basis_bindings, basis_sums, mode, partial, reduction, threads, step_bindings, switches, entry

// A vector is dropped when no more than this share of its square lies outside those before it. Where every
// product is new, the rest would be magnified rounding: over the share, 2^-24 of n' in length. Where products
// are carried, u was made orthogonal to n and p and of unit length; where half of it is not, it is the error of Hn.
const DEPENDENT: f32 = 1e-2;
const CARRIED: f32 = 0.5;
// Squares of a few roundings of a vector, and a few roundings of a sum of squares, in shares of the whole.
const ROUNDED_VECTORS: f32 = 1e-13;
const ROUNDED_SUMS: f32 = 1e-6;
// Cyclic Jacobi sweeps; a 3x3 matrix converges to f32 in four.
const SWEEPS: u32 = 6u;

// The vectors (n, u, p) in the order in which they enter the basis: p before u where it is as old as n.
fn entering(i: u32) -> u32 {
    return select((3u - i) % 3u, i, KEEPS_DIRECTION);
}

// Columns of unit length in the metric of the overlap, or zero where they were dropped.
fn orthonormal(overlap: mat3x3f) -> array<vec3f, 3> {
    var metric = overlap;
    var basis: array<vec3f, 3>;
    for (var i = 0u; i < 3u; i += 1u) {
        let entry = entering(i);
        var vector = vec3f();
        vector[entry] = 1.0;
        let whole = select(metric[entry][entry], 1.0, entry == 1u && !KEEPS_DIRECTION);
        // Twice: the first round leaves the rounding error of what it removed.
        for (var round = 0u; round < 2u; round += 1u) {
            for (var j = 0u; j < i; j += 1u) {
                vector -= dot(basis[j], metric * vector) * basis[j];
            }
        }
        let left = dot(vector, metric * vector);
        basis[i] = vec3f();
        if left > select(CARRIED, DEPENDENT, KEEPS_DIRECTION) * whole {
            basis[i] = vector / sqrt(left);
        }
    }
    return basis;
}

// The lowest eigenvector, in the basis that `orthonormal` kept.
fn lowest(hessian: mat3x3f, basis: array<vec3f, 3>) -> vec3f {
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
    // Of the two unit vectors, the one on the side of n.
    return select(-1.0, 1.0, vectors[best].x >= 0.0) * vectors[best];
}

fn in_basis(y: vec3f, basis: array<vec3f, 3>) -> vec3f {
    return y.x * basis[0] + y.y * basis[1] + y.z * basis[2];
}

// A rotation after the stop leaves n and p as they are.
fn unturned(last: Ritz) -> Ritz {
    var ritz = last;
    ritz.combination = vec3f(1.0, 0.0, 0.0);
    ritz.direction = vec3f(0.0, 0.0, 1.0);
    ritz.idle = 1u;
    return ritz;
}

fn kernel(thread: Thread) {
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
    let before = curvature_before();
    var ritz = Ritz();
    if HAS_FORCE {
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
    // u is n, measured once more.
    let again = HAS_FORCE & !KEEPS_DIRECTION & (ritz.measures_again != 0u);
    let basis = orthonormal(overlap);
    let y = lowest(sought(1.0) * hessian, basis);
    let turned = length(y.yz);
    var combination = in_basis(y, basis);
    combination *= inverseSqrt(dot(combination, overlap * combination));
    if KEEPS_DIRECTION {
        let outside = vec3f(0.0, combination.yz);
        let square_length = dot(outside, overlap * outside);
        ritz.direction = outside * select(0.0, inverseSqrt(square_length), square_length > 0.0);
    } else if turned > 0.0 {
        ritz.direction = in_basis(vec3f(-turned, y.x / turned * y.yz), basis);
    } else {
        ritz.direction = basis[1];
    }
    if again {
        combination = vec3f(0.0, 1.0, 0.0);
        ritz.direction = vec3f(0.0, 0.0, 1.0);
    }
    ritz.combination = combination;
    ritz.curvature = dot(combination, hessian * combination);
    if !HAS_FORCE {
        ritz.initial_curvature = ritz.curvature;
    }
    var change = ritz.curvature - before;
    var product = dot(combination, square * combination);
    if !HAS_FORCE & !(abs(change) < abs(ritz.curvature)) {
        change = ritz.curvature;
        product = combination.x * combination.x * sums.square.uu;
    }
    let square_residual = max(0.0, fma(-change, change, product));
    ritz.residual = sqrt(square_residual);
    ritz.along_direction = 0.0;
    if NEXT_DIRECTION {
        ritz.along_direction = dot(ritz.direction, hessian * combination)
            + dot(sums.skew, cross(ritz.direction, combination));
    }
    let square_force = fma(-ritz.along_direction, ritz.along_direction, square_residual);
    // Below these the force is the rounding of its vectors, or of the sums. Longer than 1 by much, u would put the probe
    // far away.
    let of_vectors = ROUNDED_VECTORS * fma(ritz.curvature, ritz.curvature, square_residual);
    let of_sums = ROUNDED_SUMS * max(square_residual, change * change);
    let is_force = square_force > max(of_vectors, of_sums);
    ritz.inverse_force = select(0.0, inverseSqrt(square_force), is_force);
    // Where H has less of u along n than Hn has of n along u, the force is mostly the error of Hn.
    let new_product = sums.hessian.nu + sums.skew.z;
    let carried_product = sums.hessian.nu - sums.skew.z;
    let is_error = all(basis[2] == vec3f()) || abs(new_product) < 0.5 * abs(carried_product);
    ritz.measures_again = u32(HAS_FORCE & !KEEPS_DIRECTION & !again & is_error);
    // Not by the arc cosine: it loses small angles.
    let angle = select(atan2(turned, y.x), 0.0, again);
    ritz.angle += angle;
    if STOPS {
        let small = ritz.residual <= step.stop_residual * abs(ritz.curvature);
        let turned_little = HAS_FORCE & !again & (angle <= step.stop_angle);
        ritz.stopped = select(select(0u, BY_ANGLE, turned_little), BY_RESIDUAL, small);
    }
    // A gradient that is not finite shows in the squares of the products.
    let finite = is_finite(ritz.curvature) && is_finite(product) && is_finite(ritz.angle);
    ritz.valid &= u32(finite);
    scalars.ritz = ritz;
}
