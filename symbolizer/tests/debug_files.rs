//! Stripped programs and their debug files: by build id and by link, compressed, moved, and those that must not be used.

// Clippy's exception for tests does not reach their helper functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{LittleEndian, Object, ObjectSection};
use support::agreement::agree;
use support::{C, Workshop, file_offset, functions, open, own, run};
use symbolizer::{FileError, Module, Options, Symbolizer};

/// A directory that stands for the root of a process, with a stripped program in it.
struct Root {
    workshop: Workshop,
    /// The program as it was before.
    whole: PathBuf,
}

const BUILD_ID: &str = "0123456789abcdef";
/// Where a debug file of this build id belongs, below a root.
const BY_BUILD_ID: &str = "usr/lib/debug/.build-id/01/23456789abcdef.debug";

impl Root {
    /// With `opt/program`, stripped of all that `strip` takes.
    fn new(arguments: &[&str]) -> Self {
        let workshop = Workshop::new();
        let build_id = format!("-Wl,--build-id=0x{BUILD_ID}");
        let whole = workshop.c_program("whole", &[arguments, &[&build_id]].concat());
        let root = Self { workshop, whole };
        let program = root.path("opt/program");
        run(Command::new("strip")
            .arg("-o")
            .arg(program)
            .arg(&root.whole));
        root
    }

