//! The durable log: segments of checksummed frames, snapshots as files, behind a small file-system trait.
//! Runs on a thread of its own; nothing else waits for fsync. It never repairs anything but a torn tail.

mod directory;
mod errors;
mod founding;
mod frame;
mod incoming;
mod inspection;
mod recovered;
mod recovery;
mod replay;
mod segmented;
mod snapshot_files;
mod std_vfs;
mod vfs;

pub use errors::{OpenError, PersistError};
pub use incoming::{Incoming, IncomingError};
pub use inspection::inspect;
pub use recovered::Recovered;
pub use segmented::{Log, LogSettings};
pub use snapshot_files::{SnapshotFiles, SnapshotLabel, SnapshotReader};
pub use std_vfs::StdVfs;
pub use vfs::{FileLock, Vfs, VfsFile};
