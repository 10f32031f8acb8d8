//! What is wrong with the documents of one `apply`: each complaint with its file, line, column and field. Bounded, so that
//! a megabyte of nonsense is answered with a page.

use api::v1::Complaint;
use runtime::yaml::Position;

/// Most complaints that are told; more are counted. A person mends a few and tries again.
const COMPLAINTS_MAX: usize = 100;

/// The complaints so far.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    file: String,
    told: Vec<Complaint>,
    untold: usize,
}

impl Complaints {
    /// What follows is about this file.
    pub(super) fn in_file(&mut self, file: &str) {
        file.clone_into(&mut self.file);
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn add(&mut self, position: Position, field: &str, message: impl Into<String>) {
        if self.is_full() {
            self.untold += 1;
            return;
        }
        self.told.push(Complaint {
            file: self.file.clone(),
            line: u32::try_from(position.line).unwrap_or(u32::MAX),
            column: u32::try_from(position.column).unwrap_or(u32::MAX),
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// Whether what is added is only counted: then it is not worth finding words for.
    pub(super) fn is_full(&self) -> bool {
        self.told.len() >= COMPLAINTS_MAX
    }

    pub(super) fn count(&self) -> usize {
        self.told.len() + self.untold
    }

    /// In the order of the files and, within one, of the lines.
    pub(super) fn into_list(mut self) -> Vec<Complaint> {
        // Files stay in the order given: their complaints already stand together.
        for of_one_file in self.told.chunk_by_mut(|left, right| left.file == right.file) {
            of_one_file.sort_by_key(|complaint| (complaint.line, complaint.column));
        }
        if self.untold > 0
            && let Some(last) = self.told.last_mut()
        {
            let untold = self.untold;
            last.message.push_str(&format!(" (and {untold} more complaints: mend these first)"));
        }
        self.told
    }
}
