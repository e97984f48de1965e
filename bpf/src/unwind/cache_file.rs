//! A table on disk: an image in its final form behind a header, and a checksum.

use super::bytes::Bytes;
use super::dictionary::MAX_RULES;
use super::error::Limits;
use super::identity::Identity;
use super::image::Image;
use super::rule::Packed;
use super::source::Source;
use super::table::{Geometry, INDEX_BYTES, PAGE_BITS, Table};
use std::io::{self, Write};

const MAGIC: &[u8; 8] = b"thermotb";
/// To be raised with every change of this form, of the image's, or of what is made of a file.
const VERSION: u32 = 3;
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
        out.write_all(&header)?;
        for piece in self.image.pieces() {
            checksum.update(piece);
            out.write_all(piece)?;
        }
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
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header_bytes);
        let mut image = Image::default();
        image.grow(image_bytes);
        let mut at = HEADER_BYTES;
        for piece in image.pieces_mut() {
            if source.read_at(piece, at as u64)? < piece.len() {
                return Err(CacheError::Damaged);
            }
            hasher.update(piece);
            at += piece.len();
        }
        image.shrink_to_fit();
        let mut checksum = [0; DIGEST_BYTES];
        let read = source.read_at(&mut checksum, at as u64)?;
        // The hashes are compared in constant time, which is no harm.
        if read < DIGEST_BYTES || hasher.finalize() != checksum {
            return Err(CacheError::Damaged);
        }
        let table = Self { image, geometry };
        if table.is_sane() {
            Ok(table)
        } else {
            Err(CacheError::Damaged)
        }
    }

    /// Whether everything lies in the image where the geometry says: a checksum tells damage, not who wrote it.
    fn is_sane(&self) -> bool {
        let Geometry {
            first_page,
            pages,
            index,
            rules,
            rule_count,
        } = self.geometry;
        let lies_within = |begin: u32, count: u32, size: usize| {
            let end = u64::from(begin) + u64::from(count) * size as u64;
            // Aligned, so that each lies in one piece.
            (begin as usize).is_multiple_of(size) && end <= self.image.len() as u64
        };
        let blocks_in_order = || {
            let entry = |page| self.image.read_u32(index as usize + page * INDEX_BYTES);
            let entries = (0..=pages as usize).map(entry);
            entries.is_sorted() && entry(pages as usize).is_some_and(|end| end <= rules)
        };
        let last_page = u64::from(first_page) + u64::from(pages);
        last_page <= 1 << (u32::BITS - PAGE_BITS)
            && rule_count as usize <= MAX_RULES
            && lies_within(rules, rule_count, Packed::BYTES)
            && lies_within(index, pages + 1, INDEX_BYTES)
            && blocks_in_order()
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
