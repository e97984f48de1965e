//! Which file's table is where in the kernel: one for each distinct content, as long as it fits.

use super::builder::{Builder, Contents, Done, Key, Loaded, Wake};
use super::cache::Cache;
use super::content::{Content, Plan, Room, State, plan};
use super::counts::TableCounts;
use crate::process::Settled;
use bpf::sideband::monotonic_nanos;
use bpf::{FileId, NewPieces, NoTable, Slot, Unwinder};
use prometheus_client::metrics::histogram::Histogram;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// What a file holds, or why it has no table.
type Found = Result<Contents, NoTable>;

/// The tables of all files.
pub(crate) struct Tables {
    builder: Arc<Builder>,
    done: Receiver<Done>,
    slots: HashMap<FileId, Slot>,
    contents: HashMap<Slot, Content>,
    by_key: HashMap<Key, Slot>,
    /// Files beyond the number of slots share this one, which says that there is no room.
    overflow: Option<Slot>,
    /// Those files, and what they hold as soon as that is known.
    homeless: HashMap<FileId, Option<Found>>,
    /// Files whose slot is another one since the last [`Tables::take_done`].
    moved: Vec<FileId>,
    /// The kernel had no memory to let programs find these.
    unpublished: Vec<Arc<NewPieces>>,
    /// It has been said that it has none.
    complained: bool,
    window: u64,
    counts: TableCounts,
    /// From the first mapping of a content until walks go by its table.
    delays: Histogram,
}

impl Tables {
    /// Starts the threads that build. They `wake` when there is something for [`Tables::take_done`].
    /// `delays` is to know how long each table was waited for.
    pub(crate) fn start(
        cache: Option<Cache>,
        wake: Arc<Wake>,
        unwinder: &mut Unwinder,
        delays: Histogram,
    ) -> io::Result<Self> {
        let (builder, done) = Builder::start(cache, wake)?;
        let overflow = unwinder.reserve();
        if let Some(slot) = overflow {
            unwinder.mark(slot, NoTable::OverBudget);
        }
        Ok(Self {
            builder: Arc::new(builder),
            done,
            slots: HashMap::new(),
            contents: HashMap::new(),
            by_key: HashMap::new(),
            overflow,
            homeless: HashMap::new(),
            moved: Vec::new(),
            unpublished: Vec::new(),
            complained: false,
            window: 0,
            counts: TableCounts::default(),
            delays,
        })
    }

    /// To be told of each file that has been opened, or could not be.
    pub(crate) fn settled(&self) -> Arc<Settled> {
        let builder = Arc::clone(&self.builder);
        Arc::new(move |file| builder.identify(file))
    }

    /// Where a file's table is or will be.
    pub(crate) fn slot(&mut self, unwinder: &mut Unwinder, file: FileId) -> Option<Slot> {
        if let Some(slot) = self.slots.get(&file) {
            return Some(*slot);
        }
        let Some(slot) = unwinder.reserve() else {
            self.homeless.entry(file).or_default();
            return self.overflow;
        };
        self.slots.insert(file, slot);
        self.contents.insert(slot, Content::of(file, self.window));
        if let Some(found) = self.homeless.remove(&file) {
            self.moved.push(file);
            if let Some(found) = found {
                self.identified(unwinder, file, found);
            }
        }
        self.slots.get(&file).copied()
    }

    /// These files have been mapped anew, at these times of CLOCK_MONOTONIC in nanoseconds: a table that was given up is loaded
    /// again, if there is room.
    pub(crate) fn mapped(&mut self, unwinder: &mut Unwinder, files: &[(FileId, u64)]) {
        for (file, time) in files {
            let Some(slot) = self.slot(unwinder, *file) else {
                continue;
            };
            let Some(content) = self.contents.get_mut(&slot) else {
                continue;
            };
            content.want_since(*time);
            if content.state == State::Missing(NoTable::OverBudget)
                && content.bytes <= room(unwinder).free()
            {
                self.load_again(slot);
            }
        }
    }

