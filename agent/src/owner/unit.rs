//! Names of systemd's services and slices as they stand in cgroup paths.

use super::label::label_text;

/// A systemd service, or a slice that holds processes without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    /// Unit of the user manager that runs it (`user@1000.service`), none for the system's own services.
    pub(crate) manager: Option<String>,
    /// Unit name with its `.service` or `.slice`, unescaped.
    pub(crate) name: String,
}

impl Unit {
    /// Label `unit`. A service of a user carries its manager's name (`user@1000.service/sshd.service`), because a user
    /// may call a service what he likes and must not be taken for the system's service of that name.
    pub(crate) fn label(&self) -> String {
        match &self.manager {
            Some(manager) => format!("{manager}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Unit name without `.service` or `.slice`.
    pub(crate) fn short_name(&self) -> &str {
        self.name
            .rsplit_once('.')
            .map_or(&self.name, |(name, _)| name)
    }
}

/// Unit name of a component `*.service`.
pub(super) fn service_unit(component: &[u8]) -> Option<String> {
    // systemd puts an underscore before unit names that would collide with the kernel's own file names (cpu.service).
    let unit = component.strip_prefix(b"_").unwrap_or(component);
    let stem = unit.strip_suffix(b".service")?;
    let stem = label_text(&unescape(stem));
    (!stem.is_empty()).then(|| format!("{stem}.service"))
}

/// Top slices of systemd and of the kubelet: whose something in them is, is told by what they hold.
const DIVIDED: [&[u8]; 4] = [b"system", b"user", b"machine", b"kubepods"];

/// Unit name of the slice that the cgroup `path` lies in, if an administrator has made it for something. systemd puts `a-b.slice` into
/// `a.slice`; what is no such slice ends the row, because others may make cgroups below.
pub(super) fn slice_unit(path: &[u8]) -> Option<String> {
    let mut slice: Option<&[u8]> = None;
    for component in path.split(|c| *c == b'/').filter(|c| !c.is_empty()) {
        let Some(stem) = component.strip_suffix(b".slice") else {
            break;
        };
        let is_below = |top: &[u8]| {
            stem.strip_prefix(top)
                .is_some_and(|rest| rest.starts_with(b"-"))
        };
        if stem.is_empty() || slice.is_some_and(|slice| !is_below(slice)) {
            break;
        }
        slice = Some(stem);
    }
    let slice = slice?;
    let top = slice.split(|c| *c == b'-').next()?;
    let name = label_text(&unescape(slice));
    (!DIVIDED.contains(&top) && !name.is_empty()).then(|| format!("{name}.slice"))
}

/// Whether a unit is a user's manager: his session and his services below it, not a service of its own.
pub(super) fn is_user_manager(unit: &str) -> bool {
    unit.starts_with("user@")
}

/// Uid of the user whose manager this component is.
pub(super) fn user_of_manager(component: &[u8]) -> Option<u32> {
    let uid = component
        .strip_prefix(b"user@")?
        .strip_suffix(b".service")?;
    std::str::from_utf8(uid).ok()?.parse().ok()
}

/// Undoes systemd's escaping: `\xNN` is the byte NN.
pub(super) fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        match tail {
            [b'x', high, low, after @ ..] if byte == b'\\' => {
                if let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) {
                    out.push(high << 4 | low);
                    rest = after;
                    continue;
                }
            }
            _ => {}
        }
        out.push(byte);
        rest = tail;
    }
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs made with `systemd-escape`, and broken escapes, which stay as they are.
    #[test]
    fn unescapes_as_systemd_does() {
        for (escaped, plain) in [
            (&br"dbus\x2dbroker"[..], &b"dbus-broker"[..]),
            (
                br"systemd-fsck@dev-disk-by\x2duuid-1A2B",
                b"systemd-fsck@dev-disk-by-uuid-1A2B",
            ),
            (br"a\x5cx", br"a\x"),
            (br"caf\xc3\xa9", "café".as_bytes()),
            (br"\x", br"\x"),
            (br"\x2", br"\x2"),
            (br"\xzz", br"\xzz"),
            (br"\\x2d", br"\-"),
            (b"", b""),
        ] {
            assert_eq!(
                unescape(escaped),
                plain,
                "{}",
                String::from_utf8_lossy(escaped)
            );
        }
    }

    /// What is a service's cgroup and what only looks like one.
    #[test]
    fn tells_service_units() {
        assert_eq!(
            service_unit(b"nginx.service").as_deref(),
            Some("nginx.service")
        );
        assert_eq!(
            service_unit(b"_cpu.service").as_deref(),
            Some("cpu.service")
        );
        assert_eq!(
            service_unit(b"__odd.service").as_deref(),
            Some("_odd.service")
        );
        for other in [
            &b".service"[..],
            b"_.service",
            b"nginx.service.d",
            b"service",
            b"init.scope",
            b"a.slice",
            b"",
        ] {
            assert_eq!(
                service_unit(other),
                None,
                "{}",
                String::from_utf8_lossy(other)
            );
        }
    }
    /// The innermost slice of a row, as far as systemd makes it, and none of those that systemd divides further.
    #[test]
    fn tells_slices() {
        for (path, unit) in [
            ("/batch.slice", Some("batch.slice")),
            ("/batch.slice/run-r0b1c.scope", Some("batch.slice")),
            (
                "/batch.slice/batch-night.slice/a.scope/x",
                Some("batch-night.slice"),
            ),
            ("/batch.slice/other.slice", Some("batch.slice")),
            (
                "/batch.slice/run-1.scope/batch-x.slice",
                Some("batch.slice"),
            ),
            (r"/my\x2djobs.slice", Some("my-jobs.slice")),
            ("/system.slice", None),
            ("/system.slice/system-getty.slice", None),
            ("/user.slice/user-1000.slice/session-2.scope", None),
            (
                "/machine.slice/machine-libpod_pod_00.slice/libpod-conmon-00.scope",
                None,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/crio-conmon-00.scope",
                None,
            ),
            ("/init.scope", None),
            ("/plain/batch.slice", None),
            ("/.slice", None),
            ("/", None),
        ] {
            assert_eq!(slice_unit(path.as_bytes()).as_deref(), unit, "{path}");
        }
    }
}
