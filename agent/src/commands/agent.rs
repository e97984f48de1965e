//! `thermograph agent`: watches the host until it is told to stop.

use super::signals::Signals;
use super::{descriptors, exporters};
use crate::capture::{CaptureError, CaptureOrder, CaptureRequest, Captured, Captures};
use crate::cli::AgentArgs;
use crate::container::{RuntimeConfig, Runtimes};
use crate::debuginfod::{Debuginfod, DebuginfodMetrics};
use crate::export::Exporter;
use crate::metrics::SelfMetrics;
use crate::naming::{Assembler, Bounds, CaptureDesk, Deliver, Delivery, Intervals, Naming};
use crate::owner::{LabelConfig, Owners};
use crate::page::{Access, Health, Page};
use crate::page_token::page_token;
use crate::process::tgid_of;
use crate::profile::OwnerProfile;
use crate::sampling::{Collector, Command, SamplingOptions};
use crate::secret::Secret;
use crate::store::{self, Store, Stretch};
use anyhow::{Context, Result, anyhow};
use bpf::Filter;
use prometheus_client::registry::Registry;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// How long what is left may take to be sent at the end: systemd waits 90 s before it kills.
const FLUSH: Duration = Duration::from_secs(10);
/// How long what still waits for a file system may take after that: it may wait for ever.
const LAST_WORK: Duration = Duration::from_secs(1);
/// How often it is looked whether sampling goes on.
const WATCH: Duration = Duration::from_secs(1);

