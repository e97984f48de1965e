//! A table on disk: an image in its final form behind a header, and a checksum.

use super::bytes::Bytes;
use super::error::Limits;
use super::identity::Identity;
use super::rule::Packed;
use super::source::Source;
use super::table::{Geometry, INDEX_BYTES, Table};
use std::io::{self, Write};

const MAGIC: &[u8; 8] = b"thermotb";
/// To be raised with every change of this form, of the image's, or of what is made of a file.
const VERSION: u32 = 1;
const DIGEST_BYTES: usize = 32;
/// Magic, version, piece, digest of the file, geometry, size of the image.
const HEADER_BYTES: usize = MAGIC.len() + 4 + 4 + DIGEST_BYTES + 5 * 4 + 4;

/// Why a cached table is not used. It is to be built anew.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Reading failed.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// It is no table, or one of another version.
    #[error("is no table of this version")]
    Foreign,
    /// It is the table of another file.
    #[error("is the table of another file")]
    OtherFile,
    /// Its checksum is wrong, or it is longer or shorter than it says.
    #[error("is damaged")]
    Damaged,
    /// Its image is larger than allowed.
    #[error("is larger than allowed")]
    TooLarge,
}

impl Table {
    /// Writes the table of a file, or of one 4 GiB piece of it, with everything to know it again by.
    ///
    /// # Errors
    /// What writing answers.
    pub fn write_to(
        &self,
        out: &mut impl Write,
        identity: &Identity,
        piece: u32,
    ) -> io::Result<()> {
        let header = header(self, identity, piece);
        let mut checksum = blake3::Hasher::new();
        checksum.update(&header);
        checksum.update(&self.image);
        out.write_all(&header)?;
        out.write_all(&self.image)?;
        out.write_all(checksum.finalize().as_bytes())
    }

    /// Reads back what [`Table::write_to`] wrote for the same file, and nothing else.
    ///
    /// # Errors
    /// It is not that, or not whole.
    pub fn read_from(
        source: &(impl Source + ?Sized),
        identity: &Identity,
        piece: u32,
        limits: &Limits,
    ) -> Result<Self, CacheError> {
        let mut header_bytes = [0; HEADER_BYTES];
        if source.read_at(&mut header_bytes, 0)? < HEADER_BYTES {
            return Err(CacheError::Foreign);
        }
        let (geometry, image_bytes) = parse_header(&header_bytes, identity, piece)?;
        if image_bytes > limits.image_bytes {
            return Err(CacheError::TooLarge);
        }
        // Before there is memory for it.
        let size = HEADER_BYTES + image_bytes + DIGEST_BYTES;
        if source.size()? != size as u64 {
            return Err(CacheError::Damaged);
        }
        let mut image = vec![0; image_bytes];
        let mut checksum = [0; DIGEST_BYTES];
        let read = source.read_at(&mut image, HEADER_BYTES as u64)?;
        let read = read + source.read_at(&mut checksum, (HEADER_BYTES + image_bytes) as u64)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header_bytes);
        hasher.update(&image);
        // The hashes are compared in constant time, which is no harm.
        if read < image_bytes + DIGEST_BYTES || hasher.finalize() != checksum {
            return Err(CacheError::Damaged);
        }
        let table = Self { image, geometry };
        if table.is_sane() {
            Ok(table)
        } else {
            Err(CacheError::Damaged)
        }
    }

    /// Whether everything lies in the image where the geometry says.
    fn is_sane(&self) -> bool {
        let Geometry {
            pages,
            index,
            rules,
            rule_count,
            ..
        } = self.geometry;
        let index_bytes = (pages as usize)
            .saturating_add(1)
            .saturating_mul(INDEX_BYTES);
        let rule_bytes = (rule_count as usize).saturating_mul(Packed::BYTES);
        let inside =
            |begin: u32, bytes: usize| (begin as usize).saturating_add(bytes) <= self.image.len();
        inside(index, index_bytes) && inside(rules, rule_bytes)
    }
}

fn header(table: &Table, identity: &Identity, piece: u32) -> Vec<u8> {
    let Geometry {
        first_page,
        pages,
        index,
        rules,
        rule_count,
    } = table.geometry;
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(piece.to_le_bytes());
    header.extend(identity.digest);
    // An image is smaller than 4 GiB: its limit is.
    for number in [
        first_page,
        pages,
        index,
        rules,
        rule_count,
        table.image.len() as u32,
    ] {
        header.extend(number.to_le_bytes());
    }
    header
}

fn parse_header(
    header: &[u8; HEADER_BYTES],
    identity: &Identity,
    piece: u32,
) -> Result<(Geometry, usize), CacheError> {
    let mut bytes = Bytes(header);
    let number = |bytes: &mut Bytes<'_>| bytes.u32().ok_or(CacheError::Foreign);
    if bytes.take(MAGIC.len()) != Some(MAGIC) || number(&mut bytes)? != VERSION {
        return Err(CacheError::Foreign);
    }
    if number(&mut bytes)? != piece || bytes.take(DIGEST_BYTES) != Some(&identity.digest) {
        return Err(CacheError::OtherFile);
    }
    let geometry = Geometry {
        first_page: number(&mut bytes)?,
        pages: number(&mut bytes)?,
        index: number(&mut bytes)?,
        rules: number(&mut bytes)?,
        rule_count: number(&mut bytes)?,
    };
    Ok((geometry, number(&mut bytes)? as usize))
}
