//! Containers of Docker and podman by what lies on disk: for an engine whose socket is missing or does not answer. podman needs no
//! service to run, so its socket is missing on most hosts.

use super::error::AskError;
use super::specification::Specification;
use super::{ContainerInfo, bounds, engine};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where Docker keeps a directory for each container, below a root directory.
const DOCKER: &str = "var/lib/docker/containers";
/// Where podman and CRI-O keep containers, below a root directory.
const STORAGE: &str = "var/lib/containers/storage";
/// End of the name of a directory there; before it is the storage driver.
const OF_DRIVER: &str = "-containers";

/// Longest file that is read: podman's list of a thousand containers has some 2 MB.
const MAX_FILE: u64 = 8 << 20;

/// A container in `containers.json` of containers/storage.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    id: String,
    names: Vec<String>,
    /// JSON again.
    metadata: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    image_name: String,
    name: String,
}

/// The container `id` in Docker's state.
pub(super) fn docker(roots: &[PathBuf], id: &str) -> Result<Option<ContainerInfo>, AskError> {
    let mut found = Err(AskError::Absent);
    for root in roots {
        let directory = root.join(DOCKER);
        if !directory.is_dir() {
            continue;
        }
        match read(&directory.join(id).join("config.v2.json")) {
            Ok(json) => return engine::told(&json).map(Some),
            Err(AskError::Absent) => found = Ok(None),
            Err(error) => return Err(error),
        }
    }
    found
}

/// The container `id` in podman's state, which holds no labels.
pub(super) fn podman(roots: &[PathBuf], id: &str) -> Result<Option<ContainerInfo>, AskError> {
    let mut found = Err(AskError::Absent);
    for root in roots {
        for directory in of_drivers(&root.join(STORAGE))? {
            let list = match read(&directory.join("containers.json")) {
                Ok(list) => list,
                Err(AskError::Absent) => continue,
                Err(error) => return Err(error),
            };
            let list: Vec<Stored> = serde_json::from_slice(&list).map_err(AskError::protocol)?;
            if let Some(stored) = list.into_iter().find(|stored| stored.id == id) {
                return Ok(Some(told(&stored, &directory)));
            }
            found = Ok(None);
        }
    }
    found
}

fn of_drivers(storage: &Path) -> Result<Vec<PathBuf>, AskError> {
    let entries = match fs::read_dir(storage) {
        Ok(entries) => entries,
        Err(error) => {
            return match AskError::io(storage.to_owned(), error) {
                AskError::Absent => Ok(Vec::new()),
                error => Err(error),
            };
        }
    };
    let of_driver = |path: &PathBuf| {
        let name = path.file_name();
        name.is_some_and(|name| name.to_string_lossy().ends_with(OF_DRIVER))
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(of_driver).collect())
}

fn told(stored: &Stored, directory: &Path) -> ContainerInfo {
    let metadata: Metadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
    // It is there from the container's first start on.
    let specification = directory.join(&stored.id).join("userdata/config.json");
    let specification: Specification = read(&specification)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    let first = stored.names.first().map_or("", String::as_str);
    ContainerInfo {
        name: bounds::name(&metadata.name).or_else(|| bounds::name(first)),
        image: bounds::image([metadata.image_name.as_str()]),
        environment: bounds::environment(&specification.process.env),
        ..ContainerInfo::default()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AskError> {
    let failed = |error| AskError::io(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    let length = file.take(MAX_FILE + 1).read_to_end(&mut content);
    if length.map_err(failed)? as u64 > MAX_FILE {
        return Err(AskError::TooLong(content.len() - 1));
    }
    Ok(content)
}
