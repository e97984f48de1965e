//! What is delivered when, while a runtime answers early, late or never.

use super::*;
use crate::container::{ContainerInfo, Knowledge};
use crate::owner::{CgroupOwner, Declaration, Declared, Identity, Program};
use crate::sampling::Sample;
use bpf::{Counters, FileId, Thread, Word};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use symbolizer::{Frame, Symbolized};

const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
const PERIOD: u64 = 10_000_000;
const WINDOW: i64 = 5_000_000_000;

/// Intervals of two windows, whose runtime says what it is told to, and what they deliver.
struct Scene {
    intervals: Intervals,
    answer: Arc<Mutex<Knowledge>>,
    delivered: Arc<Mutex<Vec<Delivery>>>,
    windows: i64,
}

fn scene(max_owners: usize) -> Scene {
    let answer = Arc::new(Mutex::new(Knowledge::Asking));
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let says = Arc::clone(&answer);
    let ask = Box::new(move |_: &str, _, _: &Arc<str>| says.lock().unwrap().clone());
    let deliver = {
        let delivered = Arc::clone(&delivered);
        Box::new(move |delivery| delivered.lock().unwrap().push(delivery))
    };
    let bounds = Bounds {
        max_owners,
        min_share: 0.0,
    };
    let owners = Owners::new(Default::default(), vec![], ask);
    Scene {
        intervals: Intervals::new(owners, bounds, PERIOD, deliver, Box::new(|| true)),
        answer,
        delivered,
        windows: 0,
    }
}

fn identity(path: &str, declared: &Declared) -> Arc<Identity> {
    let cgroup = CgroupOwner::of_path(path.as_bytes()).map(Arc::new);
    Arc::new(Identity::of(cgroup, Program::Executable(b"app"), declared))
}

fn silent() -> Declared {
    let declared = Declared::default();
    declared.set(Declaration::default());
    declared
}

fn word() -> Word {
    Word::file(FileId::new(1).unwrap(), 1)
}

impl Scene {
    /// The next window, in which each of these has run for so many ticks.
    fn window(&mut self, identities: &[(&Arc<Identity>, u64)]) {
        self.window_of(identities, false);
    }

    fn window_of(&mut self, identities: &[(&Arc<Identity>, u64)], announced: bool) {
        let samples = identities.iter().map(|(identity, events)| Sample {
            thread: Thread {
                tgid: 7,
                tid: 7,
                generation: 1,
            },
            names: Arc::default(),
            identity: Arc::clone(identity),
            stack: [word()].into(),
            events: *events,
            amount: events * PERIOD,
        });
        let window = Window {
            // Far enough from 1970 to be a time.
            start_unix_nanos: 1_700_000_000_000_000_000 + self.windows * WINDOW,
            duration: Duration::from_nanos(WINDOW.unsigned_abs()),
            samples: samples.collect(),
            files: HashMap::new(),
            functions: HashMap::new(),
            kernel_changed: false,
            closes_interval: self.windows % 2 == 1,
            captures: vec![],
            ended: vec![],
            counters: Counters::default(),
        };
        self.windows += 1;
        if announced {
            self.intervals.announce(&window, Names::new());
        }
        self.intervals.add(&window, names());
    }

    /// What was delivered since the last call: what it is, the number of the window its time begins with, and owners with
    /// their ticks. What can change is in brackets, and behind it what it takes the place of.
    fn delivered(&self) -> Vec<String> {
        let delivered = std::mem::take(&mut *self.delivered.lock().unwrap());
        delivered.iter().map(text).collect()
    }

    fn says(&self, name: &str) {
        *self.answer.lock().unwrap() = Knowledge::Known(Arc::new(ContainerInfo {
            name: Some(name.to_owned()),
            ..ContainerInfo::default()
        }));
    }
}

