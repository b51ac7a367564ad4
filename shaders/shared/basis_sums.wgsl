// The sums of a rotation by Rayleigh-Ritz: inner products of the basis S = (n, u, p) and its products HS.
// builds on: partial, scalars, switches

// A symmetric matrix over (n, u, p).
struct Symmetric {
    nn: f32,
    nu: f32,
    np: f32,
    uu: f32,
    up: f32,
    pp: f32,
}

struct BasisSums {
    // S.S, S.HS made symmetric, (HS - C S).(HS - C S)
    overlap: Symmetric,
    hessian: Symmetric,
    square: Symmetric,
    // What S.HS lacks of being symmetric, as the vector k with a.HS b = a.hessian b + k . (a x b).
    skew: vec3f,
    // p.p before p is normalised, at the two scales of partial.wgsl.
    raw_direction_small: f32,
    raw_direction_large: f32,
}

// As two partials, which is what a workgroup reduces.
struct PackedBasisSums {
    first: Partial,
    second: Partial,
}

fn pack_basis_sums(sums: BasisSums) -> PackedBasisSums {
    let a = sums.overlap;
    let b = sums.hessian;
    let c = sums.square;
    let first = Partial(
        vec4f(a.nn, a.nu, a.np, a.up),
        vec4f(a.uu, a.pp, b.nn, b.nu),
        vec4f(b.np, b.uu, b.up, b.pp),
    );
    let second = Partial(
        vec4f(c.nn, c.nu, c.np, c.uu),
        vec4f(c.up, c.pp, sums.skew.xy),
        vec4f(sums.raw_direction_small, sums.raw_direction_large, sums.skew.z, 0.0),
    );
    return PackedBasisSums(first, second);
}

fn unpack_basis_sums(packed_sums: PackedBasisSums) -> BasisSums {
    let a = packed_sums.first.plain;
    let b = packed_sums.first.small;
    let c = packed_sums.first.large;
    let d = packed_sums.second.plain;
    let e = packed_sums.second.small;
    let f = packed_sums.second.large;
    return BasisSums(
        Symmetric(a.x, a.y, a.z, b.x, a.w, b.y),
        Symmetric(b.z, b.w, c.x, c.y, c.z, c.w),
        Symmetric(d.x, d.y, d.z, d.w, e.x, e.y),
        vec3f(e.zw, f.z),
        f.x,
        f.y,
    );
}

// C of n before the rotation; where n has just been measured, that of the last event, which may be of another n.
fn curvature_before() -> f32 {
    if HAS_FORCE {
        return scalars.ritz.curvature;
    }
    return scalars.latest.curvature;
}

fn matrix_of(m: Symmetric) -> mat3x3f {
    return mat3x3f(m.nn, m.nu, m.np, m.nu, m.uu, m.up, m.np, m.up, m.pp);
}
