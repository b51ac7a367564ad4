//! What `save` does to whatever stands at its path: modes, owners and links stay, what is no regular file is
//! refused, and where writing fails the old file is still there.
#![cfg(unix)]

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::common::checkpoints::*;
use crate::common::{fixed_rate, gpu};
use dimer::{Config, Optimizer, Tuning};

/// Set in the child of a test: the folder that it works in.
const FOLDER: &str = "DIMER_TEST_FOLDER";

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn optimizer() -> Optimizer {
    make(&Config { dimer: None, ..fixed_rate() }, 0.5)
}

fn is_root() -> bool {
    let folder = tempfile::tempdir().unwrap();
    fs::metadata(folder.path()).unwrap().uid() == 0
}

/// Runs `body` over `folder` in a process of its own, which a shell has prepared by `setup`; as nobody if wanted.
fn in_process(test: &str, folder: &Path, setup: &str, as_nobody: bool, body: impl FnOnce(&Path)) {
    if let Some(folder) = env::var_os(FOLDER) {
        return body(Path::new(&folder));
    }
    // Where nobody can reach it.
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = scratch.path().join("faults");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{setup}\nexec \"$0\" --exact {test} --nocapture")])
        .arg(binary)
        .current_dir(scratch.path())
        .env("HOME", scratch.path())
        .env(FOLDER, folder);
    if as_nobody {
        command.env("XDG_RUNTIME_DIR", env::temp_dir()).uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed in its process");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{test} ran there");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A new file gets what the umask leaves; the file of tunings as well.
#[test]
fn new_files_follow_the_umask() {
    for (umask, mode) in [("000", 0o666), ("022", 0o644), ("027", 0o640), ("077", 0o600)] {
        let scratch = Scratch::new();
        let test = "files::new_files_follow_the_umask";
        in_process(test, scratch.0.path(), &format!("umask {umask}"), false, |folder| {
            optimizer().save(folder.join("checkpoint")).unwrap();
            Tuning::cached(&gpu(), 4096, folder.join("tunings")).unwrap();
        });
        if env::var_os(FOLDER).is_some() {
            return;
        }
        for name in ["checkpoint", "tunings"] {
            let found = fs::metadata(scratch.0.path().join(name)).unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "{name} {umask}: {found:o}");
        }
        assert_eq!(names(scratch.0.path()), ["checkpoint", "tunings"]);
    }
}

/// An old file keeps its mode and, where that is allowed, its owner.
#[test]
fn old_files_keep_mode_and_owner() {
    let scratch = Scratch::new();
    let mut optimizer = optimizer();
    for mode in [0o664, 0o600, 0o644, 0o640, 0o777] {
        fs::write(scratch.file(), "old").unwrap();
        fs::set_permissions(scratch.file(), fs::Permissions::from_mode(mode)).unwrap();
        let owner = is_root().then_some((1234, 4321));
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(scratch.file(), Some(user), Some(group)).unwrap();
        }
        optimizer.save(scratch.file()).unwrap();
        let found = fs::metadata(scratch.file()).unwrap();
        assert_eq!(found.mode() & 0o7777, mode);
        assert!(owner.is_none_or(|owner| owner == (found.uid(), found.gid())));
        optimizer.load(scratch.file()).unwrap();
    }
}

/// A link stays a link, and what it leads to is replaced, wherever that is and whether it is there or not.
#[test]
fn links_are_followed() {
    let scratch = Scratch::new();
    let folder = scratch.0.path();
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("old"), "old").unwrap();
    symlink("elsewhere/old", folder.join("relative")).unwrap();
    symlink(elsewhere.join("new"), folder.join("dangling")).unwrap();
    symlink("relative", folder.join("twice")).unwrap();
    symlink(&elsewhere, folder.join("folder")).unwrap();
    symlink("circle", folder.join("circle")).unwrap();
    let mut optimizer = optimizer();
    let paths = ["relative", "dangling", "twice", "folder/third"];
    for path in paths {
        optimizer.save(folder.join(path)).unwrap();
        optimizer.load(folder.join(path)).unwrap();
    }
    for link in ["relative", "dangling", "twice", "folder"] {
        assert!(fs::symlink_metadata(folder.join(link)).unwrap().is_symlink(), "{link}");
    }
    assert_eq!(names(&elsewhere), ["new", "old", "third"]);
    assert_ne!(fs::read(elsewhere.join("old")).unwrap(), b"old");
    for path in ["circle", "circle/inside", "nowhere/inside"] {
        reason(optimizer.save(folder.join(path)));
        reason(optimizer.load(folder.join(path)));
    }
}

