//! What the configuration makes of owners: rules, a bound on their number, a floor of their share. Nothing of it costs a sample.

use crate::owners::run_in;
use fixtures::{Program, Running};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use tests::agent::Agent;
use tests::cgroup::Cgroup;
use tests::condition::wait_for;
use tests::machine::{Machine, say, skipped};
use tests::pyroscope::{Pyroscope, Stored};
use tests::stacks::Stacks;

/// An agent with a configuration file of its own, and what it pushes to.
struct Configured {
    agent: Agent,
    server: Pyroscope,
}

impl Configured {
    /// `rules` are tables of the file.
    fn start(directory: &tempfile::TempDir, rules: &str, flags: &[&str]) -> Configured {
        let server = Pyroscope::start();
        let file = directory.path().join("thermograph.toml");
        let settings = format!(
            "pyroscope_url = '{}'\npush_interval = '5s'\n{rules}",
            server.url()
        );
        fs::write(&file, settings).unwrap();
        let agent = Agent::start(&[&["--config", file.to_str().unwrap()], flags].concat());
        Configured { agent, server }
    }

    /// All that has arrived, at a moment at which that and what rules have dropped is each sample that was taken.
    fn arrived(&self, is_enough: impl Fn(&[Stored]) -> bool) -> Vec<Stored> {
        let taken = || {
            let [whole, others] = ["whole", "incomplete"].map(|how| {
                self.agent
                    .metrics(&format!("thermograph_samples_{how}_total"))
            });
            whole + others
        };
        let mut seen = Seen::default();
        wait_for("all that was sampled arrives or is dropped", || {
            let before = taken();
            let stored = self.server.stored();
            let service = |stored: &Stored| stored.labels["service_name"].clone();
            seen.services = stored.iter().map(service).collect();
            if !is_enough(&stored) {
                return None;
            }
            let samples: i64 = stored
                .iter()
                .map(|stored| Stacks::of(&stored.profile).samples())
                .sum();
            let dropped = self.agent.metric("thermograph_samples_dropped_total");
            seen.taken_arrived_dropped = (before, samples, dropped);
            let is_all = samples as f64 + dropped == before && before == taken();
            is_all.then_some(stored)
        })
    }
}

/// What there was when a test gave up, which is said then.
#[derive(Debug, Default)]
struct Seen {
    services: BTreeSet<String>,
    taken_arrived_dropped: (f64, i64, f64),
}

impl Drop for Seen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("{self:?}"));
        }
    }
}

/// The labels under which each program has arrived (`name=value`, with blanks between), by the name of its file. Those of the host are left
/// out.
fn labels_of(stored: &[Stored]) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Stored {
        labels: given,
        profile,
        ..
    } in stored
    {
        let own: Vec<String> = given
            .iter()
            .filter(|(name, _)| !["__name__", "node", "profiler"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let stacks = Stacks::of(profile).stacks.into_iter();
        for frame in stacks.flat_map(|stack| stack.frames) {
            labels
                .entry(frame.module)
                .or_default()
                .insert(own.join(" "));
        }
    }
    labels
}

/// A program by the name of its file, the cgroup that it runs in, a variable of its environment, and the labels that it must have; none if it
/// must not arrive.
type Case<'a> = [&'a str; 4];

const CASES: [Case<'static>; 8] = [
    [
        "executable-MARK",
        "thermograph-MARK",
        "",
        "service_name=executable-MARK",
    ],
    [
        "declares-MARK",
        "system.slice/unit-MARK.service",
        "OTEL_SERVICE_NAME=declared-MARK",
        "service_name=declared-MARK unit=unit-MARK.service",
    ],
    [
        "attributes-MARK",
        "thermograph-MARK",
        "OTEL_RESOURCE_ATTRIBUTES=a=b,service.name=attribute-MARK",
        "service_name=attribute-MARK",
    ],
    [
        "serves-MARK",
        "system.slice/unit-MARK.service",
        "",
        "service_name=unit-MARK unit=unit-MARK.service",
    ],
    [
        "ruled-MARK",
        "system.slice/ruled-MARK.service",
        "OTEL_SERVICE_NAME=shop-v2-MARK",
        "service_name=shop version=2",
    ],
    [
        "scoped-MARK",
        "slice-MARK.slice/run-r1.scope",
        "",
        "service_name=slice-MARK unit=slice-MARK.slice",
    ],
    ["unwanted-MARK", "thermograph-MARK", "", ""],
    [
        "unnamed-MARK",
        "thermograph-MARK",
        "OTEL_SERVICE_NAME=not-for-a-test",
        "",
    ],
];

const RULES: &str = r#"
[[rule]]
match = { service_name = ".*-MARK" }
action = "keep"
[[rule]]
match = { service_name = "unwanted-.*" }
action = "drop"
[[rule]]
match = { unit = "ruled-.*", service_name = "(?<name>.*)-v(\\d+)-.*" }
action = "set"
set = { service_name = "${name}", version = "$2", unit = "" }
"#;

