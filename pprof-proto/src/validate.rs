//! What Pyroscope does with a profile, known before it is sent.
//!
//! The server refuses some profiles with a status. Of others it answers 200 and keeps less than it was sent, or something
//! else. The rules are those of Pyroscope 2.2 at its default limits, each tried on a server, but for two that follow from how
//! it works: a negative string index fails like that of a sample type everywhere, and of two entries with one id one is lost.
//!
//! What it normalizes without a loss is no finding: unused entries, ids that are not dense, equal samples, addresses of
//! mappings that have functions.

use std::collections::HashSet;

use prost::Message;

use crate::builder::MAX_DEPTH;
pub use crate::invalid::{Invalid, Verdict};
use crate::pprof::{Location, Profile, Sample};
use crate::references::Ids;

/// Largest profile the server takes, in bytes of its encoding before compression.
pub const MAX_BYTES: usize = 4 << 20;

/// Size of the server's token bucket, in bytes: a profile above it is over the rate limit at any rate.
pub const BURST_BYTES: usize = 2 << 20;

const MAX_SAMPLES: usize = 16_000;
const MAX_SAMPLE_LABELS: usize = 100;
const MAX_STRING_BYTES: usize = 65_535;

const SECOND: i64 = 1_000_000_000;
const OLDEST: i64 = 3600 * SECOND;
const NEWEST: i64 = 600 * SECOND;

/// Checks `profile` against the server's clock, `now_nanos` after the Unix epoch. What the server refuses is found before
/// what it drops or changes.
pub fn validate(profile: &Profile, now_nanos: i64) -> Result<(), Invalid> {
    check_size(profile.encoded_len())?;
    if profile.sample.len() > MAX_SAMPLES {
        return Err(Invalid::TooManySamples(profile.sample.len()));
    }
    check_time(profile.time_nanos, now_nanos)?;
    check_strings(profile)?;
    check_string_indexes(profile)?;
    check_shape(profile)?;
    let changed = check_dropped(profile).and_then(|()| check_rewritten(profile));
    changed.map_err(|invalid| match invalid {
        _ if profile.period_type.is_some() || !drops_a_sample(&invalid) => invalid,
        invalid => Invalid::NoPeriodType(Box::new(invalid)),
    })
}

/// Checks a profile of so many `bytes` before compression.
pub fn check_size(bytes: usize) -> Result<(), Invalid> {
    match bytes {
        bytes if bytes > MAX_BYTES => Err(Invalid::TooLarge(bytes)),
        bytes if bytes > BURST_BYTES => Err(Invalid::OverBurst(bytes)),
        _ => Ok(()),
    }
}

/// Checks a profile that began `time_nanos` after the Unix epoch against the server's clock, `now_nanos` after it.
pub fn check_time(time_nanos: i64, now_nanos: i64) -> Result<(), Invalid> {
    match now_nanos.saturating_sub(time_nanos) {
        // Replaced by the server's own clock; found later, with the rest of what it changes.
        _ if time_nanos <= 0 => Ok(()),
        age if age > OLDEST => Err(Invalid::TooOld(age)),
        age if age < -NEWEST => Err(Invalid::TooNew(age.saturating_neg())),
        _ => Ok(()),
    }
}

fn check_strings(profile: &Profile) -> Result<(), Invalid> {
    if profile
        .string_table
        .first()
        .is_none_or(|first| !first.is_empty())
    {
        return Err(Invalid::NoEmptyString);
    }
    for string in &profile.string_table {
        // The server keeps the tail.
        let cut = string.len().saturating_sub(MAX_STRING_BYTES);
        if !string.is_char_boundary(cut) {
            return Err(Invalid::CutInsideCharacter(string.len()));
        }
    }
    Ok(())
}

