//! The part of `querier.v1.QuerierService` that reads back what was pushed: `ProfileTypes`, `Series` and
//! `SelectMergeStacktraces` in JSON, `SelectMergeProfile` in protobuf. A flame graph is never cut to `maxNodes`.

use super::Server;
use super::answer::Answer;
use super::flamegraph::flamegraph;
use super::merge::{merge, stacks};
use super::reject::text;
use super::selector::Selector;
use super::store::Stored;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use prost::Message;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Request of `SelectMergeProfile`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
pub struct SelectMergeProfileRequest {
    /// Profile type id of five parts.
    #[prost(string, tag = "1")]
    pub profile_type_id: String,
    /// Selector in braces.
    #[prost(string, tag = "2")]
    pub label_selector: String,
    /// Begin, milliseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub start: i64,
    /// End, milliseconds since the epoch, inclusive.
    #[prost(int64, tag = "4")]
    pub end: i64,
}

/// One type of one stored profile, and its series as queries see it.
struct Entry {
    stored: Stored,
    type_index: usize,
    id: ProfileType,
    labels: BTreeMap<String, String>,
}

/// `name:type:unit:period type:period unit`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ProfileType([String; 5]);

impl ProfileType {
    fn id(&self) -> String {
        self.0.join(":")
    }
}

