//! Prints the adapter that Burn and `dimer` would share, or says what is missing.

use dimer_burn::{DimerDevice, Error};

fn main() -> Result<(), Error> {
    println!("{}", DimerDevice::new()?.gpu().name());
    Ok(())
}
