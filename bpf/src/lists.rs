//! Lists of mappings in kernel memory, and which of them is true for a process.

use crate::piece::Budget;
use crate::pieces::{Extent, NewPieces, Pieces};
use crate::skeleton::{ThermographMaps, types};
use crate::tables::Slot;
use crate::view::{View, bytes_of};
use crate::{Error, FileId, pod};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// Lists of more bytes than this (512 mappings), a handful of which would fill the memory for all, have half of it together.
const LONG: u64 = 16 << 10;

/// Mappings that fit into a list.
pub const LONGEST_LIST: usize = types::mapping_limits::MAX_MAPPINGS.0 as usize;

/// An executable mapping, as the walk needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwindMapping {
    /// First virtual address.
    pub start: u64,
    /// The virtual address behind the last.
    pub end: u64,
    /// File offset of `start`, within the 4 GiB that `file` stands for.
    pub offset: u32,
    /// Nothing for memory of no file.
    pub file: Option<FileId>,
    /// Where the file's table is or will be.
    pub table: Option<Slot>,
}

/// A list in kernel memory. Dropped, its memory is used again once no walk can still be reading it.
pub struct List {
    id: u64,
    extent: Extent,
    count: u32,
    dropped: Rc<RefCell<Vec<Extent>>>,
}

impl List {
    /// Kernel memory it takes.
    pub fn bytes(&self) -> u64 {
        self.extent.bytes()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.extent);
    }
}

/// What became of a list that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Walks use it.
    Yes,
    /// The process is about to begin a program, or has begun one since the records were read: the list may be another's.
    NotYet,
    /// The process is gone.
    Gone,
}

/// All lists.
pub(crate) struct Lists {
    pieces: Pieces,
    /// Of each piece, because lists are written often.
    views: BTreeMap<u32, View>,
    processes: MapHandle,
    published: MapHandle,
    next: u64,
    /// Bytes of long lists, until they are free, and what they may be.
    long: u64,
    long_limit: u64,
    dropped: Rc<RefCell<Vec<Extent>>>,
    waiting: Vec<Extent>,
}

