//! What the server drops or rewrites and answers 200 to.

use super::labels::series_labels_of_samples;
use super::limits::Limits;
use super::reject::text;
use pprof_proto::pprof::{Location, Profile, Sample, ValueType};
use pprof_proto::push::LabelPair;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// Stacks of a profile judged to be Go's are "repaired" when one is this deep...
const REPAIR_DEPTH: usize = 60;
/// ...which gives guessed roots to all that are deeper than this.
const REPAIRED_ABOVE: usize = 24;

/// Everything of `profile` that would not come back from a query as it was sent: one line for each kind.
pub(super) fn swallow(
    profile: &Profile,
    labels: &[LabelPair],
    limits: &Limits,
    now: SystemTime,
) -> Vec<String> {
    let mut losses = samples(profile, limits);
    losses.extend(frames(profile));
    losses.extend(types(profile));
    losses.extend(go_repair(profile, labels));
    let too_long = profile
        .string_table
        .iter()
        .filter(|text| text.len() > limits.symbol)
        .count();
    count(
        &mut losses,
        too_long,
        "strings are too long: their begin is cut",
    );
    let names = series_labels_of_samples(profile);
    count(
        &mut losses,
        names.len(),
        &format!("string labels of samples {names:?} make further series"),
    );
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos());
    match u128::try_from(profile.time_nanos) {
        Ok(time) if time > now => {
            losses.push("it begins in the future: no query up to now shows it".to_owned())
        }
        Ok(0) | Err(_) => losses.push("it has no time: the server's clock is put in".to_owned()),
        Ok(_) => {}
    }
    losses
}

fn count(losses: &mut Vec<String>, number: usize, what: &str) {
    if number > 0 {
        losses.push(format!("{number} {what}"));
    }
}

fn samples(profile: &Profile, limits: &Limits) -> Vec<String> {
    let mut losses = Vec::new();
    let number =
        |is: &dyn Fn(&Sample) -> bool| profile.sample.iter().filter(|sample| is(sample)).count();
    if profile.sample.is_empty() {
        losses.push("no samples: nothing is kept".to_owned());
    }
    let zero = number(&|sample| sample.value.iter().all(|&value| value == 0));
    count(&mut losses, zero, "samples have only zeros: dropped");
    let negative = number(&|sample| sample.value.iter().any(|&value| value < 0));
    count(
        &mut losses,
        negative,
        "samples have a negative value: dropped",
    );
    let places = Places::new(profile);
    let dangling = number(&|sample| !places.all_resolve(sample));
    count(
        &mut losses,
        dangling,
        "samples have a location that does not resolve: dropped",
    );
    let rootless = number(&|sample| sample.location_id.is_empty());
    count(
        &mut losses,
        rootless,
        "samples have no location: not in the flame graph",
    );
    let deep = number(&|sample| sample.location_id.len() > limits.depth);
    count(
        &mut losses,
        deep,
        "stacks are too deep: their leaf is cut off",
    );
    let numeric = number(&|sample| sample.label.iter().any(|label| label.str == 0));
    count(
        &mut losses,
        numeric,
        "samples have number labels: dropped, and the samples merged",
    );
    losses
}

fn frames(profile: &Profile) -> Vec<String> {
    let mut losses = Vec::new();
    let line_less = profile
        .location
        .iter()
        .filter(|location| location.line.is_empty())
        .count();
    count(
        &mut losses,
        line_less,
        "locations have no line: they vanish from the flame graph",
    );
    losses
}

