//! Profiles as bytes: protobuf in gzip, the form files and servers exchange.

use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, CompressError, Compression, FlushCompress, Status};
use prost::Message;

use crate::pprof::Profile;
use crate::validate::Verdict;

/// Why bytes are no profile.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the profile is empty: it holds not even a sample type")]
    Empty,
    /// The gzip stream is damaged or cut off.
    #[error("the profile cannot be decompressed ({0}): it is damaged or incomplete")]
    Gzip(#[source] io::Error),
    /// More bytes than allowed, after decompression.
    #[error("the profile is larger than {budget} bytes uncompressed: split it, or raise the limit")]
    TooLarge {
        /// Bytes allowed.
        budget: usize,
    },
    /// A string of the profile is not UTF-8.
    #[error("a string of the profile is not UTF-8: convert names before they go in")]
    NotUtf8,
    /// The bytes are not protobuf, or not this message.
    #[error("the profile is no pprof message ({0}): it is damaged or something else")]
    Protobuf(#[source] prost::DecodeError),
}

impl DecodeError {
    /// What Pyroscope does with such bytes at its default limits, the budget being its own.
    pub fn verdict(&self) -> Verdict {
        let status = match self {
            DecodeError::NotUtf8 | DecodeError::TooLarge { .. } => 400,
            DecodeError::Empty | DecodeError::Gzip(_) | DecodeError::Protobuf(_) => 500,
        };
        Verdict::Rejected { status }
    }
}

/// Measured on 10,000 distinct stacks of depth 50: 57 bytes a stack, 1 byte more than the default level 6, in less than
/// half its time.
const LEVEL: Compression = Compression::new(3);

/// Bits of the largest window of deflate.
const WINDOW_BITS: u8 = 15;

/// Writes `profile` to `out`, gzip'd, and gives `out` back. Errors are those of `out`.
pub fn encode<W: Write>(profile: &Profile, mut out: W) -> io::Result<W> {
    let encoded = Encoder::default()
        .encode(profile)
        .map_err(io::Error::other)?;
    out.write_all(&encoded.bytes)?;
    Ok(out)
}

/// A profile as bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Protobuf in gzip.
    pub bytes: Vec<u8>,
    /// How many they were before compression.
    pub raw_bytes: usize,
}

/// Encodes one profile after the other: what a compressor needs to begin, 300 KB that are cleared, costs as much as it costs to compress
/// a small profile.
#[derive(Debug)]
pub struct Encoder(Compress);

impl Default for Encoder {
    fn default() -> Self {
        Encoder(Compress::new_gzip(LEVEL, WINDOW_BITS))
    }
}

impl Encoder {
    /// The bytes of `profile`.
    pub fn encode(&mut self, profile: &Profile) -> Result<Encoded, CompressError> {
        let raw = profile.encode_to_vec();
        // A quarter is what profiles of deep stacks come to.
        let mut bytes = Vec::with_capacity(raw.len() / 4 + 64);
        self.0.reset();
        loop {
            let taken = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = raw.get(taken..).unwrap_or_default();
            match self
                .0
                .compress_vec(rest, &mut bytes, FlushCompress::Finish)?
            {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError => bytes.reserve(bytes.len() / 2 + 64),
            }
        }
        Ok(Encoded {
            bytes,
            raw_bytes: raw.len(),
        })
    }
}

/// Reads a profile, gzip'd (in one or several members) or plain, of at most `budget` bytes uncompressed.
///
/// In memory a profile takes a multiple of that: two bytes can encode an empty sample, which is 72 bytes here.
pub fn decode(bytes: &[u8], budget: usize) -> Result<Profile, DecodeError> {
    if bytes.starts_with(&GZIP_MAGIC) {
        let plain = gunzip(bytes, budget)?;
        return decode_plain(&plain);
    }
    if bytes.len() > budget {
        return Err(DecodeError::TooLarge { budget });
    }
    decode_plain(bytes)
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

fn gunzip(bytes: &[u8], budget: usize) -> Result<Vec<u8>, DecodeError> {
    let mut plain = Vec::new();
    // One byte beyond the budget tells a profile of just that size from a larger one.
    let limit = u64::try_from(budget).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(DecodeError::Gzip)?;
    if plain.len() > budget {
        return Err(DecodeError::TooLarge { budget });
    }
    Ok(plain)
}

fn decode_plain(bytes: &[u8]) -> Result<Profile, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    Profile::decode(bytes).map_err(|error| match Strings::decode(bytes) {
        Ok(strings) if strings.is_not_utf8() => DecodeError::NotUtf8,
        _ => DecodeError::Protobuf(error),
    })
}

/// A profile's string table as bytes. prost tells "not UTF-8" from "not protobuf" in the text of its error only, and
/// Pyroscope answers the two differently.
#[derive(Clone, PartialEq, prost::Message)]
struct Strings {
    #[prost(bytes = "vec", repeated, tag = "6")]
    string_table: Vec<Vec<u8>>,
}

impl Strings {
    fn is_not_utf8(&self) -> bool {
        self.string_table
            .iter()
            .any(|string| std::str::from_utf8(string).is_err())
    }
}
