//! What each rank does.

use std::path::Path;
use std::process::ExitCode;

use dimer::{
    Collective, Config, CurvatureRate, Dimer, Displacement, Error, Evaluation, Gpu, Layout,
    LearningRate, Objective, Optimizer, RateProbe, Schedule, ShardedOptimizer, StepInfo, Storage,
    Threads,
};
use dimer_mpi::MpiGroup;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// With a name and a folder: what a rank shall do.
pub const OPTION: &str = "--as-rank";

/// What a rank says at its end.
pub const PASSED: &str = "has passed";

/// The files of a training.
pub const CHECKPOINT: &str = "checkpoint";
const END: &str = "end";

type Work = fn(&mut MpiGroup, &Path) -> dimer::Result<()>;

/// What passes on any number of ranks.
pub const TESTS: &[(&str, Work)] = &[
    ("collectives", collectives),
    ("groups", groups),
    ("calls_that_differ", calls_that_differ),
    ("leaving", leaving),
    ("trains_as_threads_do", trains_as_threads_do),
    ("an_error_of_one_is_told_to_all", an_error_of_one_is_told_to_all),
    ("ranks_must_be_alike", ranks_must_be_alike),
    ("checkpoints", checkpoints),
    ("sharded_state_has_the_bits_of_one_device", sharded),
];

/// What other tests start.
const OTHERS: &[(&str, Work)] = &[
    ("train", |group, folder| train(group, folder, 0)),
    ("train_slowly", |group, folder| train(group, folder, 20)),
    ("train_sharded", |group, folder| train_sharded(group, folder, 0)),
    ("train_sharded_slowly", |group, folder| train_sharded(group, folder, 20)),
    ("panics", |group, folder| part(group, folder, |_| panic!("a panic of rank 1"))),
    ("gives_up", |group, folder| part(group, folder, |_| Err(Error::objective("rank 1 gives up")))),
    ("exits", |group, folder| part(group, folder, |_| std::process::exit(0))),
];

