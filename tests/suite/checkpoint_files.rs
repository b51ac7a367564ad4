//! Checkpoint files: what is in them, and files that are damaged, of something else, of another version, or
//! that no run has written.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::checkpoints::*;
use crate::common::*;
use dimer::{
    Adam, Base, Config, Dimer, Displacement, EarlyExit, Error, FullBatch, Group, Layout,
    LearningRate, OnPlateau, Optimizer, Regime, Rotation, RotationStop, Schedule,
};
use rand::RngExt;

/// The tensors are named and shaped by the layout, as Python's safetensors would see them.
#[test]
fn tensors_are_named_by_the_layout() {
    let scratch = Scratch::new();
    let mut optimizer = make(&fixed_rate(), 0.25);
    optimizer.save(scratch.file()).unwrap();
    let bytes = std::fs::read(scratch.file()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for vector in ["params", "orientation", "first_moment", "second_moment", "direction"] {
        for (tensor, shape) in [("a.weight", &[5, 12][..]), ("a.bias", &[5]), ("b", &[65])] {
            assert_eq!(file.tensor(&format!("{vector}/{tensor}")).unwrap().shape(), shape);
        }
    }
    let weight = file.tensor("params/a.weight").unwrap();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(weight.data());
    assert_eq!(values, [0.25; 60]);
    let left: Vec<_> = std::fs::read_dir(scratch.0.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left");
}

#[test]
fn another_layout_or_other_settings_are_named() {
    let scratch = Scratch::new();
    let config = fixed_rate();
    make(&config, 0.3).save(scratch.file()).unwrap();
    let dimer = || config.dimer.clone().unwrap();
    for (other, words) in [
        (Config { base: ADAM, ..config.clone() }, "config.base"),
        (Config { weight_decay: 0.5, ..config.clone() }, "config.weight_decay"),
        (Config { dimer: None, ..config.clone() }, "config.dimer"),
        (
            Config { dimer: Some(Dimer { seed: 1, ..dimer() }), ..config.clone() },
            "config.dimer.seed",
        ),
        (
            Config {
                base: Base::AdamW(Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 }),
                ..config.clone()
            },
            "config.base.AdamW.beta2",
        ),
    ] {
        let mut optimizer = make(&other, 1.0);
        let before = bits(&optimizer.read_params().unwrap());
        let found = reason(optimizer.load(scratch.file()));
        assert!(found.contains(words), "{found}");
        assert_eq!(bits(&optimizer.read_params().unwrap()), before);
    }
    let of = |layout: Layout| {
        let start = vec![1.0; layout.len()];
        let mut optimizer = Optimizer::new(&gpu(), layout, config.clone(), &start).unwrap();
        reason(optimizer.load(scratch.file()))
    };
    let found = of(Layout::flat(LEN).unwrap());
    assert!(found.contains("tensor `params`"), "{found}");
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    builder.tensor("a.weight", &[12, 5]).tensor_in(slow, "a.bias", &[5]).tensor("b", &[65]);
    let found = of(builder.build().unwrap());
    assert!(found.contains("`params/a.weight` has the shape [5, 12]"), "{found}");
    let missing = reason(make(&config, 1.0).load(scratch.0.path().join("nothing")));
    assert!(missing.contains("No such file") || missing.contains("not find"), "{missing}");
}

/// A small file, cut at every length, and with 10 000 random bytes changed: an error, or what was saved.
#[test]
fn damaged_files_are_errors() {
    let scratch = Scratch::new();
    let config = Config { dimer: None, base: MOMENTUM, ..fixed_rate() };
    let small = |start: f32| {
        Optimizer::new(&gpu(), Layout::flat(3).unwrap(), config.clone(), &[start; 3]).unwrap()
    };
    let mut optimizer = small(0.5);
    for _ in 0..3 {
        optimizer.step(&mut quadratic(vec![1.0, 2.0, 3.0])).unwrap();
    }
    optimizer.save(scratch.file()).unwrap();
    let expected = bits(&optimizer.read_params().unwrap());
    let good = std::fs::read(scratch.file()).unwrap();
    let mut victim = small(9.0);
    let untouched = bits(&victim.read_params().unwrap());
    let mut try_load = |bytes: &[u8]| {
        std::fs::write(scratch.file(), bytes).unwrap();
        let loaded = victim.load(scratch.file());
        let found = bits(&victim.read_params().unwrap());
        match &loaded {
            Ok(()) => assert_eq!(found, expected),
            Err(error) => {
                assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
                assert_eq!(found, untouched);
            }
        }
        if loaded.is_ok() {
            victim.write_params(&[9.0; 3]).unwrap();
        }
        loaded.is_ok()
    };
    assert!(try_load(&good));
    for length in 0..good.len() {
        assert!(!try_load(&good[..length]), "cut at {length}");
    }
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    assert!(!try_load(&longer));
    let mut rng = rng(1);
    let mut same = 0;
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= rng.random_range(1..=255_u8);
        same += u32::from(try_load(&bytes));
    }
    println!("{} bytes; 10000 flips, of which {same} changed nothing", good.len());
    assert!(same < 500, "only flips in padding may have no effect: {same}");
}

