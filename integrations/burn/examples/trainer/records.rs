//! Telemetry in files.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use dimer::Telemetry;

/// What writes each record of the telemetry as a row of CSV and as a line of JSON.
pub struct Records;

impl Records {
    /// Into `telemetry.csv` and `telemetry.jsonl` of a folder.
    pub fn create(
        folder: &Path,
    ) -> Result<impl FnMut(&Telemetry) -> Result<(), Box<dyn Error>> + Send + use<>, Box<dyn Error>>
    {
        std::fs::create_dir_all(folder)?;
        let mut rows = csv::Writer::from_path(folder.join("telemetry.csv"))?;
        let mut lines = BufWriter::new(File::create(folder.join("telemetry.jsonl"))?);
        Ok(move |record: &Telemetry| {
            rows.serialize(record)?;
            serde_json::to_writer(&mut lines, record)?;
            Ok(lines.write_all(b"\n")?)
        })
    }
}
