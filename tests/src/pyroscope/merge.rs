//! Several profiles as one.

use pprof_proto::pprof::{Location, Profile, Sample};
use std::collections::HashMap;

/// One stack, root first, by names, and its value.
pub(super) type NamedStack = (Vec<String>, i64);

/// The stacks of `profile` with their values of the type at `type_index`. Frames without a line are not in them.
pub(super) fn stacks(profile: &Profile, type_index: usize) -> Vec<NamedStack> {
    let text = |at: i64| profile.string_table[at as usize].clone();
    let functions: HashMap<u64, String> = profile
        .function
        .iter()
        .map(|function| (function.id, text(function.name)))
        .collect();
    let names = |location: &Location| -> Vec<String> {
        let lines = location.line.iter().rev();
        lines
            .filter_map(|line| functions.get(&line.function_id).cloned())
            .collect()
    };
    let names_of: HashMap<u64, Vec<String>> = profile
        .location
        .iter()
        .map(|location| (location.id, names(location)))
        .collect();
    let stack = |sample: &Sample| -> Vec<String> {
        sample
            .location_id
            .iter()
            .rev()
            .filter_map(|id| names_of.get(id))
            .flatten()
            .cloned()
            .collect()
    };
    let value = |sample: &Sample| sample.value.get(type_index).copied().unwrap_or(0);
    profile
        .sample
        .iter()
        .filter(|sample| value(sample) > 0)
        .map(|sample| (stack(sample), value(sample)))
        .collect()
}

/// One profile with the type at each profile's index only: tables side by side, nothing shared.
pub(super) fn merge(profiles: &[(Profile, usize)]) -> Profile {
    let mut merged = Profile {
        string_table: vec![String::new()],
        ..Profile::default()
    };
    for (profile, type_index) in profiles {
        append(&mut merged, profile.clone(), *type_index);
    }
    merged
}

fn append(merged: &mut Profile, mut profile: Profile, type_index: usize) {
    let strings = merged.string_table.len() as i64;
    let last = |ids: Option<u64>| ids.unwrap_or(0);
    let mappings = last(merged.mapping.iter().map(|mapping| mapping.id).max());
    let functions = last(merged.function.iter().map(|function| function.id).max());
    let locations = last(merged.location.iter().map(|location| location.id).max());

    merged.string_table.append(&mut profile.string_table);
    for mapping in &mut profile.mapping {
        mapping.id += mappings;
        mapping.filename += strings;
        mapping.build_id += strings;
    }
    for function in &mut profile.function {
        function.id += functions;
        function.name += strings;
        function.system_name += strings;
        function.filename += strings;
    }
    for location in &mut profile.location {
        location.id += locations;
        location.mapping_id += if location.mapping_id == 0 {
            0
        } else {
            mappings
        };
        for line in &mut location.line {
            line.function_id += functions;
        }
    }
    for sample in &mut profile.sample {
        sample
            .location_id
            .iter_mut()
            .for_each(|id| *id += locations);
        sample.value = vec![sample.value[type_index]];
        sample.label.clear();
    }
    profile.sample.retain(|sample| sample.value[0] > 0);
    merged.mapping.append(&mut profile.mapping);
    merged.function.append(&mut profile.function);
    merged.location.append(&mut profile.location);
    merged.sample.append(&mut profile.sample);

    let mut moved = profile.sample_type[type_index];
    moved.r#type += strings;
    moved.unit += strings;
    merged.sample_type = vec![moved];
    merged.period_type = profile.period_type.map(|mut period| {
        period.r#type += strings;
        period.unit += strings;
        period
    });
    merged.period = profile.period;
    merged.time_nanos = merged.time_nanos.max(profile.time_nanos);
}
