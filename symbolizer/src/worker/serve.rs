//! The worker: answers requests until nobody asks any more.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lru::LruCache;
use rustix::net::{SendFlags, SocketType};

use super::confine::confine;
use super::message::{FRAME_COST, Fault, Frame, LARGEST, Reply, Request, TEXT_COST};
use super::socket::{self, MOST_FILES};
use crate::elf_names::{ElfNames, FileError, Frames, bare};
use crate::frame;
use crate::module::{Module, ModuleError};
use crate::names::Names;
use crate::symbolizer::Options;

/// Files that are kept open, for what is kept ready of them.
const OPEN: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Names that are kept for later requests, in bytes: most are demangled once.
const NAMES: usize = 2 << 20;

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nobody asks.
    #[error("the worker that names files is started by the agent, for itself")]
    NotAsked,
    /// It must not read files as it is.
    #[error("cannot give up privileges: {0}")]
    NotConfined(io::Error),
    /// It cannot ask or answer.
    #[error("cannot talk to the agent: {0}")]
    Socket(#[from] io::Error),
}

/// Answers what is asked through standard input, which must be a socket of the agent's, until its other end is closed.
///
/// The first thing it does is to give up all that this process may do, so this is for a process of its own with one thread.
pub fn serve() -> Result<(), ServeError> {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    if rustix::net::sockopt::socket_type(socket) != Ok(SocketType::SEQPACKET) {
        return Err(ServeError::NotAsked);
    }
    let files = ElfNames::new(Options::default().debug_bytes);
    confine(files.largest_unpacked()).map_err(ServeError::NotConfined)?;
    // Of /proc/self/exe the kernel makes "exe".
    let _ = rustix::thread::set_name(c"symbolizer");
    let mut worker = Worker {
        memory: File::open("/proc/self/statm").ok(),
        modules: LruCache::new(OPEN),
        files,
        names: Names::default(),
    };
    let mut buffer = Box::new([0; LARGEST]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    while let Some((message, files)) = socket::receive(socket, &mut buffer, &mut space)? {
        let request = postcard::from_bytes::<Request>(message).map_err(invalid)?;
        worker.answer(&request, files, Answer::new(socket, request.budget))?;
    }
    Ok(())
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

struct Worker {
    memory: Option<File>,
    /// By their numbers in the agent, and whether they came with a debug file: one that comes later makes another module of the same file.
    modules: LruCache<(u64, bool), Module>,
    files: ElfNames,
    names: Names,
}

impl Worker {
    fn answer(
        &mut self,
        request: &Request,
        files: Vec<OwnedFd>,
        mut answer: Answer<'_>,
    ) -> io::Result<()> {
        let number = (request.module, request.has_debug_file);
        if !self.modules.contains(&number) {
            match open(request, files) {
                Ok(module) => {
                    self.modules.put(number, module);
                }
                Err(error) => answer.fault(&FileError::Symbols(error.to_string()))?,
            }
        }
        self.files.tend();
        if self.names.bytes() > NAMES {
            self.names.sweep();
        }
        let mut lacks_debug_info = false;
        if let Some(module) = self.modules.get(&number) {
            let symbols = self.files.symbols(module, &request.addresses);
            let bare = symbols
                .iter()
                .map(|symbol| Some(bare(symbol.as_deref()?, &mut self.names)));
            let said = answer.frames(bare)?;
            answer.symbols(said)?;
            if request.lines {
                let found = self
                    .files
                    .lines(module, &request.addresses, &symbols, &mut self.names);
                answer.frames(found.into_iter())?;
                lacks_debug_info = module.lacks_debug_info();
            }
        } else {
            answer.symbols(request.addresses.len())?;
        }
        for failure in self.files.take_failures() {
            answer.fault(&failure.error)?;
        }
        answer.end(self.resident(), lacks_debug_info)
    }

    /// Memory of this process, in bytes.
    fn resident(&self) -> u64 {
        let read = || {
            let mut text = [0; 128];
            let length = self.memory.as_ref()?.read_at(&mut text, 0).ok()?;
            let text = std::str::from_utf8(text.get(..length)?).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        };
        read().map_or(0, |pages| pages * rustix::param::page_size() as u64)
    }
}

fn open(request: &Request, files: Vec<OwnedFd>) -> Result<Module, ModuleError> {
    let mut files = files.into_iter().peekable();
    let Some(file) = files.next() else {
        let (name, source) = ("it".into(), io::ErrorKind::InvalidInput.into());
        return Err(ModuleError::Io { name, source });
    };
    let module = Module::open(file.into(), "it")?.was_opened_with(request.length);
    if let Some(debug) = files.next_if(|_| request.has_debug_file) {
        module.give_debug_file(debug.into());
    }
    let path = OsStr::from_bytes(&request.path);
    Ok(module.with_roots(path, files.map(Arc::new)))
}

/// An answer on its way: replies are gathered into messages.
struct Answer<'a> {
    socket: BorrowedFd<'a>,
    message: Vec<u8>,
    /// What may still be spent.
    left: usize,
    /// The numbers of texts.
    texts: HashMap<Arc<str>, usize>,
}

impl<'a> Answer<'a> {
    fn new(socket: BorrowedFd<'a>, budget: usize) -> Self {
        Self {
            socket,
            message: Vec::with_capacity(LARGEST),
            left: budget,
            texts: HashMap::new(),
        }
    }

    /// Says the frames of each address in order, and of how many, until the next would cost too much.
    fn frames(&mut self, found: impl Iterator<Item = Frames>) -> io::Result<usize> {
        let mut said = 0;
        for (index, frames) in found.enumerate() {
            let frames = frames.as_deref().unwrap_or_default();
            let cost = frames.iter().map(|frame| self.cost(frame)).sum();
            if self.left < cost {
                break;
            }
            for frame in frames {
                self.frame(index, frame)?;
            }
            said = index + 1;
        }
        Ok(said)
    }

    /// What a frame costs at most.
    fn cost(&self, frame: &frame::Frame) -> usize {
        let texts = [&frame.name, &frame.system_name].into_iter();
        let new = texts
            .chain(&frame.file)
            .filter(|text| !self.texts.contains_key(*text));
        FRAME_COST + new.map(|text| text.len() + TEXT_COST).sum::<usize>()
    }

    fn frame(&mut self, index: usize, frame: &frame::Frame) -> io::Result<()> {
        let name = self.text(&frame.name)?;
        let system_name = self.text(&frame.system_name)?;
        let file = frame.file.as_ref().filter(|file| !file.is_empty());
        let file = file.map(|file| self.text(file)).transpose()?;
        self.left = self.left.saturating_sub(FRAME_COST);
        self.reply(&Reply::Frame(Frame {
            index,
            name,
            system_name,
            file,
            line: frame.line,
            inlined: frame.inlined,
        }))
    }

    /// The number of a text, which is said first if it is new.
    fn text(&mut self, text: &Arc<str>) -> io::Result<usize> {
        if let Some(&number) = self.texts.get(text) {
            return Ok(number);
        }
        self.left = self.left.saturating_sub(text.len() + TEXT_COST);
        self.reply(&Reply::Text(text))?;
        let number = self.texts.len();
        self.texts.insert(Arc::clone(text), number);
        Ok(number)
    }

    fn symbols(&mut self, said: usize) -> io::Result<()> {
        self.reply(&Reply::Symbols(said))?;
        self.send()
    }

    fn fault(&mut self, error: &FileError) -> io::Result<()> {
        match Fault::of(error) {
            Some(fault) => self.reply(&Reply::Fault(fault)),
            None => Ok(()),
        }
    }

    fn end(mut self, resident: u64, lacks_debug_info: bool) -> io::Result<()> {
        self.reply(&Reply::End {
            resident,
            lacks_debug_info,
        })?;
        self.send()
    }

    fn reply(&mut self, reply: &Reply<'_>) -> io::Result<()> {
        let bytes = postcard::to_allocvec(reply).map_err(invalid)?;
        if self.message.len() + bytes.len() > LARGEST {
            self.send()?;
        }
        self.message.extend_from_slice(&bytes);
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        socket::send(self.socket, &self.message, &[], SendFlags::empty())?;
        self.message.clear();
        Ok(())
    }
}
