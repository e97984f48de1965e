//! From added-up stacks to pprof.

use super::names::Names;
use super::tally::{OwnerTally, Span, Sums, ThreadTally};
use crate::owner::Owner;
use crate::profile::OwnerProfile;
use bpf::Word;
use flate2::CompressError;
use hashbrown::HashMap;
use pprof_proto::builder::{LabelValue, Line, LocationId, Mapping, ProfileBuilder};
use pprof_proto::encode::Encoder;
use pprof_proto::kind::PROCESS_CPU;
use pprof_proto::pprof::Profile;
use pprof_proto::split::split;
use pprof_proto::validate::{Invalid, validate};
use std::fmt::Display;
use std::sync::Arc;
use symbolizer::Symbolized;

/// The profiles of all owners.
#[derive(Default)]
pub(super) struct OwnerProfiles {
    pub(super) profiles: Vec<Arc<OwnerProfile>>,
    /// How many were left out, because the server would refuse them or lose some of them.
    pub(super) unsound: u64,
}

/// Encodes `tally`. `period` is the CPU time of one sample in nanoseconds.
pub(super) fn owner_profiles(tally: &OwnerTally, period: u64) -> OwnerProfiles {
    let mut done = OwnerProfiles::default();
    let Some(span) = tally.span else {
        return done;
    };
    let mut encoder = Encoder::default();
    for (owner, stacks) in &tally.stacks {
        let mut stacks_of = Stacks::new(span, period, &tally.names);
        for (stack, sums) in stacks {
            stacks_of.add(stack, *sums, &[]);
        }
        let parts = match split(stacks_of.finish()) {
            Ok(parts) => parts,
            Err(error) => {
                done.leave_out(owner, error);
                continue;
            }
        };
        for part in &parts {
            match encoded(&mut encoder, owner, part, period) {
                Ok(profile) => done.profiles.push(profile),
                Err(error) => done.leave_out(owner, error),
            }
        }
    }
    done
}

impl OwnerProfiles {
    fn leave_out(&mut self, owner: &Owner, error: impl Display) {
        self.unsound += 1;
        tracing::error!("a profile of {} is left out: {error}", owner.service_name);
    }
}

/// The profile of a capture: each sample says whose it is.
pub(super) fn thread_profile(tally: &ThreadTally, period: u64) -> Option<Profile> {
    let mut stacks_of = Stacks::new(tally.span?, period, &tally.names);
    for (thread, of_thread) in &tally.threads {
        let names = &of_thread.names;
        let (process, name) = (
            String::from_utf8_lossy(&names.process),
            String::from_utf8_lossy(&names.thread),
        );
        let labels = [
            ("pid", LabelValue::Number(thread.tgid.into())),
            ("comm", LabelValue::Text(&process)),
            ("tid", LabelValue::Number(thread.tid.into())),
            ("thread", LabelValue::Text(&name)),
        ];
        for (stack, sums) in &of_thread.stacks {
            stacks_of.add(stack, *sums, &labels);
        }
    }
    Some(stacks_of.finish())
}

/// Why a profile is left out.
#[derive(Debug, thiserror::Error)]
enum Unsound {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("it cannot be encoded: {0}")]
    Encoding(#[from] CompressError),
}

fn encoded(
    encoder: &mut Encoder,
    owner: &Arc<Owner>,
    profile: &Profile,
    period: u64,
) -> Result<Arc<OwnerProfile>, Unsound> {
    // Against its own time: how old it is matters when it is sent.
    validate(profile, profile.time_nanos)?;
    let cpu_nanos: u64 = profile
        .sample
        .iter()
        .flat_map(|sample| &sample.value)
        .map(|value| value.unsigned_abs())
        .sum();
    let encoded = encoder.encode(profile)?;
    Ok(Arc::new(OwnerProfile {
        owner: Arc::clone(owner),
        start_unix_nanos: profile.time_nanos,
        duration: std::time::Duration::from_nanos(profile.duration_nanos.unsigned_abs()),
        samples: cpu_nanos / period.max(1),
        cpu_nanos,
        // Without the spare room of a vector, which the store could not see.
        pprof: encoded.bytes.into_boxed_slice().into(),
        raw_bytes: encoded.raw_bytes,
    }))
}