/// Answers `procedure`.
pub(super) fn answer(server: &Server, procedure: &str, parts: &Parts, body: &[u8]) -> Answer {
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let result = match (procedure, content_type) {
        ("SelectMergeProfile", "application/proto") => select_merge_profile(server, body),
        ("ProfileTypes" | "Series" | "SelectMergeStacktraces", "application/json") => {
            match serde_json::from_slice::<Value>(body) {
                Ok(request) => json_answer(server, procedure, &request),
                Err(error) => Err(format!("unmarshal message: {error}")),
            }
        }
        ("ProfileTypes" | "Series" | "SelectMergeStacktraces" | "SelectMergeProfile", _) => {
            return Answer::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        _ => {
            return Answer::error(
                501,
                "unimplemented",
                &format!("the stand-in has no {procedure}"),
            );
        }
    };
    result.unwrap_or_else(|message| Answer::error(400, "invalid_argument", &message))
}

fn json_answer(server: &Server, procedure: &str, request: &Value) -> Result<Answer, String> {
    let (start, end) = (millis(request, "start")?, millis(request, "end")?);
    match procedure {
        "ProfileTypes" => Ok(Answer::json(&profile_types(&entries(server, start, end)?))),
        "Series" => series(server, request, start, end),
        _ => {
            let selected = select(
                server,
                &string(request, "profileTypeID"),
                &string(request, "labelSelector"),
                start,
                end,
            )?;
            let stacks: Vec<_> = selected
                .iter()
                .flat_map(|entry| stacks(&entry.stored.profile, entry.type_index))
                .collect();
            Ok(Answer::json(&json!({ "flamegraph": flamegraph(&stacks) })))
        }
    }
}

fn profile_types(entries: &[Entry]) -> Value {
    let types: BTreeSet<&ProfileType> = entries.iter().map(|entry| &entry.id).collect();
    if types.is_empty() {
        return json!({});
    }
    let keys = [
        "name",
        "sampleType",
        "sampleUnit",
        "periodType",
        "periodUnit",
    ];
    let one = |profile_type: &ProfileType| {
        let parts = keys
            .iter()
            .zip(&profile_type.0)
            .filter(|(_, part)| !part.is_empty());
        let mut object: serde_json::Map<String, Value> = parts
            .map(|(&key, part)| (key.to_owned(), json!(part)))
            .collect();
        object.insert("ID".to_owned(), json!(profile_type.id()));
        Value::Object(object)
    };
    json!({ "profileTypes": types.into_iter().map(one).collect::<Vec<_>>() })
}

fn series(server: &Server, request: &Value, start: i64, end: i64) -> Result<Answer, String> {
    let strings = |key: &str| -> Vec<String> {
        let list = request
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        list.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let matchers = strings("matchers")
        .iter()
        .map(|text| Selector::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let wanted = strings("labelNames");
    let mut sets = BTreeSet::new();
    for entry in entries(server, start, end)? {
        if matchers
            .iter()
            .all(|matcher| matcher.selects(&entry.labels))
        {
            let labels = entry
                .labels
                .into_iter()
                .filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
            let labels: Vec<_> = labels.collect();
            if !labels.is_empty() {
                sets.insert(labels);
            }
        }
    }
    if sets.is_empty() {
        return Ok(Answer::json(&json!({})));
    }
    let pair = |(name, value)| json!({ "name": name, "value": value });
    let set = |labels: Vec<(String, String)>| json!({ "labels": labels.into_iter().map(pair).collect::<Vec<_>>() });
    Ok(Answer::json(
        &json!({ "labelsSet": sets.into_iter().map(set).collect::<Vec<_>>() }),
    ))
}

fn select_merge_profile(server: &Server, body: &[u8]) -> Result<Answer, String> {
    let request = SelectMergeProfileRequest::decode(body)
        .map_err(|error| format!("unmarshal message: {error}"))?;
    let selected = select(
        server,
        &request.profile_type_id,
        &request.label_selector,
        request.start,
        request.end,
    )?;
    let profiles: Vec<_> = selected
        .into_iter()
        .map(|entry| (entry.stored.profile, entry.type_index))
        .collect();
    let mut merged = merge(&profiles);
    merged.time_nanos = request.end.saturating_mul(1_000_000);
    Ok(Answer::proto(merged.encode_to_vec()))
}

fn select(
    server: &Server,
    type_id: &str,
    selector: &str,
    start: i64,
    end: i64,
) -> Result<Vec<Entry>, String> {
    if type_id.split(':').count() != 5 {
        return Err(format!(
            "profile-type selection must be of the form <name>:<type>:<unit>:<period_type>:<period_unit>, got {type_id:?}"
        ));
    }
    let selector = Selector::parse(selector)?;
    let mut entries = entries(server, start, end)?;
    entries.retain(|entry| entry.id.id() == type_id && selector.selects(&entry.labels));
    Ok(entries)
}

/// What begins within `start..=end` milliseconds, once for each type it has a value of.
fn entries(server: &Server, start: i64, end: i64) -> Result<Vec<Entry>, String> {
    if start > end {
        return Err("invalid time range: start is after end".to_owned());
    }
    let stored = server.store.stored();
    let within = stored
        .into_iter()
        .filter(|stored| (start..=end).contains(&(stored.profile.time_nanos / 1_000_000)));
    Ok(within.flat_map(entries_of).collect())
}

fn entries_of(stored: Stored) -> Vec<Entry> {
    let profile = &stored.profile;
    let has_value = |index: &usize| profile.sample.iter().any(|sample| sample.value[*index] > 0);
    let entry = |type_index: usize| {
        let name = stored.labels.get("__name__").cloned().unwrap_or_default();
        let part = |index: i64| text(profile, index).unwrap_or("").to_owned();
        let value_type = profile.sample_type[type_index];
        let period = profile.period_type.unwrap_or_default();
        let [kind, unit] = [part(value_type.r#type), part(value_type.unit)];
        let id = ProfileType([name, kind, unit, part(period.r#type), part(period.unit)]);
        let labels = labels(&stored.labels, &id);
        Entry {
            stored: stored.clone(),
            type_index,
            id,
            labels,
        }
    };
    (0..profile.sample_type.len())
        .filter(has_value)
        .map(entry)
        .collect()
}

/// The labels of a series with those that the server adds.
fn labels(sent: &BTreeMap<String, String>, id: &ProfileType) -> BTreeMap<String, String> {
    let service = sent.get("service_name").cloned().unwrap_or_default();
    let [_, kind, unit, period_type, period_unit] = id.0.clone();
    let added = [
        ("__profile_type__", id.id()),
        ("__type__", kind),
        ("__unit__", unit),
        ("__period_type__", period_type),
        ("__period_unit__", period_unit),
        ("__service_name__", service),
    ];
    let added = added
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    sent.clone().into_iter().chain(added).collect()
}

/// Milliseconds, as a number or a string.
fn millis(request: &Value, key: &str) -> Result<i64, String> {
    let value = request
        .get(key)
        .ok_or_else(|| format!("{key} is missing"))?;
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| format!("{key} is no number"))
}

fn string(request: &Value, key: &str) -> String {
    request
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
