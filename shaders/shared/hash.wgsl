// Random bits without a state.

// PCG-RXS-M-XS (O'Neill 2014).
fn mixed(x: u32) -> u32 {
    let state = x * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}
