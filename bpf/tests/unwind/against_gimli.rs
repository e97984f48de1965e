//! Every row that gimli makes of a file's .eh_frame is compared with what the table says there.

use bpf::unwind::{Cfa, Limits, Rule, Saved, Table, Unsupported, build};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, LittleEndian, Operation, Register, RegisterRule,
    UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
};
use object::elf::FileHeader64;
use object::read::elf::{ElfFile, ProgramHeader};
use object::{Architecture, Object, ObjectSection, elf};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use tests::elf_files::{library, programs_below};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// What a comparison has found.
#[derive(Debug, Default)]
struct Comparison {
    rows: u64,
    /// How often the table can say no more than why it cannot, by reason.
    unsupported: BTreeMap<String, u64>,
    /// Functions that lie in another's range, or where nothing is mapped.
    set_aside: u64,
    /// Functions whose instructions gimli refuses.
    refused: u64,
    differences: Vec<String>,
}

/// The table says at the begin and the end of every row of gimli's what gimli says: the system's libraries.
#[test]
fn libraries() {
    let compared = ["libc.so.6", "libm.so.6", "libstdc++.so.6", "libcrypto.so.3"]
        .into_iter()
        .filter_map(library)
        .map(|path| agree(&path));
    let rows: u64 = compared.sum();
    assert!(rows > 10_000, "only {rows} rows compared");
}

/// As above: a Rust program, this one.
#[test]
fn own_executable() {
    assert!(agree(&std::env::current_exe().unwrap()) > 5_000);
}

/// As above: whatever is installed. Takes a minute, so it is run by hand.
#[test]
#[ignore = "takes a minute; run it by hand"]
fn whole_system() {
    let mut all = Comparison::default();
    let mut files = 0;
    for path in programs_below(Path::new("/usr")) {
        let compared = compare(&path);
        files += 1;
        all.rows += compared.rows;
        all.set_aside += compared.set_aside;
        all.refused += compared.refused;
        for (reason, count) in compared.unsupported {
            *all.unsupported.entry(reason).or_default() += count;
        }
        for difference in compared.differences.iter().take(3) {
            println!("{}: {difference}", path.display());
        }
        all.differences.extend(compared.differences);
    }
    println!(
        "{files} files, {} rows, {} differ, unsupported {:?}, {} functions set aside, {} refused",
        all.rows,
        all.differences.len(),
        all.unsupported,
        all.set_aside,
        all.refused
    );
    assert!(all.differences.is_empty());
}

fn agree(path: &Path) -> u64 {
    let compared = compare(path);
    println!(
        "{}: {} rows, {:?}",
        path.display(),
        compared.rows,
        compared.unsupported
    );
    assert_eq!(compared.differences, [""; 0], "{}", path.display());
    // Whatever is beyond the format is rare.
    let unsupported: u64 = compared.unsupported.values().sum();
    assert!(
        unsupported * 50 <= compared.rows,
        "{}: {:?}",
        path.display(),
        compared.unsupported
    );
    compared.rows
}

fn compare(path: &Path) -> Comparison {
    let mut found = Comparison::default();
    let bytes = fs::read(path).unwrap();
    let Ok(elf) = ElfFile::<FileHeader64<object::LittleEndian>>::parse(&bytes[..]) else {
        return found;
    };
    let Some(section) = elf.section_by_name(".eh_frame") else {
        return found;
    };
    if elf.architecture() != Architecture::X86_64 {
        return found;
    }
    let table = build(&File::open(path).unwrap(), 0, &Limits::default()).unwrap();
    let frames = EhFrame::new(section.data().unwrap(), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let mut functions = Vec::new();
    let mut entries = frames.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        if let gimli::CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(|_, bases, offset| frames.cie_from_offset(bases, offset))
            && fde.len() > 0
        {
            functions.push(fde);
        }
    }
    functions.sort_by_key(|fde| fde.initial_address());
    let mut context = UnwindContext::new();
    for (index, fde) in functions.iter().enumerate() {
        let next = functions
            .get(index + 1)
            .map_or(u64::MAX, |next| next.initial_address());
        let Some(bias) = offset_of(&elf, fde.initial_address(), fde.end_address()) else {
            found.set_aside += 1;
            continue;
        };
        if next < fde.end_address() {
            found.set_aside += 1;
            continue;
        }
        let mut rows = fde.rows(&frames, &bases, &mut context).unwrap();
        loop {
            let row = match rows.next_row() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(_) => {
                    found.refused += 1;
                    break;
                }
            };
            if row.start_address() >= row.end_address() {
                continue;
            }
            found.rows += 1;
            let expected = expected(row, &frames, fde.cie().is_signal_trampoline());
            for address in [row.start_address(), row.end_address() - 1] {
                found.see(&table, address, address.wrapping_add(bias), expected);
            }
        }
    }
    found
}

impl Comparison {
    fn see(&mut self, table: &Table, address: u64, offset: u64, expected: Rule) {
        let rule = table.lookup(offset.try_into().unwrap());
        if rule != expected {
            self.differences
                .push(format!("{address:#x}: {rule:?}, gimli has {expected:?}"));
        } else if let Rule::Unsupported(why) = rule {
            *self.unsupported.entry(why.to_string()).or_default() += 1;
        }
    }
}

