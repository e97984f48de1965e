//! An image of one static program, made of local files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Path of the program in the image; `program.c` says what it does.
pub const PROGRAM: &str = "/program";

/// Makes the file system of the image as a tar file in `directory`.
pub fn file_system(directory: &Path) -> PathBuf {
    let root = directory.join("image");
    fs::create_dir_all(root.join("etc")).unwrap();
    // containerd looks up who it shall run as.
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/program\n").unwrap();
    let source = directory.join("program.c");
    fs::write(&source, include_str!("program.c")).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-O1", "-o"]);
    run(compiler.arg(root.join("program")).arg(&source));
    let tar = directory.join("image.tar");
    tar_of(&root, &tar);
    tar
}

/// Makes a file system of the libraries that `program` is linked with, as a tar file in `directory`.
pub(super) fn of_libraries(directory: &Path, program: &Path) -> PathBuf {
    let root = directory.join("libraries");
    copy_libraries(program, &root);
    let tar = directory.join("libraries.tar");
    tar_of(&root, &tar);
    tar
}

/// Copies the libraries that `program` is linked with to where they are found below the root directory `root`.
pub fn copy_libraries(program: &Path, root: &Path) {
    let list = run(Command::new("ldd").arg(program));
    for library in list
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('/'))
    {
        let copy = root.join(library);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(Path::new("/").join(library), copy).unwrap();
    }
}

/// Makes an image `name` as `docker save` writes it, of the file system `layer`, in `directory`.
pub fn archive(directory: &Path, layer: &Path, name: &str) -> PathBuf {
    let root = directory.join("archive");
    fs::create_dir_all(&root).unwrap();
    fs::copy(layer, root.join("layer.tar")).unwrap();
    let sum = run(Command::new("sha256sum").arg(layer));
    let sum = sum.split_whitespace().next().unwrap();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        // Two images of one content are one to containerd, which tells either name.
        "config": {"Entrypoint": [PROGRAM], "Labels": {"name": name}},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}
    ]);
    fs::write(root.join("config.json"), config.to_string()).unwrap();
    fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
    let tar = directory.join("archive.tar");
    tar_of(&root, &tar);
    tar
}

fn tar_of(directory: &Path, file: &Path) {
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(directory).arg("-cf").arg(file).arg("."));
}

/// What a command prints that must succeed.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
