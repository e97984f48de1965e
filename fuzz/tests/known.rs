//! Inputs that are known, without a search.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::path::Path;

/// What every reader must hold holds of the inputs to begin with and of those that once broke it. One after the other,
/// because memory is counted.
#[test]
fn seeds_and_regressions() {
    for target in fuzz::TARGETS {
        let seeds = (target.seeds)();
        assert!(seeds.len() > 5, "{}", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            println!("{} seed {number}", target.name);
            (target.check)(seed);
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("regressions")
            .join(target.name);
        for file in fs::read_dir(directory).into_iter().flatten() {
            let file = file.unwrap().path();
            println!("{}", file.display());
            (target.check)(&fs::read(file).unwrap());
        }
    }
}