/// Watches the host until a signal asks for the end.
pub(crate) fn agent(args: &AgentArgs) -> Result<ExitCode> {
    descriptors::raise_limit();
    // Whatever is wrong with the arguments shall be known before anything is sampled.
    let token = page_token(args)?;
    let listener = crate::page::bind(args.listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = run(args, &runtime, token, listener);
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

fn run(
    args: &AgentArgs,
    runtime: &Runtime,
    token: Option<Secret>,
    listener: TcpListener,
) -> Result<ExitCode> {
    let _inside = runtime.enter();
    let mut signals = Signals::new()?;
    let mut registry = Registry::default();
    let exporters = Arc::new(exporters::start(args, &mut registry)?);
    let parts = Parts::start(args, Arc::clone(&exporters), &mut registry)?;

    let (captures, orders) = Captures::new();
    tokio::spawn(take_orders(
        orders,
        Arc::clone(&parts.collector),
        Arc::clone(&parts.desk),
    ));
    let page = Page {
        store: Arc::clone(&parts.store),
        health: Arc::clone(&parts.health),
        captures,
        metrics: Arc::new(registry),
        access: Access::new(args.listen, token),
    };
    let address = listener
        .local_addr()
        .context("cannot tell the page's address")?;
    let (stop_page, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(page.serve(listener, async {
        // Dropping the other end stops the page too.
        let _ = stopped.await;
    }));
    eprintln!("thermograph: this host's flame graph is at http://{address}");

    let outcome = runtime.block_on(async {
        tokio::select! {
            () = signals.next() => Ok(ExitCode::SUCCESS),
            error = sampling_ended(&parts.collector) => Err(error),
        }
    });
    parts.stop();
    let left = runtime.block_on(exporters::flush(&exporters, FLUSH));
    if left > 0 {
        tracing::warn!("{left} profiles could not be pushed before the end, nor kept on disk");
    }
    drop(stop_page);
    let _ = runtime.block_on(serving);
    outcome
}

/// Starts to fetch debug files, if there are servers to fetch them from.
fn debuginfod(args: &AgentArgs, registry: &mut Registry) -> Result<Option<Debuginfod>> {
    let Some(urls) = &args.debuginfod_url else {
        return Ok(None);
    };
    let directory = args.unwind.cache_dir.join("debug");
    Debuginfod::start(&urls.0, &directory, DebuginfodMetrics::new(registry)).map(Some)
}

/// The threads that sample and name, and what they fill.
struct Parts {
    collector: Arc<Collector>,
    assembler: JoinHandle<()>,
    desk: Arc<CaptureDesk>,
    store: Arc<Store>,
    health: Arc<Health>,
}

impl Parts {
    fn start(
        args: &AgentArgs,
        exporters: Arc<Vec<Exporter>>,
        registry: &mut Registry,
    ) -> Result<Self> {
        let handle = tokio::runtime::Handle::current();
        let runtimes = Runtimes::start(&RuntimeConfig::new(&args.runtimes), &handle);
        let naming = Naming {
            symbols: args.naming.symbols,
            debuginfod: debuginfod(args, registry)?,
        };
        let options = SamplingOptions {
            frequency: args.frequency,
            idle: args.idle,
            filter: Filter::Everything,
            kernel_memory: args.unwind.unwind_memory << 20,
            cache: args.unwind.tables(),
            interval: args.push_interval,
            runtimes: Some(Arc::clone(&runtimes)),
        };
        let period = options.period();
        let (collector, windows) = Collector::start(options)?;
        let collector = Arc::new(collector);
        let desk = Arc::new(CaptureDesk::default());
        let store = Arc::new(Store::new(store::DEFAULT_BUDGET));
        let health = Arc::new(Health::new());
        let trouble = Arc::new(Mutex::default());
        let destinations = Arc::clone(&exporters);
        let is_kept = move || destinations.iter().any(Exporter::keeps_provisional);
        let deliver = deliver(Arc::clone(&store), Arc::clone(&health), exporters);
        let bounds = Bounds {
            max_owners: usize::try_from(args.owners.max_owners).unwrap_or(usize::MAX),
            min_share: args.owners.min_share,
        };
        let intervals = Intervals::new(
            owners(args, Arc::clone(&runtimes)),
            bounds,
            period,
            deliver,
            Box::new(is_kept),
        );
        let assembler = Assembler::start(
            period,
            windows,
            Arc::clone(&desk),
            naming,
            Some(intervals),
            Arc::clone(&trouble),
        )
        .context("cannot start a thread")?;
        let metrics = SelfMetrics {
            collector: Arc::clone(&collector),
            naming: trouble,
            store: Arc::clone(&store),
            runtimes,
        };
        registry.register_collector(Box::new(metrics));
        Ok(Self {
            collector,
            assembler,
            desk,
            store,
            health,
        })
    }

    /// Ends both threads; when this returns, what they had is with the exporter.
    fn stop(self) {
        if self.collector.stop() && self.assembler.join().is_err() {
            tracing::error!("the naming thread has panicked");
        }
    }
}

/// Knows whose profiles are.
fn owners(args: &AgentArgs, runtimes: Arc<Runtimes>) -> Owners {
    let config = LabelConfig {
        pod_labels: args.owners.pod_labels.0.clone(),
        pod_annotations: args.owners.pod_annotations.0.clone(),
        node: args.node_name(),
        nodes_of_pods: args.node.is_none(),
    };
    let ask = move |id: &str, maker, realm: &Arc<str>| runtimes.get(id, maker, realm);
    Owners::new(config, args.tables.rule.clone(), Box::new(ask))
}

/// Hands profiles to the page and to the servers.
fn deliver(store: Arc<Store>, health: Arc<Health>, exporters: Arc<Vec<Exporter>>) -> Deliver {
    Box::new(move |delivery| match delivery {
        Delivery::Window {
            span,
            lost,
            profiles,
        } => {
            health.window_closed();
            store.add_window(Stretch {
                start_unix_nanos: span.start_unix_nanos,
                duration: span.duration,
                lost,
                profiles,
            });
        }
        Delivery::Closing { provisional } => hand_over(&exporters, &[], &provisional),
        Delivery::Interval {
            span,
            profiles,
            provisional,
        } => {
            hand_over(&exporters, &profiles, &provisional);
            let length = i64::try_from(span.duration.as_nanos()).unwrap_or(i64::MAX);
            let end = span.start_unix_nanos.saturating_add(length);
            let all = profiles.into_iter().chain(provisional).collect();
            store.close_interval(span.start_unix_nanos..end, all);
        }
        Delivery::Late {
            span,
            profiles,
            provisional,
            instead_of,
        } => {
            hand_over(&exporters, &profiles, &provisional);
            let all = profiles.into_iter().chain(provisional).collect();
            store.amend_interval(span.start_unix_nanos, &instead_of, all);
        }
    })
}

fn hand_over(
    exporters: &[Exporter],
    profiles: &[Arc<OwnerProfile>],
    provisional: &[Arc<OwnerProfile>],
) {
    for exporter in exporters {
        exporter.hand_over(profiles.to_vec(), provisional.to_vec());
    }
}

/// Resolves when the sampling thread has ended, which it does on errors only.
async fn sampling_ended(collector: &Collector) -> anyhow::Error {
    while collector.is_running() {
        tokio::time::sleep(WATCH).await;
    }
    anyhow!("sampling has ended: the log says why")
}

/// Lets captures begin and end.
async fn take_orders(
    mut orders: mpsc::Receiver<CaptureOrder>,
    collector: Arc<Collector>,
    desk: Arc<CaptureDesk>,
) {
    while let Some(order) = orders.recv().await {
        tokio::spawn(capture(order, Arc::clone(&collector), Arc::clone(&desk)));
    }
}

async fn capture(mut order: CaptureOrder, collector: Arc<Collector>, desk: Arc<CaptureDesk>) {
    let CaptureRequest { pid, duration } = order.request;
    if let Some(pid) = pid
        && tgid_of(pid) != Some(pid)
    {
        // Whoever asked may have gone.
        let _ = order.reply.send(Err(CaptureError::NoSuchProcess(pid)));
        return;
    }
    let (capture, answer) = desk.open(pid);
    let begin = Command::Begin {
        capture,
        duration: Some(duration),
    };
    if !collector.command(begin) {
        desk.cancel(capture);
        let _ = order.reply.send(Err(CaptureError::Stopping));
        return;
    }
    tokio::select! {
        caught = answer => {
            let captured = caught.ok().and_then(|caught| {
                let lost = caught.counters.ticks_lost + caught.counters.counts_full + caught.left_out;
                Some(Captured { profile: caught.profile?, samples: caught.samples, lost })
            });
            let _ = order.reply.send(captured.ok_or(CaptureError::Stopping));
        }
        () = order.reply.closed() => {
            desk.cancel(capture);
            collector.command(Command::End { capture });
        }
    }
}
