//! What the worker says, held against what it may say.

use std::mem;
use std::sync::Arc;

use super::message::{FRAME_COST, Fault, Frame, Reply, TEXT_COST};
use crate::demangle::LONGEST_SHOWN;
use crate::elf_names::{FileError, Frames};
use crate::frame::{self, KERNEL_MARK};
use crate::names::Names;

/// Faults of a file that are taken; the worker tells of one.
const MOST_FAULTS: usize = 4;

/// It cannot be an answer to what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// The answer to one request, as far as it has come.
pub(super) struct Answer {
    /// Of each address, once it is known. Without frames it has no symbol.
    pub(super) found: Vec<Option<Frames>>,
    pub(super) faults: Vec<FileError>,
    /// What it costs.
    pub(super) cost: usize,
    budget: usize,
    texts: Vec<Arc<str>>,
    /// The address whose frames are coming, and those that have come.
    at: usize,
    frames: Vec<frame::Frame>,
    /// All has come that tables of symbols say.
    pub(super) has_symbols: bool,
    /// And all else, from a worker of so many bytes of memory.
    pub(super) end: Option<u64>,
    /// The file would have lines if there were a debug file.
    pub(super) lacks_debug_info: bool,
}

impl Answer {
    /// To be had for so many addresses.
    pub(super) fn to(addresses: usize, budget: usize) -> Self {
        Self {
            found: vec![None; addresses],
            faults: Vec::new(),
            cost: 0,
            budget,
            texts: Vec::new(),
            at: 0,
            frames: Vec::new(),
            has_symbols: false,
            end: None,
            lacks_debug_info: false,
        }
    }

    /// Takes a message.
    pub(super) fn take(&mut self, mut message: &[u8], names: &mut Names) -> Result<(), Nonsense> {
        while !message.is_empty() {
            let (reply, rest) = postcard::take_from_bytes(message).map_err(|_| Nonsense)?;
            if self.end.is_some() {
                return Err(Nonsense);
            }
            self.reply(reply, names)?;
            message = rest;
        }
        Ok(())
    }

    fn reply(&mut self, reply: Reply<'_>, names: &mut Names) -> Result<(), Nonsense> {
        match reply {
            Reply::Text(text) => self.text(text, names),
            Reply::Frame(frame) => self.frame(&frame),
            Reply::Symbols(known) => self.symbols(known),
            Reply::Fault(fault) => self.fault(fault),
            Reply::End {
                resident,
                lacks_debug_info,
            } => {
                self.settle();
                self.end = Some(resident);
                self.lacks_debug_info = lacks_debug_info;
                if self.has_symbols {
                    Ok(())
                } else {
                    Err(Nonsense)
                }
            }
        }
    }

    fn text(&mut self, text: &str, names: &mut Names) -> Result<(), Nonsense> {
        if text.is_empty() || text.len() > LONGEST_SHOWN {
            return Err(Nonsense);
        }
        self.spend(text.len() + TEXT_COST)?;
        self.texts.push(names.plain(text));
        Ok(())
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), Nonsense> {
        if frame.index < self.at || frame.index >= self.found.len() {
            return Err(Nonsense);
        }
        self.spend(FRAME_COST)?;
        if frame.index > self.at {
            self.settle();
            self.at = frame.index;
        }
        let text = |number: usize| self.texts.get(number).cloned().ok_or(Nonsense);
        let name = |number: usize| {
            let name = text(number)?;
            (!name.ends_with(KERNEL_MARK))
                .then_some(name)
                .ok_or(Nonsense)
        };
        self.frames.push(frame::Frame {
            name: name(frame.name)?,
            system_name: name(frame.system_name)?,
            file: frame.file.map(text).transpose()?,
            line: frame.line,
            inlined: frame.inlined,
        });
        Ok(())
    }

    fn spend(&mut self, cost: usize) -> Result<(), Nonsense> {
        self.cost += cost;
        if self.cost > self.budget {
            return Err(Nonsense);
        }
        Ok(())
    }