    /// Takes what the threads have done: tables go to the kernel. Returns the files whose slot is another one now: lists that
    /// name the old one must be dropped at once.
    pub(crate) fn take_done(&mut self, unwinder: &mut Unwinder) -> Vec<FileId> {
        self.house(unwinder);
        let mut ready = Vec::new();
        while let Ok(done) = self.done.try_recv() {
            match done {
                Done::Identified(file, found) => {
                    self.identified(unwinder, file, found);
                }
                Done::Loaded(slot, key, loaded) => {
                    // Whoever wanted it may be gone, and the slot another one's.
                    if self.by_key.get(&key) == Some(&slot) {
                        ready.extend(self.loaded(unwinder, slot, loaded));
                    }
                }
                Done::Published(new, Ok(())) => unwinder.pieces_published(&new),
                Done::Published(new, Err(error)) => {
                    self.complain(&error);
                    self.unpublished.push(new);
                }
            }
        }
        for (slot, loaded) in ready {
            self.put(unwinder, slot, &loaded);
        }
        for slot in unwinder.ready() {
            self.is_ready(slot);
        }
        match unwinder.new_pieces() {
            Ok(Some(new)) => self.builder.publish(Arc::new(new)),
            Ok(None) => {}
            Err(error) => self.complain(&error),
        }
        std::mem::take(&mut self.moved)
    }

    /// Nobody maps these files any more, and no list names their slots.
    pub(crate) fn forget(&mut self, unwinder: &mut Unwinder, files: &[FileId]) {
        for file in files {
            self.homeless.remove(file);
            if let Some(slot) = self.slots.remove(file) {
                self.leave(unwinder, *file, slot);
            }
        }
    }

