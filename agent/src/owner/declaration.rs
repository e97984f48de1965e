//! What a process says of itself: the name of its service in its environment, and the script that it runs.

use super::identity::executable_name;
use super::label::label_text;
use super::script::script_name;
use percent_encoding::percent_decode_str;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// OpenTelemetry's variables, which its SDKs read too.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What a process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// Name of its service.
    pub(super) service_name: Option<Arc<str>>,
    /// Name of an interpreter, and that of the script that it runs.
    script: Option<(String, Arc<str>)>,
}

impl Declaration {
    /// That of a process of this executable, by its command line and environment as /proc shows them.
    pub(crate) fn new(executable: &[u8], command_line: &[u8], environment: &[u8]) -> Self {
        let executable = executable_name(executable);
        let script = script_name(&executable, command_line);
        Self {
            service_name: service_name(|wanted| {
                let mut variables = environment.split(|byte| *byte == 0);
                variables.find_map(|variable| {
                    let value = variable.strip_prefix(wanted.as_bytes())?;
                    Some(label_bytes(value.strip_prefix(b"=")?))
                })
            }),
            script: script.map(|script| (executable, script.into())),
        }
    }

    /// The script that a process runs while its executable is this one.
    pub(crate) fn script_of(&self, executable: &str) -> Option<&str> {
        let (interpreter, script) = self.script.as_ref()?;
        (interpreter == executable).then_some(script)
    }

    /// Name of its service.
    pub(crate) fn service_name(&self) -> Option<&Arc<str>> {
        self.service_name.as_ref()
    }
}

/// The name of a service by OpenTelemetry's variables.
pub(super) fn service_name(variable: impl Fn(&str) -> Option<String>) -> Option<Arc<str>> {
    let name = |text: &str| {
        let name = label_text(text.trim().as_bytes());
        (!name.is_empty()).then(|| Arc::from(name))
    };
    if let Some(name) = variable(SERVICE_NAME).and_then(|text| name(&text)) {
        return Some(name);
    }
    // `key=value,key=value`, where other characters than a W3C baggage may have are percent-encoded.
    let attributes = variable(RESOURCE_ATTRIBUTES)?;
    attributes.split(',').find_map(|attribute| {
        let (key, value) = attribute.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy();
        (key.trim() == "service.name").then(|| name(&value))?
    })
}

fn label_bytes(value: &[u8]) -> String {
    // More than a label may have: attributes hold several values.
    const MAX_BYTES: usize = 8192;
    String::from_utf8_lossy(value.get(..MAX_BYTES).unwrap_or(value)).into_owned()
}

/// That of a process that could not be read.
static NOTHING: Declaration = Declaration {
    service_name: None,
    script: None,
};

/// A declaration that is read soon after its program began. A fork shares that of its parent: it has the same environment and
/// command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared(Arc<OnceLock<Option<Declaration>>>);

impl Declared {
    /// What was read, an empty one if it could not be; nothing if it has not been read yet.
    pub(crate) fn get(&self) -> Option<&Declaration> {
        let read = self.0.get()?;
        Some(read.as_ref().unwrap_or(&NOTHING))
    }

    /// What was read, if it was.
    pub(crate) fn read(&self) -> Option<&Declaration> {
        self.0.get()?.as_ref()
    }

    /// This was read; the first reading counts.
    pub(crate) fn set(&self, declaration: Declaration) {
        let _ = self.0.set(Some(declaration));
    }

    /// It cannot be read.
    pub(crate) fn give_up(&self) {
        let _ = self.0.set(None);
    }
}

/// The same reading, whatever it will be.
impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Declared {}

impl Hash for Declared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn named(environment: &[u8]) -> Option<String> {
        let declaration = Declaration::new(b"/bin/app", b"app\0", environment);
        declaration.service_name.map(|name| name.to_string())
    }

    /// The variable made for it counts more than the list of attributes, whatever their order; what is empty does not count.
    #[test]
    fn names_of_services() {
        for (environment, name) in [
            (&b"A=1\0OTEL_SERVICE_NAME=shop\0"[..], Some("shop")),
            (
                b"OTEL_RESOURCE_ATTRIBUTES=service.name=b\0OTEL_SERVICE_NAME=a",
                Some("a"),
            ),
            (
                b"OTEL_SERVICE_NAME=\0OTEL_RESOURCE_ATTRIBUTES=host.name=h, service.name = my%20shop ,x\0",
                Some("my shop"),
            ),
            (b"OTEL_RESOURCE_ATTRIBUTES=service.namespace=n\0", None),
            (b"OTEL_RESOURCE_ATTRIBUTES=service.name=\0", None),
            (b"NOT_OTEL_SERVICE_NAME=x\0OTEL_SERVICE_NAME_2=y\0", None),
            (b"OTEL_SERVICE_NAME", None),
            (b"", None),
        ] {
            assert_eq!(named(environment).as_deref(), name, "{}", String::from_utf8_lossy(environment));
        }
    }

    /// Whatever a process has in its environment: no panic, and a name that is fit to be a label.
    #[test]
    fn any_bytes_are_borne() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..2000 {
            let mut environment = b"OTEL_RESOURCE_ATTRIBUTES=service.name=".to_vec();
            environment.extend((0..random.random_range(0..600)).map(|_| random.random::<u8>()));
            let name = named(&environment).unwrap_or_default();
            assert!(name.len() <= 256 && !name.contains(char::is_control));
        }
    }
}
