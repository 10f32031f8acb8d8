//! A file while it is not whole: beside its place, under a name of its own, gone when it is given up. Whoever is killed leaves it
//! behind; the next one to the same place clears it away. Must never touch what a process that lives is writing.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::answer::Failure;

/// How the name of an unfinished file ends, behind the number of its process.
const ENDING: &str = ".partial";

/// The file. It is locked for as long as its process lives, which is how the others know.
pub(super) struct Partial {
    path: PathBuf,
    pub(super) file: File,
}

impl Partial {
    /// Of what is to stand at `target`.
    pub(super) fn create(target: &Path) -> Result<Self, Failure> {
        clear_away_dead(target);
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}{ENDING}", std::process::id()));
        let path = target.with_file_name(name);
        let refused =
            |error: &std::io::Error| Failure::Refused(format!("cannot write {}: {error}", path.display()));
        // Not emptied before it is locked: in another container, a process of the same number may be writing it.
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| refused(&error))?;
        if is_locked(&file) {
            let path = path.display();
            return Err(Failure::Refused(format!("another save is writing {path}; run it again after that")));
        }
        file.set_len(0).map_err(|error| refused(&error))?;
        Ok(Self { path, file })
    }

    pub(super) fn refused(&self, action: &str, error: &std::io::Error) -> Failure {
        Failure::Refused(format!("cannot {action} {}: {error}", self.path.display()))
    }

    /// Gives it its name, durably.
    pub(super) fn keep(self, target: &Path) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.refused("sync", &error))?;
        std::fs::rename(&self.path, target).map_err(|error| self.refused("rename", &error))?;
        let synced = File::open(directory_of(target)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.refused("sync the directory of", &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Under its name it is kept: then there is nothing left here to remove.
        let _renamed = std::fs::remove_file(&self.path);
    }
}

/// Removes what dead processes left of `target`. A file that cannot be looked at or removed is left, and harms nobody.
fn clear_away_dead(target: &Path) {
    let Some(name) = target.file_name().and_then(|name| name.to_str()) else { return };
    let is_one_of_ours = |other: &str| {
        let number = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(ENDING));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let entries = std::fs::read_dir(directory_of(target)).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one_of_ours)) {
        if OpenOptions::new().write(true).open(entry.path()).is_ok_and(|file| !is_locked(&file)) {
            let _gone_already = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether another process has it; if not, this one has. A file system without locks answers that nobody does.
fn is_locked(file: &File) -> bool {
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

fn directory_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_a_killed_process_left_is_cleared_away_and_what_a_living_one_writes_is_not() {
        let folder = std::env::temp_dir().join(format!("penstock-partial-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let target = folder.join("mesh.backup");
        for left in
            ["mesh.backup.1.partial", "mesh.backup.2.partial", "mesh.backup.old.partial", "other.1.partial"]
        {
            std::fs::write(folder.join(left), "half").unwrap();
        }
        let living = File::open(folder.join("mesh.backup.2.partial")).unwrap();
        living.lock().unwrap();
        let own = format!("mesh.backup.{}.partial", std::process::id());
        std::fs::write(folder.join(&own), "of a process that had this number before").unwrap();
        let partial = Partial::create(&target).unwrap();
        assert_eq!(partial.file.metadata().unwrap().len(), 0);
        let mut left =
            vec!["mesh.backup.2.partial", "mesh.backup.old.partial", "other.1.partial", own.as_str()];
        left.sort_unstable();
        assert_eq!(names(&folder), left);
        let second = Partial::create(&target).map(|_| ()).unwrap_err();
        assert!(second.to_string().contains("another save is writing"), "{second}");
        partial.keep(&target).unwrap();
        assert_eq!(names(&folder)[..2], ["mesh.backup", "mesh.backup.2.partial"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
