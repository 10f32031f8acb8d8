//! The admin server of a proxy: its pages, and the lines on which they ask the other threads. It starts before these, so that
//! a probe sees a proxy that starts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use prometheus::Registry;
use runtime::admin::{Admin, Answer, Readiness};
use tokio::sync::{mpsc, oneshot};

use super::config::ConfigPage;
use super::connections::connections;
use crate::discovery::Holding;
use crate::settings::Settings;
use crate::snapshot::Published;
use crate::worker::Asker;

/// Scrapes that may wait for fresh counts; past it a scrape shows what was last taken.
const SCRAPES_MAX: usize = 8;
/// How long a scrape waits for fresh counts. A worker that is stuck for longer must not hide the metrics.
const SCRAPE_WAIT: Duration = Duration::from_secs(2);
/// Questions about the config that may wait for the control thread.
const QUESTIONS_MAX: usize = 4;

/// The other ends of the lines on which pages ask.
#[derive(Debug)]
pub(crate) struct Lines {
    /// For whoever else wants fresh counts.
    pub(crate) scrape: mpsc::Sender<oneshot::Sender<()>>,
    /// For whoever takes counts from the workers.
    pub(crate) scrapes: mpsc::Receiver<oneshot::Sender<()>>,
    /// For whoever holds the config.
    pub(crate) questions: mpsc::Receiver<oneshot::Sender<Holding>>,
    /// To be set when the workers run.
    pub(crate) workers: Arc<OnceLock<Asker>>,
}

/// The server, not started yet.
pub(crate) fn server(
    settings: &Settings,
    registry: Registry,
    readiness: Readiness,
    published: &Arc<Published>,
) -> (Admin, Lines) {
    let (scrape, scrapes) = mpsc::channel(SCRAPES_MAX);
    let (question, questions) = mpsc::channel(QUESTIONS_MAX);
    let workers: Arc<OnceLock<Asker>> = Arc::default();
    let config = ConfigPage {
        name: settings.name.clone(),
        workload: settings.workload.to_string(),
        published: Arc::clone(published),
        questions: question,
    };
    let (asked, lent) = (Arc::clone(&workers), scrape.clone());
    let admin = Admin::new(registry, readiness)
        .changed_from_anywhere(settings.admin_changes_from_anywhere)
        .route("/config", move |query| config.clone().answer(query))
        .route("/connections", move |query| {
            let workers = asked.get().cloned();
            async move {
                match workers {
                    Some(workers) => connections(workers, query).await,
                    None => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is starting\n"),
                }
            }
        })
        .before_metrics(move || fresh_counts(lent.clone()));
    (admin, Lines { scrape, scrapes, questions, workers })
}

/// Asks the reporter to take what the workers counted, and waits until it has.
pub(crate) async fn fresh_counts(scrape: mpsc::Sender<oneshot::Sender<()>>) {
    let (done, counted) = oneshot::channel();
    if scrape.try_send(done).is_ok() {
        // Late or lost: what was taken last is shown.
        let _ = tokio::time::timeout(SCRAPE_WAIT, counted).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_scrape_is_answered_whatever_the_workers_do() {
        let (scrape, mut scrapes) = mpsc::channel(1);
        let mut waiting = Box::pin(fresh_counts(scrape.clone()));
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits for fresh counts, for a while");
        assert!(fresh_counts(scrape.clone()).now_or_never().is_some(), "a full queue is not waited for");
        scrapes.recv().await.unwrap().send(()).unwrap();
        waiting.await;
        drop(scrapes);
        assert!(fresh_counts(scrape).now_or_never().is_some(), "nor is a reporter that has ended");
    }
}