/// The indexes that the server checks. Others (comments, the unit of a sample type) may point anywhere.
fn check_string_indexes(profile: &Profile) -> Result<(), Invalid> {
    let strings = i64::try_from(profile.string_table.len()).unwrap_or(i64::MAX);
    let check = |field, index| match index {
        ..0 => Err(Invalid::NegativeString { field, index }),
        index if index >= strings => Err(Invalid::NoString { field, index }),
        _ => Ok(()),
    };
    for sample_type in &profile.sample_type {
        check("sample type", sample_type.r#type)?;
    }
    for label in profile.sample.iter().flat_map(|sample| &sample.label) {
        check("label", label.key)?;
        check("label", label.str)?;
        if !(0..strings).contains(&label.num_unit) {
            return Err(Invalid::NoLabelUnit(label.num_unit));
        }
    }
    for function in &profile.function {
        check("function", function.name)?;
        check("function", function.system_name)?;
        check("function", function.filename)?;
    }
    for mapping in &profile.mapping {
        check("mapping", mapping.filename)?;
        check("mapping", mapping.build_id)?;
    }
    Ok(())
}

fn check_shape(profile: &Profile) -> Result<(), Invalid> {
    if profile.sample_type.is_empty() {
        return Err(Invalid::NoSampleType);
    }
    if let Some(name) = sample_type_names(profile).find(|name| name.contains('-')) {
        return Err(Invalid::DashInSampleType(name.to_owned()));
    }
    if profile.location.iter().any(|location| location.id == 0) {
        return Err(Invalid::ZeroId("location"));
    }
    if profile.function.iter().any(|function| function.id == 0) {
        return Err(Invalid::ZeroId("function"));
    }
    let sample_types = profile.sample_type.len();
    for sample in &profile.sample {
        let values = sample.value.len();
        if values != sample_types {
            return Err(Invalid::ValueCount {
                values,
                sample_types,
            });
        }
        if sample.label.len() > MAX_SAMPLE_LABELS {
            return Err(Invalid::TooManySampleLabels(sample.label.len()));
        }
    }
    Ok(())
}

/// The names of sample types whose index is in the table.
fn sample_type_names(profile: &Profile) -> impl Iterator<Item = &str> {
    profile
        .sample_type
        .iter()
        .filter_map(|sample_type| text(profile, sample_type.r#type))
}

fn text(profile: &Profile, index: i64) -> Option<&str> {
    let string = profile.string_table.get(usize::try_from(index).ok()?)?;
    Some(string.as_str())
}

/// Samples of which nothing is kept, or nothing that a flame graph shows.
fn check_dropped(profile: &Profile) -> Result<(), Invalid> {
    if profile.sample.is_empty() {
        return Err(Invalid::NoSamples);
    }
    let known = Known {
        mappings: ids("mapping", profile.mapping.iter().map(|mapping| mapping.id))?,
        functions: ids(
            "function",
            profile.function.iter().map(|function| function.id),
        )?,
        locations: ids(
            "location",
            profile.location.iter().map(|location| location.id),
        )?,
        has_mapping_0: profile.mapping.iter().any(|mapping| mapping.id == 0),
        without_functions: without_functions(profile),
    };
    profile
        .location
        .iter()
        .try_for_each(|location| check_location(location, &known))?;
    profile
        .sample
        .iter()
        .try_for_each(|sample| check_sample(sample, &known))
}

/// What a profile defines.
struct Known {
    mappings: Ids,
    functions: Ids,
    locations: Ids,
    has_mapping_0: bool,
    /// Mappings whose functions the server's symbolizer can find, and is told to.
    without_functions: HashSet<u64>,
}

fn without_functions(profile: &Profile) -> HashSet<u64> {
    let mappings = profile.mapping.iter();
    let left_to_server = mappings.filter(|mapping| mapping.build_id != 0 && !mapping.has_functions);
    left_to_server.map(|mapping| mapping.id).collect()
}

/// 0, where it is defined, names nothing.
fn ids(table: &'static str, ids: impl Iterator<Item = u64> + Clone) -> Result<Ids, Invalid> {
    Ids::new(ids.filter(|id| *id != 0)).map_err(|id| Invalid::DuplicateId { table, id })
}

fn check_location(location: &Location, known: &Known) -> Result<(), Invalid> {
    let Location {
        id,
        mapping_id: mapping,
        address,
        ref line,
        ..
    } = *location;
    // Where no mapping 0 is defined, a location may lack one, and the server helps itself.
    if mapping == 0 && !known.has_mapping_0 {
        return Err(Invalid::MappingInvented(id));
    }
    if known.mappings.position(mapping).is_none() {
        return Err(Invalid::NoMapping {
            location: id,
            mapping,
        });
    }
    if line.is_empty() && (address == 0 || !known.without_functions.contains(&mapping)) {
        return Err(Invalid::NoLine(id));
    }
    match line
        .iter()
        .find(|line| known.functions.position(line.function_id).is_none())
    {
        Some(line) => Err(Invalid::NoFunction {
            location: id,
            function: line.function_id,
        }),
        None => Ok(()),
    }
}

fn check_sample(sample: &Sample, known: &Known) -> Result<(), Invalid> {
    if let Some(value) = sample.value.iter().find(|value| **value < 0) {
        return Err(Invalid::NegativeValue(*value));
    }
    if sample.value.iter().all(|value| *value == 0) {
        return Err(Invalid::AllZero);
    }
    if sample.location_id.is_empty() {
        return Err(Invalid::NoStack);
    }
    match sample
        .location_id
        .iter()
        .find(|id| known.locations.position(**id).is_none())
    {
        Some(id) => Err(Invalid::NoLocation(*id)),
        None => Ok(()),
    }
}

/// The findings with which a whole sample goes.
fn drops_a_sample(invalid: &Invalid) -> bool {
    matches!(
        invalid,
        Invalid::NoLocation(_)
            | Invalid::NoMapping { .. }
            | Invalid::NoFunction { .. }
            | Invalid::NegativeValue(_)
            | Invalid::AllZero
    )
}

/// What is kept, but not as it was sent.
fn check_rewritten(profile: &Profile) -> Result<(), Invalid> {
    if profile.time_nanos <= 0 {
        return Err(Invalid::NoTime(profile.time_nanos));
    }
    if let Some(string) = profile
        .string_table
        .iter()
        .find(|string| string.len() > MAX_STRING_BYTES)
    {
        return Err(Invalid::LongString(string.len()));
    }
    check_sample_types(profile)?;
    for sample in &profile.sample {
        if sample.location_id.len() > MAX_DEPTH {
            return Err(Invalid::TooDeep(sample.location_id.len()));
        }
        if let Some(label) = sample.label.iter().find(|label| label.str == 0) {
            let name = text(profile, label.key).unwrap_or_default();
            return Err(Invalid::NumberLabel(name.to_owned()));
        }
    }
    check_language(profile)
}

fn check_sample_types(profile: &Profile) -> Result<(), Invalid> {
    if let Some(name) = sample_type_names(profile).find(|name| name.contains(':')) {
        return Err(Invalid::ColonInSampleType(name.to_owned()));
    }
    let mut known = HashSet::new();
    for sample_type in &profile.sample_type {
        if !known.insert(sample_type) {
            let name = text(profile, sample_type.r#type).unwrap_or_default();
            return Err(Invalid::DuplicateSampleType(name.to_owned()));
        }
    }
    Ok(())
}

/// The server takes the first string that looks like a language's. What follows for a Go program's profile also depends on
/// the depth of its stacks; a profile that is not taken for one is safe from all of it.
fn check_language(profile: &Profile) -> Result<(), Invalid> {
    let is_rust = |string: &&String| string.ends_with("main.rs");
    let is_go = |string: &&String| string.ends_with(".go") || string.starts_with("/usr/local/go/");
    match profile
        .string_table
        .iter()
        .find(|string| is_rust(string) || is_go(string))
    {
        Some(string) if is_go(&string) => Err(Invalid::TakenForGo(string.clone())),
        _ => Ok(()),
    }
}
