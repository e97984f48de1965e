//! Kernel memory for unwind tables stays within its budget, however many programs are mapped.

use fixtures::unwind::Case;
use object::{Object, ObjectSection, ObjectSegment};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::elf_files::library;
use tests::machine::{Machine, say, skipped};

const FILES: u64 = 1600;
const PAGE: usize = 4096;

/// A library of the system without what is neither read for its unwind table nor there in it: its code is a hole.
struct Template {
    length: u64,
    parts: Vec<(u64, Vec<u8>)>,
    code: u64,
}

impl Template {
    fn of(path: &Path) -> Template {
        let bytes = fs::read(path).unwrap();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        let sections = file.sections();
        let wanted = [".eh_frame", ".eh_frame_hdr", ".shstrtab"];
        let kept = sections.filter(|section| wanted.contains(&section.name().unwrap()));
        let mut parts: Vec<(u64, Vec<u8>)> = kept
            .map(|section| {
                let (start, _) = section.file_range().unwrap();
                (start, section.data().unwrap().to_vec())
            })
            .collect();
        // The headers: of the file and its segments, and of its sections, which are the last thing in it.
        parts.push((0, bytes[..4096].to_vec()));
        let sections = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
        parts.push((sections, bytes[sections as usize..].to_vec()));
        let code = file
            .segments()
            .find(|segment| segment.permissions().executable());
        Template {
            length: bytes.len() as u64,
            parts,
            code: code.unwrap().file_range().0,
        }
    }

    /// Maps a file that is like no other into this process, as code.
    fn map(&self, path: &Path, number: u64) -> Mapped {
        let file = File::create_new(path).unwrap();
        for (at, bytes) in &self.parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        file.set_len(self.length + number).unwrap();
        let file = File::open(path).unwrap();
        let (none, prot) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::EXEC);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let at = unsafe { mmap(none, PAGE, prot, MapFlags::PRIVATE, file, self.code) };
        Mapped(at.unwrap())
    }
}

/// One page of such a file. Left where it is, it would have its table built for every agent that a later test starts.
struct Mapped(*mut c_void);

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody looks at it.
        unsafe { munmap(self.0, PAGE) }.unwrap();
    }
}

/// With 1,600 programs whose tables would take more than twice the budget, kernel memory stays within it, each program has a table or is
/// counted among those for which there was no room, and one that begins to run gets its table in the place of another.
#[test]
fn many_programs_keep_to_the_budget() {
    if skipped("many_programs_keep_to_the_budget") {
        return;
    }
    let _machine = Machine::alone();
    let directory = tempfile::tempdir().unwrap();
    let template = Template::of(&library("libc.so.6").unwrap());
    let map = |number: u64| template.map(&directory.path().join(number.to_string()), number);
    let _mapped: Vec<Mapped> = (0..FILES).map(map).collect();
    let cache = format!("--cache-dir={}", directory.path().join("tables").display());
    let agent = Agent::start(&[&cache]);
    let tables =
        |state: &str| agent.metric(&format!("thermograph_unwind_tables{{state=\"{state}\"}}"));
    let (ready, refused) = wait_for("every table", || {
        let (ready, refused) = (tables("ready"), tables("over_budget"));
        (tables("pending") == 0.0 && ready + refused >= FILES as f64).then_some((ready, refused))
    });
    let bytes = |what: &str| {
        agent.metric(&format!(
            "thermograph_unwind_memory_bytes{{use=\"{what}\"}}"
        ))
    };
    let (taken, filled, budget) = (bytes("tables"), bytes("filled"), bytes("budget"));
    say(&format!(
        "{ready} tables take {taken} bytes, of which {filled} are filled, of {budget}; {refused} found no room"
    ));
    assert!(filled / ready * FILES as f64 > 2.0 * budget);
    assert!(taken <= budget && budget <= f64::from(48 << 20));
    assert!(ready > 100.0 && refused > 100.0, "{ready} {refused}");
    assert!(filled > 0.8 * taken, "{filled} of {taken}");

    let case = Case::named("kernel_side").unwrap();
    let running = case.start("1000").unwrap();
    let is_whole = || {
        let path = format!("/api/profile?seconds=1&pid={}", running.pid());
        let stacks = agent.stacks(&path);
        (stacks.share(|stack| stack.frames[0].name == "_start") > 0.99).then_some(())
    };
    wait_for("whole stacks of a new program", is_whole);
    assert!(bytes("tables") <= budget);
}
