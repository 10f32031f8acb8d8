//! Files as `apply` and `delete` are given them: a file, a folder's YAML files, or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use api::v1::SourceFile;

use crate::answer::Failure;

/// Most bytes of one `apply`: what a control node takes in one request (config.proto).
const BYTES_MAX: u64 = 4 << 20;

/// Reads every path; all that cannot be read is told at once.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    let mut wrong = Vec::new();
    let mut room = BYTES_MAX;
    for path in paths {
        match expanded(path) {
            Err(complaint) => wrong.push(complaint),
            Ok(found) => {
                for file in found {
                    match read_one(&file, room) {
                        Err(complaint) => wrong.push(complaint),
                        Ok(read) => {
                            room = room.saturating_sub(read.yaml.len() as u64);
                            files.push(read);
                        }
                    }
                }
            }
        }
    }
    if wrong.is_empty() { Ok(files) } else { Err(Failure::Refused(wrong.join("\n       "))) }
}

/// A folder's `.yaml` and `.yml` files by name, not those of folders in it; any other path as it is.
fn expanded(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let listed = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = listed.map_err(|error| format!("cannot list {}: {error}", path.display()))?;
    let mut found: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    found.retain(|file| file.is_file() && file.extension().is_some_and(|end| end == "yaml" || end == "yml"));
    found.sort();
    if found.is_empty() {
        return Err(format!("{} holds no .yaml or .yml file", path.display()));
    }
    Ok(found)
}

fn read_one(path: &Path, room: u64) -> Result<SourceFile, String> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let taken = if path == Path::new("-") {
        std::io::stdin().lock().take(room + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(room + 1).read_to_end(&mut bytes))
    };
    taken.map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > room {
        return Err(format!("{name}: all files together are larger than 4 MiB: apply them in several steps"));
    }
    let yaml = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{name}: byte {at} is not UTF-8 text: is it a YAML file?")
    })?;
    Ok(SourceFile { name, yaml })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// A folder that is gone with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn holding(name: &str, files: &[(&str, &[u8])]) -> Self {
            let path = std::env::temp_dir().join(format!("penstock-files-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            for (name, bytes) in files {
                std::fs::write(path.join(name), bytes).unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_gives_its_yaml_files_by_name() {
        let folder = Folder::holding("folder", &[("b.yml", b"b"), ("a.yaml", b"a"), ("notes.txt", b"no")]);
        let read = read(std::slice::from_ref(&folder.0)).unwrap();
        assert_eq!(read.iter().map(|file| file.yaml.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(read[0].name.ends_with("/a.yaml"));
    }

    #[test]
    fn everything_that_cannot_be_read_is_told_at_once() {
        let folder = Folder::holding("faults", &[("bad.yaml", b"a: \xff")]);
        let said = read(&[folder.0.join("bad.yaml"), folder.0.join("absent.yaml")]).unwrap_err().to_string();
        assert!(said.contains("byte 3 is not UTF-8") && said.contains("absent.yaml: No such file"), "{said}");
    }

    #[test]
    fn more_than_a_request_may_hold_is_refused() {
        let folder = Folder::holding("large", &[("a.yaml", &vec![b' '; 4 << 20]), ("b.yaml", b" ")]);
        assert!(read(std::slice::from_ref(&folder.0)).unwrap_err().to_string().contains("larger than 4 MiB"));
    }
}
