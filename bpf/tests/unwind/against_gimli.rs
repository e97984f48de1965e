//! Every row that gimli makes of a file's .eh_frame is compared with what the table says there.

mod aarch64;
mod x86_64;

use bpf::unwind::{BuildError, Limits, Rule, Table, build};
use gimli::{BaseAddresses, EhFrame, LittleEndian, UnwindContext, UnwindSection};
use object::elf::FileHeader64;
use object::read::elf::{ElfFile, ProgramHeader};
use object::{Architecture, Object, ObjectSection, elf};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tests::elf_files::{library, programs};
use tests::machine::say;

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

/// As above: the vDSO, which is in no file.
#[test]
fn vdso() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else {
        say("SKIPPED: vdso: this kernel maps none");
        return;
    };
    let (begin, rest) = line.split_once('-').unwrap();
    let (end, _) = rest.split_once(' ').unwrap();
    let [begin, end] = [begin, end].map(|at| u64::from_str_radix(at, 16).unwrap());
    let mut image = vec![0; (end - begin) as usize];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut image, begin).unwrap();
    let compared = compare_bytes(&image, build(&image[..], 0, &Limits::default()));
    assert_eq!(compared.differences, [""; 0]);
    assert!(compared.rows > 10, "{compared:?}");
}

/// As above: libraries for aarch64, from the packages that cross compilers use.
#[test]
fn aarch64() {
    let compared = ["libc.so.6", "libstdc++.so.6", "ld-linux-aarch64.so.1"]
        .map(|name| Path::new("/usr/aarch64-linux-gnu/lib").join(name))
        .into_iter()
        .filter(|path| path.exists())
        .map(|path| agree(&path));
    let rows: u64 = compared.sum();
    if rows == 0 {
        say(
            "SKIPPED: aarch64: there are no libraries for it here (Debian: libstdc++6-arm64-cross)",
        );
    }
}

/// As above: whatever is installed. Takes a minute, so it is run by hand.
#[test]
#[ignore = "takes a minute; run it by hand"]
fn whole_system() {
    let mut all = Comparison::default();
    let mut files = 0;
    for path in programs(&["/usr".into()]) {
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
    let table = build(&File::open(path).unwrap(), 0, &Limits::default());
    compare_bytes(&fs::read(path).unwrap(), table)
}

fn compare_bytes(bytes: &[u8], table: Result<Table, BuildError>) -> Comparison {
    let mut found = Comparison::default();
    let Ok(elf) = ElfFile::<FileHeader64<object::LittleEndian>>::parse(bytes) else {
        return found;
    };
    let Some(section) = elf.section_by_name(".eh_frame") else {
        return found;
    };
    let expected = match elf.architecture() {
        Architecture::X86_64 => x86_64::expected,
        Architecture::Aarch64 => aarch64::expected,
        _ => return found,
    };
    let table = table.unwrap();
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
            let expected = expected(row, &frames, fde.cie());
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
