//! Prints the losses of the training as JSON, outside a browser.

#[cfg(not(target_family = "wasm"))]
fn main() -> dimer::Result<()> {
    println!("{:?}", pollster::block_on(dimer_browser::losses())?);
    Ok(())
}

#[cfg(target_family = "wasm")]
fn main() {}
