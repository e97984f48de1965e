//! Speed and memory of the symbolizer: `cargo run --release -p symbolizer --example measure -- [all|memory|kernel|blazesym-kernel] [FILE...]`.
//!
//! `all` names every function of the files for the first time, then again from a cache that holds them all, then does the kernel; `memory` the
//! same with the default budget. The other two load the kernel's symbols alone, ours or blazesym's, to compare their memory.

// A measurement that cannot be made ends.
#![allow(clippy::expect_used)]

use std::fs::File;
use std::time::Duration;

use object::elf::{FileHeader64, STT_FUNC};
use object::read::elf::ElfFile;
use object::{LittleEndian, Object, ObjectSymbol};
use rustix::time::{ClockId, clock_gettime};
use symbolizer::{Module, Options, Symbolizer};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    print_memory("at start");
    match &*what {
        "all" => files_and_kernel(
            arguments.collect(),
            Options {
                cache_bytes: 1 << 30,
                ..Options::default()
            },
        ),
        "memory" => files_and_kernel(arguments.collect(), Options::default()),
        "kernel" => kernel(&mut Symbolizer::new(Options::default())),
        "blazesym-kernel" => blazesym_kernel(),
        _ => eprintln!("usage: measure all|memory|kernel|blazesym-kernel [FILE...]"),
    }
}

fn files_and_kernel(files: Vec<String>, options: Options) {
    let mut symbolizer = Symbolizer::new(options);
    for file in files {
        let module = Module::open(File::open(&file).expect("open"), file.as_str()).expect("module");
        let offsets = function_offsets(&module, &file);
        println!("{file}: {} functions", offsets.len());
        timed("  first word (index built)", 1, || {
            symbolizer.user(&module, &offsets[..1]).len()
        });
        timed("  first touch, new names", offsets.len(), || {
            symbolizer.user(&module, &offsets).len()
        });
        let next: Vec<u64> = offsets.iter().map(|offset| offset + 1).collect();
        timed("  first touch, known names", next.len(), || {
            symbolizer.user(&module, &next).len()
        });
        for _ in 0..3 {
            timed("  cached", offsets.len(), || {
                symbolizer.user(&module, &offsets).len()
            });
        }
        println!(
            "  {} bytes cached, {:?}",
            symbolizer.cached_bytes(),
            symbolizer.take_failures()
        );
        print_memory("after this file");
    }
    kernel(&mut symbolizer);
    drop(symbolizer);
    print_memory("after dropping the symbolizer");
}

/// Every function of the file that has room for two words.
fn function_offsets(module: &Module, file: &str) -> Vec<u64> {
    let image = std::fs::read(file).expect("read");
    let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).expect("parse");
    let segments: Vec<_> = module.segments().cloned().collect();
    let functions = elf.symbols().chain(elf.dynamic_symbols()).filter(|symbol| {
        symbol.elf_symbol().st_type() == STT_FUNC && symbol.is_definition() && symbol.size() > 1
    });
    let mut offsets: Vec<u64> = functions
        .filter_map(|symbol| {
            let address = symbol.address();
            let segment = segments
                .iter()
                .find(|segment| (segment.start..segment.limit).contains(&address))?;
            Some(address - segment.start + segment.file_offset)
        })
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

fn kernel(symbolizer: &mut Symbolizer) {
    let addresses: Vec<u64> = kernel_functions();
    timed("kernel, loading", 1, || {
        symbolizer.kernel(&addresses[..1]).len()
    });
    print_memory("with the kernel's symbols");
    timed("kernel, first touch", addresses.len(), || {
        symbolizer.kernel(&addresses).len()
    });
    timed("kernel, cached", addresses.len(), || {
        symbolizer.kernel(&addresses).len()
    });
}

fn blazesym_kernel() {
    use blazesym::symbolize::{Input, Symbolizer, source};
    let addresses = kernel_functions();
    let symbolizer = Symbolizer::new();
    let source = source::Source::Kernel(source::Kernel {
        debug_syms: false,
        ..source::Kernel::default()
    });
    timed("blazesym kernel, loading", 1, || {
        symbolizer
            .symbolize(&source, Input::AbsAddr(&addresses[..1]))
            .expect("kernel")
            .len()
    });
    print_memory("with the kernel's symbols");
}

/// A few addresses are enough, and keep the reading of the list out of the figures for memory.
fn kernel_functions() -> Vec<u64> {
    use std::io::BufRead;
    let list = std::io::BufReader::new(File::open("/proc/kallsyms").expect("kallsyms"));
    let addresses = list.lines().map_while(Result::ok).filter_map(|line| {
        let mut words = line.split(' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        words.next()?.eq_ignore_ascii_case("t").then_some(address)
    });
    addresses.step_by(12).collect()
}

fn timed(what: &str, count: usize, work: impl FnOnce() -> usize) {
    // Of this thread's CPU, so that what else the machine does counts little.
    let now = || clock_gettime(ClockId::ThreadCPUTime).try_into();
    let start: Duration = now().expect("a time since the thread began");
    let answers = work();
    let end: Duration = now().expect("a time since the thread began");
    let took = (end - start).max(Duration::from_nanos(1));
    println!(
        "{what}: {answers} in {took:?}, {:.2} M/s",
        count as f64 / took.as_secs_f64() / 1e6
    );
}

fn print_memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let value = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    println!(
        "memory {when}: RSS {}, anonymous {}, of files {}",
        value("VmRSS:"),
        value("RssAnon:"),
        value("RssFile:")
    );
}
