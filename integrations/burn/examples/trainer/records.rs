//! Telemetry in files.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use dimer::Telemetry;

/// Writes each record of the telemetry as a row of CSV and as a line of JSON.
pub struct Records {
    rows: csv::Writer<File>,
    lines: BufWriter<File>,
}

impl Records {
    /// Into `telemetry.csv` and `telemetry.jsonl` of a folder.
    pub fn create(folder: &Path) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir_all(folder)?;
        let rows = csv::Writer::from_path(folder.join("telemetry.csv"))?;
        let lines = BufWriter::new(File::create(folder.join("telemetry.jsonl"))?);
        Ok(Self { rows, lines })
    }

    pub fn write(&mut self, record: &Telemetry) -> Result<(), Box<dyn Error>> {
        self.rows.serialize(record)?;
        serde_json::to_writer(&mut self.lines, record)?;
        Ok(self.lines.write_all(b"\n")?)
    }
}