/// A file that another program wrote, from before some of the settings existed: it loads, and the next step
/// is the right one.
#[test]
fn files_of_format_1_stay_readable() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/checkpoint_v1.safetensors");
    let config = Config { dimer: None, base: MOMENTUM, ..fixed_rate() };
    let mut optimizer = flat(config.clone(), &[9.0; 3]);
    optimizer.load(&path).unwrap();
    assert_eq!(optimizer.read_params().unwrap(), [0.5, -1.25, 3.0]);
    assert_eq!((optimizer.steps(), optimizer.gradient_evaluations()), (7, 7.0));
    optimizer.step(&mut quadratic(vec![1.0, 2.0, 4.0])).unwrap();
    let record = *optimizer.telemetry().unwrap().last().unwrap();
    assert_eq!((record.step, record.updates, record.skipped_steps), (7, 7, 1));
    let expected = [(0.5, 1.0, 1.0), (-1.25, 0.25, 2.0), (3.0, -2.0, 4.0)]
        .map(|(x, m, h)| x - 1e-3 * (0.9 * m + h * x + 0.01 * x));
    let theta = optimizer.read_params().unwrap();
    // A rounding of θ, and a thousandth of a few more.
    assert_all_within("θ", &theta, &expected, |i| 2.0 * UNIT * expected[i].abs());
    // A setting that did not exist then counts as not chosen.
    let chosen = Config { skip_non_finite: false, ..config };
    let found = reason(flat(chosen, &[9.0; 3]).load(&path));
    assert!(found.contains("config.skip_non_finite"), "{found}");
}

/// A file of format 2, whose records end before the curvature that an event began with, and hold another number where
/// the longest step along N is now: `tests/oracles/checkpoint_v2.rs` wrote it. Training goes on, towards −2.
#[test]
fn files_of_format_2_stay_readable() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/checkpoint_v2.safetensors");
    let mut builder = Layout::builder();
    builder.tensor("a", &[2, 2]).tensor("b", &[3]);
    let dimer = Dimer {
        schedule: Schedule::Every(2),
        displacement: Displacement::Absolute(0.01),
        ..Dimer::default()
    };
    let config = Config {
        base: ADAM,
        learning_rate: LearningRate::Fixed(0.01),
        dimer: Some(dimer),
        ..Config::default()
    };
    let layout = builder.build().unwrap();
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &[9.0; 7]).unwrap();
    optimizer.load(&path).unwrap();
    let expected =
        [0.19935915, 0.2595565, 0.104339406, 0.16155457, 0.21068907, 0.26069826, 0.3108256];
    assert_eq!(optimizer.read_params().unwrap(), expected);
    assert_eq!((optimizer.steps(), optimizer.gradient_evaluations()), (9, 21.0));
    let curvature = optimizer.read_curvature().unwrap();
    assert_eq!(curvature, -1.9683304);
    let mut objective = quadratic((-2..5).map(|h| h as f32).collect());
    for _ in 0..3 {
        optimizer.step(&mut objective).unwrap();
    }
    let records = optimizer.telemetry().unwrap();
    assert!(records.iter().all(|record| !record.skipped));
    // An event that knew nothing of what the one before began with, and one step of at most 0.2 · 0.01 · √7 each.
    assert!((records[0].curvature + 2.0).abs() < 0.05 && records[0].initial_curvature < -1.9);
    let most = 0.2 * 0.01 * 7.0_f32.sqrt();
    assert!(records.iter().all(|record| record.shift.abs() <= 1.0001 * most), "{records:?}");
    assert!(records.iter().all(|record| record.shift != 0.0));
}

