//! What Pyroscope finds wrong with a profile, and what it does about it.

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers this HTTP status and keeps nothing.
    Rejected {
        /// 400, 429 or 500.
        status: u16,
    },
    /// It answers 200, and what it keeps is not what it was sent.
    SilentlyDropped,
}

/// A profile that Pyroscope refuses or changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Over [`crate::validate::MAX_BYTES`].
    #[error("the profile has {0} bytes uncompressed, and the server takes 4 MiB: split it")]
    TooLarge(usize),
    /// Over [`crate::validate::BURST_BYTES`].
    #[error(
        "the profile has {0} bytes uncompressed, more than the server's rate limit ever lets through: split it"
    )]
    OverBurst(usize),
    /// No sample type.
    #[error("the profile has no sample type: say what its samples measure")]
    NoSampleType,
    /// The first string is not the empty one.
    #[error("the string table does not begin with an empty string: put one there")]
    NoEmptyString,
    /// A string index lies outside the table.
    #[error("a {field} names string {index}, which the table does not have: define it")]
    NoString {
        /// What names it.
        field: &'static str,
        /// The index.
        index: i64,
    },
    /// A string index below 0.
    #[error("a {field} names string {index}: indexes are not negative")]
    NegativeString {
        /// What names it.
        field: &'static str,
        /// The index.
        index: i64,
    },
    /// The unit of a label's number lies outside the table.
    #[error("a label's unit is string {0}, which the table does not have: define it")]
    NoLabelUnit(i64),
    /// A location or function with id 0.
    #[error("a {0} has id 0: ids begin at 1")]
    ZeroId(&'static str),
    /// More or fewer values than sample types.
    #[error(
        "a sample has {values} values and the profile {sample_types} sample types: give it one for each"
    )]
    ValueCount {
        /// Values of the sample.
        values: usize,
        /// Sample types of the profile.
        sample_types: usize,
    },
    /// A sample type with a `-` in its name.
    #[error("sample type {0} has a dash in its name: use an underscore")]
    DashInSampleType(String),
    /// Over 16,000 samples.
    #[error("the profile has {0} samples, and the server takes 16000: split it")]
    TooManySamples(usize),
    /// Over 100 labels on one sample.
    #[error("a sample has {0} labels, and the server takes 100: leave some out")]
    TooManySampleLabels(usize),
    /// Over 65,535 bytes, and the server's cut falls inside a character.
    #[error("a string has {0} bytes, and the server would cut it inside a character: shorten it")]
    CutInsideCharacter(usize),
    /// Over an hour old.
    #[error("the profile is {seconds} s old, and the server takes one hour: drop it", seconds = .0 / 1_000_000_000)]
    TooOld(i64),
    /// More than ten minutes ahead.
    #[error("the profile lies {seconds} s in the future, and the server takes ten minutes: check the clock", seconds = .0 / 1_000_000_000)]
    TooNew(i64),
    /// No period type, and a sample that would be dropped: the server fails on the two together.
    #[error(
        "the profile has no period type, which the server fails on when it drops a sample ({0})"
    )]
    NoPeriodType(Box<Invalid>),
    /// No samples: nothing is kept.
    #[error("the profile has no samples: send none")]
    NoSamples,
    /// A sample without locations: no flame graph shows it.
    #[error("a sample has no stack: give it a frame that says why")]
    NoStack,
    /// A location id that is not defined: the sample is dropped.
    #[error("a sample names location {0}, which is not defined: define it")]
    NoLocation(u64),
    /// A mapping id that is not defined, or defined as 0: samples with this location are dropped.
    #[error("location {location} names mapping {mapping}, which is not defined: define it")]
    NoMapping {
        /// The location.
        location: u64,
        /// The mapping.
        mapping: u64,
    },
    /// A function id that is not defined: samples with this location are dropped.
    #[error("location {location} names function {function}, which is not defined: define it")]
    NoFunction {
        /// The location.
        location: u64,
        /// The function.
        function: u64,
    },
    /// A location without a line: the frame is dropped, or, if it has no address either, every sample with it. Where its mapping has a
    /// build id and says that it has no functions, the server's symbolizer is to find them, if it is switched on.
    #[error("location {0} has no line: give it one that names module and offset")]
    NoLine(u64),
    /// A location without a mapping: the server invents one, which is not symbolized.
    #[error("location {0} has no mapping: give it one")]
    MappingInvented(u64),
    /// Two entries of a table with one id: one of them is lost.
    #[error("{table} {id} is defined twice: number them anew")]
    DuplicateId {
        /// `location`, `function` or `mapping`.
        table: &'static str,
        /// The id.
        id: u64,
    },
    /// A negative value: the sample is dropped, its other values too.
    #[error("a sample has the value {0}: values are not negative")]
    NegativeValue(i64),
    /// Only zeros: the sample is dropped.
    #[error("every value of a sample is 0: leave it out")]
    AllZero,
    /// Over 1,000 locations: the leaf side is cut off.
    #[error(
        "a stack has {0} locations, and the server keeps the 1000 next to the root: shorten it in the middle"
    )]
    TooDeep(usize),
    /// A label with a number, or with neither number nor text: dropped, and its samples merged.
    #[error("a sample has the number label {0}, which the server drops: leave it out")]
    NumberLabel(String),
    /// Over 65,535 bytes: the head is cut off.
    #[error("a string has {0} bytes, and the server keeps the last 65535: shorten it")]
    LongString(usize),
    /// Time 0 or before: the server puts in its own clock.
    #[error("the profile's time is {0}, which the server replaces by its own: set it")]
    NoTime(i64),
    /// Sample types that are the same: their values are summed.
    #[error("sample type {0} is there twice, and the server adds up the two: leave one out")]
    DuplicateSampleType(String),
    /// A sample type with a `:` in its name: no query can name it.
    #[error("sample type {0} has a colon in its name, and no query can name it: use an underscore")]
    ColonInSampleType(String),
    /// Taken for a Go program's: deep stacks get guessed root frames, and generic functions are merged.
    #[error(
        "the server would take the profile for one of a Go program because of {0}: put a comment that ends in main.rs before it"
    )]
    TakenForGo(String),
}

