// coefficients: what `orthogonalize` takes from one vector of the basis and the factor on the rest, by one workgroup.
//
//   first:  factor = 1 / |S|                          overlaps_j = S.S_j / |S|
//   LAST:   factor = 1 / |S - sum_j (S.S_j) S_j|      overlaps_j = factor S.S_j
//   both 0 where |S| is 0, or with LAST less than a thousandth of the vector was left: its direction would be rounding;
//   and for a residual in whose place its mode is measured again
//
// in:  the partials of overlaps
// out: modes.overlaps, modes.factor, with LAST modes.kept; the entries of the Lanczos method, which a set of modes
//      does not read
// Classical Gram-Schmidt, twice: Giraud, Langou, Rozloznik 2005, Comput. Math. Appl. 50, 1069.
// builds on: modes_bindings, mode_sums, partial, threads, switches, entry

const DEPENDENT: f32 = 1e-3;
// Below, 1 / |S| could overflow.
const LEAST: f32 = 1e-30;

fn kernel(thread: Thread) {
    var norm = 0.0;
    var taken = 0.0;
    for (var first = 0u; first == 0u || first < arguments.column; first += 8u) {
        let sums = sum_of_entry(thread, first / 8u);
        if thread.lane == 0u {
            if first == 0u {
                norm = norm_of(sums.large.x, sums.large.y);
            }
            for (var column = 0u; column < 4u; column += 1u) {
                if first + column < arguments.column {
                    modes.overlaps[first + column] = sums.plain[column];
                    taken = fma(sums.plain[column], sums.plain[column], taken);
                }
                if first + column + 4u < arguments.column {
                    modes.overlaps[first + column + 4u] = sums.small[column];
                    taken = fma(sums.small[column], sums.small[column], taken);
                }
            }
        }
    }
    if thread.lane != 0u {
        return;
    }
    // The first round left a vector of unit length, less what it took.
    let kept = select(norm > LEAST, norm > DEPENDENT, LAST);
    // Where it kept the vector, what is taken now is rounding.
    let left = select(norm, sqrt(max(0.0, fma(norm, norm, -taken))), LAST);
    let goes_in = kept && is_finite(norm) && !measures_again();
    let factor = select(0.0, 1.0 / left, goes_in);
    modes.factor = factor;
    if LAST {
        modes.kept[arguments.column] = u32(factor != 0.0);
        modes.off_diagonal[arguments.column] *= select(0.0, left, kept);
    } else {
        if arguments.column < MAX_VECTORS {
            modes.off_diagonal[arguments.column] = norm;
        }
        if arguments.column > 0u {
            modes.diagonal[arguments.column - 1u] = modes.overlaps[arguments.column - 1u];
        }
    }
    for (var j = 0u; j < arguments.column; j += 1u) {
        modes.overlaps[j] = select(0.0, factor * modes.overlaps[j], factor != 0.0);
    }
}
