//! What the page calls.

use dimer::Gpu;
use js_sys::Function;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::checks::{CHECKS, SHORT_LENGTHS};
use crate::report::Report;
use crate::scenes::{EVENTS, scenes};
use crate::{landscape, times, training};

#[wasm_bindgen]
extern "C" {
    /// Tells the page or its worker of an error that nothing catches.
    #[wasm_bindgen(js_name = reportError)]
    fn report_error(error: JsError);

    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// After a panic no call ever answers, and a browser does not say why.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| report_error(JsError::new(&panic.to_string()))));
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

/// Names, ranges, levels and starts of the scenes, the names of the optimizers there, and how many steps it is from one event
/// to the next, as JSON.
#[wasm_bindgen]
pub fn landscapes() -> String {
    let scenes = scenes();
    let names = scenes[0].optimizers().map(|(name, _)| name);
    let scenes = scenes.map(|scene| {
        json!({ "name": scene.name, "x": scene.x, "y": scene.y, "levels": scene.levels, "start": scene.start })
    });
    json!({ "scenes": scenes, "optimizers": names, "events": EVENTS }).to_string()
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

    /// Takes a step: for each optimizer x, y, energy, slope and N.
    pub async fn step(&mut self) -> Result<Vec<f32>, JsError> {
        told(self.0.step().await)
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

    /// A step, and the share of right answers after it.
    pub fn accuracy(&self) -> Vec<f64> {
        self.0.accuracy().to_vec()
    }
}

/// A report, and whether all is well.
#[wasm_bindgen(getter_with_clone)]
pub struct Checked {
    pub markdown: String,
    pub passes: bool,
}

/// Runs all checks and times the kernels. `progress` is called with what comes next, the number of what is done and of all,
/// and the report so far, which is all that there is if a check panics.
#[wasm_bindgen]
pub async fn check(device: &Device, progress: &Function) -> Result<Checked, JsError> {
    let all = CHECKS.len() + 1;
    let (gpu, name) = (&device.gpu, device.name());
    let mut report = Report { gpu, name, checks: Vec::new(), times: None };
    let say = |what: &str, report: &Report<'_>| {
        let numbers = [report.checks.len(), all].map(JsValue::from);
        let [done, all] = &numbers;
        // What the page does with it is its own concern.
        let _ = progress.call4(&JsValue::NULL, &what.into(), done, all, &report.markdown().into());
    };
    for check in &CHECKS {
        say(check.name, &report);
        report.checks.push((check, Ok(check.report(gpu, &SHORT_LENGTHS).await)));
    }
    say("fused and unfused kernels", &report);
    let times = times::measure(gpu, || now() / 1e3).await;
    report.times = Some(times.map_err(|error| error.to_string()));
    Ok(Checked { markdown: report.markdown(), passes: report.passes() })
}