fn names() -> Names {
    let frame = Frame {
        system_name: "main".into(),
        name: "main".into(),
        file: None,
        line: 0,
        inlined: false,
    };
    let symbolized = Symbolized {
        mapping: None,
        address: 0x10,
        frames: [frame].into(),
        named: true,
    };
    Names::from([(word(), Arc::new(symbolized))])
}

fn text(delivery: &Delivery) -> String {
    let number = |span: &Span| (span.start_unix_nanos - 1_700_000_000_000_000_000) / WINDOW;
    let list = |profiles: &[Arc<OwnerProfile>]| {
        let profiles = profiles.iter();
        let mut all: Vec<String> = profiles
            .map(|profile| format!("{}={}", profile.owner.service_name, profile.samples))
            .collect();
        all.sort();
        all.join(" ")
    };
    match delivery {
        Delivery::Window { span, profiles, .. } => {
            format!("window {}: {}", number(span), list(profiles))
        }
        Delivery::Closing { provisional } => format!("closing: [{}]", list(provisional)),
        Delivery::Interval {
            span,
            profiles,
            provisional,
        } => format!(
            "interval {}: {} [{}]",
            number(span),
            list(profiles),
            list(provisional)
        ),
        Delivery::Late {
            span,
            profiles,
            provisional,
            instead_of,
        } => {
            let instead_of = instead_of.iter();
            let shown: Vec<&str> = instead_of
                .map(|profile| profile.owner.service_name.as_str())
                .collect();
            format!(
                "late {}: {} [{}] for {}",
                number(span),
                list(profiles),
                list(provisional),
                shown.join(" ")
            )
        }
    }
}

/// A container that becomes known during its first interval has one name everywhere, but for the windows before.
#[test]
fn known_in_time() {
    let mut scene = scene(9);
    let container = identity(&format!("/docker/{ID}"), &silent());
    scene.window(&[(&container, 3)]);
    assert_eq!(scene.delivered(), ["window 0: docker-3726184226f5=3"]);
    scene.says("web");
    scene.window(&[(&container, 4)]);
    assert_eq!(scene.delivered(), ["window 1: ", "interval 0: web=7 []"]);
    assert_eq!(scene.intervals.owners.counts.waiting, 0);
}

/// One that becomes known after its interval goes then, with the time of that interval and in the place of what was shown
/// meanwhile; others do not wait with it.
#[test]
fn known_late() {
    let mut scene = scene(9);
    let container = identity(&format!("/docker/{ID}"), &silent());
    let unit = identity("/system.slice/cron.service", &silent());
    scene.window(&[(&container, 3), (&unit, 1)]);
    scene.window(&[(&container, 4)]);
    assert_eq!(
        scene.delivered(),
        [
            "window 0: cron=1 docker-3726184226f5=3",
            "window 1: ",
            "interval 0: cron=1 [docker-3726184226f5=7]"
        ]
    );
    assert_eq!(scene.intervals.owners.counts.waiting, 1);
    scene.says("web");
    scene.window(&[(&container, 5)]);
    assert_eq!(
        scene.delivered(),
        [
            "window 2: web=5",
            "late 0: web=7 [] for docker-3726184226f5"
        ]
    );
    assert_eq!(scene.intervals.owners.counts.waiting, 0);
}

/// One of which nobody says what it is goes an interval later by its cgroup, and keeps that name whatever is said then.
#[test]
fn never_known() {
    let mut scene = scene(9);
    let container = identity(&format!("/docker/{ID}"), &silent());
    for _ in 0..4 {
        scene.window(&[(&container, 1)]);
    }
    assert_eq!(
        scene.delivered(),
        [
            "window 0: docker-3726184226f5=1",
            "window 1: ",
            "interval 0:  [docker-3726184226f5=2]",
            "window 2: docker-3726184226f5=1",
            "window 3: ",
            "late 0: docker-3726184226f5=2 [] for docker-3726184226f5",
            "interval 2: docker-3726184226f5=2 []",
        ]
    );
    scene.says("web");
    scene.window(&[(&container, 1)]);
    assert_eq!(scene.delivered(), ["window 4: docker-3726184226f5=1"]);
    assert_eq!(scene.intervals.owners.counts.late, 1);
}

