//! What ranks of MPI do, on 1, 2 and 4 of them, and how their jobs end when one is lost. Run without arguments, this starts
//! `mpirun` with itself for each test.

mod jobs;
mod work;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, option, name, folder] = &arguments[..]
        && option == work::OPTION
    {
        return work::run(name, folder.as_ref());
    }
    let mut trials = Vec::new();
    for (name, _) in work::TESTS {
        for size in [1, 2, 4] {
            let test = move || jobs::passes(name, size).map_err(Into::into);
            trials.push(Trial::test(format!("{name}_on_{size}"), test));
        }
    }
    for (name, end) in jobs::ENDS {
        trials.push(Trial::test(*name, move || end().map_err(Into::into)));
    }
    // Each uses all processors.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}
