// Which direction events seek.
// builds on: step_bindings

// A curvature, or a factor on a product, of the matrix whose softest direction is sought: H or -H.
fn sought(of_hessian: f32) -> f32 {
    return step.mode_sign * of_hessian;
}
