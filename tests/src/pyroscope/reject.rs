//! Profiles that are refused, and with what.

use super::limits::Limits;
use super::push::Refusal;
use super::swallow::has_no_value;
use pprof_proto::pprof::Profile;
use std::time::{Duration, SystemTime};

/// The error for a profile that breaks a rule.
pub(super) fn reject(profile: &Profile, limits: &Limits, now: SystemTime) -> Result<(), Refusal> {
    reject_time(profile.time_nanos, limits, now)?;
    reject_sizes(profile, limits)?;
    reject_types(profile)?;
    reject_references(profile)?;
    if profile.period_type.is_none() && profile.sample.iter().any(has_no_value) {
        return Err(Refusal::Plain(
            "runtime error: invalid memory address or nil pointer dereference".into(),
        ));
    }
    Ok(())
}

/// 0 and negative times become the server's own.
fn reject_time(time_nanos: i64, limits: &Limits, now: SystemTime) -> Result<(), Refusal> {
    if time_nanos <= 0 {
        return Ok(());
    }
    let begin = SystemTime::UNIX_EPOCH + Duration::from_nanos(time_nanos.unsigned_abs());
    if begin < now - limits.older_than || begin > now + limits.newer_than {
        return Err(Refusal::invalid(format!(
            "profile with timestamp {time_nanos} is outside of ingestion window"
        )));
    }
    Ok(())
}

fn reject_sizes(profile: &Profile, limits: &Limits) -> Result<(), Refusal> {
    let samples = profile.sample.len();
    if samples > limits.samples {
        return Err(Refusal::invalid(format!(
            "the profile has {samples} samples; limit {}",
            limits.samples
        )));
    }
    if profile
        .sample
        .iter()
        .any(|sample| sample.label.len() > limits.sample_labels)
    {
        return Err(Refusal::invalid(format!(
            "a sample has more than {} labels",
            limits.sample_labels
        )));
    }
    // A symbol that is too long loses its begin; where that is inside of a character, what is left is not UTF-8.
    let cut_inside = |text: &String| {
        text.len() > limits.symbol && !text.is_char_boundary(text.len() - limits.symbol)
    };
    if profile.string_table.iter().any(cut_inside) {
        return Err(Refusal::invalid(
            "invalid utf8 string after a symbol was cut",
        ));
    }
    Ok(())
}

fn reject_types(profile: &Profile) -> Result<(), Refusal> {
    if profile.sample_type.is_empty() {
        return Err(Refusal::invalid("empty profile"));
    }
    if profile
        .string_table
        .first()
        .is_none_or(|first| !first.is_empty())
    {
        return Err(Refusal::invalid("string_table[0] must be an empty string"));
    }
    for value_type in &profile.sample_type {
        let index = value_type.r#type;
        if index < 0 {
            return Err(Refusal::Plain(format!(
                "runtime error: index out of range [{index}]"
            )));
        }
        let Some(name) = text(profile, index) else {
            return Err(Refusal::invalid("sample type index out of range"));
        };
        if name.contains('-') {
            return Err(Refusal::invalid(format!("invalid profile type {name:?}")));
        }
    }
    Ok(())
}

fn reject_references(profile: &Profile) -> Result<(), Refusal> {
    let strings_of_functions = profile
        .function
        .iter()
        .flat_map(|function| [function.name, function.system_name, function.filename]);
    let strings_of_mappings = profile
        .mapping
        .iter()
        .flat_map(|mapping| [mapping.filename, mapping.build_id]);
    let labels = || profile.sample.iter().flat_map(|sample| &sample.label);
    let strings_of_labels = labels().flat_map(|label| [label.key, label.str]);
    for index in strings_of_functions
        .chain(strings_of_mappings)
        .chain(strings_of_labels)
    {
        if text(profile, index).is_none() {
            return Err(Refusal::invalid(format!(
                "string index {index} out of range"
            )));
        }
    }
    if labels().any(|label| text(profile, label.num_unit).is_none()) {
        return Err(Refusal::Plain("runtime error: index out of range".into()));
    }
    if profile.location.iter().any(|location| location.id == 0) {
        return Err(Refusal::invalid("location with reserved id 0"));
    }
    if profile.function.iter().any(|function| function.id == 0) {
        return Err(Refusal::invalid("function with reserved id 0"));
    }
    if profile
        .sample
        .iter()
        .any(|sample| sample.value.len() != profile.sample_type.len())
    {
        return Err(Refusal::invalid(
            "mismatch: sample has another number of values than the profile has types",
        ));
    }
    Ok(())
}

/// The string at `index`, if there is one.
pub(super) fn text(profile: &Profile, index: i64) -> Option<&str> {
    profile
        .string_table
        .get(usize::try_from(index).ok()?)
        .map(String::as_str)
}
