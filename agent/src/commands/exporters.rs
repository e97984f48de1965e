//! From the settings to what pushes to servers.

use crate::cli::AgentArgs;
use crate::config::Destination;
use crate::export::{
    Credentials, ExportMetrics, Exporter, PushLimits, PyroscopeConfig, SpoolConfig, TlsFiles,
};
use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Starts to push to all servers there are.
pub(super) fn start(args: &AgentArgs, registry: &mut Registry) -> Result<Vec<Exporter>> {
    let configs = configs(args);
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let metrics = ExportMetrics::new(registry);
    let node = args.node_name();
    configs
        .iter()
        .map(|config| {
            Exporter::start(config, &node, metrics.clone())
                .with_context(|| format!("cannot push to {}", config.name))
        })
        .collect()
}

/// All servers there are, and how each is pushed to.
pub(super) fn configs(args: &AgentArgs) -> Vec<PyroscopeConfig> {
    let destinations = args.destinations();
    destinations
        .iter()
        .map(|destination| config(destination, args))
        .collect()
}

fn config(destination: &Destination, args: &AgentArgs) -> PyroscopeConfig {
    let defaults = PushLimits::default();
    let name = destination.name();
    PyroscopeConfig {
        url: destination.url.clone(),
        credentials: credentials(destination),
        tenant_id: destination.tenant_id.clone(),
        headers: destination.headers.clone(),
        tls: TlsFiles {
            ca: destination.ca_file.clone(),
            client: destination
                .client_cert_file
                .clone()
                .zip(destination.client_key_file.clone()),
        },
        interval: args.push_interval,
        limits: PushLimits {
            rate: destination.rate.unwrap_or(args.push_rate),
            burst: destination.burst.unwrap_or(args.push_burst),
            timeout: destination.timeout.unwrap_or(defaults.timeout),
            last_try: 2 * args.push_interval,
            // Its own, and two to be named, to wait for this host's turn and to be sent.
            live: 3 * args.push_interval,
            ..defaults
        },
        spool: SpoolConfig {
            path: args.data_dir.join("spool").join(&name),
            most_bytes: destination.spool_size.unwrap_or(args.spool_size),
        },
        name,
    }
}

/// Of several kinds there is one: that was checked.
fn credentials(destination: &Destination) -> Credentials {
    let (user, password) = (
        &destination.basic_auth_user,
        &destination.basic_auth_password,
    );
    if let (Some(user), Some(password)) = (user, password) {
        return Credentials::Basic(user.clone(), password.clone());
    }
    if let Some(token) = &destination.bearer_token {
        return Credentials::Bearer(token.clone());
    }
    match &destination.bearer_token_file {
        Some(path) => Credentials::BearerFile(path.clone()),
        None => Credentials::None,
    }
}

/// Lets all of them send what is left, for no longer than `limit`, and returns how many profiles that cut short.
pub(super) async fn flush(exporters: &[Exporter], limit: Duration) -> u64 {
    let flushed: Vec<_> = exporters
        .iter()
        .map(|exporter| tokio::spawn(exporter.flush(limit)))
        .collect();
    let mut left = 0;
    for flush in flushed {
        // A panic would have been said.
        left += flush.await.unwrap_or_default();
    }
    left
}
