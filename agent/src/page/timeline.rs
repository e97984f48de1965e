//! `/api/timeline`: CPU time over time, for the page's time chooser.

use super::Shared;
use super::answer::Refusal;
use super::query::{Parameters, Time, owner_id};
use crate::owner::Owner;
use crate::store::Stretch;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// As many areas as an eye tells apart; the rest is one.
const OWNERS: usize = 8;

/// CPU time of the owners with the most, and of all others together.
#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    /// The agent's clock, milliseconds since the Unix epoch.
    now_ms: u64,
    /// Begin of the oldest thing kept, milliseconds since the Unix epoch.
    reaches_back_to_ms: Option<i64>,
    /// Whom the first values of [`Point::cpu_nanos`] belong to.
    owners: Vec<OwnerName>,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct OwnerName {
    id: String,
    name: String,
}

/// One window or interval.
#[derive(Debug, Serialize)]
struct Point {
    start_ms: i64,
    duration_ms: u64,
    samples: u64,
    lost: u64,
    /// One for each of [`Timeline::owners`], and one for all others.
    cpu_nanos: Vec<u64>,
}

/// Oldest first.
pub(super) async fn timeline(
    State(shared): State<Arc<Shared>>,
    Parameters(time): Parameters<Time>,
) -> Result<Json<Timeline>, Refusal> {
    let range = time.range()?;
    let nanos = range.start.saturating_mul(1_000_000)..range.end.saturating_mul(1_000_000);
    let store = Arc::clone(&shared.store);
    let timeline = shared.work(move || Ok(drawn(&store.stretches(nanos), store.reaches_back_to())));
    Ok(Json(timeline.await?))
}

fn drawn(stretches: &[Stretch], reaches_back_to: Option<i64>) -> Timeline {
    let largest = largest(stretches);
    let places: HashMap<&Owner, usize> = largest.iter().copied().zip(0..).collect();
    let points = stretches
        .iter()
        .map(|stretch| point(stretch, &places))
        .collect();
    let owners = largest
        .iter()
        .map(|owner| OwnerName {
            id: owner_id(owner),
            name: owner.service_name.clone(),
        })
        .collect();
    Timeline {
        now_ms: super::unix_millis(),
        reaches_back_to_ms: reaches_back_to.map(|nanos| nanos.div_euclid(1_000_000)),
        owners,
        points,
    }
}

fn largest(stretches: &[Stretch]) -> Vec<&Owner> {
    let mut sums: HashMap<&Owner, u64> = HashMap::new();
    for profile in stretches.iter().flat_map(|stretch| stretch.profiles.iter()) {
        let sum = sums.entry(&profile.owner).or_default();
        *sum = sum.saturating_add(profile.cpu_nanos);
    }
    let mut owners: Vec<(&Owner, u64)> = sums.into_iter().collect();
    owners.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
    owners.truncate(OWNERS);
    owners.into_iter().map(|(owner, _)| owner).collect()
}

fn point(stretch: &Stretch, places: &HashMap<&Owner, usize>) -> Point {
    let mut cpu_nanos = vec![0u64; places.len() + 1];
    let mut samples = 0u64;
    for profile in stretch.profiles.iter() {
        samples = samples.saturating_add(profile.samples);
        let place = places.get(&*profile.owner).copied();
        if let Some(sum) = cpu_nanos.get_mut(place.unwrap_or(places.len())) {
            *sum = sum.saturating_add(profile.cpu_nanos);
        }
    }
    Point {
        start_ms: stretch.start_unix_nanos.div_euclid(1_000_000),
        duration_ms: u64::try_from(stretch.duration.as_millis()).unwrap_or(u64::MAX),
        samples,
        lost: stretch.lost,
        cpu_nanos,
    }
}