/// An interval can be had before its names are looked for, whole and with those that wait for their owner; what waits of the one before does
/// not wait any longer. Nothing is counted twice for it.
#[test]
fn announced_before_its_names() {
    let mut scene = scene(9);
    let container = identity(&format!("/docker/{ID}"), &silent());
    let unit = identity("/system.slice/cron.service", &silent());
    for _ in 0..3 {
        scene.window(&[(&container, 1), (&unit, 1)]);
    }
    scene.delivered();
    scene.window_of(&[(&container, 5), (&unit, 7)], true);
    assert_eq!(
        scene.delivered(),
        [
            "late 0: docker-3726184226f5=2 [] for docker-3726184226f5",
            "closing: [cron=8 docker-3726184226f5=6]",
            "window 3: ",
            "interval 2: cron=8 docker-3726184226f5=6 []"
        ]
    );
    assert_eq!(scene.intervals.owners.counts.late, 1);
}

/// What waits at the end goes by what is known.
#[test]
fn nothing_waits_at_the_end() {
    let mut scene = scene(9);
    let container = identity(&format!("/docker/{ID}"), &silent());
    for _ in 0..3 {
        scene.window(&[(&container, 1)]);
    }
    scene.delivered();
    scene.intervals.end();
    assert_eq!(
        scene.delivered(),
        [
            "late 0: docker-3726184226f5=2 [] for docker-3726184226f5",
            "interval 2: docker-3726184226f5=1 []"
        ]
    );
}

/// What waits takes no place from others. When it is known, it gets one if there is one left; if not, it is added to what was folded.
#[test]
fn what_waits_takes_no_place() {
    let mut scene = scene(1);
    let container = identity(&format!("/docker/{ID}"), &silent());
    let [cron, ssh] =
        ["cron", "ssh"].map(|unit| identity(&format!("/system.slice/{unit}.service"), &silent()));
    for _ in 0..2 {
        scene.window(&[(&container, 1), (&cron, 2), (&ssh, 3)]);
    }
    assert_eq!(
        scene.delivered(),
        [
            "window 0: other=3 ssh=3",
            "window 1: ",
            "interval 0: other=4 ssh=6 [other=2]"
        ]
    );
    assert_eq!(scene.intervals.owners.counts.folded_surplus, 1);
    scene.says("web");
    scene.window(&[]);
    assert_eq!(
        scene.delivered(),
        ["window 2: ", "late 0: other=2 [] for other"]
    );
    assert_eq!(scene.intervals.owners.counts.folded_surplus, 2);
}

/// What has less than its share does not wait either: it has no name of its own in this interval.
#[test]
fn what_is_small_does_not_wait() {
    let mut scene = scene(9);
    scene.intervals.min_share = 0.2;
    let container = identity(&format!("/docker/{ID}"), &silent());
    let unit = identity("/system.slice/cron.service", &silent());
    for _ in 0..2 {
        scene.window(&[(&container, 1), (&unit, 9)]);
    }
    assert_eq!(
        scene.delivered(),
        [
            "window 0: cron=9 other=1",
            "window 1: ",
            "interval 0: cron=18 other=2 []"
        ]
    );
    assert_eq!(scene.intervals.owners.counts.folded_small, 1);
}

/// What a process says of itself counts for what was sampled before it was read.
#[test]
fn a_process_is_read_late() {
    let mut scene = scene(9);
    let declared = Declared::default();
    let early = identity("/", &declared);
    scene.window(&[(&early, 1)]);
    declared.set(Declaration::new(
        b"app",
        b"app\0",
        b"OTEL_SERVICE_NAME=shop\0",
    ));
    scene.window(&[(&identity("/", &declared), 1)]);
    assert_eq!(
        scene.delivered(),
        ["window 0: app=1", "window 1: ", "interval 0: shop=2 []"]
    );
}
