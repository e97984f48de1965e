//! Text from outside made fit to be a label's value or name.

/// Longest label value, bytes: a cgroup name may have 255, a server allows 2048.
const MAX_BYTES: usize = 256;

/// `bytes` as a label value: valid UTF-8 (what is not becomes U+FFFD), no control characters, at most 256 bytes.
/// May be empty.
pub(crate) fn label_text(bytes: &[u8]) -> String {
    let head = bytes.get(..4 * MAX_BYTES).unwrap_or(bytes);
    let mut text = String::new();
    for c in String::from_utf8_lossy(head)
        .chars()
        .filter(|c| !c.is_control())
    {
        if text.len() + c.len_utf8() > MAX_BYTES {
            break;
        }
        text.push(c);
    }
    text
}

/// `text` as the name of a label that every reader takes: `app.kubernetes.io/name` is `app_kubernetes_io_name`. May be empty.
pub(crate) fn label_name(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = text.chars().take(MAX_BYTES - 1).map(fit).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    /// A name as it is: nothing that is readable is changed.
    #[test]
    fn keeps_readable_text() {
        assert_eq!(
            label_text("naïve-service_1.2@a:b".as_bytes()),
            "naïve-service_1.2@a:b"
        );
    }

    /// Names with dots, dashes or slashes are hidden from readers that do not ask for them.
    #[test]
    fn names_are_plain() {
        for (text, name) in [
            ("app.kubernetes.io/name", "app_kubernetes_io_name"),
            ("team", "team"),
            ("2nd-tier", "_2nd_tier"),
            ("é", "_"),
            ("", ""),
        ] {
            assert_eq!(label_name(text), name);
        }
    }

    /// Line breaks would break log lines and folded stacks, escapes a terminal; both are C0 or C1 controls.
    #[test]
    fn removes_control_characters() {
        assert_eq!(label_text(b"a\nb\x1b[31mc\x7f\xc2\x9b\0"), "ab[31mc");
    }

    /// Whatever the bytes: bounded, and no control characters.
    #[test]
    fn is_bounded_for_random_bytes() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..2000 {
            let length = random.random_range(0..3000);
            let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            let text = label_text(&bytes);
            assert!(text.len() <= MAX_BYTES && !text.contains(char::is_control));
        }
    }
}
