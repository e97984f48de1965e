//! A profile as a test reads it: names in place of indexes, roots first.

use pprof_proto::pprof::{Label, Location, Profile};
use pprof_proto::split::split;
use pprof_proto::validate::validate;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// A profile larger than this is a failure of its own.
const LARGEST: usize = 256 << 20;

/// One function at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name; the kernel's end in `_[k]`.
    pub name: String,
    /// Its source, or nothing.
    pub file: String,
    /// Its line, or 0.
    pub line: i64,
    /// The file it is mapped from.
    pub module: String,
    /// The address that was looked up, as its file counts them: of a caller, one less than the return address.
    pub address: u64,
    /// It was inlined into the frame before it.
    pub is_inlined: bool,
}

impl Frame {
    /// Whether it is the kernel's.
    pub fn is_kernel(&self) -> bool {
        self.name.ends_with("_[k]")
    }

    /// Whether nobody knows its name: `module+0xoffset`.
    pub fn is_nameless(&self) -> bool {
        self.name.contains("+0x")
    }
}

/// One stack of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Root first, leaf last.
    pub frames: Vec<Frame>,
    /// CPU time in nanoseconds.
    pub nanos: i64,
    /// Labels with a text.
    pub texts: BTreeMap<String, String>,
    /// Labels with a number.
    pub numbers: BTreeMap<String, i64>,
}

impl Stack {
    /// The process that it is of.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.numbers["pid"]).unwrap()
    }

    /// The name of that process.
    pub fn comm(&self) -> &str {
        &self.texts["comm"]
    }

    /// Names of the functions from `root` to the leaf in user space, those inlined into others left out. Nothing where
    /// there is no `root`.
    pub fn from(&self, root: &str) -> Vec<&str> {
        let user = self
            .frames
            .iter()
            .filter(|frame| !frame.is_kernel() && !frame.is_inlined);
        user.map(|frame| frame.name.as_str())
            .skip_while(|name| *name != root)
            .collect()
    }

    /// The function in user space that the time was spent in, or for.
    pub fn leaf(&self) -> &str {
        let mut user = self
            .frames
            .iter()
            .filter(|frame| !frame.is_kernel() && !frame.is_inlined);
        user.next_back().map_or("", |frame| &frame.name)
    }

    /// `root;..;leaf`.
    pub fn folded(&self) -> String {
        let names: Vec<&str> = self
            .frames
            .iter()
            .map(|frame| frame.name.as_str())
            .collect();
        names.join(";")
    }
}

/// A profile.
#[derive(Clone, Debug)]
pub struct Stacks {
    /// Every stack of every thread.
    pub stacks: Vec<Stack>,
    /// CPU time that a sample stands for, nanoseconds.
    pub period: i64,
    /// Its begin, nanoseconds since the Unix epoch.
    pub time_nanos: i64,
    /// Its length.
    pub duration_nanos: i64,
}

impl Stacks {
    /// Reads a profile and holds it against every rule that a server has, in parts of a size that it takes; those on the labels
    /// of samples aside, which a file may carry and a server must not see.
    pub fn read(bytes: &[u8]) -> Stacks {
        assert!(bytes.starts_with(&[0x1f, 0x8b]), "not in gzip");
        let profile = pprof_proto::encode::decode(bytes, LARGEST).unwrap();
        let mut unlabelled = profile.clone();
        unlabelled
            .sample
            .iter_mut()
            .for_each(|sample| sample.label.clear());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for part in split(unlabelled).unwrap() {
            validate(&part, i64::try_from(now.as_nanos()).unwrap()).unwrap();
        }
        Stacks::of(&profile)
    }

