//! Energy surfaces with known saddles, in f64.

/// A function of the plane: its value and its gradient.
pub type Surface = fn(x: f64, y: f64) -> (f64, [f64; 2]);

/// The Müller–Brown surface (Müller, Brown 1979, Theor. Chim. Acta 53, 75): three minima, two saddles.
pub fn muller_brown(x: f64, y: f64) -> (f64, [f64; 2]) {
    const HEIGHT: [f64; 4] = [-200.0, -100.0, -170.0, 15.0];
    const XX: [f64; 4] = [-1.0, -1.0, -6.5, 0.7];
    const XY: [f64; 4] = [0.0, 0.0, 11.0, 0.6];
    const YY: [f64; 4] = [-10.0, -10.0, -6.5, 0.7];
    const CENTRE: [[f64; 2]; 4] = [[1.0, 0.0], [0.0, 0.5], [-0.5, 1.5], [-1.0, 1.0]];
    let (mut energy, mut gradient) = (0.0, [0.0; 2]);
    for i in 0..4 {
        let (dx, dy) = (x - CENTRE[i][0], y - CENTRE[i][1]);
        let term = HEIGHT[i] * (XX[i] * dx * dx + XY[i] * dx * dy + YY[i] * dy * dy).exp();
        energy += term;
        gradient[0] += term * (2.0 * XX[i] * dx + XY[i] * dy);
        gradient[1] += term * (XY[i] * dx + 2.0 * YY[i] * dy);
    }
    (energy, gradient)
}

/// x³ − 3xy², flat to second order at its saddle, walled in by the fourth power of the distance.
pub fn monkey_saddle(x: f64, y: f64) -> (f64, [f64; 2]) {
    let square = x * x + y * y;
    let energy = x * x * x - 3.0 * x * y * y + 0.5 * square * square;
    (energy, [3.0 * (x * x - y * y) + 2.0 * square * x, -6.0 * x * y + 2.0 * square * y])
}

/// x² − y² + y⁴/4: a saddle between two minima at y = ±√2.
pub fn double_well(x: f64, y: f64) -> (f64, [f64; 2]) {
    (x * x - y * y + y.powi(4) / 4.0, [2.0 * x, -2.0 * y + y.powi(3)])
}

/// Lennard-Jones atoms, ε = σ = 1: their energy; the gradient goes into the second argument.
pub fn lennard_jones(positions: &[f64], gradient: &mut [f64]) -> f64 {
    gradient.fill(0.0);
    let mut energy = 0.0;
    for i in 0..positions.len() / 3 {
        for j in 0..i {
            let offset: [f64; 3] =
                std::array::from_fn(|axis| positions[3 * i + axis] - positions[3 * j + axis]);
            let square: f64 = offset.iter().map(|x| x * x).sum();
            let sixth = square.powi(-3);
            energy += 4.0 * (sixth * sixth - sixth);
            let slope = (24.0 * sixth - 48.0 * sixth * sixth) / square;
            for axis in 0..3 {
                gradient[3 * i + axis] += slope * offset[axis];
                gradient[3 * j + axis] -= slope * offset[axis];
            }
        }
    }
    energy
}
