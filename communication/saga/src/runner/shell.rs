//! The shell of an engine: one task that owns the core, and short tasks for its calls and writes.
//!
//! The lease is looked at before anything else whenever the task runs, and once more before each
//! call leaves: a process that was stopped finds out before it does anything that the new owner
//! would not expect. A lease that has run out costs everything in memory; what is still ours in
//! the store is then taken anew, under the next epoch.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::store::Store;
use base::{Monotonic, SharedClock};
use runtime::{Shutdown, Tasks};
use telemetry::Telemetry;
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{error, info, warn};

use super::{Core, DueCall, Now, Order, Reply};
use crate::{
    caller::{Caller, Observer},
    config::{EngineKind, EngineSettings},
    machine::Start,
    metrics::Metrics,
    outcome::CallResult,
    store::{Append, Appended, Definitions, Loaded, Polled, release_instance},
};

/// Appends that one closure of the store carries: its savepoints cost little, its waiting much.
const BATCH: usize = 128;
/// Inputs that are taken before the orders that they gave are carried out.
const INPUTS: usize = 512;
/// How long a stopping engine waits for its calls and appends.
const DRAIN: Duration = Duration::from_secs(2);
/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two sweeps when words are to be given up sooner.
const SWEEP_MIN: Duration = Duration::from_millis(100);

/// What the engine's task is told.
#[derive(Debug)]
pub(crate) enum Input {
    Submit { start: Start, reply: Reply },
    Nudge,
    Answered { due: Box<DueCall>, result: CallResult, took: Duration },
    Appended { generation: u64, appends: Vec<Arc<Append>>, results: Option<Vec<Option<Appended>>> },
    Polled { generation: u64, polled: Option<Polled> },
    Recovered { generation: u64, loaded: Vec<Loaded>, last: Option<i64>, failed_after: Option<i64> },
    Renewed { until: Option<Renewal> },
}

/// How a renewal ended, when the store answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Renewal {
    Until(Monotonic),
    /// Another process works under our name.
    Lost,
}

/// What a shell is made of.
#[derive(Debug)]
pub(crate) struct ShellParts<C, O> {
    pub(crate) instance: Arc<str>,
    pub(crate) kind: EngineKind,
    pub(crate) settings: EngineSettings,
    /// Tells this process from others under the same name.
    pub(crate) process: Arc<str>,
    pub(crate) boot_id: String,
    /// Held as long as the engine runs.
    pub(crate) lock: File,
    pub(crate) store: Store,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) caller: Arc<C>,
    pub(crate) observer: Arc<O>,
    pub(crate) clock: SharedClock,
    pub(crate) telemetry: Telemetry,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    pub(crate) received: mpsc::UnboundedReceiver<Input>,
    pub(crate) open_count: watch::Sender<usize>,
}

/// The engine's task.
#[derive(Debug)]
pub(crate) struct Shell<C, O> {
    pub(super) core: Core,
    pub(super) parts: ShellParts<C, O>,
    pub(super) lease: Lease,
    pub(super) polling: Polling,
    stopping: bool,
}

