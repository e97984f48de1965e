//! Profiles to bytes and back, and bytes that are none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Random, Truth, add_random, builder, read};
use pprof_proto::encode::{DecodeError, decode, encode};
use pprof_proto::pprof::Profile;
use pprof_proto::validate::Verdict;
use prost::Message;

const BUDGET: usize = 4 << 20;

fn profile() -> Profile {
    let mut builder = builder();
    add_random(&mut Random::new(5), 30, &mut builder, &mut Truth::new());
    builder.finish()
}

fn gzip(profile: &Profile) -> Vec<u8> {
    encode(profile, Vec::new()).unwrap()
}

/// Compressed, plain, and in several members, as the server takes it too.
#[test]
fn all_forms_are_read() {
    let profile = profile();
    let plain = profile.encode_to_vec();
    assert_eq!(decode(&gzip(&profile), BUDGET).unwrap(), profile);
    assert_eq!(decode(&plain, BUDGET).unwrap(), profile);

    let members = plain.chunks(plain.len() / 3).flat_map(|chunk| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(chunk).unwrap();
        gzip.finish().unwrap()
    });
    assert_eq!(
        decode(&members.collect::<Vec<_>>(), BUDGET).unwrap(),
        profile
    );
}

/// gzip(1) reads what is written.
#[test]
fn gzip_reads_it() {
    let profile = profile();
    let file = tempfile::NamedTempFile::new().unwrap();
    encode(&profile, file.as_file()).unwrap();
    let gunzip = Command::new("gzip")
        .args(["-dc"])
        .stdin(file.reopen().unwrap())
        .stdout(Stdio::piped())
        .output();
    let Ok(output) = gunzip else {
        eprintln!("SKIPPED: gzip_reads_it: there is no gzip on this machine");
        return;
    };
    assert!(output.status.success());
    assert_eq!(output.stdout, profile.encode_to_vec());
}

/// A budget is kept to the byte, and a bomb is stopped there: 4 GiB of zeros in 4 MB.
#[test]
fn bombs_do_not_go_off() {
    let profile = profile();
    let size = profile.encoded_len();
    for bytes in [gzip(&profile), profile.encode_to_vec()] {
        assert!(decode(&bytes, size).is_ok());
        let error = decode(&bytes, size - 1).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { .. }));
        assert_eq!(error.verdict(), Verdict::Rejected { status: 400 });
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&vec![0; 1 << 20]).unwrap();
    let bomb = gzip.finish().unwrap().repeat(4096);
    assert!(matches!(
        decode(&bomb, BUDGET),
        Err(DecodeError::TooLarge { .. })
    ));
}

/// Cut off anywhere, a profile is an error or, where plain bytes end between two fields, a smaller profile.
#[test]
fn truncated_bytes_do_not_panic() {
    let profile = profile();
    let (gzip, plain) = (gzip(&profile), profile.encode_to_vec());
    for end in 0..gzip.len() {
        let error = decode(&gzip[..end], BUDGET).unwrap_err();
        assert_eq!(error.verdict(), Verdict::Rejected { status: 500 });
    }
    let whole = (0..plain.len())
        .step_by(7)
        .filter(|end| decode(&plain[..*end], BUDGET).is_ok());
    assert!(whole.count() < plain.len() / 7);
    assert!(matches!(decode(b"", BUDGET), Err(DecodeError::Empty)));
}

/// Random bytes, and profiles with random bytes in them, decode or do not; what decodes can be merged, split, checked and
/// folded, or cannot, but nothing panics.
#[test]
fn garbage_does_not_panic() {
    let mut random = Random::new(6);
    let plain = profile().encode_to_vec();
    let mut decoded = 0;
    for round in 0..3000 {
        let mut bytes = plain.clone();
        if round % 3 == 0 {
            bytes = (0..random.below(200))
                .map(|_| random.below(256) as u8)
                .collect();
        }
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.below(256) as u8;
            }
        }
        let Ok(profile) = decode(&bytes, BUDGET) else {
            continue;
        };
        decoded += 1;
        use_everywhere(&profile, decoded % 100 == 0);
    }
    assert!(decoded > 300, "{decoded}");
}

fn use_everywhere(profile: &Profile, split_too: bool) {
    let _ = pprof_proto::validate::validate(profile, common::NOW);
    let _ = pprof_proto::folded::write_folded(
        profile,
        pprof_proto::folded::Count::Periods,
        std::io::sink(),
    );
    let mut merger = pprof_proto::merge::Merger::new();
    if merger.add(profile).is_ok() {
        read(&merger.finish().unwrap());
    }
    if !split_too {
        return;
    }
    // Too many samples to pass, so that it is taken apart.
    let mut large = profile.clone();
    let samples = large.sample.iter().cycle().take(15_001).cloned().collect();
    large.sample = samples;
    let _ = pprof_proto::split::split(large);
}

/// A string that is not UTF-8 is told from bytes that are no protobuf: the server answers the two differently.
#[test]
fn strings_that_are_not_utf8_are_named() {
    let mut bytes = profile().encode_to_vec();
    bytes.extend(b"\x32\x02\xff\xfe");
    let error = decode(&bytes, BUDGET).unwrap_err();
    assert!(matches!(error, DecodeError::NotUtf8));
    assert_eq!(error.verdict(), Verdict::Rejected { status: 400 });
    let error = decode(b"\x32\x05abc", BUDGET).unwrap_err();
    assert!(matches!(error, DecodeError::Protobuf(_)));
    assert_eq!(error.verdict(), Verdict::Rejected { status: 500 });
}