pub fn run(name: &str, folder: &Path) -> ExitCode {
    let work = TESTS.iter().chain(OTHERS).find(|test| test.0 == name).expect("a test").1;
    let mut group = MpiGroup::world().expect("MPI");
    let rank = group.rank();
    // What is said after the group is gone may be lost.
    match work(&mut group, folder) {
        Ok(()) => {
            println!("rank {rank} {PASSED}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("rank {rank}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn values(rank: u32, len: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(rank.into());
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The same bits on all ranks, near the sum in f64; whole numbers are exact. The longest of each operation go to MPI in pieces.
fn collectives(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let (rank, size) = (group.rank(), group.size());
    assert!(group.local_rank() < size);
    for len in [0, 1, 3, 1000, 100_003, (1 << 24) + 5] {
        let mut sum = values(rank, len);
        let all: Vec<Vec<f32>> = (0..size).map(|rank| values(rank, len)).collect();
        group.sum(&mut sum)?;
        for (i, sum) in sum.iter().enumerate() {
            let expected: f64 = all.iter().map(|values| f64::from(values[i])).sum();
            // As many roundings of partial sums below `size`, each to 2⁻²⁴ of it.
            let bound = f64::from(size * size) * 2_f64.powi(-24);
            assert!((f64::from(*sum) - expected).abs() <= bound, "{sum} for {expected}");
        }
        let mut of_root = sum.clone();
        group.broadcast(bytemuck::cast_slice_mut(&mut of_root), size - 1)?;
        assert_eq!(bits(&of_root), bits(&sum), "of {len}");
    }
    // Whole numbers are exact.
    let mut whole = [if rank == 0 { 16_777_216.0 - (size - 1) as f32 } else { 1.0 }];
    group.sum(&mut whole)?;
    assert_eq!(whole, [16_777_216.0]);
    for len in [0, 1, 7, 70_001, (1 << 25) + 3] {
        let own: Vec<u8> = (0..len).map(|i| (i * (rank as usize + 3)) as u8).collect();
        for (other, bytes) in group.gather(&own)?.iter().enumerate() {
            let expected: Vec<u8> = (0..len).map(|i| (i * (other + 3)) as u8).collect();
            assert_eq!(*bytes, expected);
        }
    }
    let error = group.broadcast(&mut [], size).unwrap_err();
    assert!(matches!(error, Error::Collective { .. }), "{error}");
    let again = MpiGroup::world().unwrap_err();
    assert!(again.to_string().contains("initialised before"), "{again}");
    Ok(())
}

/// Groups of some of the ranks; ranks that leave two groups in different orders do not wait for each other.
fn groups(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let (rank, size) = (group.rank(), group.size());
    let halves = group.split(Some((rank % 2) as u16))?.expect("a group");
    assert_eq!(halves.rank(), rank / 2);
    assert_eq!(halves.size(), (size + 1 - rank % 2) / 2);
    // Two groups of one machine do not share its GPUs.
    assert_eq!(halves.local_rank(), group.local_rank());
    let first = group.split((rank == 0).then_some(7))?;
    assert_eq!(first.map(|group| (group.rank(), group.size())), (rank == 0).then_some((0, 1)));
    let mut pair = [(); 2].map(|()| group.split(Some(0)).unwrap().expect("a group"));
    if rank == 0 {
        let [one, mut other] = pair;
        drop(one);
        let error = other.sum(&mut [1.0]);
        assert_eq!(error.is_err(), size > 1);
    } else {
        let error = pair[0].sum(&mut [1.0]).unwrap_err();
        assert!(error.to_string().contains("rank 0 has left"), "{error}");
        drop(pair);
    }
    drop(halves);
    group.sum(&mut [0.0])
}

/// An error on all ranks, again and again, and no wait for ever; other groups go on.
fn calls_that_differ(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let (rank, size) = (group.rank(), group.size());
    let last = rank == size - 1;
    type Call = fn(&mut MpiGroup) -> dimer::Result<()>;
    let sum: Call = |group| group.sum(&mut [1.0; 4]);
    let cases: [(Call, &str); 3] = [
        (|group| group.gather(&[0; 16]).map(drop), "calls `gather` with 16 bytes"),
        (|group| group.sum(&mut [1.0; 5]), "calls `sum` with 5 values"),
        (|group| group.broadcast(&mut [0; 4], 0), "calls `broadcast` from rank 0 with 4 bytes"),
    ];
    for (other, words) in cases {
        let mut beside = group.split(Some(0))?.expect("a group");
        sum(&mut beside)?;
        for _ in 0..2 {
            let outcome = if last { other(&mut beside) } else { sum(&mut beside) };
            if size == 1 {
                outcome?;
                continue;
            }
            let error = outcome.expect_err(words);
            assert!(matches!(error, Error::Collective { .. }), "{error}");
            assert!(error.to_string().contains(&format!("rank {} {words}", size - 1)), "{error}");
        }
        drop(beside);
        group.sum(&mut [0.0])?;
    }
    Ok(())
}

/// A rank that leaves, even before the others' first call.
fn leaving(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let (rank, size) = (group.rank(), group.size());
    for calls in [0, 1, 5] {
        let mut beside = group.split(Some(0))?.expect("a group");
        for _ in 0..calls {
            beside.sum(&mut [1.0; 9])?;
        }
        if rank == 0 {
            drop(beside);
        } else {
            for _ in 0..2 {
                let error = beside.gather(&[1]).unwrap_err().to_string();
                assert!(error.contains(&format!("rank 0 has left the group of {size}")), "{error}");
            }
        }
        group.sum(&mut [0.0])?;
    }
    Ok(())
}

const LEN: usize = 1003;

/// ½ Σ hᵢ (θᵢ − cᵢ)², with h and c of each rank's own and c that changes with the minibatch.
struct Share {
    h: Vec<f32>,
    c: Vec<f32>,
    sign: f32,
    /// In which evaluation it fails.
    fails: Option<usize>,
    evaluations: usize,
    /// What a step takes at least.
    pause: u64,
}

impl Share {
    fn new(rank: u32) -> Self {
        Self::of(rank, LEN)
    }

    fn of(rank: u32, len: usize) -> Self {
        let h = values(rank + 100, len).iter().map(|h| h + 1.5).collect();
        let c = values(rank + 200, len);
        Self { h, c, sign: 1.0, fails: None, evaluations: 0, pause: 0 }
    }
}

impl Objective for Share {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        let minibatch = step.index - u64::from(step.repeats_minibatch);
        self.sign = if minibatch.is_multiple_of(2) { 1.0 } else { -1.0 };
        std::thread::sleep(std::time::Duration::from_millis(self.pause));
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let call = self.evaluations;
        self.evaluations += 1;
        if self.fails == Some(call) {
            return Err(Error::objective("the loader has no data"));
        }
        let theta = at.read_params()?;
        let errors: Vec<f32> = theta.iter().zip(&self.c).map(|(x, c)| x - self.sign * c).collect();
        let gradient: Vec<f32> = errors.iter().zip(&self.h).map(|(e, h)| h * e).collect();
        at.write_loss(gradient.iter().zip(&errors).map(|(g, e)| 0.5 * g * e).sum());
        at.write_gradient(&gradient)
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

fn configs() -> Vec<Config> {
    let dimer = Dimer {
        schedule: Schedule::Every(3),
        displacement: Displacement::Absolute(0.5),
        ..Dimer::default()
    };
    let rate = CurvatureRate {
        probe: RateProbe::RepeatedMinibatch,
        interval: 4,
        burn_in: 3,
        ..CurvatureRate::default()
    };
    let fixed = Config { learning_rate: LearningRate::Fixed(1e-2), ..Config::default() };
    vec![
        Config { dimer: None, ..fixed.clone() },
        Config { dimer: Some(dimer.clone()), ..fixed },
        Config {
            learning_rate: LearningRate::Curvature(rate),
            dimer: Some(dimer),
            ..Config::default()
        },
    ]
}

fn make(gpu: &Gpu, config: &Config) -> Optimizer {
    let layout = Layout::flat(LEN).expect("a layout");
    Optimizer::new(gpu, layout, config.clone(), &values(1, LEN)).expect("an optimizer")
}

/// Parameters and losses after so many steps.
fn trained<C: Collective>(gpu: &Gpu, config: &Config, group: C) -> dimer::Result<Vec<u32>> {
    let mut optimizer = make(gpu, config);
    let share = Share::new(group.rank());
    let mut objective = optimizer.data_parallel(share, group)?;
    for _ in 0..20 {
        optimizer.step(&mut objective)?;
    }
    optimizer.check_ranks(objective.group_mut())?;
    let mut end = bits(&optimizer.read_params()?);
    let losses = optimizer.telemetry()?;
    end.extend(losses.iter().map(|record| record.loss.expect("a loss").to_bits()));
    Ok(end)
}

/// The same bits on all ranks. On two, where there is one order of adding, those of two threads; on more, as near to them as
/// rounding allows.
fn trains_as_threads_do(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    for config in configs() {
        let found = trained(&gpu, &config, &mut *group)?;
        let all = group.gather(bytemuck::cast_slice(&found))?;
        assert!(all.iter().all(|other| other == &all[0]));
        let (gpu, config) = (&gpu, &config);
        let threads = std::thread::scope(|scope| {
            let ranks = Threads::group(group.size())?.into_iter();
            let ranks: Vec<_> =
                ranks.map(|rank| scope.spawn(move || trained(gpu, config, rank))).collect();
            let ends = ranks.into_iter().map(|rank| rank.join().expect("no panic"));
            ends.collect::<dimer::Result<Vec<_>>>()
        })?;
        if group.size() <= 2 {
            assert_eq!(found, threads[0]);
        }
        for (found, thread) in found.iter().zip(&threads[0]) {
            let [found, thread] = [found, thread].map(|bits| f64::from(f32::from_bits(*bits)));
            // A step of AdamW turns the rounding of a small gradient into at most a thousandth of a rate.
            let bound = 1e-3 * (1.0 + thread.abs());
            assert!((found - thread).abs() <= bound, "{found} for {thread}, {config:?}");
        }
    }
    Ok(())
}

/// Every rank gets the words, nothing has changed, and a retry goes on as if nothing had been.
fn an_error_of_one_is_told_to_all(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let config = &configs()[1];
    let undisturbed = trained(&gpu, config, &mut *group)?;
    let mut optimizer = make(&gpu, config);
    let mut share = Share::new(group.rank());
    let last = group.size() - 1;
    share.fails = (group.rank() == last).then_some(5);
    let mut objective = optimizer.data_parallel(share, &mut *group)?;
    let mut errors = Vec::new();
    while optimizer.steps() < 20 {
        let before = bits(&optimizer.read_params()?);
        if let Err(error) = optimizer.step(&mut objective) {
            assert!(matches!(error, Error::Objective(_)), "{error}");
            assert_eq!(bits(&optimizer.read_params()?), before);
            errors.push(error.to_string());
        }
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("the loader has no data"), "{errors:?}");
    let is_named = errors[0].contains(&format!("on rank {last}"));
    assert_eq!(is_named, objective.group().rank() != last, "{errors:?}");
    let end = bits(&optimizer.read_params()?);
    assert_eq!(end, undisturbed[..LEN]);
    // A gradient that is none.
    let mut share = Share::new(0);
    if objective.group().rank() == 0 {
        share.c[7] = f32::NAN;
    }
    *objective.objective_mut() = share;
    optimizer.step(&mut objective)?;
    assert_eq!(bits(&optimizer.read_params()?), end);
    assert!(optimizer.telemetry()?.last().expect("a record").skipped);
    Ok(())
}

fn ranks_must_be_alike(group: &mut MpiGroup, _: &Path) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let last = group.rank() == group.size() - 1;
    let mut config = configs()[1].clone();
    if last {
        config.weight_decay = 0.5;
    }
    let mut optimizer = make(&gpu, &config);
    let outcome = optimizer.check_ranks(group);
    if group.size() == 1 {
        return outcome;
    }
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Collective { .. }), "{error}");
    let words =
        format!("`config.weight_decay` is 0.01 on rank 0, but 0.5 on rank {}", group.size() - 1);
    assert!(error.to_string().contains(&words), "{error}");
    make(&gpu, &configs()[1]).check_ranks(group)
}

/// Rank 0 saves, all load.
fn checkpoints(group: &mut MpiGroup, folder: &Path) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let path = folder.join(CHECKPOINT);
    for config in configs() {
        let mut optimizer = make(&gpu, &config);
        let share = Share::new(group.rank());
        let mut objective = optimizer.data_parallel(share, &mut *group)?;
        let mut ends = Vec::new();
        for _ in 0..5 {
            optimizer.step(&mut objective)?;
        }
        optimizer.save_ranks(objective.group_mut(), &path)?;
        for _ in 0..2 {
            for _ in 0..5 {
                optimizer.step(&mut objective)?;
            }
            ends.push(bits(&optimizer.read_params()?));
            optimizer.load_ranks(objective.group_mut(), &path)?;
        }
        assert_eq!(ends[0], ends[1]);
        optimizer.check_ranks(objective.group_mut())?;
    }
    let mut optimizer = make(&gpu, &configs()[0]);
    let error = optimizer.save_ranks(group, folder.join("no folder").join("file"));
    let error = error.unwrap_err();
    assert!(error.to_string().contains("no folder"), "{error}");
    Ok(())
}

/// Trains from what is saved in the folder, if anything is, and saves every tenth step; at the end rank 0 says where it is.
fn train(group: &mut MpiGroup, folder: &Path, pause: u64) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let path = folder.join(CHECKPOINT);
    let mut optimizer = make(&gpu, &configs()[2]);
    // Another rank may save before this one looks.
    let exists = group.gather(&[u8::from(path.exists())])?[0][0] == 1;
    if exists {
        optimizer.load_ranks(group, &path)?;
        assert!(optimizer.steps() >= 10);
    }
    let share = Share { pause, ..Share::new(group.rank()) };
    let mut objective = optimizer.data_parallel(share, &mut *group)?;
    write(&folder.join(format!("id{}", objective.group().rank())), &std::process::id().to_string());
    while optimizer.steps() < 100 {
        optimizer.step(&mut objective)?;
        if optimizer.steps().is_multiple_of(10) {
            optimizer.save_ranks(objective.group_mut(), &path)?;
        }
    }
    if objective.group().rank() == 0 {
        write(&folder.join(END), &format!("{:?}", bits(&optimizer.read_params()?)));
    }
    Ok(())
}

/// Five tiles: with four ranks, two of them share the last.
const LONG: usize = 17_003;

fn cut<C: Collective>(config: &Config, group: C) -> dimer::Result<ShardedOptimizer<C>> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    ShardedOptimizer::new(&gpu, Layout::flat(LONG)?, config.clone(), &values(1, LONG), group)
}

