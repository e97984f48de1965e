//! Kernel names on the running kernel, against /proc/kallsyms read by other code.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

use libbpf_rs::libbpf_sys::{
    BPF_PROG_TYPE_SOCKET_FILTER, bpf_insn, bpf_prog_get_info_by_fd, bpf_prog_info, bpf_prog_load,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use symbolizer::{Options, Symbolizer};

/// Address, type and name.
type Listed = (u64, String, String);

/// What is listed of the kernel itself.
fn kallsyms() -> Vec<Listed> {
    let list = kallsyms_of_all().into_iter();
    list.filter_map(|(symbol, module)| module.is_none().then_some(symbol))
        .collect()
}

/// What is listed, also of modules, BPF programs and what the kernel makes at run time, each with the brackets around it.
fn kallsyms_of_all() -> Vec<(Listed, Option<String>)> {
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, kind, name, module @ ..] = &words[..] else {
            return None;
        };
        let symbol = (
            u64::from_str_radix(address, 16).unwrap(),
            (*kind).to_owned(),
            (*name).to_owned(),
        );
        Some((symbol, module.first().map(|module| (*module).to_owned())))
    };
    text.lines().filter_map(line).collect()
}

/// The list and its `_stext`, if this kernel shows them.
fn visible(test: &str) -> Option<(Vec<Listed>, u64)> {
    let list = kallsyms();
    let base = list
        .iter()
        .find(|(_, _, name)| name == "_stext")
        .map_or(0, |(address, ..)| *address);
    if base == 0 {
        eprintln!("SKIPPED: {test}: /proc/kallsyms shows no addresses");
        return None;
    }
    Some((list, base))
}

/// Every function's first byte has one of the names listed for it, marked as the kernel's, and an address that is a distance from
/// `_stext`.
#[test]
fn every_listed_function() {
    let Some((list, base)) = visible("every_listed_function") else {
        return;
    };
    let end = list
        .iter()
        .find(|(_, _, name)| name == "_etext")
        .map_or(0, |(address, ..)| *address);
    let functions: Vec<_> = list
        .iter()
        .filter(|(address, kind, _)| "tTwW".contains(&**kind) && (base..end).contains(address))
        .collect();
    assert!(functions.len() > 10_000);
    let addresses: Vec<u64> = functions.iter().map(|(address, ..)| *address).collect();
    let mut symbolizer = Symbolizer::new(Options {
        cache_bytes: 64 << 20,
        ..Options::default()
    });
    let answers = symbolizer.kernel(&addresses);
    assert!(symbolizer.kernel_error().is_none());
    let mut names = std::collections::HashMap::<u64, Vec<&str>>::new();
    for (address, _, name) in &functions {
        names.entry(*address).or_default().push(name);
    }
    for (address, answer) in addresses.iter().zip(&answers) {
        let frame = &answer.frames[0];
        assert!(
            names[address].contains(&&*frame.system_name),
            "{} at {address:#x}",
            frame.system_name
        );
        assert!(frame.name.ends_with("_[k]") && answer.named && answer.frames.len() == 1);
        assert_eq!(answer.address, address - base);
        let mapping = answer.mapping.as_ref().unwrap();
        assert_eq!(&*mapping.name, "[kernel.kallsyms]");
        assert!(answer.address < mapping.limit && mapping.start == 0);
    }
}

/// So has every function's first byte that is of no part of the kernel itself, in the mapping of its module, at a distance from the page of
/// the first function there.
#[test]
fn every_listed_function_of_modules() {
    const TEST: &str = "every_listed_function_of_modules";
    if visible(TEST).is_none() {
        return;
    }
    let functions = || -> Vec<(Listed, String)> {
        let all = kallsyms_of_all().into_iter();
        let functions = all.filter(|((_, kind, _), _)| "tTwW".contains(&**kind));
        functions
            .filter_map(|(symbol, module)| Some((symbol, module?)))
            .collect()
    };
    let mut symbolizer = Symbolizer::new(Options::default());
    // They come and go, also while they are read.
    let unchanged = (0..100).find_map(|_| {
        let before = functions();
        symbolizer.reload_kernel();
        let addresses: Vec<u64> = before.iter().map(|((address, ..), _)| *address).collect();
        let answers = symbolizer.kernel(&addresses);
        (before == functions()).then_some((before, answers))
    });
    let (list, answers) = unchanged.unwrap();
    if list.is_empty() {
        eprintln!("SKIPPED: {TEST}: none is loaded");
        return;
    }
    for (((address, ..), module), answer) in list.iter().zip(&answers) {
        let mut here = list.iter().filter(|(symbol, _)| symbol.0 == *address);
        let frame = &answer.frames[0];
        assert!(
            here.any(|((.., name), _)| *name == *frame.system_name),
            "{} at {address:#x}",
            frame.system_name
        );
        assert!(frame.name.ends_with("_[k]") && answer.named && answer.frames.len() == 1);
        assert_eq!(*answer.mapping.as_ref().unwrap().name, **module);
        let of_module = list.iter().filter(|(_, other)| other == module);
        let first = of_module.map(|(symbol, _)| symbol.0).min().unwrap();
        assert_eq!(answer.address, address - (first & !0xfff));
    }
}

