//! What is said of every address of a program, beside what binutils' addr2line says, which shares no code with us.

use std::path::Path;
use std::sync::Arc;

use symbolizer::{Module, Options, Symbolized, Symbolizer};

use super::{Function, Printed, addr2line, file_offset, functions};

/// Every address of those functions of `whole` that are `of_interest`, and what we say of it from `module`, which may have less to say it from.
pub(crate) fn every_address(
    module: &Module,
    whole: &Path,
    of_interest: impl Fn(&Function) -> bool,
) -> Vec<(u64, Arc<Symbolized>)> {
    let image = std::fs::read(whole).unwrap();
    let chosen: Vec<Function> = functions(&image).into_iter().filter(of_interest).collect();
    assert!(
        chosen.len() >= 4,
        "the fixture has lost its functions: {chosen:?}"
    );
    let mut addresses: Vec<u64> = chosen
        .iter()
        .flat_map(|function| function.address..function.address + function.size)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let offsets: Vec<u64> = addresses
        .iter()
        .map(|&address| file_offset(&image, address))
        .collect();
    let answers = Symbolizer::new(Options::default()).user(module, &offsets);
    assert_eq!(answers.len(), addresses.len());
    addresses.into_iter().zip(answers).collect()
}

/// As addr2line prints it.
pub(crate) fn printed(answer: &Symbolized, demangled: bool) -> Vec<Printed> {
    let frame = |frame: &symbolizer::Frame| {
        let name = if demangled {
            &frame.name
        } else {
            &frame.system_name
        };
        let place = match (&frame.file, frame.line) {
            (None, _) => "??:?".to_owned(),
            (Some(file), 0) => format!("{file}:?"),
            (Some(file), line) => format!("{file}:{line}"),
        };
        (name.to_string(), place)
    };
    answer.frames.iter().map(frame).collect()
}

/// Compares every address with what addr2line says of `whole`; returns how many had inlined frames.
pub(crate) fn agree(
    module: &Module,
    whole: &Path,
    demangled: bool,
    of_interest: impl Fn(&Function) -> bool,
) -> usize {
    let ours = every_address(module, whole, of_interest);
    let addresses: Vec<u64> = ours.iter().map(|(address, _)| *address).collect();
    let theirs = addr2line(whole, &addresses, demangled);
    let symbols = functions(&std::fs::read(whole).unwrap());
    let mut inlined = 0;
    for ((address, answer), theirs) in ours.iter().zip(theirs) {
        assert_eq!(answer.address, *address);
        assert!(answer.named);
        let mapping = answer.mapping.as_ref().unwrap();
        assert!((mapping.start..mapping.limit).contains(address));
        let mut frames = printed(answer, demangled);
        if demangled {
            excuse_mangled(&mut frames, &theirs);
        } else {
            excuse_aliases(&symbols, &mut frames, &theirs);
        }
        assert_eq!(frames, theirs, "{address:#x} of {}", whole.display());
        let (outermost, inner) = answer.frames.split_last().unwrap();
        assert!(!outermost.inlined && inner.iter().all(|frame| frame.inlined));
        inlined += usize::from(!inner.is_empty());
    }
    inlined
}

/// The demangler does not know one form: an expression that names a member of something in `std`. Such a name stays mangled, which is
/// allowed here, rather than becoming a wrong one.
fn excuse_mangled(frames: &mut [Printed], theirs: &[Printed]) {
    for (frame, theirs) in frames.iter_mut().zip(theirs) {
        if frame.0.starts_with("_Z") && frame.0.contains("srSt") {
            frame.0.clone_from(&theirs.0);
        }
    }
}

/// A function with several symbols, as a constructor of whole objects that is that of bases, too, has the name of one in debug information
/// and may have that of another in the table of symbols.
fn excuse_aliases(symbols: &[Function], frames: &mut [Printed], theirs: &[Printed]) {
    let (Some(ours), Some(theirs)) = (frames.last_mut(), theirs.last()) else {
        return;
    };
    let start = |name: &str| Some(symbols.iter().find(|symbol| symbol.name == name)?.address);
    if ours.0 != theirs.0 && start(&ours.0).is_some() && start(&ours.0) == start(&theirs.0) {
        ours.0.clone_from(&theirs.0);
    }
}
