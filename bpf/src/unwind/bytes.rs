//! Numbers from bytes that may end at any place.

/// Reads from the front. `None` where the bytes end too early.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

// DW_EH_PE_*: how an address is written. The low half says how wide it is, the next three bits what it is relative to.
const ABSOLUTE_POINTER: u8 = 0x00;
const ULEB128: u8 = 0x01;
const UDATA2: u8 = 0x02;
const UDATA4: u8 = 0x03;
const UDATA8: u8 = 0x04;
const SLEB128: u8 = 0x09;
const SDATA2: u8 = 0x0a;
const SDATA4: u8 = 0x0b;
const SDATA8: u8 = 0x0c;
const PC_RELATIVE: u8 = 0x10;
const WIDTH: u8 = 0x0f;
const RELATIVE_TO: u8 = 0x70;
const INDIRECT: u8 = 0x80;

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*front)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bits beyond the 64th are an error.
    #[inline]
    pub(super) fn uleb128(&mut self) -> Option<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Of more than 64 bits the last must only repeat the sign.
    pub(super) fn sleb128(&mut self) -> Option<i64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                return None;
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let unused = 64_u32.saturating_sub(shift + 7);
                return Some(value << unused >> unused);
            }
        }
        None
    }

    /// The string up to a zero.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let string = self.take(end)?;
        self.take(1)?;
        Some(string)
    }

    /// An address written as `encoding` says, in a field at address `field`.
    pub(super) fn pointer(&mut self, encoding: u8, field: u64) -> Option<u64> {
        let base = match encoding & (RELATIVE_TO | INDIRECT) {
            ABSOLUTE_POINTER => 0,
            PC_RELATIVE => field,
            // Relative to text, data or function: no linker of today writes that for code. Indirect: filled in when loaded.
            _ => return None,
        };
        Some(self.offset(encoding)?.wrapping_add(base))
    }

    /// What is written as `encoding` says, relative to nothing: a length, or a pointer's distance.
    pub(super) fn offset(&mut self, encoding: u8) -> Option<u64> {
        Some(match encoding & WIDTH {
            ABSOLUTE_POINTER | UDATA8 | SDATA8 => self.u64()?,
            UDATA2 => self.u16()?.into(),
            UDATA4 => self.u32()?.into(),
            SDATA2 => i64::from(self.u16()?.cast_signed()).cast_unsigned(),
            SDATA4 => i64::from(self.u32()?.cast_signed()).cast_unsigned(),
            ULEB128 => self.uleb128()?,
            SLEB128 => self.sleb128()?.cast_unsigned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encodings' extremes, as the DWARF standard gives them, and nothing past the end or past 64 bits.
    #[test]
    fn leb128() {
        let unsigned = |bytes: &[u8]| Bytes(bytes).uleb128();
        assert_eq!(unsigned(&[127]), Some(127));
        assert_eq!(unsigned(&[0x80, 1]), Some(128));
        assert_eq!(unsigned(&[0xb9, 0x64]), Some(12_857));
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(unsigned(&most), Some(u64::MAX));
        assert_eq!(unsigned(&[0xff; 10]), None);
        assert_eq!(unsigned(&[0x80]), None);
        assert_eq!(unsigned(&[]), None);

        let signed = |bytes: &[u8]| Bytes(bytes).sleb128();
        assert_eq!(signed(&[0x78]), Some(-8));
        assert_eq!(signed(&[0x80, 0x7f]), Some(-128));
        assert_eq!(signed(&[0xff, 0]), Some(127));
        most[9] = 0x7f;
        assert_eq!(signed(&most), Some(-1));
        assert_eq!(signed(&[0x80; 10]), None);
        assert_eq!(signed(&[0x80, 0x80]), None);
    }

    /// A distance is added to the address of its own field, and wraps as addresses do.
    #[test]
    fn pointers() {
        let pointer = |bytes: &[u8], encoding| Bytes(bytes).pointer(encoding, 0x1000);
        assert_eq!(
            pointer(&[0xf0, 0xff, 0xff, 0xff], PC_RELATIVE | SDATA4),
            Some(0xff0)
        );
        assert_eq!(
            pointer(&[0xf0, 0xff, 0xff, 0xff], UDATA4),
            Some(0xffff_fff0)
        );
        assert_eq!(pointer(&[0xff; 8], PC_RELATIVE), Some(0xfff));
        assert_eq!(pointer(&[0; 8], INDIRECT), None);
        assert_eq!(pointer(&[0; 8], 0xff), None);
        assert_eq!(pointer(&[0; 7], ABSOLUTE_POINTER), None);
    }
}
