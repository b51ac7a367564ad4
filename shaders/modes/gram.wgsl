// gram: the Hessian in the basis over one tile, for three rows from 3 y and four columns from 4 z.
//
//   S_i.HS_j
//
// in:  S, HS
// out: one `Partial` per tile, for each three rows and four columns
// 28 bytes per element.
// builds on: modes_bindings, mode_sums, mode_pass, partial, threads, switches, entry

// The vec4 of row `row`, or zero beyond the last.
fn row_at(row: u32, i: u32) -> vec4f {
    if row < arguments.columns {
        return workspace[element(row, i)];
    }
    return vec4f();
}

// The same of a product.
fn product_at(column: u32, i: u32) -> vec4f {
    if column < arguments.columns {
        return workspace[product_element(column, i)];
    }
    return vec4f();
}

fn terms(i: u32, thread: Thread) -> Partial {
    let row = 3u * thread.workgroup.y;
    let column = 4u * thread.workgroup.z;
    let a = product_at(column, i);
    let b = product_at(column + 1u, i);
    let c = product_at(column + 2u, i);
    let d = product_at(column + 3u, i);
    let x = row_at(row, i);
    let y = row_at(row + 1u, i);
    let z = row_at(row + 2u, i);
    return Partial(
        vec4f(dot_lanes(x, a), dot_lanes(x, b), dot_lanes(x, c), dot_lanes(x, d)),
        vec4f(dot_lanes(y, a), dot_lanes(y, b), dot_lanes(y, c), dot_lanes(y, d)),
        vec4f(dot_lanes(z, a), dot_lanes(z, b), dot_lanes(z, c), dot_lanes(z, d)),
    );
}

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    leave_sums(thread, thread.workgroup.y * thread.workgroups.z + thread.workgroup.z, sums);
}
