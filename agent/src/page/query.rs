//! What a request asks for: a stretch of time and an owner.

use super::answer::Refusal;
use crate::owner::Owner;
use crate::profile::OwnerProfile;
use crate::store::Store;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// Query parameters, refused in one sentence where they are not what is asked for.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let Query(parameters) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let source = std::error::Error::source(&rejection).map(ToString::to_string);
            let why = source.unwrap_or_else(|| rejection.to_string());
            Refusal::bad_request(format!("the query cannot be read: {why}"))
        })?;
        Ok(Self(parameters))
    }
}

/// `from` and `to`, milliseconds since the Unix epoch: what began in between, everything where they are not given.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Time {
    from: Option<i64>,
    to: Option<i64>,
}

impl Time {
    pub(super) fn range(self) -> Result<Range<i64>, Refusal> {
        let range = self.from.unwrap_or(0)..self.to.unwrap_or(i64::MAX);
        if range.start > range.end {
            return Err(Refusal::bad_request(format!(
                "from ({}) lies after to ({}): both are milliseconds since 1970, the earlier one first",
                range.start, range.end
            )));
        }
        Ok(range)
    }
}

/// A [`Time`], of one owner (by id, as `/api/owners` gives it) or all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    owner: Option<String>,
    // serde's flatten and deny_unknown_fields exclude each other.
    from: Option<i64>,
    to: Option<i64>,
}

/// What a [`Selection`] stands for.
#[derive(Debug)]
pub(super) struct Selected {
    /// The owner, if it is one.
    pub(super) owner: Option<Arc<Owner>>,
    /// Oldest first.
    pub(super) profiles: Vec<Arc<OwnerProfile>>,
}

impl Selection {
    pub(super) fn find(&self, store: &Store) -> Result<Selected, Refusal> {
        let (from, to) = (self.from, self.to);
        let range = Time { from, to }.range()?;
        let owner = match self.owner.as_deref() {
            None | Some("") => None,
            Some(id) => Some(owner_by_id(store, id)?),
        };
        let profiles = store.profiles(owner.as_deref(), range);
        Ok(Selected { owner, profiles })
    }
}

fn owner_by_id(store: &Store, id: &str) -> Result<Arc<Owner>, Refusal> {
    let all = store.profiles(None, 0..i64::MAX);
    let mut owners = all.iter().map(|profile| &profile.owner);
    match owners.find(|owner| owner_id(owner) == id) {
        Some(owner) => Ok(Arc::clone(owner)),
        None => Err(Refusal::new(
            axum::http::StatusCode::NOT_FOUND,
            "no owner of this id has run within the time kept: see /api/owners for those that have",
        )),
    }
}

/// Names an owner in an address. The same in every agent of one build, so that a link survives a restart.
pub(super) fn owner_id(owner: &Owner) -> String {
    let mut hasher = DefaultHasher::new();
    owner.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