    fn symbols(&mut self, known: usize) -> Result<(), Nonsense> {
        self.settle();
        let after = self.found.get(known..).ok_or(Nonsense)?;
        if self.has_symbols || after.iter().any(Option::is_some) {
            return Err(Nonsense);
        }
        for found in self.found.iter_mut().take(known) {
            found.get_or_insert(None);
        }
        self.has_symbols = true;
        self.at = 0;
        Ok(())
    }

    fn fault(&mut self, fault: Fault<'_>) -> Result<(), Nonsense> {
        if self.faults.len() == MOST_FAULTS {
            return Err(Nonsense);
        }
        self.faults.push(fault.into_error());
        Ok(())
    }

    /// The frames of an address are complete.
    fn settle(&mut self) {
        if !self.frames.is_empty()
            && let Some(found) = self.found.get_mut(self.at)
        {
            *found = Some(Some(mem::take(&mut self.frames).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [Reply<'_>; 2] = [Reply::Text("main"), Reply::Text("main.c")];

    fn frame(index: usize, name: usize) -> Reply<'static> {
        Reply::Frame(Frame {
            index,
            name,
            system_name: name,
            file: Some(1),
            line: 7,
            inlined: false,
        })
    }

    fn end(resident: u64) -> Reply<'static> {
        Reply::End {
            resident,
            lacks_debug_info: true,
        }
    }

    /// The answer to three addresses, after replies in one message each or all in one.
    fn answer<'a>(replies: impl IntoIterator<Item = Reply<'a>>) -> Result<Answer, Nonsense> {
        let messages: Vec<Vec<u8>> = replies
            .into_iter()
            .map(|reply| postcard::to_allocvec(&reply).unwrap())
            .collect();
        let taken = |messages: &[Vec<u8>]| {
            let (mut answer, mut names) = (Answer::to(3, 1000), Names::default());
            let mut taken = messages
                .iter()
                .map(|message| answer.take(message, &mut names));
            taken.find(Result::is_err).unwrap_or(Ok(()))?;
            Ok(answer)
        };
        let (apart, together) = (taken(&messages), taken(&[messages.concat()]));
        assert_eq!(apart.is_err(), together.is_err());
        together
    }

    /// What is final at which moment: what symbols say once they are complete, what debug information says in its place, and
    /// nothing of an address that was left out.
    #[test]
    fn names_become_final() {
        let begin = || TEXTS.into_iter().chain([frame(0, 0), frame(0, 0)]);
        let first = answer(begin()).unwrap();
        assert_eq!(first.found, [None, None, None]);
        let next = answer(begin().chain([Reply::Symbols(2)])).unwrap();
        let names = |answer: &Answer, index: usize| -> Vec<String> {
            let frames = answer.found[index].as_ref().unwrap().as_ref().unwrap();
            frames.iter().map(|frame| frame.name.to_string()).collect()
        };
        assert_eq!(names(&next, 0), ["main", "main"]);
        assert_eq!(next.found[1..], [Some(None), None]);
        let rest = [Reply::Symbols(3), frame(1, 1), frame(2, 0), end(5)];
        let all = answer(begin().chain(rest)).unwrap();
        let lasts = [0, 1, 2].map(|index| names(&all, index));
        assert_eq!(lasts[0], ["main", "main"]);
        assert_eq!(lasts[1..], [["main.c"], ["main"]]);
        assert_eq!((all.end, all.lacks_debug_info), (Some(5), true));
        assert_eq!(all.cost, 4 * FRAME_COST + 2 * TEXT_COST + 10);
    }

    /// Each way of not being an answer.
    #[test]
    fn nonsense_is_refused() {
        let long = "x".repeat(LONGEST_SHOWN + 1);
        let cases: Vec<(&str, Vec<Reply<'_>>)> = vec![
            ("an address that was not asked about", vec![frame(3, 0)]),
            ("an endless number", vec![frame(usize::MAX, 0)]),
            ("a text that has not come", vec![frame(0, 2)]),
            ("addresses in disorder", vec![frame(1, 0), frame(0, 0)]),
            ("more known than asked", vec![Reply::Symbols(4)]),
            ("names of the unknown", vec![frame(1, 0), Reply::Symbols(1)]),
            ("symbols twice", vec![Reply::Symbols(3), Reply::Symbols(3)]),
            ("an end without symbols", vec![end(0)]),
            (
                "more after the end",
                vec![Reply::Symbols(3), end(0), end(0)],
            ),
            ("too much", (0..16).map(|_| frame(0, 0)).collect()),
            ("a text too long", vec![Reply::Text(&long)]),
            ("no text", vec![Reply::Text("")]),
            (
                "a name of the kernel",
                vec![Reply::Text("schedule_[k]"), frame(0, 2)],
            ),
            (
                "fault upon fault",
                (0..5).map(|_| Reply::Fault(Fault::Truncated)).collect(),
            ),
        ];
        for (what, replies) in cases {
            assert!(answer(TEXTS.into_iter().chain(replies)).is_err(), "{what}");
        }
    }

    /// A whole answer with bytes changed, left out, put in and repeated: each is refused, or is an answer to what was asked, of texts that may
    /// be shown, within its budget.
    #[test]
    fn damaged_messages() {
        const BUDGET: usize = 1000;
        let replies = TEXTS.into_iter().chain([
            frame(0, 0),
            frame(0, 1),
            frame(1, 1),
            Reply::Fault(Fault::DebugInfo("a part of them is damaged")),
            Reply::Symbols(2),
            frame(0, 1),
            Reply::Text("inlined"),
            frame(2, 2),
            end(70_000),
        ]);
        let whole: Vec<u8> = replies
            .flat_map(|reply| postcard::to_allocvec(&reply).unwrap())
            .collect();
        let mut state = 0x7468_6572_u64;
        // xorshift64*: the same on every run.
        let mut random = |below: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
        };
        let (mut taken, mut ended) = (0, 0);
        for _ in 0..50_000 {
            let mut bytes = whole.clone();
            for _ in 0..=random(3) {
                let begin = random(bytes.len());
                let piece = begin..bytes.len().min(begin + 1 + random(8));
                let byte = [0, 1, 3, 0x7f, 0x80, 0xff, random(256) as u8][random(7)];
                match random(4) {
                    0 => bytes[begin] = byte,
                    1 => bytes.insert(begin, byte),
                    2 => drop(bytes.drain(piece)),
                    _ => bytes.extend_from_within(piece),
                }
            }
            let (mut answer, mut names) = (Answer::to(3, BUDGET), Names::default());
            if answer.take(&bytes, &mut names).is_err() {
                continue;
            }
            taken += 1;
            ended += usize::from(answer.end.is_some());
            assert!(answer.found.len() == 3 && answer.cost <= BUDGET);
            assert!(answer.end.is_none() || answer.has_symbols);
            assert!(answer.faults.len() <= MOST_FAULTS);
            let found = answer.found.iter().flatten().flatten();
            let frames: Vec<&frame::Frame> = found.flat_map(|frames| frames.iter()).collect();
            assert!(frames.len() * FRAME_COST <= answer.cost);
            let texts = frames.iter().flat_map(|frame| {
                let names = [&frame.name, &frame.system_name];
                names.into_iter().chain(&frame.file)
            });
            let is_shown = |text: &Arc<str>| (1..=LONGEST_SHOWN).contains(&text.len());
            assert!({ texts }.all(is_shown));
        }
        assert!((2000..48_000).contains(&taken), "{taken}");
        assert!(ended > 1000, "{ended}");
    }

    /// Bytes that are no message at all, names that are no UTF-8 among them.
    #[test]
    fn bytes_are_no_answer() {
        let mut not_utf8 = postcard::to_allocvec(&Reply::Text("main")).unwrap();
        *not_utf8.last_mut().unwrap() = 0xff;
        for bytes in [
            &not_utf8[..],
            b"\xff",
            &[0, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[9; 100],
        ] {
            let taken = Answer::to(3, 1000).take(bytes, &mut Names::default());
            assert_eq!(taken, Err(Nonsense), "{bytes:?}");
        }
    }
}