impl Invalid {
    /// What the server does with such a profile.
    pub fn verdict(&self) -> Verdict {
        match self {
            Invalid::TooLarge(_)
            | Invalid::NoSampleType
            | Invalid::NoEmptyString
            | Invalid::NoString { .. }
            | Invalid::ZeroId(_)
            | Invalid::ValueCount { .. }
            | Invalid::DashInSampleType(_)
            | Invalid::TooManySamples(_)
            | Invalid::TooManySampleLabels(_)
            | Invalid::CutInsideCharacter(_)
            | Invalid::TooOld(_)
            | Invalid::TooNew(_) => Verdict::Rejected { status: 400 },
            Invalid::OverBurst(_) => Verdict::Rejected { status: 429 },
            Invalid::NegativeString { .. } | Invalid::NoLabelUnit(_) | Invalid::NoPeriodType(_) => {
                Verdict::Rejected { status: 500 }
            }
            Invalid::NoSamples
            | Invalid::NoStack
            | Invalid::NoLocation(_)
            | Invalid::NoMapping { .. }
            | Invalid::NoFunction { .. }
            | Invalid::NoLine(_)
            | Invalid::MappingInvented(_)
            | Invalid::DuplicateId { .. }
            | Invalid::NegativeValue(_)
            | Invalid::AllZero
            | Invalid::TooDeep(_)
            | Invalid::NumberLabel(_)
            | Invalid::LongString(_)
            | Invalid::NoTime(_)
            | Invalid::DuplicateSampleType(_)
            | Invalid::ColonInSampleType(_)
            | Invalid::TakenForGo(_) => Verdict::SilentlyDropped,
        }
    }
}
