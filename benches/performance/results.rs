//! What was measured.

use serde::Serialize;

use crate::rounds::{Spread, Times};

/// One contestant at one size.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The part of the bench, and what is done in it.
    pub part: &'static str,
    pub operation: &'static str,
    pub name: String,
    pub parameters: u64,
    /// That a call moves for each parameter.
    pub bytes_per_parameter: u64,
    #[serde(flatten)]
    pub times: Times,
}

impl Row {
    /// By the GPU's clock where there is one, else the host's.
    pub fn time(&self) -> Spread {
        self.times.gpu.unwrap_or(self.times.wall)
    }

    /// Bytes per nanosecond are gigabytes per second.
    pub fn gigabytes_per_second(&self) -> f64 {
        (self.bytes_per_parameter * self.parameters) as f64 / self.time().median
    }
}

/// The time of the host in one kind of call.
#[derive(Debug, Serialize)]
pub struct HostRow {
    pub call: &'static str,
    pub nanoseconds: Spread,
}

/// One kernel, or a whole event, with one tuning.
#[derive(Debug, Serialize)]
pub struct SweepRow {
    pub parameters: u64,
    pub tuning: dimer::Tuning,
    pub kernel: &'static str,
    pub bytes_per_parameter: u64,
    /// On the GPU.
    pub nanoseconds: Spread,
    /// Its time over that of the device's own tuning, which took turns with it.
    pub relative: f64,
}

impl SweepRow {
    pub fn gigabytes_per_second(&self) -> f64 {
        (self.bytes_per_parameter * self.parameters) as f64 / self.nanoseconds.median
    }
}

/// A peer, timed by another program.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct PeerRow {
    pub name: String,
    pub parameters: u64,
    pub milliseconds: f64,
    /// By CUDA's events.
    pub gpu_milliseconds: Option<f64>,
}

/// All of it.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    pub rows: Vec<Row>,
    pub host: Vec<HostRow>,
    pub sweep: Vec<SweepRow>,
    pub peers: Vec<PeerRow>,
    /// How tests of this device ended.
    pub tests: Vec<String>,
    /// What there was no time or memory for.
    pub left_out: Vec<String>,
}

impl Results {
    pub fn leave_out(&mut self, what: String, why: &str) {
        println!("{what}: left out, {why}");
        self.left_out.push(format!("{what} ({why})"));
    }

    /// Of one part, at one size.
    pub fn find(&self, part: &str, operation: &str, name: &str, parameters: u64) -> Option<&Row> {
        self.rows.iter().find(|row| {
            (row.part, row.operation, row.name.as_str()) == (part, operation, name)
                && row.parameters == parameters
        })
    }

    /// The sizes that a part has, in order.
    pub fn sizes(&self, part: &str) -> Vec<u64> {
        let of_part = self.rows.iter().filter(|row| row.part == part);
        let sizes: std::collections::BTreeSet<u64> = of_part.map(|row| row.parameters).collect();
        sizes.into_iter().collect()
    }
}
