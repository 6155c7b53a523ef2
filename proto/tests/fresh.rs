//! Proves that the committed generated code is what the .proto files say.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

fn proto_files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            proto_files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            out.push(path);
        }
    }
}

#[test]
fn generated_code_is_committed_and_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let include = root.join("proto");
    let mut files = Vec::new();
    proto_files(&include, &mut files);
    let descriptors = protox::compile(&files, [&include]).expect("the .proto files compile");
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .file_descriptor_set_path(out.path().join("descriptors.bin"))
        .out_dir(out.path())
        .compile_fds(descriptors.clone())
        .expect("code is generated");
    std::fs::write(
        out.path().join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )
    .unwrap();

    let committed = root.join("src/gen");
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(out.path()).unwrap() {
        let path = entry.unwrap().path();
        let target = committed.join(path.file_name().unwrap());
        let fresh = std::fs::read(&path).unwrap();
        if std::fs::read(&target).ok().as_deref() != Some(&fresh[..]) {
            if std::env::var_os("UPDATE_PROTO").is_some() {
                std::fs::write(&target, &fresh).unwrap();
            } else {
                stale.push(target);
            }
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; run UPDATE_PROTO=1 cargo test -p quorate-proto"
    );
}
