//! What the tests share: random stacks with their truth kept beside them, and a second reader of profiles, which knows
//! nothing of the crate under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]
#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::collections::BTreeMap;

use pprof::protos::Message as _;
use pprof::protos::Profile as Theirs;
use pprof_proto::builder::{LabelValue, Line, LocationId, Mapping, ProfileBuilder};
use pprof_proto::kind::PROCESS_CPU;
use pprof_proto::pprof::Profile;
use prost::Message as _;

/// A moment that is now for the tests, nanoseconds since the Unix epoch.
pub(crate) const NOW: i64 = 1_795_240_890_000_000_000;

/// 99 Hz.
pub(crate) const PERIOD: i64 = 10_101_010;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// Text of a stack (root first, as the second reader prints it) to its value.
pub(crate) type Truth = BTreeMap<String, i64>;

/// xorshift64*: the same numbers on every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

pub(crate) fn builder() -> ProfileBuilder {
    ProfileBuilder::new(&PROCESS_CPU, PERIOD, NOW - 15 * SECOND, 15 * SECOND)
}

/// Adds `count` random samples, some of them with labels and many of them equal, to `builder` and `truth`.
pub(crate) fn add_random(
    random: &mut Random,
    count: usize,
    builder: &mut ProfileBuilder,
    truth: &mut Truth,
) {
    for _ in 0..count {
        let depth = 1 + random.below(40);
        let mut stack = Vec::new();
        let mut frames = Vec::new();
        for level in 0..depth {
            // Few choices near the root, many near the leaf.
            add_frame(
                random.below(2 + level * level),
                builder,
                &mut stack,
                &mut frames,
            );
        }
        stack.reverse();
        let value = PERIOD * (1 + random.below(5) as i64);
        let tid = random.below(3) as i64;
        let labels = [
            ("comm", LabelValue::Text("worker")),
            ("tid", LabelValue::Number(tid)),
        ];
        let labels = if tid == 0 { &labels[..0] } else { &labels };
        builder.sample(&stack, &[value], labels);
        let labels = if tid == 0 {
            String::new()
        } else {
            format!("comm=worker tid={tid} ")
        };
        *truth.entry(labels + &frames.join(";")).or_default() += value;
    }
}

/// Frame `n` of an imaginary program: in one of three files, sometimes with an inlined function, sometimes without a name.
fn add_frame(
    n: u64,
    builder: &mut ProfileBuilder,
    stack: &mut Vec<LocationId>,
    frames: &mut Vec<String>,
) {
    let file = [
        "/usr/bin/program",
        "/usr/lib/libc.so.6",
        "[kernel.kallsyms]",
    ][(n % 3) as usize];
    let build_id = format!("{:040x}", n % 3);
    let mapping = builder.mapping(&Mapping {
        filename: file,
        build_id: &build_id,
        memory_start: 0x1000,
        memory_limit: 0x100_0000,
        file_offset: 0x1000,
    });
    let address = 0x1000 + n * 16;
    if n % 11 == 10 {
        stack.push(builder.location(mapping, address, &[]));
        frames.push(format!("{}+{address:#x}", file.rsplit('/').next().unwrap()));
        return;
    }
    let name = format!("module{}::function_{n}", n % 7);
    let outer = builder.function(&name, &format!("_ZN{n}"), "src/lib.rs", n as u32);
    let mut lines = vec![Line {
        function: outer,
        line: 10 + n as u32,
    }];
    frames.push(name);
    if n.is_multiple_of(5) {
        let name = format!("inlined_{n}");
        lines.insert(
            0,
            Line {
                function: builder.function(&name, "", "src/inline.rs", 1),
                line: 7,
            },
        );
        frames.push(name);
    }
    stack.push(builder.location(mapping, address, &lines));
}

/// `profile` through its bytes into the types of the `pprof` crate.
pub(crate) fn theirs(profile: &Profile) -> Theirs {
    Theirs::decode(profile.encode_to_vec().as_slice()).expect("the pprof crate decodes the profile")
}

/// What the second reader finds in `profile`.
pub(crate) fn read(profile: &Profile) -> Truth {
    let profile = theirs(profile);
    let text = |index: i64| profile.string_table[index as usize].as_str();
    let mut truth = Truth::new();
    for sample in &profile.sample {
        let mut labels = String::new();
        for label in &sample.label {
            match label.str {
                0 => labels += &format!("{}={} ", text(label.key), label.num),
                str => labels += &format!("{}={} ", text(label.key), text(str)),
            }
        }
        let mut frames = Vec::new();
        for id in sample.location_id.iter().rev() {
            let location = profile
                .location
                .iter()
                .find(|location| location.id == *id)
                .unwrap();
            for line in location.line.iter().rev() {
                let function = profile
                    .function
                    .iter()
                    .find(|function| function.id == line.function_id);
                frames.push(text(function.unwrap().name));
            }
        }
        *truth.entry(labels + &frames.join(";")).or_default() += sample.value[0];
    }
    truth
}
