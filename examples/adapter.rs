//! Prints the adapter that `dimer` would run on, or says what is missing.

fn main() -> Result<(), String> {
    let gpu = dimer::Gpu::new().map_err(|error| error.to_string())?;
    println!("{}", gpu.name());
    Ok(())
}
