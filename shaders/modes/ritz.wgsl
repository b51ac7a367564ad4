// ritz: the Ritz pairs at both ends in the span of the basis, by one workgroup; one thread per row or column.
//
//   y_j = eigenvectors of S.HS for its lowest and its highest eigenvalues,  x'_j = S y_j,
//   p'_j = the part of x_j outside all x' and the p' before it, of unit length
//
// in:  the first partial of each entry of gram
// out: modes.combination, the curvatures, kept, again, valid
// Stathopoulos, Saad 1998, Electron. Trans. Numer. Anal. 7, 163: Davidson's method with a thick restart. The basis is
// orthonormal before it is measured and combined by orthonormal matrices alone, so that errors of products never grow.
// builds on: modes_bindings, partial, threads, step_bindings

// One for each vector of the largest basis, whatever the tuning is.
const THREADS: u32 = 64u;
// Sweeps of Jacobi rotations, a round of disjoint pairs at a time; matrices of 48 rows converge to f32 in six to eight.
const SWEEPS: u32 = 9u;
// p is dropped when less than this is left of x: rotations in f32 leave the coefficients good to 1e-6.
const DEPENDENT: f32 = 1e-5;
const SPOILT: f32 = 0.5;
// The eigenvalue of a dropped vector, so that it comes last.
const DROPPED: f32 = 3e38;

// Row by row: the Hessian in the basis, then the combination, with a vector in each column.
var<workgroup> matrix: array<f32, MAX_BASIS * MAX_BASIS>;
// Cosine and sine for each pair of a round; then what a column takes from a vector.
var<workgroup> turns: array<vec2f, MAX_BASIS>;
var<workgroup> column: array<f32, MAX_BASIS>;
var<workgroup> eigenvalues: array<f32, MAX_BASIS>;
var<workgroup> order: array<u32, MAX_BASIS>;

fn at(row: u32, column: u32) -> u32 {
    return row * MAX_BASIS + column;
}

// Whether the product along the residual of mode j tells of x_j less than half of what the product along x_j, combined of
// many, tells of the residual: the rest is errors, and would stay. A product that is new will not be measured again. (Mesa 22
// on a CPU crashes over an early return here.)
fn is_spoilt(j: u32) -> bool {
    let residual = 2u * arguments.modes + j;
    let is_there = residual < arguments.columns;
    let row = select(0u, residual, is_there);
    let told = abs(matrix[at(j, row)]);
    let carried = abs(matrix[at(row, j)]);
    let was_kept = is_there & (modes.again[j] == 0u) & (modes.kept[row] != 0u);
    return was_kept & (told < SPOILT * carried);
}

// The entries of gram, made symmetric, and which modes are measured again.
fn gather(lane: u32) {
    let chunks = (arguments.columns + 3u) / 4u;
    let entries = (arguments.columns + 2u) / 3u * chunks;
    for (var entry = lane; entry < entries; entry += THREADS) {
        let sums = modes.partials[entry * step.tiles];
        let row = 3u * (entry / chunks);
        for (var i = 0u; i < 4u; i += 1u) {
            let j = 4u * (entry % chunks) + i;
            if j < arguments.columns {
                matrix[at(row, j)] = sums.plain[i];
                if row + 1u < arguments.columns {
                    matrix[at(row + 1u, j)] = sums.small[i];
                }
                if row + 2u < arguments.columns {
                    matrix[at(row + 2u, j)] = sums.large[i];
                }
            }
        }
    }
    workgroupBarrier();
    if lane < arguments.modes {
        modes.again[lane] = u32(is_spoilt(lane));
    }
    workgroupBarrier();
    if lane < arguments.columns {
        for (var j = 0u; j < lane; j += 1u) {
            let mean = 0.5 * (matrix[at(lane, j)] + matrix[at(j, lane)]);
            matrix[at(lane, j)] = mean;
            matrix[at(j, lane)] = mean;
        }
        if modes.kept[lane] == 0u {
            matrix[at(lane, lane)] = DROPPED;
        }
    }
    workgroupBarrier();
}

// Pair `pair` of round `round`: with `players` seats, all pairs meet once in players - 1 rounds.
fn pair_of(pair: u32, round: u32, players: u32) -> vec2u {
    let seats = players - 1u;
    let a = select((round + pair) % seats, seats, pair == 0u);
    let b = (round + seats - pair) % seats;
    return vec2u(min(a, b), max(a, b));
}