/// The steps of one device on any number of ranks, which goes on from what they have saved.
fn sharded(group: &mut MpiGroup, folder: &Path) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let path = folder.join(CHECKPOINT);
    let stored = |config: &Config| Config { storage: Storage::Bf16, ..config.clone() };
    let configs = configs();
    for config in configs.iter().cloned().chain(configs.last().map(stored)) {
        let mut one = Optimizer::new(&gpu, Layout::flat(LONG)?, config.clone(), &values(1, LONG))?;
        let mut optimizer = cut(&config, &mut *group)?;
        // The same gradients on all ranks.
        let (mut objective, mut same) = (Share::of(0, LONG), Share::of(0, LONG));
        for step in 0..14 {
            one.step(&mut same)?;
            optimizer.step(&mut objective)?;
            if step == 8 {
                optimizer.save(&path)?;
            }
        }
        optimizer.check_ranks()?;
        let end = bits(&one.read_params()?);
        assert_eq!(bits(&optimizer.read_params()?), end, "{config:?}");
        assert_eq!(optimizer.read_orientation()?, one.read_orientation()?);
        one.load(&path)?;
        optimizer.load(&path)?;
        for _ in 9..14 {
            one.step(&mut same)?;
            optimizer.step(&mut objective)?;
        }
        assert_eq!(bits(&one.read_params()?), end, "{config:?}");
        assert_eq!(bits(&optimizer.read_params()?), end, "{config:?}");
    }
    Ok(())
}