/// The tensors of a checkpoint, whether their words are f32, and its metadata.
struct Contents {
    tensors: BTreeMap<String, (bool, Vec<usize>, Vec<u8>)>,
    metadata: BTreeMap<String, String>,
}

/// The bytes of a checkpoint after `change`, with the right checksum.
fn rewritten(bytes: &[u8], change: impl FnOnce(&mut Contents)) -> Vec<u8> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let float = view.dtype() == safetensors::Dtype::F32;
        (name, (float, view.shape().to_vec(), view.data().to_vec()))
    });
    let metadata = header.metadata().clone().unwrap().into_iter().collect();
    let mut contents = Contents { tensors: tensors.collect(), metadata };
    contents.metadata.remove("crc32");
    change(&mut contents);
    let Contents { tensors, mut metadata } = contents;
    let mut hasher = crc32fast::Hasher::new();
    let mut update = |field: &[u8]| {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    };
    for (name, (float, shape, data)) in &tensors {
        let shape: Vec<u8> =
            shape.iter().flat_map(|&extent| (extent as u64).to_le_bytes()).collect();
        for field in [name.as_bytes(), &shape, &[u8::from(*float)], data] {
            update(field);
        }
    }
    for (key, value) in &metadata {
        update(key.as_bytes());
        update(value.as_bytes());
    }
    metadata.insert("crc32".to_owned(), format!("{:08x}", hasher.finalize()));
    let views = tensors.iter().map(|(name, (float, shape, data))| {
        let dtype = if *float { safetensors::Dtype::F32 } else { safetensors::Dtype::U32 };
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, Some(metadata.into_iter().collect())).unwrap()
}

/// The bytes of a checkpoint with `from` in an entry of its metadata changed to `to`.
fn forged(bytes: &[u8], entry: &str, from: &str, to: &str) -> Vec<u8> {
    rewritten(bytes, |contents| {
        let text = contents.metadata.get_mut(entry).unwrap();
        assert!(text.contains(from), "{text}");
        *text = text.replace(from, to);
    })
}

/// The state of a learning rate from before it knew the longest update, and from before lost measurements were counted, goes
/// on as it was; from before that it begins anew, and says so.
#[test]
fn earlier_states_of_a_learning_rate() {
    let config = Config { dimer: None, ..Config::default() };
    let mut optimizer = make(&config, 0.3);
    for _ in 0..30 {
        optimizer.step(&mut objective()).unwrap();
    }
    let bytes = optimizer.save_bytes().unwrap();
    let without = |is_new: fn(usize) -> bool| {
        rewritten(&bytes, |contents| {
            let (_, shape, data) = contents.tensors.get_mut("rate").unwrap();
            assert_eq!(data.len(), 112);
            let words = data.chunks(4).enumerate().filter(|(word, _)| !is_new(*word));
            *data = words.flat_map(|(_, bytes)| bytes.to_vec()).collect();
            *shape = vec![data.len() / 4];
        })
    };
    let follow = |optimizer: &mut Optimizer| {
        for _ in 0..60 {
            optimizer.step(&mut objective()).unwrap();
        }
        let last = *optimizer.telemetry().unwrap().last().unwrap();
        (bits(&optimizer.read_params().unwrap()), last.base_learning_rate.to_bits())
    };
    let whole = follow(&mut optimizer);
    // What is known of the updates that were measured, and the number of lost measurements, of which there are none.
    for old in [without(|word| word >= 23), without(|word| word == 21 || word >= 23)] {
        let mut resumed = make(&config, -7.0);
        resumed.load_bytes(&old).unwrap();
        assert_eq!(follow(&mut resumed), whole);
    }
    let oldest = without(|word| word >= 13);
    let mut resumed = make(&config, -7.0);
    let found = reason(resumed.load_bytes(&oldest));
    assert!(found.contains("learning rate") && found.contains("load_with_changes"), "{found}");
    let changes = resumed.load_bytes_with_changes(&oldest).unwrap();
    assert!(changes.len() == 1 && changes[0].contains("begins anew"), "{changes:?}");
    resumed.step(&mut objective()).unwrap();
    let record = resumed.telemetry().unwrap()[0];
    assert!(record.rate_measured && record.base_learning_rate <= 2e-4, "{record:?}");
    // Without a rate from curvature it does not matter what the file has.
    let fixed = Config { dimer: None, ..fixed_rate() };
    assert_eq!(make(&fixed, 0.0).load_bytes_with_changes(&oldest).unwrap().len(), 1);
}