    /// Resolves a profile that is known to be whole.
    pub fn of(profile: &Profile) -> Stacks {
        let text = |index: i64| profile.string_table[usize::try_from(index).unwrap()].clone();
        let sample_type = profile
            .sample_type
            .first()
            .map(|known| (text(known.r#type), text(known.unit)));
        assert_eq!(
            sample_type,
            Some(("cpu".to_owned(), "nanoseconds".to_owned()))
        );
        let places: BTreeMap<u64, Vec<Frame>> = profile
            .location
            .iter()
            .map(|location| (location.id, frames(profile, location, &text)))
            .collect();
        let stacks = profile.sample.iter().map(|sample| Stack {
            frames: sample
                .location_id
                .iter()
                .rev()
                .flat_map(|id| places[id].clone())
                .collect(),
            nanos: sample.value[0],
            texts: labels(
                &sample.label,
                |label| (label.str != 0).then(|| text(label.str)),
                &text,
            ),
            numbers: labels(
                &sample.label,
                |label| (label.str == 0).then_some(label.num),
                &text,
            ),
        });
        Stacks {
            stacks: stacks.collect(),
            period: profile.period,
            time_nanos: profile.time_nanos,
            duration_nanos: profile.duration_nanos,
        }
    }

    /// The stacks of some kind only.
    pub fn only(&self, wanted: impl Fn(&Stack) -> bool) -> Stacks {
        let stacks = self
            .stacks
            .iter()
            .filter(|stack| wanted(stack))
            .cloned()
            .collect();
        Stacks { stacks, ..*self }
    }

    /// The stacks of one process.
    pub fn of_process(&self, pid: u32) -> Stacks {
        self.only(|stack| stack.pid() == pid)
    }

    /// CPU time in nanoseconds.
    pub fn nanos(&self) -> i64 {
        self.stacks.iter().map(|stack| stack.nanos).sum()
    }

    /// Number of samples.
    pub fn samples(&self) -> i64 {
        self.nanos() / self.period
    }

    /// The part of the time, 0 to 1, that stacks of some kind have.
    pub fn share(&self, wanted: impl Fn(&Stack) -> bool) -> f64 {
        self.only(wanted).nanos() as f64 / self.nanos().max(1) as f64
    }

    /// What the processes in it are called.
    pub fn comms(&self) -> BTreeSet<&str> {
        self.stacks.iter().map(Stack::comm).collect()
    }

    /// What the processes in it are.
    pub fn pids(&self) -> BTreeSet<u32> {
        self.stacks.iter().map(Stack::pid).collect()
    }

    /// The stacks as lines with their samples, largest first, for the message of a failed assertion.
    pub fn listing(&self) -> String {
        let mut lines: BTreeMap<String, i64> = BTreeMap::new();
        for stack in &self.stacks {
            *lines.entry(stack.folded()).or_default() += stack.nanos / self.period;
        }
        let mut lines: Vec<(String, i64)> = lines.into_iter().collect();
        lines.sort_by_key(|(_, samples)| -samples);
        let lines = lines
            .iter()
            .take(40)
            .map(|(stack, samples)| format!("{samples:>8} {stack}\n"));
        lines.collect()
    }
}

/// The frames of a location, the outermost function first: pprof has it last.
fn frames(profile: &Profile, location: &Location, text: &impl Fn(i64) -> String) -> Vec<Frame> {
    let mapping = profile
        .mapping
        .iter()
        .find(|mapping| mapping.id == location.mapping_id)
        .unwrap();
    let lines = location.line.iter().rev().enumerate();
    let frame = |(depth, line): (usize, &pprof_proto::pprof::Line)| {
        let function = profile
            .function
            .iter()
            .find(|function| function.id == line.function_id)
            .unwrap();
        Frame {
            name: text(function.name),
            file: text(function.filename),
            line: line.line,
            module: text(mapping.filename),
            address: location.address,
            is_inlined: depth > 0,
        }
    };
    lines.map(frame).collect()
}

fn labels<T>(
    labels: &[Label],
    value: impl Fn(&Label) -> Option<T>,
    text: &impl Fn(i64) -> String,
) -> BTreeMap<String, T> {
    let pairs = labels
        .iter()
        .filter_map(|label| Some((text(label.key), value(label)?)));
    pairs.collect()
}