    /// Makes room for what was sampled in the window that is over, by the files of its words.
    pub(crate) fn end_window<'a>(
        &mut self,
        unwinder: &mut Unwinder,
        sampled: impl Iterator<Item = &'a FileId>,
    ) {
        self.window += 1;
        for slot in sampled.filter_map(|file| self.slots.get(file)) {
            if let Some(content) = self.contents.get_mut(slot) {
                content.used = self.window;
            }
        }
        let contents = self.contents.iter().map(|(slot, content)| (*slot, content));
        let Plan { evict, load } = plan(contents, self.window, room(unwinder));
        for slot in evict {
            self.counts.evicted += 1;
            self.miss(unwinder, slot, NoTable::OverBudget);
        }
        for slot in load {
            self.load_again(slot);
        }
    }

    /// Lets no file hold up the others, and tries again what the kernel had no memory for. To be called now and then.
    pub(crate) fn tend(&mut self) {
        self.builder.tend();
        for new in self.unpublished.drain(..) {
            self.builder.publish(new);
        }
    }

    /// Whether all tables that were asked for have been taken.
    pub(crate) fn is_idle(&self) -> bool {
        let pending = |content: &Content| content.state == State::Pending;
        !self.contents.values().any(pending)
    }

    /// What has happened so far.
    pub(crate) fn counts(&self) -> TableCounts {
        let contents = self.contents.values();
        TableCounts {
            without_slot: self.homeless.len() as u64,
            ..contents.fold(self.counts, TableCounts::with)
        }
    }

    /// It is known what a file holds: from now on it has the slot of that.
    fn identified(&mut self, unwinder: &mut Unwinder, file: FileId, found: Found) {
        self.slot(unwinder, file);
        let own = self.slots.get(&file).copied();
        if own.is_some_and(|own| self.is_known(own)) {
            return;
        }
        let key = found.as_ref().ok().map(|contents| &contents.key);
        let shared = key.and_then(|key| self.by_key.get(key)).copied();
        match (own, shared) {
            (_, Some(shared)) => {
                if let Some(content) = self.contents.get_mut(&shared) {
                    content.files.insert(file);
                }
                self.slots.insert(file, shared);
                self.moved.push(file);
                self.homeless.remove(&file);
                if let Some(own) = own {
                    self.leave(unwinder, file, own);
                }
            }
            (Some(own), None) => match found {
                Ok(contents) => self.load(own, contents),
                Err(why) => self.miss(unwinder, own, why),
            },
            (None, None) => {
                self.homeless.insert(file, Some(found));
            }
        }
    }

    /// Whether it is known what the files with this slot hold.
    fn is_known(&self, slot: Slot) -> bool {
        let content = self.contents.get(&slot);
        content.is_some_and(|content| content.contents.is_some())
    }

    /// Has the first table of a slot made.
    fn load(&mut self, slot: Slot, contents: Contents) {
        if let Some(content) = self.contents.get_mut(&slot) {
            self.by_key.insert(contents.key.clone(), slot);
            self.builder.load(slot, &contents);
            content.contents = Some(contents);
            content.state = State::Pending;
            content.loading = true;
        }
    }

    /// Gives slots that have become free to files that have none.
    fn house(&mut self, unwinder: &mut Unwinder) {
        while let Some(file) = self.homeless.keys().next().copied() {
            if self.slot(unwinder, file) == self.overflow {
                break;
            }
        }
    }

    /// Returns what can be put into the kernel.
    fn loaded(
        &mut self,
        unwinder: &mut Unwinder,
        slot: Slot,
        loaded: Result<Loaded, NoTable>,
    ) -> Option<(Slot, Loaded)> {
        let content = self.contents.get_mut(&slot)?;
        if !content.awaits(loaded.is_ok()) {
            return None;
        }
        content.loading = false;
        match loaded {
            Ok(loaded) if !loaded.table.is_empty() => {
                content.bytes = loaded.table.image().len() as u64;
                match loaded.built_in {
                    Some(time) => {
                        self.counts.built += 1;
                        self.counts.build_time += time;
                    }
                    None => self.counts.cached += 1,
                }
                Some((slot, loaded))
            }
            Ok(_) => {
                self.miss(unwinder, slot, NoTable::NoRules);
                None
            }
            Err(why) => {
                self.miss(unwinder, slot, why);
                None
            }
        }
    }

    /// Has the table of a slot brought back.
    fn load_again(&mut self, slot: Slot) {
        if let Some(content) = self.contents.get_mut(&slot)
            && let Some(contents) = &content.contents
        {
            content.state = State::Pending;
            content.loading = true;
            self.builder.load(slot, contents);
        }
    }

    fn put(&mut self, unwinder: &mut Unwinder, slot: Slot, loaded: &Loaded) {
        let has_room = unwinder.put(slot, &loaded.table).unwrap_or_else(|error| {
            self.complain(&error);
            unwinder.mark(slot, NoTable::OverBudget);
            false
        });
        if let Some(content) = self.contents.get_mut(&slot) {
            if has_room {
                content.state = State::Pending;
            } else {
                self.counts.refused += 1;
                content.refusals += 1;
                content.state = State::Missing(NoTable::OverBudget);
            }
        }
    }

    /// Says once that the kernel has no memory, or no descriptors, for more.
    fn complain(&mut self, error: &bpf::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!("some files have no unwind table for now: {error}");
        }
    }

    fn is_ready(&mut self, slot: Slot) {
        if let Some(content) = self.contents.get_mut(&slot) {
            content.state = State::Ready;
            content.refusals = 0;
            content.used = self.window;
            if let Some(since) = content.since.take() {
                let delay = monotonic_nanos().saturating_sub(since);
                self.delays.observe(delay as f64 / 1e9);
            }
        }
    }

    fn miss(&mut self, unwinder: &mut Unwinder, slot: Slot, why: NoTable) {
        if let Some(content) = self.contents.get_mut(&slot) {
            unwinder.mark(slot, why);
            content.state = State::Missing(why);
        }
    }

    /// A file has this slot no more. The last one's gives it back: the lists that name it are dropped before the next
    /// grace period, which slots and lists share.
    fn leave(&mut self, unwinder: &mut Unwinder, file: FileId, slot: Slot) {
        let Some(content) = self.contents.get_mut(&slot) else {
            return;
        };
        content.files.remove(&file);
        if !content.files.is_empty() {
            return;
        }
        if let Some(contents) = &content.contents {
            self.by_key.remove(&contents.key);
        }
        self.contents.remove(&slot);
        unwinder.release(slot);
    }
}

fn room(unwinder: &Unwinder) -> Room {
    let memory = unwinder.memory();
    Room {
        budget: memory.budget,
        used: memory.images,
    }
}

#[cfg(test)]
mod tests;
