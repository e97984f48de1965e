//! Debug files of programs that were stripped, from debuginfod servers: only if the user names some.
//!
//! ```text
//! naming ── build id ─────► fetcher, a thread ── GET URL/buildid/ID/debuginfo ──► server
//!        ◄── an open file ── directory on disk ◄─────────────────────────────────
//! ```
//!
//! Naming never waits. What comes is read by nobody here: it goes to the worker that reads all foreign files, which holds its build id
//! against that of the program.

mod fetcher;
mod metrics;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use metrics::DebuginfodMetrics;

use crate::disk_cache::{DiskCache, touch};
use anyhow::{Context, Result};
use fetcher::{Fetcher, Limits};
use lru::LruCache;
use metrics::Outcome;
use reqwest::Url;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use symbolizer::{Module, Symbolizer};
use tokio::sync::mpsc;

/// Bytes that debug files on disk may take.
const BUDGET: u64 = 1 << 30;
/// Files that wait to be fetched. What finds no room is asked for again if it is sampled again.
const QUEUE: usize = 256;
/// Build ids of which it is remembered what is known.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// How long it is believed that no server has a file.
const MISSING: Duration = Duration::from_secs(24 * 3600);
/// How long none is asked for a file again of which not all have said that they do not have it.
const FAILED: Duration = Duration::from_secs(300);
/// How names of files end.
const SUFFIX: &str = ".debug";

/// Where debug files come from.
pub(crate) struct Debuginfod {
    shelf: Arc<Shelf>,
    wanted: mpsc::Sender<Arc<str>>,
}

impl Debuginfod {
    /// Starts to fetch from these servers into a directory.
    pub(crate) fn start(
        servers: &[Url],
        directory: &Path,
        metrics: DebuginfodMetrics,
    ) -> Result<Self> {
        Self::with(servers, directory, metrics, Limits::default())
    }

    fn with(
        servers: &[Url],
        directory: &Path,
        metrics: DebuginfodMetrics,
        limits: Limits,
    ) -> Result<Self> {
        let files = DiskCache::open(directory, BUDGET, is_of_debug_file).with_context(|| {
            let directory = directory.display();
            format!("debug files cannot be kept in {directory}: give another --cache-dir")
        })?;
        let shelf = Arc::new(Shelf {
            files,
            known: Mutex::new(LruCache::new(REMEMBERED)),
            metrics,
        });
        let (wanted, asked) = mpsc::channel(QUEUE);
        Fetcher::new(servers, Arc::clone(&shelf), limits)?.start(asked)?;
        Ok(Self { shelf, wanted })
    }

    /// Gives a module its debug file as soon as that has been fetched, and has it fetched where its lines were found missing. To be
    /// called whenever it is about to be named.
    pub(crate) fn complete(&self, symbolizer: &mut Symbolizer, module: &Module) {
        let Some(build_id) = module.build_id() else {
            return;
        };
        let lacks_lines = symbolizer.lacks_debug_info(module);
        match (module.has_given_debug_file(), lacks_lines) {
            (true, true) => self.shelf.refuse(build_id),
            (true, false) => {}
            (false, _) => match self.shelf.file(build_id) {
                Some(file) => symbolizer.give_debug_file(module, file),
                None if lacks_lines => self.want(build_id),
                None => {}
            },
        }
    }

    fn want(&self, build_id: &Arc<str>) {
        if !self.shelf.may_ask(build_id) {
            return;
        }
        // What becomes of it counts, so that it is asked for must be known before anything can: a server next door has answered before
        // this thread, which a busy host may stop here, goes on.
        if let Ok(place) = self.wanted.try_reserve() {
            self.shelf.know(build_id, Known::Asked);
            place.send(Arc::clone(build_id));
        }
    }
}

/// What has been fetched, and what is known of what has not.
struct Shelf {
    files: DiskCache,
    known: Mutex<LruCache<Arc<str>, Known>>,
    metrics: DebuginfodMetrics,
}

/// What is known of a build id.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// The file is not on disk.
    NotHere,
    /// It is being fetched.
    Asked,
    /// It cannot be had before then.
    Not(Instant),
}

impl Shelf {
    /// The debug file of a build id, if it is here.
    fn file(&self, build_id: &Arc<str>) -> Option<File> {
        if self.lock().contains(build_id) {
            return None;
        }
        match self.look(build_id) {
            Ok(file) => {
                touch(&file);
                Some(file)
            }
            Err(known) => {
                self.know(build_id, known);
                None
            }
        }
    }

    /// Looks on disk. An empty file says since when it has been known that there is none.
    fn look(&self, build_id: &str) -> Result<File, Known> {
        let file = self.files.get(&name_of(build_id)).ok_or(Known::NotHere)?;
        let metadata = file.metadata().map_err(|_| Known::NotHere)?;
        if metadata.len() > 0 {
            return Ok(file);
        }
        let since = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        // One from the future counts as of now.
        let age = since.elapsed().unwrap_or_default();
        match MISSING.checked_sub(age) {
            Some(left) => Err(Known::Not(Instant::now() + left)),
            None => Err(Known::NotHere),
        }
    }

    /// Whether it makes sense to ask servers for a file that is not here.
    fn may_ask(&self, build_id: &Arc<str>) -> bool {
        match self.lock().get(build_id) {
            None | Some(Known::NotHere) => true,
            Some(Known::Asked) => false,
            Some(Known::Not(until)) => Instant::now() >= *until,
        }
    }

    fn know(&self, build_id: &Arc<str>, known: Known) {
        self.lock().put(Arc::clone(build_id), known);
    }

    /// It is here now.
    fn arrived(&self, build_id: &Arc<str>) {
        self.lock().pop(build_id);
    }

    /// No server has the file, and this start and the next need not ask.
    fn missing(&self, build_id: &Arc<str>) {
        self.know(build_id, Known::Not(Instant::now() + MISSING));
        let marked = self.files.begin();
        if let Err(error) = marked.and_then(|marked| marked.keep(&name_of(build_id))) {
            tracing::debug!("cannot note that no server has {build_id}: {error}");
        }
    }

    /// What was fetched is not the debug file of that program.
    fn refuse(&self, build_id: &Arc<str>) {
        if self.may_ask(build_id) {
            self.missing(build_id);
            self.metrics.count(Outcome::Refused);
        }
    }

    /// Whoever panicked with it had not begun to change it.
    fn lock(&self) -> MutexGuard<'_, LruCache<Arc<str>, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(build_id: &str) -> String {
    format!("{build_id}{SUFFIX}")
}

fn is_of_debug_file(name: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_suffix(SUFFIX)
        .is_some_and(|id| !id.is_empty() && id.bytes().all(is_hex))
}

/// The cause at the bottom of an error, which does not name the URL once more.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

/// Lets the worker map a file, which it opens anew as nobody.
fn let_all_read(file: &File) -> io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    Ok(rustix::fs::fchmod(file, mode)?)
}
