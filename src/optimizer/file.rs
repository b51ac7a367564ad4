//! Reading and replacing regular files: whatever happens, either the old content stays or the new one is there.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

/// Most links from one name to the file.
const MAX_LINKS: u32 = 40;

/// The content of the file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    check_regular(&fs::metadata(path)?)?;
    fs::read(path)
}

/// Replaces the content of the file at `path`, following links, or makes one. It keeps its mode and owner, and a
/// new one gets what the umask leaves. The content is written to another file of the same folder, which is on the
/// disk before it takes the name.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = without_links(path)?;
    let old = match fs::metadata(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(old) = &old {
        check_regular(old)?;
        // The folder alone decides about renaming; a file that must not be written must not be replaced either.
        OpenOptions::new().write(true).open(&path)?;
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let reason = format!("there is no folder {}; make it first", folder.display());
        return Err(Error::new(ErrorKind::NotFound, reason));
    }
    // The error of a file without a lasting name would name that.
    let mut file = unfinished(folder, old.as_ref()).map_err(|error| {
        let (kind, folder) = (error.kind(), folder.display());
        Error::new(kind, format!("{kind}, when a new file was made in the folder {folder}"))
    })?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // The new name is on the disk once its folder is.
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn check_regular(found: &Metadata) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"))
}

/// What `path` stands for, though there may be no such file.
fn without_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return Ok(path);
        }
        let target = fs::read_link(&path)?;
        path = path.parent().map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    Err(Error::new(ErrorKind::InvalidInput, "it is a circle of links"))
}

/// A file without a lasting name, with the mode and owner that the new content shall have.
fn unfinished(folder: &Path, old: Option<&Metadata>) -> Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dimer-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        if old.is_none() {
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder)?;
        if let Some(old) = old {
            let new = file.as_file().metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            file.as_file().set_permissions(old.permissions())?;
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    {
        let _ = old; // Files get their rights from the folder.
        builder.tempfile_in(folder)
    }
}