/// What is to be added to an address of a function to have its offset in the file, if it is executable.
fn offset_of(
    elf: &ElfFile<'_, FileHeader64<object::LittleEndian>>,
    begin: u64,
    end: u64,
) -> Option<u64> {
    let endian = object::LittleEndian;
    elf.elf_program_headers().iter().find_map(|segment| {
        let start = segment.p_vaddr(endian);
        let holds = segment.p_type(endian) == elf::PT_LOAD
            && segment.p_flags(endian).contains(elf::PF_X)
            && start <= begin
            && end <= start + segment.p_filesz(endian);
        holds.then(|| segment.p_offset(endian).wrapping_sub(start))
    })
}

const RBP: Register = gimli::X86_64::RBP;
const RETURN_ADDRESS: Register = gimli::X86_64::RA;

/// The rule for a row of gimli's, as `bpf/src/c/unwind.h` describes rules.
fn expected(row: &UnwindTableRow<usize>, frames: &EhFrame<Slice<'_>>, signal: bool) -> Rule {
    let return_address = row.register(RETURN_ADDRESS);
    if return_address == Some(RegisterRule::Undefined) {
        return Rule::End;
    }
    if signal {
        // Where the kernel puts rsp, rbp and rip in a ucontext.
        let at = |rule, offset| match rule {
            Some(RegisterRule::Expression(expression)) => {
                operations(&expression, frames) == [breg(7, offset)]
            }
            _ => false,
        };
        let cfa = match row.cfa() {
            CfaRule::Expression(expression) => operations(expression, frames),
            CfaRule::RegisterAndOffset { .. } => Vec::new(),
        };
        assert!(
            cfa == [breg(7, 160), DEREF] && at(row.register(RBP), 120) && at(return_address, 168)
        );
        return Rule::Signal;
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Cfa::Register {
            register: register.0.try_into().unwrap(),
            offset: (*offset).try_into().unwrap(),
        },
        CfaRule::Expression(expression) => match cfa(&operations(expression, frames)) {
            Some(cfa) => cfa,
            None => return Rule::Unsupported(Unsupported::CfaExpression),
        },
    };
    if return_address != Some(RegisterRule::Offset(-8)) {
        return Rule::Unsupported(Unsupported::ReturnAddress);
    }
    let saved = match row.register(RBP) {
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Saved::Nothing,
        Some(RegisterRule::Offset(offset)) if offset % 8 == 0 && offset != 0 => {
            Saved::FramePointer((offset / 8).try_into().unwrap())
        }
        Some(RegisterRule::Expression(expression))
            if operations(&expression, frames) == [breg(6, 0)] =>
        {
            Saved::AtFramePointer
        }
        _ => return Rule::Unsupported(Unsupported::FramePointer),
    };
    Rule::Frame { cfa, saved }
}

const DEREF: Operation<Slice<'static>> = Operation::Deref {
    base_type: gimli::UnitOffset(0),
    size: 8,
    space: false,
};

fn breg(register: u16, offset: i64) -> Operation<Slice<'static>> {
    Operation::RegisterOffset {
        register: Register(register),
        offset,
        base_type: gimli::UnitOffset(0),
    }
}

fn operations<'a>(
    expression: &UnwindExpression<usize>,
    frames: &EhFrame<Slice<'a>>,
) -> Vec<Operation<Slice<'a>>> {
    let encoding = gimli::Encoding {
        address_size: 8,
        format: gimli::Format::Dwarf32,
        version: 5,
    };
    let mut operations = expression.get(frames).unwrap().operations(encoding);
    std::iter::from_fn(|| operations.next().unwrap()).collect()
}

fn cfa(operations: &[Operation<Slice<'_>>]) -> Option<Cfa> {
    use Operation::{And, Ge, Plus, PlusConstant, RegisterOffset, Shl, UnsignedConstant};
    match *operations {
        [
            RegisterOffset {
                register, offset, ..
            },
            Operation::Deref { .. },
        ] => Some(Cfa::Deref {
            register: register.0 as u8,
            offset: offset.try_into().ok()?,
            addend: 0,
        }),
        [
            RegisterOffset {
                register, offset, ..
            },
            Operation::Deref { .. },
            PlusConstant { value },
        ] => Some(Cfa::Deref {
            register: register.0 as u8,
            offset: offset.try_into().ok()?,
            addend: value.try_into().ok()?,
        }),
        [
            RegisterOffset {
                register: Register(7),
                offset: 8,
                ..
            },
            RegisterOffset {
                register: Register(16),
                offset: 0,
                ..
            },
            UnsignedConstant { value: 15 },
            And,
            UnsignedConstant { value: pushed },
            Ge,
            UnsignedConstant { value: 3 },
            Shl,
            Plus,
        ] => Some(Cfa::Plt {
            pushed: pushed.try_into().ok()?,
        }),
        _ => None,
    }
}
