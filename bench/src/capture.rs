//! A profile of the agent's as the measurements read it: how deep each stack is, and what its root is.

use anyhow::Context;
use pprof_proto::pprof::{Location, Profile, Sample};
use std::collections::HashMap;

/// A profile larger than this is a failure of its own.
const LARGEST: usize = 1 << 30;
/// The mapping of frames that are no place in code but a word of the agent's.
const NOTES: &str = "[thermograph]";
/// What the names of the kernel's functions end in.
const KERNEL: &str = "_[k]";

/// Stacks of some stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    pub(crate) stacks: Vec<Stack>,
}

/// One stack of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// The process's name.
    pub(crate) comm: String,
    pub(crate) samples: u64,
    pub(crate) user_frames: u64,
    pub(crate) kernel_frames: u64,
    /// The last frame.
    pub(crate) root: Root,
}

/// The last frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Root {
    /// A word on how the walk ended: `[kernel thread]`.
    Note(String),
    /// A place in code.
    Place {
        function: String,
        /// The file's name, and the ELF address in it.
        file: String,
        address: u64,
    },
    /// The stack has no frames.
    Nothing,
}

/// Sums over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) samples: u64,
    pub(crate) user_frames: u64,
    pub(crate) kernel_frames: u64,
}

impl Sums {
    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Sums) -> Sums {
        Sums {
            samples: self.samples.saturating_sub(earlier.samples),
            user_frames: self.user_frames.saturating_sub(earlier.user_frames),
            kernel_frames: self.kernel_frames.saturating_sub(earlier.kernel_frames),
        }
    }
}

impl Capture {
    /// Reads a gzip'd pprof file of the agent's.
    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Capture> {
        let profile = pprof_proto::encode::decode(bytes, LARGEST)?;
        let reader = Reader::new(&profile);
        let stacks = profile.sample.iter().map(|sample| reader.stack(sample));
        let stacks: Option<Vec<Stack>> = stacks.collect();
        Ok(Capture {
            stacks: stacks.context("a profile that refers to what it does not define")?,
        })
    }

    /// Stacks of processes of these names.
    pub(crate) fn of(&self, processes: &[&str]) -> impl Iterator<Item = &Stack> {
        let is_of = |stack: &&Stack| processes.contains(&stack.comm.as_str());
        self.stacks.iter().filter(is_of)
    }

    /// What there is in all.
    pub(crate) fn sums(&self) -> Sums {
        self.stacks
            .iter()
            .fold(Sums::default(), |sums, stack| Sums {
                samples: sums.samples + stack.samples,
                user_frames: sums.user_frames + stack.samples * stack.user_frames,
                kernel_frames: sums.kernel_frames + stack.samples * stack.kernel_frames,
            })
    }
}

/// A profile and where its locations are.
struct Reader<'p> {
    profile: &'p Profile,
    locations: HashMap<u64, Place<'p>>,
}

#[derive(Clone, Copy)]
struct Place<'p> {
    function: &'p str,
    file: &'p str,
    address: u64,
}

impl<'p> Reader<'p> {
    fn new(profile: &'p Profile) -> Self {
        let mut reader = Reader {
            profile,
            locations: HashMap::new(),
        };
        let files: HashMap<u64, i64> = profile.mapping.iter().map(|m| (m.id, m.filename)).collect();
        let functions: HashMap<u64, i64> =
            profile.function.iter().map(|f| (f.id, f.name)).collect();
        let place = |location: &Location| {
            // Of inlined functions the last is the one that has the frame.
            let line = location.line.last()?;
            let place = Place {
                function: reader.text(*functions.get(&line.function_id)?)?,
                file: reader.text(*files.get(&location.mapping_id)?)?,
                address: location.address,
            };
            Some((location.id, place))
        };
        reader.locations = profile.location.iter().filter_map(place).collect();
        reader
    }

    fn text(&self, index: i64) -> Option<&'p str> {
        let text = self
            .profile
            .string_table
            .get(usize::try_from(index).ok()?)?;
        Some(text)
    }

    fn stack(&self, sample: &Sample) -> Option<Stack> {
        let places = sample
            .location_id
            .iter()
            .map(|id| self.locations.get(id).copied());
        let places: Vec<Place<'_>> = places.collect::<Option<_>>()?;
        let is_kernel = |place: &&Place<'_>| place.function.ends_with(KERNEL);
        let code = || places.iter().filter(|place| place.file != NOTES);
        let kernel_frames = code().filter(is_kernel).count() as u64;
        let label = |name: &str| {
            let mut labels = sample.label.iter();
            labels.find(|label| self.text(label.key) == Some(name))
        };
        let amount = u64::try_from(*sample.value.first()?).ok()?;
        let period = u64::try_from(self.profile.period).ok()?.max(1);
        Some(Stack {
            comm: self.text(label("comm")?.str)?.to_owned(),
            samples: (amount + period / 2) / period,
            user_frames: code().count() as u64 - kernel_frames,
            kernel_frames,
            root: places.last().map_or(Root::Nothing, root),
        })
    }
}

fn root(place: &Place<'_>) -> Root {
    match place.file {
        NOTES => Root::Note(place.function.to_owned()),
        file => Root::Place {
            function: place.function.to_owned(),
            file: file.to_owned(),
            address: place.address,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pprof_proto::builder::{LabelValue, Line, Mapping, ProfileBuilder};
    use pprof_proto::kind::PROCESS_CPU;

    /// Frames are told apart by where they are, notes are no frames, and an amount is as many samples as periods.
    #[test]
    fn stacks_of_a_profile() {
        let mut builder = ProfileBuilder::new(&PROCESS_CPU, 100, 0, 1_000);
        let mut frame = |file: &str, name: &str, address: u64| {
            let mapping = builder.mapping(&Mapping {
                filename: file,
                ..Mapping::default()
            });
            let function = builder.function(name, "", "", 0);
            builder.location(mapping, address, &[Line { function, line: 0 }])
        };
        let kernel = frame("[kernel.kallsyms]", "read_[k]", 1);
        let (leaf, start) = (frame("/bin/a", "leaf", 2), frame("/bin/a", "_start", 3));
        let note = frame(NOTES, "[stack cut: too deep]", 0);
        let labels = [("comm", LabelValue::Text("a"))];
        builder.sample(&[kernel, leaf, start], &[300], &labels);
        builder.sample(&[leaf, note], &[149], &labels);
        let bytes = pprof_proto::encode::encode(&builder.finish(), Vec::new()).unwrap();
        let capture = Capture::read(&bytes).unwrap();
        let (whole, cut) = (&capture.stacks[0], &capture.stacks[1]);
        assert_eq!(whole.comm, "a");
        let place = |function: &str, address| Root::Place {
            function: function.to_owned(),
            file: "/bin/a".to_owned(),
            address,
        };
        assert_eq!(whole.root, place("_start", 3));
        assert_eq!(cut.root, Root::Note("[stack cut: too deep]".to_owned()));
        let sums = Sums {
            samples: 4,
            user_frames: 7,
            kernel_frames: 3,
        };
        assert_eq!(capture.sums(), sums);
    }
}
