//! Kernel names on the running kernel, against /proc/kallsyms read by other code.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

use symbolizer::{Options, Symbolizer};

/// Address, type and name.
type Listed = (u64, String, String);

/// What is listed of the kernel itself.
fn kallsyms() -> Vec<Listed> {
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, kind, name] = words[..] else {
            return None;
        };
        Some((
            u64::from_str_radix(address, 16).unwrap(),
            kind.to_owned(),
            name.to_owned(),
        ))
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
