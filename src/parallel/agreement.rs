//! What ranks tell one another in words: errors, and facts that must be the same on all.

use super::Collective;
use crate::error::{Error, Result};

/// Something that ranks must have in common: its name, and what it is here.
pub(crate) type Fact = (String, String);

/// The text of every rank.
fn gather_text<C: Collective + ?Sized>(group: &mut C, text: &str) -> Result<Vec<String>> {
    let lens = group.gather(&(text.len() as u64).to_le_bytes())?;
    let lens: Vec<u64> = lens.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect();
    let mut padded = text.as_bytes().to_vec();
    padded.resize(lens.iter().copied().max().unwrap_or(0) as usize, 0);
    let texts = group.gather(&padded)?;
    let texts = texts.iter().zip(lens);
    Ok(texts.map(|(text, len)| String::from_utf8_lossy(&text[..len as usize]).into()).collect())
}

/// By an error of its objective, after which the step may be tried again; or by one that leaves the rank unable to go on.
const FAILED: u8 = 1;
const LOST: u8 = 2;

/// How a rank with this error has failed, as ranks tell each other; 0 without.
pub(crate) fn failure(own: Option<&Error>) -> u8 {
    own.map_or(0, |error| if matches!(error, Error::Objective(_)) { FAILED } else { LOST })
}

/// The error for all where the ranks have failed in these ways: that of the first which cannot go on, or else of the first.
pub(crate) fn error_of_all<C: Collective + ?Sized>(
    group: &mut C,
    failures: &[u8],
    own: Option<&Error>,
) -> Result<Option<Error>> {
    let first = |how| failures.iter().position(|&failure| failure == how);
    let Some(rank) = first(LOST).or_else(|| first(FAILED)) else { return Ok(None) };
    let words = words_of(group, rank, own)?;
    Ok(Some(match failures[rank] {
        LOST => Error::collective(words),
        _ => Error::objective(words),
    }))
}

/// What `rank` says of its error, to all; every rank brings its own.
fn words_of<C: Collective + ?Sized>(
    group: &mut C,
    rank: usize,
    own: Option<&Error>,
) -> Result<String> {
    let words = own.map_or_else(String::new, |error| match error {
        Error::Objective(source) => source.to_string(),
        error => error.to_string(),
    });
    Ok(format!("on rank {rank}: {}", gather_text(group, &words)?[rank]))
}

/// What this rank has done, if all have done it; if not, its own error or that of the first that has failed.
pub(crate) fn all_succeed<T, C: Collective + ?Sized>(group: &mut C, own: Result<T>) -> Result<T> {
    let failure = first_failure(group, own.as_ref().err());
    // A rank's own error says more than what comes of it.
    let own = own?;
    failure?.map_or(Ok(own), |words| Err(Error::collective(words)))
}

/// The words of the first rank that has failed, if one has.
fn first_failure<C: Collective + ?Sized>(
    group: &mut C,
    own: Option<&Error>,
) -> Result<Option<String>> {
    let failed = group.gather(&[u8::from(own.is_some())])?;
    let Some(rank) = failed.iter().position(|failed| failed[0] != 0) else { return Ok(None) };
    words_of(group, rank, own).map(Some)
}

/// Refuses ranks that are not alike, and names the first fact in which one differs from rank 0; or the error of one that
/// cannot tell.
pub(crate) fn agree<C: Collective + ?Sized>(group: &mut C, own: Result<Vec<Fact>>) -> Result<()> {
    let text = own.and_then(|facts| {
        serde_json::to_string(&facts)
            .map_err(|error| Error::collective_from("what this rank is", error))
    });
    let text = all_succeed(group, text)?;
    let checksum = crc32fast::hash(text.as_bytes()).to_le_bytes();
    let checksums = group.gather(&checksum)?;
    if checksums.iter().all(|other| *other == checksums[0]) {
        return Ok(());
    }
    let texts = gather_text(group, &text)?;
    let all: Vec<Vec<Fact>> = texts
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Error::collective_from("what another rank is", error))?;
    let first = &all[0];
    let different = all.iter().enumerate().find_map(|(rank, facts)| {
        let mut pairs = first.iter().zip(facts);
        match pairs.find(|(here, there)| here != there) {
            Some(((name, here), (other, there))) if name == other => {
                Some(format!("`{name}` is {here} on rank 0, but {there} on rank {rank}"))
            }
            Some(((name, _), (other, _))) => {
                Some(format!("rank 0 has `{name}` where rank {rank} has `{other}`"))
            }
            None if first.len() != facts.len() => {
                let longer = if first.len() > facts.len() { first } else { facts };
                let name = &longer[first.len().min(facts.len())].0;
                Some(format!("only one of the ranks 0 and {rank} has `{name}`"))
            }
            None => None,
        }
    });
    Err(Error::collective(different.unwrap_or_else(|| "their checksums differ".into())))
}
