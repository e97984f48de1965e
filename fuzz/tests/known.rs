//! Inputs that are known, without a search.

/// What must hold of every reader holds of the inputs to begin with, and of those that once broke it. One after the other,
/// because memory is counted.
#[test]
fn seeds_and_regressions() {
    for target in fuzz::TARGETS {
        let known = target.known();
        assert!(known.len() > 5, "{}", target.name);
        for (name, input) in known {
            println!("{} {name}", target.name);
            (target.check)(&input);
        }
    }
}
