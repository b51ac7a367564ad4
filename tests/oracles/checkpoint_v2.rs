//! Made tests/oracles/checkpoint_v2.safetensors, as an example of this crate when its checkpoints had format 2; what it
//! printed is in tests/suite/checkpoint_files.rs.

use dimer::{
    Adam, Base, Config, Dimer, Displacement, Gpu, HostObjective, Layout, LearningRate, Optimizer,
    Schedule,
};

fn main() -> dimer::Result<()> {
    let mut layout = Layout::builder();
    layout.tensor("a", &[2, 2]).tensor("b", &[3]);
    let displacement = Displacement::Absolute(0.01);
    let dimer = Dimer { schedule: Schedule::Every(2), displacement, ..Dimer::default() };
    let config = Config {
        base: Base::Adam(Adam::default()),
        learning_rate: LearningRate::Fixed(0.01),
        dimer: Some(dimer),
        ..Config::default()
    };
    let start: Vec<f32> = (0..7).map(|i| 0.1 + 0.05 * i as f32).collect();
    let mut optimizer = Optimizer::new(&Gpu::new()?, layout.build()?, config, &start)?;
    // ½ Σ hᵢ θᵢ² with h = −2, −1, …, 4.
    let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
            *g = (i as f32 - 2.0) * x;
        }
        0.0
    });
    for _ in 0..9 {
        optimizer.step(&mut objective)?;
    }
    println!("{:?}", optimizer.telemetry()?.last());
    println!("{:?}", optimizer.read_params()?);
    optimizer.save("checkpoint_v2.safetensors")
}
