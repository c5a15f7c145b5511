//! Health: `/livez` says that the process answers, `/readyz` that it should be sent work.
//!
//! Liveness never asks a dependency: restarting this process would not heal another one.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// A check that takes longer counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// A named question to a dependency.
#[derive(Clone)]
struct Check {
    name: &'static str,
    ask: Arc<dyn Fn() -> CheckFuture + Send + Sync>,
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Check").field(&self.name).finish()
    }
}

/// What a service says about its health.
#[derive(Debug, Clone)]
pub struct Health {
    checks: Vec<Check>,
    healthz: (&'static str, &'static str),
    draining: Arc<AtomicBool>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            healthz: ("text/plain; charset=utf-8", "Healthy"),
            draining: Arc::default(),
        }
    }
}

impl Health {
    /// No checks; `/healthz` says `Healthy`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check of readiness; `Err` says what is wrong.
    #[must_use]
    pub fn check<F>(
        mut self,
        name: &'static str,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push(Check { name, ask: Arc::new(move || Box::pin(ask())) });
        self
    }

    /// What `/healthz` answers; clients of the original read it.
    #[must_use]
    pub fn healthz(mut self, content_type: &'static str, body: &'static str) -> Self {
        self.healthz = (content_type, body);
        self
    }

    /// From now on `/readyz` says no, so that nobody sends new work.
    pub(crate) fn begin_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Answers the health paths; `None` for any other.
    pub(crate) async fn answer(&self, path: &str, query: Option<&str>) -> Option<Response> {
        match path {
            "/livez" => Some("ok".into_response()),
            "/healthz" => {
                let mut response = self.healthz.1.into_response();
                let content_type = HeaderValue::from_static(self.healthz.0);
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
                Some(response)
            }
            "/readyz" => {
                let verbose = query.is_some_and(|it| it.split('&').any(|it| it == "verbose"));
                Some(self.ready(verbose).await)
            }
            other => {
                let name = other.strip_prefix("/readyz/")?;
                let check = self.checks.iter().find(|it| it.name == name)?;
                Some(verdict(ask(check).await.map_err(|why| format!("{name}: {why}\n"))))
            }
        }
    }

    async fn ready(&self, verbose: bool) -> Response {
        if self.is_draining() {
            return verdict(Err("draining\n".to_owned()));
        }
        let (mut report, mut ready) = (String::new(), true);
        for check in &self.checks {
            let line = match ask(check).await {
                Ok(()) => format!("{}: ok\n", check.name),
                Err(why) => {
                    ready = false;
                    format!("{}: {why}\n", check.name)
                }
            };
            report.push_str(&line);
        }
        match (ready, verbose) {
            (false, _) => verdict(Err(report)),
            (true, true) => report.into_response(),
            (true, false) => verdict(Ok(())),
        }
    }
}

async fn ask(check: &Check) -> Result<(), String> {
    let answer = tokio::time::timeout(CHECK_TIMEOUT, (check.ask)()).await;
    answer.unwrap_or_else(|_| Err(format!("no answer in {} s", CHECK_TIMEOUT.as_secs())))
}

fn verdict(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => "ok".into_response(),
        Err(report) => (StatusCode::SERVICE_UNAVAILABLE, report).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(health: &Health, path: &str) -> Option<u16> {
        health.answer(path, None).await.map(|it| it.status().as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_asks_the_checks_and_liveness_does_not() {
        let health = Health::new()
            .check("good", || async { Ok(()) })
            .check("bad", || async { Err("gone".to_owned()) })
            .check("mute", std::future::pending);
        assert_eq!(status(&health, "/livez").await, Some(200));
        assert_eq!(status(&health, "/healthz").await, Some(200));
        assert_eq!(status(&health, "/readyz").await, Some(503));
        assert_eq!(status(&health, "/readyz/good").await, Some(200));
        assert_eq!(status(&health, "/readyz/mute").await, Some(503));
        assert_eq!(status(&health, "/readyz/none").await, None);
        assert_eq!(status(&health, "/api").await, None);
    }

    #[tokio::test]
    async fn a_draining_process_is_alive_and_not_ready() {
        let health = Health::new();
        assert_eq!(status(&health, "/readyz").await, Some(200));
        health.begin_draining();
        assert_eq!(status(&health, "/readyz").await, Some(503));
        assert_eq!(status(&health, "/livez").await, Some(200));
    }
}
