//! `cargo run -p quorate-codegen` writes the code of the .proto files anew, into `proto/src/gen`. The test
//! proves that what is committed there is fresh.

use anyhow::Context as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    for (file, fresh) in stale()? {
        fs::write(&file, fresh).with_context(|| file.display().to_string())?;
        writeln!(io::stdout(), "{}", file.display())?;
    }
    Ok(())
}

/// The committed files that are not what the .proto files say, with what they should be.
fn stale() -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = tempfile::tempdir()?;
    generate(&proto.join("proto"), out.path())?;
    let mut stale = Vec::new();
    for entry in fs::read_dir(out.path())? {
        let entry = entry?;
        let committed = proto.join("src/gen").join(entry.file_name());
        let fresh = fs::read(entry.path())?;
        if fs::read(&committed).ok().as_ref() != Some(&fresh) {
            stale.push((committed, fresh));
        }
    }
    Ok(stale)
}

fn generate(include: &Path, out: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    proto_files(include, &mut files)?;
    let descriptors = protox::compile(&files, [include])?;
    let encoded = prost::Message::encode_to_vec(&descriptors);
    fs::write(out.join("descriptors.bin"), encoded)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(out)
        .compile_fds(descriptors)?;
    Ok(())
}

fn proto_files(dir: &Path, out: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            proto_files(&path, out)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            out.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_code_is_committed_and_fresh() {
        let stale = super::stale().expect("the .proto files compile");
        let files: Vec<_> = stale.iter().map(|(file, _)| file).collect();
        assert!(
            files.is_empty(),
            "stale: {files:?}; run cargo run -p quorate-codegen"
        );
    }
}
