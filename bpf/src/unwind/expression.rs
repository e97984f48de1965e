//! The few DWARF expressions that occur in call frame information, known by their bytes.

use super::bytes::Bytes;
use super::rule::Cfa;

const DEREF: u8 = 0x06;
const PLUS_UCONST: u8 = 0x23;
const BREG0: u8 = 0x70;
const BREG31: u8 = 0x8f;

/// The expressions for a canonical frame address.
///
/// - `breg +offset, deref`: gcc realigns a stack and keeps its caller's stack pointer there; glibc's signal frame
/// - `breg +offset, deref, plus_uconst addend`: OpenSSL's realigned stacks, seen from where the stack pointer is saved
/// - `breg7 +8, breg16 +0, lit15, and, litN, ge, lit3, shl, plus`: stubs of the procedure linkage table
pub(super) fn cfa(expression: &[u8]) -> Option<Cfa> {
    if let &[
        0x77,
        8,
        0x80,
        0,
        0x3f,
        0x1a,
        pushed @ 0x30..=0x3f,
        0x2a,
        0x33,
        0x24,
        0x22,
    ] = expression
    {
        return Some(Cfa::Plt {
            pushed: pushed - 0x30,
        });
    }
    let mut bytes = Bytes(expression);
    let (register, offset) = base(&mut bytes)?;
    if bytes.u8()? != DEREF {
        return None;
    }
    let addend = match bytes.u8() {
        None => 0,
        Some(PLUS_UCONST) => i16::try_from(bytes.uleb128()?).ok()?,
        Some(_) => return None,
    };
    bytes.0.is_empty().then_some(())?;
    Some(Cfa::Deref {
        register,
        offset: i16::try_from(offset).ok()?,
        addend,
    })
}

/// The expression for a register that is saved relative to another: `breg +offset`.
pub(super) fn place(expression: &[u8]) -> Option<(u8, i64)> {
    let mut bytes = Bytes(expression);
    let place = base(&mut bytes)?;
    bytes.0.is_empty().then_some(place)
}

fn base(bytes: &mut Bytes<'_>) -> Option<(u8, i64)> {
    let operation = bytes.u8()?;
    let register = (BREG0..=BREG31)
        .contains(&operation)
        .then(|| operation - BREG0)?;
    Some((register, bytes.sleb128()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that gcc, GNU ld, glibc and OpenSSL write.
    #[test]
    fn known_ones() {
        let deref = |register, offset, addend| {
            Some(Cfa::Deref {
                register,
                offset,
                addend,
            })
        };
        assert_eq!(cfa(&[0x76, 0x78, 0x06]), deref(6, -8, 0));
        assert_eq!(cfa(&[0x77, 0xa0, 0x01, 0x06]), deref(7, 160, 0));
        assert_eq!(cfa(&[0x77, 0x98, 0x01, 0x06, 0x23, 0x08]), deref(7, 152, 8));
        let plt = [
            0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22,
        ];
        assert_eq!(cfa(&plt), Some(Cfa::Plt { pushed: 11 }));
        assert_eq!(place(&[0x76, 0x00]), Some((6, 0)));
        assert_eq!(place(&[0x77, 0xa8, 0x01]), Some((7, 168)));
    }

    /// Whatever has more to it, less of it, or numbers too large is not taken for one of them.
    #[test]
    fn others() {
        for expression in [
            &[][..],
            &[0x76],
            &[0x76, 0x78],
            &[0x76, 0x78, 0x06, 0x06],
            &[0x76, 0x78, 0x06, 0x23],
            &[0x76, 0x78, 0x06, 0x23, 0x08, 0x22],
            &[0x76, 0x80, 0x80, 0x04, 0x06],
            &[0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24],
        ] {
            assert_eq!(cfa(expression), None, "{expression:x?}");
        }
        assert_eq!(place(&[0x76, 0x00, 0x06]), None);
        assert_eq!(place(&[0x06]), None);
    }
}