/// As [`train`], with state that is cut among the ranks.
fn train_sharded(group: &mut MpiGroup, folder: &Path, pause: u64) -> dimer::Result<()> {
    let path = folder.join(CHECKPOINT);
    let exists = group.gather(&[u8::from(path.exists())])?[0][0] == 1;
    let mut optimizer = cut(&configs()[2], &mut *group)?;
    if exists {
        optimizer.load(&path)?;
        assert!(optimizer.steps() >= 10);
    }
    let mut objective = Share { pause, ..Share::of(0, LONG) };
    write(&folder.join(format!("id{}", optimizer.group().rank())), &std::process::id().to_string());
    while optimizer.steps() < 100 {
        optimizer.step(&mut objective)?;
        if optimizer.steps().is_multiple_of(10) {
            optimizer.save(&path)?;
        }
    }
    if optimizer.group().rank() == 0 {
        write(&folder.join(END), &format!("{:?}", bits(&optimizer.read_params()?)));
    }
    Ok(())
}

/// A file that is there with all that it shall hold, or not at all.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path)).expect("a file");
}

/// Where a training came to.
pub fn end_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(END)).expect("an end")
}

/// Rank 1 goes its own way after some steps.
fn part(
    group: &mut MpiGroup,
    folder: &Path,
    goes: fn(&mut Optimizer) -> dimer::Result<()>,
) -> dimer::Result<()> {
    let gpu = Gpu::for_rank(group.local_rank())?;
    let rank = group.rank();
    let mut optimizer = make(&gpu, &configs()[1]);
    let mut objective = optimizer.data_parallel(Share::new(rank), &mut *group)?;
    for _ in 0..7 {
        optimizer.step(&mut objective)?;
    }
    if rank == 1 {
        goes(&mut optimizer)?;
    }
    let error = optimizer.step(&mut objective).expect_err("rank 1 is gone");
    assert!(matches!(error, Error::Collective { .. }), "{error}");
    // There is time to save.
    optimizer.save(folder.join(format!("last{rank}")))?;
    Err(error)
}
