//! Splits a profile that is larger than Pyroscope takes.

use prost::Message;

use crate::pprof::{Profile, Sample};
use crate::references::{Malformed, References};
use crate::tables::Tables;
use crate::transfer::Transfer;

/// Largest profile pushed, in bytes of its encoding before compression. The server meters those and has a bucket of 2 MiB
/// for profile and labels: a larger one is answered "too many requests" for ever.
pub const MAX_BYTES: usize = 3 << 19;

/// Most samples of a profile pushed. The server refuses more than 16,000.
pub const MAX_SAMPLES: usize = 15_000;

/// `profile` in parts of at most [`MAX_BYTES`] and [`MAX_SAMPLES`], in the order of its samples; one that is small enough
/// comes back as it is.
///
/// Each part is a whole profile with tables of its own and the same time, duration and period. The values of the parts add
/// up to those of the profile (an equal stack may be in several). A single sample that is too large by itself becomes a
/// part of its own, which [`crate::validate::validate`] then refuses: it is for the caller to count.
pub fn split(profile: Profile) -> Result<Vec<Profile>, Malformed> {
    if fits(&profile) {
        return Ok(vec![profile]);
    }
    let references = References::checked(&profile)?;
    let mut parts = Vec::new();
    let mut pending = vec![profile.sample.as_slice()];
    while let Some(samples) = pending.pop() {
        if samples.len() <= MAX_SAMPLES {
            let part = extract(&references, samples)?;
            if samples.len() <= 1 || fits(&part) {
                parts.push(part);
                continue;
            }
        }
        let (first, second) = samples.split_at(samples.len() / 2);
        pending.push(second);
        pending.push(first);
    }
    Ok(parts)
}

fn fits(profile: &Profile) -> bool {
    profile.sample.len() <= MAX_SAMPLES && profile.encoded_len() <= MAX_BYTES
}

fn extract(source: &References<'_>, samples: &[Sample]) -> Result<Profile, Malformed> {
    let mut tables = Tables::new(source.profile.sample_type.len());
    let mut transfer = Transfer::new(source);
    let head = transfer.head(&mut tables)?;
    for sample in samples {
        transfer.sample(sample, &mut tables)?;
    }
    Ok(tables.into_profile_with(head))
}
