//! Merges profiles of one kind into one, for a download over a range of time.

use crate::pprof::{Profile, ValueType};
use crate::references::{Malformed, References};
use crate::tables::Tables;
use crate::transfer::Transfer;

/// Why a profile cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// It contradicts itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It measures something else.
    #[error(
        "a profile of {found} cannot be merged into one of {expected}: merge profiles of one kind"
    )]
    OtherKind {
        /// Sample and period types of the profiles merged so far.
        expected: String,
        /// Those of the profile refused.
        found: String,
    },
}

/// A sum of profiles, taken in one by one.
///
/// Values of equal stacks with equal labels are added (saturating), tables deduplicated. The time is the earliest start, and
/// the duration the time that at least one of the profiles covers: profiles of several owners over the same minute make
/// one minute, and a gap between two counts for nothing. The period is the largest, as `go tool pprof` has it; comments are
/// kept, each once; all else is the first profile's.
#[derive(Debug, Default)]
pub struct Merger {
    sum: Option<Sum>,
}

#[derive(Debug)]
struct Sum {
    kind: String,
    tables: Tables,
    head: Profile,
    /// Start and end of each profile, nanoseconds since the Unix epoch.
    spans: Vec<(i64, i64)>,
}

impl Merger {
    /// A sum of nothing.
    pub fn new() -> Self {
        Merger::default()
    }

    /// Adds `profile`, all of it or, on an error, nothing.
    pub fn add(&mut self, profile: &Profile) -> Result<(), MergeError> {
        let references = References::checked(profile)?;
        let kind = kind(&references)?;
        let mut transfer = Transfer::new(&references);
        let sum = match &mut self.sum {
            Some(sum) if sum.kind != kind => {
                let expected = sum.kind.clone();
                return Err(MergeError::OtherKind {
                    expected,
                    found: kind,
                });
            }
            Some(sum) => sum,
            None => {
                let mut tables = Tables::new(profile.sample_type.len());
                let head = transfer.head(&mut tables)?;
                self.sum.insert(Sum {
                    kind,
                    tables,
                    head,
                    spans: Vec::new(),
                })
            }
        };
        sum.spans.push((
            profile.time_nanos,
            profile.time_nanos.saturating_add(profile.duration_nanos),
        ));
        sum.head.period = sum.head.period.max(profile.period);
        for comment in &profile.comment {
            let comment = transfer.string(*comment, &mut sum.tables)?;
            if !sum.head.comment.contains(&comment) {
                sum.head.comment.push(comment);
            }
        }
        for sample in &profile.sample {
            transfer.sample(sample, &mut sum.tables)?;
        }
        Ok(())
    }

    /// The merged profile, or none if nothing was added.
    pub fn finish(self) -> Option<Profile> {
        let Sum {
            tables,
            mut head,
            spans,
            ..
        } = self.sum?;
        head.time_nanos = spans
            .iter()
            .map(|(start, _)| *start)
            .min()
            .unwrap_or_default();
        head.duration_nanos = covered(spans);
        Some(tables.into_profile_with(head))
    }
}

/// Sample types and period type as text, such as `cpu/nanoseconds per cpu/nanoseconds`.
fn kind(references: &References<'_>) -> Result<String, Malformed> {
    let text = |value_type: &ValueType| -> Result<String, Malformed> {
        let (name, unit) = (
            references.string(value_type.r#type)?,
            references.string(value_type.unit)?,
        );
        Ok(format!("{name}/{unit}"))
    };
    let profile = references.profile;
    let sample_types: Vec<String> = profile
        .sample_type
        .iter()
        .map(text)
        .collect::<Result<_, _>>()?;
    let period_type = text(&profile.period_type.unwrap_or_default())?;
    Ok(format!("{} per {period_type}", sample_types.join(", ")))
}

/// Length of the union of `spans`.
fn covered(mut spans: Vec<(i64, i64)>) -> i64 {
    spans.sort_unstable();
    let mut covered: i64 = 0;
    let mut reached = i64::MIN;
    for (start, end) in spans {
        let begin = start.max(reached);
        if end > begin {
            covered = covered.saturating_add(end.saturating_sub(begin));
            reached = end;
        }
    }
    covered
}
