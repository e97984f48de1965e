//! Writes the inputs to begin with: `fuzz_seeds DIRECTORY`, in which each target has a directory.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("usage: fuzz_seeds DIRECTORY"))?;
    for target in fuzz::TARGETS {
        let directory = directory.join(target.name);
        fs::create_dir_all(&directory)?;
        for (name, input) in target.known() {
            fs::write(directory.join(name), input)?;
        }
    }
    Ok(())
}
