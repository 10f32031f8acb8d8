//! A panic anywhere ends the process, after a log line.
//!
//! Installed by `main` after the log. A broken invariant means that memory can no longer be trusted: an actor that died
//! alone would leave a node that looks alive. The release profile aborts anyway; this makes every profile do so, with
//! the place in the log. Must never try to recover.

use std::panic::{PanicHookInfo, set_hook, take_hook};

/// From now on a panic on any thread is logged and then ends the process by SIGABRT.
pub fn install() {
    let default = take_hook();
    set_hook(Box::new(move |panic| {
        let logged = tracing::dispatcher::has_been_set();
        if logged {
            let thread = std::thread::current();
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(
                thread = thread.name().unwrap_or("unnamed"),
                place,
                %backtrace,
                "panic: {}; ending the process",
                message(panic)
            );
        } else {
            default(panic);
        }
        std::process::abort();
    }));
}

fn message<'p>(panic: &'p PanicHookInfo<'_>) -> &'p str {
    let payload = panic.payload();
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
