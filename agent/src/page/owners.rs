//! `/api/owners`: who used the CPU.

use super::Shared;
use super::answer::Refusal;
use super::query::{Parameters, Time, owner_id};
use crate::owner::Owner;
use crate::profile::OwnerProfile;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One owner's part.
#[derive(Debug, Serialize)]
pub(super) struct OwnerShare {
    id: String,
    labels: BTreeMap<String, String>,
    cpu_nanos: u64,
    samples: u64,
}

/// The one with the most CPU time first.
pub(super) async fn owners(
    State(shared): State<Arc<Shared>>,
    Parameters(time): Parameters<Time>,
) -> Result<Json<Vec<OwnerShare>>, Refusal> {
    let range = time.range()?;
    let store = Arc::clone(&shared.store);
    let shares = shared.work(move || Ok(shares(&store.profiles(None, range))));
    Ok(Json(shares.await?))
}

fn shares(profiles: &[Arc<OwnerProfile>]) -> Vec<OwnerShare> {
    let mut sums: HashMap<&Owner, (u64, u64)> = HashMap::new();
    for profile in profiles {
        let (cpu_nanos, samples) = sums.entry(&profile.owner).or_default();
        *cpu_nanos = cpu_nanos.saturating_add(profile.cpu_nanos);
        *samples = samples.saturating_add(profile.samples);
    }
    let mut shares: Vec<OwnerShare> = sums
        .into_iter()
        .map(|(owner, (cpu_nanos, samples))| OwnerShare {
            id: owner_id(owner),
            labels: owner
                .labels()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            cpu_nanos,
            samples,
        })
        .collect();
    shares.sort_by(|a, b| (b.cpu_nanos, &a.id).cmp(&(a.cpu_nanos, &b.id)));
    shares
}
