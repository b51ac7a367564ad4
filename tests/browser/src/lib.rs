//! What runs in a browser: the digits network in training, which runs outside a browser too, so that its losses can be
//! compared; a checkpoint; and errors. Kernels are checked by the page of `examples/web`.

#[path = "../../common/values.rs"]
mod common;
#[path = "../../../examples/digits/data.rs"]
mod data;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../../examples/digits/network.rs"]
mod network;

use dimer::{Config, Dimer, Gpu, Layout, Optimizer, Schedule, Tuning};

/// Steps of the training.
const STEPS: u64 = 100;

/// The loss of each step: AdamW with its rate from curvature, and a dimer whose event comes every tenth step.
pub async fn losses() -> dimer::Result<Vec<f32>> {
    let gpu = Gpu::new_async().await?;
    // One tuning, so that sums are rounded alike.
    let gpu = gpu.with_tuning(Tuning { workgroups: 32, ..Tuning::default() })?;
    let (train, _) = data::load();
    let dimer = Dimer { schedule: Schedule::Every(10), ..Dimer::default() };
    let config = Config { dimer: Some(dimer), ..Config::default() };
    let start = network::initial_params(1);
    let mut optimizer = Optimizer::new(&gpu, network::layout()?, config, &start)?;
    let mut training = network::Training::new(&optimizer, &train, 128, 1);
    for _ in 0..STEPS {
        optimizer.step_async(&mut training).await?;
    }
    let records = optimizer.telemetry_async().await?;
    Ok(records.iter().map(|record| record.loss.unwrap_or(f32::NAN)).collect())
}

#[cfg(target_family = "wasm")]
mod page {
    use wasm_bindgen::prelude::*;

    use super::*;

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_namespace = console)]
        fn error(message: &str);
    }

    /// Says where it panicked, which a browser does not.
    #[wasm_bindgen(start)]
    fn start() {
        std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
    }

    fn told<T>(result: dimer::Result<T>) -> Result<T, String> {
        result.map_err(|error| error.to_string())
    }

    /// Name of the adapter.
    #[wasm_bindgen]
    pub async fn adapter() -> Result<String, String> {
        Ok(told(Gpu::new_async().await)?.name().to_owned())
    }

    #[wasm_bindgen]
    pub async fn training() -> Result<Vec<f32>, String> {
        told(losses().await)
    }

    /// A checkpoint through bytes: the step after it gives the same bits.
    #[wasm_bindgen]
    pub async fn checkpoint() -> Result<bool, String> {
        told(resumes().await)
    }

    fn error_of(result: dimer::Result<()>) -> String {
        result.err().map_or_else(|| "nothing".into(), |error| error.to_string())
    }

    /// What WebGPU refuses is an error of a call, if a later one.
    #[wasm_bindgen]
    pub async fn refused() -> String {
        error_of(refusal().await)
    }

    /// So is the loss of the device.
    #[wasm_bindgen]
    pub async fn lost() -> String {
        error_of(loss_of_device().await)
    }
}

/// Whether an optimizer that goes on from the bytes of another one takes the same step.
pub async fn resumes() -> dimer::Result<bool> {
    let gpu = Gpu::new_async().await?;
    let (train, _) = data::load();
    let start = network::initial_params(2);
    let new = || Optimizer::new(&gpu, network::layout()?, Config::default(), &start);
    let mut first = new()?;
    let mut training = network::Training::on_all(&first, &train, network::Loss::CrossEntropy);
    for _ in 0..3 {
        first.step_async(&mut training).await?;
    }
    let mut second = new()?;
    second.load_bytes_async(&first.save_bytes_async().await?).await?;
    let mut again = network::Training::on_all(&second, &train, network::Loss::CrossEntropy);
    first.step_async(&mut training).await?;
    second.step_async(&mut again).await?;
    let [first, second] = [first.read_params_async().await?, second.read_params_async().await?];
    Ok(common::bits(&first) == common::bits(&second))
}

/// A step of an objective that clears more than there is.
pub async fn refusal() -> dimer::Result<()> {
    struct Wrong;
    impl dimer::Objective for Wrong {
        fn gradient(&mut self, at: dimer::Evaluation<'_>) -> dimer::Result<()> {
            let beyond = at.gradient.buffer.size() + 4;
            at.encoder.clear_buffer(&at.gradient.buffer, beyond, Some(4));
            Ok(())
        }
    }
    let mut optimizer = small(&Gpu::new_async().await?)?;
    optimizer.step_async(&mut Wrong).await?;
    optimizer.read_params_async().await.map(drop)
}

/// Steps on a device that is gone.
pub async fn loss_of_device() -> dimer::Result<()> {
    let mut optimizer = small(&Gpu::new_async().await?)?;
    optimizer.gpu().device().destroy();
    for _ in 0..100 {
        optimizer.step_async(&mut Nothing).await?;
    }
    optimizer.read_params_async().await.map(drop)
}

fn small(gpu: &Gpu) -> dimer::Result<Optimizer> {
    Optimizer::new(gpu, Layout::flat(8)?, alone(), &[1.0; 8])
}

/// Without a dimer, at a fixed rate.
fn alone() -> Config {
    Config { dimer: None, ..common::fixed_rate() }
}

struct Nothing;

impl dimer::Objective for Nothing {
    fn gradient(&mut self, _at: dimer::Evaluation<'_>) -> dimer::Result<()> {
        Ok(())
    }
}