/// The lease, as far as this process knows.
#[derive(Debug)]
pub(super) struct Lease {
    /// Milliseconds since boot until which it is ours; tasks that are about to call read it.
    pub(super) until_ms: Arc<AtomicU64>,
    pub(super) renewing: bool,
    pub(super) lapsed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polling {
    Idle,
    Running,
    /// Something came up while it ran.
    Again,
}

impl<C: Caller, O: Observer> Shell<C, O> {
    pub(crate) fn new(core: Core, parts: ShellParts<C, O>, expires: Monotonic) -> Self {
        let until_ms = Arc::new(AtomicU64::new(expires.as_millis()));
        let lease = Lease { until_ms, renewing: false, lapsed: false };
        Self { core, parts, lease, polling: Polling::Idle, stopping: false }
    }

    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let settings = &self.parts.settings;
        let mut renewals = ticks(Duration::from_millis(settings.renewal_ms));
        let mut polls = ticks(Duration::from_millis(settings.poll_ms.max(1)));
        let mut sweeps = ticks(settings.unheard().clamp(SWEEP_MIN, SWEEP));
        info!(instance = %self.parts.instance, kind = self.parts.kind.as_str(), "saga engine runs");
        self.recover(0);
        while !shutdown.is_cancelled() {
            let wake = self.until_next_wake();
            select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = renewals.tick() => self.renew(),
                Some(input) = self.parts.received.recv() => self.take(input),
                () = sleep(wake) => {}
                _ = polls.tick() => self.poll(),
                _ = sweeps.tick() => self.sweep(),
            }
            self.work();
        }
        self.stop().await;
    }

    /// Everything that follows from what has happened.
    fn work(&mut self) {
        for _ in 0..INPUTS {
            let Ok(input) = self.parts.received.try_recv() else { break };
            self.take(input);
        }
        if !self.holds_lease() {
            return;
        }
        let now = self.now();
        self.core.wake(now);
        if !self.stopping {
            self.core.start_calls(now);
        }
        self.carry_out();
        let open = self.core.open_count();
        self.parts.open_count.send_if_modified(|it| std::mem::replace(it, open) != open);
        self.parts.metrics.open.set(u32::try_from(open).unwrap_or(u32::MAX).into());
    }

    /// Whether the lease is ours; when it has just run out, everything is given up.
    fn holds_lease(&mut self) -> bool {
        if self.lease.lapsed {
            return false;
        }
        let until_ms = self.lease.until_ms.load(Ordering::Relaxed);
        if self.parts.clock.monotonic().as_millis() < until_ms {
            return true;
        }
        let open = self.core.open_count();
        warn!(instance = %self.parts.instance, open, "the lease has run out; sagas are given up");
        self.parts.metrics.lapses.inc();
        self.lease.lapsed = true;
        self.core.reset();
        self.polling = Polling::Idle;
        self.renew();
        false
    }

    fn take(&mut self, input: Input) {
        if let Input::Renewed { until } = input {
            return self.renewed(until);
        }
        // Before anything is believed: the world may have gone on without us.
        let holds = self.holds_lease();
        let now = self.now();
        match input {
            // Dropping the reply says that the engine takes nothing now.
            Input::Submit { start, reply } if holds && !self.stopping => {
                self.core.submit(start, reply, now);
            }
            Input::Submit { .. } | Input::Renewed { .. } => {}
            Input::Nudge => self.poll(),
            Input::Answered { due, result, took } => self.core.answered(&due, result, took, now),
            Input::Appended { generation, appends, results } => {
                self.appended(generation, &appends, results, now);
            }
            Input::Polled { generation, polled } => {
                if generation == self.core.generation() {
                    self.polled(polled, now);
                }
            }
            Input::Recovered { generation, loaded, last, failed_after } => {
                if generation == self.core.generation() {
                    self.core.claim(loaded, false, now);
                    if let Some(after) = last.or(failed_after) {
                        self.recover(after);
                    }
                }
            }
        }
    }

    fn appended(
        &mut self,
        generation: u64,
        appends: &[Arc<Append>],
        results: Option<Vec<Option<Appended>>>,
        now: Now,
    ) {
        let mut results = results.unwrap_or_default().into_iter();
        for append in appends {
            let result = results.next().flatten();
            if generation == self.core.generation() {
                self.core.appended(append, result, now);
            } else {
                self.core.appended_before_reset(append, result.as_ref());
            }
        }
    }

    fn polled(&mut self, polled: Option<Polled>, now: Now) {
        let again = self.polling == Polling::Again;
        self.polling = Polling::Idle;
        if let Some(polled) = polled {
            self.parts.metrics.parked.set(u32::try_from(polled.parked).unwrap_or(u32::MAX).into());
            if !self.stopping {
                self.core.claim(polled.claimable, true, now);
            }
            for (saga, signal) in polled.signals {
                self.core.signalled(&saga, signal, now);
            }
        }
        if again {
            self.poll();
        }
    }

    /// Carries out the orders of the core.
    fn carry_out(&mut self) {
        let mut appends = Vec::new();
        for order in self.core.take_orders() {
            match order {
                Order::Append(append) => appends.push(append),
                Order::Call(due) => self.call(due),
                Order::Poll => self.poll(),
                Order::Look(row) => self.look(row),
            }
        }
        while !appends.is_empty() {
            let rest = appends.split_off(appends.len().min(BATCH));
            self.append(appends);
            appends = rest;
        }
    }

    fn renewed(&mut self, until: Option<Renewal>) {
        self.lease.renewing = false;
        match until {
            Some(Renewal::Until(until)) => {
                // A renewal that was under way when the lease ran out does not bring it back:
                // others may have taken the sagas in between.
                if !self.lease.lapsed && !self.holds_lease() {
                    return;
                }
                self.lease.until_ms.store(until.as_millis(), Ordering::Relaxed);
                if std::mem::take(&mut self.lease.lapsed) {
                    info!(instance = %self.parts.instance, "the lease is ours again");
                    self.recover(0);
                }
            }
            Some(Renewal::Lost) => {
                error!(instance = %self.parts.instance, "another process runs as this instance");
                self.lease.until_ms.store(0, Ordering::Relaxed);
                self.holds_lease();
            }
            None => {}
        }
    }

    /// Lets calls and appends end, then lets the lease go, so that others need not wait for it.
    async fn stop(mut self) {
        self.stopping = true;
        let end = Instant::now() + DRAIN;
        self.work();
        while self.core.is_busy() && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, self.parts.received.recv()).await {
                Ok(Some(input)) => self.take(input),
                Ok(None) | Err(_) => break,
            }
            self.work();
        }
        let (instance, process) = (Arc::clone(&self.parts.instance), self.parts.process);
        let release = self
            .parts
            .store
            .write(move |transaction| release_instance(transaction, &instance, &process));
        if let Err(fault) = release.await {
            warn!(error = %fault, "the lease was not released; others wait until it runs out");
        }
        // Only now may another process take the name.
        drop(self.parts.lock);
        info!(instance = %self.parts.instance, "saga engine stopped");
    }

    fn until_next_wake(&self) -> Duration {
        let now = self.parts.clock.monotonic();
        let poll = Duration::from_millis(self.parts.settings.poll_ms.max(1));
        self.core.next_wake().map_or(poll, |it| it.saturating_since(now)).min(poll)
    }

    fn now(&self) -> Now {
        Now { wall: self.parts.clock.now(), monotonic: self.parts.clock.monotonic() }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