/// A momentum that begins in the middle of a run begins at zero.
#[test]
fn a_moment_can_begin_later() {
    let without = Config { base: SGD, dimer: None, ..fixed_rate() };
    let mut optimizer = make(&without, 0.3);
    optimizer.step(&mut objective()).unwrap();
    let bytes = optimizer.save_bytes().unwrap();
    let mut resumed = make(&Config { base: MOMENTUM, ..without }, -7.0);
    let changes = resumed.load_bytes_with_changes(&bytes).unwrap();
    assert_eq!(changes, ["`config.base.Sgd.momentum` was 0.0 when it was saved, but is 0.9 here"]);
    // The first step with a momentum of zero is that without one.
    optimizer.step(&mut objective()).unwrap();
    resumed.step(&mut objective()).unwrap();
    assert_eq!(bits(&resumed.read_params().unwrap()), bits(&optimizer.read_params().unwrap()));
}

/// A file with the names that settings had before is one of the same settings.
#[test]
fn former_names_of_settings_are_read() {
    let scratch = Scratch::new();
    let stop = RotationStop::new(0.1, 0.02).with_early_exit(EarlyExit::Gradients);
    let regime = Regime::FullBatch(FullBatch { max_rotations: 3, stop: Some(stop) });
    let rotation = Rotation::locally_optimal(regime);
    let dimer = Dimer { rotation, schedule: Schedule::Every(2), ..Dimer::default() };
    let config = Config { dimer: Some(dimer), ..fixed_rate() };
    let mut optimizer = make(&config, 0.3);
    for _ in 0..3 {
        optimizer.step(&mut objective()).unwrap();
    }
    optimizer.save(scratch.file()).unwrap();
    let bytes = std::fs::read(scratch.file()).unwrap();
    let bytes = forged(&bytes, "config", "FullBatch", "Deterministic");
    let bytes = forged(&bytes, "config", "early_exit", "saves");
    std::fs::write(scratch.file(), bytes).unwrap();
    let mut resumed = make(&config, -7.0);
    resumed.load(scratch.file()).unwrap();
    for _ in 0..3 {
        resumed.step(&mut objective()).unwrap();
        optimizer.step(&mut objective()).unwrap();
    }
    assert_eq!(snapshot(&mut resumed), snapshot(&mut optimizer));
    assert_eq!(make(&config, -7.0).load_with_changes(scratch.file()).unwrap(), [""; 0]);
}

/// The paths of all fields of structs, by which variants of enums are passed over.
fn fields(value: &serde_json::Value, at: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let is_struct = object.keys().all(|key| key.starts_with(|first: char| first.is_lowercase()));
    let of = |(key, value): (&String, &serde_json::Value)| {
        let path = format!("{at}/{key}");
        let below = fields(value, &path);
        if is_struct { [vec![path], below].concat() } else { below }
    };
    object.iter().flat_map(of).collect()
}