// Leaves the eigenvalues, and in `vectors` the row of this thread of the matrix of eigenvectors.
fn diagonalize(lane: u32, vectors: ptr<function, array<f32, MAX_BASIS>>) {
    let takes_part = lane < arguments.columns;
    for (var b = 0u; b < arguments.columns; b += 1u) {
        (*vectors)[b] = select(0.0, 1.0, lane == b);
    }
    let players = arguments.columns + arguments.columns % 2u;
    for (var round = 0u; round < SWEEPS * (players - 1u); round += 1u) {
        if lane < players / 2u {
            let pair = pair_of(lane, round % (players - 1u), players);
            var turn = vec2f(1.0, 0.0);
            if pair.y < arguments.columns {
                let off = matrix[at(pair.x, pair.y)];
                if off != 0.0 {
                    let low = matrix[at(pair.x, pair.x)];
                    let high = matrix[at(pair.y, pair.y)];
                    let theta = (high - low) / (2.0 * off);
                    let sign = select(-1.0, 1.0, theta >= 0.0);
                    let t = sign / (abs(theta) + sqrt(fma(theta, theta, 1.0)));
                    let c = 1.0 / sqrt(fma(t, t, 1.0));
                    turn = vec2f(c, t * c);
                }
            }
            turns[lane] = turn;
        }
        workgroupBarrier();
        if takes_part {
            for (var i = 0u; i < players / 2u; i += 1u) {
                let pair = pair_of(i, round % (players - 1u), players);
                if pair.y < arguments.columns {
                    let c = turns[i].x;
                    let s = turns[i].y;
                    let x = matrix[at(lane, pair.x)];
                    let y = matrix[at(lane, pair.y)];
                    matrix[at(lane, pair.x)] = c * x - s * y;
                    matrix[at(lane, pair.y)] = s * x + c * y;
                    let v = (*vectors)[pair.x];
                    let w = (*vectors)[pair.y];
                    (*vectors)[pair.x] = c * v - s * w;
                    (*vectors)[pair.y] = s * v + c * w;
                }
            }
        }
        workgroupBarrier();
        if takes_part {
            for (var i = 0u; i < players / 2u; i += 1u) {
                let pair = pair_of(i, round % (players - 1u), players);
                if pair.y < arguments.columns {
                    let c = turns[i].x;
                    let s = turns[i].y;
                    let x = matrix[at(pair.x, lane)];
                    let y = matrix[at(pair.y, lane)];
                    matrix[at(pair.x, lane)] = c * x - s * y;
                    matrix[at(pair.y, lane)] = s * x + c * y;
                }
            }
        }
        workgroupBarrier();
    }
    // The rank of each eigenvalue among all.
    if takes_part {
        let mine = matrix[at(lane, lane)];
        var place = 0u;
        for (var b = 0u; b < arguments.columns; b += 1u) {
            let other = matrix[at(b, b)];
            place += u32(other < mine || (other == mine && b < lane));
        }
        eigenvalues[place] = mine;
        order[place] = lane;
    }
    workgroupBarrier();
}

// Which eigenvalue in ascending order belongs to mode j: the lowest from below, then the highest from above.
fn rank_of(j: u32, kept: u32) -> u32 {
    return select(kept - 1u - (j - arguments.lowest), j, j < arguments.lowest);
}

// Column j of the combination from `column`, made orthogonal to those before it; returns whether anything is left.
fn append(lane: u32, j: u32) -> bool {
    let takes_part = lane < arguments.columns;
    for (var round = 0u; round < 2u; round += 1u) {
        if lane < j {
            var along = 0.0;
            for (var s = 0u; s < arguments.columns; s += 1u) {
                along = fma(matrix[at(s, lane)], column[s], along);
            }
            turns[lane] = vec2f(along);
        }
        workgroupBarrier();
        if takes_part {
            var rest = column[lane];
            for (var b = 0u; b < j; b += 1u) {
                rest = fma(-turns[b].x, matrix[at(lane, b)], rest);
            }
            column[lane] = rest;
        }
        workgroupBarrier();
        var square = 0.0;
        for (var s = 0u; s < arguments.columns; s += 1u) {
            square = fma(column[s], column[s], square);
        }
        let length = sqrt(square);
        workgroupBarrier();
        if takes_part {
            column[lane] = select(0.0, column[lane] / length, length > DEPENDENT);
        }
        workgroupBarrier();
    }
    if takes_part {
        matrix[at(lane, j)] = column[lane];
    }
    // Of a vector that was dropped in the first round, nothing is left in the second.
    var left = false;
    for (var s = 0u; s < arguments.columns; s += 1u) {
        left = left | (column[s] != 0.0);
    }
    workgroupBarrier();
    return left;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) lane: u32) {
    let takes_part = lane < arguments.columns;
    gather(lane);
    var kept = 0u;
    var finite = true;
    for (var s = 0u; s < arguments.columns; s += 1u) {
        kept += modes.kept[s];
        for (var t = 0u; t < arguments.columns; t += 1u) {
            finite = finite & is_finite(matrix[at(s, t)]);
        }
    }
    workgroupBarrier();
    var vectors: array<f32, MAX_BASIS>;
    diagonalize(lane, &vectors);
    for (var j = 0u; j < arguments.modes; j += 1u) {
        if takes_part {
            column[lane] = vectors[order[rank_of(j, kept)]];
        }
        workgroupBarrier();
        append(lane, j);
    }
    for (var j = 0u; j < arguments.modes; j += 1u) {
        if takes_part {
            column[lane] = select(0.0, 1.0, lane == j);
        }
        workgroupBarrier();
        let is_kept = append(lane, arguments.modes + j);
        if lane == 0u && finite {
            modes.kept[arguments.modes + j] = u32(is_kept);
        }
    }
    if takes_part {
        for (var j = 0u; j < 2u * arguments.modes; j += 1u) {
            modes.combination[lane][j / 4u][j % 4u] = matrix[at(lane, j)];
        }
    }
    if lane == 0u {
        modes.valid &= u32(finite);
        if finite {
            for (var j = 0u; j < arguments.modes; j += 1u) {
                modes.curvatures[j] = eigenvalues[rank_of(j, kept)];
            }
            let ends = max(abs(eigenvalues[0]), abs(eigenvalues[kept - 1u]));
            modes.largest = max(modes.largest, ends);
        }
    }
}