/// No answer contains the address that was asked for, whatever it was.
#[test]
fn an_absolute_address_is_never_shown() {
    let Some((_, base)) = visible("an_absolute_address_is_never_shown") else {
        return;
    };
    let mut symbolizer = Symbolizer::new(Options::default());
    for address in [
        0,
        1,
        base - 1,
        base,
        base + 0x1234,
        base + (1 << 30),
        u64::MAX - 1,
        u64::MAX,
    ] {
        let answer = symbolizer.kernel(&[address]).remove(0);
        let name = &answer.frames[0].name;
        assert!(name.ends_with("_[k]"), "{name}");
        assert!(
            !name.contains("ffffffff") && answer.address <= u64::MAX - base,
            "{name} {:#x}",
            answer.address
        );
        if address < base {
            assert_eq!(
                (&**name, answer.address, answer.named),
                ("[kernel]_[k]", 0, false)
            );
        }
    }
}

/// The cache does not keep what was read before a reload, and gives the same name for the same address after it.
#[test]
fn reload() {
    let Some((_, base)) = visible("reload") else {
        return;
    };
    let mut symbolizer = Symbolizer::new(Options::default());
    let before = symbolizer.kernel(&[base + 0x1000]);
    symbolizer.reload_kernel();
    let after = symbolizer.kernel(&[base + 0x1000]);
    assert_eq!(before[0], after[0]);
    assert!(!std::sync::Arc::ptr_eq(&before[0], &after[0]));
}

/// A BPF program in the kernel, with what the kernel says of it when it is asked by its descriptor.
struct BpfProgram {
    _descriptor: OwnedFd,
    address: u64,
    bytes: u32,
    tag: String,
}

impl BpfProgram {
    /// One that adds to a register so many times.
    fn load(name: &std::ffi::CStr, instructions: usize) -> Option<Self> {
        let instruction = |code| bpf_insn {
            code,
            imm: 1,
            ..bpf_insn::default()
        };
        const MOVE: u8 = 0xb7;
        const ADD: u8 = 0x07;
        const EXIT: u8 = 0x95;
        let mut program = vec![instruction(ADD); instructions];
        program[0] = instruction(MOVE);
        program.push(bpf_insn {
            code: EXIT,
            ..bpf_insn::default()
        });
        let (kind, license) = (BPF_PROG_TYPE_SOCKET_FILTER, c"GPL".as_ptr());
        let mut info = bpf_prog_info::default();
        let (mut address, mut bytes) = (0_u64, 0_u32);
        (info.jited_ksyms, info.nr_jited_ksyms) = (&raw mut address as u64, 1);
        (info.jited_func_lens, info.nr_jited_func_lens) = (&raw mut bytes as u64, 1);
        let mut size = size_of::<bpf_prog_info>() as u32;
        // SAFETY: the pointers are to values that outlive the calls, each with its size.
        let descriptor = unsafe {
            let (first, count) = (program.as_ptr(), program.len() as u64);
            let opts = std::ptr::null_mut();
            let fd = bpf_prog_load(kind, name.as_ptr(), license, first, count, opts);
            let descriptor = (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?;
            let asked = bpf_prog_get_info_by_fd(descriptor.as_raw_fd(), &mut info, &mut size);
            assert_eq!(asked, 0);
            descriptor
        };
        Some(Self {
            _descriptor: descriptor,
            address,
            bytes,
            tag: info.tag.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Every byte of a BPF program has its name and its tag, from the reading after it was loaded on, and when it is gone nothing there
/// has them.
#[test]
fn bpf_programs() {
    if visible("bpf_programs").is_none() {
        return;
    }
    let mut symbolizer = Symbolizer::new(Options::default());
    symbolizer.kernel(&[0]);
    // Two, so that something follows on the first.
    let loaded = [c"thermo_first", c"thermo_second"].map(|name| BpfProgram::load(name, 100));
    let [Some(first), Some(second)] = loaded else {
        eprintln!("SKIPPED: bpf_programs: needs root");
        return;
    };
    assert!(first.address != 0 && first.bytes > 100);
    symbolizer.reload_kernel();
    let name = |program: &BpfProgram, name: &str| format!("bpf_prog_{}_{name}_[k]", program.tag);
    for (program, name) in [
        (&first, name(&first, "thermo_first")),
        (&second, name(&second, "thermo_second")),
    ] {
        let addresses: Vec<u64> = (0..program.bytes)
            .map(|at| program.address + u64::from(at))
            .collect();
        for answer in symbolizer.kernel(&addresses) {
            assert_eq!(*answer.frames[0].name, name);
            assert_eq!(&*answer.mapping.as_ref().unwrap().name, "[bpf]");
            assert!(answer.named);
        }
    }
    let (address, gone) = (first.address, name(&first, "thermo_first"));
    drop((first, second));
    // The kernel frees them when no CPU can be in them any more.
    while std::fs::read_to_string("/proc/kallsyms")
        .unwrap()
        .contains("thermo_first")
    {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    symbolizer.reload_kernel();
    assert_ne!(*symbolizer.kernel(&[address])[0].frames[0].name, gone);
}
