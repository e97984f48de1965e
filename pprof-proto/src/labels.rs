//! What a label set must be like for Pyroscope to keep it as it is.

use crate::push::LabelPair;
use crate::validate::Verdict;

/// Most labels of a series, `__name__` and `service_name` among them. Text labels of samples count too: the server makes
/// labels of series of them.
pub const MAX_LABELS: usize = 30;

/// Longest name of a label, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// Longest value of a label, in bytes.
pub const MAX_VALUE_BYTES: usize = 2048;

/// A label set that Pyroscope refuses or changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// More than [`MAX_LABELS`].
    #[error("the series has {0} labels, and the server takes 30: leave some out")]
    TooMany(usize),
    /// A label without a name.
    #[error("a label has no name: name it or leave it out")]
    EmptyName,
    /// A name over [`MAX_NAME_BYTES`].
    #[error("a label's name has {0} bytes, and the server takes 1024: shorten it")]
    LongName(usize),
    /// A value over [`MAX_VALUE_BYTES`].
    #[error("the value of label {name} has {bytes} bytes, and the server takes 2048: shorten it")]
    LongValue {
        /// Name of the label.
        name: String,
        /// Length of its value.
        bytes: usize,
    },
    /// A name that occurs twice, be it with the same value.
    #[error("label {0} is there twice: leave one out")]
    Duplicate(String),
    /// `__name__` is missing or empty.
    #[error("label __name__ is missing or empty: set it to the kind's name, such as process_cpu")]
    NoProfileName,
    /// `service_name` is empty.
    #[error("label service_name is empty: name the service")]
    EmptyServiceName,
    /// `service_name` is missing: the server writes `unknown_service`.
    #[error(
        "label service_name is missing, and the server would write unknown_service: name the service"
    )]
    NoServiceName,
    /// A `__name__` or part of it that makes a profile type no query can name, or that the server cuts.
    #[error("profile name {0} cannot be queried as it is: use letters, digits and underscores")]
    ProfileName(String),
    /// A label without a value: the server leaves it out.
    #[error("label {0} has no value, and the server would drop it: leave it out")]
    EmptyValue(String),
    /// A name that is no `[a-zA-Z_][a-zA-Z0-9_]*`: the server hides it from most of its clients.
    #[error(
        "label name {0} is hidden by the server: use letters, digits and underscores, and no digit first"
    )]
    HiddenName(String),
    /// A name the server removes, overwrites, or takes for an order to rewrite the profile.
    #[error(
        "label {0} means something to the server, which would remove or rewrite it: choose another name"
    )]
    ReservedName(String),
}

impl InvalidLabels {
    /// What the server does with such labels.
    pub fn verdict(&self) -> Verdict {
        match self {
            InvalidLabels::TooMany(_)
            | InvalidLabels::EmptyName
            | InvalidLabels::LongName(_)
            | InvalidLabels::LongValue { .. }
            | InvalidLabels::Duplicate(_)
            | InvalidLabels::NoProfileName
            | InvalidLabels::EmptyServiceName => Verdict::Rejected { status: 400 },
            InvalidLabels::NoServiceName
            | InvalidLabels::ProfileName(_)
            | InvalidLabels::EmptyValue(_)
            | InvalidLabels::HiddenName(_)
            | InvalidLabels::ReservedName(_) => Verdict::SilentlyDropped,
        }
    }
}

/// Set by the server itself, removed by it, or (`service_...`) the signal to replace every build id by a JSON text.
const RESERVED: [&str; 11] = [
    "__profile_type__",
    "__type__",
    "__unit__",
    "__period_type__",
    "__period_unit__",
    "__service_name__",
    "__delta__",
    "__session_id__",
    "service_repository",
    "service_git_ref",
    "service_root_path",
];

/// Checks the labels of one series. What the server refuses is found before what it changes.
pub fn validate_labels(labels: &[LabelPair]) -> Result<(), InvalidLabels> {
    check_refused(labels)?;
    check_changed(labels)
}

fn value_of<'l>(labels: &'l [LabelPair], name: &str) -> Option<&'l str> {
    labels
        .iter()
        .find(|label| label.name == name)
        .map(|label| label.value.as_str())
}

fn check_refused(labels: &[LabelPair]) -> Result<(), InvalidLabels> {
    if labels.len() > MAX_LABELS {
        return Err(InvalidLabels::TooMany(labels.len()));
    }
    for label in labels {
        if label.name.is_empty() {
            return Err(InvalidLabels::EmptyName);
        }
        if label.name.len() > MAX_NAME_BYTES {
            return Err(InvalidLabels::LongName(label.name.len()));
        }
        if label.value.len() > MAX_VALUE_BYTES {
            return Err(InvalidLabels::LongValue {
                name: label.name.clone(),
                bytes: label.value.len(),
            });
        }
    }
    let mut names: Vec<&str> = labels.iter().map(|label| label.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, ..]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(InvalidLabels::Duplicate((*name).to_owned()));
    }
    if value_of(labels, "__name__").is_none_or(str::is_empty) {
        return Err(InvalidLabels::NoProfileName);
    }
    if value_of(labels, "service_name") == Some("") {
        return Err(InvalidLabels::EmptyServiceName);
    }
    Ok(())
}

fn check_changed(labels: &[LabelPair]) -> Result<(), InvalidLabels> {
    if value_of(labels, "service_name").is_none() {
        return Err(InvalidLabels::NoServiceName);
    }
    for label in labels {
        if label.value.is_empty() {
            return Err(InvalidLabels::EmptyValue(label.name.clone()));
        }
        if !is_identifier(&label.name) {
            return Err(InvalidLabels::HiddenName(label.name.clone()));
        }
        if RESERVED.contains(&label.name.as_str()) {
            return Err(InvalidLabels::ReservedName(label.name.clone()));
        }
    }
    let name = value_of(labels, "__name__").unwrap_or_default();
    // The server cuts this prefix off.
    if !is_identifier(name) || name.starts_with("godeltaprof_") {
        return Err(InvalidLabels::ProfileName(name.to_owned()));
    }
    Ok(())
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`.
fn is_identifier(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let mut bytes = name.bytes();
    bytes.next().is_some_and(is_letter)
        && bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit())
}