/// A profile in the making.
struct Stacks<'a> {
    builder: ProfileBuilder,
    names: &'a Names,
    /// Words met so far; nothing for those that show no frame.
    locations: HashMap<Word, Option<LocationId>>,
    stack: Vec<LocationId>,
    lines: Vec<Line>,
}

impl<'a> Stacks<'a> {
    fn new(span: Span, period: u64, names: &'a Names) -> Self {
        let nanos = i64::try_from(span.duration.as_nanos()).unwrap_or(i64::MAX);
        let period = i64::try_from(period).unwrap_or(i64::MAX);
        Self {
            builder: ProfileBuilder::new(&PROCESS_CPU, period, span.start_unix_nanos, nanos),
            names,
            locations: HashMap::new(),
            stack: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn add(&mut self, stack: &[Word], sums: Sums, labels: &[(&str, LabelValue<'_>)]) {
        self.stack.clear();
        for word in stack {
            if let Some(location) = self.location(*word) {
                self.stack.push(location);
            }
        }
        let value = i64::try_from(sums.amount).unwrap_or(i64::MAX);
        self.builder.sample(&self.stack, &[value], labels);
    }

    fn location(&mut self, word: Word) -> Option<LocationId> {
        if let Some(known) = self.locations.get(&word) {
            return *known;
        }
        let location = self
            .names
            .get(&word)
            .map(|symbolized| self.place(symbolized));
        self.locations.insert(word, location);
        location
    }

    fn place(&mut self, symbolized: &Symbolized) -> LocationId {
        let mapping = match symbolized.mapping.as_deref() {
            Some(mapping) => Mapping {
                filename: &mapping.name,
                build_id: mapping.build_id.as_deref().unwrap_or_default(),
                memory_start: mapping.start,
                memory_limit: mapping.limit,
                file_offset: mapping.file_offset,
            },
            None => Mapping {
                filename: "[unknown]",
                ..Mapping::default()
            },
        };
        let mapping = self.builder.mapping(&mapping);
        if symbolized.frames.is_empty() {
            return self.builder.address(mapping, symbolized.address);
        }
        self.lines.clear();
        for frame in &symbolized.frames {
            let system_name = if frame.system_name == frame.name {
                ""
            } else {
                &*frame.system_name
            };
            let file = frame.file.as_deref().unwrap_or_default();
            let function = self.builder.function(&frame.name, system_name, file, 0);
            self.lines.push(Line {
                function,
                line: frame.line,
            });
        }
        self.builder
            .location(mapping, symbolized.address, &self.lines)
    }

    fn finish(self) -> Profile {
        self.builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::assign::assign;
    use super::super::places::Places;
    use super::super::tally::IdentityTally;
    use super::*;
    use crate::container::Knowledge;
    use crate::owner::{Declared, Identity, Owners, Patience, Program};
    use crate::sampling::Sample;
    use bpf::{FileId, Thread, ThreadNames};
    use std::time::Duration;
    use symbolizer::Frame;

    const PERIOD: u64 = 10_000_000;

    fn owned(tally: IdentityTally) -> OwnerTally {
        let ask = Box::new(|_: &str, _, _: &Arc<str>| Knowledge::Unknown);
        let mut owners = Owners::new(Default::default(), vec![], ask);
        let mut places = Places::new(usize::MAX);
        assign(tally, &mut owners, Patience::Over, 0.0, &mut places).owners
    }

    fn sample(program: &str, tid: u32, stack: &[Word], events: u64) -> Sample {
        Sample {
            thread: Thread {
                tgid: 7,
                tid,
                generation: 1,
            },
            names: Arc::new(ThreadNames {
                thread: format!("worker-{tid}").into(),
                process: b"app\xff".to_vec(),
                exe: b"app".to_vec(),
                is_kernel: false,
            }),
            identity: Arc::new(Identity::of(
                None,
                Program::Executable(program.as_bytes()),
                &Declared::default(),
            )),
            stack: stack.into(),
            events,
            amount: events * PERIOD,
        }
    }

    fn named(name: &str) -> Arc<Symbolized> {
        let name: Arc<str> = name.into();
        let frame = Frame {
            system_name: Arc::clone(&name),
            name,
            file: None,
            line: 0,
            inlined: false,
        };
        Arc::new(Symbolized {
            mapping: None,
            address: 0x10,
            frames: [frame].into(),
            named: true,
        })
    }

    fn word(offset: u32) -> Word {
        Word::file(FileId::new(1).unwrap(), offset)
    }

    fn names() -> Names {
        Names::from([(word(1), named("leaf")), (word(2), named("main"))])
    }

    fn texts(profile: &Profile, sample: usize) -> Vec<&str> {
        let text = |index: i64| profile.string_table[index as usize].as_str();
        let ids = profile.sample[sample].location_id.iter();
        ids.map(|id| {
            let line = &profile.location[*id as usize - 1].line[0];
            text(profile.function[line.function_id as usize - 1].name)
        })
        .collect()
    }

    /// Threads of one owner are one sample a stack, an outcome with nothing to say is no frame, and no sample tells whose it is.
    #[test]
    fn an_owner_has_one_sample_a_stack() {
        let stack = [word(1), word(2), Word::from_raw(0x03 << 56)];
        let mut tally = IdentityTally {
            names: names(),
            ..IdentityTally::default()
        };
        tally.extend(1_000, Duration::from_secs(5));
        tally.extend(5_000_001_000, Duration::from_secs(5));
        tally.add(&sample("app", 1, &stack, 3));
        tally.add(&sample("app", 2, &stack, 4));
        tally.add(&sample("other", 2, &stack, 1));
        let OwnerProfiles { profiles, unsound } = owner_profiles(&owned(tally), PERIOD);
        assert_eq!((profiles.len(), unsound), (2, 0));
        let profile = profiles
            .iter()
            .find(|profile| profile.owner.service_name == "app")
            .unwrap();
        assert_eq!((profile.samples, profile.cpu_nanos), (7, 7 * PERIOD));
        assert_eq!(
            (profile.start_unix_nanos, profile.duration),
            (1_000, Duration::from_secs(10))
        );
        let decoded = pprof_proto::encode::decode(&profile.pprof, profile.raw_bytes).unwrap();
        assert_eq!(prost::Message::encoded_len(&decoded), profile.raw_bytes);
        assert_eq!(decoded.sample.len(), 1);
        assert_eq!(decoded.sample[0].value, [7 * PERIOD as i64]);
        assert!(decoded.sample[0].label.is_empty());
        assert_eq!(texts(&decoded, 0), ["leaf", "main"]);
    }

    /// What the server would change (here, a time that it takes for none) is left out and counted.
    #[test]
    fn what_the_server_would_change_is_left_out() {
        let mut tally = IdentityTally {
            names: names(),
            ..IdentityTally::default()
        };
        tally.extend(0, Duration::from_secs(5));
        tally.add(&sample("app", 1, &[word(1)], 3));
        let OwnerProfiles { profiles, unsound } = owner_profiles(&owned(tally), PERIOD);
        assert_eq!((profiles.len(), unsound), (0, 1));
    }

    /// Samples of a capture say whose they are, in valid UTF-8 whatever the process is called.
    #[test]
    fn a_capture_tells_threads_apart() {
        let stack = [word(1), word(2), Word::from_raw(0x03 << 56)];
        let mut tally = ThreadTally::default();
        tally.names = names();
        tally.extend(1_000, Duration::from_secs(1));
        tally.add(&sample("app", 1, &stack, 3));
        tally.add(&sample("app", 2, &stack, 4));
        let profile = thread_profile(&tally, PERIOD).unwrap();
        let text = |index: i64| profile.string_table[index as usize].as_str();
        let mut labels: Vec<Vec<(&str, String)>> = Vec::new();
        for sample in &profile.sample {
            let of_sample = sample.label.iter().map(|label| match label.str {
                0 => (text(label.key), label.num.to_string()),
                index => (text(label.key), text(index).to_owned()),
            });
            labels.push(of_sample.collect());
        }
        labels.sort();
        for (tid, labels) in ["1", "2"].iter().zip(labels) {
            let expected = [
                ("pid", "7".to_owned()),
                ("comm", "app\u{fffd}".to_owned()),
                ("tid", (*tid).to_owned()),
                ("thread", format!("worker-{tid}")),
            ];
            assert_eq!(labels, expected);
        }
    }
}
