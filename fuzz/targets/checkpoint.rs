//! Any bytes as a checkpoint, with a checksum that counts as right: an error, or an optimizer that goes on
//! like a saved one. Never a panic, a hang or a large allocation.
//!
//! `./dev fuzz` runs it, from the file of tests/oracles/checkpoint_v1.py.
#![no_main]

use std::cell::RefCell;

use dimer::{Base, Config, Gpu, HostObjective, Layout, LearningRate, Optimizer, Sgd};

thread_local! {
    /// With the layout and settings of that file.
    static OPTIMIZER: RefCell<Optimizer> = {
        let base = Base::Sgd(Sgd { momentum: 0.9, nesterov: false });
        let learning_rate = LearningRate::Fixed(1e-3);
        let config = Config { base, learning_rate, ..Config::default() };
        let layout = Layout::flat(3).expect("a layout");
        let gpu = Gpu::new().expect("a device");
        RefCell::new(Optimizer::new(&gpu, layout, config, &[1.0; 3]).expect("an optimizer"))
    };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    OPTIMIZER.with_borrow_mut(|optimizer| {
        let before = optimizer.steps();
        if optimizer.load_bytes(bytes).is_err() {
            assert_eq!(optimizer.steps(), before);
            return;
        }
        let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
            gradient.copy_from_slice(params);
            0.0
        });
        // It may fail with too many skips, or because of what the file says about them.
        let _ = optimizer.step(&mut objective);
        let _ = optimizer.telemetry().expect("a device that answers");
    });
});