/// A file from before a setting existed, at whatever depth, is one with its default; one with a setting that is not
/// known here is refused, since nobody knows what it did.
#[test]
fn settings_that_a_file_lacks_have_their_defaults() {
    let group = Group { learning_rate_scale: 0.5, ..Group::default() };
    let mut builder = Layout::builder();
    let slow = builder.group(group);
    builder.tensor_in(slow, "A", &[7]);
    let layout = builder.build().unwrap();
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    let make = || Optimizer::new(&gpu(), layout.clone(), config.clone(), &[0.5; 7]).unwrap();
    let mut optimizer = make();
    optimizer.step(&mut quadratic(vec![1.0; 7])).unwrap();
    let bytes = optimizer.save_bytes().unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let saved = header.metadata().clone().unwrap();
    let mut removed = 0;
    for entry in ["config", "groups"] {
        let settings: serde_json::Value = serde_json::from_str(&saved[entry]).unwrap();
        // A rotation was never without its regime.
        for path in fields(&settings, "").into_iter().filter(|path| !path.ends_with("/regime")) {
            let mut older = settings.clone();
            let (parent, name) = path.rsplit_once('/').unwrap();
            let parent = older.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.remove(name);
            let bytes = forged(&bytes, entry, &saved[entry], &older.to_string());
            let changes = make().load_bytes_with_changes(&bytes).unwrap();
            // What is no default here is a change, and says so.
            println!("{entry}{path}: {changes:?}");
            let name = format!("`{entry}{}", path.replace('/', "."));
            assert!(changes.iter().all(|change| change.starts_with(&name)), "{path}: {changes:?}");
            removed += 1;
        }
    }
    assert!(removed > 25, "{removed}");
    for (entry, known) in [("config", "weight_decay"), ("config", "trust"), ("groups", "dimer")] {
        let (from, to) = (format!(r#""{known}":"#), format!(r#""of_tomorrow":1,"{known}":"#));
        let bytes = forged(&bytes, entry, &from, &to);
        let found = reason(make().load_bytes_with_changes(&bytes).map(drop));
        assert!(found.contains(entry) && found.contains("`of_tomorrow`"), "{found}");
    }
}

/// What is in memory is what is in a file; an error names a file where there is one.
#[test]
fn checkpoints_in_memory() {
    let scratch = Scratch::new();
    let mut optimizer = make(&fixed_rate(), 0.3);
    for _ in 0..4 {
        optimizer.step(&mut objective()).unwrap();
    }
    let bytes = optimizer.save_bytes().unwrap();
    optimizer.save(scratch.file()).unwrap();
    let in_file = std::fs::read(scratch.file()).unwrap();
    let [one, other] = [&in_file, &bytes].map(|bytes| {
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec()));
        (tensors.collect::<BTreeMap<_, _>>(), header.metadata().clone().unwrap())
    });
    assert_eq!(one, other);
    let mut resumed = make(&fixed_rate(), -7.0);
    resumed.load_bytes(&bytes).unwrap();
    for _ in 0..4 {
        resumed.step(&mut objective()).unwrap();
        optimizer.step(&mut objective()).unwrap();
    }
    assert_eq!(snapshot(&mut resumed), snapshot(&mut optimizer));
    let before = snapshot(&mut resumed);
    let in_memory = resumed.load_bytes(&bytes[1..]).unwrap_err().to_string();
    std::fs::write(scratch.file(), &bytes[1..]).unwrap();
    let in_file = resumed.load(scratch.file()).unwrap_err().to_string();
    let file = scratch.file();
    assert!(in_memory.starts_with("checkpoint: it is not a safetensors file"), "{in_memory}");
    assert_eq!(
        in_memory.replacen("checkpoint", &format!("checkpoint {}", file.display()), 1),
        in_file
    );
    assert_eq!(snapshot(&mut resumed), before);
}

/// A folder that is not there is named, and not a file that nobody knows.
#[test]
fn a_missing_folder_is_named() {
    let scratch = Scratch::new();
    let folder = scratch.0.path().join("runs").join("7");
    let found = reason(make(&fixed_rate(), 0.3).save(folder.join("checkpoint")));
    let expected = format!("there is no folder {}; make it first", folder.display());
    assert!(found.contains(&expected) && !found.contains(".dimer-"), "{found}");
}

/// Another kind of rate is one change, in words.
#[test]
fn a_changed_kind_is_one_change() {
    let bytes = make(&fixed_rate(), 0.3).save_bytes().unwrap();
    let curvature = Config { learning_rate: Config::default().learning_rate, ..fixed_rate() };
    let changes = make(&curvature, 0.3).load_bytes_with_changes(&bytes).unwrap();
    let expected =
        "`config.learning_rate` was Fixed(0.001) when it was saved, but is Curvature here";
    assert_eq!(changes, [expected]);
    let bytes = make(&curvature, 0.3).save_bytes().unwrap();
    let expected =
        "`config.learning_rate` was Curvature when it was saved, but is Fixed(0.001) here";
    assert_eq!(make(&fixed_rate(), 0.3).load_bytes_with_changes(&bytes).unwrap(), [expected]);
    let other = Config { base: MOMENTUM, dimer: None, ..fixed_rate() };
    let found = reason(make(&other, 0.3).load_bytes_with_changes(&bytes).map(drop));
    let expected = "`config.base` was AdamW when it was saved, but is Sgd here; its moments mean something else";
    assert_eq!(found, expected);
}

