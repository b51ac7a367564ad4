// residuals: what the products that were measured from both sides say of the modes from arguments.column on, one for each
// row, over one tile.
//
//   plain: y.y, y.f, |y - x|^2, with f = Hy - C y;  f.f and e.e at two scales; with exact products y = x and e = 0
//
// in:  x, Hy, and y and e of opposite_product
// out: one `Partial` per tile and mode
// 16 bytes per element.
// builds on: modes_bindings, mode_sums, mode_pass, displacement_norms, partial, threads, switches, entry

fn terms(i: u32, thread: Thread) -> Partial {
    let mode = arguments.column + thread.workgroup.y;
    let x = workspace[element(mode, i)];
    var y = x;
    var e = vec4f();
    if DIFFERENCE != EXACT {
        y = workspace[element(arguments.modes + mode, i)];
        e = workspace[product_element(2u * arguments.modes + mode, i)];
    }
    let rounded = y - x;
    let f = fma(vec4f(-modes.curvatures[mode]), y, workspace[product_element(mode, i)]);
    var found = Partial();
    found.plain.x = dot_lanes(y, y);
    found.plain.y = dot_lanes(y, f);
    found.plain.z = dot_lanes(rounded, rounded);
    return with_norms(found, f, e);
}

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    leave_sums(thread, thread.workgroup.y, sums);
}
