//! The files whose addresses are named: installed ones, and such with much debug information that are made here.

use super::places::Places;
use anyhow::{Context, ensure};
use fixtures::elf_files;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that have a large table of symbols and no DWARF to speak of, those of them that are installed.
const LARGE_TABLES: [&str; 3] = [
    "/usr/bin/node",
    "/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1",
    "/usr/lib/x86_64-linux-gnu/libicudata.so.72",
];
/// Copies of one compilation unit in the C++ file.
const COPIES: usize = 20;
/// Of the small files so many, with so many addresses each.
const SMALL_FILES: usize = 100;
const SMALL_ADDRESSES: usize = 20;
const LARGEST_SMALL: u64 = 300_000;

/// Addresses that are named in one go.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) label: String,
    pub(crate) places: Vec<Places>,
}

impl Input {
    fn of(label: String, file: &Path, count: usize) -> anyhow::Result<Input> {
        Ok(Input {
            label,
            places: vec![Places::of(file, count)?],
        })
    }
}

/// All inputs, with files made in `directory`: one with DWARF, those with large tables, many small ones, and last one with `largest` MB of DWARF.
pub(crate) fn all(directory: &Path, count: usize, largest: u64) -> anyhow::Result<Vec<Input>> {
    let unit = compile(directory)?;
    let program = combine(directory, &unit, "units.so", COPIES)?;
    let mut inputs = vec![Input::of(
        format!("C++ with DWARF, {} MB", megabytes(&program)?),
        &program,
        count,
    )?];
    for file in LARGE_TABLES
        .iter()
        .map(Path::new)
        .chain(rustc_driver().as_deref())
    {
        if file.exists() && file.metadata()?.len() > 1 << 20 {
            let input = Input::of(String::new(), file, count)?;
            if input
                .places
                .iter()
                .any(|places| places.addresses.len() < count / 2)
            {
                continue;
            }
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let label = format!("{name}, {} MB", megabytes(file)?);
            inputs.push(Input { label, ..input });
        }
    }
    inputs.push(small()?);
    // Of copies of copies, because one step for each would take minutes.
    let many = relink(directory, &unit, "many.o", COPIES)?;
    let copies = largest.div_ceil(megabytes(&program)?.max(1));
    let program = combine(directory, &many, "largest.so", usize::try_from(copies)?)?;
    inputs.push(Input::of(
        format!("C++ with DWARF, {} MB", megabytes(&program)?),
        &program,
        count,
    )?);
    Ok(inputs)
}

/// Small libraries of the host, together.
fn small() -> anyhow::Result<Input> {
    let is_small =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|metadata| metadata.len() < LARGEST_SMALL);
    let found = elf_files::programs(&["/usr/lib".into(), "/usr/bin".into()]);
    let places = found
        .iter()
        .filter(|file| is_small(file))
        .filter_map(|file| Places::of(file, SMALL_ADDRESSES).ok())
        .filter(|places| places.addresses.len() >= SMALL_ADDRESSES / 2);
    let places: Vec<Places> = places.take(SMALL_FILES).collect();
    Ok(Input {
        label: format!("{} small files", places.len()),
        places,
    })
}

fn rustc_driver() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let library = Path::new(String::from_utf8(output.stdout).ok()?.trim()).join("lib");
    let mut entries = fs::read_dir(library).ok()?.flatten();
    let is_driver = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with("librustc_driver"))
    };
    Some(entries.find(is_driver)?.path())
}

fn compile(directory: &Path) -> anyhow::Result<PathBuf> {
    let unit = directory.join("unit.o");
    let mut command = Command::new("c++");
    command
        .args(["-std=c++17", "-O2", "-g", "-fPIC", "-c"])
        .arg(fixtures::input("compile.cpp"))
        .arg("-o")
        .arg(&unit);
    run(command)?;
    Ok(unit)
}

/// A library of `copies` of an object, each with names of its own.
fn combine(directory: &Path, object: &Path, name: &str, copies: usize) -> anyhow::Result<PathBuf> {
    let copies = copied(directory, object, copies)?;
    let library = directory.join(name);
    let mut command = Command::new("ld");
    command
        .args(["-shared", "--build-id", "-o"])
        .arg(&library)
        .args(&copies);
    run(command)?;
    copies.iter().try_for_each(fs::remove_file)?;
    Ok(library)
}

/// The same as one object.
fn relink(directory: &Path, object: &Path, name: &str, copies: usize) -> anyhow::Result<PathBuf> {
    let copies = copied(directory, object, copies)?;
    let relinked = directory.join(name);
    let mut command = Command::new("ld");
    command.args(["-r", "-o"]).arg(&relinked).args(&copies);
    run(command)?;
    Ok(relinked)
}

fn copied(directory: &Path, object: &Path, copies: usize) -> anyhow::Result<Vec<PathBuf>> {
    let copy = |index: usize| {
        let copy = directory.join(format!("copy{index}.o"));
        let mut command = Command::new("objcopy");
        command
            .arg(format!("--prefix-symbols=copy{index}_"))
            .arg(object)
            .arg(&copy);
        run(command).map(|()| copy)
    };
    (0..copies).map(copy).collect()
}

/// A copy that has symbols only.
pub(super) fn without_debug_information(file: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let copy = directory.join("without-debug-information");
    let mut command = Command::new("objcopy");
    command.arg("--strip-debug").arg(file).arg(&copy);
    run(command)?;
    Ok(copy)
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

fn megabytes(file: &Path) -> anyhow::Result<u64> {
    Ok(file.metadata()?.len() / 1_000_000)
}
