//! What the page calls.

use dimer::Gpu;
use js_sys::Function;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::checks::{CHECKS, LENGTHS};
use crate::scenes::scenes;
use crate::{landscape, report, times, training};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(message: &str);

    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Says where it panicked, which a browser does not.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}

fn told<T>(result: dimer::Result<T>) -> Result<T, JsError> {
    result.map_err(|error| JsError::new(&error.to_string()))
}

/// The visitor's GPU, and what the browser says of it.
#[wasm_bindgen]
pub struct Device {
    gpu: Gpu,
    description: String,
}

#[wasm_bindgen]
impl Device {
    pub async fn open(description: String) -> Result<Device, JsError> {
        Ok(Self { gpu: told(Gpu::new_async().await)?, description })
    }

    pub fn name(&self) -> String {
        match &self.description[..] {
            "" => self.gpu.name().to_owned(),
            description => format!("{description} (WebGPU)"),
        }
    }
}

/// Names, ranges and starts of the scenes, and the names of the optimizers there, as JSON.
#[wasm_bindgen]
pub fn landscapes() -> String {
    let scenes = scenes();
    let names = scenes[0].optimizers().map(|(name, _)| name);
    let scenes = scenes.map(|scene| {
        json!({ "name": scene.name, "x": scene.x, "y": scene.y, "levels": scene.levels, "start": scene.start })
    });
    json!({ "scenes": scenes, "optimizers": names }).to_string()
}

/// Heights of a scene on a grid, row by row from the top.
#[wasm_bindgen]
pub fn heights(scene: usize, width: usize, height: usize) -> Vec<f32> {
    landscape::heights(&scenes()[scene], width, height)
}

#[wasm_bindgen]
pub struct Landscape(landscape::Landscape);

#[wasm_bindgen]
impl Landscape {
    #[wasm_bindgen(constructor)]
    pub fn new(device: &Device, scene: usize, x: f32, y: f32) -> Result<Landscape, JsError> {
        Ok(Self(told(landscape::Landscape::new(&device.gpu, scene, [x, y]))?))
    }

    /// For each optimizer x, y, energy, slope and N.
    pub async fn advance(&mut self, steps: u32) -> Result<Vec<f32>, JsError> {
        told(self.0.advance(steps).await)
    }
}

#[wasm_bindgen]
pub struct Training(training::Training);

#[wasm_bindgen]
impl Training {
    #[wasm_bindgen(constructor)]
    pub fn new(
        device: &Device,
        base: &str,
        from_curvature: bool,
        rate: f64,
        seed: u32,
    ) -> Result<Training, JsError> {
        let training =
            training::Training::new(&device.gpu, base, from_curvature, rate, seed.into());
        Ok(Self(told(training)?))
    }

    /// For each step, until the run ends, its number, loss, learning rate and sharpness.
    pub async fn advance(&mut self, steps: u32) -> Result<Vec<f32>, JsError> {
        told(self.0.advance(steps).await)
    }

    pub fn accuracy(&self) -> f64 {
        self.0.accuracy()
    }
}

/// Runs all checks and times the kernels; the report as Markdown. `progress` is called with what comes next, the number of
/// what is done, and of all.
#[wasm_bindgen]
pub async fn check(device: &Device, progress: &Function) -> Result<String, JsError> {
    let gpu = &device.gpu;
    let all = CHECKS.len() + 1;
    let say = |what: &str, done: usize| {
        // What the page does with it is its own concern.
        let _ = progress.call3(&JsValue::NULL, &what.into(), &done.into(), &all.into());
    };
    let mut checks = Vec::new();
    for (done, check) in CHECKS.iter().enumerate() {
        say(check.name, done);
        checks.push((check, Ok(check.report(gpu, &LENGTHS).await)));
    }
    say("fused and unfused kernels", CHECKS.len());
    let times = times::measure(gpu, || now() / 1e3).await.map_err(|error| error.to_string());
    Ok(report::markdown(gpu, &device.name(), &checks, &times))
}
