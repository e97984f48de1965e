//! The code of a process: which functions it has, by their unwind information, and framehop's walk through it.

use super::moment::Moment;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use gimli::{BaseAddresses, CieOrFde, EhFrame, EndianSlice, LittleEndian, UnwindSection};
use object::{Object, ObjectSection, ObjectSegment};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// A place in a file: its name without a directory, and an address as the file counts them.
pub(super) type Place = (String, u64);

/// The mapped files of a process.
pub(super) struct Code {
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
    mapped: Vec<Mapped>,
    /// By file: where its functions begin, with their ends.
    functions: BTreeMap<String, BTreeMap<u64, u64>>,
    /// By file: its `.text`, and the address of that.
    text: BTreeMap<String, (u64, Vec<u8>)>,
}

struct Mapped {
    name: String,
    range: Range<u64>,
    /// What an address in the process is more than in the file.
    bias: u64,
}

impl Code {
    /// Of a process that /proc/PID/maps says this of.
    pub(super) fn of(maps: &str) -> Code {
        let mut code = Code {
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            mapped: Vec::new(),
            functions: BTreeMap::new(),
            text: BTreeMap::new(),
        };
        for line in maps.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [range, flags, offset, _, _, path] = fields.as_slice() else {
                continue;
            };
            if flags.contains('x') && path.starts_with('/') {
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                let (start, end) = range.split_once('-').unwrap();
                code.add(Path::new(path), number(start)..number(end), number(offset));
            }
        }
        code
    }

    fn add(&mut self, path: &Path, range: Range<u64>, offset: u64) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(path).unwrap();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        // A mapping begins with a page, of which the segment may be but the later part.
        let holds = |segment: &object::Segment<'_, '_>| {
            let (start, size) = segment.file_range();
            segment.permissions().executable() && (start & !0xfff..start + size).contains(&offset)
        };
        let segment = file.segments().find(holds).unwrap();
        let bias = range.start + segment.file_range().0 - offset - segment.address();
        let section = |name: &str| {
            let section = file.section_by_name(name)?;
            Some((
                section.address()..section.address() + section.size(),
                section.data().unwrap().to_vec(),
            ))
        };
        let (text, eh_frame, eh_frame_hdr) = (
            section(".text"),
            section(".eh_frame"),
            section(".eh_frame_hdr"),
        );
        if let Some((at, data)) = &eh_frame {
            let text = text.as_ref().map_or(0, |(at, _)| at.start);
            self.functions
                .insert(name.clone(), functions(at.start, text, data));
        }
        if let Some((at, data)) = &text {
            self.text.insert(name.clone(), (at.start, data.clone()));
        }
        let (eh_frame_svma, eh_frame) = eh_frame.unzip();
        let (eh_frame_hdr_svma, eh_frame_hdr) = eh_frame_hdr.unzip();
        let (text_svma, text) = text.unzip();
        let sections = ExplicitModuleSectionInfo {
            text_svma,
            text,
            eh_frame_svma,
            eh_frame,
            eh_frame_hdr_svma,
            eh_frame_hdr,
            ..ExplicitModuleSectionInfo::default()
        };
        self.unwinder
            .add_module(Module::new(name.clone(), range.clone(), bias, sections));
        self.mapped.push(Mapped { name, range, bias });
    }

    /// The stack at a moment, leaf first, as far as framehop gets with what was kept of it; the place of a caller is one less than
    /// the return address. Nothing is known of an address in no file.
    pub(super) fn walk(&mut self, moment: &Moment) -> Vec<Option<Place>> {
        let registers = UnwindRegsX86_64::new(moment.ip, moment.sp, moment.bp);
        let mut read = |address| moment.word(address).ok_or(());
        let mut frames =
            self.unwinder
                .iter_frames(moment.ip, registers, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            addresses.push(match frame {
                FrameAddress::InstructionPointer(address) => address,
                FrameAddress::ReturnAddress(address) => address.get() - 1,
            });
        }
        addresses
            .into_iter()
            .map(|address| self.place(address))
            .collect()
    }

    fn place(&self, address: u64) -> Option<Place> {
        let mapped = self
            .mapped
            .iter()
            .find(|mapped| mapped.range.contains(&address))?;
        Some((mapped.name.clone(), address - mapped.bias))
    }

    /// Whether the instruction that a place in a caller is the last byte of calls the function that begins there, which says so
    /// only if it is in the same file.
    pub(super) fn calls(&self, caller: &Place, function: &Place) -> bool {
        let instruction = || {
            let (start, text) = self.text.get(&caller.0)?;
            let end = usize::try_from(caller.1.checked_sub(*start)?).ok()? + 1;
            text.get(end.checked_sub(5)?..end)
        };
        // call rel32
        let Some([0xe8, distance @ ..]) = instruction() else {
            return false;
        };
        let distance = i32::from_le_bytes(distance.try_into().unwrap());
        caller.0 == function.0 && (caller.1 + 1).wrapping_add_signed(distance.into()) == function.1
    }

    /// Where the function begins that a place is in.
    pub(super) fn function(&self, place: &Place) -> Option<u64> {
        let (start, end) = self
            .functions
            .get(&place.0)?
            .range(..=place.1)
            .next_back()?;
        (place.1 < *end).then_some(*start)
    }
}

/// The addresses that the entries of .eh_frame are for.
fn functions(address: u64, text: u64, data: &[u8]) -> BTreeMap<u64, u64> {
    let section = EhFrame::from(EndianSlice::new(data, LittleEndian));
    let bases = BaseAddresses::default()
        .set_eh_frame(address)
        .set_text(text);
    let mut entries = section.entries(&bases);
    let mut functions = BTreeMap::new();
    while let Ok(Some(entry)) = entries.next() {
        if let CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(EhFrame::cie_from_offset)
        {
            functions.insert(fde.initial_address(), fde.initial_address() + fde.len());
        }
    }
    functions
}
