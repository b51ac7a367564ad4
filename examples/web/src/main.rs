//! Checks the kernels on the GPU of this machine, and prints the report as Markdown: `./dev check`.

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    use std::any::Any;
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::process::ExitCode;
    use std::sync::OnceLock;
    use std::time::Instant;

    use dimer::Gpu;
    use dimer_web::checks::{CHECKS, SHORT_LENGTHS};
    use dimer_web::report::{Outcome, Report};
    use dimer_web::times;

    /// The length of a vector that fills many workgroups, beyond those.
    const LONG: usize = 40_009;

    fn seconds() -> f64 {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64()
    }

    /// What it returns, or the words of its panic.
    fn caught<T>(work: impl FnOnce() -> T) -> Outcome<T> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic: Box<dyn Any + Send>| {
            match panic.downcast::<String>() {
                Ok(message) => *message,
                Err(other) => other.downcast_ref::<&str>().map_or("a panic", |it| it).to_owned(),
            }
        })
    }

    let gpu = match Gpu::new() {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let lengths = [&SHORT_LENGTHS[..], &[LONG]].concat();
    let name = gpu.name().to_owned();
    let mut report = Report { gpu: &gpu, name, checks: Vec::new(), times: None };
    // The report says what a panic said.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    for check in &CHECKS {
        eprintln!("{:5.1} s  {}", seconds(), check.name);
        let outcome = caught(|| pollster::block_on(check.report(&gpu, &lengths)));
        report.checks.push((check, outcome));
    }
    eprintln!("{:5.1} s  fused and unfused kernels", seconds());
    let times = caught(|| pollster::block_on(times::measure(&gpu, seconds)));
    report.times = Some(times.and_then(|times| times.map_err(|error| error.to_string())));
    set_hook(hook);
    eprintln!("{:5.1} s\n", seconds());
    print!("{}", report.markdown());
    if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(target_family = "wasm")]
fn main() {}
