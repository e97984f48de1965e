//! What is known of a process when its samples are drained.

use super::label::label_text;
use super::{CgroupOwner, Declaration, Declared};
use std::sync::Arc;

/// What a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program<'a> {
    /// Kernel thread, the idle task among them.
    Kernel,
    /// Path of the executable as /proc/PID/exe shows it, or the process's name where that is all there is.
    Executable(&'a [u8]),
}

/// Where a process runs, or, where that says nothing, what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In the kernel.
    Kernel,
    /// In a container or a unit.
    ///
    /// Its executable does not matter: a container runs many, which one is the main one changes while it starts (`runc`, `sh`,
    /// `java`), and a name that flips splits a series.
    Cgroup(Arc<CgroupOwner>),
    /// In neither: the name of the executable, or of the script that it runs.
    Executable(String),
}

/// Whom a process belongs to, as far as it and its cgroup can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(super) place: Place,
    /// What the process says the name of its service is.
    pub(super) service_name: Option<Arc<str>>,
    /// Where it will be read what the process says, if that had not been read yet.
    pending: Option<Declared>,
}

impl Identity {
    /// That of a process in this cgroup.
    pub(crate) fn of(
        cgroup: Option<Arc<CgroupOwner>>,
        program: Program<'_>,
        declared: &Declared,
    ) -> Self {
        let place = match (program, cgroup) {
            // Kernel threads are `kernel` wherever they are: vhost workers sit in the virtual machine's cgroup.
            (Program::Kernel, _) => {
                return Self {
                    place: Place::Kernel,
                    service_name: None,
                    pending: None,
                };
            }
            (Program::Executable(_), Some(cgroup)) => Place::Cgroup(cgroup),
            (Program::Executable(path), None) => Place::Executable(executable_name(path)),
        };
        match declared.get() {
            Some(declaration) => Self::declared(place, declaration),
            None => Self {
                place,
                service_name: None,
                pending: Some(declared.clone()),
            },
        }
    }

    fn declared(place: Place, declaration: &Declaration) -> Self {
        let place = match place {
            Place::Executable(name) => {
                let script = declaration.script_of(&name).map(str::to_owned);
                Place::Executable(script.unwrap_or(name))
            }
            other => other,
        };
        Self {
            place,
            service_name: declaration.service_name.clone(),
            pending: None,
        }
    }

    /// Where it runs, among those who cannot make up names for each other: in a container, a unit, a user's session; or elsewhere,
    /// where anyone can give an executable any name.
    pub(crate) fn realm(&self) -> Arc<str> {
        match &self.place {
            Place::Kernel => "kernel".into(),
            Place::Cgroup(cgroup) => Arc::clone(&cgroup.realm),
            Place::Executable(_) => "".into(),
        }
    }

    /// The same with what has been read meanwhile, or without, if it still has not.
    pub(crate) fn settled(self: &Arc<Self>) -> Arc<Self> {
        let Some(declared) = &self.pending else {
            return Arc::clone(self);
        };
        let nothing = Declaration::default();
        let declaration = declared.get().unwrap_or(&nothing);
        Arc::new(Self::declared(self.place.clone(), declaration))
    }
}

/// Last component of an executable's path; never empty.
pub(crate) fn executable_name(path: &[u8]) -> String {
    // The kernel marks a file that was replaced while it runs; an upgrade shall not begin a new series.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = label_text(path.rsplit(|c| *c == b'/').next().unwrap_or(path));
    // Servers refuse an empty service_name.
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declaration(command: &[&str], environment: &str) -> Declaration {
        let command: String = command.iter().map(|word| format!("{word}\0")).collect();
        Declaration::new(
            b"/usr/bin/python3.11",
            command.as_bytes(),
            environment.as_bytes(),
        )
    }

    /// The forms in which the kernel and a lying process write an executable.
    #[test]
    fn executables_by_last_component() {
        for (path, name) in [
            (&b"/usr/sbin/nginx"[..], "nginx"),
            (b"/usr/sbin/nginx (deleted)", "nginx"),
            (b"/memfd:runc_cloned (deleted)", "memfd:runc_cloned"),
            (b"kworker-like", "kworker-like"),
            (b"", "unknown"),
            (b"/", "unknown"),
            (b"/tmp/\n\x07", "unknown"),
            (b"/tmp/\xff", "\u{fffd}"),
        ] {
            assert_eq!(executable_name(path), name);
        }
    }

    /// What is read of a process after its samples were drained still counts, and what never is changes nothing.
    #[test]
    fn a_late_declaration_counts() {
        let (late, never) = (Declared::default(), Declared::default());
        let python = Program::Executable(b"python3.11");
        let (of_late, of_never) = (
            Arc::new(Identity::of(None, python, &late)),
            Arc::new(Identity::of(None, python, &never)),
        );
        assert_ne!(of_late, of_never);
        late.set(declaration(&["python3", "app.py"], ""));
        assert_eq!(of_late.settled().place, Place::Executable("app".into()));
        assert_eq!(
            of_never.settled().place,
            Place::Executable("python3.11".into())
        );
        assert_eq!(*of_late.settled(), Identity::of(None, python, &late));
    }

    /// A script's name is that of the interpreter it was read of, not of what the process ran before or after.
    #[test]
    fn a_script_belongs_to_its_interpreter() {
        let declared = Declared::default();
        declared.set(declaration(&["python3", "app.py"], ""));
        let shell = Identity::of(None, Program::Executable(b"dash"), &declared);
        assert_eq!(shell.place, Place::Executable("dash".into()));
    }

    /// Programs of one unit that call themselves the same, or nothing, are one; the executable does not count.
    #[test]
    fn executables_of_a_unit_are_one() {
        let unit = CgroupOwner::of_path(b"/system.slice/web.service").map(Arc::new);
        let said = Declared::default();
        said.set(declaration(&["x"], "OTEL_SERVICE_NAME=shop\0"));
        let silent = Declared::default();
        silent.set(Declaration::default());
        let of = |exe: &'static [u8], declared| {
            Identity::of(unit.clone(), Program::Executable(exe), declared)
        };
        assert_eq!(of(b"a", &said), of(b"b", &said));
        assert_eq!(of(b"a", &silent), of(b"b", &silent));
        assert_ne!(of(b"a", &said), of(b"a", &silent));
        let kernel = Identity::of(unit.clone(), Program::Kernel, &said);
        assert_eq!(kernel.place, Place::Kernel);
    }
}