/// Each program arrives under the labels that its environment, script, unit or executable and then the rules give it, and under no
/// others, or does not arrive.
#[test]
fn owners_arrive_as_the_rules_say() {
    if skipped("owners_arrive_as_the_rules_say") {
        return;
    }
    let _machine = Machine::shared();
    let directory = tempfile::tempdir().unwrap();
    let mark = format!("for-test-{}", std::process::id());
    let marked = |text: &str| text.replace("MARK", &mark);
    let watch = Configured::start(&directory, &marked(RULES), &[]);
    let mut expected = BTreeMap::new();
    for [name, cgroup, variable, labels] in CASES.map(|case| case.map(marked)) {
        fs::copy(Program::Short.path(), directory.path().join(&name)).unwrap();
        let cgroup = Cgroup::make(&cgroup);
        run_in(&cgroup, &directory, &format!("{variable} ./{name} 0.5"));
        if !labels.is_empty() {
            expected.insert(name, BTreeSet::from([labels]));
        }
    }
    let script = marked("script-MARK");
    let source = "import time\nwhile time.process_time() < 0.5: pass\n";
    fs::write(directory.path().join(format!("{script}.py")), source).unwrap();
    let cgroup = Cgroup::make(&marked("thermograph-MARK"));
    run_in(
        &cgroup,
        &directory,
        &format!("/usr/bin/python3 {script}.py"),
    );

    let service = |stored: &Stored| stored.labels["service_name"].clone();
    // It ran last.
    let arrived = watch.arrived(|stored| stored.iter().any(|stored| service(stored) == script));
    let mut labels = labels_of(&arrived);
    labels.retain(|module, _| module.ends_with(&mark));
    assert_eq!(labels, expected);
    let is_kept = |service: &String| service.ends_with(&mark) || service == "shop";
    let services: Vec<String> = arrived.iter().map(service).collect();
    assert!(services.iter().all(is_kept), "{services:?}");
}

/// Of four executables, which have two of four places, one is below the floor and one finds no place: two arrive under their names and two
/// as one. That is counted for each interval, and what arrives is what was sampled.
#[test]
fn small_and_surplus_owners_arrive_as_one() {
    if skipped("small_and_surplus_owners_arrive_as_one") {
        return;
    }
    let _machine = Machine::shared();
    let directory = tempfile::tempdir().unwrap();
    let mark = format!("of-four-{}", std::process::id());
    let programs = [
        ("most", Program::Short),
        ("more", Program::Short),
        ("some", Program::Short),
        ("least", Program::Pulse),
    ];
    for (name, program) in programs {
        let copy = directory.path().join(format!("{name}-{mark}"));
        fs::copy(program.path(), copy).unwrap();
    }
    // Four, two and one part of seven, on however many CPUs, and half a hundredth of one. The others' tests go first.
    let start = |script: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(directory.path());
        Running::start(shell).unwrap()
    };
    let _first = start(format!(
        "for n in 1 2 3 4; do nice ./most-{mark} 1000 & done; for n in 1 2; do nice ./more-{mark} 1000 & done; wait"
    ));
    let (some, least) = (format!("some-{mark}"), format!("least-{mark}"));
    let rules = format!("[[rule]]\nmatch = {{ service_name = '.*-{mark}' }}\naction = 'keep'");
    let flags = ["-F", "997", "--max-owners", "4", "--min-share", "4%"];
    let watch = Configured::start(&directory, &rules, &flags);
    let intervals = |stored: &[Stored]| -> BTreeSet<i64> {
        stored
            .iter()
            .map(|stored| stored.profile.time_nanos)
            .collect()
    };
    let (most, more) = (format!("most-{mark}"), format!("more-{mark}"));
    let is_there = |stored: &[Stored], service: &str| {
        let mut services = stored.iter().map(|stored| &stored.labels["service_name"]);
        services.any(|one| one == service)
    };
    // Whoever comes first has a place for an hour, and an interval may be too short for all.
    wait_for("those who come first", || {
        let stored = watch.server.stored();
        (is_there(&stored, &most) && is_there(&stored, &more)).then_some(())
    });
    let _then = start(format!(
        "nice ./some-{mark} 1000 & nice ./least-{mark} 1000 5000 995000 & wait"
    ));
    let arrived = watch.arrived(|stored| {
        let folded = stored
            .iter()
            .filter(|stored| stored.labels["service_name"] == "other");
        let folded: Vec<Stored> = folded.cloned().collect();
        let modules: BTreeSet<String> = labels_of(&folded).into_keys().collect();
        let are_both = [&some, &least].into_iter().all(|one| modules.contains(one));
        are_both && intervals(&folded).len() >= 2
    });
    let services: BTreeSet<&str> = arrived
        .iter()
        .map(|stored| stored.labels["service_name"].as_str())
        .collect();
    assert_eq!(services, BTreeSet::from([&*more, &*most, "other"]));
    let other = arrived
        .iter()
        .filter(|stored| stored.labels["service_name"] == "other");
    let modules: BTreeSet<String> = other
        .flat_map(|stored| Stacks::of(&stored.profile).stacks)
        .flat_map(|stack| stack.frames)
        .map(|frame| frame.module)
        .filter(|module| module.ends_with(&mark))
        .collect();
    assert_eq!(modules, BTreeSet::from([least, some]));
    let folded = |reason: &str| {
        let name = format!("thermograph_owners_folded_total{{reason=\"{reason}\"}}");
        watch.agent.metric(&name)
    };
    let (surplus, small) = (folded("max_owners"), folded("min_share"));
    say(&format!(
        "{} intervals of four owners: {surplus} times one too many, {small} times one too small",
        intervals(&arrived).len()
    ));
    assert!(surplus >= 1.0 && small >= 1.0, "{surplus} {small}");
}
