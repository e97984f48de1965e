//! Containers that somebody makes up.

use super::*;
use std::fs;

/// Made up without end in two containers and in a user's session, sampled or only made: a real one that comes then is asked for, and so is one
/// that has only been made.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_costs_itself() {
    let root = tempfile::tempdir().unwrap();
    let made = ID.replace('3', "4");
    for id in [ID, &made] {
        let directory = root.path().join("var/lib/docker/containers").join(id);
        fs::create_dir_all(&directory).unwrap();
        let state = r#"{"Name":"/web","Config":{"Image":"web:2"}}"#;
        fs::write(directory.join("config.v2.json"), state).unwrap();
    }
    let runtimes = start(&below(root.path()));
    let hint = Some(Runtime::Docker);
    let realms = [
        "a".repeat(64),
        "b".repeat(64),
        "user@1000.service".to_owned(),
    ];
    let realms = realms.map(Arc::<str>::from);
    let mut number = 0;
    let mut flood = || {
        for _ in 0..5000 {
            for realm in &realms {
                number += 1;
                runtimes.get(&format!("{number:064x}"), by(hint), realm);
                runtimes.foresee(&format!("{number:063x}f"), by(hint), realm);
            }
        }
    };
    flood();
    runtimes.foresee(&made, by(hint), &made.as_str().into());
    let begin = Instant::now();
    let info = loop {
        flood();
        if let Knowledge::Known(info) = get(&runtimes, ID, hint) {
            break info;
        }
        assert!(begin.elapsed() < PATIENCE, "it is never asked for");
        sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(info.name.as_deref(), Some("web"));
    // It was asked for before the one behind it.
    assert!(matches!(get(&runtimes, &made, hint), Knowledge::Known(_)));
}