impl Lists {
    pub(crate) fn new(
        maps: &ThermographMaps<'_>,
        pieces: MapHandle,
        numbers: std::ops::Range<u32>,
        budget: Budget,
    ) -> Result<Self, Error> {
        let handle = |map: &libbpf_rs::Map<'_>| {
            MapHandle::try_from(map).map_err(Error::map("open the maps of processes"))
        };
        Ok(Self {
            long: 0,
            long_limit: budget.limit() / 2,
            pieces: Pieces::new(pieces, numbers, budget),
            views: BTreeMap::new(),
            processes: handle(&maps.processes)?,
            published: handle(&maps.published)?,
            next: 1,
            dropped: Rc::default(),
            waiting: Vec::new(),
        })
    }

    /// Nothing if there is no room. Of more mappings than fit, the first are kept.
    pub(crate) fn make(&mut self, mappings: &[UnwindMapping]) -> Result<Option<Rc<List>>, Error> {
        let mappings = mappings.get(..LONGEST_LIST).unwrap_or(mappings);
        let bytes = size_of::<types::list_header>() + size_of::<types::mapping>() * mappings.len();
        if is_long(bytes as u64) && self.long + bytes as u64 > self.long_limit {
            return Ok(None);
        }
        let Some(extent) = self.pieces.allocate(bytes)? else {
            return Ok(None);
        };
        if is_long(extent.bytes()) {
            self.long += extent.bytes();
        }
        // At the start, or where lists grow faster than pieces are made for later.
        if !self.pieces.is_known(extent) {
            self.pieces.publish(extent)?;
        }
        let entries = bytes_of(mappings.iter().map(entry));
        // Odd, so that it equals no page-aligned address that may be found in its place later.
        let id = self.next;
        self.next += 2;
        let start = extent.start as usize;
        if let Some(view) = self.view(extent.piece)? {
            view.write(start + size_of::<types::list_header>(), &entries);
            view.publish(start, id);
        }
        Ok(Some(Rc::new(List {
            id,
            extent,
            count: mappings.len() as u32,
            dropped: Rc::clone(&self.dropped),
        })))
    }

    pub(crate) fn publish(
        &self,
        tgid: u32,
        program: RangeInclusive<u64>,
        last: u64,
        list: &List,
    ) -> Result<Published, Error> {
        let pid = i32::try_from(tgid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Ok(Published::Gone);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(Published::Gone),
            // Too many open files, or too little memory, for now.
            Err(_) => return Ok(Published::NotYet),
        };
        let key = pidfd.as_raw_fd().to_ne_bytes();
        let generation = match self.processes.lookup(&key, MapFlags::ANY) {
            Ok(state) => state
                .as_deref()
                .and_then(pod::read::<types::process_state>)
                .map_or(0, |state| state.generation),
            Err(_) => return Ok(Published::Gone),
        };
        // A generation is taken after the record of the same fork or exec is written.
        if !program.contains(&generation) {
            return Ok(Published::NotYet);
        }
        let published = types::published {
            generation,
            id: list.id,
            piece: list.extent.piece,
            start: list.extent.start,
            count: list.count,
            unused: 0,
            last,
        };
        match self
            .published
            .update(&key, pod::bytes(&published), MapFlags::ANY)
        {
            Ok(()) => Ok(Published::Yes),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(Published::Gone),
            Err(error) => Err(Error::map("publish the mappings of a process")(error)),
        }
    }

    /// The memory of lists, with some for those to come.
    pub(crate) fn pieces(&mut self) -> Result<&mut Pieces, Error> {
        self.pieces.stock()?;
        Ok(&mut self.pieces)
    }

    /// Programs can find these now.
    pub(crate) fn pieces_published(&mut self, new: &NewPieces) {
        self.pieces.published(new);
    }

    /// Waits until no program still runs that began before.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.pieces.wait()
    }

    /// Whether lists were dropped whose memory is not free yet.
    pub(crate) fn has_dropped(&self) -> bool {
        !self.dropped.borrow().is_empty()
    }

    /// From now on a program that still reads a dropped list began before this call.
    pub(crate) fn begin_grace(&mut self) {
        self.waiting.append(&mut self.dropped.borrow_mut());
    }

    /// No program runs any more that began before the last [`Lists::begin_grace`].
    pub(crate) fn end_grace(&mut self) -> Result<(), Error> {
        for extent in std::mem::take(&mut self.waiting) {
            // A child that inherited it without the agent's knowledge sees by this that it is no more.
            if let Some(view) = self.view(extent.piece)? {
                view.publish(extent.start as usize, 0u64);
            }
            if is_long(extent.bytes()) {
                self.long = self.long.saturating_sub(extent.bytes());
            }
            self.pieces.free(extent);
        }
        self.pieces.trim();
        let pieces = &self.pieces;
        self.views.retain(|number, _| pieces.has(*number));
        Ok(())
    }

    /// Bytes of kernel memory that lists take.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.bytes()
    }

    fn view(&mut self, piece: u32) -> Result<Option<&View>, Error> {
        if !self.views.contains_key(&piece)
            && let Some(view) = self.pieces.view(piece)?
        {
            self.views.insert(piece, view);
        }
        Ok(self.views.get(&piece))
    }
}

fn is_long(bytes: u64) -> bool {
    bytes > LONG
}

fn entry(mapping: &UnwindMapping) -> types::mapping {
    types::mapping {
        start: mapping.start,
        end: mapping.end,
        offset: mapping.offset,
        file: mapping
            .file
            .map_or(types::mapping_limits::NO_FILE.0, FileId::number),
        table: mapping
            .table
            .map_or(types::mapping_limits::NO_TABLE.0, Slot::number),
        unused: 0,
    }
}
