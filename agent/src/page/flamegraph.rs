//! `/api/flamegraph`: the selected profiles as one tree.

use super::Shared;
use super::answer::Refusal;
use super::download::{MAX_PROFILE_BYTES, internal};
use super::query::{Parameters, Selection};
use super::tree::{FlameGraph, Tree};
use axum::Json;
use axum::extract::State;
use pprof_proto::encode::decode;
use std::sync::Arc;

/// A tree of nothing where nothing ran.
pub(super) async fn flamegraph(
    State(shared): State<Arc<Shared>>,
    Parameters(selection): Parameters<Selection>,
) -> Result<Json<FlameGraph>, Refusal> {
    let store = Arc::clone(&shared.store);
    let graph = shared.work(move || {
        let selected = selection.find(&store)?;
        let mut tree = Tree::new();
        // One at a time: an hour of them decoded together would be larger than the store.
        for stored in &selected.profiles {
            let profile = decode(&stored.pprof, MAX_PROFILE_BYTES).map_err(internal)?;
            tree.add(&profile);
        }
        Ok(tree.finish())
    });
    Ok(Json(graph.await?))
}
