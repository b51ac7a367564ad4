//! Jobs of `mpirun`, and how they end.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::work;

/// Longer than any job takes.
const DEADLINE: Duration = Duration::from_secs(120);

type Outcome = Result<(), String>;

/// The name of a test, and the test.
type End = (&'static str, fn() -> Outcome);

/// How jobs end in which a rank is lost.
pub const ENDS: &[End] = &[
    ("a_killed_rank_ends_the_job_and_leaves_a_checkpoint", || killed("train", 20)),
    ("a_killed_rank_leaves_a_checkpoint_of_all_slices", || killed("train_sharded", 8)),
    ("a_panic_is_an_error_on_the_others", panicked),
    ("an_error_on_one_rank_is_an_error_on_the_others", gave_up),
    ("an_exit_ends_the_job", exited),
];

/// A job that runs.
struct Job {
    mpirun: Child,
    began: Instant,
}

impl Job {
    fn start(name: &str, size: u32, folder: &Path) -> Self {
        let exe = std::env::current_exe().expect("the test's own path");
        let mut command = Command::new("mpirun");
        command.args(["-n", &size.to_string(), "--oversubscribe"]).arg(exe);
        command.args([work::OPTION, name]).arg(folder);
        // Containers run tests as root.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        let mpirun = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mpirun = mpirun.expect("mpirun; Debian has it in openmpi-bin");
        Self { mpirun, began: Instant::now() }
    }

    /// How it ended, and what all ranks and `mpirun` have said.
    fn end(mut self) -> Result<(ExitStatus, String), String> {
        let mut stdout = self.mpirun.stdout.take().expect("piped");
        let mut stderr = self.mpirun.stderr.take().expect("piped");
        let said = thread::spawn(move || {
            let mut said = String::new();
            stdout.read_to_string(&mut said).map(|_| said)
        });
        let warned = thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).map(|_| said)
        });
        let status = loop {
            if let Some(status) = self.mpirun.try_wait().map_err(|error| error.to_string())? {
                break Ok(status);
            }
            if self.began.elapsed() > DEADLINE {
                self.stop();
                break Err("the job had not ended after two minutes");
            }
            thread::sleep(Duration::from_millis(10));
        };
        let text = [said, warned].map(|it| it.join().expect("a reader").unwrap_or_default());
        let text = text.concat();
        status.map(|status| (status, text.clone())).map_err(|error| format!("{error}:\n{text}"))
    }
}

impl Job {
    /// Ends it if it runs.
    fn stop(&mut self) {
        if let Ok(None) = self.mpirun.try_wait() {
            // It ends its ranks when it is asked to.
            let _ = Command::new("kill").arg(self.mpirun.id().to_string()).status();
            thread::sleep(Duration::from_secs(3));
            let _ = self.mpirun.kill();
            let _ = self.mpirun.wait();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop();
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A job in which every rank passes.
pub fn passes(name: &str, size: u32) -> Outcome {
    let folder = folder();
    let (status, said) = Job::start(name, size, folder.path()).end()?;
    let passed = said.matches(work::PASSED).count();
    if status.success() && passed == size as usize {
        return Ok(());
    }
    Err(format!("{passed} of {size} ranks passed; {status}:\n{said}"))
}

/// So many times, at any moment, one rank gets a signal that it cannot see. The job ends, `mpirun` names the rank, and from
/// what was saved last three ranks come to the end of an undisturbed run.
fn killed(training: &str, attempts: u32) -> Outcome {
    let undisturbed = {
        let folder = folder();
        let (status, said) = Job::start(training, 3, folder.path()).end()?;
        if !status.success() {
            return Err(format!("{status}:\n{said}"));
        }
        work::end_of(folder.path())
    };
    let mut resumed = 0;
    for attempt in 0..attempts {
        let folder = folder();
        let rank: u32 = rand::random_range(0..3);
        let job = Job::start(&format!("{training}_slowly"), 3, folder.path());
        // Every second time when something was saved for sure; the training takes longer than both.
        let (from, most) =
            if attempt % 2 == 0 { ("training began", 1500) } else { ("the first save", 800) };
        let after = Duration::from_millis(rand::random_range(0..most));
        println!("attempt {attempt}: rank {rank}, {after:?} after {from}");
        let id = folder.path().join(format!("id{rank}"));
        wait_for(&id)?;
        if attempt % 2 == 1 {
            wait_for(&folder.path().join(work::CHECKPOINT))?;
        }
        thread::sleep(after);
        let id = std::fs::read_to_string(&id).map_err(|error| error.to_string())?;
        let kill = Command::new("kill").args(["-9", &id]).status();
        if !kill.is_ok_and(|status| status.success()) {
            return Err(format!("attempt {attempt}: there was no process {id} to kill"));
        }
        let (status, said) = job.end()?;
        let named = format!("process rank {rank} with PID");
        if status.success() || !said.contains(&named) || !said.contains("signal 9") {
            return Err(format!("{status}, without {named:?}:\n{said}"));
        }
        if !folder.path().join(work::CHECKPOINT).exists() {
            continue;
        }
        resumed += 1;
        let (status, said) = Job::start(training, 3, folder.path()).end()?;
        if !status.success() {
            return Err(format!("resumed, {status}:\n{said}"));
        }
        if work::end_of(folder.path()) != undisturbed {
            return Err(format!("attempt {attempt} ended elsewhere"));
        }
    }
    println!("{resumed} of {attempts} had saved");
    if resumed >= attempts / 2 {
        Ok(())
    } else {
        Err(format!("only {resumed} of {attempts} had saved"))
    }
}

/// What the others say.
const OTHERS: [&str; 2] = [
    "rank 0: the ranks cannot go on together: rank 1 has left the group of 3",
    "rank 2: the ranks cannot go on together: rank 1 has left the group of 3",
];

/// Waits until there is a file.
fn wait_for(path: &Path) -> Outcome {
    let began = Instant::now();
    while !path.exists() {
        if began.elapsed() > DEADLINE {
            return Err(format!("{} has not come", path.display()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A job that fails, in which this is said.
fn fails(name: &str, words: &[&str]) -> Outcome {
    let folder = folder();
    let (status, said) = Job::start(name, 3, folder.path()).end()?;
    match words.iter().find(|words| !said.contains(**words)) {
        None if !status.success() => Ok(()),
        missing => Err(format!("{status}, {missing:?} is missing:\n{said}")),
    }
}

fn panicked() -> Outcome {
    fails("panics", &["a panic of rank 1", OTHERS[0], OTHERS[1]])
}

fn gave_up() -> Outcome {
    fails("gives_up", &["rank 1 gives up", OTHERS[0], OTHERS[1]])
}

fn exited() -> Outcome {
    fails("exits", &["mpirun has exited due to process rank 1"])
}