fn types(profile: &Profile) -> Vec<String> {
    let mut losses = Vec::new();
    if profile.period_type.is_none() {
        losses.push("no period type: the profile type's name ends in `::`".to_owned());
    }
    let mut ids = BTreeSet::new();
    let name = |index: i64| text(profile, index);
    let same = |one: &&ValueType| !ids.insert((name(one.r#type), name(one.unit)));
    let repeated = profile.sample_type.iter().filter(same).count();
    count(
        &mut losses,
        repeated,
        "sample types are there twice: their values are summed",
    );
    let period = profile.period_type.iter();
    for value_type in profile.sample_type.iter().chain(period) {
        let (name, unit) = (
            text(profile, value_type.r#type),
            text(profile, value_type.unit),
        );
        if name.is_some_and(|name| name.contains(':'))
            || unit.is_some_and(|unit| unit.contains(':'))
        {
            losses.push(format!(
                "type {name:?} has a `:` in it: nobody can query it"
            ));
        }
        if unit.is_none() || name.is_none() {
            losses.push(format!(
                "type {name:?} has its name or unit out of range: it becomes empty"
            ));
        }
    }
    losses
}

/// The server "repairs" Go profiles. It takes a profile for Go's by a label, or else by the first string that looks like
/// a path of one language or another.
fn go_repair(profile: &Profile, labels: &[LabelPair]) -> Vec<String> {
    let spy = labels
        .iter()
        .find(|label| label.name == "pyroscope_spy")
        .map(|label| label.value.as_str());
    let is_go = match spy {
        Some("gospy") => true,
        Some("pyroscope-rs") => false,
        _ => {
            let go = |text: &str| text.ends_with(".go") || text.starts_with("/usr/local/go/");
            let first = profile
                .string_table
                .iter()
                .find(|text| go(text) || text.ends_with("main.rs"));
            first.is_some_and(|text| go(text))
        }
    };
    let mut losses = Vec::new();
    if !is_go {
        return losses;
    }
    let shaped = profile
        .string_table
        .iter()
        .filter(|text| text.contains("[go.shape."))
        .count();
    count(
        &mut losses,
        shaped,
        "names lose their [go.shape...] because the profile looks like Go's",
    );
    let places = Places::new(profile);
    let depths: Vec<usize> = profile
        .sample
        .iter()
        .map(|sample| places.frames(sample))
        .collect();
    let is_cpu = profile
        .sample_type
        .iter()
        .any(|value| text(profile, value.r#type) == Some("cpu"));
    if is_cpu && depths.iter().any(|&depth| depth >= REPAIR_DEPTH) {
        let repaired = depths
            .iter()
            .filter(|&&depth| depth > REPAIRED_ABOVE)
            .count();
        count(
            &mut losses,
            repaired,
            "stacks get guessed roots because the profile looks like Go's",
        );
    }
    losses
}

/// Locations by id, and what they refer to.
struct Places<'a> {
    locations: BTreeMap<u64, &'a Location>,
    functions: BTreeSet<u64>,
    mappings: BTreeSet<u64>,
}

impl<'a> Places<'a> {
    fn new(profile: &'a Profile) -> Places<'a> {
        Places {
            locations: profile
                .location
                .iter()
                .map(|location| (location.id, location))
                .collect(),
            functions: profile
                .function
                .iter()
                .map(|function| function.id)
                .collect(),
            mappings: profile
                .mapping
                .iter()
                .map(|mapping| mapping.id)
                .filter(|&id| id != 0)
                .collect(),
        }
    }

    fn all_resolve(&self, sample: &Sample) -> bool {
        sample.location_id.iter().all(|id| {
            self.locations
                .get(id)
                .is_some_and(|location| self.resolves(location))
        })
    }

    fn resolves(&self, location: &Location) -> bool {
        let has_mapping = location.mapping_id == 0 || self.mappings.contains(&location.mapping_id);
        let has_functions = location
            .line
            .iter()
            .all(|line| self.functions.contains(&line.function_id));
        let says_something = !location.line.is_empty() || location.address != 0;
        has_mapping && has_functions && says_something
    }

    fn frames(&self, sample: &Sample) -> usize {
        let lines = |id| {
            self.locations
                .get(id)
                .map_or(0, |location| location.line.len().max(1))
        };
        sample.location_id.iter().map(lines).sum()
    }
}

/// Whether the whole `sample` is dropped for its values: an absent period type then breaks the server.
pub(super) fn has_no_value(sample: &Sample) -> bool {
    sample.value.iter().any(|&value| value < 0) || sample.value.iter().all(|&value| value == 0)
}

/// `profile` without the samples that are dropped.
pub(super) fn kept(mut profile: Profile) -> Profile {
    let places = Places::new(&profile);
    let keep: Vec<bool> = profile
        .sample
        .iter()
        .map(|sample| !has_no_value(sample) && places.all_resolve(sample))
        .collect();
    let mut keep = keep.into_iter();
    profile.sample.retain(|_| keep.next().unwrap_or(false));
    profile
}