/// Folders, pipes, sockets and devices are refused before anything is written, and stay what they are; reading one
/// does not wait for ever.
#[test]
fn only_regular_files_are_replaced_or_read() {
    let scratch = Scratch::new();
    let folder = scratch.0.path();
    fs::create_dir(folder.join("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    symlink("pipe", folder.join("to_pipe")).unwrap();
    let mut optimizer = optimizer();
    let inside = ["folder", "pipe", "socket", "to_pipe"].map(|name| folder.join(name));
    let devices = ["/dev/null", "/dev/full", "/dev/zero"].map(std::path::PathBuf::from);
    for path in inside.into_iter().chain(devices) {
        let before = fs::symlink_metadata(&path).unwrap().file_type();
        for result in [optimizer.save(&path), optimizer.load(&path)] {
            let reason = reason(result);
            assert!(reason.contains("not a regular file"), "{path:?}: {reason}");
        }
        let error = Tuning::cached(&gpu(), 4096, &path).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        let after = fs::symlink_metadata(&path).unwrap().file_type();
        assert!(after == before && (!before.is_fifo() || after.is_fifo()), "{path:?}");
    }
    assert_eq!(names(folder), ["folder", "pipe", "socket", "to_pipe"]);
}

/// A limit on the size of files, as a full disk: the old file is still there, and nothing else.
#[test]
fn a_file_that_does_not_fit_keeps_the_old_one() {
    let scratch = Scratch::new();
    let mut first = optimizer();
    let test = "files::a_file_that_does_not_fit_keeps_the_old_one";
    if env::var_os(FOLDER).is_none() {
        first.save(scratch.file()).unwrap();
    }
    let before = fs::read(scratch.file()).unwrap_or_default();
    // A unit of the limit is 512 bytes or 1 KiB; the signal that comes with it is ignored.
    in_process(test, scratch.0.path(), "trap '' XFSZ; ulimit -f 1", false, |folder| {
        let file = folder.join("checkpoint.safetensors");
        let reason = reason(optimizer().save(&file));
        assert!(reason.contains("cannot be written"), "{reason}");
    });
    if env::var_os(FOLDER).is_none() {
        assert_eq!(fs::read(scratch.file()).unwrap(), before);
        assert_eq!(names(scratch.0.path()), ["checkpoint.safetensors"]);
    }
}

/// A folder that may not be written, a file that may not be written, and a file of another owner: each is left
/// alone. Root may do all of it, so another user tries.
#[test]
fn what_must_not_be_written_is_left_alone() {
    let scratch = Scratch::new();
    let test = "files::what_must_not_be_written_is_left_alone";
    let as_nobody = is_root();
    let layout = |folder: &Path| {
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(folder, 0o755);
        for (name, of_folder, of_file) in
            [("closed", 0o555, 0o666), ("read_only", 0o777, 0o444), ("foreign", 0o777, 0o666)]
        {
            let inside = folder.join(name);
            fs::create_dir(&inside).unwrap();
            fs::write(inside.join("file"), "old").unwrap();
            mode(&inside.join("file"), of_file);
            mode(&inside, of_folder);
        }
    };
    if env::var_os(FOLDER).is_none() {
        layout(scratch.0.path());
    }
    in_process(test, scratch.0.path(), "", as_nobody, |folder| {
        let mut optimizer = optimizer();
        for name in ["closed", "read_only", "foreign"] {
            let file = folder.join(name).join("file");
            let own = fs::metadata(&file).unwrap().uid() != 0;
            if name == "foreign" && own {
                println!("no second user here: the file of another owner is not tried");
                continue;
            }
            let reason = reason(optimizer.save(&file));
            assert!(reason.contains("cannot be written"), "{name}: {reason}");
        }
    });
    if env::var_os(FOLDER).is_none() {
        for name in ["closed", "read_only", "foreign"] {
            let inside = scratch.0.path().join(name);
            fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
            if name != "foreign" || as_nobody {
                assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "old", "{name}");
            }
            assert_eq!(names(&inside), ["file"], "{name}");
        }
    }
}

/// A full disk keeps the old file, and leaves nothing beside it. Only root can make one.
#[test]
fn a_full_disk_keeps_the_old_file() {
    let scratch = Scratch::new();
    let folder = scratch.0.path();
    let mount = |arguments: &[&str]| {
        let command = Command::new(arguments[0]).args(&arguments[1..]).arg(folder).output();
        command.is_ok_and(|output| output.status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "none"]) {
        println!("no disk can be mounted here; a limit on the size of files stands for a full one");
        return;
    }
    let mut optimizer = optimizer();
    optimizer.save(scratch.file()).unwrap();
    let before = fs::read(scratch.file()).unwrap();
    let filler = fs::File::create(folder.join("filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut &filler);
    let refused = optimizer.save(scratch.file());
    let after = fs::read(scratch.file()).unwrap();
    let left = names(folder);
    drop(filler);
    assert!(mount(&["umount"]), "the disk is gone again");
    assert!(full.is_err());
    let reason = reason(refused);
    assert!(reason.contains("cannot be written"), "{reason}");
    assert!(after == before);
    assert_eq!(left, ["checkpoint.safetensors", "filler"]);
}
