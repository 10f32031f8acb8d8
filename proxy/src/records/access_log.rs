//! The thread that writes the access log. It looks into the queue ten times a second instead of being woken by each
//! record: waking it would cost the worker a system call per request. Must never run on a worker's thread.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing::warn;

use super::aside::Aside;
use super::line::Format;
use super::record::Record;

/// How often the queue is looked into: how late a line may be, and how much of a burst the queue must hold.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether the file was moved away (logrotate) and must be opened anew.
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// Bytes gathered into one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// The access log of one proxy.
#[derive(Debug)]
pub(super) struct AccessLog {
    thread: Aside,
}

impl AccessLog {
    /// Writes what comes from `records` to `file`, or to standard output.
    ///
    /// # Errors
    /// If the file cannot be opened or the thread cannot be started.
    pub(super) fn start(
        format: Format,
        file: Option<PathBuf>,
        records: Receiver<Box<Record>>,
        lost: IntCounter,
    ) -> io::Result<Self> {
        let sink = match file {
            Some(path) => Sink::File(Rotated::open(path)?),
            None => Sink::Standard(io::stdout()),
        };
        let writer = Writer { format, sink, lost, warned: false };
        Ok(Self { thread: Aside::start("access-log", move || writer.run(&records))? })
    }

    /// Waits until all is written, for a bounded time; the workers must have ended.
    pub(super) fn finished(self) {
        self.thread.finished();
    }
}

#[derive(Debug)]
enum Sink {
    Standard(io::Stdout),
    File(Rotated),
}

/// A file that is opened anew when somebody has moved it away.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl Rotated {
    fn open(path: PathBuf) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot open the access log {}: {error}", path.display()))
        };
        let file = opened(&path).map_err(named)?;
        Ok(Self { path, file, looked: Instant::now() })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.looked.elapsed() >= REOPEN_EVERY {
            self.looked = Instant::now();
            let is_same = match (std::fs::metadata(&self.path), self.file.metadata()) {
                (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
                _ => false,
            };
            if !is_same {
                self.file = opened(&self.path)?;
            }
        }
        self.file.write_all(lines)
    }
}

/// Appends, so that a file that was cut to nothing (logrotate's `copytruncate`) goes on at its beginning.
fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

struct Writer {
    format: Format,
    sink: Sink,
    /// Lines that could not be written.
    lost: IntCounter,
    warned: bool,
}

impl Writer {
    fn run(mut self, records: &Receiver<Box<Record>>) {
        loop {
            let (lines, count, is_over) = self.gathered(records);
            if count > 0 {
                self.write(&lines, count);
            }
            match (is_over, count) {
                (true, _) => return,
                (false, 0) => std::thread::park_timeout(LOOK_EVERY),
                // More may wait already.
                (false, _) if lines.len() >= WRITE_BYTES_MAX => {}
                (false, _) => std::thread::park_timeout(LOOK_EVERY),
            }
        }
    }

    /// Lines for one write, how many, and whether no more can come.
    fn gathered(&self, records: &Receiver<Box<Record>>) -> (String, u64, bool) {
        let (mut lines, mut count) = (String::new(), 0);
        while lines.len() < WRITE_BYTES_MAX {
            match records.try_recv() {
                Ok(record) => {
                    self.format.write(&record, &mut lines);
                    count += 1;
                }
                Err(TryRecvError::Empty) => return (lines, count, false),
                Err(TryRecvError::Disconnected) => return (lines, count, true),
            }
        }
        (lines, count, false)
    }

    fn write(&mut self, lines: &str, count: u64) {
        let written = match &mut self.sink {
            Sink::Standard(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush())
            }
            Sink::File(file) => file.write(lines.as_bytes()),
        };
        match written {
            Ok(()) => self.warned = false,
            Err(error) => {
                self.lost.inc_by(count);
                // Once per disturbance: a full disk must not fill the log as well.
                if !std::mem::replace(&mut self.warned, true) {
                    warn!(%error, "cannot write the access log; lines are lost until it can be written again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::super::record::fixtures::{edge, parts};
    use super::super::record::{Recorder, queue};
    use super::*;
    use crate::balance::Chance;

    fn counter() -> IntCounter {
        IntCounter::new("lost", "in a test").unwrap()
    }

    fn record(recorder: &Recorder, path: &str) -> Box<Record> {
        recorder.begin(&mut parts(path, &[]), &edge(), None, &mut Chance::seeded(1)).unwrap()
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("penstock-access-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn every_record_is_a_line_of_the_file_once_the_workers_have_ended() {
        let directory = scratch("whole");
        let path = directory.join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let (sender, receiver) = queue();
        let log = AccessLog::start(Format::Common, Some(path.clone()), receiver, counter()).unwrap();
        let recorder = Recorder::new(Some((Format::Common, sender)), None).unwrap();
        for number in 0..3000 {
            assert_eq!(recorder.hand_over(record(&recorder, &format!("/{number}"))).lines, 0);
        }
        drop(recorder);
        log.finished();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3001, "before"));
        assert!((0..3000).all(|number| lines[number + 1].contains(&format!("GET /{number} HTTP"))));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let directory = scratch("rotated");
        let path = directory.join("access.log");
        let mut file = Rotated::open(path.clone()).unwrap();
        file.write(b"one\n").unwrap();
        std::fs::rename(&path, directory.join("access.log.1")).unwrap();
        file.looked = file.looked.checked_sub(REOPEN_EVERY).unwrap();
        file.write(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(directory.join("access.log.1")).unwrap(), "one\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_writer_goes_on() {
        let lost = counter();
        let full = Path::new("/dev/full");
        let sink = Sink::File(Rotated::open(full.to_path_buf()).unwrap());
        let mut writer = Writer { format: Format::Common, sink, lost: lost.clone(), warned: false };
        writer.write("one\n", 1);
        writer.write("two\nthree\n", 2);
        assert_eq!(lost.get(), 3);
        let missing = full.join("no/such/access.log");
        let said = AccessLog::start(Format::Common, Some(missing), queue().1, counter()).unwrap_err();
        assert!(said.to_string().contains("cannot open the access log"), "{said}");
    }
}
