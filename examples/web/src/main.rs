//! Checks the kernels on the GPU of this machine, and prints the report as Markdown: `./dev check`.

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::ExitCode;
    use std::sync::OnceLock;
    use std::time::Instant;

    use dimer::Gpu;
    use dimer_web::checks::{CHECKS, LENGTHS};
    use dimer_web::{report, times};

    /// Beyond these a vector that fills many workgroups.
    const LONG: usize = 40_009;

    fn seconds() -> f64 {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64()
    }

    let gpu = match Gpu::new() {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // The report says what a panic said.
    std::panic::set_hook(Box::new(|_| {}));
    let lengths = [&LENGTHS[..], &[LONG]].concat();
    let told = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(other) => other.downcast_ref::<&str>().map_or("a panic".into(), |it| (*it).into()),
    };
    let mut checks = Vec::new();
    for check in &CHECKS {
        eprintln!("{:5.1} s  {}", seconds(), check.name);
        let run = || pollster::block_on(check.report(&gpu, &lengths));
        checks.push((check, catch_unwind(AssertUnwindSafe(run)).map_err(told)));
    }
    eprintln!("{:5.1} s  fused and unfused kernels", seconds());
    let times = pollster::block_on(times::measure(&gpu, seconds)).map_err(|it| it.to_string());
    eprintln!("{:5.1} s\n", seconds());
    print!("{}", report::markdown(&gpu, gpu.name(), &checks, &times));
    if checks.iter().all(|(_, outcome)| report::passes(outcome)) && times.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(target_family = "wasm")]
fn main() {}