    /// A place below the root, with the directory for it.
    fn path(&self, path: &str) -> PathBuf {
        let path = self.workshop.path("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Puts the debug file somewhere.
    fn debug_file(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        let mut objcopy = Command::new("objcopy");
        objcopy.arg("--only-keep-debug").arg(&self.whole).arg(&path);
        run(&mut objcopy);
        path
    }

    /// Has the program name a debug file.
    fn link(&self, debug: &Path) {
        let argument = format!("--add-gnu-debuglink={}", debug.display());
        let program = self.path("opt/program");
        run(Command::new("objcopy").arg(argument).arg(program));
    }

    fn module(&self) -> Module {
        let path = self.path("opt/program");
        let root = File::open(self.path("")).unwrap();
        open(&path).with_roots("/opt/program", [Arc::new(root.into())])
    }

    /// Whether `leaf` has a name, whether it has a line, and what failed.
    fn leaf(&self) -> (bool, bool, Option<FileError>) {
        let image = std::fs::read(&self.whole).unwrap();
        let mut functions = functions(&image).into_iter();
        let leaf = functions.find(|function| function.name == "leaf").unwrap();
        let mut symbolizer = Symbolizer::new(Options::default());
        let offset = file_offset(&image, leaf.address);
        let answer = symbolizer.user(&self.module(), &[offset]).remove(0);
        let frame = answer.frames.last().unwrap();
        assert_eq!(&*frame.name == "leaf", answer.named);
        let failure = symbolizer.take_failures().pop();
        (
            answer.named,
            frame.line > 0,
            failure.map(|failure| failure.error),
        )
    }
}

const NOTHING: (bool, bool, Option<FileError>) = (false, false, None);

/// A debug file by build id says of the stripped program what addr2line says of the whole one, whatever way its sections are
/// compressed, and whichever tool made it; without it nothing is left, and nothing is made up.
#[test]
fn by_build_id() {
    for arguments in [["-O2", "-g"], ["-O2", "-gdwarf-4"], ["-O2", "-gdwarf-5"]] {
        let root = Root::new(&arguments);
        assert_eq!(root.leaf(), NOTHING);
        let debug = root.debug_file(BY_BUILD_ID);
        assert!(agree(&root.module(), &root.whole, false, own) > 0);
        let mut other = Command::new("llvm-objcopy");
        run(other.arg("--only-keep-debug").arg(&root.whole).arg(&debug));
        assert!(agree(&root.module(), &root.whole, false, own) > 0);
        for (kind, mark) in [("zlib", "ZLIB"), ("zstd", "ZSTD"), ("zlib-gnu", ".zdebug")] {
            let argument = format!("--compress-debug-sections={kind}");
            run(Command::new("objcopy").arg(argument).arg(&debug));
            let sections = run(Command::new("readelf").arg("-tW").arg(&debug));
            assert!(
                String::from_utf8(sections).unwrap().contains(mark),
                "{kind}"
            );
            assert!(agree(&root.module(), &root.whole, false, own) > 0);
        }
    }
}

/// A debug file that the program names is found in each of the three places, and not used if it has changed since.
#[test]
fn by_link() {
    for place in [
        "opt/p.debug",
        "opt/.debug/p.debug",
        "usr/lib/debug/opt/p.debug",
    ] {
        let root = Root::new(&["-O2", "-g", "-Wl,--build-id=none"]);
        let debug = root.debug_file(place);
        root.link(&debug);
        assert!(agree(&root.module(), &root.whole, false, own) > 0);

        let mut bytes = std::fs::read(&debug).unwrap();
        bytes.push(0);
        std::fs::write(&debug, bytes).unwrap();
        let (named, _, failure) = root.leaf();
        assert!(!named && failure.unwrap().to_string().contains("checksum differs"));
    }
}

/// What a debug link or a build id leads to is opened only if it is a regular file below the root: a pipe is not waited on, and a whole debug file is
/// not reached by a link that leads out of the root.
#[test]
fn nothing_else_is_opened() {
    let root = Root::new(&["-O2", "-g"]);
    let outside = root.debug_file("../outside.debug");
    root.link(&outside);
    std::fs::rename(&outside, root.path("../p.debug")).unwrap();
    let outside = root.path("../p.debug");

    for place in [BY_BUILD_ID, "opt/outside.debug"] {
        let place = root.path(place);
        let make = |how: &dyn Fn()| {
            let _ = std::fs::remove_file(&place);
            how();
            assert_eq!(root.leaf(), NOTHING, "{}", place.display());
        };
        make(&|| drop(run(Command::new("mkfifo").arg(&place))));
        make(&|| drop(run(Command::new("mknod").arg(&place).args(["c", "1", "5"]))));
        make(&|| std::fs::create_dir(&place).unwrap());
        std::fs::remove_dir(&place).unwrap();
        make(&|| symlink(&place, &place).unwrap());
        make(&|| symlink(&outside, &place).unwrap());
        make(&|| symlink("../../../../../../../../p.debug", &place).unwrap());
        std::fs::remove_file(&place).unwrap();
    }
    // The same file is good where it may be.
    std::fs::copy(&outside, root.path("opt/inside")).unwrap();
    symlink("/opt/../../opt/inside", root.path(BY_BUILD_ID)).unwrap();
    assert_eq!(root.leaf(), (true, true, None));
}

/// The links of /proc that lead to files without a path are not followed, even where the root is that of this host.
#[test]
fn magic_links_are_not_followed() {
    let root = Root::new(&["-O2", "-g", "-Wl,--build-id=none"]);
    let debug = root.debug_file("opt/p.debug");
    root.link(&debug);
    let path = root.path("opt/program");
    let named = || {
        let host = File::open("/").unwrap();
        let module = open(&path).with_roots(&path, [Arc::new(host.into())]);
        let image = std::fs::read(&root.whole).unwrap();
        let main = functions(&image)
            .into_iter()
            .find(|function| function.name == "main");
        let offset = file_offset(&image, main.unwrap().address);
        Symbolizer::new(Options::default()).user(&module, &[offset])[0].named
    };
    assert!(named());
    let held = File::open(&debug).unwrap();
    std::fs::remove_file(&debug).unwrap();
    let magic = format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd());
    assert_eq!(
        std::fs::metadata(&magic).unwrap().len(),
        held.metadata().unwrap().len()
    );
    symlink(magic, &debug).unwrap();
    assert!(!named());
}

/// A library that lies elsewhere than its debug file says, as after `prelink`, is named as if it did not; one whose code is of another
/// size is another library.
#[test]
fn moved_by_prelink() {
    let workshop = Workshop::new();
    let build = |name: &str, start: &str, source: &str| {
        let build_id = format!("-Wl,--build-id=0x{BUILD_ID}");
        let start = format!("-Wl,-Ttext-segment={start}");
        let arguments = ["-O2", "-g", "-shared", "-fPIC", &build_id, &start];
        let library = workshop.compile("cc", source, "library", &arguments);
        std::fs::rename(library, workshop.path(name)).unwrap();
        workshop.path(name)
    };
    let moved = build("moved", "0x41000000", C);
    let original = build("original", "0", C);
    let larger = format!("{C}\nint g(int x) {{ return f(x) / f(x + sink) + f(x * sink); }}");
    let another = build("another", "0", &larger);

    let place = workshop.path("root").join(BY_BUILD_ID);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let stripped = workshop.path("stripped");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&moved));
    let module = || {
        let root = File::open(workshop.path("root")).unwrap();
        open(&stripped).with_roots("/stripped", [Arc::new(root.into())])
    };
    std::fs::copy(&original, &place).unwrap();
    assert!(agree(&module(), &moved, false, own) > 0);

    std::fs::copy(&another, &place).unwrap();
    let mut symbolizer = Symbolizer::new(Options::default());
    let local = functions(&std::fs::read(&moved).unwrap());
    let local = local
        .into_iter()
        .find(|function| function.name.starts_with("local"));
    let offset = file_offset(&std::fs::read(&moved).unwrap(), local.unwrap().address);
    assert!(!symbolizer.user(&module(), &[offset])[0].named);
    let failure = symbolizer.take_failures().pop().unwrap();
    assert!(
        failure.error.to_string().contains("other segments"),
        "{failure:?}"
    );
}

