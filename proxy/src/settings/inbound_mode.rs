//! How the host's rules bring callers' connections to the inbound port, and what the application sees of its callers.

use std::net::SocketAddr;

use runtime::settings::{Reader, parse};

/// How connections for the application come to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InboundMode {
    /// Their destination is rewritten (REDIRECT): needs no right of the proxy, and the application sees the proxy as its caller.
    #[default]
    Redirect,
    /// They come as they are (TPROXY), and the application sees its callers' own addresses. Needs CAP_NET_RAW in the proxy.
    Tproxy,
}

impl InboundMode {
    /// How it is spelled.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Tproxy => "tproxy",
        }
    }
}

/// Reads this part of the settings.
pub(super) fn read(reader: &mut Reader, intercept: bool, application: Option<SocketAddr>) -> InboundMode {
    let modes = [InboundMode::Redirect, InboundMode::Tproxy].map(|mode| (mode.as_str(), mode));
    let mode = reader.or("inbound_mode", parse::one_of(&modes), InboundMode::default());
    let is_tproxy = mode == InboundMode::Tproxy;
    let spelled = reader.spelled("intercept");
    reader.check(
        "inbound_mode",
        !is_tproxy || intercept,
        &format!("is tproxy but {spelled} is not true: connections come by the host's rules in this mode"),
    );
    // To the host's own address a caller and the proxy in its name could come from one and the same port.
    reader.check(
        "application",
        !is_tproxy || application.is_none_or(|application| application.ip().is_loopback()),
        "must be a loopback address, such as 127.0.0.1:8080, where inbound_mode is tproxy: only there can it be \
         reached in its callers' names",
    );
    mode
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use runtime::settings::Sources;

    use super::super::Settings;
    use super::*;

    fn read(text: &str) -> Result<InboundMode, String> {
        let text = format!("name: a\nworkload: a\n{text}");
        let read = Settings::read(Sources::new().with_file("proxy.yaml", &text));
        read.map(|settings| settings.inbound_mode).map_err(|complaints| complaints.to_string())
    }

    #[test]
    fn callers_addresses_are_kept_only_with_interception_and_an_application_on_the_loopback() {
        assert_eq!(read("").unwrap(), InboundMode::Redirect);
        let tproxy = "inbound_mode: tproxy\nserves: web\nintercept";
        for application in ["127.0.0.1:8080", "'[::1]:8080'"] {
            let mode = read(&format!("{tproxy}: true\napplication: {application}\n"));
            assert_eq!(mode.unwrap(), InboundMode::Tproxy);
        }
        let said = read(&format!("{tproxy}: false\napplication: 127.0.0.1:80\n")).unwrap_err();
        assert!(said.contains("is tproxy but intercept is not true"), "{said}");
        let said = read(&format!("{tproxy}: true\napplication: 10.0.0.7:80\n")).unwrap_err();
        assert!(said.contains("must be a loopback address"), "{said}");
        assert!(read("inbound_mode: divert\n").unwrap_err().contains("redirect"));
    }
}
