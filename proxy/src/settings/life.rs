//! How a proxy's life goes on and ends: what it follows, and where a new process takes over.

use std::path::PathBuf;

use runtime::settings::{Reader, parse};

/// How a proxy's life goes on and ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// After SIGTERM it goes on proxying until the application is gone, or the drain's time is over.
    pub follows_application: bool,
    /// The application's process: when it ends, the proxy ends too. `None`: its port tells.
    pub follow_pid: Option<u32>,
    /// Where a new process of this proxy takes over; `None`: below the state directory, if there is one.
    pub upgrade_socket: Option<PathBuf>,
}

impl Default for Life {
    fn default() -> Self {
        Self { follows_application: true, follow_pid: None, upgrade_socket: None }
    }
}

/// Reads this part of the settings.
pub(super) fn read(reader: &mut Reader) -> Life {
    let words = [("application", true), ("none", false)];
    let follows_application = reader.or("drain_follows", parse::one_of(&words), true);
    let follow_pid = reader.optional("follow_pid", parse::whole(1..=i32::MAX.unsigned_abs().into()));
    let upgrade_socket = reader.optional("upgrade_socket", parse::path);
    let follow_pid = follow_pid.and_then(|pid| u32::try_from(pid).ok());
    Life { follows_application, follow_pid, upgrade_socket }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use runtime::settings::Sources;

    use super::super::Settings;

    fn read(text: &str) -> Result<Settings, String> {
        let text = format!("name: a\nworkload: a\n{text}");
        Settings::read(Sources::new().with_file("proxy.yaml", &text))
            .map_err(|complaints| complaints.to_string())
    }

    #[test]
    fn the_application_is_followed_unless_it_is_said_otherwise() {
        assert!(read("").unwrap().life.follows_application);
        let life = read("drain_follows: none\nfollow_pid: 17\n").unwrap().life;
        assert_eq!((life.follows_application, life.follow_pid), (false, Some(17)));
        assert!(read("follow_pid: 0\n").unwrap_err().contains("must be a whole number from 1"));
    }

    #[test]
    fn a_new_process_is_waited_for_below_the_state_directory_unless_another_place_is_named() {
        assert_eq!(read("").unwrap().upgrade_path(), None);
        let path = |text: &str| read(text).unwrap().upgrade_path().unwrap().display().to_string();
        assert_eq!(path("state_directory: /var/lib/p\n"), "/var/lib/p/upgrade.sock");
        assert_eq!(path("state_directory: /var/lib/p\nupgrade_socket: /run/p.sock\n"), "/run/p.sock");
    }
}