/// Numbers that no run can have reached, in a file whose checksum is right.
#[test]
fn impossible_progress_is_an_error() {
    let scratch = Scratch::new();
    let schedule = Schedule::OnPlateau(OnPlateau { shortest: 4, longest: 12, share: 0.5 });
    let dimer = Some(Dimer { schedule, ..Dimer::default() });
    let config = Config { dimer, learning_rate: LearningRate::Fixed(1.0), ..fixed_rate() };
    let mut optimizer = make(&config, 0.3);
    for _ in 0..9 {
        optimizer.step(&mut objective()).unwrap();
    }
    optimizer.save(scratch.file()).unwrap();
    let good = std::fs::read(scratch.file()).unwrap();
    let before = bits(&optimizer.read_params().unwrap());
    let one = 1_f32.to_bits();
    let most = u64::MAX;
    for (from, to, field) in [
        (r#""index":9"#.to_owned(), format!(r#""index":{most}"#), "progress.index"),
        (
            r#""gradient_evaluations":"#.to_owned(),
            format!(r#""gradient_evaluations":{most},"was":"#),
            "progress.gradient_evaluations",
        ),
        (one.to_string(), f32::NAN.to_bits().to_string(), "progress.learning_rate"),
        (one.to_string(), (-1_f32).to_bits().to_string(), "progress.learning_rate"),
        (one.to_string(), "true".to_owned(), "progress"),
        (r#""last_event":"#.to_owned(), r#""last_event":10,"was":"#.to_owned(), "progress.plateau"),
        (r#""doublings":"#.to_owned(), r#""doublings":33,"was":"#.to_owned(), "progress.plateau"),
        (r#""looks":{"#.to_owned(), r#""detector":{"#.to_owned(), "progress"),
        (r#""loss_scale":1.0"#.to_owned(), r#""loss_scale":3.0"#.to_owned(), "loss_scale"),
    ] {
        std::fs::write(scratch.file(), forged(&good, "progress", &from, &to)).unwrap();
        let found = reason(optimizer.load(scratch.file()));
        assert!(found.contains(field), "{to}: {found}");
        assert_eq!(bits(&optimizer.read_params().unwrap()), before, "{to}");
    }
    std::fs::write(scratch.file(), forged(&good, "progress", "", "")).unwrap();
    optimizer.load(scratch.file()).unwrap();
}

/// Newer files say so.
#[test]
fn newer_versions_are_named() {
    let scratch = Scratch::new();
    let mut optimizer = make(&fixed_rate(), 0.3);
    optimizer.save(scratch.file()).unwrap();
    let bytes = std::fs::read(scratch.file()).unwrap();
    let old = br#""dimer_format":"3""#;
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    let mut newer = bytes.clone();
    newer[at + old.len() - 2] = b'4';
    std::fs::write(scratch.file(), newer).unwrap();
    let found = reason(optimizer.load(scratch.file()));
    assert!(found.contains("version 4"), "{found}");
}

/// An error keeps what caused it.
#[test]
fn errors_keep_their_source() {
    use std::error::Error as _;
    let missing = Scratch::new().file();
    let error = make(&fixed_rate(), 0.5).load(&missing).unwrap_err();
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.unwrap().kind(), std::io::ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("checkpoint.safetensors"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.json");
    std::fs::write(&path, "no JSON").unwrap();
    let error = dimer::Tuning::cached(&gpu(), 4096, &path).unwrap_err();
    assert!(error.source().is_some_and(|source| source.is::<serde_json::Error>()), "{error}");
}

/// A header that no reader would take is refused before anything is written, with what it would have and may have.
#[test]
fn too_many_names_are_refused() {
    let scratch = Scratch::new();
    let mut builder = Layout::builder();
    // Three vectors with 6000 names of 6000 characters.
    for i in 0..6000 {
        builder.tensor(format!("{i:06000}"), &[1]);
    }
    let config = Config { dimer: None, ..fixed_rate() };
    let layout = builder.build().unwrap();
    let mut optimizer = Optimizer::new(&gpu(), layout, config, &[1.0; 6000]).unwrap();
    std::fs::write(scratch.file(), "old").unwrap();
    let found = reason(optimizer.save(scratch.file()));
    for part in ["18002 tensors", "100000000", "shorter names"] {
        assert!(found.contains(part), "{found}");
    }
    assert_eq!(std::fs::read(scratch.file()).unwrap(), b"old");
}