/// A debug file of another program under this one's build id is not used.
#[test]
fn of_another_build() {
    let root = Root::new(&["-O2", "-g"]);
    let other = root
        .workshop
        .c_program("other", &["-O2", "-g", "-Wl,--build-id=0xfedcba9876543210"]);
    std::fs::copy(other, root.path(BY_BUILD_ID)).unwrap();
    let (named, _, failure) = root.leaf();
    assert!(!named && failure.unwrap().to_string().contains("another build id"));
}

/// A compressed section that claims another size than it has costs lines only, however much it claims.
#[test]
fn sections_that_lie_about_their_size() {
    for kind in ["zlib", "zstd", "zlib-gnu"] {
        let root = Root::new(&["-O2", "-g"]);
        let debug = root.debug_file(BY_BUILD_ID);
        let argument = format!("--compress-debug-sections={kind}");
        run(Command::new("objcopy").arg(argument).arg(&debug));
        assert_eq!(root.leaf(), (true, true, None));

        let image = std::fs::read(&debug).unwrap();
        let elf = ElfFile::<FileHeader64<LittleEndian>>::parse(&*image).unwrap();
        let section = elf
            .sections()
            .find(|section| [".debug_info", ".zdebug_info"].contains(&section.name().unwrap()));
        let (start, _) = section.unwrap().file_range().unwrap();
        let is_gnu = kind == "zlib-gnu";
        let at = start as usize + if is_gnu { 4 } else { 8 };
        let size: [u8; 8] = image[at..at + 8].try_into().unwrap();
        let size = if is_gnu {
            u64::from_be_bytes(size)
        } else {
            u64::from_le_bytes(size)
        };
        for lie in [0, size - 1, size + 1, size << 20, 1 << 40, u64::MAX] {
            let mut lying = image.clone();
            let bytes = if is_gnu {
                lie.to_be_bytes()
            } else {
                lie.to_le_bytes()
            };
            lying[at..at + 8].copy_from_slice(&bytes);
            std::fs::write(&debug, lying).unwrap();
            let (named, has_line, _) = root.leaf();
            assert_eq!((named, has_line), (true, false), "{kind}: {lie} for {size}");
        }
    }
}

/// A debug file that is cut short while it is in use costs what was in it, is reported once, and takes nothing from its program.
#[test]
fn truncated_while_in_use() {
    let root = Root::new(&["-O2", "-g", "-rdynamic"]);
    let debug = root.debug_file(BY_BUILD_ID);
    let image = std::fs::read(&root.whole).unwrap();
    let functions = functions(&image);
    let offset = |name: &str| {
        let function = functions.iter().find(|function| function.name == name);
        file_offset(&image, function.unwrap().address)
    };
    let (module, mut symbolizer) = (root.module(), Symbolizer::new(Options::default()));
    let mut ask = |name: &str| {
        let answer = symbolizer.user(&module, &[offset(name)]).remove(0);
        let frame = answer.frames.last().unwrap();
        (
            answer.named,
            frame.line > 0,
            symbolizer.take_failures().len(),
        )
    };
    assert_eq!(ask("leaf"), (true, true, 0));
    let debug = File::options().write(true).open(debug).unwrap();
    debug.set_len(4096).unwrap();
    assert_eq!(ask("f"), (true, false, 1));
    assert_eq!(ask("exported"), (true, false, 0));
    assert_eq!(ask("local"), (false, false, 0));
    assert_eq!(ask("leaf"), (true, true, 0));
}
